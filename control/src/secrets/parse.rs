//! The text of a secrets file. A small subset of TOML, read in place: a general parser would copy values into memory
//! that nobody wipes (decoded strings, error messages).
//!
//! Decides: what a lawful entry is. Reads: the text. Writes: entries; a value only into its [`Secret`].
//! Never: puts a value, or any part of a line, into a message.

use ravelin_ike::config::{Identity, Secret};
use std::path::Path;
use zeroize::{Zeroize, Zeroizing};

use super::{Entry, Index, MAX_SECRET, SHORT_SECRET};
use crate::config::{Diagnostic, Errors, Findings, nearest, parse_identity};

const KEYS: &[&str] = &["local-id", "remote-id", "psk", "psk-hex"];

/// What stood under one `[[secret]]` so far.
#[derive(Default)]
struct Draft {
    line: u32,
    local: Option<Identity>,
    remote: Option<Identity>,
    secret: Option<Secret>,
    seen: Vec<&'static str>,
    /// An error was said already; a second one about what is then missing would only confuse.
    spoilt: bool,
}

pub(super) fn parse(path: &Path, text: &str) -> Result<(Vec<Entry>, Index, Vec<Diagnostic>), Errors> {
    let mut findings = Findings::of(path);
    let (mut entries, mut index) = (Vec::new(), Index::new());
    let mut draft: Option<Draft> = None;
    for (number, raw) in (1u32..).zip(text.lines()) {
        let line = raw.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with('[') {
            close(draft.take(), &mut entries, &mut index, &mut findings);
            draft = Some(open(line, number, &mut findings));
            continue;
        }
        let Some(draft) = draft.as_mut() else {
            findings.error(
                number,
                "a key outside of any [[secret]]",
                "[[secret]] first",
                "put a line [[secret]] before it",
            );
            continue;
        };
        if take_line(line, number, draft, &mut findings).is_none() {
            draft.spoilt = true;
        }
    }
    close(draft, &mut entries, &mut index, &mut findings);
    findings.finish().map(|warnings| (entries, index, warnings))
}

fn open(line: &str, number: u32, findings: &mut Findings) -> Draft {
    let header = line.split('#').next().unwrap_or_default();
    let bare: String = header.chars().filter(|c| !c.is_whitespace()).collect();
    let known = bare == "[[secret]]";
    if !known {
        findings.error(
            number,
            "an unknown section",
            "[[secret]]",
            "write [[secret]] (two brackets on each side)",
        );
    }
    Draft { line: number, spoilt: !known, ..Draft::default() }
}

fn take_line(line: &str, number: u32, draft: &mut Draft, findings: &mut Findings) -> Option<()> {
    let Some((key, rest)) = line.split_once('=') else {
        findings.error(
            number,
            "a line that is not KEY = \"VALUE\"",
            KEYS.join(", "),
            "write for example psk = \"…\"",
        );
        return None;
    };
    let Some(key) = KEYS.iter().find(|known| **known == key.trim()) else {
        // The key is shown only if it resembles a known one: a forgotten `psk =` would put the secret in its place.
        let cure =
            nearest(key.trim(), KEYS).map(|known| format!("did you mean `{known}`?")).unwrap_or_default();
        findings.error(number, "an unknown key", KEYS.join(", "), cure);
        return None;
    };
    if draft.seen.contains(key) {
        findings.error(
            number,
            format!("`{key}` stands twice in this [[secret]]"),
            "it once",
            "remove one of them",
        );
        return None;
    }
    draft.seen.push(key);
    let value = string(rest.trim()).or_else(|| {
        findings.error(
            number,
            format!("the value of `{key}` is not a simple string"),
            "text in double quotes without \\ (or in single quotes), and nothing after it but a comment",
            "write the value in single quotes, or a key with other characters as psk-hex",
        );
        None
    })?;
    store(key, value, number, draft, findings)
}

/// The text between the quotes; escapes are not decoded, so double quotes may not hold a backslash.
fn string(rest: &str) -> Option<&str> {
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let (value, after) = rest.get(1..)?.split_once(quote)?;
    let after = after.trim_start();
    let escapes = quote == '"' && value.contains('\\');
    let control = value.chars().any(|c| c.is_control() && c != '\t');
    (!escapes && !control && (after.is_empty() || after.starts_with('#'))).then_some(value)
}

fn store(key: &str, value: &str, number: u32, draft: &mut Draft, findings: &mut Findings) -> Option<()> {
    match key {
        "local-id" | "remote-id" => {
            let identity = match parse_identity(value, key == "remote-id") {
                Ok(identity) => identity,
                Err(why) => {
                    findings.error(number, format!("`{key}`: {}", why.found), why.expected, why.cure);
                    return None;
                }
            };
            let place = if key == "local-id" { &mut draft.local } else { &mut draft.remote };
            *place = Some(identity);
        }
        _ => {
            if draft.secret.is_some() {
                findings.error(number, "both `psk` and `psk-hex`", "one of them", "remove one of them");
                return None;
            }
            draft.secret = Some(secret(key, value, number, findings)?);
        }
    }
    Some(())
}

fn secret(key: &str, value: &str, number: u32, findings: &mut Findings) -> Option<Secret> {
    let mut bytes = if key == "psk" { value.as_bytes().to_vec() } else { hex(value, number, findings)? };
    if bytes.is_empty() || bytes.len() > MAX_SECRET {
        bytes.zeroize();
        findings.error(
            number,
            format!("`{key}` is empty or too long"),
            format!("1 to {MAX_SECRET} bytes"),
            "make one with: openssl rand -hex 32",
        );
        return None;
    }
    if bytes.len() < SHORT_SECRET {
        findings.warning(
            number,
            format!(
                "`{key}` is shorter than {SHORT_SECRET} bytes and can be guessed by who captures one exchange"
            ),
            "make a longer one with: openssl rand -hex 32 (and give it to the peer)",
        );
    }
    Some(Secret::new(bytes))
}

fn hex(value: &str, number: u32, findings: &mut Findings) -> Option<Vec<u8>> {
    let digits = value.strip_prefix("0x").unwrap_or(value).as_bytes();
    let nibble = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
    // Its own buffer at full size: growing would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(digits.len().div_ceil(2)));
    for pair in digits.chunks(2) {
        let byte = match *pair {
            [high, low] => nibble(high).zip(nibble(low)).map(|(h, l)| h << 4 | l),
            _ => None,
        };
        let Some(byte) = byte else {
            findings.error(
                number,
                "`psk-hex` is not pairs of hexadecimal digits",
                "an even number of the digits 0-9 and a-f",
                "make one with: openssl rand -hex 32",
            );
            return None;
        };
        bytes.push(byte);
    }
    Some(core::mem::take(&mut *bytes))
}

fn close(draft: Option<Draft>, entries: &mut Vec<Entry>, index: &mut Index, findings: &mut Findings) {
    let Some(draft) = draft.filter(|draft| !draft.spoilt) else { return };
    let line = draft.line;
    let (Some(local), Some(remote), Some(secret)) = (draft.local, draft.remote, draft.secret) else {
        findings.error(
            line,
            "an incomplete [[secret]]",
            "local-id, remote-id and one of psk, psk-hex",
            "add what is missing below this line",
        );
        return;
    };
    if let Some(first) = index.get(&(local.clone(), remote.clone())).and_then(|n| entries.get(*n)) {
        let found = format!("a second secret for the same identities (the first is in line {})", first.line);
        findings.error(line, found, "one secret per pair of identities", "remove one of them");
        return;
    }
    index.insert((local.clone(), remote.clone()), entries.len());
    entries.push(Entry { local, remote, secret, line });
}
