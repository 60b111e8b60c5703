//! CREATE_CHILD_SA that replaces the IKE SA, in both roles (RFC 7296 §1.3.2, §2.8, §2.18).
//!
//! Decides: whether it can be rekeyed now; which of two new ones stays. Never: moves children itself (it asks for it).

use super::child_create::retry_at;
use super::child_keys::ke_payload;
use super::{Reply, Task, delete, lowest};
use crate::child_sa::{PairState, Then};
use crate::config::{Group, IkeProposal};
use crate::counters::Counter;
use crate::crypto::group::KeyExchange;
use crate::crypto::keys::{self, Ingredients};
use crate::endpoint::{Action, Cx};
use crate::error::{Error, Failure, Incompatible, Malformed, Misbehaved};
use crate::event::IkeSaId;
use crate::ike_sa::{Core, Established, IkeSa, Phase, Rival, State, count_error};
use crate::message::View;
use crate::negotiate::algorithm;
use crate::negotiate::proposal::{self, Chosen, group_by_number};
use crate::payload::{Payload, notify};
use crate::snapshot::Role;

const MAX_GROUPS: u8 = 3;

#[derive(Debug)]
pub(crate) struct IkeRekey {
    group: Group,
    groups_tried: u8,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    ke: KeyExchange,
    nonce: Vec<u8>,
    spi: u64,
    proposals: Vec<IkeProposal>,
}

impl IkeRekey {
    pub(crate) fn new(core: &Core) -> Box<Self> {
        let group = core.connection.proposals.first().map_or(Group::Curve25519, |p| p.group);
        Box::new(Self { group, groups_tried: 0, running: None })
    }

    /// SA, Ni, KEi
    pub(super) fn build(&mut self, core: &Core, sa: &Established, cx: &mut Cx<'_>) -> Option<Vec<Payload>> {
        if sa.phase != Phase::Live {
            return None;
        }
        let proposals = proposal::classical(&core.connection.proposals);
        let ke = KeyExchange::new(self.group, &mut *cx.rng)?;
        let (nonce, spi) = (cx.nonce(), cx.ike_spi());
        let offer = Payload::Sa(proposal::offer_ike(&proposals, Some(spi)));
        let payloads = vec![offer, Payload::Nonce(nonce.clone()), ke_payload(&ke)];
        self.running = Some(Running { ke, nonce, spi, proposals });
        Some(payloads)
    }

    pub(super) fn process(
        mut self: Box<Self>,
        core: &Core,
        sa: &mut Established,
        cx: &mut Cx<'_>,
        view: View<'_>,
    ) {
        let Some(run) = self.running.take() else { return };
        if let Some(number) = view.wanted_group() {
            return self.other_group(sa, cx, &run, number);
        }
        match made(core, sa, cx, view, &run) {
            Ok(new) => settle(core, sa, cx, new),
            Err(error) => {
                count_error(cx, &error);
                // The peer's exchange succeeded, ours did not: no collision after all.
                if sa.hand_over_to_rival(core, cx) {
                    return;
                }
                tracing::debug!(ike = core.id.0, %error, "IKE rekey failed");
                if error == Error::Refused(notify::TEMPORARY_FAILURE) {
                    cx.count(Counter::TemporaryFailures);
                    let at = retry_at(cx);
                    sa.push_at(cx, Task::IkeRekey(Self::new(core)), at);
                } else if matches!(error, Error::Malformed(_)) {
                    sa.begin_delete(core, cx, &error.to_string());
                } else {
                    sa.rekey_at = (cx.now + cx.config.timers.retry_max).min(sa.expires_at);
                }
            }
        }
    }

    fn other_group(mut self: Box<Self>, sa: &mut Established, cx: &mut Cx<'_>, run: &Running, number: u16) {
        cx.count(Counter::InvalidKe);
        self.groups_tried += 1;
        match group_by_number(run.proposals.iter().map(|p| p.group), number) {
            Some(group) if self.groups_tried <= MAX_GROUPS => {
                self.group = group;
                sa.push(cx, Task::IkeRekey(self));
            }
            _ => sa.rekey_at = (cx.now + cx.config.timers.retry_max).min(sa.expires_at),
        }
    }
}

/// The IKE SA that our exchange made.
fn made(
    core: &Core,
    sa: &Established,
    cx: &mut Cx<'_>,
    view: View<'_>,
    run: &Running,
) -> Result<Box<IkeSa>, Error> {
    view.refuse_errors()?;
    let answer = view.sa()?;
    let chosen = proposal::accept_ike(&run.proposals, answer, true).ok_or_else(|| {
        Error::Mismatch(Incompatible::Proposal(proposal::explain_ike(&run.proposals, answer)))
    })?;
    let nr = view.nonce()?;
    let (number, public) = view.ke()?.ok_or(Malformed::Missing("KE payload"))?;
    let wanted = algorithm::group_number(run.ke.group());
    if number != wanted || algorithm::group_number(chosen.ours.group) != wanted {
        return Err(Error::Peer(Misbehaved::BadAnswer("key exchange of another group")));
    }
    let shared = run.ke.shared(public).map_err(|_| Error::Peer(Misbehaved::BadPublicValue))?;
    let parts = Parts { role: Role::Initiator, spi: run.spi, ni: &run.nonce, nr, shared: &shared };
    successor(core, sa, cx, &chosen, parts)
}

/// Ours is made: now it is known which new IKE SA stays.
fn settle(core: &Core, sa: &mut Established, cx: &mut Cx<'_>, new: Box<IkeSa>) {
    let id = new.core.id;
    let rival = sa.rival.take();
    if rival.is_some() {
        cx.count(Counter::Collisions);
    }
    match rival {
        // The peer went on with its own before our answer came.
        None if sa.phase != Phase::Live => discard(new, cx),
        // RFC 7296 §2.8.2: the one with the lowest nonce goes, and its initiator deletes it.
        Some(rival) if new.core.lowest_nonce < rival.lowest_nonce => {
            discard(new, cx);
            sa.hand_over(core, cx, rival.ike);
        }
        other => {
            cx.act(Action::Spawn(new));
            sa.hand_over(core, cx, id);
            // We made the one that stays, so we delete the old one.
            sa.phase = Phase::Deleting;
            sa.push(cx, Task::Delete(delete::Delete::ike()));
            if let Some(rival) = other {
                cx.act(Action::Redundant(rival.ike));
            }
        }
    }
}

/// Tells the peer that the new one is not needed.
fn discard(mut new: Box<IkeSa>, cx: &mut Cx<'_>) {
    if let Some((core, e)) = new.parts() {
        e.phase = Phase::Deleting;
        e.push(cx, Task::Delete(delete::Delete::ike()));
        e.run(core, cx);
    }
    cx.act(Action::Spawn(new));
}

/// The peer rekeys the IKE SA.
pub(crate) fn respond(
    core: &mut Core,
    sa: &mut Established,
    cx: &mut Cx<'_>,
    view: View<'_>,
) -> Result<Reply, Error> {
    // RFC 7296 §2.25.2: not while children are being made, replaced or deleted.
    let installing = |s: &PairState| matches!(s, PairState::Installing(Then::Answer));
    if sa.active.as_ref().is_some_and(Task::is_about_children)
        || sa.children.iter().any(|p| installing(&p.state))
        || sa.rival.is_some()
    {
        return Err(Error::Local(Failure::Busy));
    }
    let offered = view.sa()?;
    let ours = proposal::classical(&core.connection.proposals);
    let chosen = proposal::choose_ike(&ours, offered, true)
        .ok_or_else(|| Error::Mismatch(Incompatible::Proposal(proposal::explain_ike(&ours, offered))))?;
    let wanted = algorithm::group_number(chosen.ours.group);
    let (number, public) = view.ke()?.ok_or(Malformed::Missing("KE payload"))?;
    if number != wanted {
        return Err(Error::Mismatch(Incompatible::Group(wanted)));
    }
    let ke = KeyExchange::new(chosen.ours.group, &mut *cx.rng).ok_or(Error::Local(Failure::Key))?;
    let shared = ke.shared(public).map_err(|_| Error::Peer(Misbehaved::BadPublicValue))?;
    let (nr, spi) = (cx.nonce(), cx.ike_spi());
    let parts = Parts { role: Role::Responder, spi, ni: view.nonce()?, nr: &nr, shared: &shared };
    let mut new = successor(core, sa, cx, &chosen, parts)?;
    let answer = proposal::answer_ike(&chosen, Some(spi));
    let (id, lowest_nonce) = (new.core.id, new.core.lowest_nonce.clone());
    let collides = matches!(sa.active, Some(Task::IkeRekey(_)));
    if let Some((_, e)) = new.parts() {
        e.predecessor = collides.then_some(core.id);
    }
    cx.act(Action::Spawn(new));
    if collides {
        sa.rival = Some(Rival { ike: id, lowest_nonce });
    } else {
        sa.hand_over(core, cx, id);
    }
    Ok(Reply::Now(vec![Payload::Sa(answer), Payload::Nonce(nr), ke_payload(&ke)]))
}

struct Parts<'a> {
    role: Role,
    spi: u64,
    ni: &'a [u8],
    nr: &'a [u8],
    shared: &'a [u8],
}

fn successor(
    core: &Core,
    sa: &Established,
    cx: &mut Cx<'_>,
    chosen: &Chosen<IkeProposal>,
    parts: Parts<'_>,
) -> Result<Box<IkeSa>, Error> {
    let peer_spi: [u8; 8] =
        chosen.spi.as_slice().try_into().map_err(|_| Malformed::Length("SPI of an IKE SA"))?;
    let peer_spi = u64::from_be_bytes(peer_spi);
    if peer_spi == 0 {
        return Err(Malformed::Value("SPI of an IKE SA").into());
    }
    let mut new = Core::new(
        IkeSaId(cx.fresh_id()),
        parts.role,
        (parts.spi, peer_spi),
        core.connection.clone(),
        core.path.clone(),
        cx.now,
    );
    new.lowest_nonce = lowest(parts.ni, parts.nr).to_vec();
    (new.fragmentation, new.mobility) = (core.fragmentation, core.mobility);
    (new.assigned, new.others) = (core.assigned.clone(), core.others.clone());
    let (initiator_spi, responder_spi) = new.spis();
    let seed = keys::rekey_seed(&sa.keys, parts.ni, parts.nr, parts.shared);
    let from = Ingredients { ni: parts.ni, nr: parts.nr, initiator_spi, responder_spi };
    let keys = keys::ike_keys(&chosen.ours, &seed, from);
    cx.log_keys(new.spis(), &chosen.ours, &keys);
    let mut established = Established::new(cx, &new, keys, chosen.ours, sa.peer_id.clone());
    // Nobody proved anything.
    established.reauthenticate_at = sa.reauthenticate_at;
    Ok(Box::new(IkeSa { core: new, state: State::Established(Box::new(established)) }))
}
