//! `[[vrf]]` and the key `vrf`.

use super::*;
use ravelin_ring::msg::VrfId;

const VRFS: &str = include_str!("../../../../configs/vrfs.toml");

/// R77, R132: each VRF has policies and steered ranges of its own; the main one has none of theirs.
#[test]
fn policies_are_those_of_their_vrf() {
    let config = good(VRFS);
    let (red, blue) = (VrfId(101), VrfId(102));
    assert_eq!(
        (config.vrf(Some("red")), config.vrf(Some("blue")), config.vrf(None)),
        (red, blue, VrfId::MAIN)
    );
    let actions =
        |vrf| config.policies_in(vrf, &PeerSelectors::new()).iter().map(|p| p.action).collect::<Vec<_>>();
    assert_eq!(actions(red), [Action::Protect(config.tunnels[0].id), Action::Bypass, Action::Bypass]);
    assert_eq!((actions(blue), actions(VrfId::MAIN)), (vec![Action::Bypass; 2], vec![Action::Bypass; 2]));
    assert_eq!(
        (config.protected_in(red).len(), config.protected_in(blue).len(), config.protected()),
        (1, 0, vec![])
    );
    // The same selector in two VRFs is no mistake.
    let both = VRFS.replace(
        "interface = { name = \"tun-blue\", routes = [\"10.2.0.0/24\"] }",
        "selectors = [{ local = \"10.1.0.0/24\", remote = \"10.2.0.0/24\" }]",
    );
    assert_eq!(good(&both).policies_in(blue, &PeerSelectors::new()).len(), 3);
    assert_error(
        &both.replace("vrf = \"blue\"\nsel", "vrf = \"red\"\nsel"),
        &["is one of tunnel \"red\"", "remove one"],
    );
}

#[test]
fn what_cannot_be_is_refused_with_its_cure() {
    let nat = "[[nat]]\nkind = \"source\"\nfrom = [\"10.1.0.0/24\"]\npool = \"192.0.2.1\"\n";
    for (text, parts) in [
        (
            VRFS.replace("table = 102", "table = 101"),
            ["VRF \"blue\" has the name or the table of line", "change one"],
        ),
        (
            VRFS.replace("name = \"blue\"\ntable", "name = \"red\"\ntable"),
            ["has the name or the table", "change one"],
        ),
        (VRFS.replace("table = 102", "table = 254"), ["`table`: 254", "a table of its own"]),
        (VRFS.replace("table = 102", "table = 70000"), ["`table`: 70000", "65535"]),
        (
            VRFS.replace("vrf = \"blue\"\n\n", "vrf = \"bleu\"\n\n"),
            ["there is no VRF \"bleu\"", "did you mean \"blue\"?"],
        ),
        (
            VRFS.replace("vrf = \"blue\"\ninterface", "vrf = \"green\"\ninterface"),
            ["no VRF \"green\"", "[[vrf]]"],
        ),
        (format!("{VRFS}\n{nat}port = \"lan1\"\n"), ["address translation in a VRF", "remove the rule"]),
        (format!("{VRFS}\n{nat}tunnel = \"blue\"\n"), ["address translation in a VRF", "main VRF"]),
    ] {
        assert_error(&text, &parts);
    }
}

#[test]
fn changes_are_said() {
    let lines = |new: &str| diff(&good(VRFS), &good(new)).lines();
    assert_eq!(lines(&VRFS.replace("table = 102", "table = 103")), ["~ vrf blue table=102 -> table=103"]);
    let moved = lines(&VRFS.replace("vrf = \"red\"\nselectors", "vrf = \"blue\"\nselectors"));
    assert_eq!(moved, ["~ tunnel red: vrf red -> blue"]);
    let port = lines(&VRFS.replace("name = \"lan1\"\nvrf = \"red\"", "name = \"lan1\""));
    assert!(port[0].starts_with("! port lan1") && port[0].contains("restarted"), "{port:?}");
}
