//! How a packet ends. Decides nothing itself: stages write it, `io` acts on it.

use ravelin_ring::counters::Drop;
use ravelin_ring::msg::{InterfaceId, PortId, WorkerId};

/// After [`crate::Worker::process`] no packet of the batch is `Pending`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Still on its way through the stages.
    Pending,
    /// A whole Ethernet frame for this port.
    Forward { port: PortId },
    /// For the kernel, through the TUN device: the frame begins at the IP header.
    Punt,
    /// For the kernel, by the device of a route-based tunnel.
    Deliver { interface: InterfaceId },
    /// For the worker that owns the SA: the frame begins at the IP header; it goes on there with the origin
    /// [`crate::Origin::HandedIn`].
    HandOff { worker: WorkerId },
    /// Counted already; the frame only has to go home.
    Drop(Drop),
    /// It waits for an outbound SA; its frame is not in the batch any more.
    Held,
    /// Its content went on in other packets; the frame only has to go home.
    Consumed,
}

impl Verdict {
    /// The packet itself goes somewhere, and nothing is left to be said about it.
    #[inline]
    pub(crate) fn goes_on(self) -> bool {
        matches!(self, Self::Forward { .. } | Self::Punt | Self::Deliver { .. } | Self::HandOff { .. })
    }
}
