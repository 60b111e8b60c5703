//! CERT and CERTREQ payloads: what the peer shows, what we ask for and what we show.
//!
//! Decides: which certificates are sent. Reads: payloads of the peer. Never: trusts what it reads, takes more than
//! [`MAX_CERTS`].

use crate::cert::{Certificate, PublicKey};
use crate::config::{Connection, LocalAuth, OwnKey, RemoteAuth};
use crate::error::{Error, Malformed, Misbehaved};
use crate::message::View;
use crate::payload::{Cert, Payload, cert};

/// Of one message: no path is so long, and they are kept until the peer is judged.
pub(crate) const MAX_CERTS: usize = 16;
/// Names of CAs that we ask by, in one message; with more of them the peer chooses by itself.
const MAX_REQUESTED: usize = 64;
/// SHA-1 of a CA's key.
const NAME_LEN: usize = 20;

/// What the peer showed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Presented {
    /// The peer's own first (RFC 7296 §3.6).
    pub(crate) certificates: Vec<Certificate>,
    pub(crate) raw: Option<PublicKey>,
}

impl Presented {
    pub(crate) fn read(view: View<'_>) -> Result<Self, Error> {
        let mut this = Self::default();
        if view.certs().count() > MAX_CERTS {
            return Err(Malformed::TooMany("certificates").into());
        }
        for payload in view.certs() {
            match payload.encoding {
                cert::X509 => this.certificates.push(Certificate::from_der(&payload.data).map_err(bad)?),
                cert::RAW_KEY => this.raw = Some(PublicKey::from_spki(&payload.data).map_err(bad)?),
                e if cert::HASH_AND_URL.contains(&e) => {
                    let why = "the peer sent the address of a certificate, which we did not ask for";
                    return Err(Error::Peer(Misbehaved::BadAuth(why.into())));
                }
                // CRLs and old kinds: of no use to us, and no harm.
                _ => {}
            }
        }
        Ok(this)
    }
}

fn bad(why: crate::cert::CertError) -> Error {
    Error::Peer(Misbehaved::BadAuth(format!("of what the peer showed {why}").into()))
}

/// What we want the peer to show, for any of these connections.
pub(crate) fn requests<'a>(connections: impl Iterator<Item = &'a Connection>) -> Vec<Payload> {
    let (mut names, mut x509, mut raw): (Vec<Vec<u8>>, bool, bool) = (Vec::new(), false, false);
    for connection in connections {
        match &connection.remote_auth {
            RemoteAuth::Certificate(trust) => {
                x509 = true;
                names.extend(trust.authorities.iter().map(|ca| ca.key().sha1()));
            }
            RemoteAuth::RawKey(_) => raw = true,
            RemoteAuth::Psk(_) | RemoteAuth::Eap(_) => {}
        }
    }
    names.sort_unstable();
    names.dedup();
    if names.len() > MAX_REQUESTED {
        names.clear();
    }
    let mut payloads = Vec::new();
    if x509 {
        payloads.push(Payload::CertReq(Cert { encoding: cert::X509, data: names.concat() }));
    }
    if raw {
        payloads.push(Payload::CertReq(Cert { encoding: cert::RAW_KEY, data: Vec::new() }));
    }
    payloads
}

/// What we show, after what the peer asked for.
pub(crate) fn certificates(auth: &LocalAuth, wanted: &[Cert]) -> Vec<Payload> {
    let LocalAuth::Key(own) = auth else { return Vec::new() };
    let one = |encoding, data: &[u8]| Payload::Cert(Cert { encoding, data: data.to_vec() });
    if own.chain.is_empty() {
        return vec![one(cert::RAW_KEY, own.key.public().spki())];
    }
    chain(own, wanted).map(|c| one(cert::X509, c.der())).collect()
}

/// Up to the CA that the peer named, which it has; without such a name all but a root, which would prove nothing.
fn chain<'a>(own: &'a OwnKey, wanted: &[Cert]) -> impl Iterator<Item = &'a Certificate> {
    let named = |c: &Certificate| {
        let name = c.key().sha1();
        let lists = wanted.iter().filter(|w| w.encoding == cert::X509);
        lists.flat_map(|w| w.data.chunks_exact(NAME_LEN)).any(|n| n == name)
    };
    let known = own.chain.iter().skip(1).position(|c| named(c) || c.is_self_issued());
    let most = if own.send_chain { known.map_or(usize::MAX, |at| at + 1) } else { 1 };
    own.chain.iter().take(most)
}
