//! The main thread: serves one control process at a time, publishes tables, watches devices, ends on a signal.
//!
//! Decides: whom to serve (the newest control process), when to start (its first hello) and when to stop.
//! Never: touches packets, or waits for a control process longer than a moment.

use crate::config;
use crate::inspect;
use crate::plane::{Plane, TICK};
use anyhow::{Context as _, anyhow};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ravelin_ring::Bell;
use ravelin_ring::inspect::SOCKET;
use ravelin_ring::server::{Listener, Session, Visitor};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::fs;
use std::io::Read as _;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Service {
    listener: Listener,
    /// Gets a byte per SIGTERM or SIGINT.
    signals: UnixStream,
    /// Test builds: SIGUSR1 makes the last worker panic, SIGUSR2 stand still.
    #[cfg(debug_assertions)]
    faults: [(UnixStream, crate::runner::Fault); 2],
    bell: Arc<Bell>,
    pin_dir: PathBuf,
    run_dir: PathBuf,
    plane: Option<Plane>,
    session: Option<Session>,
    /// No control process was welcomed yet.
    fresh: bool,
}

impl Service {
    pub(crate) fn listen(run_dir: &Path) -> anyhow::Result<Self> {
        let (signals, writer) = UnixStream::pair()?;
        signals.set_nonblocking(true)?;
        for signal in [SIGTERM, SIGINT] {
            signal_hook::low_level::pipe::register(signal, writer.try_clone()?)?;
        }
        #[cfg(debug_assertions)]
        let faults = faults()?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(run_dir)
            .with_context(|| format!("cannot make {}; choose another --run-dir", run_dir.display()))?;
        let path = run_dir.join("dataplane.sock");
        let listener = Listener::bind(&path)?;
        let bell = Arc::new(Bell::new()?);
        let pin_dir = pin_dir(run_dir)?;
        tracing::info!(socket = %path.display(), "waiting for the control process");
        let run_dir = run_dir.to_owned();
        Ok(Self {
            listener,
            signals,
            #[cfg(debug_assertions)]
            faults,
            bell,
            pin_dir,
            run_dir,
            plane: None,
            session: None,
            fresh: true,
        })
    }

    pub(crate) fn serve(mut self) -> anyhow::Result<()> {
        while !self.told_to_stop() {
            self.wait();
            self.bell.clear();
            self.look_after_session();
            self.receive_visitor()?;
            if let Some(plane) = &mut self.plane {
                #[cfg(debug_assertions)]
                for (signal, fault) in &mut self.faults {
                    if matches!(signal.read(&mut [0; 16]), Ok(n) if n > 0) {
                        plane.fail(*fault);
                    }
                }
                plane.turn(self.session.as_mut());
            }
        }
        tracing::info!("stopping");
        drop(self.session.take());
        let _ = fs::remove_file(self.run_dir.join(SOCKET)); // its thread ends with the process
        if let Some(plane) = self.plane.take() {
            plane.stop();
        }
        Ok(())
    }

    fn told_to_stop(&mut self) -> bool {
        matches!(self.signals.read(&mut [0; 16]), Ok(n) if n > 0)
    }

    fn wait(&self) {
        // Workers ring when they have taken tables; the timeout is only for ticks.
        let pending = self.plane.as_ref().is_some_and(Plane::is_waiting);
        let longest = if pending { 10 } else { u16::try_from(TICK.as_millis()).unwrap_or(250) };
        let session = self.session.as_ref().map(|s| s.stream.as_fd());
        let fds = [Some(self.listener.as_fd()), Some(self.bell.as_fd()), Some(self.signals.as_fd()), session];
        let mut fds: Vec<PollFd<'_>> =
            fds.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        // An interruption is a reason to look around, as any other.
        let _ = poll(&mut fds, PollTimeout::from(longest));
    }

    /// A control process has nothing to say on the socket any more: whatever comes is its end.
    fn look_after_session(&mut self) {
        let Some(session) = &mut self.session else { return };
        let ended = match session.stream.read(&mut [0; 16]) {
            Ok(_) => true,
            Err(e) => {
                e.kind() != std::io::ErrorKind::WouldBlock && e.kind() != std::io::ErrorKind::Interrupted
            }
        };
        if ended {
            tracing::info!("the control process is gone; what is installed stays in force");
            self.session = None;
        }
    }

    /// An error ends the process: the first setup could not be started.
    fn receive_visitor(&mut self) -> anyhow::Result<()> {
        let visitor = match self.listener.accept() {
            Ok(None) => return Ok(()),
            Ok(Some(visitor)) => visitor,
            Err(error) => {
                tracing::warn!(%error, "a visitor was turned away");
                return Ok(());
            }
        };
        if let Some(plane) = &self.plane {
            if let Some(why) = config::difference(&plane.setup, visitor.setup()) {
                tracing::warn!(why, "a control process was refused");
                visitor.refuse(why);
                return Ok(());
            }
        } else {
            match Plane::start(visitor.setup().clone(), self.bell.clone(), &self.pin_dir) {
                Ok(plane) => {
                    let (workers, ports) = plane.lines();
                    if let Err(error) = inspect::serve(&self.run_dir, workers, ports) {
                        tracing::warn!("`ravelin explain` and `capture` cannot ask: {error:#}");
                    }
                    self.plane = Some(plane);
                }
                Err(error) => {
                    visitor.refuse(format!("{error:#}"));
                    return Err(error.context("cannot start"));
                }
            }
        }
        self.welcome(visitor);
        Ok(())
    }

    fn welcome(&mut self, visitor: Visitor) {
        let Some(plane) = &mut self.plane else { return };
        match visitor.welcome(plane.welcome(self.fresh), &plane.bells) {
            Ok(mut session) => {
                plane.take_session(&mut session);
                if self.session.replace(session).is_some() {
                    tracing::info!("another control process has taken over");
                } else {
                    tracing::info!("serving a control process");
                }
                self.fresh = false;
            }
            Err(error) => tracing::warn!(%error, "a control process did not take its welcome"),
        }
    }
}

/// In bpffs, named after the instance: `/sys/fs/bpf/ravelin-<last part of the run directory>`.
fn pin_dir(run_dir: &Path) -> anyhow::Result<PathBuf> {
    let run_dir = fs::canonicalize(run_dir)?;
    let instance = run_dir.file_name().and_then(|name| name.to_str()).filter(|name| !name.contains('.'));
    let instance = instance.ok_or_else(|| {
        anyhow!("the last part of --run-dir names the instance: letters, digits, - and _ only")
    })?;
    Ok(Path::new("/sys/fs/bpf").join(format!("ravelin-{instance}")))
}

#[cfg(debug_assertions)]
fn faults() -> anyhow::Result<[(UnixStream, crate::runner::Fault); 2]> {
    use crate::runner::Fault;
    use signal_hook::consts::{SIGUSR1, SIGUSR2};
    let on = |signal, fault| -> anyhow::Result<_> {
        let (stream, writer) = UnixStream::pair()?;
        stream.set_nonblocking(true)?;
        signal_hook::low_level::pipe::register(signal, writer)?;
        Ok((stream, fault))
    };
    Ok([on(SIGUSR1, Fault::Panic)?, on(SIGUSR2, Fault::Stall)?])
}
