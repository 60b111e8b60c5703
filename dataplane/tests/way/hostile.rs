//! Hostile input: every malformed packet has its reason, and any bytes end in one verdict.

use crate::rig::*;
use proptest::prelude::*;
use ravelin_crypto::{Engine, Key, SealJob};
use ravelin_dataplane::{Bounds, Door, Origin, Verdict};
use ravelin_ring::counters::Drop;
use ravelin_ring::msg::*;
use ravelin_ring::setup::ReversePath;
use ravelin_wire::ipv4::{Ipv4, Ipv4Header};
use ravelin_wire::{PortRange, Selector};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// R41, R307: somebody outside who says he is a host inside gets nothing encrypted, though that host's flow is known; and
/// nobody inside speaks for a host outside, or for the gateway.
#[test]
fn a_source_is_believed_only_where_it_lives() {
    let (mut a, _) = gates(&Pair::default());
    let good = ip(HOST_A, HOST_B, 100);
    a.receive(INSIDE, &good).forwarded(WAN);
    a.receive(INSIDE, &good).forwarded(WAN);
    a.receive(WAN, &good).lost(Drop::ReversePath);
    a.receive(INSIDE, &good).forwarded(WAN);
    a.receive(WAN, &ip(HOST_A, INTERNET, 100)).lost(Drop::ReversePath);
    a.receive(INSIDE, &ip(INTERNET, HOST_B, 100)).lost(Drop::ReversePath);
    a.receive(INSIDE, &ip(GATE_A, HOST_B, 100)).lost(Drop::ReversePath);
    a.receive(WAN, &ip(Ipv4Addr::new(192, 0, 3, 9), HOST_A, 100)).lost(Drop::ReversePath);
    a.receive(WAN, &ip(INTERNET, HOST_A, 100)).forwarded(INSIDE);
    // The far network has its own name for it, whatever the port.
    a.receive(INSIDE, &ip(HOST_B, HOST_A, 100)).lost(Drop::PlainOnProtected);
    a.receive(WAN, &ip(HOST_B, HOST_A, 100)).lost(Drop::PlainOnProtected);

    for (rule, own, unknown) in [
        (ReversePath::Loose, Some(Drop::ReversePath), Some(Drop::ReversePath)),
        (ReversePath::Off, None, None),
    ] {
        a.reverse_path(rule);
        let expect = |out: Out, why: Option<Drop>| match why {
            Some(why) => out.lost(why),
            None => _ = out.forwarded(WAN),
        };
        expect(a.receive(WAN, &good), None);
        expect(a.receive(INSIDE, &ip(GATE_A, HOST_B, 100)), own);
        expect(a.receive(INSIDE, &ip(Ipv4Addr::new(9, 9, 9, 9), INTERNET, 100)), unknown);
    }
}

/// R91, R95: options that lie, source routes, and packets from their own destination.
#[test]
fn header_anomalies_have_names_of_their_own() {
    let (mut a, _) = gates(&Pair::default());
    let good = ip(HOST_A, HOST_B, 100);
    for (options, why) in [
        (&[148, 4, 0, 0][..], None),
        (&[1, 1, 1, 0], None),
        (&[7, 7, 4, 1, 2, 3, 4, 0], None),
        (&[0, 9, 9, 9], None),
        (&[131, 7, 4, 10, 2, 0, 1, 0], Some(Drop::SourceRoute)),
        (&[1, 137, 3, 4], Some(Drop::SourceRoute)),
        (&[7, 1, 0, 0], Some(Drop::BadOption)),
        (&[7, 0, 0, 0], Some(Drop::BadOption)),
        (&[7, 5, 0, 0], Some(Drop::BadOption)),
        (&[1, 1, 1, 7], Some(Drop::BadOption)),
    ] {
        let out = a.receive(INSIDE, &with_options(&good, options));
        match why {
            Some(why) => out.lost(why),
            None => _ = out.forwarded(WAN),
        }
    }
    a.receive(INSIDE, &ip(HOST_A, HOST_A, 100)).lost(Drop::Land);
    a.reverse_path(ReversePath::Off);
    a.receive(INSIDE, &ip(HOST_A, HOST_A, 100)).lost(Drop::Land);
}

#[test]
fn malformed_frames_have_their_reasons() {
    let (mut a, _) = gates(&Pair::default());
    let good = ip(HOST_A, INTERNET, 100);
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = ether(&good);
        change(&mut bytes);
        bytes
    };
    let sum = |bytes: &mut Vec<u8>| {
        let mut header = bytes[14..34].to_vec();
        header[10..12].fill(0);
        let sum = ravelin_wire::checksum::of(&header);
        bytes[24..26].copy_from_slice(&sum.to_be_bytes());
    };
    let cases: Vec<(Vec<u8>, Drop)> = vec![
        (vec![], Drop::Malformed),
        (vec![0; 13], Drop::Malformed),
        (with(&|b| b.truncate(14)), Drop::Malformed),
        (with(&|b| b.truncate(33)), Drop::Malformed),
        (with(&|b| b.truncate(113)), Drop::BadIpLength),
        (with(&|b| b[12..14].copy_from_slice(&[0x08, 0x06])), Drop::Malformed),
        (with(&|b| b[..6].copy_from_slice(&mac(77))), Drop::OtherStation),
        (with(&|b| b[..6].copy_from_slice(&mac(2))), Drop::OtherStation),
        (with(&|b| b[..6].copy_from_slice(&[0, 0, 0x5e, 0, 3, 9])), Drop::OtherStation),
        (with(&|b| b[..6].copy_from_slice(&[0xff; 6])), Drop::BadAddress),
        (with(&|b| b[..6].copy_from_slice(&[1, 0, 0x5e, 0, 0, 9])), Drop::BadAddress),
        (with(&|b| b[12..14].copy_from_slice(&[0x86, 0xdd])), Drop::BadIpVersion),
        (with(&|b| b[14] = 0x65), Drop::BadIpVersion),
        (with(&|b| b[14] = 0x44), Drop::BadIpHeaderLength),
        (with(&|b| b[14] = 0x4f), Drop::BadIpChecksum),
        (with(&|b| b[17] = 19), Drop::BadIpLength),
        (with(&|b| b[17] = 120), Drop::BadIpLength),
        (with(&|b| b[24] ^= 1), Drop::BadIpChecksum),
        (
            with(&|b| {
                b[26] = 127;
                sum(b)
            }),
            Drop::BadAddress,
        ),
        (
            with(&|b| {
                b[26] = 0;
                sum(b)
            }),
            Drop::BadAddress,
        ),
        (
            with(&|b| {
                b[26] = 224;
                sum(b)
            }),
            Drop::BadAddress,
        ),
        (
            with(&|b| {
                b[26] = 255;
                sum(b)
            }),
            Drop::BadAddress,
        ),
        (
            with(&|b| {
                b[30] = 127;
                sum(b)
            }),
            Drop::BadAddress,
        ),
        (
            with(&|b| {
                b[30] = 224;
                sum(b)
            }),
            Drop::MulticastPolicyMode,
        ),
        (
            with(&|b| {
                b[30..34].fill(255);
                sum(b)
            }),
            Drop::MulticastPolicyMode,
        ),
        (
            with(&|b| {
                b[30] = 250;
                sum(b)
            }),
            Drop::BadAddress,
        ),
    ];
    for (n, (bytes, why)) in cases.into_iter().enumerate() {
        let out = a.one(Origin::Port(INSIDE), bytes);
        assert_eq!(out.verdict, Verdict::Drop(why), "case {n}");
    }
}

// Every gateway of the link would send it on, clear or protected.
#[test]
fn what_the_link_sends_to_everybody_is_not_forwarded() {
    let (mut a, mut b) = gates(&Pair::default());
    let wire = a.receive(INSIDE, &ip(HOST_A, HOST_B, 100)).forwarded(WAN).to_vec();
    for group in [[0xff; 6], [0x01, 0, 0x5e, 0, 0, 1]] {
        for packet in [ip(HOST_A, HOST_B, 100), ip(HOST_A, INTERNET, 100)] {
            let mut frame = ether(&packet);
            frame[..6].copy_from_slice(&group);
            a.one(Origin::Port(INSIDE), frame).lost(Drop::BadAddress);
        }
        let mut frame = ether(&wire);
        frame[..6].copy_from_slice(&group);
        b.one(Origin::Port(WAN), frame).lost(Drop::BadAddress);
    }
}

#[test]
fn tags_and_link_padding_are_taken_off() {
    let (mut a, mut b) = gates(&Pair::default());
    let sent = ip(HOST_A, HOST_B, 30);
    let mut frame = ether(&sent);
    frame.splice(12..12, [0x81, 0x00, 0x20, 0x05]);
    frame.extend([0xaa; 12]);
    let wire = a.one(Origin::Port(INSIDE), frame.clone());
    let mut padded = wire.bytes.clone();
    wire.forwarded(WAN);
    padded.extend([0x55; 7]);
    let out = b.one(Origin::Port(WAN), padded);
    assert_eq!(out.forwarded(INSIDE), edit(sent, |ip| ip.set_ttl(62)));
    // A packet that turns round on its port keeps its VLAN.
    let mut turn = ether(&ip(HOST_A, Ipv4Addr::new(10, 1, 0, 10), 60));
    turn[14 + 12..14 + 16].copy_from_slice(&Ipv4Addr::new(10, 1, 0, 11).octets());
    let bytes = edit(turn.split_off(14), |ip| ip.fill_checksum());
    turn.extend(bytes);
    turn.splice(12..12, [0x81, 0x00, 0x20, 0x05]);
    let out = a.one(Origin::Port(INSIDE), turn);
    assert_eq!(out.verdict, Verdict::Forward { port: INSIDE });
    assert_eq!(out.bytes[12..18], [0x81, 0x00, 0x20, 0x05, 0x08, 0x00]);
}

/// An ESP packet that B's inbound SA finds authentic, with any next header and payload.
fn sealed(pair: &Pair, seq: u64, next_header: u8, payload: &[u8], tos: u8) -> Vec<u8> {
    let suite = ravelin_crypto::Suite::Aes256Gcm16;
    let key = Key::new(suite, &pair.keymat(true), [0; 16]).unwrap();
    let mut esp = vec![0; suite.sealed_len(payload.len())];
    esp[suite.payload_offset()..][..payload.len()].copy_from_slice(payload);
    let job = SealJob {
        key: &key,
        spi: pair.spi,
        seq,
        esn: false,
        next_header,
        payload_len: payload.len(),
        packet: &mut esp,
    };
    Engine::new().seal(&mut [job]);
    let header = Ipv4Header {
        tos,
        total_len: (20 + esp.len()) as u16,
        id: 0,
        df: false,
        mf: false,
        fragment_offset: 0,
        ttl: 9,
        protocol: 50,
        src: WAN_A,
        dst: WAN_B,
    };
    [&header.to_bytes()[..], &esp].concat()
}

#[test]
fn authentic_nonsense_has_its_reasons() {
    let pair = Pair::default();
    let (_, mut b) = gates(&pair);
    let good = ip(HOST_A, HOST_B, 60);
    let mut padded = good.clone();
    padded.extend([0; 40]);
    let mut lying = good.clone();
    lying[3] = 61;
    let mut broken = good.clone();
    broken[11] ^= 1;
    let loopback = edit(good.clone(), |ip| ip.set_src(Ipv4Addr::LOCALHOST));
    let cases: Vec<(u8, Vec<u8>, u8, Option<Drop>)> = vec![
        (4, good.clone(), 0, None),
        (4, padded, 0, None),
        (59, vec![1; 33], 0, Some(Drop::Dummy)),
        (41, vec![0x60; 40], 0, Some(Drop::BadInner)),
        (6, vec![0; 40], 0, Some(Drop::WrongEncapsulation)),
        (4, vec![], 0, Some(Drop::BadInner)),
        (4, vec![0x45; 19], 0, Some(Drop::BadInner)),
        (4, lying, 0, Some(Drop::BadInner)),
        (4, broken, 0, Some(Drop::BadInner)),
        (4, loopback, 0, Some(Drop::BadAddress)),
        (4, good.clone(), 3, Some(Drop::CongestionLost)),
        (4, edit(good.clone(), |ip| ip.set_tos(2)), 3, None),
    ];
    for (n, (next, payload, tos, fate)) in cases.into_iter().enumerate() {
        let out = b.receive(WAN, &sealed(&pair, n as u64 + 1, next, &payload, tos));
        match fate {
            Some(why) => assert_eq!(out.verdict, Verdict::Drop(why), "case {n}"),
            None => {
                let ip = Ipv4::parse(out.forwarded(INSIDE)).unwrap();
                assert_eq!((ip.total_len(), ip.ecn()), (60, tos & 3), "case {n}");
            }
        }
    }
    assert_eq!(b.report(10).packets, 12);
}

// RFC 4301 §4.1, RFC 4303 §2.6: in transport mode IP is a payload like others, and what is in it is not the SA's to let through.
#[test]
fn transport_mode_opens_no_tunnel() {
    let pair = mode_pair(Mode::Transport);
    let (_, mut b) = mode_gates(&pair);
    let payloads = [(4, ip(WAN_A, WAN_B, 60)), (41, ip6(WAN_A6, WAN_B6, 80)), (17, vec![7; 30])];
    // The first packet goes another way than those after it.
    for n in 0..9u64 {
        let (next, payload) = &payloads[n as usize % 3];
        let out = b.receive(WAN, &sealed(&pair, n + 1, *next, payload, 0));
        assert_eq!(out.verdict, Verdict::Punt, "packet {n}");
        let outer = Ipv4::parse(&out.bytes).unwrap();
        assert_eq!(
            (outer.protocol(), outer.src(), outer.payload()),
            (*next, WAN_A, &payload[..]),
            "packet {n}"
        );
    }
}

#[test]
fn short_esp_and_fragments_of_it_are_refused() {
    let pair = Pair { udp: true, ..Pair::default() };
    let (mut a, mut b) = gates(&pair);
    let wire = a.receive(INSIDE, &ip(HOST_A, HOST_B, 80)).forwarded(WAN).to_vec();
    let cut = |len: usize, udp: bool| {
        let mut bytes = wire[..len].to_vec();
        bytes[2..4].copy_from_slice(&(len as u16).to_be_bytes());
        if udp {
            bytes[24..26].copy_from_slice(&(len as u16 - 20).to_be_bytes());
        }
        edit(bytes, |ip| ip.fill_checksum())
    };
    b.receive(WAN, &cut(28 + 4, true)).lost(Drop::BadEsp);
    b.receive(WAN, &cut(28 + 20, true)).lost(Drop::BadEsp);
    b.receive(WAN, &cut(60, false)).lost(Drop::Malformed);
    b.receive(WAN, &edit(wire.clone(), |ip| ip.set_fragment(0, true))).lost(Drop::Malformed);
    b.receive(WAN, &wire).forwarded(INSIDE);
}

fn origin() -> impl Strategy<Value = Origin> {
    let door = prop_oneof![Just(Door::Port(INSIDE)), Just(Door::Port(WAN)), Just(Door::Tun), Just(Door::Sa)];
    prop_oneof![
        3 => Just(Origin::Port(INSIDE)),
        3 => Just(Origin::Port(WAN)),
        1 => Just(Origin::Tun),
        1 => (door, 0u8..6).prop_map(|(door, hops)| Origin::HandedIn { door, hops, bounds: Bounds::NONE }),
    ]
}

prop_compose! {
    /// Frames from lawful to absurd: a packet between addresses that mean something, then a few bytes changed.
    fn frame()(kind in 0u8..5, origin in origin(), src in 0usize..7, dst in 0usize..7, len in 20usize..1500,
               flags in (any::<bool>(), any::<bool>(), 0u16..4), protocol in prop_oneof![Just(17u8), Just(50), Just(1), any::<u8>()],
               ttl in 0u8..4, spi in prop_oneof![Just(0x1000u32), Just(0x1002), any::<u32>()], natt: bool,
               noise in proptest::collection::vec((0usize..1600, any::<u8>()), 0..4),
               raw in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..3000) -> (Origin, Vec<u8>) {
        if kind == 0 {
            return (origin, raw);
        }
        let places = [HOST_A, HOST_B, GATE_A, GATE_B, WAN_A, WAN_B, INTERNET];
        let mut bytes = packet(Ipv4Header {
            tos: ttl << 1 | u8::from(natt), total_len: len as u16, id: 0, df: flags.0, mf: flags.1 && flags.2 == 3,
            fragment_offset: if flags.2 == 2 { 64 } else { 0 }, ttl: ttl + 1, protocol, src: places[src], dst: places[dst],
        });
        if natt && len >= 32 {
            bytes[22..24].copy_from_slice(&4500u16.to_be_bytes());
            bytes[24..26].copy_from_slice(&(len as u16 - 20).to_be_bytes());
            bytes[28..32].copy_from_slice(&spi.to_be_bytes());
        } else if len >= 24 {
            bytes[20..24].copy_from_slice(&spi.to_be_bytes());
        }
        for (at, b) in noise {
            if kind > 2 && let Some(slot) = bytes.get_mut(at) { *slot = b; }
        }
        if kind == 4 { bytes.truncate(cut); }
        (origin, if matches!(origin, Origin::Port(_)) { ether(&bytes) } else { bytes })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    // R303: any bytes in, one verdict each, nothing lost (both are asserted in `run`); and nothing that a policy
    // protects leaves in clear (R307).
    #[test]
    fn any_frames_end_in_one_verdict(frames in proptest::collection::vec(frame(), 1..64), up: bool) {
        let (mut a, _) = gates(&Pair::default());
        if !up {
            a.command(|token| WorkerCommand::StopOutbound { token, tunnel: TUNNEL });
        }
        for out in a.run(&frames) {
            if let Verdict::Forward { .. } = out.verdict {
                let start = if out.bytes[12..14] == [0x81, 0x00] { 18 } else { 14 };
                if let Ok(ip) = Ipv4::parse(&out.bytes[start..]) && ip.protocol() != 50 {
                    let covered = |x: Ipv4Addr, y: Ipv4Addr| x.octets()[..3] == [10, 1, 0] && y.octets()[..3] == [10, 2, 0];
                    prop_assert!(!covered(ip.src(), ip.dst()));
                }
            }
        }
    }
}

// R307: the network behind B has lost its route, and the default route leads to where A's packets come from.
#[test]
fn what_came_out_of_a_tunnel_does_not_leave_in_clear_beside_it() {
    let everything = vec![selector("0.0.0.0/0", "0.0.0.0/0"), selector("::/0", "::/0")];
    for (selectors, escapes) in [(Pair::default().selectors, false), (everything, true)] {
        let (mut a, mut b) = gates(&Pair { selectors, ..Pair::default() });
        let six = ip6(HOST_A6, HOST_B6, 200);
        let mut wire = |packet: &[u8]| (Origin::Port(WAN), a.receive(INSIDE, packet).bytes);
        let packets: Vec<_> = (0..3).flat_map(|_| [wire(&ip(HOST_A, HOST_B, 100)), wire(&six)]).collect();
        let on: Vec<_> = b.run(&packets[..2]).iter().map(|o| o.verdict).collect();
        assert_eq!(on, [Verdict::Forward { port: INSIDE }; 2]);
        for (net, all, gateway) in
            [("10.2.0.0/24", "0.0.0.0/0", WAN_A.into()), ("2001:db8:2::/64", "::/0", WAN_A6.into())]
        {
            let direct = NextHop::Port { port: INSIDE, gateway: None };
            b.set(TableCommand::RemoveRoute(Route { prefix: prefix(net), next_hop: direct }));
            let next_hop = NextHop::Port { port: WAN, gateway: Some(gateway) };
            b.set(TableCommand::AddRoute(Route { prefix: prefix(all), next_hop }));
        }
        b.commit();
        // Where the peer reaches the whole world through us, that is what it asked for.
        let wanted = if escapes { Verdict::Forward { port: WAN } } else { Verdict::Drop(Drop::NoRoute) };
        assert_eq!(b.run(&packets[2..4]).iter().map(|o| o.verdict).collect::<Vec<_>>(), [wanted; 2]);
        // A route of its own, by the same port, is somebody's word.
        for (net, gateway) in [("10.2.0.0/24", WAN_A.into()), ("2001:db8:2::/64", WAN_A6.into())] {
            let next_hop = NextHop::Port { port: WAN, gateway: Some(gateway) };
            b.set(TableCommand::AddRoute(Route { prefix: prefix(net), next_hop }));
        }
        b.commit();
        let on: Vec<_> = b.run(&packets[4..]).iter().map(|o| o.verdict).collect();
        assert_eq!(on, [Verdict::Forward { port: WAN }; 2]);
    }
}

// R307: nor by any other route that is wider than the network which the peer was told of, on the peer's port or on another
// uplink; routes inside may be as wide as they like.
#[test]
fn wide_routes_are_no_way_back() {
    let router = IpAddr::from(Ipv4Addr::new(198, 19, 0, 2));
    let wan = |net| (net, WAN, Some(IpAddr::from(WAN_A)));
    let second = |net| (net, WAN2, Some(router));
    let inside = |net| (net, INSIDE, Some(IpAddr::from(HOST_B)));
    let all = "0.0.0.0/0";
    let cases = [
        (vec![wan("10.0.0.0/8")], None),
        (vec![wan("0.0.0.0/1"), wan("128.0.0.0/1")], None),
        (vec![wan("10.2.0.0/23"), second(all)], None),
        (vec![second(all)], None),
        (vec![second(all), second("10.0.0.0/8")], None),
        (vec![wan(all), inside("10.0.0.0/8")], Some(INSIDE)),
        (vec![wan(all), wan("10.2.0.0/24")], Some(WAN)),
        (vec![second(all), second("10.2.0.8/29")], Some(WAN2)),
        (vec![wan(all), ("10.2.0.0/16", INSIDE, None)], Some(INSIDE)),
    ];
    for (routes, way) in cases {
        let (mut a, mut b) = gates(&Pair::default());
        b.second_uplink();
        let lost = NextHop::Port { port: INSIDE, gateway: None };
        b.set(TableCommand::RemoveRoute(Route { prefix: prefix("10.2.0.0/24"), next_hop: lost }));
        for (net, port, gateway) in &routes {
            let next_hop = NextHop::Port { port: *port, gateway: *gateway };
            b.set(TableCommand::AddRoute(Route { prefix: prefix(net), next_hop }));
        }
        b.commit();
        let wire = a.receive(INSIDE, &ip(HOST_A, HOST_B, 100)).bytes;
        let out = b.one(Origin::Port(WAN), wire);
        let wanted = way.map_or(Verdict::Drop(Drop::NoRoute), |port| Verdict::Forward { port });
        assert_eq!(out.verdict, wanted, "{routes:?}");
    }
}

/// Of B.
fn filter(gate: &mut Gate, list: &[Selector]) {
    gate.set(TableCommand::ClearPolicies);
    gate.protect(selector("10.2.0.0/24", "10.1.0.0/24"));
    for selector in list {
        gate.set(TableCommand::AddFilter { tunnel: TUNNEL, selector: *selector });
    }
    gate.commit();
}

/// R223, RFC 4301 §5.2: by default the SA's selectors alone are asked; with a filter the inner packet has to match that too, and
/// what it does not name is dropped by name, also of a flow that has passed before the filter came.
#[test]
fn what_was_decrypted_is_filtered_where_that_is_asked() {
    let (mut a, mut b) = gates(&Pair::default());
    let udp = |port: u16| {
        let mut packet = ip(HOST_A, HOST_B, 100);
        packet[22..24].copy_from_slice(&port.to_be_bytes());
        packet
    };
    let mut carry = |b: &mut Gate, port: u16| {
        let packet = a.receive(INSIDE, &udp(port)).forwarded(WAN).to_vec();
        b.receive(WAN, &packet)
    };
    carry(&mut b, 53).forwarded(INSIDE);
    carry(&mut b, 2000).forwarded(INSIDE);
    let dns = Selector {
        protocol: Some(17),
        local_ports: PortRange::new(53, 53).unwrap(),
        ..selector("10.2.0.0/24", "10.1.0.0/24")
    };
    filter(&mut b, &[dns]);
    carry(&mut b, 53).forwarded(INSIDE);
    carry(&mut b, 53).forwarded(INSIDE);
    carry(&mut b, 2000).lost(Drop::FilterDecrypted);
    // A second entry; and of another tunnel.
    filter(&mut b, &[dns, Selector { local_ports: PortRange::new(2000, 2000).unwrap(), ..dns }]);
    carry(&mut b, 2000).forwarded(INSIDE);
    b.set(TableCommand::ClearPolicies);
    b.protect(selector("10.2.0.0/24", "10.1.0.0/24"));
    b.set(TableCommand::AddFilter { tunnel: TunnelId(99), selector: dns });
    b.commit();
    carry(&mut b, 2000).forwarded(INSIDE);
    // A first fragment has ports, the others hide them.
    filter(&mut b, &[dns]);
    let mut part = edit(udp(53), |ip| ip.set_df(false));
    part = edit(part, |ip| ip.set_fragment(0, true));
    let first = a.receive(INSIDE, &part).forwarded(WAN).to_vec();
    b.receive(WAN, &first).forwarded(INSIDE);
    let later = edit(part, |ip| ip.set_fragment(80, false));
    let later = a.receive(INSIDE, &later).forwarded(WAN).to_vec();
    b.receive(WAN, &later).lost(Drop::Fragment);
    assert_eq!(b.dropped(Drop::FilterDecrypted), 1);
}

/// R223: an SA that was made for a filter lets nothing out before the filter is there.
#[test]
fn without_its_filter_nothing_comes_out() {
    let pair = Pair { extras: Extras { filtered: true, ..Extras::default() }, ..Pair::default() };
    let (mut a, mut b) = gates(&pair);
    let mut carry = |b: &mut Gate| {
        let packet = a.receive(INSIDE, &ip(HOST_A, HOST_B, 100)).forwarded(WAN).to_vec();
        b.receive(WAN, &packet)
    };
    carry(&mut b).lost(Drop::FilterDecrypted);
    filter(&mut b, &[selector("0.0.0.0/0", "0.0.0.0/0")]);
    carry(&mut b).forwarded(INSIDE);
    filter(&mut b, &[]);
    carry(&mut b).lost(Drop::FilterDecrypted);
}

fn lose(gate: &mut Gate, ways: &[(&str, NextHop)]) {
    let lost = NextHop::Port { port: INSIDE, gateway: None };
    gate.set(TableCommand::RemoveRoute(Route { prefix: prefix("10.2.0.0/24"), next_hop: lost }));
    for (net, next_hop) in ways {
        gate.set(TableCommand::AddRoute(Route { prefix: prefix(net), next_hop: *next_hop }));
    }
    gate.commit();
}

// R307: the kernel would forward it by a device that is no port; what a narrower route gives it is meant for it.
#[test]
fn the_kernel_does_not_carry_it_out_either() {
    let kernel = NextHop::Kernel;
    let halves = [("0.0.0.0/1", kernel), ("128.0.0.0/1", kernel)];
    let no = Verdict::Drop(Drop::NoRoute);
    for (ways, wanted) in [
        (&[("0.0.0.0/0", kernel)][..], no),
        (&halves[..], no),
        (&[("10.2.0.0/16", kernel)][..], Verdict::Punt),
        (&[("0.0.0.0/0", kernel), ("10.2.0.0/24", kernel)][..], Verdict::Punt),
    ] {
        let (mut a, mut b) = gates(&Pair::default());
        lose(&mut b, ways);
        let wire = a.receive(INSIDE, &ip(HOST_A, HOST_B, 100)).bytes;
        assert_eq!(b.one(Origin::Port(WAN), wire).verdict, wanted, "{ways:?}");
    }
    let everything = vec![selector("0.0.0.0/0", "0.0.0.0/0")];
    let (mut a, mut b) = gates(&Pair { selectors: everything, ..Pair::default() });
    lose(&mut b, &[("0.0.0.0/0", kernel)]);
    let wire = a.receive(INSIDE, &ip(HOST_A, HOST_B, 100)).bytes;
    assert_eq!(b.one(Origin::Port(WAN), wire).verdict, Verdict::Punt, "the peer asked for the whole world");
}

// R307: nor once the link goes while it waits for its neighbour.
#[test]
fn what_waited_is_judged_again() {
    for (wider, wanted) in [
        (NextHop::Port { port: WAN, gateway: Some(WAN_A.into()) }, Verdict::Drop(Drop::NoRoute)),
        (NextHop::Port { port: INSIDE, gateway: None }, Verdict::Forward { port: INSIDE }),
    ] {
        let (mut a, mut b) = gates(&Pair::default());
        b.set(TableCommand::RemoveNeighbour { port: INSIDE, addr: HOST_B.into() });
        b.commit();
        let wire = a.receive(INSIDE, &ip(HOST_A, HOST_B, 100)).bytes;
        assert_eq!(b.one(Origin::Port(WAN), wire).verdict, Verdict::Held);
        lose(&mut b, &[("10.0.0.0/8", wider)]);
        b.set(TableCommand::SetNeighbour(Neighbour { port: INSIDE, addr: HOST_B.into(), mac: mac(10) }));
        b.commit();
        let out = b.turn();
        assert_eq!(out.iter().map(|o| o.verdict).collect::<Vec<_>>(), [wanted]);
    }
}

// R307: a peer that moves to the port of a wide route is behind it from the next packet on, known flow or not.
#[test]
fn a_peer_that_moves_takes_its_port_along() {
    let router = IpAddr::from(Ipv4Addr::new(198, 19, 0, 2));
    let pair = Pair::default();
    let (mut a, mut b) = gates(&pair);
    b.second_uplink();
    let link =
        Route { prefix: prefix("198.19.0.0/24"), next_hop: NextHop::Port { port: WAN2, gateway: None } };
    b.set(TableCommand::AddRoute(link));
    lose(&mut b, &[("10.0.0.0/8", NextHop::Port { port: WAN2, gateway: Some(router) })]);
    let mut carry = |b: &mut Gate| {
        let wire = a.receive(INSIDE, &ip(HOST_A, HOST_B, 100)).bytes;
        b.one(Origin::Port(WAN), wire).verdict
    };
    assert_eq!([carry(&mut b), carry(&mut b)], [Verdict::Forward { port: WAN2 }; 2]);
    let spec = pair.spec(false, Direction::Inbound);
    let (local, remote) = (spec.local, SocketAddr::new(Ipv4Addr::new(198, 19, 0, 9).into(), 0));
    let moved = b.command(|token| WorkerCommand::MoveSa { token, sa: spec.id, local, remote });
    assert_eq!(moved, Outcome::Ok);
    assert_eq!(carry(&mut b), Verdict::Drop(Drop::NoRoute));
}
