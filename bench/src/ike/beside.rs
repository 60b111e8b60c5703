//! strongSwan at the same work, in turns with Ravelin: one daemon as the hub, one as all the spokes, both as its script
//! starts them.
//!
//! Decides: how many set-ups are under way at once there. Never: ends a process itself; the script's guard does.

use super::processes::{namespaces, run as ravelin};
use super::vici::Vici;
use super::{Case, each};
use crate::host;
use crate::instrument::{Progress, Spread, emit, interrupt, rounded};
use crate::peers::{Script, fetched, found};
use anyhow::{Context, bail};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(super) enum Name {
    /// Debian's, with its data path in user space
    Strongswan,
}

/// Set-ups under way: with more, requests would wait in the responder until the initiator sends them again, after four
/// seconds.
const UNDER_WAY: u32 = 64;
/// Without one more tunnel.
const STALLED: Duration = Duration::from_secs(30);
/// Between two looks at how many are up.
const LOOK: Duration = Duration::from_millis(5);

impl Name {
    /// Its script, when what it needs is there; missing packages are fetched.
    pub(super) fn script(self, scripts: &Path) -> anyhow::Result<PathBuf> {
        let script = match self {
            Self::Strongswan => found(&scripts.join("strongswan.sh"))?,
        };
        fetched(&script).context("strongSwan is not there").map(|()| script)
    }
}

/// Each case `rounds` times by turns.
pub(super) fn run(
    script: &Path,
    cases: &[Case],
    rounds: usize,
    (control, json): (Option<&str>, bool),
) -> anyhow::Result<()> {
    let expected: u64 = cases.iter().map(|c| 8 + u64::from(c.tunnels) / 150).sum::<u64>() * rounds as u64;
    let mut progress = Progress::new("ike", cases.len() * rounds * 2, Duration::from_secs(expected));
    for case in cases {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 1..=rounds {
            let what = format!("{}, {} tunnels, round {round}", case.group.name(), case.tunnels);
            progress.step(&format!("ravelin, {what}"));
            let line = ravelin(*case, control)?;
            ours.push(Turn { rate: line.setups_per_s, cpu_ms: [line.initiator_ms, line.responder_ms] });
            progress.step(&format!("strongswan, {what}"));
            theirs.push(turn(script, *case)?);
        }
        progress.clear();
        Line::new(*case, &ours, &theirs).say(json)?;
    }
    Ok(())
}

/// What one of the two reached.
#[derive(Clone, Copy, Debug)]
struct Turn {
    /// Set-ups per second.
    rate: f64,
    /// Of each, at the initiator and at the responder.
    cpu_ms: [f64; 2],
}

fn turn(script: &Path, case: Case) -> anyhow::Result<Turn> {
    // The namespaces go last, when nothing runs in them any more.
    let net = namespaces()?;
    let peer = Script::guarded(script, "strongswan-ike")?;
    let (count, group) = (case.tunnels.to_string(), case.group.name().to_owned());
    peer.call("ike", &[net.name("hub"), net.name("spokes")], &[count, group])?;
    let [mut spokes, mut hub] = [Daemon::new(peer.dir(), "spokes")?, Daemon::new(peer.dir(), "hub")?];
    let idle = [spokes.cpu()?, hub.cpu()?];
    let began = Instant::now();
    let ended = climb(&mut hub, &mut spokes, case.tunnels)?;
    let used = [spokes.cpu()?, hub.cpu()?];
    let ms = |n: usize| each(used[n].saturating_sub(idle[n]).as_secs_f64() * 1e3, case.tunnels);
    let rate = f64::from(case.tunnels) / (ended - began).as_secs_f64();
    Ok(Turn { rate, cpu_ms: [ms(0), ms(1)] })
}

/// When all tunnels were up at both ends.
fn climb(hub: &mut Daemon, spokes: &mut Daemon, tunnels: u32) -> anyhow::Result<Instant> {
    let (mut begun, mut progress) = (0, (0, Instant::now()));
    loop {
        interrupt::check()?;
        let (up, now) = (hub.established()?.min(spokes.established()?), Instant::now());
        // An IKE SA counts a little before its child.
        if up >= tunnels && hub.children()?.min(spokes.children()?) >= tunnels {
            return Ok(now);
        }
        if up > progress.0 {
            progress = (up, now);
        }
        if progress.1.elapsed() > STALLED {
            bail!(
                "strongSwan: {up} of {tunnels} tunnels are up, and no more for {STALLED:?}: {}",
                hub.said()
            );
        }
        while begun < tunnels.min(up + UNDER_WAY) {
            spokes.vici.request("initiate", &[("child", &format!("n{begun}")), ("timeout", "-1")])?;
            begun += 1;
        }
        std::thread::sleep(LOOK);
    }
}

struct Daemon {
    vici: Vici,
    pid: u32,
    log: PathBuf,
}

impl Daemon {
    fn new(dir: &Path, place: &str) -> anyhow::Result<Self> {
        let pid = std::fs::read_to_string(dir.join(format!("{place}.pid")))?.trim().parse()?;
        let mut vici = Vici::connect(&dir.join(place).join("vici"))?;
        vici.register("list-sa")?;
        Ok(Self { vici, pid, log: dir.join(place).join("charon.log") })
    }

    fn cpu(&self) -> anyhow::Result<Duration> {
        Ok(host::usage(self.pid).context("strongSwan ended")?.cpu)
    }

    fn established(&mut self) -> anyhow::Result<u32> {
        let stats = self.vici.request("stats", &[])?;
        let value = |key: &str| stats.iter().find(|(k, _)| k == key).and_then(|(_, v)| v.parse::<u32>().ok());
        let both = value("ikesas.total").zip(value("ikesas.half-open"));
        let (total, half) = both.context("strongSwan does not say how many IKE SAs it has")?;
        Ok(total.saturating_sub(half))
    }

    /// Child SAs that are in use.
    fn children(&mut self) -> anyhow::Result<u32> {
        let mut all = 0;
        self.vici.events("list-sas", &[], |sa| {
            all += sa
                .iter()
                .map(|(k, v)| {
                    u32::from(k.contains(".child-sas.") && k.ends_with(".state") && v == "INSTALLED")
                })
                .sum::<u32>();
        })?;
        Ok(all)
    }

    fn said(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().last().unwrap_or_default().to_owned()
    }
}

/// One case, both sides.
#[derive(Serialize)]
struct Line {
    bench: &'static str,
    part: &'static str,
    group: &'static str,
    auth: &'static str,
    tunnels: u32,
    beside: &'static str,
    setups_per_s: f64,
    setups_per_s_min: f64,
    setups_per_s_max: f64,
    theirs: f64,
    theirs_min: f64,
    theirs_max: f64,
    /// Ours ÷ theirs of each round.
    ratio: f64,
    ratio_min: f64,
    ratio_max: f64,
    rounds: usize,
    initiator_ms: f64,
    responder_ms: f64,
    theirs_initiator_ms: f64,
    theirs_responder_ms: f64,
}

impl Line {
    fn new(case: Case, ours: &[Turn], theirs: &[Turn]) -> Self {
        let rates = |turns: &[Turn]| Spread::of(turns.iter().map(|t| t.rate).collect());
        let ratio = Spread::of(ours.iter().zip(theirs).map(|(o, t)| o.rate / t.rate).collect());
        let cpu = |turns: &[Turn], n: usize| {
            rounded(Spread::of(turns.iter().map(|t| t.cpu_ms[n]).collect()).median, 3)
        };
        let (rate, other) = (rates(ours), rates(theirs));
        Self {
            bench: "ike",
            part: "processes",
            group: case.group.name(),
            auth: case.auth.name(),
            tunnels: case.tunnels,
            beside: "strongswan",
            setups_per_s: rounded(rate.median, 1),
            setups_per_s_min: rounded(rate.min, 1),
            setups_per_s_max: rounded(rate.max, 1),
            theirs: rounded(other.median, 1),
            theirs_min: rounded(other.min, 1),
            theirs_max: rounded(other.max, 1),
            ratio: rounded(ratio.median, 3),
            ratio_min: rounded(ratio.min, 3),
            ratio_max: rounded(ratio.max, 3),
            rounds: ours.len(),
            initiator_ms: cpu(ours, 0),
            responder_ms: cpu(ours, 1),
            theirs_initiator_ms: cpu(theirs, 0),
            theirs_responder_ms: cpu(theirs, 1),
        }
    }

    fn say(&self, json: bool) -> anyhow::Result<()> {
        if json {
            return emit(self);
        }
        let Self { group, auth, tunnels, rounds, ratio, ratio_min, ratio_max, .. } = self;
        say!("{group}, {auth}, {tunnels} tunnels, {rounds} rounds in turns");
        for (who, [rate, min, max], [initiator, responder]) in [
            (
                "ravelin",
                [self.setups_per_s, self.setups_per_s_min, self.setups_per_s_max],
                [self.initiator_ms, self.responder_ms],
            ),
            (
                self.beside,
                [self.theirs, self.theirs_min, self.theirs_max],
                [self.theirs_initiator_ms, self.theirs_responder_ms],
            ),
        ] {
            say!(
                "  {who:<12}{rate:>7.0} set-ups/s ({min:.0} … {max:.0}), CPU init / resp {initiator:.2} / {responder:.2} ms"
            );
        }
        say!("  ravelin is {ratio:.2} x strongswan ({ratio_min:.2} … {ratio_max:.2})");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Auth, GroupName, Part};
    use super::*;

    #[test]
    fn ratios_are_of_turns_in_one_round() {
        let case = Case { part: Part::Processes, auth: Auth::Psk, group: GroupName::X25519, tunnels: 10 };
        let turns = |rates: [f64; 3]| rates.map(|rate| Turn { rate, cpu_ms: [rate / 1e3, 1.0] });
        // The machine slows down by half in between: the ratio stays.
        let line = Line::new(case, &turns([1000.0, 900.0, 500.0]), &turns([500.0, 500.0, 250.0]));
        let row = serde_json::to_value(&line).unwrap();
        assert_eq!(
            (&row["ratio"], &row["ratio_min"], &row["ratio_max"]),
            (&2.0.into(), &1.8.into(), &2.0.into())
        );
        assert_eq!(
            (&row["setups_per_s"], &row["theirs"], &row["rounds"]),
            (&900.0.into(), &500.0.into(), &3.into())
        );
        assert_eq!((&row["initiator_ms"], &row["theirs_initiator_ms"]), (&0.9.into(), &0.5.into()));
        assert_eq!(row["beside"], "strongswan");
    }

    #[test]
    fn a_folder_without_the_script_is_named_with_the_cure() {
        let why = format!("{:#}", Name::Strongswan.script(Path::new("/nonexistent")).unwrap_err());
        assert!(why.contains("/nonexistent/strongswan.sh") && why.contains("cure:"), "{why}");
    }
}
