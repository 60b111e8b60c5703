//! The tables that the control process compiles: gathered here command by command, published as one snapshot.
//!
//! `TableStore` lives on the main thread; a `Tables` is immutable and shared by all workers.

use ravelin_ring::msg::{Generation, TableCommand};
use ravelin_wire::AddrRange;
use std::net::IpAddr;
use std::sync::Arc;

/// One generation of policies, routes, neighbours, ports and addresses.
#[derive(Debug)]
pub struct Tables {
    pub generation: Generation,
}

/// Why a command or the whole gathering cannot be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TableError {
    #[error("port {0} is not configured")]
    UnknownPort(u16),
    #[error("more than {0} entries")]
    TooMany(usize),
}

#[derive(Debug)]
pub struct TableStore {}

impl TableStore {
    /// `ports`: how many are configured.
    pub fn new(ports: usize, udp_encap_port: Option<u16>) -> Self {
        let _ = (ports, udp_encap_port);
        Self {}
    }

    /// Gathers one change. `Some(generation)` when the command was `Commit`: call [`Self::compile`] then.
    pub fn apply(&mut self, command: &TableCommand) -> Result<Option<Generation>, TableError> {
        let _ = command;
        Ok(None)
    }

    /// The snapshot for the workers. An error leaves the one before in force.
    pub fn compile(&mut self, generation: Generation) -> Result<Arc<Tables>, TableError> {
        Ok(Arc::new(Tables { generation }))
    }

    /// For the XDP program: addresses at which ESP is ours.
    pub fn gateway_addresses(&self) -> &[IpAddr] {
        &[]
    }

    /// For the XDP program: what is steered beside ESP.
    pub fn protected_ranges(&self) -> &[AddrRange] {
        &[]
    }
}
