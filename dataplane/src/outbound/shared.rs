//! Packets whose crypto other workers do: out of the batch with their number and headers, back into one sealed.
//!
//! Decides: which packets are sealed elsewhere. Reads: SAs. Writes: what `before` writes. Never: gives a number twice, or
//! sends what was not sealed.

use crate::batch::Batch;
use crate::clock::Now;
use crate::packet::Packet;
use crate::sa::{Cold, OutboundHot, OutboundSa, SaDb};
use crate::share::{Burst, Job, Kind, Share};
use crate::stats::Stats;
use crate::verdict::Verdict;
use ravelin_ring::counters::{Counter, Drop};

/// Those of `protect` whose SA is shared leave the batch, in their order. `before` as in [`super::encrypt::run`].
#[cold]
#[inline(never)]
pub(crate) fn lend(
    batch: &mut Batch,
    protect: &[u16],
    db: &mut SaDb,
    share: &mut Share,
    stats: &mut Stats,
    now: Now,
    mut before: impl FnMut(&mut Packet, &mut OutboundHot, Cold<'_, OutboundSa>) -> Result<(), Drop>,
) {
    let (mut rows, colds) = db.outbound.rows();
    let mut lent = 0;
    for packet in batch.pick(protect) {
        let at = packet.meta.sa as usize;
        let Some((hot, _)) = rows.get_mut(at) else { continue };
        let Some((id, key)) = Cold::new(colds, at).get().and_then(|sa| Some((sa.id, sa.shared.clone()?)))
        else {
            continue;
        };
        if let Err(why) = share.room(now).and_then(|()| before(packet, hot, Cold::new(colds, at))) {
            packet.drop(why);
            continue;
        }
        packet.meta.port = hot.outer.port;
        let job = Job { spi: hot.spi, esn: hot.esn, checksum: hot.v6 && hot.udp };
        share.take(Kind::Seal, packet, &key, id, job, now);
        lent += 1;
    }
    share.give(now);
    stats.add(Counter::Lent, lent);
}

/// Puts the packets of the burst, which has its turn, into an empty batch, ready to be sent. Their numbers are used up:
/// they go also when their SA has gone meanwhile.
pub(crate) fn resume(batch: &mut Batch, burst: &mut Burst, stats: &mut Stats) {
    let mut encrypted = 0;
    for (mut packet, _, outcome) in burst.drain() {
        packet.verdict = match outcome {
            Some(Ok(_)) => Verdict::Forward { port: packet.meta.port },
            Some(Err(_)) | None => Verdict::Drop(Drop::HelperLost),
        };
        encrypted += u64::from(outcome.is_some());
        // A burst is no longer than a batch has room.
        let _ = batch.push(packet);
    }
    stats.add(Counter::Encrypted, encrypted);
}
