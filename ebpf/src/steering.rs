//! One port's steering: attached when made, changed while it runs, let go on demand.

use crate::abi::{self, Config, Counted};
use crate::error::{Error, os_error};
use crate::maps::Maps;
use crate::netlink;
use crate::pin::PinDir;
use crate::program::Program;
use crate::tables;
use aya::maps::MapError;
use ravelin_wire::{Features, PortRanges, Prefix};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd as _};
use std::path::Path;

/// The port to attach to.
#[derive(Clone, Debug)]
pub struct PortConfig {
    pub ifindex: u32,
    /// For messages and for the directory of its pins.
    pub name: String,
    pub mode: AttachMode,
    /// It admits the VPN alone from the first frame on (R222). `false`: what the maps of an earlier process say holds until
    /// [`Steering::set_admission`].
    pub vpn_only: bool,
}

/// What a port lets in (R222).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Admission<'a> {
    #[default]
    All,
    /// IPsec and IKE, what they need to live, and everything `from` there.
    Vpn { from: &'a [Prefix], ike_ports: [u16; 2] },
}

/// How the operator wants the program attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttachMode {
    /// Native, or generic where that is not possible; a warning says so.
    Auto,
    Native,
    Generic,
}

/// How it is attached, as the kernel says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attached {
    /// In the driver.
    Native,
    /// In the network stack, after the kernel has made its own packet of the frame.
    Generic,
    /// In the NIC.
    Offloaded,
}

/// Counters of the program, summed over processors, since its maps were made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct XdpCounts {
    pub passed: u64,
    pub steered: u64,
    pub no_worker: u64,
    pub unparsable: u64,
    pub not_admitted: u64,
}

impl XdpCounts {
    /// In the order of [`Counted`], which is that of the counters in shared memory.
    pub const fn in_order(self) -> [u64; Counted::COUNT as usize] {
        [self.passed, self.steered, self.no_worker, self.unparsable, self.not_admitted]
    }
}

/// The program on one port. Dropping this leaves the program in force (fail closed); [`Self::detach`] takes it away.
#[derive(Debug)]
pub struct Steering {
    name: String,
    ifindex: u32,
    attached: Attached,
    pins: PinDir,
    program: Program,
    maps: Maps,
}

impl Steering {
    /// 1. Load the program on the pinned maps of an earlier process, or on new ones. 2. Replace the earlier program
    ///    behind its pinned link, or attach and pin. 3. Ask the kernel how it is attached.
    ///
    /// On an error, what an earlier process left in force stays so; where there was nothing, nothing is left.
    pub fn load_and_attach(port: &PortConfig, pin_dir: &Path) -> Result<Self, Error> {
        require_device(port)?;
        let pins = PinDir::create(pin_dir, &port.name)?;
        match Self::start(port, &pins) {
            Ok((program, maps, attached)) => {
                tracing::info!(port = port.name, mode = %attached, "XDP program attached");
                Ok(Self { name: port.name.clone(), ifindex: port.ifindex, attached, pins, program, maps })
            }
            Err(e) => {
                if !pins.link().exists() {
                    let _ = pins.remove(); // the error that matters is `e`
                }
                Err(e)
            }
        }
    }

    fn start(port: &PortConfig, pins: &PinDir) -> Result<(Program, Maps, Attached), Error> {
        let mut program = Program::load(&port.name, pins)?;
        let mut maps = Maps::open(&port.name, &mut program.ebpf)?;
        maps.stamp(&port.name, port.vpn_only)?;
        let attached = match program.adopt(port, pins)? {
            Some(attached) => attached,
            None => program.attach(port, pins)?,
        };
        Ok((program, maps, attached))
    }

    /// Frames of this queue that the data plane is to have go to this socket from now on.
    pub fn set_socket(&mut self, queue: u32, socket: impl AsFd) -> Result<(), Error> {
        match self.maps.sockets.set(queue, socket.as_fd().as_raw_fd(), 0) {
            Err(MapError::OutOfBounds { .. }) => Err(Error::Queue { name: self.name.clone(), queue }),
            other => other.map_err(Error::bpf(&self.name, "enter a socket into the XDP program's map")),
        }
    }

    /// They are dropped from now on. A queue without socket is no error.
    pub fn clear_socket(&mut self, queue: u32) -> Result<(), Error> {
        match self.maps.sockets.unset(queue) {
            Err(MapError::OutOfBounds { .. }) => Err(Error::Queue { name: self.name.clone(), queue }),
            // Kernels differ in what they answer for an empty entry.
            Err(e) if matches!(os_error(&e), Some(libc::ENOENT | libc::EINVAL)) => Ok(()),
            other => other.map_err(Error::bpf(&self.name, "remove a socket from the XDP program's map")),
        }
    }

    /// Addresses by which IPsec reaches this gateway, instead of the ones before.
    pub fn set_gateway_addresses(&mut self, addresses: &[IpAddr]) -> Result<(), Error> {
        tables::set_gateways(&self.name, &mut self.maps.gateways_v4, &mut self.maps.gateways_v6, addresses)
    }

    /// What policies cover, by source or destination, instead of what they covered before.
    pub fn set_protected(&mut self, prefixes: &[Prefix]) -> Result<(), Error> {
        self.set_protected_but(prefixes, &[])
    }

    /// [`Self::set_protected`], but for `exempt`: what lies in one of them is the kernel's, unless a longer prefix
    /// protects it.
    pub fn set_protected_but(&mut self, prefixes: &[Prefix], exempt: &[Prefix]) -> Result<(), Error> {
        let Maps { protected_v4, protected_v6, .. } = &mut self.maps;
        tables::set_protected(&self.name, protected_v4, protected_v6, prefixes, exempt)
    }

    /// What is translated, instead of what was before: sources, and ports of the host's own addresses.
    pub fn set_translated(
        &mut self,
        inside: &[Prefix],
        ports: &BTreeMap<Ipv4Addr, PortRanges>,
    ) -> Result<(), Error> {
        tables::set_inside(&self.name, &mut self.maps.inside_v4, inside)?;
        tables::set_ports(&self.name, &mut self.maps.translated_v4, ports)?;
        self.feature(Features::TRANSLATES, !inside.is_empty() || !ports.is_empty())
    }

    /// Destination port of UDP-encapsulated ESP besides 4500. Port 0 is none.
    pub fn set_udp_port(&mut self, port: Option<u16>) -> Result<(), Error> {
        self.configure(|config| config.udp_port = port.map_or(0, u32::from))
    }

    /// Whether GRE to a gateway address is the data plane's.
    pub fn set_gre(&mut self, ends_here: bool) -> Result<(), Error> {
        self.feature(Features::GRE, ends_here)
    }

    /// What the port lets in from now on. Sources are admitted before the port closes, and are forgotten after it opened.
    pub fn set_admission(&mut self, admission: Admission<'_>) -> Result<(), Error> {
        let (vpn_only, from, [a, b]) = match admission {
            Admission::All => (false, &[][..], [0, 0]),
            Admission::Vpn { from, ike_ports } => (true, from, ike_ports),
        };
        if !vpn_only {
            self.feature(Features::VPN_ONLY, false)?;
        }
        let Maps { admitted_v4, admitted_v6, .. } = &mut self.maps;
        tables::set_admitted(&self.name, admitted_v4, admitted_v6, from)?;
        let ike_ports = u32::from(a) << 16 | u32::from(b);
        self.configure(|config| config.ike_ports = ike_ports)?;
        self.feature(Features::VPN_ONLY, vpn_only)
    }

    fn feature(&mut self, bit: u32, on: bool) -> Result<(), Error> {
        self.configure(|config| config.features = Features(config.features).with(bit, on).0)
    }

    fn configure(&mut self, change: impl FnOnce(&mut Config)) -> Result<(), Error> {
        let why = Error::bpf(&self.name, "configure the XDP program");
        let mut config = self.maps.config.get(&0, 0).map_err(why)?;
        config.version = abi::VERSION;
        change(&mut config);
        self.maps.config.set(0, config, 0).map_err(Error::bpf(&self.name, "configure the XDP program"))
    }

    pub fn counters(&self) -> Result<XdpCounts, Error> {
        let sum = |what: Counted| {
            let values = self.maps.counters.get(&(what as u32), 0);
            let values = values.map_err(Error::bpf(&self.name, "read the counters of the XDP program"))?;
            Ok(values.iter().sum())
        };
        Ok(XdpCounts {
            passed: sum(Counted::Passed)?,
            steered: sum(Counted::Steered)?,
            no_worker: sum(Counted::NoWorker)?,
            unparsable: sum(Counted::Unparsable)?,
            not_admitted: sum(Counted::NotAdmitted)?,
        })
    }

    pub const fn attached_mode(&self) -> Attached {
        self.attached
    }

    pub const fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// Takes the program off the port and removes the pins: the kernel gets every frame again.
    pub fn detach(self) -> Result<(), Error> {
        let Self { name, pins, program, .. } = self;
        pins.remove()?;
        drop(program); // its link is without a device by now
        tracing::info!(port = name, "XDP program detached");
        Ok(())
    }
}

fn require_device(port: &PortConfig) -> Result<(), Error> {
    match netlink::attached_program(port.ifindex) {
        Ok(_) => Ok(()),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENODEV | libc::EINVAL)) => {
            Err(Error::NoDevice { name: port.name.clone(), ifindex: port.ifindex })
        }
        Err(source) => Err(Error::Netlink { name: port.name.clone(), source }),
    }
}

impl fmt::Display for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Offloaded => "offloaded",
        })
    }
}

impl fmt::Display for AttachMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}
