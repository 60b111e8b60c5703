//! `interface`: the devices of route-based tunnels.

use super::*;
use ravelin_ring::setup::ReversePath;

const ROUTED: &str = include_str!("../../../../configs/route-based.toml");

fn routed(keys: &str) -> String {
    let head = ROUTED.split("[tunnel.interface]").next().unwrap();
    format!("{head}{keys}\n")
}

/// R60: no policy, no steered range of its own, nothing in table 4500: the routes decide.
#[test]
fn a_tunnel_with_a_device_has_no_policies() {
    let config = good(ROUTED);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let interface = config.tunnels[0].interface.clone().unwrap();
    assert_eq!(
        (interface.name.as_str(), interface.mtu, interface.reverse_path),
        ("tun-a", 1415, ReversePath::Strict)
    );
    assert_eq!(interface.addresses, [("172.16.0.1".parse().unwrap(), 30)]);
    assert_eq!(interface.routes[0].to_string(), "10.2.0.0/16");
    let texts: Vec<_> = config.tunnels[0].selectors.iter().map(|s| selector_text(&s.selector)).collect();
    assert_eq!(texts.len(), 2, "both families: {texts:?}");
    assert_eq!(config.policies().iter().map(|p| p.action).collect::<Vec<_>>(), [Action::Bypass; 2]);
    assert_eq!((config.protected(), config.selectors().count()), (vec![], 0));
    // Selectors that are written bound its SAs, and are no policies either.
    let narrow = routed(
        "interface = { name = \"t\" }\nselectors = [{ local = \"10.1.0.0/24\", remote = \"10.2.0.0/24\" }]",
    );
    let config = good(&narrow);
    assert_eq!((config.tunnels[0].selectors.len(), config.selectors().count()), (1, 0));
}

#[test]
fn what_cannot_be_is_refused_with_its_cure() {
    let with = |keys: &str| routed(&format!("interface = {{ {keys} }}"));
    for (text, parts) in [
        (with("mtu = 1400"), ["`name` is missing", "tun-a"]),
        (with("name = \"wan0\""), ["\"wan0\" of a tunnel is a port too", "another name"]),
        (with("name = \"ravelin0\""), ["is the host's own TUN device too", "another name"]),
        (with("name = \"t\", addresses = [\"10.0.0.1\"]"), ["`addresses`: \"10.0.0.1\"", "172.16.0.1/30"]),
        (with("name = \"t\", addresses = [\"10.0.0.1/33\"]"), ["`addresses`", "172.16.0.1/30"]),
        (with("name = \"t\", routes = [\"10.0.0.1-10.0.0.9\"]"), ["`routes`", "a prefix"]),
        (with("name = \"t\", adresses = []"), ["unknown key `adresses`", "did you mean `addresses`?"]),
        (with("name = \"t\", mtu = 90"), ["`mtu`: 90", "491"]),
        (with("name = \"t\" }\nmode = \"transport\"\n#{"), ["mode = \"transport\"", "mode = \"tunnel\""]),
        (with("name = \"t\" }\nah-proposals = [\"sha256\"]\n#{"), ["`ah-proposals`", "esp-proposals"]),
        (
            with("name = \"t\"").replace("\"198.18.0.2\"", "\"any\""),
            ["`remote` is \"any\"", "peer's address"],
        ),
    ] {
        assert_error(&text, &parts);
    }
    let twice = format!(
        "{}\n[[tunnel]]\nname = \"b\"\nlocal = \"198.18.0.1\"\nremote = \"198.18.0.3\"\ninterface = {{ name = \"t\" }}\n",
        with("name = \"t\"")
    );
    assert_error(&twice, &["that of line", "another name"]);
}

// R63, R73: tunnels of one local gateway may each be a link, with a device of its own; what the configuration says of a
// device must be of one that is there.
#[test]
fn links_of_one_gateway_have_a_device_each() {
    let second = "[[tunnel]]\nname = \"b\"\nlocal = \"198.18.0.1\"\nremote = \"198.18.0.3\"\ninterface = { name = \"u\" }\n";
    let both = format!("{}\n{second}", routed("interface = { name = \"t\" }"));
    let config = good(&both);
    let names: Vec<_> =
        config.tunnels.iter().filter_map(|t| t.interface.as_ref()).map(|i| i.name.as_str()).collect();
    assert_eq!(names, ["t", "u"]);
    assert_eq!(config.tunnels[0].local, config.tunnels[1].local);
    // Another tunnel's device is no name for a port, a VRF or a way to the peer.
    assert_error(&format!("{both}local-interface = \"t\"\n"), &["`local-interface`", "\"t\"", "wan0"]);
    assert_error(&format!("{both}vrf = \"blue\"\n"), &["blue"]);
}

/// A reload says what changed, and that alone.
#[test]
fn a_change_of_the_device_is_said() {
    let (old, new) = (good(ROUTED), good(&ROUTED.replace("10.2.0.0/16", "10.2.0.0/15")));
    let lines = diff(&old, &new).lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("interface") && lines[0].contains("10.2.0.0/15"), "{lines:?}");
    assert!(diff(&old, &good(ROUTED)).is_empty());
}
