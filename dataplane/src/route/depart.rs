//! The last step of packets that leave in clear.
//!
//! Decides: their verdict. Reads: the link addresses of ports. Writes: the TTL, the Ethernet header. Never: protects
//! anything.

use super::{age, leave};
use crate::batch::Batch;
use crate::packet::Packet;
use crate::tables::Tables;
use crate::verdict::Verdict;
use ravelin_ring::msg::PortId;
use ravelin_wire::{MacAddr, ethernet, ipv4};

/// What the packets by one port have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaving {
    pub(crate) port: PortId,
    /// Source address and type, the last eight bytes of an Ethernet header, as they lie in memory.
    end: u64,
}

/// Returns how many go. `last`: the port by which they do, for those whose flows are known in the next batch.
pub(crate) fn depart(
    batch: &mut Batch,
    mut bypass: &[u16],
    tables: &Tables,
    last: &mut Option<Leaving>,
) -> usize {
    let packets = &mut *batch.packets;
    let mut gone = 0;
    while let Some(&at) = bypass.first() {
        let port = packets.get(usize::from(at)).map(|packet| packet.meta.port);
        let leaving = port.and_then(|port| Leaving::by(port, tables));
        let done = leaving.map_or(0, |leaving| plain_run(packets, bypass, &leaving));
        *last = leaving.or(*last);
        gone += done;
        let Some((&at, rest)) = bypass.get(done..).and_then(|rest| rest.split_first()) else { break };
        bypass = rest;
        if let Some(packet) = packets.get_mut(usize::from(at)).filter(|packet| packet.pending()) {
            otherwise(packet, tables);
        }
    }
    gone
}

/// Sends plain packets on, up to one that is not or leaves by another port; returns how many. Without a call in its loop,
/// so that nothing of it has to be kept out of registers.
#[inline(never)]
fn plain_run(packets: &mut [Packet], bypass: &[u16], leaving: &Leaving) -> usize {
    let mut done = 0;
    for &at in bypass {
        let Some(packet) = packets.get_mut(usize::from(at)) else { break };
        let (port, mac) = (packet.meta.port, word(packet.meta.mac));
        if !packet.pending() || port != leaving.port || !plainly(packet, mac, leaving) {
            break;
        }
        done += 1;
    }
    done
}

/// A link address as the first bytes of a frame are written, and back.
#[inline(always)]
pub(crate) fn word(MacAddr([a, b, c, d, e, f]): MacAddr) -> u64 {
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}

#[inline(always)]
pub(crate) fn address(word: u64) -> MacAddr {
    let [a, b, c, d, e, f, _, _] = word.to_le_bytes();
    MacAddr([a, b, c, d, e, f])
}

/// Untagged IPv4 from the network or out of an SA, to this link address ([`word`]) by this port. False, and nothing was changed: another packet.
#[inline(always)]
pub(crate) fn plainly(packet: &mut Packet, mac: u64, leaving: &Leaving) -> bool {
    let Packet { frame, meta, .. } = packet;
    if meta.aged || meta.ip.v6 || meta.tag.is_some() || meta.ip.ttl <= 1 {
        return false;
    }
    if !frame.push_front(ethernet::HEADER) {
        return false;
    }
    let front = frame.data_mut().first_chunk_mut::<{ ethernet::HEADER + ipv4::HEADER }>();
    let Some((link, network)) = front.and_then(|front| front.split_first_chunk_mut::<{ ethernet::HEADER }>())
    else {
        let _ = frame.pull_front(ethernet::HEADER); // what was just put there
        return false;
    };
    // Whole words, of which the second begins where the address ends.
    link[..8].copy_from_slice(&mac.to_le_bytes());
    link[6..].copy_from_slice(&leaving.end.to_le_bytes());
    if let Some(network) = network.first_chunk_mut() {
        ipv4::count_down(network);
    }
    packet.verdict = Verdict::Forward { port: leaving.port };
    true
}

#[inline(never)]
fn otherwise(packet: &mut Packet, tables: &Tables) {
    if let Err(why) = age(packet).and_then(|()| leave(packet, tables)) {
        packet.drop(why);
    }
}

impl Leaving {
    fn by(port: PortId, tables: &Tables) -> Option<Self> {
        let [a, b, c, d, e, f] = tables.port(port)?.mac.0;
        let [g, h] = ethernet::IPV4.to_be_bytes();
        Some(Self { port, end: u64::from_le_bytes([a, b, c, d, e, f, g, h]) })
    }
}
