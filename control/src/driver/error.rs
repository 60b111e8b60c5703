//! Why the control process cannot start or go on: what, and the cure.

use crate::config::Errors;
use crate::kernel::KernelError;
use crate::net::NetError;
use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    #[error("{0}")]
    Config(#[from] Errors),
    #[error("{0}")]
    Net(#[from] NetError),
    #[error("{0}\n    cure: run as root, or with CAP_NET_ADMIN")]
    Kernel(#[from] KernelError),
    #[error("{what} {path}: {source}")]
    Io { what: &'static str, path: PathBuf, source: io::Error },
}

/// A failure that does not end the process.
pub(super) fn report(what: &str, result: Result<(), DriverError>) {
    if let Err(why) = result {
        tracing::error!(%why, "{what}");
    }
}
