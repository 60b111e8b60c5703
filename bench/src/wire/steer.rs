//! The gateway's steering program with everything protected: all IPv4 goes to the sockets, or, where there is none,
//! nowhere. So the reference pays for the same look at each frame as the gateway.

use anyhow::Context;
use ravelin_ebpf::{AttachMode, PortConfig, Steering};
use std::path::PathBuf;

/// Taken off its port when dropped.
pub(super) struct Steer(Option<Steering>);

impl Steer {
    /// In the namespace of the calling thread.
    pub(super) fn everything(dev: &str) -> anyhow::Result<Self> {
        let ifindex = nix::net::if_::if_nametoindex(dev)?;
        let port = PortConfig { ifindex, name: dev.to_owned(), mode: AttachMode::Native, vpn_only: false };
        let mut steering = Steering::load_and_attach(&port, &pins())?;
        let all = "0.0.0.0/0".parse().map_err(|e| anyhow::anyhow!("{e}"))?;
        steering.set_protected(&[all])?;
        Ok(Self(Some(steering)))
    }

    pub(super) fn steering(&mut self) -> anyhow::Result<&mut Steering> {
        self.0.as_mut().context("taken off")
    }
}

impl Drop for Steer {
    fn drop(&mut self) {
        if let Some(Err(e)) = self.0.take().map(Steering::detach) {
            eprintln!("the XDP program stays attached: {e}");
        }
        let _ = std::fs::remove_dir(pins());
    }
}

fn pins() -> PathBuf {
    PathBuf::from(format!("/sys/fs/bpf/ravelin-bench-{}", std::process::id()))
}
