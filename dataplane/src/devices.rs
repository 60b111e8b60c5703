//! The TUN devices of route-based tunnels: made when the tables name them, let go when no worker can use them any more.
//!
//! Decides: which devices are open. Reads: the names of devices, and whether they are there. Writes: orders for the
//! workers. Never: deletes a device: routes into it would go, and what they held back would leave in clear. The control
//! process does that, when the configuration says so.

use anyhow::Context as _;
use nix::net::if_::if_nametoindex;
use ravelin_ring::msg::{Interface, InterfaceId, InterfaceName};
use ravelin_xsk::tun;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

#[derive(Debug)]
pub(crate) struct Devices {
    /// One queue of each device per worker.
    workers: usize,
    open: BTreeMap<InterfaceId, InterfaceName>,
    /// Opened, and not given to the workers yet.
    fresh: Vec<(InterfaceId, Vec<OwnedFd>)>,
}

impl Devices {
    pub(crate) fn new(workers: usize) -> Self {
        Self { workers, open: BTreeMap::new(), fresh: vec![] }
    }

    /// Opens those of `wanted` that are not open. An error leaves the others open.
    pub(crate) fn follow(&mut self, wanted: &[Interface]) -> anyhow::Result<()> {
        for it in wanted {
            if self.open.get(&it.id) != Some(&it.name) {
                self.open(it.id, it.name)?;
            }
        }
        Ok(())
    }

    fn open(&mut self, id: InterfaceId, name: InterfaceName) -> anyhow::Result<()> {
        let device = tun::open(name.as_str(), self.workers);
        let device = device.with_context(|| format!("device {} of a tunnel", name.as_str()))?;
        self.open.insert(id, name);
        self.fresh.push((id, device.queues));
        Ok(())
    }

    /// What the workers have not got yet: a queue for each of them.
    pub(crate) fn fresh(&mut self) -> Vec<(InterfaceId, Vec<OwnedFd>)> {
        std::mem::take(&mut self.fresh)
    }

    /// The workers all follow `wanted`: those that are open beside them, and are let go here.
    pub(crate) fn settle(&mut self, wanted: &[Interface]) -> Vec<InterfaceId> {
        let gone = |id: &InterfaceId| wanted.iter().all(|it| it.id != *id);
        let list: Vec<_> = self.open.keys().copied().filter(gone).collect();
        self.open.retain(|id, _| !list.contains(id));
        list
    }

    /// Makes those again that someone deleted.
    pub(crate) fn watch(&mut self) {
        let there = |name: &InterfaceName| if_nametoindex(name.as_str()).is_ok();
        let lost: Vec<_> =
            self.open.iter().filter(|(_, name)| !there(name)).map(|(id, name)| (*id, *name)).collect();
        for (id, name) in lost {
            match self.open(id, name) {
                Ok(()) => tracing::warn!(
                    device = name.as_str(),
                    "the tunnel's device was deleted: it is made again"
                ),
                Err(error) => tracing::debug!("{error:#}"),
            }
        }
    }
}
