//! One AF_XDP socket: a queue of a port, seen from its worker.
//!
//! Decides: how the UMEM is shared (with a bound socket if the kernel lets us, else registered anew), how often a busy
//! queue is tried. Says which mode the kernel chose. Never: blocks after the bind.

use crate::meter::{self, Meter, Statistics};
use crate::queue::{Anomalies, Queue, Rings};
use crate::ring::{Ring, Side};
use crate::{Error, Frame, FramePool, Umem, sys};
use arrayvec::ArrayVec;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// A queue stays busy for some milliseconds after its last user has gone.
const BIND_PATIENCE: Duration = Duration::from_millis(1200);
const BIND_PAUSE: Duration = Duration::from_millis(10);
/// One system call transmits 32 packets in copy mode; this many calls empty the largest batch and then some.
const MAX_KICKS: usize = 16;

#[derive(Clone, Copy, Debug)]
pub struct SocketConfig {
    pub ifindex: u32,
    pub queue: u32,
    /// Entries of each of the four rings, a power of two.
    pub ring_size: u32,
    /// Most frames lent to the kernel for reception; at most `ring_size`.
    pub fill_limit: u32,
    /// Do not try zero-copy.
    pub force_copy: bool,
}

/// How packets travel between NIC and UMEM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    ZeroCopy,
    Copy,
}

#[derive(Debug)]
pub struct Socket {
    // Field order: the rings are unmapped before the descriptor is closed.
    queue: Queue,
    fd: Descriptor,
    mode: Mode,
    config: SocketConfig,
    /// Every refill is a system call in which the kernel polls the queue.
    busy_poll: bool,
}

/// The socket's descriptor; closing it takes it off the list of those to share with.
#[derive(Debug)]
struct Descriptor {
    fd: OwnedFd,
    umem: Arc<Umem>,
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        self.umem.bound().retain(|other| *other != self.fd.as_raw_fd());
    }
}

impl Socket {
    /// Binds to a queue; waits up to about a second while it is busy.
    pub fn bind(umem: &Arc<Umem>, config: SocketConfig) -> Result<Self, Error> {
        if !config.ring_size.is_power_of_two() || config.ring_size > 1 << 16 {
            return Err(Error::Config("the ring size must be a power of two up to 65536"));
        }
        let deadline = Instant::now() + BIND_PATIENCE;
        loop {
            match Self::bind_somehow(umem, config) {
                Err(Error::Busy { .. }) if Instant::now() < deadline => thread::sleep(BIND_PAUSE),
                done => return done,
            }
        }
    }

    /// Shares the UMEM with a socket that is bound already; if none lets us (its device has gone, or it is zero-copy
    /// and this one cannot), registers it once more. Frames are the same either way.
    fn bind_somehow(umem: &Arc<Umem>, config: SocketConfig) -> Result<Self, Error> {
        // The lock is held on, so that no candidate is closed meanwhile; nobody takes it per packet.
        let mut bound = umem.bound();
        let candidates: Vec<RawFd> = bound.clone();
        for share in candidates.into_iter().map(Some).chain([None]) {
            match Self::try_bind(umem, config, share) {
                Ok(socket) => {
                    bound.push(socket.as_fd().as_raw_fd());
                    return Ok(socket);
                }
                // Shared binds fail for reasons of the other socket; busy and vanished queues are their own.
                Err(Error::System { .. }) if share.is_some() => {}
                Err(e) => return Err(e),
            }
        }
        Err(Error::Config("unreachable: the last try shares with nobody"))
    }

    fn try_bind(umem: &Arc<Umem>, config: SocketConfig, share: Option<RawFd>) -> Result<Self, Error> {
        let fd = sys::xdp_socket().map_err(|e| Error::of("opening an AF_XDP socket", e))?;
        if share.is_none() {
            let reg = umem.registration();
            sys::register_umem(fd.as_fd(), reg).map_err(|e| match e.raw_os_error() {
                Some(libc::ENOBUFS | libc::ENOMEM) => Error::Memlock { bytes: reg.len, source: e },
                _ => Error::of("registering the UMEM", e),
            })?;
        }
        let rings = map_rings(fd.as_fd(), config.ring_size)?;
        let flags = match (share, config.force_copy || umem.copy_only()) {
            (Some(_), _) => libc::XDP_SHARED_UMEM, // the mode is inherited
            (None, true) => libc::XDP_USE_NEED_WAKEUP | libc::XDP_COPY,
            (None, false) => libc::XDP_USE_NEED_WAKEUP,
        };
        let (ifindex, queue) = (config.ifindex, config.queue);
        sys::bind(fd.as_fd(), ifindex, queue, flags, share).map_err(|e| match e.raw_os_error() {
            Some(libc::EBUSY) => Error::Busy { ifindex, queue, source: e },
            Some(libc::ENODEV) => Error::NoDevice { ifindex, queue, source: e },
            Some(libc::EINVAL) if share.is_none() => Error::NoDevice { ifindex, queue, source: e },
            Some(libc::ENOBUFS | libc::ENOMEM) => {
                Error::Memlock { bytes: umem.registration().len, source: e }
            }
            _ => Error::of("binding an AF_XDP socket", e),
        })?;
        let options = sys::options(fd.as_fd()).map_err(|e| Error::of("reading the socket's mode", e))?;
        let mode = if options & libc::XDP_OPTIONS_ZEROCOPY != 0 { Mode::ZeroCopy } else { Mode::Copy };
        let queue = Queue::new(umem.clone(), rings, config.fill_limit);
        Ok(Self { queue, fd: Descriptor { fd, umem: umem.clone() }, mode, config, busy_poll: false })
    }

    /// Appends up to `max` received frames, as far as `out` has room; how many.
    #[inline]
    pub fn receive<const N: usize>(&mut self, out: &mut ArrayVec<Frame, N>, max: usize) -> usize {
        self.queue.receive(out, max)
    }

    /// From now on at most so many frames are lent for reception (as far as the ring is long). Frames lent already
    /// come back as packets.
    pub fn set_fill_limit(&mut self, frames: u32) {
        self.queue.set_fill_limit(frames);
    }

    /// Lends the kernel empty frames for reception, up to the configured limit.
    pub fn refill(&mut self, pool: &mut FramePool) {
        self.queue.refill(pool);
        if self.busy_poll || self.queue.wants_rx_wakeup() {
            sys::kick_rx(self.as_fd());
        }
    }

    /// Queues a whole Ethernet frame. It comes back when the ring is full or it is empty.
    #[inline]
    #[allow(clippy::result_large_err)] // the frame comes back to its owner
    pub fn send(&mut self, frame: Frame) -> Result<(), Frame> {
        self.queue.send(frame)
    }

    /// Frames that can be sent now, as far as the caller cares (`want`).
    #[inline]
    pub fn tx_room(&mut self, want: usize) -> usize {
        self.queue.tx_room(want)
    }

    /// Hands what was sent to the kernel. An error means that the device is down or gone.
    pub fn kick(&mut self) -> io::Result<()> {
        let mut kicks = 0;
        while self.queue.flush() && kicks < MAX_KICKS {
            kicks += 1;
            match sys::kick_tx(self.as_fd()) {
                Ok(()) => {}
                Err(e) if again(&e) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Takes transmitted frames back into `pool`; how many.
    pub fn complete(&mut self, pool: &mut FramePool) -> usize {
        self.queue.complete(pool)
    }

    /// Frames sent and not yet completed.
    pub fn in_flight(&self) -> usize {
        self.queue.in_flight()
    }

    /// From now on [`Self::refill`] lets the kernel poll the queue on the caller's core, for up to `micros` and `budget`
    /// packets a call, instead of by interrupts (Linux 5.11; napi_defer_hard_irqs of the device keeps them off).
    pub fn prefer_busy_poll(&mut self, micros: u16, budget: u16) -> io::Result<()> {
        sys::prefer_busy_poll(self.as_fd(), micros.into(), budget.into())?;
        self.busy_poll = true;
        Ok(())
    }

    pub fn statistics(&self) -> io::Result<Statistics> {
        meter::read(self.as_fd())
    }

    /// For another thread to read the statistics.
    pub fn meter(&self) -> io::Result<Meter> {
        Meter::new(self.as_fd())
    }

    pub fn anomalies(&self) -> Anomalies {
        self.queue.anomalies()
    }

    pub fn mode(&self) -> Mode {
        self.mode
    }

    pub fn config(&self) -> &SocketConfig {
        &self.config
    }

    /// Closes the socket. Frames that waited for reception go to `pool`; how many frames are lost (they were on their
    /// way out, or the NIC itself may still write to them).
    pub fn close(self, pool: &mut FramePool) -> usize {
        let Self { queue, fd, mode, .. } = self;
        let lent = queue.into_lent();
        drop(fd);
        lent.reclaim(pool, mode == Mode::ZeroCopy)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.fd.as_fd()
    }
}

fn again(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS | libc::EINTR))
}

fn map_rings(fd: BorrowedFd<'_>, size: u32) -> Result<Rings, Error> {
    let which =
        [libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING, libc::XDP_RX_RING, libc::XDP_TX_RING];
    for ring in which {
        sys::set_ring_size(fd, ring, size).map_err(|e| Error::of("sizing an AF_XDP ring", e))?;
    }
    let offsets = sys::ring_offsets(fd).map_err(|e| Error::of("reading the ring layout", e))?;
    let fill = libc::off_t::try_from(libc::XDP_UMEM_PGOFF_FILL_RING).unwrap_or(0);
    let completion = libc::off_t::try_from(libc::XDP_UMEM_PGOFF_COMPLETION_RING).unwrap_or(0);
    Ok(Rings {
        rx: Ring::map(fd, Side::Consumer, size, &offsets.rx, libc::XDP_PGOFF_RX_RING)?,
        tx: Ring::map(fd, Side::Producer, size, &offsets.tx, libc::XDP_PGOFF_TX_RING)?,
        fill: Ring::map(fd, Side::Producer, size, &offsets.fr, fill)?,
        completion: Ring::map(fd, Side::Consumer, size, &offsets.cr, completion)?,
    })
}
