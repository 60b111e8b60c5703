//! AH (RFC 4302): packets in clear whose content and header are authentic.
//!
//! Decides: whether a packet is authentic, and new. Reads: keys, windows. Writes: the window through its proof, and takes
//! AH out of the packet. Never: joins the bursts of ESP; opens ESP, whose SPIs are looked up elsewhere.
//!
//! 1. What may change on the way is zeroed, and so is the ICV, 2. the ICV over all of the packet is compared, 3. both are
//!    put back, 4. tunnel mode goes on with the packet inside, transport mode with the same header, less AH.

use super::{Authentic, decap, lookup, replay, transport};
use crate::batch::Batch;
use crate::neighbour::Resolver;
use crate::outbound::front::MAX_FRONT;
use crate::packet::Packet;
use crate::sa::{Cold, InboundHot, InboundSa, SaDb, Throttle};
use crate::stats::Stats;
use arrayvec::ArrayVec;
use ravelin_crypto::{Engine, Key, Opened};
use ravelin_ring::counters::{Counter, Drop};
use ravelin_ring::msg::Mode;
use ravelin_wire::Bytes;
use ravelin_wire::ah::{self, Ah};
use ravelin_wire::ipv6::{self, Chain};

/// The longest ICV (RFC 4868), and the padding of those who align it to eight bytes.
const MAX_ICV: usize = 32 + 8;

/// What the packet says of itself.
#[derive(Clone, Copy, Debug)]
struct Layout {
    /// Where AH begins, and what follows it.
    at: usize,
    end: usize,
    icv: usize,
    next_header: u8,
}

/// Frames begin with the IP header.
pub(crate) fn run(
    batch: &mut Batch,
    places: &[u16],
    db: &mut SaDb,
    engine: &Engine,
    stats: &mut Stats,
    unknown: &mut Throttle,
    say: &mut Resolver<'_>,
) {
    batch.each(places, |packet| {
        let Some(place) = db.find_ah(packet.meta.spi) else {
            return lookup::absent(packet, db, unknown, say);
        };
        packet.meta.sa = place;
        one(packet, db, engine, stats, say)
    });
}

/// Opened by the SA at its place, or refused and counted there.
pub(super) fn one(
    packet: &mut Packet,
    db: &mut SaDb,
    engine: &Engine,
    stats: &mut Stats,
    say: &mut Resolver<'_>,
) -> Result<(), Drop> {
    let (mut rows, colds) = db.inbound.rows();
    let at = packet.meta.sa as usize;
    let Some((hot, Some(key))) = rows.get_mut(at) else { return Err(Drop::NoSa) };
    let result = open(packet, hot, Cold::new(colds, at), key, engine, say);
    match (result, Cold::new(colds, at).get()) {
        (Ok(()), _) => stats.count(Counter::Decrypted),
        (Err(why), Some(sa)) => sa.refuse(why),
        (Err(_), None) => {}
    }
    result
}

fn open(
    packet: &mut Packet,
    hot: &mut InboundHot,
    mut sa: Cold<'_, InboundSa>,
    key: &Key,
    engine: &Engine,
    say: &mut Resolver<'_>,
) -> Result<(), Drop> {
    let mode = sa.get().ok_or(Drop::NoSa)?.mode;
    let layout = layout(packet, hot, key)?;
    let proof = verify(packet, layout, hot.esn, key, engine)?;
    let len = packet.frame.len().saturating_sub(layout.end);
    let short = |n: usize| u16::try_from(n).map_err(|_| Drop::BadEsp);
    let opened = Opened { offset: short(layout.end)?, len: short(len)?, next_header: layout.next_header };
    replay::commit(packet, hot, &mut sa, proof, opened, say.events, say.now)?;
    match mode {
        Mode::Tunnel => decap::uncover(packet, opened),
        Mode::Transport => transport::restore(packet, 0, layout.at, opened),
    }
}

/// Reads AH, and asks the window about its number.
fn layout(packet: &mut Packet, hot: &InboundHot, key: &Key) -> Result<Layout, Drop> {
    let at = if packet.meta.ip.v6 {
        // `header_len` cannot say how long a long chain is.
        Chain::walk(packet.frame.data(), ipv6::HEADER, packet.frame.data().byte(6).unwrap_or(0))
            .end
            .ok_or(Drop::BadEsp)?
            .1
    } else {
        packet.meta.ip.header_len.into()
    };
    let bytes = packet.frame.data().get(at..).unwrap_or_default();
    let ah = Ah::parse(bytes).map_err(|_| Drop::BadEsp)?;
    let icv = key.suite().ah_icv_len();
    if ah.icv().len() < icv || ah.icv().len() > icv + 8 {
        return Err(Drop::BadEsp);
    }
    let number = if hot.esn { hot.window.infer(ah.seq()) } else { ah.seq().into() };
    packet.meta.seq = number;
    hot.window.check(number)?;
    let end = at + ah::HEADER + ah.icv().len();
    Ok(Layout { at, end, icv, next_header: ah.next_header() })
}

fn verify(
    packet: &mut Packet,
    layout: Layout,
    esn: bool,
    key: &Key,
    engine: &Engine,
) -> Result<Authentic, Drop> {
    let (number, v6) = (packet.meta.seq, packet.meta.ip.v6);
    let bytes = packet.frame.data_mut();
    let mut front: ArrayVec<u8, { MAX_FRONT + ah::HEADER + MAX_ICV }> = ArrayVec::new();
    let head = bytes.get(..layout.end).ok_or(Drop::BadEsp)?;
    front.try_extend_from_slice(head).map_err(|_| Drop::BadExtension)?;
    let icv = layout.at + ah::HEADER..layout.at + ah::HEADER + layout.icv;
    let header = bytes.get_mut(..layout.at).ok_or(Drop::BadEsp)?;
    let frozen = if v6 { ah::freeze_v6(header) } else { ah::freeze_v4(header) };
    if frozen.is_none() {
        bytes.get_mut(..front.len()).ok_or(Drop::BadEsp)?.copy_from_slice(&front);
        return Err(if v6 { Drop::BadExtension } else { Drop::Malformed });
    }
    bytes.get_mut(icv.clone()).ok_or(Drop::BadEsp)?.fill(0);
    let received = front.get(icv).unwrap_or_default();
    let authentic = engine.is_authentic(key, bytes, (number, esn), received);
    bytes.get_mut(..front.len()).ok_or(Drop::BadEsp)?.copy_from_slice(&front);
    if !authentic {
        return Err(Drop::BadIcv);
    }
    Authentic::new(number).ok_or(Drop::ReplayOld)
}
