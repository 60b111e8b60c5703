//! The inner packet against its SA (RFC 4301 §5.2 step 4).
//!
//! Decides: whether the packet is one that this SA may carry, and that its tunnel lets in. Reads: the SA's selectors, the tunnel's filter. Writes: its counter.
//! Never: asks the SPD; what leaves again in clear or by another tunnel is asked there.

use crate::batch::Batch;
use crate::interface;
use crate::sa::SaDb;
use crate::spd::{Fit, Query};
use crate::tables::Tables;
use ravelin_ring::counters::Drop;

/// Of `clear`, the packets that came out of SAs.
pub(crate) fn check(batch: &mut Batch, clear: &[u16], db: &mut SaDb, tables: &Tables) {
    batch.each(clear, |packet| {
        if !packet.meta.opened {
            return Ok(());
        }
        let Some((_, sa)) = db.inbound.both(packet.meta.sa) else { return Err(Drop::NoSa) };
        let query = Query::inbound(packet);
        match sa.selectors.fit(&query) {
            Fit::Inside => {
                tables.filters.check(sa.tunnel, sa.filtered, &query)?;
                interface::enter(packet, sa.tunnel, tables);
                Ok(())
            }
            Fit::Outside => {
                sa.refuse(Drop::SelectorMismatch);
                Err(Drop::SelectorMismatch)
            }
            Fit::Unknown => Err(Drop::Fragment),
        }
    });
}
