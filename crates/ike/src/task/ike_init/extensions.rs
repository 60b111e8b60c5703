//! What IKE_SA_INIT says of extensions that need no answer of their own.
//!
//! Decides: whether both sides know one. Reads: notifies. Writes and keeps: nothing.

use crate::ike_sa::Core;
use crate::message::View;
use crate::payload::{Notify, Payload, notify};

/// RFC 7383 §2.3
pub(super) const fn fragmentation_supported() -> Payload {
    Payload::Notify(Notify::new(notify::IKEV2_FRAGMENTATION_SUPPORTED))
}

/// RFC 9242 §3.1
pub(super) const fn intermediate_supported() -> Payload {
    Payload::Notify(Notify::new(notify::INTERMEDIATE_EXCHANGE_SUPPORTED))
}

pub(super) fn knows_fragments(core: &Core, view: View<'_>) -> bool {
    core.connection.fragment_size.is_some() && view.notify(notify::IKEV2_FRAGMENTATION_SUPPORTED).is_some()
}
