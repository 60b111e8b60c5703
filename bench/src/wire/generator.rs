//! Who makes the load where it is to be as heavy as possible: the tester's own AF_XDP socket, the kernel's test run with
//! live frames, or the kernel's pktgen. Only the first can be paced, so all searches use it.

use super::packet::{Clear, FIRST_PORT};
use super::pktgen::Pktgen;
use super::tester::{Load, Stream, Tester};
use super::traffic::{Direction, Size};
use anyhow::{Context, ensure};
use ravelin_ebpf::bench::LiveFrames;
use ravelin_ebpf::bench_abi::Blast;
use std::time::Duration;

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Generator {
    /// The one that serves every load: afxdp
    Auto,
    /// The bench's own socket: every direction and mix
    Afxdp,
    /// BPF_PROG_TEST_RUN with live frames (Linux 5.18): direction out, one size
    Live,
    /// The kernel's packet generator (module pktgen): direction out, one size
    Pktgen,
}

/// Frames of one call into the kernel: some milliseconds.
const LIVE_CALL: u32 = 8192;

impl Generator {
    /// What `Auto` comes to.
    pub(super) fn chosen(self) -> Self {
        match self {
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
        let kind = self.chosen();
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
                let result = tester.overload(time, warm_up, || {
                    std::thread::sleep(Duration::from_millis(1));
                    Ok(())
                });
                pktgen.stop()?;
                result
            }
        }
    }
}

fn live(
    tester: &mut Tester,
    stream: &Stream,
    time: Duration,
    warm_up: Duration,
) -> anyhow::Result<(f64, bool)> {
    let (end, path) = tester.near();
    let template = Clear::new(path, stream.size, stream.flows, stream.count).example();
    let what = Blast {
        flows: stream.flows.into(),
        tunnels: stream.count,
        first_destination: path.destination.to_bits(),
        first_port: FIRST_PORT.into(),
    };
    let mut live = end.clone().inside(|| {
        let ifindex = nix::net::if_::if_nametoindex(end.dev.as_str())?;
        LiveFrames::new(&end.dev, ifindex, template, what).context("take --generator afxdp instead")
    })?;
    tester.overload(time, warm_up, move || Ok(live.send(LIVE_CALL)?))
}
