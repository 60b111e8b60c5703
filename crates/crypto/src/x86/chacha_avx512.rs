//! ChaCha20-Poly1305 for ESP: sixteen keystream blocks at a time on AVX-512, of whichever packets they are.
//!
//! Decides: whether an ICV is right, in constant time, before the packet is decrypted. Reads and writes: bodies and ICVs
//! of prepared packets. Never: headers, padding, trailers.
//!
//! Blocks are laid out in rows, one per lane, turned into words across lanes, worked on, and turned back: a packet of 64
//! bytes takes three lanes of a run and shares it with its neighbours.

use core::arch::x86_64::*;

use super::poly1305;
use super::poly1305_ifma;
use super::sha_avx512::transpose;
use crate::engine::{BURST, Group, members};
use crate::portable::same;

/// One packet: 16 bytes of header and IV, `body` bytes, the ICV.
pub(super) struct Unit<'a> {
    pub(super) key: &'a crate::Key,
    pub(super) aad: &'a [u8],
    pub(super) packet: &'a mut [u8],
}

const HEAD: usize = 16;
const ICV: usize = 16;
const BLOCK: usize = 64;
const LANES: usize = 16;

/// One-time keys, one per packet of a burst; wiped when done.
struct OneTimeKeys([[u8; 32]; BURST]);

impl Drop for OneTimeKeys {
    fn drop(&mut self) {
        for half in self.0.as_flattened_mut().as_chunks_mut::<16>().0 {
            *half = [0; 16];
        }
        // The compiler must assume that somebody reads the zeros.
        core::hint::black_box(&mut self.0);
    }
}

/// Encrypts every unit and writes its ICV. At most `BURST` of them.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
pub(super) fn seal(units: &mut [Unit]) {
    let mut keys = OneTimeKeys([[0; 32]; BURST]);
    let mut run = Run::new();
    for (unit, key) in units.iter_mut().zip(&mut keys.0) {
        let row = first_row(unit);
        // SAFETY: the key's 32 bytes, and the body's, live until the run is flushed below.
        unsafe {
            run.push(row, 0, key.as_mut_ptr(), 32);
            run.push_body(row, unit);
        }
    }
    run.flush();
    let tags = tags(units, &keys);
    for (unit, tag) in units.iter_mut().zip(&tags) {
        let end = unit.packet.len() - ICV;
        unit.packet[end..].copy_from_slice(tag);
    }
}

/// Verifies every unit, then decrypts the authentic ones; bit n of the answer stands for unit n. At most `BURST` of them.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
pub(super) fn open(units: &mut [Unit]) -> Group {
    let mut keys = OneTimeKeys([[0; 32]; BURST]);
    let mut run = Run::new();
    for (unit, key) in units.iter_mut().zip(&mut keys.0) {
        // SAFETY: the key's 32 bytes live until the run is flushed below.
        unsafe { run.push(first_row(unit), 0, key.as_mut_ptr(), 32) };
    }
    run.flush();
    let mut authentic = 0;
    let tags = tags(units, &keys);
    for (n, (unit, tag)) in units.iter().zip(&tags).enumerate() {
        if same(tag, &unit.packet[unit.packet.len() - ICV..]) {
            authentic |= 1 << n;
        }
    }
    for n in members(authentic) {
        let unit = &mut units[n];
        let row = first_row(unit);
        // SAFETY: the body lives until the run is flushed below.
        unsafe { run.push_body(row, unit) };
    }
    run.flush();
    authentic
}

/// The right ICV of every unit. Eight lanes pay as soon as two of them are filled.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
fn tags(units: &[Unit], keys: &OneTimeKeys) -> [[u8; 16]; BURST] {
    let mut tags = [[0; 16]; BURST];
    let messages = units.iter().zip(&keys.0).map(|(unit, one_time_key)| {
        let body = &unit.packet[HEAD..unit.packet.len() - ICV];
        poly1305_ifma::Message { one_time_key, aad: unit.aad, body }
    });
    if units.len() > 1 {
        poly1305_ifma::tags(messages, &mut tags);
    } else {
        messages.zip(&mut tags).for_each(|(m, tag)| *tag = poly1305::tag(m.one_time_key, m.aad, m.body));
    }
    tags
}

/// Block 0 of the packet's keystream, before the rounds (RFC 8439 §2.3; RFC 7634 §2: the nonce is salt and IV).
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
fn first_row(unit: &Unit) -> __m512i {
    let mut row = [0u8; BLOCK];
    row[..16].copy_from_slice(b"expand 32-byte k");
    row[16..48].copy_from_slice(&unit.key.schedule.as_flattened()[..32]);
    row[52..56].copy_from_slice(&unit.key.salt);
    row[56..].copy_from_slice(&unit.packet[8..HEAD]);
    // SAFETY: 64 readable bytes.
    unsafe { _mm512_loadu_si512(row.as_ptr().cast()) }
}

/// Keystream blocks waiting for a full run, and what each is to be added to.
struct Run {
    rows: [__m512i; LANES],
    to: [*mut u8; LANES],
    bytes: [u32; LANES],
    filled: usize,
}

impl Run {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
    fn new() -> Self {
        Self {
            rows: [_mm512_setzero_si512(); LANES],
            to: [core::ptr::null_mut(); LANES],
            bytes: [0; LANES],
            filled: 0,
        }
    }

    /// Every block of the unit's body, from counter 1 on.
    ///
    /// # Safety
    /// The body stays where it is, and nobody else touches it, until the next [`Self::flush`] is over.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
    unsafe fn push_body(&mut self, row: __m512i, unit: &mut Unit) {
        let end = unit.packet.len() - ICV;
        for (counter, block) in (1..).zip(unit.packet[HEAD..end].chunks_mut(BLOCK)) {
            // SAFETY: the caller's promise; a chunk has at most 64 bytes.
            unsafe { self.push(row, counter, block.as_mut_ptr(), block.len()) };
        }
    }

    /// # Safety
    /// The `bytes` (at most 64) at `to` stay valid and untouched until the next [`Self::flush`] is over.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
    #[allow(clippy::cast_possible_truncation, reason = "at most 64")]
    unsafe fn push(&mut self, row: __m512i, counter: i32, to: *mut u8, bytes: usize) {
        self.rows[self.filled] = _mm512_mask_set1_epi32(row, 1 << 12, counter);
        self.to[self.filled] = to;
        self.bytes[self.filled] = bytes as u32;
        self.filled += 1;
        if self.filled == LANES {
            self.flush();
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
    fn flush(&mut self) {
        if self.filled == 0 {
            return;
        }
        let keystream = transpose(rounds(transpose(self.rows)));
        for (lane, block) in keystream.iter().enumerate().take(self.filled) {
            let part = u64::MAX >> (64 - self.bytes[lane]);
            // SAFETY: `push` and its callers promised these bytes; the mask leaves no others.
            unsafe {
                let data = _mm512_maskz_loadu_epi8(part, self.to[lane].cast());
                _mm512_mask_storeu_epi8(self.to[lane].cast(), part, _mm512_xor_si512(data, *block));
            }
        }
        self.filled = 0;
    }
}

/// Twenty rounds and the addition of the start (RFC 8439 §2.3), word by word across lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
fn rounds(start: [__m512i; 16]) -> [__m512i; 16] {
    let mut x = start;
    for _ in 0..10 {
        quarters!(x, [0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15]);
        quarters!(x, [0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14]);
    }
    for (word, start) in x.iter_mut().zip(start) {
        *word = _mm512_add_epi32(*word, start);
    }
    x
}

/// Four quarter rounds side by side. A macro, because as a function it is not inlined, and the words go to memory.
macro_rules! quarters {
    ($x:ident, $([$a:literal, $b:literal, $c:literal, $d:literal]),*) => {
        $($x[$a] = _mm512_add_epi32($x[$a], $x[$b]);)*
        $($x[$d] = _mm512_rol_epi32::<16>(_mm512_xor_si512($x[$d], $x[$a]));)*
        $($x[$c] = _mm512_add_epi32($x[$c], $x[$d]);)*
        $($x[$b] = _mm512_rol_epi32::<12>(_mm512_xor_si512($x[$b], $x[$c]));)*
        $($x[$a] = _mm512_add_epi32($x[$a], $x[$b]);)*
        $($x[$d] = _mm512_rol_epi32::<8>(_mm512_xor_si512($x[$d], $x[$a]));)*
        $($x[$c] = _mm512_add_epi32($x[$c], $x[$d]);)*
        $($x[$b] = _mm512_rol_epi32::<7>(_mm512_xor_si512($x[$b], $x[$c]));)*
    };
}
use quarters;
