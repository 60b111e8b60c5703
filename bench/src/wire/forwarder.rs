//! The reference: AF_XDP in, link addresses rewritten, AF_XDP out, both ways. What it reaches is what the sockets and
//! veths of this machine allow; nothing that looks into packets can be faster.

use super::device::{CORE, Device, FRAMES, RING, Running};
use super::lab::{self, GEN, LAN, Lab, Place, SINK, WAN};
use super::steer::Steer;
use super::traffic::Tunnels;
use anyhow::Context;
use arrayvec::ArrayVec;
use ravelin_wire::ethernet::{self, Ethernet};
use ravelin_xsk::{Frame, FramePool, Socket, SocketConfig, Umem, UmemConfig};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

const BATCH: usize = 64;

pub(crate) struct Forwarder;

impl Device for Forwarder {
    fn name(&self) -> String {
        "plain forwarder".to_owned()
    }

    fn start(&self, lab: &Lab, _: &Arc<Tunnels>) -> anyhow::Result<Box<dyn Running>> {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, (ready, is_ready)) = (stop.clone(), mpsc::channel());
        let thread = lab.inside(Place::Gateway, move || forward(&stopped, &ready));
        let Ok(tid) = is_ready.recv() else {
            thread.join().map_err(|_| anyhow::anyhow!("the forwarder panicked"))???;
            anyhow::bail!("the forwarder ended by itself")
        };
        let schedstat = PathBuf::from(format!("/proc/self/task/{tid}/schedstat"));
        Ok(Box::new(Forwarding { stop, thread: Some(thread), schedstat }))
    }
}

struct Forwarding {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<anyhow::Result<anyhow::Result<()>>>>,
    schedstat: PathBuf,
}

impl Running for Forwarding {
    fn threads(&self) -> Vec<PathBuf> {
        vec![self.schedstat.clone()]
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Ok(Err(e) | Ok(Err(e)))) = self.thread.take().map(JoinHandle::join) {
            eprintln!("forwarder: {e:#}");
        }
    }
}

fn forward(stop: &AtomicBool, ready: &mpsc::Sender<nix::unistd::Pid>) -> anyhow::Result<()> {
    crate::instrument::pin(Some(CORE))?;
    let umem = Umem::new(UmemConfig { frames: FRAMES, ..UmemConfig::default() })?;
    let mut pool = umem.pools(1).pop().context("one pool")?;
    let (mut lan_steer, mut lan) = port(&umem, LAN)?;
    let (mut wan_steer, mut wan) = port(&umem, WAN)?;
    lan_steer.steering()?.set_socket(0, &lan)?;
    wan_steer.steering()?.set_socket(0, &wan)?;
    let (to_sink, to_generator) = (link(WAN, SINK), link(LAN, GEN));
    let _ = ready.send(nix::unistd::gettid());
    while !stop.load(Ordering::Relaxed) {
        pass(&mut lan, &mut wan, &to_sink, &mut pool)?;
        pass(&mut wan, &mut lan, &to_generator, &mut pool)?;
    }
    lan.close(&mut pool);
    wan.close(&mut pool);
    Ok(())
}

fn link(from: &str, to: &str) -> [u8; ethernet::HEADER] {
    Ethernet { dst: lab::mac(to), src: lab::mac(from), ethertype: ethernet::IPV4 }.to_bytes()
}

fn pass(
    from: &mut Socket,
    to: &mut Socket,
    header: &[u8; ethernet::HEADER],
    pool: &mut FramePool,
) -> anyhow::Result<()> {
    from.refill(pool);
    to.complete(pool);
    let mut batch = ArrayVec::<Frame, BATCH>::new();
    let room = to.tx_room(BATCH);
    if from.receive(&mut batch, room) == 0 {
        return Ok(());
    }
    for mut frame in batch {
        if let Some(old) = frame.data_mut().first_chunk_mut() {
            *old = *header;
        }
        if let Err(frame) = to.send(frame) {
            pool.free(frame);
        }
    }
    to.kick().context("transmitting")
}

fn port(umem: &Arc<Umem>, dev: &str) -> anyhow::Result<(Steer, Socket)> {
    let steer = Steer::everything(dev)?;
    let ifindex = nix::net::if_::if_nametoindex(dev)?;
    let config = SocketConfig { ifindex, queue: 0, ring_size: RING, fill_limit: RING, force_copy: false };
    Ok((steer, Socket::bind(umem, config)?))
}
