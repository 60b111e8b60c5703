//! What to do about a drop, in one sentence: for `ravelin explain`. docs/troubleshoot.md has the same at length.

use super::Drop;

impl Drop {
    /// A new reason says here what cures it; until then the manual has to do.
    #[allow(unreachable_patterns, clippy::wildcard_enum_match_arm)] // a reason may come before its cure
    pub const fn cure(self) -> &'static str {
        match self {
            Self::HelperLost | Self::HelpersBusy => {
                "a worker that did the crypto of others stopped or fell behind: `ravelin show workers`"
            }
            Self::WorkerFailed => "a bug in the data plane: its log has the place; please report it",
            Self::Malformed => "the frame is cut short or lies about its lengths: look at what sends it",
            Self::BadIpChecksum => {
                "something wrote a wrong header checksum: on virtual links try `ethtool -K DEVICE tx off` at the sender"
            }
            Self::BadAddress => {
                "no router may forward these addresses (multicast source, loopback, 0.0.0.0/8, broadcast)"
            }
            Self::TtlExpired => "too many hops, or a routing loop: compare `traceroute` from both ends",
            Self::NoSa => {
                "nobody here has this SPI: the peer uses an old SA; `ravelin down` and `up` of the tunnel renews both ends"
            }
            Self::BadEsp => "not an ESP or AH packet as its SA makes them: compare the suites of both ends",
            Self::WrongEncapsulation => {
                "mode or encapsulation differs from what was negotiated: compare `mode` of both ends"
            }
            Self::ReplayOld | Self::ReplayDup => {
                "an old packet sent again, or reordering beyond the window: a larger `replay-window` takes more"
            }
            Self::BadIcv => {
                "altered on the way, or the keys differ: renew the tunnel; if it goes on, something rewrites packets"
            }
            Self::BadPadding | Self::BadInner => {
                "authentic, and yet no lawful packet inside: the peer's software is at fault"
            }
            Self::Dummy => "traffic-flow confidentiality padding: nothing to do",
            Self::SelectorMismatch => {
                "the SA does not carry these addresses, protocol or ports: compare the selectors of both ends"
            }
            Self::PlainOnProtected => {
                "it came in clear and a policy wants it protected: the far side lacks the tunnel, or it is spoofed"
            }
            Self::PolicyDiscard => {
                "a policy discards it, or none matches and `default-policy` is `discard`: add a selector"
            }
            Self::NoOutboundSa => "the tunnel is down: `ravelin show tunnels NAME` says why",
            Self::SequenceExhausted | Self::SaExpired => {
                "a rekey did not come through in time: the log says why"
            }
            Self::TooBig => {
                "larger than the way takes, with DF set: an ICMP error names the size; is ICMP filtered towards the sender?"
            }
            Self::Fragment => {
                "ports decide about it and a fragment hides them: let the selector cover all ports, or lower the MTU"
            }
            Self::NoRoute => "no route leads there: `ip route get ADDRESS` on this machine",
            Self::RouteBlackhole => "a route forbids it: `ip route get ADDRESS` on this machine",
            Self::NeighbourUnresolved => {
                "the next hop does not answer ARP or neighbour discovery: is it up, is its address right?"
            }
            Self::NoFrame => "out of packet memory: more `frames`",
            Self::TxFull => "the port does not send fast enough: a larger `ring-size`, or less traffic",
            Self::HandoffFull => "the worker that owns the SA is overloaded: more `cores`, or more SAs",
            Self::PuntFull => "the kernel does not take packets for this host fast enough",
            Self::PortDown => "the egress port is down or gone: `ravelin show ports`, `ip link`",
            Self::FrameTooSmall => "larger than a frame holds: `frame-size = 4096`",
            Self::Unsupported => {
                "this version cannot do that with such a packet: see docs/operate.md, known limits"
            }
            Self::MulticastPolicyMode => "a tunnel by policies carries no multicast or broadcast",
            Self::CongestionLost => {
                "the way outside is congested and the sender does not understand ECN: less traffic, or `ecn` at the ends"
            }
            Self::HoldExpired => "the tunnel did not come up in time: `ravelin show tunnels NAME` says why",
            Self::HoldFull => "too many packets wait for the tunnel already: it has to come up first",
            Self::ReversePath => {
                "no way leads back to its source by this port: spoofed, or routes are not symmetric (`reverse-path` of the port)"
            }
            Self::OtherStation => {
                "the frame is for another MAC address: a switch floods, or the port is promiscuous"
            }
            Self::BadOption => "its IPv4 options lie about their length: look at what sends it",
            Self::SourceRoute => "source routes are not followed: the sender has to do without",
            Self::Land => "source and destination are one address: spoofed",
            Self::FragmentTimeout => {
                "the other outer fragments did not come: something on the way loses them; lower the tunnel's MTU"
            }
            Self::FragmentOverlap | Self::FragmentDuplicate => {
                "outer fragments overlap or come twice: nobody honest sends such"
            }
            Self::FragmentFlood => "too many outer fragments at once: lower the MTU of the peer's tunnel",
            Self::NatNoMapping => {
                "nobody inside has this translated address and port now: a static address or a forwarded port lets others begin"
            }
            Self::NatFiltered => {
                "the inside host has not spoken to this sender: that is what translation guards against"
            }
            Self::NatFull => {
                "the table of translations is full of live sessions: a larger one, or shorter timeouts"
            }
            Self::NatHostLimit => {
                "this inside host has all the sessions it may have: a scan, or a limit too low"
            }
            Self::NatNoPort => {
                "the pool has no free port or the port has no address: more addresses in the pool"
            }
            Self::NatBusy => {
                "a protocol without ports: another inside host speaks with the same peer by every address of the pool; more addresses"
            }
            Self::NatFragment => {
                "its first fragment was not seen: fragments come out of order, or by several ways; lower the MTU"
            }
            Self::NatBadIcmp => {
                "an ICMP error about no session, or damaged: nothing to do unless hosts miss it"
            }
            Self::NatOtherWorker => {
                "its two ends belong to two workers: use fewer `cores`, or a static address"
            }
            Self::BadExtension => "its IPv6 extension headers are cut short, too many, or a source route",
            Self::BadIpVersion | Self::BadIpHeaderLength | Self::BadIpLength => {
                "its IP header contradicts its link or its own lengths: look at what sends it"
            }
            Self::IpTtlZero | Self::IpFlags | Self::IpFragmentLength | Self::IpTinyFragment => {
                "`header-integrity-check` found an anomaly that no honest sender makes: look at what sends it"
            }
            Self::TcpHeader
            | Self::TcpPortZero
            | Self::TcpFlags
            | Self::UdpLength
            | Self::UdpPortZero
            | Self::IcmpLength => {
                "`header-integrity-check` found a broken header of TCP, UDP or ICMP: a scan, most probably"
            }
            Self::TcpChecksum | Self::UdpChecksum | Self::IcmpChecksum => {
                "damaged before it came here; on virtual links try `ethtool -K DEVICE tx off` at the sender"
            }
            Self::GreHeader | Self::GreLength => {
                "not GRE as RFC 2784 has it: PPTP, or damaged; look at what sends it"
            }
            Self::GreChecksum | Self::GreSequence => {
                "compare `checksum` and `sequence` of both ends; old numbers come of reordering on the way"
            }
            Self::GreKey => "compare `key` of both ends of the GRE tunnel",
            Self::GreProtocol => {
                "a GRE tunnel carries IPv4 and IPv6 here, nothing else: no Ethernet, no keepalives of others"
            }
            Self::GreUnprotected => {
                "this GRE tunnel is `protected-by` an IPsec tunnel: do its selectors hold GRE between the two ends?"
            }
            Self::VrfLocal => {
                "the host itself is not reached through tunnels of a VRF: use a device (`interface`) in that VRF, or the main one"
            }
            Self::NatUnknownSpi => {
                "several inside hosts speak ESP with that host by this address, and none waits for this SPI: use NAT traversal, or more addresses"
            }
            Self::FilterDecrypted => {
                "the SA may carry it, and `filter-decrypted` of the tunnel does not name it: add an entry, or remove the key"
            }
            Self::AhMissing => {
                "the peer sends this ESP without the AH that goes around it, or somebody else made it: compare `manual` of both ends"
            }
            Self::BundleMismatch => {
                "this AH carries the ESP of its own bundle only: compare the SPIs of `manual` of both ends"
            }
            Self::VrfOutside => {
                "the peer's packets come by a port of another VRF than IKE was in: compare `outside-vrf` of the tunnel with `vrf` of the port"
            }
            Self::VrfInside => {
                "the tunnel was removed, or is in another VRF now: what still comes by its old SA stops once that is gone or renewed"
            }
            Self::GreLoop => {
                "the other end of the GRE tunnel is routed into a GRE tunnel: it needs a route by a port"
            }
            _ => "docs/troubleshoot.md tells what stands behind this reason",
        }
    }

    /// By the name that operators see.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|why| why.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_found_by_its_name_and_says_what_to_do() {
        for why in Drop::ALL {
            assert_eq!(Drop::named(why.name()), Some(*why));
            assert!(why.cure().len() > 20, "{why:?}");
        }
        assert_eq!(Drop::named("nothing"), None);
    }
}
