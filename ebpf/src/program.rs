//! The loaded program: onto a device, in the place of an earlier process's program, pinned.

use crate::error::{Error, chain, os_error};
use crate::pin::PinDir;
use crate::{AttachMode, Attached, OBJECT, PortConfig, abi, maps, netlink};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};

/// The loaded object and what holds it to the port.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) ebpf: Ebpf,
    link: Option<PinnedLink>,
}

impl Program {
    pub(crate) fn load(name: &str, pins: &PinDir) -> Result<Self, Error> {
        maps::check_version(name, pins)?;
        let mut loader = EbpfLoader::new();
        for map in maps::ALL {
            loader.map_pin_path(map, pins.map(map));
        }
        let mut ebpf = loader.load(OBJECT).map_err(Error::bpf(name, "create the maps of the XDP program"))?;
        xdp(&mut ebpf).load().map_err(Error::bpf(name, "load the XDP program"))?;
        Ok(Self { ebpf, link: None })
    }

    /// Puts this program in the place of the one that an earlier process left. `None`: there is none on this device.
    pub(crate) fn adopt(&mut self, port: &PortConfig, pins: &PinDir) -> Result<Option<Attached>, Error> {
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
    pub(crate) fn attach(&mut self, port: &PortConfig, pins: &PinDir) -> Result<Attached, Error> {
        let link = match port.mode {
            AttachMode::Native => self.link_in(port, XdpMode::Driver)?,
            AttachMode::Generic => self.link_in(port, XdpMode::Skb)?,
            AttachMode::Auto => match self.link_in(port, XdpMode::Driver) {
                Err(e @ (Error::Occupied { .. } | Error::NoDevice { .. } | Error::NotAllowed(_))) => {
                    return Err(e);
                }
                // Drivers refuse with all kinds of errors, so whatever else it is, generic mode is tried.
                Err(e) => {
                    let why = chain(&e);
                    tracing::warn!(
                        port = port.name,
                        why,
                        "no native XDP here; falling back to generic, which is slower"
                    );
                    self.link_in(port, XdpMode::Skb)?
                }
                Ok(link) => link,
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
fn refused(port: &PortConfig, mode: XdpMode, e: ProgramError) -> Error {
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
