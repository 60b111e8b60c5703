//! Rules of address translation, and bounds of MSS, as they are gathered.

use super::{TableError, TableStore, Tables, push, v4};
use crate::nat::{NatSteering, Rules};
use ravelin_ring::msg::{NatRule, NatSettings, PortId, TunnelId};
use std::collections::BTreeMap;

const MAX_RULES: usize = 1 << 12;
const MAX_BOUNDS: usize = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct Gathered {
    rules: Vec<NatRule>,
    settings: NatSettings,
    mss: BTreeMap<TunnelId, u16>,
    /// Of the last commit.
    kept: (Vec<NatRule>, NatSettings, BTreeMap<TunnelId, u16>),
}

impl Gathered {
    pub(super) fn clear(&mut self) {
        self.rules.clear();
        self.mss.clear();
    }

    pub(super) fn add(&mut self, rule: NatRule) -> Result<(), TableError> {
        push(&mut self.rules, rule, MAX_RULES)
    }

    pub(super) fn bound(&mut self, tunnel: TunnelId, mss: u16) -> Result<(), TableError> {
        if self.mss.len() >= MAX_BOUNDS {
            return Err(TableError::TooMany(MAX_BOUNDS));
        }
        self.mss.insert(tunnel, mss);
        Ok(())
    }

    pub(super) fn set(&mut self, settings: NatSettings) {
        self.settings = settings;
    }

    pub(super) fn restore(&mut self) {
        (self.rules, self.settings, self.mss) = self.kept.clone();
    }

    pub(super) fn keep(&mut self) {
        if self.kept.0 != self.rules {
            self.kept.0.clone_from(&self.rules);
        }
        self.kept.1 = self.settings;
        if self.kept.2 != self.mss {
            self.kept.2.clone_from(&self.mss);
        }
    }

    pub(super) fn compile(&self, address: impl Fn(PortId) -> Option<u32>) -> Rules {
        Rules::compile(&self.rules, self.settings, &self.mss, address)
    }
}

impl Tables {
    /// By this address the host itself is reached, too: a gateway's, or the first of a port. Any other one that a rule
    /// names is translation's alone, also where it is on a device, so that ARP is answered for it.
    pub(crate) fn is_shared(&self, addr: u32) -> bool {
        self.is_gateway(addr) || self.ports.iter().any(|port| port.address == Some(addr))
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
        let ports = self.ports.iter().filter_map(|port| self.address(port.port, &locals));
        let shared: Vec<u32> = self.gateways.iter().filter_map(v4).chain(ports).collect();
        NatSteering::of(rules, &shared, |port| self.address(port, &locals))
    }
}
