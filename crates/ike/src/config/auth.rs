//! How the two sides of a connection prove who they are.
//!
//! Decides: which ways there are. Never: prints a secret.

use super::Secret;
use crate::cert::{Certificate, Crl, PrivateKey, PublicKey};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LocalAuth {
    Psk(Secret),
    Key(Arc<OwnKey>),
    /// As initiator only: by a password, after the responder has proven itself (RFC 7296 §2.16).
    Eap(Arc<EapClient>),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RemoteAuth {
    Psk(Secret),
    Certificate(Arc<Trust>),
    /// The peer signs with one of these keys, which needs no certificate (RFC 7670).
    RawKey(Arc<Vec<PublicKey>>),
    /// As responder only: the peer is one of these users.
    Eap(Arc<EapServer>),
}

/// Methods of EAP (RFC 3748).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EapMethod {
    /// Makes no key, and proves only the client.
    Md5,
    MsChapV2,
    /// Both sides by certificates.
    Tls,
}

/// What TLS inside of EAP rests on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EapTls {
    pub own: Arc<OwnKey>,
    pub trust: Arc<Trust>,
}

/// As whom we log in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EapClient {
    pub user: String,
    pub password: Secret,
    /// Which of them the server may ask for.
    pub methods: Vec<EapMethod>,
    /// With [`EapMethod::Tls`].
    pub tls: Option<EapTls>,
}

/// Who may log in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EapServer {
    /// In order of preference.
    pub methods: Vec<EapMethod>,
    /// Names and passwords.
    pub users: Arc<BTreeMap<String, Secret>>,
    /// The user is asked for its name; else it is the identity of IKE.
    pub ask_identity: bool,
    /// With [`EapMethod::Tls`].
    pub tls: Option<EapTls>,
}

/// A post-quantum pre-shared key (RFC 8784), which is mixed into the keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ppk {
    pub id: Vec<u8>,
    pub key: Secret,
    /// A peer without it is refused.
    pub required: bool,
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
    /// Where lists are fetched; empty: where each certificate says.
    pub crl_urls: Vec<String>,
    /// Who is asked; `None`: whom each certificate names.
    pub ocsp_url: Option<String>,
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
