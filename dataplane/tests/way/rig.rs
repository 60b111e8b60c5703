//! Two gateways without a kernel: workers over a UMEM, frames as bytes in and out.
//!
//! hostA 10.1.0.10 - (port 0) A (port 1) 198.18.0.1 - 198.18.0.2 (port 1) B (port 0) - 10.2.0.10 hostB
//! and the same in IPv6: 2001:db8:1::10 - A 2001:db8:ff::1 - 2001:db8:ff::2 B - 2001:db8:2::10

mod modes;

pub(crate) use modes::*;
use ravelin_dataplane::{
    Batch, Door, Handed, MAX_RECEIVED, Now, Origin, Packet, Probe, Subject, TableStore, Tap, Verdict, Worker,
    WorkerConfig,
};
use ravelin_ring::counters::{Counter, Drop};
use ravelin_ring::inspect::Step;
use ravelin_ring::msg::*;
use ravelin_ring::setup::ReversePath;
pub(crate) use ravelin_testkit::{mirror, selector};
use ravelin_wire::ethernet::{self, Ethernet};
use ravelin_wire::ipv4::{Ipv4, Ipv4Header, Ipv4Mut};
use ravelin_wire::ipv6::{Ipv6, Ipv6Header};
use ravelin_wire::{MacAddr, Prefix, Selector, Spi};
use ravelin_xsk::{FramePool, Umem, UmemConfig};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};

pub(crate) const INSIDE: PortId = PortId(0);
pub(crate) const WAN: PortId = PortId(1);
/// See [`Gate::second_uplink`].
pub(crate) const WAN2: PortId = PortId(2);
pub(crate) const TUNNEL: TunnelId = TunnelId(7);
pub(crate) const HOST_A: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 10);
pub(crate) const HOST_B: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 10);
pub(crate) const GATE_A: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
pub(crate) const GATE_B: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 1);
pub(crate) const WAN_A: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
pub(crate) const WAN_B: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
pub(crate) const INTERNET: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
pub(crate) const HOST_A6: Ipv6Addr = v6(1, 0x10);
pub(crate) const HOST_B6: Ipv6Addr = v6(2, 0x10);
pub(crate) const GATE_A6: Ipv6Addr = v6(1, 1);
pub(crate) const GATE_B6: Ipv6Addr = v6(2, 1);
pub(crate) const WAN_A6: Ipv6Addr = v6(0xff, 1);
pub(crate) const WAN_B6: Ipv6Addr = v6(0xff, 2);
pub(crate) const INTERNET6: Ipv6Addr = v6(9, 9);

const fn v6(network: u16, host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, network, 0, 0, 0, 0, host)
}

pub(crate) const SUITES: [(Suite, usize); 13] = [
    (Suite::Aes128Gcm16, 20),
    (Suite::Aes256Gcm16, 36),
    (Suite::ChaCha20Poly1305, 36),
    (Suite::Aes128CbcSha1, 36),
    (Suite::Aes256CbcSha1, 52),
    (Suite::Aes128CbcSha256, 48),
    (Suite::Aes256CbcSha256, 64),
    (Suite::Aes128Gmac, 20),
    (Suite::Aes256Gmac, 36),
    (Suite::Aes256CbcSha512, 96),
    (Suite::Aes128CtrSha256, 52),
    (Suite::Aes192CtrSha1, 48),
    (Suite::Aes256CtrSha384, 84),
];

pub(crate) const AH_SUITES: [(Suite, usize); 7] = [
    (Suite::AhSha1, 20),
    (Suite::AhSha256, 32),
    (Suite::AhSha384, 48),
    (Suite::AhSha512, 64),
    (Suite::AhGmac128, 20),
    (Suite::AhGmac192, 28),
    (Suite::AhGmac256, 36),
];

pub(crate) fn mac(n: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, n]
}

pub(crate) fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

/// How the SAs of a pair are made; tests change what they are about.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) suite: Suite,
    pub(crate) mode: Mode,
    pub(crate) udp: bool,
    /// The gateways speak IPv6 with each other.
    pub(crate) v6: bool,
    pub(crate) esn: bool,
    pub(crate) window: u32,
    pub(crate) tunnel_mtu: u16,
    pub(crate) df: OuterDf,
    pub(crate) selectors: Vec<Selector>,
    pub(crate) extras: Extras,
    /// The pair that goes around this one, or within it.
    pub(crate) partner: Option<u64>,
    pub(crate) tfc: u16,
    pub(crate) hard_packets: u64,
    pub(crate) soft_packets: u64,
    /// Of the SA from A to B; the one back has the next but one.
    pub(crate) spi: u32,
    pub(crate) id: u64,
}

impl Default for Pair {
    fn default() -> Self {
        Self {
            suite: Suite::Aes256Gcm16,
            mode: Mode::Tunnel,
            udp: false,
            v6: false,
            esn: false,
            window: 1024,
            tunnel_mtu: 1500,
            df: OuterDf::Copy,
            selectors: vec![
                selector("10.1.0.0/24", "10.2.0.0/24"),
                selector("2001:db8:1::/64", "2001:db8:2::/64"),
            ],
            extras: Extras::default(),
            partner: None,
            tfc: 0,
            hard_packets: 0,
            soft_packets: 0,
            spi: 0x1000,
            id: 1,
        }
    }
}

impl Pair {
    pub(crate) fn keymat(&self, toward_b: bool) -> Vec<u8> {
        let len = SUITES.iter().chain(&AH_SUITES).find(|(s, _)| *s == self.suite).unwrap().1;
        (0..len).map(|i| (i as u8).wrapping_mul(7) ^ self.spi as u8 ^ u8::from(toward_b)).collect()
    }

    pub(crate) fn spec(&self, at_a: bool, direction: Direction) -> SaSpec {
        let port = if self.udp { 4500 } else { 0 };
        let (a, b): (IpAddr, IpAddr) =
            if self.v6 { (WAN_A6.into(), WAN_B6.into()) } else { (WAN_A.into(), WAN_B.into()) };
        let (a, b) = (SocketAddr::new(a, port), SocketAddr::new(b, port));
        let toward_b = at_a == (direction == Direction::Outbound);
        let id = |pair| SaId(pair * 10 + u64::from(direction == Direction::Outbound));
        SaSpec {
            id: id(self.id),
            tunnel: TUNNEL,
            direction,
            spi: Spi::try_from(self.spi + if toward_b { 0 } else { 2 }).unwrap(),
            suite: self.suite,
            keys: KeyMaterial::new(&self.keymat(toward_b)).unwrap(),
            esn: self.esn,
            local: if at_a { a } else { b },
            remote: if at_a { b } else { a },
            mode: self.mode,
            replay_window: self.window,
            tunnel_mtu: self.tunnel_mtu,
            outer_df: self.df,
            tfc: if direction == Direction::Outbound { self.tfc } else { 0 },
            extras: Extras { partner: self.partner.map(id), ..self.extras },
            soft_bytes: 0,
            hard_bytes: 0,
            soft_packets: self.soft_packets,
            hard_packets: self.hard_packets,
            selectors: self.selectors.len() as u16,
        }
    }
}

pub(crate) struct Gate {
    pub(crate) worker: Worker,
    pub(crate) pool: FramePool,
    pub(crate) store: TableStore,
    pub(crate) now: Now,
    /// Somebody captures.
    pub(crate) tap: Option<Tap>,
    batch: Batch,
    frames: usize,
    generation: u64,
    is_a: bool,
}

/// What became of one packet.
#[derive(Clone, Debug)]
pub(crate) struct Out {
    pub(crate) verdict: Verdict,
    pub(crate) origin: Origin,
    pub(crate) bytes: Vec<u8>,
}

impl Gate {
    pub(crate) fn new(is_a: bool) -> Self {
        Self::with_workers(is_a, 0, 1)
    }

    pub(crate) fn with_workers(is_a: bool, id: u16, workers: u16) -> Self {
        let frames = 512;
        let config = UmemConfig { frames, frame_size: 2048, ..UmemConfig::default() };
        let pool = Umem::new(config).unwrap().pools(1).remove(0);
        let worker = Worker::new(WorkerConfig { id: WorkerId(id), workers, max_sas: 64 });
        let mut gate = Self {
            worker,
            pool,
            store: TableStore::new(2, None),
            now: Now { ms: 10_000 },
            tap: None,
            batch: Batch::new(),
            frames: frames as usize,
            generation: 0,
            is_a,
        };
        gate.furnish();
        gate
    }

    pub(crate) fn is_a(&self) -> bool {
        self.is_a
    }

    /// The same gateway with another rule for its ports.
    pub(crate) fn reverse_path(&mut self, rule: ReversePath) {
        self.store = TableStore::with_ports(vec![rule; 2], None);
        self.furnish();
    }

    /// The same gateway with a further port outside: half of the ways to the Internet.
    pub(crate) fn second_uplink(&mut self) {
        self.store = TableStore::with_ports(vec![ReversePath::Strict; 3], None);
        self.furnish();
        let router = IpAddr::from(Ipv4Addr::new(198, 19, 0, 2));
        let next_hop = NextHop::Port { port: WAN2, gateway: Some(router) };
        self.set(TableCommand::SetNeighbour(Neighbour { port: WAN2, addr: router, mac: mac(30) }));
        for to in ["203.0.113.0/24", "2001:db8:9::/64"] {
            self.set(TableCommand::AddRoute(Route { prefix: prefix(to), next_hop }));
        }
        self.uplink(WAN2, true);
    }

    pub(crate) fn uplink(&mut self, port: PortId, up: bool) {
        let own = if port == WAN2 { 3 } else { 2 };
        self.set(TableCommand::SetPort(Port { port, mac: mac(own), mtu: 1500, up }));
        self.commit();
    }

    /// The same gateway, which takes UDP-encapsulated ESP at another port too.
    pub(crate) fn take_udp_at(&mut self, port: u16) {
        self.store = TableStore::new(2, Some(port));
        self.furnish();
    }

    fn furnish(&mut self) {
        let (net, gate, host, wan, peer) = if self.is_a {
            ("10.1.0.0/24", GATE_A, HOST_A, WAN_A, WAN_B)
        } else {
            ("10.2.0.0/24", GATE_B, HOST_B, WAN_B, WAN_A)
        };
        let direct = |port| NextHop::Port { port, gateway: None };
        let host32 = |a: Ipv4Addr| Prefix::new(a.into(), 32).unwrap();
        for (prefix, next_hop) in [
            (prefix(net), direct(INSIDE)),
            (prefix("198.18.0.0/24"), direct(WAN)),
            (prefix("203.0.113.0/24"), NextHop::Port { port: WAN, gateway: Some(peer.into()) }),
            (prefix("192.0.2.0/24"), NextHop::Kernel),
            (prefix("192.0.3.0/24"), NextHop::Blackhole),
            (host32(gate), NextHop::Local),
            (host32(wan), NextHop::Local),
        ] {
            self.set(TableCommand::AddRoute(Route { prefix, next_hop }));
        }
        for (port, own, addr, other) in [(INSIDE, 1, host, 10), (WAN, 2, peer, 20)] {
            self.set(TableCommand::SetPort(Port { port, mac: mac(own), mtu: 1500, up: true }));
            self.set(TableCommand::SetNeighbour(Neighbour { port, addr: addr.into(), mac: mac(other) }));
        }
        self.set(TableCommand::AddGatewayAddress(wan.into()));
        let s = selector("10.1.0.0/24", "10.2.0.0/24");
        self.protect(if self.is_a { s } else { mirror(s) });
        self.furnish_v6();
        self.commit();
    }

    /// As the kernel tells it: with a link-local address and the routers' anycast address.
    fn furnish_v6(&mut self) {
        let (net, gate, host, wan, peer) = if self.is_a {
            ("2001:db8:1::", GATE_A6, HOST_A6, WAN_A6, WAN_B6)
        } else {
            ("2001:db8:2::", GATE_B6, HOST_B6, WAN_B6, WAN_A6)
        };
        let direct = |port| NextHop::Port { port, gateway: None };
        let router: Ipv6Addr = "fe80::99".parse().unwrap();
        let host128 = |a: Ipv6Addr| Prefix::new(a.into(), 128).unwrap();
        for (prefix, next_hop) in [
            (prefix(&format!("{net}/64")), direct(INSIDE)),
            (prefix("2001:db8:ff::/64"), direct(WAN)),
            (prefix("2001:db8:9::/64"), NextHop::Port { port: WAN, gateway: Some(router.into()) }),
            (prefix("2001:db8:a::/64"), NextHop::Kernel),
            (prefix("2001:db8:b::/64"), NextHop::Blackhole),
            (prefix(net), NextHop::Local),
            (host128("fe80::1".parse().unwrap()), NextHop::Local),
            (host128(gate), NextHop::Local),
            (host128(wan), NextHop::Local),
        ] {
            self.set(TableCommand::AddRoute(Route { prefix, next_hop }));
        }
        for (port, addr, other) in [(INSIDE, host, 10), (WAN, peer, 20), (WAN, router, 20)] {
            self.set(TableCommand::SetNeighbour(Neighbour { port, addr: addr.into(), mac: mac(other) }));
        }
        self.set(TableCommand::AddGatewayAddress(wan.into()));
        let s = selector("2001:db8:1::/64", "2001:db8:2::/64");
        self.protect(if self.is_a { s } else { mirror(s) });
    }

    pub(crate) fn set(&mut self, command: TableCommand) {
        assert_eq!(self.store.apply(&command), Ok(None));
    }

    pub(crate) fn protect(&mut self, selector: Selector) {
        let action = Action::Protect(TUNNEL);
        self.set(TableCommand::AddPolicy(Policy { order: 100, selector, action, hold: false, line: 0 }));
    }

    pub(crate) fn commit(&mut self) {
        self.generation += 1;
        let generation = Generation(self.generation);
        assert_eq!(self.store.apply(&TableCommand::Commit { generation }), Ok(Some(generation)));
        self.worker.set_tables(self.store.compile(generation).unwrap());
    }

    /// Both directions of the pair, as this end has them, without using the outbound one.
    pub(crate) fn install(&mut self, pair: &Pair) {
        for direction in [Direction::Inbound, Direction::Outbound] {
            assert_eq!(self.install_one(pair, direction), Outcome::Ok);
        }
    }

    pub(crate) fn install_one(&mut self, pair: &Pair, direction: Direction) -> Outcome {
        let spec = pair.spec(self.is_a, direction);
        for s in &pair.selectors {
            let selector = if self.is_a { *s } else { mirror(*s) };
            assert_eq!(self.worker.apply(WorkerCommand::SaSelector { sa: spec.id, selector }), None);
        }
        self.command(|token| WorkerCommand::InstallSa { token, spec: Box::new(spec) })
    }

    pub(crate) fn use_pair(&mut self, pair: &Pair) {
        let sa = pair.spec(self.is_a, Direction::Outbound).id;
        let owner = WorkerId(0);
        assert_eq!(
            self.command(|token| WorkerCommand::UseOutbound { token, tunnel: TUNNEL, sa, owner }),
            Outcome::Ok
        );
    }

    pub(crate) fn command(&mut self, command: impl FnOnce(Token) -> WorkerCommand) -> Outcome {
        match self.worker.apply(command(Token(5))) {
            Some(WorkerEvent::Done { token: Token(5), outcome }) => outcome,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn events(&mut self) -> Vec<WorkerEvent> {
        let now = self.now;
        std::iter::from_fn(|| self.worker.next_event(now)).collect()
    }

    /// Carries the verdicts out as the process around does, and checks that nothing is lost (R303).
    pub(crate) fn run(&mut self, packets: &[(Origin, Vec<u8>)]) -> Vec<Out> {
        let mut all = vec![];
        for part in packets.chunks(MAX_RECEIVED) {
            for (origin, bytes) in part {
                let mut frame = self.pool.alloc().unwrap();
                assert!(frame.extend(bytes.len()), "{} bytes", bytes.len());
                frame.data_mut().copy_from_slice(bytes);
                // `ether` knows the inside's address only, and a peer calls us as its neighbour.
                let to_us = bytes.starts_with(&mac(1)) || bytes.starts_with(&mac(20));
                if *origin == Origin::Port(WAN) && to_us {
                    frame.data_mut()[..6].copy_from_slice(&mac(2));
                }
                self.batch.push(Packet::new(frame, *origin)).unwrap();
            }
            self.process(&mut all);
        }
        self.is_conserved();
        all
    }

    /// A turn without new packets: what waited goes on, or its time is over.
    pub(crate) fn turn(&mut self) -> Vec<Out> {
        let mut all = vec![];
        self.worker.release(&mut self.batch, MAX_RECEIVED, &mut self.pool, self.now);
        self.process(&mut all);
        self.is_conserved();
        all
    }

    /// A batch amid which the worker panics; as the process around it does, it is told to go on.
    pub(crate) fn fail(&mut self, packets: &[(Origin, Vec<u8>)], probe: &mut dyn Probe) {
        for (origin, bytes) in packets {
            let mut frame = self.pool.alloc().unwrap();
            assert!(frame.extend(bytes.len()));
            frame.data_mut().copy_from_slice(bytes);
            if *origin == Origin::Port(WAN) {
                frame.data_mut()[..6].copy_from_slice(&mac(2));
            }
            self.batch.push(Packet::new(frame, *origin)).unwrap();
        }
        let Self { worker, batch, pool, now, .. } = self;
        let died = catch_unwind(AssertUnwindSafe(|| worker.process_watched(batch, pool, *now, probe)));
        assert!(died.is_err());
        for frame in self.batch.packets.salvage() {
            self.pool.free(frame);
        }
        assert_eq!(self.worker.recover(self.now), Ok(None));
        self.is_conserved();
    }

    /// What other workers have done, in its order, as far as it goes.
    pub(crate) fn resume(&mut self) -> Vec<Out> {
        let mut all = vec![];
        while self.worker.resume(&mut self.batch, &mut self.pool, self.now) {
            self.carry_out(&mut all);
        }
        self.is_conserved();
        all
    }

    fn process(&mut self, all: &mut Vec<Out>) {
        match &mut self.tap {
            None => self.worker.process(&mut self.batch, &mut self.pool, self.now),
            Some(tap) => self.worker.process_watched(&mut self.batch, &mut self.pool, self.now, tap),
        }
        self.carry_out(all);
    }

    fn carry_out(&mut self, all: &mut Vec<Out>) {
        for packet in self.batch.packets.drain(..) {
            let stats = self.worker.stats_mut();
            match packet.verdict {
                Verdict::Forward { .. } => stats.count(Counter::Forwarded),
                Verdict::Punt | Verdict::Deliver { .. } => stats.count(Counter::Punted),
                Verdict::HandOff { .. } => stats.count(Counter::HandedOut),
                Verdict::Drop(_) | Verdict::Consumed | Verdict::Held => {}
                Verdict::Pending => panic!("no verdict"),
            }
            let bytes = packet.frame.data().to_vec();
            all.push(Out { verdict: packet.verdict, origin: packet.origin, bytes });
            self.pool.free(packet.frame);
        }
    }

    fn is_conserved(&self) {
        let (entered, ended) = self.worker.stats().balance();
        assert_eq!(entered, ended, "conservation");
        assert_eq!(self.pool.available() + self.held(), self.frames, "no frame is lost");
    }

    /// Packets that wait now.
    pub(crate) fn held(&self) -> usize {
        let stats = self.worker.stats();
        (stats.get(Counter::Held) - stats.get(Counter::Released)) as usize
    }

    pub(crate) fn one(&mut self, origin: Origin, bytes: Vec<u8>) -> Out {
        let mut out = self.run(&[(origin, bytes)]);
        assert_eq!(out.len(), 1, "{out:?}");
        out.remove(0)
    }

    /// IP packet in by a port, as Ethernet.
    pub(crate) fn receive(&mut self, port: PortId, ip: &[u8]) -> Out {
        self.one(Origin::Port(port), ether(ip))
    }

    /// What `explain` says, and how the packet goes on at another worker.
    pub(crate) fn explain(&mut self, origin: Origin, bytes: Vec<u8>) -> (Step, Option<Handed>) {
        let subject = Subject { origin, bytes };
        self.worker.explain(&mut self.batch, &mut self.pool, self.now, &subject).expect("a frame")
    }

    pub(crate) fn dropped(&self, why: Drop) -> u64 {
        self.worker.stats().dropped(why)
    }

    pub(crate) fn report(&mut self, id: u64) -> SaReport {
        assert_eq!(self.worker.apply(WorkerCommand::ReportSas { token: Token(9) }), None);
        let events = self.events();
        assert!(matches!(events.last(), Some(WorkerEvent::Done { token: Token(9), outcome: Outcome::Ok })));
        let found = events.into_iter().find_map(|e| {
            if let WorkerEvent::SaReport(r) = e { (r.id == SaId(id)).then_some(*r) } else { None }
        });
        found.expect("the SA is reported")
    }
}

/// A and B with one tunnel up.
pub(crate) fn gates(pair: &Pair) -> (Gate, Gate) {
    let (mut a, mut b) = (Gate::new(true), Gate::new(false));
    for gate in [&mut a, &mut b] {
        gate.install(pair);
        gate.use_pair(pair);
    }
    (a, b)
}

impl Out {
    #[track_caller]
    pub(crate) fn forwarded(&self, port: PortId) -> &[u8] {
        assert_eq!(self.verdict, Verdict::Forward { port });
        let (ether, rest) = Ethernet::parse(&self.bytes).unwrap();
        assert_eq!(ether.src, MacAddr(mac(if port == INSIDE { 1 } else { 2 })));
        assert_eq!(ether.dst, MacAddr(mac(if port == INSIDE { 10 } else { 20 })));
        if ether.ethertype == ethernet::IPV6 {
            assert_eq!(Ipv6::parse(rest).unwrap().total_len(), rest.len());
            return rest;
        }
        assert_eq!(ether.ethertype, ethernet::IPV4);
        let ip = Ipv4::parse(rest).unwrap();
        assert!(ip.checksum_holds());
        assert_eq!(ip.total_len(), rest.len());
        rest
    }

    #[track_caller]
    pub(crate) fn lost(&self, why: Drop) {
        assert_eq!(self.verdict, Verdict::Drop(why));
    }
}

pub(crate) fn ether(ip: &[u8]) -> Vec<u8> {
    let ethertype = if ip.first().is_some_and(|b| b >> 4 == 6) { ethernet::IPV6 } else { ethernet::IPV4 };
    let header = Ethernet { dst: MacAddr(mac(1)), src: MacAddr(mac(99)), ethertype };
    [&header.to_bytes()[..], ip].concat()
}

/// A UDP packet of `len` bytes in all.
pub(crate) fn ip(src: Ipv4Addr, dst: Ipv4Addr, len: usize) -> Vec<u8> {
    packet(Ipv4Header {
        tos: 0,
        total_len: len as u16,
        id: 1,
        df: true,
        mf: false,
        fragment_offset: 0,
        ttl: 64,
        protocol: 17,
        src,
        dst,
    })
}

/// The header, and a payload that looks like UDP from port 1000 to port 2000 where it is long enough.
pub(crate) fn packet(header: Ipv4Header) -> Vec<u8> {
    let mut bytes = header.to_bytes().to_vec();
    let n = usize::from(header.total_len) - 20;
    let mut payload: Vec<u8> = (0..n).map(|i| (i * 13 % 241) as u8).collect();
    for (slot, b) in payload.iter_mut().zip([0x03, 0xe8, 0x07, 0xd0]) {
        *slot = b;
    }
    bytes.extend_from_slice(&payload);
    bytes
}

pub(crate) fn edit(mut bytes: Vec<u8>, change: impl FnOnce(&mut Ipv4Mut<'_>)) -> Vec<u8> {
    change(&mut Ipv4Mut::parse(&mut bytes).unwrap());
    bytes
}

/// As [`ip`].
pub(crate) fn ip6(src: Ipv6Addr, dst: Ipv6Addr, len: usize) -> Vec<u8> {
    packet6(src, dst, 17, &ip(HOST_A, HOST_B, len - 20)[20..])
}

pub(crate) fn packet6(src: Ipv6Addr, dst: Ipv6Addr, next_header: u8, payload: &[u8]) -> Vec<u8> {
    let header = Ipv6Header {
        traffic_class: 0,
        flow_label: 0,
        payload_len: payload.len() as u16,
        next_header,
        hop_limit: 64,
        src,
        dst,
    };
    [&header.to_bytes()[..], payload].concat()
}

pub(crate) fn addr(a: Ipv4Addr) -> IpAddr {
    a.into()
}

pub(crate) fn port_door(port: PortId) -> Door {
    Door::Port(port)
}
