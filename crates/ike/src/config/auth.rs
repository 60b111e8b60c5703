//! How the two sides of a connection prove who they are.
//!
//! Decides: which ways there are. Never: prints a secret.

use super::Secret;
use crate::cert::{Certificate, Crl, PrivateKey, PublicKey};
use std::sync::Arc;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LocalAuth {
    Psk(Secret),
    Key(Arc<OwnKey>),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RemoteAuth {
    Psk(Secret),
    Certificate(Arc<Trust>),
    /// The peer signs with one of these keys, which needs no certificate (RFC 7670).
    RawKey(Arc<Vec<PublicKey>>),
}

/// What we sign with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnKey {
    pub key: PrivateKey,
    /// Our certificate, then those between it and the CA; empty: a raw public key.
    pub chain: Vec<Certificate>,
    /// The peer is sent the whole chain, or only the first of it.
    pub send_chain: bool,
    /// RSA: PSS where the peer leaves us the choice, else PKCS#1 v1.5.
    pub prefer_pss: bool,
}

/// Whom we believe.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trust {
    pub authorities: Vec<Certificate>,
    /// Lists that whoever answers [`crate::event::Event::CheckRevocation`] has at hand.
    pub crls: Arc<Vec<Crl>>,
    pub revocation: Revocation,
}

/// Which ways of asking whether a certificate is revoked there are; the answer comes from outside of the engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Revocation {
    pub crl: When,
    pub ocsp: When,
}

impl Revocation {
    pub const fn is_off(self) -> bool {
        matches!((self.crl, self.ocsp), (When::Never, When::Never))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum When {
    /// Not asked.
    #[default]
    Never,
    /// A certificate that is known to be revoked is refused; no answer is no objection.
    IfAvailable,
    /// No answer refuses.
    Required,
}
