//! A recording data plane: the server's end of the ring contract, which acknowledges everything, keeps what is installed
//! and reports it, and carries no packet.
//!
//! Decides: nothing. Reads: command rings. Writes: answers, and counts that the bench reads. Never: keeps a key.

use anyhow::Context;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ravelin_ring::msg::{
    Outcome, SaId, SaReport, SaSpec, TableCommand, TableEvent, Token, WorkerCommand, WorkerEvent,
};
use ravelin_ring::server::{Bells, Listener, Session, WorkerLink};
use ravelin_ring::{Bell, BindMode, PortReport, Welcome};
use ravelin_xsk::tun;
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use crate::host::{Net, joined};

/// What the bench reads meanwhile.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// SAs now.
    pub(super) installed: AtomicU64,
    /// `UseOutbound` so far: as many tunnels carry traffic.
    pub(super) in_use: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Recorder {
    pub(super) counts: Arc<Counts>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<anyhow::Result<anyhow::Result<()>>>>,
}

impl Recorder {
    /// Returns once a control process can find it at `run_dir`.
    pub(super) fn start(
        net: &Net,
        place: &str,
        run_dir: PathBuf,
        port: &'static str,
    ) -> anyhow::Result<Self> {
        let (counts, stop) = (Arc::new(Counts::default()), Arc::new(AtomicBool::new(false)));
        let (shared, stopped) = (counts.clone(), stop.clone());
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = net.inside(place, move || {
            let plane = Plane::listen(&run_dir, port, shared)?;
            let _ = ready.send(());
            plane.serve(&stopped)
        });
        let me = Self { counts, stop, thread: Some(thread) };
        if is_ready.recv().is_err() {
            me.stop()?;
            anyhow::bail!("the recording data plane ended by itself");
        }
        Ok(me)
    }

    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take() {
            Some(thread) => joined(thread)?,
            None => Ok(()),
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

struct Plane {
    listener: Listener,
    bells: Bells,
    welcome: Welcome,
    session: Option<Session>,
    sas: Sas,
    /// The control process expects the device to be there.
    _tun: tun::Tun,
}

const TUN: &str = "ravelin0";

impl Plane {
    fn listen(run_dir: &Path, port: &str, counts: Arc<Counts>) -> anyhow::Result<Self> {
        let listener = Listener::bind(&run_dir.join("dataplane.sock"))?;
        let bells = Bells { main: Arc::new(Bell::new()?), workers: vec![Arc::new(Bell::new()?)] };
        let tun = tun::open(TUN, 1).context("the TUN device")?;
        let report = PortReport {
            name: port.to_owned(),
            ifindex: nix::net::if_::if_nametoindex(port)?,
            mac: [2, 0, 0, 0, 0, 1],
            attach: "native".to_owned(),
            queues: 1,
            bind: BindMode::Copy,
            attached: true,
        };
        let welcome = Welcome {
            version: 0, // the ring fills it in
            workers: 1,
            ports: vec![report],
            tun: TUN.to_owned(),
            tun_ifindex: tun.ifindex,
            fresh: true,
            crypto: "none: recording".to_owned(),
            buffers: "none: recording".to_owned(),
        };
        Ok(Self { listener, bells, welcome, session: None, sas: Sas::new(counts), _tun: tun })
    }

    fn serve(mut self, stop: &AtomicBool) -> anyhow::Result<()> {
        while !stop.load(Ordering::Relaxed) {
            self.wait()?;
            self.bells.main.clear();
            self.bells.workers.iter().for_each(|b| b.clear());
            if let Some(visitor) = self.listener.accept()? {
                self.session = Some(visitor.welcome(self.welcome.clone(), &self.bells)?);
                self.welcome.fresh = false;
            }
            if let Some(session) = &mut self.session {
                tables(session);
                if let Some(link) = session.workers.first_mut() {
                    self.sas.serve(link);
                }
            }
        }
        Ok(())
    }

    fn wait(&self) -> anyhow::Result<()> {
        // A full event ring does not ring when it has room again: look soon.
        let patience = if self.sas.outbox.is_empty() { 50u8 } else { 1 };
        let bells = self.bells.workers.iter().map(|b| b.as_fd());
        let fds: Vec<BorrowedFd<'_>> =
            [self.listener.as_fd(), self.bells.main.as_fd()].into_iter().chain(bells).collect();
        let mut fds: Vec<PollFd<'_>> = fds.into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut fds, PollTimeout::from(patience)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

/// Whatever is committed is in force.
fn tables(session: &mut Session) {
    while let Some(command) = session.commands.pop() {
        if let Ok(TableCommand::Commit { generation }) = command {
            let _ = session.events.send(&TableEvent::Committed { generation });
        }
    }
}

/// What a worker would own.
struct Sas {
    reports: BTreeMap<SaId, SaReport>,
    outbox: VecDeque<WorkerEvent>,
    counts: Arc<Counts>,
}

impl Sas {
    fn new(counts: Arc<Counts>) -> Self {
        Self { reports: BTreeMap::new(), outbox: VecDeque::new(), counts }
    }

    fn serve(&mut self, link: &mut WorkerLink) {
        while let Some(command) = link.commands.pop() {
            if let Ok(command) = command {
                self.take(command);
            }
        }
        while let Some(event) = self.outbox.front() {
            if link.events.push(event).is_err() {
                break;
            }
            self.outbox.pop_front();
        }
        link.events.notify();
    }

    fn take(&mut self, command: WorkerCommand) {
        let token = match command {
            WorkerCommand::SaSelector { .. } => return,
            WorkerCommand::InstallSa { token, spec } => {
                self.reports.insert(spec.id, report(&spec));
                token
            }
            WorkerCommand::UseOutbound { token, sa, .. } => {
                if let Some(report) = self.reports.get_mut(&sa) {
                    report.in_use = true;
                }
                self.counts.in_use.fetch_add(1, Ordering::Relaxed);
                token
            }
            WorkerCommand::RemoveSa { token, sa } => {
                self.reports.remove(&sa);
                token
            }
            WorkerCommand::StopOutbound { token, .. }
            | WorkerCommand::MoveSa { token, .. }
            | WorkerCommand::PathMtu { token, .. } => token,
            WorkerCommand::ReportSas { token } => {
                let all = self.reports.values().cloned();
                self.outbox.extend(all.map(|r| WorkerEvent::SaReport(Box::new(r))));
                token
            }
        };
        self.counts.installed.store(self.reports.len() as u64, Ordering::Relaxed);
        self.done(token);
    }

    fn done(&mut self, token: Token) {
        self.outbox.push_back(WorkerEvent::Done { token, outcome: Outcome::Ok });
    }
}

/// Without its keys, and as if no packet had come.
fn report(spec: &SaSpec) -> SaReport {
    SaReport {
        id: spec.id,
        tunnel: spec.tunnel,
        direction: spec.direction,
        spi: spec.spi,
        suite: spec.suite,
        mode: spec.mode,
        local: spec.local,
        remote: spec.remote,
        sequence: 0,
        packets: 0,
        bytes: 0,
        replay_drops: 0,
        icv_drops: 0,
        selector_drops: 0,
        idle_ms: u64::MAX,
        in_use: false,
        outside: spec.extras.outside,
        inside: spec.extras.inside,
        filtered: spec.extras.filtered,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suites::SuiteName;

    #[test]
    fn what_is_installed_is_reported_until_it_is_removed() {
        let mut sas = Sas::new(Arc::new(Counts::default()));
        let suite = SuiteName::Aes128Gcm.contract();
        for command in crate::control::install_of(7, suite).unwrap() {
            sas.take(command);
        }
        assert_eq!(sas.outbox.len(), 1, "a selector is not answered");
        sas.outbox.clear();
        sas.take(WorkerCommand::ReportSas { token: Token(9) });
        assert!(matches!(sas.outbox.pop_front(), Some(WorkerEvent::SaReport(r)) if r.id == SaId(7)));
        assert!(matches!(sas.outbox.pop_front(), Some(WorkerEvent::Done { token: Token(9), .. })));
        sas.take(WorkerCommand::RemoveSa { token: Token(10), sa: SaId(7) });
        assert_eq!(sas.counts.installed.load(Ordering::Relaxed), 0);
    }
}
