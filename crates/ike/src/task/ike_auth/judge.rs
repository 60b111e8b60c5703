//! Between the peer's proof and the SA: somebody outside is asked whether a certificate of the path is revoked.
//!
//! Decides: what the answers mean under the connection's rules. Reads: the answers. Writes: the question.
//! Never: lets a peer in when an answer that is required did not come.

use super::{Init, initiate, respond};
use crate::auth::{Proven, bad};
use crate::command::{Answer, Status};
use crate::config::{Child, Revocation, When};
use crate::endpoint::Cx;
use crate::error::{Error, Misbehaved};
use crate::event::{Event, RevocationToken};
use crate::ike_sa::{Asked, Core, State};
use crate::message::View;
use crate::payload::{Id, Payload};
use crate::snapshot::Role;
use ravelin_wire::Spi;
use std::time::Instant;

/// Has checked everything else.
#[derive(Debug)]
pub(crate) struct Judging {
    pub(super) init: Init,
    pub(super) peer: Id,
    pub(super) asked: Asked,
    pub(super) payloads: Vec<Payload>,
    /// As initiator.
    pub(super) child: Option<(Child, Spi)>,
    /// The proof came by EAP, and this is what our answer begins with, if it is for us to answer.
    pub(super) after_eap: Option<Vec<Payload>>,
    pub(super) rules: Revocation,
    /// Certificates that were asked about.
    pub(super) count: usize,
    pub(crate) until: Instant,
}

/// What goes on when nothing is to be asked, or the answer is there.
pub(super) struct Known {
    pub(super) init: Init,
    pub(super) peer: Id,
    /// As initiator: the one that is asked for.
    pub(super) child: Option<(Child, Spi)>,
    /// As in [`Judging`].
    pub(super) after_eap: Option<Vec<Payload>>,
}

/// Asks, if the proof rests on certificates that are to be asked about. `Err`: nothing is to be asked.
#[allow(clippy::result_large_err)] // what was given comes back
pub(super) fn begin(
    core: &mut Core,
    cx: &mut Cx<'_>,
    proven: Proven,
    known: Known,
    message: (Asked, View<'_>),
) -> Result<State, Known> {
    let Proven::Path { trust, path } = proven else { return Err(known) };
    // A certificate that is trusted by itself has nobody to ask.
    if trust.revocation.is_off() || path.len() < 2 {
        return Err(known);
    }
    let Known { init, peer, child, after_eap } = known;
    let (rules, count) = (trust.revocation, path.len() - 1);
    core.questions += 1;
    let token = RevocationToken { ike: core.id.0, question: core.questions };
    cx.event(Event::CheckRevocation { token, connection: core.connection.id, trust, path });
    let until = cx.now + cx.config.timers.revocation;
    let (asked, payloads) = (message.0, message.1.0.to_vec());
    Ok(State::Judging(Box::new(Judging {
        init,
        peer,
        asked,
        payloads,
        child,
        after_eap,
        rules,
        count,
        until,
    })))
}

impl Judging {
    /// The answers, or none when the time is over.
    pub(crate) fn on_answer(self: Box<Self>, core: &mut Core, cx: &mut Cx<'_>, answers: &[Status]) -> State {
        let verdict = judge(self.rules, self.count, answers);
        core.trace(cx, || format!("revocation, one answer for each certificate: {answers:?}"));
        let Self { init, peer, asked, payloads, child, after_eap, .. } = *self;
        let view = View(&payloads);
        match (core.role, verdict) {
            (Role::Initiator, Ok(())) if after_eap.is_some() => {
                initiate::stand(init, core, cx, peer, child, view)
            }
            (Role::Initiator, Ok(())) => initiate::proceed(init, core, cx, (asked, peer), child, view),
            (Role::Initiator, Err(why)) => initiate::refuse(init, core, cx, &why),
            (Role::Responder, Ok(())) => match after_eap {
                Some(head) => respond::stand(init, core, cx, asked, view, peer, head),
                None => respond::accept(init, core, cx, asked, view, peer),
            },
            (Role::Responder, Err(why)) => respond::refuse(init, core, cx, asked, &why, &peer.to_string()),
        }
    }
}

fn judge(rules: Revocation, count: usize, answers: &[Status]) -> Result<(), Error> {
    let revoked = |status: &Status| [&status.crl, &status.ocsp].into_iter().any(|a| *a == Answer::Revoked);
    if answers.iter().any(revoked) {
        return Err(bad("a certificate of the peer's path is revoked"));
    }
    for at in 0..count {
        let status = answers.get(at);
        let ways =
            [("CRL", rules.crl, status.map(|s| &s.crl)), ("OCSP", rules.ocsp, status.map(|s| &s.ocsp))];
        for (way, when, answer) in ways {
            if when == When::Required && answer != Some(&Answer::Good) {
                let why = match answer {
                    Some(Answer::Unknown(why)) => why.as_str(),
                    _ => "no answer in time",
                };
                let why = format!(
                    "whether certificate {} of the path is revoked is not known by {way}: {why}",
                    at + 1
                );
                return Err(Error::Peer(Misbehaved::BadAuth(why.into())));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_is_off_asked_or_required() {
        let unknown = || Answer::Unknown("no server".to_owned());
        let status = |crl: &Answer, ocsp: &Answer| Status { crl: crl.clone(), ocsp: ocsp.clone() };
        let answers = [Answer::Good, Answer::Revoked, unknown()];
        for crl in [When::Never, When::IfAvailable, When::Required] {
            for ocsp in [When::Never, When::IfAvailable, When::Required] {
                let rules = Revocation { crl, ocsp };
                for by_crl in &answers {
                    for by_ocsp in &answers {
                        let revoked = *by_crl == Answer::Revoked || *by_ocsp == Answer::Revoked;
                        let lacks = |when, answer: &Answer| when == When::Required && *answer != Answer::Good;
                        let good = !revoked && !lacks(crl, by_crl) && !lacks(ocsp, by_ocsp);
                        let given = [status(&Answer::Good, &Answer::Good), status(by_crl, by_ocsp)];
                        assert_eq!(judge(rules, 2, &given).is_ok(), good, "{rules:?} {given:?}");
                    }
                }
                let needed = crl == When::Required || ocsp == When::Required;
                assert_eq!(judge(rules, 1, &[]).is_err(), needed, "silence: {rules:?}");
            }
        }
    }
}
