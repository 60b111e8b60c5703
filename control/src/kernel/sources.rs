//! Rules that keep the kernel from forwarding clear packets which ought to have come by a tunnel (R41, R307).
//!
//! While an XDP program is attached to a port it takes every packet from a remote network; these rules are for the times
//! when none is: after boot, and after a stop. They stand before the rule of table 4500, in this order:
//!
//! | preference | rule | who passes it |
//! |---|---|---|
//! | 216 | `iif PORT goto 218`, for each port | packets that came by a port go on at 218 |
//! | 217 | `goto 220` | all others: the host's own, what comes out of the TUN device, other devices |
//! | 218 | `nop`, then `from LOCAL goto 220` where a wider remote network covers LOCAL | |
//! | 219 | `from REMOTE blackhole`, for each remote network | |
//!
//! Decides: which rules stand. Reads: the rules as they are. Writes: the difference; gates come last and go first, so that
//! no half of it catches the wrong packets. Never: touches a rule without our mark; concerns packets to the host's own
//! addresses, which the kernel looks up before all rules.

use super::failclosed::{ProtectedRoute, ProtectedRoutes, request};
use super::mirror::KernelError;
use super::{RULE_MARK, RULE_PREFERENCE};
use futures::TryStreamExt;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use ravelin_wire::Prefix;
use rtnetlink::{Handle, IpVersion};
use std::collections::BTreeSet;
use std::net::IpAddr;

const GATE: u32 = RULE_PREFERENCE - 4;
const PAST: u32 = RULE_PREFERENCE - 3;
const LOCAL: u32 = RULE_PREFERENCE - 2;
const REMOTE: u32 = RULE_PREFERENCE - 1;

/// One of our rules, as it is compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rule {
    ipv6: bool,
    kind: Kind,
}

/// In the order in which they are added.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Past,
    Landing,
    Local(Prefix),
    Remote(Prefix),
    Gate(String),
}

/// Brings the rules to what `wanted` asks for at these ports. Table 4500's own rule is there already: they lead to it.
pub(super) async fn apply(
    handle: &Handle,
    ports: &[String],
    wanted: &ProtectedRoutes,
) -> Result<(), KernelError> {
    let wanted = rules(ports, wanted);
    let present = present(handle).await?;
    for rule in present.difference(&wanted).filter(|r| matches!(r.kind, Kind::Gate(_))) {
        delete(handle, rule).await?;
    }
    for rule in wanted.difference(&present) {
        let add = RouteNetlinkMessage::NewRule(message(rule));
        request(handle, add, NLM_F_CREATE | NLM_F_EXCL).await?;
    }
    for rule in present.difference(&wanted).filter(|r| !matches!(r.kind, Kind::Gate(_))) {
        delete(handle, rule).await?;
    }
    Ok(())
}

/// Takes all of them out.
pub(super) async fn remove_all(handle: &Handle) -> Result<usize, KernelError> {
    let present = present(handle).await?;
    for rule in present.iter().rev() {
        delete(handle, rule).await?;
    }
    Ok(present.len())
}

fn rules(ports: &[String], wanted: &ProtectedRoutes) -> BTreeSet<Rule> {
    let mut out = BTreeSet::new();
    let remotes: BTreeSet<Prefix> = wanted
        .iter()
        .filter(|(_, route)| matches!(route, ProtectedRoute::Tunnel { .. }))
        .map(|(prefix, _)| *prefix)
        .collect();
    for prefix in &remotes {
        // One inside of another says nothing new.
        if wider(prefix).all(|p| !remotes.contains(&p)) {
            let ipv6 = prefix.addr().is_ipv6();
            out.insert(Rule { ipv6, kind: Kind::Remote(*prefix) });
            out.extend([Kind::Past, Kind::Landing].map(|kind| Rule { ipv6, kind }));
            out.extend(ports.iter().map(|port| Rule { ipv6, kind: Kind::Gate(port.clone()) }));
        }
    }
    for (prefix, route) in wanted {
        // A local network with a remote one inside stays closed: the rules know no longest match.
        let holds_remote = || inside(&remotes, prefix).next().is_some();
        if *route == ProtectedRoute::Throw && !holds_remote() {
            out.insert(Rule { ipv6: prefix.addr().is_ipv6(), kind: Kind::Local(*prefix) });
        }
    }
    out
}

/// The prefixes that hold this one.
fn wider(prefix: &Prefix) -> impl Iterator<Item = Prefix> {
    (0..prefix.len()).filter_map(|len| Prefix::of(prefix.addr(), len).ok())
}

/// Those of `set` that `prefix` holds: they stand side by side, from where it would stand.
fn inside<'a>(set: &'a BTreeSet<Prefix>, prefix: &'a Prefix) -> impl Iterator<Item = &'a Prefix> {
    set.range(prefix..).take_while(|p| prefix.contains(p.addr()))
}

async fn present(handle: &Handle) -> Result<BTreeSet<Rule>, KernelError> {
    let mut found = BTreeSet::new();
    for version in [IpVersion::V4, IpVersion::V6] {
        let mut all = handle.rule().get(version).execute();
        while let Some(rule) = all.try_next().await? {
            found.extend(rule_of(&rule));
        }
    }
    Ok(found)
}

async fn delete(handle: &Handle, rule: &Rule) -> Result<(), KernelError> {
    match request(handle, RouteNetlinkMessage::DelRule(message(rule)), 0).await {
        Err(KernelError::Netlink(rtnetlink::Error::NetlinkError(e))) if e.raw_code() == -libc::ENOENT => {
            Ok(())
        }
        other => other,
    }
}

fn message(rule: &Rule) -> RuleMessage {
    let mut m = RuleMessage::default();
    m.header.family = if rule.ipv6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let (preference, action) = match &rule.kind {
        Kind::Past => (PAST, goto(&mut m, RULE_PREFERENCE)),
        Kind::Landing => (LOCAL, RuleAction::Nop),
        Kind::Local(prefix) => {
            from(&mut m, prefix);
            (LOCAL, goto(&mut m, RULE_PREFERENCE))
        }
        Kind::Remote(prefix) => {
            from(&mut m, prefix);
            (REMOTE, RuleAction::Blackhole)
        }
        Kind::Gate(port) => {
            m.attributes.push(RuleAttribute::Iifname(port.clone()));
            (GATE, goto(&mut m, LOCAL))
        }
    };
    m.header.action = action;
    m.attributes.push(RuleAttribute::Priority(preference));
    m.attributes.push(RuleAttribute::Protocol(RouteProtocol::Other(RULE_MARK)));
    m
}

fn goto(m: &mut RuleMessage, preference: u32) -> RuleAction {
    m.attributes.push(RuleAttribute::Goto(preference));
    RuleAction::Goto
}

fn from(m: &mut RuleMessage, prefix: &Prefix) {
    m.header.src_len = prefix.len();
    if prefix.len() > 0 {
        m.attributes.push(RuleAttribute::Source(prefix.addr()));
    }
}

#[allow(clippy::wildcard_enum_match_arm)] // five of two dozen attributes
fn rule_of(m: &RuleMessage) -> Option<Rule> {
    let (mut mark, mut preference, mut port, mut source) = (0, 0, None, None);
    for attribute in &m.attributes {
        match attribute {
            RuleAttribute::Protocol(protocol) => mark = u8::from(*protocol),
            RuleAttribute::Priority(p) => preference = *p,
            RuleAttribute::Iifname(name) => port = Some(name.clone()),
            RuleAttribute::Source(addr) => source = Some(*addr),
            _ => {}
        }
    }
    if mark != RULE_MARK {
        return None;
    }
    let ipv6 = m.header.family == AddressFamily::Inet6;
    let any: IpAddr = if ipv6 { [0u16; 8].into() } else { [0; 4].into() };
    let prefix = Prefix::of(source.unwrap_or(any), m.header.src_len).ok();
    let kind = match (preference, m.header.action) {
        (GATE, _) => Kind::Gate(port?),
        (PAST, _) => Kind::Past,
        (LOCAL, RuleAction::Nop) => Kind::Landing,
        (LOCAL, _) => Kind::Local(prefix?),
        (REMOTE, _) => Kind::Remote(prefix?),
        _ => return None,
    };
    Some(Rule { ipv6, kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(wanted: &[(&str, bool)]) -> Vec<Kind> {
        let route = |tunnel| {
            if tunnel { ProtectedRoute::Tunnel { source: None } } else { ProtectedRoute::Throw }
        };
        let wanted = wanted.iter().map(|(p, tunnel)| (p.parse().unwrap(), route(*tunnel))).collect();
        rules(&["lan0".into()], &wanted).into_iter().map(|r| r.kind).collect()
    }

    fn p(s: &str) -> Prefix {
        s.parse().unwrap()
    }

    #[test]
    fn what_lies_inside_another_network_needs_no_rule_of_its_own() {
        let frame = [Kind::Past, Kind::Landing];
        let gate = Kind::Gate("lan0".into());
        let got = kinds(&[("10.2.0.0/16", true), ("10.2.3.0/24", true), ("10.4.0.0/24", true)]);
        let want = [Kind::Remote(p("10.2.0.0/16")), Kind::Remote(p("10.4.0.0/24")), gate.clone()];
        assert_eq!(got, [&frame[..], &want].concat());
        // All is remote but the local network.
        let got = kinds(&[("0.0.0.0/0", true), ("10.1.0.0/24", false)]);
        let want = [Kind::Local(p("10.1.0.0/24")), Kind::Remote(p("0.0.0.0/0")), gate.clone()];
        assert_eq!(got, [&frame[..], &want].concat());
        // A remote network inside the local one: what comes from there would pass as local.
        let got = kinds(&[("0.0.0.0/0", true), ("10.0.0.0/8", false), ("10.2.0.0/16", true)]);
        assert_eq!(got, [&frame[..], &[Kind::Remote(p("0.0.0.0/0")), gate]].concat());
        assert_eq!(kinds(&[]), []);
    }

    #[test]
    fn a_rule_is_read_as_it_was_written() {
        let wanted = [
            ("::/0".parse().unwrap(), ProtectedRoute::Tunnel { source: None }),
            ("fd00:1::/64".parse().unwrap(), ProtectedRoute::Throw),
            ("10.2.0.0/24".parse().unwrap(), ProtectedRoute::Tunnel { source: None }),
        ]
        .into();
        for rule in rules(&["lan0".into(), "wan0".into()], &wanted) {
            assert_eq!(rule_of(&message(&rule)), Some(rule));
        }
    }
}
