//! Devices of route-based tunnels: what the data plane is told of them.

use crate::codec::{Malformed, Reader, Writer};
use crate::msg::TunnelId;
use crate::setup::ReversePath;

/// Names a device in routes and verdicts. A number that one generation of the tables let go of is not another device's
/// in the next.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct InterfaceId(pub u16);

/// Name of a network device, as the kernel has it: 1 to 15 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceName {
    bytes: [u8; Self::MAX],
    len: u8,
}

impl InterfaceName {
    pub const MAX: usize = 15;

    /// `None`: no name of a device.
    pub fn new(name: &str) -> Option<Self> {
        let lawful = |b: u8| b.is_ascii_graphic() && b != b'/' && b != b':';
        let fits = (1..=Self::MAX).contains(&name.len()) && name != "." && name != "..";
        if !fits || !name.bytes().all(lawful) {
            return None;
        }
        let mut me = Self { bytes: [0; Self::MAX], len: u8::try_from(name.len()).ok()? };
        me.bytes.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        Some(me)
    }

    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        core::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl core::fmt::Debug for InterfaceName {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A TUN device. What routes lead into it goes by what is behind it, and what comes out of that enters by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interface {
    pub id: InterfaceId,
    pub name: InterfaceName,
    /// The tunnel behind it, whose SAs protect what the routes send into the device.
    pub tunnel: TunnelId,
    /// Packets that find no outbound SA wait a while for one (R172).
    pub hold: bool,
    /// Where the source of what comes out of the tunnel has to be.
    pub reverse_path: ReversePath,
}

pub(crate) fn encode(interface: &Interface, to: &mut Writer<'_>) {
    to.u16(interface.id.0);
    to.u8(interface.name.len);
    to.bytes(&interface.name.bytes);
    to.u32(interface.tunnel.0);
    to.bool(interface.hold);
    to.u8(match interface.reverse_path {
        ReversePath::Strict => 0,
        ReversePath::Loose => 1,
        ReversePath::Off => 2,
    });
}

pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Interface, Malformed> {
    let id = InterfaceId(from.u16()?);
    let len = usize::from(from.u8()?);
    let bytes = from.bytes(InterfaceName::MAX)?;
    let name = bytes.get(..len).and_then(|bytes| core::str::from_utf8(bytes).ok());
    let name = name.and_then(InterfaceName::new).ok_or(Malformed("name of a device"))?;
    let (tunnel, hold) = (TunnelId(from.u32()?), from.bool()?);
    let reverse_path = match from.u8()? {
        0 => ReversePath::Strict,
        1 => ReversePath::Loose,
        2 => ReversePath::Off,
        _ => return Err(Malformed("unknown rule of the reverse path")),
    };
    Ok(Interface { id, name, tunnel, hold, reverse_path })
}
