//! The end of the wire: the steering program without a socket, which drops and counts everything that comes, in the
//! kernel. It costs the sender's core less than any receiver in user space would.

use super::lab::{Lab, Place, SINK};
use super::steer::Steer;

pub(super) struct Sink(Steer);

pub(super) fn start(lab: &Lab) -> anyhow::Result<Sink> {
    let steer = lab.inside(Place::Sink, || Steer::everything(SINK));
    Ok(Sink(steer.join().map_err(|_| anyhow::anyhow!("the sink panicked"))???))
}

impl Sink {
    /// Since it started.
    pub(super) fn packets(&self) -> anyhow::Result<u64> {
        self.0.dropped()
    }
}
