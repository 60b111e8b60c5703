//! Offers for child SAs, shared by IKE_AUTH and CREATE_CHILD_SA in both roles.
//!
//! Decides: which child of the configuration an offer fits, and with which proposal and selectors.
//! Never: makes the pair.

use crate::config::{Child, Connection, EspProposal, Mode};
use crate::error::{Error, Incompatible, Malformed, Misbehaved};
use crate::message::View;
use crate::negotiate::proposal::{self, Chosen};
use crate::negotiate::ts;
use crate::payload::{Notify, Payload, TrafficSelector, notify};
use ravelin_wire::{Selector, Spi};

/// What both sides want.
#[derive(Clone, Debug)]
pub(crate) struct Fit {
    pub(crate) chosen: Chosen<EspProposal>,
    pub(crate) selectors: Vec<Selector>,
    pub(crate) outbound: Spi,
    /// The peer takes padding for traffic flow confidentiality.
    pub(crate) pads: bool,
    /// Both sides may have several such SAs (RFC 9611).
    pub(crate) grouped: bool,
}

/// SA, TSi, TSr of a request of ours; `trigger` is the packet that asks for the SA, which stands before the
/// configuration's selectors (RFC 7296 §2.9).
pub(crate) fn request(
    child: &Child,
    spi: Spi,
    pfs: bool,
    trigger: Option<&Selector>,
) -> (Payload, Payload, Payload) {
    let first = trigger.filter(|t| child.selectors.iter().any(|s| ts::covers(s, t)));
    let wanted: Vec<Selector> = first.into_iter().chain(&child.selectors).copied().collect();
    let (local, remote) = ts::sides(&wanted);
    let sa = Payload::Sa(proposal::offer_esp(&child.proposals, spi, pfs));
    (sa, Payload::TsI(local), Payload::TsR(remote))
}

/// What else a request says of the child (RFC 7296 §1.3.1), and its answer repeats.
pub(crate) fn notifies(child: &Child) -> impl Iterator<Item = Payload> {
    let transport = child.mode == Mode::Transport;
    transport.then(|| Payload::Notify(Notify::new(notify::USE_TRANSPORT_MODE))).into_iter()
}

/// `Err` when a reload changed or removed the child while the peer's answer to our request was on its way.
pub(crate) fn still_wanted(child: &Child, connection: &Connection) -> Result<(), Error> {
    let key = |c: &Child| (c.id, c.mode);
    let same = |c: &Child| {
        key(c) == key(child) && (&c.selectors, &c.proposals) == (&child.selectors, &child.proposals)
    };
    let why = || Incompatible::Selectors("the child's configuration changed meanwhile".to_owned());
    if connection.children.iter().any(same) { Ok(()) } else { Err(Error::Mismatch(why())) }
}

/// Judges the peer's answer to [`request`] for `asked`; of what both sides want, `child` is what we may use.
pub(crate) fn judge_answer(asked: &Child, child: &Child, view: View<'_>, pfs: bool) -> Result<Fit, Error> {
    let answer = view.sa()?;
    let chosen =
        proposal::accept_esp(&child.proposals, answer, pfs).ok_or_else(|| mismatch(child, view, pfs))?;
    let (asked_local, asked_remote) = ts::sides(&asked.selectors);
    let (local, remote) = (view.ts_i()?, view.ts_r()?);
    if !ts::within(local, &asked_local) || !ts::within(remote, &asked_remote) {
        return Err(Error::Peer(Misbehaved::BadAnswer("traffic selectors are wider than those asked for")));
    }
    match (child.mode, wants_transport(view)) {
        (Mode::Transport, false) => {
            Err(Error::Mismatch(Incompatible::Mode("the peer declined transport mode")))
        }
        (Mode::Tunnel, true) => {
            Err(Error::Peer(Misbehaved::BadAnswer("transport mode, which was not asked for")))
        }
        (Mode::Tunnel, false) | (Mode::Transport, true) => fit(child, chosen, local, remote, view),
    }
}

fn wants_transport(view: View<'_>) -> bool {
    view.notify(notify::USE_TRANSPORT_MODE).is_some()
}

/// As responder: the first child of the configuration that fits best (all of its selectors before some of them).
pub(crate) fn choose<'c>(
    children: impl Iterator<Item = &'c Child> + Clone,
    view: View<'_>,
    pfs: bool,
) -> Result<(&'c Child, Fit), Error> {
    let (remote, local) = (view.ts_i()?, view.ts_r()?);
    let offered = view.sa()?;
    let mut best: Option<(&Child, Fit)> = None;
    let mut why = None;
    for child in children {
        let Some(chosen) = proposal::choose_esp(&child.proposals, offered, pfs) else {
            why.get_or_insert_with(|| mismatch(child, view, pfs));
            continue;
        };
        // A request for transport mode may be answered by tunnel mode, not the other way round (RFC 7296 §1.3.1).
        if child.mode == Mode::Transport && !wants_transport(view) {
            why.get_or_insert(Error::Mismatch(Incompatible::Mode(
                "the peer does not ask for transport mode",
            )));
            continue;
        }
        match fit(child, chosen, local, remote, view) {
            Ok(fit) if fit.selectors == child.selectors => return Ok((child, fit)),
            Ok(fit) => {
                best.get_or_insert((child, fit));
            }
            // Right algorithms and wrong selectors say more than wrong algorithms.
            Err(e) => why = Some(e),
        }
    }
    let none = || Error::Mismatch(Incompatible::Selectors("no child is configured".to_owned()));
    best.ok_or_else(|| why.unwrap_or_else(none))
}

fn fit(
    child: &Child,
    chosen: Chosen<EspProposal>,
    local: &[TrafficSelector],
    remote: &[TrafficSelector],
    view: View<'_>,
) -> Result<Fit, Error> {
    let selectors = ts::narrow(&child.selectors, local, remote);
    if selectors.is_empty() {
        let why = ts::explain(&child.selectors, local, remote);
        return Err(Error::Mismatch(Incompatible::Selectors(why)));
    }
    let spi: [u8; 4] =
        chosen.spi.as_slice().try_into().map_err(|_| Malformed::Length("SPI of a child SA"))?;
    let outbound =
        Spi::try_from(u32::from_be_bytes(spi)).map_err(|_| Malformed::Value("SPI of a child SA"))?;
    let pads = view.notify(notify::ESP_TFC_PADDING_NOT_SUPPORTED).is_none();
    let grouped = child.resources > 1 && view.notify(notify::SA_RESOURCE_INFO).is_some();
    Ok(Fit { chosen, selectors, outbound, pads, grouped })
}

fn mismatch(child: &Child, view: View<'_>, pfs: bool) -> Error {
    let offered = view.sa().unwrap_or_default();
    Error::Mismatch(Incompatible::Proposal(proposal::explain_esp(&child.proposals, offered, pfs)))
}

/// SA, TSi, TSr of our answer; the peer, who asked, is the initiator.
pub(crate) fn answer(fit: &Fit, inbound: Spi, pfs: bool) -> [Payload; 3] {
    let (local, remote) = ts::sides(&fit.selectors);
    [Payload::Sa(proposal::answer_esp(&fit.chosen, inbound, pfs)), Payload::TsI(remote), Payload::TsR(local)]
}
