//! The bench's packets: numbered, stamped with the time, in clear or as ESP; and what comes back, read again.
//!
//! Decides: the bytes of every packet. Reads: received frames; what is not the bench's own is `None`. Never: trusts a
//! packet further than its integrity check and its mark.

use super::traffic::{GATEWAY, HOST_A, HOST_B, PEER, Size, Tunnels};
use arrayvec::ArrayVec;
use core::net::Ipv4Addr;
use ravelin_crypto::{BURST, Engine, OpenJob, SealJob};
use ravelin_ebpf::bench_abi::DISCARD;
use ravelin_wire::ethernet::{self, Ethernet};
use ravelin_wire::ipv4::{Ipv4, Ipv4Header};
use ravelin_wire::udp::UdpHeader;
use ravelin_wire::{MacAddr, protocol};
use ravelin_xsk::Frame;
use std::sync::Arc;

/// Flows differ in their source port, starting here.
pub(super) const FIRST_PORT: u16 = 10_000;
pub(super) const MAX_FLOWS: u16 = 50_000;
const MARK: [u8; 4] = *b"rvln";
const IP: usize = ethernet::HEADER;
const HEADERS: usize = 20 + 8;
/// Mark, number, stamp.
const STAMPED: usize = 4 + 8 + 8;

/// Number and stamp of a packet that came through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    pub(super) number: u64,
    pub(super) stamp: u64,
}

/// Addresses around the device, on the link and above.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    /// The tester's own link address and the device's, where the packets enter.
    pub(super) from: MacAddr,
    pub(super) to: MacAddr,
    pub(super) source: Ipv4Addr,
    pub(super) destination: Ipv4Addr,
}

/// Writes packets in clear, one after the other: the n-th goes to tunnel n mod tunnels, then to the next flow.
#[derive(Debug)]
pub(super) struct Clear {
    path: Path,
    sizes: Vec<u16>,
    /// Headers of each size, for tunnel 0 and flow 0.
    templates: Vec<[u8; IP + HEADERS]>,
    flows: u64,
    tunnels: u64,
}

impl Clear {
    pub(super) fn new(path: Path, size: Size, flows: u16, tunnels: u32) -> Self {
        let sizes = size.pattern();
        let templates = sizes.iter().map(|s| headers(path, path.destination, *s, FIRST_PORT)).collect();
        Self { path, sizes, templates, flows: flows.max(1).into(), tunnels: tunnels.max(1).into() }
    }

    /// False when the frame has no room.
    pub(super) fn write(&self, frame: &mut Frame, number: u64, stamp: u64) -> bool {
        let which = index(number, self.sizes.len());
        let size = self.sizes[which];
        if !frame.extend(IP + usize::from(size)) {
            return false;
        }
        let data = frame.data_mut();
        data[..IP + HEADERS].copy_from_slice(&self.templates[which]);
        if self.tunnels > 1 {
            let to = Ipv4Addr::from_bits(self.path.destination.to_bits() + low(number % self.tunnels));
            data[IP..IP + 20].copy_from_slice(&ip(self.path.source, to, size, protocol::UDP).to_bytes());
        }
        let port = FIRST_PORT + low16(number / self.tunnels % self.flows);
        data[IP + 20..IP + 22].copy_from_slice(&port.to_be_bytes());
        write_stamp(&mut data[IP + HEADERS..], number, stamp);
        true
    }

    /// One whole frame, for generators that keep their own copy.
    pub(super) fn example(&self) -> Vec<u8> {
        let mut bytes = self.templates[0].to_vec();
        bytes.extend(MARK);
        bytes.resize(IP + usize::from(self.sizes[0]), 0);
        bytes
    }
}

/// Writes ESP packets as the device's peer would: sealed with live sequence numbers, so that replay checks pass.
#[derive(Debug)]
pub(super) struct Sealed {
    engine: Engine,
    tunnels: Arc<Tunnels>,
    path: Path,
    sizes: Vec<u16>,
    flows: u64,
}

impl Sealed {
    pub(super) fn new(path: Path, size: Size, flows: u16, tunnels: Arc<Tunnels>) -> Self {
        let flows = flows.max(1).into();
        Self { engine: Engine::new(), tunnels, path, sizes: size.pattern(), flows }
    }

    /// Writes `frames`, the first of which gets `number`. Those for which there is no room stay empty.
    pub(super) fn write(&self, frames: &mut [Frame], number: u64, stamp: u64) {
        for (burst, first) in frames.chunks_mut(BURST).zip((number..).step_by(BURST)) {
            self.burst(burst, first, stamp);
        }
    }

    fn burst(&self, frames: &mut [Frame], first: u64, stamp: u64) {
        let mut jobs = ArrayVec::<SealJob<'_>, BURST>::new();
        for (frame, number) in frames.iter_mut().zip(first..) {
            let which = index(number, self.tunnels.all.len());
            let (size, tunnel) = (self.sizes[index(number, self.sizes.len())], &self.tunnels.all[which]);
            let suite = tunnel.inn.key.suite();
            let sealed = suite.sealed_len(size.into());
            if !frame.extend(IP + 20 + sealed) {
                continue;
            }
            let (front, packet) = frame.data_mut().split_at_mut(IP + 20);
            let total = u16::try_from(20 + sealed).unwrap_or(u16::MAX);
            front[..IP].copy_from_slice(&link(self.path));
            let outer = ip(self.path.source, self.path.destination, total, protocol::ESP);
            front[IP..].copy_from_slice(&outer.to_bytes());
            let inner = &mut packet[suite.payload_offset()..];
            let port = FIRST_PORT + low16(number / self.tunnels.all.len() as u64 % self.flows);
            inner[..20].copy_from_slice(&ip(tunnel.remote, HOST_A, size, protocol::UDP).to_bytes());
            inner[20..28].copy_from_slice(&udp(port, size).to_bytes());
            write_stamp(&mut inner[28..], number, stamp);
            jobs.push(SealJob {
                key: &tunnel.inn.key,
                spi: tunnel.inn.spi,
                seq: tunnel.inn.next_sequence(),
                esn: true,
                next_header: protocol::IPV4,
                payload_len: size.into(),
                packet,
            });
        }
        self.engine.seal(&mut jobs);
    }
}

/// Reads what came out of the device: in clear, or ESP by one of the tunnels' keys.
#[derive(Debug)]
pub(super) struct Reader {
    engine: Engine,
    /// `None`: only packets in clear can be read.
    tunnels: Option<Arc<Tunnels>>,
}

impl Reader {
    pub(super) fn new(tunnels: Option<Arc<Tunnels>>) -> Self {
        Self { engine: Engine::new(), tunnels }
    }

    pub(super) fn read(&self, frame: &mut [u8]) -> Option<Seen> {
        let ip = frame.get(IP..)?;
        match *ip.get(9)? {
            protocol::UDP => stamp_of(ip.get(HEADERS..)?),
            protocol::ESP => self.open(frame.get_mut(IP + 20..)?),
            _ => None,
        }
    }

    /// Numbers stay below 2^32 in one start of a device, so the upper half of an extended one is 0.
    fn open(&self, packet: &mut [u8]) -> Option<Seen> {
        let esp = ravelin_wire::esp::Esp::parse(packet)?;
        let key = self.tunnels.as_ref()?.of_spi(esp.raw_spi)?;
        let mut job = [OpenJob::new(key, esp.seq.into(), true, packet)];
        self.engine.open(&mut job);
        let [job] = job;
        let opened = job.outcome.ok()?;
        let inner = job.packet.get(opened.offset.into()..)?.get(..opened.len.into())?;
        stamp_of(Ipv4::parse(inner).ok()?.payload().get(8..)?)
    }
}

/// From the generator's side in clear, and from the peer's side as ESP.
pub(super) fn clear_path(from: MacAddr, to: MacAddr) -> Path {
    Path { from, to, source: HOST_A, destination: HOST_B }
}

pub(super) fn sealed_path(from: MacAddr, to: MacAddr) -> Path {
    Path { from, to, source: PEER, destination: GATEWAY }
}

fn headers(path: Path, to: Ipv4Addr, size: u16, port: u16) -> [u8; IP + HEADERS] {
    let mut all = [0; IP + HEADERS];
    all[..IP].copy_from_slice(&link(path));
    all[IP..IP + 20].copy_from_slice(&ip(path.source, to, size, protocol::UDP).to_bytes());
    all[IP + 20..].copy_from_slice(&udp(port, size).to_bytes());
    all
}

fn link(path: Path) -> [u8; IP] {
    Ethernet { dst: path.to, src: path.from, ethertype: ethernet::IPV4 }.to_bytes()
}

fn ip(src: Ipv4Addr, dst: Ipv4Addr, total_len: u16, protocol: u8) -> Ipv4Header {
    Ipv4Header {
        tos: 0,
        total_len,
        id: 0,
        df: false,
        mf: false,
        fragment_offset: 0,
        ttl: 64,
        protocol,
        src,
        dst,
    }
}

fn udp(src: u16, size: u16) -> UdpHeader {
    UdpHeader { src, dst: DISCARD, len: size - 20, checksum: 0 }
}

fn write_stamp(payload: &mut [u8], number: u64, stamp: u64) {
    if let Some(all) = payload.first_chunk_mut::<STAMPED>() {
        all[..4].copy_from_slice(&MARK);
        all[4..12].copy_from_slice(&number.to_be_bytes());
        all[12..].copy_from_slice(&stamp.to_be_bytes());
    }
}

fn stamp_of(payload: &[u8]) -> Option<Seen> {
    let (mark, rest) = payload.split_first_chunk::<4>()?;
    let (number, rest) = rest.split_first_chunk::<8>()?;
    let stamp = rest.first_chunk::<8>()?;
    (*mark == MARK).then(|| Seen { number: u64::from_be_bytes(*number), stamp: u64::from_be_bytes(*stamp) })
}

fn index(number: u64, len: usize) -> usize {
    usize::try_from(number % len.max(1) as u64).unwrap_or(0)
}

/// `n` is below 2^32: a remainder of a number of tunnels.
fn low(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(0)
}

/// `n` is below 2^16: a remainder of a number of flows.
fn low16(n: u64) -> u16 {
    u16::try_from(n).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::traffic::remote;
    use super::*;
    use crate::suites::SuiteName;
    use ravelin_wire::udp::Udp;
    use ravelin_xsk::{FramePool, Umem, UmemConfig};

    fn pool() -> FramePool {
        Umem::new(UmemConfig { frames: 128, ..UmemConfig::default() }).unwrap().pools(1).pop().unwrap()
    }

    fn path() -> Path {
        clear_path(MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2]))
    }

    #[test]
    fn a_clear_packet_is_lawful_and_read_back() {
        let (mut pool, clear) = (pool(), Clear::new(path(), Size::Imix, 3, 2));
        for number in 0..100 {
            let mut frame = pool.alloc().unwrap();
            assert!(clear.write(&mut frame, number, 7 * number));
            let packet = Ipv4::parse(&frame.data()[IP..]).unwrap();
            assert!(packet.checksum_holds());
            assert_eq!(packet.dst(), remote(u32::try_from(number % 2).unwrap()));
            let udp = Udp::parse(packet.payload()).unwrap();
            assert_eq!(u64::from(udp.src() - FIRST_PORT), number / 2 % 3);
            let seen = Reader::new(None).read(frame.data_mut());
            assert_eq!(seen, Some(Seen { number, stamp: 7 * number }));
        }
    }

    #[test]
    fn a_sealed_packet_opens_by_the_devices_key_and_has_its_own_number() {
        let tunnels = Arc::new(Tunnels::new(SuiteName::Aes256Gcm, 3).unwrap());
        let path = sealed_path(path().from, path().to);
        let sealed = Sealed::new(path, Size::Fixed(64), 1, tunnels.clone());
        let mut pool = pool();
        let mut frames: Vec<_> = (0..100).map(|_| pool.alloc().unwrap()).collect();
        sealed.write(&mut frames, 1000, 5);
        let mut seen = std::collections::BTreeSet::new();
        for (frame, number) in frames.iter_mut().zip(1000..) {
            assert!(Ipv4::parse(&frame.data()[IP..]).unwrap().checksum_holds());
            let packet = &mut frame.data_mut()[IP + 20..];
            let esp = ravelin_wire::esp::Esp::parse(packet).unwrap();
            let which = tunnels.all.iter().find(|t| t.inn.spi == esp.raw_spi).unwrap();
            assert!(seen.insert((esp.raw_spi, esp.seq)), "no number twice on one SA");
            let mut job = [OpenJob::new(&which.inn.key, esp.seq.into(), true, packet)];
            Engine::new().open(&mut job);
            let opened = job[0].outcome.unwrap();
            let inner = Ipv4::parse(&job[0].packet[opened.offset.into()..][..opened.len.into()]).unwrap();
            assert!(inner.checksum_holds());
            assert_eq!((inner.src(), inner.dst()), (which.remote, HOST_A));
            assert_eq!(stamp_of(&inner.payload()[8..]), Some(Seen { number, stamp: 5 }));
        }
    }

    #[test]
    fn what_the_device_seals_is_read_and_a_forged_one_is_not() {
        let tunnels = Arc::new(Tunnels::new(SuiteName::ChaCha20Poly1305, 1).unwrap());
        let mut frame = pool().alloc().unwrap();
        assert!(Clear::new(path(), Size::Fixed(64), 1, 1).write(&mut frame, 9, 11));
        let inner = frame.data()[IP..].to_vec();
        let sa = &tunnels.all[0].out;
        let suite = sa.key.suite();
        let mut wire = vec![0; IP + 20 + suite.sealed_len(inner.len())];
        wire[IP..IP + 20].copy_from_slice(&ip(GATEWAY, PEER, 100, protocol::ESP).to_bytes());
        let packet = &mut wire[IP + 20..];
        packet[suite.payload_offset()..][..inner.len()].copy_from_slice(&inner);
        let payload_len = inner.len();
        let (key, spi, next_header) = (&sa.key, sa.spi, protocol::IPV4);
        let mut job = [SealJob { key, spi, seq: 1, esn: true, next_header, payload_len, packet }];
        Engine::new().seal(&mut job);
        let reader = Reader::new(Some(tunnels.clone()));
        assert_eq!(reader.read(&mut wire.clone()), Some(Seen { number: 9, stamp: 11 }));
        assert_eq!(Reader::new(None).read(&mut wire.clone()), None, "no keys, no reading");
        for at in [IP + 20, IP + 30, wire.len() - 1] {
            let mut forged = wire.clone();
            forged[at] ^= 1;
            assert_eq!(reader.read(&mut forged), None);
        }
        for len in 0..wire.len() {
            assert_eq!(reader.read(&mut wire[..len].to_vec()), None, "cut to {len}");
        }
    }
}
