//! What a reload says and does.

use super::*;

fn lines(old: &str, new: &str) -> Vec<String> {
    let old = good(old);
    let mut new = good(new);
    new.keep_ids(&old);
    diff(&old, &new).lines()
}

#[test]
fn nothing_changed_is_nothing() {
    let (old, new) = (good(TWO), good(&format!("# moved by a line\n{TWO}")));
    assert!(diff(&old, &new).is_empty());
    assert_eq!(diff(&old, &new).lines(), Vec::<String>::new());
}

#[test]
fn added_and_removed_tunnels() {
    assert_eq!(lines(MINIMAL, TWO)[0], "+ tunnel van");
    assert_eq!(lines(TWO, &TWO.replace("\"van\"", "\"bus\"")), ["- tunnel van", "+ tunnel bus"]);
}

#[test]
fn changed_fields_say_old_and_new() {
    let new = TWO
        .replace("lifetime = \"30m\"", "lifetime = \"45m\"\ndf = \"clear\"")
        .replace("10.3.0.0/24", "10.4.0.0/24");
    assert_eq!(
        lines(TWO, &new),
        [
            "~ tunnel van: selectors [10.1.0.0/24 = 10.3.0.0/24] -> [10.1.0.0/24 = 10.4.0.0/24]",
            "~ tunnel van: df copy -> clear",
            "~ tunnel van: lifetime 30m -> 45m",
            "~ tunnel van: hard-lifetime 33m -> 49m30s",
        ]
    );
    let difference = diff(&good(TWO), &good(&new));
    assert_eq!(difference.changed.len(), 1, "office is untouched");
}

/// Every key of a tunnel is seen when it changes: none is forgotten by a reload.
#[test]
fn every_key_of_a_tunnel_is_seen() {
    let base = good(MINIMAL);
    let without: Vec<&str> = MINIMAL.lines().filter(|line| !line.contains("-id = ")).collect();
    let by_hand = "manual = { ah = \"sha256\", ah-spi-in = 300, ah-spi-out = 300 }";
    let by_hand = format!("{}\n{by_hand}\n", without.join("\n"));
    let road = with("pool = [\"10.2.0.0/24\"]\ndns = [\"10.1.0.53\"]");
    let road = road.replace("remote = \"198.18.0.2\"", "remote = \"any\"");
    let changes = [
        ("local", MINIMAL.replace("local = \"198.18.0.1\"", "local = \"198.18.0.9\"")),
        ("remote", MINIMAL.replace("remote = \"198.18.0.2\"", "remote = \"198.18.0.9\"")),
        ("local-id", MINIMAL.replace("a.lab", "x.lab")),
        ("remote-id", MINIMAL.replace("b.lab", "x.lab")),
        ("selectors", MINIMAL.replace("10.1.0.0/24", "10.1.0.0/25")),
        ("ike-proposals", with("ike-proposals = [\"aes256-sha256-modp2048\"]")),
        ("esp-proposals", with("esp-proposals = [\"aes256-sha256\"]")),
        ("local-interface", with("local-interface = \"wan0\"")),
        ("start", with("start = \"respond\"")),
        ("encapsulation", with("encapsulation = \"udp\"")),
        ("mode", with("mode = \"transport\"").replace("selectors", "# selectors")),
        ("ah-proposals", with("ah-proposals = [\"sha256\"]")),
        ("pool", road.clone()),
        ("dns", road),
        (
            "outside-vrf",
            with(
                "outside-vrf = \"red\"\n[[vrf]]\nname = \"red\"\ntable = 101\n[[port]]\nname = \"wan9\"\nvrf = \"red\"",
            ),
        ),
        ("vrf", with("vrf = \"red\"\n[[vrf]]\nname = \"red\"\ntable = 101")),
        ("per-worker", with("per-worker = true")),
        ("shared-crypto", with("shared-crypto = true")),
        ("interface", with("interface = { name = \"tun-a\" }")),
        ("manual", by_hand),
        ("filter-decrypted", with("filter-decrypted = [{ local = \"10.1.0.7\", remote = \"10.2.0.0/24\" }]")),
        ("replay-window", with("replay-window = 64")),
        ("tfc-padding", with("tfc-padding = \"mtu\"")),
        ("tunnel-mtu", with("tunnel-mtu = 1400")),
        ("tcp-mss", with("tcp-mss = \"path\"")),
        ("ike-fragment-size", with("ike-fragment-size = 0")),
        ("df", with("df = \"set\"")),
        ("ike-lifetime", with("ike-lifetime = \"3h\"")),
        ("lifetime", with("lifetime = \"2h\"")),
        ("hard-lifetime", with("hard-lifetime = \"2h\"")),
        ("rekey-jitter", with("rekey-jitter = 0")),
        ("lifebytes", with("lifebytes = \"1GiB\"")),
        ("hard-lifebytes", with("lifebytes = \"1GiB\"\nhard-lifebytes = \"2GiB\"")),
        ("lifepackets", with("lifepackets = 5000")),
        ("hard-lifepackets", with("lifepackets = 5000\nhard-lifepackets = 6000")),
        ("dpd", with("dpd = \"1m\"")),
        ("backups", with("backups = [{ remote = \"198.18.0.77\" }]")),
        ("return-to-first", with("backups = [{ remote = \"198.18.0.77\" }]\nreturn-to-first = \"5m\"")),
        ("reauthentication", with("reauthentication = \"8h\"")),
        ("childless", with("childless = true")),
        ("session-resumption", with("session-resumption = true")),
        ("retransmissions", with("retransmissions = 2")),
        ("local-backups", with("local-backups = [\"198.18.0.9\"]")),
        ("remote-ike-port", with("remote-ike-port = 1500")),
        ("redirect", with("redirect = true")),
        ("mobike", with("mobike = true")),
        ("one-way-after", with("one-way-after = \"off\"")),
        ("redirect-to", with("redirect-to = \"198.18.0.3\"")),
        ("redirect-at", with("redirect-to = \"198.18.0.3\"\nredirect-at = \"auth\"")),
        ("request-address", with("request-address = [\"ipv4\"]")),
        ("address-device", with("request-address = [\"ipv4\"]\naddress-device = \"dummy0\"")),
    ];
    // Further children are tunnels of their own, and `pfs` shows in the proposals.
    let changed = |text: &str| diff(&base, &good(text)).lines().join("\n");
    assert!(changed(&with("pfs = \"required\"")).contains("esp-proposals"));
    let child =
        "[[tunnel.child]]\nname = \"v\"\nselectors = [{ local = \"10.7.0.0/24\", remote = \"10.8.0.0/24\" }]";
    assert!(changed(&with(child)).contains("/v"), "{}", changed(&with(child)));
    let keys = tunnel::TUNNEL_KEYS.iter().chain(life::LIFE_KEYS).chain(exchanges::EXCHANGE_KEYS);
    for key in keys.filter(|key| !matches!(**key, "name" | "pfs" | "child" | "allow-legacy")) {
        let (_, text) = changes.iter().find(|(changed, _)| changed == key).expect(key);
        let difference = diff(&base, &good(text));
        let fields = &difference.changed.first().expect(key).fields;
        assert!(fields.iter().any(|field| field.key == *key), "{key}: {fields:?}");
    }
}

/// Ports and memory cannot change under a running data plane: said, not silently ignored.
#[test]
fn what_needs_a_restart_says_so() {
    let new = format!("{}\n[dataplane]\nframes = 32768\n", MINIMAL.replace("lan0", "lan1"));
    let got = lines(MINIMAL, &new);
    assert!(got.contains(
        &"! port lan0 attach=auto -> (none): takes effect when ravelin-dataplane is restarted".into()
    ));
    assert!(got.contains(
        &"! port lan1 (none) -> attach=auto: takes effect when ravelin-dataplane is restarted".into()
    ));
    assert!(
        got.contains(&"! frames 16384 -> 32768: takes effect when ravelin-dataplane is restarted".into())
    );
    let got =
        lines(MINIMAL, &format!("{MINIMAL}\n[control]\nike-port = 5000\ndefault-policy = \"discard\"\n"));
    assert_eq!(
        got,
        [
            "~ control: default-policy bypass -> discard",
            "! ike-port 500 -> 5000: takes effect when ravelin-control is restarted"
        ]
    );
}

#[test]
fn another_order_is_seen() {
    let at = TWO.find("[[tunnel]]").unwrap();
    let (head, tunnels) = TWO.split_at(at);
    let second = tunnels.rfind("[[tunnel]]").unwrap();
    let swapped = format!("{head}{}\n{}", &tunnels[second..], &tunnels[..second]);
    assert_eq!(lines(TWO, &swapped), ["~ order of tunnels"]);
}

/// A changed key is a change of its tunnel, and its value stays hidden.
#[test]
fn a_changed_secret_is_said_without_its_value() {
    let config = good(TWO);
    let old = Secrets::parse(Path::new("s"), SECRETS).unwrap();
    let new = Secrets::parse(Path::new("s"), &SECRETS.replace("an example", "another example")).unwrap();
    let names = old.changed(&config, &new, &config);
    assert_eq!(names, ["office"]);
    let mut difference = diff(&config, &config);
    difference.add_secrets(&config, &names);
    assert_eq!(difference.lines(), ["~ tunnel office: secret (hidden) -> (another)"]);
    assert_eq!(old.changed(&config, &old, &config), Vec::<&str>::new());
}
