use super::*;
use proptest::prelude::*;
use ravelin_ike::config::{LocalAuth, RemoteAuth};
use std::os::unix::fs::PermissionsExt;

const GOOD: &str = "# keys\n[[secret]] # one\nlocal-id = \"a.lab\"\nremote-id = 'b.lab'\npsk = 'top \"secret\" value'  # note\n\
                    \n[[secret]]\nlocal-id = \"a.lab\"\nremote-id = \"any\"\npsk-hex = \"00ff10000000000000000000000000ab\"\n";

fn parse(text: &str) -> Result<Secrets, Errors> {
    Secrets::parse(Path::new("secrets.toml"), text)
}

fn tunnel(remote: &str) -> Config {
    let text = format!(
        "[[port]]\nname = 'p'\n[[tunnel]]\nname = 't'\nlocal = '198.18.0.1'\nremote = '198.18.0.2'\n\
         local-id = 'a.lab'\nremote-id = '{remote}'\n\
         selectors = [{{ local = '10.1.0.0/24', remote = '10.2.0.0/24' }}]\n"
    );
    Config::parse(Path::new("gw.toml"), &text).unwrap()
}

/// R8: the key is chosen by identities, the exact pair before "any".
// R137: as ASCII and as hexadecimal
#[test]
fn matched_by_both_identities() {
    let secrets = parse(GOOD).unwrap();
    assert_eq!(secrets.len(), 2);
    let of = |remote: &str| secrets.of(&tunnel(remote).tunnels[0]).unwrap();
    assert_eq!(of("b.lab").expose(), b"top \"secret\" value");
    assert_eq!(of("c.lab").expose()[..3], [0, 0xff, 0x10]);
    assert_eq!(of("c.lab").expose().len(), 16);
    let other = parse(&GOOD.replace("a.lab", "x.lab")).unwrap();
    assert!(other.of(&tunnel("b.lab").tunnels[0]).is_none());
    assert!(!other.is_empty());
}

/// R8: what is wrong is said by line, and no part of a value with it.
#[test]
fn errors_name_lines_and_hide_values() {
    let cases = [
        ("psk = 'hunter2hunter2hunter2'\n", 1, "outside of any [[secret]]"),
        ("[secret]\npsk = 'hunter2hunter2'\n", 1, "an unknown section"),
        ("[[secret]]\nhunter2hunter2hunter2\n", 2, "a line that is not KEY"),
        ("[[secret]]\nhunter2 = 'x'\n", 2, "an unknown key"),
        ("[[secret]]\npks = 'hunter2hunter2'\n", 2, "did you mean `psk`?"),
        ("[[secret]]\npsk = hunter2hunter2\n", 2, "not a simple string"),
        ("[[secret]]\npsk = \"hunter2\\nhunter2\"\n", 2, "not a simple string"),
        ("[[secret]]\npsk = 'hunter2hunter2' hunter2\n", 2, "not a simple string"),
        ("[[secret]]\npsk = 'hunter2\n", 2, "not a simple string"),
        ("[[secret]]\npsk-hex = 'hunter2'\n", 2, "pairs of hexadecimal digits"),
        ("[[secret]]\npsk-hex = 'abc'\n", 2, "pairs of hexadecimal digits"),
        ("[[secret]]\npsk = ''\n", 2, "empty or too long"),
        ("[[secret]]\npsk = 'hunter2hunter2'\npsk = 'hunter2hunter2'\n", 3, "stands twice"),
        ("[[secret]]\npsk = 'hunter2hunter2'\npsk-hex = 'abcd'\n", 3, "both `psk` and `psk-hex`"),
        ("[[secret]]\nlocal-id = 'a'\npsk = 'hunter2hunter2'\n", 1, "an incomplete [[secret]]"),
        ("[[secret]]\nlocal-id = 'a b'\n", 2, "`local-id`"),
        ("[[secret]]\nlocal-id = 'any'\n", 2, "as our own identity"),
    ];
    for (text, line, part) in cases {
        let errors = parse(text).expect_err(text);
        let hit = errors.errors.iter().find(|e| e.to_string().contains(part));
        let hit = hit.unwrap_or_else(|| panic!("{text}: {errors}"));
        assert_eq!(hit.line, line, "{text}");
        assert!(!errors.to_string().contains("hunter2"), "{text}: {errors}");
    }
    let twice =
        format!("{GOOD}\n[[secret]]\nlocal-id='a.lab'\nremote-id='b.lab'\npsk='another one of these'\n");
    assert!(parse(&twice).unwrap_err().to_string().contains("a second secret for the same identities"));
}

#[test]
fn values_are_never_printed() {
    let secrets = parse(GOOD).unwrap();
    let shown = format!("{secrets:?} {:?}", secrets.of(&tunnel("b.lab").tunnels[0]));
    assert!(!shown.contains("top") && !shown.contains("255"), "{shown}");
    assert!(shown.contains("Secret(…)"));
}

#[test]
fn short_and_unused_secrets_warn() {
    let secrets = parse(&GOOD.replace("top \"secret\" value", "short")).unwrap();
    assert_eq!(secrets.warnings().len(), 1);
    assert_eq!(secrets.warnings()[0].line, 5);
    let all = parse(&GOOD.replace("a.lab", "z.lab")).unwrap().all_warnings(&tunnel("b.lab"));
    let lines: Vec<u32> = all.iter().map(|w| w.line).collect();
    assert_eq!(lines, [2, 7], "{all:?}");
    assert!(parse(GOOD).unwrap().all_warnings(&tunnel("b.lab")).is_empty());
}

/// R8: file mode check; the error says the cure.
#[test]
fn a_file_that_others_can_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secrets.toml");
    std::fs::write(&path, GOOD).unwrap();
    let load = |mode: u32| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        Secrets::load(&path)
    };
    for mode in [0o644, 0o640, 0o604, 0o620, 0o602, 0o610, 0o666] {
        let text = load(mode).expect_err("must be refused").to_string();
        assert!(text.contains(&format!("mode {mode:04o}")), "{text}");
        assert!(text.contains(&format!("chmod 600 {}", path.display())), "{text}");
    }
    assert_eq!(load(0o600).unwrap().len(), 2);
    assert_eq!(load(0o400).unwrap().len(), 2);
}

/// Only root can give a file away; where the test is not root, it is refused to say it passed.
#[test]
fn a_file_of_somebody_else_is_refused() {
    assert!(nix::unistd::geteuid().is_root(), "this test must run as root: it gives a file to another user");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secrets.toml");
    std::fs::write(&path, GOOD).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
    let text = Secrets::load(&path).unwrap_err().to_string();
    assert!(text.contains("belongs to user 12345") && text.contains("chown 0"), "{text}");
}

#[test]
fn what_is_no_secrets_file() {
    let folder = tempfile::tempdir().unwrap();
    let error = |path: &Path| Secrets::load(path).unwrap_err().to_string();
    assert!(error(&folder.path().join("none")).contains("cannot be read: No such file"));
    assert!(error(folder.path()).contains("not a regular file"));
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert!(error(&pipe).contains("not a regular file"), "must not wait for a writer");
    let path = folder.path().join("large");
    let file = File::create(&path).unwrap();
    file.set_permissions(std::fs::Permissions::from_mode(0o600)).unwrap();
    file.set_len(MAX_SIZE + 1).unwrap();
    assert!(error(&path).contains("larger than"));
    std::fs::write(&path, b"psk = \"\xff\"").unwrap();
    assert!(error(&path).contains("not UTF-8"));
}

const FILES: &[(&str, &[u8])] = &[
    ("gateway.key", include_bytes!("files/gateway.key")),
    ("other.key", include_bytes!("files/other.key")),
    ("other.pub", include_bytes!("files/other.pub")),
    ("gateway.pem", include_bytes!("files/gateway.pem")),
    ("old.pem", include_bytes!("files/old.pem")),
];

/// A tunnel with these keys in a folder with [`FILES`].
fn signed(lines: &str) -> (tempfile::TempDir, Result<Config, Errors>) {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in FILES {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let text = format!(
        "[[port]]\nname = 'p'\n[[tunnel]]\nname = 't'\nlocal = '198.18.0.1'\nremote = '198.18.0.2'\n\
         selectors = [{{ local = '10.1.0.0/24', remote = '10.2.0.0/24' }}]\n{lines}\n"
    );
    let config = Config::parse(&folder.path().join("gw.toml"), &text);
    (folder, config)
}

const CERTIFICATE: &str = "auth = 'certificate'\ncertificate = 'gateway.pem'\nprivate-key = 'gateway.key'\n\
                           trusted-ca = ['gateway.pem']";

/// R79, R123: what belongs together becomes what the engine signs with; the default identity is the certificate's.
#[test]
fn keys_and_certificates_of_a_tunnel() {
    let none = Secrets::parse(Path::new("s.toml"), "").unwrap();
    let (_folder, config) = signed(CERTIFICATE);
    let connection = &config.unwrap().connections(&none).unwrap()[0];
    assert_eq!(IdText(&connection.local_id).to_string(), "dn:C=DE, O=Example, CN=gw");
    let raw = "auth = 'raw-key'\nprivate-key = 'gateway.key'\npeer-keys = ['other.pub']\nlocal-id = 'a.lab'";
    let (_folder, config) = signed(raw);
    let connection = &config.unwrap().connections(&none).unwrap()[0];
    assert_eq!(IdText(&connection.local_id).to_string(), "a.lab");
    let (_folder, config) =
        signed(&format!("{CERTIFICATE}\nlocal-id = 'a.lab'\nremote-id = 'dn:O=Example, *'"));
    assert_eq!(config.unwrap().connections(&none).unwrap().len(), 1);
}

/// Every file that cannot be used is named, with the cure.
#[test]
fn files_that_do_not_fit() {
    let none = Secrets::parse(Path::new("s.toml"), "").unwrap();
    let cases = [
        (CERTIFICATE.replace("'gateway.key'", "'other.key'"), "is not the key of `certificate`"),
        (CERTIFICATE.replace("certificate = 'gateway.pem'", "certificate = 'old.pem'"), "CN=old has expired"),
        (CERTIFICATE.replace("['gateway.pem']", "['none.pem']"), "No such file"),
        (CERTIFICATE.replace("['gateway.pem']", "['gateway.key']"), "holds no certificate"),
        (CERTIFICATE.replace("'gateway.key'", "'gateway.pem'"), "is not a PRIVATE KEY"),
        (format!("{CERTIFICATE}\nlocal-id = 'b.lab'"), "does not name `local-id` b.lab"),
        (format!("{CERTIFICATE}\ncrl = 'required'\ncrl-files = ['gateway.pem']"), "holds no CRL"),
    ];
    for (lines, part) in cases {
        let (_folder, config) = signed(&lines);
        let text = config.unwrap().connections(&none).expect_err(&lines).to_string();
        assert!(text.contains(part) && text.contains("cure: "), "{lines}: {text}");
        assert!(text.contains("gw.toml:3:"), "the line of the tunnel: {text}");
    }
    let (folder, config) = signed(CERTIFICATE);
    let key = folder.path().join("gateway.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    let text = config.unwrap().connections(&none).unwrap_err().to_string();
    assert!(text.contains("mode 0640") && text.contains(&format!("chmod 600 {}", key.display())), "{text}");
}

#[test]
fn keys_that_contradict_the_way() {
    let cases = [
        ("auth = 'certificate'", "`certificate` is missing"),
        ("private-key = 'x'", "`private-key` has no use here"),
        ("remote-auth = 'certificate'", "`trusted-ca` is missing"),
        ("remote-auth = 'raw-key'", "`peer-keys` is missing"),
        ("remote-auth = 'certificate'\ntrusted-ca = ['a']\ncrl-files = ['b']", "`crl-files` has no use here"),
        (
            "remote-auth = 'certificate'\ntrusted-ca = ['a']\ncrl-urls = ['http://b/']",
            "`crl-urls` has no use here",
        ),
        (
            "remote-auth = 'certificate'\ntrusted-ca = ['a']\nocsp-url = 'http://b/'",
            "`ocsp-url` has no use here",
        ),
        (
            "remote-auth = 'certificate'\ntrusted-ca = ['a']\nocsp = 'required'\nocsp-url = 'https://b/'",
            "`ocsp-url`: ",
        ),
        ("ocsp = 'required'", "`ocsp` has no use here"),
        ("auth = 'eap'\neap-user = 'carol'", "`eap-methods`: \"mschapv2\" with EAP on both sides"),
        ("auth = 'eap'\neap-methods = ['tls', 'md5']", "`eap-methods`: \"md5\" with EAP on both sides"),
        ("auth = 'eap'\nremote-auth = 'psk'\neap-user = 'carol'", "`remote-auth`: with EAP on one side"),
        ("auth = 'eap'\nremote-auth = 'certificate'\ntrusted-ca = ['a']", "`eap-user` is missing"),
        ("remote-auth = 'eap'\nstart = 'respond'", "`auth`: with EAP on one side"),
        (&format!("{SERVES}\nstart = 'immediately'"), "the peer must"),
        (&format!("{LOGS_IN}\nstart = 'respond'"), "we must begin"),
        (&format!("{LOGS_IN}\neap-methods = ['gtc']"), "`eap-methods`"),
        ("eap-methods = ['md5']", "`eap-methods` has no use here"),
        ("ppk = 'required'", "`ppk` without `ppk-id`"),
        ("local-id = 'dn:CN=*'", "a pattern (*) as our own identity"),
        ("remote-id = 'dn:XX=1'", "an unknown attribute in a name"),
    ];
    for (lines, part) in cases {
        let text = signed(lines).1.expect_err(lines).to_string();
        assert!(text.contains(part), "{lines}: {text}");
    }
}

const LOGS_IN: &str =
    "auth = 'eap'\neap-user = 'carol'\nremote-auth = 'certificate'\ntrusted-ca = ['gateway.pem']";
const SERVES: &str =
    "auth = 'certificate'\ncertificate = 'gateway.pem'\nprivate-key = 'gateway.key'\nremote-auth = 'eap'";
const USERS: &str = "[[user]]\nname = 'carol'\npassword = 'short'\n[[user]]\nname = 'dave@lab'\npassword = 'x y'\n\
                     [[ppk]]\nid = 'one'\nkey-hex = '00ff'\n";

/// Users and PPKs come from the secrets file, and what is missing there is said.
#[test]
fn users_and_ppks() {
    let (none, all) = (parse("").unwrap(), parse(USERS).unwrap());
    assert_eq!(all.warnings().len(), 1, "of the PPK, which is short; passwords are the users' own");
    let (_folder, config) = signed(LOGS_IN);
    let config = config.unwrap();
    let LocalAuth::Eap(client) = &config.connections(&all).unwrap()[0].local_auth else { panic!() };
    assert_eq!((client.user.as_str(), client.password.expose()), ("carol", &b"short"[..]));
    assert!(config.connections(&none).unwrap_err().to_string().contains("a [[user]] with name \"carol\""));
    let (_folder, config) = signed(&format!("{SERVES}\nstart = 'respond'"));
    let config = config.unwrap();
    let RemoteAuth::Eap(server) = &config.connections(&all).unwrap()[0].remote_auth else { panic!() };
    assert_eq!(server.users.len(), 2);
    assert!(config.connections(&none).unwrap_err().to_string().contains("for everybody who may log in"));
    let (_folder, config) = signed(&format!("{CERTIFICATE}\nppk-id = 'one'\nppk = 'if-available'"));
    let config = config.unwrap();
    let ppk = config.connections(&all).unwrap()[0].ppk.clone().unwrap();
    assert_eq!((ppk.id.as_slice(), ppk.key.expose(), ppk.required), (&b"one"[..], &[0, 0xff][..], false));
    assert!(config.connections(&none).unwrap_err().to_string().contains("a [[ppk]] with id \"one\""));
    let changed = parse(&USERS.replace("00ff", "00fe")).unwrap();
    assert_eq!(all.changed(&config, &changed, &config), ["t"]);
    for (text, part) in [
        ("[[user]]\nname = 'hunter2'", "an incomplete [[user]]"),
        ("[[ppk]]\nid = 'a'", "an incomplete [[ppk]]"),
        ("[[user]]\npsk = 'hunter2hunter2'", "an unknown key"),
        ("[[user]]\nname = ''", "is empty, too long or no text"),
        ("[[ppk]]\nid = 'a'\nkey = 'hunter2'\nkey-hex = '00'", "both `key` and `key-hex`"),
        (&format!("{USERS}{USERS}"), "a second [[user]] of the same name"),
        (
            "[[user]]\nname = 'Bob'\npassword = 'one'\n[[user]]\nname = 'bob'\npassword = 'two'",
            "the same name but for its case",
        ),
    ] {
        let errors = parse(text).unwrap_err().to_string();
        assert!(errors.contains(part) && !errors.contains("hunter2"), "{text}: {errors}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_text_never_panics(text in "(\\PC{0,30}\n){0,8}") {
        let _ = parse(&text);
    }

    /// What our small reader takes is TOML, and means there what it means here.
    #[test]
    fn agrees_with_toml(
        lines in proptest::collection::vec(prop_oneof![
            Just("[[secret]]".to_owned()), Just("# note".to_owned()), Just("local-id = \"a\"".to_owned()),
            Just("remote-id = 'b'".to_owned()), Just("[[ secret ]]  # x".to_owned()),
            "psk ?= ?['\"][ -~]{0,12}['\"] ?(# [a-z]*)?", "psk-hex = \"[0-9a-f]{0,8}\"",
        ], 0..10),
    ) {
        let text = lines.join("\n");
        let Ok(secrets) = parse(&text) else { return Ok(()) };
        let table: toml::Table = text.parse().expect("accepted by us, refused by toml");
        let all = table.get("secret").and_then(|all| all.as_array()).cloned().unwrap_or_default();
        prop_assert_eq!(all.len(), secrets.len());
        for (ours, theirs) in secrets.entries.iter().zip(&all) {
            if let Some(psk) = theirs.get("psk") {
                prop_assert_eq!(ours.secret.expose(), psk.as_str().unwrap().as_bytes());
            }
        }
    }
}
