//! How a tunnel's two sides prove who they are: keys of `[[tunnel]]` and what contradicts what among them.
//!
//! Decides: ways, files, defaults. Reads: tables. Writes: the model, findings. Never: opens a file (see
//! [`crate::secrets`]).

use ravelin_ike::config::{EapMethod, Start, When};
use std::path::PathBuf;
use toml::de::DeValue;

use super::diagnostic::Findings;
use super::model::{TunnelAuth, Way};
use super::reader::{Table, report};
use super::sections::path;
use super::value::{Bad, shown, text, word};
use crate::fetch::Url;

pub(crate) const AUTH_KEYS: &[&str] = &[
    "auth",
    "remote-auth",
    "certificate",
    "private-key",
    "trusted-ca",
    "peer-keys",
    "crl",
    "crl-files",
    "crl-urls",
    "ocsp",
    "ocsp-url",
    "send-chain",
    "rsa-signature",
    "eap-user",
    "eap-methods",
    "eap-ask-identity",
    "ppk-id",
    "ppk",
];

/// Files of one list.
const MAX_FILES: usize = 32;

const WAYS: &[(&str, Way)] =
    &[("psk", Way::Psk), ("certificate", Way::Certificate), ("raw-key", Way::RawKey), ("eap", Way::Eap)];

const METHODS: &[(&str, EapMethod)] =
    &[("mschapv2", EapMethod::MsChapV2), ("md5", EapMethod::Md5), ("tls", EapMethod::Tls)];

/// As in the file.
pub(crate) fn method_text(method: EapMethod) -> &'static str {
    METHODS.iter().find(|(_, known)| *known == method).map_or("", |(text, _)| text)
}

const WHEN: &[(&str, When)] =
    &[("off", When::Never), ("if-available", When::IfAvailable), ("required", When::Required)];

pub(crate) fn auth(table: &Table<'_>, findings: &mut Findings) -> TunnelAuth {
    let local = table.or("auth", Way::Psk, findings, |v| word(v, WAYS));
    let remote = table.or("remote-auth", local, findings, |v| word(v, WAYS));
    let auth = TunnelAuth {
        local,
        remote,
        certificate: table.optional("certificate", findings, path),
        private_key: table.optional("private-key", findings, path),
        trusted_ca: files(table, "trusted-ca", "[\"ca.pem\"]", findings),
        peer_keys: files(table, "peer-keys", "[\"peer.pub.pem\"]", findings),
        crl: table.or("crl", When::Never, findings, |v| word(v, WHEN)),
        crl_files: files(table, "crl-files", "[\"ca.crl.pem\"]", findings),
        crl_urls: urls(table, findings),
        ocsp: table.or("ocsp", When::Never, findings, |v| word(v, WHEN)),
        ocsp_url: table.optional("ocsp-url", findings, url),
        send_chain: table.or("send-chain", true, findings, flag),
        prefer_pss: table
            .or("rsa-signature", false, findings, |v| word(v, &[("pkcs1", false), ("pss", true)])),
        eap_user: table.optional("eap-user", findings, user),
        eap_methods: methods(table, findings),
        eap_ask_identity: table.or("eap-ask-identity", true, findings, flag),
        ppk_id: table.optional("ppk-id", findings, ppk_id),
        ppk_required: table
            .or("ppk", true, findings, |v| word(v, &[("required", true), ("if-available", false)])),
        default_id: table.get("local-id").is_none(),
    };
    check(table, &auth, findings);
    check_revocation(table, &auth, findings);
    auth
}

fn flag(value: &DeValue<'_>) -> Result<bool, Bad> {
    let DeValue::Boolean(flag) = value else {
        return Err(Bad::new(shown(value), "true or false", "write it without quotes"));
    };
    Ok(*flag)
}

fn files(table: &Table<'_>, key: &'static str, example: &str, findings: &mut Findings) -> Vec<PathBuf> {
    let given = table.list(key, example, MAX_FILES, findings, |element, line, findings| {
        path(element.get_ref()).map_err(|bad| report(findings, line, key, bad)).ok()
    });
    given.unwrap_or_default()
}

/// Every way has its files, and no file is without a way.
fn check(table: &Table<'_>, auth: &TunnelAuth, findings: &mut Findings) {
    let certificate = auth.local == Way::Certificate;
    let signs = certificate || auth.local == Way::RawKey;
    let logs_in_by_tls = auth.local == Way::Eap && auth.eap_tls();
    let (own, signs) = (certificate || logs_in_by_tls, signs || logs_in_by_tls);
    let (by_ca, by_key) = (auth.remote == Way::Certificate, auth.remote == Way::RawKey);
    let rules = [
        ("certificate", own, "auth = \"certificate\" or EAP-TLS", "certificate = \"gateway.pem\""),
        ("private-key", signs, "auth = \"certificate\" or \"raw-key\"", "private-key = \"gateway.key\""),
        (
            "trusted-ca",
            by_ca || auth.eap_tls(),
            "remote-auth = \"certificate\" or EAP-TLS",
            "trusted-ca = [\"ca.pem\"]",
        ),
        ("peer-keys", by_key, "remote-auth = \"raw-key\"", "peer-keys = [\"peer.pub.pem\"]"),
        ("eap-user", auth.local == Way::Eap, "auth = \"eap\"", "eap-user = \"carol\""),
    ];
    // With EAP on both sides it is for whoever begins; without it, it is our identity.
    let alone = (auth.local, auth.remote) == (Way::Eap, Way::Eap);
    for (key, needed, way, example) in rules.into_iter().filter(|rule| !(alone && rule.0 == "eap-user")) {
        match (needed, table.get(key).is_some()) {
            (true, false) => {
                let found = format!("`{key}` is missing in [[tunnel]]");
                findings.error(
                    table.line,
                    found,
                    format!("the file that {way} needs"),
                    format!("add {example}"),
                );
            }
            (false, true) => {
                let found = format!("`{key}` has no use here");
                let cure = format!("remove it, or write {way}");
                findings.error(table.line_of(key, findings), found, format!("it only with {way}"), cure);
            }
            _ => {}
        }
    }
}

/// What has a default, and yet no use without its way.
const ONLY_WITH: &[(&str, &[Way], &str)] = &[
    ("eap-methods", &[Way::Eap], "auth or remote-auth = \"eap\""),
    ("eap-ask-identity", &[Way::Eap], "remote-auth = \"eap\""),
];

/// What says how to ask for revocation has no use where it is not asked.
fn check_revocation(table: &Table<'_>, auth: &TunnelAuth, findings: &mut Findings) {
    let crl = ("crl", auth.crl);
    let shown = auth.remote == Way::Certificate || auth.eap_tls();
    for key in ["crl", "ocsp"] {
        if table.get(key).is_some() && !shown {
            let with = "remote-auth = \"certificate\" or EAP-TLS";
            let found = format!("`{key}` has no use here");
            let cure = format!("remove it, or write {with}");
            findings.error(table.line_of(key, findings), found, format!("it only with {with}"), cure);
        }
    }
    for (key, (switch, when)) in [("crl-files", crl), ("crl-urls", crl), ("ocsp-url", ("ocsp", auth.ocsp))] {
        if table.get(key).is_some() && (when == When::Never || !shown) {
            let with = format!("{switch} = \"required\" or \"if-available\"");
            let found = format!("`{key}` has no use here");
            let cure = format!("remove it, or write {with}");
            findings.error(table.line_of(key, findings), found, format!("it only with {with}"), cure);
        }
    }
}

/// EAP (RFC 7296 §2.16): who begins logs in, and the other side has proven itself before, by a key of its own.
pub(crate) fn check_eap(table: &Table<'_>, auth: &TunnelAuth, start: Start, findings: &mut Findings) {
    for (key, ways, with) in ONLY_WITH {
        if table.get(key).is_some() && !ways.contains(&auth.local) && !ways.contains(&auth.remote) {
            let line = table.line_of(key, findings);
            let (found, cure) = (format!("`{key}` has no use here"), format!("remove it, or write {with}"));
            findings.error(line, found, format!("it only with {with}"), cure);
        }
    }
    if table.get("ppk").is_some() && auth.ppk_id.is_none() {
        let line = table.line_of("ppk", findings);
        findings.error(line, "`ppk` without `ppk-id`", "the name of the key", "add ppk-id = \"…\"");
    }
    let (logs_in, lets_in) = (auth.local == Way::Eap, auth.remote == Way::Eap);
    if !logs_in && !lets_in {
        return;
    }
    if logs_in && lets_in {
        return check_alone(table, auth, findings);
    }
    let by_key = |way: Way| matches!(way, Way::Certificate | Way::RawKey);
    let other = if logs_in { ("remote-auth", auth.remote) } else { ("auth", auth.local) };
    if !by_key(other.1) {
        let line = table.line_of(other.0, findings);
        let found = format!("`{}`: with EAP on one side the other side must prove itself by a key", other.0);
        let cure = format!("write {} = \"certificate\"", other.0);
        findings.error(line, found, "\"certificate\" or \"raw-key\"", cure);
    }
    if logs_in && auth.eap_tls() && other.1 == Way::RawKey {
        let line = table.line_of("remote-auth", findings);
        let found = "`remote-auth`: \"raw-key\" together with EAP-TLS";
        findings.error(line, found, "\"certificate\"", "write remote-auth = \"certificate\"");
    }
    if lets_in && start != Start::Respond {
        let line = table.line_of("start", findings);
        let found = "`start` wants to begin, but with remote-auth = \"eap\" the peer must";
        findings.error(line, found, "start = \"respond\"", "write start = \"respond\"");
    }
    if logs_in && start == Start::Respond {
        let line = table.line_of("start", findings);
        let found = "`start` = \"respond\", but with auth = \"eap\" we must begin";
        findings.error(line, found, "\"immediately\" or \"on-traffic\"", "write start = \"immediately\"");
    }
}

/// EAP on both sides (RFC 5998): the method proves both and makes a key, or there is no proof at all.
fn check_alone(table: &Table<'_>, auth: &TunnelAuth, findings: &mut Findings) {
    if let Some(method) = auth.eap_methods.iter().find(|method| **method != EapMethod::Tls) {
        let line = table.line_of("eap-methods", findings);
        let found = format!("`eap-methods`: \"{}\" with EAP on both sides", method_text(*method));
        let expected = "\"tls\": a method that proves both sides by more than a password";
        findings.error(line, found, expected, "write eap-methods = [\"tls\"]");
    }
}

fn methods(table: &Table<'_>, findings: &mut Findings) -> Vec<EapMethod> {
    let key = "eap-methods";
    let given = table.list(key, "[\"mschapv2\"]", METHODS.len(), findings, |element, line, findings| {
        word(element.get_ref(), METHODS).map_err(|bad| report(findings, line, key, bad)).ok()
    });
    given.unwrap_or_else(|| vec![EapMethod::MsChapV2])
}

fn urls(table: &Table<'_>, findings: &mut Findings) -> Vec<String> {
    let key = "crl-urls";
    let given =
        table.list(key, "[\"http://crl.example/ca.crl\"]", MAX_FILES, findings, |element, line, findings| {
            url(element.get_ref()).map_err(|bad| report(findings, line, key, bad)).ok()
        });
    given.unwrap_or_default()
}

fn url(value: &DeValue<'_>) -> Result<String, Bad> {
    let expected = "an address of the form http://host/path (what comes is signed: it needs no TLS)";
    let given = text(value, expected, "write it in quotes")?;
    match Url::parse(given) {
        Some(_) => Ok(given.to_owned()),
        None => Err(Bad::new(shown(value), expected, "write for example \"http://crl.example/ca.crl\"")),
    }
}

/// As in the secrets file.
pub(crate) fn user_name(given: &str) -> Option<&str> {
    let lawful = !given.is_empty() && given.len() <= 253 && !given.chars().any(char::is_control);
    lawful.then_some(given)
}

fn user(value: &DeValue<'_>) -> Result<String, Bad> {
    let expected = "the name of a user: 1 to 253 bytes";
    let given = text(value, expected, "write it in quotes")?;
    let name =
        user_name(given).ok_or_else(|| Bad::new(shown(value), expected, "write eap-user = \"carol\""))?;
    Ok(name.to_owned())
}

fn ppk_id(value: &DeValue<'_>) -> Result<String, Bad> {
    let expected = "the name of a post-quantum pre-shared key: 1 to 253 bytes";
    let given = text(value, expected, "write it in quotes")?;
    let name =
        user_name(given).ok_or_else(|| Bad::new(shown(value), expected, "write ppk-id = \"ppk-1\""))?;
    Ok(name.to_owned())
}
