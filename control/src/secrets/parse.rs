//! The text of a secrets file. A small subset of TOML, read in place: a general parser would copy values into memory
//! that nobody wipes (decoded strings, error messages).
//!
//! Decides: what a lawful entry is. Reads: the text. Writes: entries; a value only into its [`Secret`].
//! Never: puts a value, or any part of a line, into a message.

use ravelin_ike::config::{Identity, Secret};
use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::path::Path;
use zeroize::{Zeroize, Zeroizing};

use super::{Entry, Index, MAX_SECRET, SHORT_SECRET};
use crate::config::{Diagnostic, Errors, Findings, nearest, parse_identity, user_name};

/// What a section is for.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Section {
    /// A pre-shared key between two identities.
    #[default]
    Secret,
    /// Who logs in by EAP.
    User,
    /// A post-quantum pre-shared key (RFC 8784).
    Ppk,
    /// The key of one direction of a manual SA.
    SaKey,
}

impl Section {
    const ALL: [Self; 4] = [Self::Secret, Self::User, Self::Ppk, Self::SaKey];

    const fn header(self) -> &'static str {
        match self {
            Self::Secret => "[[secret]]",
            Self::User => "[[user]]",
            Self::Ppk => "[[ppk]]",
            Self::SaKey => "[[sa-key]]",
        }
    }

    const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Secret => &["local-id", "remote-id", "psk", "psk-hex"],
            Self::User => &["name", "password"],
            Self::Ppk => &["id", "key", "key-hex"],
            Self::SaKey => &["name", "key", "key-hex"],
        }
    }

    const fn needs(self) -> &'static str {
        match self {
            Self::Secret => "local-id, remote-id and one of psk, psk-hex",
            Self::User => "name and password",
            Self::Ppk => "id and one of key, key-hex",
            Self::SaKey => "name and one of key, key-hex",
        }
    }
}

/// What a file holds.
#[derive(Default)]
pub(super) struct Parsed {
    pub(super) entries: Vec<Entry>,
    pub(super) index: Index,
    pub(super) users: BTreeMap<String, Secret>,
    /// Names of users in lower case: IKE tells identities apart without regard to it.
    pub(super) folded: BTreeSet<String>,
    pub(super) ppks: BTreeMap<String, Secret>,
    pub(super) sa_keys: BTreeMap<String, Secret>,
    pub(super) warnings: Vec<Diagnostic>,
}

/// What stood in one section so far.
#[derive(Default)]
struct Draft {
    section: Section,
    line: u32,
    local: Option<Identity>,
    remote: Option<Identity>,
    /// Of a user, a PPK or an SA's key.
    name: Option<String>,
    secret: Option<Secret>,
    seen: Vec<&'static str>,
    /// An error was said already; a second one about what is then missing would only confuse.
    spoilt: bool,
}

pub(super) fn parse(path: &Path, text: &str) -> Result<Parsed, Errors> {
    let mut findings = Findings::of(path);
    let mut parsed = Parsed::default();
    let mut draft: Option<Draft> = None;
    for (number, raw) in (1u32..).zip(text.lines()) {
        let line = raw.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with('[') {
            close(draft.take(), &mut parsed, &mut findings);
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
    close(draft, &mut parsed, &mut findings);
    findings.finish().map(|warnings| Parsed { warnings, ..parsed })
}

fn open(line: &str, number: u32, findings: &mut Findings) -> Draft {
    let header = line.split('#').next().unwrap_or_default();
    let bare: String = header.chars().filter(|c| !c.is_whitespace()).collect();
    let known = Section::ALL.into_iter().find(|section| bare == section.header());
    if known.is_none() {
        findings.error(
            number,
            "an unknown section",
            "[[secret]], [[user]], [[ppk]] or [[sa-key]]",
            "write [[secret]] (two brackets on each side)",
        );
    }
    Draft { section: known.unwrap_or_default(), line: number, spoilt: known.is_none(), ..Draft::default() }
}

fn take_line(line: &str, number: u32, draft: &mut Draft, findings: &mut Findings) -> Option<()> {
    let keys = draft.section.keys();
    let Some((key, rest)) = line.split_once('=') else {
        findings.error(
            number,
            "a line that is not KEY = \"VALUE\"",
            keys.join(", "),
            "write for example psk = \"…\"",
        );
        return None;
    };
    let Some(key) = keys.iter().find(|known| **known == key.trim()) else {
        // The key is shown only if it resembles a known one: a forgotten `psk =` would put the secret in its place.
        let cure =
            nearest(key.trim(), keys).map(|known| format!("did you mean `{known}`?")).unwrap_or_default();
        findings.error(number, "an unknown key", keys.join(", "), cure);
        return None;
    };
    if draft.seen.contains(key) {
        findings.error(
            number,
            format!("`{key}` stands twice in this {}", draft.section.header()),
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
        "name" | "id" => {
            let Some(name) = user_name(value) else {
                findings.error(
                    number,
                    format!("`{key}` is empty, too long or no text"),
                    "1 to 253 bytes",
                    "correct it",
                );
                return None;
            };
            draft.name = Some(name.to_owned());
        }
        _ => {
            if draft.secret.is_some() {
                let (one, other) =
                    if draft.section == Section::Secret { ("psk", "psk-hex") } else { ("key", "key-hex") };
                let found = format!("both `{one}` and `{other}`");
                findings.error(number, found, "one of them", "remove one of them");
                return None;
            }
            draft.secret = Some(secret(draft.section, key, value, number, findings)?);
        }
    }
    Some(())
}

fn secret(section: Section, key: &str, value: &str, number: u32, findings: &mut Findings) -> Option<Secret> {
    let is_hex = key.ends_with("-hex");
    let mut bytes = if is_hex { hex(key, value, number, findings)? } else { value.as_bytes().to_vec() };
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
    // RFC 8784 §6: 256 bits, so that 128 remain against a quantum computer. Passwords are the users' own.
    let short = if section == Section::Ppk { 2 * SHORT_SECRET } else { SHORT_SECRET };
    if bytes.len() < short && section != Section::User {
        findings.warning(
            number,
            format!("`{key}` is shorter than {short} bytes and can be guessed by who captures one exchange"),
            "make a longer one with: openssl rand -hex 32 (and give it to the peer)",
        );
    }
    Some(Secret::new(bytes))
}

fn hex(key: &str, value: &str, number: u32, findings: &mut Findings) -> Option<Vec<u8>> {
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
                format!("`{key}` is not pairs of hexadecimal digits"),
                "an even number of the digits 0-9 and a-f",
                "make one with: openssl rand -hex 32",
            );
            return None;
        };
        bytes.push(byte);
    }
    Some(core::mem::take(&mut *bytes))
}

fn close(draft: Option<Draft>, parsed: &mut Parsed, findings: &mut Findings) {
    let Some(draft) = draft.filter(|draft| !draft.spoilt) else { return };
    let section = draft.section;
    let whole = match section {
        Section::Secret => close_secret(draft, parsed, findings),
        Section::User | Section::Ppk | Section::SaKey => close_named(draft, parsed, findings),
    };
    if let Err(line) = whole {
        let found = format!("an incomplete {}", section.header());
        findings.error(line, found, section.needs(), "add what is missing below this line");
    }
}

/// `Err` with its line: something is missing.
fn close_secret(draft: Draft, parsed: &mut Parsed, findings: &mut Findings) -> Result<(), u32> {
    let line = draft.line;
    let (Some(local), Some(remote), Some(secret)) = (draft.local, draft.remote, draft.secret) else {
        return Err(line);
    };
    let Parsed { entries, index, .. } = parsed;
    if let Some(first) = index.get(&(local.clone(), remote.clone())).and_then(|n| entries.get(*n)) {
        let found = format!("a second secret for the same identities (the first is in line {})", first.line);
        findings.error(line, found, "one secret per pair of identities", "remove one of them");
        return Ok(());
    }
    index.insert((local.clone(), remote.clone()), entries.len());
    entries.push(Entry { local, remote, secret, line });
    Ok(())
}

/// A user, a PPK or an SA's key.
fn close_named(draft: Draft, parsed: &mut Parsed, findings: &mut Findings) -> Result<(), u32> {
    let (line, section) = (draft.line, draft.section);
    let (Some(name), Some(secret)) = (draft.name, draft.secret) else { return Err(line) };
    if section == Section::User
        && !parsed.folded.insert(name.to_lowercase())
        && !parsed.users.contains_key(&name)
    {
        let found = format!("a second {} of the same name but for its case", section.header());
        findings.error(line, found, "names that differ in more than case", "rename or remove one of them");
        return Ok(());
    }
    let all = match section {
        Section::User => &mut parsed.users,
        Section::SaKey => &mut parsed.sa_keys,
        Section::Ppk | Section::Secret => &mut parsed.ppks,
    };
    match all.entry(name) {
        btree_map::Entry::Vacant(entry) => {
            entry.insert(secret);
        }
        btree_map::Entry::Occupied(_) => {
            let found = format!("a second {} of the same name", section.header());
            findings.error(line, found, "each name once", "remove one of them");
        }
    }
    Ok(())
}
