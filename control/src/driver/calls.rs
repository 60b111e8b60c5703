//! Requests of `ravelin`.
//!
//! Decides: when a waiting `up` or `down` is answered. Reads: the state of all parts. Writes: answers.
//! Never: keeps a request beyond its time limit.

use super::Driver;
use super::answers;
use super::clear::Chosen;
use crate::api::server::MAX_WAIT;
use crate::api::{
    Answer, Call, CertificateStatus, Clear, Outcome, Request, TunnelState, VERSION, VersionStatus, What,
};
use ravelin_ike::command::Command;
use ravelin_ring::msg::TunnelId;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Requests answered in one turn of the loop.
const PER_TURN: usize = 4;
/// Requests that wait at the same time; the API server bounds its clients too.
const MAX_WAITING: usize = 64;

/// An `up` or `down` that is not done yet.
#[derive(Debug)]
pub(super) struct Waiting {
    tunnel: TunnelId,
    name: String,
    up: bool,
    until: Instant,
    /// Failures at the time of the request: one more answers it.
    failures: u64,
    reply: oneshot::Sender<Answer>,
}

impl Waiting {
    pub(super) fn until(&self) -> Instant {
        self.until
    }
}

impl Driver {
    /// Requests are answered in every turn, whatever woke the loop, and some of them in each.
    pub(super) fn waiting_calls(&mut self, now: Instant) {
        for _ in 0..PER_TURN {
            let Ok(call) = self.calls.try_recv() else { return };
            self.call(now, call);
        }
    }

    pub(super) fn call(&mut self, now: Instant, call: Call) {
        let answer = match call.request {
            Request::Show { what, name } => self.show(now, what, name.as_deref()),
            Request::Up { tunnel, timeout_ms } => {
                return self.ask(now, &tunnel, true, timeout_ms, call.reply);
            }
            Request::Down { tunnel, timeout_ms } => {
                return self.ask(now, &tunnel, false, timeout_ms, call.reply);
            }
            Request::Trace { tunnel, on } => self.trace(now, tunnel, on),
            Request::Reload => return self.reading.ask(&self.options, Some(call.reply)),
            Request::Version => Answer::Version(self.version()),
            Request::Clear { what, tunnel, peer, spi } => self.clear(now, what, tunnel, peer, spi),
        };
        // A client that left does not want it any more.
        let _ = call.reply.send(answer);
    }

    fn trace(&mut self, now: Instant, name: String, on: bool) -> Answer {
        match self.core.config.tunnel(&name).map(|t| t.connection_id()) {
            Some(id) => {
                self.core.command(now, Command::Trace { connection: id, on });
                Answer::Traced { tunnel: name, on }
            }
            None => self.no_such(&name),
        }
    }

    fn clear(
        &mut self,
        now: Instant,
        what: Clear,
        name: Option<String>,
        peer: Option<IpAddr>,
        spi: Option<u32>,
    ) -> Answer {
        let found = name.as_deref().map(|name| (name, self.core.config.tunnel(name)));
        let tunnel = match found {
            Some((name, None)) => return self.no_such(name),
            // Nothing would bring them back, and nobody else would know.
            Some((name, Some(t))) if t.manual.is_some() && what != Clear::Counters => {
                return Answer::refused(format!(
                    "tunnel \"{name}\" has keys by hand: there is nothing to clear"
                ));
            }
            Some((name, Some(t))) if t.parent.is_some() && what == Clear::Ike => {
                return Answer::refused(format!(
                    "\"{name}\" is a child: clear its SAs, or the IKE SA of its tunnel"
                ));
            }
            Some((_, Some(t))) => Some(t.id),
            None => None,
        };
        let useless = match what {
            Clear::Ike => spi.is_some(),
            Clear::Sas => false,
            Clear::Counters => spi.is_some() || peer.is_some(),
        };
        if useless {
            return Answer::refused("an SPI chooses child SAs only, and counters are chosen by their tunnel");
        }
        Answer::Cleared(self.core.clear(now, what, &Chosen { tunnel, peer, spi }))
    }

    fn no_such(&self, name: &str) -> Answer {
        Answer::refused(format!(
            "there is no tunnel \"{name}\"; there are: {}",
            self.core.config.tunnels.iter().map(|t| t.name.as_str()).collect::<Vec<_>>().join(", ")
        ))
    }

    /// Answers what has come about, failed or run out of time.
    pub(super) fn answer_waiting(&mut self, now: Instant) {
        for waiting in std::mem::take(&mut self.waiting) {
            let Some(tunnel) = self.core.config.tunnel_by_id(waiting.tunnel) else {
                let gone = Answer::refused(format!("tunnel \"{}\" was removed meanwhile", waiting.name));
                let _ = waiting.reply.send(gone);
                continue;
            };
            let snapshot = self.core.snapshot_of(now, waiting.tunnel);
            let index = answers::Index::of(&snapshot);
            let state = answers::state(&self.core, &index, tunnel);
            let note = self.core.note(waiting.tunnel);
            let done = match waiting.up {
                true => state == TunnelState::Up,
                false => state != TunnelState::Up && !answers::has_ike(&index, tunnel),
            };
            let failed = waiting.up && note.failures > waiting.failures;
            if !done && !failed && waiting.until > now {
                self.waiting.push(waiting);
                continue;
            }
            let detail = match (done, failed) {
                (true, _) => String::new(),
                (false, true) => note.last_error.map_or_else(String::new, |(why, _)| why),
                (false, false) => "the time ran out; it goes on in the background".to_owned(),
            };
            let outcome = Outcome { tunnel: waiting.name, done, state, detail };
            let _ = waiting.reply.send(Answer::Outcome(outcome));
        }
    }

    /// What was asked for before the engine knew its connections.
    pub(super) fn ask_again(&mut self, now: Instant) {
        for tunnel in self.waiting.iter().filter(|w| w.up).map(|w| w.tunnel) {
            self.core.up(now, tunnel);
        }
    }

    fn show(&self, now: Instant, what: What, name: Option<&str>) -> Answer {
        let plane = self.link.plane();
        match what {
            What::Tunnels => Answer::Tunnels(answers::tunnels(&self.core, now, name)),
            What::Sas => Answer::Sas(answers::sas(&self.core, now, name)),
            What::Ports => plane.map_or_else(answers::no_plane, |p| {
                Answer::Ports(answers::ports(p, self.mirror.model(), name))
            }),
            What::Workers => plane
                .map_or_else(answers::no_plane, |p| Answer::Workers(answers::workers(&self.core, p, name))),
            What::Gre => Answer::Gre(answers::gre(
                &self.core,
                (self.mirror.model(), &self.devices.numbers.paths),
                name,
            )),
            What::Proposals => Answer::Proposals(answers::proposals(&self.core, now, name)),
            What::Certificates => Answer::Certificates(self.certificates(name)),
            What::Nat => Answer::Nat(answers::nat(&self.core, plane)),
            What::Drops => plane.map_or_else(answers::no_plane, |p| Answer::Drops(answers::drops(p))),
        }
    }

    /// Known before IKE begins, too.
    fn certificates(&self, name: Option<&str>) -> Vec<CertificateStatus> {
        match self.link.waiting() {
            Some(all) => answers::certificates(&self.core.config, all.iter(), name),
            None => answers::certificates(&self.core.config, self.core.connections.values(), name),
        }
    }

    fn ask(&mut self, now: Instant, name: &str, up: bool, timeout_ms: u64, reply: oneshot::Sender<Answer>) {
        let found = self.core.config.tunnel(name);
        let child = found.filter(|t| !up && t.parent.is_some());
        let refusal = match found.map(|t| (t.id, t.remote)) {
            Some(_) if child.is_some() => {
                let tunnel = name.split('/').next().unwrap_or_default();
                Answer::refused(format!("\"{name}\" is a child of \"{tunnel}\": take that down"))
            }
            None => self.no_such(name),
            Some(_) if self.waiting.len() >= MAX_WAITING => Answer::refused("too many requests wait already"),
            Some(_) if self.stopping.is_some() => Answer::refused("ravelin-control is shutting down"),
            Some(_) if up && self.link.plane().is_none() => answers::no_plane(),
            Some(_) if up && found.is_some_and(|t| self.core.gateways.why(t).is_some()) => {
                let why = found.and_then(|t| self.core.gateways.why(t)).unwrap_or_default();
                Answer::refused(format!("tunnel \"{name}\" has no address to begin from: {why}"))
            }
            Some((_, None)) if up => Answer::refused(format!(
                "tunnel \"{name}\" has no remote address: only its peer can bring it up"
            )),
            Some((tunnel, _)) => {
                let failures = self.core.note(tunnel).failures;
                match up {
                    true => self.core.up(now, tunnel),
                    false => self.core.down(now, tunnel),
                }
                let until = now + Duration::from_millis(timeout_ms).min(MAX_WAIT);
                let name = name.to_owned();
                self.waiting.push(Waiting { tunnel, name, up, until, failures, reply });
                return;
            }
        };
        let _ = reply.send(refusal);
    }

    fn version(&self) -> VersionStatus {
        VersionStatus {
            api: VERSION,
            control: env!("CARGO_PKG_VERSION").to_owned(),
            dataplane: self.link.plane().map(|p| format!("ring layout {}", p.welcome.version)),
            uptime_s: self.started.elapsed().as_secs(),
            config_file: self.options.config.display().to_string(),
            pid: std::process::id(),
        }
    }
}
