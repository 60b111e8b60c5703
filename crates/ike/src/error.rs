//! What can go wrong, and whose fault it is.
//!
//! Decides: which answer a fault gets ([`Error::notify`]). Reads, writes: nothing. Never: carries a secret.

use crate::payload::notify;
use std::borrow::Cow;

/// Bytes that break the format of RFC 7296 §3.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("{0} is cut short")]
    Short(&'static str),
    #[error("{0} has a wrong length")]
    Length(&'static str),
    #[error("{0} has an unlawful value")]
    Value(&'static str),
    #[error("too many {0}")]
    TooMany(&'static str),
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{0} comes twice")]
    Twice(&'static str),
    #[error("unknown payload {0} is marked critical")]
    Critical(u8),
}

/// Why an exchange cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// The peer broke the format.
    #[error("malformed message: {0}")]
    Malformed(#[from] Malformed),
    /// The peer broke the protocol.
    #[error("{0}")]
    Peer(Misbehaved),
    /// Both sides are right, but do not fit.
    #[error("{0}")]
    Mismatch(Incompatible),
    /// The peer answered with this error notify.
    #[error("the peer answered {}", notify::name(*.0))]
    Refused(u16),
    /// Ours.
    #[error("{0}")]
    Local(Failure),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Misbehaved {
    #[error("authentication failed: {0}")]
    BadAuth(Cow<'static, str>),
    #[error("the public value is not lawful in its group")]
    BadPublicValue,
    #[error("the answer does not fit what was asked: {0}")]
    BadAnswer(&'static str),
    #[error("there is no such child SA")]
    NoSuchChild,
    #[error("no exchange waits for this additional key exchange any more")]
    NoSuchSeries,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Incompatible {
    #[error("no proposal chosen: {0}")]
    Proposal(String),
    #[error("traffic selectors do not fit: {0}")]
    Selectors(String),
    #[error("the peer does not ask for an address, without which it gets no child SA")]
    NotConfigured,
    #[error("no address of the pool is free")]
    NoAddress,
    #[error("mode: {0}")]
    Mode(&'static str),
    /// The peer shall come again with this group.
    #[error("key exchange group: wanted {0}")]
    Group(u16),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    #[error("busy with an exchange that does not go together with this one")]
    Busy,
    #[error("a limit of this gateway is reached")]
    Full,
    #[error("the child has as many SAs as this gateway makes for one")]
    Queues,
    #[error("the data plane could not take the SA")]
    Install,
    #[error("a key could not be made")]
    Key,
}

impl Error {
    /// The one place that turns a fault into the notify that answers it (RFC 7296 §2.21, §3.10.1).
    pub(crate) const fn notify(&self) -> u16 {
        match self {
            Self::Malformed(Malformed::Critical(_)) => notify::UNSUPPORTED_CRITICAL_PAYLOAD,
            Self::Malformed(_) | Self::Peer(Misbehaved::BadPublicValue | Misbehaved::BadAnswer(_)) => {
                notify::INVALID_SYNTAX
            }
            Self::Peer(Misbehaved::BadAuth(_)) => notify::AUTHENTICATION_FAILED,
            Self::Peer(Misbehaved::NoSuchChild) => notify::CHILD_SA_NOT_FOUND,
            Self::Peer(Misbehaved::NoSuchSeries) => notify::STATE_NOT_FOUND,
            Self::Mismatch(Incompatible::Proposal(_) | Incompatible::Mode(_)) => notify::NO_PROPOSAL_CHOSEN,
            Self::Mismatch(Incompatible::NotConfigured) => notify::FAILED_CP_REQUIRED,
            Self::Mismatch(Incompatible::NoAddress) => notify::INTERNAL_ADDRESS_FAILURE,
            Self::Mismatch(Incompatible::Selectors(_)) => notify::TS_UNACCEPTABLE,
            Self::Mismatch(Incompatible::Group(_)) => notify::INVALID_KE_PAYLOAD,
            Self::Refused(kind) => *kind,
            Self::Local(Failure::Busy) => notify::TEMPORARY_FAILURE,
            Self::Local(Failure::Full) => notify::NO_ADDITIONAL_SAS,
            // RFC 9611 §4: never NO_ADDITIONAL_SAS, which speaks of children with other selectors too.
            Self::Local(Failure::Queues) => notify::TS_MAX_QUEUE,
            Self::Local(Failure::Install | Failure::Key) => notify::TEMPORARY_FAILURE,
        }
    }
}
