//! ICMP errors about our own packets of ESP, AH and GRE: "fragmentation needed" on the way to a peer (RFC 1191, RFC 4301 §8.2), and
//! ICMPv6's "packet too big" (`v6`).
//!
//! Decides: whether a message can be meant: whole, right checksum, to the source of the packet it quotes, less than that
//! packet's length. Reads: a raw socket that passes nothing else. Never: believes it yet: it is told of an SPI or a key and
//! two addresses, and the installer knows whether there is such an SA, the configuration whether there is such a tunnel; goes below what every IPv4 host takes (576).

mod v6;

use crate::net::arrival;
use nix::sys::socket::{setsockopt, sockopt};
use ravelin_wire::gre::Gre;
use ravelin_wire::icmp::{FRAGMENTATION_NEEDED, Icmp, UNREACHABLE};
use ravelin_wire::ipv4::{self, Ipv4};
use ravelin_wire::{Bytes, protocol, udp};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Messages taken in one turn; what comes faster is dropped with the socket's buffer full.
const PER_TURN: usize = 16;
/// No path is taken for narrower (RFC 791 §3.2).
const MIN_MTU: u16 = 576;

/// A packet of ours did not fit somewhere on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooBig {
    pub local: IpAddr,
    pub remote: IpAddr,
    pub quoted: Quoted,
    pub mtu: u16,
    /// The device that the message came by; 0: not known.
    pub device: u32,
}

/// Which packet it was, as far as a router quotes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quoted {
    /// ESP or AH.
    Sa {
        spi: u32,
    },
    Gre {
        key: Option<u32>,
    },
}

impl Quoted {
    /// `at`: behind the IP header.
    fn read(protocol: u8, bytes: &[u8], at: usize) -> Option<Self> {
        let spi = match protocol {
            protocol::ESP => bytes.be32(at)?,
            protocol::AH => bytes.be32(at + 4)?,
            // Of IKE's messages the kernel takes care.
            protocol::UDP => bytes.be32(at + udp::HEADER)?,
            protocol::GRE => return Gre::quoted_key(bytes.get(at..)?).map(|key| Self::Gre { key }),
            _ => return None,
        };
        Some(Self::Sa { spi })
    }
}

/// Raw sockets, read like those of UDP.
#[derive(Debug)]
pub struct Errors {
    socket: UdpSocket,
    /// `None`: this kernel has no IPv6.
    six: Option<UdpSocket>,
}

impl Errors {
    pub fn open() -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
        socket.attach_filter(&filter())?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        Ok(Self { socket: UdpSocket::from_std(socket.into())?, six: v6::open().ok() })
    }

    pub async fn readable(&self) -> io::Result<()> {
        let Some(six) = &self.six else { return self.socket.readable().await };
        tokio::select! {
            four = self.socket.readable() => four,
            six = six.readable() => six,
        }
    }

    pub fn receive(&self, out: &mut Vec<TooBig>) {
        take(&self.socket, read, out);
        if let Some(six) = &self.six {
            take(six, v6::read, out);
        }
    }
}

fn take(socket: &UdpSocket, read: fn(&[u8]) -> Option<TooBig>, out: &mut Vec<TooBig>) {
    let mut buffer = [0; 1500];
    for _ in 0..PER_TURN {
        let Ok(got) = socket.try_io(Interest::READABLE, || arrival::receive(socket, &mut buffer)) else {
            return;
        };
        let notice = buffer.get(..got.length).and_then(read);
        out.extend(notice.map(|notice| TooBig { device: got.device, ..notice }));
    }
}

/// Classic BPF over the IP packet: what is not of this type and code does not even wake us.
fn filter() -> [SockFilter; 7] {
    const LOAD_HEADER_LEN: u16 = 0xb1; // ldxb 4*([0]&0xf)
    const LOAD_BYTE: u16 = 0x50; // ldb [x + k]
    const JUMP_EQUAL: u16 = 0x15; // jeq #k, jt, jf
    const RETURN: u16 = 0x06;
    [
        SockFilter::new(LOAD_HEADER_LEN, 0, 0, 0),
        SockFilter::new(LOAD_BYTE, 0, 0, 0),
        SockFilter::new(JUMP_EQUAL, 0, 3, UNREACHABLE.into()),
        SockFilter::new(LOAD_BYTE, 0, 0, 1),
        SockFilter::new(JUMP_EQUAL, 0, 1, FRAGMENTATION_NEEDED.into()),
        SockFilter::new(RETURN, 0, 0, u32::from(u16::MAX)),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}

fn read(packet: &[u8]) -> Option<TooBig> {
    let ip = Ipv4::parse(packet).ok()?;
    let icmp = Icmp::parse(ip.payload())?;
    let wanted = ip.protocol() == protocol::ICMP
        && !ip.is_fragment()
        && (icmp.kind(), icmp.code()) == (UNREACHABLE, FRAGMENTATION_NEEDED)
        && icmp.checksum_holds();
    let quoted = OurPacket::parse(icmp.payload()).filter(|q| wanted && q.src == ip.dst())?;
    let [_, _, high, low] = icmp.rest();
    let mtu = match u16::from_be_bytes([high, low]) {
        0 => plateau(quoted.total_len)?,
        mtu => mtu,
    };
    (mtu < quoted.total_len).then(|| TooBig {
        local: quoted.src.into(),
        remote: quoted.dst.into(),
        quoted: quoted.what,
        mtu: mtu.max(MIN_MTU),
        device: 0,
    })
}

/// What a router of before RFC 1191 may have meant (its §7.1).
fn plateau(total_len: u16) -> Option<u16> {
    [32_000, 17_914, 8166, 4352, 2002, 1492, 1006, 576].into_iter().find(|p| *p < total_len)
}

/// The packet of ours: its header whole, behind it at least what names the SA or the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OurPacket {
    src: Ipv4Addr,
    dst: Ipv4Addr,
    what: Quoted,
    total_len: u16,
}

impl OurPacket {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let header: [u8; ipv4::HEADER] = bytes.array(0)?;
        let at = usize::from(header[0] & 0x0f) * 4;
        let first = u16::from_be_bytes([header[6], header[7]]) & 0x1fff == 0;
        if header[0] >> 4 != 4 || at < ipv4::HEADER || !first {
            return None;
        }
        let what = Quoted::read(header[9], bytes, at)?;
        let [s0, s1, s2, s3] = bytes.array(12)?;
        let [d0, d1, d2, d3] = bytes.array(16)?;
        Some(Self {
            src: Ipv4Addr::new(s0, s1, s2, s3),
            dst: Ipv4Addr::new(d0, d1, d2, d3),
            what,
            total_len: u16::from_be_bytes([header[2], header[3]]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ravelin_wire::icmp::Error;
    use ravelin_wire::ipv4::Ipv4Header;

    const US: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
    const PEER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);

    fn ip(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let total_len = u16::try_from(ipv4::HEADER + payload.len()).unwrap();
        let header = Ipv4Header {
            tos: 0,
            total_len,
            id: 1,
            df: true,
            mf: false,
            fragment_offset: 0,
            ttl: 60,
            protocol,
            src,
            dst,
        };
        [&header.to_bytes()[..], payload].concat()
    }

    /// What a router on the way says of a packet of 1,400 bytes.
    fn error(protocol: u8, payload: &[u8], mtu: u16) -> Vec<u8> {
        let payload = [payload, &[0; 1380][payload.len()..]].concat();
        let mut out = [0; 600];
        let len = Error::FragmentationNeeded { mtu }
            .write(&mut out, &ip(US, PEER, protocol, &payload)[..ipv4::HEADER + 16])
            .unwrap();
        ip(Ipv4Addr::new(203, 0, 113, 1), US, 1, &out[..len])
    }

    #[test]
    fn the_packet_quoted_names_its_sa() {
        let of = |quoted, mtu| Some(TooBig { local: US.into(), remote: PEER.into(), quoted, mtu, device: 0 });
        let expected = |mtu| of(Quoted::Sa { spi: 0x1234_5678 }, mtu);
        let gre = [0x20, 0, 8, 0, 0, 0, 0, 42];
        assert_eq!(read(&error(47, &gre, 1300)), of(Quoted::Gre { key: Some(42) }, 1300));
        assert_eq!(read(&error(47, &gre, 68)), of(Quoted::Gre { key: Some(42) }, 576));
        assert_eq!(read(&error(47, &[0, 0, 8, 0], 1300)), of(Quoted::Gre { key: None }, 1300));
        assert_eq!(read(&error(47, &[0x20, 1, 8, 0, 0, 0, 0, 42], 1300)), None, "PPTP");
        let spi = [0x12, 0x34, 0x56, 0x78];
        assert_eq!(read(&error(50, &spi, 1300)), expected(1300));
        assert_eq!(read(&error(51, &[[4, 4, 0, 0], spi].concat(), 1300)), expected(1300));
        assert_eq!(
            read(&error(17, &[[0x11, 0x94, 0x11, 0x94], [0, 0, 0, 0], spi].concat(), 1300)),
            expected(1300)
        );
        // Never below what every host takes; nothing that the packet did not exceed; old routers say nothing.
        assert_eq!(read(&error(50, &spi, 68)), expected(576));
        assert_eq!(read(&error(50, &spi, 1400)), None);
        assert_eq!(read(&error(50, &spi, 0)), expected(1006));
        assert_eq!(read(&error(6, &spi, 1300)), None);
        let good = error(50, &spi, 1300);
        for (at, why) in [
            (16, "not to us"),
            (19, "not to us"),
            (20, "another type"),
            (21, "another code"),
            (26, "checksum"),
        ] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(read(&bad), None, "{why}");
        }
        assert_eq!(read(&good[..good.len() - 20]), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn any_bytes(mut bytes: Vec<u8>, noise in proptest::collection::vec((0usize..64, any::<u8>()), 0..4)) {
            let _ = read(&bytes);
            let mut near = error(50, &[1, 2, 3, 4], 1300);
            for (at, b) in noise {
                near[at] = b;
            }
            let _ = read(&near);
            bytes.truncate(40);
            let _ = OurPacket::parse(&bytes);
        }
    }

    /// The kernel's filter passes what is meant, and nothing else; needs root, as the gateway does.
    #[tokio::test]
    async fn the_filter_is_what_the_kernel_takes() {
        let errors = Errors::open().expect("root is needed for raw sockets");
        let sender = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).unwrap();
        let local = Ipv4Addr::LOCALHOST;
        let mut echo = [0; 64];
        let len = ravelin_wire::icmp::write_echo(&mut echo, true, 1, 1, b"not this one").unwrap();
        let mut unreachable = [0; 600];
        let quoted = ip(local, PEER, 50, &[[9, 9, 9, 9], [0, 0, 0, 1]].concat());
        let mut long = quoted.clone();
        long[2..4].copy_from_slice(&1400u16.to_be_bytes());
        let wide = Error::FragmentationNeeded { mtu: 1200 }.write(&mut unreachable, &long).unwrap();
        let to = std::net::SocketAddr::from((local, 0)).into();
        sender.send_to(&echo[..len], &to).unwrap();
        sender.send_to(&unreachable[..wide], &to).unwrap();
        let mut got = vec![];
        while got.is_empty() {
            tokio::time::timeout(std::time::Duration::from_secs(10), errors.readable())
                .await
                .unwrap()
                .unwrap();
            errors.receive(&mut got);
        }
        let spi = 0x0909_0909;
        let device = nix::net::if_::if_nametoindex("lo").unwrap();
        let quoted = Quoted::Sa { spi };
        assert_eq!(got, [TooBig { local: local.into(), remote: PEER.into(), quoted, mtu: 1200, device }]);
    }
}
