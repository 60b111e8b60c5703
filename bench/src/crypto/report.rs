//! How the figures are said: a table, or one JSON object per line and direction.

use super::beside::Library;
use super::{Both, Figure, Options};
use crate::instrument::{self, Clock, Spread, rounded};
use ravelin_crypto::Suite;

/// What IPsec MB 1.3 took, in core cycles to seal, on the machine of the published figures of other gateways (see
/// docs/bench.md): the factor that carries these to this machine is what it takes here ÷ what it took there.
const THERE: [(Suite, &str, f64); 14] = [
    (Suite::Aes256Gcm16, "64", 127.0),
    (Suite::Aes256Gcm16, "256", 191.0),
    (Suite::Aes256Gcm16, "512", 243.0),
    (Suite::Aes256Gcm16, "1024", 361.0),
    (Suite::Aes256Gcm16, "1400", 454.0),
    (Suite::Aes256CbcSha256, "64", 449.0),
    (Suite::Aes256CbcSha256, "512", 987.0),
    (Suite::Aes256CbcSha256, "1400", 2031.0),
    (Suite::Aes128CbcSha1, "64", 341.0),
    (Suite::Aes128CbcSha1, "512", 658.0),
    (Suite::Aes128CbcSha1, "1400", 1270.0),
    (Suite::ChaCha20Poly1305, "64", 463.0),
    (Suite::ChaCha20Poly1305, "512", 1020.0),
    (Suite::ChaCha20Poly1305, "1400", 1688.0),
];
/// Core cycles per clk there.
const CYCLES_THERE: f64 = 1.35;

pub(super) fn head(clock: &Clock, library: Option<&Library>) {
    say!("1 clk = {:.2} core cycles; clk per packet: median (least)", cycles_per_clk(clock));
    let what = format!("{:<27}{:<8}{:>6}", "suite", "tier", "size");
    if library.is_none() {
        say!("{what}  {:<18}{:<18}", "seal", "open");
        return;
    }
    say!("ours ÷ theirs: median of neighbouring windows (least-greatest); here ÷ there: see docs/bench.md");
    say!(
        "{what}  {:<14}{:<14}{:<19}{:<14}{:<14}{:<19}here ÷ there",
        "seal",
        "theirs",
        "ours ÷ theirs",
        "open",
        "theirs",
        "ours ÷ theirs"
    );
}

pub(super) fn row(
    options: &Options,
    suite: Suite,
    tier: &str,
    size: &str,
    figures: &Both<Figure>,
) -> anyhow::Result<()> {
    let factor = factor(suite, size, &figures[0]);
    if options.json {
        for (dir, figure) in ["seal", "open"].into_iter().zip(figures) {
            json(options, (dir, suite, tier, size), figure, factor)?;
        }
        return Ok(());
    }
    let width = if figures[0].beside.is_some() { 14 } else { 18 };
    let mut line = format!("{:<27}{tier:<8}{size:>6}  ", suite.name());
    for figure in figures {
        line += &format!("{:<width$}", clocks(&figure.ours));
        if let Some(beside) = &figure.beside {
            let Spread { median, min, max } = beside.ratio;
            line += &format!("{:<14}", clocks(&beside.theirs));
            line += &format!("{:<19}", format!("{median:.2} ({min:.2}-{max:.2})"));
        }
    }
    if let Some(factor) = factor {
        line += &format!("{factor:.2}");
    }
    say!("{}", line.trim_end());
    Ok(())
}

fn json(
    options: &Options,
    (dir, suite, tier, size): (&str, Suite, &str, &str),
    figure: &Figure,
    factor: Option<f64>,
) -> anyhow::Result<()> {
    let mut line = serde_json::json!({
        "bench": "crypto", "dir": dir, "suite": suite.name(), "tier": tier,
        "size": size.parse::<u64>().map_or_else(|_| size.into(), serde_json::Value::from),
        "burst": options.burst().to_string(), "keys": options.keys.to_string(),
        "clk_per_packet": rounded(figure.ours.median, 1),
        "min": rounded(figure.ours.min, 1), "max": rounded(figure.ours.max, 1),
    });
    if let Some(beside) = &figure.beside {
        line["beside"] = "ipsec-mb".into();
        for (prefix, spread, places) in [("theirs", &beside.theirs, 1), ("ratio", &beside.ratio, 3)] {
            line[prefix] = rounded(spread.median, places).into();
            line[format!("{prefix}_min")] = rounded(spread.min, places).into();
            line[format!("{prefix}_max")] = rounded(spread.max, places).into();
        }
    }
    if let Some(factor) = factor {
        line["here_by_there"] = rounded(factor, 3).into();
    }
    instrument::emit(&line)
}

fn clocks(spread: &Spread) -> String {
    format!("{:.0} ({:.0})", spread.median, spread.min)
}

/// Of sealing, by the least: the figures there are of a machine that did nothing else.
fn factor(suite: Suite, size: &str, seal: &Figure) -> Option<f64> {
    let (.., cycles) = THERE.into_iter().find(|(s, n, _)| (*s, *n) == (suite, size))?;
    Some(seal.beside.as_ref()?.theirs.min / (cycles / CYCLES_THERE))
}

/// A chain of multiplications and rotations, four cycles each, against the time-stamp counter.
#[allow(clippy::cast_precision_loss)] // a few significant digits are shown
fn cycles_per_clk(clock: &Clock) -> f64 {
    const LINKS: u64 = 100_000;
    let factor = std::hint::black_box(0x9e37_79b9_7f4a_7c15u64);
    let mut best = u64::MAX;
    for _ in 0..20 {
        let start = clock.now();
        let product =
            (0..LINKS).fold(std::hint::black_box(3u64), |x, _| x.wrapping_mul(factor).rotate_left(9));
        std::hint::black_box(product);
        best = best.min(clock.now() - start);
    }
    (4 * LINKS) as f64 / best as f64
}
