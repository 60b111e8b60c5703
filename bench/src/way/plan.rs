//! Which ways are measured, in which order, and how long that takes.
//!
//! Decides: the cases of a full run, of a quick one, and of what the command line asks for.

use super::traffic::{MAX_FLOWS, MAX_TUNNELS, Size, Traffic};
use crate::suites::SuiteName;
use anyhow::ensure;
use clap::ValueEnum;
use clap::builder::PossibleValue;
use ravelin_crypto::Engine;
use ravelin_dataplane::{Worker, WorkerConfig};
use ravelin_ring::msg::Suite;
use serde::Serialize;
use std::time::Duration;

/// What happens to the packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Subject {
    Suite(SuiteName),
    /// The whole way of AES-128-GCM, sequence numbers, windows and all, but nothing is encrypted or authenticated.
    Null,
    /// A policy lets the packets pass in clear: plain forwarding.
    Bypass,
}

impl Subject {
    pub(crate) const ALL: [Self; 7] = [
        Self::Suite(SuiteName::Aes128Gcm),
        Self::Suite(SuiteName::Aes256Gcm),
        Self::Suite(SuiteName::Aes256CbcSha256),
        Self::Suite(SuiteName::Aes128CbcSha1),
        Self::Suite(SuiteName::ChaCha20Poly1305),
        Self::Null,
        Self::Bypass,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Suite(suite) => suite.name(),
            Self::Null => "null",
            Self::Bypass => "bypass",
        }
    }

    /// Suite and length of the key material of each SA; `None`: there are no SAs.
    pub(crate) fn contract(self) -> Option<(Suite, usize)> {
        match self {
            Self::Suite(suite) => Some(suite.contract()),
            Self::Null => Some(SuiteName::Aes128Gcm.contract()),
            Self::Bypass => None,
        }
    }

    pub(crate) fn worker(self, config: WorkerConfig) -> Worker {
        match self {
            Self::Null => Worker::with_engine(config, Engine::without_crypto()),
            Self::Suite(_) | Self::Bypass => Worker::new(config),
        }
    }
}

impl ValueEnum for Subject {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

/// One row of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Case {
    pub(crate) subject: Subject,
    pub(crate) size: Size,
    pub(crate) tunnels: u32,
    /// In all tunnels together; at least one for each.
    pub(crate) flows: u32,
}

impl Case {
    pub(crate) fn traffic(&self) -> Traffic {
        Traffic::new(self.size, self.tunnels, self.flows, self.subject == Subject::Bypass)
    }

    /// Cases that follow each other with the same SAs need no new installation.
    pub(crate) fn same_gateways(&self, other: &Self) -> bool {
        (self.subject, self.tunnels) == (other.subject, other.tunnels)
    }
}

/// What `way` and `stage` are asked for; what the command line leaves open is `None`.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct Wish {
    /// Fewer cases and windows: ends within a minute
    #[arg(long)]
    pub(crate) quick: bool,
    /// One JSON object per line instead of the table
    #[arg(long)]
    pub(crate) json: bool,
    /// Suites, comma-separated; also null and bypass
    #[arg(long, value_delimiter = ',')]
    pub(crate) suites: Option<Vec<Subject>>,
    /// Bytes of the inner IP packet (36 to 1400) or imix, comma-separated
    #[arg(long, value_delimiter = ',')]
    pub(crate) sizes: Option<Vec<Size>>,
    /// Tunnels in round robin, comma-separated
    #[arg(long, value_delimiter = ',')]
    pub(crate) tunnels: Option<Vec<u32>>,
    /// Different flows in all tunnels together, at least one for each; comma-separated [default: 64]
    #[arg(long, value_delimiter = ',')]
    pub(crate) flows: Option<Vec<u32>>,
    /// Packets are in no first- or second-level cache when their turn comes, as behind AF_XDP in copy mode
    #[arg(long)]
    pub(crate) cold: bool,
    /// Windows of about 2,048 packets for each figure [default: 151, quick: 31]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(crate) windows: Option<u16>,
    /// Core to run on [default: the last one]
    #[arg(long)]
    pub(crate) core: Option<usize>,
}

impl Wish {
    pub(crate) fn windows(&self) -> usize {
        self.windows.map_or(if self.quick { 31 } else { 151 }, usize::from)
    }
}

/// What a line of JSON says of its case.
#[derive(Serialize)]
pub(crate) struct Head {
    suite: &'static str,
    size: Size,
    tunnels: u32,
    flows: u32,
    cold: bool,
}

impl Head {
    pub(crate) fn of(case: &Case, cold: bool) -> Self {
        let Case { subject, size, tunnels, .. } = *case;
        Self { suite: subject.name(), size, tunnels, flows: case.traffic().flows(), cold }
    }
}

pub(crate) const FLOWS: u32 = 64;
/// Far more than any cache of flows holds.
const MANY_FLOWS: u32 = 1_000_000;

/// Every suite × size × tunnels × flows. Where the command line leaves all of them open, some cases more: the quick run
/// its one look at 100,000 tunnels, both runs one at flows that no cache holds.
pub(crate) fn cases(wish: &Wish) -> anyhow::Result<Vec<Case>> {
    let bytes = |list: &[u16]| list.iter().map(|n| Size::Bytes(*n)).chain([Size::Imix]).collect::<Vec<_>>();
    let sizes = if wish.quick { bytes(&[64, 512, 1400]) } else { bytes(&[64, 256, 512, 1024, 1400]) };
    let tunnels = if wish.quick { vec![1, 1000] } else { vec![1, 1000, 100_000] };
    let suites = wish.suites.clone().unwrap_or_else(|| Subject::ALL.to_vec());
    let sizes = wish.sizes.clone().unwrap_or(sizes);
    let tunnels = wish.tunnels.clone().unwrap_or(tunnels);
    let flows = wish.flows.clone().unwrap_or_else(|| vec![FLOWS]);
    ensure!(
        tunnels.iter().all(|n| (1..=MAX_TUNNELS).contains(n)),
        "--tunnels: 1 to {MAX_TUNNELS}, as many networks as this bench has addresses for"
    );
    ensure!(flows.iter().all(|n| (1..=MAX_FLOWS).contains(n)), "--flows: 1 to {MAX_FLOWS}");
    let mut list = vec![];
    for &subject in &suites {
        // In clear there are no SAs: what other tunnels there are does not matter to the packets.
        let tunnels = if subject == Subject::Bypass && wish.tunnels.is_none() { &[1][..] } else { &tunnels };
        for &tunnels in tunnels {
            for &flows in &flows {
                list.extend(sizes.iter().map(|&size| Case { subject, size, tunnels, flows }));
            }
        }
    }
    if wish.suites.is_none() && wish.sizes.is_none() && wish.tunnels.is_none() && wish.flows.is_none() {
        add_extremes(wish.quick, &mut list);
    }
    Ok(list)
}

fn add_extremes(quick: bool, list: &mut Vec<Case>) {
    let gcm = [SuiteName::Aes128Gcm, SuiteName::Aes256Gcm].map(Subject::Suite);
    let extreme = |subject, tunnels, flows| Case { subject, size: Size::Bytes(64), tunnels, flows };
    if quick {
        list.extend(gcm.map(|subject| extreme(subject, 100_000, FLOWS)));
    }
    // Not of a suite: whoever looks a suite up by size and tunnels finds one row.
    list.extend([Subject::Null, Subject::Bypass].map(|subject| extreme(subject, 1, MANY_FLOWS)));
}

/// Rough, for the first line of progress: this machine's clocks, and packets as slow as the slowest suite's.
pub(crate) fn expected(cases: &[Case], windows: usize, cold: bool) -> Duration {
    let mut nanoseconds = 0;
    for (n, case) in cases.iter().enumerate() {
        let packet = 700 + u64::from(case.size.mean()) + if cold { 500 } else { 0 };
        let packets = windows as u64 * 2048 + u64::from(case.flows.max(case.tunnels)) + 10_000;
        nanoseconds += packets * packet + 20_000_000;
        if n == 0 || !case.same_gateways(&cases[n - 1]) {
            nanoseconds += u64::from(case.tunnels) * 12_000;
        }
    }
    Duration::from_nanos(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(case: &Case) -> (&'static str, String, u32, u32) {
        (case.subject.name(), case.size.to_string(), case.tunnels, case.flows)
    }

    #[test]
    fn a_full_run_is_the_whole_matrix() {
        let list = cases(&Wish::default()).unwrap();
        for suite in [
            "aes-128-gcm",
            "aes-256-gcm",
            "aes-256-cbc-hmac-sha2-256",
            "aes-128-cbc-hmac-sha1-96",
            "chacha20-poly1305",
        ] {
            for size in ["64", "256", "512", "1024", "1400", "imix"] {
                for tunnels in [1, 1000, 100_000] {
                    let wanted = (suite, size.to_string(), tunnels, FLOWS);
                    assert!(list.iter().any(|c| named(c) == wanted), "{wanted:?}");
                }
            }
        }
        assert!(list.iter().any(|c| c.subject == Subject::Null && c.size == Size::Bytes(64)));
        assert_eq!(list.iter().filter(|c| c.subject == Subject::Bypass).count(), 6 + 1);
        assert!(list.iter().any(|c| c.flows == MANY_FLOWS));
        let mut suites: Vec<_> =
            list.iter().filter(|c| matches!(c.subject, Subject::Suite(_))).map(named).collect();
        let rows = suites.len();
        suites.sort_unstable();
        suites.dedup_by_key(|(suite, size, tunnels, _)| (*suite, size.clone(), *tunnels));
        assert_eq!((rows, suites.len()), (90, 90), "every suite, size and number of tunnels once");
    }

    #[test]
    fn a_quick_run_has_every_suite_and_ends_in_a_minute() {
        let list = cases(&Wish { quick: true, ..Wish::default() }).unwrap();
        for subject in Subject::ALL {
            for size in ["64", "512", "1400", "imix"] {
                assert!(list.iter().any(|c| c.subject == subject && c.size.to_string() == size));
            }
        }
        let many = ("aes-256-gcm", "64".to_string(), 100_000, FLOWS);
        assert!(list.iter().any(|c| named(c) == many));
        assert!(expected(&list, 31, false) < Duration::from_secs(40));
    }

    #[test]
    fn what_is_asked_for_is_what_is_run() {
        let wish = Wish {
            suites: Some(vec![Subject::Bypass, Subject::Null]),
            sizes: Some(vec![Size::Imix]),
            tunnels: Some(vec![1, 5]),
            flows: Some(vec![1, 9]),
            ..Wish::default()
        };
        let list = cases(&wish).unwrap();
        assert_eq!(list.len(), 8);
        assert!(list[0].same_gateways(&list[1]) && !list[1].same_gateways(&list[2]));
        for bad in [0, MAX_TUNNELS + 1] {
            assert!(cases(&Wish { tunnels: Some(vec![bad]), ..Wish::default() }).is_err());
            assert!(cases(&Wish { flows: Some(vec![bad.max(MAX_FLOWS + 1)]), ..Wish::default() }).is_err());
        }
    }
}
