//! Traffic selectors: offering and narrowing (RFC 7296 §2.9).
//!
//! Decides: which selector pairs both sides want. Never: widens what the configuration names.

use crate::payload::TrafficSelector;
use ravelin_wire::{PortRange, Selector};

/// Selectors of one child SA, however the two lists multiply.
const MAX_SELECTORS: usize = 64;

/// Our side and the peer's side of the selectors, each without repetition.
pub(crate) fn sides(selectors: &[Selector]) -> (Vec<TrafficSelector>, Vec<TrafficSelector>) {
    let mut local = Vec::new();
    let mut remote = Vec::new();
    for s in selectors {
        let l = TrafficSelector { protocol: s.protocol, addrs: s.local, ports: Some(s.local_ports) };
        let r = TrafficSelector { protocol: s.protocol, addrs: s.remote, ports: Some(s.remote_ports) };
        push_new(&mut local, l);
        push_new(&mut remote, r);
    }
    // The count is one byte on the wire.
    local.truncate(255);
    remote.truncate(255);
    (local, remote)
}

/// What is left of `ours` when the peer's lists (the packets it wants to take from us, and to send us) are laid over it.
pub(crate) fn narrow(
    ours: &[Selector],
    local: &[TrafficSelector],
    remote: &[TrafficSelector],
) -> Vec<Selector> {
    let mut out = Vec::new();
    for s in ours {
        for l in local {
            for r in remote {
                if let Some(common) = intersect(s, l, r)
                    && out.len() < MAX_SELECTORS
                {
                    push_new(&mut out, common);
                }
            }
        }
    }
    // One that another covers says nothing new.
    let all = out.clone();
    out.retain(|s| !all.iter().any(|t| t != s && covers(t, s)));
    out
}

/// Every selector of an answer lies within one that was asked for.
pub(crate) fn within(answer: &[TrafficSelector], asked: &[TrafficSelector]) -> bool {
    answer.iter().all(|a| {
        asked.iter().any(|b| {
            b.addrs.covers(&a.addrs)
                && (b.protocol.is_none() || b.protocol == a.protocol)
                && match (a.ports, b.ports) {
                    (Some(a), Some(b)) => b.covers(&a),
                    (None, Some(b)) => b == PortRange::ANY,
                    (a, None) => a.is_none(),
                }
        })
    })
}

fn push_new<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

fn intersect(s: &Selector, l: &TrafficSelector, r: &TrafficSelector) -> Option<Selector> {
    let protocol = common_protocol(common_protocol(s.protocol, l.protocol)?, r.protocol)?;
    let found = Selector {
        local: s.local.intersect(&l.addrs)?,
        remote: s.remote.intersect(&r.addrs)?,
        protocol,
        local_ports: s.local_ports.intersect(&l.ports?)?,
        remote_ports: s.remote_ports.intersect(&r.ports?)?,
    };
    // Ports without a protocol mean nothing.
    let portless = found.local_ports == PortRange::ANY && found.remote_ports == PortRange::ANY;
    (protocol.is_some() || portless).then_some(found)
}

/// Outer `None`: nothing in common. Inner `None`: any.
#[allow(clippy::option_option)] // the two say different things, and the type stays in this file
fn common_protocol(a: Option<u8>, b: Option<u8>) -> Option<Option<u8>> {
    match (a, b) {
        (None, other) | (other, None) => Some(other),
        (Some(a), Some(b)) => (a == b).then_some(Some(a)),
    }
}

pub(crate) fn covers(a: &Selector, b: &Selector) -> bool {
    a.local.covers(&b.local)
        && a.remote.covers(&b.remote)
        && (a.protocol.is_none() || a.protocol == b.protocol)
        && a.local_ports.covers(&b.local_ports)
        && a.remote_ports.covers(&b.remote_ports)
}

/// For the operator: what each side wanted.
pub(crate) fn explain(ours: &[Selector], local: &[TrafficSelector], remote: &[TrafficSelector]) -> String {
    let (our_local, our_remote) = sides(ours);
    format!(
        "local: wanted {}, got {}; remote: wanted {}, got {}",
        list(&our_local),
        list(local),
        list(&our_remote),
        list(remote)
    )
}

fn list(selectors: &[TrafficSelector]) -> String {
    let mut names: Vec<String> = selectors.iter().take(8).map(one).collect();
    if selectors.len() > 8 {
        names.push(format!("and {} more", selectors.len() - 8));
    }
    if names.is_empty() { "nothing".to_owned() } else { names.join(" ") }
}

fn one(ts: &TrafficSelector) -> String {
    let addrs = match ts.addrs.as_prefix() {
        Some(prefix) => prefix.to_string(),
        None => format!("{}-{}", ts.addrs.start(), ts.addrs.end()),
    };
    let protocol = ts.protocol.map(|p| format!("[{p}")).unwrap_or_default();
    let ports = match ts.ports {
        Some(PortRange::ANY) => String::new(),
        Some(p) => format!("/{}-{}", p.start(), p.end()),
        None => "/opaque".to_owned(),
    };
    let close = if ts.protocol.is_some() { "]" } else { "" };
    format!("{addrs}{protocol}{ports}{close}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ravelin_testkit::selector;
    use ravelin_wire::{AddrRange, Prefix};

    fn range(p: &str) -> AddrRange {
        p.parse::<Prefix>().unwrap().into()
    }

    fn ts(p: &str) -> TrafficSelector {
        TrafficSelector { protocol: None, addrs: range(p), ports: Some(PortRange::ANY) }
    }

    // R126: what one side calls local the other calls remote
    #[test]
    fn equal_selectors_stay_as_they_are() {
        let ours = [selector("10.1.0.0/24", "10.2.0.0/24")];
        assert_eq!(narrow(&ours, &[ts("10.1.0.0/24")], &[ts("10.2.0.0/24")]), ours);
    }

    #[test]
    fn narrowing_takes_what_both_want() {
        let ours = [selector("10.1.0.0/24", "10.2.0.0/16"), selector("10.3.0.0/24", "10.2.0.0/16")];
        let got = narrow(&ours, &[ts("0.0.0.0/0")], &[ts("10.2.7.0/24")]);
        assert_eq!(got, [selector("10.1.0.0/24", "10.2.7.0/24"), selector("10.3.0.0/24", "10.2.7.0/24")]);
        assert!(narrow(&ours, &[ts("10.9.0.0/24")], &[ts("10.2.7.0/24")]).is_empty());
        assert!(narrow(&ours, &[ts("2001:db8::/32")], &[ts("10.2.7.0/24")]).is_empty());
    }

    #[test]
    fn protocols_and_ports_narrow_too() {
        let ours = [selector("10.1.0.0/24", "10.2.0.0/24")];
        let http = TrafficSelector {
            protocol: Some(6),
            ports: Some(PortRange::new(80, 80).unwrap()),
            ..ts("10.1.0.0/24")
        };
        let tcp = TrafficSelector { protocol: Some(6), ..ts("10.2.0.0/24") };
        let got = narrow(&ours, &[http], &[tcp]);
        assert_eq!(got.len(), 1);
        assert_eq!((got[0].protocol, got[0].local_ports.start()), (Some(6), 80));
        // Another protocol on the two sides has nothing in common; ports without protocol neither.
        let udp = TrafficSelector { protocol: Some(17), ..ts("10.2.0.0/24") };
        assert!(narrow(&ours, &[http], &[udp]).is_empty());
        let portful = TrafficSelector { protocol: None, ..http };
        assert!(narrow(&ours, &[portful], &[ts("10.2.0.0/24")]).is_empty());
        let opaque = TrafficSelector { ports: None, ..tcp };
        assert!(narrow(&ours, &[opaque], &[tcp]).is_empty());
    }

    #[test]
    fn an_answer_must_lie_within_the_question() {
        assert!(within(&[ts("10.1.0.0/25")], &[ts("10.1.0.0/24")]));
        assert!(!within(&[ts("10.1.0.0/23")], &[ts("10.1.0.0/24")]));
        let tcp = TrafficSelector { protocol: Some(6), ..ts("10.1.0.0/24") };
        assert!(within(&[tcp], &[ts("10.1.0.0/24")]));
        assert!(!within(&[ts("10.1.0.0/24")], &[tcp]));
    }

    #[test]
    fn covered_selectors_are_left_out() {
        let ours = [selector("10.1.0.0/24", "10.2.0.0/24")];
        let got = narrow(&ours, &[ts("10.1.0.0/25"), ts("10.1.0.0/24")], &[ts("10.2.0.0/24")]);
        assert_eq!(got, ours);
    }
}
