//! Rules of address translation, and bounds of MSS, as they are gathered.

use super::{TableError, TableStore, Tables, push, v4};
use crate::nat::{NatSteering, Rules};
use ravelin_ring::msg::{NatRule, NatSettings, Port, PortId, TunnelId, VrfId};
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

    pub(super) fn rules(&self) -> &[NatRule] {
        &self.rules
    }

    pub(super) fn compile(&self, address: impl Fn(PortId) -> Option<u32>) -> Rules {
        Rules::compile(&self.rules, self.settings, &self.mss, address)
    }

    /// Those of a VRF; bounds of MSS are not a VRF's.
    pub(super) fn compile_of(&self, rules: &[NatRule], address: impl Fn(PortId) -> Option<u32>) -> Rules {
        Rules::compile(rules, self.settings, &BTreeMap::new(), address)
    }
}

impl Tables {
    /// By this address the host itself is reached in the VRF, too: a gateway's, or the first of a port. Any other one that a
    /// rule names is translation's alone, also where it is on a device, so that ARP is answered for it.
    pub(crate) fn is_shared(&self, vrf: VrfId, addr: u32) -> bool {
        let mut ports = (0..).map(PortId).zip(&self.ports);
        self.is_gateway(addr)
            || ports.any(|(id, port)| port.address == Some(addr) && self.vrfs.of_port(id) == vrf)
    }

    /// The rules of a VRF, where there are some.
    pub(crate) fn nat_in(&self, vrf: VrfId) -> Option<&Rules> {
        let rules = if vrf == VrfId::MAIN { &self.nat } else { self.vrfs.nat(vrf)? };
        rules.is_on().then_some(rules)
    }
}

impl TableStore {
    /// The IPv4 address of a port.
    pub(super) fn address(&self, port: PortId, locals: &[u32]) -> Option<u32> {
        let port = self.ports.get(usize::from(port.0))?;
        self.link(port, locals, &[]).address
    }

    /// For the XDP program: what it steers for address translation on the ports of a VRF.
    pub fn nat_steering(&self, vrf: VrfId) -> NatSteering {
        let rules = if vrf == VrfId::MAIN { self.nat.rules() } else { self.vrfs.nat(vrf) };
        if rules.is_empty() {
            return NatSteering::default();
        }
        let locals = self.locals();
        let here = |port: &&Port| self.vrfs.of_port(port.port).unwrap_or(VrfId::MAIN) == vrf;
        let ports = self.ports.iter().filter(here).filter_map(|port| self.address(port.port, &locals));
        let shared: Vec<u32> = self.gateways.iter().filter_map(v4).chain(ports).collect();
        NatSteering::of(rules, &shared, |port| self.address(port, &locals))
    }

    /// On one port.
    pub fn nat_steering_at(&self, port: PortId) -> NatSteering {
        self.nat_steering(self.vrfs.of_port(port).unwrap_or(VrfId::MAIN))
    }

    /// The rules of one VRF beside the main one.
    pub(super) fn nat_of(&self, vrf: VrfId) -> (Rules, NatSteering) {
        let rules = self.nat.compile_of(self.vrfs.nat(vrf), |port| self.address(port, &[]));
        (rules, self.nat_steering(vrf))
    }
}
