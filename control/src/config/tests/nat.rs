//! Rules of address translation: what they compile to, and what is refused.

use super::*;
use ravelin_ring::msg::{NatKind, NatRule, PortId, TableCommand};

const EXAMPLE: &str = include_str!("../../../../configs/nat.toml");

fn rules(config: &Config) -> Vec<NatRule> {
    let rule =
        |command: &TableCommand| if let TableCommand::AddNat(rule) = command { Some(*rule) } else { None };
    config.nat_commands(&PeerSelectors::new()).iter().filter_map(rule).collect()
}

#[test]
fn rules_become_what_the_data_plane_is_told() {
    let config = good(EXAMPLE);
    let all = rules(&config);
    assert_eq!(all.len(), 4);
    let [into_tunnel, fixed, forward, rest] = all[..] else { panic!("{all:?}") };
    assert_eq!((into_tunnel.kind, into_tunnel.tunnel, into_tunnel.port), (NatKind::Source, true, None));
    assert_eq!(into_tunnel.to.to_string(), "10.2.0.0/24", "what the tunnel reaches");
    assert_eq!((fixed.kind, fixed.protocols), (NatKind::Static, NatRule::ALL), "R56");
    assert_eq!((forward.own, forward.ports.start(), forward.target_ports.start()), (true, 8443, 443));
    assert_eq!((rest.own, rest.port, rest.target_ports.start()), (true, Some(PortId(1)), 61_000));
    assert_eq!(rest.protocols & NatRule::OTHERS, 0, "the host's own address has no others to give");
    for rule in all {
        let line = EXAMPLE.lines().nth(rule.line as usize - 1).unwrap();
        assert_eq!(line, "[[nat]]");
    }
    let two =
        EXAMPLE.replace("from = [\"10.1.0.0/24\"]\nport", "from = [\"10.1.0.0/24\", \"10.5.0.0/24\"]\nport");
    assert_eq!(rules(&good(&two)).len(), 5);
}

#[test]
fn each_mistake_has_its_line_and_its_cure() {
    let nat = |keys: &str| with(&format!("[[nat]]\n{keys}"));
    let source = "kind = \"source\"\nfrom = [\"10.1.0.0/24\"]\n";
    let port = "kind = \"source\"\nfrom = [\"10.1.0.0/24\"]\nport = \"wan0\"\n";
    for (keys, parts) in [
        ("kind = \"sauce\"".to_owned(), ["`kind`", "did you mean \"source\"?"]),
        ("from = [\"10.1.0.0/24\"]".to_owned(), ["`kind` is missing", "add kind"]),
        ("kind = \"source\"\nport = \"wan0\"\npool = \"port\"".to_owned(), ["`from` is missing", "add from"]),
        (format!("{source}pool = \"port\""), ["neither `port` nor `tunnel`", "add port"]),
        (format!("{port}tunnel = \"office\"\npool = \"port\""), ["`port` and `tunnel`", "one rule for each"]),
        (port.to_owned(), ["`pool` is missing", "add pool"]),
        (format!("{source}port = \"wan9\"\npool = \"port\""), ["no [[port]] \"wan9\"", "add it"]),
        (format!("{source}tunnel = \"nobody\"\npool = \"10.1.0.5\""), ["no [[tunnel]] \"nobody\"", "add it"]),
        (format!("{source}tunnel = \"office\"\npool = \"10.7.0.5\""), ["10.7.0.5", "local = \"10.7.0.5/32\""]),
        (format!("{source}tunnel = \"office\"\npool = \"port\""), ["\"port\" as the address", "selectors have"]),
        (format!("{port}pool = \"port\"\nprotocols = [\"others\"]"), ["`protocols`", "a pool of addresses"]),
        (format!("{port}pool = \"2001:db8::/64\""), ["`pool`", "IPv6 is not translated"]),
        (format!("{port}pool = \"port\"\ntarget = \"10.1.0.5\""), ["`target` in a [[nat]]", "remove it"]),
        ("kind = \"static\"\nfrom = [\"10.1.0.0/30\"]\nport = \"wan0\"\npool = \"192.0.2.1\"".to_owned(), ["a static rule from", "equally long"]),
        ("kind = \"destination\"\nto = \"port\"\nport = \"wan0\"\ntarget = \"10.1.0.5\"".to_owned(), ["`ports` is missing", "add ports"]),
        ("kind = \"destination\"\nto = \"port\"\nports = \"80\"\nport = \"wan0\"\ntarget = \"10.1.0.0/24\"".to_owned(), ["`target`: 10.1.0.0/24", "one host"]),
        ("kind = \"destination\"\nto = \"port\"\nports = \"1-9\"\nport = \"wan0\"\ntarget = \"10.1.0.1\"\ntarget-port = 65530".to_owned(), ["`target-port`", "lower"]),
    ] {
        assert_error(&nat(&keys), &parts);
    }
    assert_error(&with("[translation]\nudp-timeout = 30"), &["`udp-timeout`", "\"30s\""]);
    assert_error(&with("[translation]\nflows = 1"), &["`flows`", "16"]);
}

// The bound of a tunnel's MSS goes with its peers, which have numbers of their own.
#[test]
fn a_bound_of_segments_is_told_for_each_peer() {
    let config = good(&with("tcp-mss = \"path\""));
    let tunnel = config.tunnels[0].id;
    let peer = TunnelId(77);
    let peers = PeerSelectors::from([(tunnel, vec![(peer, config.tunnels[0].selectors[0].selector)])]);
    let bound = |command: &TableCommand| {
        if let TableCommand::AddMss { tunnel, mss } = *command { Some((tunnel, mss)) } else { None }
    };
    let all: Vec<_> = config.nat_commands(&peers).iter().filter_map(bound).collect();
    assert_eq!(all, [(tunnel, NatRule::MSS_OF_PATH), (peer, NatRule::MSS_OF_PATH)]);
    assert_error(&with("tcp-mss = \"big\""), &["`tcp-mss`", "536 to 9000"]);
    assert_error(&with("tcp-mss = 100"), &["`tcp-mss`"]);
}

// An outside end must tell which rule it came from.
#[test]
fn pools_that_overlap_are_refused() {
    let two = |a: &str, b: &str| {
        let rule = |pool: &str| {
            format!("[[nat]]\nkind = \"source\"\nfrom = [\"10.1.0.0/24\"]\nport = \"wan0\"\n{pool}\n")
        };
        with(&format!("{}{}", rule(a), rule(b)))
    };
    let pool = "pool = \"192.0.2.8-192.0.2.15\"";
    good(&two(pool, pool));
    good(&two(pool, "pool = \"192.0.2.16\""));
    assert_error(&two(pool, "pool = \"192.0.2.15-192.0.2.16\""), &["line 18 too", "the same pool"]);
    assert_error(&two(pool, &format!("{pool}\npool-ports = \"5000-6000\"")), &["line 18 too"]);
    let forward = "[[nat]]\nkind = \"destination\"\nto = [\"192.0.2.8\"]\nports = \"8080\"\nport = \"wan0\"\ntarget = \"10.1.0.5\"\n";
    let source =
        "[[nat]]\nkind = \"source\"\nfrom = [\"10.1.0.0/24\"]\nport = \"wan0\"\npool = \"192.0.2.8\"\n";
    assert_error(&with(&format!("{source}{forward}")), &["leave out the forwarded ports"]);
    good(&with(&format!("{source}pool-ports = \"20000-30000\"\n{forward}")));
}

#[test]
fn a_reload_says_what_changes() {
    let old = good(EXAMPLE);
    assert!(diff(&old, &old).is_empty());
    let new = good(&EXAMPLE.replace("target-port = 443", "target-port = 4443"));
    let lines = diff(&old, &new).lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("~ nat: rule 3 ") && lines[0].ends_with(":4443"), "{lines:?}");
    let more = good(&format!("{EXAMPLE}\n[translation]\nudp-timeout = \"2m\"\nflows = 1000\n"));
    let lines = diff(&old, &more).lines();
    assert_eq!(lines[0], "~ nat: udp-timeout 5m -> 2m");
    assert!(
        lines[1].starts_with("! flows of [translation] 65536 -> 1000: takes effect when ravelin-dataplane")
    );
}
