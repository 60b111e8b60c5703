//! Distinguished names (RFC 5280 §4.1.2.4), and patterns of them as operators write them.
//!
//! Decides: which names are equal, which a pattern covers. Reads: DER of strangers, text of the configuration.
//! Never: takes a name of more than `MAX_LEN` bytes or `MAX_PARTS` parts.

use super::scheme::tlv;
use core::fmt;
use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode, Reader, SliceReader, Tag, Tagged};

const MAX_LEN: usize = 4096;
const MAX_PARTS: usize = 64;

/// Short names and OIDs (RFC 4519, RFC 5280 appendix A); those of one OID stand together, the one that is printed first.
const TYPES: &[(&str, &str)] = &[
    ("C", "2.5.4.6"),
    ("ST", "2.5.4.8"),
    ("S", "2.5.4.8"),
    ("L", "2.5.4.7"),
    ("STREET", "2.5.4.9"),
    ("O", "2.5.4.10"),
    ("OU", "2.5.4.11"),
    ("CN", "2.5.4.3"),
    ("SN", "2.5.4.4"),
    ("GN", "2.5.4.42"),
    ("T", "2.5.4.12"),
    ("serialNumber", "2.5.4.5"),
    ("DC", "0.9.2342.19200300.100.1.25"),
    ("UID", "0.9.2342.19200300.100.1.1"),
    ("E", "1.2.840.113549.1.9.1"),
    ("emailAddress", "1.2.840.113549.1.9.1"),
];

/// A name as somebody encoded it. Equal ones may differ in case, blanks and kind of string.
#[derive(Clone)]
pub struct Dn {
    der: Vec<u8>,
    parts: Vec<Vec<Attribute>>,
}

#[derive(Clone, PartialEq, Eq)]
struct Attribute {
    kind: ObjectIdentifier,
    /// `None`: not a string; then the bytes count.
    text: Option<String>,
    bytes: Vec<u8>,
}

impl Dn {
    /// `None`: not a Name.
    pub fn from_der(der: &[u8]) -> Option<Self> {
        let name = AnyRef::from_der(der).ok().filter(|_| der.len() <= MAX_LEN)?;
        let mut r = SliceReader::new((name.tag() == Tag::Sequence).then(|| name.value())?).ok()?;
        let mut parts = Vec::new();
        while !r.is_finished() {
            let set = r.decode::<AnyRef<'_>>().ok().filter(|set| set.tag() == Tag::Set)?;
            parts.push(attributes(set.value())?);
            if parts.iter().map(Vec::len).sum::<usize>() > MAX_PARTS {
                return None;
            }
        }
        Some(Self { der: der.to_vec(), parts })
    }

    pub fn der(&self) -> &[u8] {
        &self.der
    }

    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The encoding that all equal names share.
    pub(crate) fn canonical(&self) -> Vec<u8> {
        let set = |part: &Vec<Attribute>| {
            let pairs: Vec<Vec<u8>> = part.iter().map(Attribute::canonical).collect();
            tlv(0x31, &pairs.iter().map(Vec::as_slice).collect::<Vec<_>>())
        };
        let sets: Vec<Vec<u8>> = self.parts.iter().map(set).collect();
        tlv(0x30, &sets.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    /// The parts of `self` are the first ones of `other` (RFC 5280 §4.2.1.10).
    pub(crate) fn is_above(&self, other: &Self) -> bool {
        other.parts.len() >= self.parts.len() && self.parts.iter().zip(&other.parts).all(|(a, b)| same(a, b))
    }
}

fn attributes(set: &[u8]) -> Option<Vec<Attribute>> {
    let mut r = SliceReader::new(set).ok()?;
    let mut found = Vec::new();
    while !r.is_finished() {
        let pair = r.decode::<AnyRef<'_>>().ok().filter(|pair| pair.tag() == Tag::Sequence)?;
        let mut inner = SliceReader::new(pair.value()).ok()?;
        let kind = inner.decode::<ObjectIdentifier>().ok()?;
        let value = inner.decode::<AnyRef<'_>>().ok().filter(|_| inner.is_finished())?;
        found.push(Attribute { kind, text: text_of(value), bytes: value.value().to_vec() });
        if found.len() > MAX_PARTS {
            return None;
        }
    }
    (!found.is_empty()).then_some(found)
}

#[allow(clippy::wildcard_enum_match_arm)] // ASN.1 has many tags, and more to come
fn text_of(value: AnyRef<'_>) -> Option<String> {
    let bytes = value.value();
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String => String::from_utf8(bytes.to_vec()).ok(),
        // In practice Latin-1.
        Tag::TeletexString => Some(bytes.iter().copied().map(char::from).collect()),
        Tag::BmpString => {
            let units = bytes.chunks(2).map(|pair| Some(u16::from_be_bytes(pair.try_into().ok()?)));
            String::from_utf16(&units.collect::<Option<Vec<u16>>>()?).ok()
        }
        _ => None,
    }
}

/// RFC 5280 §7.1, without the tables of RFC 4518: case and repeated blanks do not count.
fn folded(text: &str) -> String {
    text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn same(a: &[Attribute], b: &[Attribute]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b))
}

impl Attribute {
    fn canonical(&self) -> Vec<u8> {
        let value = match &self.text {
            Some(text) => tlv(0x0c, &[folded(text).as_bytes()]),
            None => tlv(0x04, &[&self.bytes]),
        };
        tlv(0x30, &[&tlv(6, &[self.kind.as_bytes()]), &value])
    }

    fn same(&self, other: &Self) -> bool {
        self.kind == other.kind
            && match (&self.text, &other.text) {
                (Some(a), Some(b)) => folded(a) == folded(b),
                (None, None) => self.bytes == other.bytes,
                _ => false,
            }
    }
}

impl PartialEq for Dn {
    fn eq(&self, other: &Self) -> bool {
        self.parts.len() == other.parts.len() && self.parts.iter().zip(&other.parts).all(|(a, b)| same(a, b))
    }
}

impl Eq for Dn {}

/// In the order of the encoding: `C=DE, O=Example, CN=gw`. Control characters of strangers do not reach a terminal.
impl fmt::Display for Dn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, part) in self.parts.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { ", " })?;
            for (i, attribute) in part.iter().enumerate() {
                let plus = if i == 0 { "" } else { "+" };
                let kind = attribute.kind.to_string();
                let name = TYPES.iter().find(|(_, oid)| *oid == kind).map_or(kind.as_str(), |(name, _)| name);
                write!(f, "{plus}{name}=")?;
                match &attribute.text {
                    Some(text) => text.chars().try_for_each(|c| write_char(f, c))?,
                    None => attribute.bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))?,
                }
            }
        }
        Ok(())
    }
}

fn write_char(f: &mut fmt::Formatter<'_>, c: char) -> fmt::Result {
    match c {
        ',' | '+' | '"' | '\\' | '*' => write!(f, "\\{c}"),
        c if c.is_control() => f.write_str("?"),
        c => write!(f, "{c}"),
    }
}

impl fmt::Debug for Dn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A name, or a pattern of names: `C=DE, O=Example, CN=*.example`, `O=Example, *`. In the order of the certificate.
/// `*` in a value stands for any text, `*` alone for any number of parts.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct DnPattern {
    parts: Vec<Part>,
    /// Where the name came from a certificate: its very bytes.
    verbatim: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Part {
    /// Any number of parts.
    Rest,
    /// Texts between the asterisks.
    One { kind: ObjectIdentifier, pieces: Vec<String> },
}

impl DnPattern {
    /// `Err`: what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let parts = split(text)?.into_iter().map(part).collect::<Result<Vec<_>, _>>()?;
        if parts.is_empty() || parts.len() > MAX_PARTS {
            return Err("a name of no or too many parts");
        }
        if parts.iter().filter(|part| **part == Part::Rest).count() > 2 {
            return Err("more than two * that stand for parts in a name");
        }
        Ok(Self { parts, verbatim: None })
    }

    /// That very name.
    pub fn exact(dn: &Dn) -> Self {
        let parts = dn.parts.iter().filter_map(|part| match part.as_slice() {
            [Attribute { kind, text: Some(text), .. }] => {
                Some(Part::One { kind: *kind, pieces: vec![text.clone()] })
            }
            _ => None,
        });
        Self { parts: parts.collect(), verbatim: Some(dn.der.clone()) }
    }

    pub fn has_wildcard(&self) -> bool {
        self.parts.iter().any(|part| match part {
            Part::Rest => true,
            Part::One { pieces, .. } => pieces.len() > 1,
        })
    }

    pub fn matches(&self, dn: &Dn) -> bool {
        if let Some(own) = self.verbatim.as_ref().and_then(|der| Dn::from_der(der)) {
            return own == *dn;
        }
        covers(&self.parts, &dn.parts)
    }

    /// The name in DER; `None` for one with wildcards.
    pub fn der(&self) -> Option<Vec<u8>> {
        if let Some(der) = &self.verbatim {
            return Some(der.clone());
        }
        let sets = self.parts.iter().map(|part| match part {
            Part::One { kind, pieces } => match pieces.as_slice() {
                [value] => Some(encode(*kind, value)),
                _ => None,
            },
            Part::Rest => None,
        });
        let sets = sets.collect::<Option<Vec<_>>>()?;
        Some(tlv(0x30, &sets.iter().map(Vec::as_slice).collect::<Vec<_>>()))
    }
}

/// Backtracks at each of at most two `*`, over at most [`MAX_PARTS`] parts.
fn covers(pattern: &[Part], parts: &[Vec<Attribute>]) -> bool {
    match (pattern.split_first(), parts.split_first()) {
        (None, rest) => rest.is_none(),
        (Some((Part::Rest, [])), _) => true,
        (Some((Part::Rest, pattern)), _) => {
            (0..=parts.len()).any(|n| covers(pattern, parts.get(n..).unwrap_or(&[])))
        }
        (Some(_), None) => false,
        (Some((Part::One { kind, pieces }, pattern)), Some((part, parts))) => {
            let fits = match part.as_slice() {
                [a] => a.kind == *kind && a.text.as_ref().is_some_and(|text| globs(pieces, text)),
                _ => false,
            };
            fits && covers(pattern, parts)
        }
    }
}

/// `pieces` are what stood between asterisks.
fn globs(pieces: &[String], text: &str) -> bool {
    let text = folded(text);
    let pieces: Vec<String> = pieces.iter().map(|p| p.to_lowercase()).collect();
    match pieces.as_slice() {
        [whole] => folded(whole) == text,
        [first, middle @ .., last] => {
            let Some(rest) = text.strip_prefix(first.as_str()) else { return false };
            let Some(mut rest) = rest.strip_suffix(last.as_str()) else { return false };
            middle.iter().all(|piece| match rest.split_once(piece.as_str()) {
                Some((_, after)) => {
                    rest = after;
                    true
                }
                None => false,
            })
        }
        [] => false,
    }
}

/// C and serial numbers are PrintableString, e-mail and DC IA5String, all else UTF8String (RFC 5280 §4.1.2.4).
fn encode(kind: ObjectIdentifier, value: &str) -> Vec<u8> {
    let tag = match kind.to_string().as_str() {
        "2.5.4.6" | "2.5.4.5" => 0x13,
        "1.2.840.113549.1.9.1" | "0.9.2342.19200300.100.1.25" => 0x16,
        _ => 0x0c,
    };
    let pair = tlv(0x30, &[&tlv(6, &[kind.as_bytes()]), &tlv(tag, &[value.as_bytes()])]);
    tlv(0x31, &[&pair])
}

/// One part's characters; escaped ones are marked.
type Chars = Vec<(char, bool)>;

/// At commas (or slashes, as `openssl` writes them, when the text begins with one), not at escaped or quoted ones.
fn split(text: &str) -> Result<Vec<Chars>, &'static str> {
    if text.len() > MAX_LEN {
        return Err("a name that is too long");
    }
    let (separator, text) = text.strip_prefix('/').map_or((',', text), |rest| ('/', rest));
    let (mut parts, mut quoted, mut chars) = (vec![Chars::new()], false, text.chars());
    while let Some(c) = chars.next() {
        let Some(last) = parts.last_mut() else { break };
        match c {
            '\\' => last.push((chars.next().ok_or("a backslash at the end of a name")?, true)),
            '"' => quoted = !quoted,
            c if quoted => last.push((c, true)),
            c if c == separator => parts.push(Chars::new()),
            '+' => return Err("a part of several attributes (+) in a name"),
            c => last.push((c, false)),
        }
    }
    if quoted { Err("a quote that does not end in a name") } else { Ok(parts) }
}

fn part(chars: Chars) -> Result<Part, &'static str> {
    let blank = |(c, escaped): &&(char, bool)| c.is_whitespace() && !escaped;
    let start = chars.iter().take_while(blank).count();
    let end = chars.len() - chars.iter().rev().take_while(blank).count();
    let chars = chars.get(start..end).filter(|c| !c.is_empty()).ok_or("an empty part of a name")?;
    if chars == [('*', false)] {
        return Ok(Part::Rest);
    }
    let equals = chars.iter().position(|c| *c == ('=', false)).ok_or("a part of a name without =")?;
    let (name, value) = chars.split_at(equals);
    let name: String = name.iter().map(|(c, _)| *c).collect();
    let name = name.trim();
    let known = TYPES.iter().find(|(short, _)| short.eq_ignore_ascii_case(name)).map(|(_, oid)| *oid);
    let kind = ObjectIdentifier::new(known.unwrap_or(name)).map_err(|_| "an unknown attribute in a name")?;
    let value = value.get(1..).unwrap_or_default();
    let from = value.iter().take_while(blank).count();
    let mut pieces = vec![String::new()];
    for (c, escaped) in value.get(from..).unwrap_or_default() {
        match (c, escaped) {
            ('*', false) => pieces.push(String::new()),
            _ => pieces.last_mut().into_iter().for_each(|piece| piece.push(*c)),
        }
    }
    if pieces.len() == 1 && pieces.iter().all(String::is_empty) {
        return Err("an attribute without value in a name");
    }
    Ok(Part::One { kind, pieces })
}

/// In the form that [`DnPattern::parse`] takes.
impl fmt::Display for DnPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(own) = self.verbatim.as_ref().and_then(|der| Dn::from_der(der)) {
            return fmt::Display::fmt(&own, f);
        }
        for (i, part) in self.parts.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { ", " })?;
            match part {
                Part::Rest => f.write_str("*")?,
                Part::One { kind, pieces } => {
                    let kind = kind.to_string();
                    let name =
                        TYPES.iter().find(|(_, oid)| *oid == kind).map_or(kind.as_str(), |(name, _)| name);
                    write!(f, "{name}=")?;
                    for (i, piece) in pieces.iter().enumerate() {
                        f.write_str(if i == 0 { "" } else { "*" })?;
                        piece.chars().try_for_each(|c| write_char(f, c))?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dn(text: &str) -> Dn {
        Dn::from_der(&DnPattern::parse(text).unwrap().der().unwrap()).unwrap()
    }

    // R123
    #[test]
    fn patterns_cover_names() {
        let name = dn("C=DE, O=Example Ltd, OU=Gateways, CN=gw1.example");
        let yes = [
            "C=DE,O=Example Ltd,OU=Gateways,CN=gw1.example",
            "c=de, o=example  ltd, ou=GATEWAYS, cn=GW1.example",
            "/C=DE/O=Example Ltd/OU=Gateways/CN=gw1.example",
            "C=DE, O=Example Ltd, OU=Gateways, CN=*",
            "C=DE, O=Example Ltd, OU=*, CN=gw*.example",
            "C=DE, O=Example Ltd, *",
            "*, CN=gw1.example",
            "C=*, *, CN=*1*exam*",
            "2.5.4.6=DE, *",
            "*",
        ];
        for text in yes {
            assert!(DnPattern::parse(text).unwrap().matches(&name), "{text}");
        }
        let no = [
            "C=DE, O=Example Ltd, OU=Gateways",
            "C=DE, O=Example Ltd, OU=Gateways, CN=gw1.example, CN=gw1.example",
            "O=Example Ltd, C=DE, OU=Gateways, CN=gw1.example",
            "C=DE, O=Example, *",
            "*, CN=gw2.example",
            "C=DE, CN=gw1.example",
            "C=DE, O=Example Ltd, OU=Gateways, CN=gw1.exampl\\*",
            "C=DE, O=Example Ltd, OU=Gateways, CN=gw1.example*example",
        ];
        for text in no {
            assert!(!DnPattern::parse(text).unwrap().matches(&name), "{text}");
        }
    }

    #[test]
    fn text_that_is_no_name() {
        for text in ["", ",", "CN", "CN=", "CN=a,", "XX=a", "CN=a+OU=b", "CN=\"a", "CN=a\\", "=a"] {
            assert!(DnPattern::parse(text).is_err(), "{text}");
        }
        let quoted = DnPattern::parse("O=\"Example, Ltd.\", CN=a\\*b").unwrap();
        assert_eq!(quoted.to_string(), "O=Example\\, Ltd., CN=a\\*b");
        assert!(!quoted.has_wildcard());
        assert!(quoted.matches(&dn("O=example\\, ltd., CN=A\\*B")));
    }

    #[test]
    fn strings_of_another_kind_are_equal() {
        let utf8 = dn("CN=gw");
        let mut der = utf8.der().to_vec();
        *der.iter_mut().find(|b| **b == 0x0c).unwrap() = 0x13;
        assert_eq!(Dn::from_der(&der).unwrap(), utf8);
        assert_eq!(Dn::from_der(&der).unwrap().canonical(), dn("cn= GW").canonical());
        assert_ne!(utf8.canonical(), dn("CN=gw, CN=gw").canonical());
        assert!(dn("C=DE").is_above(&dn("C=de, CN=a")) && !dn("C=DE, CN=a").is_above(&dn("C=DE")));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn any_bytes_any_text(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "\\PC{0,60}") {
            let _ = Dn::from_der(&bytes).map(|dn| dn.to_string());
            if let Ok(pattern) = DnPattern::parse(&text) {
                prop_assert_eq!(DnPattern::parse(&pattern.to_string()).map(|p| p.to_string()), Ok(pattern.to_string()));
                if let Some(der) = pattern.der() {
                    let dn = Dn::from_der(&der).expect("what we write we read");
                    prop_assert!(pattern.matches(&dn));
                }
            }
        }
    }
}
