//! The outer header, and the way out of the port.
//!
//! Decides: outer DF, identification, TOS. Reads: the SA's template. Writes: Ethernet, IPv4 and UDP headers before the
//! ESP packet, the verdict. Never: looks at the payload, which is sealed by now.

use crate::batch::Batch;
use crate::packet::Packet;
use crate::sa::{OutboundHot, Outer, SaDb};
use crate::verdict::Verdict;
use ravelin_ring::counters::Drop;
use ravelin_ring::msg::OuterDf;
use ravelin_wire::{checksum, ethernet, ipv4, udp};

pub(crate) fn run(batch: &mut Batch, protect: &[u16], db: &mut SaDb) {
    batch.each(protect, |packet| {
        if !packet.meta.sealed {
            return Err(Drop::NoOutboundSa); // cannot be; it would be clear text
        }
        let hot = db.outbound.hot(packet.meta.sa).ok_or(Drop::NoOutboundSa)?;
        write(packet, hot)?;
        packet.verdict = Verdict::Forward { port: hot.outer.port };
        Ok(())
    });
}

fn write(packet: &mut Packet, hot: &mut OutboundHot) -> Result<(), Drop> {
    let before = ipv4::HEADER + if hot.udp { udp::HEADER } else { 0 };
    let size = ethernet::HEADER + before;
    let esp = packet.frame.len();
    if !packet.frame.push_front(size) {
        return Err(Drop::FrameTooSmall);
    }
    let len = u16::try_from(before + esp).map_err(|_| Drop::FrameTooSmall)?;
    let mut header = hot.outer.template;
    network(&mut header, packet, hot, len).ok_or(Drop::FrameTooSmall)?;
    if hot.udp {
        // The checksum stays 0 (RFC 3948 §2.1).
        let udp_len = len.saturating_sub(20);
        header
            .get_mut(UDP_LEN..UDP_LEN + 2)
            .ok_or(Drop::FrameTooSmall)?
            .copy_from_slice(&udp_len.to_be_bytes());
    }
    let (from, to) = (header.get(..size), packet.frame.data_mut().get_mut(..size));
    to.zip(from).map(|(to, from)| to.copy_from_slice(from)).ok_or(Drop::FrameTooSmall)
}

const NETWORK: usize = ethernet::HEADER;
const UDP_LEN: usize = NETWORK + ipv4::HEADER + 4;

fn network(header: &mut [u8; Outer::MAX], packet: &Packet, hot: &mut OutboundHot, len: u16) -> Option<()> {
    let df = match hot.df {
        OuterDf::Clear => false,
        OuterDf::Copy => packet.meta.ip.df,
        OuterDf::Set => true,
    };
    // What cannot be fragmented needs no identification (RFC 6864 §4.1).
    let id = if df { 0 } else { hot.id };
    hot.id = hot.id.wrapping_add(u16::from(!df));
    let ip = header.get_mut(NETWORK..NETWORK + ipv4::HEADER)?.first_chunk_mut::<{ ipv4::HEADER }>()?;
    // DSCP is copied (RFC 4301 §5.1.2.1), and so is ECN, in normal mode (RFC 6040 §4.1).
    ip[1] = packet.meta.ip.tos;
    ip[2..4].copy_from_slice(&len.to_be_bytes());
    ip[4..6].copy_from_slice(&id.to_be_bytes());
    ip[6] = if df { 0x40 } else { 0 };
    ip[10..12].fill(0);
    let sum = checksum::of(ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    Some(())
}
