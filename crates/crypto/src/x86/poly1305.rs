//! Poly1305 on 64-bit words (RFC 8439 §2.5), limbs of 44, 44 and 42 bits.
//!
//! Decides nothing. Reads: a one-time key, associated data, ciphertext. Answers the tag. Constant time in all of them but
//! their lengths.

const LOW_44: u64 = (1 << 44) - 1;
const LOW_42: u64 = (1 << 42) - 1;

/// The tag of RFC 8439 §2.8: associated data and ciphertext, each padded with zeros to whole blocks, and their lengths.
pub(super) fn tag(one_time_key: &[u8; 32], aad: &[u8], body: &[u8]) -> [u8; 16] {
    let mut hash = Hash::new(one_time_key);
    hash.associated_data(aad);
    let (blocks, rest) = body.as_chunks::<16>();
    blocks.iter().for_each(|block| hash.block(block));
    hash.padded(rest);
    hash.lengths(aad.len(), body.len());
    hash.finish()
}

pub(super) struct Hash {
    pub(super) h: [u64; 3],
    pub(super) r: [u64; 3],
    /// The last two limbs of r, times 20: what wraps round 2^130 comes back five-fold, four of it by the limbs' widths.
    r20: [u64; 2],
    pad: u128,
}

impl Hash {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        let (low, high) = words(key.first_chunk().unwrap_or(&[0; 16]));
        let r =
            [low & 0xffc_0fff_ffff, (low >> 44 | high << 20) & 0xfff_ffc0_ffff, high >> 24 & 0x00f_ffff_fc0f];
        let pad = u128::from_le_bytes(*key.last_chunk().unwrap_or(&[0; 16]));
        Self { h: [0; 3], r, r20: [r[1] * 20, r[2] * 20], pad }
    }

    pub(super) fn associated_data(&mut self, aad: &[u8]) {
        let (blocks, rest) = aad.as_chunks::<16>();
        blocks.iter().for_each(|block| self.block(block));
        self.padded(rest);
    }

    pub(super) fn lengths(&mut self, aad: usize, body: usize) {
        let lengths = (body as u128) << 64 | aad as u128;
        self.block(&lengths.to_le_bytes());
    }

    /// What is left of a string that does not end on a block: zeros follow it.
    pub(super) fn padded(&mut self, rest: &[u8]) {
        if rest.is_empty() {
            return;
        }
        let mut block = [0; 16];
        block[..rest.len()].copy_from_slice(rest);
        self.block(&block);
    }

    /// h ← (h + block + 2^128) · r
    #[inline]
    fn block(&mut self, block: &[u8; 16]) {
        let (low, high) = words(block);
        let h0 = u128::from(self.h[0] + (low & LOW_44));
        let h1 = u128::from(self.h[1] + ((low >> 44 | high << 20) & LOW_44));
        let h2 = u128::from(self.h[2] + (high >> 24 | 1 << 40));
        let [r0, r1, r2] = self.r.map(u128::from);
        let [r1_20, r2_20] = self.r20.map(u128::from);
        let d0 = h0 * r0 + h1 * r2_20 + h2 * r1_20;
        let d1 = h0 * r1 + h1 * r0 + h2 * r2_20 + (d0 >> 44);
        let d2 = h0 * r2 + h1 * r1 + h2 * r0 + (d1 >> 44);
        let folded = (low_64(d0) & LOW_44) + low_64(d2 >> 42) * 5;
        self.h = [folded & LOW_44, (low_64(d1) & LOW_44) + (folded >> 44), low_64(d2) & LOW_42];
    }

    pub(super) fn finish(mut self) -> [u8; 16] {
        self.carry();
        self.carry();
        let [h0, h1, h2] = self.h;
        // h − p, which is h if that would be negative.
        let g0 = h0 + 5;
        let g1 = h1 + (g0 >> 44);
        let g2 = (h2 + (g1 >> 44)).wrapping_sub(1 << 42);
        let keep = 0u64.wrapping_sub(g2 >> 63);
        let pick = |h: u64, g: u64| u128::from((h & keep) | (g & !keep));
        let number = pick(h0, g0 & LOW_44) | pick(h1, g1 & LOW_44) << 44 | pick(h2, g2 & LOW_42) << 88;
        number.wrapping_add(self.pad).to_le_bytes()
    }

    fn carry(&mut self) {
        let [h0, h1, h2] = self.h;
        let h1 = h1 + (h0 >> 44);
        let h2 = h2 + (h1 >> 44);
        let h0 = (h0 & LOW_44) + (h2 >> 42) * 5;
        self.h = [h0 & LOW_44, (h1 & LOW_44) + (h0 >> 44), h2 & LOW_42];
    }
}

fn words(block: &[u8; 16]) -> (u64, u64) {
    let number = u128::from_le_bytes(*block);
    (low_64(number), low_64(number >> 64))
}

#[allow(clippy::cast_possible_truncation, reason = "the lower half is what is asked for")]
fn low_64(number: u128) -> u64 {
    number as u64
}
