//! TLS with our keys and our judgement of certificates in place of its own.
//!
//! Decides: versions, what a certificate must be. Reads: certificates of the peer. Never: resumes, takes a peer without a
//! certificate. Randomness is the one thing here that the engine does not hand in: rustls draws it from the kernel.

use super::proof::Own;
use crate::cert::scheme::{Hash, Scheme};
use crate::cert::{Certificate, Family, path};
use crate::config::{EapTls, Trust};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ServerConfig};
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, ClientConnection, Connection, DigitallySignedStruct, DistinguishedName, Error,
    ServerConnection, SignatureScheme,
};
use std::sync::Arc;

/// Best first.
pub(super) const SCHEMES: [SignatureScheme; 10] = [
    SignatureScheme::ED25519,
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP521_SHA512,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA512,
];

pub(super) fn client(config: &EapTls, now: u64) -> Option<Connection> {
    let (own, judge) = sides(config, now);
    let builder = ClientConfig::builder_with_details(provider(), Arc::new(At(now)));
    let mut tls = builder
        .with_protocol_versions(&[&TLS13, &TLS12])
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(judge)
        .with_client_cert_resolver(own);
    tls.resumption = Resumption::disabled();
    // Who serves EAP is known by its CA; a name of it is not sent.
    tls.enable_sni = false;
    let name = ServerName::try_from("eap.invalid").ok()?;
    Some(ClientConnection::new(Arc::new(tls), name).ok()?.into())
}

pub(super) fn server(config: &EapTls, now: u64) -> Option<Connection> {
    let (own, judge) = sides(config, now);
    let builder = ServerConfig::builder_with_details(provider(), Arc::new(At(now)));
    let versions = builder.with_protocol_versions(&[&TLS13, &TLS12]).ok()?;
    let mut tls = versions.with_client_cert_verifier(judge).with_cert_resolver(own);
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    tls.send_tls13_tickets = 0;
    Some(ServerConnection::new(Arc::new(tls)).ok()?.into())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn sides(config: &EapTls, now: u64) -> (Arc<Own>, Arc<Judge>) {
    let names = config.trust.authorities.iter();
    let hints = names.map(|ca| DistinguishedName::from(ca.subject().der().to_vec())).collect();
    let judge = Judge { trust: Arc::clone(&config.trust), now, hints };
    (Arc::new(Own::new(&config.own)), Arc::new(judge))
}

/// The one moment of the handshake.
#[derive(Debug)]
struct At(u64);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(core::time::Duration::from_secs(self.0)))
    }
}

/// Judges the peer's certificates as IKE does.
#[derive(Debug)]
struct Judge {
    trust: Arc<Trust>,
    now: u64,
    hints: Vec<DistinguishedName>,
}

impl Judge {
    fn path(&self, own: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Result<(), Error> {
        let bad = |_| Error::InvalidCertificate(CertificateError::BadEncoding);
        if others.len() > path::MAX_DEPTH {
            return Err(Error::InvalidCertificate(CertificateError::UnknownIssuer));
        }
        let own = Certificate::from_der(own).map_err(bad)?;
        let others: Vec<_> =
            others.iter().map(|c| Certificate::from_der(c)).collect::<Result<_, _>>().map_err(bad)?;
        match path::find(&own, &others, &self.trust.authorities, self.now) {
            Ok(_) => Ok(()),
            Err(why) => Err(Error::General(why.to_string())),
        }
    }

    fn signature(
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
        tls13: bool,
    ) -> Result<HandshakeSignatureValid, Error> {
        let bad = Error::InvalidCertificate(CertificateError::BadSignature);
        let cert = Certificate::from_der(cert)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let scheme = scheme(signed.scheme, cert.key().family(), tls13).ok_or_else(|| bad.clone())?;
        if cert.key().verify(scheme, message, signed.signature()) {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(bad)
        }
    }
}

/// What TLS calls so, if a key of this family can make it. TLS 1.3 binds the hash to the curve and has no PKCS#1 v1.5.
#[allow(clippy::wildcard_enum_match_arm)] // TLS has many, and more to come
pub(super) fn scheme(tls: SignatureScheme, family: Family, tls13: bool) -> Option<Scheme> {
    let ecdsa = |hash, curve| (family == curve || !tls13 && is_ecdsa(family)).then_some(Scheme::Ecdsa(hash));
    let rsa = |scheme, lawful: bool| (family == Family::Rsa && lawful).then_some(scheme);
    match tls {
        SignatureScheme::ED25519 => (family == Family::Ed25519).then_some(Scheme::Ed25519),
        SignatureScheme::ECDSA_NISTP256_SHA256 => ecdsa(Hash::Sha256, Family::P256),
        SignatureScheme::ECDSA_NISTP384_SHA384 => ecdsa(Hash::Sha384, Family::P384),
        SignatureScheme::ECDSA_NISTP521_SHA512 => ecdsa(Hash::Sha512, Family::P521),
        SignatureScheme::RSA_PSS_SHA256 => rsa(Scheme::pss(Hash::Sha256), true),
        SignatureScheme::RSA_PSS_SHA384 => rsa(Scheme::pss(Hash::Sha384), true),
        SignatureScheme::RSA_PSS_SHA512 => rsa(Scheme::pss(Hash::Sha512), true),
        SignatureScheme::RSA_PKCS1_SHA256 => rsa(Scheme::Rsa(Hash::Sha256), !tls13),
        SignatureScheme::RSA_PKCS1_SHA384 => rsa(Scheme::Rsa(Hash::Sha384), !tls13),
        SignatureScheme::RSA_PKCS1_SHA512 => rsa(Scheme::Rsa(Hash::Sha512), !tls13),
        _ => None,
    }
}

const fn is_ecdsa(family: Family) -> bool {
    matches!(family, Family::P256 | Family::P384 | Family::P521)
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.path(end_entity, intermediates).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::signature(message, cert, signed, false)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::signature(message, cert, signed, true)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }
}

impl ClientCertVerifier for Judge {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.path(end_entity, intermediates).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::signature(message, cert, signed, false)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::signature(message, cert, signed, true)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }
}
