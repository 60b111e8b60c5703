//! Three network namespaces of this run alone, joined by two veth pairs, and threads inside them.
//!
//! Never: touches a namespace or device that it did not make.

use anyhow::{Context, bail};
use core::net::Ipv4Addr;
use ravelin_wire::MacAddr;
use std::fs::File;
use std::process::Command;
use std::thread::{self, JoinHandle};

/// Inner source and destination, outer addresses of the gateway and its peer.
pub(super) const HOST_A: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 10);
pub(super) const HOST_B: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 10);
pub(super) const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
pub(super) const PEER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);

/// Device names, one namespace each side.
pub(super) const GEN: &str = "gen0";
pub(super) const LAN: &str = "lan0";
pub(super) const WAN: &str = "wan0";
pub(super) const SINK: &str = "sink0";

/// The link address this lab gives a device.
pub(super) fn mac(dev: &str) -> MacAddr {
    let last = match dev {
        GEN => 1,
        LAN => 2,
        WAN => 3,
        _ => 4,
    };
    MacAddr([2, 0, 0x5e, 0, 0, last])
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Generator,
    Gateway,
    Sink,
}

pub(super) struct Lab {
    prefix: String,
}

impl Lab {
    pub(super) fn new() -> anyhow::Result<Self> {
        let lab = Self { prefix: format!("rbench{}", std::process::id()) };
        for place in [Place::Generator, Place::Gateway, Place::Sink] {
            ip(&["netns", "add", &lab.name(place)])?;
        }
        lab.join(Place::Generator, GEN, Place::Gateway, LAN)?;
        lab.join(Place::Gateway, WAN, Place::Sink, SINK)?;
        Ok(lab)
    }

    pub(super) fn name(&self, place: Place) -> String {
        let suffix = match place {
            Place::Generator => "gen",
            Place::Gateway => "gw",
            Place::Sink => "sink",
        };
        format!("{}-{suffix}", self.prefix)
    }

    /// A pair of veths, up, with offloads off that AF_XDP cannot carry.
    fn join(&self, left: Place, left_dev: &str, right: Place, right_dev: &str) -> anyhow::Result<()> {
        let (l, r) = (self.name(left), self.name(right));
        let macs = [mac(left_dev).to_string(), mac(right_dev).to_string()];
        let near = ["link", "add", left_dev, "address", &macs[0], "netns", &l, "type", "veth"];
        let far = ["peer", "name", right_dev, "address", &macs[1], "netns", &r];
        ip(&[&near[..], &far[..]].concat())?;
        for (ns, dev) in [(&l, left_dev), (&r, right_dev)] {
            ip(&["-n", ns, "link", "set", dev, "up"])?;
        }
        Ok(())
    }

    /// Runs `work` on a thread of its own whose network namespace is that of `place`.
    pub(super) fn inside<T: Send + 'static>(
        &self,
        place: Place,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<anyhow::Result<T>> {
        let path = format!("/run/netns/{}", self.name(place));
        thread::spawn(move || {
            let ns = File::open(&path).with_context(|| path.clone())?;
            nix::sched::setns(&ns, nix::sched::CloneFlags::CLONE_NEWNET).with_context(|| path.clone())?;
            Ok(work())
        })
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for place in [Place::Generator, Place::Gateway, Place::Sink] {
            let _ = ip(&["netns", "del", &self.name(place)]);
        }
    }
}

fn ip(args: &[&str]) -> anyhow::Result<()> {
    let out = Command::new("ip").args(args).output().context("running ip (package iproute2)")?;
    if !out.status.success() {
        bail!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(())
}
