//! Who watches a batch on its way: `bench stage`, a dry run, a capture. The data plane itself uses `()`, which costs nothing.
//!
//! Decides: nothing. Never: changes what becomes of a packet.

use crate::batch::Batch;
use crate::clock::Now;
use crate::sa::SaDb;
use crate::worker::Worker;
use ravelin_xsk::FramePool;

/// Places of the way at which [`Probe::look`] is asked, in their order. After an ICMP error was made, `Decided` and `Seal`
/// come once more, for the error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Point {
    /// As it came.
    Received,
    /// Places: of ESP, of AH. SAs have not been asked yet.
    Sorted,
    /// Out of its SA, or clear from the beginning. Places: of both.
    Clear,
    /// Policies, routes and SAs are known. Places: of what is to be protected, of what goes on in clear.
    Decided,
    /// Cut to size, to be protected next. Places: of those.
    Seal,
    /// Each packet has its verdict.
    Done,
}

/// What can be seen.
#[derive(Debug)]
pub struct View<'a> {
    pub(crate) batch: &'a mut Batch,
    pub(crate) db: &'a mut SaDb,
    /// See [`Point`].
    pub(crate) places: (&'a [u16], &'a [u16]),
}

/// Told of each stage as it ends.
pub trait Probe {
    /// `packets`: how many the stage was given.
    #[inline(always)]
    fn stage(&mut self, _stage: &'static str, _packets: usize) {}

    /// Whether [`Self::look`] is worth asking.
    #[inline(always)]
    fn looks(&self) -> bool {
        false
    }

    /// The packets between two stages; see [`Self::looks`].
    #[inline(always)]
    fn look(&mut self, _point: Point, _view: View<'_>) {}
}

impl Probe for () {}

/// A probe that is chosen at run time: one copy of the way serves all of them.
#[derive(Debug)]
struct Watched<'a, P: ?Sized>(&'a mut P);

impl Probe for Watched<'_, dyn Probe + '_> {
    fn looks(&self) -> bool {
        true
    }

    fn look(&mut self, point: Point, view: View<'_>) {
        self.0.look(point, view);
    }
}

impl Worker {
    /// [`Self::process`], watched by whatever is there to watch it.
    #[cold]
    pub fn process_watched(
        &mut self,
        batch: &mut Batch,
        pool: &mut FramePool,
        now: Now,
        probe: &mut dyn Probe,
    ) {
        self.process_probed(batch, pool, now, &mut Watched(probe));
    }
}
