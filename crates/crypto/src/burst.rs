//! Bursts that grow packet by packet: each packet is prepared as it comes, while what it is made of is in registers still.
//!
//! Decides: as `frame`, whether a packet's lengths are possible. Reads: jobs. Writes: header and trailer before sealing;
//! after opening, where the payload lies. Never: encrypts, or says anything but "refused" of what no kernel found authentic.

use core::fmt;

use arrayvec::ArrayVec;

use crate::engine::BURST;
use crate::frame;
use crate::group::{Group, Groups};
use crate::suite::Cipher;
use crate::{Key, OpenError, OpenJob, Opened, SealJob};

/// Packets that wait to be sealed together ([`crate::Engine::seal_burst`]): at most [`BURST`].
#[derive(Default)]
pub struct SealBurst<'a> {
    pub(crate) jobs: ArrayVec<SealJob<'a>, BURST>,
    pub(crate) groups: Groups,
    pub(crate) refused: usize,
}

/// Packets that wait to be opened together ([`crate::Engine::open_burst`]): at most [`BURST`].
#[derive(Default)]
pub struct OpenBurst<'a> {
    pub(crate) jobs: ArrayVec<OpenJob<'a>, BURST>,
    pub(crate) groups: Groups,
    pub(crate) possible: Group,
}

/// What was found about the packets of a burst that was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    pub(crate) possible: Group,
    pub(crate) authentic: Group,
}

impl<'a> SealBurst<'a> {
    #[inline]
    pub fn is_full(&self) -> bool {
        self.jobs.is_full()
    }

    /// How many more packets it takes.
    #[inline]
    pub fn room(&self) -> usize {
        self.jobs.remaining_capacity()
    }

    /// One more packet, of which all but the ciphertext and the ICV is written. A job whose lengths contradict each other,
    /// or for which there is no room, is refused: its packet is zeroed, and [`crate::Engine::seal_burst`] counts it.
    #[inline(always)]
    pub fn push(&mut self, job: SealJob<'a>) {
        // By their values: together in memory they would be read as a whole right after they were written in parts, which
        // stalls.
        let SealJob { key, spi, seq, esn, next_header, payload_len, packet } = job;
        if key.cipher != Cipher::Gcm {
            return self.push_other(key, (spi, esn), seq, (payload_len, next_header), packet);
        }
        let n = self.jobs.len();
        if n >= BURST || !frame::write_gcm((spi, seq), (payload_len, next_header), packet) {
            return self.refuse(packet);
        }
        let _ = self.jobs.try_push(SealJob { key, spi, seq, esn, next_header, payload_len, packet }); // there was room
        self.groups.add(n, key);
    }

    #[inline(never)]
    fn push_other(
        &mut self,
        key: &'a Key,
        (spi, esn): (u32, bool),
        seq: u64,
        (payload_len, next_header): (usize, u8),
        packet: &'a mut [u8],
    ) {
        let mut job = SealJob { key, spi, seq, esn, next_header, payload_len, packet };
        let n = self.jobs.len();
        if n >= BURST || !frame::prepare(&mut job) {
            return self.refuse(job.packet);
        }
        self.groups.add(n, job.key);
        let _ = self.jobs.try_push(job); // there was room
    }

    #[cold]
    fn refuse(&mut self, packet: &mut [u8]) {
        packet.fill(0);
        self.refused += 1;
    }
}

impl<'a> OpenBurst<'a> {
    #[inline]
    pub fn is_full(&self) -> bool {
        self.jobs.is_full()
    }

    /// One more packet. Of one for which there is no room, [`Found::outcome`] says that its length is impossible.
    #[inline(always)]
    pub fn push(&mut self, job: OpenJob<'a>) {
        let n = self.jobs.len();
        if n < BURST {
            if frame::is_possible(&job) {
                self.possible |= 1 << n;
                self.groups.add(n, job.key);
            }
            let _ = self.jobs.try_push(job); // there was room
        }
    }
}

impl Found {
    /// Of packet `n` from here on, which is given once more, as it is now. `offset` and `icv` are those of its suite: bytes
    /// before the payload and of the ICV.
    #[inline]
    pub fn outcome(self, n: usize, packet: &[u8], offset: u8, icv: u8) -> Result<Opened, OpenError> {
        if self.is_authentic(n) {
            return frame::read(packet, offset.into(), icv.into());
        }
        let forged = n < BURST && self.possible >> n & 1 == 1;
        Err(if forged { OpenError::BadIcv } else { OpenError::BadEsp })
    }

    /// [`Self::outcome`] for who wants to know no more of others.
    #[inline(always)]
    pub fn opened(self, n: usize, packet: &[u8], offset: u8, icv: u8) -> Option<Opened> {
        if !self.is_authentic(n) {
            return None;
        }
        frame::read(packet, offset.into(), icv.into()).ok()
    }

    #[inline(always)]
    fn is_authentic(self, n: usize) -> bool {
        n < BURST && self.authentic >> n & 1 == 1
    }
}

impl fmt::Debug for SealBurst<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealBurst({} packets, {} refused)", self.jobs.len(), self.refused)
    }
}

impl fmt::Debug for OpenBurst<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenBurst({} packets)", self.jobs.len())
    }
}
