//! Whether the peer proved who it is, for one connection or for each of several.
//!
//! Decides: that, but not whether a certificate is revoked. Reads: the peer's payloads once. Never: judges the same
//! certificates by the same CAs twice, or by more than [`MAX_TRUSTS`] lists of them.

use super::presented::Presented;
use super::{Hashes, METHOD_PSK, ProofKey, Signed, psk, signature};
use crate::cert::{Certificate, path};
use crate::config::{Prf, RemoteAuth, Trust};
use crate::error::{Error, Misbehaved};
use crate::message::View;
use crate::payload::Id;
use std::sync::Arc;

/// Lists of CAs that one peer's certificates are held against.
const MAX_TRUSTS: usize = 8;

/// What a proof rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Proven {
    /// Nothing else is to be asked.
    Itself,
    /// These certificates, the peer's first, a trusted one last.
    Path { trust: Arc<Trust>, path: Vec<Certificate> },
}

/// Everything the peer said in IKE_AUTH about who it is.
pub(crate) struct Prover<'a> {
    prf: Prf,
    id: &'a Id,
    octets: Vec<u8>,
    auth: (u8, Vec<u8>),
    view: View<'a>,
    negotiated: bool,
    now: u64,
    presented: Option<Result<Presented, Error>>,
    judged: Vec<(Arc<Trust>, Result<Proven, Error>)>,
}

impl<'a> Prover<'a> {
    /// `now`: seconds since 1970.
    pub(crate) fn new(
        key: ProofKey<'_>,
        signed: Signed<'a>,
        auth: (u8, Vec<u8>),
        view: View<'a>,
        hashes: Option<Hashes>,
        now: u64,
    ) -> Self {
        let (octets, negotiated) = (signed.octets(key), hashes.is_some());
        Self {
            prf: key.prf,
            id: signed.id,
            octets,
            auth,
            view,
            negotiated,
            now,
            presented: None,
            judged: Vec::new(),
        }
    }

    pub(crate) fn prove(&mut self, by: &RemoteAuth) -> Result<Proven, Error> {
        match by {
            RemoteAuth::Psk(secret) => {
                let good =
                    self.auth.0 == METHOD_PSK && psk::verify(self.prf, secret, &self.octets, &self.auth.1);
                if good { Ok(Proven::Itself) } else { Err(bad("the peer does not know the secret")) }
            }
            RemoteAuth::RawKey(keys) => {
                let shown = self.presented()?.raw.clone();
                let fits = |key: &&crate::cert::PublicKey| shown.as_ref().is_none_or(|s| s == *key);
                let known = keys.iter().filter(fits);
                let mut signers = known.filter(|key| {
                    signature::verify(key, &self.octets, self.negotiated, (self.auth.0, &self.auth.1))
                });
                signers
                    .next()
                    .map(|_| Proven::Itself)
                    .ok_or_else(|| bad("the peer did not sign with a key of its own"))
            }
            RemoteAuth::Certificate(trust) => self.by_certificate(trust),
            RemoteAuth::Eap(_) => Err(bad("the peer must log in by EAP")),
        }
    }

    fn presented(&mut self) -> Result<&Presented, Error> {
        let view = self.view;
        self.presented.get_or_insert_with(|| Presented::read(view)).as_ref().map_err(Clone::clone)
    }

    fn by_certificate(&mut self, trust: &Arc<Trust>) -> Result<Proven, Error> {
        if let Some((_, judged)) = self.judged.iter().find(|(t, _)| t == trust) {
            return judged.clone();
        }
        if self.judged.len() >= MAX_TRUSTS {
            return Err(bad("too many connections with other CAs would fit"));
        }
        let judged = self.judge(trust);
        self.judged.push((Arc::clone(trust), judged.clone()));
        judged
    }

    fn judge(&mut self, trust: &Arc<Trust>) -> Result<Proven, Error> {
        let (now, id) = (self.now, self.id);
        let presented = self.presented()?.clone();
        let Some((own, others)) = presented.certificates.split_first() else {
            return Err(bad("the peer showed no certificate"));
        };
        let path = path::find(own, others, &trust.authorities, now)
            .map_err(|why| Error::Peer(Misbehaved::BadAuth(why.to_string().into())))?;
        if !own.has_identity(id) {
            let why = crate::cert::CertError::Identity(id.to_string(), own.subject().to_string());
            return Err(Error::Peer(Misbehaved::BadAuth(why.to_string().into())));
        }
        if !signature::verify(own.key(), &self.octets, self.negotiated, (self.auth.0, &self.auth.1)) {
            return Err(bad("the peer's signature is not of the key in its certificate"));
        }
        Ok(Proven::Path { trust: Arc::clone(trust), path: path.into_iter().cloned().collect() })
    }
}

pub(crate) fn bad(why: &'static str) -> Error {
    Error::Peer(Misbehaved::BadAuth(why.into()))
}
