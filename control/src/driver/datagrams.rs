//! Datagrams of IKE, some at a time, and what routers say of our packets.
//!
//! Decides: how long a turn may spend on them, so that whoever asks by `ravelin` waits for little. Reads: the sockets.
//! Writes: the engine. Never: lets a storm of them keep everything else waiting.

use super::Driver;
use crate::net::Received;
use ravelin_ike::config::Realm;
use std::time::{Duration, Instant};

/// A peer's key exchange costs up to some milliseconds.
const PER_TURN: Duration = Duration::from_millis(5);
/// Of those that cost nothing.
const MOST: usize = 256;

impl Driver {
    /// What is there; the rest waits in the sockets for the next turn.
    pub(super) fn datagrams(&mut self, now: Instant) {
        for _ in 0..MOST {
            match self.sockets.receive() {
                Received::Ike(d) => {
                    let realm = Realm(self.mirror.model().vrf_of(d.device).0);
                    self.core.datagram(now, realm, d.local, d.remote, &d.bytes);
                }
                Received::Other => {}
                Received::Nothing => break,
            }
            if now.elapsed() >= PER_TURN {
                break;
            }
        }
        for notice in self.sockets.too_big() {
            let vrf = self.mirror.model().vrf_of(notice.device);
            self.core.too_big(now, vrf, &notice);
            self.gre_too_big(now, vrf, &notice);
        }
    }
}
