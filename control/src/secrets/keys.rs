//! Private keys and certificates of the tunnels.
//!
//! Decides: whether the files that a tunnel names can be used, and together. Reads: those files, once per (re)load.
//! Never: takes a private key that others can read, prints one, leaves one in memory.

use ravelin_ike::cert::{CertError, Certificate, Crl, PrivateKey, PublicKey};
use ravelin_ike::config::{
    EapClient, EapServer, EapTls, Identity, LocalAuth, OwnKey, Ppk, RemoteAuth, Revocation, Secret, Trust,
};
use ravelin_ring::msg::TunnelId;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Secrets, read_private};
use crate::config::{Config, Diagnostic, Errors, Findings, IdText, Tunnel, Way};

/// Of a file of certificates or of a key.
const MAX_FILE: u64 = 256 * 1024;
const MAX_CRLS: u64 = 32 * 1024 * 1024;
/// A certificate that ends within this time draws a warning.
const SOON: u64 = 14 * 86_400;

/// What the tunnels' files hold, by tunnel.
#[derive(Debug, Default)]
pub struct Keys {
    local: BTreeMap<TunnelId, Arc<OwnKey>>,
    remote: BTreeMap<TunnelId, RemoteAuth>,
    warnings: Vec<Diagnostic>,
}

/// For one connection of the engine.
#[derive(Debug)]
pub struct Proofs {
    pub local: LocalAuth,
    pub remote: RemoteAuth,
    pub ppk: Option<Ppk>,
    /// Where the certificate names it.
    pub local_id: Option<Identity>,
}

impl Keys {
    /// Reads every file once; the errors name the tunnels' lines and the files.
    pub fn load(config: &Config) -> Result<Self, Errors> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut loader = Loader {
            here: config.file.parent().unwrap_or_else(|| Path::new("")),
            now,
            findings: Findings::of(&config.file),
            certificates: BTreeMap::new(),
        };
        let mut keys = Self::default();
        for tunnel in &config.tunnels {
            if let Some(own) = loader.own(tunnel) {
                keys.local.insert(tunnel.id, Arc::new(own));
            }
            if let Some(remote) = loader.remote(tunnel) {
                keys.remote.insert(tunnel.id, remote);
            }
        }
        keys.warnings = loader.findings.finish()?;
        Ok(keys)
    }

    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// `None`: something is missing, which [`Self::load`] or [`Secrets::check`] said.
    pub fn of(&self, tunnel: &Tunnel, secrets: &Secrets) -> Option<Proofs> {
        let own = self.local.get(&tunnel.id);
        let tls = || self.tls(tunnel);
        let local = match tunnel.auth.local {
            Way::Psk => LocalAuth::Psk(secrets.of(tunnel)?),
            Way::Certificate | Way::RawKey => LocalAuth::Key(Arc::clone(own?)),
            Way::Eap => LocalAuth::Eap(Arc::new(client(tunnel, secrets, tls()?)?)),
            Way::Manual => return None,
        };
        let remote = match tunnel.auth.remote {
            Way::Psk => RemoteAuth::Psk(secrets.of(tunnel)?),
            Way::Manual => return None,
            Way::Certificate | Way::RawKey => self.remote.get(&tunnel.id)?.clone(),
            Way::Eap => RemoteAuth::Eap(Arc::new(EapServer {
                methods: tunnel.auth.eap_methods.clone(),
                users: secrets.users(),
                ask_identity: tunnel.auth.eap_ask_identity,
                tls: tls()?,
            })),
        };
        let ppk = match &tunnel.auth.ppk_id {
            Some(id) => Some(Ppk {
                id: id.as_bytes().to_vec(),
                key: secrets.ppk(id)?.clone(),
                required: tunnel.auth.ppk_required,
            }),
            None => None,
        };
        let certificate = own.and_then(|own| own.chain.first()).filter(|_| tunnel.auth.default_id);
        Some(Proofs { local, remote, ppk, local_id: certificate.and_then(Certificate::default_identity) })
    }
}

fn client(tunnel: &Tunnel, secrets: &Secrets, tls: Option<EapTls>) -> Option<EapClient> {
    let user = tunnel.auth.eap_user.clone();
    let user =
        user.or_else(|| (tunnel.auth.remote == Way::Eap).then(|| IdText(&tunnel.local_id).to_string()))?;
    let known = secrets.user(&user).cloned();
    // TLS needs none.
    let password = if tunnel.auth.eap_password() { known? } else { Secret::new(Vec::new()) };
    Some(EapClient { user, password, methods: tunnel.auth.eap_methods.clone(), tls })
}

impl Keys {
    /// What EAP-TLS rests on, where it is wanted. `None`: something is missing.
    fn tls(&self, tunnel: &Tunnel) -> Option<Option<EapTls>> {
        if !tunnel.auth.eap_tls() {
            return Some(None);
        }
        let own = Arc::clone(self.local.get(&tunnel.id)?);
        let Some(RemoteAuth::Certificate(trust)) = self.remote.get(&tunnel.id) else { return None };
        Some(Some(EapTls { own, trust: Arc::clone(trust) }))
    }
}

struct Loader<'a> {
    here: &'a Path,
    now: u64,
    findings: Findings,
    /// Many tunnels name the same CA.
    certificates: BTreeMap<PathBuf, Option<Vec<Certificate>>>,
}

impl Loader<'_> {
    fn own(&mut self, tunnel: &Tunnel) -> Option<OwnKey> {
        let by_tls = tunnel.auth.local == Way::Eap && tunnel.auth.eap_tls();
        if matches!(tunnel.auth.local, Way::Psk | Way::Eap | Way::Manual) && !by_tls {
            return None;
        }
        let chain = match &tunnel.auth.certificate {
            Some(path) => self.certificates(tunnel, "certificate", path),
            None => Some(Vec::new()),
        };
        let key = self.private(tunnel, tunnel.auth.private_key.as_ref()?);
        let (chain, key) = (chain?, key?);
        if let Some(own) = chain.first() {
            self.check_own(tunnel, own, &key)?;
        }
        Some(OwnKey { key, chain, send_chain: tunnel.auth.send_chain, prefer_pss: tunnel.auth.prefer_pss })
    }

    fn check_own(&mut self, tunnel: &Tunnel, own: &Certificate, key: &PrivateKey) -> Option<()> {
        if own.key() != key.public() {
            let found = format!(
                "tunnel \"{}\": `private-key` ({:?}) is not the key of `certificate` ({:?})",
                tunnel.name,
                key.public(),
                own.key()
            );
            let cure = "name the two files that belong together";
            self.findings.error(tunnel.line, found, "the key that the certificate was made for", cure);
            return None;
        }
        // EAP has names of its own.
        let names = tunnel.auth.local == Way::Certificate && !tunnel.auth.default_id;
        if names && !own.speaks_for(&tunnel.local_id) {
            let found = format!(
                "tunnel \"{}\": the certificate does not name `local-id` {}",
                tunnel.name,
                IdText(&tunnel.local_id)
            );
            let names = own.alternative_names().join(", ");
            let expected =
                format!("its subject (dn:{}) or one of its alternative names ({names})", own.subject());
            self.findings.error(
                tunnel.line,
                found,
                expected,
                "correct local-id, or leave it out: it is then the subject",
            );
            return None;
        }
        Some(())
    }

    fn remote(&mut self, tunnel: &Tunnel) -> Option<RemoteAuth> {
        match tunnel.auth.remote {
            Way::Eap if !tunnel.auth.eap_tls() => None,
            Way::Psk | Way::Manual => None,
            Way::RawKey => {
                let keys = tunnel.auth.peer_keys.iter().map(|path| self.public(tunnel, path));
                Some(RemoteAuth::RawKey(Arc::new(keys.collect::<Option<Vec<_>>>()?)))
            }
            // Of EAP-TLS: only the trust is used.
            Way::Certificate | Way::Eap => {
                let mut authorities = Vec::new();
                for path in &tunnel.auth.trusted_ca {
                    authorities.extend(self.certificates(tunnel, "trusted-ca", path)?);
                }
                let mut crls = Vec::new();
                for path in &tunnel.auth.crl_files {
                    crls.extend(self.crls(tunnel, path)?);
                }
                let revocation = Revocation { crl: tunnel.auth.crl, ocsp: tunnel.auth.ocsp };
                Some(RemoteAuth::Certificate(Arc::new(Trust {
                    authorities,
                    crls: Arc::new(crls),
                    revocation,
                    crl_urls: tunnel.auth.crl_urls.clone(),
                    ocsp_url: tunnel.auth.ocsp_url.clone(),
                })))
            }
        }
    }

    /// Public files, of which everybody may know; who may change them is the file system's business.
    fn bytes(&mut self, tunnel: &Tunnel, key: &str, path: &Path, max: u64) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = std::fs::File::open(path).and_then(|file| file.take(max + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) if bytes.len() as u64 <= max => Some(bytes),
            Ok(_) => {
                self.refuse(tunnel, key, path, &format!("larger than {max} bytes"), "name the right file")
            }
            Err(why) => self.refuse(tunnel, key, path, &why.to_string(), "name the right file, or create it"),
        }
    }

    fn refuse<T>(&mut self, tunnel: &Tunnel, key: &str, path: &Path, found: &str, cure: &str) -> Option<T> {
        let found = format!("tunnel \"{}\": `{key}` {}: {found}", tunnel.name, path.display());
        self.findings.error(tunnel.line, found, "", cure);
        None
    }

    fn certificates(&mut self, tunnel: &Tunnel, key: &str, path: &Path) -> Option<Vec<Certificate>> {
        let path = self.here.join(path);
        if let Some(known) = self.certificates.get(&path) {
            return known.clone();
        }
        let bytes = self.bytes(tunnel, key, &path, MAX_FILE);
        let read = bytes.and_then(|bytes| match Certificate::read_all(&bytes) {
            Ok(all) => Some(all),
            Err(why) => {
                let cure = "a PEM file: -----BEGIN CERTIFICATE-----, our own first, then those between it and the CA";
                self.refuse(tunnel, key, &path, &why.to_string(), cure)
            }
        });
        let read = read.filter(|all| self.check_times(tunnel, key, &path, all));
        self.certificates.insert(path, read.clone());
        read
    }

    fn check_times(&mut self, tunnel: &Tunnel, key: &str, path: &Path, all: &[Certificate]) -> bool {
        for certificate in all {
            let (from, to) = certificate.validity();
            let name = certificate.subject();
            let wrong = match self.now {
                now if now > to => CertError::Expired(name.to_string()),
                now if now < from => CertError::NotYetValid(name.to_string()),
                now if to - now < SOON => {
                    let days = (to - now) / 86_400;
                    let found =
                        format!("`{key}` {}: the certificate of {name} ends in {days} days", path.display());
                    self.findings.warning(tunnel.line, found, "have a new one made");
                    continue;
                }
                _ => continue,
            };
            let cure = "have a new one made, or set the clock of this machine";
            return self.refuse::<()>(tunnel, key, path, &wrong.to_string(), cure).is_some();
        }
        true
    }

    fn crls(&mut self, tunnel: &Tunnel, path: &Path) -> Option<Vec<Crl>> {
        let path = self.here.join(path);
        let bytes = self.bytes(tunnel, "crl-files", &path, MAX_CRLS)?;
        let lists = match Crl::read_all(&bytes) {
            Ok(lists) => lists,
            Err(why) => {
                let cure = "a PEM file: -----BEGIN X509 CRL-----";
                return self.refuse(tunnel, "crl-files", &path, &why.to_string(), cure);
            }
        };
        for list in lists.iter().filter(|list| list.validity().1 < self.now) {
            let found =
                format!("`crl-files` {}: the CRL of {} is out of date", path.display(), list.issuer());
            self.findings.warning(tunnel.line, found, "fetch a new one, then `ravelin reload`");
        }
        Some(lists)
    }

    fn private(&mut self, tunnel: &Tunnel, path: &Path) -> Option<PrivateKey> {
        let path = self.here.join(path);
        let bytes = match read_private(&path, "the file", MAX_FILE) {
            Ok(bytes) => bytes,
            Err(why) => return self.refuse(tunnel, "private-key", &path, &why.found, &why.cure),
        };
        match PrivateKey::read(&bytes) {
            Ok(key) => Some(key),
            Err(why) => {
                let cure = "make one with: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256";
                self.refuse(tunnel, "private-key", &path, &why.to_string(), cure)
            }
        }
    }

    fn public(&mut self, tunnel: &Tunnel, path: &Path) -> Option<PublicKey> {
        let path = self.here.join(path);
        let bytes = self.bytes(tunnel, "peer-keys", &path, MAX_FILE)?;
        match PublicKey::read(&bytes) {
            Ok(key) => Some(key),
            Err(why) => {
                let cure = "make it from the peer's key with: openssl pkey -pubout";
                self.refuse(tunnel, "peer-keys", &path, &why.to_string(), cure)
            }
        }
    }
}
