use super::*;
use ravelin_ike::config::{ChildId, ConnectionId};
use ravelin_ike::config::{Encryption, EspProposal, Integrity};
use ravelin_ike::endpoint::SpiSource;
use ravelin_ike::event::ChildKeys;
use ravelin_ike::record::PairRef;
use ravelin_ring::msg::{OuterDf, VrfId};
use ravelin_ring::msg::{SaReport, Suite};
use ravelin_wire::Spi;
use ravelin_wire::{AddrRange, PortRange, Selector};

mod adoption;
mod manual;

const GCM: EspProposal = EspProposal {
    encryption: Some(Encryption::AesGcm16_128),
    integrity: None,
    group: None,
    kem: None,
    esn: false,
};

struct Bed {
    installer: Installer,
    spis: Spis,
    now: Instant,
}

impl Bed {
    fn new(workers: u16) -> Self {
        let spis = Spis::new(workers);
        Self { installer: Installer::new(workers, spis.clone()), spis, now: Instant::now() }
    }

    fn pair(&mut self, id: u64) -> ChildSa {
        let any = Selector {
            local: AddrRange::ANY_V4,
            remote: AddrRange::ANY_V4,
            protocol: None,
            local_ports: PortRange::ANY,
            remote_ports: PortRange::ANY,
        };
        ChildSa {
            id: ChildSaId(id),
            connection: ConnectionId(3),
            child: ChildId(3),
            replaces: None,
            inbound_spi: self.spis.inbound_spi(ChildId(3), None),
            outbound_spi: Spi::try_from(0x1000 + u32::try_from(id).unwrap()).unwrap(),
            inbound_keys: ChildKeys(vec![1; 20]),
            outbound_keys: ChildKeys(vec![2; 20]),
            mode: ravelin_ike::config::Mode::Tunnel,
            pads: true,
            proposal: GCM,
            selectors: vec![any, any],
            local: "198.18.0.1:4500".parse().unwrap(),
            remote: "198.18.0.2:4500".parse().unwrap(),
            udp: false,
            soft: Duration::from_secs(1),
            hard: Duration::from_secs(2),
        }
    }

    fn install(&mut self, id: u64) -> ChildSa {
        let sa = self.pair(id);
        self.installer.install(self.now, InstallToken(id), &sa, &settings());
        sa
    }

    fn commands(&mut self) -> Vec<(WorkerId, WorkerCommand)> {
        std::iter::from_fn(|| self.installer.poll_command()).collect()
    }

    /// Answers every question of `commands` with Ok.
    fn answer(&mut self, commands: &[(WorkerId, WorkerCommand)]) {
        for token in commands.iter().filter_map(|(_, c)| token_of(c)) {
            assert!(self.installer.done(token, Outcome::Ok));
        }
    }

    /// Installed, answered, in use.
    fn up(&mut self, id: u64) -> ChildSa {
        let sa = self.install(id);
        let commands = self.commands();
        self.answer(&commands);
        assert!(matches!(self.installer.poll_answer(), Some(Command::Installed { ok: true, .. })));
        self.installer.use_outbound(self.now, sa.id, 0);
        let commands = self.commands();
        self.answer(&commands);
        sa
    }

    fn half(&self, child: &ChildSa, direction: Direction) -> Half {
        self.installer
            .halves()
            .find(|h| h.pair == Some(child.id) && h.direction == direction)
            .cloned()
            .expect("installed")
    }
}

fn settings() -> ChildSettings {
    ChildSettings {
        tunnel: TunnelId(3),
        filtered: false,
        outside: VrfId::MAIN,
        inside: VrfId::MAIN,
        replay_window: 1024,
        shared: false,
        tfc: 600,
        tunnel_mtu: 1500,
        outer_df: OuterDf::Copy,
        travel: crate::config::Travel::default(),
        jitter_percent: 0,
        bytes: crate::config::Limits { soft: 10, hard: 20 },
        packets: crate::config::Limits::default(),
    }
}

fn token_of(command: &WorkerCommand) -> Option<Token> {
    match command {
        WorkerCommand::SaSelector { .. } => None,
        WorkerCommand::InstallSa { token, .. }
        | WorkerCommand::UseOutbound { token, .. }
        | WorkerCommand::StopOutbound { token, .. }
        | WorkerCommand::RemoveSa { token, .. }
        | WorkerCommand::MoveSa { token, .. }
        | WorkerCommand::PathMtu { token, .. }
        | WorkerCommand::ReportSas { token } => Some(*token),
    }
}

fn kinds(commands: &[(WorkerId, WorkerCommand)]) -> Vec<&'static str> {
    commands
        .iter()
        .map(|(_, c)| match c {
            WorkerCommand::SaSelector { .. } => "selector",
            WorkerCommand::InstallSa { .. } => "install",
            WorkerCommand::UseOutbound { .. } => "use",
            WorkerCommand::StopOutbound { .. } => "stop",
            WorkerCommand::RemoveSa { .. } => "remove",
            WorkerCommand::MoveSa { .. } => "move",
            WorkerCommand::PathMtu { .. } => "path",
            WorkerCommand::ReportSas { .. } => "report",
        })
        .collect()
}

fn report(half: &Half, packets: u64) -> SaReport {
    SaReport {
        id: half.id,
        tunnel: half.tunnel,
        direction: half.direction,
        spi: half.spi,
        suite: Suite::Aes128Gcm16,
        mode: ravelin_ring::msg::Mode::Tunnel,
        local: "198.18.0.1:0".parse().unwrap(),
        remote: "198.18.0.2:0".parse().unwrap(),
        sequence: packets,
        packets,
        bytes: packets * 100,
        replay_drops: 0,
        icv_drops: 0,
        selector_drops: 0,
        idle_ms: 0,
        in_use: half.direction == Direction::Outbound,
        outside: half.outside,
        inside: half.inside,
        filtered: false,
    }
}

#[test]
fn both_directions_go_to_the_worker_that_the_spi_names_inbound_first() {
    let mut bed = Bed::new(4);
    let sa = bed.install(1);
    let commands = bed.commands();
    assert_eq!(kinds(&commands), ["selector", "selector", "install", "selector", "selector", "install"]);
    let owner = bed.spis.owner(sa.inbound_spi);
    assert_eq!(u32::from(owner.0), sa.inbound_spi.get() % 4);
    assert!(commands.iter().all(|(w, _)| *w == owner));
    let specs: Vec<&SaSpec> = commands
        .iter()
        .filter_map(|(_, c)| if let WorkerCommand::InstallSa { spec, .. } = c { Some(&**spec) } else { None })
        .collect();
    assert_eq!((specs[0].direction, specs[0].spi), (Direction::Inbound, sa.inbound_spi));
    assert_eq!((specs[1].direction, specs[1].spi), (Direction::Outbound, sa.outbound_spi));
    assert_eq!(specs[0].keys.as_slice(), [1; 20]);
    assert_eq!((specs[1].selectors, specs[1].soft_bytes, specs[1].hard_bytes), (2, 10, 20));
    assert_eq!(specs[0].local.port(), 0, "plain ESP has no ports");
    assert_ne!(specs[0].id, specs[1].id);

    // The engine hears of it only when both are in force.
    bed.installer.done(token_of(&commands[2].1).unwrap(), Outcome::Ok);
    assert!(bed.installer.poll_answer().is_none());
    bed.installer.done(token_of(&commands[5].1).unwrap(), Outcome::Ok);
    assert!(matches!(
        bed.installer.poll_answer(),
        Some(Command::Installed { token: InstallToken(1), ok: true })
    ));
}

#[test]
fn a_refusal_takes_both_directions_out_again() {
    let mut bed = Bed::new(1);
    bed.install(1);
    let commands = bed.commands();
    bed.installer.done(token_of(&commands[2].1).unwrap(), Outcome::Ok);
    bed.installer.done(token_of(&commands[5].1).unwrap(), Outcome::Full);
    assert!(matches!(bed.installer.poll_answer(), Some(Command::Installed { ok: false, .. })));
    let commands = bed.commands();
    assert_eq!(kinds(&commands), ["report", "remove", "remove"]);
    bed.answer(&commands);
    assert_eq!(bed.installer.halves().count(), 0);
    assert!(bed.installer.is_quiet());
}

#[test]
fn a_worker_that_stays_silent_is_given_up() {
    let mut bed = Bed::new(1);
    bed.install(1);
    bed.commands();
    let deadline = bed.installer.deadline().unwrap();
    bed.installer.expire(deadline);
    assert!(matches!(bed.installer.poll_answer(), Some(Command::Installed { ok: false, .. })));
    assert_eq!(kinds(&bed.commands()), ["report", "remove", "remove"]);
}

#[test]
fn a_suite_that_the_data_plane_lacks_is_refused_at_once() {
    let mut bed = Bed::new(1);
    let mut sa = bed.pair(1);
    sa.proposal = EspProposal {
        integrity: Some(Integrity::HmacSha512_256),
        encryption: Some(Encryption::AesCtr128),
        ..GCM
    };
    bed.installer.install(bed.now, InstallToken(9), &sa, &settings());
    assert!(matches!(
        bed.installer.poll_answer(),
        Some(Command::Installed { token: InstallToken(9), ok: false })
    ));
    assert!(bed.commands().is_empty());
}

/// Rekey order of design.md: new inbound, switch outbound, drop the old inbound after a grace time.
#[test]
fn a_rekey_never_leaves_the_tunnel_without_an_sa() {
    let mut bed = Bed::new(2);
    let old = bed.up(1);
    let new = bed.up(2);
    assert_eq!(bed.installer.in_use(TunnelId(3)), Some(bed.half(&new, Direction::Outbound).id));
    bed.installer.remove(bed.now, old.id, Duration::from_secs(5));
    let commands = bed.commands();
    assert_eq!(kinds(&commands), ["report", "remove"], "the old outbound SA only; no StopOutbound");
    bed.answer(&commands);
    let inbound = bed.half(&old, Direction::Inbound);
    assert!(inbound.leaving);
    bed.installer.expire(bed.now + Duration::from_secs(4));
    assert!(bed.commands().is_empty());
    bed.installer.expire(bed.now + Duration::from_secs(5));
    let commands = bed.commands();
    assert_eq!(kinds(&commands), ["report", "remove"]);
    bed.answer(&commands);
    assert_eq!(bed.installer.halves().count(), 2);
}

#[test]
fn the_end_of_the_last_pair_stops_the_tunnel_on_every_worker_first() {
    let mut bed = Bed::new(3);
    let sa = bed.up(1);
    bed.installer.remove(bed.now, sa.id, Duration::ZERO);
    bed.installer.expire(bed.now);
    let commands = bed.commands();
    assert_eq!(kinds(&commands), ["stop", "stop", "stop", "report", "remove", "remove"]);
    assert_eq!(bed.installer.in_use(TunnelId(3)), None);
}

#[test]
fn use_outbound_goes_to_all_workers_and_names_the_owner() {
    let mut bed = Bed::new(3);
    let sa = bed.install(1);
    let commands = bed.commands();
    bed.answer(&commands);
    bed.installer.use_outbound(bed.now, sa.id, 0);
    let commands = bed.commands();
    let workers: Vec<u16> = commands.iter().map(|(w, _)| w.0).collect();
    assert_eq!(workers, [0, 1, 2]);
    let owner = bed.spis.owner(sa.inbound_spi);
    assert!(
        commands.iter().all(|(_, c)| matches!(c, WorkerCommand::UseOutbound { owner: o, .. } if *o == owner))
    );
}

/// RFC 4303 §2.7, RFC 7296 §1.3.1: the outbound SA pads, unless the peer cannot take it.
#[test]
fn only_a_peer_that_takes_padding_gets_it() {
    for (pads, wanted) in [(true, [0, 600]), (false, [0, 0])] {
        let mut bed = Bed::new(1);
        let sa = ChildSa { pads, ..bed.pair(1) };
        bed.installer.install(bed.now, InstallToken(1), &sa, &settings());
        let specs = bed.commands().into_iter().filter_map(|(_, c)| {
            if let WorkerCommand::InstallSa { spec, .. } = c { Some(spec.tfc) } else { None }
        });
        assert_eq!(specs.collect::<Vec<_>>(), wanted);
    }
}

/// R301, R308: RFC 9611. A worker with an SA of its own sends by no other one, and no other worker by that.
#[test]
fn a_worker_with_an_sa_of_its_own_keeps_to_it() {
    let mut bed = Bed::new(3);
    let all = bed.up(1);
    let first = bed.spis.owner(all.inbound_spi).0;
    let near = |apart| Some(ravelin_ike::endpoint::Near { spi: all.inbound_spi, apart });
    let mut own = bed.pair(2);
    own.inbound_spi = bed.spis.clone().inbound_spi(ChildId(3), near(1));
    let worker = WorkerId((first + 1) % 3);
    bed.installer.install(bed.now, InstallToken(2), &own, &settings());
    let commands = bed.commands();
    assert!(commands.iter().all(|(w, _)| *w == worker), "both directions live with their worker");
    bed.answer(&commands);
    bed.installer.use_outbound(bed.now, own.id, 1);
    let commands = bed.commands();
    assert_eq!(kinds(&commands), ["use"]);
    assert_eq!(commands[0].0, worker);
    bed.answer(&commands);
    let used =
        |bed: &Bed, sa: &ChildSa| bed.installer.is_used(TunnelId(3), bed.half(sa, Direction::Outbound).id);
    assert!(used(&bed, &all) && used(&bed, &own));
    // A rekey of the one for all does not concern it.
    let next = bed.install(3);
    let commands = bed.commands();
    bed.answer(&commands);
    bed.installer.use_outbound(bed.now, next.id, 0);
    let commands = bed.commands();
    assert!(commands.len() == 2 && commands.iter().all(|(w, _)| *w != worker), "{commands:?}");
    bed.answer(&commands);
    // It ends: its worker goes by the one for all.
    bed.installer.leave_own(own.id);
    let commands = bed.commands();
    let (owner, sa) = (bed.spis.owner(next.inbound_spi), bed.half(&next, Direction::Outbound).id);
    let [(to, WorkerCommand::UseOutbound { owner: o, sa: s, .. })] = commands.as_slice() else {
        panic!("{commands:?}")
    };
    assert_eq!((*to, *o, *s), (worker, owner, sa));
    bed.installer.remove(bed.now, own.id, Duration::ZERO);
    bed.installer.expire(bed.now);
    assert_eq!(kinds(&bed.commands()), ["report", "remove", "remove"], "and is not stopped");
}

#[test]
fn without_any_other_a_worker_whose_own_sa_ends_sends_nothing() {
    let mut bed = Bed::new(2);
    let (all, own) = (bed.up(1), bed.install(2));
    let commands = bed.commands();
    bed.answer(&commands);
    bed.installer.use_outbound(bed.now, own.id, 1);
    bed.commands();
    bed.installer.remove(bed.now, all.id, Duration::ZERO);
    assert_eq!(kinds(&bed.commands())[..1], ["stop"], "only the worker without one of its own");
    bed.installer.remove(bed.now, own.id, Duration::ZERO);
    assert_eq!(kinds(&bed.commands())[..1], ["stop"]);
    assert!(bed.installer.in_use(TunnelId(3)).is_none());
}

/// R309
#[test]
fn the_counts_of_a_tunnel_never_go_down_across_rekeys() {
    let mut bed = Bed::new(1);
    let old = bed.up(1);
    let half = bed.half(&old, Direction::Inbound);
    bed.installer.report(report(&half, 10));
    assert_eq!(bed.installer.take_alive(), [old.id]);
    assert_eq!(bed.installer.totals(TunnelId(3)).packets_in, 10);
    let new = bed.up(2);
    bed.installer.remove(bed.now, old.id, Duration::ZERO);
    bed.installer.expire(bed.now);
    let commands = bed.commands();
    // What came between the last report and the removal is told by the report that precedes the removal.
    bed.installer.report(report(&half, 12));
    bed.answer(&commands);
    assert_eq!(bed.installer.totals(TunnelId(3)).packets_in, 12);
    let half = bed.half(&new, Direction::Inbound);
    bed.installer.report(report(&half, 1));
    assert_eq!(
        bed.installer.totals(TunnelId(3)),
        Totals { packets_in: 13, bytes_in: 1300, ..Totals::default() }
    );
    bed.installer.reset(1);
    assert_eq!(bed.installer.totals(TunnelId(3)).packets_in, 13, "also when the data plane dies");
}
