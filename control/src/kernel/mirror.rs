//! The connection to rtnetlink: one dump, then notifications; a dump again after a loss.
//!
//! Decides: when a dump is due. Reads: rtnetlink. Writes: the [`Model`]; requests to resolve a neighbour.
//! Never: blocks the caller: whatever waits for the kernel is a task.

use super::model::{Change, Model};
use super::parse;
use futures::channel::mpsc::UnboundedReceiver;
use futures::{StreamExt, TryStreamExt};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::neighbour::{NeighbourFlags, NeighbourState};
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use ravelin_ring::msg::{InterfaceId, PortId, TableCommand, VrfId};
use rtnetlink::sys::SocketAddr;
use rtnetlink::{Handle, MulticastGroup, new_multicast_connection};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use tracing::{debug, warn};

/// Notifications taken in one turn, so that a flood of them does not keep IKE waiting.
const PER_TURN: usize = 512;

/// Neighbours asked again in one turn of [`Mirror::refresh`], lest a large network is flooded with ARP.
const REFRESH_PER_TURN: usize = 64;

const GROUPS: &[MulticastGroup] = &[
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
];

#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    #[error("no rtnetlink socket: {0}")]
    Socket(#[from] std::io::Error),
    #[error("rtnetlink: {0}")]
    Netlink(#[from] rtnetlink::Error),
    #[error("the rtnetlink connection ended")]
    Ended,
}

type Notification = (NetlinkMessage<RouteNetlinkMessage>, SocketAddr);

/// The kernel's state, kept up to date by [`Mirror::changed`].
pub struct Mirror {
    handle: Handle,
    notifications: UnboundedReceiver<Notification>,
    model: Model,
    /// A loss was reported, or routes may have gone without a word.
    dump_due: bool,
    refresh_from: usize,
    pub dumps: u64,
}

impl std::fmt::Debug for Mirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mirror").field("dumps", &self.dumps).finish_non_exhaustive()
    }
}

impl Mirror {
    /// Subscribes first and dumps then, so that nothing falls between.
    pub async fn open(ports: Vec<String>, tun: String) -> Result<Self, KernelError> {
        let (connection, handle, notifications) = new_multicast_connection(GROUPS)?;
        tokio::spawn(connection);
        let model = Model::new(ports, tun);
        let mut me = Self { handle, notifications, model, dump_due: true, refresh_from: 0, dumps: 0 };
        me.catch_up().await?;
        Ok(me)
    }

    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Waits until something changed that [`Self::difference`] may tell of. Safe to cancel.
    pub async fn changed(&mut self) -> Result<(), KernelError> {
        if self.dump_due {
            return Ok(());
        }
        let (message, _) = self.notifications.next().await.ok_or(KernelError::Ended)?;
        self.take(&message);
        for _ in 0..PER_TURN {
            let Ok((message, _)) = self.notifications.try_recv() else { break };
            self.take(&message);
        }
        Ok(())
    }

    /// What the data plane must be told, after a dump if one is due.
    pub async fn difference(&mut self) -> Result<Vec<TableCommand>, KernelError> {
        self.catch_up().await?;
        Ok(self.model.difference())
    }

    /// Devices of route-based tunnels, by name: what routes lead into them is told anew.
    pub fn name_interfaces(&mut self, names: BTreeMap<String, InterfaceId>) {
        self.model.name_interfaces(names);
    }

    /// Devices that belong to VRFs, and the tables that are VRFs.
    pub fn name_vrfs(&mut self, members: BTreeMap<String, VrfId>, tables: BTreeSet<VrfId>) {
        self.dump_due |= self.model.name_vrfs(members, tables);
    }

    /// The next [`Self::difference`] reads the kernel's tables anew.
    pub fn dump_again(&mut self) {
        self.dump_due = true;
    }

    /// The data plane is a new one: tell it everything.
    pub fn forget_told(&mut self) {
        self.model.forget_told();
    }

    /// Lets the kernel find the link address of `addr` (or confirm it), as if it had a packet to send there.
    pub fn resolve(&self, port: PortId, addr: IpAddr) {
        match self.model.port_index(port) {
            Some(index) => self.use_neighbour(index, addr),
            None => debug!(port = port.0, "neighbour wanted on a port that is not there"),
        }
    }

    /// The kernel does not see our packets, so its neighbours grow stale though they are in use. Asking again finds
    /// those that moved or went; those that went are removed, and asked for anew if a packet needs them.
    pub fn refresh(&mut self) {
        let stale = self.model.stale_neighbours();
        let from = if self.refresh_from < stale.len() { self.refresh_from } else { 0 };
        for (index, addr) in stale.iter().skip(from).take(REFRESH_PER_TURN) {
            self.use_neighbour(*index, *addr);
        }
        self.refresh_from = from + REFRESH_PER_TURN;
    }

    fn use_neighbour(&self, index: u32, addr: IpAddr) {
        let request = self
            .handle
            .neighbours()
            .add(index, addr)
            .state(NeighbourState::None)
            .flags(NeighbourFlags::Use)
            .replace();
        tokio::spawn(async move {
            if let Err(error) = request.execute().await {
                debug!(%error, "the kernel would not resolve a neighbour");
            }
        });
    }

    fn take(&mut self, message: &NetlinkMessage<RouteNetlinkMessage>) {
        #[allow(clippy::wildcard_enum_match_arm)] // answers to requests go elsewhere
        match &message.payload {
            NetlinkPayload::InnerMessage(inner) => {
                if let Some(change) = parse::change(inner, message.header.flags) {
                    self.dump_due |= self.model.apply(change);
                }
            }
            NetlinkPayload::Overrun(_) => {
                warn!("the kernel's notifications came faster than they were read: reading its tables anew");
                self.dump_due = true;
            }
            _ => {}
        }
    }

    /// Dumps if a dump is due.
    pub async fn catch_up(&mut self) -> Result<(), KernelError> {
        // What queues up behind an overrun is older than the dump, but each says what was then true, and what is
        // true now comes last: applied in order they end where the kernel is.
        if self.dump_due {
            let changes = dump(&self.handle).await?;
            self.model.begin_dump();
            for change in changes {
                self.model.apply(change);
            }
            self.dump_due = false;
            self.dumps += 1;
        }
        Ok(())
    }
}

/// Everything the kernel knows, links first since all else refers to them.
async fn dump(handle: &Handle) -> Result<Vec<Change>, KernelError> {
    let mut found = Vec::new();
    let mut links = handle.link().get().execute();
    while let Some(m) = links.try_next().await? {
        found.extend(parse::change(&RouteNetlinkMessage::NewLink(m), 0));
    }
    let mut addresses = handle.address().get().execute();
    while let Some(m) = addresses.try_next().await? {
        found.extend(parse::change(&RouteNetlinkMessage::NewAddress(m), 0));
    }
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut wanted = RouteMessage::default();
        wanted.header.address_family = family;
        let mut routes = handle.route().get(wanted).execute();
        while let Some(m) = routes.try_next().await? {
            found.extend(parse::change(&RouteNetlinkMessage::NewRoute(m), 0));
        }
    }
    let mut neighbours = handle.neighbours().get().execute();
    while let Some(m) = neighbours.try_next().await? {
        found.extend(parse::change(&RouteNetlinkMessage::NewNeighbour(m), 0));
    }
    Ok(found)
}
