//! CREATE_CHILD_SA that replaces the IKE SA, in both roles (RFC 7296 §1.3.2, §2.8, §2.18), with the second key exchange
//! that may follow it (RFC 9370 §2.2.4).
//!
//! Decides: whether it can be rekeyed now; which of two new ones stays. Never: moves children itself (it asks for it).

use super::child_create::retry_at;
use super::child_keys::ke_payload;
use super::followup::{self, Second};
use super::{Reply, Task, delete, lowest};
use crate::child_sa::{PairState, Then};
use crate::config::{Group, IkeProposal};
use crate::counters::Counter;
use crate::crypto::Hidden;
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
    half: Option<Half>,
    /// The lowest nonce of a rekey that the peer began meanwhile, and whose second key exchange is to come.
    pending: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Running {
    ke: KeyExchange,
    nonce: Vec<u8>,
    spi: u64,
    proposals: Vec<IkeProposal>,
}

/// The first key exchange is done, the second one is under way.
#[derive(Debug)]
struct Half {
    agreed: Begun,
    second: Second,
}

/// What both sides agreed on, in either role.
#[derive(Debug)]
pub(crate) struct Begun {
    chosen: Chosen<IkeProposal>,
    role: Role,
    spi: u64,
    ni: Vec<u8>,
    nr: Vec<u8>,
    first: Hidden,
}

impl IkeRekey {
    pub(crate) fn new(core: &Core) -> Box<Self> {
        let group = core.connection.proposals.first().map_or(Group::Curve25519, |p| p.group);
        Box::new(Self { group, groups_tried: 0, running: None, half: None, pending: None })
    }

    pub(super) fn second(&self) -> Option<&Second> {
        self.half.as_ref().map(|h| &h.second)
    }

    /// SA, Ni, KEi
    pub(super) fn build(&mut self, core: &Core, sa: &Established, cx: &mut Cx<'_>) -> Option<Vec<Payload>> {
        if sa.phase != Phase::Live {
            return None;
        }
        let proposals = core.connection.proposals.clone();
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
        if let Some(half) = self.half.take() {
            return match half.go_on(core, sa, cx, view) {
                Ok(new) => settle(core, sa, cx, new, None),
                Err(error) => failed(core, sa, cx, &error, false),
            };
        }
        let Some(run) = self.running.take() else { return };
        if let Some(number) = view.wanted_group() {
            return self.other_group(sa, cx, &run, number);
        }
        match self.judge(core, sa, cx, view, run) {
            Ok(Some(new)) => settle(core, sa, cx, new, self.pending.as_deref()),
            Ok(None) => {}
            Err(error) => failed(core, sa, cx, &error, self.pending.is_some()),
        }
    }

    /// The new IKE SA, unless a second key exchange is to come first.
    fn judge(
        self: &mut Box<Self>,
        core: &Core,
        sa: &mut Established,
        cx: &mut Cx<'_>,
        view: View<'_>,
        run: Running,
    ) -> Result<Option<Box<IkeSa>>, Error> {
        let agreed = agree(view, run)?;
        let Some(kem) = agreed.chosen.ours.kem else { return agreed.make(core, sa, cx, &[]).map(Some) };
        let second = Second::new(kem, view, cx)?;
        if sa.phase == Phase::Live && !self.yields(core, sa, cx, agreed.lowest()) {
            let next = Self { half: Some(Half { agreed, second }), running: None, pending: None, ..**self };
            sa.push_next(cx, Task::IkeRekey(Box::new(next)));
        }
        Ok(None)
    }

    /// RFC 9370 §2.2.4: whose exchange has the lowest nonce stops, and does not begin its second half; there is nothing
    /// to delete. Otherwise what the peer made or began is not needed.
    fn yields(&self, core: &Core, sa: &mut Established, cx: &mut Cx<'_>, ours: &[u8]) -> bool {
        if sa.rival.is_some() || self.pending.is_some() {
            cx.count(Counter::Collisions);
        }
        if sa.rival.as_ref().is_some_and(|rival| *ours < *rival.lowest_nonce) {
            return sa.hand_over_to_rival(core, cx);
        }
        if self.pending.as_ref().is_some_and(|pending| *ours < **pending) {
            await_peer(sa, cx);
            return true;
        }
        if let Some(rival) = sa.rival.take() {
            cx.act(Action::Redundant(rival.ike));
        }
        sa.drop_ike_series();
        false
    }

    fn other_group(mut self: Box<Self>, sa: &mut Established, cx: &mut Cx<'_>, run: &Running, number: u16) {
        cx.count(Counter::InvalidKe);
        self.groups_tried += 1;
        match group_by_number(run.proposals.iter().map(|p| p.group), number) {
            Some(group) if self.groups_tried <= MAX_GROUPS => {
                (self.group, self.pending) = (group, None);
                sa.push(cx, Task::IkeRekey(self));
            }
            _ => sa.rekey_at = (cx.now + cx.config.timers.retry_max).min(sa.expires_at),
        }
    }
}

/// The peer's own rekey has its second half before it; should that not come, it is for us to begin again.
fn await_peer(sa: &mut Established, cx: &Cx<'_>) {
    sa.rekey_at = (cx.now + cx.config.timers.followup).min(sa.expires_at);
}

/// `pending`: the peer is at a rekey of its own.
fn failed(core: &Core, sa: &mut Established, cx: &mut Cx<'_>, error: &Error, pending: bool) {
    count_error(cx, error);
    if *error == Error::Refused(notify::TEMPORARY_FAILURE) {
        cx.count(Counter::TemporaryFailures);
    }
    // The peer's exchange succeeded, ours did not: no collision after all.
    if sa.hand_over_to_rival(core, cx) {
        return;
    }
    tracing::debug!(ike = core.id.0, %error, "IKE rekey failed");
    match error {
        Error::Malformed(_) => sa.begin_delete(core, cx, &error.to_string()),
        Error::Refused(notify::STATE_NOT_FOUND) if !sa.may_begin_again(core, cx) => {}
        _ if pending => await_peer(sa, cx),
        Error::Refused(notify::TEMPORARY_FAILURE | notify::STATE_NOT_FOUND) => {
            let at = retry_at(cx);
            sa.push_at(cx, Task::IkeRekey(IkeRekey::new(core)), at);
        }
        Error::Peer(_) | Error::Mismatch(_) | Error::Refused(_) | Error::Local(_) => {
            sa.rekey_at = (cx.now + cx.config.timers.retry_max).min(sa.expires_at);
        }
    }
}

impl Half {
    fn go_on(
        self,
        core: &Core,
        sa: &mut Established,
        cx: &mut Cx<'_>,
        view: View<'_>,
    ) -> Result<Box<IkeSa>, Error> {
        let secret = self.second.secret(view)?;
        sa.not_found = 0;
        self.agreed.make(core, sa, cx, &secret)
    }
}

/// What the answer to our request agrees to.
fn agree(view: View<'_>, run: Running) -> Result<Begun, Error> {
    view.refuse_errors()?;
    let answer = view.sa()?;
    let chosen = proposal::accept_ike(&run.proposals, answer, true).ok_or_else(|| {
        Error::Mismatch(Incompatible::Proposal(proposal::explain_ike(&run.proposals, answer)))
    })?;
    let nr = view.nonce()?.to_vec();
    let (number, public) = view.ke()?.ok_or(Malformed::Missing("KE payload"))?;
    let wanted = algorithm::group_number(run.ke.group());
    if number != wanted || algorithm::group_number(chosen.ours.group) != wanted {
        return Err(Error::Peer(Misbehaved::BadAnswer("key exchange of another group")));
    }
    let first = run.ke.shared(public).map_err(|_| Error::Peer(Misbehaved::BadPublicValue))?;
    Ok(Begun { chosen, role: Role::Initiator, spi: run.spi, ni: run.nonce, nr, first: first.into() })
}

/// Ours is made: now it is known which new IKE SA stays. `pending` is the lowest nonce of a rekey of the peer's that has
/// not made its own yet.
fn settle(core: &Core, sa: &mut Established, cx: &mut Cx<'_>, new: Box<IkeSa>, pending: Option<&[u8]>) {
    let id = new.core.id;
    let rival = sa.rival.take();
    if rival.is_some() || pending.is_some() {
        cx.count(Counter::Collisions);
    }
    match rival {
        // The peer went on with its own before our answer came.
        None if sa.phase != Phase::Live => discard(new, cx),
        None if pending.is_some_and(|pending| *new.core.lowest_nonce < *pending) => {
            discard(new, cx);
            await_peer(sa, cx);
        }
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
    // RFC 7296 §2.25.2: not while children are being made, replaced or deleted. RFC 9370 §2.2.4: nor when our own is past
    // its first exchange; the peer's request was late.
    let installing = |s: &PairState| matches!(s, PairState::Installing(Then::Answer));
    if sa.active.as_ref().is_some_and(|t| t.is_about_children() || t.second().is_some())
        || sa.children.iter().any(|p| installing(&p.state))
        || sa.rival.is_some()
    {
        return Err(Error::Local(Failure::Busy));
    }
    let (offered, ours) = (view.sa()?, &core.connection.proposals);
    let chosen = proposal::choose_ike(ours, offered, true)
        .ok_or_else(|| Error::Mismatch(Incompatible::Proposal(proposal::explain_ike(ours, offered))))?;
    let wanted = algorithm::group_number(chosen.ours.group);
    let (number, public) = view.ke()?.ok_or(Malformed::Missing("KE payload"))?;
    if number != wanted {
        return Err(Error::Mismatch(Incompatible::Group(wanted)));
    }
    let ni = view.nonce()?.to_vec();
    let ke = KeyExchange::new(chosen.ours.group, &mut *cx.rng).ok_or(Error::Local(Failure::Key))?;
    let first = ke.shared(public).map_err(|_| Error::Peer(Misbehaved::BadPublicValue))?;
    let (nr, spi) = (cx.nonce(), cx.ike_spi());
    let (answer, kem) = (proposal::answer_ike(&chosen, Some(spi)), chosen.ours.kem);
    let mut payloads = vec![Payload::Sa(answer), Payload::Nonce(nr.clone()), ke_payload(&ke)];
    let agreed = Begun { chosen, role: Role::Responder, spi, ni, nr, first: first.into() };
    // Before anything is promised.
    agreed.peer_spi()?;
    match kem {
        Some(kem) => {
            if let Some(Task::IkeRekey(ours)) = &mut sa.active {
                ours.pending = Some(agreed.lowest().to_vec());
            }
            payloads.push(sa.begin_series(cx, kem, followup::Begun::Ike(Box::new(agreed))));
        }
        None => agreed.replace(core, sa, cx)?,
    }
    Ok(Reply::Now(payloads))
}

impl Begun {
    fn lowest(&self) -> &[u8] {
        lowest(&self.ni, &self.nr)
    }

    fn peer_spi(&self) -> Result<u64, Malformed> {
        let spi: [u8; 8] =
            self.chosen.spi.as_slice().try_into().map_err(|_| Malformed::Length("SPI of an IKE SA"))?;
        match u64::from_be_bytes(spi) {
            0 => Err(Malformed::Value("SPI of an IKE SA")),
            spi => Ok(spi),
        }
    }

    /// As responder, without a second key exchange: whether ours or this one stays is open while ours is under way.
    fn replace(&self, core: &Core, sa: &mut Established, cx: &mut Cx<'_>) -> Result<(), Error> {
        let mut new = self.make(core, sa, cx, &[])?;
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
        Ok(())
    }

    /// As responder, after the second key exchange. The peer would not have begun that if ours were to stay.
    pub(super) fn go_on(
        self,
        core: &Core,
        sa: &mut Established,
        cx: &mut Cx<'_>,
        second: &[u8],
        answer: Vec<Payload>,
    ) -> Result<Reply, Error> {
        let new = self.make(core, sa, cx, second)?;
        let id = new.core.id;
        cx.act(Action::Spawn(new));
        sa.hand_over(core, cx, id);
        Ok(Reply::Now(answer))
    }

    /// The successor. `second` is empty where there was one key exchange.
    fn make(
        &self,
        core: &Core,
        sa: &Established,
        cx: &mut Cx<'_>,
        second: &[u8],
    ) -> Result<Box<IkeSa>, Error> {
        let peer_spi = self.peer_spi()?;
        let (ni, nr, chosen) = (&self.ni, &self.nr, &self.chosen.ours);
        let mut new = Core::new(
            IkeSaId(cx.fresh_id()),
            self.role,
            (self.spi, peer_spi),
            core.connection.clone(),
            core.path.clone(),
            cx.now,
        );
        new.lowest_nonce = self.lowest().to_vec();
        (new.fragmentation, new.mobility) = (core.fragmentation, core.mobility);
        (new.assigned, new.others) = (core.assigned.clone(), core.others.clone());
        new.told.clone_from(&core.told);
        let (initiator_spi, responder_spi) = new.spis();
        let seed = keys::rekey_seed(&sa.keys, ni, nr, &self.first, second);
        let keys = keys::ike_keys(chosen, &seed, Ingredients { ni, nr, initiator_spi, responder_spi });
        cx.log_keys(new.spis(), chosen, &keys);
        let mut established = Established::new(cx, &new, keys, *chosen, sa.peer_id.clone());
        // Nobody proved anything.
        established.reauthenticate_at = sa.reauthenticate_at;
        established.session.claimed.clone_from(&sa.session.claimed);
        established.session.budget = sa.session.budget;
        Ok(Box::new(IkeSa { core: new, state: State::Established(Box::new(established)) }))
    }
}
