//! A hint to the processor's cache, safe to give.

/// Asks for the first cache line of `value` ahead of its use. Does nothing where the processor has no such hint.
#[inline(always)]
pub fn prefetch<T: ?Sized>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint reads nothing and cannot fault; the reference is valid besides.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(value).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// [`prefetch`] for some of the cache lines of `value`, by their numbers, as far as it has so many; but not into the
/// first-level cache. That has room for some twenty lines under way, and drops every hint beyond them: a batch asks for
/// hundreds. The second level has room for many more, and what is there is as good as at hand.
#[inline(always)]
pub fn prefetch_lines<T>(value: &T, lines: impl IntoIterator<Item = usize>) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        let start = core::ptr::from_ref(value).cast::<i8>();
        for line in lines.into_iter().filter(|line| line * 64 < size_of::<T>()) {
            // SAFETY: a hint reads nothing and cannot fault; the line is one of the value's.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(start.wrapping_add(line * 64)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (value, lines);
}

/// As [`prefetch`] for every cache line of `bytes`, but not into the first-level cache: for more than that holds.
#[inline]
pub fn prefetch_bytes(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        for line in bytes.chunks(64) {
            // SAFETY: a hint reads nothing and cannot fault; the reference is valid besides.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bytes;
}

/// [`prefetch`] for what lies `ahead` bytes behind the beginning of `bytes`, whether they are so many or not.
#[inline(always)]
pub fn prefetch_ahead(bytes: &[u8], ahead: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint reads nothing and cannot fault, wherever it points.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().wrapping_add(ahead).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (bytes, ahead);
}
