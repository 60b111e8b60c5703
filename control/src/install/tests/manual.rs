//! SAs with keys by hand: R113, R114, R199.

use super::*;
use crate::config::Config;
use crate::install::{IdSalt, ManualSas};
use crate::secrets::Secrets;
use ravelin_ring::msg::Protocol;
use std::path::Path;

const BY_HAND: &str = include_str!("../../../../configs/manual.toml");
const SECRETS: &str = include_str!("../../../../configs/secrets.example.toml");

fn wanted(text: &str, secrets: &str) -> Vec<ManualSas> {
    salted(text, secrets, &IdSalt::new([7; 32]))
}

fn salted(text: &str, secrets: &str, salt: &IdSalt) -> Vec<ManualSas> {
    let mut config = Config::parse(Path::new("gw.toml"), text).unwrap();
    Secrets::parse(Path::new("s.toml"), secrets).unwrap().give_keys(&mut config);
    config
        .tunnels
        .iter()
        .filter_map(|t| ManualSas::of(t, (config.outside(t), config.inside(t)), salt))
        .collect()
}

fn specs(commands: &[(WorkerId, WorkerCommand)]) -> Vec<SaSpec> {
    let spec = |c: &WorkerCommand| {
        if let WorkerCommand::InstallSa { spec, .. } = c { Some((**spec).clone()) } else { None }
    };
    commands.iter().filter_map(|(_, c)| spec(c)).collect()
}

fn reported(spec: &SaSpec, in_use: bool) -> SaReport {
    SaReport {
        id: spec.id,
        tunnel: spec.tunnel,
        direction: spec.direction,
        spi: spec.spi,
        suite: spec.suite,
        mode: spec.mode,
        local: spec.local,
        remote: spec.remote,
        sequence: 5,
        packets: 5,
        bytes: 500,
        replay_drops: 0,
        icv_drops: 0,
        selector_drops: 0,
        idle_ms: 0,
        in_use,
        outside: spec.extras.outside,
        inside: spec.extras.inside,
        filtered: spec.extras.filtered,
    }
}

const UP: [&str; 8] =
    ["selector", "install", "selector", "install", "selector", "install", "selector", "install"];

/// AH before the ESP that goes within it, each naming the other, without a window; in use once all four are there.
#[test]
fn a_bundle_is_installed_from_outside_in() {
    let mut bed = Bed::new(2);
    bed.installer.follow_manual(bed.now, wanted(BY_HAND, SECRETS));
    let commands = bed.commands();
    assert_eq!(kinds(&commands), UP);
    let all = specs(&commands);
    let shape: Vec<_> =
        all.iter().map(|s| (s.direction, s.suite.protocol(), s.spi.get(), s.mode, s.replay_window)).collect();
    use ravelin_ring::msg::Mode::{Transport, Tunnel};
    assert_eq!(
        shape,
        [
            (Direction::Inbound, Protocol::Ah, 0x1002, Transport, 0),
            (Direction::Inbound, Protocol::Esp, 0x1001, Tunnel, 0),
            (Direction::Outbound, Protocol::Ah, 0x2002, Transport, 0),
            (Direction::Outbound, Protocol::Esp, 0x2001, Tunnel, 0)
        ]
    );
    for pair in all.chunks(2) {
        assert_eq!((pair[0].extras.partner, pair[1].extras.partner), (Some(pair[1].id), Some(pair[0].id)));
    }
    assert!(commands.iter().all(|(w, _)| *w == WorkerId(1)), "0x1001 is odd");
    let tunnel = all[0].tunnel;
    bed.answer(&commands[..6]);
    assert!(bed.commands().is_empty() && bed.installer.in_use(tunnel).is_none());
    bed.answer(&commands[6..]);
    assert_eq!(kinds(&bed.commands()), ["use", "use"]);
    assert_eq!(bed.installer.in_use(tunnel), Some(all[3].id));
    // Its packets are counted once.
    for spec in &all {
        bed.installer.report(reported(spec, false));
    }
    assert_eq!((bed.installer.totals(tunnel).packets_in, bed.installer.totals(tunnel).packets_out), (5, 5));
    // The same again changes nothing.
    bed.installer.follow_manual(bed.now, wanted(BY_HAND, SECRETS));
    assert!(bed.commands().is_empty());
}

/// What the next control process finds is gone on with, if it is the very same; else it goes and the new one comes.
#[test]
fn the_next_control_process_goes_on_with_the_same() {
    let mut first = Bed::new(1);
    first.installer.follow_manual(first.now, wanted(BY_HAND, SECRETS));
    let installed = specs(&first.commands());
    let adopted = || {
        let mut bed = Bed::new(1);
        for spec in &installed {
            bed.installer.adopt(bed.now, WorkerId(0), reported(spec, spec.id == installed[3].id));
        }
        bed
    };
    let mut bed = adopted();
    bed.installer.follow_manual(bed.now, wanted(BY_HAND, SECRETS));
    assert!(bed.commands().is_empty() && bed.installer.adopted().count() == 0);
    assert_eq!(bed.installer.in_use(installed[0].tunnel), Some(installed[3].id));
    // Another key: all that depends on it.
    let mut bed = adopted();
    let other = SECRETS.replace("an example of thirty-two letters", "an example of thirty-three words");
    bed.installer.follow_manual(bed.now, wanted(BY_HAND, &other));
    let commands = bed.commands();
    assert!(kinds(&commands).contains(&"remove"), "{commands:?}");
    bed.answer(&commands);
    for _ in 0..4 {
        if bed.installer.take_manual_due() {
            bed.installer.follow_manual(bed.now, wanted(BY_HAND, &other));
        }
        let commands = bed.commands();
        bed.answer(&commands);
    }
    let there: Vec<SaId> = bed.installer.halves().map(|h| h.id).collect();
    assert_eq!(there.len(), 4);
    assert!(!there.contains(&installed[0].id));
    let used = bed.installer.in_use(installed[0].tunnel);
    assert!(used.is_some_and(|id| there.contains(&id)), "{used:?}");
    // It goes from the configuration.
    bed.installer.follow_manual(bed.now, vec![]);
    let commands = bed.commands();
    assert_eq!(kinds(&commands).iter().filter(|k| **k == "remove").count(), 4);
    bed.answer(&commands);
    assert_eq!(bed.installer.halves().count(), 0);
}

/// One that a worker does not take takes the others with it, and is not tried again until somebody asks.
#[test]
fn all_of_it_or_nothing() {
    let mut bed = Bed::new(1);
    bed.installer.follow_manual(bed.now, wanted(BY_HAND, SECRETS));
    let commands = bed.commands();
    bed.answer(&commands[..2]);
    bed.installer.done(token_of(&commands[3].1).unwrap(), Outcome::Refused);
    bed.answer(&commands[4..]);
    let commands = bed.commands();
    bed.answer(&commands);
    assert_eq!((bed.installer.halves().count(), bed.installer.in_use(TunnelId(0))), (0, None));
    bed.installer.follow_manual(bed.now, wanted(BY_HAND, SECRETS));
    assert!(bed.commands().is_empty());
    bed.installer.manual_due(true);
    bed.installer.follow_manual(bed.now, wanted(BY_HAND, SECRETS));
    assert_eq!(kinds(&bed.commands()), UP);
    // The process ends: so do they, and none comes again.
    bed.installer.remove_everything(bed.now);
    assert!(!bed.installer.take_manual_due());
}

/// Ids are shown: nobody without the salt can try keys on them.
#[test]
fn ids_are_made_with_a_secret() {
    let ids = |salt| {
        let mut bed = Bed::new(2);
        bed.installer.follow_manual(bed.now, salted(BY_HAND, SECRETS, &IdSalt::new(salt)));
        specs(&bed.commands()).iter().map(|spec| spec.id).collect::<Vec<_>>()
    };
    assert!(!ids([1; 32]).is_empty());
    assert_eq!(ids([1; 32]), ids([1; 32]));
    assert!(ids([1; 32]).iter().all(|id| !ids([2; 32]).contains(id)));
}
