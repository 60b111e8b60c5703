//! `Pair`: two endpoints, a link that can lose, repeat and reorder, a recorder in place of the data plane.

use crate::command::{Command, Status};
use crate::config::*;
use crate::counters::Counter;
use crate::endpoint::{Endpoint, EndpointConfig, Near, Record, SpiSource, Taken, Transmit};
use crate::event::{ChildSa, ChildSaId, Event, RevocationToken};
use crate::record::{Clock, PairRef};
use crate::snapshot::{IkeSaInfo, Snapshot};
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
pub(super) use ravelin_testkit::selector;
use ravelin_wire::{Prefix, Spi};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

pub(super) const LATENCY: Duration = Duration::from_millis(10);
pub(super) const INSTALL: Duration = Duration::from_millis(3);
pub(super) const CONNECTION: ConnectionId = ConnectionId(1);
pub(super) const CHILD: ChildId = ChildId(7);

pub(super) const GCM: IkeProposal = IkeProposal {
    encryption: Encryption::AesGcm16_256,
    integrity: None,
    prf: Prf::HmacSha256,
    group: Group::Curve25519,
    kem: None,
};
pub(super) const ESP: EspProposal = EspProposal {
    encryption: Some(Encryption::AesGcm16_128),
    integrity: None,
    group: None,
    kem: None,
    esn: false,
};

pub(crate) struct Spis(pub(crate) u32);

impl SpiSource for Spis {
    fn inbound_spi(&mut self, _: ChildId, _: Option<Near>) -> Spi {
        self.0 += 1;
        Spi::try_from(self.0).unwrap()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    A,
    B,
}

impl Side {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// What the data plane would hold.
pub(super) struct Recorded {
    pub(super) sa: ChildSa,
    pub(super) in_force: bool,
    /// Inbound still works until then, outbound does not any more.
    pub(super) removed: Option<Instant>,
}

pub(super) struct Node {
    pub(super) ep: Endpoint,
    pub(super) addr: IpAddr,
    pub(super) sas: BTreeMap<ChildSaId, Recorded>,
    pub(super) outbound: BTreeMap<ChildId, ChildSaId>,
    /// By which pair each resource sends that has one of its own.
    pub(super) lanes: BTreeMap<(ChildId, u16), ChildSaId>,
    pub(super) log: Vec<String>,
    pub(super) events: Vec<Event>,
    pub(super) idle: bool,
    /// The data plane refuses so many installations.
    pub(super) refuse_installs: usize,
    /// What is known about the certificates of a peer; empty: no answer comes.
    pub(super) revocation: Vec<Status>,
    /// What is stored of its IKE SAs.
    pub(super) records: BTreeMap<u64, Vec<u8>>,
}

enum Item {
    Datagram {
        to: Side,
        local: SocketAddr,
        remote: SocketAddr,
        realm: Realm,
        bytes: Vec<u8>,
    },
    Installed {
        at: Side,
        sa: ChildSaId,
        ok: bool,
    },
    Revocation {
        at: Side,
        token: RevocationToken,
        answers: Vec<Status>,
    },
    /// The first ESP packet by the outbound SA with this SPI arrives.
    Esp {
        to: Side,
        spi: Spi,
    },
}

#[derive(Clone, Copy, Default)]
pub(super) struct Faults {
    /// In percent.
    pub(super) loss: u64,
    pub(super) repeat: u64,
    pub(super) reorder: u64,
}

pub(super) struct Pair {
    pub(super) now: Instant,
    pub(super) clock: Clock,
    pub(super) a: Node,
    pub(super) b: Node,
    queue: BTreeMap<(Instant, u64), Item>,
    count: u64,
    pub(super) rng: ChaCha20Rng,
    pub(super) faults: Faults,
    /// ESP packets show the peer that an SA is in use.
    pub(super) traffic: bool,
    /// After each event both directions must work.
    pub(super) watch: bool,
    /// Drops what it says true to.
    pub(super) filter: Option<Box<dyn FnMut(Side, &[u8]) -> bool>>,
    /// All datagrams: when, from, bytes.
    pub(super) sent: Vec<(Instant, Side, Transmit)>,
    /// Addresses of B besides its own, and addresses that nothing reaches.
    pub(super) aliases: Vec<IpAddr>,
    pub(super) dead: BTreeSet<IpAddr>,
    /// A NAT in front of A: its public address.
    pub(super) nat: Option<(IpAddr, u16)>,
    /// NATs in front of A's other addresses, each by the address inside: public address and shift of ports. A public
    /// address may be inside of another one.
    pub(super) nats: BTreeMap<IpAddr, (IpAddr, u16)>,
}

pub(super) fn prefix(p: &str) -> Prefix {
    p.parse().unwrap()
}

pub(super) fn child(local: &str, remote: &str) -> Child {
    Child {
        id: CHILD,
        name: "net".to_owned(),
        mode: Mode::Tunnel,
        selectors: vec![selector(local, remote)],
        proposals: vec![ESP],
        lifetime: Duration::from_secs(3600),
        hard_lifetime: Duration::from_secs(4000),
        jitter: Duration::ZERO,
        resources: 1,
    }
}

fn connection(side: Side) -> Connection {
    let (a, b): (IpAddr, IpAddr) = ("198.18.0.1".parse().unwrap(), "198.18.0.2".parse().unwrap());
    let (ida, idb) = (Identity::Fqdn("a.lab".into()), Identity::Fqdn("b.lab".into()));
    let a_side = side == Side::A;
    Connection {
        id: CONNECTION,
        name: if a_side { "to-b" } else { "to-a" }.to_owned(),
        local: Some(if a_side { a } else { b }),
        remote: Some(if a_side { b } else { a }),
        local_id: if a_side { ida.clone() } else { idb.clone() },
        remote_id: if a_side { idb } else { ida },
        local_auth: LocalAuth::Psk(Secret::new(b"correct horse".to_vec())),
        remote_auth: RemoteAuth::Psk(Secret::new(b"correct horse".to_vec())),
        ppk: None,
        proposals: vec![GCM],
        children: vec![if a_side {
            child("10.1.0.0/24", "10.2.0.0/24")
        } else {
            child("10.2.0.0/24", "10.1.0.0/24")
        }],
        pool: None,
        lifetime: Duration::from_secs(14_400),
        jitter: Duration::ZERO,
        dpd_delay: Duration::ZERO,
        start: if a_side { Start::Immediately } else { Start::Respond },
        force_udp: false,
        fragment_size: Some(1280),
        exchanges: Exchanges::default(),
    }
}

/// The same secret for both directions.
pub(super) fn psk(c: &mut Connection, secret: &[u8]) {
    c.local_auth = LocalAuth::Psk(Secret::new(secret.to_vec()));
    c.remote_auth = RemoteAuth::Psk(Secret::new(secret.to_vec()));
}

impl Node {
    fn new(side: Side, seed: u64, clock: Clock) -> Self {
        let (base, addr) = match side {
            Side::A => (0xa000_0000, "198.18.0.1"),
            Side::B => (0xb000_0000, "198.18.0.2"),
        };
        let mut config = EndpointConfig::new(Box::new(Spis(base)));
        config.clock = Box::new(super::pki::Today);
        config.records = Some(clock);
        let rng = ChaCha20Rng::seed_from_u64(seed * 2 + u64::from(side == Side::A));
        Self {
            ep: Endpoint::new(config, Box::new(rng)),
            addr: addr.parse().unwrap(),
            sas: BTreeMap::new(),
            outbound: BTreeMap::new(),
            lanes: BTreeMap::new(),
            log: Vec::new(),
            events: Vec::new(),
            idle: false,
            refuse_installs: 0,
            revocation: Vec::new(),
            records: BTreeMap::new(),
        }
    }

    pub(super) fn count(&self, which: Counter) -> u64 {
        self.ep.counters().get(which)
    }

    /// Pairs that are in force and not on their way out.
    pub(super) fn pairs(&self) -> Vec<&ChildSa> {
        self.sas.values().filter(|r| r.in_force && r.removed.is_none()).map(|r| &r.sa).collect()
    }
}

impl Pair {
    pub(super) fn with(seed: u64, change: impl Fn(Side, &mut Connection)) -> Self {
        let mut pair = Self::empty(seed);
        for side in [Side::A, Side::B] {
            let mut c = connection(side);
            change(side, &mut c);
            pair.command(side, Command::Configure(Box::new(c)));
        }
        pair
    }

    /// Both sides tell their keys.
    pub(super) fn with_key_log(seed: u64, change: impl Fn(Side, &mut Connection)) -> Self {
        let mut pair = Self::empty(seed);
        for side in [Side::A, Side::B] {
            pair.node(side).ep.log_keys();
            let mut c = connection(side);
            change(side, &mut c);
            pair.command(side, Command::Configure(Box::new(c)));
        }
        pair
    }

    pub(super) fn empty(seed: u64) -> Self {
        let start = Instant::now();
        let clock = Clock { here: start, boot: Duration::from_secs(1000) };
        Self {
            now: start,
            a: Node::new(Side::A, seed, clock),
            b: Node::new(Side::B, seed, clock),
            clock,
            queue: BTreeMap::new(),
            count: 0,
            rng: ChaCha20Rng::seed_from_u64(seed ^ 0x5eed),
            faults: Faults::default(),
            traffic: true,
            watch: false,
            filter: None,
            sent: Vec::new(),
            aliases: Vec::new(),
            dead: BTreeSet::new(),
            nat: None,
            nats: BTreeMap::new(),
        }
    }

    pub(super) fn new() -> Self {
        Self::with(1, |_, _| {})
    }

    pub(super) fn established() -> Self {
        let mut pair = Self::new();
        pair.run(Duration::from_secs(1));
        pair.assert_one_pair();
        pair.watch = true;
        pair
    }

    pub(super) fn node(&mut self, side: Side) -> &mut Node {
        match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        }
    }

    pub(super) fn see(&self, side: Side) -> &Node {
        match side {
            Side::A => &self.a,
            Side::B => &self.b,
        }
    }

    pub(super) fn connection(side: Side) -> Connection {
        connection(side)
    }

    pub(super) fn command(&mut self, side: Side, command: Command) {
        let now = self.now;
        self.node(side).ep.handle_command(now, command);
        self.drain(side);
    }

    pub(super) fn initiate(&mut self, side: Side) {
        self.command(side, Command::Initiate { connection: CONNECTION, child: None });
    }

    pub(super) fn rekey_child(&mut self, side: Side) {
        let id = *self.see(side).outbound.get(&CHILD).expect("a pair is up");
        self.command(side, Command::RekeyChild(id));
    }

    pub(super) fn rekey_ike(&mut self, side: Side) {
        self.command(side, Command::RekeyIke(CONNECTION));
    }

    /// A replaced endpoint: as after a crash.
    pub(super) fn restart(&mut self, side: Side, seed: u64) {
        let mut fresh = Node::new(side, seed, self.clock);
        let rng = ChaCha20Rng::seed_from_u64(seed + 1000);
        let base = 0xc000_0000;
        fresh.ep = Endpoint::new(EndpointConfig::new(Box::new(Spis(base))), Box::new(rng));
        *self.node(side) = fresh;
    }

    fn push(&mut self, after: Duration, item: Item) {
        self.count += 1;
        self.queue.insert((self.now + after, self.count), item);
    }

    /// A datagram from a stranger, or a forged one.
    pub(super) fn inject(&mut self, to: Side, local: SocketAddr, remote: SocketAddr, bytes: &[u8]) {
        let now = self.now;
        self.node(to).ep.handle_datagram(now, local, remote, bytes);
        self.drain(to);
    }

    /// The same datagram once more, where the same two addresses are others'.
    pub(super) fn repeat_in(&mut self, realm: Realm, from: Side, t: &Transmit) {
        let Some(Item::Datagram { to, local, remote, bytes, .. }) = self.route(from, t) else {
            panic!("it arrived")
        };
        let now = self.now;
        self.node(to).ep.handle_datagram_of(now, realm, local, remote, &bytes);
        self.drain(to);
    }

    /// kill -9 of the control process, and a new one that finds its records; the data plane stays.
    pub(super) fn crash(&mut self, side: Side, seed: u64) -> Taken {
        let connection = connection(side);
        self.crash_into(side, seed, vec![connection])
    }

    pub(super) fn crash_into(&mut self, side: Side, seed: u64, connections: Vec<Connection>) -> Taken {
        let (now, clock) = (self.now, self.clock);
        self.queue.retain(|_, item| !matches!(item, Item::Installed { at, .. } if *at == side));
        let node = self.node(side);
        // The clock of another process shows another time.
        let clock = Clock { here: now, boot: clock.boot + now.saturating_duration_since(clock.here) };
        let mut config = EndpointConfig::new(Box::new(Spis(0xd000_0000 + 0x100 * seed as u32)));
        config.records = Some(clock);
        let rng = Box::new(ChaCha20Rng::seed_from_u64(seed + 5000));
        let before = core::mem::replace(&mut node.ep, Endpoint::new(config, rng));
        drop(before);
        let (sas, outbound, lanes) = (&node.sas, &node.outbound, &node.lanes);
        let records: Vec<Vec<u8>> = core::mem::take(&mut node.records).into_values().collect();
        let in_force = |p: &PairRef| {
            let found = sas.iter().find(|(_, r)| {
                r.sa.inbound_spi == p.inbound && r.sa.outbound_spi == p.outbound && r.removed.is_none()
            })?;
            let used = || outbound.get(&p.child).into_iter().chain(lanes.values()).any(|id| id == found.0);
            found.1.in_force.then(used)
        };
        let taken = node.ep.restore(now, connections, records.iter().map(Vec::as_slice), in_force);
        // The data plane's SAs under their new numbers; what nobody knows any more goes.
        let mut old = core::mem::take(&mut node.sas);
        for pair in &taken.pairs {
            let at = *old.iter().find(|(_, r)| r.sa.inbound_spi == pair.inbound).unwrap().0;
            let mut rec = old.remove(&at).unwrap();
            rec.sa.id = pair.id;
            if node.outbound.get(&pair.child) == Some(&at) {
                node.outbound.insert(pair.child, pair.id);
            }
            node.lanes.values_mut().filter(|id| **id == at).for_each(|id| *id = pair.id);
            node.sas.insert(pair.id, rec);
        }
        let known = node.sas.keys().copied().collect::<BTreeSet<_>>();
        node.outbound.retain(|_, id| known.contains(id));
        node.lanes.retain(|_, id| known.contains(id));
        self.drain(side);
        taken
    }

    fn drain(&mut self, side: Side) {
        while let Some(record) = self.node(side).ep.poll_record() {
            match record {
                Record::Keep { name, bytes } => drop(self.node(side).records.insert(name, bytes.to_vec())),
                Record::Forget { name } => drop(self.node(side).records.remove(&name)),
            }
        }
        while let Some(t) = self.node(side).ep.poll_transmit() {
            self.send(side, t);
        }
        while let Some(e) = self.node(side).ep.poll_event() {
            self.on_event(side, e);
            if self.watch {
                self.assert_works();
            }
        }
    }

    fn send(&mut self, from: Side, t: Transmit) {
        self.sent.push((self.now, from, t.clone()));
        if t.keepalive || self.filter.as_mut().is_some_and(|f| f(from, &t.bytes)) {
            return;
        }
        if self.rng.next_u64() % 100 < self.faults.loss {
            return;
        }
        let copies = if self.rng.next_u64() % 100 < self.faults.repeat { 2 } else { 1 };
        for _ in 0..copies {
            let late = self.rng.next_u64() % 100 < self.faults.reorder;
            let delay = if late { LATENCY * (2 + (self.rng.next_u64() % 20) as u32) } else { LATENCY };
            let Some(item) = self.route(from, &t) else { continue };
            self.push(delay, item);
        }
    }

    /// Addresses and ports as they arrive, through the NAT if there is one.
    fn route(&self, from: Side, t: &Transmit) -> Option<Item> {
        let to = from.other();
        let port = if t.natt { 4500 } else { 500 };
        let mut source = SocketAddr::new(t.local.unwrap_or_else(|| self.see(from).addr), port);
        let mut dest = t.remote;
        if let Some((public, shift)) = self.nat {
            match from {
                Side::A => source = SocketAddr::new(public, port + shift),
                Side::B => {
                    if dest.ip() != public || dest.port() < shift {
                        return None;
                    }
                    dest = SocketAddr::new(self.a.addr, dest.port() - shift);
                }
            }
        }
        match from {
            Side::A => {
                while let Some((public, shift)) = self.nats.get(&source.ip()) {
                    source = SocketAddr::new(*public, source.port() + shift);
                }
            }
            Side::B => {
                while let Some((inside, (_, shift))) = self.nats.iter().find(|(_, (p, _))| *p == dest.ip()) {
                    dest = SocketAddr::new(*inside, dest.port().checked_sub(*shift)?);
                }
            }
        }
        if self.dead.contains(&dest.ip()) || self.dead.contains(&source.ip()) {
            return None;
        }
        let own = dest.ip() == self.see(to).addr
            || (to == Side::B && self.aliases.contains(&dest.ip()))
            || (to == Side::A && self.nats.contains_key(&dest.ip()));
        (own && matches!(dest.port(), 500 | 4500)).then(|| Item::Datagram {
            to,
            local: dest,
            remote: source,
            realm: t.realm,
            bytes: t.bytes.clone(),
        })
    }

    fn on_event(&mut self, side: Side, event: Event) {
        let now = self.now;
        let node = self.node(side);
        node.log.push(format!("{event:?}"));
        match &event {
            Event::Install { sa, .. } => {
                let ok = node.refuse_installs == 0;
                node.refuse_installs = node.refuse_installs.saturating_sub(1);
                let id = sa.id;
                node.sas.insert(id, Recorded { sa: (**sa).clone(), in_force: false, removed: None });
                self.push(INSTALL, Item::Installed { at: side, sa: id, ok });
            }
            Event::UseOutbound { child, sa, resource } => {
                let rec = &node.sas[sa];
                assert!(rec.in_force && rec.removed.is_none(), "{side:?} uses what is not in force");
                if *resource == 0 {
                    node.outbound.insert(*child, *sa);
                } else {
                    node.lanes.insert((*child, *resource), *sa);
                }
                let spi = rec.sa.outbound_spi;
                if self.traffic {
                    self.push(LATENCY, Item::Esp { to: side.other(), spi });
                }
            }
            Event::StopOutbound { sa, .. } => node.lanes.retain(|_, used| used != sa),
            Event::Remove { sa, grace, .. } => {
                let rec = node.sas.get_mut(sa).unwrap();
                assert!(rec.removed.is_none(), "{side:?} removes twice");
                rec.removed = Some(now + *grace);
                assert!(
                    !node.lanes.values().any(|used| used == sa),
                    "{side:?} removes what a resource sends by"
                );
                node.outbound.retain(|_, used| used != sa);
            }
            Event::Moved { sa, local, remote } => {
                let rec = node.sas.get_mut(sa).unwrap();
                (rec.sa.local, rec.sa.remote) = (*local, *remote);
            }
            Event::Idle => node.idle = true,
            Event::CheckRevocation { token, path, .. } => {
                let answers = node.revocation.clone();
                assert!(answers.is_empty() || answers.len() + 1 == path.len());
                self.push(LATENCY, Item::Revocation { at: side, token: *token, answers });
            }
            Event::IkeUp { .. }
            | Event::IkeDown { .. }
            | Event::Failed { .. }
            | Event::Rejected { .. }
            | Event::ChildUp { .. }
            | Event::ChildDown { .. }
            | Event::Trace { .. }
            | Event::KeyLog(_)
            | Event::PeerKnown { .. }
            | Event::PeerGone { .. }
            | Event::Leased { .. }
            | Event::Given { .. } => {}
        }
        self.node(side).events.push(event);
    }

    /// Lets `time` pass: the clock jumps from one thing that happens to the next.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..1_000_000 {
            let next = self.queue.first_key_value().map(|(k, _)| k.0);
            let alarms = [self.a.ep.poll_alarm(), self.b.ep.poll_alarm()];
            let Some(at) = next.into_iter().chain(alarms.into_iter().flatten()).min() else { break };
            if at > end {
                break;
            }
            assert!(at >= self.now || alarms.iter().flatten().any(|a| *a == at), "time goes on");
            self.now = self.now.max(at);
            if next == Some(at) {
                let (_, item) = self.queue.pop_first().unwrap();
                self.deliver(item);
            } else {
                for side in [Side::A, Side::B] {
                    let now = self.now;
                    if self.see(side).ep.poll_alarm().is_some_and(|a| a <= now) {
                        self.node(side).ep.handle_alarm(now);
                        self.drain(side);
                    }
                }
            }
        }
        assert!(
            self.queue.first_key_value().is_none_or(|(k, _)| k.0 > end),
            "the pair does not come to rest"
        );
        self.now = end;
    }

    pub(super) fn run_secs(&mut self, secs: u64) {
        self.run(Duration::from_secs(secs));
    }

    fn deliver(&mut self, item: Item) {
        let now = self.now;
        match item {
            Item::Datagram { to, local, remote, realm, bytes } => {
                self.node(to).ep.handle_datagram_of(now, realm, local, remote, &bytes);
                self.drain(to);
            }
            Item::Installed { at, sa, ok } => {
                let node = self.node(at);
                let Some(rec) = node.sas.get_mut(&sa) else { return };
                rec.in_force = ok;
                let token = crate::event::InstallToken(sa.0);
                self.command(at, Command::Installed { token, ok });
            }
            Item::Revocation { at, token, answers } => {
                // Nobody answers: the engine must not wait for ever.
                if !answers.is_empty() {
                    self.command(at, Command::Revocation { token, answers });
                }
            }
            Item::Esp { to, spi } => {
                let node = self.node(to);
                let hit = node
                    .sas
                    .values()
                    .find(|r| r.sa.inbound_spi == spi && r.in_force && r.removed.is_none())
                    .map(|r| r.sa.id);
                if let Some(id) = hit {
                    self.command(to, Command::FirstPacket(id));
                }
            }
        }
    }

    // What must be.

    /// A packet that `from` sends now would be decrypted by the other side.
    pub(super) fn works(&self, from: Side) -> bool {
        let (tx, rx) = (self.see(from), self.see(from.other()));
        // A peer of a connection for any address has a number of its own.
        let child = tx.outbound.get(&CHILD).or_else(|| tx.outbound.values().next());
        let arrives = |id: &ChildSaId| {
            let Some(out) = tx.sas.get(id) else { return false };
            rx.sas.values().any(|r| {
                r.sa.inbound_spi == out.sa.outbound_spi
                    && r.sa.inbound_keys.0 == out.sa.outbound_keys.0
                    && r.in_force
                    && r.removed.is_none_or(|until| until > self.now)
            })
        };
        child.is_some_and(arrives) && tx.lanes.values().all(arrives)
    }

    pub(super) fn assert_works(&self) {
        for side in [Side::A, Side::B] {
            assert!(
                self.works(side),
                "{side:?} cannot reach the other\nA: {:#?}\nB: {:#?}",
                self.a.log,
                self.b.log
            );
        }
    }

    pub(super) fn live(&self, side: Side) -> Vec<IkeSaInfo> {
        let s: Snapshot = self.see(side).ep.snapshot(self.now);
        s.ike_sas.into_iter().filter(|i| i.state != "closed").collect()
    }

    /// Exactly one IKE SA and one pair, the same at both ends.
    pub(super) fn assert_one_pair(&self) {
        let dump = || format!("A: {:#?}\nB: {:#?}", self.a.log, self.b.log);
        let (a, b) = (self.a.pairs(), self.b.pairs());
        assert_eq!((a.len(), b.len()), (1, 1), "pairs in force\n{}", dump());
        assert_eq!(a[0].inbound_spi, b[0].outbound_spi, "{}", dump());
        assert_eq!(a[0].outbound_spi, b[0].inbound_spi, "{}", dump());
        assert_eq!(a[0].inbound_keys.0, b[0].outbound_keys.0);
        assert_eq!(a[0].outbound_keys.0, b[0].inbound_keys.0);
        assert_ne!(a[0].inbound_keys.0, a[0].outbound_keys.0);
        self.assert_works();
        self.assert_same_tables();
        let (ia, ib) = (self.live(Side::A), self.live(Side::B));
        assert_eq!((ia.len(), ib.len()), (1, 1), "IKE SAs: {ia:#?} {ib:#?}");
    }

    /// What one side holds the other holds too: IKE SAs by their SPIs, children by theirs.
    pub(super) fn assert_same_tables(&self) {
        let table = |side: Side| -> BTreeSet<(u64, u64, Vec<(Spi, Spi)>)> {
            self.live(side)
                .iter()
                .map(|i| {
                    let mut children: Vec<(Spi, Spi)> = i
                        .children
                        .iter()
                        .map(|c| match side {
                            Side::A => (c.inbound_spi, c.outbound_spi),
                            Side::B => (c.outbound_spi, c.inbound_spi),
                        })
                        .collect();
                    children.sort();
                    (i.initiator_spi, i.responder_spi, children)
                })
                .collect()
        };
        assert_eq!(table(Side::A), table(Side::B));
    }

    pub(super) fn assert_nothing(&self) {
        for side in [Side::A, Side::B] {
            assert!(self.see(side).pairs().is_empty(), "{side:?} has pairs: {:#?}", self.see(side).log);
            assert!(self.live(side).is_empty(), "{side:?} has IKE SAs: {:#?}", self.live(side));
        }
    }

    /// The datagrams of one side since `since`, keepalives included.
    pub(super) fn sent_by(&self, side: Side, since: Instant) -> VecDeque<(Instant, Transmit)> {
        self.sent
            .iter()
            .filter(|(at, s, _)| *s == side && *at >= since)
            .map(|(at, _, t)| (*at, t.clone()))
            .collect()
    }
}
