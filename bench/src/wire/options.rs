//! The command line of `wire`, checked.

use super::gateway::Tuning;
use super::generator::Generator;
use super::lab::{End, Ends};
use super::measure::Effort;
use super::packet::MAX_FLOWS;
use super::traffic::{Direction, HOST_A, HOST_B, MAX_TUNNELS, Size};
use crate::suites::SuiteName;
use anyhow::{Context, ensure};
use core::net::Ipv4Addr;
use ravelin_wire::MacAddr;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) const EXAMPLES: &str = "Examples:
  ravelin-bench wire --quick
  ravelin-bench wire --suites aes-128-gcm --sizes 64,1400,imix --directions out,in,both
  ravelin-bench wire --tests throughput,latency --loss 0,0.01% --report out/
  ravelin-bench wire --tests rate,latency --busy-poll 20 --huge-pages
  ravelin-bench wire --quick --json | jq 'select(.what == \"rate\") | .ratio'
  ravelin-bench wire --ports eth1,eth2 --box-macs 02:00:00:00:00:02,02:00:00:00:00:03 \\
      --source 10.1.0.10 --destination 10.2.0.10

The tester and everything on its core run on core 0, the forwarder and the gateway's worker on core 1.
Sizes are those of the inner IP packet in bytes. Rates of both directions at once are sums.";

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Test {
    /// Packets per second when more is offered, forwarder and gateway in turns
    Rate,
    /// Greatest rate with no more than the allowed loss, by binary search
    Throughput,
    /// Percentiles at shares of the throughput
    Latency,
    /// Longest burst without loss
    Burst,
    /// Time until nothing is lost after an overload
    Recovery,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// One suite, sizes 64 and 1400, direction out, short trials: a minute and a half
    #[arg(long)]
    pub(super) quick: bool,
    /// What is measured, comma-separated
    #[arg(long, value_delimiter = ',', default_value = "rate,throughput,latency,burst,recovery")]
    pub(super) tests: Vec<Test>,
    /// Suites, comma-separated
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "aes-128-gcm,aes-256-gcm,aes-256-cbc-hmac-sha2-256,aes-128-cbc-hmac-sha1-96,chacha20-poly1305"
    )]
    pub(super) suites: Vec<SuiteName>,
    /// Inner packet sizes in bytes, comma-separated; imix: 7 of 64, 4 of 576, 1 of 1400
    #[arg(long, value_delimiter = ',', default_value = "64,512,1400")]
    pub(super) sizes: Vec<Size>,
    /// Ways through the gateway, comma-separated
    #[arg(long, value_delimiter = ',', default_value = "out,in")]
    pub(super) directions: Vec<Direction>,
    /// Tunnels that the packets take in turns
    #[arg(long, default_value_t = 1)]
    pub(super) tunnels: u32,
    /// Flows (source ports) of each tunnel
    #[arg(long, default_value_t = 256)]
    pub(super) flows: u16,
    /// Who makes the load of the rate; all else is paced and uses the tester's own socket
    #[arg(long, value_enum, default_value = "auto")]
    pub(super) generator: Generator,
    /// Losses allowed in the searches, comma-separated: 0 for the no-drop rate, 0.01% for a partial-drop rate
    #[arg(long, value_delimiter = ',', default_value = "0", value_parser = loss)]
    pub(super) loss: Vec<f64>,
    /// Loads at which latency is measured, in percent of the throughput, comma-separated
    #[arg(long, value_delimiter = ',', default_value = "10,50,90", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(super) loads: Vec<u32>,
    /// Length of one trial of searches, latency and recovery in seconds
    #[arg(long, default_value_t = 1.0)]
    pub(super) seconds: f64,
    /// Length of one window of a rate in seconds
    #[arg(long, default_value_t = 0.2, value_name = "SECONDS")]
    pub(super) window: f64,
    /// Windows of each rate, forwarder and gateway in turns; medians are quoted
    #[arg(long, default_value_t = 16)]
    pub(super) windows: usize,
    /// The data plane to measure; default: beside this program
    #[arg(long)]
    pub(super) dataplane: Option<PathBuf>,
    /// Measure the data plane with busy polling, too: so many microseconds (its `busy-poll`)
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1000))]
    pub(super) busy_poll: u16,
    /// Measure the data plane with its frames in huge pages, too (its `huge-pages`)
    #[arg(long)]
    pub(super) huge_pages: bool,
    /// One JSON object per line instead of text
    #[arg(long)]
    pub(super) json: bool,
    /// Write a report there: index.md with plots
    #[arg(long, value_name = "DIR")]
    pub(super) report: Option<PathBuf>,
    /// Measure a box that is configured already: the ports where clear packets enter it and where they leave it (or ESP)
    #[arg(long, value_name = "NEAR,FAR", value_delimiter = ',', requires = "box_macs")]
    pub(super) ports: Vec<String>,
    /// Network namespaces (/run/netns) of the two ports, if they are not in that of this program
    #[arg(long, value_name = "NEAR,FAR", value_delimiter = ',', requires = "ports")]
    pub(super) namespaces: Vec<String>,
    /// Link addresses of the box, as seen from the two ports
    #[arg(long, value_name = "NEAR,FAR", value_delimiter = ',', value_parser = mac, requires = "ports")]
    pub(super) box_macs: Vec<MacAddr>,
    /// Source address of the packets to the box
    #[arg(long, default_value_t = HOST_A, requires = "ports")]
    pub(super) source: Ipv4Addr,
    /// Destination address of the packets to the box; with --tunnels N, N in a row
    #[arg(long, default_value_t = HOST_B, requires = "ports")]
    pub(super) destination: Ipv4Addr,
    /// What the report calls the box
    #[arg(long, default_value = "box", requires = "ports")]
    pub(super) name: String,
}

impl Options {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        ensure!((1..=MAX_TUNNELS).contains(&self.tunnels), "--tunnels: from 1 to {MAX_TUNNELS}");
        ensure!((1..=MAX_FLOWS).contains(&self.flows), "--flows: from 1 to {MAX_FLOWS}");
        ensure!((0.05..=60.0).contains(&self.seconds), "--seconds: from 0.05 to 60");
        ensure!((0.05..=60.0).contains(&self.window), "--window: from 0.05 to 60");
        ensure!((1..=100).contains(&self.windows), "--windows: from 1 to 100");
        for (name, empty) in [
            ("tests", self.tests.is_empty()),
            ("suites", self.suites.is_empty()),
            ("sizes", self.sizes.is_empty()),
            ("directions", self.directions.is_empty()),
            ("loss", self.loss.is_empty()),
        ] {
            ensure!(!empty, "--{name}: at least one");
        }
        for (name, given) in [
            ("ports", self.ports.len()),
            ("namespaces", self.namespaces.len()),
            ("box-macs", self.box_macs.len()),
        ] {
            ensure!(matches!(given, 0 | 2), "--{name}: two, near and far, with a comma between them");
        }
        Ok(())
    }

    /// The box's ends, when there is one.
    pub(super) fn ends(&self) -> anyhow::Result<Option<Ends>> {
        let ([near, far], [to_near, to_far]) = (&self.ports[..], &self.box_macs[..]) else { return Ok(None) };
        let namespace = |n: usize| self.namespaces.get(n).map(|n| PathBuf::from("/run/netns").join(n));
        let end = |dev: &String, to: &MacAddr, n| -> anyhow::Result<End> {
            let mut end = End { namespace: namespace(n), dev: dev.clone(), mac: MacAddr([0; 6]), to: *to };
            end.mac = end.inside(|| link_address(dev))?;
            Ok(end)
        };
        let (near, far) = (end(near, to_near, 0)?, end(far, to_far, 1)?);
        Ok(Some(Ends { near, far, source: self.source, destination: self.destination }))
    }

    /// The data plane as it is by default, and beside it as the options want it.
    pub(super) fn tunings(&self) -> Vec<Tuning> {
        let asked = Tuning { busy_poll_us: self.busy_poll, huge_pages: self.huge_pages };
        let mut all = vec![Tuning::default()];
        all.extend((asked != Tuning::default()).then_some(asked));
        all
    }

    pub(super) fn suites(&self) -> &[SuiteName] {
        if self.quick { &self.suites[..1] } else { &self.suites }
    }

    pub(super) fn sizes(&self) -> Vec<Size> {
        if self.quick { vec![Size::Fixed(64), Size::Fixed(1400)] } else { self.sizes.clone() }
    }

    pub(super) fn directions(&self) -> &[Direction] {
        if self.quick { &[Direction::Out] } else { &self.directions }
    }

    pub(super) fn loads(&self) -> &[u32] {
        if self.quick { &[50] } else { &self.loads }
    }

    pub(super) fn effort(&self) -> Effort {
        let [window, long] =
            [self.window, self.seconds].map(|s| Duration::from_secs_f64(s.clamp(0.05, 60.0)));
        if self.quick {
            let (long, trial) = (Duration::from_millis(500), Duration::from_millis(150));
            return Effort { window, long, trial, resolution: 0.05, trials: 24 };
        }
        Effort { window, long, trial: long, resolution: 0.01, trials: 60 }
    }
}

/// In the namespace of the calling thread.
fn link_address(dev: &str) -> anyhow::Result<MacAddr> {
    // Not /sys/class/net: it shows the namespace that mounted it.
    let devices = nix::ifaddrs::getifaddrs().context("listing the devices")?;
    let mac = devices
        .filter(|d| d.interface_name == dev)
        .find_map(|d| d.address.as_ref().and_then(|a| a.as_link_addr().and_then(|l| l.addr())));
    mac.map(MacAddr).with_context(|| format!("no device {dev} (`ip link` shows which there are)"))
}

fn loss(text: &str) -> Result<f64, String> {
    let (number, scale) = text.strip_suffix('%').map_or((text, 1.0), |n| (n, 100.0));
    match number.parse::<f64>() {
        Ok(n) if (0.0..scale).contains(&n) => Ok(n / scale),
        _ => Err("a share like 0, 0.001 or 0.1%, below 1".to_owned()),
    }
}

fn mac(text: &str) -> Result<MacAddr, String> {
    let parse = || -> Option<[u8; 6]> {
        let bytes: Vec<u8> =
            text.split(':').map(|b| u8::from_str_radix(b, 16).ok()).collect::<Option<_>>()?;
        bytes.try_into().ok()
    };
    parse().map(MacAddr).ok_or_else(|| "a link address like 02:00:00:00:00:01".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn parse(line: &str) -> Result<Options, clap::Error> {
        Line::try_parse_from(format!("x {line}").split_whitespace()).map(|l| l.options)
    }

    #[test]
    fn losses_are_shares_or_percent() {
        let options = parse("--loss 0,0.5%,0.001").unwrap();
        assert_eq!(options.loss, [0.0, 0.005, 0.001]);
        for bad in ["1", "100%", "-1", "x", "NaN", "101%"] {
            assert!(parse(&format!("--loss={bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn quick_is_a_subset_and_the_default_is_whole() {
        let quick = parse("--quick").unwrap();
        assert_eq!((quick.suites().len(), quick.sizes().len(), quick.directions().len()), (1, 2, 1));
        let all = parse("").unwrap();
        assert_eq!((all.suites().len(), all.sizes().len(), all.tests.len()), (5, 3, 5));
        assert!(all.check().is_ok() && all.ends().unwrap().is_none());
        assert_eq!(all.tunings(), [Tuning::default()]);
        let tuned = parse("--busy-poll 20").unwrap().tunings();
        assert_eq!(tuned, [Tuning::default(), Tuning { busy_poll_us: 20, huge_pages: false }]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for bad in ["--sizes 40", "--sizes 1401", "--loads 0", "--loads 101", "--ports a,b", "--suites x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse("--box-macs 02:0:0:0:0:1,02:0:0:0:0:2").is_err(), "a box needs its ports");
        let one = "--ports a --box-macs 02:00:00:00:00:02";
        for bad in
            [one, "--tunnels 0", "--flows 0", "--seconds 0", "--seconds NaN", "--windows 0", "--window 0"]
        {
            assert!(parse(bad).unwrap().check().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_port_that_is_not_there_is_named() {
        let options = parse("--ports nosuch0,lo --box-macs 02:00:00:00:00:02,02:00:00:00:00:03").unwrap();
        let e = options.ends().unwrap_err();
        assert!(format!("{e:#}").contains("nosuch0"), "{e:#}");
    }
}
