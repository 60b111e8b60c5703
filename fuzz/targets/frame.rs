//! Any frame through the classifier that the XDP program runs, and through every header view.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ravelin_wire::ethernet::{Ethernet, Link};
use ravelin_wire::gre::Gre;
use ravelin_wire::{Tables, classify, extension, icmpv6, ipv4, ipv6, tcp, udp};
use std::net::IpAddr;

fuzz_target!(|frame: &[u8]| {
    let gateways: [IpAddr; 2] = [[198, 18, 0, 1].into(), [0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 1].into()];
    let protected = ["10.2.0.0/24", "2001:db8:2::/64"].map(|p| p.parse().expect("a prefix"));
    let tables = Tables { gateways: &gateways, protected: &protected, udp_port: Some(4565), gre: true, ..Tables::default() };
    let _ = classify(frame, &tables);
    let _ = Link::parse(frame);
    let Some((_, packet)) = Ethernet::parse(frame) else { return };
    if let Ok(ip) = ipv4::Ipv4::parse(packet) {
        if let Ok(gre) = Gre::parse(ip.payload()) {
            assert!(gre.len() <= ip.payload().len());
        }
        let _ = (ip.checksum_holds(), ip.options(), udp::Udp::parse(ip.payload()), tcp::Tcp::parse(ip.payload()));
    }
    if let Ok(ip) = ipv6::Ipv6::parse(packet) {
        let at = ip.chain().end.map_or(0, |(_, at)| at);
        let behind = ip.packet().get(at..).unwrap_or_default();
        let _ = extension::transport_at(packet);
        let _ = (ip.is_source_routed(), udp::Udp::parse(behind), icmpv6::Icmpv6::parse(behind));
    }
});
