//! What a device under test is to the bench: something that can be started between the lab's ports and stopped again.
//!
//! Another gateway becomes measurable by implementing [`Device`]. It gets the tunnels with their keys; packets in clear
//! come by [`LAN`], ESP of the peer by [`WAN`], both in the namespace [`Place::Gateway`].

use super::lab::Lab;
use super::traffic::Tunnels;
use std::path::PathBuf;
use std::sync::Arc;

#[allow(unused_imports, reason = "named in this module's documentation")]
use super::lab::{LAN, Place, WAN};

/// Where the device under test works; the tester has core 0.
pub(crate) const CORE: usize = 1;
/// As the gateway's own defaults, so that only the work differs.
pub(crate) const FRAMES: u32 = 16384;
pub(crate) const RING: u32 = 2048;

pub(crate) trait Device {
    /// As the report calls it.
    fn name(&self) -> String;

    /// Returns once it carries the traffic of all tunnels.
    fn start(&self, lab: &Lab, tunnels: &Arc<Tunnels>) -> anyhow::Result<Box<dyn Running>>;
}

/// Carries traffic until it is dropped.
pub(crate) trait Running {
    /// The `schedstat` files of the threads that move packets: whether the machine took their core away.
    fn threads(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}
