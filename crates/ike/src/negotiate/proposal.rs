//! Choosing a proposal (RFC 7296 §2.7, §3.3.6).
//!
//! Decides: the first of our proposals that one of the peer's covers. Never: invents a combination that the
//! configuration does not name.

use super::algorithm::{self, esp_transforms, ike_transforms, kind_name, name};
use crate::config::{EspProposal, Group, IkeProposal};
use crate::payload::sa::{PROTOCOL_AH, PROTOCOL_ESP, PROTOCOL_IKE, transform};
use crate::payload::{Proposal, Transform};
use ravelin_wire::Spi;
use std::collections::BTreeSet;

/// A SPI in an IKE rekey has this many bytes; in the first exchange there is none.
const IKE_SPI: usize = 8;

pub(crate) fn offer_ike(list: &[IkeProposal], spi: Option<u64>) -> Vec<Proposal> {
    let spi = spi.map(|s| s.to_be_bytes().to_vec()).unwrap_or_default();
    numbered(list.iter().map(|p| (PROTOCOL_IKE, ike_transforms(p))), &spi)
}

/// RFC 7296 §3.3.1.
const fn protocol_of(p: &EspProposal) -> u8 {
    if p.is_ah() { PROTOCOL_AH } else { PROTOCOL_ESP }
}

pub(crate) fn offer_esp(list: &[EspProposal], spi: Spi, pfs: bool) -> Vec<Proposal> {
    // Without key exchange two proposals may become the same; the second says nothing new.
    let mut seen: Vec<(u8, Vec<Transform>)> = Vec::new();
    for proposal in list.iter().map(|p| (protocol_of(p), esp_transforms(p, pfs))) {
        if !seen.contains(&proposal) {
            seen.push(proposal);
        }
    }
    numbered(seen.into_iter(), &spi.get().to_be_bytes())
}

fn numbered(list: impl Iterator<Item = (u8, Vec<Transform>)>, spi: &[u8]) -> Vec<Proposal> {
    (1..=u8::MAX)
        .zip(list)
        .map(|(number, (protocol, transforms))| Proposal { number, protocol, spi: spi.to_vec(), transforms })
        .collect()
}

/// What was chosen, and the peer's proposal that covers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chosen<P> {
    pub(crate) ours: P,
    pub(crate) number: u8,
    pub(crate) spi: Vec<u8>,
}

/// As responder: our first proposal that the peer covers.
pub(crate) fn choose_ike(
    ours: &[IkeProposal],
    offered: &[Proposal],
    rekey: bool,
) -> Option<Chosen<IkeProposal>> {
    let spi_len = if rekey { IKE_SPI } else { 0 };
    choose(ours, offered, spi_len, |p| (PROTOCOL_IKE, ike_transforms(p)))
}

pub(crate) fn choose_esp(
    ours: &[EspProposal],
    offered: &[Proposal],
    pfs: bool,
) -> Option<Chosen<EspProposal>> {
    if pfs {
        return choose(ours, offered, 4, |p| (protocol_of(p), esp_transforms(p, true)));
    }
    // IKE_AUTH has no key exchange: groups in the offer are for later rekeys and do not count.
    let bare: Vec<Proposal> = offered.iter().cloned().map(without_groups).collect();
    choose(ours, &bare, 4, |p| (protocol_of(p), esp_transforms(p, false)))
}

fn without_groups(mut p: Proposal) -> Proposal {
    p.transforms.retain(|t| {
        !matches!(t.kind, transform::GROUP | transform::ADDITIONAL_KE_1..=transform::ADDITIONAL_KE_7)
    });
    p
}

fn choose<P: Copy>(
    ours: &[P],
    offered: &[Proposal],
    spi_len: usize,
    wanted: impl Fn(&P) -> (u8, Vec<Transform>),
) -> Option<Chosen<P>> {
    ours.iter().find_map(|p| {
        let (protocol, wanted) = wanted(p);
        let found = offered
            .iter()
            .find(|o| o.protocol == protocol && o.spi.len() == spi_len && covers(&o.transforms, &wanted))?;
        Some(Chosen { ours: *p, number: found.number, spi: found.spi.clone() })
    })
}

/// Each wanted transform is offered, and each offered kind that is not wanted may be "none" (or, for ESN, "off").
fn covers(offered: &[Transform], wanted: &[Transform]) -> bool {
    let kinds: BTreeSet<u8> = offered.iter().map(|t| t.kind).collect();
    wanted.iter().all(|w| offered.contains(w) || omitted_esn(&kinds, w))
        && kinds.iter().all(|&kind| {
            wanted.iter().any(|w| w.kind == kind)
                || (may_be_none(kind) && offered.iter().any(|t| t.kind == kind && t.id == 0))
        })
}

const fn may_be_none(kind: u8) -> bool {
    matches!(
        kind,
        transform::INTEGRITY | transform::GROUP | transform::ADDITIONAL_KE_1..=transform::ADDITIONAL_KE_7
    )
}

/// Some peers leave the ESN transform out when they mean "off".
fn omitted_esn(kinds: &BTreeSet<u8>, wanted: &Transform) -> bool {
    wanted.kind == transform::ESN && wanted.id == 0 && !kinds.contains(&transform::ESN)
}

/// As initiator: the peer's answer is exactly one of our proposals, one transform of each kind.
pub(crate) fn accept_ike(
    ours: &[IkeProposal],
    answer: &[Proposal],
    rekey: bool,
) -> Option<Chosen<IkeProposal>> {
    choose_ike(ours, single(answer)?, rekey)
}

pub(crate) fn accept_esp(
    ours: &[EspProposal],
    answer: &[Proposal],
    pfs: bool,
) -> Option<Chosen<EspProposal>> {
    choose_esp(ours, single(answer)?, pfs)
}

fn single(answer: &[Proposal]) -> Option<&[Proposal]> {
    let [one] = answer else { return None };
    let kinds: BTreeSet<u8> = one.transforms.iter().map(|t| t.kind).collect();
    (kinds.len() == one.transforms.len()).then_some(answer)
}

/// The answer to a chosen proposal, in the peer's numbering.
pub(crate) fn answer_ike(chosen: &Chosen<IkeProposal>, spi: Option<u64>) -> Vec<Proposal> {
    let spi = spi.map(|s| s.to_be_bytes().to_vec()).unwrap_or_default();
    let transforms = ike_transforms(&chosen.ours);
    vec![Proposal { number: chosen.number, protocol: PROTOCOL_IKE, spi, transforms }]
}

pub(crate) fn answer_esp(chosen: &Chosen<EspProposal>, spi: Spi, pfs: bool) -> Vec<Proposal> {
    let transforms = esp_transforms(&chosen.ours, pfs);
    let spi = spi.get().to_be_bytes().to_vec();
    vec![Proposal { number: chosen.number, protocol: protocol_of(&chosen.ours), spi, transforms }]
}

/// The group with this number, if one of the proposals has it.
pub(crate) fn group_by_number(groups: impl Iterator<Item = Group>, number: u16) -> Option<Group> {
    let mut groups = groups;
    groups.find(|g| algorithm::group_number(*g) == number)
}

pub(crate) fn explain_ike(ours: &[IkeProposal], offered: &[Proposal]) -> String {
    explain(ours.iter().map(ike_transforms).collect(), offered)
}

pub(crate) fn explain_esp(ours: &[EspProposal], offered: &[Proposal], pfs: bool) -> String {
    explain(ours.iter().map(|p| esp_transforms(p, pfs)).collect(), offered)
}

/// Attribute by attribute: what was wanted, what was offered.
fn explain(ours: Vec<Vec<Transform>>, offered: &[Proposal]) -> String {
    let wanted: Vec<Transform> = ours.into_iter().flatten().collect();
    let got: Vec<Transform> = offered.iter().flat_map(|p| p.transforms.iter().copied()).collect();
    let mut kinds: Vec<u8> = wanted.iter().chain(&got).map(|t| t.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let differing: Vec<String> = kinds
        .iter()
        .filter(|&&kind| !wanted.iter().any(|t| t.kind == kind && got.contains(t)))
        .map(|&kind| describe(kind, &wanted, &got))
        .collect();
    if differing.is_empty() {
        let all: Vec<String> = kinds.iter().map(|&kind| describe(kind, &wanted, &got)).collect();
        return format!("each attribute has a common value, but no single proposal does: {}", all.join("; "));
    }
    differing.join("; ")
}

fn describe(kind: u8, wanted: &[Transform], got: &[Transform]) -> String {
    format!("{}: wanted {}, got {}", kind_name(kind), names(kind, wanted), names(kind, got))
}

/// Attribute by attribute.
pub(crate) fn describe_ike(proposal: &IkeProposal) -> String {
    let each = ike_transforms(proposal)
        .iter()
        .map(|t| format!("{} {}", kind_name(t.kind), name(t)))
        .collect::<Vec<_>>();
    each.join(", ")
}

fn names(kind: u8, list: &[Transform]) -> String {
    let mut names: Vec<String> = Vec::new();
    for t in list.iter().filter(|t| t.kind == kind) {
        let name = name(t);
        // A peer's offer can be long; an operator's line must not be.
        if !names.contains(&name) && names.len() < 12 {
            names.push(name);
        }
    }
    if names.is_empty() { "nothing".to_owned() } else { names.join("|") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Encryption, Integrity, Kem, Prf};

    const GCM: IkeProposal = IkeProposal {
        encryption: Encryption::AesGcm16_256,
        integrity: None,
        prf: Prf::HmacSha384,
        group: Group::Curve25519,
        kem: None,
    };
    const CBC: IkeProposal = IkeProposal {
        encryption: Encryption::AesCbc256,
        integrity: Some(Integrity::HmacSha256_128),
        prf: Prf::HmacSha256,
        group: Group::Modp2048,
        kem: None,
    };

    fn spi() -> Spi {
        Spi::try_from(0x1234_5678).unwrap()
    }

    // R5
    #[test]
    fn the_first_of_ours_that_fits_wins() {
        let offer = offer_ike(&[CBC, GCM], None);
        let chosen = choose_ike(&[GCM, CBC], &offer, false).unwrap();
        assert_eq!((chosen.ours, chosen.number), (GCM, 2));
        let answer = answer_ike(&chosen, None);
        assert_eq!(accept_ike(&[CBC, GCM], &answer, false).unwrap().ours, GCM);
    }

    #[test]
    fn a_proposal_with_many_transforms_of_a_kind() {
        let mut one = offer_ike(&[CBC], None);
        one[0].transforms.push(algorithm::encryption(Encryption::AesCbc128));
        one[0].transforms.push(algorithm::group(Group::Ecp256));
        let ours = IkeProposal { encryption: Encryption::AesCbc128, group: Group::Ecp256, ..CBC };
        assert_eq!(choose_ike(&[ours], &one, false).unwrap().ours, ours);
        // As an answer it would leave the choice open: refused.
        assert_eq!(accept_ike(&[ours], &one, false), None);
    }

    // RFC 7296 §3.3.6
    #[test]
    fn unknown_transforms_and_attributes_are_not_chosen() {
        let mut offer = offer_ike(&[GCM], None);
        offer[0].transforms.push(Transform::new(6, 36, None));
        assert_eq!(choose_ike(&[GCM], &offer, false), None);
        let mut offer = offer_ike(&[GCM], None);
        offer[0].transforms[0].foreign = true;
        assert_eq!(choose_ike(&[GCM], &offer, false), None);
        // Integrity beside an AEAD cipher may only be "none".
        let mut offer = offer_ike(&[GCM], None);
        offer[0].transforms.push(Transform::new(transform::INTEGRITY, 0, None));
        assert!(choose_ike(&[GCM], &offer, false).is_some());
        offer[0].transforms.last_mut().unwrap().id = 12;
        assert_eq!(choose_ike(&[GCM], &offer, false), None);
    }

    // R140
    #[test]
    fn pfs_is_what_the_proposals_say() {
        let plain = EspProposal {
            encryption: Some(Encryption::AesGcm16_128),
            integrity: None,
            group: None,
            kem: None,
            esn: false,
        };
        let pfs = EspProposal { group: Some(Group::Curve25519), kem: Some(Kem::MlKem768), ..plain };
        assert!(choose_esp(&[pfs], &offer_esp(&[plain], spi(), true), true).is_none());
        assert!(choose_esp(&[plain], &offer_esp(&[pfs], spi(), true), true).is_none());
        assert_eq!(choose_esp(&[pfs, plain], &offer_esp(&[plain], spi(), true), true).unwrap().ours, plain);
        // IKE_AUTH: groups do not count, and equal proposals are offered once.
        assert_eq!(offer_esp(&[pfs, plain], spi(), false).len(), 1);
        assert!(choose_esp(&[pfs], &offer_esp(&[plain], spi(), true), false).is_some());
        assert!(choose_esp(&[plain], &offer_esp(&[pfs], spi(), true), false).is_some());
        // A peer that leaves ESN out means "off".
        let mut offer = offer_esp(&[plain], spi(), true);
        offer[0].transforms.retain(|t| t.kind != transform::ESN);
        assert!(choose_esp(&[plain], &offer, true).is_some());
        assert!(choose_esp(&[EspProposal { esn: true, ..plain }], &offer, true).is_none());
    }

    #[test]
    fn the_difference_is_told_attribute_by_attribute() {
        let theirs = IkeProposal { encryption: Encryption::AesCbc128, group: Group::Ecp384, ..CBC };
        let why = explain_ike(&[CBC], &offer_ike(&[theirs], None));
        assert_eq!(why, "encryption: wanted aes256, got aes128; group: wanted modp2048, got ecp384");
        let mixed =
            [IkeProposal { group: Group::Curve25519, ..CBC }, IkeProposal { prf: Prf::HmacSha1, ..CBC }];
        let why = explain_ike(&[CBC], &offer_ike(&mixed, None));
        assert!(why.starts_with("each attribute has a common value"), "{why}");
    }
}
