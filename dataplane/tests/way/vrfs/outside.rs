//! Tunnels whose outside is in a VRF (R68): gateways with the same addresses in two of them, each VRF with a wan of its own.

use super::*;
use ravelin_wire::AddrRange;
use ravelin_wire::classify::Steer;

/// Of VRF 1 and of VRF 2.
fn wan(vrf: u16) -> PortId {
    PortId(2 + vrf)
}

fn in_vrf(vrf: u16, part: VrfPart) -> TableCommand {
    TableCommand::InVrf { vrf: VrfId(vrf), part }
}

/// To the other gateway.
fn outer(port: PortId) -> Route {
    Route { prefix: prefix("198.18.0.0/24"), next_hop: NextHop::Port { port, gateway: None } }
}

impl Gate {
    fn outside(is_a: bool) -> Self {
        Self::outside_of(is_a, 1)
    }

    fn outside_of(is_a: bool, workers: u16) -> Self {
        let mut me = Self::of(is_a, false, workers);
        // Tunnel 0 is of the main VRF in all; the others were, and are made anew.
        for vrf in 1..3u64 {
            for sa in [vrf * 10 + 1, vrf * 10 + 2] {
                me.worker.apply(WorkerCommand::RemoveSa { token: Token(1), sa: SaId(sa) });
            }
        }
        me.outside = true;
        me.store = TableStore::with_ports(vec![ReversePath::Strict; 5], None);
        me.links();
        let peer = if is_a { WAN_B } else { WAN_A };
        me.set(TableCommand::SetPort(Port { port: wan(2), mac: mac(5), mtu: 1500, up: true }));
        me.set(TableCommand::SetNeighbour(Neighbour { port: wan(2), addr: peer.into(), mac: mac(14) }));
        for vrf in 0..3 {
            me.vrf(vrf, false);
        }
        for vrf in 1..3 {
            me.set(in_vrf(vrf, VrfPart::Port(wan(vrf))));
            me.set(in_vrf(vrf, VrfPart::AddRoute(outer(wan(vrf)))));
        }
        me.commit();
        for vrf in 1..3 {
            me.install(vrf);
        }
        me
    }

    /// What another worker gets of a packet.
    fn handed(&mut self, port: PortId, packet: &[u8]) -> (Verdict, Vec<u8>, Origin) {
        let mut bytes = ether(packet);
        bytes[..6].copy_from_slice(&mac(1 + port.0 as u8));
        let mut frame = self.pool.alloc().unwrap();
        assert!(frame.extend(bytes.len()));
        frame.data_mut().copy_from_slice(&bytes);
        self.batch.push(Packet::new(frame, Origin::Port(port))).unwrap();
        self.worker.process(&mut self.batch, &mut self.pool, Now { ms: 10_000 });
        let packet = self.batch.packets.drain(..).next().unwrap();
        let found = (packet.verdict, packet.frame.data().to_vec(), packet.origin);
        self.pool.free(packet.frame);
        found
    }

    /// A packet of this VRF's host, on the wire between the gateways.
    fn sealed(&mut self, vrf: u16, len: usize) -> Vec<u8> {
        let (from, to) = if self.is_a { (HOST_A, HOST_B) } else { (HOST_B, HOST_A) };
        let (verdict, bytes) = self.one(vrf, &ip(from, to, len));
        assert_eq!(verdict, Verdict::Forward { port: wan(vrf) });
        let spi = u32::from_be_bytes(bytes[34..38].try_into().unwrap());
        assert_eq!(spi, number(vrf, self.is_a));
        bytes[14..].to_vec()
    }
}

// R68: there and back, each by the wan of its VRF. What came by another one is not opened, whatever its SPI, and
// counts as nothing: the same packet is no replay after it.
#[test]
fn the_same_gateways_in_two_vrfs_stay_apart() {
    let (mut a, mut b) = (Gate::outside(true), Gate::outside(false));
    for n in 0..3 {
        for vrf in 1..3 {
            let there = a.sealed(vrf, 100 + n);
            for wrong in [wan(3 - vrf), PortId(0), PortId(3 - vrf)] {
                assert_eq!(b.one(wrong.0, &there).0, Verdict::Drop(Drop::VrfOutside), "{vrf} {wrong:?}");
            }
            assert_eq!(b.one(wan(vrf).0, &there).0, Verdict::Forward { port: PortId(vrf) });
            assert_eq!(b.one(wan(vrf).0, &there).0, Verdict::Drop(Drop::ReplayDup));
            let back = b.sealed(vrf, 60);
            assert_eq!(a.one(wan(vrf).0, &back).0, Verdict::Forward { port: PortId(vrf) });
        }
    }
}

// R68, R301: what comes to a worker that does not have the SA is handed over with its door, and judged by it there.
#[test]
fn the_same_gateways_stay_apart_across_workers() {
    let (mut a, mut b) = (Gate::outside(true), Gate::outside_of(false, 2));
    let mut other = Gate::outside_of(false, 2);
    other.worker = Worker::new(WorkerConfig { id: WorkerId(1), workers: 2, max_sas: 64 });
    other.commit();
    for vrf in [1, 2, 1, 2] {
        let there = a.sealed(vrf, 100);
        for port in [wan(3 - vrf), PortId(0), PortId(3 - vrf), wan(vrf)] {
            let (verdict, frame, origin) = other.handed(port, &there);
            assert_eq!(verdict, Verdict::HandOff { worker: WorkerId(0) });
            let expected = if port == wan(vrf) {
                Verdict::Forward { port: PortId(vrf) }
            } else {
                Verdict::Drop(Drop::VrfOutside)
            };
            assert_eq!(b.run(origin, &frame)[0].0, expected, "{vrf} {port:?}");
        }
    }
}

// Nor is it without any VRF left: the port is the main one's then.
#[test]
fn the_outside_stays_apart_when_the_last_vrf_goes() {
    let (mut a, mut b) = (Gate::outside(true), Gate::outside(false));
    let report = |sa: u64, gate: &mut Gate| {
        gate.worker.apply(WorkerCommand::ReportSas { token: Token(7) });
        let mut all = std::iter::from_fn(|| gate.worker.next_event(Now { ms: 10_000 }));
        let found = all.find_map(|e| match e {
            WorkerEvent::SaReport(r) if r.id == SaId(sa) => Some((r.outside, r.inside, r.filtered)),
            _ => None,
        });
        all.for_each(drop);
        found
    };
    for sa in [21, 22] {
        assert_eq!(report(sa, &mut b), Some((VrfId(2), VrfId(2), false)));
    }
    let there = a.sealed(2, 60);
    for clear in [TableCommand::ClearPolicies, TableCommand::ClearRoutes, TableCommand::ClearInterfaces] {
        b.set(clear);
    }
    b.links();
    b.vrf(0, false);
    b.commit();
    assert_eq!(b.one(wan(2).0, &there).0, Verdict::Drop(Drop::VrfOutside));
}

// The way to the peer is one of the tunnel's own VRF, and leaves by a port of it; so does that of the main one.
#[test]
fn no_tunnel_leaves_by_another_vrf() {
    let mut a = Gate::outside(true);
    let packet = ip(HOST_A, HOST_B, 60);
    assert_eq!(a.one(0, &packet).0, Verdict::Drop(Drop::NoRoute), "the main route leads by the wan of VRF 1");
    a.sealed(2, 60);
    a.set(in_vrf(2, VrfPart::RemoveRoute(outer(wan(2)))));
    a.commit();
    assert_eq!(a.one(2, &packet).0, Verdict::Drop(Drop::NoRoute));
    a.set(in_vrf(2, VrfPart::AddRoute(outer(wan(1)))));
    a.commit();
    assert_eq!(a.one(2, &packet).0, Verdict::Drop(Drop::NoRoute));
    a.sealed(1, 60);
    a.set(in_vrf(2, VrfPart::RemoveRoute(outer(wan(1)))));
    a.set(in_vrf(2, VrfPart::AddRoute(outer(wan(2)))));
    a.commit();
    a.sealed(2, 60);
}

// What the XDP program of a port would do is said by the policies and routes of the port's VRF.
#[test]
fn each_port_steers_what_its_vrf_protects() {
    let mut a = Gate::outside(true);
    let range = AddrRange::new(IpAddr::from([10, 2, 0, 0]), IpAddr::from([10, 2, 0, 255])).unwrap();
    a.set(in_vrf(1, VrfPart::Protected(range)));
    a.commit();
    let frame = ether(&ip(HOST_A, HOST_B, 60));
    assert!(matches!(a.worker.steer(PortId(1), &frame), Steer::ToWorker(_)));
    for port in [PortId(0), PortId(2), wan(2)] {
        assert_eq!(a.worker.steer(port, &frame), Steer::Pass, "{port:?}");
    }
    let into = Route { prefix: prefix("10.2.0.0/24"), next_hop: NextHop::Interface(InterfaceId(0)) };
    a.set(in_vrf(2, VrfPart::AddRoute(into)));
    a.commit();
    assert!(matches!(a.worker.steer(PortId(2), &frame), Steer::ToWorker(_)));
    assert_eq!(a.worker.steer(PortId(0), &frame), Steer::Pass);
}

/// Both parts of an IPv4 packet, under the same number whatever it had.
fn halves(packet: &[u8]) -> [Vec<u8>; 2] {
    let at = 20 + 48;
    let part = |from: usize, to: usize, more| {
        let mut bytes = [&packet[..20], &packet[from..to]].concat();
        let len = u16::try_from(bytes.len()).unwrap();
        bytes[2..4].copy_from_slice(&len.to_be_bytes());
        bytes[4..6].copy_from_slice(&[7, 7]);
        edit(bytes, |ip| {
            ip.set_fragment((from - 20) as u16, more);
            ip.fill_checksum();
        })
    };
    [part(20, at, true), part(at, packet.len(), false)]
}

// Fragments with the same addresses and number, alternating: each is joined with the other one of its VRF.
#[test]
fn fragments_are_joined_within_their_vrf() {
    let (mut a, mut b) = (Gate::outside(true), Gate::outside(false));
    let [one, two] = [halves(&a.sealed(1, 200)), halves(&a.sealed(2, 300))];
    assert_eq!(b.one(wan(1).0, &one[0]).0, Verdict::Held);
    assert_eq!(b.one(wan(2).0, &two[1]).0, Verdict::Held);
    assert_eq!(b.one(wan(2).0, &two[0]).0, Verdict::Forward { port: PortId(2) });
    assert_eq!(b.one(wan(1).0, &one[1]).0, Verdict::Forward { port: PortId(1) });
}

// R307: without the route to its network, what was decrypted does not go back in clear where the peer is.
#[test]
fn the_default_route_beside_the_tunnel_is_no_way_for_what_came_out_of_it() {
    let (mut a, mut b) = (Gate::outside(true), Gate::outside(false));
    let default = |port| Route {
        prefix: prefix("0.0.0.0/0"),
        next_hop: NextHop::Port { port, gateway: Some(WAN_A.into()) },
    };
    let inside =
        Route { prefix: prefix("10.2.0.0/24"), next_hop: NextHop::Port { port: PortId(1), gateway: None } };
    b.set(in_vrf(1, VrfPart::AddRoute(default(wan(1)))));
    b.commit();
    assert_eq!(b.one(wan(1).0, &a.sealed(1, 60)).0, Verdict::Forward { port: PortId(1) });
    b.set(in_vrf(1, VrfPart::RemoveRoute(inside)));
    b.commit();
    assert_eq!(b.one(wan(1).0, &a.sealed(1, 60)).0, Verdict::Drop(Drop::NoRoute));
}
