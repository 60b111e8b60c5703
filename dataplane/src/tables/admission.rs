//! Ports that admit the VPN alone (R222).
//!
//! Decides: nothing. Reads: table commands. Writes: what the XDP program of each port is told. Never: asked for a packet on
//! its way: what such a port does not admit no worker sees.

use super::TableError;
use ravelin_ring::msg::PortId;
use ravelin_wire::AddrRange;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bound of the ranges of one port, against a control process gone wild.
const MAX_RANGES: usize = 1024;

/// Beside the VPN, on one port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// IKE is there, too.
    pub ike_ports: [u16; 2],
    /// Whatever comes from these is judged as on any other port.
    pub from: Vec<AddrRange>,
}

/// Ports that are not in it admit everything.
pub(crate) type Admissions = BTreeMap<PortId, Admission>;

#[derive(Debug, Default)]
pub(super) struct Gathered {
    now: Admissions,
    kept: Arc<Admissions>,
}

impl Gathered {
    pub(super) fn clear(&mut self) {
        self.now.clear();
    }

    pub(super) fn close(&mut self, port: PortId, ike_ports: [u16; 2]) {
        self.now.entry(port).or_default().ike_ports = ike_ports;
    }

    pub(super) fn admit(&mut self, port: PortId, range: AddrRange) -> Result<(), TableError> {
        super::push(&mut self.now.entry(port).or_default().from, range, MAX_RANGES)
    }

    pub(super) fn all(&self) -> &Admissions {
        &self.now
    }

    pub(super) fn compile(&mut self) -> Arc<Admissions> {
        if *self.kept != self.now {
            self.kept = Arc::new(self.now.clone());
        }
        self.kept.clone()
    }

    pub(super) fn restore(&mut self) {
        self.now.clone_from(&self.kept);
    }
}
