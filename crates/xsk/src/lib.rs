//! AF_XDP: one region of frames (UMEM), the rings shared with the kernel, sockets, and the TUN device beside them.
//!
//! Decides: who owns a frame. A [`Frame`] is owned by exactly one place at a time: a pool, a batch, a ring to the
//! kernel. What the kernel writes (descriptors, indices) is checked against what it was given, in release builds too.
//! Reads and writes: the UMEM and the rings. Never: looks into packets, allocates or locks per packet.

mod frame;
mod umem;
mod pool;
mod ring;
mod queue;
mod meter;
mod socket;
mod error;
mod sys;
mod prefetch;
mod room;
mod pairs;
pub mod tun;

pub use error::Error;
pub use frame::{Frame, leaked_frames};
pub use meter::{Meter, Statistics};
pub use pairs::{Apart, Pairs};
pub use pool::FramePool;
pub use prefetch::{prefetch, prefetch_ahead, prefetch_bytes, prefetch_lines};
pub use queue::Anomalies;
pub use room::with_room;
pub use socket::{Mode, Socket, SocketConfig};
pub use umem::{HugePages, Umem, UmemConfig};
