//! `[[gre]]`: tunnels of GRE.

use super::*;

const GRE: &str = include_str!("../../../../configs/gre.toml");

fn plain(keys: &str) -> String {
    let head = GRE.split("[[tunnel]]").next().unwrap();
    format!("{head}[[gre]]\nname = \"g\"\nlocal = \"198.18.0.1\"\nremote = \"198.18.0.2\"\n{keys}\n")
}

/// R240, R241: routes lead into the device; the policy of the tunnel is about GRE between the gateways alone.
#[test]
fn protected_gre_has_the_policy_of_its_tunnel() {
    let config = good(GRE);
    let gre = &config.gre[0];
    assert_eq!((gre.device.name.as_str(), gre.protected_by.as_deref()), ("gre-a", Some("branch")));
    assert_eq!((gre.key, gre.checksum, gre.sequence), (None, false, false));
    assert_eq!(gre.device.mtu, 1500 - 65 - 20 - 4, "ESP in UDP at its longest, outer header, GRE");
    let actions: Vec<_> = config.policies().iter().map(|p| p.action).collect();
    assert_eq!(actions, [Action::Protect(config.tunnels[0].id), Action::Bypass, Action::Bypass]);
    assert_eq!(config.selectors().next().unwrap().protocol, Some(47));
    // R242: tunnel mode has another header, of 20 bytes.
    let config = good(&GRE.replace("\"transport\"", "\"tunnel\""));
    assert_eq!(config.gre[0].device.mtu, 1411 - 20);
}

#[test]
fn gre_in_clear_passes_whatever_the_default() {
    let config = good(&plain("key = 4294967295\nchecksum = true\nsequence = true"));
    let gre = &config.gre[0];
    assert_eq!((gre.key, gre.checksum, gre.sequence, gre.device.mtu), (Some(u32::MAX), true, true, 1464));
    let first = config.policies()[0];
    assert_eq!((first.action, first.selector.protocol), (Action::Bypass, Some(47)));
    assert_eq!(selector_text(&first.selector), "198.18.0.1/32 = 198.18.0.2/32 gre");
    let six = plain("").replace("198.18.0.", "2001:db8::");
    assert_eq!(good(&six).gre[0].device.mtu, 1456);
}

#[test]
fn what_cannot_be_is_refused_with_its_cure() {
    for (text, parts) in [
        (plain("key = 4294967296"), ["`key`: 4294967296", "4294967295"]),
        (plain("keys = 1"), ["unknown key `keys`", "did you mean `key`?"]),
        (plain("protected-by = \"brunch\""), ["there is no tunnel \"brunch\"", "name a [[tunnel]]"]),
        (
            GRE.replace("protected-by = \"branch\"", "protected-by = \"brunch\""),
            ["\"brunch\"", "did you mean \"branch\"?"],
        ),
        (
            GRE.replace(", protocol = \"gre\"", ", protocol = \"tcp\""),
            ["no selector of tunnel \"branch\"", "protocol = \"gre\""],
        ),
        (plain("").replace("198.18.0.2", "198.18.0.1"), ["are both 198.18.0.1", "far gateway"]),
        (plain("").replace("198.18.0.2", "2001:db8::2"), ["two families", "both in IPv6"]),
        (plain("").replace("\"g\"", "\"wan0\""), ["\"wan0\" of a tunnel is a port too", "another name"]),
        (plain("").replace("\"198.18.0.2\"", "\"any\""), ["`remote`: \"any\"", "address of a gateway"]),
        (plain("").replace("remote", "#"), ["`remote` is missing", "198.18.0.1"]),
        (plain("mtu = 90"), ["`mtu`: 90", "491"]),
    ] {
        assert_error(&text, &parts);
    }
    let second = plain("").split_once("[[gre]]").unwrap().1.replace("\"g\"", "\"h\"");
    assert_error(
        &format!("{}[[gre]]{second}", plain("")),
        &["the ends and the key of GRE \"h\"", "`key` of its own"],
    );
    assert!(good(&format!("{}[[gre]]{second}key = 1", plain(""))).gre.len() == 2);
}

#[test]
fn a_change_is_said_once_and_by_name() {
    let (old, new) = (good(&plain("key = 1")), good(&plain("key = 2")));
    let lines = diff(&old, &new).lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("~ gre g ") && lines[0].contains("key=2"), "{lines:?}");
    assert!(diff(&old, &old).is_empty());
}
