//! Frames for the comparison of the two classifiers: a corpus with the verdict each must have, and a seeded generator
//! that builds lawful frames and then lies about them.

mod closed;

pub(crate) use closed::{IKE_PORTS, admitted, closed};
use ravelin_wire::ethernet::{self, Ethernet};
use ravelin_wire::ipv4::Ipv4Header;
use ravelin_wire::ipv6::Ipv6Header;
use ravelin_wire::udp::UdpHeader;
use ravelin_wire::{Class, MacAddr, NO_PORTS, PortRanges, Prefix, Steer, protocol};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 10);
const REMOTE: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 10);
const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const PEER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
const INSIDE6: Ipv6Addr = Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 0x10);
const REMOTE6: Ipv6Addr = Ipv6Addr::new(0xfd02, 0, 0, 0, 0, 0, 0, 0x10);
/// Translated, by the gateway's own address.
const HIDDEN: Ipv4Addr = Ipv4Addr::new(10, 3, 0, 10);
const SPI: [u8; 16] = [0, 0, 0x10, 0x01, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8];

pub(crate) fn gateways() -> Vec<IpAddr> {
    vec![GATEWAY.into(), Ipv4Addr::new(10, 1, 0, 1).into(), GATEWAY6.into()]
}

/// Odd lengths, a host prefix, and one inside another.
pub(crate) fn protected() -> Vec<Prefix> {
    ["10.2.0.0/24", "10.2.0.10/32", "172.16.0.0/13", "192.0.2.129/32", "fd02::/16", "2001:db8:8000::/33"]
        .map(|p| p.parse().unwrap())
        .to_vec()
}

/// Inside of protected ones.
pub(crate) fn exempt() -> Vec<Prefix> {
    ["172.16.7.0/24", "fd02:7::/32"].map(|p| p.parse().unwrap()).to_vec()
}

pub(crate) fn inside() -> Vec<Prefix> {
    vec!["10.3.0.0/24".parse().unwrap()]
}

pub(crate) fn translated() -> Vec<(Ipv4Addr, PortRanges)> {
    let mut ports = NO_PORTS;
    (ports[0], ports[7]) = ([61000, 65535], [8080, 8080]);
    vec![(GATEWAY, ports)]
}

pub(crate) const NAMES: [&str; 11] = [
    "pass",
    "unparsable",
    "esp",
    "esp runt",
    "ah",
    "ipsec fragment",
    "esp in udp",
    "udp encapsulation",
    "protected",
    "translated",
    "gre",
];

pub(crate) fn name(steer: Steer) -> &'static str {
    match steer {
        Steer::Pass => "pass",
        Steer::DropUnparsable => "unparsable",
        Steer::DropNotAdmitted => "not admitted",
        Steer::ToWorker(class) => match class {
            Class::Esp { .. } => "esp",
            Class::EspRunt => "esp runt",
            Class::Ah => "ah",
            Class::IpsecFragment => "ipsec fragment",
            Class::EspInUdp { .. } => "esp in udp",
            Class::UdpEncap => "udp encapsulation",
            Class::Protected => "protected",
            Class::Translated => "translated",
            Class::Gre => "gre",
        },
    }
}

fn link(ethertype: u16, tags: &[u16]) -> Vec<u8> {
    let h = Ethernet { dst: MacAddr([2, 0, 0, 0, 0, 1]), src: MacAddr([2, 0, 0, 0, 0, 2]), ethertype };
    let mut f = h.to_bytes().to_vec();
    for tpid in tags {
        let [a, b] = tpid.to_be_bytes();
        f.splice(12..12, [a, b, 0x20, 0x7b]);
    }
    f
}

fn length(n: usize) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

fn v4(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    v4_with((src, dst), protocol, payload, &[], 0, (0, false))
}

fn v4_with(
    (src, dst): (Ipv4Addr, Ipv4Addr),
    protocol: u8,
    payload: &[u8],
    tags: &[u16],
    option_words: u8,
    (fragment_offset, mf): (u16, bool),
) -> Vec<u8> {
    let options = vec![1; usize::from(option_words) * 4];
    let total_len = length(20 + options.len() + payload.len());
    let h =
        Ipv4Header { tos: 0, total_len, id: 7, df: false, mf, fragment_offset, ttl: 64, protocol, src, dst };
    let mut f = [&link(ethernet::IPV4, tags)[..], &h.to_bytes(), &options, payload].concat();
    let at = f.len() - usize::from(total_len);
    f[at] += option_words;
    f
}

fn v6(src: Ipv6Addr, dst: Ipv6Addr, next_header: u8, payload: &[u8]) -> Vec<u8> {
    v6_with((src, dst), next_header, payload, &[], 64)
}

fn v6_with(
    (src, dst): (Ipv6Addr, Ipv6Addr),
    next_header: u8,
    payload: &[u8],
    tags: &[u16],
    hop_limit: u8,
) -> Vec<u8> {
    let payload_len = length(payload.len());
    let h = Ipv6Header { traffic_class: 0, flow_label: 0, payload_len, next_header, hop_limit, src, dst };
    [&link(ethernet::IPV6, tags)[..], &h.to_bytes(), payload].concat()
}

fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let h = UdpHeader { src: 40000, dst: port, len: length(8 + payload.len()), checksum: 0 };
    [&h.to_bytes()[..], payload].concat()
}

/// A chain of these extension headers, each eight bytes, before a payload of this protocol.
fn chained(kinds: &[u8], last: u8, payload: &[u8]) -> (u8, Vec<u8>) {
    let mut out = Vec::new();
    for (i, kind) in kinds.iter().enumerate() {
        let next = kinds.get(i + 1).copied().unwrap_or(last);
        let rest = if *kind == protocol::FRAGMENT { [0, 0, 0, 0, 0, 0, 9] } else { [0, 1, 4, 0, 0, 0, 0] };
        out.push(next);
        out.extend(rest);
    }
    out.extend(payload);
    (kinds.first().copied().unwrap_or(last), out)
}

/// What it is, the frame, and what must become of it.
pub(crate) fn corpus() -> Vec<(&'static str, Vec<u8>, Steer)> {
    let mut all = plain();
    all.extend(encapsulated());
    all.extend(fragments());
    all.extend(dressed());
    all.extend(broken());
    all.extend(translations());
    all
}

const ESP: Steer = Steer::ToWorker(Class::Esp { spi: 0x1001 });
const NATT: Steer = Steer::ToWorker(Class::EspInUdp { spi: 0x1001 });
const PROTECTED: Steer = Steer::ToWorker(Class::Protected);
const FRAGMENT: Steer = Steer::ToWorker(Class::IpsecFragment);

fn plain() -> Vec<(&'static str, Vec<u8>, Steer)> {
    vec![
        ("ARP", [link(ethernet::ARP, &[]), vec![0; 28]].concat(), Steer::Pass),
        ("LLDP", [link(0x88cc, &[]), vec![0; 28]].concat(), Steer::Pass),
        ("ping to the gateway", v4(PEER, GATEWAY, 1, &[8, 0, 0, 0, 0, 0, 0, 0]), Steer::Pass),
        ("neither protected", v4(INSIDE, PEER, 6, &[0; 20]), Steer::Pass),
        ("to a protected prefix", v4(INSIDE, REMOTE, 6, &[0; 20]), PROTECTED),
        ("from a protected prefix", v4(REMOTE, INSIDE, 6, &[0; 20]), PROTECTED),
        ("protected source to the gateway in clear", v4(REMOTE, GATEWAY, 1, &[8, 0, 0, 0]), PROTECTED),
        ("last address of a /13", v4(INSIDE, Ipv4Addr::new(172, 23, 255, 255), 6, &[0; 20]), PROTECTED),
        ("first behind a /13", v4(INSIDE, Ipv4Addr::new(172, 24, 0, 0), 6, &[0; 20]), Steer::Pass),
        ("OSPF from a protected source", v4(REMOTE, Ipv4Addr::new(224, 0, 0, 5), 89, &[0; 24]), Steer::Pass),
        ("to what is exempt", v4(INSIDE, Ipv4Addr::new(172, 16, 7, 9), 6, &[0; 20]), Steer::Pass),
        ("beside what is exempt", v4(INSIDE, Ipv4Addr::new(172, 16, 8, 9), 6, &[0; 20]), PROTECTED),
        ("v6 from what is exempt", v6("fd02:7::9".parse().unwrap(), INSIDE6, 6, &[0; 20]), Steer::Pass),
        ("v6 to a protected prefix", v6(INSIDE6, REMOTE6, 6, &[0; 20]), PROTECTED),
        ("v6 from a protected prefix", v6(REMOTE6, INSIDE6, 6, &[0; 20]), PROTECTED),
        ("v6 neither", v6(INSIDE6, PEER6, 6, &[0; 20]), Steer::Pass),
        ("v6 /33, its half", v6(PEER6, "2001:db8:8000::1".parse().unwrap(), 6, &[0; 20]), PROTECTED),
        ("v6 /33, the other half", v6(PEER6, "2001:db8:7fff::1".parse().unwrap(), 6, &[0; 20]), Steer::Pass),
        (
            "neighbour solicitation",
            v6_with((REMOTE6, INSIDE6), 58, &[135, 0, 0, 0, 0, 0, 0, 0], &[], 255),
            Steer::Pass,
        ),
        (
            "forwarded solicitation",
            v6_with((REMOTE6, INSIDE6), 58, &[135, 0, 0, 0, 0, 0, 0, 0], &[], 254),
            PROTECTED,
        ),
        ("v6 to a link-local address", v6(REMOTE6, "fe80::5".parse().unwrap(), 17, &[0; 16]), Steer::Pass),
        ("v6 from a link-local address", v6("fe80::5".parse().unwrap(), REMOTE6, 17, &[0; 16]), PROTECTED),
        ("OSPFv3", v6(REMOTE6, "ff02::5".parse().unwrap(), 89, &[0; 16]), Steer::Pass),
    ]
}

fn encapsulated() -> Vec<(&'static str, Vec<u8>, Steer)> {
    let natt = |payload: &[u8]| v4(PEER, GATEWAY, 17, &udp(4500, payload));
    let padded = |f: Vec<u8>| [f, vec![0xff; 20]].concat();
    vec![
        ("ESP", v4(PEER, GATEWAY, 50, &SPI), ESP),
        ("ESP from inside a protected prefix", v4(REMOTE, GATEWAY, 50, &SPI), ESP),
        ("ESP without SPI", v4(PEER, GATEWAY, 50, &SPI[..3]), Steer::ToWorker(Class::EspRunt)),
        (
            "ESP without SPI, padded",
            padded(v4(PEER, GATEWAY, 50, &SPI[..3])),
            Steer::ToWorker(Class::EspRunt),
        ),
        ("ESP for somebody else", v4(PEER, INSIDE, 50, &SPI), Steer::Pass),
        ("AH", v4(PEER, GATEWAY, 51, &SPI), Steer::ToWorker(Class::Ah)),
        ("v6 ESP", v6(PEER6, GATEWAY6, 50, &SPI), ESP),
        ("v6 AH", v6(PEER6, GATEWAY6, 51, &SPI), Steer::ToWorker(Class::Ah)),
        ("ESP in UDP", natt(&SPI), NATT),
        ("ESP in UDP, a bare SPI", natt(&SPI[..4]), NATT),
        ("v6 ESP in UDP", v6(PEER6, GATEWAY6, 17, &udp(4500, &SPI)), NATT),
        ("IKE on 4500", natt(&[0; 32]), Steer::Pass),
        ("IKE on 500", v4(PEER, GATEWAY, 17, &udp(500, &SPI)), Steer::Pass),
        ("IKE on 500 from a protected address", v4(REMOTE, GATEWAY, 17, &udp(500, &SPI)), Steer::Pass),
        ("IKE on 4500 from a protected address", v4(REMOTE, GATEWAY, 17, &udp(4500, &[0; 32])), Steer::Pass),
        ("keepalive", natt(&[0xff]), Steer::Pass),
        ("keepalive, padded", padded(natt(&[0xff])), Steer::Pass),
        ("4500, empty", natt(&[]), Steer::Pass),
        ("4500, three bytes", padded(natt(&SPI[..3])), Steer::Pass),
        ("4500 for somebody else", v4(PEER, INSIDE, 17, &udp(4500, &SPI)), Steer::Pass),
        ("configured port", v4(PEER, GATEWAY, 17, &udp(4565, &SPI)), Steer::ToWorker(Class::UdpEncap)),
        ("GRE", v4(PEER, GATEWAY, 47, &SPI), Steer::ToWorker(Class::Gre)),
        ("v6 GRE", v6(PEER6, GATEWAY6, 47, &SPI), Steer::ToWorker(Class::Gre)),
        ("GRE for somebody else", v4(PEER, INSIDE, 47, &SPI), Steer::Pass),
        ("port beside it", v4(PEER, GATEWAY, 17, &udp(4566, &SPI)), Steer::Pass),
    ]
}

fn fragments() -> Vec<(&'static str, Vec<u8>, Steer)> {
    let f = |pair, protocol, payload: &[u8], at| v4_with(pair, protocol, payload, &[], 0, at);
    let to_us = (PEER, GATEWAY);
    let f6 = |field: u16, next: u8, rest: &[u8]| {
        let [a, b] = field.to_be_bytes();
        v6(PEER6, GATEWAY6, 44, &[&[next, 0, a, b, 0, 0, 0, 9][..], rest].concat())
    };
    vec![
        ("first fragment of ESP", f(to_us, 50, &SPI, (0, true)), FRAGMENT),
        ("last fragment of ESP", f(to_us, 50, &SPI, (1480, false)), FRAGMENT),
        ("fragment of AH", f(to_us, 51, &SPI, (1480, true)), FRAGMENT),
        ("last fragment of UDP before its first", f(to_us, 17, &SPI, (1480, false)), Steer::Pass),
        ("first fragment of ESP in UDP", f(to_us, 17, &udp(4500, &SPI), (0, true)), FRAGMENT),
        ("last fragment of ESP in UDP", f(to_us, 17, &SPI, (1480, false)), FRAGMENT),
        ("first fragment of IKE", f(to_us, 17, &udp(4500, &[0; 8]), (0, true)), Steer::Pass),
        ("last fragment of IKE", f(to_us, 17, &SPI, (1480, false)), Steer::Pass),
        ("fragment of GRE", f(to_us, 47, &SPI, (1480, false)), Steer::ToWorker(Class::Gre)),
        ("fragment of UDP, protected source", f((REMOTE, GATEWAY), 17, &SPI, (1480, false)), PROTECTED),
        ("fragment between protected hosts", f((INSIDE, REMOTE), 17, &SPI, (1480, false)), PROTECTED),
        ("v6 atomic fragment of ESP", f6(0, 50, &SPI), ESP),
        ("v6 first fragment of ESP", f6(1, 50, &SPI), FRAGMENT),
        ("v6 last fragment of ESP", f6(0x05a8, 50, &SPI), FRAGMENT),
        ("v6 fragment of UDP", f6(0x05a9, 17, &SPI), Steer::Pass),
        ("v6 first fragment of ESP in UDP", f6(1, 17, &udp(4500, &SPI)), FRAGMENT),
        ("v6 fragment of ESP in UDP", f6(0x05a9, 17, &SPI), FRAGMENT),
        ("v6 first fragment of the other port", f6(1, 17, &udp(4565, &SPI)), FRAGMENT),
        ("v6 first fragment of others", f6(1, 17, &udp(53, &SPI)), Steer::Pass),
        ("v6 fragment of others", f6(0x05a9, 17, &SPI), Steer::Pass),
    ]
}

fn dressed() -> Vec<(&'static str, Vec<u8>, Steer)> {
    let to_us = (PEER, GATEWAY);
    let tagged = |tags: &[u16]| v4_with(to_us, 50, &SPI, tags, 0, (0, false));
    let options = |words| v4_with(to_us, 17, &udp(4500, &SPI), &[], words, (0, false));
    let chain = |kinds: &[u8]| {
        let (first, payload) = chained(kinds, 17, &udp(4500, &SPI));
        v6(PEER6, GATEWAY6, first, &payload)
    };
    vec![
        ("VLAN", tagged(&[0x8100]), ESP),
        ("QinQ", tagged(&[0x8100, 0x88a8]), ESP),
        ("old QinQ", tagged(&[0x8100, 0x9100]), ESP),
        ("three tags", tagged(&[0x8100, 0x8100, 0x88a8]), Steer::DropUnparsable),
        ("v6 in a VLAN", v6_with((INSIDE6, REMOTE6), 6, &[0; 20], &[0x8100], 64), PROTECTED),
        ("ARP in a VLAN", [link(ethernet::ARP, &[0x8100]), vec![0; 28]].concat(), Steer::Pass),
        ("one word of options", options(1), NATT),
        ("ten words of options", options(10), NATT),
        ("hop-by-hop", chain(&[0]), NATT),
        ("four extension headers", chain(&[0, 60, 43, 60]), NATT),
        ("mobility, HIP, shim6, atomic fragment", chain(&[135, 139, 140, 44]), NATT),
        ("eight extension headers", chain(&[60; 8]), NATT),
        ("nine extension headers", chain(&[60; 9]), Steer::Pass),
        (
            "nine extension headers, protected",
            v6(REMOTE6, GATEWAY6, 60, &[60, 0, 1, 4, 0, 0, 0, 0].repeat(9)),
            PROTECTED,
        ),
    ]
}

// R54, R55: what belongs to translation, and what stays the host's.
fn translations() -> Vec<(&'static str, Vec<u8>, Steer)> {
    const OURS: Steer = Steer::ToWorker(Class::Translated);
    let to = |port: u16| v4(PEER, GATEWAY, 17, &udp(port, &[0; 8]));
    let echo = |kind, [a, b]: [u8; 2]| v4(PEER, GATEWAY, 1, &[kind, 0, 0, 0, a, b, 0, 1]);
    let port = |kind: u8, from: u16, words: u8| {
        let quoted = v4_with((GATEWAY, PEER), 17, &udp(53, &[]), &[], words, (0, false));
        let mut quoted = quoted[14..].to_vec();
        let at = 20 + usize::from(words) * 4;
        quoted[at..at + 2].copy_from_slice(&from.to_be_bytes());
        v4(PEER, GATEWAY, 1, &[&[kind, 0, 0, 0, 0, 0, 0, 0][..], &quoted].concat())
    };
    let probe = v4(GATEWAY, PEER, 1, &[8, 0, 0, 0, 0xf0, 0, 0, 1]);
    let about_probe = [&[11, 0, 0, 0, 0, 0, 0, 0][..], &probe[14..]].concat();
    vec![
        ("from an inside network", v4(HIDDEN, PEER, 6, &[0; 20]), OURS),
        ("a fragment from there", v4_with((HIDDEN, PEER), 17, &SPI, &[], 0, (1480, false)), OURS),
        ("within it", v4(HIDDEN, Ipv4Addr::new(10, 3, 0, 1), 6, &[0; 20]), Steer::Pass),
        ("from there to the gateway", v4(HIDDEN, GATEWAY, 6, &[0; 20]), Steer::Pass),
        (
            "from there to another gateway address",
            v4(HIDDEN, Ipv4Addr::new(10, 1, 0, 1), 6, &[0; 20]),
            Steer::Pass,
        ),
        ("from there to our port by the outside", v4(HIDDEN, GATEWAY, 17, &udp(8080, &[])), OURS),
        ("to one of its ports", to(61000), OURS),
        ("to its last port", to(65535), OURS),
        ("to a forwarded port", to(8080), OURS),
        ("to a port of the host", to(60999), Steer::Pass),
        (
            "a fragment hides its port",
            v4_with((PEER, GATEWAY), 17, &udp(8080, &[0; 8]), &[], 0, (0, true)),
            Steer::Pass,
        ),
        ("an echo reply of translation", echo(0, [0xf0, 0]), OURS),
        ("an echo reply of the host", echo(0, [0x10, 0]), Steer::Pass),
        ("an echo request with such an identifier", echo(8, [0xf0, 0]), Steer::Pass),
        ("an error about a port of translation", port(11, 61001, 0), OURS),
        ("the same behind options: the kernel's", port(3, 61001, 10), Steer::Pass),
        ("an error about the host's", port(3, 500, 0), Steer::Pass),
        ("an error about a ping", v4(PEER, GATEWAY, 1, &about_probe), OURS),
        ("a redirect", port(5, 61001, 0), Steer::Pass),
    ]
}

fn broken() -> Vec<(&'static str, Vec<u8>, Steer)> {
    let changed = |mut f: Vec<u8>, at: usize, value: u8| {
        f[at] = value;
        f
    };
    let esp = || v4(PEER, GATEWAY, 50, &SPI);
    let natt = || v4(PEER, GATEWAY, 17, &udp(4500, &SPI));
    vec![
        ("a header length of 16", changed(esp(), 14, 0x44), Steer::DropUnparsable),
        ("version 6 in IPv4", changed(esp(), 14, 0x65), Steer::DropUnparsable),
        ("version 4 in IPv6", changed(v6(PEER6, GATEWAY6, 50, &SPI), 14, 0x45), Steer::DropUnparsable),
        ("IPv4 cut in its addresses", esp()[..33].to_vec(), Steer::DropUnparsable),
        ("IPv6 cut in its addresses", v6(PEER6, GATEWAY6, 50, &SPI)[..53].to_vec(), Steer::DropUnparsable),
        ("options beyond the frame", changed(esp(), 14, 0x4f), Steer::ToWorker(Class::EspRunt)),
        ("a total length of 0", changed(esp(), 17, 0), Steer::ToWorker(Class::EspRunt)),
        ("a total length beyond the frame", changed(esp(), 16, 0xff), ESP),
        ("a UDP length of 0", changed(natt(), 39, 0), Steer::Pass),
        ("a UDP length of 11", changed(natt(), 39, 11), Steer::Pass),
        ("a UDP length beyond the frame", changed(natt(), 38, 0xff), NATT),
        ("protected with a total length of 0", changed(v4(INSIDE, REMOTE, 6, &[0; 20]), 17, 0), PROTECTED),
    ]
}

/// A small generator (SplitMix64): the same seed makes the same frames everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % (n as u64)).unwrap()
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.byte()).collect()
    }
}

/// 1. A lawful frame with random dress; 2. perhaps a few bytes changed; 3. perhaps cut or padded.
pub(crate) fn generated(r: &mut Random) -> Vec<u8> {
    let tags: Vec<u16> =
        (0..r.pick(&[0, 0, 0, 1, 1, 2, 3])).map(|_| r.pick(&[0x8100, 0x88a8, 0x9100])).collect();
    let (protocol, payload) = transport(r);
    let mut f =
        if r.one_in(2) { any_v4(r, protocol, &payload, &tags) } else { any_v6(r, protocol, &payload, &tags) };
    if r.one_in(3) {
        for _ in 0..=r.below(3) {
            let at = 12 + r.below(f.len() - 12);
            f[at] = if r.one_in(2) {
                r.byte()
            } else {
                r.pick(&[0, 1, 4, 5, 0x45, 0x60, 50, 51, 17, 44, 60, 0xff])
            };
        }
    }
    match r.below(8) {
        0 => f.truncate(14 + r.below(f.len() - 13)),
        1 => f.extend([0xff; 24]),
        _ => {}
    }
    f
}

fn transport(r: &mut Random) -> (u8, Vec<u8>) {
    let n = r.below(24);
    let mut payload = r.bytes(n);
    match r.below(7) {
        6 => (protocol::GRE, payload),
        0 => (protocol::ESP, payload),
        1 => (protocol::AH, payload),
        2 => (r.pick(&[1, 6, 58, 89]), payload),
        _ => {
            match r.below(4) {
                0 => payload.splice(0..payload.len().min(4), [0; 4]).for_each(drop),
                1 => payload = vec![0xff; r.below(3)],
                _ => {}
            }
            (
                protocol::UDP,
                udp(r.pick(&[500, 4500, 4500, 4500, 4565, 4565, 4566, 53, 61234, 8080]), &payload),
            )
        }
    }
}

fn any_v4(r: &mut Random, protocol: u8, payload: &[u8], tags: &[u16]) -> Vec<u8> {
    let others = [
        PEER,
        INSIDE,
        REMOTE,
        HIDDEN,
        Ipv4Addr::new(172, 20, 1, 1),
        Ipv4Addr::new(224, 0, 0, 9),
        Ipv4Addr::new(192, 0, 2, 53),
    ];
    let src = r.pick(&others);
    let dst = if r.one_in(2) { GATEWAY } else { r.pick(&others) };
    let words = if r.one_in(3) { 1 + r.byte() % 10 } else { 0 };
    let at =
        r.pick(&[(0, false), (0, false), (0, false), (0, false), (0, true), (1480, true), (1480, false)]);
    v4_with((src, dst), protocol, payload, tags, words, at)
}

fn any_v6(r: &mut Random, protocol: u8, payload: &[u8], tags: &[u16]) -> Vec<u8> {
    let others = [
        PEER6,
        INSIDE6,
        REMOTE6,
        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 5),
    ];
    let src = r.pick(&others);
    let dst = if r.one_in(2) { GATEWAY6 } else { r.pick(&others) };
    let kinds: Vec<u8> =
        (0..r.pick(&[0, 0, 0, 1, 2, 3, 7, 8, 9])).map(|_| r.pick(&[0, 43, 44, 60, 135, 139, 140])).collect();
    let (first, mut chain) = chained(&kinds, protocol, payload);
    if r.one_in(3) {
        // Offsets in fragment headers, and lengths in the others.
        for header in 0..kinds.len() {
            if kinds[header] == protocol::FRAGMENT && r.one_in(2) {
                chain[header * 8 + 3] = r.pick(&[1, 8, 9]);
            } else if r.one_in(8) {
                chain[header * 8 + 1] = r.byte() % 4;
            }
        }
    }
    v6_with((src, dst), first, &chain, tags, r.pick(&[255, 64]))
}
