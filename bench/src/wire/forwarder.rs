//! The reference: AF_XDP in, link addresses rewritten, AF_XDP out. What it reaches is what the sockets and veths of
//! this machine allow; nothing that looks into packets can be faster.

use super::lab::{self, LAN, Lab, Place, SINK, WAN};
use super::steer::Steer;
use anyhow::Context;
use arrayvec::ArrayVec;
use ravelin_wire::ethernet::Ethernet;
use ravelin_xsk::{Frame, FramePool, Socket, SocketConfig, Umem, UmemConfig};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

/// Where the device under test works; the generator has core 0.
pub(super) const CORE: usize = 1;
/// As the gateway's own defaults, so that only the work differs.
pub(super) const FRAMES: u32 = 16384;
pub(super) const RING: u32 = 2048;
const BATCH: usize = 64;

pub(super) struct Forwarder {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<anyhow::Result<anyhow::Result<()>>>>,
}

/// Returns once it forwards.
pub(super) fn start(lab: &Lab) -> anyhow::Result<Forwarder> {
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, (ready, is_ready)) = (stop.clone(), mpsc::channel());
    let thread = lab.inside(Place::Gateway, move || forward(&stopped, &ready));
    let started = is_ready.recv();
    let forwarder = Forwarder { stop, thread: Some(thread) };
    if started.is_err() { forwarder.failure() } else { Ok(forwarder) }
}

impl Forwarder {
    /// Why it ended before it was ready.
    fn failure(mut self) -> anyhow::Result<Self> {
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| anyhow::anyhow!("the forwarder panicked"))???;
        }
        anyhow::bail!("the forwarder ended by itself")
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Ok(Err(e) | Ok(Err(e)))) = self.thread.take().map(JoinHandle::join) {
            eprintln!("forwarder: {e:#}");
        }
    }
}

fn forward(stop: &AtomicBool, ready: &mpsc::Sender<()>) -> anyhow::Result<()> {
    core_affinity::set_for_current(core_affinity::CoreId { id: CORE });
    let umem = Umem::new(UmemConfig { frames: FRAMES, ..UmemConfig::default() })?;
    let mut pool = umem.pools(1).pop().context("one pool")?;
    let (mut lan_steer, mut lan) = port(&umem, LAN)?;
    let (mut wan_steer, mut wan) = port(&umem, WAN)?;
    lan_steer.steering()?.set_socket(0, &lan)?;
    wan_steer.steering()?.set_socket(0, &wan)?;
    let header =
        Ethernet { dst: lab::mac(SINK), src: lab::mac(WAN), ethertype: ravelin_wire::ethernet::IPV4 };
    let _ = ready.send(());
    while !stop.load(Ordering::Relaxed) {
        lan.refill(&mut pool);
        wan.complete(&mut pool);
        let mut batch = ArrayVec::<Frame, BATCH>::new();
        let room = wan.tx_room(BATCH);
        if lan.receive(&mut batch, room) > 0 {
            pass_on(&mut wan, batch, &header.to_bytes(), &mut pool)?;
        }
    }
    lan.close(&mut pool);
    wan.close(&mut pool);
    Ok(())
}

fn pass_on(
    out: &mut Socket,
    batch: ArrayVec<Frame, BATCH>,
    header: &[u8; 14],
    pool: &mut FramePool,
) -> anyhow::Result<()> {
    for mut frame in batch {
        if let Some(old) = frame.data_mut().first_chunk_mut() {
            *old = *header;
        }
        if let Err(frame) = out.send(frame) {
            pool.free(frame);
        }
    }
    out.kick().context("transmitting")
}

fn port(umem: &Arc<Umem>, dev: &str) -> anyhow::Result<(Steer, Socket)> {
    let steer = Steer::everything(dev)?;
    let ifindex = nix::net::if_::if_nametoindex(dev)?;
    let config = SocketConfig { ifindex, queue: 0, ring_size: RING, fill_limit: RING, force_copy: false };
    Ok((steer, Socket::bind(umem, config)?))
}
