//! Keys by hand (R113, R114, R199): what is taken, what is refused, and what is said of all of them.

use super::*;
use crate::install::{IdSalt, ManualSas};
use ravelin_ring::msg::VrfId;

const BY_HAND: &str = include_str!("../../../../configs/manual.toml");
const BUNDLE: &str = "manual = { esp = \"aes256-sha256\", esp-spi-in = 0x1001, esp-spi-out = 0x2001, ah = \"sha256\", ah-spi-in = 0x1002, ah-spi-out = 0x2002 }";

fn having(manual: &str) -> String {
    assert!(BY_HAND.contains(BUNDLE));
    BY_HAND.replace(BUNDLE, &format!("manual = {{ {manual} }}"))
}

const ESP: &str = "esp = \"aes128-sha1\", esp-spi-in = 300, esp-spi-out = 300";

/// R114: the commit says that nothing is renewed, each time.
#[test]
fn static_keys_are_warned_of() {
    for text in [BY_HAND.to_owned(), having(ESP)] {
        let config = good(&text);
        assert_eq!(config.warnings.len(), 1);
        let warning = config.warnings[0].to_string();
        assert!(warning.contains("never renewed") && warning.contains("replayed"), "{warning}");
    }
}

#[test]
fn what_static_keys_break_is_refused() {
    for suite in [
        "aes256gcm16",
        "aes128gmac",
        "aes256ctr-sha256",
        "chacha20poly1305",
        "aes256-sha256-esn",
        "aes256-sha256-x25519",
    ] {
        let text = having(&format!("esp = \"{suite}\", esp-spi-in = 300, esp-spi-out = 300"));
        assert_error(&text, &["`esp`", "static keys do not break", "aes256-sha256"]);
    }
    for suite in ["sha256-esn", "aes256gmac"] {
        let text = having(&format!("ah = \"{suite}\", ah-spi-in = 300, ah-spi-out = 300"));
        assert_error(&text, &["`ah`", "static keys"]);
    }
    assert_error(&having("esp-spi-in = 300"), &["`esp-spi-in` without `esp`"]);
    assert_error(&having("esp = \"aes128-sha1\", esp-spi-in = 300"), &["`esp-spi-out` is missing"]);
    assert_error(
        &having("esp = \"aes128-sha1\", esp-spi-in = 255, esp-spi-out = 300"),
        &["`esp-spi-in`", "256"],
    );
    assert_error(&having(""), &["neither `esp` nor `ah`"]);
}

#[test]
fn what_is_of_ike_does_not_stand_beside_it() {
    for more in [
        "lifetime = \"1h\"",
        "local-id = \"a.lab\"",
        "dpd = \"20s\"",
        "auth = \"psk\"",
        "mobike = true",
        "replay-window = 64",
        "per-worker = true",
    ] {
        let key = more.split(' ').next().unwrap();
        assert_error(&format!("{BY_HAND}{more}\n"), &[&format!("`{key}` beside `manual`")]);
    }
    let twice = format!(
        "{BY_HAND}{}",
        BY_HAND
            .split("[[tunnel]]")
            .nth(1)
            .map(|t| format!("[[tunnel]]{t}"))
            .unwrap()
            .replace("legacy", "other")
            .replace("10.2.0.0", "10.3.0.0")
    );
    assert_error(&twice, &["comes in by tunnel \"legacy\" too"]);
    let apart = BY_HAND.replace("[[tunnel]]", "[dataplane]\ncores = [0, 1]\n[[tunnel]]");
    assert_error(&apart, &["different remainders by 2", "ah-spi-in = 0x1001"]);
    good(&apart.replace("ah-spi-in = 0x1002", "ah-spi-in = 0x1003"));
}

/// R114: each key is there, under its name and as long as its algorithms want it; the text form is taken too.
#[test]
fn keys_come_from_the_secrets_file() {
    let mut config = good(BY_HAND);
    let secrets = Secrets::parse(Path::new("secrets.toml"), SECRETS).unwrap();
    secrets.check(&config).unwrap();
    let main = (VrfId::MAIN, VrfId::MAIN);
    assert!(ManualSas::of(&config.tunnels[0], main, &IdSalt::new([0; 32])).is_none(), "not without keys");
    secrets.give_keys(&mut config);
    assert!(ManualSas::of(&config.tunnels[0], main, &IdSalt::new([0; 32])).is_some());
    for (from, to) in [("legacy/ah/in", "legacy/ah/inn"), ("an example of thirty-two letters", "short")] {
        let errors = Secrets::parse(Path::new("s"), &SECRETS.replace(from, to)).unwrap().check(&config);
        let text = errors.unwrap_err().to_string();
        assert!(
            text.contains("\"legacy/ah/in\" and 32 bytes") && text.contains("openssl rand -hex 32"),
            "{text}"
        );
    }
}

#[test]
fn a_reload_says_what_changed() {
    let changed = BY_HAND.replace("0x2001", "0x2005");
    let lines = diff(&good(BY_HAND), &good(&changed)).lines();
    assert!(lines.len() == 1 && lines[0].contains("manual") && lines[0].contains("00002005"), "{lines:?}");
}
