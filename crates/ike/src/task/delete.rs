//! INFORMATIONAL: deleting child SAs and IKE SAs, in both roles (RFC 7296 §1.4.1), and what else a peer may say there.
//!
//! Decides: which pairs go. Never: deletes more than the message names.

use crate::child_sa::{ChildPair, PairState};
use crate::config::Start;
use crate::endpoint::{Action, Cx};
use crate::ike_sa::{Asked, Core, Established, State};
use crate::message::View;
use crate::payload::{self, Notify, Payload, notify};
use crate::task::{mobike, redirect, ticket};
use ravelin_wire::Spi;

/// An SPI of ours, of AH or of ESP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Inbound {
    pub(crate) spi: Spi,
    pub(crate) ah: bool,
}

impl From<&ChildPair> for Inbound {
    fn from(pair: &ChildPair) -> Self {
        Self { spi: pair.inbound, ah: pair.proposal.is_ah() }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Delete {
    Child(Inbound),
    Ike,
    /// The responder's AUTH was wrong (RFC 7296 §2.21.2).
    AuthFailed,
}

impl Delete {
    pub(crate) fn child(inbound: impl Into<Inbound>) -> Self {
        Self::Child(inbound.into())
    }

    pub(crate) const fn ike() -> Self {
        Self::Ike
    }

    pub(crate) fn names(&self, inbound: Spi) -> bool {
        matches!(self, Self::Child(named) if named.spi == inbound)
    }

    pub(super) const fn is_child(&self) -> bool {
        matches!(self, Self::Child(_))
    }

    pub(super) fn build(&self, sa: &Established, cx: &mut Cx<'_>) -> Vec<Payload> {
        if *self == Self::Ike {
            sa.children.iter().for_each(|pair| cx.step_aside(pair));
        }
        match self {
            Self::Child(Inbound { spi, ah }) => named(vec![spi.get()], *ah),
            Self::Ike => vec![Payload::Delete(payload::Delete::Ike)],
            Self::AuthFailed => vec![Payload::Notify(Notify::new(notify::AUTHENTICATION_FAILED))],
        }
    }

    /// Whatever the peer says: what was to go is gone.
    pub(super) fn process(self, core: &Core, sa: &mut Established, cx: &mut Cx<'_>) -> Option<State> {
        match self {
            Self::Child(Inbound { spi, .. }) => {
                if let Some(pair) = sa.take_pair(|p| p.inbound == spi) {
                    cx.remove_pair(&pair, "deleted");
                    cx.act(Action::Reconcile(core.connection.id));
                }
                None
            }
            Self::Ike | Self::AuthFailed => {
                let _ = sa.close(core, cx, "deleted");
                Some(State::Gone)
            }
        }
    }
}

/// One payload for the SAs of one protocol.
fn named(spis: Vec<u32>, ah: bool) -> Vec<Payload> {
    let delete = if ah { payload::Delete::Ah(spis) } else { payload::Delete::Esp(spis) };
    vec![Payload::Delete(delete)]
}

/// Answers any INFORMATIONAL request. `None`: the SA stays established.
pub(crate) fn respond_informational(
    core: &mut Core,
    sa: &mut Established,
    cx: &mut Cx<'_>,
    asked: Asked,
    view: View<'_>,
) -> Option<State> {
    let about_addresses = mobike::respond(core, sa, cx, view, asked.via);
    let (mut gone, mut gone_ah) = (Vec::new(), Vec::new());
    let mut end = None;
    for delete in view.deletes() {
        match delete {
            payload::Delete::Ike => end = Some("the peer deleted it".to_owned()),
            payload::Delete::Esp(spis) => {
                spis.iter().for_each(|spi| gone.extend(delete_by_peer(core, sa, cx, *spi, false)));
            }
            payload::Delete::Ah(spis) => {
                spis.iter().for_each(|spi| gone_ah.extend(delete_by_peer(core, sa, cx, *spi, true)));
            }
            payload::Delete::Other => {}
        }
    }
    let fatal = |n: &&Notify| matches!(n.kind, notify::AUTHENTICATION_FAILED | notify::INVALID_SYNTAX);
    if let Some(n) = view.notifies().find(fatal) {
        end = Some(format!("the peer said {}", notify::name(n.kind)));
    }
    let mut reply = if gone.is_empty() { vec![] } else { named(gone, false) };
    if !gone_ah.is_empty() {
        reply.extend(named(gone_ah, true));
    }
    reply.extend(about_addresses);
    reply.extend(ticket::answer(core, sa, cx, view));
    core.answer(cx, &mut sa.keys, asked, &reply);
    // Whoever only answers has nobody to go to. What is up stays up until the other gateway is.
    if core.connection.start != Start::Respond
        && let Some(to) = redirect::wanted(core, cx, view, None)
    {
        redirect::follow(core, cx, to);
    }
    let why = end?;
    // The peer closes the SA that we are rekeying: if its own rekey succeeded, that one goes on (RFC 7296 §2.25.2).
    sa.hand_over_to_rival(core, cx);
    Some(sa.close(core, cx, &why))
}

/// The peer names its inbound SPI. Returns ours, unless our own Delete of the pair is on its way (RFC 7296 §1.4.1).
fn delete_by_peer(
    core: &Core,
    sa: &mut Established,
    cx: &mut Cx<'_>,
    outbound: u32,
    ah: bool,
) -> Option<u32> {
    let pair = sa.take_pair(|p| p.outbound.get() == outbound && p.proposal.is_ah() == ah)?;
    let ours = pair.state == PairState::Deleting
        && matches!(&sa.active, Some(super::Task::Delete(d)) if d.names(pair.inbound));
    // A Delete that only waits is not needed any more.
    sa.queue.retain(|w| !matches!(&w.task, super::Task::Delete(d) if d.names(pair.inbound)));
    sa.held.take_if(|h| h.pair == pair.id);
    cx.remove_pair(&pair, "the peer deleted it");
    if !pair.replaced {
        let (connection, child) = (core.connection.id, pair.child);
        cx.act(Action::ChildMissing { connection, child, why: None });
    }
    (!ours).then_some(pair.inbound.get())
}
