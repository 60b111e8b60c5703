//! The ports: the XDP program on each, its queues and sockets, and whether the device is still there.
//!
//! Decides: how many queues a port has (as many as the kernel lets us bind). Reads: device names and addresses.
//! Never: sees packets; the sockets go to the workers.

use anyhow::{Context as _, anyhow};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;
use ravelin_ebpf::{AttachMode, PortConfig, Steering};
use ravelin_ring::msg::PortId;
use ravelin_ring::setup::{Attach, PortSetup, Setup};
use ravelin_ring::{BindMode, PortReport};
use ravelin_wire::Prefix;
use ravelin_xsk::{Mode, Socket, SocketConfig, Umem};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Queues of the largest NICs; the XDP program's socket map has no more room either.
const MAX_QUEUES: u32 = 64;

/// What the XDP program has to know.
#[derive(Clone, Debug, Default)]
pub(crate) struct Steered {
    pub(crate) gateways: Vec<IpAddr>,
    pub(crate) protected: Vec<Prefix>,
}

#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) id: PortId,
    setup: PortSetup,
    steering: Option<Steering>,
    pub(crate) report: PortReport,
}

/// What all ports have in common.
#[derive(Debug)]
pub(crate) struct Common {
    umem: Arc<Umem>,
    pin_dir: PathBuf,
    ring_size: u32,
    udp_port: Option<u16>,
}

impl Common {
    pub(crate) fn new(umem: Arc<Umem>, pin_dir: &Path, setup: &Setup) -> Self {
        Self { umem, pin_dir: pin_dir.into(), ring_size: setup.ring_size, udp_port: setup.udp_encap_port }
    }
}

impl Port {
    pub(crate) fn new(id: PortId, setup: &PortSetup) -> Self {
        let report = PortReport {
            name: setup.name.clone(),
            ifindex: 0,
            mac: [0; 6],
            attach: String::new(),
            queues: 0,
            bind: BindMode::Copy,
            attached: false,
        };
        Self { id, setup: setup.clone(), steering: None, report }
    }

    pub(crate) fn name(&self) -> &str {
        &self.setup.name
    }

    /// Attaches and binds; the sockets in the order of the queues. On an error the program may be attached already:
    /// [`Self::detach`] or leave it (dropping) as the caller sees fit.
    pub(crate) fn attach(
        &mut self,
        common: &Common,
        steered: Option<&Steered>,
    ) -> anyhow::Result<Vec<Socket>> {
        let name = self.setup.name.clone();
        let ifindex = self.ifindex().ok_or_else(|| {
            anyhow!("port {name}: there is no such device; `ip link` shows which there are")
        })?;
        let mode = match self.setup.attach {
            Attach::Auto => AttachMode::Auto,
            Attach::Native => AttachMode::Native,
            Attach::Generic => AttachMode::Generic,
        };
        let config = PortConfig { ifindex, name: name.clone(), mode };
        let mut steering = Steering::load_and_attach(&config, &common.pin_dir)
            .with_context(|| format!("port {name}: cannot attach the XDP program"))?;
        self.report.attach = steering.attached_mode().to_string();
        let sockets = prepare(&mut steering, common, steered, ifindex);
        self.steering = Some(steering); // also after an error, so that the caller can detach
        let sockets = sockets.with_context(|| format!("port {name}"))?;
        let zero_copy = sockets.iter().all(|s| s.mode() == Mode::ZeroCopy);
        if !zero_copy {
            tracing::info!(port = name, "AF_XDP in copy mode: the driver has no zero-copy");
        }
        self.report.ifindex = ifindex;
        self.report.mac = link_address(&name);
        self.report.queues = u32::try_from(sockets.len()).unwrap_or(0);
        self.report.bind = if zero_copy { BindMode::ZeroCopy } else { BindMode::Copy };
        self.report.attached = true;
        Ok(sockets)
    }

    /// Index of the device that has the port's name now.
    fn ifindex(&self) -> Option<u32> {
        if_nametoindex(self.setup.name.as_str()).ok()
    }

    /// The device that was attached is there no more (another one may have its name).
    pub(crate) fn is_lost(&self) -> bool {
        self.report.attached && self.ifindex() != Some(self.report.ifindex)
    }

    /// Not attached, but a device is there.
    pub(crate) fn is_back(&self) -> bool {
        !self.report.attached && self.ifindex().is_some()
    }

    /// Lets go of a lost device. The pinned maps stay: what they protect is in force when the device comes back.
    pub(crate) fn lose(&mut self) {
        self.steering = None;
        self.report.attached = false;
        self.report.ifindex = 0;
    }

    pub(crate) fn detach(&mut self) {
        if let Some(steering) = self.steering.take()
            && let Err(error) = steering.detach()
        {
            tracing::error!(port = self.setup.name, %error, "cannot detach the XDP program; `ravelin release` does");
        }
        self.report.attached = false;
    }

    pub(crate) fn steer(&mut self, steered: &Steered) -> anyhow::Result<()> {
        self.steering.as_mut().map_or(Ok(()), |steering| apply(steering, steered))
    }

    /// In the order of [`ravelin_ring::counters::XdpCounter`].
    pub(crate) fn counters(&self) -> Option<[u64; 4]> {
        self.steering.as_ref()?.counters().ok().map(ravelin_ebpf::XdpCounts::in_order)
    }
}

fn apply(steering: &mut Steering, steered: &Steered) -> anyhow::Result<()> {
    steering.set_gateway_addresses(&steered.gateways)?;
    Ok(steering.set_protected(&steered.protected)?)
}

fn prepare(
    steering: &mut Steering,
    common: &Common,
    steered: Option<&Steered>,
    ifindex: u32,
) -> anyhow::Result<Vec<Socket>> {
    steering.set_udp_port(common.udp_port)?;
    if let Some(steered) = steered {
        apply(steering, steered)?;
    }
    let mut sockets = Vec::new();
    for queue in 0..MAX_QUEUES {
        let ring_size = common.ring_size;
        let config = SocketConfig { ifindex, queue, ring_size, fill_limit: ring_size, force_copy: false };
        match Socket::bind(&common.umem, config) {
            Ok(socket) => {
                steering.set_socket(queue, &socket)?;
                sockets.push(socket);
            }
            // The first queue always exists: then it is the device, or our settings, that the kernel does not take.
            Err(ravelin_xsk::Error::NoDevice { .. }) if queue > 0 => break,
            Err(error) => return Err(error).with_context(|| format!("queue {queue}")),
        }
    }
    Ok(sockets)
}

fn link_address(name: &str) -> [u8; 6] {
    let link = |a: nix::ifaddrs::InterfaceAddress| {
        (a.interface_name == name).then(|| a.address?.as_link_addr()?.addr()).flatten()
    };
    getifaddrs().ok().and_then(|mut all| all.find_map(link)).unwrap_or_default()
}
