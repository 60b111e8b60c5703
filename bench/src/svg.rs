//! Plots as SVG: lines over named places on the x axis. Decides: scales and places. Never: needs a font or a script.

use core::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
/// Of the plotting area.
const LEFT: f64 = 70.0;
const TOP: f64 = 40.0;
const RIGHT: f64 = 240.0;
const BOTTOM: f64 = 50.0;
/// Told apart by people who see colours differently, too.
const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999"];
const TICKS: u32 = 5;

pub(crate) struct Plot {
    pub(crate) title: String,
    pub(crate) x_label: String,
    pub(crate) y_label: String,
    /// Places on the x axis, from left to right.
    pub(crate) places: Vec<String>,
    pub(crate) lines: Vec<Line>,
}

pub(crate) struct Line {
    pub(crate) name: String,
    /// One for each place; `None` leaves a gap.
    pub(crate) values: Vec<Option<f64>>,
}

impl Plot {
    pub(crate) fn svg(&self) -> String {
        let top = nice(self.lines.iter().flat_map(|l| &l.values).flatten().copied().fold(0.0, f64::max));
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n"
        );
        text(&mut out, WIDTH / 2.0, 20.0, "middle", &self.title);
        text(&mut out, LEFT, TOP - 8.0, "end", &self.y_label);
        text(&mut out, f64::midpoint(LEFT, WIDTH - RIGHT), HEIGHT - 10.0, "middle", &self.x_label);
        for tick in 0..=TICKS {
            let value = top * f64::from(tick) / f64::from(TICKS);
            let y = y_of(value, top);
            line(&mut out, (LEFT, y), (WIDTH - RIGHT, y), "#dddddd", 1.0);
            text(&mut out, LEFT - 6.0, y + 4.0, "end", &short(value));
        }
        for (n, place) in self.places.iter().enumerate() {
            text(&mut out, self.x_of(n), HEIGHT - BOTTOM + 18.0, "middle", place);
        }
        for (n, one) in self.lines.iter().enumerate() {
            self.draw(&mut out, one, COLOURS[n % COLOURS.len()], top, n);
        }
        out.push_str("</svg>\n");
        out
    }

    fn draw(&self, out: &mut String, one: &Line, colour: &str, top: f64, n: usize) {
        let mut before = None;
        for (place, value) in one.values.iter().enumerate() {
            let here = value.filter(|v| v.is_finite()).map(|v| (self.x_of(place), y_of(v, top)));
            if let (Some(from), Some(to)) = (before, here) {
                line(out, from, to, colour, 2.0);
            }
            if let Some((x, y)) = here {
                let _ = writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>");
            }
            before = here;
        }
        #[allow(clippy::cast_precision_loss)] // a handful
        let y = TOP + 10.0 + 18.0 * n as f64;
        let x = WIDTH - RIGHT + 14.0;
        line(out, (x, y), (x + 18.0, y), colour, 2.0);
        text(out, x + 24.0, y + 4.0, "start", &one.name);
    }

    #[allow(clippy::cast_precision_loss)] // a handful of places
    fn x_of(&self, place: usize) -> f64 {
        let width = WIDTH - RIGHT - LEFT;
        LEFT + width * (place as f64 + 0.5) / self.places.len().max(1) as f64
    }
}

fn y_of(value: f64, top: f64) -> f64 {
    let height = HEIGHT - TOP - BOTTOM;
    TOP + height * (1.0 - value / top)
}

/// The least of 1, 2, 2.5, 5 times a power of ten that is no smaller.
fn nice(value: f64) -> f64 {
    if !value.is_finite() || value <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 2.5, 5.0, 10.0].map(|n| n * power).into_iter().find(|n| *n >= value).unwrap_or(value)
}

fn short(value: f64) -> String {
    if value == 0.0 || value >= 10.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

fn line(out: &mut String, from: (f64, f64), to: (f64, f64), colour: &str, width: f64) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(
        out,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\" stroke-width=\"{width}\"/>"
    );
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, what: &str) {
    let what = what.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{what}</text>");
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Every element is closed, in order, and every attribute quoted; no bare `&`.
    pub(crate) fn well_formed(xml: &str) -> Result<(), String> {
        let (mut open, mut rest) = (Vec::new(), xml);
        while let Some((before, after)) = rest.split_once('<') {
            if before.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "").contains(['&', '>']) {
                return Err(format!("text {before:?}"));
            }
            let (tag, after) = after.split_once('>').ok_or("a tag without end")?;
            if tag.matches('"').count() % 2 == 1 {
                return Err(format!("quotes in <{tag}>"));
            }
            if let Some(name) = tag.strip_prefix('/') {
                if open.pop() != Some(name) {
                    return Err(format!("</{name}> closes nothing"));
                }
            } else if !tag.ends_with('/') {
                open.push(tag.split_whitespace().next().unwrap_or(""));
            }
            rest = after;
        }
        if open.is_empty() && rest.trim().is_empty() { Ok(()) } else { Err(format!("open: {open:?}")) }
    }

    fn plot(lines: Vec<Line>) -> Plot {
        let places = vec!["64".into(), "512".into(), "1400".into()];
        Plot { title: "a < b & c".into(), x_label: "bytes".into(), y_label: "kpps".into(), places, lines }
    }

    #[test]
    fn it_is_well_formed_whatever_is_in_it() {
        assert!(well_formed("<a><b/></a>").is_ok());
        for bad in ["<a>", "<a></b>", "</a>", "<a x=\"1></a>", "<a>&</a>"] {
            assert!(well_formed(bad).is_err(), "{bad}");
        }
        let value = |v| vec![v, None, Some(f64::NAN)];
        for lines in [
            vec![],
            vec![Line { name: "x > y".into(), values: value(Some(1e6)) }],
            vec![Line { name: "zero".into(), values: value(Some(0.0)) }],
            (0..20).map(|n| Line { name: n.to_string(), values: value(Some(f64::from(n))) }).collect(),
        ] {
            let svg = plot(lines).svg();
            well_formed(&svg).unwrap();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn points_lie_where_their_values_are() {
        let values = vec![Some(0.0), Some(500.0), Some(1000.0)];
        let svg = plot(vec![Line { name: "l".into(), values }]).svg();
        let heights: Vec<f64> = svg
            .lines()
            .filter(|l| l.starts_with("<circle"))
            .filter_map(|l| l.split("cy=\"").nth(1)?.split('"').next()?.parse().ok())
            .collect();
        let (bottom, top) = (HEIGHT - BOTTOM, TOP);
        assert_eq!(heights, [bottom, f64::midpoint(bottom, top), top]);
    }

    #[test]
    fn scales_end_at_round_figures() {
        for (value, want) in [(1382.0, 2000.0), (870.0, 1000.0), (210.0, 250.0), (0.03, 0.05), (0.0, 1.0)] {
            assert!((nice(value) - want).abs() < 1e-9, "{value}");
        }
    }
}
