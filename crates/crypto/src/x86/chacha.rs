//! ChaCha20-Poly1305 for ESP on vectors: as many keystream blocks at a time as there are lanes, of whichever packets.
//!
//! Decides: whether an ICV is right, in constant time, before the packet is decrypted. Reads and writes: bodies and ICVs
//! of prepared packets. Never: headers, padding, trailers.
//!
//! Blocks of any packets are made side by side, word by word across lanes: a packet of 64 bytes takes three lanes of a run
//! and shares it with its neighbours.

use arrayvec::ArrayVec;

use super::poly1305_ifma::Message;
use super::{chacha_avx2, chacha_avx512, poly1305, poly1305_ifma};
use crate::engine::{BURST, Group, Kernel, members};
use crate::frame::high_half;

/// One packet: 16 bytes of header and IV, at least one byte of body, the ICV.
pub(super) struct Unit<'a> {
    pub(super) key: &'a crate::Key,
    /// At most one block, zeros behind it.
    pub(super) aad: [u8; 16],
    pub(super) aad_len: usize,
    pub(super) packet: &'a mut [u8],
}

impl<'a> Unit<'a> {
    /// A packet of possible length. Associated data: SPI and sequence number, the latter whole with ESN (RFC 7634 §2.1).
    #[inline]
    pub(super) fn new(key: &'a crate::Key, packet: &'a mut [u8], seq: u64, esn: bool) -> Self {
        let header = u64::from_le_bytes(packet.first_chunk().copied().unwrap_or_default());
        let spi = header & 0xffff_ffff;
        let high = u64::from(u32::from_le_bytes(high_half(seq)));
        let whole = u128::from(header >> 32) << 64 | u128::from(high << 32 | spi);
        let (aad, aad_len) = if esn { (whole, 12) } else { (u128::from(header), 8) };
        Self { key, aad: aad.to_le_bytes(), aad_len, packet }
    }

    #[inline]
    fn body(&self) -> &[u8] {
        &self.packet[HEAD..self.packet.len() - ICV]
    }
}

/// A block of keystream before the rounds, in words (RFC 8439 §2.3).
pub(super) type Row = [u32; 16];

pub(super) const HEAD: usize = 16;
pub(super) const ICV: usize = 16;
pub(super) const BLOCK: usize = 64;

/// Encrypts every unit and writes its ICV. At most `BURST` of them.
pub(super) fn seal(kernel: Kernel, units: &mut [Unit]) {
    if kernel == Kernel::Avx512 {
        seal_with::<chacha_avx512::Run>(units, tags_avx512)
    } else {
        seal_with::<Run<8>>(units, tags_one_by_one)
    }
}

/// Verifies every unit, then decrypts the authentic ones; bit n of the answer stands for unit n. At most `BURST` of them.
pub(super) fn open(kernel: Kernel, units: &mut [Unit]) -> Group {
    if kernel == Kernel::Avx512 {
        open_with::<chacha_avx512::Run>(units, tags_avx512)
    } else {
        open_with::<Run<8>>(units, tags_one_by_one)
    }
}

/// Keystream in the making. Units whose packets are as they were promised to be: longer than `HEAD` and `ICV`.
pub(super) trait Keystream {
    fn new() -> Self;

    /// One-time key and body of the unit, both.
    ///
    /// # Safety
    /// The body, and 32 zero bytes at `one_time_key`, stay valid, and nobody else touches them, until the next
    /// [`Self::flush`] is over.
    unsafe fn all(&mut self, unit: &mut Unit, one_time_key: *mut u8);

    /// # Safety
    /// As [`Self::all`].
    unsafe fn key(&mut self, unit: &mut Unit, one_time_key: *mut u8);

    /// # Safety
    /// As [`Self::all`].
    unsafe fn body(&mut self, unit: &mut Unit);

    /// Whatever still waits is made.
    fn flush(&mut self);
}

/// Makes the right ICV of every unit.
type Tags = fn(&[Unit], &OneTimeKeys, &mut [[u8; 16]; BURST]);

/// So many long packets at a time stay in the first-level cache from one pass to the next, and short ones all together;
/// with 16 packets of equal length no lane is empty.
fn at_once(units: &[Unit]) -> usize {
    const ENOUGH: usize = 24 * 1024;
    if units.iter().map(|unit| unit.packet.len()).sum::<usize>() > ENOUGH { 16 } else { BURST }
}

fn seal_with<K: Keystream>(units: &mut [Unit], tags: Tags) {
    let mut run = K::new();
    for units in units.chunks_mut(at_once(units)) {
        let mut keys = OneTimeKeys::zero(units.len());
        for (unit, key) in units.iter_mut().zip(&mut keys.0) {
            // SAFETY: the key's 32 bytes, and the body's, live until the run is flushed below.
            unsafe { run.all(unit, key.as_mut_ptr()) };
        }
        run.flush();
        let mut right = [[0; 16]; BURST];
        tags(units, &keys, &mut right);
        for (unit, tag) in units.iter_mut().zip(&right) {
            if let Some(icv) = unit.packet.last_chunk_mut() {
                *icv = *tag;
            }
        }
    }
}

fn open_with<K: Keystream>(units: &mut [Unit], tags: Tags) -> Group {
    let mut run = K::new();
    let (mut all, mut first) = (0, 0);
    for units in units.chunks_mut(at_once(units)) {
        let mut keys = OneTimeKeys::zero(units.len());
        for (unit, key) in units.iter_mut().zip(&mut keys.0) {
            // SAFETY: the key's 32 bytes live until the run is flushed below.
            unsafe { run.key(unit, key.as_mut_ptr()) };
        }
        run.flush();
        let mut right = [[0; 16]; BURST];
        tags(units, &keys, &mut right);
        let authentic = right_ones(units, &right);
        for n in members(authentic) {
            // SAFETY: the body lives until the run is flushed below.
            unsafe { run.body(&mut units[n]) };
        }
        run.flush();
        all |= authentic << first;
        first += units.len();
    }
    all
}

/// Of all units the difference is taken whole, so time says nothing about where it lies.
fn right_ones(units: &[Unit], right: &[[u8; 16]; BURST]) -> Group {
    let is_right = |(unit, tag): (&Unit, &[u8; 16])| {
        let icv = unit.packet.last_chunk().copied().unwrap_or_default();
        let difference = core::hint::black_box(u128::from_le_bytes(icv) ^ u128::from_le_bytes(*tag));
        Group::from(difference == 0)
    };
    units.iter().zip(right).map(is_right).enumerate().fold(0, |set, (n, right)| set | right << n)
}

/// Eight lanes pay as soon as two of them are filled.
fn tags_avx512(units: &[Unit], keys: &OneTimeKeys, tags: &mut [[u8; 16]; BURST]) {
    let usual = |unit: &Unit| unit.aad_len > 0 && !unit.body().is_empty();
    if units.len() < 2 || !units.iter().all(usual) {
        return tags_one_by_one(units, keys, tags);
    }
    let mut messages = ArrayVec::<_, BURST>::new();
    for (unit, one_time_key) in units.iter().zip(&keys.0) {
        messages.push(Message { one_time_key, aad: &unit.aad, aad_len: unit.aad_len, body: unit.body() });
    }
    // SAFETY: only called beside the AVX-512 kernel, which the engine has where the CPU has these instructions.
    unsafe { poly1305_ifma::tags(&messages, tags) };
}

fn tags_one_by_one(units: &[Unit], keys: &OneTimeKeys, tags: &mut [[u8; 16]; BURST]) {
    for ((unit, key), tag) in units.iter().zip(&keys.0).zip(tags) {
        *tag = poly1305::tag(key, &unit.aad[..unit.aad_len], unit.body());
    }
}

/// Block 0 of the packet's keystream, before the rounds (RFC 8439 §2.3; RFC 7634 §2: the nonce is salt and IV).
#[inline]
fn first_row(unit: &Unit) -> Row {
    let mut row = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let key = unit.key.schedule.as_flattened().as_chunks::<4>().0;
    for (word, bytes) in row[4..12].iter_mut().zip(key) {
        *word = u32::from_le_bytes(*bytes);
    }
    row[13] = u32::from_le_bytes(unit.key.salt);
    for (word, bytes) in row[14..].iter_mut().zip(unit.packet[8..HEAD].as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    row
}

/// Keystream blocks to be made, and the at most 64 bytes that each is to be added to.
#[repr(C, align(64))]
pub(super) struct Waiting<const LANES: usize> {
    pub(super) rows: [Row; LANES],
    pub(super) to: [*mut u8; LANES],
    pub(super) bytes: [usize; LANES],
}

/// For AVX2: rows, one to a lane.
struct Run<const LANES: usize> {
    waiting: Waiting<LANES>,
    filled: usize,
}

impl Run<8> {
    /// # Safety
    /// The `bytes` (at most 64) at `to` stay valid and untouched until the next [`Self::flush`] is over.
    #[inline]
    unsafe fn push(&mut self, row: &Row, counter: u32, to: *mut u8, bytes: usize) {
        let lane = &mut self.waiting.rows[self.filled];
        *lane = *row;
        lane[12] = counter;
        self.waiting.to[self.filled] = to;
        self.waiting.bytes[self.filled] = bytes;
        self.filled += 1;
        if self.filled == self.waiting.to.len() {
            self.flush();
        }
    }
}

impl Keystream for Run<8> {
    fn new() -> Self {
        let waiting = Waiting { rows: [[0; 16]; 8], to: [core::ptr::null_mut(); 8], bytes: [0; 8] };
        Self { waiting, filled: 0 }
    }

    unsafe fn all(&mut self, unit: &mut Unit, one_time_key: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe {
            self.key(unit, one_time_key);
            self.body(unit);
        }
    }

    unsafe fn key(&mut self, unit: &mut Unit, one_time_key: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { self.push(&first_row(unit), 0, one_time_key, 32) };
    }

    unsafe fn body(&mut self, unit: &mut Unit) {
        let row = first_row(unit);
        let end = unit.packet.len() - ICV;
        for (counter, block) in (1..).zip(unit.packet[HEAD..end].chunks_mut(BLOCK)) {
            // SAFETY: the caller's promise; a chunk has at most 64 bytes.
            unsafe { self.push(&row, counter, block.as_mut_ptr(), block.len()) };
        }
    }

    fn flush(&mut self) {
        if self.filled > 0 {
            // SAFETY: `push` was promised that the bytes are valid; the engine has a kernel only where the CPU has its
            // instructions.
            unsafe { chacha_avx2::crypt(&self.waiting, self.filled) };
        }
        self.filled = 0;
    }
}

/// The rows hold keys.
impl<const LANES: usize> Drop for Run<LANES> {
    fn drop(&mut self) {
        self.waiting.rows = [[0; 16]; LANES];
        // The compiler must assume that somebody reads the zeros.
        core::hint::black_box(&mut self.waiting.rows);
    }
}

/// One-time keys, one per packet of a burst; wiped when done.
struct OneTimeKeys(ArrayVec<[u8; 32], BURST>);

impl OneTimeKeys {
    fn zero(count: usize) -> Self {
        Self(core::iter::repeat_n([0; 32], count).collect())
    }
}

impl Drop for OneTimeKeys {
    fn drop(&mut self) {
        self.0.as_flattened_mut().fill(0);
        // The compiler must assume that somebody reads the zeros.
        core::hint::black_box(&mut self.0);
    }
}
