//! Flows of IPv6: known by whole addresses, in a table of their own, so that those of IPv4 keep their short keys.
//!
//! Decides, reads, writes: as its parent. Never: takes memory before a policy protects IPv6.

use super::key::{place_of, ports, rest};
use super::{CLEAR, Known};
use crate::packet::Packet;
use crate::route::{address, word};
use ravelin_ring::msg::PortId;
use ravelin_wire::MacAddr;

/// Flows that meet in one set; a third takes the place of one of them.
const WAYS: usize = 2;
/// Sets: at least so many, and at most (8 MiB).
const SETS: (usize, usize) = (1 << 14, 1 << 16);

/// Which set a flow has, nobody outside knows.
#[derive(Debug, Default)]
pub(super) struct Flows {
    sets: Box<[[Entry; WAYS]]>,
    seed: [u64; 4],
    turn: usize,
}

/// 0 in `rest` is the key of no packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Key {
    src: [u64; 2],
    dst: [u64; 2],
    /// Ports, door, protocol.
    rest: u64,
}

/// One line of the cache.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Entry {
    key: Key,
    epoch: u32,
    came: u32,
    way: Way,
}

const _: () = assert!(size_of::<Entry>() == 64);

/// What [`Known`] says in more room.
#[derive(Clone, Copy, Debug)]
enum Way {
    Protect { sa: u32, stamp: u32, limit: u16 },
    Bypass { port: PortId, mac: MacAddr, limit: u16 },
}

impl Key {
    /// `None`: as for IPv4.
    pub(super) fn of(packet: &Packet) -> Option<Self> {
        let ip = &packet.meta.ip;
        let door = place_of(packet.door, packet).filter(|_| ip.v6 && !ip.portless)?;
        let rest = rest(ports(ip), ip.protocol, door);
        let (src, dst) = packet.addresses_v6();
        Some(Self { src: halves(src), dst: halves(dst), rest })
    }
}

#[allow(clippy::cast_possible_truncation)] // halves are meant
fn halves(addr: u128) -> [u64; 2] {
    [(addr >> 64) as u64, addr as u64]
}

impl Flows {
    /// For a worker with room for so many SAs of a direction.
    pub(super) fn new(max_sas: u32) -> Self {
        let nothing = Way::Protect { sa: 0, stamp: 0, limit: 0 };
        let entry = Entry { key: Key::default(), epoch: 0, came: 0, way: nothing };
        let sets = (max_sas as usize).next_power_of_two().clamp(SETS.0, SETS.1);
        let mut seed = [[0; 8]; 4];
        // Without chance a stranger may know which flows displace each other; that costs time, no more.
        let _ = getrandom::fill(seed.as_flattened_mut());
        Self {
            sets: vec![[entry; WAYS]; sets].into_boxed_slice(),
            seed: seed.map(u64::from_ne_bytes),
            turn: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    pub(super) fn forget(&mut self) {
        for entry in self.sets.as_flattened_mut() {
            entry.key = Key::default();
        }
    }

    #[allow(clippy::cast_possible_truncation)] // halves of numbers; fewer sets than 2³²
    fn place(&self, key: &Key) -> usize {
        let folded = |a: u64, b: u64| {
            let product = u128::from(a) * u128::from(b);
            (product >> 64) as u64 ^ product as u64
        };
        let [s0, s1, s2, s3] = self.seed;
        let src = folded(key.src[0] ^ s0, key.src[1] ^ s1);
        let dst = folded(key.dst[0] ^ s2, key.dst[1] ^ s3);
        let hash = folded(src ^ key.rest, dst.rotate_left(32) ^ s0);
        hash as usize & self.sets.len().wrapping_sub(1)
    }

    #[inline(never)]
    pub(super) fn of(&self, packet: &Packet) -> Option<Known> {
        if self.is_empty() {
            return None;
        }
        self.get(&Key::of(packet)?)
    }

    fn get(&self, key: &Key) -> Option<Known> {
        let set = self.sets.get(self.place(key))?;
        let Entry { epoch, came, way, .. } = *set.iter().find(|entry| entry.key == *key)?;
        let known = Known { epoch, came, ..Known::NOTHING };
        Some(match way {
            Way::Protect { sa, stamp, limit } => Known { sa, stamp, limit, ..known },
            Way::Bypass { port, mac, limit } => Known { port, mac: word(mac), limit, ..known },
        })
    }

    pub(super) fn put(&mut self, key: Key, known: Known) {
        let Known { epoch, came, sa, stamp, limit, port, version: _, mac } = known;
        let way = if sa == CLEAR {
            Way::Bypass { port, mac: address(mac), limit }
        } else {
            Way::Protect { sa, stamp, limit }
        };
        let place = self.place(&key);
        let Some(set) = self.sets.get_mut(place) else { return };
        let same = set.iter().position(|entry| entry.key == key);
        let stale = || set.iter().position(|entry| entry.epoch != epoch);
        let at = same.or_else(stale).unwrap_or_else(|| {
            self.turn = self.turn.wrapping_add(1);
            self.turn % WAYS
        });
        set[at] = Entry { key, epoch, came, way };
    }
}
