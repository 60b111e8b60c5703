//! A hub and many spokes: addresses, identities and configuration of both ends. The spokes live in one process.
//!
//! Decides: numbers. Each spoke has an address and an identity of its own, as peers have.

use super::{GroupName, pki};
use crate::conf::{Proof, Tunnel};
use std::net::Ipv4Addr;

pub(super) const HUB: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The spokes' outer addresses and inner networks; both hold more than the bench asks for.
pub(super) const SPOKES: &str = "10.64.0.0/16";
const FIRST_SPOKE: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 1);
const FIRST_NETWORK: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 1);
const HUB_NETWORK: &str = "10.1.0.0/16";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// Has one tunnel to each spoke and waits for them.
    Hub,
    /// All spokes, which begin.
    Spokes,
}

fn nth(first: Ipv4Addr, n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(first.to_bits() + n)
}

pub(super) fn tunnels(end: End, group: GroupName, proof: &Proof, count: u32) -> Vec<Tunnel> {
    (0..count).map(|n| tunnel(end, group, proof, n)).collect()
}

fn tunnel(end: End, group: GroupName, proof: &Proof, n: u32) -> Tunnel {
    let (spoke, network) = (nth(FIRST_SPOKE, n), format!("{}/32", nth(FIRST_NETWORK, n)));
    let spoke_id = match proof {
        Proof::Psk => format!("s{n}.bench"),
        Proof::Certificate { .. } => pki::identity(End::Spokes).to_owned(),
    };
    let (name, hub_id) = (format!("t{n}"), pki::identity(End::Hub).to_owned());
    let (ike, proof) = (group.proposal(), proof.clone());
    match end {
        End::Hub => Tunnel {
            name,
            local: HUB,
            remote: spoke,
            local_id: hub_id,
            remote_id: spoke_id,
            selector: (HUB_NETWORK.to_owned(), network),
            start: "respond",
            ike,
            proof,
        },
        End::Spokes => Tunnel {
            name,
            local: spoke,
            remote: HUB,
            local_id: spoke_id,
            remote_id: hub_id,
            selector: (network, HUB_NETWORK.to_owned()),
            start: "immediately",
            ike,
            proof,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_a_tunnel_mirror_each_other() {
        let [hub, spoke] =
            [End::Hub, End::Spokes].map(|end| tunnel(end, GroupName::X25519, &Proof::Psk, 300));
        assert_eq!((hub.local, hub.remote), (spoke.remote, spoke.local));
        assert_eq!((&hub.local_id, &hub.remote_id), (&spoke.remote_id, &spoke.local_id));
        assert_eq!((&hub.selector.0, &hub.selector.1), (&spoke.selector.1, &spoke.selector.0));
        assert_eq!(hub.remote, Ipv4Addr::new(10, 64, 1, 45));
    }
}
