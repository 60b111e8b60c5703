//! The configuration as the other parts want it: the data plane's set-up, the SPD, the engine's connections.
//!
//! Decides: order of policies, numbers of tunnels. Reads: the checked model. Writes: nothing.
//! Never: fails, except for a tunnel without a secret or with files of keys that cannot be used.

use core::time::Duration;
use ravelin_ike::config::{Child, ChildId, Connection, ConnectionId, Exchanges, Realm, Start};
use ravelin_ring::msg::{Action, Policy, TableCommand, TunnelId, VrfId};
use ravelin_ring::setup::{PortSetup, Setup};
use ravelin_wire::{AddrRange, PortRange, Selector};
use std::collections::{BTreeMap, BTreeSet};

use super::diagnostic::Errors;
use super::model::{ChildSettings, Config, DefaultPolicy, Encapsulation, Tunnel};
use crate::secrets::{Keys, Proofs, Secrets};

/// Of each tunnel for any address: its peers' children and what they may send.
pub type PeerSelectors = BTreeMap<TunnelId, Vec<(TunnelId, Selector)>>;

impl Config {
    /// What the data plane is told once.
    pub fn setup(&self) -> Setup {
        let plane = &self.dataplane;
        Setup {
            ports: self
                .ports
                .iter()
                .map(|port| PortSetup {
                    name: port.name.to_string(),
                    attach: port.attach,
                    reverse_path: port.reverse_path,
                    vpn_only: port.admission.is_some(),
                })
                .collect(),
            cores: plane.cores.clone(),
            frames: plane.frames,
            frame_size: plane.frame_size,
            ring_size: plane.ring_size,
            huge_pages: plane.huge_pages,
            busy_poll_us: plane.busy_poll_us,
            tun: plane.tun.to_string(),
            udp_encap_port: plane.udp_encapsulation_port,
            max_sas: plane.max_sas,
        }
    }

    /// The SPD: tunnels in file order, their selectors in theirs, then the default. Before a selector whose remote side
    /// holds its own local one (0.0.0.0/0), what passes between two local addresses is exempt.
    pub fn policies(&self) -> Vec<Policy> {
        self.policies_with(&PeerSelectors::new())
    }

    /// [`Self::policies`], with what peers of tunnels for any address have, each before the tunnel itself: what none of
    /// them has is the tunnel's, which has no SA.
    pub fn policies_with(&self, peers: &PeerSelectors) -> Vec<Policy> {
        self.policies_in(VrfId::MAIN, peers)
    }

    /// Those of a VRF.
    pub fn policies_in(&self, vrf: VrfId, peers: &PeerSelectors) -> Vec<Policy> {
        let mut exempt = BTreeSet::new();
        let protect = self.policy_tunnels(vrf).flat_map(|tunnel| {
            let hold = tunnel.start == Start::OnTraffic;
            let line = tunnel.line;
            let own = peers.get(&tunnel.id).into_iter().flatten();
            let own = own.map(move |(peer, s)| (*s, Action::Protect(*peer), false, line));
            let all = tunnel.selectors.iter();
            own.chain(all.map(move |s| (s.selector, Action::Protect(tunnel.id), hold, s.line)))
        });
        let protect = protect.flat_map(|entry| {
            let local = entry.0.local;
            let first = wider(&entry.0.remote, &local) && exempt.insert((local.start(), local.end()));
            let bypass = (first && !self.is_remote(vrf, &local)).then(|| {
                let between = Selector { remote: local, ..any_selector(local) };
                (between, Action::Bypass, false, entry.3)
            });
            bypass.into_iter().chain([entry])
        });
        let action = match self.control.default_policy {
            DefaultPolicy::Bypass => Action::Bypass,
            DefaultPolicy::Discard => Action::Discard,
        };
        let default = [AddrRange::ANY_V4, AddrRange::ANY_V6].map(|any| (any_selector(any), action, false, 0));
        // Its ends are in the main VRF.
        let gre = self.gre_policies().filter(|_| vrf == VrfId::MAIN);
        (0u32..)
            .zip(protect.chain(gre).chain(default))
            .map(|(order, (selector, action, hold, line))| Policy { order, selector, action, hold, line })
            .collect()
    }

    /// What XDP steers besides ESP: every remote selector's addresses, each once.
    pub fn protected(&self) -> Vec<AddrRange> {
        self.protected_in(VrfId::MAIN)
    }

    /// On the ports of a VRF.
    pub fn protected_in(&self, vrf: VrfId) -> Vec<AddrRange> {
        let mut seen = BTreeSet::new();
        self.selectors_in(vrf).map(|s| s.remote).filter(|r| seen.insert((r.start(), r.end()))).collect()
    }

    /// A remote network lies in this local one, or is it: what comes from there must come by its tunnel.
    fn is_remote(&self, vrf: VrfId, local: &AddrRange) -> bool {
        self.selectors_in(vrf).any(|s| s.remote.intersect(local).is_some() && !wider(&s.remote, local))
    }

    /// Those that are policies of the main VRF.
    pub fn selectors(&self) -> impl Iterator<Item = &Selector> {
        self.selectors_in(VrfId::MAIN)
    }

    pub fn selectors_in(&self, vrf: VrfId) -> impl Iterator<Item = &Selector> {
        self.policy_tunnels(vrf).flat_map(|tunnel| &tunnel.selectors).map(|s| &s.selector)
    }

    /// Tunnels whose selectors are policies of a VRF.
    pub fn policy_tunnels(&self, vrf: VrfId) -> impl Iterator<Item = &Tunnel> {
        self.tunnels.iter().filter(move |t| t.is_policy_based() && self.inside(t) == vrf)
    }

    /// Where what goes through a tunnel belongs (R132).
    pub fn inside(&self, tunnel: &Tunnel) -> VrfId {
        self.vrf(tunnel.vrf.as_deref())
    }

    /// For the IKE engine. A tunnel without a secret, or with a key that cannot be used, is an error that names its
    /// line.
    pub fn connections(&self, secrets: &Secrets) -> Result<Vec<Connection>, Errors> {
        secrets.check(self)?;
        let keys = Keys::load(self)?;
        let children = |of: &Tunnel| {
            let further = self.tunnels.iter().filter(|t| t.parent == Some(of.id)).map(child);
            core::iter::once(child(of)).chain(further).collect()
        };
        let towards = |tunnel: &Tunnel| {
            let mut one = connection(tunnel, keys.of(tunnel, secrets)?, children(tunnel))?;
            one.exchanges.realm = Realm(self.outside(tunnel).0);
            Some(one)
        };
        let one = |tunnel: &Tunnel| {
            let mut all = tunnel.towards().filter_map(|t| towards(&t));
            let mut first = all.next()?;
            first.exchanges.backups = all.collect();
            Some(first)
        };
        Ok(self.tunnels.iter().filter(|t| t.parent.is_none() && t.manual.is_none()).filter_map(one).collect())
    }

    /// What comes out of tunnels is asked for beside the selectors of their SAs; of those for any address, out of each peer's.
    /// Where a filter is or was, tunnels without one say that all may pass: an SA that was made for a filter waits for its list.
    pub fn filters(&self, peers: &PeerSelectors) -> Vec<TableCommand> {
        let mut out = Vec::new();
        for tunnel in self.tunnels.iter().filter(|_| self.filtered) {
            let own = peers.get(&tunnel.id).into_iter().flatten().map(|(peer, _)| *peer);
            let all: BTreeSet<TunnelId> = core::iter::once(tunnel.id).chain(own).collect();
            let list: Vec<Selector> = match tunnel.filter.as_slice() {
                [] => [AddrRange::ANY_V4, AddrRange::ANY_V6].map(any_selector).to_vec(),
                some => some.iter().map(|s| s.selector).collect(),
            };
            let add = |tunnel| list.iter().map(move |&selector| TableCommand::AddFilter { tunnel, selector });
            out.extend(all.into_iter().flat_map(add));
        }
        out
    }

    /// What goes into the SA specs of this tunnel.
    pub fn child_settings(&self, tunnel: TunnelId) -> Option<ChildSettings> {
        let tunnel = self.tunnel_by_id(tunnel)?;
        let (outside, inside) = (self.outside(tunnel), self.inside(tunnel));
        Some(ChildSettings { outside, inside, ..tunnel.settings() })
    }

    pub fn tunnel(&self, name: &str) -> Option<&Tunnel> {
        self.tunnels.by_name(name)
    }

    pub fn tunnel_by_id(&self, id: TunnelId) -> Option<&Tunnel> {
        self.tunnels.by_id(id)
    }

    /// Gives every tunnel that `old` has under the same name its number from there, and new ones numbers which `old`
    /// does not use: a reload must not give a running SA to another tunnel.
    pub fn keep_ids(&mut self, old: &Self) {
        self.filtered |= old.filtered;
        let used: BTreeSet<u32> = old.tunnels.iter().map(|tunnel| tunnel.id.0).collect();
        let mut free = (0u32..).filter(|id| !used.contains(id));
        self.tunnels.renumber(|tunnel| {
            let kept = old.tunnel(&tunnel.name).map(|before| before.id);
            kept.or_else(|| free.next().map(TunnelId))
        });
    }
}

impl Tunnel {
    /// All that it says itself: in which VRFs it is, [`Config::child_settings`] knows.
    pub fn settings(&self) -> ChildSettings {
        ChildSettings {
            tunnel: self.id,
            filtered: !self.filter.is_empty(),
            outside: VrfId::MAIN,
            inside: VrfId::MAIN,
            replay_window: self.replay_window,
            shared: self.shared,
            tfc: self.tfc,
            tunnel_mtu: self.tunnel_mtu,
            outer_df: self.df,
            travel: self.travel,
            jitter_percent: self.jitter_percent,
            bytes: self.bytes,
            packets: self.packets,
        }
    }

    pub fn connection_id(&self) -> ConnectionId {
        ConnectionId(self.parent.unwrap_or(self.id).0)
    }

    pub fn child_id(&self) -> ChildId {
        ChildId(self.id.0)
    }

    fn jitter(&self, of: Duration) -> Duration {
        of * u32::from(self.jitter_percent) / 100
    }
}

fn connection(tunnel: &Tunnel, proofs: Proofs, children: Vec<Child>) -> Option<Connection> {
    Some(Connection {
        id: tunnel.connection_id(),
        name: tunnel.name.clone(),
        local: Some(tunnel.local),
        remote: tunnel.remote,
        local_id: proofs.local_id.unwrap_or_else(|| tunnel.local_id.clone()),
        remote_id: tunnel.remote_id.clone(),
        local_auth: proofs.local,
        remote_auth: proofs.remote,
        ppk: proofs.ppk,
        proposals: tunnel.ike_proposals.clone(),
        children,
        pool: tunnel.pool.clone(),
        lifetime: tunnel.ike_lifetime,
        jitter: tunnel.jitter(tunnel.ike_lifetime),
        dpd_delay: tunnel.dpd,
        start: tunnel.start,
        force_udp: tunnel.encapsulation == Encapsulation::Udp,
        fragment_size: tunnel.ike_fragment_size,
        exchanges: Exchanges {
            backups: Vec::new(),
            return_to_first: tunnel.exchanges.return_to_first,
            reauthentication: tunnel.exchanges.reauthentication,
            mobike: tunnel.exchanges.mobike,
            redirect: tunnel.exchanges.redirect,
            childless: tunnel.exchanges.childless,
            resumption: tunnel.exchanges.resumption,
            retransmissions: tunnel.exchanges.retransmissions,
            addresses: tunnel.exchanges.addresses.clone(),
            remote_port: tunnel.exchanges.remote_port,
            redirect_to: tunnel.exchanges.redirect_to,
            own_addresses: tunnel.locals().collect(),
            realm: Realm::default(),
        },
    })
}

fn child(tunnel: &Tunnel) -> Child {
    Child {
        id: tunnel.child_id(),
        name: tunnel.name.clone(),
        selectors: tunnel.selectors.iter().map(|s| s.selector).collect(),
        mode: tunnel.mode,
        proposals: tunnel.esp_proposals.clone(),
        lifetime: tunnel.lifetime,
        hard_lifetime: tunnel.hard_lifetime,
        jitter: tunnel.jitter(tunnel.lifetime),
        // How many workers there are is the data plane's to say.
        resources: if tunnel.per_worker { u16::MAX } else { 1 },
    }
}

/// Whether `wide` holds all of `range`, and more.
fn wider(wide: &AddrRange, range: &AddrRange) -> bool {
    wide.covers(range) && wide != range
}

fn any_selector(any: AddrRange) -> Selector {
    Selector {
        local: any,
        remote: any,
        protocol: None,
        local_ports: PortRange::ANY,
        remote_ports: PortRange::ANY,
    }
}
