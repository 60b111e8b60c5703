//! ICMP errors of this gateway: "fragmentation needed" (RFC 1191) and "time exceeded" (RFC 792); those of IPv6 in [`v6`].
//!
//! Decides: whether an error goes back, and from which of our addresses. Reads: dropped packets, local addresses, the
//! SPD. Writes: new packets at the end of the batch, which go the outbound way like the host's own. Never: answers an
//! ICMP error or a later fragment (RFC 1122 §3.2.2); quotes in clear what came out of an SA; exceeds its rate.

mod v6;

use crate::batch::{Batch, Places};
use crate::classify;
use crate::clock::Now;
use crate::packet::{Door, Origin, Packet};
use crate::spd::{Answer, Asked, Query};
use crate::stats::Stats;
use crate::tables::Tables;
use crate::verdict::Verdict;
use ravelin_ring::counters::{Counter, Drop};
use ravelin_wire::icmp::{Error, Icmp, MAX_MESSAGE};
use ravelin_wire::ipv4::{self, Ipv4, Ipv4Header};
use ravelin_wire::protocol;
use ravelin_xsk::{Frame, FramePool};
use std::net::Ipv4Addr;

/// A token bucket over all errors of one worker.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rate {
    tokens: u64,
    filled: u64,
}

impl Rate {
    /// Errors per second, and so many at once.
    const PER_SECOND: u64 = 1000;
    const BURST: u64 = 100;

    fn take(&mut self, now: Now) -> bool {
        // `filled` moves only by whole tokens, so nothing is lost to rounding.
        let due = now.ms.saturating_sub(self.filled).saturating_mul(Self::PER_SECOND) / 1000;
        if self.filled == 0 || due > 0 {
            self.tokens = if self.filled == 0 { Self::BURST } else { (self.tokens + due).min(Self::BURST) };
            self.filled = now.ms.max(1);
        }
        let some = self.tokens > 0;
        self.tokens -= u64::from(some);
        some
    }
}

/// What the errors are made with.
#[derive(Debug)]
pub(crate) struct Sender<'a> {
    pub(crate) tables: &'a Tables,
    pub(crate) pool: &'a mut FramePool,
    pub(crate) rate: &'a mut Rate,
    pub(crate) stats: &'a mut Stats,
    pub(crate) now: Now,
}

/// For every packet of `places` that was dropped for its size or its age; the new packets' places go to `made`.
pub(crate) fn run(batch: &mut Batch, places: &[u16], sender: &mut Sender<'_>, made: &mut Places) {
    let Sender { tables, pool, rate, stats, now } = sender;
    for &at in places {
        let Some(packet) = batch.packets.get(usize::from(at)) else { continue };
        if !matches!(packet.verdict, Verdict::Drop(Drop::TooBig | Drop::TtlExpired)) {
            continue;
        }
        let mut may = || batch.packets.remaining_capacity() > 0 && rate.take(*now);
        let reply = if packet.meta.ip.v6 {
            v6::reply(packet, tables, &mut may, pool)
        } else {
            reply(packet, tables, &mut may, pool)
        };
        let vrf = packet.meta.vrf;
        let Some(mut reply) = reply else {
            stats.count(Counter::IcmpSuppressed);
            continue;
        };
        reply.meta.vrf = vrf;
        made.push(u16::try_from(batch.packets.len()).unwrap_or(u16::MAX));
        if let Err(reply) = batch.packets.push(reply) {
            pool.free(reply.frame); // not reached: there was room
        }
        stats.count(Counter::Generated);
        stats.count(Counter::IcmpSent);
    }
}

/// `None`: no error may go back; `may` says whether there is room for one, and is asked last.
fn reply(
    packet: &Packet,
    tables: &Tables,
    may: &mut impl FnMut() -> bool,
    pool: &mut FramePool,
) -> Option<Packet> {
    let error = error(packet)?;
    let (quoted, src) = answerable(packet, tables)?;
    may().then(|| write(error, quoted, src, packet.meta.ip.src, pool))?
}

fn error(packet: &Packet) -> Option<Error> {
    if packet.verdict == Verdict::Drop(Drop::TooBig) {
        return Some(Error::FragmentationNeeded { mtu: packet.meta.limit });
    }
    (packet.verdict == Verdict::Drop(Drop::TtlExpired)).then_some(Error::TimeExceeded)
}

/// The packet to quote and our address to speak from; `None`: no error may go back.
fn answerable<'p>(packet: &'p Packet, tables: &Tables) -> Option<(&'p [u8], u32)> {
    let ip = Ipv4::parse(packet.frame.data()).ok()?;
    let silent = ip.fragment_offset() != 0
        || ip.protocol() == protocol::ICMP && Icmp::parse(ip.payload()).is_none_or(|m| m.is_error());
    if silent || packet.meta.made_here {
        return None;
    }
    Some((ip.packet(), source(packet, tables)?))
}

fn source(packet: &Packet, tables: &Tables) -> Option<u32> {
    match packet.door {
        // The host would not believe a packet from one of its own addresses; the path to the destination speaks.
        Door::Tun | Door::Device(_) => Some(packet.meta.ip.dst),
        Door::Port(port) => {
            let near = tables.port(port).and_then(|p| p.address);
            near.or_else(|| tables.locals().first().copied())
        }
        // What came protected is answered protected, or not at all.
        Door::Sa | Door::Inner(_) | Door::Vrf(_) => tables.locals().iter().copied().find(|local| {
            let query = Query::V4(Asked {
                local: *local,
                remote: packet.meta.ip.src,
                protocol: protocol::ICMP,
                ports: None,
            });
            matches!(tables.policy(packet.meta.vrf, &query), (Answer::Protect(_), _))
                || tables.leads_into_tunnel(packet)
        }),
    }
}

fn write(error: Error, quoted: &[u8], src: u32, dst: u32, pool: &mut FramePool) -> Option<Packet> {
    let mut frame = pool.alloc()?;
    if fill(&mut frame, error, quoted, src, dst).is_none() {
        pool.free(frame);
        return None;
    }
    let mut packet = Packet::new(frame, Origin::Tun);
    packet.meta.made_here = true;
    match Ipv4::parse(packet.frame.data()) {
        Ok(ip) => packet.meta.ip = classify::fields(&ip),
        Err(_) => packet.drop(Drop::Malformed), // cannot be: it was just written
    }
    Some(packet)
}

fn fill(frame: &mut Frame, error: Error, quoted: &[u8], src: u32, dst: u32) -> Option<()> {
    if !frame.extend(ipv4::HEADER + MAX_MESSAGE) {
        return None;
    }
    let (header, message) = frame.data_mut().split_at_mut_checked(ipv4::HEADER)?;
    let len = ipv4::HEADER + error.write(message, quoted)?;
    let ip = Ipv4Header {
        tos: 0xc0, // internetwork control (RFC 1812 §4.3.2.5)
        total_len: u16::try_from(len).ok()?,
        id: 0,
        df: false,
        mf: false,
        fragment_offset: 0,
        ttl: 64,
        protocol: protocol::ICMP,
        src: Ipv4Addr::from_bits(src),
        dst: Ipv4Addr::from_bits(dst),
    };
    header.copy_from_slice(&ip.to_bytes());
    frame.truncate(len);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_holds_and_recovers() {
        let mut rate = Rate::default();
        let at = |ms| Now { ms };
        let burst = (0..1000).filter(|_| rate.take(at(5000))).count();
        assert_eq!(burst as u64, Rate::BURST);
        let second =
            (0..1000u64).map(|ms| (0..5).filter(|_| rate.take(at(5001 + ms))).count()).sum::<usize>();
        assert_eq!(second as u64, Rate::PER_SECOND);
        // A clock that goes back gives nothing away.
        assert!(!rate.take(at(10)));
    }
}
