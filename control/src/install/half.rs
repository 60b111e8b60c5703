//! One direction of a pair, as the installer remembers it; the contract's numbers for what IKE negotiated.

use ravelin_ike::config::{Encryption, EspProposal, Integrity};
use ravelin_ike::event::ChildSaId;
use ravelin_ring::msg::{Direction, Mode, SaId, SaReport, SaSpec, Suite, TunnelId, VrfId, WorkerId};
use ravelin_wire::Spi;
use std::time::Instant;

/// One direction of a pair.
#[derive(Clone, Debug)]
pub struct Half {
    pub id: SaId,
    pub tunnel: TunnelId,
    pub direction: Direction,
    pub spi: Spi,
    pub worker: WorkerId,
    /// `None`: installed by the control process before this one.
    pub pair: Option<ChildSaId>,
    pub since: Instant,
    pub report: Option<SaReport>,
    /// It is to go: superseded, or within its grace time.
    pub leaving: bool,
    pub esn: bool,
    pub replay_window: u32,
    /// Where its gateways' addresses belong.
    pub outside: VrfId,
    /// Where what goes through belongs.
    pub inside: VrfId,
}

pub(super) fn half_of(now: Instant, pair: ChildSaId, worker: WorkerId, spec: &SaSpec) -> Half {
    Half {
        id: spec.id,
        tunnel: spec.tunnel,
        direction: spec.direction,
        spi: spec.spi,
        worker,
        pair: Some(pair),
        since: now,
        report: None,
        leaving: false,
        esn: spec.esn,
        replay_window: spec.replay_window,
        outside: spec.extras.outside,
        inside: spec.extras.inside,
    }
}

pub(super) const fn mode_of(mode: ravelin_ike::config::Mode) -> Mode {
    match mode {
        ravelin_ike::config::Mode::Tunnel => Mode::Tunnel,
        ravelin_ike::config::Mode::Transport => Mode::Transport,
    }
}

pub(crate) fn suite_of(proposal: &EspProposal) -> Option<Suite> {
    match (proposal.encryption, proposal.integrity) {
        (None, integrity) => Some(match integrity? {
            Integrity::HmacSha1_96 => Suite::AhSha1,
            Integrity::HmacSha256_128 => Suite::AhSha256,
            Integrity::HmacSha384_192 => Suite::AhSha384,
            Integrity::HmacSha512_256 => Suite::AhSha512,
            Integrity::AesGmac128 => Suite::AhGmac128,
            Integrity::AesGmac192 => Suite::AhGmac192,
            Integrity::AesGmac256 => Suite::AhGmac256,
        }),
        (Some(combined), None) => combined_suite(combined),
        (Some(cipher), Some(integrity)) => paired_suite(cipher, integrity),
    }
}

const fn combined_suite(encryption: Encryption) -> Option<Suite> {
    Some(match encryption {
        Encryption::AesGcm16_128 => Suite::Aes128Gcm16,
        Encryption::AesGcm16_256 => Suite::Aes256Gcm16,
        Encryption::ChaCha20Poly1305 => Suite::ChaCha20Poly1305,
        Encryption::AesGmac128 => Suite::Aes128Gmac,
        Encryption::AesGmac192 => Suite::Aes192Gmac,
        Encryption::AesGmac256 => Suite::Aes256Gmac,
        Encryption::AesCbc128
        | Encryption::AesCbc256
        | Encryption::AesCtr128
        | Encryption::AesCtr192
        | Encryption::AesCtr256 => return None,
    })
}

const fn paired_suite(cipher: Encryption, integrity: Integrity) -> Option<Suite> {
    use Encryption as E;
    use Integrity::{
        HmacSha1_96 as Sha1, HmacSha256_128 as Sha256, HmacSha384_192 as Sha384, HmacSha512_256 as Sha512,
    };
    Some(match (cipher, integrity) {
        (E::AesCbc128, Sha1) => Suite::Aes128CbcSha1,
        (E::AesCbc256, Sha1) => Suite::Aes256CbcSha1,
        (E::AesCbc128, Sha256) => Suite::Aes128CbcSha256,
        (E::AesCbc256, Sha256) => Suite::Aes256CbcSha256,
        (E::AesCbc128, Sha384) => Suite::Aes128CbcSha384,
        (E::AesCbc256, Sha384) => Suite::Aes256CbcSha384,
        (E::AesCbc128, Sha512) => Suite::Aes128CbcSha512,
        (E::AesCbc256, Sha512) => Suite::Aes256CbcSha512,
        (E::AesCtr128, Sha1) => Suite::Aes128CtrSha1,
        (E::AesCtr192, Sha1) => Suite::Aes192CtrSha1,
        (E::AesCtr256, Sha1) => Suite::Aes256CtrSha1,
        (E::AesCtr128, Sha256) => Suite::Aes128CtrSha256,
        (E::AesCtr192, Sha256) => Suite::Aes192CtrSha256,
        (E::AesCtr256, Sha256) => Suite::Aes256CtrSha256,
        (E::AesCtr256, Sha384) => Suite::Aes256CtrSha384,
        (E::AesCtr256, Sha512) => Suite::Aes256CtrSha512,
        (E::AesCtr128 | E::AesCtr192, Sha384 | Sha512)
        | (
            E::AesGcm16_128
            | E::AesGcm16_256
            | E::ChaCha20Poly1305
            | E::AesGmac128
            | E::AesGmac192
            | E::AesGmac256,
            _,
        )
        | (_, Integrity::AesGmac128 | Integrity::AesGmac192 | Integrity::AesGmac256) => return None,
    })
}
