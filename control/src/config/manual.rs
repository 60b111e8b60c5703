//! `manual` of `[[tunnel]]`: SAs whose keys stand in the secrets file, without IKE (R114, R199, RFC 4301 §4.5.1).
//!
//! Decides: their keys, algorithms and SPIs, and what a tunnel with them may not have. Reads: tables. Writes: the model,
//! findings. Never: reads a key; takes an algorithm that static keys break.

use super::auth::AUTH_KEYS;
use super::diagnostic::Findings;
use super::exchanges::EXCHANGE_KEYS;
use super::life::LIFE_KEYS;
use super::model::{Config, Tunnel};
use super::proposal::{esp_text, parse_ah, parse_esp};
use super::reader::Table;
use super::value::{Bad, number32, shown, text};
use ravelin_ike::config::{Encryption, EspProposal, Integrity, Secret};
use ravelin_wire::Spi;
use std::collections::HashMap;
use toml::de::DeValue;

pub(crate) const MANUAL_KEYS: &[&str] =
    &["esp", "esp-spi-in", "esp-spi-out", "ah", "ah-spi-in", "ah-spi-out"];

/// What is IKE's, or needs keys that change.
const NOT_WITH_IT: &[&str] = &[
    "local-id",
    "remote-id",
    "ike-proposals",
    "esp-proposals",
    "ah-proposals",
    "pfs",
    "child",
    "interface",
    "pool",
    "dns",
    "per-worker",
    "shared-crypto",
    "tfc-padding",
    "start",
    "encapsulation",
    "replay-window",
    "udp-encapsulate",
    "ike-fragment-size",
    "ike-lifetime",
    "dpd",
];

/// One or both; with both ESP goes within AH (R113).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manual {
    pub esp: Option<ManualSa>,
    pub ah: Option<ManualSa>,
    pub line: u32,
}

/// Both directions of one protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManualSa {
    pub proposal: EspProposal,
    pub spi_in: Spi,
    pub spi_out: Spi,
    /// Inbound and outbound, once the secrets file was read.
    pub keys: Option<[Secret; 2]>,
}

impl Manual {
    /// What packets of the tunnel are protected by first.
    pub fn inner(&self) -> Option<&ManualSa> {
        self.esp.as_ref().or(self.ah.as_ref())
    }

    /// Outer ones first, as they are installed.
    pub fn sas(&self) -> impl Iterator<Item = &ManualSa> {
        self.ah.iter().chain(&self.esp)
    }

    pub(crate) fn sas_mut(&mut self) -> impl Iterator<Item = &mut ManualSa> {
        self.ah.iter_mut().chain(&mut self.esp)
    }

    /// ESP within AH.
    pub fn is_bundle(&self) -> bool {
        self.esp.is_some() && self.ah.is_some()
    }
}

impl ManualSa {
    pub fn protocol(&self) -> &'static str {
        if self.proposal.is_ah() { "ah" } else { "esp" }
    }

    /// Bytes of a key: the cipher's, then the integrity's.
    pub fn key_len(&self) -> usize {
        let cipher = match self.proposal.encryption {
            Some(Encryption::AesCbc128) => 16,
            Some(Encryption::AesCbc256) => 32,
            _ => 0,
        };
        let integrity = match self.proposal.integrity {
            Some(Integrity::HmacSha1_96) => 20,
            Some(Integrity::HmacSha256_128) => 32,
            Some(Integrity::HmacSha384_192) => 48,
            Some(Integrity::HmacSha512_256) => 64,
            // Their IVs are numbers, which begin anew.
            Some(Integrity::AesGmac128 | Integrity::AesGmac192 | Integrity::AesGmac256) | None => 0,
        };
        cipher + integrity
    }

    /// Names of its two keys in the secrets file.
    pub fn key_names(&self, tunnel: &str) -> [String; 2] {
        ["in", "out"].map(|direction| format!("{tunnel}/{}/{direction}", self.protocol()))
    }
}

pub(crate) fn manual(table: &Table<'_>, findings: &mut Findings) -> Option<Manual> {
    let own = Table::open(table.get("manual")?, "`manual`", MANUAL_KEYS, findings)?;
    for key in NOT_WITH_IT
        .iter()
        .chain(LIFE_KEYS)
        .chain(AUTH_KEYS)
        .chain(EXCHANGE_KEYS)
        .filter(|key| table.get(key).is_some())
    {
        let found = format!("`{key}` beside `manual`");
        let cure = format!("remove `{key}`, or `manual`");
        findings.error(table.line_of(key, findings), found, "keys by hand, or IKE", cure);
    }
    let esp = sa(&own, ["esp", "esp-spi-in", "esp-spi-out"], parse_esp, findings);
    let ah = sa(&own, ["ah", "ah-spi-in", "ah-spi-out"], parse_ah, findings);
    if own.get("esp").is_none() && own.get("ah").is_none() {
        let cure = "write manual = { esp = \"aes256-sha256\", esp-spi-in = 0x1001, esp-spi-out = 0x2001 }";
        findings.error(own.line, "`manual` with neither `esp` nor `ah`", "one of them or both", cure);
    }
    let found = "static keys are never renewed, and neither are sequence numbers: replayed packets are taken, and \
                 who learns a key reads all that was ever sent (RFC 4107)";
    findings.warning(own.line, found, "use IKE where the peer has it");
    Some(Manual { esp, ah, line: own.line })
}

fn sa(
    table: &Table<'_>,
    [key, spi_in, spi_out]: [&'static str; 3],
    parse: fn(&str) -> Result<Vec<EspProposal>, Bad>,
    findings: &mut Findings,
) -> Option<ManualSa> {
    if table.get(key).is_none() {
        for spi in [spi_in, spi_out].into_iter().filter(|spi| table.get(spi).is_some()) {
            let found = format!("`{spi}` without `{key}`");
            findings.error(
                table.line_of(spi, findings),
                found,
                "both",
                format!("add {key}, or remove {spi}"),
            );
        }
        return None;
    }
    let proposal = table.optional(key, findings, |v| algorithms(v, parse));
    let number = |v: &DeValue<'_>| number32(v, 256..=u32::MAX, "an SPI");
    let mut spi = |key: &str| table.required(key, "an SPI that both ends know", "0x1001", findings, number);
    let (spi_in, spi_out) = (spi(spi_in), spi(spi_out));
    let spi = |raw: Option<u32>| Spi::try_from(raw?).ok();
    Some(ManualSa { proposal: proposal?, spi_in: spi(spi_in)?, spi_out: spi(spi_out)?, keys: None })
}

/// Those whose security does not rest on a number that never comes again (RFC 4106 §2, RFC 3686 §2.1, RFC 7634 §2).
fn algorithms(
    value: &DeValue<'_>,
    parse: fn(&str) -> Result<Vec<EspProposal>, Bad>,
) -> Result<EspProposal, Bad> {
    let expected = "a cipher with an integrity, or for AH an integrity, that static keys do not break";
    let cure = "write aes256-sha256, or sha256 for AH";
    let given = text(value, expected, cure)?;
    let bad = || Bad::new(shown(value), expected, cure);
    let [proposal] = parse(given)?.try_into().map_err(|_| bad())?;
    let EspProposal { encryption, integrity, group, kem, esn } = proposal;
    let lasting = matches!(encryption, None | Some(Encryption::AesCbc128 | Encryption::AesCbc256))
        && !integrity.is_some_and(Integrity::is_of_ah_only);
    // Extended numbers are nowhere on the wire: who begins anew could not say so.
    let plain = group.is_none() && kem.is_none() && !esn;
    if lasting && plain && integrity.is_some() { Ok(proposal) } else { Err(bad()) }
}

/// What does not go together within one tunnel, and across tunnels.
pub(crate) fn check(config: &Config, findings: &mut Findings) {
    let mut first: HashMap<Spi, &Tunnel> = HashMap::new();
    for (tunnel, manual) in config.tunnels.iter().filter_map(|t| Some((t, t.manual.as_ref()?))) {
        if tunnel.remote.is_none() {
            let cure = "write the peer's address, or use IKE";
            findings.error(manual.line, "`manual`, but `remote` is \"any\"", "one peer", cure);
        }
        if manual.ah.is_some() && tunnel.travel.multipath != 0 {
            let cure = "write udp-encapsulate = false in this tunnel";
            findings.error(manual.line, "`udp-encapsulate` with AH", "AH as it is", cure);
        }
        for sa in manual.sas() {
            if let Some(other) = first.insert(sa.spi_in, tunnel) {
                let found = format!("the SPI {} comes in by tunnel \"{}\" too", sa.spi_in, other.name);
                findings.error(manual.line, found, "every inbound SPI once", "give one of them another");
            }
        }
        one_worker(config, manual, findings);
    }
}

/// An SPI names the worker that has its SA, and the two of a bundle go from hand to hand.
fn one_worker(config: &Config, manual: &Manual, findings: &mut Findings) {
    let workers = u32::try_from(config.dataplane.cores.len()).unwrap_or(1).max(1);
    let (Some(esp), Some(ah)) = (&manual.esp, &manual.ah) else { return };
    let (esp, ah) = (esp.spi_in.get(), ah.spi_in.get());
    if esp % workers != ah % workers {
        let found = format!(
            "`esp-spi-in` and `ah-spi-in` leave different remainders by {workers}, the number of `cores`"
        );
        let near = (0..workers).filter_map(|n| ah.checked_sub(n)).find(|n| n % workers == esp % workers);
        let cure = format!("write ah-spi-in = {:#x} on both sides", near.unwrap_or(esp));
        findings.error(manual.line, found, "the same remainder: one worker has both SAs", cure);
    }
}

/// As the difference of two files shows it.
pub(crate) fn manual_text(manual: &Manual) -> String {
    let one = |sa: &ManualSa| {
        format!("{} {} in {} out {}", sa.protocol(), esp_text(&sa.proposal), sa.spi_in, sa.spi_out)
    };
    manual.sas().map(one).collect::<Vec<_>>().join(", ")
}
