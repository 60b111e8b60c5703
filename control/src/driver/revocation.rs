//! Whether a peer's certificates are revoked, by the lists that the configuration names.
//!
//! Decides: what each list says of each certificate, whether somebody else must be asked too. Reads: lists that were read
//! with the configuration. Never: waits, asks the network (see [`super::inquiry`]).

use ravelin_ike::cert::Certificate;
use ravelin_ike::command::{Answer, Status};
use ravelin_ike::config::{Trust, When};
use ravelin_ike::endpoint::WallClock;
use std::time::SystemTime;

/// The time of day, for certificates. Before 1970 none is valid.
#[derive(Debug)]
pub(super) struct SystemClock;

impl WallClock for SystemClock {
    fn unix(&self) -> u64 {
        now()
    }
}

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// One status for each certificate of the path but the last. `None`: the lists do not tell.
pub(super) fn judge(trust: &Trust, path: &[Certificate]) -> Option<Vec<Status>> {
    if trust.revocation.ocsp != When::Never {
        return None;
    }
    let now = now();
    let pairs = path.windows(2).filter_map(|pair| pair.first().zip(pair.get(1)));
    let ocsp = || Answer::Unknown("OCSP is not asked".to_owned());
    let known = |(of, issuer)| match by_lists(trust, of, issuer, now) {
        Answer::Unknown(_) => None,
        crl @ (Answer::Good | Answer::Revoked) => Some(Status { crl, ocsp: ocsp() }),
    };
    pairs.map(known).collect()
}

/// One list that knows is enough, and one that says "revoked" counts before all others.
pub(super) fn by_lists(trust: &Trust, of: &Certificate, issuer: &Certificate, now: u64) -> Answer {
    let mut answer = Answer::Unknown("no CRL of its issuer".to_owned());
    for list in trust.crls.iter().filter(|list| list.issuer() == issuer.subject()) {
        match list.is_revoked(of, issuer, now) {
            Ok(true) => return Answer::Revoked,
            Ok(false) => answer = Answer::Good,
            Err(why) if answer != Answer::Good => answer = Answer::Unknown(why.to_owned()),
            Err(_) => {}
        }
    }
    answer
}
