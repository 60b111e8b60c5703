//! What IKE_SA_INIT and IKE_SESSION_RESUME say of extensions that need no answer of their own, of NATs and cookies.
//!
//! Decides: whether both sides know one. Reads: notifies. Writes: the path. Keeps: nothing.

use crate::counters::Counter;
use crate::endpoint::Cx;
use crate::ike_sa::{Core, Via};
use crate::message::View;
use crate::payload::{Notify, Payload, notify};

/// RFC 7296 §2.6.
const MAX_COOKIE: usize = 64;

/// RFC 7383 §2.3
pub(crate) const fn fragmentation_supported() -> Payload {
    Payload::Notify(Notify::new(notify::IKEV2_FRAGMENTATION_SUPPORTED))
}

/// RFC 9242 §3.1
pub(crate) const fn intermediate_supported() -> Payload {
    Payload::Notify(Notify::new(notify::INTERMEDIATE_EXCHANGE_SUPPORTED))
}

pub(crate) fn knows_fragments(core: &Core, view: View<'_>) -> bool {
    core.connection.fragment_size.is_some() && view.notify(notify::IKEV2_FRAGMENTATION_SUPPORTED).is_some()
}

/// As initiator: where NATs are, and by which port it goes on.
pub(crate) fn find_nat(core: &mut Core, cx: &Cx<'_>, view: View<'_>, via: Via) {
    // RFC 4555 §3.3: by the NAT-T port though there is no NAT yet: there may be one where it moves to.
    let mobike = core.connection.exchanges.mobike;
    if core.path.detect(view, core.spis(), via.local, via.remote).is_some() && (core.path.udp() || mobike) {
        core.path.move_to_natt(&cx.config);
    }
    core.path.local.get_or_insert_with(|| via.local.ip());
}

/// The request is to be sent again with this cookie: lawful, and not the one that it has (the answer to a request that
/// was sent twice comes twice).
pub(crate) fn is_new_cookie(cx: &mut Cx<'_>, last: Option<&Vec<u8>>, cookie: &Notify) -> bool {
    let lawful = (1..=MAX_COOKIE).contains(&cookie.data.len());
    if !lawful {
        cx.count(Counter::Malformed);
    } else if last == Some(&cookie.data) {
        cx.count(Counter::OutOfPlace);
    }
    lawful && last != Some(&cookie.data)
}
