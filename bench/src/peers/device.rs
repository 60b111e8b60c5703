//! Who is measured: the real data plane, furnished over its rings, or a peer that its script starts.
//!
//! Never: ends a process that it did not start; a peer's script ends its own by their ids.

use crate::control::plane::{self, Plane};
use crate::host::{self, Net, Scratch};
use crate::suites::SuiteName;
use anyhow::{Context, bail};
use ravelin_ring::msg;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// Ravelin's worker; the generator has core 0.
const CORE: u16 = 1;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, clap::ValueEnum)]
pub(super) enum Device {
    Ravelin,
    /// Ravelin with the cipher of WireGuard
    RavelinChacha,
    IpsecSecgw,
    Strongswan,
    WireguardGo,
}

impl Device {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ravelin => "ravelin",
            Self::RavelinChacha => "ravelin-chacha",
            Self::IpsecSecgw => "ipsec-secgw",
            Self::Strongswan => "strongswan",
            Self::WireguardGo => "wireguard-go",
        }
    }

    const fn suite(self) -> Option<SuiteName> {
        match self {
            Self::Ravelin => Some(SuiteName::Aes128Gcm),
            Self::RavelinChacha => Some(SuiteName::ChaCha20Poly1305),
            Self::IpsecSecgw | Self::Strongswan | Self::WireguardGo => None,
        }
    }

    fn script(self, scripts: &Path) -> PathBuf {
        scripts.join(format!("{}.sh", self.name()))
    }

    /// Fetches what is missing.
    pub(super) fn install(self, scripts: &Path) -> anyhow::Result<()> {
        if self.suite().is_some() {
            return Ok(());
        }
        fetched(&self.script(scripts))
    }

    /// Returns once it carries traffic.
    pub(super) fn start(self, net: &Arc<Net>, scripts: &Path) -> anyhow::Result<Running> {
        match self.suite() {
            Some(suite) => ravelin(net, suite),
            None => self.by_script(net, scripts),
        }
    }

    fn by_script(self, net: &Arc<Net>, scripts: &Path) -> anyhow::Result<Running> {
        let script = self.script(scripts);
        let peer = Script::guarded(&script, self.name())?;
        let dir = peer.dir();
        peer.call("up", &[net.name("gw"), net.name("sink")], &[])?;
        let read = |file: &str| std::fs::read_to_string(dir.join(file)).unwrap_or_default();
        let pids: Vec<u32> = read("pids").lines().filter_map(|l| l.trim().parse().ok()).collect();
        if pids.is_empty() {
            bail!("its script does not say which process carries the packets");
        }
        Ok(Running { pids, mode: read("mode").trim().to_owned(), _plane: None, _peer: Some(peer) })
    }
}

/// Carries traffic until it is dropped.
pub(super) struct Running {
    pids: Vec<u32>,
    mode: String,
    _plane: Option<Plane>,
    _peer: Option<Script>,
}

impl Running {
    /// Processor time of its processes so far.
    pub(super) fn cpu(&self) -> anyhow::Result<Duration> {
        let all = self.pids.iter().map(|pid| host::usage(*pid).context("it ended"));
        all.map(|usage| usage.map(|u| u.cpu)).sum()
    }

    pub(super) fn mode(&self) -> String {
        self.mode.clone()
    }
}

/// What a script started. Its guard waits for the end of this program, however that comes, and ends all of it: peers
/// that poll would take a core for ever.
pub(crate) struct Script {
    guard: Child,
    script: PathBuf,
    scratch: Scratch,
}

impl Script {
    pub(crate) fn guarded(script: &Path, name: &str) -> anyhow::Result<Self> {
        let scratch = Scratch::new(name)?;
        let mut guard = Command::new(script);
        // In a process group of its own: Ctrl-C is for us.
        guard.arg("guard").arg(scratch.path()).process_group(0);
        let guard = guard.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let guard = guard.with_context(|| format!("starting {}", script.display()))?;
        Ok(Self { guard, script: script.to_owned(), scratch })
    }

    /// Where what it starts keeps its files.
    pub(crate) fn dir(&self) -> &Path {
        self.scratch.path()
    }

    /// A command that starts something: namespaces, the folder, and what else it wants to know.
    pub(crate) fn call(&self, command: &str, places: &[String], more: &[String]) -> anyhow::Result<()> {
        said(UP, Command::new(&self.script).arg(command).args(places).arg(self.dir()).args(more))
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        if let Err(why) = self.guard.wait() {
            eprintln!("the guard of a peer: {why}");
        }
    }
}

fn ravelin(net: &Arc<Net>, suite: SuiteName) -> anyhow::Result<Running> {
    let mut plane = Plane::within(net.clone(), 16, CORE)?;
    plane.load_tables(1, 1)?;
    let [selector, install] = plane::install(1, 0, msg::Direction::Outbound, suite.contract())?;
    plane.drive(&[selector, install, plane::use_outbound(1, 0)])?;
    let mode = format!("{}, AF_XDP, 1 core", suite.name());
    Ok(Running { pids: vec![plane.process.pid()], mode, _plane: Some(plane), _peer: None })
}

/// A script, or the folder of them, by a path that holds in every working directory.
pub(crate) fn found(path: &Path) -> anyhow::Result<PathBuf> {
    path.canonicalize().with_context(|| {
        format!("{} (cure: start it in the source tree, or name it by --scripts)", path.display())
    })
}

/// What is missing of what the script is about is there.
pub(crate) fn fetched(script: &Path) -> anyhow::Result<()> {
    said(INSTALL, Command::new(script).arg("install"))
}

/// Packages, and a build.
const INSTALL: Duration = Duration::from_mins(20);
const UP: Duration = Duration::from_mins(1);

/// Runs it to its end, which comes within that time; what it complained of is the error.
fn said(within: Duration, script: &Command) -> anyhow::Result<()> {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=10", &within.as_secs().to_string()]);
    command.arg(script.get_program()).args(script.get_args());
    // Its own children keep running and must not hold a pipe of ours open.
    let scratch = Scratch::new("said")?;
    let log = scratch.path().join("stderr");
    let file = std::fs::File::create(&log)?;
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).status();
    let status = status.with_context(|| format!("starting {:?}", command.get_program()))?;
    if status.code() == Some(124) {
        bail!("not within {within:?}: {}", std::fs::read_to_string(&log).unwrap_or_default().trim());
    }
    if !status.success() {
        bail!("{}", std::fs::read_to_string(&log).unwrap_or_default().trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn every_peer_has_its_script_and_every_name_is_the_one_of_the_command_line() {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
        for device in Device::value_variants() {
            assert_eq!(device.to_possible_value().unwrap().get_name(), device.name());
            assert!(device.suite().is_some() || device.script(&scripts).is_file(), "{device:?}");
        }
    }

    #[test]
    fn what_a_script_complains_of_is_the_error() {
        let why = said(UP, Command::new("sh").args(["-c", "echo no such thing >&2; exit 3"])).unwrap_err();
        assert_eq!(why.to_string(), "no such thing");
        said(UP, Command::new("true").arg("x")).unwrap();
        let why = said(Duration::from_secs(1), Command::new("sleep").arg("60")).unwrap_err();
        assert!(why.to_string().contains("not within 1s"), "{why}");
    }
}
