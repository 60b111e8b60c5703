//! `[defaults]`, tunnels, children: each level may say otherwise than the one above it.

use super::*;
use ravelin_ring::msg::Rules;

fn child(keys: &str) -> String {
    format!(
        "[[tunnel.child]]\nname = \"c\"\n{keys}\nselectors = [{{ local = \"10.1.9.0/24\", remote = \"10.2.9.0/24\" }}]\n"
    )
}

/// The first tunnel and its child, with these keys at each level.
fn levels(defaults: &str, tunnel: &str, further: &str) -> [Tunnel; 2] {
    let config = good(&format!("[defaults]\n{defaults}\n{}\n{}", with(tunnel), child(further)));
    [config.tunnels[0].clone(), config.tunnels[1].clone()]
}

/// R82, R83, R87, R89: set above and overridden below, off above and on below, and the other way round.
#[test]
fn each_level_overrides_the_one_above_in_either_direction() {
    let windows = |d, t, c| levels(d, t, c).map(|tunnel| tunnel.replay_window);
    assert_eq!(windows("", "", ""), [1024, 1024]);
    assert_eq!(windows("replay-window = 64", "", ""), [64, 64]);
    assert_eq!(windows("replay-window = 64", "replay-window = 4096", ""), [4096, 4096]);
    assert_eq!(windows("replay-window = 64", "replay-window = 4096", "replay-window = 128"), [4096, 128]);
    assert_eq!(windows("replay-window = 0", "replay-window = 1024", ""), [1024, 1024], "on again");
    assert_eq!(windows("replay-window = 1024", "replay-window = 0", "replay-window = 64"), [0, 64]);
    let df = |d, t, c| levels(d, t, c).map(|tunnel| tunnel.df);
    assert_eq!(df("df = \"set\"", "", "df = \"copy\""), [OuterDf::Set, OuterDf::Copy]);
    assert_eq!(df("df = \"set\"", "df = \"clear\"", ""), [OuterDf::Clear, OuterDf::Clear]);
    let mtu = |d, t, c| levels(d, t, c).map(|tunnel| tunnel.tunnel_mtu);
    assert_eq!(mtu("", "", ""), [1500, 1500], "R88: whatever the MTU of the devices");
    assert_eq!(mtu("tunnel-mtu = 1400", "", "tunnel-mtu = 1300"), [1400, 1300]);
    assert_eq!(mtu("tunnel-mtu = 1400", "tunnel-mtu = 1500", ""), [1500, 1500]);
    let rules = |d, t, c| levels(d, t, c).map(|tunnel| tunnel.travel.rules);
    let passive = Rules { passive: true, ..Rules::default() };
    let on = "passive-mode-tunneling = true";
    let off = "passive-mode-tunneling = false";
    assert_eq!(rules(on, "", off), [passive, Rules::default()]);
    assert_eq!(rules(on, off, on), [Rules::default(), passive]);
    let after = Rules { fragment_after: true, keep_ttl: true, ..Rules::default() };
    let keys = "fragment = \"after\"\nno-tunnel-in-traceroute = true";
    assert_eq!(
        rules("", keys, "fragment = \"before\"\nno-tunnel-in-traceroute = false"),
        [after, Rules::default()]
    );
    // What stands there arrives where SAs are made.
    let [tunnel, _] = levels("replay-window = 64\ndf = \"set\"", on, "");
    let settings = tunnel.settings();
    assert_eq!((settings.replay_window, settings.outer_df), (64, OuterDf::Set));
    assert_eq!(settings.travel.rules, passive);
}

/// R96: refused with the line and a cure, wherever the two come together.
#[test]
fn passive_and_checked_headers_do_not_go_together() {
    let (passive, check) = ("passive-mode-tunneling = true", "header-integrity-check = true");
    let parts = ["`header-integrity-check` and `passive-mode-tunneling`", "set one of them to false"];
    let text = with(&format!("{passive}\n{check}"));
    assert_error(&text, &parts);
    let line = text.lines().position(|l| l == check).unwrap() + 1;
    assert_error(&text, &[&format!("{line}: ")]);
    assert_error(&format!("[defaults]\n{check}\n{}", with(passive)), &parts);
    assert_error(&format!("[defaults]\n{passive}\n{check}\n{MINIMAL}"), &parts);
    assert_error(&format!("{}\n{}", with(passive), child(check)), &parts);
    good(&format!("[defaults]\n{check}\n{}", with(&format!("{passive}\nheader-integrity-check = false"))));
}

/// R98, R99.
#[test]
fn multipath_ports() {
    let with_port = |keys: &str| format!("[dataplane]\nudp-encapsulation-port = 4565\n{}", with(keys));
    let port = |keys: &str| good(&with_port(keys)).tunnels[0].travel.multipath;
    assert_eq!(port(""), 0);
    assert_eq!(port("udp-encapsulate = false"), 0);
    assert_eq!(port("udp-encapsulate = true"), 4565);
    assert_eq!(port("udp-encapsulate = 1025"), 1025);
    assert_eq!(port("udp-encapsulate = 65535"), 65_535);
    for refused in ["4500", "1024", "65536", "0", "\"yes\""] {
        assert_error(&with_port(&format!("udp-encapsulate = {refused}")), &["udp-encapsulate"]);
    }
    let cure =
        ["no port at which the peer's packets are taken", "add udp-encapsulation-port = 4565 to [dataplane]"];
    assert_error(&with("udp-encapsulate = true"), &cure);
    assert_error(&with_port("udp-encapsulate = true\nah-proposals = [\"sha256\"]"), &["AH as it is"]);
}

#[test]
fn what_has_no_inner_packet_has_no_rules() {
    assert_error(&with("mode = \"transport\"\nfragment = \"after\""), &["`mode` is \"transport\""]);
    let six = MINIMAL.replace("198.18.0.1", "2001:db8::1").replace("198.18.0.2", "2001:db8::2");
    assert!(good(&format!("{six}\nfragment = \"after\"\n")).tunnels[0].travel.rules.fragment_after);
    assert_error("[defaults]\nlifetime = \"1h\"\n", &["unknown key `lifetime` in [defaults]"]);
}

/// R223: a tunnel's list and a child's are two; the data plane gets them after the policies, for each peer of a tunnel too.
#[test]
fn filters_of_what_was_decrypted() {
    use ravelin_ring::msg::{TableCommand, TunnelId};
    let text = with(
        "filter-decrypted = [{ local = \"10.1.0.7\", remote = \"10.2.0.0/24\", protocol = \"tcp\", local-port = 443 }]\n\
         [[tunnel.child]]\nname = \"v\"\nselectors = [{ local = \"10.7.0.0/24\", remote = \"10.8.0.0/24\" }]\n\
         filter-decrypted = [{ local = \"10.7.0.1\", remote = \"10.8.0.0/24\" }, { local = \"10.7.0.2\", remote = \"10.8.0.0/24\" }]",
    );
    let config = good(&text);
    let peers = [(TunnelId(0), vec![(TunnelId(70), config.tunnels[0].selectors[0].selector)])].into();
    let ids: Vec<u32> = config
        .filters(&peers)
        .iter()
        .filter_map(|c| if let TableCommand::AddFilter { tunnel, .. } = c { Some(tunnel.0) } else { None })
        .collect();
    assert_eq!(ids, [0, 70, 1, 1]);
    assert!(config.child_settings(TunnelId(1)).unwrap().filtered);
    // One that goes leaves SAs behind that were made for it: all may pass now.
    let mut without = good(&with(""));
    assert!(without.filters(&peers).is_empty());
    without.keep_ids(&config);
    assert_eq!(without.filters(&peers).len(), 4);
    assert!(good(MINIMAL).filters(&Default::default()).is_empty(), "by default the SA's selectors alone");
    assert_error(&with("filter-decrypted = [{ local = \"10.1.0.7\" }]"), &["`remote` is missing"]);
}
