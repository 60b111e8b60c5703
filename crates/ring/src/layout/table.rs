//! Encoding of what the data plane's main thread is told and tells.

use crate::codec::{Malformed, Reader, Writer};
use crate::interface;
use crate::msg::{
    Action, Generation, InterfaceId, NatKind, NatRule, NatSettings, Neighbour, NextHop, Policy, Port, PortId,
    Route, TableCommand, TableEvent, TunnelId, VrfId, VrfPart,
};
use crate::spsc::Message;

impl Message for TableCommand {
    const WORDS: usize = 16;

    fn encode(&self, to: &mut Writer<'_>) {
        match *self {
            Self::ClearPolicies => to.u8(1),
            Self::AddPolicy(policy) => {
                to.u8(2);
                encode_policy(&policy, to);
            }
            Self::ClearRoutes => to.u8(3),
            Self::AddRoute(route) => {
                to.u8(4);
                encode_route(route, to);
            }
            Self::RemoveRoute(route) => {
                to.u8(5);
                encode_route(route, to);
            }
            Self::SetNeighbour(Neighbour { port, addr, mac }) => {
                to.u8(6);
                to.u16(port.0);
                to.addr(addr);
                to.bytes(&mac);
            }
            Self::RemoveNeighbour { port, addr } => {
                to.u8(7);
                to.u16(port.0);
                to.addr(addr);
            }
            Self::SetPort(Port { port, mac, mtu, up }) => {
                to.u8(8);
                to.u16(port.0);
                to.bytes(&mac);
                to.u16(mtu);
                to.bool(up);
            }
            Self::AddGatewayAddress(addr) => {
                to.u8(9);
                to.addr(addr);
            }
            Self::ClearGatewayAddresses => to.u8(10),
            Self::AddProtectedRange(range) => {
                to.u8(11);
                to.range(range);
            }
            Self::ClearProtectedRanges => to.u8(12),
            Self::Commit { generation } => {
                to.u8(13);
                to.u64(generation.0);
            }
            Self::ClearNat => to.u8(14),
            Self::AddNat(rule) => {
                to.u8(15);
                encode_nat(&rule, to);
            }
            Self::SetNat(settings) => {
                to.u8(16);
                encode_nat_settings(settings, to);
            }
            Self::AddMss { tunnel, mss } => {
                to.u8(17);
                to.u32(tunnel.0);
                to.u16(mss);
            }
            Self::AddFilter { tunnel, ref selector } => {
                to.u8(21);
                to.u32(tunnel.0);
                to.selector(selector);
            }
            Self::InVrf { vrf, ref part } => {
                to.u8(20);
                to.u16(vrf.0);
                encode_part(part, to);
            }
            Self::ClearAdmissions => to.u8(22),
            Self::AdmitVpn { port, ike_ports: [a, b] } => {
                to.u8(23);
                to.u16(port.0);
                to.u16(a);
                to.u16(b);
            }
            Self::AdmitFrom { port, range } => {
                to.u8(24);
                to.u16(port.0);
                to.range(range);
            }
            Self::ClearInterfaces => to.u8(18),
            Self::AddInterface(ref it) => {
                to.u8(19);
                interface::encode(it, to);
            }
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match from.u8()? {
            1 => Self::ClearPolicies,
            2 => Self::AddPolicy(decode_policy(from)?),
            3 => Self::ClearRoutes,
            4 => Self::AddRoute(decode_route(from)?),
            5 => Self::RemoveRoute(decode_route(from)?),
            6 => Self::SetNeighbour(Neighbour {
                port: PortId(from.u16()?),
                addr: from.addr()?,
                mac: from.mac()?,
            }),
            7 => Self::RemoveNeighbour { port: PortId(from.u16()?), addr: from.addr()? },
            8 => Self::SetPort(Port {
                port: PortId(from.u16()?),
                mac: from.mac()?,
                mtu: from.u16()?,
                up: from.bool()?,
            }),
            9 => Self::AddGatewayAddress(from.addr()?),
            10 => Self::ClearGatewayAddresses,
            11 => Self::AddProtectedRange(from.range()?),
            12 => Self::ClearProtectedRanges,
            13 => Self::Commit { generation: Generation(from.u64()?) },
            14 => Self::ClearNat,
            15 => Self::AddNat(decode_nat(from)?),
            16 => Self::SetNat(decode_nat_settings(from)?),
            17 => Self::AddMss { tunnel: TunnelId(from.u32()?), mss: from.u16()? },
            18 => Self::ClearInterfaces,
            19 => Self::AddInterface(interface::decode(from)?),
            21 => Self::AddFilter { tunnel: TunnelId(from.u32()?), selector: from.selector()? },
            22 => Self::ClearAdmissions,
            23 => Self::AdmitVpn { port: PortId(from.u16()?), ike_ports: [from.u16()?, from.u16()?] },
            24 => Self::AdmitFrom { port: PortId(from.u16()?), range: from.range()? },
            20 => Self::InVrf { vrf: VrfId(from.u16()?), part: decode_part(from)? },
            _ => return Err(Malformed("unknown table command")),
        })
    }
}

fn encode_part(part: &VrfPart, to: &mut Writer<'_>) {
    match *part {
        VrfPart::AddRoute(route) => {
            to.u8(1);
            encode_route(route, to);
        }
        VrfPart::RemoveRoute(route) => {
            to.u8(2);
            encode_route(route, to);
        }
        VrfPart::Policy(policy) => {
            to.u8(3);
            encode_policy(&policy, to);
        }
        VrfPart::Protected(range) => {
            to.u8(4);
            to.range(range);
        }
        VrfPart::Port(port) => {
            to.u8(5);
            to.u16(port.0);
        }
        VrfPart::Interface(id) => {
            to.u8(6);
            to.u16(id.0);
        }
        VrfPart::Nat(rule) => {
            to.u8(7);
            encode_nat(&rule, to);
        }
    }
}

fn decode_part(from: &mut Reader<'_>) -> Result<VrfPart, Malformed> {
    Ok(match from.u8()? {
        1 => VrfPart::AddRoute(decode_route(from)?),
        2 => VrfPart::RemoveRoute(decode_route(from)?),
        3 => VrfPart::Policy(decode_policy(from)?),
        4 => VrfPart::Protected(from.range()?),
        5 => VrfPart::Port(PortId(from.u16()?)),
        6 => VrfPart::Interface(InterfaceId(from.u16()?)),
        7 => VrfPart::Nat(decode_nat(from)?),
        _ => return Err(Malformed("unknown part of a VRF")),
    })
}

fn encode_policy(policy: &Policy, to: &mut Writer<'_>) {
    to.u32(policy.order);
    to.selector(&policy.selector);
    let (kind, tunnel) = match policy.action {
        Action::Protect(tunnel) => (1, tunnel.0),
        Action::Bypass => (2, 0),
        Action::Discard => (3, 0),
    };
    to.u8(kind);
    to.u32(tunnel);
    to.bool(policy.hold);
    to.u32(policy.line);
}

fn decode_policy(from: &mut Reader<'_>) -> Result<Policy, Malformed> {
    let (order, selector) = (from.u32()?, from.selector()?);
    let action = match (from.u8()?, from.u32()?) {
        (1, tunnel) => Action::Protect(TunnelId(tunnel)),
        (2, _) => Action::Bypass,
        (3, _) => Action::Discard,
        _ => return Err(Malformed("unknown policy action")),
    };
    Ok(Policy { order, selector, action, hold: from.bool()?, line: from.u32()? })
}

fn encode_nat(rule: &NatRule, to: &mut Writer<'_>) {
    to.u8(rule.kind as u8);
    to.range(rule.from);
    to.range(rule.to);
    to.range(rule.target);
    to.u8(rule.protocols);
    to.ports(rule.ports);
    to.ports(rule.target_ports);
    to.bool(rule.port.is_some());
    to.u16(rule.port.map_or(0, |port| port.0));
    to.bool(rule.tunnel);
    to.bool(rule.own);
    to.u32(rule.line);
}

fn decode_nat(from: &mut Reader<'_>) -> Result<NatRule, Malformed> {
    let kind = match from.u8()? {
        1 => NatKind::Exempt,
        2 => NatKind::Source,
        3 => NatKind::Destination,
        4 => NatKind::Static,
        _ => return Err(Malformed("unknown kind of NAT rule")),
    };
    let (sources, to, target) = (from.range()?, from.range()?, from.range()?);
    let (protocols, ports, target_ports) = (from.u8()?, from.ports()?, from.ports()?);
    let port = match (from.bool()?, from.u16()?) {
        (true, port) => Some(PortId(port)),
        (false, _) => None,
    };
    let (tunnel, own, line) = (from.bool()?, from.bool()?, from.u32()?);
    let rule =
        NatRule { kind, from: sources, to, target, protocols, ports, target_ports, port, tunnel, own, line };
    let v4 = |range: &ravelin_wire::AddrRange| range.start().is_ipv4();
    if !(v4(&rule.from) && v4(&rule.to) && v4(&rule.target)) {
        return Err(Malformed("a NAT rule of IPv6"));
    }
    Ok(rule)
}

fn encode_nat_settings(settings: NatSettings, to: &mut Writer<'_>) {
    let NatSettings { flows, per_host, udp_s, tcp_s, tcp_transitory_s, icmp_s, other_s, .. } = settings;
    for number in [flows, per_host, udp_s, tcp_s, tcp_transitory_s, icmp_s, other_s] {
        to.u32(number);
    }
    to.bool(settings.endpoint_independent_filter);
}

fn decode_nat_settings(from: &mut Reader<'_>) -> Result<NatSettings, Malformed> {
    let settings = NatSettings {
        flows: from.u32()?,
        per_host: from.u32()?,
        udp_s: from.u32()?,
        tcp_s: from.u32()?,
        tcp_transitory_s: from.u32()?,
        icmp_s: from.u32()?,
        other_s: from.u32()?,
        endpoint_independent_filter: from.bool()?,
    };
    // A worker makes room for them all at once.
    if (1..=NatSettings::MAX_FLOWS).contains(&settings.flows) {
        Ok(settings)
    } else {
        Err(Malformed("room for NAT sessions"))
    }
}

fn encode_route(route: Route, to: &mut Writer<'_>) {
    to.prefix(route.prefix);
    match route.next_hop {
        NextHop::Port { port, gateway } => {
            to.u8(if gateway.is_some() { 2 } else { 1 });
            to.u16(port.0);
            if let Some(gateway) = gateway {
                to.addr(gateway);
            }
        }
        NextHop::Local => to.u8(3),
        NextHop::Tunnel => to.u8(4),
        NextHop::Kernel => to.u8(5),
        NextHop::Blackhole => to.u8(6),
        NextHop::Interface(id) => {
            to.u8(7);
            to.u16(id.0);
        }
    }
}

fn decode_route(from: &mut Reader<'_>) -> Result<Route, Malformed> {
    let prefix = from.prefix()?;
    let next_hop = match from.u8()? {
        1 => NextHop::Port { port: PortId(from.u16()?), gateway: None },
        2 => NextHop::Port { port: PortId(from.u16()?), gateway: Some(from.addr()?) },
        3 => NextHop::Local,
        4 => NextHop::Tunnel,
        5 => NextHop::Kernel,
        6 => NextHop::Blackhole,
        7 => NextHop::Interface(InterfaceId(from.u16()?)),
        _ => return Err(Malformed("unknown next hop")),
    };
    Ok(Route { prefix, next_hop })
}

impl Message for TableEvent {
    const WORDS: usize = 4;

    fn encode(&self, to: &mut Writer<'_>) {
        match *self {
            Self::Committed { generation } => {
                to.u8(1);
                to.u64(generation.0);
            }
            Self::Refused { generation } => {
                to.u8(2);
                to.u64(generation.0);
            }
            Self::PortState { port, attached } => {
                to.u8(3);
                to.u16(port.0);
                to.bool(attached);
            }
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match from.u8()? {
            1 => Self::Committed { generation: Generation(from.u64()?) },
            2 => Self::Refused { generation: Generation(from.u64()?) },
            3 => Self::PortState { port: PortId(from.u16()?), attached: from.bool()? },
            _ => return Err(Malformed("unknown table event")),
        })
    }
}
