//! `ravelin capture` and `ravelin trace --packets`: records of packets on their way, as pcapng or as lines.
//!
//! Decides: how a record is written down. Reads: records of the data plane. Never: asks for more than it writes.

mod line;
mod pcapng;

pub use line::{comment, line};
pub use pcapng::Writer;
