//! HMAC with SHA-1 or SHA-256 on the SHA instructions, one message at a time, from the key's pad states: for small
//! bursts, and for CPUs without AVX-512.
//!
//! Decides nothing. Reads: messages and pad states. Writes: digests. The compression functions are RustCrypto's, which
//! use the instructions where the CPU has them; saved here are the two pad blocks of each message.

use crate::frame::high_half;
use crate::mac::Message;
use crate::portable::Digest;

const BLOCK: usize = 64;

pub(super) fn hmac_sha256<'a>(messages: impl Iterator<Item = Message<'a>>, out: &mut [Digest]) {
    for (message, digest) in messages.zip(out) {
        let [mut inner, mut outer] = message.key.pads;
        absorb(&message, |blocks| sha2::block_api::compress256(&mut inner, blocks));
        sha2::block_api::compress256(&mut outer, &[outer_block(&inner)]);
        write(digest, &outer);
    }
}

pub(super) fn hmac_sha1<'a>(messages: impl Iterator<Item = Message<'a>>, out: &mut [Digest]) {
    for (message, digest) in messages.zip(out) {
        let [mut inner, mut outer] = message.key.pads.map(|[a, b, c, d, e, ..]| [a, b, c, d, e]);
        absorb(&message, |blocks| sha1::block_api::compress(&mut inner, blocks));
        sha1::block_api::compress(&mut outer, &[outer_block(&inner)]);
        write(digest, &outer);
    }
}

/// Message, number, one bit, zeros, length in bits (FIPS 180-4 §5.1.1), behind the inner pad's block.
fn absorb(message: &Message, mut compress: impl FnMut(&[[u8; BLOCK]])) {
    let (blocks, rest) = message.data.as_chunks::<BLOCK>();
    compress(blocks);
    let mut last = [[0; BLOCK]; 2];
    let bytes = last.as_flattened_mut();
    bytes[..rest.len()].copy_from_slice(rest);
    let mut len = rest.len();
    if let Some(seq) = message.esn {
        bytes[len..len + 4].copy_from_slice(&high_half(seq));
        len += 4;
    }
    bytes[len] = 0x80;
    let count = if len + 9 <= BLOCK { 1 } else { 2 };
    let total = (BLOCK + message.data.len() - rest.len() + len) as u64;
    bytes[count * BLOCK - 8..count * BLOCK].copy_from_slice(&(total * 8).to_be_bytes());
    compress(&last[..count]);
}

/// The inner digest as the outer hash's only block.
fn outer_block(inner: &[u32]) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    for (bytes, word) in block.as_chunks_mut::<4>().0.iter_mut().zip(inner) {
        *bytes = word.to_be_bytes();
    }
    let digest = inner.len() * 4;
    block[digest] = 0x80;
    block[BLOCK - 8..].copy_from_slice(&((BLOCK + digest) as u64 * 8).to_be_bytes());
    block
}

fn write(digest: &mut Digest, state: &[u32]) {
    for (bytes, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
}
