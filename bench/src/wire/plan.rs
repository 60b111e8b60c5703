//! The order of a run: for every suite, direction and size first the rates in turns, then each device by itself.

use super::device::{Device, Running};
use super::forwarder::Forwarder;
use super::generator::Generator;
use super::lab::Lab;
use super::measure::Measure;
use super::options::{Options, Test};
use super::report::{self, Case, Figure, Report};
use super::search::Found;
use super::tester::{Stream, Tester};
use super::traffic::{Direction, Size, Tunnels};
use crate::instrument::Progress;
use crate::suites::SuiteName;
use anyhow::{Context, ensure};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// What one case costs beside its windows: starting a device, settling, draining.
const START: Duration = Duration::from_millis(900);

/// Every device beside the plain forwarder on the same ports.
pub(super) fn in_the_lab(
    options: &Options,
    lab: &Lab,
    tester: &mut Tester,
    devices: &[&dyn Device],
    report: &mut Report,
) -> anyhow::Result<()> {
    let cases: Vec<_> = options
        .suites()
        .iter()
        .flat_map(|suite| options.directions().iter().map(move |d| (*suite, *d)))
        .flat_map(|(suite, d)| options.sizes().into_iter().map(move |size| (suite, d, size)))
        .collect();
    let mut progress = Progress::new(
        "wire",
        steps(options, &cases, devices.len()),
        expected(options, &cases, devices.len()),
    );
    let generator = options.generator.settled(tester);
    let mut run = InLab { options, generator, lab, tester, progress: &mut progress, report };
    for (at, &(suite, direction, size)) in cases.iter().enumerate() {
        if options.tests.contains(&Test::Rate) {
            run.rates(devices, suite, direction, size)?;
        }
        // In a quick run the searches are made once.
        if !options.quick || at == 0 {
            run.searches(devices, suite, direction, size)?;
        }
    }
    Ok(())
}

/// The box is there and stays; there is nothing to compare it with.
pub(super) fn box_under_test(
    options: &Options,
    tester: &mut Tester,
    report: &mut Report,
) -> anyhow::Result<()> {
    ensure!(
        options.directions().contains(&Direction::Out),
        "with --ports only direction out can be measured: the bench has no keys of the box; exchange the ports for the other"
    );
    let sizes = options.sizes();
    let generator = options.generator.settled(tester);
    let mut progress = Progress::new("wire", sizes.len(), per_device(options) * count(sizes.len()));
    for size in sizes {
        progress.step(&format!("{} {size} B", options.name));
        let case = Case {
            device: options.name.clone(),
            suite: "as configured",
            dir: Direction::Out.name(),
            size,
            tunnels: options.tunnels,
            flows: options.flows,
        };
        let stream = Stream {
            direction: Direction::Out,
            size,
            flows: options.flows,
            count: options.tunnels,
            tunnels: None,
        };
        let mut measure = Measure { tester, stream: &stream, effort: options.effort() };
        if options.tests.contains(&Test::Rate) {
            let windows: Vec<_> =
                (0..options.windows).map(|_| measure.rate(generator)).collect::<anyhow::Result<_>>()?;
            ensure!(
                windows.iter().any(|w| w.0 > 0.0),
                "nothing came through the box: check addresses, its tunnel and --box-macs"
            );
            progress.clear();
            report.add(
                &case,
                report::rate(&case, generator.chosen(stream.direction, size).name(), &windows, None),
            )?;
        }
        let figures = alone(options, &mut measure, &case, &HashMap::new())?.0;
        progress.clear();
        figures.into_iter().try_for_each(|figure| report.add(&case, figure))?;
    }
    Ok(())
}

struct InLab<'a> {
    options: &'a Options,
    generator: Generator,
    lab: &'a Lab,
    tester: &'a mut Tester,
    progress: &'a mut Progress,
    report: &'a mut Report,
}

/// Throughputs of the reference by the loss allowed, in parts of a billion.
type Throughputs = HashMap<u64, f64>;

impl InLab<'_> {
    /// Forwarder and devices by turns, window after window.
    fn rates(
        &mut self,
        devices: &[&dyn Device],
        suite: SuiteName,
        direction: Direction,
        size: Size,
    ) -> anyhow::Result<()> {
        let all: Vec<&dyn Device> =
            [&Forwarder as &dyn Device].into_iter().chain(devices.iter().copied()).collect();
        let mut figures = vec![Vec::new(); all.len()];
        let generator = self.generator.chosen(direction, size);
        for window in 0..self.options.windows {
            for (device, figures) in all.iter().zip(&mut figures) {
                self.progress.step(&format!(
                    "{} {size} {}: window {}",
                    device.name(),
                    direction.name(),
                    window + 1
                ));
                let (_running, stream) = self.start(*device, suite, direction, size)?;
                let effort = self.options.effort();
                let figure = Measure { tester: self.tester, stream: &stream, effort }.rate(generator)?;
                ensure!(figure.0 > 0.0, "{}: nothing came through", device.name());
                figures.push(figure);
            }
        }
        self.progress.clear();
        for (device, windows) in all.iter().zip(&figures) {
            let case = self.case(&device.name(), suite, direction, size);
            let figure = report::rate(&case, generator.name(), windows, figures.first().map(Vec::as_slice));
            self.report.add(&case, figure)?;
        }
        Ok(())
    }

    fn searches(
        &mut self,
        devices: &[&dyn Device],
        suite: SuiteName,
        direction: Direction,
        size: Size,
    ) -> anyhow::Result<()> {
        if self.options.tests.iter().all(|t| *t == Test::Rate) {
            return Ok(());
        }
        let mut plain = Throughputs::new();
        let all = [&Forwarder as &dyn Device].into_iter().chain(devices.iter().copied());
        for (at, device) in all.enumerate() {
            self.progress.step(&format!("{} {size} {}: searches", device.name(), direction.name()));
            let case = self.case(&device.name(), suite, direction, size);
            let (_running, stream) = self.start(device, suite, direction, size)?;
            let effort = self.options.effort();
            let mut measure = Measure { tester: self.tester, stream: &stream, effort };
            let (figures, found) = alone(self.options, &mut measure, &case, &plain)?;
            if at == 0 {
                plain = found;
            }
            self.progress.clear();
            figures.into_iter().try_for_each(|figure| self.report.add(&case, figure))?;
        }
        Ok(())
    }

    fn start(
        &mut self,
        device: &dyn Device,
        suite: SuiteName,
        direction: Direction,
        size: Size,
    ) -> anyhow::Result<(Box<dyn Running>, Stream)> {
        let tunnels = Arc::new(Tunnels::new(suite, self.options.tunnels)?);
        let running = device.start(self.lab, &tunnels).with_context(|| device.name())?;
        self.tester.watched = running.threads();
        let (flows, count) = (self.options.flows, self.options.tunnels);
        Ok((running, Stream { direction, size, flows, count, tunnels: Some(tunnels) }))
    }

    fn case(&self, device: &str, suite: SuiteName, direction: Direction, size: Size) -> Case {
        Case {
            device: device.to_owned(),
            suite: suite.name(),
            dir: direction.name(),
            size,
            tunnels: self.options.tunnels,
            flows: self.options.flows,
        }
    }
}

/// All that is measured on one running device, and its throughputs.
fn alone(
    options: &Options,
    measure: &mut Measure<'_>,
    case: &Case,
    plain: &Throughputs,
) -> anyhow::Result<(Vec<Figure>, Throughputs)> {
    let wants = |test| options.tests.contains(&test);
    let (mut figures, mut throughputs) = (Vec::new(), Throughputs::new());
    let mut first = None;
    if wants(Test::Throughput) || wants(Test::Latency) || wants(Test::Recovery) {
        for &loss in &options.loss {
            let found = measure.throughput(loss)?;
            figures.push(report::throughput(case, loss, &found, plain.get(&billionths(loss)).copied()));
            throughputs.insert(billionths(loss), found.rate);
            first.get_or_insert(found);
        }
    }
    let rate = first.map_or(0.0, |found: Found| found.rate);
    if wants(Test::Latency) && rate > 0.0 {
        for &load in options.loads() {
            if let Some(delay) = measure.latency(rate, load)? {
                figures.push(report::latency(&delay));
            }
        }
    }
    if wants(Test::Burst) {
        figures.push(Figure::Burst { packets: measure.burst()? });
    }
    if wants(Test::Recovery)
        && rate > 0.0
        && let Some(recovery) = measure.recovery(rate)?
    {
        figures.push(report::recovery(&recovery));
    }
    Ok((figures, throughputs))
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // from 0 to 1
fn billionths(share: f64) -> u64 {
    (share * 1e9).round() as u64
}

type Cases = [(SuiteName, Direction, Size)];

fn steps(options: &Options, cases: &Cases, devices: usize) -> usize {
    let rates = if options.tests.contains(&Test::Rate) { cases.len() * options.windows } else { 0 };
    let searches = if options.tests.iter().all(|t| *t == Test::Rate) {
        0
    } else if options.quick {
        1
    } else {
        cases.len()
    };
    (rates + searches) * (devices + 1)
}

/// A guess: nobody waits without knowing about how long.
fn expected(options: &Options, cases: &Cases, devices: usize) -> Duration {
    let window = options.effort().window + START;
    let rates = if options.tests.contains(&Test::Rate) { cases.len() * options.windows } else { 0 };
    let searches = steps(options, cases, devices) / (devices + 1) - rates;
    (window * count(rates) + per_device(options) * count(searches)) * count(devices + 1)
}

/// The searches of one device.
fn per_device(options: &Options) -> Duration {
    let effort = options.effort();
    let loads = count(options.loads().len());
    let trials = 16 * count(options.loss.len());
    START + (effort.trial + Duration::from_millis(30)) * trials + effort.long * (loads + 6)
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
