//! Asking for a ticket, and giving one (RFC 5723 §4.1, §4.2): in IKE_AUTH, and in an INFORMATIONAL of its own where
//! that brought none or the IKE SA is another one by now.
//!
//! Decides: who gets one, and until when it is good. Reads: notifies. Writes: the lists of tickets. Never: gives a peer
//! more of them than its budget has.

use super::Task;
use crate::config::ConnectionId;
use crate::counters::Counter;
use crate::endpoint::Cx;
use crate::ike_sa::{Core, Established, Phase};
use crate::message::View;
use crate::payload::{Id, Notify, Payload, notify};
use crate::record::fingerprint;
use crate::snapshot::Role;
use crate::task::ike_auth::our_id;
use crate::ticket::{Budget, Held, LIFETIME, Session, is_on};
use core::time::Duration;
use std::time::Instant;

/// Longer ones would not go in one packet.
const MAX_LEN: usize = 1024;
/// No gateway is believed that its ticket is good for longer.
const MAX_LIFETIME: Duration = Duration::from_secs(86_400);

/// Asks for one by itself.
#[derive(Debug)]
pub(crate) struct Ask;

impl Ask {
    #[allow(clippy::unused_self)] // the shape of all tasks
    pub(super) fn build(&self, core: &Core) -> Option<Vec<Payload>> {
        Some(vec![request(core)?])
    }

    #[allow(clippy::unused_self)]
    pub(super) fn process(self, core: &Core, sa: &Established, cx: &mut Cx<'_>, view: View<'_>) {
        keep(core, sa, cx, view);
    }
}

/// N(TICKET_REQUEST), where we want one.
pub(crate) fn request(core: &Core) -> Option<Payload> {
    is_on(&core.connection).then(|| Payload::Notify(Notify::new(notify::TICKET_REQUEST)))
}

/// As gateway: what answers a request for a ticket, if this is one. A peer that gets none goes on without.
pub(crate) fn answer(core: &Core, sa: &mut Established, cx: &mut Cx<'_>, view: View<'_>) -> Option<Payload> {
    view.notify(notify::TICKET_REQUEST).filter(|_| is_on(&core.connection))?;
    let given = give(core, sa, cx);
    core.trace(cx, || format!("a ticket is {}given to the peer", if given.is_some() { "" } else { "not " }));
    Some(Payload::Notify(given.unwrap_or_else(|| Notify::new(notify::TICKET_NACK))))
}

fn give(core: &Core, sa: &mut Established, cx: &mut Cx<'_>) -> Option<Notify> {
    let clock = cx.config.records?;
    // Its successor has the budget now.
    if sa.phase != Phase::Live || sa.rival.is_some() {
        return None;
    }
    let budget = sa.session.budget.one_more(cx.now)?;
    let peer = cx.peer_record(core.connection.id);
    let template = peer.map_or(core.connection.id, |p| p.template);
    let session = session(core, sa, template, (cx.now, budget))?;
    let end = cx.now + LIFETIME;
    let proof = sa.reauthenticate_at.map(|at| at.checked_sub(core.proof_margin(&cx.config)).unwrap_or(at));
    let until = proof.map_or(end, |at| end.min(at));
    if until <= cx.now {
        return None;
    }
    let lifetime = u32::try_from(until.saturating_duration_since(cx.now).as_secs()).ok()?;
    let now = cx.now;
    let (tickets, rng) = cx.ring_and_rng();
    let (id, ticket) = tickets.seal(now, &clock, rng, &session, until)?;
    // One for each IKE SA.
    sa.session.ticket.replace((id, until)).into_iter().for_each(|old| cx.tickets.spend(now, old));
    sa.session.budget = budget;
    cx.count(Counter::TicketsGiven);
    let data = [lifetime.to_be_bytes().as_slice(), &ticket].concat();
    Some(Notify::with_data(notify::TICKET_LT_OPAQUE, data))
}

fn session(
    core: &Core,
    sa: &Established,
    connection: ConnectionId,
    (given, budget): (Instant, Budget),
) -> Option<Session> {
    let proposal = core.connection.proposals.iter().position(|p| *p == sa.proposal)?;
    Some(Session {
        connection,
        fingerprint: fingerprint(&core.connection),
        proposal: u8::try_from(proposal).ok()?,
        d: sa.keys.d.clone().into(),
        peer: sa.peer_id.clone(),
        claimed: sa.session.claimed.clone(),
        ours: our_id(&core.connection, core)?,
        reauthenticate_at: sa.reauthenticate_at,
        given,
        budget,
    })
}

/// What the gateway says to our wish. True: a ticket is to be asked for later (TICKET_ACK).
pub(crate) fn keep(core: &Core, sa: &Established, cx: &mut Cx<'_>, view: View<'_>) -> bool {
    if !is_on(&core.connection) {
        return false;
    }
    let held = view.notify(notify::TICKET_LT_OPAQUE).and_then(|n| held(core, sa, cx.now, &n.data));
    if let Some(held) = held {
        let left = held.until.saturating_duration_since(cx.now).as_secs();
        core.trace(cx, || format!("the peer gave a ticket for {left} s"));
        cx.count(Counter::TicketsTaken);
        cx.kept.keep(core.connection.id, held);
    }
    view.notify(notify::TICKET_ACK).is_some()
}

fn held(core: &Core, sa: &Established, now: Instant, data: &[u8]) -> Option<Held> {
    let (lifetime, ticket) = data.split_first_chunk::<4>()?;
    let lifetime = Duration::from_secs(u32::from_be_bytes(*lifetime).into()).min(MAX_LIFETIME);
    if ticket.is_empty() || ticket.len() > MAX_LEN || lifetime.is_zero() {
        return None;
    }
    Some(Held {
        ticket: ticket.to_vec(),
        session: session(core, sa, core.connection.id, (now, Budget::default()))?,
        until: now + lifetime,
        ike: core.id,
        gateway: core.connection.remote?,
        presented: None,
        unanswered: 0,
    })
}

/// Whose IDi a peer has that is known by the name of a user.
pub(crate) fn claimed(view: View<'_>, peer: &Id) -> Option<Id> {
    view.id_i().ok().filter(|id| *id != peer).cloned()
}

/// The IKE SA is another one, or the process: a new ticket is wanted. Whoever only answers is not to resume anything.
pub(crate) fn refill(core: &Core, sa: &mut Established, cx: &mut Cx<'_>, at: Instant) {
    let begins = core.connection.start != crate::config::Start::Respond && core.role == Role::Initiator;
    if begins && is_on(&core.connection) {
        sa.push_at(cx, Task::Ticket(Ask), at);
    }
}
