//! What tunnels do with headers, TTLs and sizes (R84 to R99): whole ways through two gateways, packets made by scapy.
//!
//! Needs Debian's python3-scapy; without it these tests fail.

use crate::rig::*;
use ravelin_dataplane::{Origin, Verdict};
use ravelin_ring::counters::{Counter, Drop};
use ravelin_ring::msg::*;
use ravelin_wire::ipv4::Ipv4;
use ravelin_wire::udp::Udp;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/way/anomalies.py");

/// Kind, reason or name, packet.
fn corpus() -> Vec<(String, String, Vec<u8>)> {
    let out = Command::new("/usr/bin/python3").arg(CORPUS).output().unwrap();
    assert!(out.status.success(), "{}; apt-get install python3-scapy", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).unwrap();
    let all: Vec<_> = text
        .lines()
        .map(|line| {
            let [kind, why, hex] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
            let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            (kind.to_owned(), why.to_owned(), (0..hex.len()).step_by(2).map(byte).collect())
        })
        .collect();
    assert!(all.len() > 50, "{} packets", all.len());
    all
}

fn ruled(rules: Rules) -> Pair {
    Pair { extras: Extras { rules, ..Extras::default() }, ..Pair::default() }
}

/// The same between gateways that speak IPv6.
fn ruled6(rules: Rules) -> Pair {
    Pair { v6: true, ..ruled(rules) }
}

fn why(out: &Out) -> &'static str {
    match out.verdict {
        Verdict::Drop(why) => why.name(),
        _ => "forwarded",
    }
}

/// What host B gets of a packet from host A; `Err`: where it was dropped, and why.
fn through((a, b): &mut (Gate, Gate), packet: &[u8]) -> Result<Vec<u8>, (char, &'static str)> {
    let out = a.run(&[(Origin::Port(INSIDE), frame(packet))]);
    if !matches!(out[0].verdict, Verdict::Forward { port: WAN }) {
        return Err(('A', why(&out[0])));
    }
    let parts: Vec<_> = out.iter().map(|o| (Origin::Port(WAN), o.bytes.clone())).collect();
    let out = b.run(&parts);
    let last = out.last().unwrap();
    match last.verdict {
        Verdict::Forward { port: INSIDE } => Ok(last.bytes[14..].to_vec()),
        _ => Err(('B', why(last))),
    }
}

/// By the length that scapy meant: version nibbles lie here.
fn frame(packet: &[u8]) -> Vec<u8> {
    let mut bytes = ether(packet);
    let six = packet[0] >> 4 == 6;
    bytes[12..14].copy_from_slice(if six { &[0x86, 0xdd] } else { &[8, 0] });
    bytes
}

// R95: each anomaly has its own name and counter, on the way into the tunnel and on the way out of it; what has none passes.
#[test]
fn anomalies_of_headers_are_dropped_by_name() {
    let rules = Rules { check_headers: true, ..Rules::default() };
    anomalies_between(&ruled(rules));
    anomalies_between(&ruled6(rules));
}

fn anomalies_between(strict: &Pair) {
    let mut checked = gates(strict);
    // The peer does not check, so that what it seals has to be found by ours.
    let mut coming = (gates(&Pair { v6: strict.v6, ..Pair::default() }).0, gates(strict).1);
    let mut plain = gates(&Pair::default());
    let mut counted: BTreeMap<String, u64> = BTreeMap::new();
    for (kind, name, packet) in corpus() {
        let (both, inward) = (through(&mut checked, &packet), through(&mut coming, &packet));
        match kind.as_str() {
            "good" => {
                let clear = through(&mut plain, &packet);
                assert!(clear.is_ok(), "{name}: {clear:?}");
                assert_eq!((&both, &inward), (&clear, &clear), "{name}");
            }
            // R91: one reason per check, whatever the tunnel says.
            "header" => assert_eq!(both, Err(known(('A', name.as_str()))), "{packet:x?}"),
            _ => {
                assert_eq!(both, Err(known(('A', name.as_str()))), "{packet:x?}");
                *counted.entry(name.clone()).or_default() += 1;
                let expired = name == "ip_ttl_zero"; // the peer does not send that
                let expected = if expired { ('A', "ttl_expired") } else { ('B', known(('B', &name)).1) };
                assert_eq!(inward, Err(expected), "{packet:x?}");
            }
        }
    }
    assert!(counted.len() >= 13, "{counted:?}");
    for (name, count) in counted {
        let why = Drop::ALL.iter().find(|why| why.name() == name).unwrap();
        assert_eq!(checked.0.dropped(*why), count, "{name}");
    }
}

/// The reason under its own name.
fn known((side, name): (char, &str)) -> (char, &'static str) {
    let reason = Drop::ALL.iter().find(|why| why.name() == name);
    (side, reason.unwrap_or_else(|| panic!("no reason {name}")).name())
}

// R90, R93: a passive tunnel carries everything byte for byte, TTL and all; others say why not. Nothing odd goes in clear.
#[test]
fn passive_tunnels_carry_packets_as_they_are() {
    let rules = Rules { passive: true, ..Rules::default() };
    carried_as_they_are(&ruled(rules));
    carried_as_they_are(&ruled6(rules));
}

fn carried_as_they_are(pair: &Pair) {
    let mut passive = gates(pair);
    let mut plain = gates(&Pair::default());
    for (kind, name, packet) in corpus() {
        assert_eq!(through(&mut passive, &packet).as_ref(), Ok(&packet), "{kind} {name}");
        if kind == "header" {
            assert_eq!(through(&mut plain, &packet), Err(known(('A', &name))));
        }
        // To where no tunnel leads it is dropped for what is wrong with it.
        if kind == "header" {
            let mut elsewhere = packet.clone();
            elsewhere[16..20].copy_from_slice(&INTERNET.octets());
            let out = passive.0.run(&[(Origin::Port(INSIDE), frame(&elsewhere))]);
            assert!(matches!(out[0].verdict, Verdict::Drop(_)), "{name}: {:?}", out[0].verdict);
        }
    }
    // An SA that is not passive does not let out what is malformed, though the peer sealed it.
    let mut half = (gates(&ruled(Rules { passive: true, ..Rules::default() })).0, gates(&Pair::default()).1);
    let (_, name, packet) = corpus().into_iter().find(|(kind, ..)| kind == "header").unwrap();
    assert_eq!(through(&mut half, &packet), Err(('B', "bad_inner")), "{name}");
    // From the far side in clear it is dropped, passive or not (R41).
    let mut from_b = packet;
    from_b[0] = 0x55;
    from_b[12..16].copy_from_slice(&HOST_B.octets());
    from_b[16..20].copy_from_slice(&HOST_A.octets());
    let out = passive.0.run(&[(Origin::Port(WAN), frame(&from_b))]);
    assert!(matches!(out[0].verdict, Verdict::Drop(_)));
}

// R92: over the MTU with DF it is tunnelled all the same, in outer fragments, and nobody hears of it.
#[test]
fn passive_tunnels_send_no_icmp_about_size() {
    let pair = Pair { tunnel_mtu: 1000, ..ruled(Rules { passive: true, ..Rules::default() }) };
    let (mut a, mut b) = gates(&pair);
    let packet = ip(HOST_A, HOST_B, 1500);
    let out = a.run(&[(Origin::Port(INSIDE), ether(&packet))]);
    let parts: Vec<_> = out.iter().map(|o| (Origin::Port(WAN), ether(o.forwarded(WAN)))).collect();
    assert_eq!(parts.len(), 2);
    for (_, bytes) in &parts {
        let ip = Ipv4::parse(&bytes[14..]).unwrap();
        assert!(ip.total_len() <= 1000 && ip.is_fragment() && !ip.df() && ip.protocol() == 50);
    }
    let joined = b.run(&parts);
    assert_eq!(joined.last().unwrap().forwarded(INSIDE), packet);
    assert_eq!(a.worker.stats().get(Counter::IcmpSent), 0);
    // A TTL of one goes through, and nothing comes back.
    let old = edit(ip(HOST_A, HOST_B, 100), |ip| ip.set_ttl(1));
    assert_eq!(through(&mut (a, b), &old), Ok(old));
}

// R94: the tunnel is no hop of a traceroute; with larger packets and fragments too.
#[test]
fn a_tunnel_that_keeps_the_ttl() {
    let pair = Pair { tunnel_mtu: 1000, ..ruled(Rules { keep_ttl: true, ..Rules::default() }) };
    let mut both = gates(&pair);
    for ttl in [0, 1, 2, 64] {
        let packet = edit(ip(HOST_A, HOST_B, 100), |ip| ip.set_ttl(ttl));
        assert_eq!(through(&mut both, &packet).as_ref(), Ok(&packet), "TTL {ttl}");
    }
    let large = edit(ip(HOST_A, HOST_B, 1400), |ip| {
        ip.set_df(false);
        ip.set_ttl(1);
    });
    let out = both.0.run(&[(Origin::Port(INSIDE), ether(&large))]);
    assert_eq!(out.len(), 2);
    for part in &out {
        let inner = both.1.receive(WAN, part.forwarded(WAN));
        assert_eq!(Ipv4::parse(inner.forwarded(INSIDE)).unwrap().ttl(), 1);
    }
    assert_eq!(both.0.worker.stats().get(Counter::IcmpSent), 0);
    // In clear it is a hop like any other.
    let clear = edit(ip(HOST_A, INTERNET, 100), |ip| ip.set_ttl(1));
    both.0.run(&[(Origin::Port(INSIDE), ether(&clear))])[0].lost(Drop::TtlExpired);
    // Without the rule both gateways are hops.
    let packet = edit(ip(HOST_A, HOST_B, 100), |ip| ip.set_ttl(3));
    let arrived = through(&mut gates(&Pair::default()), &packet).unwrap();
    assert_eq!(Ipv4::parse(&arrived).unwrap().ttl(), 1);
}

// R84: DF of what enters is cleared, and what is too large is fragmented before its encryption; each fragment is an ESP packet.
#[test]
fn df_is_cleared_where_the_tunnel_says_so() {
    let (mut a, mut b) = gates(&Pair { df: OuterDf::Clear, tunnel_mtu: 1400, ..Pair::default() });
    let mut ids = BTreeSet::new();
    for _ in 0..3 {
        let packet = edit(ip(HOST_A, HOST_B, 1500), |ip| ip.set_id(0));
        let out = a.run(&[(Origin::Port(INSIDE), ether(&packet))]);
        assert_eq!(out.len(), 2);
        let mut whole = vec![];
        for part in &out {
            let bytes = part.forwarded(WAN);
            let outer = Ipv4::parse(bytes).unwrap();
            assert!(bytes.len() <= 1400 && !outer.df() && !outer.is_fragment());
            let inner = b.receive(WAN, bytes);
            let inner = Ipv4::parse(inner.forwarded(INSIDE)).unwrap();
            assert!(inner.is_fragment() && !inner.df());
            ids.insert(inner.id());
            whole.extend_from_slice(inner.payload());
        }
        assert_eq!(whole, packet[20..], "the receiver joins them");
    }
    assert_eq!(ids.len(), 3, "fragments of different packets are told apart: {ids:?}");
    // What fits keeps its DF.
    let fits = ip(HOST_A, HOST_B, 1000);
    let arrived = through(&mut (a, b), &fits).unwrap();
    assert!(Ipv4::parse(&arrived).unwrap().df());
}

// R158, RFC 4303 §3.3.4: whole packets are encrypted, and cut afterwards; the receiver joins before it decrypts.
#[test]
fn fragments_after_encryption() {
    for (suite, udp) in
        [(Suite::Aes128Gcm16, false), (Suite::Aes256CbcSha256, false), (Suite::ChaCha20Poly1305, true)]
    {
        let rules = Rules { fragment_after: true, ..Rules::default() };
        let pair = Pair { suite, udp, tunnel_mtu: 1000, df: OuterDf::Set, ..ruled(rules) };
        let (mut a, mut b) = gates(&pair);
        for len in [100, 900, 1200, 1400] {
            let packet = ip(HOST_A, HOST_B, len);
            let out = a.run(&[(Origin::Port(INSIDE), ether(&packet))]);
            assert_eq!(out.len(), if len < 950 { 1 } else { 2 }, "{suite:?} {len}");
            assert_eq!(a.report(11).sequence, b.report(10).sequence + 1, "one ESP packet each");
            let parts: Vec<_> = out.iter().map(|o| (Origin::Port(WAN), ether(o.forwarded(WAN)))).collect();
            assert!(parts.iter().all(|(_, bytes)| bytes.len() <= 1014));
            let arrived = b.run(&parts);
            let Verdict::Forward { .. } = arrived.last().unwrap().verdict else {
                // Fragments of ESP in UDP are not joined yet.
                assert!(udp && len > 950);
                break;
            };
            assert_eq!(arrived.last().unwrap().forwarded(INSIDE), edit(packet, |ip| ip.set_ttl(62)));
        }
    }
}

// R89: each tunnel's own MTU is what its "fragmentation needed" says.
#[test]
fn the_error_names_the_mtu_of_the_tunnel() {
    for mtu in [1400, 1000] {
        let (mut a, _) = gates(&Pair { tunnel_mtu: mtu, ..Pair::default() });
        let out = a.run(&[(Origin::Port(INSIDE), ether(&ip(HOST_A, HOST_B, 1500)))]);
        out[0].lost(Drop::TooBig);
        let error = Ipv4::parse(out[1].forwarded(INSIDE)).unwrap();
        let says = u16::from_be_bytes([error.payload()[6], error.payload()[7]]);
        let fits = a.receive(INSIDE, &ip(HOST_A, HOST_B, says.into()));
        let len = fits.forwarded(WAN).len();
        assert!(len <= mtu.into() && len > usize::from(mtu) - 4, "{mtu}: {says} becomes {len}");
    }
}

fn multipath(pair: Pair) -> Pair {
    Pair { extras: Extras { multipath: 4565, ..Extras::default() }, ..pair }
}

// R97, R98: UDP to the peer's port, from a port of each flow, always the same one; the peer takes it.
#[test]
fn flows_have_source_ports_of_their_own() {
    for v6 in [false, true] {
        let (mut a, mut b) = gates(&multipath(Pair { v6, ..Pair::default() }));
        b.take_udp_at(4565);
        let mut ports = BTreeSet::new();
        for flow in 0..64u16 {
            let mut one = BTreeSet::new();
            for len in [100, 800, 1400] {
                let mut packet = ip(HOST_A, HOST_B, len);
                packet[20..22].copy_from_slice(&(2000 + flow).to_be_bytes());
                let out = a.receive(INSIDE, &packet);
                let wire = out.forwarded(WAN);
                let datagram = Udp::parse(&wire[if v6 { 40 } else { 20 }..]).unwrap();
                assert_eq!(datagram.dst(), 4565);
                assert!(datagram.src() >= 49_152, "RFC 6335 §6");
                one.insert(datagram.src());
                let arrived = b.receive(WAN, wire);
                assert_eq!(arrived.forwarded(INSIDE), edit(packet, |ip| ip.set_ttl(62)));
            }
            assert_eq!(one.len(), 1, "a flow stays on its way");
            ports.extend(one);
        }
        assert!(ports.len() > 60, "{} ports of 64 flows", ports.len());
        assert!(b.events().iter().all(|e| !matches!(e, WorkerEvent::PeerMoved { .. })));
    }
}

// IPv6 flows too, and the parts that one packet of a flow is cut into.
#[test]
fn source_ports_of_ipv6_and_of_parts() {
    let (mut a, _) = gates(&multipath(Pair { tunnel_mtu: 1000, ..Pair::default() }));
    let port = |out: &Out| Udp::parse(&out.forwarded(WAN)[20..]).unwrap().src();
    let large = edit(ip(HOST_A, HOST_B, 1400), |ip| ip.set_df(false));
    let small = port(&a.receive(INSIDE, &ip(HOST_A, HOST_B, 100)));
    let parts = a.run(&[(Origin::Port(INSIDE), ether(&large))]);
    assert_eq!(parts.len(), 2);
    assert_eq!([port(&parts[0]), port(&parts[1])], [small; 2], "what was cut here stays with its flow");
    let mut six = BTreeSet::new();
    for host in 0x20..0x40u8 {
        let mut packet = ip6(HOST_A6, HOST_B6, 200);
        packet[23] = host;
        six.insert(port(&a.receive(INSIDE, &packet)));
    }
    assert!(six.len() > 28, "{} ports of 32 hosts", six.len());
}

// R99: where a NAT was found there is one UDP header, of NAT traversal.
#[test]
fn nat_traversal_goes_first() {
    let (mut a, mut b) = gates(&multipath(Pair { udp: true, ..Pair::default() }));
    let packet = ip(HOST_A, HOST_B, 200);
    let wire = a.receive(INSIDE, &packet).forwarded(WAN).to_vec();
    let datagram = Udp::parse(&wire[20..]).unwrap();
    assert_eq!((datagram.src(), datagram.dst()), (4500, 4500));
    b.receive(WAN, &wire).forwarded(INSIDE);
    // And when one is found later.
    let (mut a, _) = gates(&multipath(Pair::default()));
    a.receive(INSIDE, &packet).forwarded(WAN);
    let (local, remote) = ("198.18.0.1:4500".parse().unwrap(), "198.18.0.2:4500".parse().unwrap());
    let moved = a.command(|token| WorkerCommand::MoveSa { token, sa: SaId(11), local, remote });
    assert_eq!(moved, Outcome::Ok);
    let wire = a.receive(INSIDE, &packet).forwarded(WAN).to_vec();
    let datagram = Udp::parse(&wire[20..]).unwrap();
    assert_eq!((datagram.src(), datagram.dst()), (4500, 4500));
}

// What cannot be is refused by the data plane too.
#[test]
fn rules_that_contradict_are_refused() {
    let both = Rules { passive: true, check_headers: true, ..Rules::default() };
    let after = Rules { fragment_after: true, ..Rules::default() };
    let transport = Pair { mode: Mode::Transport, ..ruled(after) };
    for pair in [ruled(both), Pair { v6: true, ..ruled(both) }, transport] {
        assert_eq!(Gate::new(true).install_one(&pair, Direction::Outbound), Outcome::Refused);
    }
}
