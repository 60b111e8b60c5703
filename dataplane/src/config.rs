//! Whether a setup can be run at all, and in what another one differs. Reads nothing but the setup and the number of
//! cores. The control process has checked it too; this side trusts nobody.

use anyhow::{Context as _, ensure};
use ravelin_ring::layout::{MAX_PORTS, MAX_WORKERS};
use ravelin_ring::setup::{PortSetup, Setup};
use std::collections::BTreeSet;

/// Frames a worker needs to have two batches on their way and something lent to each port.
const FRAMES_PER_WORKER: u32 = 1024;

pub(crate) fn check(setup: &Setup, cores: &[usize]) -> anyhow::Result<()> {
    ensure!((1..=MAX_PORTS).contains(&setup.ports.len()), "from 1 to {MAX_PORTS} ports are needed");
    let names: BTreeSet<&str> = setup.ports.iter().map(|p| p.name.as_str()).collect();
    ensure!(names.len() == setup.ports.len(), "a port is named twice");
    for name in names {
        check_name(name).with_context(|| format!("port {name:?}"))?;
        ensure!(name != setup.tun, "port {name} and the TUN device have the same name");
    }
    check_name(&setup.tun).with_context(|| format!("TUN device {:?}", setup.tun))?;
    ensure!((1..=MAX_WORKERS).contains(&setup.cores.len()), "from 1 to {MAX_WORKERS} cores are needed");
    let mut used = BTreeSet::new();
    for core in &setup.cores {
        ensure!(used.insert(core), "core {core} is named twice");
        ensure!(
            cores.contains(&usize::from(*core)),
            "core {core} does not exist or is not ours to use (those are {cores:?})"
        );
    }
    ensure!(matches!(setup.frame_size, 2048 | 4096), "frame-size must be 2048 or 4096");
    ensure!(
        setup.ring_size.is_power_of_two() && (64..=32768).contains(&setup.ring_size),
        "ring-size must be a power of two from 64 to 32768"
    );
    let workers = u32::try_from(setup.cores.len()).unwrap_or(u32::MAX);
    ensure!(setup.frames <= 1 << 22, "frames must be at most {}", 1 << 22);
    ensure!(
        setup.frames / workers >= FRAMES_PER_WORKER,
        "frames must be at least {FRAMES_PER_WORKER} for each core"
    );
    ensure!((1..=1 << 20).contains(&setup.max_sas), "max-sas must be from 1 to {}", 1 << 20);
    Ok(())
}

/// As the kernel has it (`dev_valid_name`).
fn check_name(name: &str) -> anyhow::Result<()> {
    ensure!((1..=15).contains(&name.len()), "a device's name has from 1 to 15 characters");
    let lawful = name.chars().all(|c| !c.is_whitespace() && c != '/' && c != ':');
    ensure!(lawful && name != "." && name != "..", "this is no name of a device");
    Ok(())
}

/// In what the new setup differs from the one in force. `None`: in nothing.
pub(crate) fn difference(old: &Setup, new: &Setup) -> Option<String> {
    let mut what = Vec::new();
    let mut note = |same: bool, name: &'static str| {
        if !same {
            what.push(name);
        }
    };
    let alike = |(a, b): (&PortSetup, &PortSetup)| a.is_like(b);
    let same = old.ports.len() == new.ports.len() && old.ports.iter().zip(&new.ports).all(alike);
    note(same, "ports");
    note(old.cores == new.cores, "cores");
    note(old.frames == new.frames, "frames");
    note(old.frame_size == new.frame_size, "frame-size");
    note(old.ring_size == new.ring_size, "ring-size");
    note(old.huge_pages == new.huge_pages, "huge-pages");
    note(old.busy_poll_us == new.busy_poll_us, "busy-poll");
    note(old.tun == new.tun, "tun");
    note(old.udp_encap_port == new.udp_encap_port, "udp-encap-port");
    note(old.max_sas == new.max_sas, "max-sas");
    (!what.is_empty()).then(|| {
        format!(
            "it runs with other settings of {}; restart ravelin-dataplane to change them",
            what.join(", ")
        )
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use ravelin_ring::setup::Attach;

    pub(crate) fn lawful() -> Setup {
        let port = |name: &str| PortSetup {
            name: name.into(),
            attach: Attach::Auto,
            reverse_path: Default::default(),
            vpn_only: false,
        };
        Setup {
            ports: vec![port("wan0"), port("lan0")],
            cores: vec![0, 1],
            frames: 16384,
            frame_size: 2048,
            ring_size: 2048,
            huge_pages: false,
            busy_poll_us: 0,
            tun: "ravelin0".into(),
            udp_encap_port: None,
            max_sas: 4096,
        }
    }

    #[test]
    fn each_lie_is_named() {
        type Spoil = fn(&mut Setup);
        check(&lawful(), &[0, 1]).unwrap();
        let cases: [(Spoil, &str); 12] = [
            (|s| s.ports.clear(), "ports"),
            (|s| s.ports[1].name = "wan0".into(), "twice"),
            (|s| s.ports[1].name = "a/b".into(), "\"a/b\""),
            (|s| s.ports[1].name = "sixteen-letters.".into(), "1 to 15"),
            (|s| s.tun = "wan0".into(), "same name"),
            (|s| s.cores.clear(), "cores"),
            (|s| s.cores = vec![1, 1], "twice"),
            (|s| s.cores = vec![7], "core 7"),
            (|s| s.frames = 1000, "1024 for each core"),
            (|s| s.frame_size = 1500, "frame-size"),
            (|s| s.ring_size = 1000, "ring-size"),
            (|s| s.max_sas = 0, "max-sas"),
        ];
        for (spoil, word) in cases {
            let mut setup = lawful();
            spoil(&mut setup);
            let error = format!("{:#}", check(&setup, &[0, 1]).unwrap_err());
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn differences_are_named() {
        let mut other = lawful();
        assert_eq!(difference(&lawful(), &other), None);
        other.ports[0].vpn_only = true; // a reload changes it
        assert_eq!(difference(&lawful(), &other), None);
        other.frames = 1;
        other.tun = "x".into();
        assert!(difference(&lawful(), &other).unwrap().contains("frames, tun;"));
    }
}
