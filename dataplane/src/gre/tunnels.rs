//! The tunnels of one generation, and the numbers that outlive it.
//!
//! Decides: the tunnel of a pair of ends and a key; whether a tunnel is up: there is a route to its far end by a port
//! (R239); how large its inner packets may be. Never: knows of packets.

use crate::route::{Fib, Hop};
use ravelin_ring::msg::{Behind, Gre, Interface, InterfaceId, Port};
use ravelin_wire::{gre, ipv4, ipv6};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Sets the place of a tunnel of GRE apart from those of tunnels of IPsec, which are fewer.
const APART: u32 = 1 << 31;

/// Of the `n`th device, as the tunnel of a packet.
pub(crate) fn place(n: usize) -> u32 {
    u32::try_from(n).map_or(u32::MAX, |n| APART | n)
}

/// All devices of a generation have a place here, so that [`place`] finds them.
#[derive(Debug, Default)]
pub(crate) struct Tunnels {
    list: Vec<Option<Tunnel>>,
    /// By local and remote address.
    by_ends: HashMap<(IpAddr, IpAddr), Vec<usize>>,
}

#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) id: InterfaceId,
    pub(crate) spec: Gre,
    /// Largest inner packet; `None`: no route to the far end by a port.
    pub(crate) limit: Option<u16>,
    pub(crate) state: Arc<State>,
}

impl Tunnels {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.by_ends.is_empty()
    }

    /// By a packet's tunnel.
    pub(crate) fn at(&self, place: u32) -> Option<&Tunnel> {
        self.list.get((place & !APART) as usize)?.as_ref().filter(|_| place & APART != 0)
    }

    /// Those between the two ends; they differ in their keys.
    pub(crate) fn between(&self, local: IpAddr, remote: IpAddr) -> Option<impl Iterator<Item = &Tunnel>> {
        let places = self.by_ends.get(&(local, remote))?;
        Some(places.iter().filter_map(|at| self.list.get(*at)?.as_ref()))
    }
}

/// What workers share about one tunnel.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Packets sent: the next sequence number, and the identification of IPv4.
    sent: AtomicU32,
    /// The last number received, how many older ones came since, and whether one came at all.
    received: AtomicU64,
}

const SOME: u64 = 1 << 63;
/// So many older numbers one after the other, and the sender has begun anew: RFC 2890 has no other way to learn it.
const ANEW: u64 = 64;

impl State {
    /// The number of the next packet. `dry`: it is only asked about.
    pub(crate) fn number(&self, dry: bool) -> u32 {
        if dry { self.sent.load(Ordering::Relaxed) } else { self.sent.fetch_add(1, Ordering::Relaxed) }
    }

    /// Whether a packet of this number is in order.
    pub(crate) fn take(&self, number: u32, dry: bool) -> bool {
        let judge = |word: u64| {
            //= https://www.rfc-editor.org/rfc/rfc2890#section-2.2
            //# A packet is considered an out-of-sequence packet if the sequence
            //# number of the received packet is lesser than or equal to the
            //# sequence number of last successfully decapsulated packet.
            #[allow(clippy::cast_possible_truncation)] // the low half is the number
            let ahead = number.wrapping_sub(word as u32);
            let newer = word & SOME == 0 || (1..1 << 31).contains(&ahead);
            let older = if newer { 0 } else { (word >> 32 & 0xffff) + 1 };
            let fine = newer || older > ANEW;
            let kept = if fine { SOME | u64::from(number) } else { word & !(0xffff << 32) | older << 32 };
            (fine, kept)
        };
        let mut word = self.received.load(Ordering::Relaxed);
        loop {
            let (fine, kept) = judge(word);
            if dry {
                return fine;
            }
            let ordering = Ordering::Relaxed;
            match self.received.compare_exchange_weak(word, kept, ordering, ordering) {
                Ok(_) => return fine,
                Err(now) => word = now,
            }
        }
    }
}

/// Numbers go on from one generation to the next.
#[derive(Debug, Default)]
pub(crate) struct Numbers(BTreeMap<InterfaceId, (Gre, Arc<State>)>);

impl Numbers {
    pub(crate) fn compile(&mut self, list: &[Interface], fib: &Fib, ports: &[Port]) -> Tunnels {
        let mut tunnels = Tunnels::default();
        let mut kept = BTreeMap::new();
        for (n, it) in list.iter().enumerate() {
            tunnels.list.push(None);
            let (Behind::Gre(spec), Some(slot)) = (it.behind, tunnels.list.last_mut()) else { continue };
            let before = self.0.get(&it.id).filter(|(gre, _)| same_tunnel(gre, &spec));
            let state = before.map_or_else(Arc::default, |(_, state)| state.clone());
            kept.insert(it.id, (spec, state.clone()));
            *slot = Some(Tunnel { id: it.id, spec, limit: limit(&spec, fib, ports), state });
            tunnels.by_ends.entry((spec.local, spec.remote)).or_default().push(n);
        }
        self.0 = kept;
        tunnels
    }
}

/// To the other end it is the one it was.
fn same_tunnel(a: &Gre, b: &Gre) -> bool {
    (a.local, a.remote, a.key, a.sequence) == (b.local, b.remote, b.key, b.sequence)
}

/// What the first link carries, and no more than the configuration says.
fn limit(spec: &Gre, fib: &Fib, ports: &[Port]) -> Option<u16> {
    let Hop::Port { port, .. } = fib.hop(fib.lookup_ip(spec.remote)) else { return None };
    let link = ports.iter().find(|p| p.port == port)?;
    let header = gre::Gre {
        protocol: 0,
        checksum: spec.checksum,
        key: spec.key,
        sequence: spec.sequence.then_some(0),
    };
    let outer = if spec.local.is_ipv4() { ipv4::HEADER } else { ipv6::HEADER };
    let room = usize::from(link.mtu).saturating_sub(outer + header.len());
    Some(u16::try_from(room).map_or(spec.mtu, |room| room.min(spec.mtu)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_number_is_taken_once_and_a_sender_that_begins_anew_is_heard_again() {
        let state = State::default();
        let all = [(7, true), (7, false), (8, true), (6, false), (20, true), (19, false), (21, true)];
        for (number, fine) in all {
            assert_eq!(state.take(number, true), fine);
            assert_eq!(state.take(number, false), fine, "{number}");
        }
        assert!(state.take(0x8000_0010, false), "half the numbers are ahead");
        for n in 0..64 {
            assert!(!state.take(0x1000_0000 + n, false));
        }
        assert!(state.take(0x1000_0040, false));
        assert!(!state.take(0x1000_0040, false) && state.take(0x1000_0041, false));
    }

    proptest! {
        // Across the end of the numbers, against a list of what came.
        #[test]
        fn numbers_in_order(start: u32, steps in prop::collection::vec(-3i32..40, 1..200)) {
            let state = State::default();
            let (mut last, mut at): (Option<u32>, u32) = (None, start);
            let mut older = 0;
            for step in steps {
                at = at.wrapping_add_signed(step);
                let newer = last.is_none_or(|l| at != l && at.wrapping_sub(l) < 1 << 31);
                older = if newer { 0 } else { older + 1 };
                let fine = newer || older > 64;
                prop_assert_eq!(state.take(at, false), fine);
                if fine { (last, older) = (Some(at), 0); }
            }
        }
    }
}
