//! What two gateways are told before packets can pass: tables, SAs with keys of their own, who uses which.

use super::plan::Subject;
use super::traffic::{CLEAR, SENDERS, TUNNELS};
use crate::sa;
use anyhow::bail;
use ravelin_dataplane::{TableStore, Tables, Worker};
use ravelin_ring::msg::*;
use ravelin_wire::{AddrRange, PortRange, Prefix, Selector};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

pub(super) const INSIDE: PortId = PortId(0);
pub(super) const WAN: PortId = PortId(1);
/// Of every port, and of everybody on the links.
pub(super) const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
const LEFT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const RIGHT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// Behind each gateway.
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    /// Protects.
    Left,
    /// Opens.
    Right,
}

impl Side {
    fn outer(self) -> (Ipv4Addr, Ipv4Addr) {
        match self {
            Self::Left => (LEFT, RIGHT),
            Self::Right => (RIGHT, LEFT),
        }
    }
}

/// Routes, neighbours, ports, and one PROTECT policy for each tunnel.
pub(super) fn tables(side: Side, tunnels: u32) -> anyhow::Result<Arc<Tables>> {
    let mut store = TableStore::new(2, None);
    let (own, peer) = side.outer();
    let route = |addr, len, port, gateway: Option<Ipv4Addr>| -> anyhow::Result<TableCommand> {
        let next_hop = NextHop::Port { port, gateway: gateway.map(IpAddr::V4) };
        Ok(TableCommand::AddRoute(Route { prefix: prefix(addr, len)?, next_hop }))
    };
    let mut commands = vec![
        // Where the sources are: what comes in clear must have come that way.
        match side {
            Side::Left => route(Ipv4Addr::new(10, 0, 0, 0), 8, INSIDE, Some(ROUTER))?,
            Side::Right => route(Ipv4Addr::new(10, 0, 0, 0), 8, WAN, Some(peer))?,
        },
        route(Ipv4Addr::new(198, 18, 0, 0), 24, WAN, None)?,
        match side {
            Side::Left => route(CLEAR, 8, WAN, Some(peer))?,
            Side::Right => route(CLEAR, 8, INSIDE, Some(ROUTER))?,
        },
        TableCommand::AddGatewayAddress(own.into()),
        TableCommand::AddPolicy(bypass(side)?),
    ];
    for n in 0..4 {
        commands.push(route(Ipv4Addr::from_bits(TUNNELS.to_bits() + (n << 24)), 8, INSIDE, Some(ROUTER))?);
    }
    for (port, addr) in [(INSIDE, ROUTER), (WAN, peer)] {
        let mac = MAC;
        commands.push(TableCommand::SetNeighbour(Neighbour { port, addr: addr.into(), mac }));
        commands.push(TableCommand::SetPort(Port { port, mac, mtu: 1500, up: true }));
    }
    for tunnel in 0..tunnels {
        let (selector, action) = (selector(tunnel, side)?, Action::Protect(TunnelId(tunnel)));
        commands.push(TableCommand::AddPolicy(Policy {
            order: tunnel + 1,
            selector,
            action,
            hold: false,
            line: 0,
        }));
    }
    for command in &commands {
        store.apply(command)?;
    }
    Ok(store.compile(Generation(1))?)
}

fn bypass(side: Side) -> anyhow::Result<Policy> {
    let here = AddrRange::from(prefix(SENDERS, 16)?);
    let there = AddrRange::from(prefix(CLEAR, 8)?);
    Ok(Policy {
        order: 0,
        selector: between(here, there, side),
        action: Action::Bypass,
        hold: false,
        line: 0,
    })
}

/// One SA from left to right for each tunnel. `shared`: its crypto may be other workers'.
pub(super) fn install(
    left: &mut Worker,
    right: &mut Worker,
    subject: Subject,
    tunnel: u32,
    shared: bool,
) -> anyhow::Result<()> {
    let Some((suite, key_len)) = subject.contract() else { return Ok(()) };
    let keys = keys(tunnel, key_len);
    // Spread as random ones are.
    let spi = tunnel.wrapping_mul(0x9e37_79b1) | 0x8000_0000;
    for (worker, side) in [(&mut *left, Side::Left), (right, Side::Right)] {
        let direction = if side == Side::Left { Direction::Outbound } else { Direction::Inbound };
        let ids = (SaId(tunnel.into()), TunnelId(tunnel));
        let extras = Extras { shared, ..Extras::default() };
        let spec =
            SaSpec { esn: false, extras, ..sa::spec(ids, direction, spi, (suite, &keys), side.outer())? };
        let (sa, token, selector) = (spec.id, Token(0), selector(tunnel, side)?);
        worker.apply(WorkerCommand::SaSelector { sa, selector });
        expect(worker.apply(WorkerCommand::InstallSa { token, spec: Box::new(spec) }))?;
    }
    let (tunnel, sa, owner) = (TunnelId(tunnel), SaId(tunnel.into()), WorkerId(0));
    expect(left.apply(WorkerCommand::UseOutbound { token: Token(0), tunnel, sa, owner }))
}

/// Of each tunnel others: the finaliser of splitmix64 over tunnel and place.
fn keys(tunnel: u32, len: usize) -> Vec<u8> {
    let word = |n: u64| {
        let mut x = (u64::from(tunnel) << 8 | n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ x >> 31).to_le_bytes()
    };
    (0..).flat_map(word).take(len).collect()
}

fn expect(event: Option<WorkerEvent>) -> anyhow::Result<()> {
    match event {
        Some(WorkerEvent::Done { outcome: Outcome::Ok, .. }) => Ok(()),
        other => bail!("a command was refused: {other:?}"),
    }
}

fn prefix(addr: Ipv4Addr, len: u8) -> anyhow::Result<Prefix> {
    Ok(Prefix::new(IpAddr::V4(addr), len)?)
}

fn selector(tunnel: u32, side: Side) -> anyhow::Result<Selector> {
    let here = AddrRange::from(prefix(SENDERS, 16)?);
    let there = AddrRange::from(prefix(Ipv4Addr::from_bits(TUNNELS.to_bits() + (tunnel << 8)), 24)?);
    Ok(between(here, there, side))
}

fn between(here: AddrRange, there: AddrRange, side: Side) -> Selector {
    let (local, remote) = if side == Side::Left { (here, there) } else { (there, here) };
    Selector { local, remote, protocol: None, local_ports: PortRange::ANY, remote_ports: PortRange::ANY }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_tunnel_has_keys_and_an_spi_of_its_own() {
        let keys: HashSet<Vec<u8>> = (0..100_000).map(|n| keys(n, 36)).collect();
        assert_eq!(keys.len(), 100_000);
        let spis: HashSet<u32> = (0..super::super::traffic::MAX_TUNNELS)
            .map(|n| n.wrapping_mul(0x9e37_79b1) | 0x8000_0000)
            .collect();
        assert_eq!(spis.len(), super::super::traffic::MAX_TUNNELS as usize);
    }
}
