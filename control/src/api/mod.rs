//! The API between `ravelin` and `ravelin-control`: a Unix socket, one JSON request per line, one JSON answer per line.
//!
//! Decides: names and shapes ([`types`](self)), sizes and time limits of the conversation.
//! Reads: what a client writes, never more than [`MAX_REQUEST`] bytes of it. Writes: the answer.
//! Never: touches state of its own; the control process answers through [`Call`].

mod types;
pub mod client;
pub mod server;

pub use server::{Call, Server};
pub use types::*;

use std::path::{Path, PathBuf};

/// Longest request line in bytes; all lawful ones are far shorter.
pub const MAX_REQUEST: usize = 64 * 1024;

/// Longest answer a client takes: 4,096 SAs in JSON fit many times.
pub const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// Where the control process listens.
pub fn socket_path(run_dir: &Path) -> PathBuf {
    run_dir.join("control.sock")
}
