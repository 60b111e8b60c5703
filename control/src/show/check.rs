//! `ravelin check FILE`: the file, its secrets, its keys and certificates, and what to say about them.
//!
//! Decides: what counts as good. Reads: all of them. Writes: text. Never: shows a secret.

use serde::Serialize;
use std::path::{Path, PathBuf};

use crate::config::{Config, Diagnostic, Errors};
use crate::secrets::{Keys, Secrets};

/// Printed as it is by `check --json`; keys are stable.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Checked {
    pub ok: bool,
    pub file: PathBuf,
    pub ports: usize,
    pub tunnels: usize,
    pub selectors: usize,
    pub errors: Vec<Diagnostic>,
    pub warnings: Vec<Diagnostic>,
    /// Errors beyond those that are kept.
    pub more: usize,
}

/// Checks a configuration, and its secrets unless they are not to be read.
pub fn check(file: &Path, no_secrets: bool) -> Checked {
    let mut checked = Checked { file: file.to_owned(), ..Checked::default() };
    match Config::load(file) {
        Ok(config) => {
            checked.ports = config.ports.len();
            checked.tunnels = config.tunnels.len();
            checked.selectors = config.tunnels.iter().map(|tunnel| tunnel.selectors.len()).sum();
            checked.warnings.clone_from(&config.warnings);
            if !no_secrets {
                checked.add_secrets(&config);
            }
        }
        Err(errors) => checked.add(errors),
    }
    checked.ok = checked.errors.is_empty();
    checked
}

impl Checked {
    fn add_secrets(&mut self, config: &Config) {
        let secrets = Secrets::load_for(config);
        match secrets.and_then(|secrets| secrets.check(config).map(|()| secrets)) {
            Ok(secrets) => self.warnings.extend(secrets.all_warnings(config)),
            Err(errors) => self.add(errors),
        }
        match Keys::load(config) {
            Ok(keys) => self.warnings.extend(keys.warnings().iter().cloned()),
            Err(errors) => self.add(errors),
        }
    }

    fn add(&mut self, errors: Errors) {
        self.errors.extend(errors.errors);
        self.warnings.extend(errors.warnings);
        self.more += errors.more;
    }

    /// Every finding, errors first; empty when there is none.
    pub fn findings(&self) -> String {
        let all = self.errors.iter().chain(&self.warnings);
        all.map(|finding| format!("{finding}\n")).collect()
    }

    /// The last line.
    pub fn summary(&self) -> String {
        let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let file = self.file.display();
        if !self.ok {
            return format!("{file}: {}", count(self.errors.len() + self.more, "error"));
        }
        format!(
            "{file}: ok ({}, {}, {})",
            count(self.ports, "port"),
            count(self.tunnels, "tunnel"),
            count(self.selectors, "selector")
        )
    }
}
