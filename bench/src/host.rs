//! Namespaces and processes of a bench's own: made, watched, and gone when dropped.
//!
//! Decides: names, which hold the process id, so that two benches at once do not meet. Reads: /proc of processes that
//! it started. Never: touches a namespace, device or process that it did not make.

use crate::instrument::interrupt;
use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Network namespaces of one run.
#[derive(Debug)]
pub(crate) struct Net {
    prefix: String,
    names: Vec<String>,
}

impl Net {
    pub(crate) fn new(what: &str) -> Self {
        sweep();
        Self { prefix: format!("rb{what}{}", std::process::id()), names: Vec::new() }
    }

    /// Makes a namespace with its loopback up.
    pub(crate) fn add(&mut self, short: &str) -> anyhow::Result<()> {
        let name = self.name(short);
        ip(&format!("netns add {name}")).context("making a namespace (root is needed)")?;
        self.names.push(name);
        self.ip(short, "link set lo up")
    }

    pub(crate) fn name(&self, short: &str) -> String {
        format!("{}-{short}", self.prefix)
    }

    pub(crate) fn path(&self, short: &str) -> PathBuf {
        Path::new("/run/netns").join(self.name(short))
    }

    /// `ip` with these words, inside.
    pub(crate) fn ip(&self, short: &str, words: &str) -> anyhow::Result<()> {
        ip(&format!("-n {} {words}", self.name(short)))
    }

    /// A pair of veths, up. `(namespace, device)` each.
    pub(crate) fn join(&self, left: (&str, &str), right: (&str, &str)) -> anyhow::Result<()> {
        let peer = format!("peer name {} netns {}", right.1, self.name(right.0));
        self.ip(left.0, &format!("link add {} type veth {peer}", left.1))?;
        for (ns, dev) in [left, right] {
            self.ip(ns, &format!("link set {dev} up"))?;
            self.checksums_in_full(ns, dev)?;
        }
        Ok(())
    }

    /// A socket's packets otherwise carry half a checksum, which no AF_XDP socket behind the veth completes.
    fn checksums_in_full(&self, short: &str, dev: &str) -> anyhow::Result<()> {
        let mut ethtool = Command::new("nsenter");
        ethtool
            .arg(format!("--net={}", self.path(short).display()))
            .args(["ethtool", "-K", dev, "tx", "off"]);
        let out = ethtool.output().context("running nsenter (package util-linux)")?;
        if !out.status.success() {
            let why = String::from_utf8_lossy(&out.stderr);
            bail!("ethtool -K {dev} tx off: {}\n    cure: apt-get install ethtool", why.trim());
        }
        Ok(())
    }

    /// A setting of the namespace's own network stack, as in `net/ipv4/ip_forward`.
    pub(crate) fn sysctl(&self, short: &str, key: &str, value: &str) -> anyhow::Result<()> {
        let (key, value) = (key.to_owned(), value.to_owned());
        let path = Path::new("/proc/sys").join(&key);
        let written = self.inside(short, move || std::fs::write(&path, value));
        joined(written)?.with_context(|| format!("setting {key}"))
    }

    /// Runs `work` on a thread of its own whose network namespace is that one.
    pub(crate) fn inside<T: Send + 'static>(
        &self,
        short: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<anyhow::Result<T>> {
        let path = self.path(short);
        thread::spawn(move || {
            let ns = File::open(&path).with_context(|| path.display().to_string())?;
            nix::sched::setns(&ns, nix::sched::CloneFlags::CLONE_NEWNET)
                .with_context(|| path.display().to_string())?;
            Ok(work())
        })
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = ip(&format!("netns del {name}"));
        }
    }
}

/// What a thread came back with.
pub(crate) fn joined<T>(thread: JoinHandle<anyhow::Result<T>>) -> anyhow::Result<T> {
    thread.join().map_err(|_| anyhow::anyhow!("a thread of the bench panicked"))?
}

/// Takes away the namespaces of benches that were killed: their names hold the id of a process that is no more.
pub(crate) fn sweep() {
    let names = std::fs::read_dir("/run/netns").into_iter().flatten().flatten();
    for name in names.filter_map(|entry| entry.file_name().into_string().ok()) {
        if maker(&name).is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = ip(&format!("netns del {name}"));
        }
    }
}

/// What stands before the process id in names of namespaces: those of [`Net`], and that of `wire`.
const MARKS: [&str; 4] = ["rbc", "rbi", "rbr", "rbench"];

/// The process id in the name of a bench's namespace.
fn maker(name: &str) -> Option<&str> {
    let (front, _) = name.split_once('-')?;
    let pid = MARKS.iter().find_map(|mark| front.strip_prefix(mark))?;
    (!pid.is_empty() && pid.bytes().all(|b| b.is_ascii_digit())).then_some(pid)
}

fn ip(words: &str) -> anyhow::Result<()> {
    let out = Command::new("ip").args(words.split_whitespace()).output();
    let out = out.context("running ip\n    cure: apt-get install iproute2")?;
    if !out.status.success() {
        bail!("ip {words}: {}", String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(())
}

/// Where files live in memory, as in the run directory of an installed gateway. On a disk `ike` would measure the file system: after
/// thousands of files were removed, ext4 takes half a millisecond to make one, and control makes one for each tunnel.
const IN_MEMORY: &str = "/dev/shm";

/// A directory for one run's files, in memory if possible; nobody else can guess its name or read it. Removed with all of them
/// when dropped.
#[derive(Debug)]
pub(crate) struct Scratch(TempDir);

impl Scratch {
    pub(crate) fn new(what: &str) -> anyhow::Result<Self> {
        let (prefix, disk) = (format!("ravelin-bench-{what}-"), std::env::temp_dir());
        let make = |parent: &Path| tempfile::Builder::new().prefix(&prefix).tempdir_in(parent);
        let made = make(Path::new(IN_MEMORY)).or_else(|_| make(&disk));
        Ok(Self(made.with_context(|| disk.display().to_string())?))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

/// A program in a namespace, its output in a file. SIGTERM, and after some patience the end, when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// User and system time of all its threads.
    pub(crate) cpu: Duration,
    /// Resident bytes.
    pub(crate) rss: u64,
}

/// How long a process may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(8);

impl Process {
    /// `command` is the program's path and its arguments.
    pub(crate) fn start(
        net: &Net,
        short: &str,
        log: PathBuf,
        command: &[&str],
        env: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let name = command.first().copied().unwrap_or_default().to_owned();
        let out = File::create(&log).with_context(|| log.display().to_string())?;
        let child = inside(&net.path(short))
            .args(command)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stderr(out.try_clone()?)
            .stdout(out)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Self { child, name, log })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        Ok(kill(Pid::from_raw(i32::try_from(self.child.id())?), signal)?)
    }

    /// An error with the last lines of its output, once it has ended.
    pub(crate) fn alive(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended ({status}):\n{}", self.name, self.last_lines(8)),
        }
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    pub(crate) fn count_in_log(&self, text: &str) -> usize {
        count_in(&self.log, text)
    }

    pub(crate) fn last_lines(&self, count: usize) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }

    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        usage(self.child.id())
    }

    /// Waits, bounded, until `ready` says so; ends early with an error when the process ends.
    pub(crate) fn wait_for(
        &mut self,
        what: &str,
        patience: Duration,
        mut ready: impl FnMut() -> bool,
    ) -> anyhow::Result<()> {
        let until = Instant::now() + patience;
        while !ready() {
            interrupt::check()?;
            self.alive()?;
            if Instant::now() >= until {
                bail!("{}: {what}: not within {patience:?}; it says:\n{}", self.name, self.last_lines(8));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// To its end, by SIGTERM first.
    pub(crate) fn stop(&mut self) {
        let _ = self.signal(Signal::SIGTERM);
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A command whose arguments are a program and its own, in that namespace. It is told to end when this program's thread
/// ends, whatever ended it: a data plane never rests, and must not stay behind alone.
pub(crate) fn inside(namespace: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "nsenter"]).arg(format!("--net={}", namespace.display())).arg("--");
    command
}

/// Lines of a log that hold this text.
pub(crate) fn count_in(log: &Path, text: &str) -> usize {
    std::fs::read_to_string(log).map_or(0, |all| all.lines().filter(|l| l.contains(text)).count())
}

/// Of a process that this bench started.
pub(crate) fn usage(pid: u32) -> anyhow::Result<Usage> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.context("no clock tick")?;
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)?.context("no page size")?;
    parse_usage(&stat, &statm, u64::try_from(ticks)?, u64::try_from(page)?).context("/proc is not understood")
}

/// The name in the second field may hold blanks: fields are counted behind its bracket (proc(5)).
fn parse_usage(stat: &str, statm: &str, ticks: u64, page: u64) -> Option<Usage> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let resident: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    let cpu = Duration::from_millis((user + system).checked_mul(1000)?.checked_div(ticks)?);
    Some(Usage { cpu, rss: resident * page })
}

/// Another program of the same build.
pub(crate) fn beside_this_program(name: &str) -> anyhow::Result<String> {
    let path = std::env::current_exe()?.with_file_name(name);
    if !path.exists() {
        bail!(
            "{} is missing\n    cure: cargo build --release -p ravelin-dataplane -p ravelin-control",
            path.display()
        );
    }
    path.into_os_string().into_string().map_err(|p| anyhow::anyhow!("{} is no UTF-8", p.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_of_a_bench_are_told_from_all_others() {
        assert_eq!(maker("rbench4711-gw"), Some("4711"));
        assert_eq!(
            (maker("rbi7-spokes"), maker("rbc12-host"), maker("rbr3-a")),
            (Some("7"), Some("12"), Some("3"))
        );
        for other in ["rbench-gw", "rbench47", "rbx12-gw", "rb12-gw", "gw", "rbi1x-hub", "lab-12-gw"] {
            assert_eq!(maker(other), None, "{other}");
        }
    }

    #[test]
    fn usage_is_read_behind_a_name_with_blanks_and_brackets() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 90 0 0 0 250 50 0 0 20 0 1 0 100 1000 77";
        let used = parse_usage(stat, "500 25 10 1 0 40 0", 100, 4096).unwrap();
        assert_eq!(used.cpu, Duration::from_secs(3));
        assert_eq!(used.rss, 25 * 4096);
        assert!(parse_usage("7 (x) S 1", "1 2", 100, 4096).is_none());
    }

    #[test]
    fn our_own_usage_can_be_read() {
        let used = usage(std::process::id()).unwrap();
        assert!(used.rss > 100 * 1024);
    }
}
