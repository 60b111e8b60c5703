use super::*;
extern crate std;
use crate::ethernet::{Ethernet, MacAddr};
use crate::ipv4::Ipv4Header;
use crate::ipv6::Ipv6Header;
use crate::udp::UdpHeader;
use core::net::IpAddr;
use proptest::prelude::*;
use std::vec::Vec;

const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 10);
const REMOTE: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 10);
const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const PEER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
const REMOTE6: Ipv6Addr = Ipv6Addr::new(0xfd02, 0, 0, 0, 0, 0, 0, 2);
const PORT: u16 = 4565;

fn verdict(frame: &[u8]) -> Steer {
    let protected = ["10.2.0.0/24".parse().unwrap(), "fd02::/16".parse().unwrap()];
    let gateways = [IpAddr::V4(GATEWAY), IpAddr::V6(GATEWAY6)];
    classify(
        frame,
        &Tables { gateways: &gateways, protected: &protected, udp_port: Some(PORT), ..Tables::default() },
    )
}

fn link(ethertype: u16) -> [u8; 14] {
    Ethernet { dst: MacAddr([2, 0, 0, 0, 0, 1]), src: MacAddr([2, 0, 0, 0, 0, 2]), ethertype }.to_bytes()
}

fn v4_with(
    src: Ipv4Addr,
    dst: Ipv4Addr,
    protocol: u8,
    payload: &[u8],
    change: impl FnOnce(&mut Ipv4Header),
) -> Vec<u8> {
    let mut h = Ipv4Header {
        tos: 0,
        total_len: u16::try_from(20 + payload.len()).unwrap(),
        id: 7,
        df: false,
        mf: false,
        fragment_offset: 0,
        ttl: 64,
        protocol,
        src,
        dst,
    };
    change(&mut h);
    [&link(ethernet::IPV4)[..], &h.to_bytes(), payload].concat()
}

fn v4(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    v4_with(src, dst, protocol, payload, |_| ())
}

fn v6_with(src: Ipv6Addr, dst: Ipv6Addr, next_header: u8, hop_limit: u8, payload: &[u8]) -> Vec<u8> {
    let payload_len = u16::try_from(payload.len()).unwrap();
    let h = Ipv6Header { traffic_class: 0, flow_label: 0, payload_len, next_header, hop_limit, src, dst };
    [&link(ethernet::IPV6)[..], &h.to_bytes(), payload].concat()
}

fn v6(src: Ipv6Addr, dst: Ipv6Addr, next_header: u8, payload: &[u8]) -> Vec<u8> {
    v6_with(src, dst, next_header, 64, payload)
}

fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(8 + payload.len()).unwrap();
    [&UdpHeader { src: 40000, dst: port, len, checksum: 0 }.to_bytes()[..], payload].concat()
}

fn to_worker(class: Class) -> Steer {
    Steer::ToWorker(class)
}

const SPI: [u8; 8] = [0, 0, 0x10, 0x01, 0, 0, 0, 1];
const CLASS_ESP: Steer = Steer::ToWorker(Class::Esp { spi: 0x1001 });
const CLASS_NATT: Steer = Steer::ToWorker(Class::EspInUdp { spi: 0x1001 });
const CLASS_PROTECTED: Steer = Steer::ToWorker(Class::Protected);

// R244: IPsec carries IP alone; all other ethertypes are the kernel's, whatever policies say.
#[test]
fn what_is_not_ip_passes() {
    for ethertype in [ethernet::ARP, 0x88cc, 0x8863, 0x0026, 0x8847] {
        assert_eq!(verdict(&[&link(ethertype)[..], &[0; 46]].concat()), Steer::Pass);
        assert_eq!(verdict(&link(ethertype)), Steer::Pass);
    }
}

#[test]
fn esp_and_ah_for_a_gateway_address() {
    assert_eq!(verdict(&v4(PEER, GATEWAY, 50, &SPI)), CLASS_ESP);
    assert_eq!(verdict(&v4(PEER, GATEWAY, 50, &SPI[..4])), CLASS_ESP);
    assert_eq!(verdict(&v4(PEER, GATEWAY, 50, &SPI[..3])), to_worker(Class::EspRunt));
    assert_eq!(verdict(&v4(PEER, GATEWAY, 51, &SPI)), to_worker(Class::Ah));
    assert_eq!(verdict(&v6(PEER6, GATEWAY6, 50, &SPI)), CLASS_ESP);
    assert_eq!(verdict(&v6(PEER6, GATEWAY6, 51, &SPI)), to_worker(Class::Ah));
    // For somebody else it is any packet.
    assert_eq!(verdict(&v4(PEER, INSIDE, 50, &SPI)), Steer::Pass);
    assert_eq!(verdict(&v4(PEER, REMOTE, 50, &SPI)), CLASS_PROTECTED);
    // Ethernet padding is not ESP.
    let padded = [v4(PEER, GATEWAY, 50, &[]).as_slice(), &[0x55; 26]].concat();
    assert_eq!(verdict(&padded), to_worker(Class::EspRunt));
}

#[test]
fn gre_is_steered_where_tunnels_of_it_end() {
    let steer = |frame: &[u8], gre| {
        let gateways = [IpAddr::V4(GATEWAY), IpAddr::V6(GATEWAY6)];
        classify(frame, &Tables { gateways: &gateways, gre, ..Tables::default() })
    };
    for (frame, mine) in [
        (v4(PEER, GATEWAY, 47, &SPI), true),
        (v6(PEER6, GATEWAY6, 47, &SPI), true),
        (v4(PEER, INSIDE, 47, &SPI), false),
    ] {
        assert_eq!(steer(&frame, true), if mine { to_worker(Class::Gre) } else { Steer::Pass });
        assert_eq!(steer(&frame, false), Steer::Pass);
    }
}

#[test]
fn port_4500_holds_esp_ike_and_keepalives() {
    let natt = |payload: &[u8]| v4(PEER, GATEWAY, 17, &udp(4500, payload));
    assert_eq!(verdict(&natt(&SPI)), CLASS_NATT);
    assert_eq!(verdict(&natt(&[0, 0, 0, 0, 1, 2, 3, 4])), Steer::Pass, "IKE behind its marker");
    assert_eq!(verdict(&natt(&[0xff])), Steer::Pass, "keepalive");
    assert_eq!(verdict(&natt(&[])), Steer::Pass);
    assert_eq!(verdict(&natt(&SPI[..3])), Steer::Pass);
    let padded = [natt(&[0xff]).as_slice(), &[0xff; 17]].concat();
    assert_eq!(verdict(&padded), Steer::Pass, "padding behind a keepalive is no SPI");
    assert_eq!(verdict(&v6(PEER6, GATEWAY6, 17, &udp(4500, &SPI))), CLASS_NATT);
    assert_eq!(verdict(&v4(PEER, INSIDE, 17, &udp(4500, &SPI))), Steer::Pass, "not to us");
}

#[test]
fn the_configured_port_is_steered_and_ike_never() {
    assert_eq!(verdict(&v4(PEER, GATEWAY, 17, &udp(PORT, &SPI))), to_worker(Class::UdpEncap));
    assert_eq!(verdict(&v4(PEER, GATEWAY, 17, &udp(PORT + 1, &SPI))), Steer::Pass);
    assert_eq!(verdict(&v4(PEER, GATEWAY, 17, &udp(500, &SPI))), Steer::Pass);
    // Also from a protected address (a peer may well stand inside its own range).
    assert_eq!(verdict(&v4(REMOTE, GATEWAY, 17, &udp(500, &SPI))), Steer::Pass);
    assert_eq!(verdict(&v4(REMOTE, GATEWAY, 17, &udp(4500, &[0; 8]))), Steer::Pass);
    assert_eq!(verdict(&v4(REMOTE, GATEWAY, 17, &udp(4500, &[0xff]))), Steer::Pass);
    assert_eq!(verdict(&v4(REMOTE, GATEWAY, 17, &udp(4500, &SPI))), CLASS_NATT);
    assert_eq!(verdict(&v4(REMOTE, GATEWAY, 50, &SPI)), CLASS_ESP);
}

#[test]
fn protected_ranges_cover_source_and_destination() {
    assert_eq!(verdict(&v4(INSIDE, REMOTE, 6, &[0; 20])), CLASS_PROTECTED);
    assert_eq!(verdict(&v4(REMOTE, INSIDE, 6, &[0; 20])), CLASS_PROTECTED);
    assert_eq!(
        verdict(&v4(REMOTE, GATEWAY, 1, &[8, 0, 0, 0])),
        CLASS_PROTECTED,
        "clear, from a protected source"
    );
    assert_eq!(verdict(&v4(INSIDE, PEER, 6, &[0; 20])), Steer::Pass);
    assert_eq!(verdict(&v4(PEER, GATEWAY, 1, &[8, 0, 0, 0])), Steer::Pass);
    assert_eq!(verdict(&v6(REMOTE6, PEER6, 6, &[0; 20])), CLASS_PROTECTED);
    assert_eq!(verdict(&v6(PEER6, GATEWAY6, 6, &[0; 20])), Steer::Pass);
}

#[test]
fn fragments() {
    let frag = |src, dst, protocol, offset, more, payload: &[u8]| {
        verdict(&v4_with(src, dst, protocol, payload, |h| (h.fragment_offset, h.mf) = (offset, more)))
    };
    assert_eq!(frag(PEER, GATEWAY, 50, 0, true, &SPI), to_worker(Class::IpsecFragment));
    assert_eq!(frag(PEER, GATEWAY, 50, 1480, false, &SPI), to_worker(Class::IpsecFragment));
    assert_eq!(frag(PEER, GATEWAY, 51, 1480, true, &SPI), to_worker(Class::IpsecFragment));
    // Later fragments in UDP pass, where nothing is remembered of the first one.
    assert_eq!(frag(PEER, GATEWAY, 17, 0, true, &udp(4500, &SPI)), to_worker(Class::IpsecFragment));
    assert_eq!(frag(PEER, GATEWAY, 17, 0, true, &udp(PORT, &SPI)), to_worker(Class::IpsecFragment));
    assert_eq!(frag(PEER, GATEWAY, 17, 0, true, &udp(4500, &[0; 8])), Steer::Pass, "IKE");
    assert_eq!(frag(PEER, GATEWAY, 17, 0, true, &udp(500, &SPI)), Steer::Pass);
    assert_eq!(frag(PEER, GATEWAY, 17, 0, true, &udp(4500, &[])), Steer::Pass, "no SPI is there to tell");
    assert_eq!(frag(PEER, GATEWAY, 17, 1480, false, &[0; 8]), Steer::Pass);
    assert_eq!(frag(REMOTE, GATEWAY, 17, 1480, false, &[0; 8]), CLASS_PROTECTED);
    assert_eq!(frag(INSIDE, REMOTE, 17, 1480, false, &[0; 8]), CLASS_PROTECTED);
    // IPv6: by the fragment header; an atomic fragment is a whole packet (RFC 6946).
    let frag6 = |field: u16, next: u8, rest: &[u8]| {
        let [f0, f1] = field.to_be_bytes();
        verdict(&v6(PEER6, GATEWAY6, 44, &[&[next, 0, f0, f1, 0, 0, 0, 1][..], rest].concat()))
    };
    assert_eq!(frag6(0, 50, &SPI), CLASS_ESP);
    assert_eq!(frag6(1, 50, &SPI), to_worker(Class::IpsecFragment));
    assert_eq!(frag6(8, 50, &SPI), to_worker(Class::IpsecFragment));
    assert_eq!(frag6(8, 17, &udp(4500, &SPI)), Steer::Pass);
    assert_eq!(frag6(1, 17, &udp(4500, &SPI)), to_worker(Class::IpsecFragment));
    assert_eq!(frag6(0, 17, &udp(4500, &SPI)), CLASS_NATT);
}

// R40
#[test]
fn tags_options_and_extension_headers_are_looked_through() {
    let tagged = |tags: &[u8]| {
        let mut f = v4(PEER, GATEWAY, 50, &SPI);
        f.splice(12..12, tags.iter().copied());
        verdict(&f)
    };
    assert_eq!(tagged(&[0x81, 0, 0, 123]), CLASS_ESP);
    assert_eq!(tagged(&[0x88, 0xa8, 0, 5, 0x81, 0, 0, 123]), CLASS_ESP);
    assert_eq!(tagged(&[0x88, 0xa8, 0, 5, 0x81, 0, 0, 123, 0x81, 0, 0, 6]), Steer::DropUnparsable);
    for words in 1..=10u8 {
        let mut f = v4_with(PEER, GATEWAY, 50, &SPI, |h| h.total_len += u16::from(words) * 4);
        f[14] += words;
        f.splice(34..34, std::iter::repeat_n(1, usize::from(words) * 4));
        assert_eq!(verdict(&f), CLASS_ESP, "{words} words of options");
    }
    let chain = [&[60, 0, 1, 4, 0, 0, 0, 0][..], &[17, 1], &[0; 14], &udp(4500, &SPI)].concat();
    assert_eq!(verdict(&v6(PEER6, GATEWAY6, 0, &chain)), CLASS_NATT);
    let endless = [60, 0, 1, 4, 0, 0, 0, 0].repeat(40);
    assert_eq!(verdict(&v6(PEER6, GATEWAY6, 60, &endless)), Steer::Pass);
    assert_eq!(verdict(&v6(REMOTE6, GATEWAY6, 60, &endless)), CLASS_PROTECTED);
}

#[test]
fn what_stays_on_its_link_passes_whatever_is_protected() {
    let all = ["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
    let verdict = |f: &[u8]| {
        classify(f, &Tables { gateways: &[], protected: &all, udp_port: None, ..Tables::default() })
    };
    for dst in ["224.0.0.5", "224.0.0.18", "255.255.255.255"] {
        assert_eq!(verdict(&v4(INSIDE, dst.parse().unwrap(), 89, &[0; 20])), Steer::Pass, "{dst}");
    }
    for dst in ["224.0.1.5", "239.255.255.250", "255.255.255.254", "10.1.0.255"] {
        assert_eq!(verdict(&v4(INSIDE, dst.parse().unwrap(), 17, &[0; 20])), CLASS_PROTECTED, "{dst}");
    }
    let solicitation = [135, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(verdict(&v6_with(REMOTE6, PEER6, 58, 255, &solicitation)), Steer::Pass);
    assert_eq!(
        verdict(&v6_with(REMOTE6, PEER6, 58, 254, &solicitation)),
        CLASS_PROTECTED,
        "it was forwarded"
    );
    assert_eq!(verdict(&v6_with(REMOTE6, PEER6, 58, 255, &[128, 0])), CLASS_PROTECTED, "echo");
    assert_eq!(verdict(&v6(REMOTE6, "ff02::5".parse().unwrap(), 89, &[0; 8])), Steer::Pass);
    assert_eq!(verdict(&v6(REMOTE6, "ff05::2".parse().unwrap(), 17, &[0; 8])), CLASS_PROTECTED);
    let link_local = "fe80::5".parse().unwrap();
    assert_eq!(verdict(&v6(link_local, "febf::1".parse().unwrap(), 89, &[0; 8])), Steer::Pass);
    assert_eq!(verdict(&v6(link_local, "fec0::1".parse().unwrap(), 17, &[0; 8])), CLASS_PROTECTED);
    assert_eq!(verdict(&v6(link_local, REMOTE6, 17, &[0; 8])), CLASS_PROTECTED, "a worker says why not");
}

#[test]
fn frames_cut_at_any_length_fail_closed() {
    for whole in [v4(INSIDE, REMOTE, 17, &udp(53, &[0; 20])), v6(PEER6, REMOTE6, 17, &udp(53, &[0; 20]))] {
        let addresses_end = if whole[12] == 8 { 34 } else { 54 };
        for len in 0..whole.len() {
            let want = if len < addresses_end { Steer::DropUnparsable } else { CLASS_PROTECTED };
            assert_eq!(verdict(&whole[..len]), want, "{len} bytes");
        }
    }
}

#[test]
fn impossible_headers_fail_closed() {
    let mut f = v4(INSIDE, PEER, 17, &udp(53, &[0; 20]));
    for vihl in [0x44, 0x40, 0x55, 0x65, 0x05] {
        f[14] = vihl;
        assert_eq!(verdict(&f), Steer::DropUnparsable, "{vihl:#x}");
    }
    let mut f = v6(PEER6, GATEWAY6, 17, &udp(53, &[0; 20]));
    f[14] = 0x45;
    assert_eq!(verdict(&f), Steer::DropUnparsable);
    // R90, R91: of what a policy covers a worker says what is wrong, or tunnels it.
    for mut f in [v4(INSIDE, REMOTE, 17, &udp(53, &[0; 20])), v6(PEER6, REMOTE6, 17, &udp(53, &[0; 20]))] {
        f[14] = 0x53;
        assert_eq!(verdict(&f), CLASS_PROTECTED);
    }
}

proptest! {
    #[test]
    fn any_bytes(mut bytes in proptest::collection::vec(any::<u8>(), 0..128), kind in 0usize..4, gateway: bool) {
        if bytes.len() >= 54 && kind > 0 {
            let (t, v) = if kind == 1 { (ethernet::IPV4, 0x45) } else { (ethernet::IPV6, 0x60) };
            bytes[12..14].copy_from_slice(&t.to_be_bytes());
            bytes[14] = v;
            if gateway && kind == 1 { bytes[30..34].copy_from_slice(&GATEWAY.octets()); }
            if gateway && kind != 1 { bytes[38..54].copy_from_slice(&GATEWAY6.octets()); }
        }
        let _ = verdict(&bytes);
    }

    /// Whatever the rest of the packet says, clear text of a protected pair is never the kernel's.
    #[test]
    fn protected_pairs_never_pass(
        (id, flags, ttl, protocol) in any::<(u16, u16, u8, u8)>(), payload: Vec<u8>,
        backwards: bool, total: u16, words in 5u8..=15,
    ) {
        let (src, dst) = if backwards { (REMOTE, INSIDE) } else { (INSIDE, REMOTE) };
        let mut f = v4(src, dst, protocol, &payload);
        f[14] = 0x40 | words;
        f[16..18].copy_from_slice(&total.to_be_bytes());
        f[18..20].copy_from_slice(&id.to_be_bytes());
        f[20..22].copy_from_slice(&flags.to_be_bytes());
        f[22] = ttl;
        prop_assert_eq!(verdict(&f), CLASS_PROTECTED);
    }

    /// Of IPv6 too, but for neighbour discovery, which no router forwarded.
    #[test]
    fn protected_pairs_of_ipv6_never_pass(
        (class, flow, hops, next) in any::<(u8, u16, u8, u8)>(), payload: Vec<u8>, backwards: bool, len: u16,
    ) {
        let (src, dst) = if backwards { (REMOTE6, PEER6) } else { (PEER6, REMOTE6) };
        let mut f = v6_with(src, dst, next, hops, &payload);
        f[14] |= class >> 4;
        f[15] = class << 4;
        f[16..18].copy_from_slice(&flow.to_be_bytes());
        f[18..20].copy_from_slice(&len.to_be_bytes());
        let discovery = next == 58 && hops == 255 && payload.first().is_some_and(|kind| (133..=137).contains(kind));
        prop_assert_eq!(verdict(&f), if discovery { Steer::Pass } else { CLASS_PROTECTED });
    }
}

// R62: a default route into a tunnel takes neither the host's own traffic nor its networks'.
#[test]
fn the_longest_match_decides_what_is_exempt() {
    let all = ["0.0.0.0/0".parse().unwrap(), "10.1.0.128/25".parse().unwrap()];
    let exempt = ["10.1.0.0/24".parse().unwrap(), "224.0.0.0/4".parse().unwrap()];
    let tables = Tables { protected: &all, exempt: &exempt, ..Tables::default() };
    let verdict = |dst: &str| classify(&v4(INSIDE, dst.parse().unwrap(), 6, &[0; 20])[..], &tables);
    for dst in ["10.1.0.1", "10.1.0.127", "239.1.1.1"] {
        assert_eq!(verdict(dst), Steer::Pass, "{dst}");
    }
    for dst in ["10.1.0.129", "10.2.0.1", "203.0.113.1"] {
        assert_eq!(verdict(dst), CLASS_PROTECTED, "{dst}");
    }
}

/// [`Tables`] with a memory for first fragments, as the XDP program has it.
#[derive(Default)]
struct Remembering {
    ours: core::cell::RefCell<std::collections::BTreeSet<FragmentKey>>,
}

impl SteerTables for Remembering {
    fn is_gateway_v4(&self, addr: Ipv4Addr) -> bool {
        addr == GATEWAY
    }
    fn is_gateway_v6(&self, addr: Ipv6Addr) -> bool {
        addr == GATEWAY6
    }
    fn is_protected_v4(&self, _: Ipv4Addr) -> bool {
        false
    }
    fn is_protected_v6(&self, _: Ipv6Addr) -> bool {
        false
    }
    fn udp_encap_port(&self) -> Option<u16> {
        None
    }
    fn note_first(&self, key: &FragmentKey, first: Option<First>) {
        let ours = first == Some(First::Worker);
        let mut set = self.ours.borrow_mut();
        if ours {
            set.insert(*key);
        } else {
            set.remove(key);
        }
    }
    fn first_of(&self, key: &FragmentKey) -> Option<First> {
        self.ours.borrow().contains(key).then_some(First::Worker)
    }
}

/// R158: the later fragments of ESP in UDP follow their first one, those of IKE pass with theirs; a number that is used
/// again is whose first fragment says, and only fragments of that number, sender and family follow.
#[test]
fn later_fragments_in_udp_follow_their_first_one() {
    let tables = Remembering::default();
    let frag = |src, id, offset: u16, payload: &[u8]| {
        let frame = v4_with(src, GATEWAY, 17, payload, |h| {
            (h.id, h.fragment_offset, h.mf) = (id, offset, offset == 0);
        });
        classify(frame.as_slice(), &tables)
    };
    let frag6 = |id: u8, offset: u16, payload: &[u8]| {
        let [o0, o1] = (offset | u16::from(offset == 0)).to_be_bytes();
        // Hop-by-hop options before the fragment header.
        let rest = [&[44, 0, 1, 4, 0, 0, 0, 0, 17, 0, o0, o1, 0, 0, 0, id][..], payload].concat();
        classify(v6(PEER6, GATEWAY6, 0, &rest).as_slice(), &tables)
    };
    let (esp, ike) = (udp(4500, &SPI), udp(4500, &[0; 8]));
    let ours = to_worker(Class::IpsecFragment);
    assert_eq!(frag(PEER, 7, 1480, &[1; 8]), Steer::Pass, "before its first");
    assert_eq!(frag(PEER, 7, 0, &esp), ours);
    assert_eq!(frag(PEER, 7, 1480, &[1; 8]), ours);
    assert_eq!(frag(PEER, 8, 1480, &[1; 8]), Steer::Pass);
    assert_eq!(frag(INSIDE, 7, 1480, &[1; 8]), Steer::Pass);
    assert_eq!(frag6(7, 1448, &[1; 8]), Steer::Pass);
    assert_eq!(frag(PEER, 7, 0, &ike), Steer::Pass, "the number comes again");
    assert_eq!(frag(PEER, 7, 1480, &[1; 8]), Steer::Pass);
    assert_eq!(frag6(7, 0, &esp), ours);
    assert_eq!(frag6(7, 1448, &[1; 8]), ours);
    assert_eq!(frag6(8, 1448, &[1; 8]), Steer::Pass);
    assert_eq!(frag6(7, 0, &ike), Steer::Pass);
    assert_eq!(frag6(7, 1448, &[1; 8]), Steer::Pass);
}
