//! Devices of route-based tunnels: what the data plane is told of them.

use crate::codec::{Malformed, Reader, Writer};
use crate::msg::TunnelId;
use crate::setup::ReversePath;
use core::net::IpAddr;

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
    pub behind: Behind,
    /// Where the source of what comes out of the tunnel has to be.
    pub reverse_path: ReversePath,
}

/// Where what the routes send into a device goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Behind {
    /// By the SAs of this tunnel. `hold`: packets that find no outbound SA wait a while for one (R172).
    Tunnel { tunnel: TunnelId, hold: bool },
    /// In GRE, as a packet of the host's own, which policies and routes have their say about.
    Gre(Gre),
}

/// A tunnel of GRE (RFC 2784, RFC 2890).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gre {
    /// Outer addresses, of one family.
    pub local: IpAddr,
    pub remote: IpAddr,
    pub key: Option<u32>,
    /// Sent, and asked of what comes.
    pub checksum: bool,
    pub sequence: bool,
    /// Of the largest inner packet.
    pub mtu: u16,
    /// Its packets come and go by SAs of this tunnel, or not at all.
    pub tunnel: Option<TunnelId>,
}

pub(crate) fn encode(interface: &Interface, to: &mut Writer<'_>) {
    to.u16(interface.id.0);
    to.u8(interface.name.len);
    to.bytes(&interface.name.bytes);
    match &interface.behind {
        Behind::Tunnel { tunnel, hold } => {
            to.u8(0);
            to.u32(tunnel.0);
            to.bool(*hold);
        }
        Behind::Gre(gre) => {
            to.u8(1);
            encode_gre(gre, to);
        }
    }
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
    let behind = match from.u8()? {
        0 => Behind::Tunnel { tunnel: TunnelId(from.u32()?), hold: from.bool()? },
        1 => Behind::Gre(decode_gre(from)?),
        _ => return Err(Malformed("unknown kind of device")),
    };
    let reverse_path = match from.u8()? {
        0 => ReversePath::Strict,
        1 => ReversePath::Loose,
        2 => ReversePath::Off,
        _ => return Err(Malformed("unknown rule of the reverse path")),
    };
    Ok(Interface { id, name, behind, reverse_path })
}

fn encode_gre(gre: &Gre, to: &mut Writer<'_>) {
    let Gre { local, remote, key, checksum, sequence, mtu, tunnel } = *gre;
    to.addr(local);
    to.addr(remote);
    for word in [key, tunnel.map(|t| t.0)] {
        to.bool(word.is_some());
        to.u32(word.unwrap_or(0));
    }
    to.bool(checksum);
    to.bool(sequence);
    to.u16(mtu);
}

fn decode_gre(from: &mut Reader<'_>) -> Result<Gre, Malformed> {
    let (local, remote) = (from.addr()?, from.addr()?);
    if local.is_ipv4() != remote.is_ipv4() {
        return Err(Malformed("GRE between two address families"));
    }
    let mut word = || Ok((from.bool()?, from.u32()?)).map(|(there, word)| there.then_some(word));
    let (key, tunnel) = (word()?, word()?.map(TunnelId));
    Ok(Gre { local, remote, key, checksum: from.bool()?, sequence: from.bool()?, mtu: from.u16()?, tunnel })
}
