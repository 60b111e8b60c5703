//! The load: one UDP flow after the other, as fast as an AF_XDP transmit ring takes them.
//!
//! Writes: frames prepared once; per packet only the source port changes. Never: waits for an answer.

use super::lab::{self, GEN, HOST_A, HOST_B, LAN, Lab, Place};
use anyhow::Context;
use ravelin_wire::ethernet::Ethernet;
use ravelin_wire::ipv4::Ipv4Header;
use ravelin_wire::udp::UdpHeader;
use ravelin_xsk::{FramePool, Socket, SocketConfig, Umem, UmemConfig};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

const CORE: usize = 0;
const FRAMES: u32 = 4096;
const BURST: usize = 64;
/// Flows differ in their source port, starting here.
const FIRST_PORT: u16 = 10_000;
const FLOWS: u16 = 256;
const UDP_AT: usize = 14 + 20;

pub(super) struct Generator {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<anyhow::Result<()>>>,
}

/// `size`: bytes of the IP packet.
pub(super) fn start(lab: &Lab, size: u16) -> anyhow::Result<Generator> {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let thread = lab.inside(Place::Generator, move || generate(size, &stopped));
    Ok(Generator { stop, thread })
}

impl Generator {
    pub(super) fn stop(self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the generator panicked"))??
    }
}

fn generate(size: u16, stop: &AtomicBool) -> anyhow::Result<()> {
    core_affinity::set_for_current(core_affinity::CoreId { id: CORE });
    let umem = Umem::new(UmemConfig { frames: FRAMES, ..UmemConfig::default() })?;
    let mut pool = umem.pools(1).pop().context("one pool")?;
    let bytes = template(size);
    fill(&mut pool, &bytes);
    let ifindex = nix::net::if_::if_nametoindex(GEN)?;
    let config = SocketConfig { ifindex, queue: 0, ring_size: 2048, fill_limit: 0, force_copy: false };
    let mut socket = Socket::bind(&umem, config)?;
    let mut flow = 0;
    while !stop.load(Ordering::Relaxed) {
        socket.complete(&mut pool);
        for _ in 0..socket.tx_room(BURST).min(BURST) {
            let Some(mut frame) = pool.alloc() else { break };
            // What a freed frame held is still there: the template.
            if !frame.extend(bytes.len()) {
                pool.free(frame);
                break;
            }
            flow = (flow + 1) % FLOWS;
            frame.data_mut()[UDP_AT..UDP_AT + 2].copy_from_slice(&(FIRST_PORT + flow).to_be_bytes());
            if let Err(frame) = socket.send(frame) {
                pool.free(frame);
                break;
            }
        }
        socket.kick().context("transmitting")?;
    }
    socket.close(&mut pool);
    Ok(())
}

fn fill(pool: &mut FramePool, bytes: &[u8]) {
    let mut all = Vec::new();
    while let Some(mut frame) = pool.alloc() {
        if frame.extend(bytes.len()) {
            frame.data_mut().copy_from_slice(bytes);
        }
        all.push(frame);
    }
    all.into_iter().for_each(|frame| pool.free(frame));
}

fn template(size: u16) -> Vec<u8> {
    let ethernet =
        Ethernet { dst: lab::mac(LAN), src: lab::mac(GEN), ethertype: ravelin_wire::ethernet::IPV4 };
    let ip = Ipv4Header {
        tos: 0,
        total_len: size,
        id: 0,
        df: false,
        mf: false,
        fragment_offset: 0,
        ttl: 64,
        protocol: ravelin_wire::protocol::UDP,
        src: HOST_A,
        dst: HOST_B,
    };
    let udp = UdpHeader { src: FIRST_PORT, dst: 9, len: size - 20, checksum: 0 };
    let mut bytes = [&ethernet.to_bytes()[..], &ip.to_bytes(), &udp.to_bytes()].concat();
    bytes.resize(14 + usize::from(size), 0x5a);
    bytes
}
