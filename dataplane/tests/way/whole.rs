//! Whole ways: host to host through two gateways, and every way a packet can fail on it.

use crate::rig::*;
use ravelin_dataplane::{Bounds, Door, Origin, Verdict};
use ravelin_ring::counters::{Counter, Drop};
use ravelin_ring::msg::*;
use ravelin_wire::ipv4::Ipv4;
use ravelin_wire::{PortRange, icmp};

/// What hostB gets of what hostA sent: two gateways have taken one off the TTL each.
fn aged(bytes: Vec<u8>) -> Vec<u8> {
    edit(bytes, |ip| ip.set_ttl(62))
}

// R200, R219: every suite, plain and in UDP, with and without ESN, all residues of the block size.
#[test]
fn every_suite_carries_every_size() {
    for (suite, _) in SUITES {
        for (udp, esn) in [(false, false), (true, false), (false, true), (true, true)] {
            let (mut a, mut b) = gates(&Pair { suite, udp, esn, ..Pair::default() });
            let sizes = (20..=64).chain([100, 256, 512, 1000, 1024, 1399, 1400]);
            let sent: Vec<Vec<u8>> = sizes.map(|len| ip(HOST_A, HOST_B, len)).collect();
            let frames: Vec<_> = sent.iter().map(|p| (Origin::Port(INSIDE), ether(p))).collect();
            let wire: Vec<_> = a.run(&frames).iter().map(|o| outer(o, &sent[0], udp)).collect();
            let arrived = b.run(&wire);
            assert_eq!(arrived.len(), sent.len());
            for (out, sent) in arrived.iter().zip(&sent) {
                assert_eq!(out.forwarded(INSIDE), aged(sent.clone()), "{suite:?}");
            }
            assert_eq!(a.worker.stats().get(Counter::Encrypted), sent.len() as u64);
            assert_eq!(b.worker.stats().get(Counter::Decrypted), sent.len() as u64);
            let report = b.report(10);
            assert_eq!((report.packets, report.sequence), (sent.len() as u64, sent.len() as u64));
            assert_eq!(report.bytes, sent.iter().map(|s| s.len() as u64).sum::<u64>());
            assert_eq!(a.report(11).sequence, sent.len() as u64);
            assert!(a.report(11).in_use);
        }
    }
}

/// Checks the outer header, and that nothing of the payload is to be seen; the frame as B gets it.
fn outer(out: &Out, clear: &[u8], udp: bool) -> (Origin, Vec<u8>) {
    let bytes = out.forwarded(WAN);
    let ip = Ipv4::parse(bytes).unwrap();
    assert_eq!((ip.src(), ip.dst(), ip.ttl(), ip.df()), (WAN_A, WAN_B, 64, true));
    assert_eq!(ip.protocol(), if udp { 17 } else { 50 });
    if udp {
        let datagram = ravelin_wire::udp::Udp::parse(ip.payload()).unwrap();
        assert_eq!((datagram.src(), datagram.dst(), datagram.checksum()), (4500, 4500, 0));
        assert_eq!(datagram.len(), ip.payload().len());
    }
    assert!(ip.total_len() <= 1500);
    assert!(!bytes.windows(12).any(|w| w == &clear[8..20]), "the inner header is hidden");
    (Origin::Port(WAN), out.bytes.clone())
}

/// One protected packet from A, as bytes on the wire.
fn protected(a: &mut Gate, len: usize) -> Vec<u8> {
    a.receive(INSIDE, &ip(HOST_A, HOST_B, len)).forwarded(WAN).to_vec()
}

#[test]
fn outer_header_follows_the_inner_one() {
    for (df, inner, expected) in [
        (OuterDf::Copy, true, true),
        (OuterDf::Copy, false, false),
        (OuterDf::Clear, true, false),
        (OuterDf::Set, false, true),
    ] {
        let (mut a, _) = gates(&Pair { df, ..Pair::default() });
        let bytes = edit(ip(HOST_A, HOST_B, 100), |ip| {
            ip.set_df(inner);
            ip.set_tos(0xba);
        });
        let ids: Vec<u16> = (0..3)
            .map(|_| {
                let out = a.receive(INSIDE, &bytes);
                let outer = Ipv4::parse(out.forwarded(WAN)).unwrap();
                assert_eq!((outer.df(), outer.tos()), (expected, 0xba));
                outer.id()
            })
            .collect();
        assert!(expected || (ids[0] != ids[1] && ids[1] != ids[2]), "RFC 6864: {ids:?}");
    }
}

// R200: anti-replay.
#[test]
fn replayed_packets_are_dropped_each_for_its_reason() {
    let (mut a, mut b) = gates(&Pair { window: 64, ..Pair::default() });
    let wire: Vec<_> = (0..130).map(|_| protected(&mut a, 80)).collect();
    let frame = |n: usize| (Origin::Port(WAN), ether(&wire[n]));
    // The same number twice in one batch is accepted once.
    let out = b.run(&[frame(0), frame(0), frame(2), frame(1), frame(1)]);
    let lost = |o: &Out| match o.verdict {
        Verdict::Drop(why) => Some(why),
        _ => None,
    };
    let fates: Vec<_> = out.iter().map(lost).collect();
    assert_eq!(fates, [None, Some(Drop::ReplayDup), None, None, Some(Drop::ReplayDup)]);
    b.run(&[frame(129)]);
    b.receive(WAN, &wire[129]).lost(Drop::ReplayDup);
    b.receive(WAN, &wire[65]).lost(Drop::ReplayOld);
    b.receive(WAN, &wire[66]).forwarded(INSIDE);
    assert_eq!(b.report(10).replay_drops, 4);
    assert_eq!((b.dropped(Drop::ReplayDup), b.dropped(Drop::ReplayOld)), (3, 1));
}

// R200: integrity. Every bit of the ESP packet matters, and a forged packet moves no window.
#[test]
fn any_flipped_bit_is_noticed() {
    for (suite, _) in SUITES {
        let (mut a, mut b) = gates(&Pair { suite, ..Pair::default() });
        // Number 9: no single bit makes it 0, which is no number at all.
        (0..8).for_each(|_| drop(protected(&mut a, 60)));
        let good = protected(&mut a, 60);
        let mut frames = vec![];
        for bit in (20 + 4) * 8..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            frames.push((Origin::Port(WAN), ether(&bad)));
        }
        let out = b.run(&frames);
        for (n, o) in out.iter().enumerate() {
            assert_eq!(o.verdict, Verdict::Drop(Drop::BadIcv), "{suite:?}, bit {n} after the SPI");
        }
        assert_eq!(b.report(10).icv_drops, frames.len() as u64);
        assert_eq!(b.report(10).sequence, 0, "nothing forged was remembered");
        b.receive(WAN, &good).forwarded(INSIDE);
    }
}

#[test]
fn an_unknown_spi_is_dropped_and_told_once_a_second() {
    let (mut a, mut b) = gates(&Pair::default());
    let mut bytes = protected(&mut a, 80);
    bytes[20..24].copy_from_slice(&0xdead_0001_u32.to_be_bytes());
    for _ in 0..3 {
        b.receive(WAN, &bytes).lost(Drop::NoSa);
    }
    assert_eq!(b.events(), [WorkerEvent::UnknownSpi { spi: 0xdead_0001, from: addr(WAN_A) }]);
    b.now.ms += 1000;
    b.receive(WAN, &bytes).lost(Drop::NoSa);
    assert_eq!(b.events().len(), 1);
}

// R43: ESP is decrypted whichever port it came by.
#[test]
fn esp_is_opened_by_any_port() {
    let (mut a, mut b) = gates(&Pair::default());
    let bytes = protected(&mut a, 80);
    b.receive(INSIDE, &bytes).forwarded(INSIDE);
}

#[test]
fn the_inner_packet_must_match_the_selectors_of_its_sa() {
    let wide = Pair { selectors: vec![selector("10.0.0.0/8", "10.0.0.0/8")], ..Pair::default() };
    let mut a = Gate::new(true);
    a.install(&wide);
    a.use_pair(&wide);
    let mut tcp = selector("10.1.0.0/24", "10.2.0.0/24");
    (tcp.protocol, tcp.remote_ports) = (Some(17), PortRange::new(2000, 2000).unwrap());
    let mut b = Gate::new(false);
    b.install(&Pair { selectors: vec![tcp], ..Pair::default() });
    let good = protected(&mut a, 80);
    b.receive(WAN, &good).forwarded(INSIDE);
    // Another host, another protocol, another port, and a fragment that hides its ports.
    let away = std::net::Ipv4Addr::new(10, 1, 0, 200);
    let cases = [
        (ip(away, HOST_B, 80), Some(Drop::SelectorMismatch), true),
        (edit(ip(HOST_A, HOST_B, 80), |ip| ip.set_protocol(6)), Some(Drop::SelectorMismatch), false),
        (edit(ip(HOST_A, HOST_B, 80), |ip| ip.set_fragment(0, true)), None, false),
        (edit(ip(HOST_A, HOST_B, 80), |ip| ip.set_fragment(64, true)), Some(Drop::Fragment), false),
        (edit(ip(HOST_A, HOST_B, 80), |ip| ip.set_fragment(64, false)), Some(Drop::Fragment), false),
    ];
    let mut wrong_port = ip(HOST_A, HOST_B, 80);
    wrong_port[23] ^= 1;
    for (bytes, fate, outside) in cases.into_iter().chain([(wrong_port, Some(Drop::SelectorMismatch), false)])
    {
        let sent = a.receive(INSIDE, &bytes);
        let out = b.receive(WAN, sent.forwarded(WAN));
        match fate {
            // An address inside the prefix is what the selectors allow; nothing to see here but the neighbour.
            Some(_) if outside => assert_eq!(out.verdict, Verdict::Forward { port: INSIDE }),
            Some(why) => out.lost(why),
            None => drop(out.forwarded(INSIDE)),
        }
    }
    assert_eq!(b.report(10).selector_drops, 2);
}

// R41, R129, R307: a clear packet that a policy covers is dropped on both ports, both ways round; the policy's direction says
// which packets it protects and which ones ought to have come protected.
#[test]
fn clear_packets_that_should_be_protected_are_dropped() {
    let (mut a, _) = gates(&Pair::default());
    for port in [INSIDE, WAN] {
        a.receive(port, &ip(HOST_B, HOST_A, 80)).lost(Drop::PlainOnProtected);
        a.receive(port, &ip(HOST_B, GATE_A, 80)).lost(Drop::PlainOnProtected);
    }
    assert_eq!(a.dropped(Drop::PlainOnProtected), 4);
    // Nobody outside has the tunnel's service for a source inside.
    a.receive(WAN, &ip(HOST_A, HOST_B, 80)).lost(Drop::ReversePath);
}

// R42: what no policy covers is forwarded.
#[test]
fn bypass_and_discard_follow_the_policies() {
    let (mut a, mut b) = gates(&Pair::default());
    let sent = edit(ip(HOST_A, INTERNET, 80), |ip| ip.set_tos(3));
    let out = a.receive(INSIDE, &sent);
    assert_eq!(out.forwarded(WAN), edit(sent, |ip| ip.set_ttl(63)));
    a.receive(WAN, &ip(INTERNET, HOST_A, 80)).forwarded(INSIDE);
    a.receive(INSIDE, &ip(HOST_A, std::net::Ipv4Addr::new(192, 0, 3, 1), 80)).lost(Drop::RouteBlackhole);
    a.receive(INSIDE, &ip(HOST_A, std::net::Ipv4Addr::new(100, 64, 0, 1), 80)).lost(Drop::NoRoute);
    let selector = selector("0.0.0.0/0", "0.0.0.0/0");
    a.set(TableCommand::AddPolicy(Policy {
        order: 200,
        selector,
        action: Action::Discard,
        hold: false,
        line: 0,
    }));
    a.commit();
    a.receive(INSIDE, &ip(HOST_A, INTERNET, 80)).lost(Drop::PolicyDiscard);
    a.receive(WAN, &ip(INTERNET, HOST_A, 80)).lost(Drop::PolicyDiscard);
    // What a policy before it protects or bypasses is not discarded, in neither direction.
    let wire = protected(&mut a, 80);
    assert_eq!(Ipv4::parse(&wire).unwrap().protocol(), 50);
    b.receive(WAN, &wire).forwarded(INSIDE);
    let back = b.receive(INSIDE, &ip(HOST_B, HOST_A, 80)).forwarded(WAN).to_vec();
    a.receive(WAN, &back).forwarded(INSIDE);
    let open = crate::rig::selector("10.1.0.0/24", "203.0.113.0/24");
    a.set(TableCommand::AddPolicy(Policy {
        order: 150,
        selector: open,
        action: Action::Bypass,
        hold: false,
        line: 0,
    }));
    a.commit();
    a.receive(INSIDE, &ip(HOST_A, INTERNET, 80)).forwarded(WAN);
    a.receive(WAN, &ip(INTERNET, HOST_A, 80)).forwarded(INSIDE);
    a.set(TableCommand::AddPolicy(Policy {
        order: 1,
        selector: open,
        action: Action::Discard,
        hold: false,
        line: 0,
    }));
    a.commit();
    a.receive(INSIDE, &ip(HOST_A, INTERNET, 80)).lost(Drop::PolicyDiscard);
    a.receive(WAN, &ip(INTERNET, HOST_A, 80)).lost(Drop::PolicyDiscard);
}

#[test]
fn without_an_sa_nothing_leaves_and_one_is_asked_for() {
    let mut a = Gate::new(true);
    for _ in 0..3 {
        a.receive(INSIDE, &ip(HOST_A, HOST_B, 80)).lost(Drop::NoOutboundSa);
    }
    let acquire = WorkerEvent::Acquire {
        tunnel: TUNNEL,
        source: addr(HOST_A),
        destination: addr(HOST_B),
        protocol: 17,
        ports: (1000, 2000),
    };
    assert_eq!(a.events(), [acquire]);
    a.now.ms += 999;
    a.receive(INSIDE, &ip(HOST_A, HOST_B, 80)).lost(Drop::NoOutboundSa);
    assert_eq!(a.events(), []);
    a.now.ms += 1;
    a.receive(INSIDE, &ip(HOST_A, HOST_B, 80)).lost(Drop::NoOutboundSa);
    assert_eq!(a.events().len(), 1);
}

#[test]
fn an_unknown_link_address_is_asked_for() {
    let (mut a, _) = gates(&Pair::default());
    a.set(TableCommand::RemoveNeighbour { port: WAN, addr: addr(WAN_B) });
    a.commit();
    // R26: the first packet for a next hop waits for it.
    assert_eq!(a.receive(INSIDE, &ip(HOST_A, HOST_B, 80)).verdict, Verdict::Held);
    for _ in 0..2 {
        a.receive(INSIDE, &ip(HOST_A, HOST_B, 80)).lost(Drop::NeighbourUnresolved);
        a.receive(INSIDE, &ip(HOST_A, INTERNET, 80)).lost(Drop::NeighbourUnresolved);
    }
    assert_eq!(a.events(), [WorkerEvent::NeighbourNeeded { port: WAN, addr: addr(WAN_B) }]);
    a.set(TableCommand::SetNeighbour(Neighbour { port: WAN, addr: addr(WAN_B), mac: mac(20) }));
    a.commit();
    let waited = a.turn();
    assert_eq!(waited.len(), 1);
    assert_eq!(Ipv4::parse(waited[0].forwarded(WAN)).unwrap().protocol(), 50);
    protected(&mut a, 80);
    a.set(TableCommand::SetPort(Port { port: WAN, mac: mac(2), mtu: 1500, up: false }));
    a.commit();
    a.receive(INSIDE, &ip(HOST_A, HOST_B, 80)).lost(Drop::PortDown);
}

/// The ICMP error among what came out, and its quoted packet.
fn error(out: &[Out]) -> (&Out, Vec<u8>) {
    let made = out.last().unwrap();
    let bytes = match made.verdict {
        Verdict::Punt => made.bytes.clone(),
        _ => made.forwarded(INSIDE).to_vec(),
    };
    (made, bytes)
}

// The inner MTU is exact: what the ICMP error names fits, and one byte more does not.
#[test]
fn too_big_with_df_is_answered_with_the_exact_mtu() {
    for (suite, _) in SUITES {
        for udp in [false, true] {
            for mtu in [1500u16, 1499, 1433, 1280, 600] {
                let (mut a, mut b) = gates(&Pair { suite, udp, tunnel_mtu: mtu, ..Pair::default() });
                let big = ip(HOST_A, HOST_B, 1500);
                let out = a.run(&[(Origin::Port(INSIDE), ether(&big))]);
                out[0].lost(Drop::TooBig);
                let (_, reply) = error(&out);
                let reply = Ipv4::parse(&reply).unwrap();
                assert_eq!((reply.src(), reply.dst(), reply.protocol()), (GATE_A, HOST_A, 1));
                let message = icmp::Icmp::parse(reply.payload()).unwrap();
                assert!(message.checksum_holds());
                assert_eq!((message.kind(), message.code()), (3, 4));
                let inner = u16::from_be_bytes([message.rest()[2], message.rest()[3]]);
                assert_eq!(&message.payload()[..8], &big[..8]);
                let fits = protected(&mut a, inner.into());
                assert!(fits.len() <= mtu.into());
                b.receive(WAN, &fits).forwarded(INSIDE);
                a.run(&[(Origin::Port(INSIDE), ether(&ip(HOST_A, HOST_B, usize::from(inner) + 1)))])[0]
                    .lost(Drop::TooBig);
                // And it is not too small: one more byte of payload would make an outer packet over the MTU.
                let slack = usize::from(mtu) - fits.len();
                assert!(slack < 16, "{suite:?} {mtu}: {slack} bytes to spare");
            }
        }
    }
}

#[test]
fn without_df_the_inner_packet_is_fragmented_and_arrives() {
    for mtu in [1500, 1000, 300] {
        let (mut a, mut b) = gates(&Pair { tunnel_mtu: mtu, ..Pair::default() });
        let sent = edit(ip(HOST_A, HOST_B, 1500), |ip| ip.set_df(false));
        let out = a.run(&[(Origin::Port(INSIDE), ether(&sent))]);
        assert!(out.len() > 1);
        assert_eq!(a.worker.stats().get(Counter::Generated), out.len() as u64 - 1);
        let mut payload = vec![0; 1480];
        let mut have = 0;
        for o in &out {
            let wire = o.forwarded(WAN).to_vec();
            assert!(wire.len() <= mtu.into());
            let arrived = b.receive(WAN, &wire);
            let ip = Ipv4::parse(arrived.forwarded(INSIDE)).unwrap();
            let at = usize::from(ip.fragment_offset());
            payload[at..at + ip.payload().len()].copy_from_slice(ip.payload());
            have += ip.payload().len();
            assert_eq!((ip.ttl(), ip.id()), (62, 1));
        }
        assert_eq!((have, payload), (1480, sent[20..].to_vec()));
    }
}

// The port's own MTU binds the outer packet too, and clear packets.
#[test]
fn the_port_mtu_counts() {
    let (mut a, _) = gates(&Pair::default());
    a.set(TableCommand::SetPort(Port { port: WAN, mac: mac(2), mtu: 700, up: true }));
    a.commit();
    let out = a.run(&[(Origin::Port(INSIDE), ether(&ip(HOST_A, HOST_B, 1000)))]);
    out[0].lost(Drop::TooBig);
    let clear = a.run(&[(Origin::Port(INSIDE), ether(&ip(HOST_A, INTERNET, 1000)))]);
    clear[0].lost(Drop::TooBig);
    let message = error(&clear).1;
    assert_eq!(message[26..28], 700u16.to_be_bytes());
    let cut =
        a.run(&[(Origin::Port(INSIDE), ether(&edit(ip(HOST_A, INTERNET, 1000), |ip| ip.set_df(false))))]);
    assert_eq!(cut.len(), 2);
    cut.iter().for_each(|o| assert!(o.forwarded(WAN).len() <= 700));
}

#[test]
fn ttl_runs_out() {
    let (mut a, mut b) = gates(&Pair::default());
    let dying = edit(ip(HOST_A, HOST_B, 80), |ip| ip.set_ttl(1));
    let out = a.run(&[(Origin::Port(INSIDE), ether(&dying))]);
    out[0].lost(Drop::TtlExpired);
    let (_, reply) = error(&out);
    assert_eq!((reply[20], reply[21], &reply[28..48]), (11, 0, &dying[..20]));
    // At B it came out of the SA: the error goes back through the tunnel, from an address that the tunnel carries.
    let two = edit(ip(HOST_A, HOST_B, 80), |ip| ip.set_ttl(2));
    let wire = a.receive(INSIDE, &two);
    let out = b.run(&[(Origin::Port(WAN), wire.bytes.clone())]);
    out[0].lost(Drop::TtlExpired);
    let back = out[1].forwarded(WAN);
    assert_eq!(Ipv4::parse(back).unwrap().protocol(), 50);
    let arrived = a.receive(WAN, back);
    let reply = Ipv4::parse(arrived.forwarded(INSIDE)).unwrap();
    assert_eq!((reply.src(), reply.dst(), reply.payload()[0]), (GATE_B, HOST_A, 11));
}

#[test]
fn errors_about_errors_fragments_and_without_end_are_not_sent() {
    let (mut a, _) = gates(&Pair::default());
    let mut about = edit(ip(HOST_A, HOST_B, 80), |ip| {
        ip.set_ttl(1);
        ip.set_protocol(1);
    });
    about[20] = 11;
    a.receive(INSIDE, &about).lost(Drop::TtlExpired);
    let later = edit(ip(HOST_A, HOST_B, 80), |ip| {
        ip.set_ttl(1);
        ip.set_fragment(80, false);
    });
    a.receive(INSIDE, &later).lost(Drop::TtlExpired);
    assert_eq!(a.worker.stats().get(Counter::IcmpSuppressed), 2);
    let dying = edit(ip(HOST_A, HOST_B, 80), |ip| ip.set_ttl(1));
    for _ in 0..4 {
        let many: Vec<_> = (0..64).map(|_| (Origin::Port(INSIDE), ether(&dying))).collect();
        a.run(&many);
    }
    let (sent, kept) = (Counter::IcmpSent, Counter::IcmpSuppressed);
    assert_eq!((a.worker.stats().get(sent), a.worker.stats().get(kept)), (100, 2 + 156));
}

// R64: the host's own packets go the outbound way; what is for the host is punted without its Ethernet header.
#[test]
fn inject_and_punt() {
    let (mut a, mut b) = gates(&Pair::default());
    let ping = ip(GATE_A, GATE_B, 84);
    let wire = a.one(Origin::Tun, ping.clone());
    let out = b.receive(WAN, wire.forwarded(WAN));
    assert_eq!((out.verdict, &out.bytes), (Verdict::Punt, &ping), "nobody forwarded it: its TTL is whole");
    let out = a.receive(INSIDE, &ip(HOST_A, GATE_A, 80));
    assert_eq!((out.verdict, out.bytes), (Verdict::Punt, ip(HOST_A, GATE_A, 80)));
    let kernel = std::net::Ipv4Addr::new(192, 0, 2, 1);
    assert_eq!(a.receive(INSIDE, &ip(HOST_A, kernel, 80)).verdict, Verdict::Punt);
    // The kernel gave it to us: it does not get it back.
    a.one(Origin::Tun, ip(GATE_A, kernel, 80)).lost(Drop::NoRoute);
    // Too big from the host: the host hears of it.
    let out = a.run(&[(Origin::Tun, ip(GATE_A, HOST_B, 1500))]);
    out[0].lost(Drop::TooBig);
    let (made, reply) = error(&out);
    assert_eq!(made.verdict, Verdict::Punt);
    let reply = Ipv4::parse(&reply).unwrap();
    assert_eq!((reply.src(), reply.dst()), (HOST_B, GATE_A));
}

#[test]
fn ike_is_the_kernels() {
    let (mut a, _) = gates(&Pair::default());
    let mut bytes = ip(WAN_B, WAN_A, 100);
    bytes[22..24].copy_from_slice(&500u16.to_be_bytes());
    assert_eq!(a.receive(WAN, &bytes).verdict, Verdict::Punt);
    bytes[22..24].copy_from_slice(&4500u16.to_be_bytes());
    bytes[24..26].copy_from_slice(&80u16.to_be_bytes());
    bytes[28..32].fill(0);
    let out = a.receive(WAN, &bytes);
    assert_eq!((out.verdict, out.bytes), (Verdict::Punt, bytes));
}

// R208, R308: the switch of a rekey loses nothing.
#[test]
fn a_rekey_loses_no_packet() {
    let old = Pair::default();
    let new = Pair { id: 2, spi: 0x2000, suite: Suite::Aes128CbcSha256, ..Pair::default() };
    let (mut a, mut b) = gates(&old);
    let before = protected(&mut a, 80);
    for gate in [&mut a, &mut b] {
        gate.install(&new);
    }
    assert_eq!(protected(&mut a, 80)[20..24], 0x1000u32.to_be_bytes(), "installed is not in use");
    a.use_pair(&new);
    let after = protected(&mut a, 80);
    assert_eq!(after[20..28], [0, 0, 0x20, 0, 0, 0, 0, 1]);
    b.receive(WAN, &after).forwarded(INSIDE);
    b.receive(WAN, &before).forwarded(INSIDE);
    let greeted = |events: Vec<WorkerEvent>| events.contains(&WorkerEvent::FirstPacket { sa: SaId(20) });
    assert!(greeted(b.events()));
    assert!(!a.report(11).in_use && a.report(21).in_use);
    for gate in [&mut a, &mut b] {
        for sa in [SaId(10), SaId(11), SaId(10)] {
            assert_eq!(gate.command(|token| WorkerCommand::RemoveSa { token, sa }), Outcome::Ok);
        }
    }
    b.receive(WAN, &before).lost(Drop::NoSa);
    let after = protected(&mut a, 80);
    b.receive(WAN, &after).forwarded(INSIDE);
    assert_eq!(a.command(|token| WorkerCommand::StopOutbound { token, tunnel: TUNNEL }), Outcome::Ok);
    a.receive(INSIDE, &ip(HOST_A, HOST_B, 80)).lost(Drop::NoOutboundSa);
}

#[test]
fn removing_the_sa_in_use_stops_the_tunnel() {
    let (mut a, _) = gates(&Pair::default());
    assert_eq!(a.command(|token| WorkerCommand::RemoveSa { token, sa: SaId(11) }), Outcome::Ok);
    a.receive(INSIDE, &ip(HOST_A, HOST_B, 80)).lost(Drop::NoOutboundSa);
}

// R229, R231: soft, again when half of the rest is used up, then hard.
#[test]
fn limits_are_told_and_kept() {
    let pair = Pair { soft_packets: 3, hard_packets: 5, ..Pair::default() };
    let (mut a, mut b) = gates(&pair);
    let wire: Vec<_> = (0..5).map(|_| protected(&mut a, 80)).collect();
    assert_eq!(a.events(), vec![WorkerEvent::SoftLimit { sa: SaId(11), limit: Limit::Packets }; 2]);
    for _ in 0..2 {
        a.receive(INSIDE, &ip(HOST_A, HOST_B, 80)).lost(Drop::SaExpired);
    }
    assert_eq!(a.events(), [WorkerEvent::HardLimit { sa: SaId(11), limit: Limit::Packets }]);
    assert_eq!(a.report(11).sequence, 5);
    for bytes in &wire {
        b.receive(WAN, bytes).forwarded(INSIDE);
    }
    let events = b.events();
    let soft = WorkerEvent::SoftLimit { sa: SaId(10), limit: Limit::Packets };
    assert_eq!(events, [WorkerEvent::FirstPacket { sa: SaId(10) }, soft.clone(), soft]);
}

#[test]
fn a_peer_that_moved_is_told_only_for_authentic_new_packets() {
    let (mut a, mut b) = gates(&Pair { udp: true, ..Pair::default() });
    let first = protected(&mut a, 80);
    let mut moved = edit(protected(&mut a, 80), |ip| ip.set_src(INTERNET));
    moved[20..22].copy_from_slice(&777u16.to_be_bytes());
    let mut forged = moved.clone();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    b.receive(WAN, &forged).lost(Drop::BadIcv);
    b.receive(WAN, &first).forwarded(INSIDE);
    let replayed = edit(first, |ip| ip.set_src(INTERNET));
    b.receive(WAN, &replayed).lost(Drop::ReplayDup);
    assert_eq!(b.events(), [WorkerEvent::FirstPacket { sa: SaId(10) }]);
    b.receive(WAN, &moved).forwarded(INSIDE);
    let from = (INTERNET, 777).into();
    assert_eq!(b.events(), [WorkerEvent::PeerMoved { sa: SaId(10), from }]);
    let (sa, local) = (SaId(11), (WAN_B, 4500).into());
    assert_eq!(b.command(|token| WorkerCommand::MoveSa { token, sa, local, remote: from }), Outcome::Ok);
    let out = b.receive(INSIDE, &ip(HOST_B, HOST_A, 80));
    let outer = Ipv4::parse(out.forwarded(WAN)).unwrap();
    assert_eq!((outer.dst(), &outer.payload()[..4]), (INTERNET, &[0x11, 0x94, 0x03, 0x09][..]));
}

#[test]
fn a_packet_that_was_overtaken_moves_no_peer() {
    let (mut a, mut b) = gates(&Pair { udp: true, ..Pair::default() });
    let late = edit(protected(&mut a, 80), |ip| ip.set_src(INTERNET));
    let newest = protected(&mut a, 80);
    b.receive(WAN, &newest).forwarded(INSIDE);
    b.receive(WAN, &late).forwarded(INSIDE);
    assert_eq!(b.events(), [WorkerEvent::FirstPacket { sa: SaId(10) }]);
}

// A gathering that was refused leaves the policies as they were, whatever is committed next.
#[test]
fn half_a_change_of_the_policies_is_never_in_force() {
    let (mut a, mut b) = gates(&Pair::default());
    a.set(TableCommand::ClearPolicies);
    a.set(TableCommand::ClearGatewayAddresses);
    a.store.restore();
    a.set(TableCommand::SetNeighbour(Neighbour { port: WAN, addr: addr(INTERNET), mac: mac(20) }));
    a.commit();
    a.receive(WAN, &ip(HOST_B, HOST_A, 80)).lost(Drop::PlainOnProtected);
    let wire = protected(&mut a, 80);
    b.receive(WAN, &wire).forwarded(INSIDE);
    let back = b.receive(INSIDE, &ip(HOST_B, HOST_A, 80)).forwarded(WAN).to_vec();
    a.receive(WAN, &back).forwarded(INSIDE);
}

// R39: the policy asks for a /24, the peer agreed to one host; the rest neither goes by this SA nor in clear.
#[test]
fn a_narrowed_sa_carries_only_what_was_agreed() {
    let narrow = Pair { selectors: vec![selector("10.1.0.10/32", "10.2.0.0/24")], ..Pair::default() };
    let (mut a, mut b) = gates(&narrow);
    let wire = protected(&mut a, 80);
    b.receive(WAN, &wire).forwarded(INSIDE);
    a.receive(INSIDE, &ip([10, 1, 0, 11].into(), HOST_B, 80)).lost(Drop::SelectorMismatch);
}

// What one control process said of neighbours does not outlive the first generation of the next one.
#[test]
fn a_new_control_process_tells_all_neighbours_again() {
    let (mut a, _) = gates(&Pair::default());
    protected(&mut a, 80);
    a.store.begin_session();
    protected(&mut a, 80); // nothing is published yet: what is in force stays
    a.commit();
    assert_eq!(
        a.receive(INSIDE, &ip(HOST_A, HOST_B, 80)).verdict,
        Verdict::Held,
        "until its next hop is known"
    );
    a.set(TableCommand::SetNeighbour(Neighbour { port: WAN, addr: addr(WAN_B), mac: mac(20) }));
    a.commit();
    protected(&mut a, 80);
}

// A tunnel and an SPI belong to one worker; the others hand their packets on, as they came.
#[test]
fn packets_move_to_the_worker_that_owns_the_sa() {
    let pair = Pair { spi: 0x1000, ..Pair::default() };
    let (mut zero, mut one) = (Gate::with_workers(true, 0, 2), Gate::with_workers(true, 1, 2));
    zero.install(&pair);
    zero.use_pair(&pair);
    one.use_pair(&pair);
    let mut b = Gate::new(false);
    b.install(&pair);
    b.use_pair(&pair);
    let clear = ip(HOST_A, HOST_B, 80);
    let out = one.receive(INSIDE, &clear);
    assert_eq!((out.verdict, &out.bytes), (Verdict::HandOff { worker: WorkerId(0) }, &clear));
    assert_eq!(out.origin, Origin::HandedIn { door: Door::Port(INSIDE), hops: 1, bounds: Bounds::NONE });
    let wire = zero.one(out.origin, out.bytes);
    b.receive(WAN, wire.forwarded(WAN)).forwarded(INSIDE);
    let back = b.receive(INSIDE, &ip(HOST_B, HOST_A, 80)).forwarded(WAN).to_vec();
    let out = one.receive(WAN, &back);
    assert_eq!((out.verdict, &out.bytes), (Verdict::HandOff { worker: WorkerId(0) }, &back));
    zero.one(out.origin, out.bytes).forwarded(INSIDE);
    assert_eq!(zero.worker.stats().get(Counter::HandedIn), 2);
    assert_eq!(one.install_one(&pair, Direction::Inbound), Outcome::Refused, "an SPI of worker 0");
    // Two workers that point at each other do not keep a packet for ever.
    let owner = WorkerId(1);
    zero.command(|token| WorkerCommand::UseOutbound { token, tunnel: TUNNEL, sa: SaId(11), owner });
    let mut out = zero.receive(INSIDE, &clear);
    let mut hops = 0;
    while let Verdict::HandOff { worker } = out.verdict {
        hops += 1;
        out = if worker.0 == 0 { &mut zero } else { &mut one }.one(out.origin, out.bytes);
    }
    out.lost(Drop::NoOutboundSa);
    assert_eq!(hops, 4);
}

// RFC 9611, R301: two workers with a pair each, of one tunnel. Either counts by itself, and nothing is a replay.
#[test]
fn each_worker_sends_by_an_sa_of_its_own_and_by_the_other_when_that_is_gone() {
    let first = Pair { spi: 0x1000, ..Pair::default() };
    let own = Pair { spi: 0x1001, id: 3, ..Pair::default() };
    let (mut zero, mut one) = (Gate::with_workers(true, 0, 2), Gate::with_workers(true, 1, 2));
    let mut b = Gate::new(false);
    let send_by = |gate: &mut Gate, pair: &Pair, owner: u16| {
        let (tunnel, sa, owner) = (TUNNEL, SaId(pair.id * 10 + 1), WorkerId(owner));
        let outcome = gate.command(|token| WorkerCommand::UseOutbound { token, tunnel, sa, owner });
        assert_eq!(outcome, Outcome::Ok);
    };
    for (n, (gate, pair)) in (0..).zip([(&mut zero, &first), (&mut one, &own)]) {
        gate.install(pair);
        send_by(gate, pair, n);
        b.install(pair);
    }
    b.use_pair(&first);
    let spi = |wire: &[u8]| u32::from_be_bytes(wire[20..24].try_into().unwrap());
    for n in 0..100u16 {
        for (gate, pair) in [(&mut zero, &first), (&mut one, &own)] {
            let wire = gate.receive(INSIDE, &ip(HOST_A, HOST_B, 80 + usize::from(n))).forwarded(WAN).to_vec();
            assert_eq!(spi(&wire), pair.spi);
            b.receive(WAN, &wire).forwarded(INSIDE);
        }
    }
    // Its own is gone: the flows that it knows go by the other worker's.
    send_by(&mut one, &first, 0);
    let out = one.receive(INSIDE, &ip(HOST_A, HOST_B, 80));
    assert_eq!(out.verdict, Verdict::HandOff { worker: WorkerId(0) });
    let wire = zero.one(out.origin, out.bytes).forwarded(WAN).to_vec();
    assert_eq!(spi(&wire), first.spi);
    b.receive(WAN, &wire).forwarded(INSIDE);
    // And back again: the sequence goes on where it was.
    send_by(&mut one, &own, 1);
    let wire = one.receive(INSIDE, &ip(HOST_A, HOST_B, 80)).forwarded(WAN).to_vec();
    b.receive(WAN, &wire).forwarded(INSIDE);
    let sequence = |wire: &[u8]| u32::from_be_bytes(wire[24..28].try_into().unwrap());
    assert_eq!((spi(&wire), sequence(&wire)), (own.spi, 101));
}

/// A with the tunnel's policy holding its packets, and no SA.
fn cold(hold: bool) -> Gate {
    let mut a = Gate::new(true);
    let (selector, action) = (selector("10.1.0.0/24", "10.2.0.0/24"), Action::Protect(TUNNEL));
    a.set(TableCommand::AddPolicy(Policy { order: 1, selector, action, hold, line: 0 }));
    a.commit();
    a
}

// R172: the packets that bring a tunnel up are not lost.
#[test]
fn first_packets_wait_for_the_sa() {
    let (pair, mut a, mut b) = (Pair::default(), cold(true), Gate::new(false));
    b.install(&pair);
    b.use_pair(&pair);
    let sent: Vec<_> = (0..3).map(|n| ip(HOST_A, HOST_B, 100 + n)).collect();
    for packet in &sent {
        assert_eq!(a.receive(INSIDE, packet).verdict, Verdict::Held);
    }
    // The machine's own wait too.
    assert_eq!(a.one(Origin::Tun, ip(GATE_A, HOST_B, 80)).verdict, Verdict::Held);
    let acquires: Vec<_> =
        a.events().into_iter().filter(|e| matches!(e, WorkerEvent::Acquire { tunnel: TUNNEL, .. })).collect();
    assert_eq!(acquires.len(), 1, "one for all of them");
    a.now.ms += 1000;
    assert_eq!((a.turn().len(), a.held()), (0, 4));
    a.install(&pair);
    assert_eq!(a.turn().len(), 0, "installed is not in use");
    a.use_pair(&pair);
    let out = a.turn();
    assert_eq!((out.len(), a.held()), (4, 0));
    for (out, sent) in out.iter().zip(&sent) {
        assert_eq!(b.one(Origin::Port(WAN), out.bytes.clone()).forwarded(INSIDE), aged(sent.clone()));
    }
    assert_eq!(a.report(11).sequence, 4);
    assert_eq!(a.receive(INSIDE, &sent[0]).verdict, Verdict::Forward { port: WAN }, "and then none waits");
}

// R172, R303: bounded per tunnel, in all and in time, each with its drop.
#[test]
fn waiting_has_bounds() {
    let mut a = cold(true);
    for tunnel in 0..9u32 {
        let selector = selector("10.1.0.0/24", &format!("10.3.{tunnel}.0/24"));
        let action = Action::Protect(TunnelId(20 + tunnel));
        a.set(TableCommand::AddPolicy(Policy { order: 2 + tunnel, selector, action, hold: true, line: 0 }));
    }
    a.commit();
    let to = |tunnel: u8| ip(HOST_A, std::net::Ipv4Addr::new(10, 3, tunnel, 7), 80);
    for _ in 0..16 {
        assert_eq!(a.receive(INSIDE, &to(0)).verdict, Verdict::Held);
    }
    a.receive(INSIDE, &to(0)).lost(Drop::HoldFull);
    for tunnel in 1..8 {
        a.run(&vec![(Origin::Port(INSIDE), ether(&to(tunnel))); 16]);
    }
    assert_eq!(a.held(), 128);
    a.receive(INSIDE, &to(8)).lost(Drop::HoldFull);
    a.now.ms += 4_999;
    assert_eq!((a.turn().len(), a.held()), (0, 128));
    a.now.ms += 1;
    assert_eq!((a.turn().len(), a.held()), (0, 0));
    assert_eq!((a.dropped(Drop::HoldExpired), a.dropped(Drop::HoldFull)), (128, 2));
    // There is room again.
    assert_eq!(a.receive(INSIDE, &to(0)).verdict, Verdict::Held);
}

// Without the policy's wish nothing waits; a worker that does not own the SA passes on what waited.
#[test]
fn what_waits_goes_to_the_worker_with_the_sa() {
    cold(false).receive(INSIDE, &ip(HOST_A, HOST_B, 80)).lost(Drop::NoOutboundSa);
    let mut one = Gate::with_workers(true, 1, 2);
    let (selector, action) = (selector("10.1.0.0/24", "10.2.0.0/24"), Action::Protect(TUNNEL));
    one.set(TableCommand::AddPolicy(Policy { order: 1, selector, action, hold: true, line: 0 }));
    one.commit();
    let clear = ip(HOST_A, HOST_B, 80);
    assert_eq!(one.receive(INSIDE, &clear).verdict, Verdict::Held);
    one.use_pair(&Pair::default());
    let out = one.turn();
    assert_eq!((out[0].verdict, &out[0].bytes), (Verdict::HandOff { worker: WorkerId(0) }, &clear));
    assert_eq!(out[0].origin, Origin::HandedIn { door: Door::Port(INSIDE), hops: 1, bounds: Bounds::NONE });
}

// What comes out of one tunnel may go on by another, never in clear.
#[test]
fn from_tunnel_to_tunnel() {
    let (mut a, mut b) = gates(&Pair::default());
    let net = selector("10.1.0.0/24", "10.2.0.0/24");
    let action = Action::Protect(TunnelId(8));
    b.set(TableCommand::AddPolicy(Policy { order: 1, selector: net, action, hold: false, line: 0 }));
    b.commit();
    let wire = protected(&mut a, 80);
    b.receive(WAN, &wire).lost(Drop::NoOutboundSa);
}

#[test]
fn commands_that_contradict_change_nothing() {
    let (mut a, _) = gates(&Pair::default());
    let pair = Pair::default();
    assert_eq!(a.install_one(&pair, Direction::Inbound), Outcome::Refused, "the id is taken");
    let other = Pair { id: 3, ..Pair::default() };
    assert_eq!(a.install_one(&other, Direction::Inbound), Outcome::Refused, "the SPI is taken");
    let other = Pair { id: 4, spi: 0x4000, selectors: vec![], ..Pair::default() };
    assert_eq!(a.install_one(&other, Direction::Outbound), Outcome::Refused, "no selectors");
    let short = SaSpec { keys: KeyMaterial::new(&[1; 3]).unwrap(), ..pair.spec(true, Direction::Outbound) };
    let short = SaSpec { id: SaId(99), ..short };
    a.worker.apply(WorkerCommand::SaSelector { sa: SaId(99), selector: pair.selectors[0] });
    assert_eq!(
        a.command(|token| WorkerCommand::InstallSa { token, spec: Box::new(short) }),
        Outcome::Refused
    );
    for (tunnel, sa, owner) in [
        (TUNNEL, SaId(10), WorkerId(0)),
        (TUNNEL, SaId(77), WorkerId(0)),
        (TunnelId(1), SaId(11), WorkerId(0)),
        (TUNNEL, SaId(11), WorkerId(5)),
    ] {
        let outcome = a.command(|token| WorkerCommand::UseOutbound { token, tunnel, sa, owner });
        assert_eq!(outcome, Outcome::Refused);
    }
    assert_eq!(a.worker.stats().get(Counter::BadCommands), 8);
    protected(&mut a, 80);
    for n in 0..70 {
        let outcome = a.install_one(&Pair { id: 100 + n, ..Pair::default() }, Direction::Outbound);
        assert_eq!(outcome, if n < 63 { Outcome::Ok } else { Outcome::Full });
    }
}

/// R81, R83: n, n − W + 1 and no older one, never one twice; without a window everything that is authentic.
#[test]
fn windows_of_64_and_65_536_and_none() {
    for window in [64, 65_536] {
        let (mut a, mut b) = gates(&Pair { window, ..Pair::default() });
        let w = window as usize;
        let sent = vec![(Origin::Port(INSIDE), ether(&ip(HOST_A, HOST_B, 60))); w + 1];
        let sent: Vec<Vec<u8>> = a.run(&sent).iter().map(|out| out.forwarded(WAN).to_vec()).collect();
        b.receive(WAN, &sent[w - 1]).forwarded(INSIDE);
        b.receive(WAN, &sent[0]).forwarded(INSIDE);
        b.receive(WAN, &sent[0]).lost(Drop::ReplayDup);
        b.receive(WAN, &sent[w]).forwarded(INSIDE);
        b.receive(WAN, &sent[1]).forwarded(INSIDE);
        b.receive(WAN, &sent[0]).lost(Drop::ReplayOld);
        b.receive(WAN, &sent[w]).lost(Drop::ReplayDup);
        assert_eq!(b.report(10).replay_drops, 3);
    }
    let (mut a, mut b) = gates(&Pair { window: 0, ..Pair::default() });
    let packet = a.receive(INSIDE, &ip(HOST_A, HOST_B, 60)).forwarded(WAN).to_vec();
    for _ in 0..3 {
        b.receive(WAN, &packet).forwarded(INSIDE);
    }
}
