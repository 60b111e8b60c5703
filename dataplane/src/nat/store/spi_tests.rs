//! Whose ESP is whose (R58), against a model that says the rules and keeps everything in maps.

use super::*;
use crate::nat::rules::Pool;
use proptest::prelude::*;
use ravelin_ring::msg::WorkerId;
use ravelin_wire::PortRange;
use ravelin_wire::protocol::ESP;
use std::collections::{BTreeMap, BTreeSet};

const SILENT: u64 = 60_000;

fn settings() -> NatSettings {
    NatSettings { other_s: 60, ..NatSettings::default() }
}

fn pool(addresses: u32) -> Pool {
    Pool { first: 0xc000_0200, last: 0xc000_0200 + addresses - 1, ports: PortRange::new(5000, 5011).unwrap() }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Out {
        host: u8,
        remote: u8,
        spi: u8,
    },
    /// To the address by which that host is known there, by an SPI that this or another host has chosen.
    In {
        host: u8,
        remote: u8,
        spi: u8,
    },
    Wait(u16),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    // As many SPIs in each direction as are remembered.
    let (out, back) = ((0u8..4, 0u8..2, 1u8..9), (0u8..4, 0u8..2, 1u8..3));
    let op = prop_oneof![
        5 => out.prop_map(|(host, remote, spi)| Op::Out { host, remote, spi }),
        5 => back.prop_map(|(host, remote, spi)| Op::In { host, remote, spi }),
        3 => (1u16..20_000).prop_map(Op::Wait),
    ];
    proptest::collection::vec(op, 1..150)
}

/// One inside host towards one outside host.
#[derive(Clone, Debug, Default)]
struct Known {
    address: u32,
    last: u64,
    sent: BTreeSet<u32>,
    received: BTreeSet<u32>,
    /// An answer has not come.
    open: bool,
    /// Its time, and when it may have one again.
    until: u64,
    again: u64,
}

#[derive(Debug, Default)]
struct Model {
    now: u64,
    all: BTreeMap<(u32, u32), Known>,
}

impl Model {
    fn tidy(&mut self) {
        let now = self.now;
        self.all.retain(|_, known| known.last + SILENT > now);
    }

    /// Others behind the same address that speak with the same host.
    fn others(&self, host: u32, remote: u32, address: u32) -> impl Iterator<Item = &Known> {
        let same = move |(key, known): &(&(u32, u32), &Known)| {
            key.0 != host && key.1 == remote && known.address == address
        };
        self.all.iter().filter(same).map(|(_, known)| known)
    }

    fn is_waited(&self, host: u32, remote: u32, address: u32) -> bool {
        self.others(host, remote, address).any(|k| self.now < k.until)
    }

    /// The address, or that it has to wait for its turn.
    fn out(&mut self, host: u32, remote: u32, spi: u32, pool: &Pool, got: Result<End, Drop>) {
        let now = self.now;
        let there = self.all.get(&(host, remote)).cloned();
        let Some(mut known) = there else {
            let mut addresses = pool.first..=pool.last;
            let free = addresses.clone().any(|a| self.others(host, remote, a).next().is_none());
            let shareable = addresses.any(|a| !self.is_waited(host, remote, a));
            let Ok(end) = got else {
                assert_eq!(got, Err(Drop::NatBusy));
                return assert!(!free && !shareable, "there was an address for it");
            };
            assert!(pool.contains(end.addr));
            let alone = self.others(host, remote, end.addr).next().is_none();
            assert!(
                alone || !free && !self.is_waited(host, remote, end.addr),
                "an address of its own goes first"
            );
            let known = Known {
                address: end.addr,
                last: now,
                sent: [spi].into(),
                open: true,
                until: now + 5_000,
                again: now + 15_000,
                ..Known::default()
            };
            self.all.insert((host, remote), known);
            return;
        };
        let settled = known.sent.contains(&spi) && (!known.open || now < known.until);
        if !settled && self.is_waited(host, remote, known.address) {
            return assert_eq!(got, Err(Drop::NatBusy));
        }
        assert_eq!(got.map(|end| end.addr), Ok(known.address));
        known.last = now;
        known.sent.insert(spi);
        if !settled {
            known.open = true;
            if now >= known.until && now >= known.again {
                (known.until, known.again) = (now + 5_000, now + 15_000);
            }
        }
        self.all.insert((host, remote), known);
    }

    fn whose(&self, address: u32, remote: u32, spi: u32) -> Result<u32, Drop> {
        let here: Vec<_> =
            self.all.iter().filter(|((_, r), k)| *r == remote && k.address == address).collect();
        if let Some(((host, _), _)) = here.iter().find(|(_, k)| k.received.contains(&spi)) {
            return Ok(*host);
        }
        match here.as_slice() {
            [] => Err(Drop::NatNoMapping),
            [((host, _), _)] => Ok(*host),
            several => {
                let in_time: Vec<_> = several.iter().filter(|(_, k)| self.now < k.until).collect();
                assert!(in_time.len() < 2, "two wait for one answer");
                in_time.first().map(|((host, _), _)| *host).ok_or(Drop::NatUnknownSpi)
            }
        }
    }

    fn back(&mut self, address: u32, remote: u32, spi: u32, got: Result<u32, Drop>) {
        let expected = self.whose(address, remote, spi);
        assert_eq!(got, expected);
        if let Some(known) = expected.ok().and_then(|host| self.all.get_mut(&(host, remote))) {
            known.last = self.now;
            if known.received.insert(spi) {
                known.open = false;
                known.again = known.again.min(known.until + 1_000);
            }
        }
    }
}

fn agrees(addresses: u32, ops: &[Op]) {
    let (settings, pool) = (settings(), pool(addresses));
    let choice = Choice { pool: &pool, me: WorkerId(0), workers: 1 };
    let (mut store, mut model) = (Store::new(64), Model { now: 1000, ..Model::default() });
    let place = |host: u8, remote: u8| (0x0a01_0000 + u32::from(host), 0xcb00_7100 + u32::from(remote));
    for op in ops {
        model.tidy();
        store.expire(model.now, &settings);
        let seen = |spi: u8, of: u32| Seen { now: model.now, flags: 0, spi: u32::from(spi) << 8 | of };
        match *op {
            Op::Wait(ms) => model.now += u64::from(ms),
            Op::Out { host, remote, spi } => {
                let (host, remote) = place(host, remote);
                let inside = Inside::new(ESP, End { addr: host, port: 0 }, pool.first, remote);
                let seen = seen(spi, remote & 0xff);
                store.dry = true;
                let asked = store.outbound(inside, End { addr: remote, port: 0 }, seen, &settings, &choice);
                store.dry = false;
                let got = store.outbound(inside, End { addr: remote, port: 0 }, seen, &settings, &choice);
                assert_eq!(asked, got, "asking leaves no trace");
                model.out(host, remote, seen.spi, &pool, got);
            }
            Op::In { host, remote, spi } => {
                let (host, remote) = place(host, remote);
                let address = model.all.get(&(host, remote)).map_or(pool.first, |known| known.address);
                let (seen, end) = (seen(spi, host & 0xff), End { addr: address, port: 0 });
                let remote_end = End { addr: remote, port: 0 };
                let mut answers = [true, false].map(|dry| {
                    store.dry = dry;
                    store.inbound(ESP, end, remote_end, seen, &settings).map(|inside| inside.end.addr)
                });
                assert_eq!(answers[0], answers[1], "asking leaves no trace");
                model.back(address, remote, seen.spi, std::mem::replace(&mut answers[1], Ok(0)));
            }
        }
        model.tidy();
        store.expire(model.now, &settings);
        assert_eq!((store.len(), store.spis.len()), (model.all.len(), model.all.len()));
    }
    store.expire(u64::MAX, &settings);
    assert_eq!((store.len(), store.mappings.len(), store.spis.len()), (0, 0, 0), "time ends everything");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]
    // R57, R58, RFC 3715 §2.1
    #[test]
    fn esp_comes_to_whom_it_is_for(addresses in 1u32..4, ops in ops()) {
        agrees(addresses, &ops);
    }
}

// SPIs that nobody sent for come and go; those that carry traffic stay.
#[test]
fn a_flood_of_spis_costs_nothing_and_moves_nobody() {
    let (settings, pool) = (settings(), pool(1));
    let choice = Choice { pool: &pool, me: WorkerId(0), workers: 1 };
    let mut store = Store::new(64);
    let (remote, end) = (End { addr: 9, port: 0 }, End { addr: pool.first, port: 0 });
    let inside = |host| Inside::new(ESP, End { addr: host, port: 0 }, pool.first, remote.addr);
    let seen = |now, spi| Seen { now, flags: 0, spi };
    store.outbound(inside(1), remote, seen(0, 0x1001), &settings, &choice).unwrap();
    store.inbound(ESP, end, remote, seen(1, 0x2001), &settings).unwrap();
    store.outbound(inside(2), remote, seen(5_002, 0x1002), &settings, &choice).unwrap();
    store.inbound(ESP, end, remote, seen(5_003, 0x2002), &settings).unwrap();
    for n in 0..100_000 {
        let got = store.inbound(ESP, end, remote, seen(10_010, 0x10_0000 + n), &settings);
        assert_eq!(got, Err(Drop::NatUnknownSpi));
    }
    for (host, spi) in [(1, 0x2001), (2, 0x2002)] {
        assert_eq!(store.inbound(ESP, end, remote, seen(10_011, spi), &settings), Ok(inside(host)));
    }
    assert_eq!((store.len(), store.counts.opened), (2, 2));
    // As many as may share an address, and no more.
    let mut now = 11_000;
    for host in 3..=16 {
        store.outbound(inside(host), remote, seen(now, 0x1000 + host), &settings, &choice).unwrap();
        let busy = store.outbound(inside(99), remote, seen(now, 0x9999), &settings, &choice);
        assert_eq!(busy, Err(Drop::NatBusy), "one at a time");
        store.inbound(ESP, end, remote, seen(now, 0x2000 + host), &settings).unwrap();
        now += 5_000;
    }
    let full = store.outbound(inside(99), remote, seen(now, 0x9999), &settings, &choice);
    assert_eq!(full, Err(Drop::NatBusy));
}

// However many SPIs one host makes up, another one has its turn; and a forged answer does not take the real one's place.
#[test]
fn nobody_waits_for_ever_nor_is_cheated_of_its_answer() {
    let (settings, pool) = (settings(), pool(1));
    let choice = Choice { pool: &pool, me: WorkerId(0), workers: 1 };
    let mut store = Store::new(64);
    let (remote, end) = (End { addr: 9, port: 0 }, End { addr: pool.first, port: 0 });
    let inside = |host| Inside::new(ESP, End { addr: host, port: 0 }, pool.first, remote.addr);
    let seen = |now, spi| Seen { now, flags: 0, spi };
    let mut got_in = None;
    for (n, now) in (0u32..40).map(|n| (n, u64::from(n) * 1000)) {
        let _ = store.outbound(inside(1), remote, seen(now, 0x5000 + n), &settings, &choice);
        if store.outbound(inside(2), remote, seen(now + 1, 0x1002), &settings, &choice).is_ok() {
            got_in = Some(now + 1);
            break;
        }
    }
    let now = got_in.expect("its turn came");
    assert!(now < 6_000, "{now}");
    // A stranger's, and then the real one.
    for (spi, later) in [(0x6666, 1), (0x2002, 2)] {
        let got = store.inbound(ESP, end, remote, seen(now + later, spi), &settings);
        assert_eq!(got, Ok(inside(2)), "{spi:#x}");
    }
    let late = store.inbound(ESP, end, remote, seen(now + 5_001, 0x7777), &settings);
    assert_eq!(late, Err(Drop::NatUnknownSpi));
}

// A forged answer does not end a host's time: nobody else begins to wait before it is over, so that the true answer is not
// another's, then or later.
#[test]
fn a_forged_answer_gives_nobody_anothers_answer() {
    let (settings, pool) = (settings(), pool(1));
    let choice = Choice { pool: &pool, me: WorkerId(0), workers: 1 };
    let mut store = Store::new(64);
    let (remote, end) = (End { addr: 9, port: 0 }, End { addr: pool.first, port: 0 });
    let inside = |host| Inside::new(ESP, End { addr: host, port: 0 }, pool.first, remote.addr);
    let seen = |now, spi| Seen { now, flags: 0, spi };
    // Two that know each other's SPIs, long ago.
    for (host, at) in [(1, 0), (2, 20_000)] {
        store.outbound(inside(host), remote, seen(at, 0x1000 + host), &settings, &choice).unwrap();
        store.inbound(ESP, end, remote, seen(at + 1, 0x2000 + host), &settings).unwrap();
    }
    let now = 40_000;
    store.outbound(inside(1), remote, seen(now, 0x1101), &settings, &choice).unwrap();
    assert_eq!(store.inbound(ESP, end, remote, seen(now + 1, 0x6666), &settings), Ok(inside(1)), "forged");
    let other =
        |store: &mut Store, at, spi| store.outbound(inside(2), remote, seen(at, spi), &settings, &choice);
    assert_eq!(other(&mut store, now + 2, 0x1102), Err(Drop::NatBusy), "not yet");
    assert!(other(&mut store, now + 2, 0x1002).is_ok(), "what it has goes on");
    assert_eq!(store.inbound(ESP, end, remote, seen(now + 3, 0x2101), &settings), Ok(inside(1)), "true");
    assert!(other(&mut store, now + 5_000, 0x1102).is_ok(), "its turn");
    for (spi, host) in [(0x2101, 1), (0x2102, 2), (0x2101, 1), (0x2001, 1), (0x2002, 2)] {
        let got = store.inbound(ESP, end, remote, seen(now + 5_001, spi), &settings);
        assert_eq!(got, Ok(inside(host)), "{spi:#x}");
    }
    // Its next SPI gets a time of its own once the others had their turn.
    assert!(store.outbound(inside(1), remote, seen(now + 10_000, 0x1201), &settings, &choice).is_ok());
    assert_eq!(store.inbound(ESP, end, remote, seen(now + 10_001, 0x2201), &settings), Ok(inside(1)));
}
