//! A queue of frames that costs what a ring of an AF_XDP socket does: a place and a mask.
//!
//! Decides: nothing. Never: grows; what finds no room comes back.

use ravelin_xsk::Frame;

/// Oldest first.
#[derive(Debug)]
pub(super) struct Queue {
    places: Box<[Frame]>,
    /// Of the oldest one, and of the next one; both only rise.
    first: usize,
    next: usize,
}

impl Queue {
    /// With room for at least so many.
    pub(super) fn new(room: usize) -> Self {
        let places = (0..room.next_power_of_two()).map(|_| Frame::none()).collect();
        Self { places, first: 0, next: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.next - self.first
    }

    #[inline(always)]
    fn place(&mut self, at: usize) -> Option<&mut Frame> {
        let mask = self.places.len().wrapping_sub(1);
        self.places.get_mut(at & mask)
    }

    #[inline(always)]
    pub(super) fn push(&mut self, frame: Frame) -> Result<(), Frame> {
        if self.len() >= self.places.len() {
            return Err(frame);
        }
        let next = self.next;
        match self.place(next) {
            Some(place) => *place = frame,
            None => return Err(frame),
        }
        self.next += 1;
        Ok(())
    }

    #[inline(always)]
    pub(super) fn pop(&mut self) -> Option<Frame> {
        if self.first == self.next {
            return None;
        }
        let frame = self.place(self.first)?.take();
        self.first += 1;
        Some(frame)
    }

    /// Without taking any out.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Frame> {
        let mask = self.places.len().wrapping_sub(1);
        (self.first..self.next).filter_map(move |at| self.places.get(at & mask))
    }
}
