//! What is refused, and how it is said.

use super::*;

/// Line, what was found, what was expected, the cure, as an operator reads it.
#[test]
fn an_error_reads_well() {
    let text = with("lifetime = 12");
    let line = text.lines().position(|line| line.starts_with("lifetime")).unwrap() + 1;
    let errors = parse(&text).unwrap_err().to_string();
    assert_eq!(
        errors,
        format!(
            "gw.toml:{line}: error: `lifetime`: 12; expected a time with its unit: s, m, h, d (\"90s\", \"1h30m\"), \
             1s to 30d\n    cure: add the unit: \"12s\""
        )
    );
}

/// All errors of a file, in its order, not only the first.
#[test]
fn all_errors_are_said() {
    let text = "[[port]]\nnmae = \"a\"\n[dataplane]\nframes = 3\ncores = [1, 1, \"x\"]\n[[tunnel]]\nname = \"t t\"\n\
                esp-proposals = [\"3des-md5\", \"aes257gcm16\"]\n";
    let errors = bad(text);
    let at = |line: u32, part: &str| {
        let prefix = format!("{line}: ");
        assert!(
            errors.iter().any(|e| e.starts_with(&prefix) && e.contains(part)),
            "{line} {part}: {errors:#?}"
        );
    };
    at(2, "unknown key `nmae`");
    at(2, "did you mean `name`?");
    at(1, "`name` is missing");
    at(4, "`frames`: 3");
    at(5, "core 1 twice");
    at(5, "`cores`: \"x\"");
    at(6, "`local` is missing");
    at(6, "`remote` is missing");
    at(6, "`selectors` is missing");
    at(7, "\"t t\"");
    at(8, "\"3des\" is refused");
    at(8, "did you mean \"aes256gcm16\"?");
    let lines: Vec<u32> = errors.iter().map(|e| e.split(':').next().unwrap().parse().unwrap()).collect();
    assert!(lines.is_sorted());
}

#[test]
fn syntax_errors_have_lines() {
    let errors = bad("[[port]]\nname = lan0\n\n[control\nrun-dir = \"/run\"\n");
    assert!(errors.iter().any(|e| e.starts_with("2: not TOML")), "{errors:?}");
    assert!(errors.iter().any(|e| e.starts_with("4: not TOML")), "{errors:?}");
    assert_error("a = 1\na = 2\n", &["2: not TOML", "duplicate"]);
}

#[test]
fn unknown_keys_suggest_the_nearest() {
    assert_error(
        &with("replay_window = 64"),
        &["unknown key `replay_window`", "did you mean `replay-window`?"],
    );
    assert_error(&with("lifetme = \"1h\""), &["did you mean `lifetime`?"]);
    assert_error(
        &format!("{MINIMAL}\n[datplane]\n"),
        &["unknown key `datplane`", "did you mean `dataplane`?"],
    );
    assert_error(&with("colour = 1"), &["unknown key `colour`", "remove it"]);
    assert_error(
        &selecting("[{ lokal = \"10.0.0.0/8\", remote = \"10.2.0.0/24\" }]"),
        &["did you mean `local`?"],
    );
}

#[test]
fn brackets_matter() {
    assert_error("[port]\nname = \"a\"\n", &["1: [port] with single brackets", "write [[port]]"]);
    assert_error("dataplane = 3\n", &["[dataplane] is 3"]);
    assert_error("tunnel = [1]\n", &["[[tunnel]] is 1"]);
}

/// R67.
#[test]
fn the_local_gateway_is_mandatory() {
    let text = MINIMAL.replace("local = \"198.18.0.1\"\n", "");
    assert_error(&text, &["`local` is missing in [[tunnel]]", "local gateway", "add local ="]);
}

#[test]
fn gateways_are_two_machines_of_one_family() {
    let swap = |remote: &str| MINIMAL.replace("remote = \"198.18.0.2\"", &format!("remote = \"{remote}\""));
    assert_error(&swap("198.18.0.1"), &["`local` and `remote` are both 198.18.0.1"]);
    assert_error(&swap("2001:db8::2"), &["two addresses of one family"]);
    assert_error(&swap("0.0.0.0"), &["`remote`: \"0.0.0.0\""]);
    assert_error(&swap("224.0.0.1"), &["an address of one machine"]);
    assert_error(&swap("198.18.0.2/24"), &["without /LENGTH"]);
    assert_error(&swap("198.18.0"), &["`remote`: \"198.18.0\""]);
    assert_error(&format!("{}\nstart = \"immediately\"\n", swap("any")), &["`remote` is \"any\"", "respond"]);
}

/// R7, R10: weak algorithms are refused with the reason; R104: mistakes within a proposal are named.
#[test]
fn weak_and_broken_proposals_are_refused() {
    let esp = |word: &str| with(&format!("esp-proposals = [\"{word}\"]"));
    let ike = |word: &str| with(&format!("ike-proposals = [\"{word}\"]"));
    for weak in ["des-sha256", "3des-sha256", "null-sha256", "aes128-md5", "aes256gcm16-modp768"] {
        assert_error(
            &esp(weak),
            &["is refused as too weak", "RFC"]
                .map(|part| if weak.starts_with("null") && part == "RFC" { "encrypt" } else { part }),
        );
    }
    assert_error(&ike("aes256-sha256-modp768"), &["\"modp768\" is refused", "x25519"]);
    assert_error(&ike("aes256-md5-modp2048"), &["\"md5\" is refused"]);
    assert_error(&ike("aes256gcm16-prfsha384-mlkem768"), &["no key exchange group"]);
    assert_error(&esp("aes256gcm16-mlkem768"), &["ML-KEM without a key exchange group", "x25519"]);
    assert_error(&ike("aes256gcm16-x25519"), &["no PRF", "add one"]);
    assert_error(&ike("aes256gcm16-sha256-x25519"), &["its own integrity"]);
    assert_error(&ike("aes256-sha256"), &["no key exchange group"]);
    assert_error(&ike("sha256-modp2048"), &["no encryption"]);
    assert_error(&ike("aes256-sha256-modp2048-esn"), &["esn belongs to ESP"]);
    assert_error(&ike("aes256-aes128-sha256-modp2048"), &["second of its kind"]);
    assert_error(
        &ike("aes256-sha256-modp2049"),
        &["unknown algorithm \"modp2049\"", "did you mean \"modp2048\"?"],
    );
    assert_error(&ike(""), &["unknown algorithm \"\"", "one of aes128gcm16"]);
    assert_error(&esp("aes256"), &["a cipher without integrity"]);
    assert_error(&esp("aes128ctr-sha512"), &["no such cipher with this integrity", "or aes256ctr"]);
    assert_error(&esp("aes256ctr"), &["a cipher without integrity"]);
    assert_error(&esp("aes256gmac-sha256"), &["the cipher brings its own integrity"]);
    assert_error(&ike("aes256gmac-prfsha256-x25519"), &["of ESP, not of IKE", "in esp-proposals"]);
    assert_error(&esp("aes256gcm16-prfsha256"), &["a PRF belongs to IKE"]);
    assert_error(&esp("AES256-SHA"), &["did you mean \"aes256\"?"]);
    assert_error(&with("esp-proposals = []"), &["a list of 0"]);
    assert_error(&with("esp-proposals = \"aes256gcm16\""), &["a list in brackets"]);
    assert_error(&with("esp-proposals = [3]"), &["`esp-proposals`: 3"]);
}

#[test]
fn ageing_proposals_warn() {
    let config = good(&with("esp-proposals = [\"aes128-sha1\", \"aes128-sha1\"]"));
    let warnings: Vec<_> = config.warnings.iter().map(|w| w.found.as_str()).collect();
    assert!(warnings.iter().any(|w| w.contains("SHA-1")), "{warnings:?}");
    assert!(warnings.iter().any(|w| w.contains("stands twice")), "{warnings:?}");
    assert_eq!(config.tunnels[0].esp_proposals.len(), 1);
}

// R7, R205, RFC 8247 §2.4: every group from MODP 2048 on, elliptic curves and ML-KEM as they are; the small ones only for who
// insists, with a warning; those that are broken never.
#[test]
fn groups_and_what_it_takes_to_have_them() {
    let ike = |group: &str, keys: &str| with(&format!("{keys}\nike-proposals = [\"aes256-sha256-{group}\"]"));
    for group in [
        "modp2048",
        "modp3072",
        "modp4096",
        "modp6144",
        "modp8192",
        "ecp256",
        "ecp384",
        "ecp521",
        "x25519",
        "x25519-mlkem512",
        "x25519-mlkem768",
        "ecp384-mlkem1024",
    ] {
        let config = good(&ike(group, ""));
        assert!(config.warnings.is_empty(), "{group}: {:?}", config.warnings);
    }
    for small in ["modp1024", "modp1536"] {
        assert_error(&ike(small, ""), &["`ike-proposals`", small, "allow-legacy = true"]);
        assert_error(&ike(small, "allow-legacy = false"), &[small, "allow-legacy = true"]);
        let config = good(&ike(small, "allow-legacy = true"));
        assert!(config.warnings.iter().any(|w| w.found.contains("RFC 8247 §2.4")), "{:?}", config.warnings);
        assert_error(
            &with(&format!("esp-proposals = [\"aes256gcm16-{small}\"]")),
            &["`esp-proposals`", small],
        );
    }
    for broken in ["modp768", "group1"] {
        assert_error(&ike(broken, "allow-legacy = true"), &["`ike-proposals`"]);
    }
    assert_error(&with("allow-legacy = 1"), &["`allow-legacy`", "true or false"]);
}

/// R98: 1025 to 65535 (the source prints 65536), never 4500.
#[test]
fn encapsulation_port_range() {
    let port = |n: u32| format!("{MINIMAL}\n[dataplane]\nudp-encapsulation-port = {n}\n");
    for wrong in [0, 1024, 65_536] {
        assert_error(&port(wrong), &["`udp-encapsulation-port`", "1025 to 65535"]);
    }
    assert_error(&port(4500), &["4500", "4565"]);
    for right in [1025, 4565, 65_535] {
        assert_eq!(u32::from(good(&port(right)).dataplane.udp_encapsulation_port.unwrap()), right);
    }
}

#[test]
fn lifetimes_end_after_they_begin() {
    assert_error(
        &with("lifetime = \"1h\"\nhard-lifetime = \"1h\""),
        &["`hard-lifetime` 1h is not after `lifetime` 1h"],
    );
    assert_error(&with("lifetime = \"0s\""), &["1s to 30d"]);
    assert_error(&with("lifetime = \"31d\""), &["1s to 30d"]);
    assert_error(&with("lifetime = \"1 hour\""), &["\"1 hour\""]);
    assert_error(&with("lifetime = \"99999999999999999999d\""), &["expected a time"]);
    assert_error(
        &with("lifebytes = \"2GiB\"\nhard-lifebytes = \"1GiB\""),
        &["`hard-lifebytes` is not above"],
    );
    assert_error(&with("hard-lifebytes = \"1GiB\""), &["without `lifebytes`"]);
    assert_error(&with("lifebytes = \"12\""), &["a size with its unit"]);
    assert_error(&with("lifebytes = 12"), &["add the unit: \"12B\""]);
    assert_error(&with("lifebytes = \"99999999999TiB\""), &["a size with its unit"]);
    assert_error(&with("lifepackets = 5"), &["1000 to"]);
    assert_error(&with("dpd = \"off\"\nlifetime = \"off\""), &["`lifetime`"]);
    assert_eq!(good(&with("dpd = \"off\"")).tunnels[0].dpd, Duration::ZERO);
    let quick = good(&with("lifetime = \"5s\"\nike-lifetime = \"20s\""));
    assert_eq!(quick.tunnels[0].hard_lifetime, Duration::from_secs(35));
    assert_eq!(quick.warnings.len(), 2, "{:?}", quick.warnings);
}

#[test]
fn numbers_have_ranges() {
    assert_error(&with("replay-window = -3"), &["`replay-window`: -3"]);
    assert_error(&with("replay-window = 65537"), &["`replay-window`: 65537"]);
    assert_eq!(good(&with("replay-window = 65536")).tunnels[0].replay_window, 65_536, "R81");
    assert_error(&with("replay-window = 5"), &["0, or 32 to"]);
    assert_error(&with("replay-window = \"64\""), &["write the number without quotes"]);
    assert_error(&with("replay-window = 1.5"), &["`replay-window`: 1.5"]);
    assert_error(&with("tunnel-mtu = 575"), &["576 to"]);
    assert_error(&with("ike-fragment-size = 575"), &["576 to 9000 bytes, or 0 for off"]);
    assert_error(&with("tunnel-mtu = 1600"), &["does not fit into frames of 2048", "frame-size = 4096"]);
    assert_error(&with("df = \"cpoy\""), &["did you mean \"copy\"?"]);
    assert_error(&with("df = 1"), &["write one of these words in quotes"]);
    assert_error(&with("start = \"now\""), &["\"immediately\", \"on-traffic\", \"respond\""]);
    assert_error(&with("rekey-jitter = 51"), &["0 to 50"]);
    let plane = |keys: &str| format!("{MINIMAL}\n[dataplane]\n{keys}\n");
    assert_error(&plane("frame-size = 1024"), &["2048 or 4096"]);
    assert_error(&plane("ring-size = 3000"), &["a power of two", "write 4096"]);
    assert_error(&plane("cores = []"), &["a list of 0"]);
    assert_error(&plane("cores = [4096]"), &["0 to 4095"]);
    assert_error(&plane("huge-pages = \"yes\""), &["true or false"]);
    assert_error(&plane("tun = \"a-name-that-is-too-long\""), &["1 to 15"]);
    assert_eq!(good(&plane("frames = 0x8000\nframe-size = 4_096")).dataplane.frames, 0x8000);
    assert_eq!(
        good(&format!("{}\n", with("tunnel-mtu = 3000\n[dataplane]\nframe-size = 4096"))).tunnels[0]
            .tunnel_mtu,
        3000
    );
    let control = |keys: &str| format!("{MINIMAL}\n[control]\n{keys}\n");
    assert_error(&control("ike-port = 0"), &["1 to 65535"]);
    assert_error(&control("natt-port = 500"), &["both 500"]);
    for wrong in ["here", "/", "/run/a.b", "/run/a b"] {
        assert_error(&control(&format!("run-dir = \"{wrong}\"")), &["an absolute path"]);
    }
    assert_eq!(
        good(&control("run-dir = \"/run/ravelin-b\"")).control.run_dir,
        PathBuf::from("/run/ravelin-b")
    );
    assert_error(&control("secrets = \"\""), &["the path of a file"]);
}

#[test]
fn selectors_are_checked() {
    let pair = |local: &str, remote: &str, more: &str| {
        selecting(&format!("[{{ local = \"{local}\", remote = \"{remote}\"{more} }}]"))
    };
    assert_error(&pair("10.1.0.0/24", "2001:db8::/32", ""), &["both sides of one family"]);
    assert_error(&pair("10.1.0.1/24", "10.2.0.0/24", ""), &["did you mean \"10.1.0.0/24\"?"]);
    assert_error(&pair("10.1.0.0/33", "10.2.0.0/24", ""), &["a length of 0 to 32"]);
    assert_error(&pair("10.1.0.9-10.1.0.1", "10.2.0.0/24", ""), &["the lower address first"]);
    assert_error(&pair("lan", "10.2.0.0/24", ""), &["`local`: \"lan\""]);
    assert_error(&pair("10.1.0.0/24", "10.2.0.0/24", ", local-port = \"80\""), &["without a protocol"]);
    assert_error(
        &pair("10.1.0.0/24", "10.2.0.0/24", ", protocol = \"icmp\", local-port = 8"),
        &["without a protocol"],
    );
    assert_error(&pair("10.1.0.0/24", "10.2.0.0/24", ", protocol = \"tpc\""), &["did you mean \"tcp\"?"]);
    assert_error(&pair("10.1.0.0/24", "10.2.0.0/24", ", protocol = 256"), &["1 to 255"]);
    assert_error(
        &pair("10.1.0.0/24", "10.2.0.0/24", ", protocol = \"tcp\", remote-port = \"9-1\""),
        &["lower port first"],
    );
    assert_error(&selecting("[]"), &["a list of 0"]);
    assert_error(&selecting("[[1]]"), &["a selector is an array"]);
    let lawful = good(&pair("10.1.0.7", "10.2.0.0/24", ", protocol = 6, remote-port = 443"));
    assert_eq!(selector_text(&lawful.tunnels[0].selectors[0].selector), "10.1.0.7/32 = 10.2.0.0/24:443 tcp");
}

/// R125: selectors of both families beside each other; each selector and each pair of gateways of one family.
#[test]
fn both_families_are_lawful_and_not_mixed() {
    let both = "[{ local = \"2001:db8:1::/48\", remote = \"2001:db8:2::/48\" }, { local = \"10.1.0.0/24\", remote = \"10.2.0.0/24\" }]";
    assert!(good(&selecting(both)).warnings.is_empty());
    let mixed = "[{ local = \"2001:db8:1::/48\", remote = \"10.2.0.0/24\" }]";
    assert_error(&selecting(mixed), &["both sides of one family"]);
    let outside = MINIMAL.replace("198.18.0.1", "2001:db8:ff::1").replace("198.18.0.2", "2001:db8:ff::2");
    assert!(good(&outside).tunnels[0].local.is_ipv6());
    assert_error(&MINIMAL.replace("198.18.0.1", "2001:db8:ff::1"), &["two addresses of one family"]);
    assert_error(&outside.replace("2001:db8:ff::1", "fe80::1"), &["valid beyond its link"]);
}

/// RFC 8200 §5: said at once, since no host can be told to send less.
#[test]
fn a_tunnel_too_small_for_ipv6_draws_a_warning() {
    let six = "[{ local = \"2001:db8:1::/48\", remote = \"2001:db8:2::/48\" }]\ntunnel-mtu = 1300";
    let config = good(&selecting(six));
    assert!(
        config.warnings.iter().any(|w| w.found.contains("less than their 1,280 bytes")),
        "{:?}",
        config.warnings
    );
    let four = "[{ local = \"10.1.0.0/24\", remote = \"10.2.0.0/24\" }]\ntunnel-mtu = 1300";
    assert!(good(&selecting(four)).warnings.is_empty());
}

#[test]
fn names_stand_once() {
    let twice = format!("{MINIMAL}\n[[port]]\nname = \"wan0\"\n");
    assert_error(&twice, &["port \"wan0\" stands twice", "first in line"]);
    assert_error(&MINIMAL.replace("lan0", "ravelin0"), &["the name of the TUN device"]);
    assert_error(
        &MINIMAL.replace("[[port]]\nname = \"lan0\"", "").replace("[[port]]\nname = \"wan0\"", ""),
        &["no [[port]]"],
    );
    let tunnel = &TWO[TWO.find("[[tunnel]]").unwrap()..];
    assert_error(&format!("{TWO}\n{tunnel}"), &["tunnel \"office\" stands twice"]);
}

/// R13: the second of two identical selectors would never match; a covered one is probably not meant.
#[test]
fn selectors_do_not_hide_each_other() {
    let same = TWO.replace("10.3.0.0/24", "10.2.0.0/24");
    assert_error(&same, &["of tunnel \"van\" is one of tunnel \"office\"", "line"]);
    let covered = TWO.replace("10.3.0.0/24", "10.2.0.128/25");
    let config = good(&covered);
    assert_eq!(config.warnings.len(), 1);
    assert!(config.warnings[0].found.contains("never matches"), "{}", config.warnings[0]);
}

#[test]
fn one_peer_in_two_tunnels_warns() {
    let text = TWO.replace("remote = \"any\"", "remote = \"198.18.0.2\"").replace("van.lab", "b.lab");
    let config = good(&text);
    assert!(
        config.warnings.iter().any(|w| w.found.contains("the peer and the identities")),
        "{:?}",
        config.warnings
    );
}

#[test]
fn memory_is_checked() {
    let plane = |keys: &str| good(&format!("{MINIMAL}\n[dataplane]\n{keys}\n")).warnings;
    assert!(plane("frames = 4096")[0].found.contains("`frames` 4096 are fewer"));
    assert!(plane("ring-size = 512")[0].found.contains("loses packets"));
    assert!(plane("max-sas = 2").is_empty());
}

/// R123: kinds of identities.
#[test]
fn identities_are_told_apart() {
    let remote = |text: &str| parse_identity(text, true);
    assert_eq!(remote("192.0.2.1"), Ok(Identity::Address("192.0.2.1".parse().unwrap())));
    assert_eq!(remote("2001:db8::1"), Ok(Identity::Address("2001:db8::1".parse().unwrap())));
    assert_eq!(remote("gw.example"), Ok(Identity::Fqdn("gw.example".into())));
    assert_eq!(remote("op@example"), Ok(Identity::UserFqdn("op@example".into())));
    assert_eq!(remote("keyid:00c0ffee"), Ok(Identity::KeyId(vec![0, 0xc0, 0xff, 0xee])));
    assert_eq!(remote("any"), Ok(Identity::Any));
    for identity in ["192.0.2.1", "gw.example", "op@example", "keyid:00c0ffee", "any"] {
        assert_eq!(IdText(&remote(identity).unwrap()).to_string(), identity);
    }
    for wrong in ["", "10.1.0.300", "a b", "10.0.0.0/8", "keyid:", "keyid:0", "keyid:xx", "ä.lab", "fe80::x"]
    {
        assert!(remote(wrong).is_err(), "{wrong}");
    }
    assert!(parse_identity("any", false).is_err());
    assert_error(&MINIMAL.replace("\"a.lab\"", "\"any\""), &["\"any\" as our own identity"]);
}

#[test]
fn missing_and_unreadable_files() {
    let folder = tempfile::tempdir().unwrap();
    let errors = Config::load(&folder.path().join("none.toml")).unwrap_err().to_string();
    assert!(errors.contains("none.toml: error: the configuration cannot be read: No such file"), "{errors}");
    let path = folder.path().join("binary.toml");
    std::fs::write(&path, b"a = \"\xff\"").unwrap();
    let errors = Config::load(&path).unwrap_err().to_string();
    assert!(errors.contains("not UTF-8 at byte 5"), "{errors}");
    assert!(Config::load(folder.path()).unwrap_err().to_string().contains("cannot be read"));
    File::create(&path).unwrap().set_len(MAX_SIZE + 1).unwrap();
    let errors = Config::load(&path).unwrap_err().to_string();
    assert!(errors.contains("larger than 16 MiB"), "{errors}");
    let path = folder.path().join("gw.toml");
    std::fs::write(&path, MINIMAL).unwrap();
    assert_eq!(Config::load(&path).unwrap().control.secrets, folder.path().join("secrets.toml"));
}

// RFC 5685, as gateway
#[test]
fn peers_are_sent_to_another_gateway() {
    assert_error(&with("redirect-to = \"198.18.0.1\""), &["`redirect-to` is 198.18.0.1"]);
    assert_error(&with("redirect-to = \"2001:db8::1\""), &["of the same family"]);
    assert_error(&with("redirect-at = \"auth\""), &["without `redirect-to`"]);
    assert_error(
        &with("redirect-to = \"198.18.0.3\"\nredirect-at = \"later\""),
        &["`redirect-at`: \"later\""],
    );
    good(&with("redirect-to = \"198.18.0.3\"\nredirect-at = \"auth\""));
}

// RFC 7296 §2.19
#[test]
fn an_address_is_asked_of_a_peer_that_can_be_asked() {
    let client =
        |more: &str| format!("{}request-address = {more}\n", selecting("[{ remote = \"10.2.0.0/24\" }]"));
    let config = good(&client("[\"ipv4\", \"ipv6\"]"));
    assert_eq!(config.tunnels[0].selectors[0].selector.local, ravelin_wire::AddrRange::ANY_V4);
    assert_eq!(config.tunnels[0].exchanges.addresses.len(), 2);
    good(&client("[\"10.3.0.8\"]\naddress-device = \"dummy0\""));
    assert_error(&client("[\"dhcp\"]"), &["\"dhcp\"", "\"ipv4\", \"ipv6\" or an address"]);
    assert_error(
        &client("[\"ipv4\", \"10.3.0.8\"]"),
        &["asks for ipv4 and 10.3.0.8", "one address of each family"],
    );
    assert_error(&client("[\"ipv6\"]"), &["local = \"0.0.0.0/0\"", "which no requested address can be of"]);
    assert_error(&client("[\"ipv4\"]\nstart = \"respond\""), &["only who begins can ask"]);
    let any = client("[\"ipv4\"]").replace("remote = \"198.18.0.2\"", "remote = \"any\"");
    assert_error(&any, &["`request-address`, but `remote` is \"any\""]);
    assert_error(&with("address-device = \"dummy0\""), &["without `request-address`"]);
    assert_error(&selecting("[{ remote = \"10.2.0.0/24\" }]"), &["`local` is missing"]);
}

/// R1, R9, R14: the gateways of one peer, each once, each with its own secret.
#[test]
fn backups_are_other_gateways_of_the_same_peer() {
    let one = |b: &str| with(&format!("backups = [{{ {b} }}]"));
    assert_error(&one("remote-id = \"c.lab\""), &["`remote` is missing", "another gateway of the peer"]);
    assert_error(&one("remote = \"2001:db8::1\""), &["write both as IPv4"]);
    assert_error(&one("remote = \"198.18.0.1\""), &["stands twice", "write every gateway once"]);
    assert_error(&one("remote = \"198.18.0.2\""), &["stands twice"]);
    assert_error(&one("remote = \"198.18.0.3\", dpd = \"1s\""), &["unknown key `dpd` in a backup"]);
    assert_error(&with("return-to-first = \"1m\""), &["without `backups`"]);
    assert_error(&with("local-backups = [\"198.18.0.1\"]"), &["`local-backups` has 198.18.0.1"]);
    assert_error(&with("local-backups = [\"2001:db8::1\"]"), &["of the same family"]);
    let any = MINIMAL.replace("remote = \"198.18.0.2\"", "remote = \"any\"");
    let any = format!("{any}\nbackups = [{{ remote = \"198.18.0.3\" }}]\n");
    assert_error(&any, &["`backups` of a peer with any address"]);

    let config = good(&with(
        "backups = [{ remote = \"198.18.0.3\", remote-id = \"c.lab\" }, { remote = \"198.18.0.4\" }]\n\
         return-to-first = \"10m\"",
    ));
    let ids: Vec<String> =
        config.tunnels.iter().next().unwrap().towards().map(|t| IdText(&t.remote_id).to_string()).collect();
    assert_eq!(ids, ["b.lab", "c.lab", "198.18.0.4"]);
    let secret = |id: &str| {
        format!(
            "[[secret]]\nlocal-id = \"a.lab\"\nremote-id = \"{id}\"\npsk = \"the secret of {id} alone\"\n"
        )
    };
    let two = Secrets::parse(Path::new("s"), &[secret("b.lab"), secret("c.lab")].concat()).unwrap();
    let errors = two.check(&config).unwrap_err().to_string();
    assert!(errors.contains("198.18.0.4"), "{errors}");
    let all = [secret("b.lab"), secret("c.lab"), secret("198.18.0.4")].concat();
    let all = Secrets::parse(Path::new("s"), &all).unwrap();
    assert!(all.all_warnings(&config).is_empty(), "each belongs to a gateway");
    let connections = config.connections(&all).unwrap();
    let backups = &connections[0].exchanges.backups;
    let own = |c: &ravelin_ike::config::Connection| c.local_auth.clone();
    assert!(
        backups.len() == 2
            && own(&backups[0]) != own(&connections[0])
            && own(&backups[0]) != own(&backups[1])
    );
}

/// What is negotiated is written again in the same words, and has a suite of the data plane (RFC 3686, RFC 4543, RFC 4868).
#[test]
fn every_proposal_of_esp_and_ah_has_a_suite() {
    let ciphers = ["aes128", "aes256", "aes256ctr"]
        .map(|c| ["sha1", "sha256", "sha384", "sha512"].map(|i| format!("{c}-{i}")));
    let few = ["aes128ctr", "aes192ctr"].map(|c| ["sha1", "sha256"].map(|i| format!("{c}-{i}")));
    let alone = ["aes128gcm16", "aes256gcm16", "chacha20poly1305", "aes128gmac", "aes192gmac", "aes256gmac"];
    let all = ciphers.concat().into_iter().chain(few.concat()).chain(alone.map(str::to_owned));
    let mut suites = std::collections::HashSet::new();
    for words in all {
        let proposal = proposal::parse_esp(&format!("{words}-x25519-esn")).unwrap()[0];
        assert_eq!(esp_text(&proposal), format!("{words}-x25519-esn"));
        assert!(suites.insert(crate::install::suite_of(&proposal).unwrap_or_else(|| panic!("{words}"))));
    }
    assert_eq!(suites.len(), 22);
    for words in ["sha1", "sha256", "sha384", "sha512", "aes128gmac", "aes192gmac", "aes256gmac"] {
        let proposal = proposal::parse_ah(&format!("{words}-x25519-esn")).unwrap()[0];
        assert_eq!(esp_text(&proposal), format!("{words}-x25519-esn"));
        assert!(suites.insert(crate::install::suite_of(&proposal).unwrap_or_else(|| panic!("{words}"))));
    }
    assert_eq!(suites.len(), 29);
}

// R174
#[test]
fn the_port_of_ike_at_the_peer_is_a_port_of_one_that_we_call() {
    for bad in ["0", "65536", "\"500\""] {
        assert_error(&with(&format!("remote-ike-port = {bad}")), &["`remote-ike-port`"]);
    }
    assert_eq!(good(&with("remote-ike-port = 1500")).tunnels[0].exchanges.remote_port, Some(1500));
    let any = MINIMAL.lines().map(|l| if l.starts_with("remote =") { "remote = \"any\"" } else { l });
    let any = any.collect::<Vec<_>>().join("\n");
    assert_error(&format!("{any}\nremote-ike-port = 1500\n"), &["`remote-ike-port`", "any"]);
}

// R70: the interface of the gateway is one of the ports.
#[test]
fn the_interface_of_a_gateway_is_a_port() {
    assert_error(&with("local-interface = \"wan7\""), &["`local-interface`", "wan7", "wan0"]);
    assert_error(&with("local-interface = 7"), &["`local-interface`"]);
    assert_eq!(
        good(&with("local-interface = \"wan0\"")).tunnels[0].local_interface.as_ref().unwrap().as_str(),
        "wan0"
    );
}

// R75, R76: two tunnels for any peer at one gateway, which no peer could tell apart: both are named.
#[test]
fn two_tunnels_for_any_peer_share_no_gateway() {
    let any = |name: &str, local: &str, id: &str| {
        format!(
            "[[tunnel]]\nname = \"{name}\"\nlocal = \"{local}\"\nremote = \"any\"\nlocal-id = \"a.lab\"\n\
             remote-id = \"{id}\"\nselectors = [{{ local = \"10.1.0.0/24\", remote = \"10.{}.0.0/24\" }}]\n",
            name.len() + 70
        )
    };
    let ports = "[[port]]\nname = \"wan0\"\n[dataplane]\ncores = [0]\n";
    let both = |b: String| format!("{ports}{}{b}", any("road", "198.18.0.1", "any"));
    assert_error(&both(any("field", "198.18.0.1", "any")), &["\"field\"", "\"road\"", "remote-id"]);
    good(&both(any("field", "198.18.0.1", "*@van.lab")));
    good(&both(any("field", "198.18.0.5", "any")));
}
