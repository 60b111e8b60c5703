//! What some tunnels ask of the packets that come out of them.
//!
//! Decides: whether anomalies of headers are dropped, and whether the TTL is counted down. Reads: the SA's cold record.
//! Writes: `Meta::aged`. Never: runs while no SA asks for anything.

use crate::anomaly;
use crate::batch::Batch;
use crate::sa::SaDb;

/// Those of `places` that an SA has just let out.
#[cold]
pub(crate) fn run(batch: &mut Batch, places: &[u16], db: &mut SaDb) {
    batch.each(places, |packet| {
        let Some((_, sa)) = db.inbound.both(packet.meta.sa).filter(|_| packet.meta.opened) else {
            return Ok(());
        };
        if sa.rules.check_headers {
            anomaly::check(packet.frame.data(), packet.meta.ip.v6)?;
        }
        // R93, R94: such a tunnel is no hop.
        packet.meta.aged |= sa.rules.passive || sa.rules.keep_ttl;
        Ok(())
    });
}
