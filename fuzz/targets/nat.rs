//! Arbitrary payloads under lawful IPv4 headers through a worker that translates: every packet ends in one verdict, no
//! frame is lost (`Gate::run` asserts conservation), and no inside address leaves by the port that is translated.
#![no_main]

#[path = "../../dataplane/tests/way/mod.rs"]
mod way;

use libfuzzer_sys::fuzz_target;
use ravelin_dataplane::{Origin, Verdict};
use ravelin_ring::msg::{NatKind, NatRule, NatSettings, TableCommand};
use ravelin_wire::ipv4::Ipv4Header;
use ravelin_wire::{AddrRange, PortRange, checksum};
use std::net::Ipv4Addr;
use way::{Gate, HOST_A, INSIDE, INTERNET, WAN, ether};

const POOL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 8);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 80);

fn one(addr: Ipv4Addr) -> AddrRange {
    AddrRange::new(addr.into(), addr.into()).expect("one address")
}

fn ports(first: u16, last: u16) -> PortRange {
    PortRange::new(first, last).expect("in order")
}

fn gate(open: bool) -> Gate {
    let source = NatRule {
        kind: NatKind::Source,
        from: AddrRange::new(Ipv4Addr::new(10, 1, 0, 0).into(), Ipv4Addr::new(10, 1, 0, 255).into())
            .expect("in order"),
        to: AddrRange::ANY_V4,
        target: one(POOL),
        protocols: NatRule::ALL,
        ports: PortRange::ANY,
        target_ports: ports(1024, 1031),
        port: Some(WAN),
        tunnel: false,
        own: false,
        line: 1,
    };
    let forward = NatRule {
        kind: NatKind::Destination,
        from: AddrRange::ANY_V4,
        to: one(POOL),
        target: one(SERVER),
        protocols: NatRule::TCP | NatRule::UDP,
        ports: ports(80, 81),
        target_ports: ports(8080, 8081),
        ..source
    };
    let fixed = NatRule {
        kind: NatKind::Static,
        from: one(HOST_A),
        target: one(Ipv4Addr::new(192, 0, 2, 9)),
        ..source
    };
    let mut gate = Gate::new(true);
    for rule in [forward, fixed, source] {
        gate.set(TableCommand::AddNat(rule));
    }
    let settings =
        NatSettings { flows: 16, per_host: 5, endpoint_independent_filter: open, ..NatSettings::default() };
    gate.set(TableCommand::SetNat(settings));
    gate.commit();
    gate
}

fuzz_target!(|data: &[u8]| {
    let mut gate = gate(data.first().is_some_and(|b| b & 1 != 0));
    let ends = [HOST_A, SERVER, INTERNET, POOL, Ipv4Addr::new(192, 0, 2, 9), Ipv4Addr::new(10, 1, 0, 7)];
    let mut rest = data;
    // Door and length, ends, protocol and shape, time; then the payload.
    while let [door, end, kind, wait, tail @ ..] = rest {
        let len = usize::from(door >> 1).min(tail.len());
        let mut payload = tail[..len].to_vec();
        rest = &tail[len..];
        let protocol = [6, 17, 1, 1, 47, 50, 136, 17][usize::from(kind & 7)];
        if protocol == 1 && payload.len() >= 8 {
            quote(
                &mut payload,
                kind & 8 != 0,
                (ends[usize::from(end >> 4) % 6], ends[usize::from(end & 15) % 6]),
            );
        }
        let header = Ipv4Header {
            tos: 0,
            total_len: u16::try_from(20 + payload.len()).expect("short"),
            id: u16::from(kind >> 6),
            df: false,
            mf: kind & 16 != 0,
            fragment_offset: if kind & 32 != 0 { 24 } else { 0 },
            ttl: 1 + (wait & 3),
            protocol,
            src: ends[usize::from(end & 15) % 6],
            dst: ends[usize::from(end >> 4) % 6],
        };
        let inside = door & 1 != 0;
        let packet = ether(&[&header.to_bytes()[..], &payload].concat());
        for out in gate.run(&[(Origin::Port(if inside { INSIDE } else { WAN }), packet)]) {
            if inside && out.verdict == (Verdict::Forward { port: WAN }) {
                assert_ne!(out.bytes[14 + 12..14 + 14], [10, 1], "an inside address leaves");
            }
        }
        gate.now.ms += u64::from(*wait) * 1000;
    }
    gate.settle();
});

/// Right checksums, so that what lies behind them is reached; perhaps a lawful header in the place of the quoted one.
fn quote(message: &mut [u8], lawful: bool, (src, dst): (Ipv4Addr, Ipv4Addr)) {
    if lawful && let Some(quoted) = message.get_mut(8..28) {
        let header = Ipv4Header {
            tos: 0,
            total_len: 40,
            id: 1,
            df: true,
            mf: false,
            fragment_offset: 0,
            ttl: 9,
            protocol: quoted[9],
            src,
            dst,
        };
        quoted.copy_from_slice(&header.to_bytes());
    }
    message[2..4].fill(0);
    let sum = checksum::of(message).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
}
