//! One port of the tester: an AF_XDP socket that sends and receives, and the tap that counts what arrives.

use super::lab::End;
use anyhow::Context;
use arrayvec::ArrayVec;
use ravelin_ebpf::bench::Tap;
use ravelin_xsk::{Frame, FramePool, Socket, SocketConfig, Umem, UmemConfig};

const FRAMES: u32 = 8192;
const RING: u32 = 2048;
/// Packets of one transmit call.
pub(super) const BURST: usize = 64;

pub(super) struct Side {
    pub(super) tap: Tap,
    socket: Socket,
    pool: FramePool,
    pub(super) end: End,
}

impl Side {
    /// Takes back the frames of all that has left.
    pub(super) fn complete(&mut self) {
        self.socket.complete(&mut self.pool);
    }

    /// In the namespace of the calling thread.
    pub(super) fn open(end: &End) -> anyhow::Result<Self> {
        let ifindex = nix::net::if_::if_nametoindex(end.dev.as_str())
            .with_context(|| format!("no device {} here (`ip link` shows which there are)", end.dev))?;
        let umem = Umem::new(UmemConfig { frames: FRAMES, ..UmemConfig::default() })?;
        let pool = umem.pools(1).pop().context("one pool")?;
        let mut tap = Tap::attach(&end.dev, ifindex)?;
        let config = SocketConfig { ifindex, queue: 0, ring_size: RING, fill_limit: RING, force_copy: false };
        let socket = Socket::bind(&umem, config)?;
        tap.set_socket(0, &socket)?;
        Ok(Self { tap, socket, pool, end: end.clone() })
    }

    /// Sends as many of `n` packets as there is room for, written by `write` all at once.
    pub(super) fn transmit(&mut self, n: usize, write: impl FnOnce(&mut [Frame])) -> anyhow::Result<usize> {
        self.socket.complete(&mut self.pool);
        let mut frames = ArrayVec::<Frame, BURST>::new();
        for _ in 0..self.socket.tx_room(n).min(n).min(BURST) {
            match self.pool.alloc() {
                Some(frame) => frames.push(frame),
                None => break,
            }
        }
        write(&mut frames);
        let mut sent = 0;
        for frame in frames {
            match self.socket.send(frame) {
                Ok(()) => sent += 1,
                Err(frame) => self.pool.free(frame),
            }
        }
        self.socket.kick().context("transmitting")?;
        Ok(sent)
    }

    pub(super) fn receive(&mut self, mut each: impl FnMut(&mut [u8])) {
        self.socket.refill(&mut self.pool);
        let mut frames = ArrayVec::<Frame, BURST>::new();
        self.socket.receive(&mut frames, BURST);
        for mut frame in frames {
            each(frame.data_mut());
            self.pool.free(frame);
        }
    }
}
