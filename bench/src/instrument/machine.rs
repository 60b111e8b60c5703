//! The core and the priority that a bench measures with, and whether others took the core away from it meanwhile.
//!
//! Decides: where and how urgently this thread runs. Reads: /proc/thread-self. Never: fails because a wish was refused;
//! it says so on standard error.

use anyhow::Context;
use nix::unistd::gettid;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};

/// Pins this thread to `core`, or to the last one. A refusal is no reason not to measure.
pub(crate) fn pin(core: Option<usize>) -> anyhow::Result<()> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let known = || cores.iter().map(|c| c.id.to_string()).collect::<Vec<_>>().join(", ");
    let wanted = match core {
        Some(n) => cores.iter().find(|c| c.id == n).copied(),
        None => cores.last().copied(),
    };
    let wanted =
        wanted.with_context(|| format!("this process may not use that core; it may use: {}", known()))?;
    if !core_affinity::set_for_current(wanted) {
        eprintln!("note: cannot pin to core {}; figures are noisier", wanted.id);
    }
    Ok(())
}

/// While this lives, the thread that made it has real-time priority, where that is permitted. Everything else on the
/// core waits meanwhile: make it for what is measured, not for what is prepared.
#[derive(Debug)]
#[must_use]
pub(crate) struct Realtime {
    raised: bool,
    /// It was there before.
    inherited: bool,
}

impl Realtime {
    /// Below the kernel's own threads of that class, which begin at 50 for interrupts.
    const PRIORITY: &'static str = "40";

    pub(crate) fn raise() -> Self {
        // Somebody may have started the bench by chrt: then it stays as it is.
        let inherited = is_realtime();
        Self { raised: !inherited && chrt(&["--fifo", "--pid", Self::PRIORITY]), inherited }
    }

    pub(crate) const fn granted(&self) -> bool {
        self.raised || self.inherited
    }

    /// Where it was refused, why figures are noisier.
    pub(crate) fn or_say(self) -> Self {
        if !self.granted() {
            eprintln!(
                "note: no real-time priority (SCHED_FIFO): run as root, or give CAP_SYS_NICE; figures are noisier"
            );
        }
        self
    }

    /// Whether this thread may have it at all; says so once when not.
    pub(crate) fn probe() {
        drop(Self::raise().or_say());
    }
}

impl Drop for Realtime {
    fn drop(&mut self) {
        if self.raised {
            chrt(&["--other", "--pid", "0"]);
        }
    }
}

/// By util-linux's tool: the system call needs code that this crate forbids.
fn chrt(arguments: &[&str]) -> bool {
    let mut command = Command::new("chrt");
    command.args(arguments).arg(gettid().to_string());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn is_realtime() -> bool {
    std::fs::read_to_string("/proc/thread-self/stat")
        .is_ok_and(|stat| policy(&stat).is_some_and(|p| p == 1 || p == 2))
}

/// Field 41 of proc_pid_stat(5): the scheduling policy. The name before may hold anything, so count from its end.
fn policy(stat: &str) -> Option<u32> {
    let (_, after) = stat.rsplit_once(')')?;
    after.split_ascii_whitespace().nth(41 - 3)?.parse().ok()
}

/// How long this thread has waited for its core while it could have run: what tells a disturbed window from a slow one.
#[derive(Debug)]
pub(crate) struct Waiting(Option<File>);

impl Waiting {
    /// Of the calling thread.
    pub(crate) fn new() -> Self {
        Self(File::open("/proc/thread-self/schedstat").ok())
    }

    /// Nanoseconds since the thread began; always 0 where the kernel does not tell.
    pub(crate) fn so_far(&self) -> u64 {
        let mut text = [0u8; 96];
        let Some(file) = &self.0 else { return 0 };
        let Ok(len) = file.read_at(&mut text, 0) else { return 0 };
        let text = text.get(..len).and_then(|t| std::str::from_utf8(t).ok()).unwrap_or("");
        text.split_ascii_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_found_behind_any_name() {
        let stat =
            format!("12 (a ) 1 b) R {}", (4..=52).map(|n| n.to_string()).collect::<Vec<_>>().join(" "));
        assert_eq!(policy(&stat), Some(41));
        assert_eq!(policy("12 (x) R 1"), None);
    }

    /// As root and without: what the bench says it has, the kernel says too, and it is given back.
    #[test]
    fn what_was_granted_is_there_and_ends() {
        let before = is_realtime();
        let here = Realtime::raise();
        assert_eq!(here.granted(), is_realtime());
        drop(here);
        assert_eq!(is_realtime(), before);
    }

    #[test]
    fn a_core_that_is_not_there_is_refused_with_those_that_are() {
        let text = format!("{:#}", pin(Some(usize::MAX)).unwrap_err());
        assert!(text.contains("it may use: "), "{text}");
        assert!(text.chars().any(|c| c.is_ascii_digit()), "{text}");
    }

    #[test]
    fn waiting_never_shrinks() {
        let waiting = Waiting::new();
        let first = waiting.so_far();
        std::thread::yield_now();
        assert!(waiting.so_far() >= first);
    }
}
