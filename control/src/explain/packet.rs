//! A packet made of what an operator says of it, to be asked about.
//!
//! Decides: which packet stands for a flow. Never: sends it.

use ravelin_wire::ipv4::{Ipv4Header, Ipv4Mut};
use ravelin_wire::ipv6::Ipv6Header;
use ravelin_wire::protocol;
use std::net::IpAddr;

/// A flow, and one packet of it.
#[derive(Clone, Debug)]
pub struct Flow {
    pub from: IpAddr,
    pub to: IpAddr,
    pub protocol: u8,
    /// Of TCP, UDP and their kind; type and code of ICMP.
    pub ports: (u16, u16),
    /// Of ESP and AH.
    pub spi: Option<u32>,
    /// Of the IP packet; 0: as small as may be.
    pub size: usize,
    pub df: bool,
    pub ttl: u8,
}

/// Largest packet that can be asked about.
pub const MAX_SIZE: usize = 3900;

impl Flow {
    /// From the IP header on. An error says what is wrong with it.
    pub fn packet(&self) -> Result<Vec<u8>, String> {
        let head = self.head();
        let ip = if self.from.is_ipv4() { 20 } else { 40 };
        let least = ip + head.len();
        let size = if self.size == 0 { least } else { self.size };
        if size < least || size > MAX_SIZE {
            return Err(format!("--size {size}: this packet has {least} to {MAX_SIZE} bytes"));
        }
        let mut payload = head;
        payload.resize(size - ip, 0);
        let header = match (self.from, self.to) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let total_len = u16::try_from(size).map_err(|_| "too long".to_owned())?;
                let header = Ipv4Header {
                    tos: 0,
                    total_len,
                    id: 0,
                    df: self.df,
                    mf: false,
                    fragment_offset: 0,
                    ttl: self.ttl,
                    protocol: self.protocol,
                    src,
                    dst,
                };
                header.to_bytes().to_vec()
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let payload_len = u16::try_from(payload.len()).map_err(|_| "too long".to_owned())?;
                let header = Ipv6Header {
                    traffic_class: 0,
                    flow_label: 0,
                    payload_len,
                    next_header: self.protocol,
                    hop_limit: self.ttl,
                    src,
                    dst,
                };
                header.to_bytes().to_vec()
            }
            _ => return Err("--from and --to are of two address families".to_owned()),
        };
        let mut packet = [header, payload].concat();
        if let Ok(mut ip) = Ipv4Mut::parse(&mut packet) {
            ip.fill_checksum();
        }
        Ok(packet)
    }

    fn head(&self) -> Vec<u8> {
        let (a, b) = (self.ports.0.to_be_bytes(), self.ports.1.to_be_bytes());
        let spi = self.spi.unwrap_or_default().to_be_bytes();
        let sequence = [0, 0, 0, 1];
        match self.protocol {
            protocol::TCP => {
                let mut tcp = [a, b].concat();
                tcp.resize(20, 0);
                tcp[12..14].copy_from_slice(&[0x50, 0x02]); // 20 bytes, SYN
                tcp
            }
            protocol::UDP => [a, b, [0, 8], [0, 0]].concat(),
            protocol::ICMP | protocol::ICMPV6 => [self.ports.0, self.ports.1]
                .map(|n| u8::try_from(n).unwrap_or(u8::MAX))
                .into_iter()
                .chain([0; 6])
                .collect(),
            // Long enough to be one; its content is nobody's.
            protocol::ESP => {
                [spi, sequence, [0; 4], [0; 4], [0; 4], [0; 4], [0; 4], [0; 4], [0; 4], [0; 4]].concat()
            }
            protocol::AH => [[4, 4, 0, 0], spi, sequence, [0; 4], [0; 4], [0; 4]].concat(),
            _ => [a, b].concat(),
        }
    }
}

/// By name or number.
pub fn protocol_of(name: &str) -> Result<u8, String> {
    Ok(match name.to_ascii_lowercase().as_str() {
        "tcp" => protocol::TCP,
        "udp" => protocol::UDP,
        "icmp" => protocol::ICMP,
        "icmpv6" | "icmp6" => protocol::ICMPV6,
        "esp" => protocol::ESP,
        "ah" => protocol::AH,
        "gre" => 47,
        "sctp" => protocol::SCTP,
        other => other.parse().map_err(|_| {
            format!("\"{name}\" is no protocol: a number, or tcp, udp, icmp, icmpv6, esp, ah, gre, sctp")
        })?,
    })
}

pub(crate) fn protocol_name(number: u8) -> String {
    let names = ["tcp", "udp", "icmp", "icmpv6", "esp", "ah", "gre", "sctp"];
    let known = names.iter().find(|name| protocol_of(name) == Ok(number));
    known.map_or_else(|| format!("protocol {number}"), |name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ravelin_wire::ipv4::Ipv4;
    use ravelin_wire::ipv6::Ipv6;

    fn flow(from: &str, to: &str, protocol: &str) -> Flow {
        Flow {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            protocol: protocol_of(protocol).unwrap(),
            ports: (1234, 443),
            spi: Some(0xc000_0101),
            size: 0,
            df: true,
            ttl: 64,
        }
    }

    #[test]
    fn packets_are_lawful() {
        for name in ["tcp", "udp", "icmp", "esp", "ah", "gre", "sctp", "89"] {
            let mut flow = flow("10.1.0.5", "10.2.0.7", name);
            let bytes = flow.packet().unwrap();
            let ip = Ipv4::parse(&bytes).unwrap();
            assert!(ip.checksum_holds() && ip.df() && ip.total_len() == bytes.len());
            assert_eq!(ip.protocol(), protocol_of(name).unwrap());
            flow.size = 1500;
            assert_eq!(flow.packet().unwrap().len(), 1500);
            flow.size = 21;
            assert!(flow.packet().unwrap_err().contains("--size 21"));
        }
        let bytes = flow("2001:db8::1", "2001:db8::2", "udp").packet().unwrap();
        assert_eq!(Ipv6::parse(&bytes).unwrap().total_len(), 48);
        assert!(flow("10.0.0.1", "::1", "udp").packet().unwrap_err().contains("two address families"));
        assert_eq!(flow("10.1.0.5", "10.2.0.7", "tcp").packet().unwrap()[20..24], [4, 210, 1, 187]);
    }

    #[test]
    fn protocols_by_name_and_number() {
        assert_eq!((protocol_of("ESP"), protocol_of("50")), (Ok(50), Ok(50)));
        assert!(protocol_of("ipx").unwrap_err().contains("\"ipx\""));
        assert_eq!((protocol_name(17), protocol_name(89)), ("udp".to_owned(), "protocol 89".to_owned()));
    }
}
