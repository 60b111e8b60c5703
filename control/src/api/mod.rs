//! The API between `ravelin` and `ravelin-control`: a Unix socket, one JSON request per line, one JSON answer per line.
//!
//! Decides: names and shapes ([`types`](self)), sizes and time limits of the conversation.
//! Reads: what a client writes, never more than [`MAX_REQUEST`] bytes of it. Writes: the answer.
//! Never: touches state of its own; the control process answers through [`Call`].

mod types;
mod statuses;
pub mod client;
pub mod server;

pub use server::{Call, Server, Serving};
pub use statuses::*;
pub use types::*;

use std::path::{Path, PathBuf};

/// Longest request line in bytes; all lawful ones are far shorter.
pub const MAX_REQUEST: usize = 64 * 1024;

/// Longest answer a client takes: 4,096 SAs in JSON fit many times.
pub const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// Whether a process of this network namespace listens on a Unix socket of this path. Connecting would tell too, but a
/// data plane takes every connection for a new control process.
pub fn listens(path: &Path) -> bool {
    let Ok(table) = std::fs::read_to_string("/proc/net/unix") else { return path.exists() };
    let path = path.to_string_lossy();
    // Num RefCount Protocol Flags Type St Inode Path; flag 0x10000 (__SO_ACCEPTCON): it listens (proc(5)).
    table.lines().filter(|line| line.split_whitespace().nth(7) == Some(&*path)).any(|line| {
        let flags = line.split_whitespace().nth(3).and_then(|flags| u32::from_str_radix(flags, 16).ok());
        flags.is_some_and(|flags| flags & 0x1_0000 != 0)
    })
}

/// Name of this gateway among several of one machine: the last part of its run directory. Pinned XDP programs lie in
/// `/sys/fs/bpf/ravelin-<instance>`.
pub fn instance(run_dir: &Path) -> String {
    run_dir.file_name().map_or_else(|| "ravelin".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Where the control process listens.
pub fn socket_path(run_dir: &Path) -> PathBuf {
    run_dir.join("control.sock")
}

#[cfg(test)]
mod tests;
