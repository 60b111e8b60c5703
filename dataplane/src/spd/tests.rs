use super::family::Family;
use super::*;
use proptest::prelude::*;
use ravelin_wire::{AddrRange, PortRange, Prefix, Selector};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

fn range(a: u32, b: u32) -> AddrRange {
    AddrRange::new(Ipv4Addr::from_bits(a.min(b)).into(), Ipv4Addr::from_bits(a.max(b)).into()).unwrap()
}

/// An address of either family, from its number.
struct Bits(IpAddr);

impl From<u32> for Bits {
    fn from(bits: u32) -> Self {
        Self(Ipv4Addr::from_bits(bits).into())
    }
}

impl From<u128> for Bits {
    fn from(bits: u128) -> Self {
        Self(Ipv6Addr::from_bits(bits).into())
    }
}

/// First match in order; hidden ports are tried with every port that any policy speaks of.
fn linear<A: Family + Into<Bits>>(policies: &[Policy], q: &Asked<A>) -> Answer {
    let (local, remote) = (q.local.into().0, q.remote.into().0);
    let mut sorted: Vec<&Policy> = policies.iter().collect();
    sorted.sort_by_key(|p| p.order);
    let mut tunnels: Vec<TunnelId> = vec![];
    let mut answer = None;
    let mut maybe: Vec<Answer> = vec![];
    for p in sorted {
        let this = match p.action {
            Action::Protect(t) => {
                let at = tunnels.iter().position(|x| *x == t).unwrap_or_else(|| {
                    tunnels.push(t);
                    tunnels.len() - 1
                });
                Answer::Protect(at as u32)
            }
            Action::Bypass => Answer::Bypass,
            Action::Discard => Answer::Discard,
        };
        let s = p.selector;
        if answer.is_some()
            || !s.local.contains(local)
            || !s.remote.contains(remote)
            || s.protocol.is_some_and(|x| x != q.protocol)
        {
            continue;
        }
        let any = s.local_ports == PortRange::ANY && s.remote_ports == PortRange::ANY;
        match q.ports {
            _ if any => answer = Some(this),
            None => maybe.push(this),
            Some((l, r)) if s.local_ports.contains(l) && s.remote_ports.contains(r) => answer = Some(this),
            Some(_) => {}
        }
    }
    let answer = answer.unwrap_or(Answer::Bypass);
    if maybe.iter().any(|m| *m != answer) { Answer::Unknown } else { answer }
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        (0u32..4).prop_map(|t| Action::Protect(TunnelId(t))),
        Just(Action::Bypass),
        Just(Action::Discard)
    ]
}

/// Where the addresses of the IPv6 policies lie; those of IPv4 lie at 10.0.0.0.
const NET: u128 = 0x2001_0db8_0000_0000_0000_0000_0000_0000;

fn range6(a: u128, b: u128) -> AddrRange {
    AddrRange::new(Ipv6Addr::from_bits(a.min(b)).into(), Ipv6Addr::from_bits(a.max(b)).into()).unwrap()
}

prop_compose! {
    fn a_range()(kind in 0u8..4, a in 0u32..1024, b in 0u32..1024, len in 20u8..=32, wild: u32) -> AddrRange {
        let base = 0x0a00_0000;
        match kind {
            0 => AddrRange::from(Prefix::of(Ipv4Addr::from_bits(base + a).into(), len).unwrap()),
            1 => range(base + a, base + b),
            2 => AddrRange::ANY_V4,
            _ => range(base + a, wild),
        }
    }
}

prop_compose! {
    /// Half of the small numbers stand in the upper half of the address, so that prefixes of all lengths nest.
    fn a_range6()(kind in 0u8..5, a in 0u128..1024, b in 0u128..1024, len in 0u8..=128, wild: u128, high: bool) -> AddrRange {
        let shift = if high { 64 } else { 0 };
        match kind {
            0 | 1 => AddrRange::from(Prefix::of(Ipv6Addr::from_bits(NET + (a << shift)).into(), len).unwrap()),
            2 => range6(NET + (a << shift), NET + (b << shift)),
            3 => AddrRange::ANY_V6,
            _ => range6(NET + a, wild),
        }
    }
}

prop_compose! {
    fn policies()(list in proptest::collection::vec(
        (prop_oneof![(a_range(), a_range()), (a_range6(), a_range6())],
         proptest::option::of(prop_oneof![Just(6u8), Just(17), Just(1)]), 0u8..3, action()), 0..16),
        shuffle in any::<u32>()) -> Vec<Policy> {
        list.into_iter().enumerate().map(|(i, ((local, remote), protocol, ports, action))| {
            let ports = match (protocol, ports) {
                (Some(_), 1) => PortRange::new(80, 443).unwrap(),
                (Some(_), 2) => PortRange::new(80, 80).unwrap(),
                _ => PortRange::ANY,
            };
            let selector = Selector { local, remote, protocol, local_ports: PortRange::ANY, remote_ports: ports };
            // Some have the same.
            let order = (i as u32).wrapping_mul(2_654_435_761).wrapping_add(shuffle) >> 29;
            Policy { order, selector, action, hold: false, line: 0 }
        }).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    // R130, R151, RFC 4301 §4.4.1: the first policy in order decides, of either family, and neither says anything of the other's.
    #[test]
    fn agrees_with_a_linear_search(list in policies(), probes in proptest::collection::vec(
        (0u32..1100, 0u32..1100, prop_oneof![Just(6u8), Just(17), Just(1), Just(47)], proptest::option::of((0u16..500, 0u16..500)), 0u8..4), 30)) {
        let spd = Spd::compile(&list);
        for (l, r, protocol, ports, shifts) in probes {
            let asked = Asked { local: 0x0a00_0000 + l, remote: 0x0a00_0000 + r, protocol, ports };
            prop_assert_eq!(spd.lookup(&Query::V4(asked)).0, linear(&list, &asked), "{:?}", asked);
            let at = |n: u32, high: bool| NET + (u128::from(n) << if high { 64 } else { 0 });
            let (local, remote) = (at(l, shifts & 1 == 1), at(r, shifts & 2 == 2));
            let asked = Asked { local, remote, protocol, ports };
            prop_assert_eq!(spd.lookup(&Query::V6(asked)).0, linear(&list, &asked), "{:?}", asked);
        }
    }
}

#[test]
fn a_thousand_tunnels_are_one_tuple() {
    let list: Vec<Policy> = (0..1000u32)
        .map(|n| Policy {
            order: n,
            selector: Selector {
                local: range(0x0a01_0000, 0x0a01_00ff),
                remote: range(0x0b00_0000 + (n << 8), 0x0b00_00ff + (n << 8)),
                protocol: None,
                local_ports: PortRange::ANY,
                remote_ports: PortRange::ANY,
            },
            action: Action::Protect(TunnelId(n)),
            hold: false,
            line: 0,
        })
        .collect();
    let spd = Spd::compile(&list);
    assert_eq!((spd.v4.sizes(), spd.v6.sizes()), ((1, 0), (0, 0)));
    let q = Query::V4(Asked { local: 0x0a01_0005, remote: 0x0b03_e705, protocol: 6, ports: None });
    assert_eq!(spd.lookup(&q), (Answer::Protect(999), 999));
}

#[test]
fn an_sa_accepts_its_selectors_only() {
    let selector = |ports| Selector {
        local: range(0x0a01_0000, 0x0a01_00ff),
        remote: range(0x0a02_0000, 0x0a02_00ff),
        protocol: Some(6),
        local_ports: PortRange::ANY,
        remote_ports: ports,
    };
    let web = SaSelectors::new(&[selector(PortRange::new(80, 80).unwrap())]);
    let query = |remote, protocol, ports| Query::V4(Asked { local: 0x0a01_0001, remote, protocol, ports });
    assert_eq!(web.fit(&query(0x0a02_0001, 6, Some((9, 80)))), Fit::Inside);
    assert_eq!(web.fit(&query(0x0a02_0001, 6, Some((9, 81)))), Fit::Outside);
    assert_eq!(web.fit(&query(0x0a02_0001, 6, None)), Fit::Unknown);
    assert_eq!(web.fit(&query(0x0a02_0001, 17, None)), Fit::Outside);
    assert_eq!(web.fit(&query(0x0a03_0001, 6, Some((9, 80)))), Fit::Outside);
    assert_eq!(SaSelectors::default().fit(&query(0x0a02_0001, 6, None)), Fit::Outside);
    let any6 = Query::V6(Asked { local: NET, remote: NET, protocol: 6, ports: Some((9, 80)) });
    assert_eq!(web.fit(&any6), Fit::Outside, "the other family");
    let both = SaSelectors::new(&[
        selector(PortRange::ANY),
        Selector { local: AddrRange::ANY_V6, remote: AddrRange::ANY_V6, ..selector(PortRange::ANY) },
    ]);
    assert_eq!(both.fit(&any6), Fit::Inside);
    assert_eq!(both.fit(&query(0x0a02_0001, 6, Some((9, 9)))), Fit::Inside);
}
