//! CREATE_CHILD_SA that replaces a child SA pair, in both roles (RFC 7296 §1.3.3, §2.8).
//!
//! Decides: whether a pair can be rekeyed now; what becomes of the old one. Never: negotiates (`child_create` does).

use super::child_create::{self, For};
use super::child_exchange::{Exchanged, Outcome};
use super::followup::is_discarded;
use super::{Collision, Reply, Task};
use crate::child_sa::PairState;
use crate::child_sa::offer;
use crate::endpoint::{Action, Cx};
use crate::error::{Error, Failure, Misbehaved};
use crate::event::ChildSaId;
use crate::ike_sa::{Core, Established};
use crate::message::View;
use crate::payload::sa::{PROTOCOL_AH, PROTOCOL_ESP};
use crate::payload::{Notify, Payload, notify};

#[derive(Debug)]
pub(crate) struct ChildRekey {
    pub(crate) old: ChildSaId,
    pub(crate) exchange: Exchanged,
}

impl ChildRekey {
    pub(crate) fn new(old: ChildSaId) -> Box<Self> {
        Box::new(Self { old, exchange: Exchanged::default() })
    }

    /// `N(REKEY_SA), SA, Ni, [KEi,] TSi, TSr`
    pub(super) fn build(
        &mut self,
        core: &Core,
        sa: &mut Established,
        cx: &mut Cx<'_>,
    ) -> Option<Vec<Payload>> {
        let pair = sa.pair(self.old).filter(|p| p.is_current())?;
        let child = core.connection.children.iter().find(|c| c.id == pair.child)?.clone();
        let (place, near) = (pair.place, pair.place.grouped.then(|| pair.beside()));
        let spi = pair.inbound.get().to_be_bytes().to_vec();
        let protocol = if pair.proposal.is_ah() { PROTOCOL_AH } else { PROTOCOL_ESP };
        let rekey = Notify { protocol, spi, kind: notify::REKEY_SA, data: Vec::new() };
        let mut payloads = vec![Payload::Notify(rekey)];
        payloads.extend(self.exchange.request(child, place, near, cx)?);
        Some(payloads)
    }

    pub(super) fn process(
        mut self: Box<Self>,
        core: &Core,
        sa: &mut Established,
        cx: &mut Cx<'_>,
        view: View<'_>,
    ) {
        let (old, undo) = (self.old, self.exchange.inbound());
        // Whatever becomes of ours: the peer's exchange has made a successor.
        if self.exchange.collision.as_ref().is_some_and(|c| c.pair.is_some())
            && let Some(pair) = sa.pair(old)
        {
            pair.replaced = true;
        }
        match self.exchange.answered(core, sa, cx, view, Some(old)) {
            Outcome::Made(pair) => {
                let discarded = is_discarded(pair.state);
                sa.children.push(pair);
                match sa.pair(old) {
                    Some(old) if !discarded => old.replaced = true,
                    // The peer's exchange has its second half before it.
                    Some(old) if !old.replaced => old.rekey_before(cx.now + cx.config.timers.followup),
                    Some(_) | None => {}
                }
            }
            Outcome::GoOn => sa.push_next(cx, Task::ChildRekey(self)),
            // Should the peer not come to the end with its own.
            Outcome::Yielded => {
                if let Some(pair) = sa.pair(old) {
                    pair.rekey_before(cx.now + cx.config.timers.followup);
                }
            }
            Outcome::OtherGroup => sa.push(cx, Task::ChildRekey(self)),
            Outcome::Later => {
                let at = child_create::retry_at(cx);
                sa.push_at(cx, Task::ChildRekey(Self::new(old)), at);
            }
            // RFC 7296 §2.25.1: the peer has it no more; so have we, and a new one takes its place.
            Outcome::Failed(Error::Refused(notify::CHILD_SA_NOT_FOUND)) => {
                if let Some(pair) = sa.take_pair(|p| p.id == old && !p.replaced) {
                    cx.remove_pair(&pair, "the peer does not have it any more");
                    let (connection, child) = (core.connection.id, pair.child);
                    cx.act(Action::ChildMissing { connection, child, why: None });
                    sa.fill(core, cx, child, cx.now);
                }
            }
            Outcome::Failed(error) => {
                child_create::failed(core, sa, cx, &error, undo);
                let at = cx.now + cx.config.timers.retry_max;
                if let Some(pair) = sa.pair(old) {
                    pair.rekey_before(at);
                }
            }
        }
    }
}

/// The peer rekeys a pair of ours.
pub(crate) fn respond(
    core: &Core,
    sa: &mut Established,
    cx: &mut Cx<'_>,
    view: View<'_>,
    which: &Notify,
) -> Result<Reply, Error> {
    let old = find(sa, which)?;
    let connection = core.connection.clone();
    let (wanted, place) = sa.pair(old).map(|p| (p.child, p.place)).unzip();
    let child = connection.children.iter().filter(|c| Some(c.id) == wanted);
    let (child, fit) = offer::choose(child, view, true)?;
    // RFC 9370 §2.2.4: the peer's request was late, and it knows of ours by now.
    let ours = |t: &Task| matches!(t, Task::ChildRekey(t) if t.old == old);
    if sa.active.as_ref().is_some_and(|t| t.second().is_some() && ours(t)) {
        return Err(Error::Local(Failure::Busy));
    }
    let place = place.unwrap_or_default();
    let (reply, collision) = child_create::accept(core, sa, cx, view, (child, place), fit, For::Rekey(old))?;
    crossed(sa, old, collision);
    Ok(reply)
}

/// The peer's exchange for this pair has made a successor, or is on the way to one.
pub(super) fn crossed(sa: &mut Established, old: ChildSaId, collision: Collision) {
    let made = collision.pair.is_some();
    match &mut sa.active {
        // Both at once (RFC 7296 §2.8.1): the nonces decide when our own answer is there.
        Some(Task::ChildRekey(ours)) if ours.old == old => ours.exchange.collision = Some(collision),
        _ => {
            if let Some(pair) = sa.pair(old) {
                pair.replaced |= made;
            }
        }
    }
    // A rekey of ours that only waits has nothing to do any more.
    if made {
        sa.queue.retain(|w| !matches!(&w.task, Task::ChildRekey(t) if t.old == old));
    }
}

/// The pair that the peer names by its own inbound SPI.
fn find(sa: &mut Established, which: &Notify) -> Result<ChildSaId, Error> {
    let spi: Option<[u8; 4]> = which.spi.as_slice().try_into().ok();
    let spi = spi.map(u32::from_be_bytes);
    let ah = which.protocol == PROTOCOL_AH;
    let pair = sa.children.iter().find(|p| Some(p.outbound.get()) == spi && p.proposal.is_ah() == ah);
    let pair = pair.ok_or(Error::Peer(Misbehaved::NoSuchChild))?;
    // RFC 7296 §2.25.1: one that we are closing, or that is not ready, or has a successor already.
    if pair.state != PairState::Installed || pair.replaced {
        return Err(Error::Local(Failure::Busy));
    }
    Ok(pair.id)
}
