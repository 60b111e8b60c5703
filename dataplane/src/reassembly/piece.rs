//! What a fragment says of itself, in both families, and what the whole says when it is put together.
//!
//! Decides: whether the lengths of a fragment are possible. Reads: IP headers. Writes: the header of a whole packet.
//! Never: keeps anything.

use crate::packet::Packet;
use ravelin_ring::counters::Drop;
use ravelin_ring::msg::VrfId;
use ravelin_wire::extension::Extensions;
use ravelin_wire::ipv4::{Ipv4, Ipv4Mut};
use ravelin_wire::ipv6::{self, Ipv6};
use ravelin_wire::protocol;
use ravelin_xsk::Frame;

/// Of IPv6's fragment header.
const FRAGMENT_HEADER: usize = 8;
/// No payload of IPv6, and no packet of IPv4, is longer.
const LONGEST: usize = u16::MAX as usize;

/// By what fragments know each other (RFC 791 §2.3, RFC 8200 §4.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Key {
    /// The same addresses may be others' in another VRF.
    vrf: VrfId,
    v6: bool,
    src: u128,
    dst: u128,
    id: u32,
    /// Of IPv4 only: the fragments of an IPv6 packet may differ in it.
    protocol: u8,
}

impl Key {
    /// What one sender has for itself: of IPv6 a whole network, any address of which it can write (RFC 4291 §2.5.4).
    pub(super) const fn sender(&self) -> (VrfId, bool, u128) {
        (self.vrf, self.v6, if self.v6 { self.src >> 64 } else { self.src })
    }
}

/// A fragment's place in the payload of its datagram, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) last: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) key: Key,
    pub(super) place: Place,
    /// Where the payload begins.
    pub(super) header: usize,
}

impl Piece {
    pub(super) fn of(packet: &Packet) -> Result<Self, Drop> {
        let data = packet.frame.data();
        let (mut piece, before) = if packet.meta.ip.v6 { Self::v6(data) } else { Self::v4(data) }?;
        piece.key.vrf = packet.meta.vrf;
        let Place { from, to, last } = piece.place;
        // All but the last are of whole units, and none ends where no datagram does.
        let odd = !last && !to.is_multiple_of(8);
        if odd || from == to || before + to > LONGEST { Err(Drop::Malformed) } else { Ok(piece) }
    }

    /// And how much stands before the payload in the length that is bounded.
    fn v4(data: &[u8]) -> Result<(Self, usize), Drop> {
        let ip = Ipv4::parse(data).map_err(|_| Drop::Malformed)?;
        let (src, dst) = (ip.src().to_bits().into(), ip.dst().to_bits().into());
        let key = Key { vrf: VrfId::MAIN, v6: false, src, dst, id: ip.id().into(), protocol: ip.protocol() };
        let from = usize::from(ip.fragment_offset());
        let place = Place { from, to: from + ip.payload().len(), last: !ip.mf() };
        Ok((Self { key, place, header: ip.header_len() }, ip.header_len()))
    }

    fn v6(data: &[u8]) -> Result<(Self, usize), Drop> {
        let ip = Ipv6::parse(data).map_err(|_| Drop::Malformed)?;
        let fragment = ip.chain().fragment.ok_or(Drop::Malformed)?;
        let (src, dst) = (ip.src().to_bits(), ip.dst().to_bits());
        let key = Key { vrf: VrfId::MAIN, v6: true, src, dst, id: fragment.id, protocol: 0 };
        let header = fragment.at + FRAGMENT_HEADER;
        let from = usize::from(fragment.offset);
        let to = from + ip.total_len().checked_sub(header).ok_or(Drop::Malformed)?;
        let place = Place { from, to, last: !fragment.more };
        Ok((Self { key, place, header }, fragment.at - ipv6::HEADER))
    }

    /// The whole packet, in a fragment header for nothing (RFC 6946).
    pub(super) const fn is_atomic(&self) -> bool {
        self.place.from == 0 && self.place.last
    }
}

/// `frame`, which holds the first fragment's headers and all payload, becomes a packet that is no fragment.
pub(super) fn finish(frame: &mut Frame, v6: bool) -> Option<()> {
    if v6 {
        return finish_v6(frame);
    }
    // The length is checked against the bytes when the header is parsed, so it goes first.
    let len = u16::try_from(frame.len()).ok()?;
    frame.data_mut().get_mut(2..4)?.copy_from_slice(&len.to_be_bytes());
    let mut ip = Ipv4Mut::parse(frame.data_mut()).ok()?;
    ip.set_fragment(0, false);
    ip.fill_checksum();
    Some(())
}

/// The fragment header goes; what named it names what it named (RFC 8200 §4.5).
fn finish_v6(frame: &mut Frame) -> Option<()> {
    let fragment = Extensions::of(frame.data())?.find(|e| e.kind == protocol::FRAGMENT)?;
    let payload_len = u16::try_from(frame.len().checked_sub(ipv6::HEADER + FRAGMENT_HEADER)?).ok()?;
    let bytes = frame.data_mut();
    let next = *bytes.get(fragment.at)?;
    *bytes.get_mut(fragment.named_at)? = next;
    bytes.get_mut(4..6)?.copy_from_slice(&payload_len.to_be_bytes());
    bytes.get_mut(..fragment.end)?.copy_within(..fragment.at, FRAGMENT_HEADER);
    frame.pull_front(FRAGMENT_HEADER).then_some(())
}
