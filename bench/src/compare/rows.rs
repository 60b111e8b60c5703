//! What was measured twice, and its ratios.
//!
//! Decides: which row of B belongs to a row of A: the same thing measured ([`identity`]), as far as both builds say it.

use crate::instrument::Spread;
use anyhow::{Context, ensure};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// One JSON line of a bench.
pub(super) type Row = Map<String, Value>;

/// What both printed in one turn.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) a: Vec<Row>,
    pub(super) b: Vec<Row>,
}

/// One thing, measured in every round.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) row: Row,
    pub(super) a: Vec<f64>,
    pub(super) b: Vec<f64>,
}

impl Pair {
    /// Of each round by itself: what drifts hits both sides of a round.
    pub(super) fn ratios(&self) -> Spread {
        Spread::of(self.a.iter().zip(&self.b).map(|(a, b)| b / a).collect())
    }

    pub(super) fn name(&self) -> String {
        let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), String::from);
        // `cold: false` says nothing; a number needs its name.
        let part = |(k, v): (&String, &Value)| match v {
            Value::Bool(false) => None,
            Value::Bool(true) => Some(k.clone()),
            Value::Number(_) => Some(format!("{k} {v}")),
            Value::String(_) | Value::Null | Value::Array(_) | Value::Object(_) => Some(text(v)),
        };
        self.row.iter().filter_map(part).collect::<Vec<_>>().join(" ")
    }
}

pub(super) fn parse(text: &str) -> anyhow::Result<Vec<Row>> {
    let lines = text.lines().filter(|line| line.starts_with('{'));
    lines
        .map(|line| serde_json::from_str(line).with_context(|| format!("not a JSON object: {line}")))
        .collect()
}

/// Integers that say what was measured; so do all strings and truth values.
const NUMBERS: [&str; 3] = ["size", "tunnels", "flows"];

fn is_identity(field: &str, value: &Value) -> bool {
    NUMBERS.contains(&field) || value.is_string() || value.is_boolean()
}

/// What tells rows apart in every one of them.
fn identity(rounds: &[Round]) -> BTreeSet<String> {
    let fields = |row: &Row| -> BTreeSet<String> {
        row.iter().filter(|(k, v)| is_identity(k, v)).map(|(k, _)| k.clone()).collect()
    };
    let rows = rounds.iter().flat_map(|r| r.a.iter().chain(&r.b));
    rows.map(fields).reduce(|all, next| &all & &next).unwrap_or_default()
}

/// The first of the usual measurements that every row has.
pub(super) fn metric(rounds: &[Round]) -> Option<String> {
    const USUAL: [&str; 6] = ["clk_per_packet", "clk", "kpps", "pps", "per_second", "seconds"];
    let rows: Vec<&Row> = rounds.iter().flat_map(|r| r.a.iter().chain(&r.b)).collect();
    let everywhere =
        |name: &&str| !rows.is_empty() && rows.iter().all(|row| row.get(*name).is_some_and(Value::is_number));
    USUAL.into_iter().find(everywhere).map(String::from)
}

/// In the order of A's first round. A row that one of the two lacks, or has several of, is named and left out.
pub(super) fn pairs(rounds: &[Round], metric: &str) -> anyhow::Result<Vec<Pair>> {
    let fields = identity(rounds);
    let key = |row: &Row| -> Row {
        row.iter().filter(|(k, _)| fields.contains(*k)).map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    let figures = |rows: &[Row]| -> BTreeMap<String, Vec<f64>> {
        let mut found: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for row in rows {
            let figure = row.get(metric).and_then(Value::as_f64).filter(|f| *f > 0.0);
            found.entry(Value::Object(key(row)).to_string()).or_default().extend(figure);
        }
        found
    };
    let both: Vec<_> = rounds.iter().map(|r| (figures(&r.a), figures(&r.b))).collect();
    let mut seen = BTreeSet::new();
    let mut list = vec![];
    for row in rounds.first().map_or(&[][..], |r| &r.a).iter().map(key) {
        let text = Value::Object(row.clone()).to_string();
        if !seen.insert(text.clone()) {
            continue;
        }
        let only = |of: &BTreeMap<String, Vec<f64>>| match of.get(&text).map(Vec::as_slice) {
            Some([figure]) => Some(*figure),
            _ => None,
        };
        let a: Option<Vec<f64>> = both.iter().map(|(a, _)| only(a)).collect();
        let b: Option<Vec<f64>> = both.iter().map(|(_, b)| only(b)).collect();
        match (a, b) {
            (Some(a), Some(b)) => list.push(Pair { row, a, b }),
            _ => eprintln!("left out, since not both builds measure it once: {text}"),
        }
    }
    ensure!(!list.is_empty(), "the two builds measured nothing in common by {metric}");
    Ok(list)
}

/// Of ratios: that of a half and a double is 1.
pub(super) fn geometric_mean(ratios: &[f64]) -> f64 {
    #[allow(clippy::cast_precision_loss)] // a number of rows
    let n = ratios.len() as f64;
    (ratios.iter().map(|r| r.ln()).sum::<f64>() / n).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Vec<Row> {
        parse(text).unwrap()
    }

    fn way(size: u16, clk: f64) -> String {
        format!(
            r#"{{"bench":"way","dir":"out","size":{size},"tunnels":1,"clk_per_packet":{clk},"windows":31}}"#
        )
    }

    fn round(a: &[(u16, f64)], b: &[(u16, f64)]) -> Round {
        let text = |list: &[(u16, f64)]| list.iter().map(|(s, c)| way(*s, *c)).collect::<Vec<_>>().join("\n");
        Round { a: rows(&text(a)), b: rows(&text(b)) }
    }

    /// The machine became twice as slow between the rounds: each round's own ratio does not see it.
    #[test]
    fn ratios_are_taken_in_each_round() {
        let rounds = [
            round(&[(64, 100.0)], &[(64, 90.0)]),
            round(&[(64, 200.0)], &[(64, 180.0)]),
            round(&[(64, 100.0)], &[(64, 80.0)]),
        ];
        let pairs = pairs(&rounds, "clk_per_packet").unwrap();
        let ratio = pairs[0].ratios();
        assert_eq!((ratio.median, ratio.min, ratio.max), (0.9, 0.8, 0.9));
        assert_eq!(pairs[0].name(), "way out size 64 tunnels 1");
    }

    #[test]
    fn rows_are_paired_by_what_they_measure_not_by_their_place() {
        let rounds = [round(&[(64, 1.0), (1400, 10.0)], &[(1400, 20.0), (64, 4.0)])];
        let found: Vec<f64> =
            pairs(&rounds, "clk_per_packet").unwrap().iter().map(|p| p.ratios().median).collect();
        assert_eq!(found, [4.0, 2.0]);
    }

    #[test]
    fn what_only_one_measures_is_left_out() {
        let rounds = [round(&[(64, 1.0), (512, 1.0)], &[(64, 2.0)])];
        assert_eq!(pairs(&rounds, "clk_per_packet").unwrap().len(), 1);
        let rounds = [round(&[(64, 1.0)], &[(512, 2.0)])];
        assert!(pairs(&rounds, "clk_per_packet").is_err());
    }

    /// An older build does not know of flows: its rows are paired by what it does say, but never with two at once.
    #[test]
    fn a_field_that_only_one_build_has_does_not_keep_them_apart() {
        let a = rows(r#"{"bench":"way","size":64,"clk_per_packet":1.0}"#);
        let b = rows(r#"{"bench":"way","size":64,"flows":64,"cold":false,"clk_per_packet":2.0}"#);
        let both = [Round { a: a.clone(), b: b.clone() }];
        assert_eq!(pairs(&both, "clk_per_packet").unwrap()[0].ratios().median, 2.0);
        let more = rows(r#"{"bench":"way","size":64,"flows":9,"cold":false,"clk_per_packet":3.0}"#);
        let both = [Round { a, b: [b, more].concat() }];
        assert!(pairs(&both, "clk_per_packet").is_err());
    }

    #[test]
    fn the_metric_is_one_that_every_row_has() {
        assert_eq!(metric(&[round(&[(64, 1.0)], &[(64, 2.0)])]).as_deref(), Some("clk_per_packet"));
        let wire = rows(r#"{"bench":"wire","kpps":1.0,"ratio":0.5}"#);
        assert_eq!(metric(&[Round { a: wire.clone(), b: wire }]).as_deref(), Some("kpps"));
        assert_eq!(metric(&[]), None);
        let both = [Round { a: rows(r#"{"kpps":1.0}"#), b: rows(r#"{"pps":1.0}"#) }];
        assert_eq!(metric(&both), None);
    }

    #[test]
    fn a_half_and_a_double_are_one() {
        assert!((geometric_mean(&[0.5, 2.0]) - 1.0).abs() < 1e-12);
        assert!((geometric_mean(&[1.1]) - 1.1).abs() < 1e-12);
    }

    #[test]
    fn only_json_is_read_and_broken_json_is_an_error() {
        assert_eq!(rows("a note\n{\"a\":1}\n").len(), 1);
        assert!(parse("{\"a\":").is_err());
    }
}
