//! Tunnels that send and hear nothing: up at both ends, while something on the way drops what comes (R48, R52).
//!
//! Decides: when a tunnel is one-way, and what is tried. Reads: counts of packets. Writes: commands for the engine, the
//! log. Never: takes down what works in one direction; tries the same twice while nothing was heard.

use super::core::Core;
use crate::metrics::{Counter, Totals};
use ravelin_ike::command::Command;
use ravelin_ike::config::ConnectionId;
use ravelin_ring::msg::TunnelId;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// Fewer packets without an answer are no sign of anything.
const FEW: u64 = 3;

/// What was counted of one tunnel when it was last heard, and since when it sends.
#[derive(Clone, Copy, Debug)]
struct Flow {
    heard: u64,
    sent: u64,
    since: Option<Instant>,
    /// Steps taken.
    steps: u32,
}

/// Of all tunnels that are up.
#[derive(Debug, Default)]
pub(super) struct Watch(BTreeMap<TunnelId, Flow>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// It is one-way: another pair, with other SPIs.
    Rekey,
    /// It still is: another IKE SA, which looks for NATs again.
    Renew,
    /// It was, and is no more.
    Heard,
}

impl Watch {
    /// `totals` of a tunnel that is up, `None` of one that is not.
    fn observe(
        &mut self,
        now: Instant,
        tunnel: TunnelId,
        totals: Option<Totals>,
        after: Duration,
    ) -> Option<Step> {
        let Some(t) = totals.filter(|_| !after.is_zero()) else {
            self.0.remove(&tunnel);
            return None;
        };
        let fresh = Flow { heard: t.packets_in, sent: t.packets_out, since: None, steps: 0 };
        let flow = self.0.entry(tunnel).or_insert(fresh);
        if t.packets_in != flow.heard {
            let was = std::mem::replace(flow, fresh);
            return (was.steps > 0).then_some(Step::Heard);
        }
        let unanswered = t.packets_out.saturating_sub(flow.sent);
        if unanswered == 0 {
            return None;
        }
        let since = *flow.since.get_or_insert(now);
        let due = since + after * (flow.steps + 1);
        if unanswered < FEW || now < due {
            return None;
        }
        flow.steps = flow.steps.saturating_add(1).min(3);
        match flow.steps {
            1 => Some(Step::Rekey),
            2 => Some(Step::Renew),
            _ => None,
        }
    }

    /// How long it has been one-way.
    pub(super) fn one_way(&self, now: Instant, tunnel: TunnelId) -> Option<Duration> {
        let flow = self.0.get(&tunnel).filter(|f| f.steps > 0)?;
        flow.since.map(|since| now.saturating_duration_since(since))
    }
}

impl Core {
    /// With each report of the workers.
    pub(super) fn look_for_one_way(&mut self, now: Instant) {
        let totals = self.installer.all_totals();
        let mut steps = Vec::new();
        for tunnel in &self.config.tunnels {
            let up = self.installer.in_use(tunnel.id).map(|_| totals.get(&tunnel.id).copied());
            let step = self.watch.observe(now, tunnel.id, up.flatten(), tunnel.exchanges.one_way_after);
            steps.extend(step.map(|step| (tunnel.id, step)));
        }
        for (tunnel, step) in steps {
            self.take_step(now, tunnel, step);
        }
    }

    fn take_step(&mut self, now: Instant, tunnel: TunnelId, step: Step) {
        let name = self.config.tunnel_by_id(tunnel).map_or("(removed)", |t| t.name.as_str()).to_owned();
        match step {
            Step::Rekey => {
                self.metrics.count(Counter::OneWay);
                warn!(
                    tunnel = name,
                    "one-way: it sends and receives nothing; new child SAs are made. If that does not help: does \
                     something between the gateways drop ESP (encapsulation = \"udp\" passes where ESP does not), and \
                     does the peer route the answers into its tunnel?"
                );
                let used = self.installer.in_use(tunnel).and_then(|sa| self.installer.half(sa)?.pair);
                if let Some(pair) = used {
                    self.command(now, Command::RekeyChild(pair));
                }
            }
            Step::Renew => {
                warn!(tunnel = name, "still one-way: a new IKE SA is made beside the one that is up");
                self.command(now, Command::Renew { connection: ConnectionId(tunnel.0) });
            }
            Step::Heard => info!(tunnel = name, "no more one-way: packets are received"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: TunnelId = TunnelId(3);
    const AFTER: Duration = Duration::from_secs(30);

    struct Bed {
        watch: Watch,
        start: Instant,
    }

    impl Bed {
        fn new() -> Self {
            let mut bed = Self { watch: Watch::default(), start: Instant::now() };
            assert_eq!(bed.at(0, (5, 5)), None);
            bed
        }

        /// Received and sent so far, at this second.
        fn at(&mut self, second: u64, (packets_in, packets_out): (u64, u64)) -> Option<Step> {
            let totals = Totals { packets_in, packets_out, ..Totals::default() };
            self.watch.observe(self.start + Duration::from_secs(second), T, Some(totals), AFTER)
        }

        fn one_way(&self, second: u64) -> Option<u64> {
            let now = self.start + Duration::from_secs(second);
            self.watch.one_way(now, T).map(|d| d.as_secs())
        }
    }

    // R48
    #[test]
    fn it_is_said_once_then_another_pair_then_another_ike_sa_then_nothing_more() {
        let mut bed = Bed::new();
        assert_eq!(bed.at(10, (5, 6)), None);
        assert_eq!(bed.at(39, (5, 90)), None);
        assert_eq!(bed.one_way(39), None);
        assert_eq!(bed.at(40, (5, 91)), Some(Step::Rekey));
        assert_eq!(bed.one_way(45), Some(35));
        assert_eq!(bed.at(41, (5, 92)), None);
        assert_eq!(bed.at(70, (5, 93)), Some(Step::Renew));
        for second in 71..2000 {
            assert_eq!(bed.at(second, (5, 93 + second)), None, "no more than that");
        }
        assert_eq!(bed.at(2000, (6, 3000)), Some(Step::Heard));
        assert_eq!(bed.one_way(2001), None);
        assert_eq!(bed.at(2001, (6, 3001)), None);
        assert_eq!(bed.at(2040, (6, 3100)), Some(Step::Rekey), "and anew");
    }

    #[test]
    fn whoever_is_answered_or_silent_is_not_one_way() {
        let mut bed = Bed::new();
        for second in 1..500 {
            assert_eq!(bed.at(second, (5 + second / 20, 5 + second)), None, "answered now and then");
        }
        let mut bed = Bed::new();
        assert_eq!(bed.at(500, (5, 5)), None, "nothing sent");
        assert_eq!(bed.at(501, (5, 7)), None);
        assert_eq!(bed.at(900, (5, 7)), None, "two packets are no sign");
        assert_eq!(bed.at(901, (900, 7)), None, "only received");
    }

    #[test]
    fn a_tunnel_that_goes_down_is_forgotten() {
        let mut bed = Bed::new();
        bed.at(1, (5, 50));
        assert_eq!(bed.at(31, (5, 90)), Some(Step::Rekey));
        assert_eq!(bed.watch.observe(bed.start + AFTER * 2, T, None, AFTER), None);
        assert_eq!(bed.one_way(60), None);
        assert_eq!(bed.at(61, (5, 99)), None, "up again: counted from there");
        assert_eq!(bed.watch.observe(bed.start, T, Some(Totals::default()), Duration::ZERO), None, "off");
    }
}
