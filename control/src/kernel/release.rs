//! `ravelin release`: takes back what stays in the kernel on purpose when the processes end.
//!
//! Never: while the data plane lives; the caller must know that it does not.

use super::devices;
use super::failclosed::FailClosed;
use super::mirror::KernelError;
use futures::TryStreamExt;
use rtnetlink::new_connection;
use std::fs;
use std::path::{Path, PathBuf};

/// Where pinned XDP links and maps lie: one folder per instance.
const BPF_FS: &str = "/sys/fs/bpf";

/// What was there and is gone now.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Released {
    pub routes_and_rules: usize,
    pub tun: bool,
    pub pins: Vec<PathBuf>,
}

/// Removes our rules, the routes of table 4500, the TUN device, those of route-based tunnels with the routes into them, and the pinned XDP programs of `instance`
/// (the folder `ravelin-<instance>` in the BPF file system; unpinning detaches).
pub async fn release(tun: &str, instance: &str) -> Result<Released, KernelError> {
    let (connection, handle, _) = new_connection()?;
    let connection = tokio::spawn(connection);
    let mut routes_and_rules = FailClosed::new(handle.clone(), Vec::new()).remove_all().await?;
    routes_and_rules += devices::remove_all(&handle).await?;
    let mut released = Released { routes_and_rules, ..Released::default() };
    let mut links = handle.link().get().match_name(tun).execute();
    if let Ok(Some(link)) = links.try_next().await {
        handle.link().del(link.header.index).execute().await?;
        released.tun = true;
    }
    released.pins = unpin(&Path::new(BPF_FS).join(format!("ravelin-{instance}")))?;
    connection.abort();
    Ok(released)
}

/// Removes what is pinned in `folder` and one level below (a folder per port), then the folders.
fn unpin(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut gone = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return Ok(gone) };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            for pin in fs::read_dir(&path)? {
                let pin = pin?.path();
                fs::remove_file(&pin)?;
                gone.push(pin);
            }
            fs::remove_dir(&path)?;
        } else {
            fs::remove_file(&path)?;
            gone.push(path);
        }
    }
    fs::remove_dir(folder)?;
    Ok(gone)
}
