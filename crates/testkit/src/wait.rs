//! Waiting for what another process does: as short as it takes, and bounded.

use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

/// No test waits longer for anything; most wait for milliseconds.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `check` gives something; panics when it does not in time.
pub fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < end, "gave up waiting for: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A child process that does not outlive the test.
#[derive(Debug)]
pub struct Process(pub Child);

impl Process {
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = i32::try_from(self.0.id()).expect("a process id");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("the process runs");
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        eventually("a process to end", || self.0.try_wait().expect("our own child"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
