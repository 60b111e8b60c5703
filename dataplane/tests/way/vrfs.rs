//! VRFs (R77, R132, R133): ports, devices and tunnels that belong to one have routes and policies of their own, whatever
//! addresses another one has too.

mod nat;
mod outside;

use crate::rig::{HOST_A, HOST_B, WAN_A, WAN_B, edit, ether, ip, mac, prefix, selector};
use proptest::prelude::*;
use ravelin_dataplane::{
    Batch, Bounds, Door, MAX_RECEIVED, Now, Origin, Packet, TableStore, Verdict, Worker, WorkerConfig,
};
use ravelin_ring::counters::Drop;
use ravelin_ring::msg::*;
use ravelin_ring::setup::ReversePath;
use ravelin_wire::icmp::Icmp;
use ravelin_wire::ipv4::Ipv4;
use ravelin_wire::{Prefix, Spi};
use ravelin_xsk::{FramePool, Umem, UmemConfig};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Port 0 is the main VRF's inside, 1 and 2 are those of VRFs 1 and 2, port 3 is the wan.
const WAN: PortId = PortId(3);
const DEVICES: [InterfaceId; 3] = [InterfaceId(0), InterfaceId(1), InterfaceId(2)];

/// Tunnel `n` is of VRF `n`; of `is_routed` those behind a device, and the others by policy.
struct Gate {
    worker: Worker,
    pool: FramePool,
    store: TableStore,
    batch: Batch,
    is_a: bool,
    /// The outside of a tunnel is in the tunnel's VRF.
    outside: bool,
    /// SAs are installed as if all tunnels were of the main VRF.
    inside_is_main: bool,
}

/// The SPI of an SA.
fn number(vrf: u16, toward_b: bool) -> u32 {
    0x1000 + u32::from(vrf) * 16 + if toward_b { 0 } else { 2 }
}

impl Gate {
    /// Both inside networks are those of every VRF.
    fn new(is_a: bool, is_routed: bool) -> Self {
        Self::of(is_a, is_routed, 1)
    }

    /// The first of so many workers; it owns all SAs.
    fn of(is_a: bool, is_routed: bool, workers: u16) -> Self {
        let config = UmemConfig { frames: 512, frame_size: 2048, ..UmemConfig::default() };
        let pool = Umem::new(config).unwrap().pools(1).remove(0);
        let worker = Worker::new(WorkerConfig { id: WorkerId(0), workers, max_sas: 64 });
        let store = TableStore::with_ports(vec![ReversePath::Strict; 4], None);
        let mut me =
            Self { worker, pool, store, batch: Batch::new(), is_a, outside: false, inside_is_main: false };
        me.links();
        for vrf in 0..3 {
            me.vrf(vrf, is_routed);
        }
        me.commit();
        for vrf in 0..3 {
            me.install(vrf);
        }
        me
    }

    fn set(&mut self, command: TableCommand) {
        assert_eq!(self.store.apply(&command), Ok(None));
    }

    fn commit(&mut self) {
        let generation = Generation(1);
        self.store.apply(&TableCommand::Commit { generation }).unwrap();
        self.worker.set_tables(self.store.compile(generation).unwrap());
    }

    fn links(&mut self) {
        let (own, peer, host) = if self.is_a { (WAN_A, WAN_B, HOST_A) } else { (WAN_B, WAN_A, HOST_B) };
        for n in 0..4 {
            let port = PortId(n);
            self.set(TableCommand::SetPort(Port { port, mac: mac(1 + n as u8), mtu: 1500, up: true }));
            let addr = if port == WAN { peer } else { host };
            let (addr, mac) = (addr.into(), mac(10 + n as u8));
            self.set(TableCommand::SetNeighbour(Neighbour { port, addr, mac }));
        }
        self.set(TableCommand::AddGatewayAddress(own.into()));
        let direct = NextHop::Port { port: WAN, gateway: None };
        self.set(TableCommand::AddRoute(Route { prefix: prefix("198.18.0.0/24"), next_hop: direct }));
    }

    fn vrf(&mut self, vrf: u16, is_routed: bool) {
        let (near, far, own) = if self.is_a {
            ("10.1.0.0/24", "10.2.0.0/24", "10.1.0.1/32")
        } else {
            ("10.2.0.0/24", "10.1.0.0/24", "10.2.0.1/32")
        };
        let inside = NextHop::Port { port: PortId(vrf), gateway: None };
        let mut routes = vec![(near, inside), (own, NextHop::Local)];
        let id = DEVICES[usize::from(vrf)];
        if is_routed {
            let behind = Behind::Tunnel { tunnel: TunnelId(vrf.into()), hold: false };
            let name = InterfaceName::new(&format!("t{vrf}")).unwrap();
            self.set(TableCommand::AddInterface(Interface {
                id,
                name,
                behind,
                reverse_path: ReversePath::Strict,
            }));
            routes.push((far, NextHop::Interface(id)));
        }
        let policy = Policy {
            order: 10,
            selector: selector(near, far),
            action: Action::Protect(TunnelId(vrf.into())),
            hold: false,
            line: 0,
        };
        let main = vrf == 0;
        let id_of = VrfId(vrf);
        for (text, next_hop) in routes {
            let route = Route { prefix: prefix(text), next_hop };
            let part = VrfPart::AddRoute(route);
            self.set(if main {
                TableCommand::AddRoute(route)
            } else {
                TableCommand::InVrf { vrf: id_of, part }
            });
        }
        if !is_routed {
            let part = VrfPart::Policy(policy);
            self.set(if main {
                TableCommand::AddPolicy(policy)
            } else {
                TableCommand::InVrf { vrf: id_of, part }
            });
        }
        if !main {
            self.set(TableCommand::InVrf { vrf: id_of, part: VrfPart::Port(PortId(vrf)) });
            if is_routed {
                self.set(TableCommand::InVrf { vrf: id_of, part: VrfPart::Interface(id) });
            }
        }
    }

    fn install(&mut self, vrf: u16) {
        for direction in [Direction::Inbound, Direction::Outbound] {
            let toward_b = self.is_a == (direction == Direction::Outbound);
            let id = SaId(u64::from(vrf) * 10 + u64::from(direction == Direction::Outbound) + 1);
            let (a, b) = (SocketAddr::new(WAN_A.into(), 0), SocketAddr::new(WAN_B.into(), 0));
            let (local, remote) = if self.is_a { (a, b) } else { (b, a) };
            let spec = SaSpec {
                id,
                tunnel: TunnelId(vrf.into()),
                direction,
                spi: Spi::try_from(number(vrf, toward_b)).unwrap(),
                local,
                remote,
                keys: KeyMaterial::new(&[vrf as u8 * 2 + u8::from(toward_b) + 1; 20]).unwrap(),
                ..crate::rig::Pair { suite: Suite::Aes128Gcm16, ..crate::rig::Pair::default() }
                    .spec(true, direction)
            };
            let outside = VrfId(if self.outside { vrf } else { 0 });
            let inside = VrfId(if self.inside_is_main { 0 } else { vrf });
            let extras = Extras { outside, inside, ..spec.extras };
            let spec = SaSpec { selectors: 1, extras, ..spec };
            let all = match (self.outside, self.is_a) {
                (false, _) => selector("0.0.0.0/0", "0.0.0.0/0"),
                (true, true) => selector("10.1.0.0/24", "10.2.0.0/24"),
                (true, false) => selector("10.2.0.0/24", "10.1.0.0/24"),
            };
            self.worker.apply(WorkerCommand::SaSelector { sa: id, selector: all });
            let token = Token(1);
            let done = self.worker.apply(WorkerCommand::InstallSa { token, spec: Box::new(spec) });
            assert_eq!(done, Some(WorkerEvent::Done { token, outcome: Outcome::Ok }));
            if direction == Direction::Outbound {
                let (tunnel, owner) = (TunnelId(vrf.into()), WorkerId(0));
                let used = self.worker.apply(WorkerCommand::UseOutbound { token, tunnel, sa: id, owner });
                assert_eq!(used, Some(WorkerEvent::Done { token, outcome: Outcome::Ok }));
            }
        }
    }

    fn run(&mut self, origin: Origin, bytes: &[u8]) -> Vec<(Verdict, Vec<u8>)> {
        let mut frame = self.pool.alloc().unwrap();
        assert!(frame.extend(bytes.len()));
        frame.data_mut().copy_from_slice(bytes);
        if let Origin::Port(port) = origin {
            frame.data_mut()[..6].copy_from_slice(&mac(1 + port.0 as u8));
        }
        self.batch.push(Packet::new(frame, origin)).unwrap();
        self.worker.process(&mut self.batch, &mut self.pool, Now { ms: 10_000 });
        self.worker.release(&mut self.batch, 0, &mut self.pool, Now { ms: 10_000 });
        let out = self.batch.packets.drain(..).map(|p| (p.verdict, p.frame)).collect::<Vec<_>>();
        out.into_iter()
            .map(|(verdict, frame)| {
                let bytes = frame.data().to_vec();
                self.pool.free(frame);
                (verdict, bytes)
            })
            .collect()
    }

    fn one(&mut self, port: u16, packet: &[u8]) -> (Verdict, Vec<u8>) {
        let mut out = self.run(Origin::Port(PortId(port)), &ether(packet));
        assert_eq!(out.len(), 1, "{out:?}");
        out.remove(0)
    }
}

/// The SPI of an ESP packet that leaves by the wan.
fn spi_of((verdict, bytes): &(Verdict, Vec<u8>)) -> u32 {
    assert_eq!(*verdict, Verdict::Forward { port: WAN });
    u32::from_be_bytes(bytes[34..38].try_into().unwrap())
}

// R132, R133: the same two hosts in each of three VRFs, by policy and by route, there and back, the flow known or not: each
// packet by its own VRF's SA, and out of the port of that VRF.
#[test]
fn the_same_addresses_in_three_vrfs_stay_apart() {
    for is_routed in [false, true] {
        let (mut a, mut b) = (Gate::new(true, is_routed), Gate::new(false, is_routed));
        for n in 0..3 {
            for vrf in 0..3 {
                let out = a.one(vrf, &ip(HOST_A, HOST_B, 100 + n));
                assert_eq!(spi_of(&out), number(vrf, true), "{is_routed} {vrf} {n}");
                let arrived = b.one(WAN.0, &out.1[14..]);
                assert_eq!(arrived.0, Verdict::Forward { port: PortId(vrf) }, "{is_routed} {n}");
                let back = b.one(vrf, &ip(HOST_B, HOST_A, 60));
                assert_eq!(spi_of(&back), number(vrf, false));
                assert_eq!(a.one(WAN.0, &back.1[14..]).0, Verdict::Forward { port: PortId(vrf) });
            }
        }
    }
}

// R17, R132: tables and SAs change one after the other. What comes out of an SA whose tunnel is in no VRF any more, or in another
// one, is nobody's: the main VRF's routes would lead it to another customer. Also where the last VRF went.
#[test]
fn an_sa_of_a_vrf_that_went_lets_nothing_out() {
    for is_routed in [false, true] {
        let (mut a, mut b) = (Gate::new(true, is_routed), Gate::new(false, is_routed));
        let mut arrive = |b: &mut Gate, vrf| {
            let out = a.one(vrf, &ip(HOST_A, HOST_B, 60));
            assert_eq!(spi_of(&out), number(vrf, true));
            b.one(WAN.0, &out.1[14..]).0
        };
        for vrf in [0, 1, 2, 0, 1, 2] {
            assert_eq!(arrive(&mut b, vrf), Verdict::Forward { port: PortId(vrf) });
        }
        for there in [&[0, 2][..], &[0]] {
            for clear in
                [TableCommand::ClearPolicies, TableCommand::ClearRoutes, TableCommand::ClearInterfaces]
            {
                b.set(clear);
            }
            b.links();
            there.iter().for_each(|vrf| b.vrf(*vrf, is_routed));
            b.commit();
            for vrf in 0..3 {
                let expected = match there.contains(&vrf) {
                    true => Verdict::Forward { port: PortId(vrf) },
                    false => Verdict::Drop(Drop::VrfInside),
                };
                assert_eq!(arrive(&mut b, vrf), expected, "{is_routed} {there:?} {vrf}");
            }
        }
        // Neither is what another worker had of it.
        let door = Door::Vrf(VrfId(2));
        let bytes = ip(HOST_B, HOST_A, 60);
        for sa in [11, 12, 21, 22] {
            b.worker.apply(WorkerCommand::RemoveSa { token: Token(1), sa: SaId(sa) });
        }
        let out = b.run(Origin::HandedIn { door, hops: 1, bounds: Bounds::NONE }, &bytes);
        assert!(matches!(out[0].0, Verdict::Drop(_)), "{:?}", out[0].0);
        // An SA of the main VRF, whose tunnel the tables have in another.
        let mut b = Gate::new(false, is_routed);
        for sa in [1, 2] {
            b.worker.apply(WorkerCommand::RemoveSa { token: Token(1), sa: SaId(10 + sa) });
        }
        b.inside_is_main = true;
        b.install(1);
        assert_eq!(arrive(&mut b, 1), Verdict::Drop(Drop::VrfInside));
    }
}

// R17: what a VRF protects says nothing about another one's clear traffic, nor do its routes help there: the same packet by a
// port of another one is not matched by the policy.
#[test]
fn policies_and_routes_end_where_their_vrf_does() {
    let mut b = Gate::new(false, false);
    let intruder = ip(HOST_A, HOST_B, 60);
    for vrf in 0..3 {
        assert_eq!(b.one(vrf, &intruder).0, Verdict::Drop(Drop::PlainOnProtected));
    }
    b.set(TableCommand::ClearPolicies);
    b.set(TableCommand::ClearRoutes);
    b.set(TableCommand::ClearInterfaces);
    b.links();
    b.vrf(1, false);
    b.commit();
    assert_eq!(b.one(1, &intruder).0, Verdict::Drop(Drop::PlainOnProtected));
    for vrf in [0, 2] {
        assert_eq!(b.one(vrf, &intruder).0, Verdict::Drop(Drop::ReversePath), "{vrf}");
    }
}

// Errors go back where the packet came from, from that VRF's address; and the host itself is not reached through tunnels of
// a VRF, since its kernel would answer by the main one.
#[test]
fn errors_stay_and_the_host_is_the_main_vrfs() {
    let (mut a, mut b) = (Gate::new(true, false), Gate::new(false, false));
    for vrf in 0..3 {
        let out = a.run(Origin::Port(PortId(vrf)), &ether(&ip(HOST_A, HOST_B, 1500)));
        assert_eq!(out[0].0, Verdict::Drop(Drop::TooBig));
        assert_eq!(out[1].0, Verdict::Forward { port: PortId(vrf) });
        let error = Ipv4::parse(&out[1].1[14..]).unwrap();
        assert!(Icmp::parse(error.payload()).unwrap().is_error());
        assert_eq!((error.src(), error.dst()), (Ipv4Addr::new(10, 1, 0, 1), HOST_A));
        // Of a packet that came out of a tunnel: back by that VRF's tunnel.
        let old = edit(ip(HOST_A, HOST_B, 60), |ip| ip.set_ttl(2));
        let out = a.one(vrf, &old);
        let error = b.run(Origin::Port(WAN), &ether(&out.1[14..]));
        assert_eq!(error[0].0, Verdict::Drop(Drop::TtlExpired));
        assert_eq!(spi_of(&error[1]), number(vrf, false));
        let to_gate = a.one(vrf, &ip(HOST_A, Ipv4Addr::new(10, 2, 0, 1), 60));
        let expected = if vrf == 0 { Verdict::Punt } else { Verdict::Drop(Drop::VrfLocal) };
        assert_eq!(b.one(WAN.0, &to_gate.1[14..]).0, expected);
    }
}

// What another worker has to go on with, or what waited, keeps its VRF, with or without the door that tells it.
#[test]
fn a_packet_of_another_worker_keeps_its_vrf() {
    let mut a = Gate::new(true, false);
    let bytes = ip(HOST_A, HOST_B, 60);
    for (door, vrf) in
        [(Door::Vrf(VrfId(2)), 2), (Door::Port(PortId(1)), 1), (Door::Sa, 0), (Door::Vrf(VrfId(1)), 1)]
    {
        let out = a.run(Origin::HandedIn { door, hops: 1, bounds: Bounds::NONE }, &bytes);
        assert_eq!(spi_of(&out[0]), number(vrf, true), "{door:?}");
    }
    // One that there is not lets nothing pass.
    let out = a.run(Origin::HandedIn { door: Door::Vrf(VrfId(77)), hops: 1, bounds: Bounds::NONE }, &bytes);
    assert!(matches!(out[0].0, Verdict::Drop(_)));
}

#[test]
fn the_main_vrf_is_not_one_of_them_and_a_port_is_in_one() {
    let mut a = Gate::new(true, false);
    let route = Route { prefix: prefix("10.0.0.0/8"), next_hop: NextHop::Blackhole };
    let add = |vrf, part| TableCommand::InVrf { vrf: VrfId(vrf), part };
    assert!(a.store.apply(&add(0, VrfPart::AddRoute(route))).is_err());
    assert!(a.store.apply(&add(2, VrfPart::Port(PortId(1)))).is_err());
    assert!((3..400).any(|n| a.store.apply(&add(n, VrfPart::AddRoute(route))).is_err()), "there is an end");
}

/// Longest prefix by going through all.
fn oracle(table: &[(Prefix, NextHop)], addr: Ipv4Addr) -> Option<NextHop> {
    let fits = table.iter().filter(|(p, _)| p.contains(IpAddr::V4(addr)));
    fits.max_by_key(|(p, _)| p.len()).map(|(_, hop)| *hop)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    // R132: arbitrary routes and blocks of policies in three VRFs, arbitrary packets by their ports and devices: what leaves,
    // leaves as a reference says that knows nothing but the packet's own VRF.
    #[test]
    fn no_packet_leaves_by_another_vrf(
        tables in prop::collection::vec(prop::collection::vec((0u8..4, 0u8..=32, any::<[u8; 2]>(), 0u8..4), 0..8), 3),
        packets in prop::collection::vec((0u16..3, any::<[u8; 2]>()), 1..MAX_RECEIVED),
    ) {
        let mut gate = Gate::new(true, false);
        gate.set(TableCommand::ClearPolicies);
        gate.set(TableCommand::ClearRoutes);
        let host = |n: [u8; 2]| Ipv4Addr::new(10, n[0] & 3, n[1] & 3, 9);
        let mut known: Vec<Vec<(Prefix, NextHop)>> = vec![];
        for (vrf, routes) in (0u16..).zip(&tables) {
            let mut table: Vec<(Prefix, NextHop)> = vec![];
            // Their sources have to come from somewhere.
            let via = |vrf: u16| NextHop::Port { port: PortId(vrf), gateway: Some(HOST_A.into()) };
            table.push((prefix("172.16.0.0/12"), via(vrf)));
            for (_, len, net, hop) in routes {
                let at = Prefix::of(host(*net).into(), *len).unwrap();
                let hop = if *hop == 0 { NextHop::Blackhole } else { via(vrf) };
                if table.iter().all(|(p, _)| *p != at) {
                    table.push((at, hop));
                }
            }
            for (prefix, next_hop) in &table {
                let route = Route { prefix: *prefix, next_hop: *next_hop };
                let part = VrfPart::AddRoute(route);
                let command = TableCommand::InVrf { vrf: VrfId(vrf), part };
                gate.set(if vrf == 0 { TableCommand::AddRoute(route) } else { command });
            }
            known.push(table);
        }
        gate.commit();
        for (vrf, to) in packets {
            let source = Ipv4Addr::new(172, 16, 0, 1);
            for _ in 0..2 {
                let (verdict, _) = gate.one(vrf, &ip(source, host(to), 60));
                let expected = match oracle(&known[usize::from(vrf)], host(to)) {
                    Some(NextHop::Port { port, .. }) => Verdict::Forward { port },
                    Some(NextHop::Blackhole) => Verdict::Drop(Drop::RouteBlackhole),
                    _ => Verdict::Drop(Drop::NoRoute),
                };
                prop_assert_eq!(verdict, expected);
            }
        }
    }
}
