//! Address translation in VRFs (R53, R54, R132, R149, R150): the same inside addresses, pool and peers in each, and what is known
//! in one says nothing in another.

use super::*;
use ravelin_dataplane::{Handed, Subject};
use ravelin_ring::counters::Counter;
use ravelin_ring::inspect::NatBy;
use ravelin_wire::ipv4::Ipv4Header;
use ravelin_wire::{AddrRange, PortRange};
use std::collections::{BTreeMap, BTreeSet};

const POOL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 8);
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const HOSTS: [Ipv4Addr; 3] = [HOST_A, Ipv4Addr::new(10, 1, 0, 6), Ipv4Addr::new(10, 1, 0, 7)];
const REMOTES: [Ipv4Addr; 2] = [Ipv4Addr::new(203, 0, 113, 9), Ipv4Addr::new(203, 0, 113, 10)];

/// The inside of VRF n, and its outside.
fn lan(vrf: u16) -> PortId {
    PortId(vrf)
}

fn wan(vrf: u16) -> PortId {
    PortId(3 + vrf)
}

fn one(addr: Ipv4Addr) -> AddrRange {
    AddrRange::new(addr.into(), addr.into()).unwrap()
}

fn masquerade(vrf: u16, pool: Ipv4Addr) -> NatRule {
    NatRule {
        kind: NatKind::Source,
        from: prefix("10.1.0.0/24").into(),
        to: AddrRange::ANY_V4,
        target: one(pool),
        protocols: NatRule::ALL,
        ports: PortRange::ANY,
        target_ports: PortRange::new(1024, 65535).unwrap(),
        port: Some(wan(vrf)),
        tunnel: false,
        own: false,
        line: 10 + u32::from(vrf),
    }
}

fn udp((src, from): (Ipv4Addr, u16), (dst, to): (Ipv4Addr, u16)) -> Vec<u8> {
    let header = Ipv4Header {
        tos: 0,
        total_len: 20 + 8 + 16,
        id: 7,
        df: true,
        mf: false,
        fragment_offset: 0,
        ttl: 64,
        protocol: 17,
        src,
        dst,
    };
    let ports = [from.to_be_bytes(), to.to_be_bytes(), [0, 24], [0, 0]].concat();
    [&header.to_bytes()[..], &ports, &[9; 16]].concat()
}

/// Source and destination of a UDP packet in a frame.
fn ends(frame: &[u8]) -> ((Ipv4Addr, u16), (Ipv4Addr, u16)) {
    let ip = Ipv4::parse(&frame[14..]).unwrap();
    let port = |at: usize| u16::from_be_bytes([ip.payload()[at], ip.payload()[at + 1]]);
    ((ip.src(), port(0)), (ip.dst(), port(2)))
}

/// A gateway with three VRFs that have nothing but the machine in common.
struct Site {
    workers: Vec<(Worker, FramePool)>,
    store: TableStore,
    batch: Batch,
}

impl Site {
    fn new(workers: u16, rules: &[(u16, NatRule)]) -> Self {
        let config = UmemConfig { frames: 512, frame_size: 2048, ..UmemConfig::default() };
        let worker = |id| {
            let pool = Umem::new(config).unwrap().pools(1).remove(0);
            (Worker::new(WorkerConfig { id: WorkerId(id), workers, max_sas: 8 }), pool)
        };
        let workers = (0..workers).map(worker).collect();
        let mut me = Self {
            workers,
            store: TableStore::with_ports(vec![ReversePath::Strict; 6], None),
            batch: Batch::new(),
        };
        for n in 0..6 {
            let port = PortId(n);
            me.set(0, TableCommand::SetPort(Port { port, mac: mac(1 + n as u8), mtu: 1500, up: true }), None);
            let around = if n < 3 { &HOSTS[..] } else { &[ROUTER] };
            for (i, addr) in around.iter().enumerate() {
                let (addr, mac) = ((*addr).into(), mac(20 + n as u8 * 4 + i as u8));
                me.set(0, TableCommand::SetNeighbour(Neighbour { port, addr, mac }), None);
            }
        }
        me.tell(rules, [0, 1, 2]);
        me
    }

    fn set(&mut self, vrf: u16, main: TableCommand, part: Option<VrfPart>) {
        let command = match (vrf, part) {
            (1.., Some(part)) => TableCommand::InVrf { vrf: VrfId(vrf), part },
            _ => main,
        };
        assert_eq!(self.store.apply(&command), Ok(None));
    }

    /// `ports`: of each pair of ports the VRF that it is in.
    fn tell(&mut self, rules: &[(u16, NatRule)], ports: [u16; 3]) {
        for clear in [TableCommand::ClearNat, TableCommand::ClearRoutes, TableCommand::ClearInterfaces] {
            self.set(0, clear, None);
        }
        for (pair, vrf) in (0..).zip(ports) {
            let inside = NextHop::Port { port: lan(pair), gateway: None };
            let outside = NextHop::Port { port: wan(pair), gateway: Some(ROUTER.into()) };
            for (text, next_hop) in [("10.1.0.0/24", inside), ("0.0.0.0/0", outside)] {
                let route = Route { prefix: prefix(text), next_hop };
                self.set(vrf, TableCommand::AddRoute(route), Some(VrfPart::AddRoute(route)));
            }
            if vrf > 0 {
                for port in [lan(pair), wan(pair)] {
                    self.set(vrf, TableCommand::ClearInterfaces, Some(VrfPart::Port(port)));
                }
            }
        }
        for (vrf, rule) in rules {
            self.set(*vrf, TableCommand::AddNat(*rule), Some(VrfPart::Nat(*rule)));
        }
        let generation = Generation(1);
        self.store.apply(&TableCommand::Commit { generation }).unwrap();
        let tables = self.store.compile(generation).unwrap();
        self.workers.iter_mut().for_each(|(worker, _)| worker.set_tables(tables.clone()));
    }

    /// By a port of one worker, and on by those who get it.
    fn run(&mut self, at: usize, port: PortId, packet: &[u8]) -> (Verdict, Vec<u8>) {
        let mut bytes = ether(packet);
        bytes[..6].copy_from_slice(&mac(1 + port.0 as u8));
        let (mut at, mut origin) = (at, Origin::Port(port));
        loop {
            let (worker, pool) = &mut self.workers[at];
            let mut frame = pool.alloc().unwrap();
            assert!(frame.extend(bytes.len()));
            frame.data_mut().copy_from_slice(&bytes);
            self.batch.push(Packet::new(frame, origin)).unwrap();
            worker.process(&mut self.batch, pool, Now { ms: 10_000 });
            let out = self.batch.packets.drain(..).next().unwrap();
            bytes = out.frame.data().to_vec();
            origin = out.origin;
            pool.free(out.frame);
            match out.verdict {
                Verdict::HandOff { worker } => at = worker.0.into(),
                verdict => return (verdict, bytes),
            }
        }
    }

    fn known(&self) -> usize {
        self.workers.iter().map(|(worker, _)| worker.known_translations()).sum()
    }
}

/// What may be seen from outside, in maps: sessions of a VRF are those of its inside ends.
#[derive(Default)]
struct Model {
    outside: BTreeMap<(u16, Ipv4Addr, u16), u16>,
    sessions: BTreeSet<(u16, Ipv4Addr, u16, Ipv4Addr)>,
}

impl Model {
    fn whose(&self, vrf: u16, port: u16) -> Option<(Ipv4Addr, u16)> {
        let found = self.outside.iter().find(|((of, ..), outside)| (*of, **outside) == (vrf, port));
        found.map(|((_, host, own), _)| (*host, *own))
    }
}

/// VRF, host, its port, remote; whether it is an answer, and in which VRF; the worker by which it comes.
type Op = (u16, usize, u16, usize, Option<u16>, usize);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    // R132, R303: three VRFs with equal hosts, pools and peers, one worker or two, flows known or each packet by itself: as a model
    // that keeps each VRF apart.
    #[test]
    fn sessions_are_their_vrfs(
        workers in 1u16..3,
        flows: bool,
        ops in prop::collection::vec((0u16..3, 0usize..3, 2000u16..2003, 0usize..2, prop::option::of(0u16..3), 0usize..2), 1..80),
    ) {
        let rules: Vec<_> = (0..3).map(|vrf| (vrf, masquerade(vrf, POOL))).collect();
        let mut site = Site::new(workers, &rules);
        if !flows {
            site.workers.iter_mut().for_each(|(worker, _)| worker.without_flows());
        }
        let mut model = Model::default();
        let one = |op: Op, site: &mut Site, model: &mut Model| {
            let (vrf, host, port, remote, back, at) = op;
            let (host, remote, at) = (HOSTS[host], REMOTES[remote], at % usize::from(workers));
            let Some(there) = back else {
                let (verdict, frame) = site.run(at, lan(vrf), &udp((host, port), (remote, 53)));
                prop_assert_eq!(verdict, Verdict::Forward { port: wan(vrf) });
                let ((shown, outside), to) = ends(&frame);
                prop_assert_eq!((shown, to), (POOL, (remote, 53)));
                let owner = model.whose(vrf, outside).unwrap_or((host, port));
                prop_assert_eq!(owner, (host, port), "an outside end of two");
                prop_assert_eq!(*model.outside.entry((vrf, host, port)).or_insert(outside), outside);
                model.sessions.insert((vrf, host, port, remote));
                return Ok(());
            };
            let Some(&outside) = model.outside.get(&(vrf, host, port)) else { return Ok(()) };
            let (verdict, frame) = site.run(at, wan(there), &udp((remote, 53), (POOL, outside)));
            match model.whose(there, outside) {
                None => prop_assert_eq!(verdict, Verdict::Drop(Drop::NatNoMapping)),
                Some((host, own)) if model.sessions.contains(&(there, host, own, remote)) => {
                    prop_assert_eq!(verdict, Verdict::Forward { port: lan(there) });
                    prop_assert_eq!(ends(&frame), ((remote, 53), (host, own)));
                }
                Some(_) => prop_assert_eq!(verdict, Verdict::Drop(Drop::NatFiltered)),
            }
            Ok(())
        };
        for op in ops {
            one(op, &mut site, &mut model)?;
        }
        prop_assert!(flows || site.known() == 0);
    }
}

// What is known of a translated flow is one VRF's: the same packets by the ports of two, and by those of one that another VRF has
// now, or nobody translates.
#[test]
fn known_flows_are_their_vrfs() {
    let other = Ipv4Addr::new(192, 0, 2, 9);
    let rules = [(1, masquerade(1, POOL)), (2, masquerade(2, other))];
    let mut site = Site::new(1, &rules);
    let packet = udp((HOST_A, 2000), (REMOTES[0], 53));
    let shown = |site: &mut Site, pair| {
        let (verdict, frame) = site.run(0, lan(pair), &packet);
        assert_eq!(verdict, Verdict::Forward { port: wan(pair) });
        ends(&frame).0.0
    };
    for round in 0..4 {
        assert_eq!([shown(&mut site, 0), shown(&mut site, 1), shown(&mut site, 2)], [HOST_A, POOL, other]);
        assert_eq!(site.known(), 2, "round {round}");
    }
    let back = udp((REMOTES[0], 53), (POOL, 2000));
    assert_eq!(site.run(0, wan(1), &back).0, Verdict::Forward { port: lan(1) });
    assert_eq!(site.run(0, wan(2), &back).0, Verdict::Forward { port: wan(2) }, "no address of its pool");
    // The ports change places: a rule is its VRF's, and speaks of a port that is there.
    let at = |pair, pool| NatRule { port: Some(wan(pair)), ..masquerade(0, pool) };
    site.tell(&[(1, at(2, POOL)), (2, at(1, other))], [0, 2, 1]);
    for _ in 0..3 {
        assert_eq!([shown(&mut site, 0), shown(&mut site, 1), shown(&mut site, 2)], [HOST_A, other, POOL]);
    }
    assert_eq!(
        site.run(0, wan(2), &back).0,
        Verdict::Forward { port: lan(2) },
        "the session of VRF 1 goes on"
    );
    // Without rules, and without the VRFs.
    site.tell(&[], [0, 2, 1]);
    assert_eq!([shown(&mut site, 1), shown(&mut site, 2)], [HOST_A; 2]);
    let open = |site: &Site| {
        let stats = site.workers[0].0.stats();
        stats.get(Counter::NatOpened) - stats.get(Counter::NatClosed)
    };
    assert!(open(&site) > 0);
    site.tell(&[], [0, 0, 0]);
    assert_eq!(open(&site), 0, "the sessions of VRFs that went are closed");
}

// R149, R150, R132: into a tunnel and out of it, in two VRFs at once, the flow known or not: each host behind its VRF's port.
#[test]
fn translation_comes_before_the_tunnel_of_its_vrf() {
    let shown = Ipv4Addr::new(10, 1, 0, 200);
    let (mut a, mut b) = (Gate::new(true, false), Gate::new(false, false));
    for vrf in 1..3 {
        let rule =
            NatRule { port: None, tunnel: true, to: prefix("10.2.0.0/24").into(), ..masquerade(vrf, shown) };
        a.set(TableCommand::InVrf { vrf: VrfId(vrf), part: VrfPart::Nat(rule) });
    }
    a.commit();
    for round in 0..3 {
        for vrf in [1, 2, 0] {
            let out = a.one(vrf, &udp((HOST_A, 2000), (HOST_B, 53)));
            assert_eq!(spi_of(&out), number(vrf, true));
            let (verdict, frame) = b.one(WAN.0, &out.1[14..]);
            assert_eq!(verdict, Verdict::Forward { port: PortId(vrf) });
            let (from, _) = ends(&frame);
            assert_eq!(from, if vrf == 0 { (HOST_A, 2000) } else { (shown, 2000) }, "{vrf}");
            let back = b.one(vrf, &udp((HOST_B, 53), from));
            assert_eq!(spi_of(&back), number(vrf, false));
            let (verdict, frame) = a.one(WAN.0, &back.1[14..]);
            assert_eq!(verdict, Verdict::Forward { port: PortId(vrf) });
            assert_eq!(ends(&frame), ((HOST_B, 53), (HOST_A, 2000)));
        }
        assert_eq!(a.worker.known_translations(), 4, "both ways of two flows, round {round}");
    }
}

// R304: the rule that decides is that of the packet's VRF, which is named; R307: what the XDP program of a port steers is its VRF's.
#[test]
fn explaining_names_the_vrf_and_its_rule() {
    let own = NatRule { own: true, target: AddrRange::ANY_V4, ..masquerade(2, POOL) };
    let mut site = Site::new(1, &[(0, masquerade(0, POOL)), (1, masquerade(1, POOL)), (2, own)]);
    let frame = ether(&udp((HOST_A, 2000), (REMOTES[0], 53)));
    for vrf in 0..2 {
        let (worker, pool) = &mut site.workers[0];
        let mut bytes = frame.clone();
        bytes[..6].copy_from_slice(&mac(1 + vrf as u8));
        let subject = Subject { origin: Origin::Port(lan(vrf)), bytes };
        let said: Option<(_, Option<Handed>)> =
            worker.explain(&mut site.batch, pool, Now { ms: 10_000 }, &subject);
        let (step, _) = said.unwrap();
        assert_eq!(step.vrf, (vrf > 0).then_some(vrf));
        assert_eq!((step.nat[0].by, step.nat[0].line), (NatBy::Source, Some(10 + u32::from(vrf))));
        assert_eq!(step.translated.unwrap().source, IpAddr::from(POOL));
    }
    let to_pool = ether(&udp((REMOTES[0], 53), (POOL, 2000)));
    use ravelin_wire::classify::Steer;
    for (port, steered) in [(wan(0), true), (wan(1), true), (wan(2), false)] {
        let steer = site.workers[0].0.steer(port, &to_pool);
        assert_eq!(matches!(steer, Steer::ToWorker(_)), steered, "{port:?}");
    }
    assert_eq!(site.store.nat_steering(VrfId(1)).outside, [one(POOL)]);
    assert!(site.store.nat_steering(VrfId(2)).outside.is_empty(), "its port has no address yet");
}
