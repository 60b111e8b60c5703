//! Counters of the control process, and the counts of tunnels across their SAs.
//!
//! Decides: names. Writes: its own numbers. Never: goes down (R309).

use ravelin_ring::msg::{Direction, SaReport};

/// Generates named counters as `ravelin_ring::counters` does, for this process.
macro_rules! counters {
    ($($variant:ident $name:literal $help:literal,)*) => {
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(usize)]
        pub enum Counter { $(#[doc = $help] $variant,)* }

        impl Counter {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

counters! {
    TableCommands "table_commands" "Changes of tables sent to the data plane",
    Generations "generations" "Generations of tables published",
    GenerationsRefused "generations_refused" "Generations that the data plane refused",
    WorkerCommands "worker_commands" "Commands sent to workers",
    WorkerEvents "worker_events" "Events of workers",
    LateEvents "late_events" "Events about SAs that were gone",
    StrayAnswers "stray_answers" "Answers to no question",
    MalformedEvents "malformed_events" "Messages of the data plane that could not be read",
    Acquires "acquires" "Tunnels asked for by traffic",
    NeighboursAsked "neighbours_asked" "Link addresses asked of the kernel",
    UnknownSpi "unknown_spi" "Reports of ESP packets with an unknown SPI",
    DataplaneLost "dataplane_lost" "Times the data plane went away",
    Reloads "reloads" "Configurations applied",
    ReloadsRefused "reloads_refused" "Configurations refused",
    GatewaysGone "gateways_gone" "Times that the machine had none of a tunnel's addresses any more",
    OneWay "one_way" "Times that a tunnel was found to send and receive nothing",
    InquiriesFull "inquiries_full" "Questions about revocation not asked: too many peers waited for answers",
    RecordsStored "records_stored" "Records of IKE SAs stored for the next control process",
    RecordsFailed "records_failed" "Records of IKE SAs that could not be stored",
    LogsSuppressed "logs_suppressed" "Log lines about peers held back by the rate limit",
}

#[derive(Clone, Debug)]
pub struct Metrics([u64; Counter::ALL.len()]);

impl Default for Metrics {
    fn default() -> Self {
        Self([0; Counter::ALL.len()])
    }
}

impl Metrics {
    pub fn count(&mut self, which: Counter) {
        if let Some(value) = self.0.get_mut(which as usize) {
            *value += 1;
        }
    }

    pub fn get(&self, which: Counter) -> u64 {
        self.0.get(which as usize).copied().unwrap_or(0)
    }

    pub fn iter(&self) -> impl Iterator<Item = (Counter, u64)> + '_ {
        Counter::ALL.iter().map(|c| (*c, self.get(*c)))
    }
}

/// Packets and bytes of a tunnel over many SAs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub packets_in: u64,
    pub bytes_in: u64,
    pub packets_out: u64,
    pub bytes_out: u64,
}

impl Totals {
    pub fn merge(&mut self, other: Self) {
        self.packets_in = self.packets_in.saturating_add(other.packets_in);
        self.bytes_in = self.bytes_in.saturating_add(other.bytes_in);
        self.packets_out = self.packets_out.saturating_add(other.packets_out);
        self.bytes_out = self.bytes_out.saturating_add(other.bytes_out);
    }

    /// What came after `before`.
    pub fn since(self, before: Self) -> Self {
        Self {
            packets_in: self.packets_in.saturating_sub(before.packets_in),
            bytes_in: self.bytes_in.saturating_sub(before.bytes_in),
            packets_out: self.packets_out.saturating_sub(before.packets_out),
            bytes_out: self.bytes_out.saturating_sub(before.bytes_out),
        }
    }

    pub fn add(&mut self, report: &SaReport) {
        let (packets, bytes) = match report.direction {
            Direction::Inbound => (&mut self.packets_in, &mut self.bytes_in),
            Direction::Outbound => (&mut self.packets_out, &mut self.bytes_out),
        };
        *packets = packets.saturating_add(report.packets);
        *bytes = bytes.saturating_add(report.bytes);
    }
}
