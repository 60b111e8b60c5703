//! The layout is pinned: a change of any figure here needs a new [`VERSION`].

use super::*;
use crate::codec::{Malformed, Reader, Writer};
use crate::msg::*;
use crate::setup::ReversePath;
use proptest::prelude::*;
use ravelin_wire::{AddrRange, PortRange, Prefix, Selector, Spi};
use std::net::{IpAddr, SocketAddr};

/// Rises with the layout: change both together.
#[test]
fn sizes_are_pinned_to_the_version() {
    let sizes = [
        WorkerCommand::WORDS,
        WorkerEvent::WORDS,
        TableCommand::WORDS,
        TableEvent::WORDS,
        Counter::COUNT,
        Drop::COUNT,
        XdpCounter::COUNT,
        SocketCounter::COUNT,
        Plan::new(1, 2).unwrap().words(),
        Plan::new(3, 2).unwrap().words(),
    ];
    assert_eq!((VERSION, sizes), (21, [34, 16, 16, 4, 32, 88, 5, 5, 118_560, 221_344]));
}

#[test]
fn parts_do_not_overlap() {
    let plan = Plan::new(3, 2).unwrap();
    let mut parts = vec![(0, HEADER_WORDS)];
    for w in 0..3 {
        parts.push((plan.worker_commands(w), ring_words::<WorkerCommand>(WORKER_COMMANDS)));
        parts.push((plan.worker_events(w), ring_words::<WorkerEvent>(WORKER_EVENTS)));
        parts.push((plan.worker_counters(w), WORKER_BLOCK));
    }
    parts.push((plan.table_commands(), ring_words::<TableCommand>(TABLE_COMMANDS)));
    parts.push((plan.table_events(), ring_words::<TableEvent>(TABLE_EVENTS)));
    for p in 0..2 {
        parts.push((plan.port_counters(p), PORT_BLOCK));
    }
    parts.sort_unstable();
    for pair in parts.windows(2) {
        assert!(pair[0].0 + pair[0].1 <= pair[1].0, "{pair:?}");
    }
    let last = parts.last().unwrap();
    assert_eq!(last.0 + last.1, plan.words());
    assert!(Plan::new(0, 1).is_none() && Plan::new(65, 1).is_none() && Plan::new(1, 0).is_none());
}

fn encoded<M: Message>(message: &M) -> (Vec<u8>, usize) {
    let mut bytes = vec![0; M::WORDS * 8];
    let mut writer = Writer::new(&mut bytes);
    message.encode(&mut writer);
    let left = writer.left();
    (bytes, left)
}

fn addr() -> impl Strategy<Value = IpAddr> {
    prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)]
}

fn socket() -> impl Strategy<Value = SocketAddr> {
    (addr(), any::<u16>()).prop_map(|(a, p)| SocketAddr::new(a, p))
}

fn range() -> impl Strategy<Value = AddrRange> {
    (any::<u32>(), any::<u32>()).prop_map(|(a, b)| {
        let v4 = |x: u32| IpAddr::from(x.to_be_bytes());
        AddrRange::new(v4(a.min(b)), v4(a.max(b))).unwrap()
    })
}

fn selector() -> impl Strategy<Value = Selector> {
    (range(), range(), any::<Option<u8>>(), any::<u16>()).prop_map(|(local, remote, protocol, port)| {
        Selector {
            local,
            remote,
            protocol,
            local_ports: PortRange::new(port, u16::MAX).unwrap(),
            remote_ports: PortRange::ANY,
        }
    })
}

fn spi() -> impl Strategy<Value = Spi> {
    (256u32..).prop_map(|raw| Spi::try_from(raw).unwrap())
}

fn suites() -> impl Strategy<Value = Suite> {
    prop_oneof![
        Just(Suite::Aes128Gcm16),
        Just(Suite::ChaCha20Poly1305),
        Just(Suite::AhSha512),
        Just(Suite::AhGmac192)
    ]
}

fn modes() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Tunnel), Just(Mode::Transport)]
}

fn directions() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::Inbound), Just(Direction::Outbound)]
}

fn spec() -> impl Strategy<Value = SaSpec> {
    let ids = (any::<u64>(), any::<u32>(), spi(), suites(), directions());
    let key = proptest::collection::vec(any::<u8>(), 0..=KeyMaterial::MAX);
    let rest =
        (any::<bool>(), socket(), socket(), modes(), any::<u32>(), any::<[u16; 3]>(), any::<[u64; 5]>());
    (ids, key, rest).prop_map(
        |((id, tunnel, spi, suite, direction), key, (esn, local, remote, mode, w, [mtu, tfc, n], l))| {
            SaSpec {
                id: SaId(id),
                tunnel: TunnelId(tunnel),
                direction,
                spi,
                suite,
                keys: KeyMaterial::new(&key).unwrap(),
                esn,
                local,
                remote,
                mode,
                replay_window: w,
                tunnel_mtu: mtu,
                outer_df: OuterDf::Copy,
                tfc,
                extras: Extras {
                    sequence: l[4],
                    multipath: mtu,
                    shared: esn,
                    rules: Rules::from_bits(tfc.to_be_bytes()[1] & 15).unwrap(),
                    partner: esn.then_some(SaId(l[0])),
                    outside: VrfId(mtu),
                    inside: VrfId(n),
                    filtered: esn,
                },
                soft_bytes: l[0],
                hard_bytes: l[1],
                soft_packets: l[2],
                hard_packets: l[3],
                selectors: n,
            }
        },
    )
}

fn worker_command() -> impl Strategy<Value = WorkerCommand> {
    let token = || any::<u64>().prop_map(Token);
    let sa = || any::<u64>().prop_map(SaId);
    let tunnel = || any::<u32>().prop_map(TunnelId);
    prop_oneof![
        (sa(), selector()).prop_map(|(sa, selector)| WorkerCommand::SaSelector { sa, selector }),
        (token(), spec()).prop_map(|(token, s)| WorkerCommand::InstallSa { token, spec: Box::new(s) }),
        (token(), tunnel(), sa(), any::<u16>()).prop_map(|(token, tunnel, sa, w)| {
            WorkerCommand::UseOutbound { token, tunnel, sa, owner: WorkerId(w) }
        }),
        (token(), tunnel()).prop_map(|(token, tunnel)| WorkerCommand::StopOutbound { token, tunnel }),
        (token(), sa()).prop_map(|(token, sa)| WorkerCommand::RemoveSa { token, sa }),
        (token(), sa(), socket(), socket()).prop_map(|(token, sa, local, remote)| WorkerCommand::MoveSa {
            token,
            sa,
            local,
            remote
        }),
        token().prop_map(|token| WorkerCommand::ReportSas { token }),
        (token(), any::<u64>(), any::<u16>()).prop_map(|(token, sa, mtu)| WorkerCommand::PathMtu {
            token,
            sa: SaId(sa),
            mtu
        }),
    ]
}

fn report() -> impl Strategy<Value = SaReport> {
    let ids = (any::<u64>(), any::<u32>(), spi(), suites(), directions());
    (ids, modes(), socket(), socket(), any::<[u64; 7]>(), any::<bool>()).prop_map(
        |((id, tunnel, spi, suite, direction), mode, local, remote, n, in_use)| SaReport {
            id: SaId(id),
            tunnel: TunnelId(tunnel),
            direction,
            spi,
            suite,
            mode,
            local,
            remote,
            sequence: n[0],
            packets: n[1],
            bytes: n[2],
            replay_drops: n[3],
            icv_drops: n[4],
            selector_drops: n[5],
            idle_ms: n[6],
            in_use,
            outside: VrfId(local.port()),
            inside: VrfId(remote.port()),
            filtered: !in_use,
        },
    )
}

fn worker_event() -> impl Strategy<Value = WorkerEvent> {
    let sa = || any::<u64>().prop_map(SaId);
    let limits = || prop_oneof![Just(Limit::Bytes), Just(Limit::Packets), Just(Limit::Sequence)];
    let outcomes = prop_oneof![Just(Outcome::Ok), Just(Outcome::Refused), Just(Outcome::Full)];
    prop_oneof![
        (any::<u64>(), outcomes).prop_map(|(t, outcome)| WorkerEvent::Done { token: Token(t), outcome }),
        report().prop_map(|r| WorkerEvent::SaReport(Box::new(r))),
        (sa(), limits()).prop_map(|(sa, limit)| WorkerEvent::SoftLimit { sa, limit }),
        (sa(), limits()).prop_map(|(sa, limit)| WorkerEvent::HardLimit { sa, limit }),
        sa().prop_map(|sa| WorkerEvent::FirstPacket { sa }),
        (sa(), socket()).prop_map(|(sa, from)| WorkerEvent::PeerMoved { sa, from }),
        (any::<u32>(), addr(), addr(), any::<u8>(), any::<(u16, u16)>()).prop_map(
            |(t, source, destination, protocol, ports)| WorkerEvent::Acquire {
                tunnel: TunnelId(t),
                source,
                destination,
                protocol,
                ports
            }
        ),
        (any::<u16>(), addr()).prop_map(|(p, addr)| WorkerEvent::NeighbourNeeded { port: PortId(p), addr }),
        (any::<u32>(), addr()).prop_map(|(spi, from)| WorkerEvent::UnknownSpi { spi, from }),
    ]
}

fn nat_rule() -> impl Strategy<Value = NatRule> {
    let kind = prop_oneof![
        Just(NatKind::Exempt),
        Just(NatKind::Source),
        Just(NatKind::Destination),
        Just(NatKind::Static)
    ];
    let rest = (any::<u8>(), any::<u16>(), any::<Option<u16>>(), any::<[bool; 2]>(), any::<u32>());
    (kind, [range(), range(), range()], rest).prop_map(
        |(kind, [from, to, target], (protocols, port, leaves, [tunnel, own], line))| NatRule {
            kind,
            from,
            to,
            target,
            protocols,
            ports: PortRange::new(port, u16::MAX).unwrap(),
            target_ports: PortRange::new(0, port).unwrap(),
            port: leaves.map(PortId),
            tunnel,
            own,
            line,
        },
    )
}

fn nat_settings() -> impl Strategy<Value = NatSettings> {
    (1..=NatSettings::MAX_FLOWS, any::<[u32; 6]>(), any::<bool>()).prop_map(
        |(flows, [per_host, udp_s, tcp_s, tcp_transitory_s, icmp_s, other_s], open)| NatSettings {
            flows,
            per_host,
            udp_s,
            tcp_s,
            tcp_transitory_s,
            icmp_s,
            other_s,
            endpoint_independent_filter: open,
        },
    )
}

fn vrf_part() -> impl Strategy<Value = VrfPart> {
    prop_oneof![
        any::<u16>().prop_map(|n| VrfPart::Port(PortId(n))),
        any::<u16>().prop_map(|n| VrfPart::Interface(InterfaceId(n))),
        range().prop_map(VrfPart::Protected),
        nat_rule().prop_map(VrfPart::Nat),
        (addr(), 0u8..=32, any::<bool>()).prop_map(|(addr, len, add)| {
            let prefix = Prefix::of(addr, len).unwrap();
            let route = Route { prefix, next_hop: NextHop::Blackhole };
            if add { VrfPart::AddRoute(route) } else { VrfPart::RemoveRoute(route) }
        }),
        (selector(), any::<(u32, u32, bool)>()).prop_map(|(selector, (order, line, hold))| {
            VrfPart::Policy(Policy { order, selector, action: Action::Bypass, hold, line })
        }),
    ]
}

fn behind() -> impl Strategy<Value = Behind> {
    let tunnel =
        any::<(u32, bool)>().prop_map(|(tunnel, hold)| Behind::Tunnel { tunnel: TunnelId(tunnel), hold });
    let ends = prop_oneof![
        any::<[[u8; 4]; 2]>().prop_map(|[a, b]| (IpAddr::from(a), IpAddr::from(b))),
        any::<[[u8; 16]; 2]>().prop_map(|[a, b]| (IpAddr::from(a), IpAddr::from(b))),
    ];
    let gre = (ends, any::<(Option<u32>, bool, bool, u16, Option<u32>)>());
    let gre = gre.prop_map(|((local, remote), (key, checksum, sequence, mtu, tunnel))| {
        Behind::Gre(Gre { local, remote, key, checksum, sequence, mtu, tunnel: tunnel.map(TunnelId) })
    });
    prop_oneof![tunnel, gre]
}

fn table_command() -> impl Strategy<Value = TableCommand> {
    let port = || any::<u16>().prop_map(PortId);
    let prefix = || (addr(), 0u8..=32).prop_map(|(a, len)| Prefix::of(a, len).unwrap());
    let hop = prop_oneof![
        (port(), proptest::option::of(addr())).prop_map(|(port, gateway)| NextHop::Port { port, gateway }),
        Just(NextHop::Local),
        Just(NextHop::Tunnel),
        Just(NextHop::Kernel),
        Just(NextHop::Blackhole),
        any::<u16>().prop_map(|id| NextHop::Interface(InterfaceId(id))),
    ];
    let action = prop_oneof![
        any::<u32>().prop_map(|t| Action::Protect(TunnelId(t))),
        Just(Action::Bypass),
        Just(Action::Discard),
    ];
    let route = (prefix(), hop).prop_map(|(prefix, next_hop)| Route { prefix, next_hop });
    prop_oneof![
        (any::<u32>(), selector(), action, any::<bool>(), any::<u32>()).prop_map(
            |(order, selector, action, hold, line)| {
                TableCommand::AddPolicy(Policy { order, selector, action, hold, line })
            }
        ),
        (route, any::<bool>()).prop_map(|(route, add)| {
            if add { TableCommand::AddRoute(route) } else { TableCommand::RemoveRoute(route) }
        }),
        (port(), addr(), any::<[u8; 6]>())
            .prop_map(|(port, addr, mac)| TableCommand::SetNeighbour(Neighbour { port, addr, mac })),
        (port(), addr()).prop_map(|(port, addr)| TableCommand::RemoveNeighbour { port, addr }),
        (port(), any::<[u8; 6]>(), any::<u16>(), any::<bool>())
            .prop_map(|(port, mac, mtu, up)| TableCommand::SetPort(Port { port, mac, mtu, up })),
        addr().prop_map(TableCommand::AddGatewayAddress),
        range().prop_map(TableCommand::AddProtectedRange),
        nat_rule().prop_map(TableCommand::AddNat),
        nat_settings().prop_map(TableCommand::SetNat),
        Just(TableCommand::ClearNat),
        (any::<u32>(), any::<u16>())
            .prop_map(|(tunnel, mss)| TableCommand::AddMss { tunnel: TunnelId(tunnel), mss }),
        (any::<u32>(), selector())
            .prop_map(|(tunnel, selector)| TableCommand::AddFilter { tunnel: TunnelId(tunnel), selector }),
        any::<u64>().prop_map(|g| TableCommand::Commit { generation: Generation(g) }),
        ("[a-z]{1,11}[0-9.-]{0,3}", any::<u16>(), behind()).prop_map(|(name, id, behind)| {
            TableCommand::AddInterface(Interface {
                id: InterfaceId(id),
                name: InterfaceName::new(&name).unwrap(),
                behind,
                reverse_path: ReversePath::Loose,
            })
        }),
        (any::<u16>(), vrf_part()).prop_map(|(vrf, part)| TableCommand::InVrf { vrf: VrfId(vrf), part }),
        Just(TableCommand::ClearInterfaces),
        Just(TableCommand::ClearAdmissions),
        (port(), any::<[u16; 2]>()).prop_map(|(port, ike_ports)| TableCommand::AdmitVpn { port, ike_ports }),
        (port(), range()).prop_map(|(port, range)| TableCommand::AdmitFrom { port, range }),
        Just(TableCommand::ClearPolicies),
        Just(TableCommand::ClearRoutes),
        Just(TableCommand::ClearGatewayAddresses),
        Just(TableCommand::ClearProtectedRanges),
    ]
}

/// Debug text hides keys, so the keys are compared apart.
fn keys_of(command: &WorkerCommand) -> Option<Vec<u8>> {
    if let WorkerCommand::InstallSa { spec, .. } = command {
        Some(spec.keys.as_slice().to_vec())
    } else {
        None
    }
}

fn decoded<M: Message>(bytes: &[u8]) -> Result<M, Malformed> {
    M::decode(&mut Reader::new(bytes))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn worker_commands_round_trip(command in worker_command()) {
        let (bytes, _) = encoded(&command);
        let back: WorkerCommand = decoded(&bytes).unwrap();
        prop_assert_eq!(format!("{back:?}"), format!("{command:?}"));
        prop_assert_eq!(keys_of(&back), keys_of(&command));
    }

    #[test]
    fn worker_events_round_trip(event in worker_event()) {
        prop_assert_eq!(decoded::<WorkerEvent>(&encoded(&event).0), Ok(event));
    }

    #[test]
    fn table_commands_round_trip(command in table_command()) {
        prop_assert_eq!(decoded::<TableCommand>(&encoded(&command).0), Ok(command));
    }

    /// Bytes of a stranger, and lawful messages with one byte changed: a message or an error, never a panic.
    #[test]
    fn any_bytes_are_a_message_or_an_error(
        bytes in any::<[u8; 33 * 8]>(),
        command in worker_command(),
        at in 0usize..33 * 8,
        tag in 0u8..16,
    ) {
        let mut bytes = bytes;
        bytes[0] = tag;
        let _ = decoded::<WorkerCommand>(&bytes);
        let _ = decoded::<WorkerEvent>(&bytes[..16 * 8]);
        let _ = decoded::<TableCommand>(&bytes[..16 * 8]);
        let _ = decoded::<TableEvent>(&bytes[..4 * 8]);
        let (mut changed, _) = encoded(&command);
        changed[at] ^= bytes[1];
        let _ = decoded::<WorkerCommand>(&changed);
    }
}

#[test]
fn table_events_round_trip_and_unknown_tags_are_refused() {
    for event in [
        TableEvent::Committed { generation: Generation(7) },
        TableEvent::Refused { generation: Generation(u64::MAX) },
        TableEvent::PortState { port: PortId(3), attached: true },
    ] {
        assert_eq!(decoded::<TableEvent>(&encoded(&event).0), Ok(event));
    }
    for tag in [0, 99] {
        let mut bytes = [0; 33 * 8];
        bytes[0] = tag;
        assert!(decoded::<WorkerCommand>(&bytes).is_err());
        assert!(decoded::<WorkerEvent>(&bytes).is_err());
        assert!(decoded::<TableCommand>(&bytes).is_err());
        assert!(decoded::<TableEvent>(&bytes).is_err());
    }
}

// R218: a reserved SPI does not pass the ring.
#[test]
fn lies_inside_of_a_message_are_refused() {
    let mut bytes = [0u8; 33 * 8];
    bytes[0] = 2; // InstallSa: token 8, id 8, tunnel 4, direction 1, SPI at 22
    assert_eq!(decoded::<WorkerCommand>(&bytes).unwrap_err(), Malformed("reserved SPI"));
    bytes[23] = 1; // SPI 256
    bytes[26] = 1; // suite
    bytes[27] = 200; // key length beyond the field
    assert_eq!(decoded::<WorkerCommand>(&bytes).unwrap_err(), Malformed("key length"));
}
