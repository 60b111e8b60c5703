//! Whole ways of transport mode (RFC 4301 §4.1) and of AH (RFC 4302).

use crate::rig::*;
use ravelin_dataplane::{Origin, Verdict};
use ravelin_ring::counters::{Counter, Drop};
use ravelin_ring::msg::*;
use ravelin_wire::icmp::{FRAGMENTATION_NEEDED, Icmp, UNREACHABLE};
use ravelin_wire::ipv4::{Ipv4, Ipv4Mut};
use ravelin_wire::ipv6::Ipv6;

/// R156, R159, R209, R210: what goes in comes out, the header of transport mode stays the packet's own, numbers rise.
#[test]
fn every_suite_both_modes() {
    each_mode(|pair| {
        let (mut a, mut b) = mode_gates(pair);
        for n in 1..=5u32 {
            let clear = mode_packet(pair, 60 + 100 * n as usize);
            let packet = mode_send(&mut a, pair, &clear);
            let ip = Ipv4::parse(&packet).unwrap();
            let protocol = if pair.suite.protocol() == Protocol::Ah { 51 } else { 50 };
            assert_eq!((ip.protocol(), ip.src(), ip.dst()), (protocol, WAN_A, WAN_B));
            assert_eq!(ip.total_len(), packet.len());
            let seq = if protocol == 51 { 28 } else { 24 };
            assert_eq!(packet[seq..seq + 4], n.to_be_bytes());
            let open = protocol == 51 || matches!(pair.suite, Suite::Aes128Gmac | Suite::Aes256Gmac);
            assert_eq!(ip.payload().windows(40).any(|w| clear.windows(40).any(|c| c == w)), open);
            mode_arrives(&mut b, pair, &packet, &sent(pair, &clear));
        }
        assert_eq!((a.report(11).sequence, b.report(10).packets), (5, 5));
        assert_eq!(a.worker.stats().get(Counter::Encrypted), 5);
        assert_eq!(b.worker.stats().get(Counter::Decrypted), 5);
    });
}

/// As A has it when it protects it: what it forwards has one hop less to go.
fn sent(pair: &Pair, clear: &[u8]) -> Vec<u8> {
    let ttl = if pair.mode == Mode::Tunnel { 63 } else { 64 };
    edit(clear.to_vec(), |ip| ip.set_ttl(ttl))
}

/// R155, R159, R160: a replay, a flipped byte, another address (a NAT's); what a router may change is no forgery.
#[test]
fn ah_is_authentic_from_the_addresses_to_the_last_byte() {
    for mode in [Mode::Tunnel, Mode::Transport] {
        let pair = Pair { suite: Suite::AhSha256, ..mode_pair(mode) };
        let (mut a, mut b) = mode_gates(&pair);
        let clear = mode_packet(&pair, 80);
        let packet = mode_send(&mut a, &pair, &clear);
        for at in (4..6).chain(12..16).chain(20..packet.len()) {
            let mut bad = packet.clone();
            bad[at] ^= 1;
            edit_checksum(&mut bad);
            let why = match at {
                21 => Drop::BadEsp, // its own length
                24..28 => Drop::NoSa,
                31 => Drop::ReplayOld, // number 0
                _ => Drop::BadIcv,
            };
            b.receive(WAN, &bad).lost(why);
        }
        let routed = edit(packet.clone(), |ip| {
            ip.set_ttl(3);
            ip.set_tos(0xb8);
        });
        let mut expected = sent(&pair, &clear);
        if mode == Mode::Transport {
            expected = edit(expected, |ip| {
                ip.set_ttl(3);
                ip.set_tos(0xb8);
            });
        }
        mode_arrives(&mut b, &pair, &routed, &expected);
        b.receive(WAN, &packet).lost(Drop::ReplayDup);
        assert_eq!(b.report(10).icv_drops, packet.len() as u64 - 20 + 6 - 6);
        assert_eq!(b.report(10).replay_drops, 2);
    }
}

/// R216: an SPI is that of one protocol (RFC 4301 §4.1): nothing of one is opened by an SA of the other.
#[test]
fn ah_and_esp_have_spis_of_their_own() {
    let (ah, esp) = (Pair { suite: Suite::AhSha1, ..mode_pair(Mode::Tunnel) }, Pair::default());
    let (mut a, mut b) = mode_gates(&ah);
    let packet = mode_send(&mut a, &ah, &mode_packet(&ah, 100));
    b.receive(WAN, &edit(packet, |ip| ip.set_protocol(50))).lost(Drop::NoSa);
    let (mut a, mut b) = mode_gates(&esp);
    let packet = mode_send(&mut a, &esp, &mode_packet(&esp, 100));
    // What stands in AH's place of the SPI is ESP's sequence number; with the SPI itself there it is nobody's either.
    let moved = [&packet[..20], &[4, 4, 0, 0], &packet[20..]].concat();
    let moved = with_length(moved);
    b.receive(WAN, &edit(moved, |ip| ip.set_protocol(51))).lost(Drop::NoSa);
    // No second SA under the same SPI, and none of AH through UDP.
    assert_eq!(
        b.install_one(&Pair { id: 9, suite: Suite::AhSha1, ..esp.clone() }, Direction::Inbound),
        Outcome::Refused
    );
    assert_eq!(
        b.install_one(&Pair { id: 9, spi: 0x9000, udp: true, ..ah }, Direction::Inbound),
        Outcome::Refused
    );
}

fn with_length(mut bytes: Vec<u8>) -> Vec<u8> {
    let len = bytes.len() as u16;
    bytes[2..4].copy_from_slice(&len.to_be_bytes());
    edit_checksum(&mut bytes);
    bytes
}

/// RFC 4303 §3.3.4: whole packets only, cut after they were protected; DF gets the largest size that fits.
#[test]
fn transport_mode_cuts_what_it_has_protected() {
    for suite in [Suite::Aes128Gcm16, Suite::Aes256CbcSha256, Suite::AhSha256] {
        let pair = Pair { suite, ..mode_pair(Mode::Transport) };
        let (mut a, mut b) = mode_gates(&pair);
        let large = edit(mode_packet(&pair, 1600), |ip| ip.set_df(false));
        let parts = a.run(&[(Origin::Tun, large.clone())]);
        assert_eq!(parts.len(), 2);
        let parts: Vec<&[u8]> = parts.iter().map(|p| p.forwarded(WAN)).collect();
        assert!(parts.iter().all(|p| p.len() <= 1500 && Ipv4::parse(p).unwrap().is_fragment()));
        mode_arrives(&mut b, &pair, &joined(&parts), &large);
        // R158: the other end joins them, whichever comes first; each batch has one of them, and one has both.
        for (first, second) in [(0, 1), (1, 0)] {
            let sent = a.run(&[(Origin::Tun, large.clone())]);
            assert_eq!(b.receive(WAN, sent[first].forwarded(WAN)).verdict, Verdict::Held);
            b.receive(WAN, sent[first].forwarded(WAN)).lost(Drop::FragmentDuplicate);
            mode_arrives(&mut b, &pair, sent[second].forwarded(WAN), &large);
            let sent = a.run(&[(Origin::Tun, large.clone())]);
            let frame = |n: usize| (Origin::Port(WAN), ether(sent[n].forwarded(WAN)));
            let out = b.run(&[frame(first), frame(second)]);
            assert_eq!((out[0].verdict, out[1].verdict), (Verdict::Held, Verdict::Punt));
            assert_eq!(out[1].bytes, large);
        }
        assert_eq!(b.held(), 0);

        let with_df = mode_packet(&pair, 1600);
        let out = a.run(&[(Origin::Tun, with_df.clone())]);
        out[0].lost(Drop::TooBig);
        let error = Ipv4::parse(&out[1].bytes).unwrap();
        assert_eq!((out[1].verdict, error.dst()), (Verdict::Punt, WAN_A));
        let icmp = Icmp::parse(error.payload()).unwrap();
        assert_eq!((icmp.kind(), icmp.code()), (UNREACHABLE, FRAGMENTATION_NEEDED));
        let mtu = u16::from_be_bytes([icmp.rest()[2], icmp.rest()[3]]);
        let fits = mode_packet(&pair, mtu.into());
        let packet = mode_send(&mut a, &pair, &fits);
        assert!(packet.len() <= 1500 && packet.len() > 1500 - 16, "{suite:?} {mtu} {}", packet.len());
        mode_arrives(&mut b, &pair, &packet, &fits);
        let more = a.run(&[(Origin::Tun, mode_packet(&pair, usize::from(mtu) + 1))]);
        more[0].lost(Drop::TooBig);

        let part = edit(mode_packet(&pair, 100), |ip| {
            ip.set_df(false);
            ip.set_fragment(0, true);
        });
        a.one(Origin::Tun, part).lost(Drop::Fragment);
    }
}

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    let mut whole = parts[0].to_vec();
    for part in &parts[1..] {
        let ip = Ipv4::parse(part).unwrap();
        assert_eq!(usize::from(ip.fragment_offset()), whole.len() - 20);
        whole.extend_from_slice(ip.payload());
    }
    let len = whole.len() as u16;
    whole[2..4].copy_from_slice(&len.to_be_bytes());
    let mut ip = Ipv4Mut::parse(&mut whole).unwrap();
    ip.set_fragment(0, false);
    ip.fill_checksum();
    whole
}

/// In tunnel mode AH cuts before it protects, as ESP does (R157); options of the inner packet are payload.
#[test]
fn ah_in_tunnel_mode_cuts_first() {
    let pair = Pair { suite: Suite::AhSha1, ..mode_pair(Mode::Tunnel) };
    let (mut a, mut b) = mode_gates(&pair);
    let large = edit(mode_packet(&pair, 1500), |ip| ip.set_df(false));
    let parts = a.run(&[(Origin::Port(INSIDE), ether(&large))]);
    assert_eq!(parts.len(), 2);
    let mut inside = vec![];
    for part in &parts {
        let packet = part.forwarded(WAN);
        assert!(packet.len() <= 1500 && !Ipv4::parse(packet).unwrap().is_fragment());
        inside.push(b.receive(WAN, packet).forwarded(INSIDE).to_vec());
    }
    let inside: Vec<&[u8]> = inside.iter().map(Vec::as_slice).collect();
    assert_eq!(joined(&inside)[20..], large[20..]);
    a.run(&[(Origin::Port(INSIDE), ether(&mode_packet(&pair, 1457)))])[0].lost(Drop::TooBig);
    a.receive(INSIDE, &mode_packet(&pair, 1456)).forwarded(WAN);
}

/// RFC 4301 §5.2 step 4: what an SA of transport mode brings is between its two ends.
#[test]
fn transport_mode_carries_its_own_two_ends_only() {
    let pair = Pair { suite: Suite::AhSha1, ..mode_pair(Mode::Transport) };
    let narrow = Pair { selectors: vec![selector("198.18.0.1/32", "10.2.0.0/24")], ..pair.clone() };
    let (mut a, _) = mode_gates(&pair);
    let (_, mut b) = mode_gates(&narrow);
    let packet = mode_send(&mut a, &pair, &mode_packet(&pair, 100));
    b.receive(WAN, &packet).lost(Drop::SelectorMismatch);
    // What is clear between them is none of AH's.
    let (_, mut b) = mode_gates(&pair);
    b.receive(WAN, &mode_packet(&pair, 100)).lost(Drop::PlainOnProtected);
}

/// RFC 4301 §8.2, R84 to R86: what is known of the way counts from the next packet on, flows that are known or not; DF hears the
/// size that fits, the others are cut; and it is forgotten.
#[test]
fn a_narrower_way_counts_from_the_next_packet_on() {
    for df in [OuterDf::Clear, OuterDf::Copy, OuterDf::Set] {
        let pair = Pair { df, ..Pair::default() };
        let (mut a, _) = gates(&pair);
        let size = |a: &mut Gate, len| a.receive(INSIDE, &ip(HOST_A, HOST_B, len)).forwarded(WAN).len();
        assert!(size(&mut a, 1400) > 1400);
        assert!(size(&mut a, 1400) > 1400);
        let narrow = |a: &mut Gate, mtu| {
            assert_eq!(a.command(|token| WorkerCommand::PathMtu { token, sa: SaId(11), mtu }), Outcome::Ok);
        };
        narrow(&mut a, 1300);
        let out = a.run(&[(Origin::Port(INSIDE), ether(&ip(HOST_A, HOST_B, 1400)))]);
        if df == OuterDf::Clear {
            assert!(out.len() == 2 && out.iter().all(|p| p.forwarded(WAN).len() <= 1300));
            continue;
        }
        out[0].lost(Drop::TooBig);
        let error = Ipv4::parse(out[1].forwarded(INSIDE)).unwrap();
        let icmp = Icmp::parse(error.payload()).unwrap();
        let mtu = usize::from(u16::from_be_bytes([icmp.rest()[2], icmp.rest()[3]]));
        let fits = size(&mut a, mtu);
        assert!(fits <= 1300 && fits > 1300 - 4, "{mtu}: {fits}");
        let large = edit(ip(HOST_A, HOST_B, 1400), |ip| ip.set_df(false));
        let parts = a.run(&[(Origin::Port(INSIDE), ether(&large))]);
        assert!(parts.len() == 2 && parts.iter().all(|p| p.forwarded(WAN).len() <= 1300));
        narrow(&mut a, 0);
        assert!(size(&mut a, 1400) > 1400);
        // Of nobody, and of an SA that only receives: nothing to be done.
        assert_eq!(a.command(|token| WorkerCommand::PathMtu { token, sa: SaId(99), mtu: 1300 }), Outcome::Ok);
        assert_eq!(a.command(|token| WorkerCommand::PathMtu { token, sa: SaId(10), mtu: 1300 }), Outcome::Ok);
        assert!(size(&mut a, 1400) > 1400);
    }
}

// RFC 4303 §2.7: all packets look alike outside, and are what they were inside; the largest of the way is the limit.
#[test]
fn padding_hides_lengths_and_is_gone_at_the_other_end() {
    for (tfc, udp, v6, multipath) in [
        (600, false, false, 0),
        (u16::MAX, false, false, 0),
        (u16::MAX, true, false, 0),
        (900, false, true, 0),
        (u16::MAX, false, false, 4565),
        (u16::MAX, false, true, 4565),
    ] {
        let extras = Extras { multipath, ..Extras::default() };
        let pair = Pair { tfc, udp, v6, extras, ..Pair::default() };
        let (mut a, mut b) = gates(&pair);
        b.take_udp_at(4565);
        let mut lengths = std::collections::BTreeSet::new();
        let mut sources = std::collections::BTreeSet::new();
        for size in [60, 61, 300, 599, 600] {
            let clear = ip(HOST_A, HOST_B, size);
            let wire = a.receive(INSIDE, &clear).forwarded(WAN).to_vec();
            lengths.insert(wire.len());
            assert!(wire.len() <= 1500, "{tfc}: {}", wire.len());
            if multipath != 0 {
                // R97: one flow, one port, whatever its lengths.
                let ports = if v6 { 40 } else { 20 };
                assert_eq!(wire[ports + 2..ports + 4], multipath.to_be_bytes());
                sources.insert(wire[ports..ports + 2].to_vec());
            }
            assert_eq!(b.receive(WAN, &wire).forwarded(INSIDE), edit(clear, |ip| ip.set_ttl(62)));
        }
        assert_eq!(lengths.len(), 1, "{tfc}: {lengths:?}");
        assert_eq!(sources.len(), usize::from(multipath != 0));
        assert!(tfc < u16::MAX || *lengths.first().unwrap() > 1500 - 32, "{lengths:?}");
        // Longer ones go as they are, and what is cut is padded piece by piece.
        let long = a.receive(INSIDE, &ip(HOST_A, HOST_B, 1200)).forwarded(WAN).to_vec();
        assert!(long.len() > 1200);
        b.receive(WAN, &long).forwarded(INSIDE);
    }
    // Where nobody could tell padding from payload, and on the way in, it is refused.
    let mut a = Gate::new(true);
    for pair in [mode_pair(Mode::Transport), Pair { suite: Suite::AhSha256, ..mode_pair(Mode::Tunnel) }] {
        let pair = Pair { tfc: 100, ..pair };
        assert_eq!(a.install_one(&pair, Direction::Outbound), Outcome::Refused);
    }
}

/// R156, R159: transport mode and AH over IPv6, each suite.
#[test]
fn every_suite_both_modes_between_ipv6_gateways() {
    each_mode6(|pair| {
        let (mut a, mut b) = mode_gates(pair);
        for n in 1..=3u32 {
            let clear = mode_packet(pair, 60 + 100 * n as usize);
            let packet = mode_send(&mut a, pair, &clear);
            let ip = Ipv6::parse(&packet).unwrap();
            let protocol = if pair.suite.protocol() == Protocol::Ah { 51 } else { 50 };
            assert_eq!((ip.next_header(), ip.src(), ip.dst()), (protocol, WAN_A6, WAN_B6));
            assert_eq!(ip.total_len(), packet.len());
            if protocol == 51 {
                let len = (usize::from(packet[41]) + 2) * 4;
                assert!(len.is_multiple_of(8), "RFC 4302 §2.2: {len}");
            }
            let sent = if pair.mode == Mode::Tunnel { sent(pair, &clear) } else { clear };
            mode_arrives(&mut b, pair, &packet, &sent);
        }
        assert_eq!((a.report(11).sequence, b.report(10).packets), (3, 3));
    });
}

/// R159: every byte that counts, and those that routers may change.
#[test]
fn ah_over_ipv6_is_authentic_from_the_addresses_to_the_last_byte() {
    for mode in [Mode::Tunnel, Mode::Transport] {
        let pair = Pair { suite: Suite::AhSha256, ..mode_pair6(mode) };
        let (mut a, mut b) = mode_gates(&pair);
        let clear = mode_packet(&pair, 80);
        let packet = mode_send(&mut a, &pair, &clear);
        for at in (8..24).chain(40..packet.len()) {
            let mut bad = packet.clone();
            bad[at] ^= 1;
            let out = b.receive(WAN, &bad);
            match at {
                44..48 => out.lost(Drop::NoSa),
                51 => out.lost(Drop::ReplayOld), // number 0
                _ => out.lost(Drop::BadIcv),
            }
        }
        let mut routed = packet.clone();
        (routed[0], routed[1], routed[3], routed[7]) = (0x6b, 0x82, 9, 3);
        let mut expected = if mode == Mode::Tunnel { sent(&pair, &clear) } else { clear };
        if mode == Mode::Transport {
            (expected[0], expected[1], expected[3], expected[7]) = (0x6b, 0x82, 9, 3);
        }
        mode_arrives(&mut b, &pair, &routed, &expected);
        b.receive(WAN, &packet).lost(Drop::ReplayDup);
    }
}

/// These headers between IPv6 and the rest of a packet.
fn dressed(packet: &[u8], first: u8, headers: &[u8]) -> Vec<u8> {
    packet6(WAN_A6, WAN_B6, first, &[headers, &packet[40..]].concat())
}

/// Hop-by-hop options with one that may change (0x3e) before what `next` names.
const fn hop_by_hop(next: u8) -> [u8; 8] {
    [next, 0, 0x3e, 2, 7, 7, 1, 0]
}

/// RFC 4303 §3.1.1, RFC 4302 §3.1.1: behind what is for each hop, before what is for the last destination alone; all of it
/// is there again at the other end, and what may change on the way is no forgery.
#[test]
fn extension_headers_stand_where_they_belong() {
    let routing = |next: u8| [&[next, 2, 2, 0, 0, 0, 0, 0][..], &[0x20; 16]].concat();
    let last = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
    for suite in [Suite::Aes256Gcm16, Suite::Aes128CbcSha256, Suite::AhSha1, Suite::AhSha512] {
        let pair = Pair { suite, ..mode_pair6(Mode::Transport) };
        let (mut a, mut b) = mode_gates(&pair);
        let plain = mode_packet(&pair, 120);
        for (first, headers, front) in [
            (0, hop_by_hop(17).to_vec(), 8),
            (43, routing(17), 24),
            (60, last(17).to_vec(), 8),
            (0, [&hop_by_hop(43)[..], &routing(60), &last(17)].concat(), 32),
        ] {
            let clear = dressed(&plain, first, &headers);
            let packet = mode_send(&mut a, &pair, &clear);
            let kind = if suite.protocol() == Protocol::Ah { 51 } else { 50 };
            let ip = Ipv6::parse(&packet).unwrap();
            assert_eq!(ip.chain().end, Some((kind, 40 + front)), "{suite:?} {first}");
            mode_arrives(&mut b, &pair, &packet, &clear);
            if first == 0 {
                let (mut packet, mut clear) = (mode_send(&mut a, &pair, &clear), clear);
                (packet[44], clear[44]) = (1, 1);
                mode_arrives(&mut b, &pair, &packet, &clear);
                let mut forged = mode_send(&mut a, &pair, &clear);
                forged[43] = 1; // the option's length
                if kind == 51 {
                    b.receive(WAN, &forged).lost(Drop::BadIcv);
                }
            }
        }
        // What nobody can pass over, or follow, is not sent under AH.
        if suite.protocol() == Protocol::Ah {
            let mut odd = routing(17);
            (odd[2], odd[3]) = (253, 1);
            a.one(Origin::Tun, dressed(&plain, 43, &odd)).lost(Drop::BadExtension);
        }
    }
}

/// RFC 4303 §3.3.4, RFC 8200 §4.5: what is too large is cut after it was protected, as the source of an IPv6 packet may; no host
/// hears of a smaller size, since it would cut its datagrams before.
#[test]
fn what_is_protected_is_cut_as_ipv6() {
    for suite in [Suite::Aes128Gcm16, Suite::Aes256CbcSha256, Suite::AhSha384] {
        for udp in [false, true] {
            if udp && suite.protocol() == Protocol::Ah {
                continue;
            }
            let pair = Pair { suite, udp, ..mode_pair6(Mode::Transport) };
            let narrow = Pair { tunnel_mtu: 1280, ..pair };
            let (mut a, mut b) = mode_gates(&narrow);
            // Through UDP no checksum stands in the way: of another protocol.
            let (plain, mut large) = (mode_packet(&narrow, 1264), mode_packet(&narrow, 1500));
            large[6] = 132;
            for clear in [large, dressed(&plain, 0, &[132, 1, 5, 2, 0, 0, 1, 8, 0, 0, 0, 0, 0, 0, 0, 0])] {
                let parts = a.run(&[(Origin::Tun, clear.clone())]);
                assert_eq!(parts.len(), 2);
                let parts: Vec<&[u8]> = parts.iter().map(|p| p.forwarded(WAN)).collect();
                assert!(
                    parts
                        .iter()
                        .all(|p| p.len() <= 1280 && Ipv6::parse(p).unwrap().chain().fragment.is_some())
                );
                assert_eq!(b.receive(WAN, parts[0]).verdict, Verdict::Held);
                mode_arrives(&mut b, &narrow, parts[1], &clear);
            }
            assert_eq!(b.held(), 0);
        }
    }
}

/// R158, R92: `fragment = "after"` and passive tunnels between IPv6 gateways.
#[test]
fn tunnels_cut_after_encryption_over_ipv6() {
    let after = Rules { fragment_after: true, ..Rules::default() };
    let passive = Rules { passive: true, ..Rules::default() };
    for (rules, udp, suite) in [
        (after, false, Suite::Aes256Gcm16),
        (after, true, Suite::Aes256Gcm16),
        (after, false, Suite::AhSha256),
        (passive, false, Suite::Aes128CbcSha256),
    ] {
        let extras = Extras { rules, ..Extras::default() };
        let pair = Pair { extras, udp, suite, v6: true, ..Pair::default() };
        let (mut a, mut b) = gates(&pair);
        for clear in [ip(HOST_A, HOST_B, 1500), ip6(HOST_A6, HOST_B6, 1480)] {
            let clear = if clear[0] >> 4 == 4 { edit(clear, |ip| ip.set_df(false)) } else { clear };
            let parts = a.run(&[(Origin::Port(INSIDE), ether(&clear))]);
            assert_eq!(parts.len(), 2, "{rules:?}");
            let parts: Vec<_> = parts.iter().map(|p| (Origin::Port(WAN), ether(p.forwarded(WAN)))).collect();
            assert!(parts.iter().all(|(_, p)| p.len() <= 1514));
            let out = b.run(&parts);
            assert_eq!(out[0].verdict, Verdict::Held);
            let arrived = out[1].forwarded(INSIDE);
            let hops = if clear[0] >> 4 == 4 { 8 } else { 7 };
            assert_eq!(arrived[hops], if rules.passive { 64 } else { 62 });
            assert_eq!((arrived.len(), &arrived[40..]), (clear.len(), &clear[40..]));
        }
        // Small ones go whole, with the flow label of the one inside.
        let mut small = ip6(HOST_A6, HOST_B6, 100);
        small[1..4].copy_from_slice(&[0x0a, 0xbc, 0xde]);
        let wire = a.receive(INSIDE, &small).forwarded(WAN).to_vec();
        let outside = Ipv6::parse(&wire).unwrap();
        assert_eq!((outside.chain().fragment, outside.flow_label()), (None, 0xabcde));
        b.receive(WAN, &wire).forwarded(INSIDE);
    }
}

/// One's complement over the pseudo-header and what follows: 0 where the checksum holds (RFC 1071).
fn residue(packet: &[u8]) -> u16 {
    let (addresses, protocol, upper) = if packet[0] >> 4 == 4 {
        (&packet[12..20], packet[9], &packet[20..])
    } else {
        (&packet[8..40], packet[6], &packet[40..])
    };
    let mut all = addresses.to_vec();
    all.extend([0, protocol]);
    all.extend((upper.len() as u16).to_be_bytes());
    all.extend_from_slice(upper);
    all.resize(all.len().next_multiple_of(2), 0);
    let mut sum: u32 = all.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

/// With the checksum that its sender computes.
fn summed(mut packet: Vec<u8>, field: usize) -> Vec<u8> {
    packet[field..field + 2].fill(0);
    let sum = match residue(&packet) {
        0 => 0xffff,
        sum => sum,
    };
    packet[field..field + 2].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// RFC 3948 §3.1.2: behind a NAT the checksums of TCP and UDP are those of the addresses that arrive; a UDP checksum of
/// zero stays none, and other protocols are not touched.
#[test]
fn transport_mode_through_a_nat_has_checksums_that_hold() {
    let nat = std::net::Ipv4Addr::new(198, 18, 0, 77);
    let pair = Pair { udp: true, ..mode_pair(Mode::Transport) };
    let outside = Pair { selectors: vec![selector("198.18.0.77/32", "198.18.0.2/32")], ..pair.clone() };
    let (mut a, _) = mode_gates(&pair);
    let (_, mut b) = mode_gates(&outside);
    for len in [60, 61, 333] {
        let of = |protocol: u8| {
            let mut bytes = edit(ip(WAN_A, WAN_B, len), |ip| ip.set_protocol(protocol));
            bytes[24..26].copy_from_slice(&(len as u16 - 20).to_be_bytes());
            edit_checksum(&mut bytes);
            bytes
        };
        let (tcp, udp) = (summed(of(6), 36), summed(of(17), 26));
        let mut none = of(17);
        none[26..28].fill(0);
        for (clear, holds) in [(tcp, true), (udp, true), (none, false), (of(132), false)] {
            let through = |mut bytes: Vec<u8>| {
                bytes[12..16].copy_from_slice(&nat.octets());
                edit_checksum(&mut bytes);
                bytes
            };
            let packet = through(mode_send(&mut a, &pair, &clear));
            let out = b.receive(WAN, &packet);
            assert_eq!(out.verdict, Verdict::Punt);
            let field = if clear[9] == 6 { 36 } else { 26 };
            let mut expected = through(clear);
            if holds {
                expected = summed(expected, field);
            }
            assert_eq!(out.bytes, expected);
        }
    }
    // Over IPv6 nothing changes what is right already.
    let pair = Pair { udp: true, ..mode_pair6(Mode::Transport) };
    let (mut a, mut b) = mode_gates(&pair);
    for (protocol, field) in [(6, 56), (17, 46), (58, 42)] {
        let mut clear = mode_packet(&pair, 101);
        (clear[6], clear[44], clear[45]) = (protocol, 0, 61);
        let clear = summed(clear, field);
        let packet = mode_send(&mut a, &pair, &clear);
        mode_arrives(&mut b, &pair, &packet, &clear);
    }
}

/// In AH, which is 12 bytes and its ICV, lies ESP.
fn without_ah(packet: &[u8]) -> Vec<u8> {
    if packet[0] >> 4 == 6 {
        let len = (usize::from(packet[41]) + 2) * 4;
        return packet6(WAN_A6, WAN_B6, packet[40], &packet[40 + len..]);
    }
    let len = (usize::from(packet[21]) + 2) * 4;
    let bare = with_length([&packet[..20], &packet[20 + len..]].concat());
    edit(bare, |ip| ip.set_protocol(packet[20]))
}

/// R113, RFC 4301 §4.5: AH outside, ESP within it, both with numbers of their own; what came by one of the two alone is
/// dropped by name, and so is what was altered or came before.
#[test]
fn esp_goes_within_ah_and_not_without_it() {
    each_bundle(|esp, ah| {
        let (mut a, mut b) = bundle_gates(esp, ah);
        for n in 1..=3u32 {
            let clear = mode_packet(esp, 60 + 100 * n as usize);
            let packet = mode_send(&mut a, esp, &clear);
            let bare = without_ah(&packet);
            let (named, at) = if esp.v6 { (6, 40) } else { (9, 20) };
            assert_eq!((packet[named], bare[named]), (51, 50), "AH goes around ESP");
            assert_eq!(packet[at + 4..at + 8], ah.spi.to_be_bytes());
            assert_eq!(
                (&packet[at + 8..at + 12], &bare[at + 4..at + 8]),
                (&n.to_be_bytes()[..], &n.to_be_bytes()[..])
            );
            assert_eq!(bare[at..at + 4], esp.spi.to_be_bytes());
            b.receive(WAN, &bare).lost(Drop::AhMissing);
            let mut forged = packet.clone();
            *forged.last_mut().unwrap() ^= 1;
            b.receive(WAN, &forged).lost(Drop::BadIcv);
            mode_arrives(&mut b, esp, &packet, &sent_by(esp, &clear));
            b.receive(WAN, &packet).lost(Drop::ReplayDup);
            b.receive(WAN, &bare).lost(Drop::AhMissing);
        }
        assert_eq!((b.report(10).packets, b.report(20).packets), (3, 3));
        assert_eq!((b.dropped(Drop::AhMissing), b.report(10).icv_drops, b.report(20).icv_drops), (6, 0, 3));
        assert_eq!((a.report(11).sequence, a.report(21).sequence), (3, 3));
        // Asking leaves no trace in either of the two.
        let clear = mode_packet(esp, 100);
        let origin = || if esp.mode == Mode::Tunnel { Origin::Port(INSIDE) } else { Origin::Tun };
        let asked = if esp.mode == Mode::Tunnel { ether(&clear) } else { clear.clone() };
        a.explain(origin(), asked);
        let packet = mode_send(&mut a, esp, &clear);
        b.explain(Origin::Port(WAN), [&mac(2)[..], &ether(&packet)[6..]].concat());
        mode_arrives(&mut b, esp, &packet, &sent_by(esp, &clear));
        assert_eq!((a.report(11).sequence, a.report(21).sequence), (4, 4));
    });
}

fn sent_by(pair: &Pair, clear: &[u8]) -> Vec<u8> {
    if clear[0] >> 4 == 6 { clear.to_vec() } else { sent(pair, clear) }
}

/// R113: authentic AH of a bundle with anything in it but the ESP of that bundle.
#[test]
fn ah_of_a_bundle_carries_its_own_esp_only() {
    let (esp, ah) = bundle(&mode_pair(Mode::Transport), Suite::AhSha256);
    let (_, mut b) = bundle_gates(&esp, &ah);
    // In clear.
    let alone = Pair { partner: None, ..ah.clone() };
    let (mut a, _) = mode_gates(&alone);
    let packet = mode_send(&mut a, &alone, &mode_packet(&alone, 100));
    b.receive(WAN, &packet).lost(Drop::BundleMismatch);
    // ESP that comes without AH as a rule, and ESP that nobody knows.
    let other = Pair { id: 3, spi: 0x4000, ..mode_pair(Mode::Transport) };
    for (seq, known) in [(2, true), (3, false)] {
        let (mut a, mut b) = bundle_gates(
            &Pair { partner: Some(2), ..other.clone() },
            &Pair { partner: Some(3), ..ah.clone() },
        );
        b = if known { bundle_gates(&esp, &ah).1 } else { b };
        if known {
            b.install(&other);
            let (mut plain, _) = mode_gates(&other);
            let sealed = mode_send(&mut plain, &other, &mode_packet(&other, 100));
            mode_arrives(&mut b, &other, &sealed, &mode_packet(&other, 100));
        } else {
            b = bundle_gates(&esp, &ah).1;
        }
        let packet = mode_send(&mut a, &other, &mode_packet(&other, 100));
        b.receive(WAN, &packet).lost(Drop::BundleMismatch);
        assert_eq!(b.dropped(Drop::BundleMismatch), 1, "{seq}");
    }
}

/// R113, R157: what fits does so with both headers around it; what does not is told the size that does; whole packets of transport
/// mode are cut afterwards, and joined before AH is looked at.
#[test]
fn a_bundle_leaves_room_for_both() {
    each_bundle(|esp, ah| {
        let (mut a, mut b) = bundle_gates(esp, ah);
        let fits = |a: &mut Gate, len| {
            let clear = mode_packet(esp, len);
            let by = if esp.mode == Mode::Tunnel {
                (Origin::Port(INSIDE), ether(&clear))
            } else {
                (Origin::Tun, clear)
            };
            a.run(&[by]).first().map(|out| (out.verdict, out.bytes.len()))
        };
        if esp.v6 && esp.mode == Mode::Transport {
            return; // its source cuts what it sends
        }
        let largest =
            (1300..1500).rev().find(|len| matches!(fits(&mut a, *len), Some((Verdict::Forward { .. }, _))));
        let len = fits(&mut a, largest.unwrap()).unwrap().1;
        assert!(len <= 14 + 1500 && len > 1514 - 16, "{esp:?} {largest:?} {len}");
        let more = a.run(&[if esp.mode == Mode::Tunnel {
            (Origin::Port(INSIDE), ether(&mode_packet(esp, largest.unwrap() + 1)))
        } else {
            (Origin::Tun, mode_packet(esp, largest.unwrap() + 1))
        }]);
        more[0].lost(Drop::TooBig);
        if esp.mode == Mode::Transport {
            let large = edit(mode_packet(esp, 1600), |ip| ip.set_df(false));
            let parts = a.run(&[(Origin::Tun, large.clone())]);
            assert_eq!(parts.len(), 2);
            assert_eq!(b.receive(WAN, parts[1].forwarded(WAN)).verdict, Verdict::Held);
            mode_arrives(&mut b, esp, parts[0].forwarded(WAN), &large);
        } else {
            let large = edit(mode_packet(esp, 1600 - 110), |ip| ip.set_df(false));
            let parts = a.run(&[(Origin::Port(INSIDE), ether(&large))]);
            assert_eq!(parts.len(), 2);
            let inside: Vec<_> =
                parts.iter().map(|p| b.receive(WAN, p.forwarded(WAN)).forwarded(INSIDE).to_vec()).collect();
            assert_eq!(joined(&inside.iter().map(Vec::as_slice).collect::<Vec<_>>())[20..], large[20..]);
        }
    });
}

/// Neither of the two does anything alone, whichever is missing.
#[test]
fn half_a_bundle_is_none() {
    let (esp, ah) = bundle(&mode_pair(Mode::Tunnel), Suite::AhSha256);
    let mut a = Gate::new(true);
    for direction in [Direction::Inbound, Direction::Outbound] {
        assert_eq!(a.install_one(&esp, direction), Outcome::Refused, "AH is not there yet");
        assert_eq!(a.install_one(&Pair { mode: Mode::Tunnel, ..ah.clone() }, direction), Outcome::Refused);
        assert_eq!(a.install_one(&ah, direction), Outcome::Ok);
        for bad in [
            Pair { udp: true, ..esp.clone() },
            Pair { v6: true, ..esp.clone() },
            Pair { id: 4, ..esp.clone() },
            Pair { tfc: 600, ..esp.clone() },
            Pair { extras: Extras { shared: true, ..Extras::default() }, ..esp.clone() },
        ] {
            if (bad.tfc, direction) != (600, Direction::Inbound) {
                assert_eq!(a.install_one(&bad, direction), Outcome::Refused, "{bad:?}");
            }
        }
        assert_eq!(a.install_one(&esp, direction), Outcome::Ok);
    }
    let owner = WorkerId(0);
    let by_ah = |token| WorkerCommand::UseOutbound { token, tunnel: TUNNEL, sa: SaId(21), owner };
    assert_eq!(a.command(by_ah), Outcome::Refused);
    a.use_pair(&esp);
    a.receive(INSIDE, &mode_packet(&esp, 100)).forwarded(WAN);
    assert_eq!(a.command(|token| WorkerCommand::RemoveSa { token, sa: SaId(21) }), Outcome::Ok);
    a.receive(INSIDE, &mode_packet(&esp, 100)).lost(Drop::NoOutboundSa);
}
