//! Post-quantum pre-shared keys (RFC 8784): a secret that both have, mixed into the keys of the children and of the
//! proofs, so that who breaks the key exchange later has not broken what was sent.
//!
//! Decides: whether a peer's proof must rest on such a key. Reads: what both sides said of it. Never: goes on without
//! a key that the connection requires.

use super::{ProofKey, bad};
use crate::config::{Connection, Ppk};
use crate::crypto::keys::IkeKeys;
use crate::crypto::{Wiped, prf};
use crate::error::Error;
use crate::message::View;
use crate::payload::{Notify, Payload, notify};
use crate::snapshot::Role;
use core::fmt;
use std::sync::Arc;

/// PPK_ID_FIXED (§5.1): any bytes, known to both.
const FIXED: u8 = 2;

/// For the trace.
pub(crate) const USED: &str = "the post-quantum pre-shared key of both sides is in the keys";

/// The keys that change.
pub(crate) struct Mixed {
    prf: crate::config::Prf,
    d: Wiped,
    pi: Wiped,
    pr: Wiped,
}

/// prf+(PPK, SK_d), prf+(PPK, SK_pi), prf+(PPK, SK_pr)
pub(crate) fn mix(keys: &IkeKeys, ppk: &Ppk) -> Mixed {
    let len = prf::len(keys.prf);
    let with = |old: &Wiped| prf::prf_plus(keys.prf, ppk.key.expose(), old, len);
    Mixed { prf: keys.prf, d: with(&keys.d), pi: with(&keys.pi), pr: with(&keys.pr) }
}

impl Mixed {
    pub(crate) fn proof(&self, of: Role) -> ProofKey<'_> {
        let sk_p = match of {
            Role::Initiator => &self.pi,
            Role::Responder => &self.pr,
        };
        ProofKey { prf: self.prf, sk_p }
    }

    /// From here on the IKE SA has these.
    pub(crate) fn install(self, keys: &mut IkeKeys) {
        (keys.d, keys.pi, keys.pr) = (self.d, self.pi, self.pr);
    }
}

impl fmt::Debug for Mixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mixed(…)")
    }
}

/// In IKE_SA_INIT: we have such a key.
pub(crate) const fn offer() -> Payload {
    Payload::Notify(Notify::new(notify::USE_PPK))
}

/// As responder: whether the peer and any of these connections have such a key, and what the answer says then.
pub(crate) fn answer(candidates: &[Arc<Connection>], view: View<'_>, payloads: &mut Vec<Payload>) -> bool {
    let both = view.notify(notify::USE_PPK).is_some() && candidates.iter().any(|c| c.ppk.is_some());
    payloads.extend(both.then(offer));
    both
}

/// As initiator: whether both sides have such a key. `Err`: ours is required.
pub(crate) fn negotiated(ours: Option<&Ppk>, view: View<'_>) -> Result<bool, &'static str> {
    match (ours, view.notify(notify::USE_PPK)) {
        (Some(_), Some(_)) => Ok(true),
        (Some(ppk), None) if ppk.required => {
            Err("the peer uses no post-quantum pre-shared key (RFC 8784), which is required")
        }
        _ => Ok(false),
    }
}

/// As initiator: which key it is; and, where it is not required, what AUTH would be without it.
pub(crate) fn ask(ppk: &Ppk, without: Option<&Payload>) -> Vec<Payload> {
    let id = [&[FIXED], ppk.id.as_slice()].concat();
    let mut payloads = vec![Payload::Notify(Notify::with_data(notify::PPK_IDENTITY, id))];
    if let Some(Payload::Auth { data, .. }) = without.filter(|_| !ppk.required) {
        payloads.push(Payload::Notify(Notify::with_data(notify::NO_PPK_AUTH, data.to_vec())));
    }
    payloads
}

/// As responder: it is used.
pub(crate) const fn agree() -> Payload {
    Payload::Notify(Notify::new(notify::PPK_IDENTITY))
}

/// As initiator: whether the responder used it.
pub(crate) fn is_agreed(view: View<'_>) -> bool {
    view.notify(notify::PPK_IDENTITY).is_some()
}

/// What the peer's proof rests on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Choice<'a> {
    /// The keys as they are, and these bytes.
    Plain(&'a [u8]),
    Mixed(&'a Ppk),
}

/// As responder, for one connection (§3, the table). `auth`: the bytes of AUTH; `negotiated`: both said that they have
/// such keys.
pub(crate) fn choose<'a>(
    ours: Option<&'a Ppk>,
    negotiated: bool,
    view: View<'a>,
    auth: &'a [u8],
) -> Result<Choice<'a>, Error> {
    let named = view.notify(notify::PPK_IDENTITY).filter(|_| negotiated);
    let Some(named) = named else {
        return match ours {
            Some(ppk) if ppk.required => Err(bad("the peer uses no post-quantum pre-shared key")),
            _ => Ok(Choice::Plain(auth)),
        };
    };
    let name = named.data.split_first().filter(|(kind, _)| **kind == FIXED).map(|(_, name)| name);
    match ours {
        Some(ppk) if name == Some(ppk.id.as_slice()) => Ok(Choice::Mixed(ppk)),
        Some(ppk) if ppk.required => Err(bad("the peer uses another post-quantum pre-shared key")),
        _ => match view.notify(notify::NO_PPK_AUTH) {
            Some(without) => Ok(Choice::Plain(&without.data)),
            None => Err(bad("the peer requires a post-quantum pre-shared key that is not ours")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    /// RFC 8784 §3
    #[test]
    fn what_the_proof_rests_on() {
        let ppk = |required| Ppk { id: b"one".to_vec(), key: Secret::new(vec![1; 32]), required };
        let (must, may) = (ppk(true), ppk(false));
        let named = |id: &[u8]| Payload::Notify(Notify::with_data(notify::PPK_IDENTITY, id.to_vec()));
        let without = || Payload::Notify(Notify::with_data(notify::NO_PPK_AUTH, b"plain".to_vec()));
        let (ours, theirs) = (named(b"\x02one"), named(b"\x02two"));
        let auth = b"auth".as_slice();
        type Case<'a> = (Option<&'a Ppk>, bool, Vec<Payload>, Option<Choice<'a>>);
        let cases: [Case<'_>; 12] = [
            (None, false, vec![], Some(Choice::Plain(auth))),
            (None, true, vec![], Some(Choice::Plain(auth))),
            (Some(&may), false, vec![], Some(Choice::Plain(auth))),
            (Some(&may), true, vec![], Some(Choice::Plain(auth))),
            (Some(&must), false, vec![], None),
            (Some(&must), true, vec![], None),
            (Some(&must), true, vec![ours.clone()], Some(Choice::Mixed(&must))),
            (Some(&may), true, vec![ours, without()], Some(Choice::Mixed(&may))),
            (Some(&may), true, vec![theirs.clone(), without()], Some(Choice::Plain(b"plain"))),
            (None, true, vec![theirs.clone(), without()], Some(Choice::Plain(b"plain"))),
            (Some(&may), true, vec![theirs.clone()], None),
            (Some(&must), true, vec![theirs, without()], None),
        ];
        for (at, (ours, negotiated, payloads, wanted)) in cases.iter().enumerate() {
            let got = choose(*ours, *negotiated, View(payloads), auth).ok();
            assert_eq!(got, *wanted, "case {at}");
        }
        // The opaque kind of name (§5.1) is none of ours.
        let opaque = [named(b"\x01one")];
        assert!(choose(Some(&may), true, View(&opaque), auth).is_err());
    }
}
