//! The security policy database (RFC 4301 §4.4.1), compiled for look-ups that do not grow with the tunnels.
//!
//! Decides: what the policies say of a pair of addresses, a protocol and ports; lowest order first.
//! Reads: what was compiled. Never: knows which SA is up, or which way a packet goes: the caller says which of its
//! addresses is the local one.

mod family;
mod selector;
mod table;

pub(crate) use selector::{Fit, SaSelectors};

use crate::packet::{Ip, Packet};
use ravelin_ring::msg::{Action, Policy, TunnelId};
use std::collections::HashMap;
use table::{Builder, Entry, Table};

#[derive(Debug, Default)]
pub(crate) struct Spd {
    v4: Table<u32>,
    v6: Table<u128>,
    protects_v6: bool,
    tunnels: Vec<(TunnelId, bool)>,
    /// Of the policies in their order: the order itself, and the line of the configuration.
    origins: Vec<(u32, u32)>,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Query {
    V4(Asked<u32>),
    V6(Asked<u128>),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<A> {
    pub(crate) local: A,
    pub(crate) remote: A,
    pub(crate) protocol: u8,
    /// Local and remote; `None`: a fragment hides them.
    pub(crate) ports: Option<(u16, u16)>,
}

impl Query {
    /// For a packet that goes to the peer: its source is the local side.
    #[inline]
    pub(crate) fn outbound(packet: &Packet) -> Self {
        let ip = &packet.meta.ip;
        let ports = if ip.portless { None } else { Some(ip.ports) };
        if ip.v6 {
            let (local, remote) = packet.addresses_v6();
            return Self::V6(Asked { local, remote, protocol: ip.protocol, ports });
        }
        Self::V4(Asked { local: ip.src, remote: ip.dst, protocol: ip.protocol, ports })
    }

    /// [`Self::inbound`] for an IPv4 packet that was another when it came.
    pub(crate) fn came(ip: &Ip) -> Self {
        let ports = if ip.portless { None } else { Some((ip.ports.1, ip.ports.0)) };
        Self::V4(Asked { local: ip.dst, remote: ip.src, protocol: ip.protocol, ports })
    }

    /// For a packet that came from the peer: its destination is the local side.
    #[inline]
    pub(crate) fn inbound(packet: &Packet) -> Self {
        let ip = &packet.meta.ip;
        let ports = if ip.portless { None } else { Some((ip.ports.1, ip.ports.0)) };
        if ip.v6 {
            let (remote, local) = packet.addresses_v6();
            return Self::V6(Asked { local, remote, protocol: ip.protocol, ports });
        }
        Self::V4(Asked { local: ip.dst, remote: ip.src, protocol: ip.protocol, ports })
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// Place in [`Spd::tunnels`].
    Protect(u32),
    /// By a policy, or by none.
    Bypass,
    Discard,
    /// The ports are hidden, and they would decide.
    Unknown,
}

impl Spd {
    pub(crate) fn compile(policies: &[Policy]) -> Self {
        let mut sorted: Vec<&Policy> = policies.iter().collect();
        sorted.sort_by_key(|p| p.order);
        let (mut v4, mut v6) = (Builder::default(), Builder::default());
        let (mut tunnels, mut places) = (vec![], HashMap::new());
        let mut origins = vec![];
        // Their places stand for their orders: of two with the same order the one that was said first decides.
        for (place, policy) in (0u32..).zip(sorted) {
            origins.push((policy.order, policy.line));
            let answer = answer(policy, &mut tunnels, &mut places);
            let s = &policy.selector;
            let entry = Entry {
                order: place,
                answer,
                protocol: s.protocol,
                local_ports: s.local_ports,
                remote_ports: s.remote_ports,
            };
            v4.add(s, entry);
            v6.add(s, entry);
        }
        let six = |p: &Policy| matches!(p.action, Action::Protect(_)) && p.selector.local.start().is_ipv6();
        Self { v4: v4.build(), v6: v6.build(), protects_v6: policies.iter().any(six), tunnels, origins }
    }

    /// Tunnels that policies name, and whether their packets wait for an SA; `Answer::Protect` is a place in it.
    pub(crate) fn tunnels(&self) -> &[(TunnelId, bool)] {
        &self.tunnels
    }

    /// Order of the policy that gave an answer, and the line of the configuration that it comes from; 0: of none.
    pub(crate) fn origin(&self, place: u64) -> Option<(u32, u32)> {
        self.origins.get(usize::try_from(place).ok()?).copied()
    }

    /// Some policy has IPv6 go by a tunnel.
    pub(crate) fn protects_v6(&self) -> bool {
        self.protects_v6
    }

    /// The answer, and the place of the policy that gave it among all, in their order; [`table::NO_POLICY`] when none matches.
    #[inline]
    pub(crate) fn lookup(&self, query: &Query) -> (Answer, u64) {
        match query {
            Query::V4(asked) => self.v4.lookup(asked),
            Query::V6(asked) => self.v6.lookup(asked),
        }
    }
}

fn answer(
    policy: &Policy,
    tunnels: &mut Vec<(TunnelId, bool)>,
    places: &mut HashMap<TunnelId, u32>,
) -> Answer {
    match policy.action {
        Action::Protect(tunnel) => {
            let place = *places.entry(tunnel).or_insert_with(|| {
                tunnels.push((tunnel, false));
                u32::try_from(tunnels.len() - 1).unwrap_or(u32::MAX)
            });
            if let Some((_, hold)) = tunnels.get_mut(place as usize) {
                *hold |= policy.hold;
            }
            Answer::Protect(place)
        }
        Action::Bypass => Answer::Bypass,
        Action::Discard => Answer::Discard,
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)] // numbers of tests are small
mod tests;
