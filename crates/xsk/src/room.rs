//! Memory for tables that packets jump about in.
//!
//! Decides: that such a table lies in huge pages where the kernel has them to give (`madvise`), for in pages of 4 KiB
//! nearly every look-up in a large one misses the address cache. Never: fails for want of them.

use crate::sys;

/// An empty vector with room for `capacity` values. Memory is taken as it is written to.
pub fn with_room<T>(capacity: usize) -> Vec<T> {
    let mut row = Vec::<T>::new();
    // Where not even addresses are left for so many, the row grows as it must.
    let _ = row.try_reserve_exact(capacity);
    sys::advise_huge_pages(row.as_ptr().addr(), row.capacity().saturating_mul(size_of::<T>()));
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_do_not_move() {
        for capacity in [0, 1, 5000, 300_000] {
            let mut row = with_room(capacity);
            let start = row.as_ptr();
            row.extend(0..capacity as u64);
            assert_eq!(row.as_ptr(), start);
            assert!(row.iter().copied().eq(0..capacity as u64));
        }
    }
}
