//! The SA that every bench installs: tunnel mode, addresses without UDP, extended sequence numbers, no limits.
//!
//! Decides: what the benches do not vary. Never: chooses keys or SPIs.

use anyhow::Context;
use ravelin_ring::msg::{Direction, Extras, KeyMaterial, Mode, OuterDf, SaId, SaSpec, Suite, TunnelId};
use std::net::{Ipv4Addr, SocketAddr};

/// `spi` in host order; `keys`: the suite's key material, cipher key first. An error names what the contract refuses.
pub(crate) fn spec(
    (id, tunnel): (SaId, TunnelId),
    direction: Direction,
    spi: u32,
    (suite, keys): (Suite, &[u8]),
    (local, remote): (Ipv4Addr, Ipv4Addr),
) -> anyhow::Result<SaSpec> {
    Ok(SaSpec {
        id,
        tunnel,
        direction,
        spi: spi.try_into().map_err(|e| anyhow::anyhow!("SPI {spi:#x}: {e}"))?,
        suite,
        keys: KeyMaterial::new(keys).context("key length")?,
        esn: true, // or a long run ends at 2^32 packets
        local: SocketAddr::new(local.into(), 0),
        remote: SocketAddr::new(remote.into(), 0),
        mode: Mode::Tunnel,
        replay_window: 1024,
        tunnel_mtu: 1500,
        outer_df: OuterDf::Copy,
        tfc: 0,
        soft_bytes: 0,
        hard_bytes: 0,
        soft_packets: 0,
        hard_packets: 0,
        selectors: 1,
        extras: Extras::default(),
    })
}
