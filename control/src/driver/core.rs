//! The engine, the installer and what lies between them, without any I/O.
//!
//! Decides: which event of the engine becomes which step of the installer, and what the operator reads of it.
//! Reads: events of both sides. Writes: commands of both sides. Never: waits, reads a clock, opens anything.

mod adoption;
mod gateways;
mod path;
mod peers;
mod wishes;

use super::given::Given;
use super::inquiry::Question;
use super::leases::Leases;
use super::limit::LogLimit;
use super::note::Note;
use super::one_way::Watch;
use super::revocation::{self, SystemClock};
use super::spi::Spis;
use super::vault::clock;
use crate::config::{Config, Tunnel};
use crate::feedback::{self, Reaction};
use crate::install::{IdSalt, Installer};
use crate::metrics::{Counter, Metrics};
use getrandom::SysRng;
use rand_core::UnwrapErr;
use ravelin_ike::command::{Command, Status};
use ravelin_ike::config::{Connection, ConnectionId, Realm};
use ravelin_ike::endpoint::{Endpoint, EndpointConfig, Transmit};
use ravelin_ike::event::{Event, RevocationToken};
use ravelin_ike::keylog::KeyLine;
use ravelin_ike::snapshot::Snapshot;
use ravelin_ring::msg::{PortId, SaReport, TunnelId, WorkerCommand, WorkerEvent, WorkerId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};
use tracing::{debug, info, warn};

/// Neighbours to resolve that wait for the kernel part; more are asked for again by the packets that need them.
const MAX_RESOLVE: usize = 1024;

pub(super) struct Core {
    pub(super) endpoint: Endpoint,
    pub installer: Installer,
    pub config: Config,
    /// What the engine was configured with, to see what a reload changes and to begin anew.
    pub(super) connections: BTreeMap<ConnectionId, Connection>,
    /// Taken down by the operator: traffic does not bring them up.
    pub(super) held: BTreeSet<TunnelId>,
    pub(super) notes: BTreeMap<TunnelId, Note>,
    pub(super) peers: peers::Peers,
    pub(super) gateways: gateways::Gateways,
    pub(super) leases: Leases,
    pub(super) given: Given,
    pub(super) id_salt: IdSalt,
    pub metrics: Metrics,
    pub(super) watch: Watch,
    /// Whether there is a data plane to install into.
    connected: bool,
    adopting: bool,
    /// The tables are in force, and IKE has begun.
    begun: bool,
    /// The tunnels have the numbers that SAs in the data plane know them by.
    pub ids_known: bool,
    idle: bool,
    resolve: VecDeque<(PortId, IpAddr)>,
    limit: LogLimit,
    keys: Option<Sender<KeyLine>>,
    /// About certificates, for whom the network must be asked.
    questions: VecDeque<Question>,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("connected", &self.connected).finish_non_exhaustive()
    }
}

impl Core {
    pub(super) fn new(config: Config, keys: Option<Sender<KeyLine>>, id_salt: IdSalt, now: Instant) -> Self {
        let spis = Spis::new(1);
        let leases = Leases::load(&config.control.run_dir);
        let given = Given::load(&config.control.run_dir);
        let mut settings = EndpointConfig::new(Box::new(spis.clone()));
        settings.ike_port = config.control.ike_port;
        settings.natt_port = config.control.natt_port;
        settings.key_log = keys.is_some();
        settings.clock = Box::new(SystemClock);
        settings.records = clock(now);
        Self {
            // The kernel's generator cannot fail once it is seeded; without one there is no IKE at all.
            endpoint: Endpoint::new(settings, Box::new(UnwrapErr(SysRng))),
            installer: Installer::new(1, spis),
            config,
            keys,
            connections: BTreeMap::new(),
            held: BTreeSet::new(),
            notes: BTreeMap::new(),
            peers: peers::Peers::default(),
            gateways: gateways::Gateways::default(),
            leases,
            given,
            id_salt,
            metrics: Metrics::default(),
            watch: Watch::default(),
            connected: false,
            adopting: false,
            begun: false,
            ids_known: false,
            idle: false,
            resolve: VecDeque::new(),
            questions: VecDeque::new(),
            limit: LogLimit::default(),
        }
    }

    /// A data plane is there, with these workers.
    pub(super) fn connect(&mut self, workers: u16) {
        self.installer.reset(workers);
        self.connected = true;
    }

    /// The data plane and all its SAs are gone: the peers are told, and nothing is negotiated until there is another.
    pub(super) fn disconnect(&mut self, now: Instant) {
        (self.connected, self.begun) = (false, false);
        self.installer.reset(1);
        self.peers.forget_awaited();
        self.metrics.count(Counter::DataplaneLost);
        for id in self.connections.keys().copied().collect::<Vec<_>>() {
            self.command(now, Command::Remove(id));
        }
        self.settle(now);
    }

    /// Begins to negotiate: every connection anew, but for those that the operator took down.
    pub(super) fn configure_all(&mut self, now: Instant, connections: Vec<Connection>) {
        self.begin_manual();
        self.connections = connections.into_iter().map(|c| (c.id, c)).collect();
        self.keep_down(now);
        for connection in self.connections.values().cloned().collect::<Vec<_>>() {
            self.configure(now, connection);
        }
    }

    /// As [`Self::configure_all`], with what was configured before the data plane went.
    pub(super) fn configure_again(&mut self, now: Instant) {
        let all = std::mem::take(&mut self.connections).into_values().collect();
        self.configure_all(now, all);
    }

    /// A reload: removes, changes and adds what differs; the rest is not touched.
    pub(super) fn reconfigure(&mut self, now: Instant, connections: Vec<Connection>) {
        let new: BTreeMap<ConnectionId, Connection> = connections.into_iter().map(|c| (c.id, c)).collect();
        let old = std::mem::replace(&mut self.connections, new.clone());
        self.installer.manual_due(true);
        for id in old.keys().filter(|id| !new.contains_key(id)) {
            self.held.remove(&TunnelId(id.0));
            if self.connected {
                self.command(now, Command::Remove(*id));
            }
        }
        for (id, connection) in new {
            if old.get(&id) != Some(&connection) && self.connected {
                self.configure(now, connection);
            }
        }
        self.follow_vrfs(now);
    }

    /// One of those that are configured, changed.
    pub(super) fn reconfigure_one(&mut self, now: Instant, connection: Connection) {
        if self.connected {
            self.configure(now, connection);
        }
    }

    pub(super) fn datagram(
        &mut self,
        now: Instant,
        realm: Realm,
        local: SocketAddr,
        remote: SocketAddr,
        bytes: &[u8],
    ) {
        self.endpoint.handle_datagram_of(now, realm, local, remote, bytes);
        self.settle(now);
    }

    pub(super) fn command(&mut self, now: Instant, command: Command) {
        self.endpoint.handle_command(now, command);
        self.settle(now);
    }

    /// Timers of the engine and the installer.
    pub(super) fn alarm(&mut self, now: Instant) {
        self.installer.expire(now);
        self.follow_manual(now);
        if self.endpoint.poll_alarm().is_some_and(|at| at <= now) {
            self.endpoint.handle_alarm(now);
        }
        self.settle(now);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.endpoint.poll_alarm().into_iter().chain(self.installer.deadline()).min()
    }

    pub(super) fn worker_event(&mut self, now: Instant, worker: WorkerId, event: WorkerEvent) {
        self.metrics.count(Counter::WorkerEvents);
        match feedback::reaction(&self.installer, event) {
            Reaction::Engine(command) => self.endpoint.handle_command(now, command),
            Reaction::Done(token, outcome) => {
                if !self.installer.done(token, outcome) {
                    self.metrics.count(Counter::StrayAnswers);
                }
            }
            Reaction::Report(report) => self.report(now, worker, *report),
            Reaction::Acquire(tunnel, packet) => self.acquire(now, tunnel, Some(packet)),
            Reaction::Renew(tunnel) => self.initiate(now, tunnel),
            Reaction::Resolve(port, addr) => {
                self.metrics.count(Counter::NeighboursAsked);
                if self.resolve.len() < MAX_RESOLVE {
                    self.resolve.push_back((port, addr));
                }
            }
            Reaction::UnknownSpi(spi, from) => {
                self.metrics.count(Counter::UnknownSpi);
                debug!(spi = format_args!("{spi:#010x}"), %from, "ESP with an SPI that nobody has");
            }
            Reaction::Late => self.metrics.count(Counter::LateEvents),
        }
        self.settle(now);
    }

    pub(super) fn poll_worker_command(&mut self) -> Option<(WorkerId, WorkerCommand)> {
        self.installer.poll_command()
    }

    pub(super) fn poll_transmit(&mut self) -> Option<Transmit> {
        self.endpoint.poll_transmit()
    }

    pub(super) fn poll_question(&mut self) -> Option<Question> {
        self.questions.pop_front()
    }

    pub(super) fn revocation(&mut self, now: Instant, token: RevocationToken, answers: Vec<Status>) {
        self.endpoint.handle_command(now, Command::Revocation { token, answers });
    }

    pub(super) fn poll_resolve(&mut self) -> Option<(PortId, IpAddr)> {
        self.resolve.pop_front()
    }

    pub(super) fn snapshot(&self, now: Instant) -> Snapshot {
        self.endpoint.snapshot(now)
    }

    pub(super) fn snapshot_of(&self, now: Instant, tunnel: TunnelId) -> Snapshot {
        let connection = self.config.tunnel_by_id(tunnel).map(Tunnel::connection_id);
        self.endpoint.snapshot_of(now, connection.unwrap_or(ConnectionId(tunnel.0)))
    }

    pub(super) fn note(&self, tunnel: TunnelId) -> Note {
        self.notes.get(&tunnel).cloned().unwrap_or_default()
    }

    /// After `Command::Shutdown`: nothing is left.
    pub(super) fn is_idle(&self) -> bool {
        self.idle
    }

    pub(super) fn engine_counters(&self) -> &ravelin_ike::counters::Counters {
        self.endpoint.counters()
    }

    /// Forgets what was counted and noted of tunnels that are not in the configuration any more.
    pub(super) fn forget_removed(&mut self) {
        let known: BTreeSet<TunnelId> = self.config.tunnels.iter().map(|t| t.id).collect();
        let gone: Vec<TunnelId> = self.notes.keys().filter(|t| !known.contains(t)).copied().collect();
        for tunnel in gone {
            self.notes.remove(&tunnel);
            self.installer.forget_totals(tunnel);
        }
        self.installer.drop_adopted(|half| !known.contains(&half.tunnel));
    }

    /// Exchanges events and answers until both sides are quiet.
    pub(super) fn settle(&mut self, now: Instant) {
        loop {
            if let Some(event) = self.endpoint.poll_event() {
                self.event(now, event);
            } else if let Some(answer) = self.installer.poll_answer() {
                if let Some(answer) = self.peers.hold_back(answer) {
                    self.endpoint.handle_command(now, answer);
                }
            } else {
                return;
            }
        }
    }

    fn report(&mut self, now: Instant, worker: WorkerId, report: SaReport) {
        if self.adopting && self.installer.half(report.id).is_none() {
            return self.adopt(now, worker, report);
        }
        self.installer.report(report);
        for pair in self.installer.take_alive() {
            self.endpoint.handle_command(now, Command::Alive(pair));
        }
    }

    fn event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Install { token, sa } => self.install(now, token, &sa),
            Event::UseOutbound { sa, resource, .. } => self.installer.use_outbound(now, sa, resource),
            Event::StopOutbound { sa, .. } => self.installer.leave_own(sa),
            Event::Remove { sa, grace, .. } => self.installer.remove(now, sa, grace),
            Event::Moved { sa, local, remote } => self.installer.moved(sa, local, remote),
            Event::Idle => self.idle = true,
            Event::Trace { connection, ike, text } => {
                info!(target: "ravelin::trace", tunnel = self.name(connection), ike = ike.0, "{text}");
            }
            Event::KeyLog(line) => self.keys.iter().for_each(|keys| drop(keys.send(line.clone()))),
            Event::CheckRevocation { token, trust, path, .. } => match revocation::judge(&trust, &path) {
                Some(answers) => self.revocation(now, token, answers),
                None => self.questions.push_back((token, trust, path)),
            },
            Event::PeerKnown { template, connection, children, peer } => {
                debug!(tunnel = self.name(template), peer, "a peer has its own SAs");
                self.peer_known(template, connection, &children);
            }
            Event::PeerGone { connection } => self.peer_gone(connection),
            Event::Leased { connection, peer, addresses } => {
                self.leases.note(&self.config, TunnelId(connection.0), &peer, &addresses);
            }
            Event::Given { connection, addresses, dns } => self.given.set(connection, addresses, dns),
            Event::IkeUp { connection, remote, peer_id, .. } => {
                let tunnel = self.config.tunnel_by_id(TunnelId(self.peers.connection(connection).0));
                let credential = tunnel.map_or("", |t| t.credential(Some(remote.ip())));
                info!(tunnel = self.name(connection), credential, "IKE SA established");
                debug!(tunnel = self.name(connection), %remote, peer_id, "peer of the IKE SA");
            }
            Event::IkeDown { connection, why, .. } => {
                info!(tunnel = self.name(connection), why = self.reason(&why), "IKE SA closed");
            }
            Event::Failed { connection, why, retry } => self.failed(now, connection, why, retry),
            Event::Rejected { connection, remote, why } => self.rejected(now, connection, remote, &why),
            Event::ChildUp { child, sa } => {
                info!(tunnel = self.name(ConnectionId(child.0)), pair = sa.0, "tunnel up");
                self.notes.entry(self.peers.tunnel(TunnelId(child.0))).or_default().failures = 0;
            }
            Event::ChildDown { child, sa, why } => {
                info!(
                    tunnel = self.name(ConnectionId(child.0)),
                    pair = sa.0,
                    why = self.reason(&why),
                    "child SA pair ended"
                );
            }
        }
    }

    fn failed(&mut self, now: Instant, id: ConnectionId, why: String, retry: Option<Duration>) {
        warn!(tunnel = self.name(id), why, retry_in = ?retry, "attempt failed");
        let note = self.notes.entry(TunnelId(self.peers.connection(id).0)).or_default();
        match retry {
            // The next gateway is tried at once: whoever waits for the tunnel waits on.
            Some(Duration::ZERO) => note.last_error = Some((why, now)),
            Some(_) | None => note.failed(now, why),
        }
    }

    /// Strangers can cause these at will: few of them reach the log.
    fn rejected(&mut self, now: Instant, id: Option<ConnectionId>, remote: SocketAddr, why: &str) {
        if self.limit.allows(now) {
            let tunnel = id.map_or("", |id| self.name(id));
            warn!(tunnel, why, "a peer's attempt was refused");
            debug!(%remote, "it came from there");
        } else {
            self.metrics.count(Counter::LogsSuppressed);
        }
        if let Some(id) = id {
            self.notes.entry(TunnelId(self.peers.connection(id).0)).or_default().last_error =
                Some((why.to_owned(), now));
        }
    }

    /// Without a data plane the engine is told to forget its connections, which is not the operator's doing.
    fn reason<'a>(&self, why: &'a str) -> &'a str {
        if self.connected { why } else { "the data plane is gone" }
    }

    fn name(&self, id: ConnectionId) -> &str {
        let id = self.peers.tunnel(TunnelId(self.peers.connection(id).0));
        self.config.tunnel_by_id(id).map_or("(removed)", |t: &Tunnel| t.name.as_str())
    }
}
