//! The IP headers before ESP or AH of the stage `modes`: a packet's own (transport mode), or new ones (tunnel mode).
//!
//! Decides: behind which extension headers IPsec goes; DF and identification of a new header. Reads: the packet, the SA's
//! addresses. Writes: headers, lengths, IPv4's checksum, UDP's over IPv6. Never: touches what is protected.

use super::encap6;
use crate::packet::Packet;
use crate::sa::{OutboundHot, OutboundSa};
use arrayvec::ArrayVec;
use ravelin_ring::counters::Drop;
use ravelin_ring::msg::OuterDf;
use ravelin_wire::ah;
use ravelin_wire::extension;
use ravelin_wire::ipv4::{self, Ipv4Header, Ipv4Mut};
use ravelin_wire::ipv6::{self, Ipv6Header};
use ravelin_wire::protocol;
use std::net::SocketAddr;

/// IPv6 with as many extension headers as anybody sends: 32 words of them.
pub(crate) const MAX_FRONT: usize = ipv6::HEADER + 256;

#[derive(Debug)]
pub(super) struct Front {
    bytes: ArrayVec<u8, MAX_FRONT>,
    /// Where the byte lies that names what follows.
    named_at: usize,
    v6: bool,
}

impl Front {
    /// The packet's own, taken off its frame, and what followed.
    pub(super) fn take(packet: &mut Packet) -> Result<(Self, u8), Drop> {
        let v6 = packet.meta.ip.v6;
        let (next, len, named_at) = if v6 {
            let rest = extension::transport_at(packet.frame.data()).ok_or(Drop::BadExtension)?;
            (rest.protocol, rest.at, rest.named_at)
        } else {
            (packet.meta.ip.protocol, usize::from(packet.meta.ip.header_len), IPV4_NAMES_AT)
        };
        let mut bytes = ArrayVec::new();
        let front = packet.frame.data().get(..len).ok_or(Drop::Malformed)?;
        bytes.try_extend_from_slice(front).map_err(|_| Drop::BadExtension)?;
        if packet.frame.pull_front(len) {
            Ok((Self { bytes, named_at, v6 }, next))
        } else {
            Err(Drop::Malformed)
        }
    }

    /// A new header as `encap` makes it; lengths, protocol and checksum come with [`Self::put`]. `flow_label`: as
    /// [`encap6::flow_label`] said of the packet that is inside now. `largest`: without being cut.
    pub(super) fn outer(
        packet: &Packet,
        hot: &mut OutboundHot,
        sa: &OutboundSa,
        largest: u16,
        flow_label: u32,
    ) -> Result<Self, Drop> {
        let mut bytes = ArrayVec::new();
        let header: &[u8] = match (sa.local, sa.remote) {
            (SocketAddr::V4(src), SocketAddr::V4(dst)) => {
                let (df, id) = df(packet, hot, largest);
                &Ipv4Header {
                    tos: packet.meta.ip.tos,
                    total_len: 0,
                    id,
                    df,
                    mf: false,
                    fragment_offset: 0,
                    ttl: 64,
                    protocol: 0,
                    src: *src.ip(),
                    dst: *dst.ip(),
                }
                .to_bytes()
            }
            (SocketAddr::V6(src), SocketAddr::V6(dst)) => &Ipv6Header {
                traffic_class: packet.meta.ip.tos,
                flow_label,
                payload_len: 0,
                next_header: 0,
                hop_limit: 64,
                src: *src.ip(),
                dst: *dst.ip(),
            }
            .to_bytes(),
            _ => return Err(Drop::NoOutboundSa),
        };
        bytes.try_extend_from_slice(header).map_err(|_| Drop::FrameTooSmall)?;
        let v6 = sa.remote.is_ipv6();
        Ok(Self { bytes, named_at: if v6 { IPV6_NAMES_AT } else { IPV4_NAMES_AT }, v6 })
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) const fn is_v6(&self) -> bool {
        self.v6
    }

    /// Before all that is in the frame, with the length that it has now, and naming `next`; this keeps what was written.
    pub(super) fn put(&mut self, packet: &mut Packet, next: u8) -> Result<(), Drop> {
        let whole = self.len() + packet.frame.len();
        let (at, len) = if self.v6 { (4, whole - ipv6::HEADER) } else { (2, whole) };
        let len = u16::try_from(len).map_err(|_| Drop::FrameTooSmall)?;
        self.bytes.get_mut(at..at + 2).ok_or(Drop::Malformed)?.copy_from_slice(&len.to_be_bytes());
        *self.bytes.get_mut(self.named_at).ok_or(Drop::Malformed)? = next;
        put(packet, &self.bytes)?;
        if !self.v6 {
            let mut ip = Ipv4Mut::parse(packet.frame.data_mut()).map_err(|_| Drop::Malformed)?;
            ip.fill_checksum();
            let written = packet.frame.data().get(..self.len()).ok_or(Drop::Malformed)?;
            self.bytes.copy_from_slice(written);
        } else if next == protocol::UDP {
            encap6::checksum_behind(packet.frame.data_mut(), self.len());
        }
        Ok(())
    }

    /// In `bytes`, at whose front this stands: as the receiver's ICV has it (RFC 4302 §3.3.3.1).
    pub(super) fn freeze(&self, bytes: &mut [u8]) -> Result<(), Drop> {
        let front = bytes.get_mut(..self.len()).ok_or(Drop::Malformed)?;
        if self.v6 {
            ah::arrive_v6(front).ok_or(Drop::BadExtension)?;
            return ah::freeze_v6(front).ok_or(Drop::BadExtension);
        }
        ah::freeze_v4(front).ok_or(Drop::Malformed)
    }

    /// Undoes [`Self::freeze`].
    pub(super) fn restore(&self, bytes: &mut [u8]) -> Result<(), Drop> {
        bytes.get_mut(..self.len()).ok_or(Drop::Malformed)?.copy_from_slice(&self.bytes);
        Ok(())
    }
}

const IPV4_NAMES_AT: usize = 9;
const IPV6_NAMES_AT: usize = 6;

/// DF, and the identification that goes with it.
fn df(packet: &Packet, hot: &mut OutboundHot, largest: u16) -> (bool, u16) {
    // Fragments that we make are for routers to cut further (RFC 791), whatever the inner packet wants.
    let whole = ipv4::HEADER + packet.frame.len() <= largest.into();
    let wanted = match hot.df {
        OuterDf::Clear => false,
        OuterDf::Copy => packet.meta.ip.df,
        OuterDf::Set => true,
    };
    let df = wanted && whole;
    let id = if df { 0 } else { hot.next_id() };
    (df, id)
}

pub(super) fn put(packet: &mut Packet, bytes: &[u8]) -> Result<(), Drop> {
    if !packet.frame.push_front(bytes.len()) {
        return Err(Drop::FrameTooSmall);
    }
    packet.frame.data_mut().get_mut(..bytes.len()).ok_or(Drop::FrameTooSmall)?.copy_from_slice(bytes);
    Ok(())
}
