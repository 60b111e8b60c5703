//! Which packets a capture wants.
//!
//! Decides: whether a packet matched every condition, each at some stage of its way. Reads: headers at the front of the
//! frame, inner and outer ones alike. Never: believes a length.

use crate::verdict::Verdict;
use ravelin_ring::counters::Drop;
use ravelin_ring::inspect::{Stage, Want};
use ravelin_wire::ethernet::{self, Link};
use ravelin_wire::ipv6::{self, Chain};
use ravelin_wire::{Bytes, protocol};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The conditions that a packet has met so far, one bit each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Seen(u8);

const PORT: u8 = 1;
const HOST: u8 = 2;
const PROTOCOL: u8 = 4;
const SERVICE: u8 = 8;
const SPI: u8 = 16;
const TUNNEL: u8 = 32;
const REASON: u8 = 64;

/// [`Want`] with its names made numbers.
#[derive(Clone, Debug)]
pub struct Filter {
    stages: u8,
    snaplen: usize,
    sample: u64,
    needed: u8,
    port: u16,
    host: Option<IpAddr>,
    protocol: u8,
    service: u16,
    spi: u32,
    tunnel: u32,
    reason: Option<Drop>,
}

impl Filter {
    /// `ports`: names, by number. An error names what is not there.
    pub fn new(want: &Want, ports: &[String]) -> Result<Self, String> {
        let port = want.port.as_ref().map(|name| {
            let at = ports.iter().position(|port| port == name).and_then(|at| u16::try_from(at).ok());
            at.ok_or_else(|| format!("no port {name}; there are: {}", ports.join(", ")))
        });
        let reason = want.reason.as_ref().map(|name| {
            Drop::named(name)
                .ok_or_else(|| format!("no drop reason {name}; `ravelin show drops 0` lists them"))
        });
        let stages = if want.stages.is_empty() { &Stage::ALL[..] } else { &want.stages };
        let given = [
            (want.port.is_some(), PORT),
            (want.host.is_some(), HOST),
            (want.protocol.is_some(), PROTOCOL),
            (want.service.is_some(), SERVICE),
            (want.spi.is_some(), SPI),
            (want.tunnel.is_some(), TUNNEL),
            (want.reason.is_some(), REASON),
        ];
        Ok(Self {
            stages: stages.iter().filter_map(|stage| bit(*stage)).fold(0, |sum, bit| sum | bit),
            snaplen: usize::from(want.snaplen),
            sample: u64::from(want.sample.max(1)),
            needed: given.iter().filter(|(given, _)| *given).fold(0, |sum, (_, bit)| sum | bit),
            port: port.transpose()?.unwrap_or_default(),
            host: want.host,
            protocol: want.protocol.unwrap_or_default(),
            service: want.service.unwrap_or_default(),
            spi: want.spi.unwrap_or_default(),
            tunnel: want.tunnel.unwrap_or_default(),
            reason: reason.transpose()?,
        })
    }

    pub(super) fn snaplen(&self) -> usize {
        self.snaplen
    }

    pub(super) fn wants(&self, stage: Stage) -> bool {
        bit(stage).is_some_and(|bit| self.stages & bit != 0)
    }

    pub(super) fn samples(&self, received: u64) -> bool {
        received.is_multiple_of(self.sample)
    }

    pub(super) fn begin(&self, port: u16) -> Seen {
        Seen(if port == self.port { PORT } else { 0 })
    }

    /// The addresses of a packet as it is now.
    pub(super) fn look(&self, seen: &mut Seen, bytes: &[u8], ethernet: bool) {
        if self.needed & (HOST | PROTOCOL | SERVICE) == 0 {
            return;
        }
        let Some(head) = head(bytes, ethernet) else { return };
        if self.host.is_some_and(|host| host == head.source || host == head.destination) {
            seen.0 |= HOST;
        }
        if head.protocol == self.protocol {
            seen.0 |= PROTOCOL;
        }
        if head.services.is_some_and(|(a, b)| a == self.service || b == self.service) {
            seen.0 |= SERVICE;
        }
    }

    pub(super) fn name(&self, seen: &mut Seen, spi: u32, tunnel: u32) {
        if spi == self.spi {
            seen.0 |= SPI;
        }
        if tunnel == self.tunnel {
            seen.0 |= TUNNEL;
        }
    }

    pub(super) fn holds(&self, seen: Seen, verdict: Verdict) -> bool {
        let reason = self.reason.is_some_and(|why| verdict == Verdict::Drop(why));
        (seen.0 | if reason { REASON } else { 0 }) & self.needed == self.needed
    }
}

fn bit(stage: Stage) -> Option<u8> {
    1u8.checked_shl((stage as u8).into())
}

struct Head {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    services: Option<(u16, u16)>,
}

fn head(bytes: &[u8], ethernet: bool) -> Option<Head> {
    let mut at = 0;
    if ethernet {
        let link = Link::parse(bytes)?;
        if link.ethertype != ethernet::IPV4 && link.ethertype != ethernet::IPV6 {
            return None;
        }
        at = link.payload;
    }
    let ip = bytes.get(at..)?;
    let (source, destination, protocol, upper) = match ip.first()? >> 4 {
        4 => {
            let addr = |at| Some(IpAddr::from(Ipv4Addr::from(ip.array::<4>(at)?)));
            let later = ip.be16(6)? & 0x1fff != 0;
            let upper = (!later).then_some(usize::from(ip.first()? & 0x0f) * 4);
            (addr(12)?, addr(16)?, *ip.get(9)?, upper)
        }
        6 => {
            let addr = |at| Some(IpAddr::from(Ipv6Addr::from(ip.array::<16>(at)?)));
            let chain = Chain::walk(ip, ipv6::HEADER, *ip.get(6)?);
            let (protocol, upper) = chain.end.map_or((*ip.get(6)?, None), |(p, at)| (p, Some(at)));
            (addr(8)?, addr(24)?, protocol, upper.filter(|_| chain.fragment.is_none()))
        }
        _ => return None,
    };
    let has = matches!(protocol, protocol::TCP | protocol::UDP | protocol::SCTP);
    let services = upper.filter(|_| has).and_then(|at| ip.be16(at).zip(ip.be16(at + 2)));
    Some(Head { source, destination, protocol, services })
}
