use super::*;
use crate::packet::Origin;
use proptest::prelude::*;
use ravelin_ring::msg::PortId;
use ravelin_wire::ipv4::{HEADER, Ipv4, Ipv4Header};
use ravelin_wire::ipv6::{Ipv6, Ipv6Header};
use ravelin_xsk::{Umem, UmemConfig};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

const FRAMES: u32 = 512;

struct Bench {
    reassembly: Reassembly,
    pool: FramePool,
    stats: Stats,
    now: Now,
}

impl Bench {
    fn new() -> Self {
        let config = UmemConfig { frames: FRAMES, frame_size: 2048, ..UmemConfig::default() };
        let pool = Umem::new(config).unwrap().pools(1).remove(0);
        Self { reassembly: Reassembly::default(), pool, stats: Stats::default(), now: Now { ms: 1000 } }
    }

    /// What became of it; the whole datagram when it is one now.
    fn give(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>, Drop> {
        let mut frame = self.pool.alloc().expect("bounded");
        assert!(frame.extend(bytes.len()));
        frame.data_mut().copy_from_slice(bytes);
        let mut packet = Packet::new(frame, Origin::Port(PortId(0)));
        packet.meta.ip.v6 = bytes.first().is_some_and(|b| b >> 4 == 6);
        let Self { reassembly, pool, stats, now } = self;
        stats.count(Counter::Received);
        let result = reassembly.take(&mut packet, pool, stats, *now);
        let whole = packet.frame.data().to_vec();
        match (result, packet.verdict) {
            (Ok(()), Verdict::Held) => {
                stats.count(Counter::Held);
                Ok(None)
            }
            (Ok(()), Verdict::Pending) => {
                stats.count(Counter::Forwarded);
                pool.free(packet.frame);
                Ok(Some(whole))
            }
            (Err(why), _) => {
                stats.drop(why);
                pool.free(packet.frame);
                Err(why)
            }
            other => panic!("{other:?}"),
        }
    }

    fn waiting(&self) -> usize {
        (self.stats.get(Counter::Held) - self.stats.get(Counter::Released)) as usize
    }

    /// R303: no frame and no packet is lost, whatever waits.
    fn check(&self) {
        let (entered, ended) = self.stats.balance();
        assert_eq!(entered, ended);
        assert_eq!(self.pool.available() + self.waiting(), FRAMES as usize);
        assert_eq!(self.waiting(), self.reassembly.frames);
        assert!(self.waiting() <= MAX_FRAMES && self.reassembly.datagrams.len() <= MAX_DATAGRAMS);
    }
}

/// Bytes of a datagram are known by it and their place.
fn byte(id: u16, at: usize) -> u8 {
    (at * 7 + usize::from(id) * 13 + at / 251) as u8
}

fn fragment(src: u32, id: u16, from: usize, to: usize, last: bool) -> Vec<u8> {
    let header = Ipv4Header {
        tos: 0,
        total_len: (HEADER + to - from) as u16,
        id,
        df: false,
        mf: !last,
        fragment_offset: from as u16,
        ttl: 64,
        protocol: 50,
        src: Ipv4Addr::from_bits(src),
        dst: Ipv4Addr::new(198, 18, 0, 1),
    };
    let payload: Vec<u8> = (from..to).map(|at| byte(id, at)).collect();
    [&header.to_bytes()[..], &payload].concat()
}

/// What stands between IPv6 and its fragment header: nothing, options of every hop, and then a routing header (type 2,
/// arrived).
const BEFORE: [&[u8]; 3] = [
    &[],
    &[44, 0, 5, 2, 0, 0, 1, 0],
    &[
        43, 0, 5, 2, 0, 0, 1, 0, 44, 2, 2, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
        16,
    ],
];

/// As [`fragment`]; the fragments of one packet may name different headers, and the first one's name counts.
fn fragment6(src: u32, id: u16, from: usize, to: usize, last: bool) -> Vec<u8> {
    let before = BEFORE[usize::from(id) % 3];
    let payload: Vec<u8> = (from..to).map(|at| byte(id, at)).collect();
    let names = if from == 0 { 50 } else { 51 };
    let [o0, o1] = (from as u16 | u16::from(!last)).to_be_bytes();
    let [i0, i1] = id.to_be_bytes();
    let header = Ipv6Header {
        traffic_class: 0,
        flow_label: 7,
        payload_len: (before.len() + 8 + payload.len()) as u16,
        next_header: [44, 0, 0][usize::from(id) % 3],
        hop_limit: 64,
        src: Ipv6Addr::from_bits(src.into()),
        dst: Ipv6Addr::from_bits(2),
    };
    [&header.to_bytes()[..], before, &[names, 0, o0, o1, 0xab, 0xcd, i0, i1], &payload].concat()
}

/// What RFC 791 and RFC 5722 say, byte by byte.
#[derive(Default)]
struct Oracle {
    bytes: BTreeMap<usize, u8>,
    pieces: BTreeSet<(usize, usize, bool)>,
    end: Option<usize>,
    spoilt: bool,
}

#[derive(Debug, PartialEq)]
enum Expected {
    Waits,
    Whole(Vec<u8>),
    Refused(Drop),
}

impl Oracle {
    fn give(&mut self, id: u16, from: usize, to: usize, last: bool) -> Expected {
        if from == 0 && last {
            return Expected::Whole((0..to).map(|at| byte(id, at)).collect()); // RFC 6946
        }
        if self.spoilt {
            return Expected::Refused(Drop::FragmentOverlap);
        }
        if !self.pieces.insert((from, to, last)) {
            return Expected::Refused(Drop::FragmentDuplicate);
        }
        let beyond = self.end.is_some_and(|end| to > end || last)
            || last && self.bytes.keys().next_back().is_some_and(|top| *top >= to);
        if beyond || (from..to).any(|at| self.bytes.contains_key(&at)) {
            self.spoilt = true;
            return Expected::Refused(Drop::FragmentOverlap);
        }
        self.bytes.extend((from..to).map(|at| (at, byte(id, at))));
        if last {
            self.end = Some(to);
        }
        match self.end {
            Some(end) if self.bytes.len() == end => Expected::Whole(self.bytes.values().copied().collect()),
            _ => Expected::Waits,
        }
    }
}

/// A cut of a datagram into up to six fragments, with what somebody might add.
#[derive(Clone, Debug)]
struct Cut {
    pieces: Vec<(usize, usize, bool)>,
}

fn cut() -> impl Strategy<Value = Cut> {
    let bounds = proptest::collection::btree_set(1usize..160, 1..6);
    let extra = proptest::collection::vec((0usize..150, 1usize..40, any::<bool>()), 0..3);
    (bounds, 1usize..9, extra, 0u8..4).prop_map(|(bounds, tail, extra, wild)| {
        let mut from = 0;
        let mut pieces: Vec<(usize, usize, bool)> =
            bounds.into_iter().map(|at| (std::mem::replace(&mut from, at * 8), at * 8, false)).collect();
        pieces.push((from, from + tail, true));
        if wild == 0 {
            pieces.extend(extra.into_iter().map(|(at, len, last)| (at * 8, (at + len) * 8, last)));
        }
        if wild == 1 {
            pieces.push(pieces[0]);
        }
        Cut { pieces }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// R158, RFC 8200 §4.5: several datagrams in any order, with duplicates and overlaps.
    #[test]
    fn agrees_with_the_oracle(
        v6: bool,
        cuts in proptest::collection::vec(cut(), 1..5),
        order in proptest::collection::vec(any::<prop::sample::Index>(), 64),
    ) {
        let mut left: Vec<(usize, (usize, usize, bool))> = cuts
            .iter()
            .enumerate()
            .flat_map(|(n, cut)| cut.pieces.iter().map(move |piece| (n, *piece)))
            .collect();
        let mut bench = Bench::new();
        let mut oracles: Vec<Oracle> = cuts.iter().map(|_| Oracle::default()).collect();
        for index in order {
            if left.is_empty() {
                break;
            }
            let (n, (from, to, last)) = left.swap_remove(index.index(left.len()));
            let (id, src) = (100 + n as u16, 0xc612_0000 + (n as u32 % 2));
            let make = if v6 { fragment6 } else { fragment };
            let got = match bench.give(&make(src, id, from, to, last)) {
                Ok(None) => Expected::Waits,
                Ok(Some(whole)) if v6 => {
                    let ip = Ipv6::parse(&whole).unwrap();
                    let (chain, before) = (ip.chain(), BEFORE[usize::from(id) % 3].len());
                    prop_assert_eq!((chain.end, chain.fragment), (Some((50, 40 + before)), None));
                    prop_assert_eq!((ip.total_len(), ip.flow_label()), (whole.len(), 7));
                    Expected::Whole(whole[40 + before..].to_vec())
                }
                Ok(Some(whole)) => {
                    let ip = Ipv4::parse(&whole).unwrap();
                    prop_assert!(ip.checksum_holds() && !ip.is_fragment() && ip.total_len() == whole.len());
                    Expected::Whole(ip.payload().to_vec())
                }
                Err(why) => Expected::Refused(why),
            };
            let expected = oracles[n].give(id, from, to, last);
            // A datagram that is whole is forgotten: what comes after it begins a new one.
            if from + usize::from(!last) != 0 && matches!(expected, Expected::Whole(_)) {
                oracles[n] = Oracle::default();
            }
            prop_assert_eq!(got, expected);
            bench.check();
        }
        bench.now.ms += PATIENCE_MS;
        let Bench { reassembly, pool, stats, now } = &mut bench;
        reassembly.expire(pool, stats, *now);
        prop_assert!(bench.reassembly.is_empty());
        bench.check();
        prop_assert_eq!(bench.pool.available(), FRAMES as usize);
    }

    #[test]
    fn any_bytes(v6: bool, list in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..40)) {
        let mut bench = Bench::new();
        for mut bytes in list {
            if let Some(first) = bytes.first_mut() {
                *first = if v6 { 0x60 } else { 0x45 };
            }
            let (at, len, next) = if v6 { (4, 24, 6) } else { (2, 40, 9) };
            if let Some(field) = bytes.get_mut(at..at + 2) {
                field.copy_from_slice(&[0, len]);
            }
            if let Some(field) = bytes.get_mut(next) {
                *field = 44;
            }
            let _ = bench.give(&bytes);
            bench.check();
        }
    }
}

/// A flood of one source pushes out its own fragments, not a peer's; and time ends what nobody finishes.
#[test]
fn a_flood_costs_its_sender_alone() {
    let mut bench = Bench::new();
    let (peer, stranger) = (0xc612_0002, 0x0a00_0001);
    assert_eq!(bench.give(&fragment(peer, 7, 0, 800, false)), Ok(None));
    for id in 0..5000 {
        assert_eq!(bench.give(&fragment(stranger, id, 0, 80, false)), Ok(None));
        bench.check();
    }
    assert_eq!(bench.give(&fragment(stranger, 4999, 80, 88, true)).map(|w| w.is_some()), Ok(true));
    let whole = bench.give(&fragment(peer, 7, 800, 1000, true)).unwrap().unwrap();
    assert_eq!(whole.len(), HEADER + 1000);
    assert!(bench.stats.dropped(Drop::FragmentFlood) >= 4900);
    bench.now.ms += PATIENCE_MS - 1;
    assert_eq!(bench.give(&fragment(peer, 8, 0, 8, false)), Ok(None));
    assert_eq!(bench.stats.dropped(Drop::FragmentTimeout), 0);
    bench.now.ms += 1;
    assert_eq!(bench.give(&fragment(peer, 8, 16, 24, false)), Ok(None));
    assert!(bench.stats.dropped(Drop::FragmentTimeout) > 0);
    assert_eq!(bench.waiting(), 2, "of the one that came a moment ago");
    bench.check();
}

/// Who has a network of IPv6 has no more than who has an address of IPv4.
#[test]
fn a_flood_from_all_addresses_of_a_network_costs_it_alone() {
    let mut bench = Bench::new();
    assert_eq!(bench.give(&fragment6(1, 7, 0, 800, false)), Ok(None));
    for host in 0..1000u64 {
        let mut part = fragment6(1, 9, 0, 80, false);
        part[8..16].copy_from_slice(&0x2001_0db8_0000_0666u64.to_be_bytes());
        part[16..24].copy_from_slice(&host.to_be_bytes());
        assert_eq!(bench.give(&part), Ok(None));
    }
    assert!(bench.give(&fragment6(1, 7, 800, 1000, true)).unwrap().is_some());
    assert!(bench.stats.dropped(Drop::FragmentFlood) >= 900);
    bench.check();
}

/// Too many small ones, or too much for a frame: refused, with all that waited.
#[test]
fn what_no_frame_can_hold_is_refused() {
    let mut bench = Bench::new();
    assert_eq!(bench.give(&fragment(1, 1, 0, 1400, false)), Ok(None));
    assert_eq!(bench.give(&fragment(1, 1, 1400, 2800, true)), Err(Drop::FrameTooSmall));
    assert_eq!(bench.waiting(), 0);
    for n in 0..MAX_PARTS {
        assert_eq!(bench.give(&fragment(1, 2, n * 8, n * 8 + 8, false)), Ok(None));
    }
    assert_eq!(bench.give(&fragment(1, 2, 800, 808, true)), Err(Drop::FragmentFlood));
    for bad in [fragment(1, 3, 0, 9, false), fragment(1, 3, 0, 0, true), fragment(1, 3, 65_528, 65_533, true)]
    {
        assert_eq!(bench.give(&bad), Err(Drop::Malformed));
    }
    bench.check();
}

/// RFC 6946: a packet that is its own only fragment is whole at once, whatever waits under its number.
#[test]
fn an_atomic_fragment_waits_for_nobody() {
    let mut bench = Bench::new();
    for id in 0..3 {
        assert_eq!(bench.give(&fragment6(1, id, 0, 80, false)), Ok(None));
        let whole = bench.give(&fragment6(1, id, 0, 33, true)).unwrap().unwrap();
        let ip = Ipv6::parse(&whole).unwrap();
        let before = BEFORE[usize::from(id)].len();
        assert_eq!(ip.chain().end, Some((50, 40 + before)));
        assert_eq!(whole[40 + before..], (0..33).map(|at| byte(id, at)).collect::<Vec<_>>());
        assert!(bench.give(&fragment6(1, id, 80, 81, true)).unwrap().is_some(), "the other is not touched");
    }
    bench.check();
}

/// The two families and their numbers are apart; and lengths that no packet has are refused.
#[test]
fn ipv6_has_numbers_and_lengths_of_its_own() {
    let mut bench = Bench::new();
    assert_eq!(bench.give(&fragment6(5, 1, 0, 8, false)), Ok(None));
    assert_eq!(bench.give(&fragment(5, 1, 8, 16, true)), Ok(None));
    for bad in
        [fragment6(5, 3, 0, 9, false), fragment6(5, 3, 8, 8, true), fragment6(5, 4, 65_528, 65_533, true)]
    {
        assert_eq!(bench.give(&bad), Err(Drop::Malformed), "id 4 has eight bytes of options before");
    }
    assert_eq!(bench.give(&fragment6(5, 3, 65_528, 65_533, true)), Ok(None), "one that may be");
    bench.check();
}
