//! What the bench's XDP programs and user space agree on. The programs include this file.

/// Function names of the programs.
pub const TAP: &str = "tap";
pub const BLAST: &str = "blast";

/// Names of the maps.
pub const TAP_SOCKETS: &str = "TAP_SOCKETS";
pub const TAP_CONFIG: &str = "TAP_CONFIG";
pub const TAP_COUNTERS: &str = "TAP_COUNTERS";
pub const TAP_FROM: &str = "TAP_FROM";
pub const TAP_MARKS: &str = "TAP_MARKS";
pub const BLAST_CONFIG: &str = "BLAST_CONFIG";
pub const BLAST_COUNT: &str = "BLAST_COUNT";

pub const MAX_QUEUES: u32 = 64;

/// The bench's packets in clear: UDP to this port (discard).
pub const DISCARD: u16 = 9;

/// A tap that hands nothing to the socket.
pub const NO_SAMPLES: u32 = u32::MAX;

/// Index into [`TAP_COUNTERS`].
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tapped {
    /// Packets of the bench, in clear.
    Clear = 0,
    /// ESP packets, plain or in UDP.
    Esp = 1,
}

impl Tapped {
    pub const COUNT: u32 = 2;
}

/// A tap looks at the clock once in so many packets, a power of two.
pub const MARK_EVERY: u64 = 1024;

/// Count and time (nanoseconds of CLOCK_MONOTONIC) at the first and the last mark of a window; zeros: none yet.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Marks {
    pub first_count: u64,
    pub first_time: u64,
    pub last_count: u64,
    pub last_time: u64,
}

/// Where the blasting program finds what it varies, and how far.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Blast {
    pub flows: u32,
    pub tunnels: u32,
    /// Destination address of tunnel 0; tunnel n has the n-th after it.
    pub first_destination: u32,
    /// Source port of flow 0.
    pub first_port: u32,
}
