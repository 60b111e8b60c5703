//! `[[vrf]]` and the key `vrf`.

use super::*;
use ravelin_ring::msg::{TableCommand, VrfId, VrfPart};

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
        (
            format!("{VRFS}\n{nat}port = \"lan1\"\nvrf = \"blue\"\n"),
            ["`vrf` is \"blue\", and port \"lan1\" is in \"red\"", "remove `vrf`"],
        ),
        (
            format!("{VRFS}\n{nat}port = \"wan0\"\nvrf = \"blue\"\n"),
            ["port \"wan0\" is in the main one", "name one that is in it"],
        ),
        (
            format!("{VRFS}\n{nat}port = \"lan1\"\nvrf = \"bleu\"\n"),
            ["no VRF \"bleu\"", "did you mean \"blue\"?"],
        ),
        (format!("{VRFS}\n{nat}tunnel = \"red\"\n"), ["192.0.2.1", "local = \"192.0.2.1/32\""]),
    ] {
        assert_error(&text, &parts);
    }
}

/// R132: rules hold in the VRF of their port or tunnel, with whatever addresses another one has too; an exemption names its own.
#[test]
fn translation_is_that_of_its_vrf() {
    let rule = |port: &str| {
        format!(
            "[[nat]]\nkind = \"source\"\nfrom = [\"10.1.0.0/24\"]\nport = \"{port}\"\npool = \"192.0.2.1\"\n"
        )
    };
    let exempt = "[[nat]]\nkind = \"exempt\"\nto = [\"10.3.0.0/24\"]\nvrf = \"blue\"\n";
    let config = good(&format!("{VRFS}\n{}{}{}{exempt}", rule("lan1"), rule("lan2"), rule("wan0")));
    let vrfs: Vec<_> = config.nat_commands(&PeerSelectors::new()).iter().filter_map(nat_of).collect();
    assert_eq!(vrfs, [VrfId(101), VrfId(102), VrfId::MAIN, VrfId(102)]);
    let text = nat_text(&config, &config.nat[0]);
    assert!(text.starts_with("vrf red: source 10.1.0.0/24"), "{text}");
    // In one VRF the same pool has to have the same ports.
    let again = rule("lan1").replace("\"192.0.2.1\"", "\"192.0.2.1\"\npool-ports = \"2000-3000\"");
    assert_error(&format!("{VRFS}\n{}{again}", rule("lan1")), &["line", "the same pool"]);
    good(&format!("{VRFS}\n{}{again}", rule("lan2")));
}

fn nat_of(command: &TableCommand) -> Option<VrfId> {
    if let TableCommand::InVrf { vrf, part: VrfPart::Nat(_) } = command {
        return Some(*vrf);
    }
    matches!(command, TableCommand::AddNat(_)).then_some(VrfId::MAIN)
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

/// Two customers whose gateways have the same addresses.
const OUTSIDE: &str = include_str!("../../../../configs/vrfs-outside.toml");

// R68, R78: the gateways of a tunnel belong to its `outside-vrf`, and so do its IKE and its SAs.
#[test]
fn the_outside_of_a_tunnel_is_in_its_vrf() {
    let config = good(OUTSIDE);
    let (red, blue) = (VrfId(101), VrfId(102));
    let outside: Vec<VrfId> = config.tunnels.iter().map(|t| config.outside(t)).collect();
    assert_eq!(outside, [red, blue]);
    assert!(config.warnings.is_empty(), "the same peer twice is two: {:?}", config.warnings);
    let of_sas = config.tunnels.iter().map(|t| config.child_settings(t.id).unwrap());
    assert_eq!(of_sas.map(|s| (s.outside, s.inside)).collect::<Vec<_>>(), [(red, red), (blue, blue)]);
    let secrets = Secrets::parse(
        Path::new("s"),
        "[[secret]]\nlocal-id = \"a.lab\"\nremote-id = \"b.lab\"\npsk = \"a secret of some length\"\n",
    )
    .unwrap();
    let connections = config.connections(&secrets).unwrap();
    let realms: Vec<u16> = connections.iter().map(|c| c.exchanges.realm.0).collect();
    assert_eq!(realms, [101, 102]);
    // A child is where its tunnel is.
    let child = "[[tunnel.child]]\nname = \"more\"\nselectors = [{ local = \"10.7.1.0/24\", remote = \"10.7.2.0/24\" }]\n";
    let config = good(&OUTSIDE.replacen(
        "\n\n[[tunnel]]\nname = \"blue\"",
        &format!("\n\n{child}\n[[tunnel]]\nname = \"blue\""),
        1,
    ));
    let more = config.tunnel("red/more").unwrap();
    assert_eq!((config.outside(more), config.child_settings(more.id).unwrap().outside), (red, red));
}

#[test]
fn an_outside_that_cannot_be_is_refused_with_its_cure() {
    let blue = "outside-vrf = \"blue\"";
    for (text, parts) in [
        (
            OUTSIDE.replace(&format!("{blue}\n"), ""),
            ["all ports are in VRFs, and the outside of tunnel \"blue\" in none", "write `outside-vrf`"],
        ),
        (
            OUTSIDE.replace(blue, "outside-vrf = \"bleu\""),
            ["there is no VRF \"bleu\"", "did you mean \"blue\"?"],
        ),
        (
            OUTSIDE
                .replace("name = \"wan2\"\nvrf = \"blue\"", "name = \"wan2\"")
                .replace("name = \"lan2\"\nvrf = \"blue\"", "name = \"lan2\""),
            ["no port is in VRF \"blue\"", "into the [[port]]"],
        ),
        (
            OUTSIDE.replace(blue, &format!("{blue}\nrequest-address = [\"ipv4\"]")),
            ["`outside-vrf` with `request-address`", "remove one"],
        ),
        (
            OUTSIDE.replace(blue, &format!("{blue}\nmode = \"transport\"")),
            ["`outside-vrf` in transport mode", "mode = \"tunnel\""],
        ),
    ] {
        assert_error(&text, &parts);
    }
    let moved = diff(&good(OUTSIDE), &good(&OUTSIDE.replace(blue, "outside-vrf = \"red\""))).lines();
    assert_eq!(moved, ["~ tunnel blue: outside-vrf blue -> red"]);
}

// R77: all inside interfaces of a set are in one VRF.
#[test]
fn inside_interfaces_of_one_tunnel_are_in_one_vrf() {
    let gre = |n: u8, vrf: &str| {
        format!(
            "[[gre]]\nname = \"gre{n}\"\nlocal = \"198.18.0.1\"\nremote = \"198.18.0.9\"\nkey = {n}\nprotected-by = \"plain\"\n{vrf}\n"
        )
    };
    let plain = "[[tunnel]]\nname = \"plain\"\nlocal = \"198.18.0.1\"\nremote = \"198.18.0.9\"\nmode = \"transport\"\n";
    let with = |first: &str, second: &str| format!("{VRFS}\n\n{plain}\n{}{}", gre(1, first), gre(2, second));
    good(&with("vrf = \"red\"", "vrf = \"red\""));
    for (first, second) in [("vrf = \"red\"", "vrf = \"blue\""), ("vrf = \"red\"", "")] {
        assert_error(
            &with(first, second),
            &["one tunnel protects both", "line ", "each a tunnel of its own"],
        );
    }
    let child = "[[tunnel.child]]\nname = \"more\"\nvrf = \"blue\"\nselectors = [{ local = \"10.7.1.0/24\", remote = \"10.7.2.0/24\" }]\n";
    assert_error(
        &VRFS.replacen(
            "\n\n[[tunnel]]\nname = \"blue\"",
            &format!("\n\n{child}\n[[tunnel]]\nname = \"blue\""),
            1,
        ),
        &["`vrf` of a child", "one VRF"],
    );
}

/// R132: ports keep their VRF over a reload, so that nothing that came by them is ever the main one's.
#[test]
fn a_reload_cannot_take_the_vrf_of_a_port_away() {
    let (old, file) = (good(VRFS), Path::new("ravelin.toml"));
    good(VRFS).keeps_vrfs_of(&old.ports, file).unwrap();
    let renamed = good(&VRFS.replace("\"red\"", "\"rouge\""));
    let errors = renamed.keeps_vrfs_of(&old.ports, file).unwrap_err().to_string();
    assert!(
        errors.contains("no [[vrf]] is named \"red\"") && errors.contains("[[vrf]] \"red\" again"),
        "{errors}"
    );
    // Another table for it is no matter: the port goes there with the policies.
    good(&VRFS.replace("table = 101", "table = 103")).keeps_vrfs_of(&old.ports, file).unwrap();
}
