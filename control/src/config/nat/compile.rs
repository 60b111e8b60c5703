//! Rules of address translation as the data plane is told them.

use crate::config::PeerSelectors;
use crate::config::model::{Config, DeviceName};
use ravelin_ring::msg::{NatKind, NatRule, PortId, TableCommand, VrfId, VrfPart};
use ravelin_wire::AddrRange;

impl Config {
    /// For the data plane: the list whole, and the bounds of MSS. A rule with several networks is one there for each.
    pub fn nat_commands(&self, peers: &PeerSelectors) -> Vec<TableCommand> {
        let mut out = vec![TableCommand::ClearNat, TableCommand::SetNat(self.translation)];
        for tunnel in &self.tunnels {
            let Some(mss) = tunnel.travel.tcp_mss else { continue };
            let own = peers.get(&tunnel.id).into_iter().flatten().map(|(peer, _)| *peer);
            out.extend(
                core::iter::once(tunnel.id).chain(own).map(|tunnel| TableCommand::AddMss { tunnel, mss }),
            );
        }
        for rule in &self.nat {
            let vrf = self.vrf(self.vrf_of_nat(rule));
            let place = |name: &DeviceName| self.ports.iter().position(|p| p.name == *name);
            let port = rule.port.as_ref().and_then(place).and_then(|n| u16::try_from(n).ok()).map(PortId);
            let remotes = || {
                let tunnel = rule.tunnel.as_ref().and_then(|name| self.tunnel(name))?;
                let v4 = |range: &AddrRange| range.start().is_ipv4();
                Some(tunnel.selectors.iter().map(|s| s.selector.remote).filter(v4).collect::<Vec<_>>())
            };
            // A rule for a tunnel is for what goes there, or comes from there.
            let (mut from, mut to) = (rule.from.clone(), rule.to.clone());
            let any = [AddrRange::ANY_V4];
            match rule.kind {
                NatKind::Source | NatKind::Static if to == any => to = remotes().unwrap_or(to),
                NatKind::Destination if from == any => from = remotes().unwrap_or(from),
                NatKind::Source | NatKind::Static | NatKind::Destination | NatKind::Exempt => {}
            }
            for (from, to) in from.iter().flat_map(|from| to.iter().map(move |to| (*from, *to))) {
                let rule = NatRule {
                    kind: rule.kind,
                    from,
                    to,
                    target: rule.target.unwrap_or(AddrRange::ANY_V4),
                    protocols: rule.protocols,
                    ports: rule.ports,
                    target_ports: rule.target_ports,
                    port,
                    tunnel: rule.tunnel.is_some(),
                    own: rule.own,
                    line: rule.line,
                };
                out.push(match vrf {
                    VrfId::MAIN => TableCommand::AddNat(rule),
                    vrf => TableCommand::InVrf { vrf, part: VrfPart::Nat(rule) },
                });
            }
        }
        out
    }
}
