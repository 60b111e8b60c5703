//! What an error becomes: a notify for the peer, a counter for the operator.
//!
//! Decides: which of each. Reads: the error. Never: changes a state.

use crate::counters::Counter;
use crate::endpoint::Cx;
use crate::payload::{Notify, Payload, notify};

/// An error notify, with the data that its kind wants.
pub(crate) fn error_payload(error: &crate::error::Error) -> Payload {
    use crate::error::{Error, Incompatible, Malformed};
    let data = match error {
        Error::Mismatch(Incompatible::Group(group)) => group.to_be_bytes().to_vec(),
        Error::Malformed(Malformed::Critical(kind)) => vec![*kind],
        Error::Malformed(_)
        | Error::Peer(_)
        | Error::Mismatch(
            Incompatible::Proposal(_)
            | Incompatible::Selectors(_)
            | Incompatible::Mode(_)
            | Incompatible::NotConfigured
            | Incompatible::NoAddress,
        )
        | Error::Refused(_)
        | Error::Local(_) => Vec::new(),
    };
    Payload::Notify(Notify::with_data(error.notify(), data))
}

pub(crate) fn count_error(cx: &mut Cx<'_>, error: &crate::error::Error) {
    use crate::error::{Error, Failure, Incompatible, Malformed, Misbehaved};
    let counter = match error {
        Error::Malformed(Malformed::Critical(_)) => Counter::CriticalUnknown,
        Error::Malformed(_) | Error::Peer(Misbehaved::BadAnswer(_)) => Counter::MalformedAuthentic,
        Error::Peer(Misbehaved::BadAuth(_)) => Counter::AuthFailed,
        Error::Peer(Misbehaved::BadPublicValue) => Counter::BadPublicValue,
        Error::Peer(Misbehaved::NoSuchChild) => Counter::OutOfPlace,
        Error::Peer(Misbehaved::NoSuchSeries) | Error::Refused(notify::STATE_NOT_FOUND) => {
            Counter::StateNotFound
        }
        Error::Mismatch(Incompatible::Proposal(_) | Incompatible::Mode(_)) => Counter::NoProposal,
        Error::Mismatch(Incompatible::NotConfigured | Incompatible::NoAddress) => Counter::NoAddress,
        Error::Mismatch(Incompatible::Selectors(_)) => Counter::TsUnacceptable,
        Error::Mismatch(Incompatible::Group(_)) => Counter::InvalidKe,
        Error::Refused(notify::TS_MAX_QUEUE) | Error::Local(Failure::Queues) => Counter::ResourceLimit,
        Error::Refused(_) | Error::Local(_) => return,
    };
    cx.count(counter);
}
