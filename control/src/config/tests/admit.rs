//! Ports that let in the VPN alone (R222).

use super::*;
use ravelin_ring::msg::{PortId, TableCommand};

const TUNNEL: &str = r#"
[[tunnel]]
name = "office"
local = "198.18.0.1"
remote = "198.18.0.2"
local-id = "a.lab"
remote-id = "b.lab"
selectors = [{ local = "10.1.0.0/24", remote = "10.2.0.0/24" }]
"#;

fn file(wan: &str, rest: &str) -> String {
    format!(
        "[[port]]\nname = \"lan0\"\n[[port]]\nname = \"wan0\"\n{wan}\n[control]\nike-port = 1500\n{TUNNEL}{rest}"
    )
}

#[test]
fn what_a_port_lets_in_is_told_to_the_data_plane() {
    let config = parse(&file("", "")).unwrap();
    assert_eq!(config.admissions(), [TableCommand::ClearAdmissions]);
    assert!(config.setup().ports.iter().all(|port| !port.vpn_only));
    let config =
        parse(&file("admit = \"vpn\"\nadmit-from = [\"192.0.2.53\", \"2001:db8::/32\"]", "")).unwrap();
    let port = PortId(1);
    let from = |text: &str| TableCommand::AdmitFrom {
        port,
        range: text.parse::<ravelin_wire::Prefix>().unwrap().into(),
    };
    assert_eq!(
        config.admissions(),
        [
            TableCommand::ClearAdmissions,
            TableCommand::AdmitVpn { port, ike_ports: [1500, 4500] },
            from("192.0.2.53/32"),
            from("2001:db8::/32"),
        ]
    );
    assert_eq!(config.setup().ports.iter().map(|port| port.vpn_only).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn a_reload_opens_and_closes_ports_without_a_restart() {
    let open = parse(&file("", "")).unwrap();
    let closed = parse(&file("admit = \"vpn\"\nadmit-from = [\"192.0.2.53\"]", "")).unwrap();
    let lines = diff(&open, &closed).lines();
    assert_eq!(lines, ["~ port wan0: admit (none) -> vpn, and from 192.0.2.53/32"]);
    let mut ports = open.ports.clone();
    closed.admit_as(&mut ports);
    assert_eq!(ports[1].admission, closed.ports[1].admission);
    open.admit_as(&mut ports);
    assert_eq!(ports[1].admission, None);
}

#[test]
fn what_cannot_work_is_refused_with_its_line_and_cure() {
    let vpn = "admit = \"vpn\"";
    let nat = "[[nat]]\nkind = \"source\"\nfrom = [\"10.1.0.0/24\"]\nport = \"wan0\"\npool = \"port\"\n";
    let forward = "[[nat]]\nkind = \"destination\"\nto = \"port\"\nports = \"443\"\nport = \"wan0\"\ntarget = \"10.1.0.80\"\n";
    let gre = "[[gre]]\nname = \"gre1\"\nlocal = \"198.18.0.1\"\nremote = \"198.18.0.9\"\n";
    for (text, line, word) in [
        (file(vpn, nat), "[[nat]]", "admits the VPN alone"),
        (file(vpn, forward), "[[nat]]", "admits the VPN alone"),
        (
            file(vpn, gre).replace("name = \"lan0\"", "name = \"lan0\"\nadmit = \"vpn\""),
            "[[gre]]",
            "not protected",
        ),
        (file("admit-from = [\"192.0.2.53\"]", ""), "admit-from", "admits all"),
        (file("admit = \"ipsec\"", ""), "admit = ", "`admit`"),
    ] {
        let at = 1 + text.lines().position(|l| l.starts_with(line)).unwrap();
        let errors = parse(&text).unwrap_err();
        let said = errors.errors.iter().find(|e| e.to_string().contains(word));
        let said = said.unwrap_or_else(|| panic!("{word}: {errors}"));
        assert_eq!(said.line as usize, at, "{said}");
        assert!(!said.cure.is_empty(), "{said}");
    }
    let listed = "admit = \"vpn\"\nadmit-from = [\"198.18.0.9\"]";
    for rest in [nat, forward, gre] {
        parse(&file(listed, rest)).unwrap_or_else(|e| panic!("{e}"));
    }
    parse(&file(vpn, gre)).unwrap_or_else(|e| panic!("by the other port: {e}"));
}

#[test]
fn a_gateway_that_closed_all_its_ports_is_warned() {
    let text = file("admit = \"vpn\"", "").replace("name = \"lan0\"", "name = \"lan0\"\nadmit = \"vpn\"");
    let warnings = parse(&text).unwrap().warnings;
    assert!(warnings.iter().any(|w| w.to_string().contains("comes in by none of them")), "{warnings:?}");
    assert!(parse(&file("admit = \"vpn\"", "")).unwrap().warnings.is_empty());
}
