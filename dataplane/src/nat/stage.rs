//! One packet's turn: its destination when it arrives, its source when it departs.

use super::fragments::{Fate, Key, first_fragment, fragment};
use super::quick::{Once, exchange};
use super::quote::{quoted, requote};
use super::rewrite::{Side, rewrite};
use super::rules::{Pool, Rule, owner_of_host};
use super::store::{Choice, Inside, Seen, Way};
use super::tuple::{End, Tuple, Upper, has_ends, spi, upper};
use super::{Stop, Turn};
use crate::packet::{Door, Ip, Packet};
use crate::route::Hop;
use crate::spd::{Answer, Query};
use crate::tables::Tables;
use ravelin_ring::counters::Drop;
use ravelin_ring::inspect::NatBy;
use ravelin_ring::msg::NatKind;
use ravelin_wire::protocol;

/// What a packet is to translation.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Flow(Tuple),
    /// An ICMP error; the flow that answers the quoted packet goes the error's own way.
    Error(Tuple),
    /// An ICMP error that quotes nothing readable, or a message that is neither query nor error.
    Odd,
    Later(Key),
}

impl Turn<'_> {
    /// True: it was translated.
    pub(super) fn arrive(&mut self, at: u16, packet: &mut Packet) -> Result<bool, Stop> {
        let rules = self.rules;
        let dst = packet.meta.ip.dst;
        match shape(packet) {
            Shape::Later(key) => self.later(at, packet, key),
            _ if !rules.is_outside(dst) => Ok(false),
            Shape::Odd if self.is_shared(dst) => Ok(false),
            Shape::Odd => Err(Drop::NatBadIcmp.into()),
            Shape::Flow(tuple) => {
                let seen = self.seen(packet, &tuple);
                match self.inward(&tuple, packet.door, Some(seen)) {
                    Ok(Some(end)) => {
                        self.put(at, packet, Side::Destination, end)?;
                        self.keep(at, packet, (Way::In, Side::Destination, end));
                        self.remember(at, packet);
                        Ok(true)
                    }
                    Ok(None) => Ok(false),
                    Err(stop) => Err(self.remember_hand(packet, stop)),
                }
            }
            Shape::Error(tuple) if tuple.dst.addr != dst => Ok(false),
            Shape::Error(tuple) => {
                let Some(end) = self.inward(&tuple, packet.door, None)? else { return Ok(false) };
                let header = packet.meta.ip.header_len.into();
                requote(packet.frame.data_mut(), header, Side::Source, end)?;
                self.put(at, packet, Side::Destination, End { port: 0, ..end })
            }
        }
    }

    /// True: its source was translated.
    pub(super) fn depart(&mut self, at: u16, packet: &mut Packet) -> Result<bool, Stop> {
        let settled = self.before.get(at).is_some_and(|came| came.settled);
        // What was sent into a tunnel's device leaves by no port.
        let sent = matches!(packet.door, Door::Device(_));
        if settled || sent || self.tables.hop(packet.meta.hop) == Hop::Local {
            return Ok(false);
        }
        let shape = shape(packet);
        let done = match shape {
            Shape::Error(tuple) => self.depart_error(at, packet, &tuple)?,
            _ if self.rules.is_outside(packet.meta.ip.src) => false,
            Shape::Later(key) => self.depart_later(at, packet, key)?,
            Shape::Odd => self.depart_odd(at, packet)?,
            Shape::Flow(tuple) => match self.outward(at, packet, &tuple, true) {
                Ok(Some(end)) => {
                    self.put(at, packet, Side::Source, end)?;
                    self.keep(at, packet, (Way::Out, Side::Source, end))
                }
                Ok(None) => false,
                Err(stop) => {
                    self.restore(at, packet)?;
                    return Err(self.remember_hand(packet, stop));
                }
            },
        };
        self.remember(at, packet);
        Ok(done)
    }

    /// The inside end that a destination stands for. `seen`: of a packet that counts for its session.
    fn inward(&mut self, tuple: &Tuple, door: Door, seen: Option<Seen>) -> Result<Option<End>, Stop> {
        let rules = self.rules;
        if let Some((rule, end)) = rules.forwarding(tuple) {
            self.say(rule.kind.into(), Some(rule));
            return Ok(Some(end));
        }
        let Tuple { protocol, src, dst, spi } = *tuple;
        let local = self.is_shared(dst.addr);
        // What nothing is behind is the host's, where the address is; otherwise nobody's.
        let nobody = || if local { Ok(None) } else { Err(Stop::Drop(Drop::NatNoMapping)) };
        let Some(pool) = rules.pool_of(dst.addr) else { return nobody() };
        let owner = if has_ends(protocol) {
            pool.owner(dst.port, self.workers)
        } else {
            Some(owner_of_host(src.addr, self.workers)).filter(|_| !local)
        };
        let Some(owner) = owner else { return nobody() };
        if owner != self.me {
            return Err(Stop::Hand(owner));
        }
        let remote = self.stands_for(tuple, *pool, door, seen);
        let (store, settings) = (&mut self.state.store, &rules.settings);
        let found = match seen {
            Some(seen) => store.inbound(protocol, dst, remote, seen, settings),
            None => {
                let quoted = Seen { now: self.now.ms, flags: 0, spi };
                let inside = store.peek_in(protocol, dst, remote, quoted, settings);
                inside.ok_or(Drop::NatNoMapping)
            }
        };
        match found {
            Ok(inside) if rules.may(inside.end.addr, inside.pool) => {
                self.say(NatBy::Session, rules.source(inside.end.addr, inside.pool));
                Ok(Some(inside.end))
            }
            // Identifiers of the host's own pings are from anywhere.
            Err(Drop::NatNoMapping) if local && (protocol == protocol::ICMP || seen.is_none()) => Ok(None),
            Err(why) => Err(why.into()),
            Ok(_) => Err(Drop::NatNoMapping.into()),
        }
    }

    /// Who is inside and speaks to an outside end (hairpin, RFC 4787 REQ-9) is known there by an outside end as well.
    /// It has spoken to that end then, whether or not it may be answered: so both can begin.
    fn stands_for(&mut self, tuple: &Tuple, pool: Pool, door: Door, seen: Option<Seen>) -> End {
        let (rules, Tuple { protocol, src, dst, .. }) = (self.rules, *tuple);
        if let Some(end) = rules.backward(protocol, src) {
            return end;
        }
        let mine = owner_of_host(src.addr, self.workers) == self.me && has_ends(protocol);
        if !mine || !rules.is_inside(door, src.addr, pool.first) {
            return src;
        }
        let inside = Inside::new(protocol, src, pool.first, 0);
        let (store, settings) = (&mut self.state.store, &rules.settings);
        let choice = Choice { pool: &pool, me: self.me, workers: self.workers };
        let opened = seen.and_then(|seen| store.outbound(inside, dst, seen, settings, &choice).ok());
        opened.or_else(|| store.mapped(inside)).unwrap_or(src)
    }

    /// The outside end that a source gets. `opens`: a session where there is none.
    fn outward(&mut self, at: u16, packet: &Packet, tuple: &Tuple, opens: bool) -> Result<Option<End>, Stop> {
        let (rules, tables) = (self.rules, self.tables);
        let came = self.before.get(at).map(|came| came.ip);
        let mut protected = None;
        let covered = std::cell::RefCell::new(&mut protected);
        let applies = |rule: &Rule| {
            leaves(rule, packet, came.as_ref(), tables)
                && (rule.tunnel || !*covered.borrow_mut().get_or_insert_with(|| is_protected(packet, tables)))
        };
        let found = rules.outward(tuple, applies);
        self.say(found.map_or(NatBy::Nothing, |rule| rule.kind.into()), found);
        let Some(rule) = found else { return Ok(None) };
        match rule.kind {
            NatKind::Exempt => return Ok(None),
            NatKind::Static | NatKind::Destination => return Ok(rule.back(tuple.src)),
            NatKind::Source => {}
        }
        let pool = *rule.pool(rules).ok_or(Drop::NatNoPort)?;
        if !has_ends(tuple.protocol) && self.is_shared(pool.first) {
            return Ok(None); // of the host's own address only ports can be told apart
        }
        let owner = owner_of_host(Rule::anchor(tuple), self.workers);
        if owner != self.me {
            return Err(Stop::Hand(owner));
        }
        // Towards an outside end that stood for another, it is the outside end that the session is with.
        let remote = came.filter(|came| opens && came.dst != packet.meta.ip.dst).map_or(tuple.dst, |came| {
            let port = if matches!(came.protocol, protocol::TCP | protocol::UDP) {
                came.ports.1
            } else {
                tuple.dst.port
            };
            End { addr: came.dst, port }
        });
        let inside = Inside::new(tuple.protocol, tuple.src, pool.first, remote.addr);
        let seen = self.seen(packet, tuple);
        let store = &mut self.state.store;
        if !opens {
            let known = store.peek_out(inside, remote, self.now.ms, &rules.settings);
            return known.map(Some).ok_or(Stop::Drop(Drop::NatBadIcmp));
        }
        let choice = Choice { pool: &pool, me: self.me, workers: self.workers };
        Ok(Some(store.outbound(inside, remote, seen, &rules.settings, &choice)?))
    }

    fn depart_error(&mut self, at: u16, packet: &mut Packet, tuple: &Tuple) -> Result<bool, Stop> {
        if self.rules.is_outside(tuple.src.addr) {
            return Ok(false);
        }
        let end = match self.outward(at, packet, tuple, false) {
            Ok(Some(end)) => end,
            Ok(None) => return Ok(false),
            Err(stop) => {
                self.restore(at, packet)?;
                return Err(stop);
            }
        };
        let header = packet.meta.ip.header_len.into();
        requote(packet.frame.data_mut(), header, Side::Destination, end)?;
        // RFC 5508 REQ-5: a router inside is not known outside either; we are.
        if self.tables.locals().contains(&packet.meta.ip.src) {
            self.before.put(at, packet.meta.ip, true);
            (packet.meta.translated, packet.meta.fleeting) = (true, true);
            return Ok(true);
        }
        self.put(at, packet, Side::Source, End { port: 0, ..end })
    }

    /// A message of ICMP that has nothing to be known by: addresses that stand for one host are enough for it.
    fn depart_odd(&mut self, at: u16, packet: &mut Packet) -> Result<bool, Stop> {
        self.by_addresses(at, packet, Drop::NatBadIcmp)
    }

    /// The first one may have gone just before it, in the same batch.
    fn depart_later(&mut self, at: u16, packet: &mut Packet, key: Key) -> Result<bool, Stop> {
        let came = self.before.get(at).map_or(packet.meta.ip, |came| came.ip);
        let key = Key { src: came.src, dst: came.dst, ..key };
        match self.state.fragments.get(key, self.now.ms) {
            Some(Fate::Handed(worker)) => return Err(Stop::Hand(worker)),
            Some(Fate::Went { src, .. }) if src == packet.meta.ip.src => return Ok(false),
            Some(Fate::Went { src, .. }) => {
                return self.put(at, packet, Side::Source, End { addr: src, port: 0 });
            }
            None => {}
        }
        self.by_addresses(at, packet, Drop::NatFragment)
    }

    fn by_addresses(&mut self, at: u16, packet: &mut Packet, otherwise: Drop) -> Result<bool, Stop> {
        let came = self.before.get(at).map(|came| came.ip);
        let tables = self.tables;
        let applies = |rule: &Rule| {
            leaves(rule, packet, came.as_ref(), tables) && (rule.tunnel || !is_protected(packet, tables))
        };
        let ip = &packet.meta.ip;
        let (src, dst) = (End { addr: ip.src, port: 0 }, End { addr: ip.dst, port: 0 });
        let Some(rule) = self.rules.outward(&Tuple { protocol: ip.protocol, src, dst, spi: 0 }, applies)
        else {
            return Ok(false);
        };
        match rule.kind {
            NatKind::Exempt => Ok(false),
            NatKind::Static => match rule.back(src) {
                Some(end) => self.put(at, packet, Side::Source, end),
                None => Ok(false),
            },
            NatKind::Source | NatKind::Destination => Err(otherwise.into()),
        }
    }

    /// A fragment without ports goes where the first one went.
    fn later(&mut self, at: u16, packet: &mut Packet, key: Key) -> Result<bool, Stop> {
        match self.state.fragments.get(key, self.now.ms) {
            Some(Fate::Handed(worker)) => Err(Stop::Hand(worker)),
            Some(Fate::Went { dst, .. }) if dst == packet.meta.ip.dst => Ok(false),
            Some(Fate::Went { dst, .. }) => {
                self.put(at, packet, Side::Destination, End { addr: dst, port: 0 })
            }
            None if self.rules.is_outside(packet.meta.ip.dst) => {
                let ip = &packet.meta.ip;
                let (src, dst) = (End { addr: ip.src, port: 0 }, End { addr: ip.dst, port: 0 });
                match self.rules.forward(&Tuple { protocol: ip.protocol, src, dst, spi: 0 }) {
                    Some(end) => self.put(at, packet, Side::Destination, end),
                    None if self.is_shared(ip.dst) => Ok(false),
                    None => Err(Drop::NatFragment.into()),
                }
            }
            None => Ok(false),
        }
    }

    fn put(&mut self, at: u16, packet: &mut Packet, side: Side, end: End) -> Result<bool, Stop> {
        self.before.put(at, packet.meta.ip, false);
        exchange(packet, side, end)?;
        Ok(true)
    }

    /// For the next packets of its flow, if it was this one session's.
    fn keep(&mut self, at: u16, packet: &Packet, how: (Way, Side, End)) -> bool {
        let session = self.state.store.take_touched();
        self.before.keep(at, |came| Once::of(packet, came, session, how));
        true
    }

    /// As it came, for another worker.
    fn restore(&mut self, at: u16, packet: &mut Packet) -> Result<(), Stop> {
        let Some(came) = self.before.get(at).map(|came| came.ip) else { return Ok(()) };
        if let Shape::Flow(tuple) = shape(packet)
            && came.dst != packet.meta.ip.dst
        {
            let ported = matches!(came.protocol, protocol::TCP | protocol::UDP);
            let port = if ported { came.ports.1 } else { tuple.dst.port };
            rewrite(packet.frame.data_mut(), Side::Destination, End { addr: came.dst, port }, false)?;
            packet.meta.ip = came;
        }
        Ok(())
    }

    fn remember(&mut self, at: u16, packet: &Packet) {
        if let Some(key) = first_fragment(packet).filter(|_| !self.state.store.dry) {
            let came = self.before.get(at).map_or(packet.meta.ip, |came| came.ip);
            let key = Key { src: came.src, dst: came.dst, ..key };
            let Ip { src, dst, .. } = packet.meta.ip;
            self.state.fragments.put(key, Fate::Went { src, dst }, self.now.ms);
        }
    }

    fn remember_hand(&mut self, packet: &Packet, stop: Stop) -> Stop {
        if let (Stop::Hand(worker), Some(key), false) = (stop, first_fragment(packet), self.state.store.dry) {
            self.state.fragments.put(key, Fate::Handed(worker), self.now.ms);
        }
        stop
    }

    fn seen(&self, packet: &Packet, tuple: &Tuple) -> Seen {
        Seen { now: self.now.ms, flags: flags(packet), spi: tuple.spi }
    }

    /// What translation has no use for is the host's.
    fn is_shared(&self, addr: u32) -> bool {
        self.tables.is_shared(self.vrf, addr)
    }
}

/// Whether the packet leaves where the rule looks for it; or it came from inside and goes back there, having been sent to
/// an outside address (hairpin).
fn leaves(rule: &Rule, packet: &Packet, came: Option<&Ip>, tables: &Tables) -> bool {
    if rule.tunnel {
        return true;
    }
    let egress = match tables.hop(packet.meta.hop) {
        Hop::Port { port, .. } => Some(port),
        Hop::None | Hop::Local | Hop::Tunnel | Hop::Interface(_) | Hop::Kernel | Hop::Blackhole => None,
    };
    let hairpin = || {
        let inside = rule.port.is_none_or(|port| packet.door != Door::Port(port));
        inside && came.is_some_and(|came| came.dst != packet.meta.ip.dst)
    };
    egress.is_some_and(|egress| rule.port.is_none_or(|port| port == egress) || hairpin())
}

/// A policy lets this packet, as it is, leave by a tunnel alone.
fn is_protected(packet: &Packet, tables: &Tables) -> bool {
    let (answer, _) = tables.policy(packet.meta.vrf, &Query::outbound(packet));
    matches!(answer, Answer::Protect(_) | Answer::Unknown)
}

fn shape(packet: &Packet) -> Shape {
    let ip = &packet.meta.ip;
    if let Some((key, offset)) = fragment(packet)
        && offset != 0
    {
        return Shape::Later(key);
    }
    let data = packet.frame.data();
    let header = usize::from(ip.header_len);
    let payload = data.get(header..).unwrap_or_default();
    match upper(ip.protocol, payload) {
        Upper::Ends(src, dst) => {
            let (src, dst) = (End { addr: ip.src, port: src }, End { addr: ip.dst, port: dst });
            Shape::Flow(Tuple { protocol: ip.protocol, src, dst, spi: spi(ip.protocol, payload) })
        }
        Upper::Error => quoted(data, header).map_or(Shape::Odd, |tuple| Shape::Error(tuple.reversed())),
        Upper::Unknown => Shape::Odd,
    }
}

/// Of TCP.
fn flags(packet: &Packet) -> u8 {
    const FLAGS: usize = 13;
    let at = usize::from(packet.meta.ip.header_len) + FLAGS;
    packet.frame.data().get(at).copied().unwrap_or(0)
}
