//! Selectors from text.

use ravelin_wire::{AddrRange, PortRange, Prefix, Selector};

/// All protocols between two prefixes.
pub fn selector(local: &str, remote: &str) -> Selector {
    let range = |text: &str| AddrRange::from(text.parse::<Prefix>().expect("a prefix"));
    Selector {
        local: range(local),
        remote: range(remote),
        protocol: None,
        local_ports: PortRange::ANY,
        remote_ports: PortRange::ANY,
    }
}

/// The same, seen from the other end.
pub fn mirror(s: Selector) -> Selector {
    Selector {
        local: s.remote,
        remote: s.local,
        protocol: s.protocol,
        local_ports: s.remote_ports,
        remote_ports: s.local_ports,
    }
}
