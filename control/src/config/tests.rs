use super::*;
use crate::secrets::Secrets;
use core::time::Duration;
use proptest::prelude::*;
use ravelin_ike::config::{Encryption, Group, Identity, Integrity, Kem, Prf, Start};
use ravelin_ring::msg::{Action, OuterDf};
use ravelin_ring::setup::Attach;
use std::path::PathBuf;

const MINIMAL: &str = include_str!("../../../configs/minimal.toml");
const TWO: &str = include_str!("../../../configs/two-tunnels.toml");
const REFERENCE: &str = include_str!("../../../configs/reference.toml");
const SECRETS: &str = include_str!("../../../configs/secrets.example.toml");
const MANUAL: &str = include_str!("../../../docs/configuration.md");

fn parse(text: &str) -> Result<Config, Errors> {
    Config::parse(Path::new("gw.toml"), text)
}

fn good(text: &str) -> Config {
    parse(text).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The errors, one line each: `LINE: found; expected … | cure`.
fn bad(text: &str) -> Vec<String> {
    let errors = parse(text).expect_err("must be refused");
    assert!(!errors.errors.is_empty());
    let one = |e: &Diagnostic| format!("{}: {}; expected {} | {}", e.line, e.found, e.expected, e.cure);
    errors.errors.iter().map(one).collect()
}

/// A good tunnel with more keys in it.
fn with(keys: &str) -> String {
    format!("{MINIMAL}\n{keys}\n")
}

/// A good file whose tunnel has these selectors.
fn selecting(selectors: &str) -> String {
    MINIMAL
        .lines()
        .map(|line| {
            if line.starts_with("selectors") {
                format!("selectors = {selectors}\n")
            } else {
                format!("{line}\n")
            }
        })
        .collect()
}

#[track_caller]
fn assert_error(text: &str, parts: &[&str]) {
    let errors = bad(text);
    let found = errors.iter().any(|error| parts.iter().all(|part| error.contains(part)));
    assert!(found, "no error with all of {parts:?} in {errors:#?}");
}

mod examples;
mod children;
mod interfaces;
mod gre;
mod vrfs;
mod errors;
mod levels;
mod difference;
mod hostile;
mod manual;
mod nat;
mod admit;
