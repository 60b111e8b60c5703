//! Proposals as words joined by hyphens: `aes256gcm16-prfsha384-x25519`, `aes256-sha256-modp2048`.
//!
//! Decides: which algorithms exist, which are refused as weak (RFC 8221, RFC 8247), what goes with what.
//! Reads: one string. Writes: one proposal. Never: adds an algorithm that was not written, except the PRF that an
//! integrity algorithm implies.

use ravelin_ike::config::{Encryption, EspProposal, Group, IkeProposal, Integrity, Kem, Prf};

use super::value::{Bad, cut, nearest};

#[derive(Clone, Copy)]
enum Word {
    Encryption(Encryption),
    Integrity(Integrity),
    Prf(Prf),
    Group(Group),
    Kem(Kem),
    Esn(bool),
}

const WORDS: &[(&str, Word)] = &[
    ("aes128gcm16", Word::Encryption(Encryption::AesGcm16_128)),
    ("aes256gcm16", Word::Encryption(Encryption::AesGcm16_256)),
    ("chacha20poly1305", Word::Encryption(Encryption::ChaCha20Poly1305)),
    ("aes128", Word::Encryption(Encryption::AesCbc128)),
    ("aes256", Word::Encryption(Encryption::AesCbc256)),
    ("aes128ctr", Word::Encryption(Encryption::AesCtr128)),
    ("aes192ctr", Word::Encryption(Encryption::AesCtr192)),
    ("aes256ctr", Word::Encryption(Encryption::AesCtr256)),
    ("aes128gmac", Word::Encryption(Encryption::AesGmac128)),
    ("aes192gmac", Word::Encryption(Encryption::AesGmac192)),
    ("aes256gmac", Word::Encryption(Encryption::AesGmac256)),
    ("sha1", Word::Integrity(Integrity::HmacSha1_96)),
    ("sha256", Word::Integrity(Integrity::HmacSha256_128)),
    ("sha384", Word::Integrity(Integrity::HmacSha384_192)),
    ("sha512", Word::Integrity(Integrity::HmacSha512_256)),
    ("prfsha1", Word::Prf(Prf::HmacSha1)),
    ("prfsha256", Word::Prf(Prf::HmacSha256)),
    ("prfsha384", Word::Prf(Prf::HmacSha384)),
    ("prfsha512", Word::Prf(Prf::HmacSha512)),
    ("modp1024", Word::Group(Group::Modp1024)),
    ("modp1536", Word::Group(Group::Modp1536)),
    ("modp2048", Word::Group(Group::Modp2048)),
    ("modp3072", Word::Group(Group::Modp3072)),
    ("modp4096", Word::Group(Group::Modp4096)),
    ("modp6144", Word::Group(Group::Modp6144)),
    ("modp8192", Word::Group(Group::Modp8192)),
    ("ecp256", Word::Group(Group::Ecp256)),
    ("ecp384", Word::Group(Group::Ecp384)),
    ("ecp521", Word::Group(Group::Ecp521)),
    ("x25519", Word::Group(Group::Curve25519)),
    ("curve25519", Word::Group(Group::Curve25519)),
    ("mlkem512", Word::Kem(Kem::MlKem512)),
    ("mlkem768", Word::Kem(Kem::MlKem768)),
    ("mlkem1024", Word::Kem(Kem::MlKem1024)),
    ("esn", Word::Esn(true)),
    ("noesn", Word::Esn(false)),
];

/// Algorithms that are known and refused, why, and what to write instead.
const WEAK: &[(&str, &str, &str)] = &[
    ("des", "56-bit keys are broken (RFC 8221 §5: MUST NOT)", "aes256gcm16"),
    ("3des", "64-bit blocks leak after a few gigabytes (RFC 8221 §5: SHOULD NOT)", "aes256gcm16"),
    ("null", "it does not encrypt", "aes256gcm16"),
    ("blowfish", "64-bit blocks leak after a few gigabytes (RFC 8221 §5: MUST NOT)", "aes256gcm16"),
    ("cast128", "64-bit blocks leak after a few gigabytes (RFC 8221 §5: MUST NOT)", "aes256gcm16"),
    ("md5", "the hash is broken (RFC 8221 §6, RFC 8247 §2.3: MUST NOT)", "sha256"),
    ("prfmd5", "the hash is broken (RFC 8247 §2.2: MUST NOT)", "prfsha256"),
    ("modp768", "the group is broken in hours (RFC 8247 §2.4: MUST NOT)", "x25519"),
    ("modp1024s160", "the group is too small (RFC 8247 §2.4: MUST NOT)", "x25519"),
];

/// Other spellings in use elsewhere.
const SPELLINGS: &[(&str, &str)] = &[
    ("aes", "aes128"),
    ("aes128gcm", "aes128gcm16"),
    ("aes256gcm", "aes256gcm16"),
    ("aes128gcm128", "aes128gcm16"),
    ("aes256gcm128", "aes256gcm16"),
    ("aes128ctr128", "aes128ctr"),
    ("gmac", "aes256gmac"),
    ("aes128cbc", "aes128"),
    ("aes256cbc", "aes256"),
    ("chacha20", "chacha20poly1305"),
    ("sha", "sha1"),
    ("sha2", "sha256"),
    ("sha2_256", "sha256"),
    ("group2", "modp1024"),
    ("group5", "modp1536"),
    ("group14", "modp2048"),
    ("group19", "ecp256"),
    ("group20", "ecp384"),
    ("group21", "ecp521"),
    ("group31", "x25519"),
];

/// The words of one proposal, each kind at most once.
#[derive(Default)]
struct Parts {
    encryption: Option<Encryption>,
    integrity: Option<Integrity>,
    prf: Option<Prf>,
    group: Option<Group>,
    kem: Option<Kem>,
    esn: Option<bool>,
    /// `esn` and `noesn`: either will do.
    either: bool,
}

/// For the IKE SA: `ENCRYPTION[-INTEGRITY][-PRF]-GROUP[-KEM]`.
pub(crate) fn parse_ike(text: &str) -> Result<IkeProposal, Bad> {
    let parts = parts(text)?;
    let expected = "ENCRYPTION-PRF-GROUP (aes256gcm16-prfsha384-x25519) or \
                    ENCRYPTION-INTEGRITY-GROUP (aes256-sha256-modp2048)";
    let bad = |why: &str, cure: &str| Bad::new(format!("\"{}\": {why}", cut(text)), expected, cure);
    if parts.esn.is_some() {
        return Err(bad("esn belongs to ESP, not to IKE", "move it to esp-proposals"));
    }
    let encryption =
        parts.encryption.ok_or_else(|| bad("no encryption", "put an encryption first: aes256gcm16"))?;
    if encryption.is_of_esp_only() {
        return Err(bad(
            "this encryption is of ESP, not of IKE",
            "write aes256gcm16, and this one in esp-proposals",
        ));
    }
    let integrity = with_cipher(encryption, parts.integrity, &bad)?;
    let implied = integrity.map(prf_of);
    let prf = parts.prf.or(implied).ok_or_else(|| bad("no PRF", "add one: prfsha384"))?;
    let group = parts.group.ok_or_else(|| bad("no key exchange group", "add one: x25519"))?;
    Ok(IkeProposal { encryption, integrity, prf, group, kem: parts.kem })
}

/// For child SAs: `ENCRYPTION[-INTEGRITY][-GROUP[-KEM]][-esn][-noesn]`. With both of the last two either will do: two proposals,
/// extended sequence numbers first.
pub(crate) fn parse_esp(text: &str) -> Result<Vec<EspProposal>, Bad> {
    let parts = parts(text)?;
    let expected = "ENCRYPTION[-GROUP][-esn] (aes256gcm16-x25519) or \
                    ENCRYPTION-INTEGRITY[-GROUP][-esn] (aes256-sha256)";
    let bad = |why: &str, cure: &str| Bad::new(format!("\"{}\": {why}", cut(text)), expected, cure);
    if parts.prf.is_some() {
        return Err(bad("a PRF belongs to IKE, not to ESP", "move it to ike-proposals"));
    }
    with_group(&parts, &bad)?;
    let encryption =
        parts.encryption.ok_or_else(|| bad("no encryption", "put an encryption first: aes256gcm16"))?;
    let integrity = with_cipher(encryption, parts.integrity, &bad)?;
    if matches!(encryption, Encryption::AesCtr128 | Encryption::AesCtr192)
        && matches!(integrity, Some(Integrity::HmacSha384_192 | Integrity::HmacSha512_256))
    {
        let cure = "write sha256 instead, or aes256ctr";
        return Err(bad("the data plane has no such cipher with this integrity", cure));
    }
    Ok(either(
        EspProposal {
            encryption: Some(encryption),
            integrity,
            group: parts.group,
            kem: parts.kem,
            esn: false,
        },
        &parts,
    ))
}

/// For child SAs of AH: `INTEGRITY[-GROUP[-KEM]][-esn][-noesn]`.
pub(crate) fn parse_ah(text: &str) -> Result<Vec<EspProposal>, Bad> {
    let parts = parts(text)?;
    let expected = "INTEGRITY[-GROUP][-esn] (sha256, sha256-x25519)";
    let bad = |why: &str, cure: &str| Bad::new(format!("\"{}\": {why}", cut(text)), expected, cure);
    if parts.prf.is_some() {
        return Err(bad("a PRF belongs to IKE, not to AH", "move it to ike-proposals"));
    }
    with_group(&parts, &bad)?;
    let integrity = match (parts.encryption.map(gmac_of), parts.integrity) {
        (Some(Some(_)), Some(_)) => {
            return Err(bad("AES-GMAC is an integrity by itself", "leave one of the two out"));
        }
        (Some(None), _) => {
            return Err(bad("AH does not encrypt", "leave the encryption out, or use esp-proposals"));
        }
        (Some(Some(gmac)), None) => gmac,
        (None, given) => given.ok_or_else(|| bad("no integrity", "write sha256"))?,
    };
    Ok(either(
        EspProposal {
            encryption: None,
            integrity: Some(integrity),
            group: parts.group,
            kem: parts.kem,
            esn: false,
        },
        &parts,
    ))
}

/// The same words in a proposal of AH (RFC 4543 §5.3).
const fn gmac_of(encryption: Encryption) -> Option<Integrity> {
    match encryption {
        Encryption::AesGmac128 => Some(Integrity::AesGmac128),
        Encryption::AesGmac192 => Some(Integrity::AesGmac192),
        Encryption::AesGmac256 => Some(Integrity::AesGmac256),
        Encryption::AesGcm16_128
        | Encryption::AesGcm16_256
        | Encryption::ChaCha20Poly1305
        | Encryption::AesCbc128
        | Encryption::AesCbc256
        | Encryption::AesCtr128
        | Encryption::AesCtr192
        | Encryption::AesCtr256 => None,
    }
}

/// RFC 9370 §2.2.1: the second key exchange follows a first one.
fn with_group(parts: &Parts, bad: &impl Fn(&str, &str) -> Bad) -> Result<(), Bad> {
    match (parts.kem, parts.group) {
        (Some(_), None) => Err(bad("ML-KEM without a key exchange group before it", "add one: x25519")),
        _ => Ok(()),
    }
}

fn either(proposal: EspProposal, parts: &Parts) -> Vec<EspProposal> {
    let with = |esn| EspProposal { esn, ..proposal };
    if parts.either { vec![with(true), with(false)] } else { vec![with(parts.esn.unwrap_or(false))] }
}

fn parts(text: &str) -> Result<Parts, Bad> {
    let mut parts = Parts::default();
    for name in text.split('-') {
        let fresh = match known(name)? {
            Word::Encryption(e) => parts.encryption.replace(e).is_none(),
            Word::Integrity(i) => parts.integrity.replace(i).is_none(),
            Word::Prf(p) => parts.prf.replace(p).is_none(),
            Word::Group(g) => parts.group.replace(g).is_none(),
            Word::Kem(k) => parts.kem.replace(k).is_none(),
            Word::Esn(e) => {
                let before = parts.esn.replace(e);
                parts.either = before == Some(!e);
                before != Some(e)
            }
        };
        if !fresh {
            return Err(Bad::new(
                format!("\"{}\": \"{name}\" is the second of its kind", cut(text)),
                "one algorithm of each kind",
                "write a second proposal for the other one",
            ));
        }
    }
    Ok(parts)
}

fn known(name: &str) -> Result<Word, Bad> {
    if let Some((_, word)) = WORDS.iter().find(|(known, _)| *known == name) {
        return Ok(*word);
    }
    let lower = name.to_ascii_lowercase();
    if let Some((weak, why, instead)) = WEAK.iter().find(|(weak, ..)| *weak == lower) {
        return Err(Bad::new(
            format!("\"{weak}\" is refused as too weak: {why}"),
            "a strong algorithm",
            format!("write \"{instead}\", and have the peer offer it"),
        ));
    }
    let names: Vec<&str> = WORDS.iter().map(|(known, _)| *known).collect();
    let spelling = SPELLINGS.iter().find(|(other, _)| *other == lower).map(|(_, ours)| *ours);
    let cure = spelling.or_else(|| nearest(&lower, &names)).map(|near| format!("did you mean \"{near}\"?"));
    Err(Bad::new(
        format!("unknown algorithm \"{}\"", cut(name)),
        format!("one of {}", names.join(", ")),
        cure.unwrap_or_else(|| "write one of these".to_owned()),
    ))
}

fn with_cipher(
    encryption: Encryption,
    integrity: Option<Integrity>,
    bad: &impl Fn(&str, &str) -> Bad,
) -> Result<Option<Integrity>, Bad> {
    match (is_aead(encryption), integrity) {
        (true, Some(_)) => Err(bad(
            "the cipher brings its own integrity",
            "leave the integrity out (sha256 …), or write prfsha256",
        )),
        (false, None) => Err(bad("a cipher without integrity", "add one: sha256")),
        (_, integrity) => Ok(integrity),
    }
}

const fn is_aead(encryption: Encryption) -> bool {
    match encryption {
        Encryption::AesGcm16_128
        | Encryption::AesGcm16_256
        | Encryption::ChaCha20Poly1305
        | Encryption::AesGmac128
        | Encryption::AesGmac192
        | Encryption::AesGmac256 => true,
        Encryption::AesCbc128
        | Encryption::AesCbc256
        | Encryption::AesCtr128
        | Encryption::AesCtr192
        | Encryption::AesCtr256 => false,
    }
}

const fn prf_of(integrity: Integrity) -> Prf {
    match integrity {
        // Never of IKE.
        Integrity::AesGmac128 | Integrity::AesGmac192 | Integrity::AesGmac256 => Prf::HmacSha256,
        Integrity::HmacSha1_96 => Prf::HmacSha1,
        Integrity::HmacSha256_128 => Prf::HmacSha256,
        Integrity::HmacSha384_192 => Prf::HmacSha384,
        Integrity::HmacSha512_256 => Prf::HmacSha512,
    }
}

/// In the notation of `parse_ike`.
pub fn ike_text(proposal: &IkeProposal) -> String {
    let mut words = vec![name_of(Word::Encryption(proposal.encryption))];
    words.extend(proposal.integrity.map(|i| name_of(Word::Integrity(i))));
    if proposal.integrity.map(prf_of) != Some(proposal.prf) {
        words.push(name_of(Word::Prf(proposal.prf)));
    }
    words.push(name_of(Word::Group(proposal.group)));
    words.extend(proposal.kem.map(|k| name_of(Word::Kem(k))));
    words.join("-")
}

/// In the notation of `parse_esp`, or of `parse_ah`.
pub fn esp_text(proposal: &EspProposal) -> String {
    let mut words: Vec<&str> =
        proposal.encryption.map(|e| name_of(Word::Encryption(e))).into_iter().collect();
    words.extend(proposal.integrity.map(|i| name_of(Word::Integrity(i))));
    words.extend(proposal.group.map(|g| name_of(Word::Group(g))));
    words.extend(proposal.kem.map(|k| name_of(Word::Kem(k))));
    if proposal.esn {
        words.push("esn");
    }
    words.join("-")
}

fn name_of(word: Word) -> &'static str {
    let same = |other: &Word| match (*other, word) {
        (Word::Encryption(a), Word::Integrity(b)) => gmac_of(a) == Some(b),
        (Word::Encryption(a), Word::Encryption(b)) => a == b,
        (Word::Integrity(a), Word::Integrity(b)) => a == b,
        (Word::Prf(a), Word::Prf(b)) => a == b,
        (Word::Group(a), Word::Group(b)) => a == b,
        (Word::Kem(a), Word::Kem(b)) => a == b,
        (Word::Esn(a), Word::Esn(b)) => a == b,
        _ => false,
    };
    WORDS.iter().find(|(_, other)| same(other)).map_or("?", |(name, _)| *name)
}

/// R7, R205: only for who says that it must be.
pub(crate) fn is_legacy(proposal: &str) -> bool {
    proposal.split('-').any(|name| matches!(name, "modp1024" | "modp1536"))
}

/// What speaks against it though it is not broken (RFC 8221, RFC 8247), and what to write instead.
pub(crate) fn ageing(key: &str, proposal: &str) -> Option<(&'static str, &'static str)> {
    proposal.split('-').find_map(|name| match name {
        "sha1" | "prfsha1" => {
            Some(("SHA-1 is on its way out (RFC 8247 §2.3: MUST-)", "use sha256 if the peer can"))
        }
        "modp1024" => {
            Some(("a state can break the group (RFC 8247 §2.4: SHOULD NOT)", "use x25519 if the peer can"))
        }
        "modp1536" => {
            Some(("the group is too small (RFC 8247 §2.4: SHOULD NOT)", "use x25519 if the peer can"))
        }
        "aes128gmac" | "aes192gmac" | "aes256gmac" if key != "ah-proposals" => Some((
            "packets are authentic, and everybody can read them (RFC 4543)",
            "write aes256gcm16 where they are secret",
        )),
        _ => None,
    })
}
