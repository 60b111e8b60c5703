//! Modes, AH, key exchange, ICMP selectors and further children.

use super::*;
use ravelin_ike::config::{EspProposal, Mode};
use ravelin_ring::msg::TunnelId;

fn groups(text: &str) -> Vec<Option<Group>> {
    good(text).tunnels[0].esp_proposals.iter().map(|p| p.group).collect()
}

// R15, R140
#[test]
fn pfs_makes_proposals_with_and_without_key_exchange() {
    let keys = |pfs: &str| {
        with(&format!(
            "ike-proposals = [\"aes256gcm16-prfsha384-x25519\", \"aes256-sha256-ecp256\", \"aes128-sha256-ecp256\"]\n\
             esp-proposals = [\"aes256gcm16\", \"aes128gcm16-modp2048\"]\npfs = \"{pfs}\""
        ))
    };
    let (x, e, m) = (Some(Group::Curve25519), Some(Group::Ecp256), Some(Group::Modp2048));
    assert_eq!(groups(&keys("proposals")), [None, m]);
    assert_eq!(groups(&keys("required")), [x, e, m]);
    assert_eq!(groups(&keys("optional")), [x, e, m, None, None]);
    assert_eq!(groups(&keys("off")), [None, None]);
    assert_error(&keys("yes"), &["`pfs`", "required"]);
}

// R301, RFC 9611: how many is the data plane's to say; a further child does as its tunnel does.
#[test]
fn sas_per_worker_are_asked_for_by_a_key() {
    let text = |key: &str| {
        with(key)
            + "[[tunnel.child]]\nname = \"x\"\nselectors = [{ local = \"10.8.1.0/24\", remote = \"10.8.2.0/24\" }]\n"
    };
    for (key, wanted) in [("", false), ("per-worker = false", false), ("per-worker = true", true)] {
        let config = good(&text(key));
        assert!(config.tunnels.iter().all(|t| t.per_worker == wanted), "{key}");
    }
    assert_error(&with("per-worker = 2"), &["`per-worker`", "true or false"]);
}

// R301: a further child does as its tunnel does, unless it says otherwise.
#[test]
fn crypto_is_shared_where_it_is_asked_for() {
    let child = "[[tunnel.child]]\nname = \"x\"\nselectors = [{ local = \"10.8.1.0/24\", remote = \"10.8.2.0/24\" }]\n";
    let shared =
        |text: &str| good(text).tunnels.iter().map(|t| (t.shared, t.settings().shared)).collect::<Vec<_>>();
    assert_eq!(shared(&with("")), [(false, false)]);
    let on = with("shared-crypto = true") + child;
    assert_eq!(shared(&on), [(true, true); 2]);
    assert_eq!(shared(&(on + "shared-crypto = false\n")), [(true, true), (false, false)]);
    assert_error(&with("shared-crypto = 2"), &["`shared-crypto`", "true or false"]);
    for with_it in ["ah-proposals = [\"sha256\"]", "fragment = \"after\"", "mode = \"transport\""] {
        assert_error(&with(&format!("shared-crypto = true\n{with_it}")), &["shared-crypto", "tunnel mode"]);
    }
}

// RFC 4303 §2.7
#[test]
fn padding_is_a_length_or_all_that_fits() {
    let tfc = |value: &str| good(&with(&format!("tfc-padding = {value}"))).tunnels[0].tfc;
    assert_eq!([tfc("\"off\""), tfc("0"), tfc("600"), tfc("\"mtu\"")], [0, 0, 600, u16::MAX]);
    assert_error(&with("tfc-padding = \"most\""), &["`tfc-padding`", "mtu"]);
    assert_error(&with("tfc-padding = 600\nah-proposals = [\"sha256\"]"), &["tfc-padding", "AH"]);
}

// RFC 4303 §2.2.1: either
#[test]
fn both_kinds_of_numbers_are_two_proposals() {
    let esn =
        |text: &str| good(&with(text)).tunnels[0].esp_proposals.iter().map(|p| p.esn).collect::<Vec<_>>();
    assert_eq!(esn("esp-proposals = [\"aes256gcm16-esn-noesn\"]"), [true, false]);
    assert_eq!(esn("esp-proposals = [\"aes256gcm16-noesn-esn\"]"), [true, false]);
    assert_eq!(esn("esp-proposals = [\"aes256gcm16\"]"), [false]);
    assert_error(&with("esp-proposals = [\"aes256gcm16-esn-esn\"]"), &["second of its kind"]);
}

#[test]
fn ah_stands_in_the_place_of_esp() {
    let config = good(&with("ah-proposals = [\"sha512-x25519\", \"sha1\"]"));
    let proposals = &config.tunnels[0].esp_proposals;
    assert!(proposals.iter().all(EspProposal::is_ah));
    assert_eq!(proposals[0].integrity, Some(Integrity::HmacSha512_256));
    assert_error(&with("ah-proposals = [\"aes128-sha256\"]"), &["AH does not encrypt"]);
    assert_error(&with("ah-proposals = [\"x25519\"]"), &["no integrity"]);
    assert_error(&with("ah-proposals = [\"aes128gmac-sha256\"]"), &["an integrity by itself"]);
    assert_error(
        &with("ah-proposals = [\"sha256\"]\nesp-proposals = [\"aes256gcm16\"]"),
        &["either ESP or AH"],
    );
    assert_error(&with("ah-proposals = [\"sha256\"]\nencapsulation = \"udp\""), &["AH as it is"]);
}

// RFC 4301 §4.1, R11
#[test]
fn transport_mode_is_between_the_gateways() {
    let transport =
        |keys: &str| with(&format!("mode = \"transport\"\n{keys}")).replace("selectors", "# selectors");
    let config = good(&transport(""));
    let tunnel = &config.tunnels[0];
    assert_eq!(tunnel.mode, Mode::Transport);
    let s = tunnel.selectors[0].selector;
    assert_eq!((s.local.start(), s.local.end()), (tunnel.local, tunnel.local));
    assert_eq!(Some(s.remote.start()), tunnel.remote);
    assert_error(&with("mode = \"transport\""), &["other addresses than the gateways'"]);
    let any = transport("").replace(&format!("remote = \"{}\"", tunnel.remote.unwrap()), "remote = \"any\"");
    assert!(bad(&any).iter().any(|e| e.contains("transport") || e.contains("selectors")), "{:?}", bad(&any));
}

// RFC 4301 §4.4.1.1
#[test]
fn icmp_types_and_codes() {
    let ping = |icmp: &str| {
        selecting(&format!(
            "[{{ local = \"10.1.0.0/24\", remote = \"10.2.0.0/24\", protocol = \"icmp\", icmp = {icmp} }}]"
        ))
    };
    for (given, first, last, text) in [
        ("\"8\"", 0x0800, 0x08ff, "icmp 8"),
        ("0", 0, 0x00ff, "icmp 0"),
        ("\"3/4\"", 0x0304, 0x0304, "icmp 3/4"),
        ("\"3/0-5\"", 0x0300, 0x0305, "icmp 3/0-5"),
        ("\"13-18\"", 0x0d00, 0x12ff, "icmp 13-18"),
    ] {
        let config = good(&ping(given));
        let s = config.tunnels[0].selectors[0].selector;
        assert_eq!((s.local_ports.start(), s.local_ports.end()), (first, last), "{given}");
        assert_eq!(s.local_ports, s.remote_ports);
        assert!(selector_text(&s).ends_with(text), "{}", selector_text(&s));
    }
    for wrong in ["\"256\"", "\"3/\"", "\"8-3\"", "\"3-4/1\"", "\"x\""] {
        assert_error(&ping(wrong), &["`icmp`"]);
    }
    assert_error(&ping("\"8\"").replace("\"icmp\",", "\"tcp\","), &["of another protocol"]);
}

const VOICE: &str = "lifetime = \"2h\"\ntunnel-mtu = 1400\n[[tunnel.child]]\nname = \"voice\"\nmode = \"tunnel\"\nesp-proposals = [\"aes128gcm16-x25519\"]\n\
                     selectors = [{ local = \"10.1.9.0/24\", remote = \"10.2.9.0/24\" }]\n\
                     [[tunnel.child]]\nname = \"video\"\nlifebytes = \"1GiB\"\ntunnel-mtu = 1300\n\
                     selectors = [{ local = \"10.1.8.0/24\", remote = \"10.2.8.0/24\" }]";

// RFC 7296 §1.3.1
#[test]
fn further_children_share_the_ike_sa() {
    let config = good(&with(VOICE));
    let [first, voice, video] = &config.tunnels[..] else { panic!("{:?}", config.tunnels) };
    assert_eq!(voice.name, format!("{}/voice", first.name));
    assert_eq!([voice.connection_id(), video.connection_id()], [first.connection_id(); 2]);
    assert_ne!(voice.child_id(), video.child_id());
    assert_eq!((voice.lifetime, voice.tunnel_mtu), (Duration::from_secs(7200), 1400), "the tunnel's");
    assert_eq!((video.lifetime, video.tunnel_mtu), (Duration::from_secs(3600), 1300), "its own");
    assert_eq!(video.esp_proposals, first.esp_proposals);
    let secrets = Secrets::parse(Path::new("s"), SECRETS).unwrap();
    let connections = config.connections(&secrets).unwrap();
    let [connection] = &connections[..] else { panic!("{connections:?}") };
    let ids: Vec<_> = connection.children.iter().map(|c| c.id.0).collect();
    assert_eq!(ids, [first.id.0, voice.id.0, video.id.0]);
    // Other numbers: the IKE SA's goes with them.
    let mut moved = good(&with(VOICE));
    moved.tunnels.renumber(|t| Some(TunnelId(t.id.0 + 7)));
    assert_eq!(moved.tunnels[1].connection_id().0, first.id.0 + 7);
    assert_eq!(moved.tunnels[2].parent, Some(moved.tunnels[0].id));
    let twice = VOICE.replace("\"video\"", "\"voice\"");
    assert_error(&with(&twice), &["stands twice"]);
    assert_error(
        &with("[[tunnel.child]]\nselectors = [{ local = \"10.7.0.0/24\", remote = \"10.8.0.0/24\" }]"),
        &["`name` is missing"],
    );
}

// R172: who waits for traffic, waits with packets
#[test]
fn policies_hold_packets_where_traffic_starts_the_tunnel() {
    let holds = |text: &str| good(text).policies().iter().map(|p| p.hold).collect::<Vec<_>>();
    assert!(holds(MINIMAL).iter().all(|hold| !hold));
    let policies = holds(&with("start = \"on-traffic\""));
    assert!(policies[0] && !policies[policies.len() - 1]);
}
