use super::*;
use proptest::prelude::*;
use ravelin_wire::Prefix;
use std::net::Ipv4Addr;

fn range(a: u32, b: u32) -> AddrRange {
    AddrRange::new(Ipv4Addr::from_bits(a.min(b)).into(), Ipv4Addr::from_bits(a.max(b)).into()).unwrap()
}

/// First match in order; hidden ports are tried with every port that any policy speaks of.
fn linear(policies: &[Policy], q: &Query) -> Answer {
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
            || !s.local.contains(Ipv4Addr::from_bits(q.local).into())
            || !s.remote.contains(Ipv4Addr::from_bits(q.remote).into())
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
    fn policies()(list in proptest::collection::vec(
        (a_range(), a_range(), proptest::option::of(prop_oneof![Just(6u8), Just(17), Just(1)]), 0u8..3, action()), 0..12),
        shuffle in any::<u32>()) -> Vec<Policy> {
        list.into_iter().enumerate().map(|(i, (local, remote, protocol, ports, action))| {
            let ports = match (protocol, ports) {
                (Some(_), 1) => PortRange::new(80, 443).unwrap(),
                (Some(_), 2) => PortRange::new(80, 80).unwrap(),
                _ => PortRange::ANY,
            };
            let selector = Selector { local, remote, protocol, local_ports: PortRange::ANY, remote_ports: ports };
            let order = (i as u32).wrapping_mul(2_654_435_761).wrapping_add(shuffle);
            Policy { order, selector, action, hold: false, line: 0 }
        }).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn agrees_with_a_linear_search(list in policies(), probes in proptest::collection::vec(
        (0u32..1100, 0u32..1100, prop_oneof![Just(6u8), Just(17), Just(1), Just(47)], proptest::option::of((0u16..500, 0u16..500))), 30)) {
        let spd = Spd::compile(&list);
        for (l, r, protocol, ports) in probes {
            let query = Query { local: 0x0a00_0000 + l, remote: 0x0a00_0000 + r, protocol, ports };
            prop_assert_eq!(spd.lookup(&query).0, linear(&list, &query), "{:?}", query);
        }
    }

    #[test]
    fn prefixes_are_exactly_the_range(a: u32, b: u32, probe: u32, near in 0u64..64) {
        let (start, end) = (a.min(b), a.max(b));
        let list = prefixes((start, end));
        prop_assert!(list.len() <= 62);
        let edge = |x: u32| (u64::from(x) + near).saturating_sub(32).min(u64::from(u32::MAX)) as u32;
        for p in [probe, edge(start), edge(end)] {
            let holds = list.iter().filter(|(addr, len)| p & mask(*len) == *addr).count();
            prop_assert_eq!(holds, usize::from(start <= p && p <= end));
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
    assert_eq!((spd.tuples.len(), spd.ranges.len()), (1, 0));
    let q = Query { local: 0x0a01_0005, remote: 0x0b03_e705, protocol: 6, ports: None };
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
    let web = [SaSelector::new(&selector(PortRange::new(80, 80).unwrap())).unwrap()];
    let query = |remote, protocol, ports| Query { local: 0x0a01_0001, remote, protocol, ports };
    assert_eq!(SaSelector::fit(&web, &query(0x0a02_0001, 6, Some((9, 80)))), Fit::Inside);
    assert_eq!(SaSelector::fit(&web, &query(0x0a02_0001, 6, Some((9, 81)))), Fit::Outside);
    assert_eq!(SaSelector::fit(&web, &query(0x0a02_0001, 6, None)), Fit::Unknown);
    assert_eq!(SaSelector::fit(&web, &query(0x0a02_0001, 17, None)), Fit::Outside);
    assert_eq!(SaSelector::fit(&web, &query(0x0a03_0001, 6, Some((9, 80)))), Fit::Outside);
    assert_eq!(SaSelector::fit(&[], &query(0x0a02_0001, 6, None)), Fit::Outside);
}
