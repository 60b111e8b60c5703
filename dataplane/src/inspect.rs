//! Answers operators: what would become of a packet, and copies of packets on their way.
//!
//! Decides: who is served (a few at a time, one capture at a time). Reads: the inspection socket. Writes: orders to the
//! workers, answers and records to the client. Never: runs on a worker's thread, waits for a worker longer than a moment;
//! a client that does not read loses records, and nothing else.

mod capture;

use crate::hygiene;
use crate::runner::Line;
use anyhow::Context as _;
use ravelin_dataplane::{Batch, Handed, Now, Origin, Subject, Worker};
use ravelin_ring::counters::XdpCounter;
use ravelin_ring::inspect::{self, Answer, Explained, Inspection, Question, Step, Verdict, Xdp};
use ravelin_ring::msg::{PortId, WorkerId};
use ravelin_wire::classify::Steer;
use ravelin_xsk::FramePool;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// Operators at a time; one more is told so.
const MAX_CLIENTS: usize = 8;
/// For a worker to come to its orders.
const PATIENCE: Duration = Duration::from_secs(2);
/// As often as workers may pass a packet on, and the last one.
const MAX_STEPS: usize = 6;

/// A question to a worker.
#[derive(Debug)]
pub(crate) struct Ask {
    subject: inspect::Subject,
    port: Option<PortId>,
    handed: Option<Subject>,
    reply: SyncSender<Option<Told>>,
}

/// A worker's answer.
#[derive(Debug)]
struct Told {
    /// Only of the first worker.
    xdp: Option<Steer>,
    /// `None`: XDP leaves it to the kernel, or drops it.
    step: Option<(Step, Option<Handed>)>,
}

impl Ask {
    /// In the worker, between two batches.
    pub(crate) fn answer(self, worker: &mut Worker, batch: &mut Batch, pool: &mut FramePool, now: Now) {
        let told = self.told(worker, batch, pool, now);
        // Whoever asked may have gone.
        let _ = self.reply.try_send(told);
    }

    fn told(&self, worker: &mut Worker, batch: &mut Batch, pool: &mut FramePool, now: Now) -> Option<Told> {
        if let Some(subject) = &self.handed {
            return Some(Told { xdp: None, step: Some(worker.explain(batch, pool, now, subject)?) });
        }
        let bytes = &self.subject.bytes;
        let Some(port) = self.port else {
            let subject = Subject { origin: Origin::Tun, bytes: bytes.clone() };
            return Some(Told { xdp: None, step: Some(worker.explain(batch, pool, now, &subject)?) });
        };
        let bytes = if self.subject.ethernet { bytes.clone() } else { worker.dressed(port, bytes) };
        let steer = worker.steer(port, &bytes);
        let subject = Subject { origin: Origin::Port(port), bytes };
        let step = match steer {
            Steer::ToWorker(_) => Some(worker.explain(batch, pool, now, &subject)?),
            Steer::Pass | Steer::DropUnparsable | Steer::DropNotAdmitted => None,
        };
        Some(Told { xdp: Some(steer), step })
    }
}

/// What the clients' threads share.
#[derive(Debug)]
struct Desk {
    workers: Vec<Arc<Line>>,
    ports: Vec<String>,
    clients: AtomicUsize,
    captures: AtomicUsize,
}

/// Serves until the process ends.
pub(crate) fn serve(run_dir: &Path, workers: Vec<Arc<Line>>, ports: Vec<String>) -> anyhow::Result<()> {
    let socket = Inspection::listen(run_dir)?;
    let desk = Arc::new(Desk { workers, ports, clients: AtomicUsize::new(0), captures: AtomicUsize::new(0) });
    thread::Builder::new()
        .name("inspect".into())
        .spawn(move || reception(&socket, &desk))
        .context("inspection")?;
    Ok(())
}

fn reception(socket: &Inspection, desk: &Arc<Desk>) {
    if let Err(error) = hygiene::renounce() {
        tracing::warn!("{error:#}");
    }
    loop {
        let mut stream = match socket.accept() {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%error, "an inspection was turned away");
                thread::sleep(Duration::from_millis(10)); // out of descriptors, perhaps
                continue;
            }
        };
        if desk.clients.fetch_add(1, Ordering::AcqRel) >= MAX_CLIENTS {
            desk.clients.fetch_sub(1, Ordering::AcqRel);
            let why = format!("{MAX_CLIENTS} others are being served; try again");
            let _ = inspect::answer(&mut stream, &Answer::Refused { why });
            continue;
        }
        let theirs = desk.clone();
        let spawned = thread::Builder::new().name("inspect-client".into()).spawn(move || {
            theirs.attend(stream);
            theirs.clients.fetch_sub(1, Ordering::AcqRel);
        });
        if spawned.is_err() {
            desk.clients.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Desk {
    fn attend(&self, mut stream: UnixStream) {
        while let Ok(question) = inspect::question(&mut stream) {
            let answer = match question {
                Question::Explain(subject) => match self.explain(subject) {
                    Ok(explained) => Answer::Explained(explained),
                    Err(why) => Answer::Refused { why },
                },
                Question::Ports => Answer::Ports { ports: self.ports.clone(), workers: self.count() },
                Question::Capture(want) => return capture::run(self, stream, &want),
            };
            if inspect::answer(&mut stream, &answer).is_err() {
                return;
            }
        }
    }

    fn count(&self) -> u16 {
        u16::try_from(self.workers.len()).unwrap_or(u16::MAX)
    }

    fn port(&self, name: &str) -> Result<PortId, String> {
        let at = self.ports.iter().position(|port| port == name).and_then(|at| u16::try_from(at).ok());
        at.map(PortId).ok_or_else(|| format!("no port {name}; there are: {}", self.ports.join(", ")))
    }

    /// Asks one worker after the other, as the packet goes.
    fn explain(&self, subject: inspect::Subject) -> Result<Explained, String> {
        let port = subject.port.as_deref().map(|name| self.port(name)).transpose()?;
        let (mut worker, mut handed) = (WorkerId(subject.worker), None);
        let (mut xdp, mut steps) = (None, vec![]);
        let mut verdict = Verdict::Passed;
        while steps.len() < MAX_STEPS {
            let told = self.ask(worker, &subject, port, handed.take())?;
            if let Some(steer) = told.xdp {
                xdp = Some(steered(steer));
                let dropped = match steer {
                    Steer::DropUnparsable => Some(XdpCounter::Unparsable),
                    Steer::DropNotAdmitted => Some(XdpCounter::NotAdmitted),
                    Steer::Pass | Steer::ToWorker(_) => None,
                };
                if let Some(why) = dropped {
                    verdict = Verdict::Drop { reason: why.name().to_owned() };
                }
            }
            let Some((step, onward)) = told.step else { break };
            verdict = step.verdict.clone();
            steps.push(step);
            let Some(onward) = onward else { break };
            (worker, handed) = (onward.worker, Some(onward.subject));
        }
        Ok(Explained { xdp, steps, verdict, ports: self.ports.clone() })
    }

    fn ask(
        &self,
        worker: WorkerId,
        subject: &inspect::Subject,
        port: Option<PortId>,
        handed: Option<Subject>,
    ) -> Result<Told, String> {
        let line = self.workers.get(usize::from(worker.0));
        let line = line.ok_or_else(|| format!("no worker {}; there are {}", worker.0, self.workers.len()))?;
        let (reply, told) = sync_channel(1);
        line.ask(Box::new(Ask { subject: subject.clone(), port, handed, reply }));
        let told = told.recv_timeout(PATIENCE).map_err(|_| format!("worker {} does not answer", worker.0))?;
        told.ok_or_else(|| "no frame holds this packet, or none is free".to_owned())
    }
}

fn steered(steer: Steer) -> Xdp {
    match steer {
        Steer::Pass => Xdp::Pass,
        Steer::ToWorker(class) => Xdp::ToWorker { class: format!("{class:?}").to_lowercase() },
        Steer::DropUnparsable => Xdp::DropUnparsable,
        Steer::DropNotAdmitted => Xdp::DropNotAdmitted,
    }
}
