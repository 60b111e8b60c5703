//! SAs that the data plane has from a control process before this one, and from before a reload.
//!
//! Decides: which of them stay. Reads: what the workers report, the configuration. Writes: the installer's list; whether
//! filters are told. Never: takes an SA away before its tunnel has another, unless it fits none.

use super::Core;
use crate::config::Config;
use crate::install::Half;
use ravelin_ike::command::Command;
use ravelin_ike::event::ChildSaId;
use ravelin_ring::msg::{Direction, SaReport, TunnelId, WorkerId};
use std::time::Instant;
use tracing::info;

impl Core {
    /// The data plane has SAs of a control process before this one: asks for them.
    pub(in crate::driver) fn begin_adoption(&mut self) {
        self.adopting = true;
        self.installer.ask_reports();
    }

    /// One that this process has not made.
    pub(super) fn adopt(&mut self, now: Instant, worker: WorkerId, report: SaReport) {
        // The last list went from the file while nobody read it. As where a reload removes it: all may pass.
        if report.filtered && !self.config.filtered {
            self.config.filtered = true;
            self.peers.changed = true;
        }
        self.installer.adopt(now, worker, report);
    }

    /// Once every worker has reported: what fits no tunnel goes, the rest is known. True when it is over.
    pub(in crate::driver) fn adoption_ended(&mut self) -> bool {
        if self.installer.is_reporting() {
            return false;
        }
        self.adopting = false;
        let (config, known, peers) = (&self.config, self.ids_known, &self.peers);
        self.installer.drop_adopted(|half| !known || !fits(config, peers.tunnel(half.tunnel), half));
        info!(
            kept = self.installer.adopted().filter(|h| !h.leaving).count(),
            "SAs of the data plane adopted"
        );
        true
    }

    /// After a reload: what goes through a tunnel may be of another VRF. Nothing comes out of its SAs then, so it gets new ones.
    pub(super) fn follow_vrfs(&mut self, now: Instant) {
        if !self.connected {
            return;
        }
        for pair in self.of_other_vrfs() {
            self.command(now, Command::RekeyChild(pair));
        }
        let (config, peers) = (&self.config, &self.peers);
        self.installer.drop_adopted(|half| is_moved(config, peers.tunnel(half.tunnel), half));
    }

    fn of_other_vrfs(&self) -> Vec<ChildSaId> {
        let moved = |h: &&Half| is_moved(&self.config, self.peers.tunnel(h.tunnel), h);
        let halves = self.installer.halves().filter(|h| h.direction == Direction::Inbound && !h.leaving);
        halves.filter(moved).filter_map(|h| h.pair).collect()
    }
}

/// The number alone is not enough: traffic would go to another peer, or to another one's network.
fn fits(config: &Config, tunnel: TunnelId, half: &Half) -> bool {
    let (Some(report), Some(tunnel)) = (&half.report, config.tunnel_by_id(tunnel)) else { return false };
    tunnel.locals().any(|l| l == report.local.ip())
        && tunnel.has_gateway(report.remote.ip())
        && (half.outside, half.inside) == (config.outside(tunnel), config.inside(tunnel))
}

fn is_moved(config: &Config, tunnel: TunnelId, half: &Half) -> bool {
    config.tunnel_by_id(tunnel).is_some_and(|tunnel| config.inside(tunnel) != half.inside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install::IdSalt;
    use ravelin_ike::config::ChildId;
    use ravelin_ike::record::PairRef;
    use ravelin_ring::msg::{Mode, Outcome, SaId, Suite, WorkerCommand, WorkerEvent};
    use std::net::SocketAddr;
    use std::path::Path;

    /// Two customers whose gateways have the same addresses.
    const OUTSIDE: &str = include_str!("../../../../configs/vrfs-outside.toml");
    const PLAIN: &str = include_str!("../../../../configs/minimal.toml");

    /// What was installed for each tunnel of `old`, whose process was killed, reported to one with `new`.
    fn adopted(old: &str, new: &str, filtered: bool) -> Core {
        let parse = |text: &str| Config::parse(Path::new("gw.toml"), text).unwrap_or_else(|e| panic!("{e}"));
        let (old, now) = (parse(old), Instant::now());
        let mut new = parse(new);
        new.keep_ids(&Config { filtered: false, ..old.clone() });
        let mut core = Core::new(new, None, IdSalt::new([0; 32]), now);
        core.ids_known = true;
        core.connect(1);
        core.begin_adoption();
        for (n, tunnel) in (1..).zip(&old.tunnels) {
            for direction in [Direction::Inbound, Direction::Outbound] {
                let inbound = direction == Direction::Inbound;
                let end = |addr| SocketAddr::new(addr, 0);
                let report = SaReport {
                    id: SaId(n * 2 + u64::from(inbound)),
                    tunnel: tunnel.id,
                    direction,
                    spi: 0x1000.try_into().unwrap(),
                    suite: Suite::Aes128Gcm16,
                    mode: Mode::Tunnel,
                    local: end(tunnel.local),
                    remote: end(tunnel.remote.unwrap()),
                    sequence: 0,
                    packets: 0,
                    bytes: 0,
                    replay_drops: 0,
                    icv_drops: 0,
                    selector_drops: 0,
                    idle_ms: 0,
                    in_use: !inbound,
                    outside: old.outside(tunnel),
                    inside: old.inside(tunnel),
                    filtered: filtered && inbound,
                };
                core.worker_event(now, WorkerId(0), WorkerEvent::SaReport(Box::new(report)));
            }
        }
        while let Some((worker, command)) = core.poll_worker_command() {
            if let WorkerCommand::ReportSas { token } = command {
                core.worker_event(now, worker, WorkerEvent::Done { token, outcome: Outcome::Ok });
            }
        }
        assert!(core.adoption_ended());
        core
    }

    fn kept(core: &Core) -> Vec<TunnelId> {
        let halves = core.installer.adopted().filter(|h| !h.leaving && h.direction == Direction::Inbound);
        let mut tunnels: Vec<TunnelId> = halves.map(|h| h.tunnel).collect();
        tunnels.sort();
        tunnels
    }

    // R68, R132, R306: the same addresses in another VRF are another peer's, and what goes through another customer's.
    #[test]
    fn sas_of_another_vrf_are_not_gone_on_with() {
        let all = kept(&adopted(OUTSIDE, OUTSIDE, false));
        assert_eq!(all.len(), 2);
        let blue = OUTSIDE.find("name = \"blue\"\nlocal").expect("the tunnel");
        let (before, of_blue) = OUTSIDE.split_at(blue);
        for (from, to) in [("outside-vrf = \"blue\"", "outside-vrf = \"red\""), ("\nvrf = \"blue\"", "")] {
            assert_eq!(of_blue.matches(from).count(), 1, "{from}");
            let new = format!("{before}{}", of_blue.replace(from, to));
            assert_eq!(kept(&adopted(OUTSIDE, &new, false)), all[..1], "{from} {to}");
        }
    }

    // R132: a reload that changes `vrf` has SAs of others renewed, and what nobody would renew goes.
    #[test]
    fn sas_of_a_tunnel_that_changed_its_vrf_are_renewed() {
        let mut core = adopted(OUTSIDE, OUTSIDE, false);
        let [red, blue] = kept(&core)[..] else { panic!("{:?}", kept(&core)) };
        let spi = 0x1000.try_into().unwrap();
        let pair =
            PairRef { id: ChildSaId(7), child: ChildId(red.0), inbound: spi, outbound: spi, esn: false };
        let there = core.installer.adopted_pairs();
        core.installer.bind(&there, &pair, 64);
        assert_eq!((core.of_other_vrfs(), kept(&core)), (vec![], vec![blue]));
        for vrf in &mut core.config.vrfs {
            vrf.table += 10;
        }
        assert_eq!(core.of_other_vrfs(), [ChildSaId(7)]);
        core.reconfigure(Instant::now(), vec![]);
        assert_eq!(kept(&core), []);
    }

    // R223: the last filter went while no process was there: what was made for it is told that all may pass.
    #[test]
    fn a_filter_that_went_unseen_leaves_nothing_shut() {
        for filtered in [false, true] {
            let core = adopted(PLAIN, PLAIN, filtered);
            assert_eq!((core.config.filtered, core.peers.changed), (filtered, filtered));
            assert_eq!(core.config.filters(&core.peers.selectors()).is_empty(), !filtered);
            assert_eq!(kept(&core).len(), 1);
        }
    }
}
