//! Where the tester's two ports are: in three network namespaces of this run alone, joined by two veth pairs, or on
//! two interfaces that the operator names.
//!
//! Never: touches a namespace or device that it did not make, beyond attaching to the ports that were named.

use super::traffic::HOST_A;
use super::traffic::HOST_B;
use anyhow::{Context, bail};
use core::net::Ipv4Addr;
use ravelin_wire::MacAddr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::{self, JoinHandle};

/// Device names, one namespace each side.
pub(crate) const GEN: &str = "gen0";
pub(crate) const LAN: &str = "lan0";
pub(crate) const WAN: &str = "wan0";
pub(crate) const SINK: &str = "sink0";

/// The link address this lab gives a device.
pub(crate) fn mac(dev: &str) -> MacAddr {
    let last = match dev {
        GEN => 1,
        LAN => 2,
        WAN => 3,
        _ => 4,
    };
    MacAddr([2, 0, 0x5e, 0, 0, last])
}

/// One port of the tester.
#[derive(Clone, Debug)]
pub(crate) struct End {
    /// Of the process itself when `None`.
    pub(crate) namespace: Option<PathBuf>,
    pub(crate) dev: String,
    pub(crate) mac: MacAddr,
    /// The device under test, as seen from here.
    pub(crate) to: MacAddr,
}

/// Both ends of the wire: packets in clear enter at `near` and leave at `far`; ESP the other way round.
#[derive(Clone, Debug)]
pub(crate) struct Ends {
    pub(crate) near: End,
    pub(crate) far: End,
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    Generator,
    Gateway,
    Sink,
}

#[derive(Debug)]
pub(crate) struct Lab {
    prefix: String,
}

impl Lab {
    pub(crate) fn new() -> anyhow::Result<Self> {
        crate::host::sweep();
        let lab = Self { prefix: format!("rbench{}", std::process::id()) };
        for place in [Place::Generator, Place::Gateway, Place::Sink] {
            ip(&["netns", "add", &lab.name(place)])?;
        }
        lab.join(Place::Generator, GEN, Place::Gateway, LAN)?;
        lab.join(Place::Gateway, WAN, Place::Sink, SINK)?;
        Ok(lab)
    }

    pub(crate) fn ends(&self) -> Ends {
        let end = |place, dev: &str, to| End {
            namespace: Some(self.path(place)),
            dev: dev.to_owned(),
            mac: mac(dev),
            to: mac(to),
        };
        let (near, far) = (end(Place::Generator, GEN, LAN), end(Place::Sink, SINK, WAN));
        Ends { near, far, source: HOST_A, destination: HOST_B }
    }

    pub(crate) fn name(&self, place: Place) -> String {
        let suffix = match place {
            Place::Generator => "gen",
            Place::Gateway => "gw",
            Place::Sink => "sink",
        };
        format!("{}-{suffix}", self.prefix)
    }

    pub(crate) fn path(&self, place: Place) -> PathBuf {
        Path::new("/run/netns").join(self.name(place))
    }

    /// A pair of veths, up, each in its namespace.
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
    pub(crate) fn inside<T: Send + 'static>(
        &self,
        place: Place,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<anyhow::Result<T>> {
        let path = self.path(place);
        thread::spawn(move || {
            enter(Some(&path))?;
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

impl End {
    /// Runs `work` on a thread of its own in this port's network namespace, and waits for it.
    pub(crate) fn inside<T: Send>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                enter(self.namespace.as_deref())?;
                work()
            });
            thread.join().map_err(|_| anyhow::anyhow!("a thread for {} panicked", self.dev))?
        })
    }
}

/// Moves the calling thread.
pub(crate) fn enter(namespace: Option<&Path>) -> anyhow::Result<()> {
    let Some(path) = namespace else { return Ok(()) };
    let file = File::open(path)
        .with_context(|| format!("no network namespace {} (`ip netns` lists them)", path.display()))?;
    nix::sched::setns(&file, nix::sched::CloneFlags::CLONE_NEWNET)
        .with_context(|| format!("entering {} (root is needed)", path.display()))
}

fn ip(args: &[&str]) -> anyhow::Result<()> {
    let out = Command::new("ip").args(args).output().context("running ip (package iproute2)")?;
    if !out.status.success() {
        bail!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(())
}
