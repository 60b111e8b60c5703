//! What IKE_SA_INIT and IKE_SESSION_RESUME say of extensions that need no answer of their own, of NATs and cookies.
//!
//! Decides: whether both sides know one. Reads: notifies. Writes: the path. Keeps: nothing.

use crate::counters::Counter;
use crate::endpoint::Cx;
use crate::header::{self, Header};
use crate::ike_sa::{Core, Via};
use crate::message::View;
use crate::payload::{self, Notify, Payload, notify};
use crate::task::lowest;

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

/// As initiator: what the first answer holds. Anybody can have sent it: where it cannot be read the true one may still come.
pub(crate) fn first_answer(
    core: &Core,
    cx: &mut Cx<'_>,
    header: &Header,
    bytes: &[u8],
) -> Option<Vec<Payload>> {
    let body = bytes.get(header::LEN..).unwrap_or_default();
    let Ok(payloads) = payload::parse_chain(header.next_payload, body) else {
        cx.count(Counter::Malformed);
        return None;
    };
    core.trace_message(cx, "in", header, &payloads);
    Some(payloads)
}

/// As initiator: what the first answer, which is taken now, says of the peer and the way to it.
pub(crate) fn found(
    core: &mut Core,
    cx: &Cx<'_>,
    header: &Header,
    (ni, nr): (&[u8], &[u8]),
    (view, via): (View<'_>, Via),
) {
    core.peer_spi = header.responder_spi;
    core.lowest_nonce = lowest(ni, nr).to_vec();
    core.fragmentation = knows_fragments(core, view);
    find_nat(core, cx, view, via);
}

/// As initiator: both sides want IKE_AUTH without a child (RFC 6023).
pub(crate) fn childless(core: &Core, view: View<'_>) -> bool {
    core.connection.exchanges.childless && view.notify(notify::CHILDLESS_IKEV2_SUPPORTED).is_some()
}

/// As initiator: where NATs are, and by which port it goes on.
fn find_nat(core: &mut Core, cx: &Cx<'_>, view: View<'_>, via: Via) {
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
