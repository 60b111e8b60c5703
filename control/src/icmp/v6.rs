//! "Packet too big" of ICMPv6 (RFC 4443 §3.2, RFC 8201) about our own packets of ESP, AH and GRE between IPv6 gateways.
//!
//! Decides: as its parent; the kernel has compared the checksum. Reads: messages, which come without their IP header.
//! Never: goes below 1,280, whatever a router says: every link of IPv6 carries that (RFC 8201 §4).

use super::{Quoted, TooBig};
use nix::sys::socket::{setsockopt, sockopt};
use ravelin_wire::icmpv6::PACKET_TOO_BIG;
use ravelin_wire::{Bytes, ipv6};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use std::io;
use std::net::Ipv6Addr;
use tokio::net::UdpSocket;

const MIN_MTU: u16 = 1280;

pub(super) fn open() -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
    socket.attach_filter(&filter())?;
    socket.set_nonblocking(true)?;
    setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
    UdpSocket::from_std(socket.into())
}

/// Classic BPF over the message: what is not of this type does not even wake us.
fn filter() -> [SockFilter; 4] {
    const LOAD_BYTE: u16 = 0x30; // ldb [k]
    const JUMP_EQUAL: u16 = 0x15; // jeq #k, jt, jf
    const RETURN: u16 = 0x06;
    [
        SockFilter::new(LOAD_BYTE, 0, 0, 0),
        SockFilter::new(JUMP_EQUAL, 0, 1, PACKET_TOO_BIG.into()),
        SockFilter::new(RETURN, 0, 0, u32::from(u16::MAX)),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}

/// Type, code, checksum, MTU; behind them as much of our packet as the router had room for.
pub(super) fn read(message: &[u8]) -> Option<TooBig> {
    const QUOTE: usize = 8;
    if message.byte(0)? != PACKET_TOO_BIG {
        return None;
    }
    let mtu = message.be32(4)?;
    let header: [u8; ipv6::HEADER] = message.array(QUOTE)?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let at = QUOTE + ipv6::HEADER;
    // Our packets have no extension headers.
    let quoted = Quoted::read(header[6], message, at)?;
    let whole = ipv6::HEADER + usize::from(u16::from_be_bytes([header[4], header[5]]));
    if !usize::try_from(mtu).is_ok_and(|mtu| mtu < whole) {
        return None;
    }
    let address = |at| message.array::<16>(at).map(Ipv6Addr::from);
    Some(TooBig {
        local: address(QUOTE + 8)?.into(),
        remote: address(QUOTE + 24)?.into(),
        quoted,
        mtu: u16::try_from(mtu).ok()?.max(MIN_MTU),
        device: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a router says of a packet with so many bytes.
    fn error(us: Ipv6Addr, next_header: u8, payload: &[u8], len: u16, mtu: u32) -> Vec<u8> {
        let peer: Ipv6Addr = "2001:db8:ff::2".parse().unwrap();
        let mut out = vec![PACKET_TOO_BIG, 0, 0, 0];
        out.extend(mtu.to_be_bytes());
        out.extend([0x60, 0, 0, 0]);
        out.extend((len - 40).to_be_bytes());
        out.extend([next_header, 60]);
        out.extend(us.octets());
        out.extend(peer.octets());
        out.extend(payload);
        out
    }

    const US: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 1);
    const SPI: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

    #[test]
    fn the_packet_quoted_names_its_sa() {
        let remote = "2001:db8:ff::2".parse().unwrap();
        let of = |quoted, mtu| Some(TooBig { local: US.into(), remote, quoted, mtu, device: 0 });
        let expected = |mtu| of(Quoted::Sa { spi: 0x1234_5678 }, mtu);
        let gre = error(US, 47, &[0x20, 0, 0x86, 0xdd, 0, 0, 0, 42], 1500, 68);
        assert_eq!(read(&gre), of(Quoted::Gre { key: Some(42) }, 1280));
        assert_eq!(read(&error(US, 50, &SPI, 1500, 1400)), expected(1400));
        assert_eq!(read(&error(US, 51, &[[4, 4, 0, 0], SPI].concat(), 1500, 1400)), expected(1400));
        assert_eq!(
            read(&error(US, 17, &[[0x11, 0x94, 0x11, 0x94], [0; 4], SPI].concat(), 1500, 1400)),
            expected(1400)
        );
        // RFC 8201 §4: never below what every link carries; nothing that the packet did not exceed.
        for low in [0, 68, 1279] {
            assert_eq!(read(&error(US, 50, &SPI, 1500, low)), expected(1280));
        }
        for high in [1500, 65_536, u32::MAX] {
            assert_eq!(read(&error(US, 50, &SPI, 1500, high)), None);
        }
        assert_eq!(read(&error(US, 6, &SPI, 1500, 1400)), None, "not ours");
        let mut other = error(US, 50, &SPI, 1500, 1400);
        other[0] = 1;
        assert_eq!(read(&other), None, "another type");
        let good = error(US, 50, &SPI, 1500, 1400);
        (0..good.len()).for_each(|len| assert_eq!(read(&good[..len]), None, "{len} bytes"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn any_bytes(bytes: Vec<u8>, noise in proptest::collection::vec((0usize..60, any::<u8>()), 0..4)) {
            let _ = read(&bytes);
            let mut near = error(US, 17, &[1; 12], 1500, 1400);
            for (at, b) in noise {
                near[at] = b;
            }
            if let Some(notice) = read(&near) {
                prop_assert!(notice.mtu >= MIN_MTU);
            }
        }
    }

    /// The kernel's filter passes what is meant, and nothing else; needs root, as the gateway does.
    #[tokio::test]
    async fn the_filter_is_what_the_kernel_takes() {
        let errors = super::super::Errors::open().expect("root is needed for raw sockets");
        let sender = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)).unwrap();
        let to = std::net::SocketAddr::from((Ipv6Addr::LOCALHOST, 0)).into();
        let echo = [128, 0, 0, 0, 0, 1, 0, 1];
        sender.send_to(&echo, &to).unwrap();
        // The kernel fills in the checksum.
        sender.send_to(&error(Ipv6Addr::LOCALHOST, 50, &[9; 8], 1500, 1300), &to).unwrap();
        let mut got = vec![];
        while got.is_empty() {
            tokio::time::timeout(std::time::Duration::from_secs(10), errors.readable())
                .await
                .unwrap()
                .unwrap();
            errors.receive(&mut got);
        }
        let remote = "2001:db8:ff::2".parse().unwrap();
        let device = nix::net::if_::if_nametoindex("lo").unwrap();
        let local = Ipv6Addr::LOCALHOST.into();
        let quoted = Quoted::Sa { spi: 0x0909_0909 };
        assert_eq!(got, [TooBig { local, remote, quoted, mtu: 1300, device }]);
    }
}
