//! Lifetimes of IKE SAs and child SAs, in time, bytes and packets.
//!
//! Decides: their ranges and defaults; that a hard limit comes after the soft one. Reads: tables. Writes: findings.

use core::time::Duration;
use toml::de::DeValue;

use super::diagnostic::Findings;
use super::model::{Limits, Tunnel};
use super::reader::Table;
use super::value::{Bad, duration, number, number16, size, time_text};

const SECOND: Duration = Duration::from_secs(1);
const MONTH: Duration = Duration::from_secs(30 * 86_400);

/// Those of a child SA.
pub(crate) const LIFE_KEYS: &[&str] = &[
    "lifetime",
    "hard-lifetime",
    "rekey-jitter",
    "lifebytes",
    "hard-lifebytes",
    "lifepackets",
    "hard-lifepackets",
];

/// Lifetimes in time, bytes and packets.
pub(crate) struct Life {
    pub(crate) ike: Duration,
    pub(crate) soft: Duration,
    pub(crate) hard: Duration,
    pub(crate) jitter_percent: u8,
    pub(crate) bytes: Limits,
    pub(crate) packets: Limits,
}

impl Life {
    /// A table says something of its own.
    pub(crate) fn is_given(table: &Table<'_>) -> bool {
        LIFE_KEYS.iter().any(|key| table.get(key).is_some())
    }

    /// As the tunnel has them.
    pub(crate) fn of(tunnel: &Tunnel) -> Self {
        Self {
            ike: tunnel.ike_lifetime,
            soft: tunnel.lifetime,
            hard: tunnel.hard_lifetime,
            jitter_percent: tunnel.jitter_percent,
            bytes: tunnel.bytes,
            packets: tunnel.packets,
        }
    }

    pub(crate) fn read(table: &Table<'_>, findings: &mut Findings) -> Self {
        let time = |v| duration(v, SECOND..=MONTH, false);
        let ike = table.or("ike-lifetime", 4 * 3600 * SECOND, findings, time);
        let soft = table.or("lifetime", 3600 * SECOND, findings, time);
        let given = table.optional("hard-lifetime", findings, time);
        // Time enough for a rekey with all its retransmissions.
        let hard = given.unwrap_or_else(|| soft + (soft / 10).max(30 * SECOND));
        if hard <= soft {
            let found =
                format!("`hard-lifetime` {} is not after `lifetime` {}", time_text(hard), time_text(soft));
            let line = table.line_of("hard-lifetime", findings);
            let cure = "make it longer, or leave it out: lifetime and a tenth, at least 30 s more";
            findings.error(line, found, "an end after the beginning of the rekey", cure);
        }
        let short = |time: Duration| time < 60 * SECOND;
        for (key, time) in [("ike-lifetime", ike), ("lifetime", soft)] {
            if short(time) {
                let found = format!("`{key}` of {} rekeys all the time", time_text(time));
                findings.warning(table.line_of(key, findings), found, "use 1h or so outside of tests");
            }
        }
        let count = |v: &DeValue<'_>| number(v, 1000..=u64::MAX >> 2, "packets");
        Self {
            ike,
            soft,
            hard,
            jitter_percent: table.or("rekey-jitter", 10, findings, jitter),
            bytes: limits(table, "lifebytes", "hard-lifebytes", findings, size),
            packets: limits(table, "lifepackets", "hard-lifepackets", findings, count),
        }
    }
}

fn jitter(value: &DeValue<'_>) -> Result<u8, Bad> {
    number16(value, 0..=50, "percent").map(|n| u8::try_from(n).unwrap_or(50))
}

/// The hard limit is an eighth above the soft one unless written.
fn limits(
    table: &Table<'_>,
    soft_key: &'static str,
    hard_key: &'static str,
    findings: &mut Findings,
    parse: impl Fn(&DeValue<'_>) -> Result<u64, Bad>,
) -> Limits {
    let soft = table.or(soft_key, 0, findings, &parse);
    let hard = table.optional(hard_key, findings, &parse);
    let line = table.line_of(hard_key, findings);
    match hard {
        None if soft == 0 => Limits::default(),
        None => Limits { soft, hard: soft.saturating_add(soft / 8) },
        Some(_) if soft == 0 && table.get(soft_key).is_none() => {
            let found = format!("`{hard_key}` without `{soft_key}`: the SA would end without a rekey");
            findings.error(line, found, format!("`{soft_key}` too"), format!("add {soft_key}, below it"));
            Limits::default()
        }
        Some(hard) => {
            if hard != 0 && hard <= soft {
                let found = format!("`{hard_key}` is not above `{soft_key}`");
                findings.error(line, found, "an end after the beginning of the rekey", "make it larger");
            }
            Limits { soft, hard }
        }
    }
}
