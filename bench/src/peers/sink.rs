//! The end of the wire: an XDP program without a socket, which drops and counts all IPv4 in the kernel.

use crate::host::{Net, joined};
use anyhow::Context;
use ravelin_ebpf::{AttachMode, PortConfig, Steering};
use std::path::PathBuf;

/// Taken off its port when dropped.
#[derive(Debug)]
pub(super) struct Sink(Option<Steering>);

impl Sink {
    pub(super) fn attach(net: &Net, place: &str, device: &'static str) -> anyhow::Result<Self> {
        joined(net.inside(place, move || {
            let ifindex = nix::net::if_::if_nametoindex(device)?;
            let port =
                PortConfig { ifindex, name: device.to_owned(), mode: AttachMode::Native, vpn_only: false };
            let mut steering = Steering::load_and_attach(&port, &pins())?;
            let all = "0.0.0.0/0".parse().map_err(|e| anyhow::anyhow!("{e}"))?;
            steering.set_protected(&[all])?;
            Ok(Self(Some(steering)))
        }))?
    }

    /// Since it was attached.
    pub(super) fn packets(&self) -> anyhow::Result<u64> {
        Ok(self.0.as_ref().context("taken off")?.counters()?.no_worker)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some(Err(e)) = self.0.take().map(Steering::detach) {
            eprintln!("the XDP program stays attached: {e}");
        }
        let _ = std::fs::remove_dir(pins());
    }
}

fn pins() -> PathBuf {
    PathBuf::from(format!("/sys/fs/bpf/ravelin-bench-peers-{}", std::process::id()))
}
