//! Rules of address translation as they are gathered.

use super::{TableError, TableStore, push};
use crate::nat::{NatSteering, Rules};
use ravelin_ring::msg::{NatRule, NatSettings, PortId};

const MAX_RULES: usize = 1 << 12;

#[derive(Debug, Default)]
pub(super) struct Gathered {
    rules: Vec<NatRule>,
    settings: NatSettings,
    /// Of the last commit.
    kept: (Vec<NatRule>, NatSettings),
}

impl Gathered {
    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }

    pub(super) fn add(&mut self, rule: NatRule) -> Result<(), TableError> {
        push(&mut self.rules, rule, MAX_RULES)
    }

    pub(super) fn set(&mut self, settings: NatSettings) {
        self.settings = settings;
    }

    pub(super) fn restore(&mut self) {
        (self.rules, self.settings) = self.kept.clone();
    }

    pub(super) fn keep(&mut self) {
        if self.kept.0 != self.rules {
            self.kept.0.clone_from(&self.rules);
        }
        self.kept.1 = self.settings;
    }

    pub(super) fn compile(&self, address: impl Fn(PortId) -> Option<u32>) -> Rules {
        Rules::compile(&self.rules, self.settings, address)
    }
}

impl TableStore {
    /// The IPv4 address of a port.
    pub(super) fn address(&self, port: PortId, locals: &[u32]) -> Option<u32> {
        let port = self.ports.get(usize::from(port.0))?;
        self.link(port, locals, &[]).address
    }

    /// For the XDP program: what it steers for address translation.
    pub fn nat_steering(&self) -> NatSteering {
        let rules = &self.nat.rules;
        let locals = if rules.is_empty() { vec![] } else { self.locals() };
        NatSteering::of(rules, &locals, |port| self.address(port, &locals))
    }
}
