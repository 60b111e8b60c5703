//! UDP sockets of IKE: ports 500 and 4500, of both address families.
//!
//! Decides: what a datagram on port 4500 is (RFC 3948 §2), which address an answer leaves by. Reads and writes: the
//! sockets. Never: sees ESP of a live data plane (XDP takes it before the kernel does); reads without bound in a turn.
//!
//! Over IPv4 there is no path MTU discovery (IP_PMTUDISC_OMIT): no "don't fragment", so that a router may cut what is
//! too large, as large IKE messages have to be (RFC 7296 §2), and no forged ICMP error makes the kernel believe in a
//! small path. Over IPv6 routers do not cut, so the kernel must; IKE's own fragments fit every IPv6 path.

pub(crate) mod arrival;

use crate::icmp::{Errors, TooBig};
use crate::kernel::IKE_MARK;
use arrival::Arrival;
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg, setsockopt, sockopt};
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, set_ip_mtu_discover};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tracing::{debug, warn};

/// No UDP datagram is larger.
const MAX_DATAGRAM: usize = 65_535;

/// The kernel keeps this much for a burst of peers (it doubles the figure and caps it by net.core.rmem_max).
const RECEIVE_BUFFER: usize = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum NetError {
    #[error(
        "UDP port {port} ({family}) is in use by another program\n    cure: find it by `ss -ulpn 'sport = :{port}'` and stop it (strongSwan's charon, another ravelin-control), or set {key} in [control]"
    )]
    InUse { port: u16, family: &'static str, key: &'static str },
    #[error(
        "UDP port {port} ({family}) cannot be opened: {source}\n    cure: run as root, or with CAP_NET_BIND_SERVICE and CAP_NET_ADMIN"
    )]
    Socket { port: u16, family: &'static str, source: io::Error },
}

/// What one read found.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    Ike(Datagram),
    /// A keepalive, what is malformed, an error of an earlier send: counted, and there may be more.
    Other,
    Nothing,
}

/// What came in; counters of the sockets go with [`Counts`].
#[derive(Debug, PartialEq, Eq)]
pub struct Datagram {
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// The index of the device that it came by.
    pub device: u32,
    /// Without the non-ESP marker.
    pub bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub received: u64,
    pub sent: u64,
    pub send_errors: u64,
    pub keepalives: u64,
    /// ESP in UDP that reached the kernel: the data plane is not there (fail closed: nobody reads it).
    pub esp: u64,
    /// Too short, or not sent to an address of ours alone.
    pub malformed: u64,
}

/// Up to four sockets; IPv6 ones only where the host has IPv6.
pub struct Sockets {
    all: Vec<Port>,
    /// `None`: no right to open it; ways narrower than configured then stay unknown.
    errors: Option<Errors>,
    /// Whose turn it is.
    next: usize,
    buffer: Box<[u8]>,
    pub counts: Counts,
}

struct Port {
    socket: UdpSocket,
    number: u16,
    natt: bool,
    ipv6: bool,
}

impl std::fmt::Debug for Sockets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sockets").field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl Sockets {
    pub fn open(ike: u16, natt: u16) -> Result<Self, NetError> {
        let mut all = Vec::new();
        for (number, is_natt) in [(ike, false), (natt, true)] {
            all.push(Port::open(number, is_natt, false)?);
            match Port::open(number, is_natt, true) {
                Ok(port) => all.push(port),
                Err(NetError::InUse { port, family, key }) => {
                    return Err(NetError::InUse { port, family, key });
                }
                Err(NetError::Socket { source, .. }) => debug!(%source, "no IPv6 on this host"),
            }
        }
        let errors = Errors::open();
        if let Err(why) = &errors {
            warn!(%why, "ICMP errors about ESP cannot be read: tunnel-mtu has to fit the way");
        }
        let errors = errors.ok();
        Ok(Self { all, next: 0, errors, buffer: vec![0; MAX_DATAGRAM].into(), counts: Counts::default() })
    }

    /// Waits until a socket has something to read. Safe to cancel.
    pub async fn readable(&self) {
        let waits = self.all.iter().map(|p| Box::pin(p.socket.readable()));
        let any = futures::future::select_all(waits);
        match &self.errors {
            Some(errors) => {
                let _ = futures::future::select(any, Box::pin(errors.readable())).await;
            }
            None => drop(any.await),
        }
    }

    /// What routers said about our packets.
    pub fn too_big(&self) -> Vec<TooBig> {
        let mut found = Vec::new();
        if let Some(errors) = &self.errors {
            errors.receive(&mut found);
        }
        found
    }

    /// One datagram, of the sockets in turns. [`Received::Other`] is none of IKE's business.
    pub fn receive(&mut self) -> Received {
        for _ in 0..self.all.len() {
            self.next = (self.next + 1) % self.all.len();
            let Some(port) = self.all.get(self.next) else { continue };
            let read = || arrival::receive(&port.socket, &mut self.buffer);
            match port.socket.try_io(Interest::READABLE, read) {
                Ok(read) => {
                    let datagram = self.buffer.get(..read.length);
                    let datagram =
                        datagram.and_then(|b| judge(b, (port.number, port.natt), &read, &mut self.counts));
                    return datagram.map_or(Received::Other, Received::Ike);
                }
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => {}
                // An ICMP error for something sent before; the next read goes on.
                Err(why) => {
                    debug!(%why, port = port.number, "receive");
                    return Received::Other;
                }
            }
        }
        Received::Nothing
    }

    /// `payload` is the whole UDP payload. What cannot be sent is lost like any datagram; IKE sends again.
    pub fn send(
        &mut self,
        local: Option<IpAddr>,
        remote: SocketAddr,
        natt: bool,
        device: Option<u32>,
        payload: &[u8],
    ) {
        let ipv6 = remote.is_ipv6();
        let Some(port) = self.all.iter().find(|p| p.natt == natt && p.ipv6 == ipv6) else {
            self.counts.send_errors += 1;
            return warn!(%remote, "no socket for this address family");
        };
        match port.write(local, remote, device, payload) {
            Ok(()) => self.counts.sent += 1,
            Err(why) => {
                self.counts.send_errors += 1;
                debug!(%why, %remote, "a datagram could not be sent");
            }
        }
    }
}

impl Port {
    fn open(number: u16, natt: bool, ipv6: bool) -> Result<Self, NetError> {
        let family = if ipv6 { "IPv6" } else { "IPv4" };
        let key = if natt { "natt-port" } else { "ike-port" };
        let made = bind(number, ipv6).and_then(|s| UdpSocket::from_std(s.into()));
        let socket = made.map_err(|source| {
            if source.kind() == io::ErrorKind::AddrInUse {
                NetError::InUse { port: number, family, key }
            } else {
                NetError::Socket { port: number, family, source }
            }
        })?;
        Ok(Self { socket, number, natt, ipv6 })
    }

    /// `device`: the one that the peer's tunnels leave by, where the kernel cannot know.
    fn write(
        &self,
        local: Option<IpAddr>,
        remote: SocketAddr,
        device: Option<u32>,
        payload: &[u8],
    ) -> io::Result<()> {
        let socket = self.socket.as_raw_fd();
        let parts = [IoSlice::new(payload)];
        let to = SockaddrStorage::from(remote);
        let flags = MsgFlags::MSG_DONTWAIT;
        match local {
            Some(IpAddr::V4(from)) => {
                let from = libc::in_addr { s_addr: from.to_bits().to_be() };
                let info = libc::in_pktinfo {
                    ipi_ifindex: device.and_then(|index| i32::try_from(index).ok()).unwrap_or(0),
                    ipi_spec_dst: from,
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                sendmsg(socket, &parts, &[ControlMessage::Ipv4PacketInfo(&info)], flags, Some(&to))
            }
            Some(IpAddr::V6(from)) => {
                let from = libc::in6_addr { s6_addr: from.octets() };
                let info = libc::in6_pktinfo { ipi6_addr: from, ipi6_ifindex: device.unwrap_or(0) };
                sendmsg(socket, &parts, &[ControlMessage::Ipv6PacketInfo(&info)], flags, Some(&to))
            }
            None => sendmsg(socket, &parts, &[], flags, Some(&to)),
        }?;
        Ok(())
    }
}

fn bind(number: u16, ipv6: bool) -> io::Result<Socket> {
    let domain = if ipv6 { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(domain, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
    socket.set_mark(IKE_MARK)?;
    let any: SocketAddr = if ipv6 {
        socket.set_only_v6(true)?;
        setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        (Ipv6Addr::UNSPECIFIED, number).into()
    } else {
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::OMIT)?;
        (Ipv4Addr::UNSPECIFIED, number).into()
    };
    if let Err(why) = socket.set_recv_buffer_size(RECEIVE_BUFFER) {
        debug!(%why, "receive buffer stays at its default");
    }
    socket.bind(&any.into())?;
    Ok(socket)
}

/// What a datagram is. On port 4500: IKE behind four zero bytes, a keepalive, or ESP (RFC 3948 §2).
fn judge(bytes: &[u8], (number, natt): (u16, bool), read: &Arrival, counts: &mut Counts) -> Option<Datagram> {
    let (Some(local), Some(remote)) = (read.local, read.remote) else {
        counts.malformed += 1;
        return None;
    };
    let unicast = !local.is_multicast() && local != IpAddr::V4(Ipv4Addr::BROADCAST);
    if !unicast || remote.port() == 0 {
        counts.malformed += 1;
        return None;
    }
    let ike = match (natt, bytes) {
        (false, bytes) => bytes,
        (true, [0xff]) => {
            counts.keepalives += 1;
            return None;
        }
        (true, [0, 0, 0, 0, rest @ ..]) => rest,
        (true, [_, _, _, _, ..]) => {
            counts.esp += 1;
            return None;
        }
        (true, _) => {
            counts.malformed += 1;
            return None;
        }
    };
    counts.received += 1;
    let local = SocketAddr::new(local, number);
    Some(Datagram { local, remote, device: read.device, bytes: ike.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::UdpSocket as StdSocket;
    use std::time::Duration;

    fn read(length: usize) -> Arrival {
        let (local, remote) = ("10.0.0.1".parse().ok(), "10.0.0.2:4500".parse().ok());
        Arrival { length, local, remote, device: 3 }
    }

    #[test]
    fn port_4500_tells_ike_esp_and_keepalives_apart() {
        let mut counts = Counts::default();
        let mut on =
            |bytes: &[u8]| judge(bytes, (4500, true), &read(bytes.len()), &mut counts).map(|d| d.bytes);
        assert_eq!(on(&[0, 0, 0, 0, 7]), Some(vec![7]));
        assert_eq!(on(&[0xff]), None);
        assert_eq!(on(&[0, 0, 1, 0, 7]), None);
        assert_eq!(on(&[0, 0, 0]), None);
        assert_eq!(on(&[]), None);
        let expected = Counts { received: 1, keepalives: 1, esp: 1, malformed: 2, ..Counts::default() };
        assert_eq!(counts, expected);
    }

    #[test]
    fn what_was_sent_to_a_group_is_not_answered() {
        let mut counts = Counts::default();
        for local in ["224.0.0.1", "255.255.255.255"] {
            let read = Arrival { local: local.parse().ok(), ..read(4) };
            assert_eq!(judge(&[1; 4], (500, false), &read, &mut counts), None);
        }
        assert_eq!(counts.malformed, 2);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn every_datagram_is_counted_once(bytes in proptest::collection::vec(any::<u8>(), 0..64), natt: bool) {
            let mut counts = Counts::default();
            let taken = judge(&bytes, (500, natt), &read(bytes.len()), &mut counts).is_some();
            let Counts { received, keepalives, esp, malformed, .. } = counts;
            prop_assert_eq!(received + keepalives + esp + malformed, 1);
            prop_assert_eq!(taken, received == 1);
        }
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    /// On loopback, with ports that the kernel chose (SO_MARK asks for root).
    #[test]
    fn the_address_a_datagram_was_sent_to_is_the_one_the_answer_comes_from() {
        runtime().block_on(async {
            let free = || StdSocket::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
            let (ike, natt) = (free(), free());
            let mut ours = Sockets::open(ike, natt).unwrap();
            let peer = StdSocket::bind("127.0.0.1:0").unwrap();
            peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            peer.send_to(&[0, 0, 0, 0, 42], ("127.0.0.77", natt)).unwrap();
            let got = loop {
                ours.readable().await;
                if let Received::Ike(got) = ours.receive() {
                    break got;
                }
            };
            assert_eq!(got.local, SocketAddr::from(([127, 0, 0, 77], natt)));
            assert_eq!(got.remote, peer.local_addr().unwrap());
            assert_eq!(
                (&got.bytes[..], got.device),
                (&[42][..], nix::net::if_::if_nametoindex("lo").unwrap())
            );
            assert_eq!(ours.receive(), Received::Nothing);
            ours.send(Some(got.local.ip()), got.remote, true, None, &[0, 0, 0, 0, 43]);
            let mut buffer = [0; 16];
            let (n, from) = peer.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..n], from), (&[0, 0, 0, 0, 43][..], got.local));
        });
    }

    #[test]
    fn what_is_sent_may_be_fragmented_on_the_way() {
        let socket = bind(0, false).unwrap();
        let got = rustix::net::sockopt::ip_mtu_discover(&socket).unwrap();
        assert_eq!(got, Ipv4PathMtuDiscovery::OMIT);
    }

    #[test]
    fn a_port_in_use_is_named_with_the_cure() {
        runtime().block_on(async {
            let taken = StdSocket::bind("0.0.0.0:0").unwrap();
            let port = taken.local_addr().unwrap().port();
            let why = Sockets::open(port, 0).unwrap_err().to_string();
            assert!(why.contains(&port.to_string()) && why.contains("ss -ulpn"), "{why}");
        });
    }
}
