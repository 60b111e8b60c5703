//! Finding the data plane, being told of its end, and beginning anew.
//!
//! Decides: when IKE may begin: after the tables are in force and what is installed is known.
//! Reads: the session. Writes: the tables of a new data plane, whole. Never: gives up.

use super::plane::{self, Plane};
use super::{Driver, DriverError, state, tables};
use crate::config::Config;
use crate::metrics::Counter;
use ravelin_ike::config::Connection;
use ravelin_ring::client::Session;
use ravelin_ring::msg::{TableCommand, TableEvent};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::task::{JoinError, JoinHandle};
use tracing::{error, info, warn};

/// Between two attempts.
const RETRY: Duration = Duration::from_millis(250);
/// Between two log lines about attempts.
const COMPLAIN: Duration = Duration::from_secs(5);

type Answer = Result<Result<Session, ravelin_ring::Error>, JoinError>;

/// What [`Link::news`] waited for.
pub(super) enum News {
    Answer(Box<Answer>),
    Events,
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Reports of what is installed are on their way; nothing is negotiated.
    Adopting,
    /// The first generation is on its way.
    Publishing,
    Running,
}

pub(super) struct Link {
    socket: PathBuf,
    plane: Option<Plane>,
    attempt: Option<JoinHandle<Result<Session, ravelin_ring::Error>>>,
    retry_at: Instant,
    complain_at: Instant,
    phase: Phase,
    /// Until the engine has them.
    connections: Option<Vec<Connection>>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("plane", &self.plane).field("phase", &self.phase).finish_non_exhaustive()
    }
}

impl Link {
    pub(super) fn new(socket: PathBuf, connections: Vec<Connection>) -> Self {
        let now = Instant::now();
        Self {
            socket,
            plane: None,
            attempt: None,
            retry_at: now,
            complain_at: now,
            phase: Phase::Publishing,
            connections: Some(connections),
        }
    }

    pub(super) fn plane(&self) -> Option<&Plane> {
        self.plane.as_ref()
    }

    pub(super) fn plane_mut(&mut self) -> Option<&mut Plane> {
        self.plane.as_mut()
    }

    /// Before IKE has begun, a reload changes what it will begin with.
    pub(super) fn not_begun(&mut self) -> Option<&mut Vec<Connection>> {
        self.connections.as_mut()
    }

    /// What IKE will begin with.
    pub(super) fn waiting(&self) -> Option<&[Connection]> {
        self.connections.as_deref()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        (self.plane.is_none() && self.attempt.is_none()).then_some(self.retry_at)
    }

    pub(super) fn maybe_connect(&mut self, now: Instant, config: &Config) {
        if self.plane.is_none() && self.attempt.is_none() && self.retry_at <= now {
            self.attempt = Some(plane::connect(self.socket.clone(), config.setup()));
        }
    }

    /// Safe to cancel.
    pub(super) async fn news(&mut self) -> News {
        if let Some(plane) = &self.plane {
            return if plane.heard().await { News::Events } else { News::Gone };
        }
        match &mut self.attempt {
            Some(attempt) => {
                let answer = attempt.await;
                self.attempt = None;
                News::Answer(Box::new(answer))
            }
            None => std::future::pending().await,
        }
    }

    fn failed(&mut self, now: Instant, why: &str) {
        self.retry_at = now + RETRY;
        if self.complain_at <= now {
            self.complain_at = now + COMPLAIN;
            warn!(why, "no data plane; trying again");
        }
    }
}

impl Driver {
    pub(super) async fn news(&mut self, now: Instant, news: News) {
        match news {
            News::Events => {} // the turn that follows drains the rings
            News::Gone => {
                error!("the data plane is gone: nothing that a policy covers passes until it is back");
                self.let_go(now);
            }
            News::Answer(answer) => match *answer {
                // The kernel refuses now and then; ending would lose the IKE SAs for it.
                Ok(Ok(session)) => {
                    if let Err(why) = self.connected(now, session).await {
                        self.let_go(now);
                        self.link.failed(now, &why.to_string());
                    }
                }
                Ok(Err(why)) => self.link.failed(now, &why.to_string()),
                Err(why) => self.link.failed(now, &why.to_string()),
            },
        }
    }

    /// Until there is another session nothing is negotiated.
    fn let_go(&mut self, now: Instant) {
        self.link.plane = None;
        self.link.retry_at = now;
        self.tables.clear();
        self.core.disconnect(now);
    }

    async fn connected(&mut self, now: Instant, session: Session) -> Result<(), DriverError> {
        let plane = match Plane::new(session) {
            Ok(plane) => plane,
            Err(why) => {
                self.link.failed(now, &why.to_string());
                return Ok(());
            }
        };
        let welcome = &plane.welcome;
        info!(
            workers = welcome.workers,
            fresh = welcome.fresh,
            crypto = welcome.crypto,
            "data plane connected"
        );
        for port in &welcome.ports {
            info!(port = port.name, attach = port.attach, bind = ?port.bind, queues = port.queues, "port");
        }
        let (tun, index, fresh) = (welcome.tun.clone(), welcome.tun_ifindex, welcome.fresh);
        self.core.connect(plane.workers());
        self.link.plane = Some(plane);
        let ipv6 = self.core.config.selectors().any(|s| s.remote.start().is_ipv6());
        self.fail_closed.raise_tun(&tun, index, ipv6).await?;
        if !fresh {
            self.expect_peers(now);
        }
        self.publish_everything().await?;
        self.link.phase = Phase::Publishing;
        if !fresh {
            self.link.phase = Phase::Adopting;
            self.core.begin_adoption();
        }
        Ok(())
    }

    /// One generation with all tables; the one before it stays in force until then.
    async fn publish_everything(&mut self) -> Result<(), DriverError> {
        self.tables.clear();
        self.mirror.dump_again();
        self.mirror.forget_told();
        let mut all = vec![TableCommand::ClearRoutes];
        all.extend(self.mirror.difference().await?);
        all.extend(tables::of_config(&self.core.config, &self.core.peers.selectors(), &self.devices.numbers));
        self.publish(all);
        // The TUN device is up now: it takes its routes.
        self.routes = None;
        self.update_routes().await
    }

    /// Events of all rings.
    pub(super) fn drain_rings(&mut self, now: Instant) {
        let Some(plane) = self.link.plane.as_mut() else { return };
        let (mut workers, mut tables) = (Vec::new(), Vec::new());
        self.ring_full |= plane.worker_events(&mut self.core.metrics, &mut workers);
        plane.table_events(&mut self.core.metrics, &mut tables);
        for (worker, event) in workers {
            self.core.worker_event(now, worker, event);
        }
        for event in tables {
            self.table_event(now, event);
        }
    }

    /// IKE begins once its SAs would be safe: tables in force, old SAs known.
    pub(super) fn begin_when_ready(&mut self, now: Instant) {
        if self.link.plane.is_none() || self.stopping.is_some() {
            return;
        }
        if self.link.phase == Phase::Adopting && self.core.adoption_ended() {
            self.link.phase = Phase::Publishing;
        }
        if self.link.phase == Phase::Publishing && self.tables.in_force() {
            self.link.phase = Phase::Running;
            if let Err(why) = state::save(&self.core.config.control.run_dir, &self.core.config) {
                warn!(%why, "the numbers of the tunnels could not be saved: a restart will not keep their SAs");
            }
            self.core.ids_known = true;
            info!("tables are in force; IKE begins");
            match self.link.connections.take() {
                Some(connections) => self.begin(now, connections),
                None => self.core.configure_again(now),
            }
            self.ask_again(now);
            self.core.renew_adopted(now);
            self.core.given.look();
        }
    }

    fn table_event(&mut self, now: Instant, event: TableEvent) {
        match event {
            TableEvent::Committed { generation } => {
                self.tables.answered(generation, true);
                self.core.tables_answered(now, generation, true);
            }
            TableEvent::Refused { generation } => {
                self.core.metrics.count(Counter::GenerationsRefused);
                error!(
                    generation = generation.0,
                    "the data plane refused its tables (too many entries?); those before stay in force until a \
                     reload brings others"
                );
                self.tables.answered(generation, false);
                self.core.tables_answered(now, generation, false);
            }
            TableEvent::PortState { port, attached } => {
                let ports = &self.core.config.ports;
                let name = ports.get(usize::from(port.0)).map_or("(unknown)", |p| p.name.as_str());
                if attached {
                    info!(port = name, "port attached");
                } else {
                    error!(port = name, "port lost: its device went away");
                }
            }
        }
    }
}
