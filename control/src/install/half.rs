//! One direction of a pair, as the installer remembers it; the contract's numbers for what IKE negotiated.

use ravelin_ike::config::{Encryption, EspProposal, Integrity};
use ravelin_ike::event::ChildSaId;
use ravelin_ring::msg::{Direction, Mode, SaId, SaReport, SaSpec, Suite, TunnelId, WorkerId};
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
    }
}

pub(super) const fn mode_of(mode: ravelin_ike::config::Mode) -> Mode {
    match mode {
        ravelin_ike::config::Mode::Tunnel => Mode::Tunnel,
        ravelin_ike::config::Mode::Transport => Mode::Transport,
    }
}

pub(super) fn suite_of(proposal: &EspProposal) -> Option<Suite> {
    match (proposal.encryption, proposal.integrity) {
        (Some(Encryption::AesGcm16_128), None) => Some(Suite::Aes128Gcm16),
        (Some(Encryption::AesGcm16_256), None) => Some(Suite::Aes256Gcm16),
        (Some(Encryption::ChaCha20Poly1305), None) => Some(Suite::ChaCha20Poly1305),
        (Some(Encryption::AesCbc128), Some(Integrity::HmacSha1_96)) => Some(Suite::Aes128CbcSha1),
        (Some(Encryption::AesCbc256), Some(Integrity::HmacSha1_96)) => Some(Suite::Aes256CbcSha1),
        (Some(Encryption::AesCbc128), Some(Integrity::HmacSha256_128)) => Some(Suite::Aes128CbcSha256),
        (Some(Encryption::AesCbc256), Some(Integrity::HmacSha256_128)) => Some(Suite::Aes256CbcSha256),
        (None, Some(Integrity::HmacSha1_96)) => Some(Suite::AhSha1),
        (None, Some(Integrity::HmacSha256_128)) => Some(Suite::AhSha256),
        (None, Some(Integrity::HmacSha384_192)) => Some(Suite::AhSha384),
        (None, Some(Integrity::HmacSha512_256)) => Some(Suite::AhSha512),
        (
            Some(Encryption::AesGcm16_128 | Encryption::AesGcm16_256 | Encryption::ChaCha20Poly1305),
            Some(_),
        )
        | (Some(Encryption::AesCbc128 | Encryption::AesCbc256) | None, None)
        | (
            Some(Encryption::AesCbc128 | Encryption::AesCbc256),
            Some(Integrity::HmacSha384_192 | Integrity::HmacSha512_256),
        ) => None,
    }
}
