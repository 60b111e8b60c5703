//! The files in configs/, and what they compile to.

use super::*;
use ravelin_ike::config::{Connection, LocalAuth, RemoteAuth, Secret};

/// Every example parses, and those with secrets find them: R66, and the promise of configs/.
#[test]
fn every_example_is_lawful() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let secrets = Secrets::parse(Path::new("secrets.toml"), SECRETS).unwrap();
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.ends_with(".toml") || name.starts_with("secrets") {
            continue;
        }
        let config = Config::load(&path).unwrap_or_else(|errors| panic!("{name}:\n{errors}"));
        // Keys by hand are never without one (R114).
        assert_eq!(config.warnings.is_empty(), name != "manual.toml", "{name}: {:?}", config.warnings);
        let connections = config.connections(&secrets).unwrap_or_else(|errors| panic!("{name}:\n{errors}"));
        let peers = config.tunnels.iter().filter(|t| t.parent.is_none() && t.manual.is_none());
        assert_eq!(connections.len(), peers.count());
        seen += 1;
    }
    assert!(seen >= 3, "only {seen} examples");
}

/// R67, R101, R102, R103: peer, key and selectors suffice, and the defaults are strong.
#[test]
fn minimal_has_strong_defaults() {
    let config = good(MINIMAL);
    let tunnel = &config.tunnels[0];
    assert_eq!(tunnel.ike_proposals[0].encryption, Encryption::AesGcm16_256);
    assert_eq!(tunnel.ike_proposals[0].group, Group::Curve25519);
    assert_eq!(tunnel.ike_proposals[0].kem, Some(Kem::MlKem768), "RFC 9370");
    assert_eq!(tunnel.ike_proposals[1].kem, None, "and for peers without it");
    assert_eq!(tunnel.esp_proposals[0].encryption, Some(Encryption::AesGcm16_256));
    assert_eq!(tunnel.ike_proposals.len(), tunnel::DEFAULT_IKE.len(), "a default proposal does not parse");
    assert_eq!(tunnel.esp_proposals.len(), child::DEFAULT_ESP.len(), "a default proposal does not parse");
    assert_eq!(tunnel.start, Start::Immediately);
    assert_eq!(tunnel.replay_window, 1024);
    assert_eq!(tunnel.tunnel_mtu, 1500, "R88");
    assert_eq!(tunnel.df, OuterDf::Copy);
    assert_eq!(tunnel.dpd, Duration::from_secs(20));
    assert_eq!(tunnel.hard_lifetime, Duration::from_secs(3960));
    assert_eq!(config.control.run_dir, PathBuf::from("/run/ravelin"));
    assert_eq!(config.control.secrets, PathBuf::from("secrets.toml"));
    assert_eq!(config.dataplane.udp_encapsulation_port, None);
}

#[test]
fn reference_reads_every_key() {
    let config = good(REFERENCE);
    let tunnel = &config.tunnels[0];
    assert_eq!(tunnel.local_id, Identity::Fqdn("a.lab".into()));
    assert_eq!(tunnel.bytes, Limits { soft: 64 << 30, hard: 72 << 30 });
    assert_eq!(tunnel.packets, Limits { soft: 2_000_000_000, hard: 2_250_000_000 });
    assert_eq!(tunnel.hard_lifetime, Duration::from_secs(3960));
    assert_eq!(tunnel.jitter_percent, 10);
    let ike = &tunnel.ike_proposals[1];
    assert_eq!((ike.integrity, ike.prf), (Some(Integrity::HmacSha256_128), Prf::HmacSha256));
    assert!(tunnel.esp_proposals[2].esn && !tunnel.esp_proposals[1].esn);
    assert_eq!(tunnel.esp_proposals[0].group, Some(Group::Curve25519), "R15");
    let selector = tunnel.selectors[0].selector;
    assert_eq!(selector_text(&selector), "10.1.0.0/24:1024-65535 = 10.2.0.0/24:443 tcp");
    assert_eq!(selector_text(&tunnel.selectors[1].selector), "10.1.0.1-10.1.0.9 = 10.2.1.0/24");
    // Lines are where the selectors stand.
    let line = |n: usize| REFERENCE.lines().nth(n - 1).unwrap();
    for s in &tunnel.selectors {
        assert!(line(s.line as usize).contains("[[tunnel.selectors]]"), "line {}", s.line);
    }
    assert_eq!(config.dataplane.udp_encapsulation_port, Some(4565), "R98");
}

/// No key without its line in the reference and in the manual.
#[test]
fn reference_and_manual_are_complete() {
    let sections = [
        sections::PORT_KEYS,
        sections::DATAPLANE_KEYS,
        sections::CONTROL_KEYS,
        tunnel::TUNNEL_KEYS,
        life::LIFE_KEYS,
        selectors::SELECTOR_KEYS,
        child::CHILD_KEYS,
        super::super::nat::NAT_KEYS,
        super::super::nat::TRANSLATION_KEYS,
        travel::TRAVEL_KEYS,
        super::super::gre::OWN_KEYS,
        vrf::VRF_KEYS,
    ];
    let by_hand = super::super::manual::MANUAL_KEYS;
    assert!(by_hand.iter().all(|key| MANUAL.contains(&format!("`{key}`"))));
    for key in sections.into_iter().flatten() {
        let assigned = format!("{key} = ");
        let there = REFERENCE.lines().any(|line| line.starts_with(&assigned))
            || matches!(*key, "selectors" | "child" | "protected-by" | "manual" | "filter-decrypted");
        assert!(there, "configs/reference.toml lacks {key}");
        assert!(MANUAL.contains(&format!("`{key}`")), "docs/configuration.md lacks {key}");
    }
}

#[test]
fn setup_is_what_the_file_says() {
    let setup = good(REFERENCE).setup();
    assert_eq!(setup.ports.len(), 3);
    assert_eq!((setup.ports[1].name.as_str(), setup.ports[1].attach), ("wan0", Attach::Auto));
    assert_eq!((setup.frames, setup.frame_size, setup.ring_size), (16_384, 2048, 2048));
    assert_eq!((setup.tun.as_str(), setup.max_sas), ("ravelin0", 4096));
    assert_eq!(setup.udp_encap_port, Some(4565));
}

/// R13: order of the file is order of the SPD; the default stands last, for both families (R42).
#[test]
fn policies_stand_in_file_order() {
    let config = good(TWO);
    let policies = config.policies();
    let (office, van) = (config.tunnels[0].id, config.tunnels[1].id);
    let actions: Vec<_> = policies.iter().map(|policy| policy.action).collect();
    assert_eq!(
        actions,
        [
            Action::Protect(office),
            Action::Protect(office),
            Action::Protect(van),
            Action::Bypass,
            Action::Bypass
        ]
    );
    assert!(policies.is_sorted_by_key(|policy| policy.order));
    for policy in &policies[..3] {
        let line = TWO.lines().nth(policy.line as usize - 1).unwrap();
        assert!(line.contains("remote = \"10."), "line {} is {line}", policy.line);
    }
    let discard = good(&format!("{TWO}\n[control]\ndefault-policy = \"discard\"\n")).policies();
    assert_eq!(discard.last().unwrap().action, Action::Discard);
}

/// With everything remote, a host inside still reaches the gateway's own address there, and the gateway that host; but
/// not where a part of the local network is remote, which would then come in clear.
#[test]
fn what_is_local_on_both_sides_is_exempt_from_a_tunnel_to_everywhere() {
    let one = TWO.split("[[tunnel]]").take(2).collect::<Vec<_>>().join("[[tunnel]]");
    let head = one.split("selectors").next().unwrap().to_owned();
    let policies = |selectors: &str| -> Vec<_> {
        let config = good(&format!("{head}selectors = [{selectors}]\n"));
        config.policies().iter().map(|p| (p.selector, p.action)).collect()
    };
    let everywhere = r#"{ local = "10.1.0.0/24", remote = "0.0.0.0/0" }"#;
    let got = policies(everywhere);
    assert_eq!(got.len(), 4, "{got:?}");
    assert_eq!(got[0].1, Action::Bypass);
    assert_eq!(got[0].0.local, got[0].0.remote);
    assert_eq!(got[0].0.local, got[1].0.local);
    assert!(matches!(got[1].1, Action::Protect(_)), "{got:?}");
    let hole = r#"{ local = "192.168.0.0/24", remote = "10.1.0.128/25" }"#;
    assert!(matches!(policies(&format!("{everywhere}, {hole}"))[0].1, Action::Protect(_)));
    assert!(matches!(policies(r#"{ local = "0.0.0.0/0", remote = "0.0.0.0/0" }"#)[0].1, Action::Protect(_)));
}

/// Both selectors of "office" have one remote network: it is steered once.
#[test]
fn protected_ranges_are_unique() {
    let texts: Vec<_> = good(TWO).protected().iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["10.2.0.0/24", "10.3.0.0/24"]);
}

fn psk(connection: &Connection) -> &Secret {
    match (&connection.local_auth, &connection.remote_auth) {
        (LocalAuth::Psk(secret), RemoteAuth::Psk(_)) => secret,
        other => panic!("{other:?}"),
    }
}

#[test]
fn connections_carry_what_the_engine_needs() {
    let config = good(TWO);
    let secrets = Secrets::parse(Path::new("secrets.toml"), SECRETS).unwrap();
    let connections = config.connections(&secrets).unwrap();
    let (office, van) = (&connections[0], &connections[1]);
    assert_eq!(psk(office).expose(), b"an example, not to be used anywhere");
    assert_eq!(office.children[0].selectors.len(), 2);
    assert_eq!(office.jitter, office.lifetime / 10);
    assert_eq!(office.fragment_size, Some(1280), "RFC 7383");
    assert!(!office.force_udp);
    assert_eq!((van.remote, van.start), (None, Start::Respond));
    assert!(van.force_udp);
    assert_eq!(psk(van).expose().len(), 32);
    assert_eq!(van.children[0].lifetime, Duration::from_secs(1800));
    let settings = config.child_settings(config.tunnels[1].id).unwrap();
    assert_eq!((settings.replay_window, settings.tunnel_mtu), (1024, 1500));
}

/// R41 in spirit: what is not covered by a secret does not start. The error names the tunnel's line.
#[test]
fn a_missing_secret_names_the_tunnel() {
    let config = good(TWO);
    let secrets = Secrets::parse(
        Path::new("s.toml"),
        "[[secret]]\nlocal-id='a.lab'\nremote-id='b.lab'\npsk='0123456789abcdef'",
    )
    .unwrap();
    let errors = config.connections(&secrets).unwrap_err();
    assert_eq!(errors.errors.len(), 1);
    let text = errors.to_string();
    assert!(text.contains("tunnel \"van\" has no secret") && text.contains("van.lab"), "{text}");
    let line = errors.errors[0].line as usize;
    assert_eq!(TWO.lines().nth(line - 1), Some("[[tunnel]]"));
}

/// A reload keeps numbers by name; new tunnels never take a number that was in use.
#[test]
fn ids_survive_a_reload() {
    let old = good(TWO);
    let renamed = TWO.replace("\"office\"", "\"factory\"");
    let mut new = good(&renamed);
    new.keep_ids(&old);
    assert_eq!(new.tunnel("van").unwrap().id, old.tunnel("van").unwrap().id);
    let fresh = new.tunnel("factory").unwrap().id;
    assert!(old.tunnels.iter().all(|tunnel| tunnel.id != fresh));
    let mut again = good(TWO);
    again.keep_ids(&new);
    let mut ids: Vec<_> = again.tunnels.iter().map(|tunnel| tunnel.id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), again.tunnels.len());
}
