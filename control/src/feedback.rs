//! What the workers report, as commands for the engine: the way back of design.md.
//!
//! Decides: what each event asks for. Reads: the installer's tables. Writes: nothing.
//! Never: trusts an id that the installer does not know; acts on an SA that is on its way out.

use crate::config::Tunnel;
use crate::install::Installer;
use ravelin_ike::command::Command;
use ravelin_ring::msg::{Direction, Outcome, PortId, SaId, SaReport, Token, TunnelId, WorkerEvent};
use ravelin_wire::{AddrRange, PortRange, Selector};
use std::net::IpAddr;

#[derive(Debug)]
pub enum Reaction {
    Engine(Command),
    /// A packet wants the tunnel up; whether it may is the driver's to say.
    Acquire(TunnelId, Selector),
    /// The kernel shall find a link address.
    Resolve(PortId, IpAddr),
    Done(Token, Outcome),
    Report(Box<SaReport>),
    /// An SA of an earlier control process reached its limit: its tunnel needs a new one now.
    Renew(TunnelId),
    UnknownSpi(u32, IpAddr),
    /// About an SA that is gone or going: nothing to do.
    Late,
}

pub fn reaction(installer: &Installer, event: WorkerEvent) -> Reaction {
    match event {
        WorkerEvent::Done { token, outcome } => Reaction::Done(token, outcome),
        WorkerEvent::SaReport(report) => Reaction::Report(report),
        WorkerEvent::SoftLimit { sa, .. } => limit(installer, sa, Command::RekeyChild),
        WorkerEvent::HardLimit { sa, .. } => limit(installer, sa, Command::DeleteChild),
        WorkerEvent::FirstPacket { sa } => match installer.half(sa) {
            Some(half) if half.direction == Direction::Inbound => {
                half.pair.map_or(Reaction::Late, |pair| Reaction::Engine(Command::FirstPacket(pair)))
            }
            Some(_) | None => Reaction::Late,
        },
        WorkerEvent::PeerMoved { sa, from } => match installer.half(sa) {
            Some(half) if half.direction == Direction::Inbound && !half.leaving => {
                half.pair.map_or(Reaction::Late, |child| Reaction::Engine(Command::PeerMoved { child, from }))
            }
            Some(_) | None => Reaction::Late,
        },
        WorkerEvent::Acquire { tunnel, source, destination, protocol, ports } => {
            packet(source, destination, protocol, ports)
                .map_or(Reaction::Late, |packet| Reaction::Acquire(tunnel, packet))
        }
        WorkerEvent::NeighbourNeeded { port, addr } => Reaction::Resolve(port, addr),
        WorkerEvent::UnknownSpi { spi, from } => Reaction::UnknownSpi(spi, from),
    }
}

/// The selector of one packet, for the peer to narrow around (RFC 7296 §2.9).
fn packet(source: IpAddr, destination: IpAddr, protocol: u8, ports: (u16, u16)) -> Option<Selector> {
    let one = |a| AddrRange::new(a, a).ok();
    // A later fragment hides them, and most protocols have none.
    let port = |p| if ports == (0, 0) { Some(PortRange::ANY) } else { PortRange::new(p, p).ok() };
    Some(Selector {
        local: one(source)?,
        remote: one(destination)?,
        protocol: Some(protocol),
        local_ports: port(ports.0)?,
        remote_ports: port(ports.1)?,
    })
}

pub fn initiate(tunnel: &Tunnel) -> Command {
    Command::Initiate { connection: tunnel.connection_id(), child: Some(tunnel.child_id()) }
}

fn limit(
    installer: &Installer,
    sa: SaId,
    command: impl Fn(ravelin_ike::event::ChildSaId) -> Command,
) -> Reaction {
    match installer.half(sa) {
        Some(half) if half.leaving => Reaction::Late,
        Some(half) => half.pair.map_or(Reaction::Renew(half.tunnel), |pair| Reaction::Engine(command(pair))),
        None => Reaction::Late,
    }
}
