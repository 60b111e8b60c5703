//! Who makes the load where it is to be as heavy as possible: the tester's own AF_XDP socket, the kernel's test run with
//! live frames, or the kernel's pktgen. Only the first can be paced, so all searches use it.

use super::packet::{Clear, FIRST_PORT};
use super::pktgen::Pktgen;
use super::tester::{Load, Stream, Tester};
use super::traffic::{Direction, Size};
use anyhow::{Context, ensure};
use ravelin_ebpf::bench::LiveFrames;
use ravelin_ebpf::bench_abi::Blast;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Generator {
    /// live for packets in clear of one size where the kernel can, else afxdp
    Auto,
    /// The bench's own socket: every direction and mix
    Afxdp,
    /// BPF_PROG_TEST_RUN with live frames (Linux 5.18): direction out, one size
    Live,
    /// The kernel's packet generator (module pktgen): direction out, one size
    Pktgen,
}

/// Packets of the two calls by which the generator's speed is learnt.
const SHORT_CALL: u32 = 1 << 12;
const LONG_CALL: u32 = 1 << 18;
/// Seconds that a packet takes at least: a bound of the arithmetic.
const FASTEST: f64 = 20e-9;

impl Generator {
    /// Once, before the first load: whether this kernel can do what is asked for.
    pub(super) fn settled(self, tester: &mut Tester) -> Self {
        if self != Self::Auto {
            return self;
        }
        let stream =
            Stream { direction: Direction::Out, size: Size::Fixed(64), flows: 1, count: 1, tunnels: None };
        match live_frames(tester, &stream) {
            Ok(_) => Self::Auto,
            Err(e) => {
                eprintln!("note: no live frames here, the rate is made by AF_XDP: {e:#}");
                Self::Afxdp
            }
        }
    }

    /// What `Auto` comes to for this load.
    pub(super) fn chosen(self, direction: Direction, size: Size) -> Self {
        match self {
            Self::Auto if direction == Direction::Out && size != Size::Imix => Self::Live,
            Self::Auto => Self::Afxdp,
            Self::Afxdp | Self::Live | Self::Pktgen => self,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Afxdp => "afxdp",
            Self::Live => "live",
            Self::Pktgen => "pktgen",
        }
    }

    /// Packets per second that come through when more is offered, and whether the machine was busy elsewhere.
    pub(super) fn overload(
        self,
        tester: &mut Tester,
        stream: &Stream,
        time: Duration,
        warm_up: Duration,
    ) -> anyhow::Result<(f64, bool)> {
        let kind = self.chosen(stream.direction, stream.size);
        if matches!(kind, Self::Live | Self::Pktgen) {
            ensure!(
                stream.direction == Direction::Out && stream.size != Size::Imix,
                "generator {} makes packets in clear of one size; for other loads take --generator afxdp",
                kind.name()
            );
        }
        match kind {
            Self::Auto | Self::Afxdp => {
                let load = Load { time: warm_up + time, warm_up, ..Load::default() };
                let outcome = tester.run(stream, &load)?;
                Ok((outcome.window, outcome.trial.disturbed))
            }
            Self::Live => live(tester, stream, time, warm_up),
            Self::Pktgen => {
                let (end, path) = tester.near();
                let (end, path) = (end.clone(), path);
                let mut pktgen = Pktgen::start(&end, path, stream)?;
                let result = tester.overload(warm_up, || {
                    std::thread::sleep(warm_up + time);
                    Ok(())
                });
                pktgen.stop()?;
                result
            }
        }
    }
}

/// Ready, and proved by one packet to be possible here.
fn live_frames(tester: &Tester, stream: &Stream) -> anyhow::Result<LiveFrames> {
    let (end, path) = tester.near();
    let template = Clear::new(path, stream.size, stream.flows, stream.count).example();
    let what = Blast {
        flows: stream.flows.into(),
        tunnels: stream.count,
        first_destination: path.destination.to_bits(),
        first_port: FIRST_PORT.into(),
    };
    end.inside(|| {
        let ifindex = nix::net::if_::if_nametoindex(end.dev.as_str())?;
        let mut live = LiveFrames::new(&end.dev, ifindex, template, what)?;
        live.send(1).context("take --generator afxdp instead")?;
        Ok(live)
    })
}

fn live(
    tester: &mut Tester,
    stream: &Stream,
    time: Duration,
    warm_up: Duration,
) -> anyhow::Result<(f64, bool)> {
    let mut live = live_frames(tester, stream)?;
    let mut took = [Duration::ZERO; 2];
    tester.overload(Duration::ZERO, || {
        for (took, packets) in took.iter_mut().zip([SHORT_CALL, LONG_CALL]) {
            let start = Instant::now();
            live.send(packets)?;
            *took = start.elapsed();
        }
        Ok(())
    })?;
    let attempts = attempts_in(warm_up + time, took[0], took[1]);
    tester.overload(warm_up, || Ok(live.send(attempts)?))
}

/// How many packets the generator tries to send in `time`, from what two calls of different length took: every call
/// costs some hundredths of a second before its first packet, so that a window must lie within one call.
fn attempts_in(time: Duration, short: Duration, long: Duration) -> u32 {
    let each = (long.as_secs_f64() - short.as_secs_f64()) / f64::from(LONG_CALL - SHORT_CALL);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // bounded
    let attempts = (time.as_secs_f64() / each.max(FASTEST)).min(f64::from(u32::MAX / 2)) as u32;
    attempts.max(LONG_CALL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_of_a_call_does_not_count() {
        // 50 ms a call and 100 ns a packet.
        let took = |n| Duration::from_millis(50) + Duration::from_nanos(100) * n;
        let attempts = attempts_in(Duration::from_secs(2), took(SHORT_CALL), took(LONG_CALL));
        assert!((19_999_000..=20_001_000).contains(&attempts), "{attempts}");
    }

    #[test]
    fn nonsense_is_bounded() {
        let (short, long) = (Duration::from_millis(1), Duration::from_secs(1));
        assert_eq!(attempts_in(Duration::ZERO, short, long), LONG_CALL, "no empty call");
        assert!(attempts_in(Duration::from_secs(60), long, short) <= u32::MAX / 2, "the longer was shorter");
        assert!(attempts_in(Duration::from_secs(1), long, long) <= 50_000_000);
    }
}
