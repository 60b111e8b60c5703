//! The inner packet against its SA (RFC 4301 §5.2 step 4).
//!
//! Decides: whether the packet is one that this SA may carry. Reads: the SA's selectors. Writes: its counter.
//! Never: asks the SPD; what leaves again in clear or by another tunnel is asked there.

use crate::batch::Batch;
use crate::sa::SaDb;
use crate::spd::{Fit, Query, SaSelector};
use ravelin_ring::counters::Drop;

pub(crate) fn check(batch: &mut Batch, esp: &[u16], db: &mut SaDb) {
    batch.each(esp, |packet| {
        let query = Query::inbound(&packet.meta.ip);
        let Some((_, sa)) = db.inbound.both(packet.meta.sa) else { return Err(Drop::NoSa) };
        match SaSelector::fit(&sa.selectors, &query) {
            Fit::Inside => Ok(()),
            Fit::Outside => {
                sa.selector_drops += 1;
                Err(Drop::SelectorMismatch)
            }
            Fit::Unknown => Err(Drop::Fragment),
        }
    });
}
