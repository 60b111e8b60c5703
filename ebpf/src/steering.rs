//! One port's program: loaded, attached, pinned, adopted from an earlier process, let go.

use crate::abi::{self, Config, Counted};
use crate::error::{Error, os_error};
use crate::pin::PinDir;
use crate::{OBJECT, netlink, tables};
use aya::maps::{Array, HashMap, LpmTrie, Map, MapData, MapError, PerCpuArray, XskMap};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpLink;
use aya::programs::{Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use ravelin_wire::Prefix;
use std::fmt;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd as _};
use std::path::Path;

/// The port to attach to.
#[derive(Clone, Debug)]
pub struct PortConfig {
    pub ifindex: u32,
    /// For messages and for the directory of its pins.
    pub name: String,
    pub mode: AttachMode,
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
}

impl XdpCounts {
    /// In the order of [`Counted`], which is that of the counters in shared memory.
    pub const fn in_order(self) -> [u64; Counted::COUNT as usize] {
        [self.passed, self.steered, self.no_worker, self.unparsable]
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
    pub fn load_and_attach(port: &PortConfig, pin_dir: &Path) -> Result<Self, Error> {
        require_device(port)?;
        let pins = PinDir::create(pin_dir, &port.name)?;
        let mut program = Program::load(&port.name, &pins)?;
        let mut maps = Maps::open(&port.name, &mut program.ebpf)?;
        maps.stamp(&port.name)?;
        let attached = match program.adopt(port, &pins)? {
            Some(attached) => attached,
            None => program.attach(port, &pins)?,
        };
        tracing::info!(port = port.name, mode = %attached, "XDP program attached");
        Ok(Self { name: port.name.clone(), ifindex: port.ifindex, attached, pins, program, maps })
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
            Err(e) if os_error(&e) == Some(libc::ENOENT) => Ok(()),
            // The map answers EINVAL for an empty entry on some kernels.
            Err(e) if os_error(&e) == Some(libc::EINVAL) => Ok(()),
            other => other.map_err(Error::bpf(&self.name, "remove a socket from the XDP program's map")),
        }
    }

    /// Addresses by which IPsec reaches this gateway, instead of the ones before.
    pub fn set_gateway_addresses(&mut self, addresses: &[IpAddr]) -> Result<(), Error> {
        tables::set_gateways(&self.name, &mut self.maps.gateways_v4, &mut self.maps.gateways_v6, addresses)
    }

    /// What policies cover, by source or destination, instead of what they covered before.
    pub fn set_protected(&mut self, prefixes: &[Prefix]) -> Result<(), Error> {
        tables::set_protected(&self.name, &mut self.maps.protected_v4, &mut self.maps.protected_v6, prefixes)
    }

    /// Destination port of UDP-encapsulated ESP besides 4500. Port 0 is none.
    pub fn set_udp_port(&mut self, port: Option<u16>) -> Result<(), Error> {
        let config = Config { version: abi::VERSION, udp_port: port.map_or(0, u32::from) };
        self.maps
            .config
            .set(0, config, 0)
            .map_err(Error::bpf(&self.name, "set the UDP port of the XDP program"))
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
        self.pins.remove()?;
        drop(self.program.link);
        tracing::info!(port = self.name, "XDP program detached");
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

/// The loaded object and what holds it to the port.
#[derive(Debug)]
struct Program {
    ebpf: Ebpf,
    link: Option<PinnedLink>,
}

impl Program {
    fn load(name: &str, pins: &PinDir) -> Result<Self, Error> {
        check_version(name, pins)?;
        let mut loader = EbpfLoader::new();
        for map in MAPS {
            loader.map_pin_path(map, pins.map(map));
        }
        let mut ebpf = loader.load(OBJECT).map_err(Error::bpf(name, "create the maps of the XDP program"))?;
        xdp(&mut ebpf).load().map_err(Error::bpf(name, "load the XDP program"))?;
        Ok(Self { ebpf, link: None })
    }

    /// Puts this program in the place of the one that an earlier process left. `None`: there is none on this device.
    fn adopt(&mut self, port: &PortConfig, pins: &PinDir) -> Result<Option<Attached>, Error> {
        let Ok(old) = PinnedLink::from_pin(pins.link()) else { return Ok(None) };
        let stale = |old: PinnedLink| {
            // The device went away, or another one has its name now.
            old.unpin().map(drop).map_err(Error::pin("remove the stale link", pins.link()))
        };
        let found = netlink::attached_program(port.ifindex).map_err(|e| query_failed(port, e))?;
        let old_id = FdLink::from(
            PinnedLink::from_pin(pins.link()).map_err(Error::bpf(&port.name, "open the pinned link"))?,
        )
        .info()
        .map_err(Error::bpf(&port.name, "read the pinned link"))?
        .program_id();
        let Some((_, mode)) = found.filter(|(id, _)| *id == old_id) else {
            stale(old)?;
            return Ok(None);
        };
        fits(port, mode)?;
        let link =
            XdpLink::try_from(FdLink::from(old)).map_err(Error::bpf(&port.name, "use the pinned link"))?;
        xdp(&mut self.ebpf)
            .attach_to_link(link)
            .map_err(Error::bpf(&port.name, "replace the XDP program"))?;
        self.link =
            Some(PinnedLink::from_pin(pins.link()).map_err(Error::bpf(&port.name, "open the pinned link"))?);
        self.attached(port).map(Some)
    }

    /// Attaches afresh and pins.
    fn attach(&mut self, port: &PortConfig, pins: &PinDir) -> Result<Attached, Error> {
        let link = match port.mode {
            AttachMode::Native => self.link_in(port, XdpMode::Driver)?,
            AttachMode::Generic => self.link_in(port, XdpMode::Skb)?,
            AttachMode::Auto => match self.link_in(port, XdpMode::Driver) {
                Err(why @ (Error::MtuTooLarge { .. } | Error::NoNative { .. })) => {
                    tracing::warn!(port = port.name, %why, "no native XDP here; falling back to generic, which is slower");
                    self.link_in(port, XdpMode::Skb)?
                }
                other => other?,
            },
        };
        let pinned = link.pin(pins.link()).map_err(Error::bpf(&port.name, "pin the XDP program"))?;
        self.link = Some(pinned);
        self.attached(port)
    }

    fn link_in(&mut self, port: &PortConfig, mode: XdpMode) -> Result<FdLink, Error> {
        let program = xdp(&mut self.ebpf);
        let id = match program.attach_to_if_index(port.ifindex, mode) {
            Ok(id) => id,
            Err(e) => return Err(refused(port, mode, e)),
        };
        let link = program.take_link(id).map_err(Error::bpf(&port.name, "hold the XDP program"))?;
        // Anything but a BPF link cannot be pinned; dropped here, it detaches.
        FdLink::try_from(link).map_err(|_| Error::NoLinks { name: port.name.clone() })
    }

    /// What the kernel says is on the port; it must be this program.
    fn attached(&mut self, port: &PortConfig) -> Result<Attached, Error> {
        let ours =
            xdp(&mut self.ebpf).info().map_err(Error::bpf(&port.name, "ask for the XDP program's id"))?.id();
        match netlink::attached_program(port.ifindex).map_err(|e| query_failed(port, e))? {
            Some((id, mode)) if id == ours => Ok(mode),
            other => Err(Error::Occupied { name: port.name.clone(), id: other.map_or(0, |(id, _)| id) }),
        }
    }
}

/// The one program of the object.
fn xdp(ebpf: &mut Ebpf) -> &mut Xdp {
    ebpf.program_mut(abi::PROGRAM)
        .and_then(|p| p.try_into().ok())
        .expect("the object was built with this program in it")
}

fn query_failed(port: &PortConfig, source: std::io::Error) -> Error {
    Error::Netlink { name: port.name.clone(), source }
}

/// A mode in force that is not the wanted one cannot be changed without taking the program off first.
fn fits(port: &PortConfig, found: Attached) -> Result<(), Error> {
    let fits = match port.mode {
        AttachMode::Auto => true,
        AttachMode::Native => found != Attached::Generic,
        AttachMode::Generic => found == Attached::Generic,
    };
    if fits {
        return Ok(());
    }
    Err(Error::ModeInForce { name: port.name.clone(), found, wanted: port.mode })
}

/// Why the kernel did not attach, in words.
fn refused(port: &PortConfig, mode: XdpMode, e: aya::programs::ProgramError) -> Error {
    let name = port.name.clone();
    match os_error(&e) {
        Some(libc::EBUSY | libc::EEXIST) => match netlink::attached_program(port.ifindex) {
            Ok(Some((id, _))) => Error::Occupied { name, id },
            _ => Error::bpf(&port.name, "attach the XDP program")(e),
        },
        Some(libc::ENODEV) => Error::NoDevice { name, ifindex: port.ifindex },
        Some(libc::ERANGE | libc::E2BIG | libc::EMSGSIZE) if mode == XdpMode::Driver => {
            Error::MtuTooLarge { name }
        }
        Some(libc::EOPNOTSUPP) if mode == XdpMode::Driver => Error::NoNative { name },
        _ => Error::bpf(&port.name, "attach the XDP program")(e),
    }
}

/// Refuses pinned maps of another layout before anything is changed.
fn check_version(name: &str, pins: &PinDir) -> Result<(), Error> {
    let path = pins.map(abi::CONFIG);
    if !path.exists() {
        return Ok(());
    }
    let data = MapData::from_pin(&path).map_err(Error::bpf(name, "open the pinned maps"))?;
    let config = Array::<_, Config>::try_from(Map::Array(data)).and_then(|a| a.get(&0, 0));
    let found = config.map_or(0, |c| c.version);
    // 0: its maker died between making and stamping it, before it attached anything.
    if found == abi::VERSION || (found == 0 && !pins.link().exists()) {
        return Ok(());
    }
    Err(Error::PinnedByOther { path: path.parent().unwrap_or(&path).into(), found, ours: abi::VERSION })
}

const MAPS: [&str; 7] = [
    abi::SOCKETS,
    abi::GATEWAYS_V4,
    abi::GATEWAYS_V6,
    abi::PROTECTED_V4,
    abi::PROTECTED_V6,
    abi::CONFIG,
    abi::COUNTERS,
];

struct Maps {
    sockets: XskMap<MapData>,
    gateways_v4: HashMap<MapData, [u8; 4], u32>,
    gateways_v6: HashMap<MapData, [u8; 16], u32>,
    protected_v4: LpmTrie<MapData, [u8; 4], u32>,
    protected_v6: LpmTrie<MapData, [u8; 16], u32>,
    config: Array<MapData, Config>,
    counters: PerCpuArray<MapData, u64>,
}

// SAFETY: `repr(C)`, two words, no padding, any bits are a value.
unsafe impl aya::Pod for Config {}

/// The library's map types do not print themselves.
impl fmt::Debug for Maps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Maps(…)")
    }
}

impl Maps {
    fn open(name: &str, ebpf: &mut Ebpf) -> Result<Self, Error> {
        Ok(Self {
            sockets: typed(name, ebpf, abi::SOCKETS)?,
            gateways_v4: typed(name, ebpf, abi::GATEWAYS_V4)?,
            gateways_v6: typed(name, ebpf, abi::GATEWAYS_V6)?,
            protected_v4: typed(name, ebpf, abi::PROTECTED_V4)?,
            protected_v6: typed(name, ebpf, abi::PROTECTED_V6)?,
            config: typed(name, ebpf, abi::CONFIG)?,
            counters: typed(name, ebpf, abi::COUNTERS)?,
        })
    }

    /// Marks new maps with the layout's version; those of an earlier process have it, and keep their UDP port.
    fn stamp(&mut self, name: &str) -> Result<(), Error> {
        let mut config = self.config.get(&0, 0).map_err(Error::bpf(name, "read the configuration map"))?;
        config.version = abi::VERSION;
        self.config.set(0, config, 0).map_err(Error::bpf(name, "write the configuration map"))
    }
}

fn typed<T: TryFrom<Map, Error = MapError>>(
    name: &str,
    ebpf: &mut Ebpf,
    map: &'static str,
) -> Result<T, Error> {
    let map = ebpf.take_map(map).expect("the object was built with this map in it");
    T::try_from(map).map_err(Error::bpf(name, "use a map of the XDP program"))
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
