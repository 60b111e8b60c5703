//! Route-based tunnels (R60): a TUN device each. What routes lead into the device, the tunnel behind it protects; what
//! comes out of the tunnel enters by the device.
//!
//! Decides: the tunnel of a packet that a route leads into a device, or that the kernel sent into it; what of the
//! packets out of a tunnel is the kernel's by that device (multicast, and what never leaves its link). Reads: the devices
//! of the snapshot. Writes: the door of what came out of a tunnel with a device, its verdict when the kernel gets it.
//! Never: lets a packet on in clear; looks up a route.
//!
//! Policies speak of packets between ports. What enters or leaves by a device is the tunnel's by its route, so that only
//! a PROTECT policy, which is another tunnel's, goes before the route.

use crate::gre;
use crate::packet::{Door, Packet};
use crate::route::Hop;
use crate::sa::InboundSa;
use crate::spd::Answer;
use crate::tables::Tables;
use crate::verdict::Verdict;
use ravelin_ring::counters::Drop;
use ravelin_ring::msg::{Behind, Interface, InterfaceId, TunnelId};
use ravelin_ring::setup::ReversePath;
use ravelin_wire::Prefix;
use std::collections::{BTreeSet, HashMap};
use std::net::Ipv6Addr;

/// The devices of one generation.
#[derive(Debug, Default)]
pub(crate) struct Interfaces {
    by_id: Vec<Option<Device>>,
    by_tunnel: HashMap<TunnelId, InterfaceId>,
    tunnels: Vec<(TunnelId, bool)>,
}

#[derive(Clone, Copy, Debug)]
struct Device {
    /// The tunnel's, behind those that policies name; or that of a tunnel of GRE ([`gre::place`]).
    place: u32,
    reverse_path: ReversePath,
}

impl Interfaces {
    /// `first`: how many tunnels policies name.
    pub(crate) fn compile(list: &[Interface], first: usize) -> Self {
        let mut me = Self::default();
        for (n, it) in list.iter().enumerate() {
            let at = usize::from(it.id.0);
            if me.by_id.len() <= at {
                me.by_id.resize(at + 1, None);
            }
            let place = match it.behind {
                Behind::Tunnel { tunnel, hold } => {
                    me.by_tunnel.insert(tunnel, it.id);
                    me.tunnels.push((tunnel, hold));
                    u32::try_from(first + me.tunnels.len() - 1).unwrap_or(u32::MAX)
                }
                Behind::Gre(_) => gre::place(n),
            };
            me.by_id[at] = Some(Device { place, reverse_path: it.reverse_path });
        }
        me
    }

    /// Tunnels that have a device, and whether their packets wait for an SA.
    pub(crate) fn tunnels(&self) -> &[(TunnelId, bool)] {
        &self.tunnels
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    fn get(&self, id: InterfaceId) -> Option<&Device> {
        self.by_id.get(usize::from(id.0))?.as_ref()
    }

    /// The place of the tunnel behind a device, as policies name theirs.
    pub(crate) fn tunnel(&self, id: InterfaceId) -> Result<u32, Drop> {
        self.get(id).map(|device| device.place).ok_or(Drop::NoRoute)
    }

    /// Where the source of what comes out of its tunnel has to be.
    pub(crate) fn reverse_path(&self, id: InterfaceId) -> ReversePath {
        self.get(id).map_or(ReversePath::Strict, |device| device.reverse_path)
    }

    /// The tunnel behind a device, if it is one of IPsec.
    pub(crate) fn tunnel_of(&self, id: InterfaceId) -> Option<TunnelId> {
        self.by_tunnel.iter().find(|(_, at)| **at == id).map(|(tunnel, _)| *tunnel)
    }

    pub(crate) fn of(&self, tunnel: TunnelId) -> Option<InterfaceId> {
        self.by_tunnel.get(&tunnel).copied()
    }
}

/// What is not lawful for a router is so where a tunnel is a link of its own: multicast, and link-local addresses of
/// IPv6. `why` stands for all others.
#[cold]
pub(crate) fn admit(packet: &Packet, sa: Option<&InboundSa>, tables: &Tables, why: Drop) -> Result<(), Drop> {
    let link = matches!(why, Drop::MulticastPolicyMode | Drop::BadAddress);
    let known = link && sa.is_some_and(|sa| tables.interfaces.of(sa.tunnel).is_some());
    if known && lawful(packet) { Ok(()) } else { Err(why) }
}

/// On the link that a tunnel is.
pub(crate) fn lawful(packet: &Packet) -> bool {
    let ip = &packet.meta.ip;
    if !ip.v6 {
        let never = |addr: u32| matches!(addr >> 24, 0 | 127);
        return !never(ip.src) && !never(ip.dst) && ip.src >> 28 < 0xe && is_link_wide_v4(ip.dst);
    }
    let (src, dst) = packet.addresses_v6();
    let (src, dst) = (Ipv6Addr::from_bits(src), Ipv6Addr::from_bits(dst));
    let never = |a: Ipv6Addr| a.is_unspecified() || a.is_loopback() || a.to_ipv4_mapped().is_some();
    !never(src) && !never(dst) && !src.is_multicast()
}

/// Multicast and limited broadcast.
const fn is_link_wide_v4(dst: u32) -> bool {
    dst >> 28 == 0xe || dst == u32::MAX
}

/// A packet out of an SA, whose selectors hold it, enters by its tunnel's device, if it has one.
pub(crate) fn enter(packet: &mut Packet, tunnel: TunnelId, tables: &Tables) {
    if let Some(id) = tables.interfaces.of(tunnel) {
        enter_by(packet, id);
    }
}

/// A packet out of what is behind this device.
pub(crate) fn enter_by(packet: &mut Packet, id: InterfaceId) {
    packet.door = Door::Inner(id);
    let ip = &packet.meta.ip;
    let link_wide = if ip.v6 {
        let (src, dst) = packet.addresses_v6();
        let (src, dst) = (Ipv6Addr::from_bits(src), Ipv6Addr::from_bits(dst));
        dst.is_multicast() || dst.is_unicast_link_local() || src.is_unicast_link_local()
    } else {
        is_link_wide_v4(ip.dst)
    };
    if link_wide {
        packet.verdict = Verdict::Deliver { interface: id };
    }
}

/// What policies say of a packet that leaves by a device, or came by one: nothing but that another tunnel protects it.
pub(crate) fn without_default(packet: &Packet, answer: (Answer, u64), hop: Hop) -> (Answer, u64) {
    let by_route = matches!(hop, Hop::Interface(_)) || matches!(packet.door, Door::Inner(_));
    match answer.0 {
        Answer::Discard | Answer::Bypass if by_route => (Answer::Bypass, u64::MAX),
        Answer::Protect(_) | Answer::Bypass | Answer::Discard | Answer::Unknown => answer,
    }
}

/// What the control process told of devices, and the routes into them.
#[derive(Debug, Default)]
pub(crate) struct Store {
    list: Vec<Interface>,
    kept: Vec<Interface>,
    routes: BTreeSet<Prefix>,
}

/// As many as workers can have in one call of poll(2) without feeling it.
const MAX_INTERFACES: usize = 1024;

impl Store {
    pub(crate) fn clear(&mut self) {
        self.list.clear();
    }

    /// False: there is no room.
    pub(crate) fn add(&mut self, interface: Interface) -> bool {
        let room = self.list.len() < MAX_INTERFACES;
        let twice = self.list.iter().any(|it| it.id == interface.id || same(&it.behind, &interface.behind));
        if room && !twice {
            self.list.push(interface);
        }
        room && !twice
    }

    pub(crate) fn restore(&mut self) {
        self.list.clone_from(&self.kept);
    }

    pub(crate) fn keep(&mut self) {
        self.kept.clone_from(&self.list);
    }

    pub(crate) fn list(&self) -> &[Interface] {
        &self.list
    }

    /// Of the tables that were published last.
    pub(crate) fn kept(&self) -> &[Interface] {
        &self.kept
    }

    /// A route to `prefix` leads into a device, or none does any more.
    pub(crate) fn route(&mut self, prefix: Prefix, leads_in: bool) {
        if leads_in {
            self.routes.insert(prefix);
        } else {
            self.routes.remove(&prefix);
        }
    }

    pub(crate) fn forget_routes(&mut self) {
        self.routes.clear();
    }

    /// What routes lead into devices.
    pub(crate) fn routes(&self) -> &BTreeSet<Prefix> {
        &self.routes
    }
}

/// Packets that came by either could not be told from those of the other.
fn same(a: &Behind, b: &Behind) -> bool {
    match (a, b) {
        (Behind::Tunnel { tunnel: a, .. }, Behind::Tunnel { tunnel: b, .. }) => a == b,
        (Behind::Gre(a), Behind::Gre(b)) => (a.local, a.remote, a.key) == (b.local, b.remote, b.key),
        (Behind::Tunnel { .. }, Behind::Gre(_)) | (Behind::Gre(_), Behind::Tunnel { .. }) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ravelin_ring::msg::InterfaceName;

    fn interface(id: u16, tunnel: u32) -> Interface {
        Interface {
            id: InterfaceId(id),
            name: InterfaceName::new("tun-a").unwrap(),
            behind: Behind::Tunnel { tunnel: TunnelId(tunnel), hold: false },
            reverse_path: ReversePath::Loose,
        }
    }

    #[test]
    fn places_follow_those_of_policies_and_unknown_devices_lead_nowhere() {
        let it = Interfaces::compile(&[interface(3, 70), interface(1, 71)], 5);
        assert_eq!((it.tunnel(InterfaceId(3)), it.tunnel(InterfaceId(1))), (Ok(5), Ok(6)));
        for unknown in [0, 2, 4, u16::MAX] {
            assert_eq!(it.tunnel(InterfaceId(unknown)), Err(Drop::NoRoute));
            assert_eq!(it.reverse_path(InterfaceId(unknown)), ReversePath::Strict);
        }
        assert_eq!((it.of(TunnelId(71)), it.of(TunnelId(5))), (Some(InterfaceId(1)), None));
    }

    #[test]
    fn a_number_or_a_tunnel_stands_once_and_the_list_has_an_end() {
        let mut store = Store::default();
        assert!(store.add(interface(1, 1)));
        assert!(!store.add(interface(1, 2)) && !store.add(interface(2, 1)));
        store.keep();
        for n in 2..=u16::try_from(MAX_INTERFACES).unwrap() {
            assert!(store.add(interface(n, n.into())));
        }
        assert!(!store.add(interface(5000, 5000)));
        store.restore();
        assert_eq!(store.list().len(), 1);
    }
}
