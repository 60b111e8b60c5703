//! Seals a burst of ESP packets in place.
//!
//! Decides: nothing. Reads: keys, numbers. Writes: frames. Never: sees a number that `sequence` did not give.

use crate::batch::{Batch, MAX_BATCH};
use crate::packet::Packet;
use crate::sa::SaDb;
use crate::stats::Stats;
use arrayvec::ArrayVec;
use ravelin_crypto::{Engine, SealJob};
use ravelin_ring::counters::Counter;
use ravelin_wire::{Bytes, protocol};

pub(crate) fn run(batch: &mut Batch, protect: &[u16], db: &SaDb, engine: &Engine, stats: &mut Stats) {
    let mut jobs: ArrayVec<SealJob<'_>, MAX_BATCH> = ArrayVec::new();
    for packet in batch.pick(protect) {
        let Some(hot) = db.outbound.hot.get(packet.meta.sa as usize) else { continue };
        let Some(key) = db.outbound.key(packet.meta.sa) else { continue };
        packet.meta.sealed = true;
        jobs.push(SealJob {
            key,
            spi: hot.spi,
            seq: packet.meta.seq,
            esn: hot.esn,
            next_header: protocol::IPV4,
            payload_len: packet.meta.ip.total_len.into(),
            packet: packet.frame.data_mut(),
        });
    }
    stats.add(Counter::Encrypted, jobs.len() as u64);
    if engine.seal(&mut jobs) > 0 {
        drop(jobs);
        batch.pick(protect).for_each(refused);
    }
}

/// A job whose lengths contradict each other leaves zeros behind (there is none); zeros are not sent.
#[cold]
fn refused(packet: &mut Packet) {
    packet.meta.sealed &= packet.frame.data().be32(0) == Some(packet.meta.spi);
}
