//! What the workers are told of a negotiated pair.
//!
//! Decides: ids, which suite stands for the algorithms, soft limits with their jitter. Reads: the engine's event, the
//! tunnel's settings. Never: fails but for algorithms that the data plane does not have.

use super::Installer;
use super::half::{mode_of, suite_of};
use crate::config::ChildSettings;
use ravelin_ike::event::ChildSa;
use ravelin_ring::msg::{Direction, Extras, KeyMaterial, SaId, SaSpec};
use std::net::SocketAddr;

impl Installer {
    /// For laboratories: SAs that replace none send as if they had used these numbers up already.
    pub fn begin_at(&mut self, sequence: u64) {
        self.first_sequence = sequence;
    }

    pub(super) fn specs(&mut self, sa: &ChildSa, settings: &ChildSettings) -> Option<[SaSpec; 2]> {
        let suite = suite_of(&sa.proposal)?;
        let selectors = u16::try_from(sa.selectors.len()).ok().filter(|n| *n > 0)?;
        let (bytes, packets) = (settings.soft(settings.bytes.soft), settings.soft(settings.packets.soft));
        let outer = |addr: SocketAddr| SocketAddr::new(addr.ip(), if sa.udp { addr.port() } else { 0 });
        let mut spec = |direction, spi, keys: &[u8]| {
            self.next_sa += 1;
            Some(SaSpec {
                id: SaId(self.next_sa),
                tunnel: settings.tunnel,
                direction,
                spi,
                suite,
                keys: KeyMaterial::new(keys)?,
                esn: sa.proposal.esn,
                local: outer(sa.local),
                remote: outer(sa.remote),
                mode: mode_of(sa.mode),
                replay_window: settings.replay_window,
                tunnel_mtu: settings.tunnel_mtu,
                outer_df: settings.outer_df,
                // RFC 7296 §1.3.1: never where the peer said ESP_TFC_PADDING_NOT_SUPPORTED.
                tfc: if sa.pads && direction == Direction::Outbound { settings.tfc } else { 0 },
                // A successor begins at the beginning: its keys are new.
                extras: Extras {
                    sequence: if sa.replaces.is_some() { 0 } else { self.first_sequence },
                    multipath: settings.travel.multipath,
                    shared: settings.shared,
                    rules: settings.travel.rules,
                    partner: None,
                    outside: settings.outside,
                    inside: settings.inside,
                    filtered: settings.filtered && direction == Direction::Inbound,
                },
                soft_bytes: bytes,
                hard_bytes: settings.bytes.hard,
                soft_packets: packets,
                hard_packets: settings.packets.hard,
                selectors,
            })
        };
        let inbound = spec(Direction::Inbound, sa.inbound_spi, &sa.inbound_keys.0)?;
        let outbound = spec(Direction::Outbound, sa.outbound_spi, &sa.outbound_keys.0)?;
        Some([inbound, outbound])
    }
}
