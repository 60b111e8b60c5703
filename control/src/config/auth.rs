//! How a tunnel's two sides prove who they are: keys of `[[tunnel]]` and what contradicts what among them.
//!
//! Decides: ways, files, defaults. Reads: tables. Writes: the model, findings. Never: opens a file (see
//! [`crate::secrets`]).

use ravelin_ike::config::When;
use std::path::PathBuf;
use toml::de::DeValue;

use super::diagnostic::Findings;
use super::model::{TunnelAuth, Way};
use super::reader::{Table, report};
use super::sections::path;
use super::value::{Bad, shown, word};

pub(crate) const AUTH_KEYS: &[&str] = &[
    "auth",
    "remote-auth",
    "certificate",
    "private-key",
    "trusted-ca",
    "peer-keys",
    "crl",
    "crl-files",
    "send-chain",
    "rsa-signature",
];

/// Files of one list.
const MAX_FILES: usize = 32;

const WAYS: &[(&str, Way)] =
    &[("psk", Way::Psk), ("certificate", Way::Certificate), ("raw-key", Way::RawKey)];

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
        send_chain: table.or("send-chain", true, findings, flag),
        prefer_pss: table
            .or("rsa-signature", false, findings, |v| word(v, &[("pkcs1", false), ("pss", true)])),
        default_id: table.get("local-id").is_none(),
    };
    check(table, &auth, findings);
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
    let (by_ca, by_key) = (auth.remote == Way::Certificate, auth.remote == Way::RawKey);
    let rules = [
        ("certificate", certificate, "auth = \"certificate\"", "certificate = \"gateway.pem\""),
        ("private-key", signs, "auth = \"certificate\" or \"raw-key\"", "private-key = \"gateway.key\""),
        ("trusted-ca", by_ca, "remote-auth = \"certificate\"", "trusted-ca = [\"ca.pem\"]"),
        (
            "crl-files",
            by_ca && auth.crl != When::Never,
            "crl = \"required\" or \"if-available\"",
            "crl-files = [\"ca.crl.pem\"]",
        ),
        ("peer-keys", by_key, "remote-auth = \"raw-key\"", "peer-keys = [\"peer.pub.pem\"]"),
    ];
    for (key, needed, way, example) in rules {
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
