//! Translated flows: what was decided about the last packets of one, kept for the next ones, as [`crate::flow`] does for
//! those that nobody translates.
//!
//! Decides: nothing. It repeats the translation of a session, and where routes, policies and selectors sent a packet of the
//! same ends that came by the same door: as long as the tables are the same, no command concerned one of the SAs (their
//! stamps), and the session is the same and alive. Reads: `Meta::ip`, the door. Writes: what `arrive` or `depart` and the
//! stages behind them write; the session's time, as each packet does.
//! Never: keeps what was translated twice or without a session; takes a packet that begins or ends a connection, is a
//! fragment, or may be answered by an ICMP error, which has to quote it as it came.

use super::rewrite::{Side, rewrite};
use super::store::{Seen, Way};
use super::tuple::End;
use super::{Nat, State};
use crate::batch::{Batch, Places, prefetch_rest};
use crate::clock::Now;
use crate::packet::{Door, Ip, Packet};
use crate::sa::SaDb;
use crate::stats::Stats;
use crate::tables::Tables;
use ravelin_ring::counters::{Counter, Drop};
use ravelin_ring::msg::{PortId, VrfId};
use ravelin_wire::tcp::Tcp;
use ravelin_wire::{MacAddr, protocol, udp};

const SETS: usize = 4096;
const WAYS: usize = 4;
/// The place of no SA.
const CLEAR: u32 = u32::MAX;

/// What a flow is known by as it comes; 0 in `rest` is that of no packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Key {
    addresses: u64,
    /// Ports, door, protocol.
    rest: u64,
}

/// How one packet was translated, by the session that it is of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Once {
    key: Key,
    /// The SA that it came out of.
    opened: Option<u32>,
    session: (u32, u64),
    way: Way,
    side: Side,
    end: End,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    once: Once,
    epoch: u64,
    vrf: VrfId,
    /// Stamp of the SA that it came out of, and place and stamp of the one that it leaves by; 0 and [`CLEAR`] for none.
    came: u32,
    sa: u32,
    stamp: u32,
    limit: u16,
    port: PortId,
    mac: MacAddr,
}

#[derive(Debug)]
pub(super) struct Quick {
    sets: Box<[[Option<Entry>; WAYS]]>,
    seed: u64,
    turn: usize,
}

/// Where packets of known flows go on.
#[derive(Debug)]
pub(crate) struct Onward<'a> {
    pub(crate) protect: &'a mut Places,
    pub(crate) bypass: &'a mut Places,
}

impl Quick {
    pub(super) fn new() -> Self {
        let mut seed = [0; 8];
        let _ = getrandom::fill(&mut seed); // without it a stranger may know which flows displace each other
        Self { sets: vec![[None; WAYS]; SETS].into_boxed_slice(), seed: u64::from_ne_bytes(seed), turn: 0 }
    }

    #[allow(clippy::cast_possible_truncation)] // the low bits are meant
    fn place(&self, key: Key) -> usize {
        let product =
            u128::from(key.addresses ^ self.seed) * u128::from(key.rest ^ self.seed.rotate_left(32));
        ((product >> 64) as u64 ^ product as u64) as usize % SETS
    }

    fn get(&self, key: Key) -> Option<&Entry> {
        self.sets.get(self.place(key))?.iter().flatten().find(|entry| entry.once.key == key)
    }

    fn put(&mut self, entry: Entry) {
        let place = self.place(entry.once.key);
        let Some(set) = self.sets.get_mut(place) else { return };
        let same = set.iter().position(|e| e.is_some_and(|e| e.once.key == entry.once.key));
        let stale = || set.iter().position(|e| e.is_none_or(|e| e.epoch != entry.epoch));
        let way = same.or_else(stale).unwrap_or_else(|| {
            self.turn = self.turn.wrapping_add(1);
            self.turn % WAYS
        });
        if let Some(slot) = set.get_mut(way) {
            *slot = Some(entry);
        }
    }
}

impl Key {
    /// `ip`: as it came. `None`: it has no ports, or not all of them, or nobody keeps what comes by its door.
    fn of(packet: &Packet, ip: &Ip) -> Option<Self> {
        let door = match packet.door {
            Door::Port(port) => 1 << 22 | u32::from(port.0),
            Door::Sa if packet.meta.opened => 2 << 22 | packet.meta.sa,
            Door::Sa | Door::Tun | Door::Device(_) | Door::Inner(_) | Door::Vrf(_) => return None,
        };
        let hidden = ip.v6 || ip.portless || ip.fragment;
        let ported = matches!(ip.protocol, protocol::TCP | protocol::UDP) && !hidden;
        let ports = u32::from(ip.ports.0) << 16 | u32::from(ip.ports.1);
        ported.then(|| Self {
            addresses: u64::from(ip.src) << 32 | u64::from(ip.dst),
            rest: u64::from(ports) << 32 | u64::from(door << 8 | u32::from(ip.protocol)),
        })
    }
}

impl Once {
    /// `came`: as it was before. `sessions`: those that the packet counted for.
    pub(super) fn of(
        packet: &Packet,
        came: &Ip,
        sessions: Option<(u32, u64)>,
        (way, side, end): (Way, Side, End),
    ) -> Option<Self> {
        let opened = packet.meta.opened.then_some(packet.meta.sa);
        Some(Self { key: Key::of(packet, came)?, opened, session: sessions?, way, side, end })
    }
}

/// Neither the first nor the last of a connection, whole, and with more than one hop to go. What it says of its session.
fn steady(packet: &Packet, now: Now) -> Option<Seen> {
    let ip = &packet.meta.ip;
    let payload = packet.frame.data().get(usize::from(ip.header_len)..)?;
    let flags = match ip.protocol {
        protocol::UDP => (payload.len() >= udp::HEADER).then_some(0)?,
        _ => *payload.get(13).filter(|_| payload.len() >= 20)?,
    };
    let steady = flags & (Tcp::SYN | Tcp::FIN | Tcp::RST) == 0 && ip.ttl > 1;
    // Of UDP nobody looks at flags.
    steady.then_some(Seen { now: now.ms, flags, spi: 0 })
}

/// The packet with this end in place of another.
pub(super) fn exchange(packet: &mut Packet, side: Side, end: End) -> Result<(), Drop> {
    rewrite(packet.frame.data_mut(), side, end, false)?;
    let meta = &mut packet.meta;
    let ported = matches!(meta.ip.protocol, protocol::TCP | protocol::UDP) && !meta.ip.portless;
    let (addr, port) = match side {
        Side::Source => (&mut meta.ip.src, &mut meta.ip.ports.0),
        Side::Destination => (&mut meta.ip.dst, &mut meta.ip.ports.1),
    };
    *addr = end.addr;
    if ported {
        *port = end.port;
    }
    (meta.translated, meta.fleeting) = (true, true);
    Ok(())
}

impl Nat {
    /// So many were learnt since this epoch.
    pub(crate) fn known(&self, epoch: u64) -> usize {
        let all = self.quick.iter().flat_map(|quick| quick.sets.iter().flatten().flatten());
        all.filter(|entry| entry.epoch == epoch).count()
    }

    /// From now on every packet is decided about by itself: the oracle for what is known of flows.
    pub(crate) fn forget_flows(&mut self) {
        self.forgetful = true;
    }

    /// Sends those of `clear` on whose translation and way are known. The others; `None`: all of them.
    #[inline]
    pub(crate) fn others(
        &mut self,
        batch: &mut Batch,
        clear: &[u16],
        (db, tables, epoch): (&SaDb, &Tables, u64),
        onward: &mut Onward<'_>,
        stats: &mut Stats,
        now: Now,
    ) -> Option<Places> {
        let rules = self.states.iter().any(|(vrf, _)| tables.nat_in(*vrf).is_some());
        let quick = self.quick.as_deref().filter(|_| rules && !self.forgetful && !self.dry)?;
        Some(send((quick, &mut self.states), batch, clear, (db, tables, epoch), onward, stats, now))
    }

    /// What became of the packets that were translated once each, for the next ones of their flows.
    pub(crate) fn remember(&mut self, batch: &Batch, protect: &[u16], bypass: &[u16], db: &SaDb, epoch: u64) {
        let Some(quick) = self.quick.as_deref_mut().filter(|_| !self.dry && !self.forgetful) else { return };
        for (at, once) in self.before.once() {
            let Some(packet) = batch.packets.get(usize::from(at)).filter(|p| p.pending()) else { continue };
            let meta = &packet.meta;
            let (sa, stamp) = if protect.binary_search(&at).is_ok() {
                (meta.sa, db.outbound.stamp(meta.sa))
            } else if bypass.binary_search(&at).is_ok() {
                (CLEAR, 0)
            } else {
                continue;
            };
            let came = once.opened.map_or(0, |sa| db.inbound.stamp(sa));
            let (vrf, limit, port, mac) = (meta.vrf, meta.limit, meta.port, meta.mac);
            quick.put(Entry { once, epoch, vrf, came, sa, stamp, limit, port, mac });
        }
    }
}

type States = Vec<(VrfId, Box<State>)>;

#[inline(never)]
fn send(
    (quick, states): (&Quick, &mut States),
    batch: &mut Batch,
    clear: &[u16],
    by: (&SaDb, &Tables, u64),
    onward: &mut Onward<'_>,
    stats: &mut Stats,
    now: Now,
) -> Places {
    let mut others = Places::new();
    for (vrf, state) in states.iter_mut() {
        if let Some(rules) = by.1.nat_in(*vrf) {
            state.store.expire(now.ms, &rules.settings);
        }
    }
    for &at in clear {
        let Some(packet) = batch.packets.get_mut(usize::from(at)).filter(|p| p.pending()) else { continue };
        match one(quick, states, packet, by, now) {
            Some(CLEAR) => onward.bypass.push(at),
            Some(_) => onward.protect.push(at),
            None => {
                others.push(at);
                continue;
            }
        }
        stats.count(Counter::Translated);
    }
    states.iter_mut().for_each(|(_, state)| state.tell(stats));
    others
}

/// By which SA it leaves now.
fn one(
    quick: &Quick,
    states: &mut States,
    packet: &mut Packet,
    (db, tables, epoch): (&SaDb, &Tables, u64),
    now: Now,
) -> Option<u32> {
    let key = Key::of(packet, &packet.meta.ip)?;
    let Entry { once, epoch: then, vrf, came, sa, stamp, limit, port, mac } = *quick.get(key)?;
    let opened = if packet.meta.opened { db.inbound.stamp(packet.meta.sa) } else { 0 };
    let same = then == epoch && vrf == packet.meta.vrf;
    let in_force = same && came == opened && db.outbound.stamp(sa) == stamp;
    let seen = steady(packet, now).filter(|_| in_force && packet.meta.ip.total_len <= limit)?;
    let (_, state) = states.iter_mut().find(|(of, _)| *of == vrf)?;
    if !state.store.goes_on(once.session, once.way, seen, &tables.nat_in(vrf)?.settings) {
        return None;
    }
    // All that it reads is there.
    if let Err(why) = exchange(packet, once.side, once.end) {
        packet.drop(why);
    }
    let meta = &mut packet.meta;
    (meta.limit, meta.port, meta.mac) = (limit, port, mac);
    if sa != CLEAR {
        meta.sa = sa;
        db.outbound.prefetch(sa, meta.ip.total_len.into());
        prefetch_rest(packet);
    }
    Some(sa)
}
