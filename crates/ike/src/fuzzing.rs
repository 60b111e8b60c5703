//! What stands behind decryption, for fuzz targets and property tests only: the payloads of a peer with keys, and its
//! pieces of messages.
//!
//! Decides: nothing. Never: part of a normal build.

use crate::config::{EapClient, EapMethod, EapServer, Secret};
use crate::crypto::Wiped;
use crate::eap::{Client, Server, Step};
use crate::fragment::{Fragment, Fragments, Room, Taken};
use crate::header;
use crate::payload;
use crate::record::Clock;
use crate::ticket::{LIFETIME, Ring, Session};
use core::time::Duration;
use std::sync::Arc;
use std::time::Instant;

/// A chain of payloads, its first byte the type of the first: what can be read can be written.
pub fn payloads(bytes: &[u8]) {
    let Some((first, chain)) = bytes.split_first() else { return };
    if let Ok(read) = payload::parse_chain(*first, chain) {
        let mut again = Vec::new();
        payload::write_chain(&read, &mut again);
    }
}

/// A stranger's ticket, and one of ours with some bytes changed (each pair of `bytes` says where, and by which bits):
/// only what this gateway made opens.
pub fn tickets(bytes: &[u8]) {
    let now = Instant::now();
    let clock = Clock { here: now, boot: Duration::from_secs(1000) };
    let (mut ring, mut rng) = (Ring::default(), Counting(3));
    let Some((_, mut ticket)) = ring.seal(now, &clock, &mut rng, &Session::example(now), now + LIFETIME)
    else {
        return;
    };
    let good = ticket.clone();
    for change in bytes.chunks_exact(2) {
        let &[at, bits] = change else { continue };
        let len = ticket.len();
        if let Some(byte) = ticket.get_mut(usize::from(at) % len) {
            *byte ^= bits;
        }
    }
    assert_eq!(ring.open(now, &clock, &ticket).is_ok(), ticket == good);
    assert!(ring.open(now, &clock, bytes).is_err(), "a ticket by luck");
    ring.restore(&clock, bytes);
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

/// A Configuration payload as the answer to a request for addresses: what is taken is of hosts, bounded, and one of
/// each family.
pub fn assigned(bytes: &[u8]) {
    let Ok(reply) = payload::Cp::parse(bytes) else { return };
    let (v4, v6) = ([0, 0, 0, 0].into(), [0u16; 8].into());
    let found = crate::task::address::Assigned::of(&reply, &[v4, v6]);
    assert!(found.dns.len() <= 8 && found.addresses.len() <= 2);
    for addr in found.addresses.iter().chain(&found.dns) {
        assert!(!addr.is_unspecified() && !addr.is_multicast() && !addr.is_loopback());
    }
    assert!(found.addresses.windows(2).all(|two| two[0].is_ipv4() != two[1].is_ipv4()));
}

/// Packets of EAP for both roles, by one byte for the length of each: no panic, an end, and nobody has proven a thing
/// whose password is not known to the other.
pub fn eap(bytes: &[u8]) {
    let mut rng = Counting(0);
    let users = [("carol".to_owned(), Secret::new(b"carol-pass".to_vec()))];
    let methods = vec![EapMethod::MsChapV2, EapMethod::Md5];
    let config =
        EapServer { methods: methods.clone(), users: Arc::new(users.into()), ask_identity: false, tls: None };
    let (mut server, _) = Server::begin(Arc::new(config), "carol".to_owned(), 0, &mut rng);
    let password = Secret::new(b"carol-pass".to_vec());
    let mut client =
        Client::new(Arc::new(EapClient { user: "carol".to_owned(), password, methods, tls: None }), 0);
    let mut rest = bytes;
    while let Some((len, tail)) = rest.split_first() {
        let (packet, next) = tail.split_at(usize::from(*len).min(tail.len()));
        rest = next;
        let _ = crate::eap::name(packet);
        assert!(!matches!(server.on(packet, &mut rng), Step::Done(_)), "a user by luck");
        // MD5 proves only the client: its server may say "success".
        if let Step::Done(proven) = client.on(packet, &mut rng) {
            assert!(proven.msk.is_none(), "a server by luck");
        }
    }
}

/// Not random: what it makes need not be unknown here.
struct Counting(u64);

impl rand_core::TryRng for Counting {
    type Error = core::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        self.try_next_u64().map(|n| u32::try_from(n >> 32).unwrap_or_default())
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        Ok(self.0)
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Self::Error> {
        to.fill(7);
        Ok(())
    }
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
            super::tickets(&bytes);
            super::tickets(bytes.get(..bytes.len() % 8).unwrap_or_default());
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
