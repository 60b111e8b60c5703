//! Another library that does the same ESP operations, in a process of its own on the same core.
//!
//! Decides: that figures count only of a library that opens what ours sealed, and seals what ours opens. Reads and writes:
//! that program's standard output and input (`bench/peers/ipsec-mb.c` has the commands). Never: lets both measure at once.

use super::{Bench, Both, packets};
use crate::instrument::Clock;
use crate::peers::{fetched, found};
use anyhow::{Context, bail, ensure};
use ravelin_crypto::{Engine, Suite};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Packets per call: what the library's users, DPDK among them, hand it.
pub(super) const BURST: usize = 32;

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(super) enum Name {
    /// Intel's multi-buffer library as the distribution has it
    IpsecMb,
}

impl Name {
    /// The library's script, when what it needs is there; missing packages are fetched.
    pub(super) fn script(self, scripts: &Path) -> anyhow::Result<PathBuf> {
        let script = match self {
            Self::IpsecMb => found(&scripts.join("ipsec-mb.sh"))?,
        };
        fetched(&script).map(|()| script)
    }
}

pub(super) struct Library {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Library {
    /// `script`: see [`Name::script`].
    pub(super) fn start(script: &Path) -> anyhow::Result<Self> {
        let mut child = Command::new(script)
            .arg("run")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", script.display()))?;
        let to = child.stdin.take();
        let from = BufReader::new(child.stdout.take().context("no pipe")?);
        Ok(Self { child, to, from })
    }

    /// What comes next is about this bench's suite, keys and packets. `false`: the library has no such suite, which is said.
    pub(super) fn case(&mut self, bench: &mut Bench) -> anyhow::Result<bool> {
        let lengths = bench.lengths.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        let (name, keys) = (bench.suite.name(), bench.keys.len());
        let (keymat, stride, offset) = (hex(&bench.keymat), bench.stride, bench.offset);
        let answer = self.ask(&format!("case {name} {keymat} {keys} {stride} {offset} {lengths}"))?;
        let Some((version, by)) = answer.strip_prefix("ready\t").and_then(|rest| rest.split_once('\t'))
        else {
            eprintln!("note: {name} is not compared: {}", answer.trim_start_matches("no "));
            return Ok(false);
        };
        let by = by.replace('\t', ", opens by ");
        let longest = bench.lengths.iter().max().copied().unwrap_or_default();
        eprintln!("{name}, {longest} B: IPsec MB {version} seals by {by}");
        self.agree(bench).with_context(|| format!("{name} of IPsec MB and ours"))?;
        Ok(true)
    }

    /// Clocks of so many bursts, sealed and opened.
    pub(super) fn window(&mut self, calls: u64, seq: u64) -> anyhow::Result<Both<u64>> {
        let answer = self.ask(&format!("window {calls} {seq}"))?;
        let parsed = answer.split_once(' ').and_then(|(a, b)| Some([a.parse().ok()?, b.parse().ok()?]));
        parsed.with_context(|| format!("IPsec MB says: {answer}"))
    }

    /// Either opens what the other sealed and finds the same payload; where the IV is the number, the bytes are the same.
    fn agree(&mut self, bench: &mut Bench) -> anyhow::Result<()> {
        let (engine, clock) = (Engine::new(), Clock::new());
        write_payloads(bench);
        bench.seal(&clock, &engine)?;
        let ours = sealed(bench);
        self.say(&format!("seal {}", bench.seq))?;
        let theirs = ours.iter().map(|_| self.hear()).collect::<anyhow::Result<Vec<String>>>()?;
        ensure!(has_random_ivs(bench.suite) || ours == theirs, "they seal the same packets differently");
        self.say(&format!("open {}", bench.seq))?;
        ours.iter().try_for_each(|packet| self.say(packet))?;
        let answer = self.hear()?;
        ensure!(answer == "yes", "theirs does not open what ours sealed: {answer}");
        let places = packets(&mut bench.memory[bench.start..], bench.stride, &bench.lengths, bench.suite);
        for ((_, place), packet) in places.zip(&theirs) {
            place.copy_from_slice(
                &bytes(packet).filter(|b| b.len() == place.len()).context("another length")?,
            );
        }
        bench.open(&clock, &engine).context("sealed by theirs")?;
        ensure!(payloads_are_right(bench), "a packet sealed by theirs holds something else");
        Ok(())
    }

    fn ask(&mut self, line: &str) -> anyhow::Result<String> {
        self.say(line)?;
        self.hear()
    }

    fn say(&mut self, line: &str) -> anyhow::Result<()> {
        let to = self.to.as_mut().context("no pipe")?;
        // In one write, or the other side wakes up twice.
        to.write_all(format!("{line}\n").as_bytes()).context("telling the library's program")
    }

    fn hear(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        if self.from.read_line(&mut line)? == 0 {
            bail!("the library's program ended ({})", self.child.wait()?);
        }
        Ok(line.trim_end().to_owned())
    }
}

/// Its input ends, and with it the program.
impl Drop for Library {
    fn drop(&mut self) {
        drop(self.to.take());
        let _ = self.child.wait();
    }
}

fn has_random_ivs(suite: Suite) -> bool {
    suite.name().contains("cbc")
}

/// As the other program makes and expects it.
fn pattern(packet: usize, at: usize) -> u8 {
    (7 * at + packet).to_le_bytes()[0]
}

fn payload(bench: &mut Bench) -> impl Iterator<Item = (u8, &mut u8)> {
    let offset = bench.suite.payload_offset();
    let packets = packets(&mut bench.memory[bench.start..], bench.stride, &bench.lengths, bench.suite);
    packets.enumerate().flat_map(move |(n, (len, packet))| {
        let bytes = packet.iter_mut().skip(offset).take(len);
        bytes.enumerate().map(move |(at, byte)| (pattern(n, at), byte))
    })
}

fn write_payloads(bench: &mut Bench) {
    payload(bench).for_each(|(right, byte)| *byte = right);
}

fn payloads_are_right(bench: &mut Bench) -> bool {
    payload(bench).all(|(right, byte)| *byte == right)
}

fn sealed(bench: &mut Bench) -> Vec<String> {
    let packets = packets(&mut bench.memory[bench.start..], bench.stride, &bench.lengths, bench.suite);
    packets.map(|(_, packet)| hex(packet)).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    rest.is_empty().then(|| pairs.iter().map(byte).collect())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_in_hexadecimal() {
        assert_eq!(hex(&[0, 10, 255]), "000aff");
        assert_eq!(bytes("000aff"), Some(vec![0, 10, 255]));
        assert_eq!((bytes("0"), bytes("xy")), (None, None));
    }
}
