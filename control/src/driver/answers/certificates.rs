//! What `show certificates` says (R108, R109): those that tunnels use, each once.
//!
//! Decides: which role each has. Reads: what the engine was configured with, the clock. Writes: nothing. Never: shows a key that
//! is to be kept.

use crate::api::CertificateStatus;
use crate::config::Config;
use ravelin_ike::cert::Certificate;
use ravelin_ike::config::{Connection, EapTls, LocalAuth, OwnKey, RemoteAuth, Trust};
use ravelin_ring::msg::TunnelId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

/// By role, then subject; what several tunnels use is named once.
pub(in crate::driver) fn certificates<'c>(
    config: &Config,
    connections: impl Iterator<Item = &'c Connection>,
    name: Option<&str>,
) -> Vec<CertificateStatus> {
    let mut all: BTreeMap<(u8, &[u8]), Used<'_>> = BTreeMap::new();
    for connection in connections {
        let Some(tunnel) = config.tunnel_by_id(TunnelId(connection.id.0)) else { continue };
        for one in core::iter::once(connection).chain(&connection.exchanges.backups) {
            for (role, certificate) in of(one) {
                let (_, tunnels) =
                    all.entry((role, certificate.der())).or_insert_with(|| (certificate, BTreeSet::new()));
                tunnels.insert(&tunnel.name);
            }
        }
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let wanted = all.into_iter().filter(|(_, (_, tunnels))| name.is_none_or(|n| tunnels.contains(n)));
    let mut out: Vec<_> = wanted
        .map(|((role, _), (certificate, tunnels))| {
            (role, status(ROLES[usize::from(role)], certificate, tunnels, now))
        })
        .collect();
    out.sort_by(|(a, x), (b, y)| (a, &x.subject).cmp(&(b, &y.subject)));
    out.into_iter().map(|(_, status)| status).collect()
}

/// A certificate, and by which tunnels.
type Used<'a> = (&'a Certificate, BTreeSet<&'a str>);

const ROLES: [&str; 3] = ["own", "chain", "ca"];

fn of(connection: &Connection) -> Vec<(u8, &Certificate)> {
    let mut out = Vec::new();
    match &connection.local_auth {
        LocalAuth::Key(key) => out.extend(chain(key)),
        LocalAuth::Eap(eap) => out.extend(eap.tls.iter().flat_map(by_tls)),
        LocalAuth::Psk(_) => {}
    }
    match &connection.remote_auth {
        RemoteAuth::Certificate(trust) => out.extend(believed(trust)),
        RemoteAuth::Eap(eap) => out.extend(eap.tls.iter().flat_map(by_tls)),
        RemoteAuth::Psk(_) | RemoteAuth::RawKey(_) => {}
    }
    out
}

fn chain(key: &OwnKey) -> impl Iterator<Item = (u8, &Certificate)> {
    key.chain.iter().enumerate().map(|(at, certificate)| (u8::from(at > 0), certificate))
}

fn believed(trust: &Trust) -> impl Iterator<Item = (u8, &Certificate)> {
    trust.authorities.iter().map(|certificate| (2, certificate))
}

fn by_tls(tls: &EapTls) -> impl Iterator<Item = (u8, &Certificate)> {
    chain(&tls.own).chain(believed(&tls.trust))
}

fn status(role: &str, c: &Certificate, tunnels: BTreeSet<&str>, now: u64) -> CertificateStatus {
    let (not_before, not_after) = c.validity();
    let state = match now {
        _ if now < not_before => "not-yet-valid",
        _ if now > not_after => "expired",
        _ => "valid",
    };
    CertificateStatus {
        role: role.to_owned(),
        tunnels: tunnels.into_iter().map(str::to_owned).collect(),
        subject: c.subject().to_string(),
        issuer: c.issuer().to_string(),
        serial: hex(c.serial()),
        names: c.alternative_names(),
        key: c.key().describe(),
        key_usage: c.key_usage(),
        is_ca: c.is_ca(),
        not_before,
        not_after,
        state: state.to_owned(),
        expires_in_s: not_after.saturating_sub(now),
        sha256: hex(&c.fingerprint()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Answer;
    use crate::secrets::Secrets;
    use crate::show;
    use ravelin_ike::cert::PrivateKey;
    use ravelin_ike::config::Revocation;
    use std::path::Path;
    use std::sync::Arc;

    const TWO: &str = include_str!("../../../../configs/two-tunnels.toml");
    const SECRETS: &str = include_str!("../../../../configs/secrets.example.toml");

    /// Two tunnels with one certificate, which is its own CA; what openssl prints of it stands beside.
    fn certified() -> (Config, Vec<Connection>) {
        let config = Config::parse(Path::new("gw.toml"), TWO).unwrap_or_else(|e| panic!("{e}"));
        let secrets = Secrets::parse(Path::new("secrets.toml"), SECRETS).unwrap();
        let mut connections = config.connections(&secrets).unwrap();
        let chain = Certificate::read_all(include_bytes!("../../secrets/files/gateway.pem")).unwrap();
        let key = PrivateKey::read(include_bytes!("../../secrets/files/gateway.key")).unwrap();
        let own = Arc::new(OwnKey { key, chain: chain.clone(), send_chain: true, prefer_pss: false });
        let trust = Arc::new(Trust {
            authorities: chain,
            crls: Arc::default(),
            revocation: Revocation::default(),
            crl_urls: vec![],
            ocsp_url: None,
        });
        for connection in &mut connections {
            connection.local_auth = LocalAuth::Key(Arc::clone(&own));
        }
        connections[0].remote_auth = RemoteAuth::Certificate(trust);
        (config, connections)
    }

    // R108, R109: each certificate that tunnels use, once in each role, with its key usage and its end
    #[test]
    fn certificates_are_listed_with_their_tunnels() {
        let (config, connections) = certified();
        let names: Vec<&str> = connections.iter().map(|c| c.name.as_str()).collect();
        let all = certificates(&config, connections.iter(), None);
        let roles: Vec<_> = all.iter().map(|c| (c.role.as_str(), c.tunnels.len())).collect();
        assert_eq!(roles, [("own", 2), ("ca", 1)], "{all:?}");
        let own = &all[0];
        assert_eq!(own.sha256, "eada59aa570457cba87d0eece520e5cff7361ea679710ce02691ece9d4dd3cff");
        assert_eq!(own.serial, "6a331998c85e14de63458e9f1109a3d7c62c0b63");
        assert_eq!((own.subject.as_str(), own.key.as_str()), ("C=DE, O=Example, CN=gw", "ECDSA P-256"));
        assert_eq!(own.key_usage.as_deref(), Some(&["digital signature".to_owned()][..]));
        assert_eq!(own.names, ["a.lab", "198.18.0.1"]);
        assert_eq!((own.not_after, own.is_ca, own.state.as_str()), (2_486_610_963, false, "valid"));
        assert_eq!(certificates(&config, connections.iter(), Some(names[1])).len(), 1, "only its own");
        assert!(certificates(&config, connections.iter(), Some("nobody")).is_empty());
        let text = show::text(&Answer::Certificates(all.clone()), true);
        assert!(text.contains("key usage  digital signature\n") && text.contains(&own.sha256), "{text}");
        let table = show::text(&Answer::Certificates(all.clone()), false);
        assert!(table.lines().count() == 3 && table.contains("C=DE, O=Example, CN=gw"), "{table}");
        let gone = show::only(Answer::Certificates(vec![]), "nobody").unwrap_err();
        assert!(gone.contains("nobody"), "{gone}");
        let later = |now| status("own", &connections_certificate(&connections), BTreeSet::new(), now);
        assert_eq!(
            (later(own.not_after + 1).state, later(own.not_before - 1).state),
            ("expired".into(), "not-yet-valid".into())
        );
        assert_eq!((later(own.not_after + 1).expires_in_s, later(own.not_after - 5).expires_in_s), (0, 5));
    }

    fn connections_certificate(connections: &[Connection]) -> Certificate {
        of(&connections[0])[0].1.clone()
    }
}
