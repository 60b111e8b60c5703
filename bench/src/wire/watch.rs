//! Whether the machine was busy elsewhere during a trial: the time that the threads of the test could have run and did
//! not, and the time that the hypervisor took. Such a trial is told by these figures, never by its result.

use std::fs;
use std::path::PathBuf;

/// Nanoseconds of waiting, all threads together, that no receive ring of 2,048 packets bridges at a million packets a
/// second.
const TOLERATED: u64 = 1_000_000;

#[derive(Debug)]
pub(super) struct Watch {
    files: Vec<PathBuf>,
    /// Waiting and stolen time at the start, and how much since.
    start: (u64, u64),
    since: (u64, u64),
}

impl Watch {
    /// Of the thread that calls [`Self::start`] and of those whose `schedstat` files are given.
    pub(super) fn new(files: &[PathBuf]) -> Self {
        Self { files: files.to_vec(), start: (0, 0), since: (0, 0) }
    }

    pub(super) fn start(&mut self) {
        self.start = self.now();
    }

    /// On the thread that started it.
    pub(super) fn stop(&mut self) {
        let (waited, stolen) = self.now();
        self.since = (waited.saturating_sub(self.start.0), stolen.saturating_sub(self.start.1));
    }

    pub(super) fn disturbed(&self) -> bool {
        self.since.0 > TOLERATED || self.since.1 > 0
    }

    fn now(&self) -> (u64, u64) {
        let own = PathBuf::from("/proc/thread-self/schedstat");
        let read =
            |path: &PathBuf| fs::read_to_string(path).ok().and_then(|text| waiting(&text)).unwrap_or(0);
        let waited = self.files.iter().chain([&own]).map(read).sum();
        (waited, fs::read_to_string("/proc/stat").ok().and_then(|text| steal(&text)).unwrap_or(0))
    }
}

/// The second field of a schedstat file: nanoseconds runnable, but not running.
fn waiting(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Ticks that the hypervisor took from all processors: the eighth figure of the first line of /proc/stat.
fn steal(text: &str) -> Option<u64> {
    let mut fields = text.lines().next()?.split_ascii_whitespace();
    (fields.next()? == "cpu").then_some(())?;
    fields.nth(7)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        assert_eq!(waiting("123 456 7\n"), Some(456));
        assert_eq!(waiting(""), None);
        assert_eq!(steal("cpu  1 2 3 4 5 6 7 88 9 10\ncpu0 1"), Some(88));
        assert_eq!(steal("intr 1 2"), None);
    }

    #[test]
    fn waiting_and_stolen_time_disturb() {
        let watch = |since| Watch { files: Vec::new(), start: (0, 0), since };
        assert!(!watch((TOLERATED, 0)).disturbed());
        assert!(watch((TOLERATED + 1, 0)).disturbed());
        assert!(watch((0, 1)).disturbed());
    }

    #[test]
    fn a_thread_that_is_gone_does_not_matter() {
        let mut watch = Watch::new(&[PathBuf::from("/proc/self/task/0/schedstat")]);
        watch.start();
        watch.stop();
        assert!(watch.since.0 < u64::MAX);
    }
}
