//! Every allocation of this program is counted; a packet's way must have none.

#[global_allocator]
static COUNTING: &stats_alloc::StatsAlloc<std::alloc::System> = &stats_alloc::INSTRUMENTED_SYSTEM;

/// How often memory was asked for since the program began, growing what was there included.
pub(crate) fn allocations() -> u64 {
    let stats = COUNTING.stats();
    (stats.allocations + stats.reallocations) as u64
}

/// Bytes that are allocated now.
#[allow(clippy::cast_possible_wrap)] // no machine has 2^63 bytes
pub(crate) fn live_bytes() -> i64 {
    let stats = COUNTING.stats();
    stats.bytes_allocated as i64 - stats.bytes_deallocated as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allocated_and_what_grows_is_counted() {
        let before = allocations();
        let mut list = std::hint::black_box(vec![1u8]);
        list.reserve(10_000);
        assert!(std::hint::black_box(list).capacity() > 10_000);
        assert!(allocations() >= before + 2);
    }
}
