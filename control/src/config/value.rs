//! Single values: times, sizes, addresses, words. Each parser says what it found, what it expected, and the cure.
//!
//! Decides: the notation of values. Reads: one TOML value. Writes: nothing. Never: knows a key or a place.

use core::net::IpAddr;
use core::ops::RangeInclusive;
use core::time::Duration;
use ravelin_wire::{AddrRange, PortRange, Prefix, PrefixError};
use toml::de::DeValue;

/// Why a value is refused; the caller adds key and place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bad {
    pub(crate) found: String,
    pub(crate) expected: String,
    pub(crate) cure: String,
}

impl Bad {
    pub(crate) fn new(
        found: impl Into<String>,
        expected: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        Self { found: found.into(), expected: expected.into(), cure: cure.into() }
    }
}

/// The value as a message shows it, cut where it is long.
pub(crate) fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("\"{}\"", cut(text)),
        DeValue::Integer(number) => cut(&number.to_string()),
        DeValue::Float(number) => cut(number.as_str()),
        DeValue::Boolean(yes) => yes.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// At most 40 characters, none that would disturb a terminal.
pub(crate) fn cut(text: &str) -> String {
    let mut short: String = text.chars().take(40).flat_map(char::escape_debug).collect();
    if text.chars().nth(40).is_some() {
        short.push('…');
    }
    short
}

pub(crate) fn text<'v>(value: &'v DeValue<'_>, expected: &str, cure: &str) -> Result<&'v str, Bad> {
    value.as_str().ok_or_else(|| Bad::new(shown(value), expected, cure))
}

pub(crate) fn boolean(value: &DeValue<'_>) -> Result<bool, Bad> {
    value.as_bool().ok_or_else(|| Bad::new(shown(value), "true or false", "write it without quotes"))
}

/// A whole number within `range`; `what` names it with its unit.
pub(crate) fn number(value: &DeValue<'_>, range: RangeInclusive<u64>, what: &str) -> Result<u64, Bad> {
    let expected = || format!("{what}, {} to {}", range.start(), range.end());
    let Some(number) = value.as_integer() else {
        let quoted = value.as_str().is_some_and(|text| text.trim().parse::<u64>().is_ok());
        let cure = if quoted { "write the number without quotes" } else { "write a whole number" };
        return Err(Bad::new(shown(value), expected(), cure));
    };
    u64::from_str_radix(number.as_str(), number.radix())
        .ok()
        .filter(|n| range.contains(n))
        .ok_or_else(|| Bad::new(shown(value), expected(), "choose a number in this range"))
}

pub(crate) fn number16(value: &DeValue<'_>, range: RangeInclusive<u16>, what: &str) -> Result<u16, Bad> {
    let wide = u64::from(*range.start())..=u64::from(*range.end());
    number(value, wide, what).map(|n| u16::try_from(n).unwrap_or(u16::MAX))
}

pub(crate) fn number32(value: &DeValue<'_>, range: RangeInclusive<u32>, what: &str) -> Result<u32, Bad> {
    let wide = u64::from(*range.start())..=u64::from(*range.end());
    number(value, wide, what).map(|n| u32::try_from(n).unwrap_or(u32::MAX))
}

/// One of a few words; the error names them all and the nearest.
pub(crate) fn word<T: Copy>(value: &DeValue<'_>, words: &[(&str, T)]) -> Result<T, Bad> {
    let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
    let expected = || names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    let given = text(value, &expected(), "write one of these words in quotes")?;
    words.iter().find(|(name, _)| *name == given).map(|(_, meaning)| *meaning).ok_or_else(|| {
        let cure = nearest(given, &names).map(|known| format!("did you mean \"{known}\"?"));
        Bad::new(shown(value), expected(), cure.unwrap_or_else(|| "write one of these words".to_owned()))
    })
}

const TIME: &str = "a time with its unit: s, m, h, d (\"90s\", \"1h30m\")";

/// `90s`, `1h30m`, `2d`; `off` is zero.
pub(crate) fn duration(
    value: &DeValue<'_>,
    range: RangeInclusive<Duration>,
    may_be_off: bool,
) -> Result<Duration, Bad> {
    let expected = || {
        let off = if may_be_off { ", or \"off\"" } else { "" };
        format!("{TIME}, {} to {}{off}", time_text(*range.start()), time_text(*range.end()))
    };
    if let Some(number) = value.as_integer() {
        return Err(Bad::new(
            shown(value),
            expected(),
            format!("add the unit: \"{}s\"", cut(number.as_str())),
        ));
    }
    let given = text(value, &expected(), "write it in quotes")?;
    let time = if given == "off" { Some(Duration::ZERO) } else { parse_duration(given) };
    let Some(time) = time else {
        return Err(Bad::new(shown(value), expected(), "write for example \"1h\""));
    };
    if (may_be_off && time.is_zero()) || range.contains(&time) {
        return Ok(time);
    }
    Err(Bad::new(shown(value), expected(), "choose a time in this range"))
}

fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = 0u64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at_checked(digits)?;
        let unit = after.chars().next()?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return None,
        };
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(seconds)?)?;
        rest = after.get(unit.len_utf8()..)?;
    }
    Some(Duration::from_secs(total))
}

/// In the notation that [`duration`] takes.
pub(crate) fn time_text(time: Duration) -> String {
    if time.is_zero() {
        return "off".to_owned();
    }
    let mut rest = time.as_secs();
    let mut out = String::new();
    for (unit, seconds) in [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)] {
        if rest >= seconds {
            out.push_str(&format!("{}{unit}", rest / seconds));
            rest %= seconds;
        }
    }
    out
}

const SIZE: &str = "a size with its unit: B, KiB, MiB, GiB, TiB, kB, MB, GB, TB (\"1GiB\")";

const UNITS: &[(&str, u64)] = &[
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

/// `1GiB`, `500MB`; at least 1 MiB, since smaller limits would rekey without end. `off` is zero.
pub(crate) fn size(value: &DeValue<'_>) -> Result<u64, Bad> {
    let expected = || format!("{SIZE}, 1MiB to 8000000TB, or \"off\"");
    if let Some(number) = value.as_integer() {
        return Err(Bad::new(
            shown(value),
            expected(),
            format!("add the unit: \"{}B\"", cut(number.as_str())),
        ));
    }
    let given = text(value, &expected(), "write it in quotes")?;
    if given == "off" {
        return Ok(0);
    }
    let Some(bytes) = parse_size(given) else {
        return Err(Bad::new(shown(value), expected(), "write for example \"100GiB\""));
    };
    if (1 << 20..=8_000_000 * 1_000_000_000_000).contains(&bytes) {
        return Ok(bytes);
    }
    Err(Bad::new(shown(value), expected(), "choose a size in this range"))
}

fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let (unit, factor) = UNITS.iter().find(|(unit, _)| text.ends_with(unit))?;
    let number = text.strip_suffix(unit)?.trim_end();
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| number.parse::<u64>().ok()?.checked_mul(*factor)).flatten()
}

/// In the notation that [`size`] takes.
pub(crate) fn size_text(bytes: u64) -> String {
    if bytes == 0 {
        return "off".to_owned();
    }
    let whole =
        UNITS.iter().filter(|(_, factor)| bytes.is_multiple_of(*factor)).max_by_key(|(_, factor)| *factor);
    whole.map_or_else(|| format!("{bytes}B"), |(unit, factor)| format!("{}{unit}", bytes / factor))
}

/// A unicast address of a gateway.
pub(crate) fn gateway_address(value: &DeValue<'_>) -> Result<IpAddr, Bad> {
    let expected = "the IPv4 or IPv6 address of a gateway";
    let given = text(value, expected, "write it in quotes")?;
    let Ok(address) = given.parse::<IpAddr>() else {
        let cure =
            if given.contains('/') { "write it without /LENGTH" } else { "write for example \"192.0.2.1\"" };
        return Err(Bad::new(shown(value), expected, cure));
    };
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    if address.is_unspecified() || address.is_multicast() || broadcast {
        return Err(Bad::new(shown(value), expected, "write an address of one machine"));
    }
    if matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local() || v6.to_ipv4_mapped().is_some()) {
        return Err(Bad::new(shown(value), expected, "write one that is valid beyond its link"));
    }
    Ok(address)
}

const RANGE: &str = "a prefix (10.1.0.0/24), a range (10.1.0.1-10.1.0.9) or an address";

/// Addresses of one side of a selector.
pub(crate) fn addresses(value: &DeValue<'_>) -> Result<AddrRange, Bad> {
    let given = text(value, RANGE, "write it in quotes")?;
    if let Some((first, last)) = given.split_once('-') {
        let ends = first.trim().parse().ok().zip(last.trim().parse().ok());
        let range = ends.and_then(|(first, last)| AddrRange::new(first, last).ok());
        return range.ok_or_else(|| {
            Bad::new(shown(value), RANGE, "write the lower address first, both of one family")
        });
    }
    given.parse::<Prefix>().map(AddrRange::from).map_err(|why| {
        let cure = match why {
            PrefixError::HostBits => network_of(given),
            PrefixError::Length => "write a length of 0 to 32 (IPv4) or 0 to 128 (IPv6)".to_owned(),
            PrefixError::Syntax => "write for example \"10.1.0.0/24\"".to_owned(),
        };
        let found =
            if why == PrefixError::HostBits { format!("{} ({why})", shown(value)) } else { shown(value) };
        Bad::new(found, RANGE, cure)
    })
}

fn network_of(given: &str) -> String {
    let network = given
        .split_once('/')
        .and_then(|(address, len)| Prefix::of(address.parse().ok()?, len.parse().ok()?).ok());
    network.map_or_else(String::new, |network| format!("did you mean \"{network}\"?"))
}

/// `80`, `1-1023`, or the number 80.
pub(crate) fn ports(value: &DeValue<'_>) -> Result<PortRange, Bad> {
    let expected = "a port or a range of ports, 0 to 65535 (\"80\", \"1-1023\")";
    let bad = || Bad::new(shown(value), expected, "write the lower port first");
    if value.as_integer().is_some() {
        let port = number16(value, 0..=u16::MAX, "a port")?;
        return PortRange::new(port, port).map_err(|_| bad());
    }
    let given = text(value, expected, "write it in quotes")?;
    let (first, last) = given.split_once('-').unwrap_or((given, given));
    let port = |text: &str| text.trim().parse::<u16>().ok();
    let (first, last) = port(first).zip(port(last)).ok_or_else(bad)?;
    PortRange::new(first, last).map_err(|_| bad())
}

/// ICMP type and code as selectors have them (RFC 4301 §4.4.1.1): `8` (all codes), `3/4`, `3/0-5`, `0-11`.
pub(crate) fn icmp(value: &DeValue<'_>) -> Result<PortRange, Bad> {
    let expected = "an ICMP type, or a type and its codes (\"8\", \"3/4\", \"3/0-5\")";
    let bad = || Bad::new(shown(value), expected, "write for example \"8\" for echo requests");
    let given = match value.as_integer() {
        Some(number) => number.as_str(),
        None => text(value, expected, "write it in quotes")?,
    };
    let range = |text: &str| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        first.trim().parse::<u8>().ok().zip(last.trim().parse::<u8>().ok())
    };
    let (types, codes) = given.split_once('/').map_or((given, None), |(t, c)| (t, Some(c)));
    let (first, last) = range(types).ok_or_else(bad)?;
    let codes = codes.map_or(Some((0, u8::MAX)), range).ok_or_else(bad)?;
    // Codes belong to one type.
    if first != last && codes != (0, u8::MAX) {
        return Err(bad());
    }
    PortRange::new(u16::from_be_bytes([first, codes.0]), u16::from_be_bytes([last, codes.1]))
        .map_err(|_| bad())
}

/// In the notation that [`icmp`] takes.
pub(crate) fn icmp_text(word: PortRange) -> String {
    let ([first, from], [last, to]) = (word.start().to_be_bytes(), word.end().to_be_bytes());
    let span = |a: u8, b: u8| if a == b { a.to_string() } else { format!("{a}-{b}") };
    if (from, to) == (0, u8::MAX) {
        span(first, last)
    } else {
        format!("{}/{}", span(first, last), span(from, to))
    }
}

/// Names with the numbers of their protocols; only these have ports.
pub(crate) const PROTOCOLS: &[(&str, u8)] = &[
    ("icmp", 1),
    ("ipip", 4),
    ("tcp", 6),
    ("udp", 17),
    ("dccp", 33),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmpv6", 58),
    ("ospf", 89),
    ("sctp", 132),
    ("udplite", 136),
];

/// Whether packets of this protocol have ports where TCP has them.
pub(crate) const fn has_ports(protocol: u8) -> bool {
    matches!(protocol, 6 | 17 | 33 | 132 | 136)
}

/// A name, or a number of 1 to 255; `any` is none.
pub(crate) fn protocol(value: &DeValue<'_>) -> Result<Option<u8>, Bad> {
    let names: Vec<&str> = PROTOCOLS.iter().map(|(name, _)| *name).collect();
    let expected = || format!("\"any\", a number of 1 to 255, or one of {}", names.join(", "));
    let bad = |cure: String| Bad::new(shown(value), expected(), cure);
    if value.as_integer().is_some() {
        let number = number16(value, 1..=255, "a protocol number")?;
        return Ok(u8::try_from(number).ok());
    }
    let given = text(value, &expected(), "write it in quotes")?.to_ascii_lowercase();
    if given == "any" {
        return Ok(None);
    }
    let named = PROTOCOLS.iter().find(|(name, _)| *name == given).map(|(_, number)| *number);
    let number = named.or_else(|| given.parse::<u8>().ok().filter(|n| *n != 0));
    number.map(Some).ok_or_else(|| {
        let near = nearest(&given, &names).map(|known| format!("did you mean \"{known}\"?"));
        bad(near.unwrap_or_else(|| "write the protocol's number".to_owned()))
    })
}

/// The known word that `given` probably was meant to be: at most a third of its letters wrong.
pub(crate) fn nearest<'k>(given: &str, known: &[&'k str]) -> Option<&'k str> {
    // Far longer than any word we know: not worth a table.
    if given.len() > 64 {
        return None;
    }
    let distances = known.iter().map(|word| (distance(given, word), *word));
    distances.min().filter(|(wrong, word)| *wrong * 3 <= word.len().max(3)).map(|(_, word)| word)
}

/// Letters to insert, remove, replace or swap with their neighbour (optimal string alignment), `_` and case aside.
fn distance(a: &str, b: &str) -> usize {
    let plain = |c: char| if c == '_' { '-' } else { c.to_ascii_lowercase() };
    let a: Vec<char> = a.chars().map(plain).collect();
    let b: Vec<char> = b.chars().map(plain).collect();
    // Row i, column j: distance of the first i letters of `a` from the first j of `b`.
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    let at = |rows: &[Vec<usize>], i: usize, j: usize| {
        rows.get(i).and_then(|row| row.get(j)).copied().unwrap_or(usize::MAX / 2)
    };
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let replaced = at(&rows, i, j) + usize::from(x != y);
            let removed = at(&rows, i, j + 1) + 1;
            let put_in = row.last().copied().unwrap_or(usize::MAX / 2) + 1;
            let crossed = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            let swapped = if crossed { at(&rows, i - 1, j - 1) + 1 } else { usize::MAX };
            row.push(replaced.min(removed).min(put_in).min(swapped));
        }
        rows.push(row);
    }
    at(&rows, a.len(), b.len())
}
