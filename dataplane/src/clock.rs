//! The time by which a batch is treated. Reads no clock: whoever processes the batch says what time it is.

/// Monotonic milliseconds, read once per batch by the caller.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Now {
    pub ms: u64,
}
