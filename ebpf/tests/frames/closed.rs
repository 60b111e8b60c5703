//! Frames for a port that admits the VPN alone (R222), with the verdict that each must have, in this order: later fragments
//! follow first ones.

use super::*;

/// Beside 500 and 4500.
pub(crate) const IKE_PORTS: [u16; 2] = [1500, 14500];
/// A name server, say: admitted whole.
const ADMITTED: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);
const ADMITTED6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x53, 0, 0, 0, 0, 5);
const NO: Steer = Steer::DropNotAdmitted;

pub(crate) fn admitted() -> Vec<Prefix> {
    ["192.0.2.53/32", "192.0.2.128/25", "2001:db8:53::/48"].map(|p| p.parse().unwrap()).to_vec()
}

pub(crate) fn closed() -> Vec<(&'static str, Vec<u8>, Steer)> {
    let mut all = vpn();
    all.extend(clear());
    all.extend(fragments());
    all.extend(errors());
    all.extend(link_level());
    all.extend(listed());
    all
}

fn vpn() -> Vec<(&'static str, Vec<u8>, Steer)> {
    let to_us = (PEER, GATEWAY);
    let natt = |payload: &[u8]| v4(PEER, GATEWAY, 17, &udp(4500, payload));
    let chain = |kinds: &[u8], last: u8, payload: &[u8]| {
        let (first, payload) = chained(kinds, last, payload);
        v6(PEER6, GATEWAY6, first, &payload)
    };
    vec![
        ("ESP", v4(PEER, GATEWAY, 50, &SPI), ESP),
        (
            "ESP without SPI: the worker's to name",
            v4(PEER, GATEWAY, 50, &SPI[..3]),
            Steer::ToWorker(Class::EspRunt),
        ),
        ("AH", v4(PEER, GATEWAY, 51, &SPI), Steer::ToWorker(Class::Ah)),
        ("v6 ESP", v6(PEER6, GATEWAY6, 50, &SPI), ESP),
        ("v6 AH behind extension headers", chain(&[0, 60], 51, &SPI), Steer::ToWorker(Class::Ah)),
        ("ESP in UDP", natt(&SPI), NATT),
        ("ESP in UDP behind options", v4_with(to_us, 17, &udp(4500, &SPI), &[], 10, (0, false)), NATT),
        ("v6 ESP in UDP behind extension headers", chain(&[0, 43, 60], 17, &udp(4500, &SPI)), NATT),
        ("ESP in a VLAN", v4_with(to_us, 50, &SPI, &[0x8100], 0, (0, false)), ESP),
        ("IKE", v4(PEER, GATEWAY, 17, &udp(500, &SPI)), Steer::Pass),
        (
            "IKE in two VLANs",
            v4_with(to_us, 17, &udp(500, &SPI), &[0x8100, 0x88a8], 0, (0, false)),
            Steer::Pass,
        ),
        ("IKE behind options", v4_with(to_us, 17, &udp(500, &SPI), &[], 3, (0, false)), Steer::Pass),
        ("v6 IKE", v6(PEER6, GATEWAY6, 17, &udp(500, &SPI)), Steer::Pass),
        ("IKE on 4500", natt(&[0; 32]), Steer::Pass),
        ("a keepalive", natt(&[0xff]), Steer::Pass),
        ("the configured port", v4(PEER, GATEWAY, 17, &udp(4565, &SPI)), Steer::ToWorker(Class::UdpEncap)),
        ("IKE at its configured port", v4(PEER, GATEWAY, 17, &udp(1500, &SPI)), Steer::Pass),
        ("v6 IKE at its configured port", v6(PEER6, GATEWAY6, 17, &udp(14500, &SPI)), Steer::Pass),
        ("a port beside it", v4(PEER, GATEWAY, 17, &udp(1501, &SPI)), NO),
        ("ESP for somebody else", v4(PEER, INSIDE, 50, &SPI), NO),
        ("IKE for somebody else", v4(PEER, INSIDE, 17, &udp(500, &SPI)), NO),
        ("v6 IKE for somebody else", v6(PEER6, INSIDE6, 17, &udp(500, &SPI)), NO),
        ("TCP to port 500", v4(PEER, GATEWAY, 6, &udp(500, &SPI)), NO),
        ("GRE", v4(PEER, GATEWAY, 47, &SPI), NO),
        ("v6 GRE", v6(PEER6, GATEWAY6, 47, &SPI), NO),
        ("more extension headers than are walked", chain(&[60; 9], 17, &udp(500, &SPI)), NO),
    ]
}

fn clear() -> Vec<(&'static str, Vec<u8>, Steer)> {
    let changed = |mut f: Vec<u8>, at: usize, value: u8| {
        f[at] = value;
        f
    };
    vec![
        ("TCP", v4(PEER, GATEWAY, 6, &[0; 20]), NO),
        ("TCP in a VLAN", v4_with((PEER, GATEWAY), 6, &[0; 20], &[0x8100], 0, (0, false)), NO),
        ("UDP", v4(PEER, GATEWAY, 17, &udp(53, &SPI)), NO),
        ("UDP too short for ports", v4(PEER, GATEWAY, 17, &[1, 2, 3]), NO),
        ("ping", v4(PEER, GATEWAY, 1, &[8, 0, 0, 0, 0, 0, 0, 0]), NO),
        ("v6 TCP", v6(PEER6, GATEWAY6, 6, &[0; 20]), NO),
        ("v6 ping", v6(PEER6, GATEWAY6, 58, &[128, 0, 0, 0, 0, 0, 0, 0]), NO),
        ("v6 nothing", v6(PEER6, GATEWAY6, 59, &[]), NO),
        ("forwarded", v4(PEER, INSIDE, 6, &[0; 20]), NO),
        ("to a protected prefix", v4(PEER, REMOTE, 6, &[0; 20]), NO),
        ("from a protected prefix", v4(REMOTE, GATEWAY, 6, &[0; 20]), NO),
        ("IKE from a protected prefix", v4(REMOTE, GATEWAY, 17, &udp(500, &SPI)), Steer::Pass),
        ("v6 to a protected prefix", v6(PEER6, REMOTE6, 6, &[0; 20]), NO),
        ("to a forwarded port", v4(PEER, GATEWAY, 17, &udp(8080, &[0; 8])), NO),
        ("from a network that is translated", v4(HIDDEN, PEER, 6, &[0; 20]), NO),
        ("OSPF", v4(PEER, Ipv4Addr::new(224, 0, 0, 5), 89, &[0; 24]), NO),
        ("DHCP", v4(PEER, Ipv4Addr::BROADCAST, 17, &udp(68, &[0; 8])), NO),
        ("v6 OSPF", v6("fe80::5".parse().unwrap(), "ff02::5".parse().unwrap(), 89, &[0; 24]), NO),
        ("v6 to a link-local address", v6(PEER6, "fe80::5".parse().unwrap(), 6, &[0; 20]), NO),
        (
            "version 6 in IPv4, protected",
            changed(v4(PEER, REMOTE, 6, &[0; 20]), 14, 0x65),
            Steer::DropUnparsable,
        ),
        ("version 6 in IPv4", changed(v4(PEER, GATEWAY, 6, &[0; 20]), 14, 0x65), Steer::DropUnparsable),
        (
            "version 4 in IPv6, protected",
            changed(v6(PEER6, REMOTE6, 6, &[0; 20]), 14, 0x45),
            Steer::DropUnparsable,
        ),
    ]
}

fn fragments() -> Vec<(&'static str, Vec<u8>, Steer)> {
    let f = |protocol, payload: &[u8], at| v4_with((PEER, GATEWAY), protocol, payload, &[], 0, at);
    let f6 = |field: u16, next: u8, rest: &[u8], id: u8| {
        let [a, b] = field.to_be_bytes();
        v6(PEER6, GATEWAY6, 44, &[&[next, 0, a, b, 0, 0, 0, id][..], rest].concat())
    };
    vec![
        ("first fragment of ESP", f(50, &SPI, (0, true)), FRAGMENT),
        ("last fragment of ESP", f(50, &SPI, (1480, false)), FRAGMENT),
        ("fragment of AH", f(51, &SPI, (1480, true)), FRAGMENT),
        ("later fragment of UDP before its first", f(17, &SPI, (1480, false)), NO),
        ("first fragment of ESP in UDP", f(17, &udp(4500, &SPI), (0, true)), FRAGMENT),
        ("last fragment of ESP in UDP", f(17, &SPI, (1480, false)), FRAGMENT),
        ("first fragment of IKE", f(17, &udp(4500, &[0; 8]), (0, true)), Steer::Pass),
        ("last fragment of IKE", f(17, &SPI, (1480, false)), Steer::Pass),
        ("first fragment of IKE at its configured port", f(17, &udp(1500, &[0; 8]), (0, true)), Steer::Pass),
        ("last fragment of that", f(17, &SPI, (1480, false)), Steer::Pass),
        ("first fragment of other UDP", f(17, &udp(53, &SPI), (0, true)), NO),
        ("last fragment of other UDP, the same number", f(17, &SPI, (1480, false)), NO),
        ("first fragment of UDP, too short for ports", f(17, &SPI[..4], (0, true)), NO),
        ("fragment of TCP", f(6, &SPI, (1480, false)), NO),
        ("first fragment of ICMP", f(1, &[3, 4, 0, 0, 0, 0, 0, 0], (0, true)), NO),
        ("v6 first fragment of IKE", f6(1, 17, &udp(500, &SPI), 9), Steer::Pass),
        ("v6 last fragment of IKE", f6(0x05a8, 17, &SPI, 9), Steer::Pass),
        ("v6 last fragment of another", f6(0x05a8, 17, &SPI, 8), NO),
        ("v6 first fragment of TCP", f6(1, 6, &udp(500, &SPI), 7), NO),
        ("v6 fragment of ESP", f6(0x05a8, 50, &SPI, 7), FRAGMENT),
    ]
}

/// Path MTU: errors about the VPN's own packets, and what only looks like them.
fn errors() -> Vec<(&'static str, Vec<u8>, Steer)> {
    let error = |kind: u8, code: u8, src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, ports: [u16; 2]| {
        let [a, b] = ports.map(u16::to_be_bytes);
        let quoted = v4(src, dst, protocol, &[a[0], a[1], b[0], b[1], 0, 0, 0, 0]);
        v4(PEER, GATEWAY, 1, &[&[kind, code, 0, 0, 0, 0, 5, 0][..], &quoted[14..]].concat())
    };
    let needed = |protocol, ports| error(3, 4, GATEWAY, PEER, protocol, ports);
    let too_big = |kind: u8, src, next, rest: &[u8]| {
        let quoted = v6(src, PEER6, next, rest);
        v6(PEER6, GATEWAY6, 58, &[&[kind, 0, 0, 0, 0, 0, 5, 0][..], &quoted[14..]].concat())
    };
    vec![
        ("fragmentation needed, of ESP", needed(50, [0x1234, 0x5678]), Steer::Pass),
        ("of AH", needed(51, [0, 0]), Steer::Pass),
        ("of ESP in UDP", needed(17, [4500, 40000]), Steer::Pass),
        ("of ESP in UDP with a port of the flow", needed(17, [50123, 4565]), Steer::Pass),
        ("of IKE at its configured port", needed(17, [1500, 1500]), Steer::Pass),
        ("of GRE", needed(47, [0, 0x800]), Steer::Pass),
        ("of other UDP", needed(17, [53, 5353]), NO),
        ("of TCP", needed(6, [500, 4500]), NO),
        ("of another's packet", error(3, 4, INSIDE, PEER, 50, [0, 1]), NO),
        ("host unreachable", error(3, 1, GATEWAY, PEER, 50, [0, 1]), NO),
        ("time exceeded", error(11, 0, GATEWAY, PEER, 50, [0, 1]), NO),
        ("a redirect", error(5, 1, GATEWAY, PEER, 50, [0, 1]), NO),
        ("quoting less than ports", v4(PEER, GATEWAY, 1, &needed(50, [0, 0])[34..34 + 28]), NO),
        ("v6 packet too big, of ESP", too_big(2, GATEWAY6, 50, &SPI), Steer::Pass),
        ("v6, of ESP in UDP", too_big(2, GATEWAY6, 17, &udp(4500, &SPI)), Steer::Pass),
        ("v6, of a fragment in UDP", too_big(2, GATEWAY6, 44, &[17, 0, 0, 1, 0, 0, 0, 9]), Steer::Pass),
        ("v6, of TCP", too_big(2, GATEWAY6, 6, &[0; 20]), NO),
        ("v6, of a fragment of TCP", too_big(2, GATEWAY6, 44, &[6, 0, 0, 1, 0, 0, 0, 9]), NO),
        ("v6, of another's", too_big(2, PEER6, 50, &SPI), NO),
        ("v6 unreachable", too_big(1, GATEWAY6, 50, &SPI), NO),
    ]
}

fn link_level() -> Vec<(&'static str, Vec<u8>, Steer)> {
    let to_group = |last: u8, ethertype: u16| {
        let mut f = [link(ethertype, &[]), vec![0; 46]].concat();
        f[..6].copy_from_slice(&[0x01, 0x80, 0xc2, 0, 0, last]);
        f
    };
    let nd = |kind: u8, hops: u8| v6_with((PEER6, GATEWAY6), 58, &[kind, 0, 0, 0, 0, 0, 0, 0], &[], hops);
    let query = |src: &str, hops: u8, kind: u8| {
        let payload = [58, 0, 5, 2, 0, 0, 1, 0, kind, 0, 0, 0, 0, 0, 0, 0];
        v6_with((src.parse().unwrap(), "ff02::1".parse().unwrap()), 0, &payload, &[], hops)
    };
    vec![
        ("ARP", [link(ethernet::ARP, &[]), vec![0; 28]].concat(), Steer::Pass),
        ("ARP in a VLAN", [link(ethernet::ARP, &[0x8100]), vec![0; 28]].concat(), Steer::Pass),
        ("LACP", to_group(2, 0x8809), Steer::Pass),
        ("802.1X", to_group(3, 0x888e), Steer::Pass),
        ("LLDP", to_group(0x0e, 0x88cc), Steer::Pass),
        ("beyond those groups", to_group(0x10, 0x88cc), NO),
        ("PPPoE", [link(0x8863, &[]), vec![0; 46]].concat(), NO),
        ("MPLS", [link(0x8847, &[]), vec![0; 46]].concat(), NO),
        (
            "three tags",
            [link(ethernet::IPV4, &[0x8100, 0x8100, 0x88a8]), vec![0; 40]].concat(),
            Steer::DropUnparsable,
        ),
        ("neighbour solicitation", nd(135, 255), Steer::Pass),
        ("neighbour advertisement", nd(136, 255), Steer::Pass),
        ("router advertisement", nd(134, 255), Steer::Pass),
        ("neighbour solicitation that was forwarded", nd(135, 254), NO),
        ("echo request with hop limit 255", nd(128, 255), NO),
        ("listener query", query("fe80::1", 1, 130), Steer::Pass),
        ("listener query from afar", query("2001:db8::2", 1, 130), NO),
        ("listener query with another hop limit", query("fe80::1", 64, 130), NO),
        ("listener report", query("fe80::1", 1, 143), NO),
    ]
}

/// From a source that the operator admits: as on any port.
fn listed() -> Vec<(&'static str, Vec<u8>, Steer)> {
    vec![
        ("TCP from an admitted host", v4(ADMITTED, GATEWAY, 6, &[0; 20]), Steer::Pass),
        ("ping from an admitted host", v4(ADMITTED, GATEWAY, 1, &[8, 0, 0, 0, 0, 0, 0, 0]), Steer::Pass),
        ("from the host beside it", v4(Ipv4Addr::new(192, 0, 2, 54), GATEWAY, 6, &[0; 20]), NO),
        (
            "from an admitted network to a protected one",
            v4(Ipv4Addr::new(192, 0, 2, 200), REMOTE, 6, &[0; 20]),
            PROTECTED,
        ),
        ("GRE from an admitted host", v4(ADMITTED, GATEWAY, 47, &SPI), Steer::ToWorker(Class::Gre)),
        ("v6 GRE from an admitted host", v6(ADMITTED6, GATEWAY6, 47, &SPI), Steer::ToWorker(Class::Gre)),
        (
            "to a forwarded port from an admitted host",
            v4(ADMITTED, GATEWAY, 17, &udp(8080, &[0; 8])),
            Steer::ToWorker(Class::Translated),
        ),
        ("v6 TCP from an admitted network", v6(ADMITTED6, GATEWAY6, 6, &[0; 20]), Steer::Pass),
        ("v6 TCP from beside it", v6(PEER6, GATEWAY6, 6, &[0; 20]), NO),
    ]
}
