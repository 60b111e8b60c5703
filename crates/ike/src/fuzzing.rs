//! What stands behind decryption, for fuzz targets and property tests only: the payloads of a peer with keys, and its
//! pieces of messages.
//!
//! Decides: nothing. Never: part of a normal build.

use crate::crypto::Wiped;
use crate::fragment::{Fragment, Fragments, Room, Taken};
use crate::header;
use crate::payload;
use std::time::Instant;

/// A chain of payloads, its first byte the type of the first: what can be read can be written.
pub fn payloads(bytes: &[u8]) {
    let Some((first, chain)) = bytes.split_first() else { return };
    if let Ok(read) = payload::parse_chain(*first, chain) {
        let mut again = Vec::new();
        payload::write_chain(&read, &mut again);
    }
}

/// Pieces in any order, number and cut: eight bytes each say which message, number, total, and how long the piece is.
/// The room is never exceeded, a whole message is never longer than one may be, and all room comes back.
pub fn pieces(bytes: &[u8]) {
    const ROOM: usize = 4096;
    const EACH: usize = 2048;
    let (room, mut store, now) = (Room::new(ROOM, EACH), Fragments::default(), Instant::now());
    for piece in bytes.chunks_exact(8) {
        let &[which, first, n, number, t, total, fill, len] = piece else { continue };
        let mut datagram = vec![0; header::LEN];
        let body = 8 + usize::from(len) * 4;
        datagram.extend_from_slice(&[first, 0]);
        datagram.extend_from_slice(&u16::try_from(body).unwrap_or(u16::MAX).to_be_bytes());
        datagram.extend_from_slice(&[n, number, t, total]);
        datagram.resize(header::LEN + body, fill);
        let Ok(fragment) = Fragment::parse(&datagram) else { continue };
        let (response, id) = (which & 1 == 1, u32::from(which >> 6));
        if !store.is_news(response, id, fragment) {
            continue;
        }
        let plain = Wiped::new(datagram.get(header::LEN + 8..).unwrap_or_default().to_vec());
        match store.take((response, id), fragment, (&datagram, plain), &room, now) {
            Taken::Whole(whole) => assert!(whole.plain.len() <= EACH),
            Taken::Kept | Taken::NoRoom => {}
        }
        assert!(room.used() <= ROOM);
    }
    drop(store);
    assert_eq!(room.used(), 0);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn pieces_and_payloads_of_any_kind_are_no_danger(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..800),
            small in any::<bool>(),
        ) {
            super::payloads(&bytes);
            super::pieces(&bytes);
            // Numbers that often belong together.
            if small {
                for piece in bytes.chunks_exact_mut(8) {
                    (piece[0], piece[2], piece[4]) = (piece[0] & 0x41, 0, 0);
                    (piece[3], piece[5], piece[1]) = (piece[3] % 4, 3, if piece[3] % 4 == 1 { 40 } else { 0 });
                }
                super::pieces(&bytes);
            }
        }
    }
}
