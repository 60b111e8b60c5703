//! The ports: the XDP program on each, its queues and sockets, and whether the device is still there.
//!
//! Decides: how many queues a port has (as many as the kernel lets us bind). Reads: device names and addresses.
//! Never: sees packets; the sockets go to the workers.

use anyhow::{Context as _, anyhow};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;
use ravelin_dataplane::port_ranges;
use ravelin_ebpf::{Admission, AttachMode, PortConfig, Steering};
use ravelin_ring::counters::SocketCounter;
use ravelin_ring::msg::PortId;
use ravelin_ring::setup::{Attach, PortSetup, Setup};
use ravelin_ring::{BindMode, PortReport};
use ravelin_wire::{PortRange, Prefix};
use ravelin_xsk::{Meter, Mode, Socket, SocketConfig, Statistics, Umem};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Queues of the largest NICs; the XDP program's socket map has no more room either.
const MAX_QUEUES: u32 = 64;
/// Packets the kernel takes from a queue per call: a worker's batch.
const BUSY_POLL_BUDGET: u16 = 64;

/// What the XDP program has to know.
#[derive(Clone, Debug, Default)]
pub(crate) struct Steered {
    pub(crate) gateways: Vec<IpAddr>,
    pub(crate) main: Zone,
    /// Of ports in other VRFs.
    pub(crate) others: BTreeMap<PortId, Zone>,
    /// GRE to a gateway address.
    pub(crate) gre: bool,
    /// Ports that admit the VPN alone.
    pub(crate) closed: BTreeMap<PortId, Closed>,
}

/// What a port that admits the VPN alone admits besides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Closed {
    pub(crate) from: Vec<Prefix>,
    pub(crate) ike_ports: [u16; 2],
}

/// By what ports of one VRF steer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Zone {
    pub(crate) protected: Vec<Prefix>,
    /// Inside of them, and the kernel's all the same.
    pub(crate) exempt: Vec<Prefix>,
    /// Sources that are translated.
    pub(crate) inside: Vec<Prefix>,
    /// Of the host's own addresses: ports that are for translation.
    pub(crate) ports: BTreeMap<Ipv4Addr, Vec<PortRange>>,
}

impl Steered {
    pub(crate) fn zone(&self, port: PortId) -> &Zone {
        self.others.get(&port).unwrap_or(&self.main)
    }
}

#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) id: PortId,
    setup: PortSetup,
    steering: Option<Steering>,
    /// Of the sockets that the workers own.
    meters: Vec<Meter>,
    /// What sockets counted that are closed.
    counted: SocketCounts,
    pub(crate) report: PortReport,
}

/// By the numbers of [`SocketCounter`].
type SocketCounts = [u64; SocketCounter::COUNT];

/// What all ports have in common.
#[derive(Debug)]
pub(crate) struct Common {
    umem: Arc<Umem>,
    pin_dir: PathBuf,
    ring_size: u32,
    busy_poll_us: u16,
    udp_port: Option<u16>,
}

impl Common {
    pub(crate) fn new(umem: Arc<Umem>, pin_dir: &Path, setup: &Setup) -> Self {
        Self {
            umem,
            pin_dir: pin_dir.into(),
            ring_size: setup.ring_size,
            busy_poll_us: setup.busy_poll_us,
            udp_port: setup.udp_encap_port,
        }
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
        Self {
            id,
            setup: setup.clone(),
            steering: None,
            meters: vec![],
            counted: SocketCounts::default(),
            report,
        }
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
        // Before the first tables the set-up has to say: nothing comes by before.
        let vpn_only = steered.map_or(self.setup.vpn_only, |steered| steered.closed.contains_key(&self.id));
        let config = PortConfig { ifindex, name: name.clone(), mode, vpn_only };
        let mut steering = Steering::load_and_attach(&config, &common.pin_dir)
            .with_context(|| format!("port {name}: cannot attach the XDP program"))?;
        self.report.attach = steering.attached_mode().to_string();
        let sockets = prepare(&mut steering, common, steered.map(|steered| (steered, self.id)), ifindex);
        self.steering = Some(steering); // also after an error, so that the caller can detach
        let sockets = sockets.with_context(|| format!("port {name}"))?;
        self.meters = sockets.iter().filter_map(|s| s.meter().ok()).collect();
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
        self.let_go();
        self.report.attached = false;
        self.report.ifindex = 0;
    }

    pub(crate) fn detach(&mut self) {
        if let Some(steering) = self.steering.take()
            && let Err(error) = steering.detach()
        {
            tracing::error!(port = self.setup.name, %error, "cannot detach the XDP program; `ravelin release` does");
        }
        self.let_go();
        self.report.attached = false;
    }

    /// Of the sockets, so that the kernel does too; what they counted stays.
    fn let_go(&mut self) {
        self.counted = self.socket_counters();
        self.meters.clear();
    }

    fn socket_counters(&self) -> SocketCounts {
        let now = self.meters.iter().filter_map(|meter| meter.statistics().ok()).map(in_order);
        now.fold(self.counted, |sum, one| std::array::from_fn(|i| sum[i].wrapping_add(one[i])))
    }

    pub(crate) fn steer(&mut self, steered: &Steered) -> anyhow::Result<()> {
        self.steering.as_mut().map_or(Ok(()), |steering| apply(steering, steered, self.id))
    }

    /// In the order of [`ravelin_ring::counters::XdpCounter`], then of [`SocketCounter`].
    pub(crate) fn counters(&self) -> Option<impl Iterator<Item = u64>> {
        let xdp = self.steering.as_ref()?.counters().ok()?;
        Some(xdp.in_order().into_iter().chain(self.socket_counters()))
    }
}

/// As the contract between the processes names them.
fn in_order(s: Statistics) -> SocketCounts {
    let mut out = [0; SocketCounter::COUNT];
    for (which, count) in [
        (SocketCounter::RxDropped, s.rx_dropped),
        (SocketCounter::RxRingFull, s.rx_ring_full),
        (SocketCounter::FillRingEmpty, s.fill_ring_empty),
        (SocketCounter::RxInvalid, s.rx_invalid),
        (SocketCounter::TxInvalid, s.tx_invalid),
    ] {
        out[which as usize] = count;
    }
    out
}

fn apply(steering: &mut Steering, steered: &Steered, port: PortId) -> anyhow::Result<()> {
    steering.set_gateway_addresses(&steered.gateways)?;
    let Zone { protected, exempt, inside, ports } = steered.zone(port);
    steering.set_protected_but(protected, exempt)?;
    steering.set_gre(steered.gre)?;
    steering.set_admission(match steered.closed.get(&port) {
        Some(closed) => Admission::Vpn { from: &closed.from, ike_ports: closed.ike_ports },
        None => Admission::All,
    })?;
    let ports = ports.iter().map(|(addr, list)| (*addr, port_ranges(list))).collect();
    Ok(steering.set_translated(inside, &ports)?)
}

fn prepare(
    steering: &mut Steering,
    common: &Common,
    steered: Option<(&Steered, PortId)>,
    ifindex: u32,
) -> anyhow::Result<Vec<Socket>> {
    steering.set_udp_port(common.udp_port)?;
    if let Some((steered, port)) = steered {
        apply(steering, steered, port)?;
    }
    let mut sockets = Vec::new();
    for queue in 0..MAX_QUEUES {
        let ring_size = common.ring_size;
        let config = SocketConfig { ifindex, queue, ring_size, fill_limit: ring_size, force_copy: false };
        match Socket::bind(&common.umem, config) {
            Ok(mut socket) => {
                steering.set_socket(queue, &socket)?;
                busy_poll(&mut socket, common.busy_poll_us);
                sockets.push(socket);
            }
            // The first queue always exists: then it is the device, or our settings, that the kernel does not take.
            Err(ravelin_xsk::Error::NoDevice { .. }) if queue > 0 => break,
            Err(error) => return Err(error).with_context(|| format!("queue {queue}")),
        }
    }
    Ok(sockets)
}

/// Without it the queue works as it always did.
fn busy_poll(socket: &mut Socket, micros: u16) {
    if micros > 0
        && let Err(error) = socket.prefer_busy_poll(micros, BUSY_POLL_BUDGET)
    {
        tracing::warn!(%error, "busy polling is refused (it needs Linux 5.11): the device goes on to interrupt");
    }
}

fn link_address(name: &str) -> [u8; 6] {
    let link = |a: nix::ifaddrs::InterfaceAddress| {
        (a.interface_name == name).then(|| a.address?.as_link_addr()?.addr()).flatten()
    };
    getifaddrs().ok().and_then(|mut all| all.find_map(link)).unwrap_or_default()
}
