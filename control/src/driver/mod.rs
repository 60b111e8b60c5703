//! The control process's one loop: everything it waits for, and what follows from it.
//!
//! Decides: order. Kernel routes stand before anything else; the data plane has its tables before IKE begins; what a
//! reload adds is protected before it is negotiated. Reads: sockets, rings, the kernel, signals, the API.
//! Writes: the same. Never: waits for one of them while another has something (what blocks runs elsewhere).

mod error;
mod key_log;
mod core;
mod plane;
mod tables;
mod spi;
mod state;
mod vault;
mod survival;
mod leases;
mod given;
mod limit;
mod note;
mod one_way;
mod own;
mod uplink;
mod revocation;
mod datagrams;
mod inquiry;
mod connection;
mod reading;
mod devices;
mod gre_path;
mod reload;
mod calls;
mod clear;
mod answers;
mod stop;
mod hold;

pub use error::DriverError;
use error::report;
pub use hold::hold;
pub use spi::Spis;
pub(crate) use spi::random_u32;

use self::core::Core;
use crate::api::{self, Call, Server};
use crate::install::IdSalt;
use crate::kernel::{FailClosed, KernelError, Mirror, ProtectedRoutes};
use crate::metrics::Counter;
use crate::net::Sockets;
use calls::Waiting;
use connection::Link;
use reading::load;
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use stop::Stopping;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::Receiver;
use tracing::{debug, info, warn};

/// Until the kernel is asked again after it refused.
const KERNEL_AGAIN: Duration = Duration::from_secs(1);
/// Kernel changes within this time are published together.
const COALESCE: Duration = Duration::from_millis(3);
/// How often the workers report their SAs.
const REPORTS: Duration = Duration::from_secs(1);
/// How often stale neighbours are asked again.
const REFRESH: Duration = Duration::from_secs(5);
/// A full ring is tried again after this time.
const FULL_RING: Duration = Duration::from_millis(1);
#[derive(Clone, Debug)]
pub struct Options {
    pub config: PathBuf,
    /// Instead of what the configuration says.
    pub run_dir: Option<PathBuf>,
    /// Laboratories only: where the keys of all IKE SAs go.
    pub key_log: Option<PathBuf>,
    /// Laboratories only: so many sequence numbers the first SAs have behind them.
    pub first_sequence: u64,
}

/// The process, from its first port to its last Delete.
pub async fn run(options: &Options) -> Result<(), DriverError> {
    let mut driver = Driver::start(options).await?;
    let result = driver.serve().await;
    driver.say_goodbye();
    result
}

pub(crate) struct Driver {
    options: Options,
    core: Core,
    sockets: Sockets,
    mirror: Mirror,
    fail_closed: FailClosed,
    /// What table 4500 was last brought to, with the TUN device's index.
    routes: Option<(ProtectedRoutes, Option<u32>)>,
    /// Routes of what a reload removed go when the data plane has taken its policies.
    routes_due: bool,
    devices: devices::Devices,
    link: Link,
    tables: tables::Queue,
    /// `None`: it could not be opened, which was said.
    vault: Option<vault::Vault>,
    calls: Receiver<Call>,
    _api: api::Serving,
    waiting: Vec<Waiting>,
    inquiries: inquiry::Inquiries,
    reading: reading::Reading,
    signals: Signals,
    started: Instant,
    kernel_due: Option<Instant>,
    reports_at: Instant,
    refresh_at: Instant,
    /// Something found its ring full.
    ring_full: bool,
    stopping: Option<Stopping>,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("link", &self.link).finish_non_exhaustive()
    }
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

/// Why the loop woke.
enum Wake {
    Timer,
    Datagrams,
    Kernel(Result<(), KernelError>),
    Link(connection::News),
    Call(Option<Call>),
    Revocation(inquiry::Done),
    Reload,
    Loaded(Box<reading::Loaded>),
    Stop,
}

impl Driver {
    async fn start(options: &Options) -> Result<Self, DriverError> {
        let (mut config, connections) = load(options)?;
        for warning in &config.warnings {
            warn!("{warning}");
        }
        let run_dir = config.control.run_dir.clone();
        state::make_run_dir(&run_dir)?;
        // Loading has done it already; what is asked here is whether there was anything to restore.
        let ids_known = state::restore(&run_dir, &mut config);
        let socket = api::socket_path(&run_dir);
        let io_error = |what, path: &Path| {
            let path = path.to_owned();
            move |source| DriverError::Io { what, path, source }
        };
        let (server, calls) = Server::bind(&socket).map_err(io_error("cannot listen on", &socket))?;
        let sockets = Sockets::open(config.control.ike_port, config.control.natt_port)?;
        // Before any other thread exists, which would keep what this one gives up.
        crate::hygiene::reduce();
        let keys = options.key_log.as_deref();
        let keys = keys.map(|path| key_log::start(path).map_err(io_error("no key log", path))).transpose()?;
        let signals = Signals::new().map_err(io_error("no signals for", &run_dir))?;
        let api = server.start().map_err(io_error("no thread for", &socket))?;
        let mirror = Mirror::open(hold::ports(&config), config.dataplane.tun.to_string()).await?;
        own::Addresses::of(mirror.model()).agree(&config, &options.config)?;
        let fail_closed = FailClosed::new(mirror.handle().clone(), hold::ports(&config));
        let now = Instant::now();
        let vault = vault::Vault::open(&run_dir);
        if let Err(why) = &vault {
            warn!(%why, "IKE SAs cannot be stored: a killed control process will negotiate anew");
        }
        let vault = vault.ok();
        let link = Link::new(run_dir.join("dataplane.sock"), connections);
        let salt = vault.as_ref().map_or_else(IdSalt::random, vault::Vault::salt);
        let mut core = Core::new(config, keys, salt, now);
        core.installer.begin_at(options.first_sequence);
        let mut me = Self {
            options: options.clone(),
            core,
            sockets,
            mirror,
            fail_closed,
            routes: None,
            routes_due: false,
            devices: devices::Devices::default(),
            link,
            tables: tables::Queue::new(),
            vault,
            calls,
            _api: api,
            waiting: Vec::new(),
            inquiries: inquiry::Inquiries::new(),
            reading: reading::Reading::default(),
            signals,
            started: now,
            kernel_due: None,
            reports_at: now,
            refresh_at: now + REFRESH,
            ring_full: false,
            stopping: None,
        };
        me.core.ids_known = ids_known;
        me.core.restore_leases(now);
        // Before the data plane is there: nothing protected leaves by the kernel from here on.
        me.update_routes().await?;
        me.number_devices();
        me.update_devices().await?;
        info!(tunnels = me.core.config.tunnels.len(), "ravelin-control is ready; waiting for the data plane");
        Ok(me)
    }

    async fn serve(&mut self) -> Result<(), DriverError> {
        loop {
            self.turn().await;
            if matches!(self.stopping, Some(Stopping::Done)) {
                return Ok(());
            }
            let wake = self.wait().await;
            let now = Instant::now();
            match wake {
                Wake::Timer | Wake::Call(None) => {}
                Wake::Datagrams => self.datagrams(now),
                Wake::Kernel(result) => {
                    result?;
                    self.kernel_due = Some(now + COALESCE);
                }
                Wake::Link(news) => self.news(now, news).await,
                Wake::Call(Some(call)) => self.call(now, call),
                Wake::Revocation((token, answers)) => self.core.revocation(now, token, answers),
                Wake::Reload => self.reading.ask(&self.options, None),
                Wake::Loaded(loaded) => {
                    let answer = self.reload(now, *loaded).await;
                    self.reading.answer(&answer, &self.options);
                }
                Wake::Stop => self.stop(now),
            }
            self.waiting_calls(now);
            // Under a storm of datagrams nothing else would ever have its turn.
            tokio::task::yield_now().await;
        }
    }

    async fn wait(&mut self) -> Wake {
        let deadline = self.deadline();
        tokio::select! {
            () = tokio::time::sleep_until(deadline.into()) => Wake::Timer,
            () = self.sockets.readable() => Wake::Datagrams,
            changed = self.mirror.changed(), if self.kernel_due.is_none() => Wake::Kernel(changed),
            news = self.link.news() => Wake::Link(news),
            call = self.calls.recv() => Wake::Call(call),
            done = self.inquiries.done() => Wake::Revocation(done),
            loaded = self.reading.done() => Wake::Loaded(Box::new(loaded)),
            _ = self.signals.hangup.recv() => Wake::Reload,
            _ = self.signals.terminate.recv() => Wake::Stop,
            _ = self.signals.interrupt.recv() => Wake::Stop,
        }
    }

    fn deadline(&self) -> Instant {
        let mut at = self.reports_at.min(self.refresh_at);
        let times = [self.core.deadline(), self.kernel_due, self.link.deadline(), self.stop_deadline()];
        for time in times.into_iter().flatten().chain(self.waiting.iter().map(Waiting::until)) {
            at = at.min(time);
        }
        if self.ring_full { at.min(Instant::now() + FULL_RING) } else { at }
    }

    /// What is due by the clock, and what gathered: all of it, in this order.
    async fn turn(&mut self) {
        let now = Instant::now();
        self.core.alarm(now);
        if self.kernel_due.is_some_and(|at| at <= now) {
            self.kernel_due = None;
            let done = self.publish_kernel().await;
            self.or_again(now, done);
        }
        self.link.maybe_connect(now, &self.core.config);
        self.drain_rings(now);
        self.begin_when_ready(now);
        self.periodic(now);
        while let Some((port, addr)) = self.core.poll_resolve() {
            self.mirror.resolve(port, addr);
        }
        self.publish_peers();
        let placed = self.place_addresses().await;
        self.or_again(now, placed);
        if self.routes_due && self.tables.in_force() {
            self.routes_due = false;
            let done = self.update_routes().await;
            self.or_again(now, done);
            let done = self.delete_devices().await;
            self.or_again(now, done);
        }
        self.ask_revocation(now);
        self.answer_waiting(now);
        self.progress_stop(now);
        self.flush();
    }

    fn periodic(&mut self, now: Instant) {
        if self.reports_at <= now {
            self.reports_at = now + REPORTS;
            self.core.save_leases();
            self.follow_gateways(now, false);
            if self.link.plane().is_some() {
                self.core.installer.age_paths(now);
                self.age_gre_paths(now);
                self.core.look_for_one_way(now);
                self.core.installer.ask_reports();
            }
        }
        if self.refresh_at <= now {
            self.refresh_at = now + REFRESH;
            self.mirror.refresh();
        }
    }

    /// Commands into rings, datagrams onto the wire.
    fn flush(&mut self) {
        while let Some((worker, command)) = self.core.poll_worker_command() {
            if let Some(plane) = self.link.plane_mut() {
                plane.queue(worker, command);
            }
        }
        self.ring_full = match self.link.plane_mut() {
            Some(plane) => !plane.flush(&mut self.tables, &mut self.core.metrics),
            None => false,
        };
        self.store_records();
        self.transmit();
    }

    /// What the kernel changed, for the data plane; and our own routes, if they depend on it.
    async fn publish_kernel(&mut self) -> Result<(), DriverError> {
        if self.link.plane().is_some() {
            let changes = self.mirror.difference().await?;
            if !changes.is_empty() {
                debug!(changes = changes.len(), "kernel tables changed");
                self.publish(changes);
            }
        } else {
            self.mirror.catch_up().await?;
        }
        self.choose_locals();
        self.core.given.look();
        self.update_devices().await?;
        self.update_routes().await
    }

    /// The kernel refuses now and then: a device that just goes, a dump cut short. What is in force stays, and soon all
    /// is read and compared anew; ending would take the tunnels down for it.
    fn or_again(&mut self, now: Instant, done: Result<(), DriverError>) {
        if let Err(why) = done {
            warn!(%why, "the kernel's tables could not be followed; once more in a second");
            self.mirror.dump_again();
            self.kernel_due = Some(now + KERNEL_AGAIN);
        }
    }

    fn publish(&mut self, commands: Vec<ravelin_ring::msg::TableCommand>) -> ravelin_ring::msg::Generation {
        self.core.metrics.count(Counter::Generations);
        self.tables.publish(commands)
    }

    /// Brings table 4500 to what the configuration and the host's addresses ask for.
    async fn update_routes(&mut self) -> Result<(), DriverError> {
        let addresses: BTreeSet<IpAddr> = self.mirror.model().addresses().collect();
        let wanted =
            tables::protected_routes(&self.core.config, &addresses, |t| self.core.given.addresses(t));
        self.set_routes(wanted).await
    }

    async fn set_routes(&mut self, wanted: ProtectedRoutes) -> Result<(), DriverError> {
        let tun = self.mirror.model().link_named(self.core.config.dataplane.tun.as_str());
        // A device that is down takes no routes; the blackholes stand alone until it is up.
        let tun = tun.filter(|l| l.up).map(|l| l.index);
        let wanted = (wanted, tun);
        if self.routes.as_ref() != Some(&wanted) {
            self.fail_closed.apply(&wanted.0, tun).await?;
            self.routes = Some(wanted);
        }
        Ok(())
    }
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}
