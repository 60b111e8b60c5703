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

/// [`prefetch`] for the first `N` cache lines of `value`, as far as it has so many.
#[inline(always)]
pub fn prefetch_lines<const N: usize, T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let start = core::ptr::from_ref(value).cast::<i8>();
        for line in 0..N.min(size_of::<T>().div_ceil(64)) {
            // SAFETY: a hint reads nothing and cannot fault; the line is one of the value's.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(line * 64)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// [`prefetch`] for every cache line of `bytes`.
#[inline]
pub fn prefetch_bytes(bytes: &[u8]) {
    bytes.chunks(64).for_each(prefetch);
}
