//! Tables of the data plane and routes of the kernel, as the configuration asks for them.
//!
//! Decides: what goes out under one generation; which source address the host's own packets get.
//! Reads: configuration, the host's addresses. Writes: commands for the data plane's main thread, in order.
//! Never: publishes a part of a change.

use super::devices::Numbers;
use crate::config::{Config, PeerSelectors, Tunnel, TunnelSelector};
use crate::kernel::{ProtectedRoute, ProtectedRoutes, prefixes_of};
use ravelin_ring::msg::{Generation, TableCommand, VrfId, VrfPart};
use ravelin_wire::Prefix;
use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

/// Policies, protected ranges, devices of tunnels and gateway addresses, each list whole.
pub(super) fn of_config(config: &Config, peers: &PeerSelectors, numbers: &Numbers) -> Vec<TableCommand> {
    let ends = config.gre.iter().map(|gre| gre.local);
    let gateway: BTreeSet<IpAddr> = config.tunnels.iter().flat_map(Tunnel::locals).chain(ends).collect();
    let mut out = policies(config, peers);
    out.push(TableCommand::ClearProtectedRanges);
    out.extend(config.protected().into_iter().map(TableCommand::AddProtectedRange));
    for vrf in &config.vrfs {
        let ranges = config.protected_in(vrf.id()).into_iter().map(VrfPart::Protected);
        out.extend(ranges.map(|part| TableCommand::InVrf { vrf: vrf.id(), part }));
    }
    out.extend(numbers.commands(config));
    out.extend(config.admissions());
    out.push(TableCommand::ClearGatewayAddresses);
    out.extend(gateway.into_iter().map(TableCommand::AddGatewayAddress));
    out
}

/// The policies, NAT rules and bounds of MSS alone.
pub(super) fn policies(config: &Config, peers: &PeerSelectors) -> Vec<TableCommand> {
    let all = config.policies_with(peers).into_iter().map(TableCommand::AddPolicy);
    let clear = core::iter::once(TableCommand::ClearPolicies);
    let others = config.vrfs.iter().map(crate::config::Vrf::id).flat_map(|vrf| {
        let all = config.policies_in(vrf, peers).into_iter().map(VrfPart::Policy);
        all.map(move |part| TableCommand::InVrf { vrf, part })
    });
    clear.chain(all).chain(others).chain(config.filters(peers)).chain(config.nat_commands(peers)).collect()
}

/// The routes of table 4500. `addresses` are the host's; `given` those that a tunnel got from its peer: who asks for
/// one sends from no other.
pub(super) fn protected_routes<'g>(
    config: &Config,
    addresses: &BTreeSet<IpAddr>,
    given: impl Fn(&Tunnel) -> &'g [IpAddr],
) -> ProtectedRoutes {
    let mut out = ProtectedRoutes::new();
    let selectors = || config.selectors();
    for tunnel in config.policy_tunnels(VrfId::MAIN) {
        for TunnelSelector { selector, .. } in &tunnel.selectors {
            let fits = |a: &&IpAddr| selector.local.contains(**a);
            let source = match tunnel.exchanges.addresses.is_empty() {
                true => addresses.iter().find(fits).copied(),
                false => given(tunnel).iter().filter(|a| addresses.contains(a)).find(fits).copied(),
            };
            for prefix in prefixes_of(&selector.remote) {
                // The first selector of a prefix is the one whose policy matches first.
                out.entry(prefix).or_insert(ProtectedRoute::Tunnel { source });
            }
        }
    }
    let remotes: BTreeSet<Prefix> = out.keys().copied().collect();
    // Only the prefixes that hold the address can be in the set: one look per length, whatever their number.
    let wider = |local: &Prefix| {
        (0..local.len()).any(|len| Prefix::of(local.addr(), len).is_ok_and(|p| remotes.contains(&p)))
    };
    for selector in selectors() {
        for local in prefixes_of(&selector.local) {
            if wider(&local) {
                out.entry(local).or_insert(ProtectedRoute::Throw);
            }
        }
    }
    out
}

/// Commands on their way to the data plane; the ring takes them as it has room. Bounded by what the kernel and the
/// configuration hold.
#[derive(Debug)]
pub(super) struct Queue {
    commands: VecDeque<TableCommand>,
    last: u64,
    /// Commits on their way or not yet answered, and whether they bring the policies.
    open: VecDeque<(Generation, bool)>,
    /// The newest policies were refused: older ones are in force.
    refused: bool,
}

impl Queue {
    pub(super) fn new() -> Self {
        // Of milliseconds since 1970: higher than any generation of a control process before this one.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let last = u64::try_from(now.as_millis()).unwrap_or(0);
        Self { commands: VecDeque::new(), last, open: VecDeque::new(), refused: false }
    }

    /// One generation of these changes.
    pub(super) fn publish(&mut self, commands: Vec<TableCommand>) -> Generation {
        self.last += 1;
        let generation = Generation(self.last);
        self.open.push_back((generation, commands.contains(&TableCommand::ClearPolicies)));
        self.commands.extend(commands);
        self.commands.push_back(TableCommand::Commit { generation });
        generation
    }

    pub(super) fn front(&self) -> Option<&TableCommand> {
        self.commands.front()
    }

    pub(super) fn pop(&mut self) {
        self.commands.pop_front();
    }

    /// An answer to a commit; the ones before it are answered by it too.
    pub(super) fn answered(&mut self, generation: Generation, in_force: bool) {
        while let Some((_, policies)) = self.open.pop_front_if(|(g, _)| *g <= generation) {
            if policies {
                self.refused = !in_force;
            }
        }
    }

    /// What the configuration says is what the workers do: only then may IKE begin, and old routes go.
    pub(super) fn in_force(&self) -> bool {
        self.open.is_empty() && !self.refused
    }

    /// The data plane is another one.
    pub(super) fn clear(&mut self) {
        self.commands.clear();
        self.open.clear();
        self.refused = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn config(selectors: &str) -> Config {
        let text = format!(
            r#"
[[port]]
name = "wan0"
[control]
secrets = "secrets.toml"
[[tunnel]]
name = "a"
local = "198.18.0.1"
remote = "198.18.0.2"
local-id = "a.lab"
remote-id = "b.lab"
selectors = [{selectors}]
"#
        );
        Config::parse(Path::new("test.toml"), &text).unwrap_or_else(|e| panic!("{e}"))
    }

    fn p(s: &str) -> Prefix {
        s.parse().unwrap()
    }

    #[test]
    fn the_hosts_own_packets_get_an_address_that_the_tunnel_covers() {
        let c = config(r#"{ local = "10.1.0.0/24", remote = "10.2.0.0/24" }"#);
        let addresses = ["198.18.0.1".parse().unwrap(), "10.1.0.1".parse().unwrap()].into();
        let routes = protected_routes(&c, &addresses, |_| &[]);
        let source = Some("10.1.0.1".parse().unwrap());
        assert_eq!(routes, [(p("10.2.0.0/24"), ProtectedRoute::Tunnel { source })].into());
        assert_eq!(
            protected_routes(&c, &BTreeSet::new(), |_| &[])[&p("10.2.0.0/24")],
            ProtectedRoute::Tunnel { source: None }
        );
    }

    // RFC 7296 §2.19: whoever asked for an address sends from it, once the host has it, and from no other.
    #[test]
    fn the_hosts_own_packets_get_the_address_that_the_peer_gave() {
        let mut c = config(r#"{ local = "0.0.0.0/0", remote = "10.2.0.0/24" }"#);
        let mut tunnel = c.tunnels[0].clone();
        tunnel.exchanges.addresses = vec!["0.0.0.0".parse().unwrap()];
        c.tunnels = [tunnel].into_iter().collect();
        let (own, got): (IpAddr, IpAddr) = ("198.18.0.1".parse().unwrap(), "10.3.0.8".parse().unwrap());
        let given = [got];
        let source = |addresses: &[IpAddr]| {
            let addresses = addresses.iter().copied().collect();
            protected_routes(&c, &addresses, |_| &given)[&p("10.2.0.0/24")].clone()
        };
        assert_eq!(source(&[own]), ProtectedRoute::Tunnel { source: None });
        assert_eq!(source(&[own, got]), ProtectedRoute::Tunnel { source: Some(got) });
    }

    #[test]
    fn with_everything_remote_the_local_network_stays_local() {
        let c = config(r#"{ local = "10.1.0.0/24", remote = "0.0.0.0/0" }"#);
        let routes = protected_routes(&c, &BTreeSet::new(), |_| &[]);
        assert_eq!(routes[&p("0.0.0.0/0")], ProtectedRoute::Tunnel { source: None });
        assert_eq!(routes[&p("10.1.0.0/24")], ProtectedRoute::Throw);
        assert_eq!(routes.len(), 2);
    }

    #[test]
    fn generations_rise_and_one_answer_covers_those_before() {
        let mut q = Queue::new();
        let first = q.publish(vec![]);
        let second = q.publish(vec![]);
        assert!(second > first);
        assert!(!q.in_force());
        q.answered(second, true);
        assert!(q.in_force());
        assert!(Queue::new().publish(vec![]) > Generation(1_600_000_000_000));
    }
    // A change that came half would let IKE begin, or old routes go, without its policies.
    #[test]
    fn refused_policies_are_not_in_force_until_others_are() {
        let mut q = Queue::new();
        let policies = q.publish(vec![TableCommand::ClearPolicies]);
        let routes = q.publish(vec![TableCommand::ClearRoutes]);
        q.answered(policies, false);
        q.answered(routes, true);
        assert!(!q.in_force(), "the routes are, the policies are not");
        let again = q.publish(vec![TableCommand::ClearPolicies]);
        q.answered(again, true);
        assert!(q.in_force());
    }
}
