//! HMAC one message at a time, from the key's pad states: for small bursts, and for CPUs without AVX-512.
//!
//! Decides nothing. Reads: messages and pad states. Writes: digests. The compression functions are RustCrypto's, which
//! use the SHA instructions where the CPU has them; saved here are the two pad blocks of each message.

use crate::frame::high_half;
use crate::key::Pad;
use crate::mac::Message;
use crate::portable::Digest;

pub(super) fn hmac_sha1(messages: &[Message], out: &mut [Digest]) {
    each(messages, out, 20, words::<4, 5>, |state: &mut [[u8; 4]; 5], blocks: &[[u8; 64]]| {
        let mut words = state.map(u32::from_ne_bytes);
        sha1::block_api::compress(&mut words, blocks);
        *state = words.map(u32::to_ne_bytes);
    });
}

pub(super) fn hmac_sha256(messages: &[Message], out: &mut [Digest]) {
    each(messages, out, 32, words::<4, 8>, |state: &mut [[u8; 4]; 8], blocks: &[[u8; 64]]| {
        let mut words = state.map(u32::from_ne_bytes);
        sha2::block_api::compress256(&mut words, blocks);
        *state = words.map(u32::to_ne_bytes);
    });
}

/// SHA-384 too, by `digest`: 48 bytes or 64.
pub(super) fn hmac_sha512(messages: &[Message], out: &mut [Digest], digest: usize) {
    each(messages, out, digest, words::<8, 8>, |state: &mut [[u8; 8]; 8], blocks: &[[u8; 128]]| {
        let mut words = state.map(u64::from_ne_bytes);
        sha2::block_api::compress512(&mut words, blocks);
        *state = words.map(u64::to_ne_bytes);
    });
}

/// A pad state as words.
fn words<const W: usize, const N: usize>(pad: &[u8]) -> [[u8; W]; N] {
    let mut words = [[0; W]; N];
    words.iter_mut().zip(pad.as_chunks::<W>().0).for_each(|(to, from)| *to = *from);
    words
}

/// `W`: bytes of a word, `N`: words of a state, `B`: bytes of a block.
fn each<const W: usize, const N: usize, const B: usize>(
    messages: &[Message],
    out: &mut [Digest],
    digest: usize,
    start: impl Fn(&[u8]) -> [[u8; W]; N],
    compress: impl Fn(&mut [[u8; W]; N], &[[u8; B]]),
) {
    for (message, out) in messages.iter().zip(out) {
        let mut state = start(message.key.pad(Pad::Inner));
        absorb(message, 2 * W, |blocks| compress(&mut state, blocks));
        let mut block = [0; B];
        write(&mut block, &state);
        block[digest..].fill(0);
        block[digest] = 0x80;
        put_length(&mut block, B + digest);
        state = start(message.key.pad(Pad::Outer));
        compress(&mut state, &[block]);
        write(out, &state);
    }
}

/// Message, number, one bit, zeros, length in bits in `counter` bytes (FIPS 180-4 §5.1), behind the inner pad's block.
fn absorb<const B: usize>(message: &Message, counter: usize, mut compress: impl FnMut(&[[u8; B]])) {
    let (blocks, rest) = message.data.as_chunks::<B>();
    compress(blocks);
    let mut last = [[0; B]; 2];
    let bytes = last.as_flattened_mut();
    bytes[..rest.len()].copy_from_slice(rest);
    let mut len = rest.len();
    if let Some(seq) = message.esn {
        bytes[len..len + 4].copy_from_slice(&high_half(seq));
        len += 4;
    }
    bytes[len] = 0x80;
    let count = if len + 1 + counter <= B { 1 } else { 2 };
    put_length(&mut bytes[..count * B], B + message.data.len() - rest.len() + len);
    compress(&last[..count]);
}

/// The last eight bytes: `bytes` as a number of bits.
fn put_length(blocks: &mut [u8], bytes: usize) {
    if let Some(last) = blocks.last_chunk_mut() {
        *last = (bytes as u64 * 8).to_be_bytes();
    }
}

fn write<const W: usize, const N: usize>(to: &mut [u8], state: &[[u8; W]; N]) {
    for (bytes, word) in to.chunks_exact_mut(W).zip(state) {
        bytes.iter_mut().zip(word.iter().rev()).for_each(|(to, from)| *to = *from);
    }
}
