//! ESP packets whose crypto other workers do: out of the batch before it, back into one after it.
//!
//! Decides: which packets are opened elsewhere; whether one that came back is authentic, and its SA still there. Reads:
//! windows, the outcomes of the burst. Writes: the window through its proof. Never: opens a packet.

use super::{Authentic, decap, replay};
use crate::batch::Batch;
use crate::clock::Now;
use crate::interface;
use crate::packet::Packet;
use crate::sa::{Cold, Events, InboundHot, InboundSa, SaDb};
use crate::share::{Burst, Job, Kind, Share};
use crate::stats::Stats;
use crate::tables::Tables;
use ravelin_crypto::{OpenError, Opened};
use ravelin_ring::counters::{Counter, Drop};
use ravelin_ring::msg::SaId;

/// Those of `esp` whose SA is shared leave the batch, in their order.
#[cold]
#[inline(never)]
pub(crate) fn lend(
    batch: &mut Batch,
    esp: &[u16],
    db: &mut SaDb,
    share: &mut Share,
    stats: &mut Stats,
    now: Now,
) {
    let (mut rows, colds) = db.inbound.rows();
    let mut lent = 0;
    for packet in batch.pick(esp) {
        let at = packet.meta.sa as usize;
        let (Some((hot, _)), Some(Some(sa))) = (rows.get_mut(at), colds.get_mut(at)) else { continue };
        let Some(key) = &sa.shared else { continue };
        if let Err(why) = replay::check(packet, hot).and_then(|()| share.room(now)) {
            sa.refuse(why);
            packet.drop(why);
            continue;
        }
        let job = Job { spi: hot.spi, esn: hot.esn, checksum: false };
        share.take(Kind::Open, packet, key, sa.id, job, now);
        lent += 1;
    }
    share.give(now);
    stats.add(Counter::Lent, lent);
}

/// Puts the packets of the burst, which has its turn, into an empty batch, and takes those that are authentic out of
/// their SA.
pub(crate) fn resume(
    batch: &mut Batch,
    burst: &mut Burst,
    db: &mut SaDb,
    tables: &Tables,
    stats: &mut Stats,
    events: &mut Events,
    now: Now,
) {
    let mut decrypted = 0;
    for (mut packet, id, outcome) in burst.drain() {
        let result = commit(&mut packet, id, outcome, db, tables, events, now);
        decrypted += u64::from(matches!(outcome, Some(Ok(_))));
        packet.verdict = crate::Verdict::Pending;
        if let Err(why) = result {
            packet.drop(why);
        }
        // A burst is no longer than a batch has room.
        let _ = batch.push(packet);
    }
    stats.add(Counter::Decrypted, decrypted);
}

fn commit(
    packet: &mut Packet,
    id: SaId,
    outcome: Option<Result<Opened, OpenError>>,
    db: &mut SaDb,
    tables: &Tables,
    events: &mut Events,
    now: Now,
) -> Result<(), Drop> {
    let (mut rows, colds) = db.inbound.rows();
    let at = packet.meta.sa as usize;
    let mut sa = Cold::new(colds, at);
    // The SA may have gone meanwhile, and another one stand in its place.
    let (Some((hot, _)), true) = (rows.get_mut(at), sa.get().is_some_and(|sa| sa.id == id)) else {
        return Err(Drop::NoSa);
    };
    let result = go_on(packet, hot, &mut sa, outcome, tables, events, now);
    if let (Err(why), Some(sa)) = (result, sa.get()) {
        sa.refuse(why);
    }
    result
}

fn go_on(
    packet: &mut Packet,
    hot: &mut InboundHot,
    sa: &mut Cold<'_, InboundSa>,
    outcome: Option<Result<Opened, OpenError>>,
    tables: &Tables,
    events: &mut Events,
    now: Now,
) -> Result<(), Drop> {
    let opened = outcome.ok_or(Drop::HelperLost)?.map_err(super::decrypt::reason)?;
    let proof = Authentic::new(packet.meta.seq).ok_or(Drop::ReplayOld)?;
    replay::commit(packet, hot, sa, proof, opened, events, now)?;
    decap::uncover(packet, opened)
        .or_else(|why| interface::admit(packet, sa.get().map(|sa| &*sa), tables, why))
}
