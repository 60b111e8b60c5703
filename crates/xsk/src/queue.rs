//! The four rings of one (port, queue), and which frames lie in them.
//!
//! Decides: whether a descriptor that the kernel wrote names a frame that the kernel was given through this very ring.
//! Only then a [`Frame`] is made of it; everything else is counted as an anomaly and ignored. Needs no socket: tests
//! play the kernel.

use crate::ring::Ring;
use crate::{Frame, FramePool, Umem};
use arrayvec::ArrayVec;
use std::sync::Arc;

/// What the kernel wrote and cannot have meant. All zero on a sane machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Anomalies {
    /// Descriptors that name a frame which the kernel did not hold, or bytes outside of it.
    pub descriptors: u64,
    /// Ring indices further than the ring is long.
    pub indices: u64,
}

#[derive(Debug)]
pub(crate) struct Rings {
    pub(crate) rx: Ring<libc::xdp_desc>,
    pub(crate) tx: Ring<libc::xdp_desc>,
    pub(crate) fill: Ring<u64>,
    pub(crate) completion: Ring<u64>,
}

#[derive(Debug)]
pub(crate) struct Queue {
    rings: Rings,
    lent: Lent,
    /// Most frames that may be lent for reception.
    fill_limit: u32,
    bad_descriptors: u64,
}

/// The frames that the kernel holds.
#[derive(Debug)]
pub(crate) struct Lent {
    umem: Arc<Umem>,
    /// Frames in the fill ring or under reception.
    filled: Set,
    /// Frames in the transmit ring or on their way out.
    sent: Set,
    /// Frames whose descriptor lied: ours again, for the next refill.
    stray: Vec<u32>,
}

impl Queue {
    pub(crate) fn new(umem: Arc<Umem>, rings: Rings, fill_limit: u32) -> Self {
        let frames = umem.frames();
        let fill_limit = fill_limit.min(rings.fill.size());
        let (filled, sent) = (Set::new(frames), Set::new(frames));
        Self { rings, lent: Lent { umem, filled, sent, stray: Vec::new() }, fill_limit, bad_descriptors: 0 }
    }

    pub(crate) fn receive<const N: usize>(&mut self, out: &mut ArrayVec<Frame, N>, max: usize) -> usize {
        let want = u32::try_from(max.min(out.remaining_capacity())).unwrap_or(u32::MAX);
        let before = out.len();
        for _ in 0..self.rings.rx.ready(want).min(want) {
            let desc = self.rings.rx.take();
            if let Some(frame) = self.frame_of(&desc) {
                out.push(frame); // room: at most `remaining_capacity` turns
            }
        }
        self.rings.rx.publish();
        out.len() - before
    }

    fn frame_of(&mut self, desc: &libc::xdp_desc) -> Option<Frame> {
        let (index, start) = self.lent.umem.find(desc.addr);
        if !self.lent.filled.remove(index) {
            self.bad_descriptors += 1;
            return None;
        }
        // SAFETY: the frame was in `filled`: the kernel held it through our ring and has now given it back.
        let mut frame = unsafe { self.lent.umem.frame(index) }?;
        // Larger packets would come in pieces (PKT_CONTD), which we never ask for.
        let whole = desc.options & libc::XDP_PKT_CONTD == 0;
        let inside = frame.place(start, desc.len as usize);
        if whole && inside {
            return Some(frame);
        }
        self.bad_descriptors += 1;
        self.lent.stray.push(frame.into_index());
        None
    }

    /// Gives the kernel empty frames, up to the limit.
    pub(crate) fn refill(&mut self, pool: &mut FramePool) {
        let missing = self.fill_limit.saturating_sub(self.lent.filled.count);
        if missing == 0 {
            return;
        }
        for _ in 0..self.rings.fill.ready(missing).min(missing) {
            let index = match self.lent.stray.pop() {
                Some(index) => index,
                None => match pool.alloc() {
                    Some(frame) if self.lent.umem.owns(&frame) => frame.into_index(),
                    Some(_) | None => break,
                },
            };
            self.lent.filled.insert(index);
            self.rings.fill.put(self.lent.umem.address(index, 0));
        }
        self.rings.fill.publish();
    }

    /// The frame comes back when the ring is full, or the frame is empty or not of this UMEM.
    #[allow(clippy::result_large_err)] // the frame comes back to its owner
    pub(crate) fn send(&mut self, frame: Frame) -> Result<(), Frame> {
        // The kernel never completes an empty descriptor: its frame would be lost.
        if frame.is_empty() || !self.lent.umem.owns(&frame) || self.rings.tx.ready(1) == 0 {
            return Err(frame);
        }
        let addr = self.lent.umem.address(frame.index(), frame.start());
        let len = u32::try_from(frame.len()).unwrap_or(0);
        self.lent.sent.insert(frame.into_index());
        self.rings.tx.put(libc::xdp_desc { addr, len, options: 0 });
        Ok(())
    }

    /// Shows the sent frames to the kernel; true when it must be woken for them.
    pub(crate) fn flush(&mut self) -> bool {
        self.rings.tx.publish();
        self.rings.tx.needs_wakeup() && self.rings.tx.outstanding() > 0
    }

    pub(crate) fn tx_room(&mut self, want: usize) -> usize {
        self.rings.tx.ready(u32::try_from(want).unwrap_or(u32::MAX)) as usize
    }

    /// Takes back what was transmitted.
    pub(crate) fn complete(&mut self, pool: &mut FramePool) -> usize {
        if self.lent.sent.count == 0 {
            return 0;
        }
        let mut done = 0;
        for _ in 0..self.rings.completion.ready(self.lent.sent.count) {
            let (index, _) = self.lent.umem.find(self.rings.completion.take());
            if !self.lent.sent.remove(index) {
                self.bad_descriptors += 1;
                continue;
            }
            // SAFETY: the frame was in `sent`: the kernel held it through our ring and has now given it back.
            if let Some(mut frame) = unsafe { self.lent.umem.frame(index) } {
                frame.reset();
                pool.free(frame);
                done += 1;
            }
        }
        self.rings.completion.publish();
        done
    }

    pub(crate) fn set_fill_limit(&mut self, frames: u32) {
        self.fill_limit = frames.min(self.rings.fill.size());
    }

    pub(crate) fn wants_rx_wakeup(&self) -> bool {
        self.rings.fill.needs_wakeup()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.lent.sent.count as usize
    }

    pub(crate) fn anomalies(&self) -> Anomalies {
        let r = &self.rings;
        let indices = r.rx.anomalies + r.tx.anomalies + r.fill.anomalies + r.completion.anomalies;
        Anomalies { descriptors: self.bad_descriptors, indices }
    }

    /// Unmaps the rings; what the kernel still holds remains. The socket lives until its rings are unmapped and its
    /// descriptor is closed.
    pub(crate) fn into_lent(self) -> Lent {
        self.lent
    }
}

impl Lent {
    /// The socket is gone. Frames that waited for reception go to `pool`; those on their way out are lost (an skb may
    /// still read them), and so are all of a zero-copy socket (the NIC may still write to them): their number.
    pub(crate) fn reclaim(mut self, pool: &mut FramePool, zero_copy: bool) -> usize {
        let mut lost = self.sent.count as usize;
        if zero_copy {
            lost += self.filled.count as usize;
        } else {
            for index in 0..self.umem.frames() {
                if self.filled.remove(index) {
                    self.stray.push(index);
                }
            }
        }
        for index in core::mem::take(&mut self.stray) {
            // SAFETY: removed from `filled`, and the closed socket of a copy-mode queue writes no more.
            if let Some(frame) = unsafe { self.umem.frame(index) } {
                pool.free(frame);
            }
        }
        lost
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // The kernel has its own hold on pages that it still uses: for us these frames are over.
        self.umem.give_back((self.filled.count + self.sent.count) as usize + self.stray.len());
    }
}

/// A set of frame numbers.
#[derive(Debug)]
struct Set {
    bits: Box<[u64]>,
    count: u32,
}

impl Set {
    fn new(frames: u32) -> Self {
        Self { bits: vec![0; frames.div_ceil(64) as usize].into_boxed_slice(), count: 0 }
    }

    fn insert(&mut self, index: u32) {
        if let Some(word) = self.bits.get_mut((index / 64) as usize) {
            let bit = 1 << (index % 64);
            self.count += u32::from(*word & bit == 0);
            *word |= bit;
        }
    }

    /// Whether it was there.
    fn remove(&mut self, index: u32) -> bool {
        let Some(word) = self.bits.get_mut((index / 64) as usize) else { return false };
        let bit = 1 << (index % 64);
        let there = *word & bit != 0;
        *word &= !bit;
        self.count -= u32::from(there);
        there
    }
}

#[cfg(test)]
mod tests;
