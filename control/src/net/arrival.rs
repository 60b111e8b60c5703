//! What the kernel says of a datagram besides its bytes.
//!
//! Decides: nothing. Reads: one datagram of a socket that was asked for packet information. Never: waits.

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arrival {
    pub(crate) length: usize,
    /// The address that it was sent to.
    pub(crate) local: Option<IpAddr>,
    pub(crate) remote: Option<SocketAddr>,
    /// The device that it came by; 0: not known.
    pub(crate) device: u32,
}

pub(crate) fn receive(socket: &impl AsRawFd, buffer: &mut [u8]) -> io::Result<Arrival> {
    let mut control = nix::cmsg_space!(libc::in6_pktinfo, libc::in_pktinfo);
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let got = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
    let remote = got.address.as_ref().and_then(to_socket_addr);
    let mut out = Arrival { length: got.bytes, remote, ..Arrival::default() };
    for message in got.cmsgs()? {
        #[allow(clippy::wildcard_enum_match_arm)] // only what was asked for can come
        match message {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                out.local = Some(IpAddr::V4(Ipv4Addr::from_bits(u32::from_be(info.ipi_addr.s_addr))));
                out.device = u32::try_from(info.ipi_ifindex).unwrap_or(0);
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                out.local = Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)));
                out.device = info.ipi6_ifindex;
            }
            _ => {}
        }
    }
    Ok(out)
}

fn to_socket_addr(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage.as_sockaddr_in().map(|a| SocketAddr::V4((*a).into()));
    v4.or_else(|| storage.as_sockaddr_in6().map(|a| SocketAddr::V6((*a).into())))
}
