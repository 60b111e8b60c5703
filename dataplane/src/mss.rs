//! The TCP maximum segment size (RFC 9293 §3.7.1) of connections through tunnels, where the operator bounds it.
//!
//! Decides: whether a SYN's MSS is lowered. Reads: SYNs of both directions, the bounds of the snapshot, the largest packet that
//! the tunnel takes. Writes: the option and the checksum. Never: raises it; puts in an option that is not there (who sends
//! none is sent 536 bytes at most); touches another packet.

use crate::batch::Batch;
use crate::packet::Packet;
use crate::sa::SaDb;
use crate::tables::Tables;
use ravelin_ring::msg::{NatRule, TunnelId};
use ravelin_wire::tcp::Tcp;
use ravelin_wire::{checksum, ipv4, ipv6, protocol, tcp};

/// Of packets that came out of SAs: what this side will send is bounded by the tunnel back.
pub(crate) fn inbound(batch: &mut Batch, clear: &[u16], db: &mut SaDb, tables: &Tables) {
    if !tables.nat.bounds_mss() {
        return;
    }
    for &at in clear {
        let Some(packet) = batch.packets.get_mut(usize::from(at)) else { continue };
        if !packet.meta.opened || !packet.pending() || !is_syn(packet) {
            continue;
        }
        let Some(tunnel) = db.inbound.both(packet.meta.sa).map(|(_, sa)| sa.tunnel) else { continue };
        let back = db.tunnels.in_use(tunnel).and_then(|place| db.outbound.both(place));
        let largest = back.map_or(u16::MAX, |(_, sa)| sa.max_inner(u16::MAX));
        bound(packet, tunnel, largest, tables);
    }
}

/// Of packets that go into SAs, whose largest packet is known.
pub(crate) fn outbound(batch: &mut Batch, protect: &[u16], db: &mut SaDb, tables: &Tables) {
    if !tables.nat.bounds_mss() {
        return;
    }
    for &at in protect {
        let Some(packet) = batch.packets.get_mut(usize::from(at)) else { continue };
        if packet.pending() && is_syn(packet) {
            let Some(tunnel) = db.outbound.both(packet.meta.sa).map(|(_, sa)| sa.tunnel) else { continue };
            bound(packet, tunnel, packet.meta.limit, tables);
        }
    }
}

/// Flags of a whole TCP header.
fn is_syn(packet: &Packet) -> bool {
    const FLAGS: usize = 13;
    let ip = &packet.meta.ip;
    let flags = || packet.frame.data().get(usize::from(ip.header_len) + FLAGS).copied().unwrap_or(0);
    ip.protocol == protocol::TCP && !ip.portless && flags() & Tcp::SYN != 0
}

fn bound(packet: &mut Packet, tunnel: TunnelId, largest: u16, tables: &Tables) {
    let Some(bound) = tables.nat.mss(tunnel) else { return };
    let ip = if packet.meta.ip.v6 { ipv6::HEADER } else { ipv4::HEADER };
    let headers = u16::try_from(ip + tcp::HEADER).unwrap_or(u16::MAX);
    let most = if bound == NatRule::MSS_OF_PATH { largest.saturating_sub(headers) } else { bound };
    let header = packet.meta.ip.header_len.into();
    if let Some(segment) = packet.frame.data_mut().get_mut(header..) {
        lower(segment, most);
    }
}

/// The MSS option of this segment, no larger than that.
fn lower(segment: &mut [u8], most: u16) {
    const CHECKSUM: usize = 16;
    let Some(at) = option(segment) else { return };
    let word = |bytes: &[u8], at: usize| Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk::<2>()?));
    let (Some(old), Some(sum)) = (word(segment, at), word(segment, CHECKSUM)) else { return };
    if old <= most {
        return;
    }
    // An option may begin at an odd place: then its bytes stand in the other halves of their words.
    let swap = |value: u16| if at % 2 == 0 { value } else { value.swap_bytes() };
    let sum = checksum::update(sum, swap(old), swap(most));
    for (at, value) in [(at, most), (CHECKSUM, sum)] {
        if let Some(slot) = segment.get_mut(at..).and_then(|b| b.first_chunk_mut::<2>()) {
            *slot = value.to_be_bytes();
        }
    }
}

/// Where the value of the MSS option stands.
fn option(segment: &[u8]) -> Option<usize> {
    const END: u8 = 0;
    const NOP: u8 = 1;
    const MSS: u8 = 2;
    let options = segment.get(..Tcp::parse(segment).ok()?.header_len())?;
    let mut at = tcp::HEADER;
    loop {
        match (*options.get(at)?, options.get(at + 1)) {
            (END, _) => return None,
            (NOP, _) => at += 1,
            (MSS, Some(4)) => return (at + 4 <= options.len()).then_some(at + 2),
            (_, Some(len @ 2..)) => at += usize::from(*len),
            (_, Some(_) | None) => return None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)] // test data
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn syn(options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 20];
        bytes.extend_from_slice(options);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes[12] = (bytes.len() as u8 / 4) << 4;
        bytes[13] = Tcp::SYN;
        let sum = checksum::of(&bytes).to_be_bytes();
        bytes[16..18].copy_from_slice(&sum);
        bytes
    }

    #[test]
    fn lowered_never_raised_and_summed_right() {
        for pad in 0..3 {
            let options =
                [&vec![1; pad][..], &[4, 2, 2, 4, 5, 0xb4], &[8, 10, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
            let mut bytes = syn(&options);
            lower(&mut bytes, 1360);
            let at = option(&bytes).unwrap();
            assert_eq!(bytes[at..at + 2], 1360u16.to_be_bytes());
            assert!(checksum::holds(&bytes), "at {at}");
            let before = bytes.clone();
            lower(&mut bytes, 1400);
            assert_eq!(bytes, before);
        }
        let mut without = syn(&[1, 1, 4, 2]);
        let before = without.clone();
        lower(&mut without, 500);
        assert_eq!(without, before, "none is put in");
    }

    proptest! {
        #[test]
        fn any_segment(mut bytes in proptest::collection::vec(any::<u8>(), 0..64), most: u16) {
            lower(&mut bytes, most);
        }
    }
}
