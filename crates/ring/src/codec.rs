//! Values to bytes and back. The reader works on a private copy; every value is checked for being one.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use ravelin_wire::{AddrRange, PortRange, Prefix, Selector, Spi};
use zeroize::Zeroize;

/// A message that cannot have been meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("malformed message: {0}")]
pub struct Malformed(pub(crate) &'static str);

/// The largest message.
pub(crate) const MAX_WORDS: usize = 34;

/// Room for one message, wiped when it goes: it may hold a key.
pub(crate) struct Buffer([u8; MAX_WORDS * 8]);

impl Buffer {
    pub(crate) fn new() -> Self {
        Self([0; MAX_WORDS * 8])
    }

    pub(crate) fn bytes(&mut self, words: usize) -> &mut [u8] {
        self.0.get_mut(..words * 8).unwrap_or_default()
    }

    pub(crate) fn words(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.as_chunks::<8>().0.iter().map(|chunk| u64::from_le_bytes(*chunk))
    }

    pub(crate) fn set_word(&mut self, index: usize, word: u64) {
        if let Some(chunk) = self.0.as_chunks_mut::<8>().0.get_mut(index) {
            *chunk = word.to_le_bytes();
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Writes one message after the other value; what does not fit is a bug that the layout test finds.
#[allow(missing_debug_implementations, unnameable_types)] // in sight only as an argument of a hidden method; may hold a key
pub struct Writer<'a> {
    rest: &'a mut [u8],
}

impl<'a> Writer<'a> {
    pub(crate) fn new(rest: &'a mut [u8]) -> Self {
        Self { rest }
    }

    /// Bytes left.
    #[cfg(test)]
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        let rest = core::mem::take(&mut self.rest);
        let fits = rest.len() >= bytes.len();
        debug_assert!(fits, "the message is longer than its slot");
        if fits {
            let (here, rest) = rest.split_at_mut(bytes.len());
            here.copy_from_slice(bytes);
            self.rest = rest;
        }
    }

    pub(crate) fn u8(&mut self, v: u8) {
        self.bytes(&[v]);
    }

    pub(crate) fn bool(&mut self, v: bool) {
        self.u8(u8::from(v));
    }

    pub(crate) fn u16(&mut self, v: u16) {
        self.bytes(&v.to_le_bytes());
    }

    pub(crate) fn u32(&mut self, v: u32) {
        self.bytes(&v.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, v: u64) {
        self.bytes(&v.to_le_bytes());
    }

    /// Family, then 16 bytes; of IPv4 the last twelve are zero.
    pub(crate) fn addr(&mut self, v: IpAddr) {
        match v {
            IpAddr::V4(a) => {
                self.u8(4);
                self.bytes(&a.octets());
                self.bytes(&[0; 12]);
            }
            IpAddr::V6(a) => {
                self.u8(6);
                self.bytes(&a.octets());
            }
        }
    }

    pub(crate) fn socket(&mut self, v: SocketAddr) {
        self.addr(v.ip());
        self.u16(v.port());
    }

    pub(crate) fn range(&mut self, v: AddrRange) {
        self.addr(v.start());
        self.addr(v.end());
    }

    pub(crate) fn ports(&mut self, v: PortRange) {
        self.u16(v.start());
        self.u16(v.end());
    }

    pub(crate) fn selector(&mut self, v: &Selector) {
        self.range(v.local);
        self.range(v.remote);
        self.bool(v.protocol.is_some());
        self.u8(v.protocol.unwrap_or(0));
        self.ports(v.local_ports);
        self.ports(v.remote_ports);
    }

    pub(crate) fn prefix(&mut self, v: Prefix) {
        self.addr(v.addr());
        self.u8(v.len());
    }
}

/// Reads one message.
#[allow(missing_debug_implementations, unnameable_types)] // in sight only as an argument of a hidden method; may hold a key
pub struct Reader<'a> {
    rest: &'a [u8],
}

type Read<T> = Result<T, Malformed>;

impl<'a> Reader<'a> {
    pub(crate) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (here, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed("too short"))?;
        self.rest = rest;
        Ok(*here)
    }

    pub(crate) fn bytes(&mut self, n: usize) -> Read<&'a [u8]> {
        let (here, rest) = self.rest.split_at_checked(n).ok_or(Malformed("too short"))?;
        self.rest = rest;
        Ok(here)
    }

    pub(crate) fn u8(&mut self) -> Read<u8> {
        self.array().map(|[b]: [u8; 1]| b)
    }

    pub(crate) fn bool(&mut self) -> Read<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("a flag is neither 0 nor 1")),
        }
    }

    pub(crate) fn u16(&mut self) -> Read<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Read<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Read<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn mac(&mut self) -> Read<[u8; 6]> {
        self.array()
    }

    pub(crate) fn spi(&mut self) -> Read<Spi> {
        Spi::try_from(self.u32()?).map_err(|_| Malformed("reserved SPI"))
    }

    pub(crate) fn addr(&mut self) -> Read<IpAddr> {
        let family = self.u8()?;
        let octets: [u8; 16] = self.array()?;
        match (family, octets) {
            (4, [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]) => Ok(Ipv4Addr::new(a, b, c, d).into()),
            (6, octets) => Ok(Ipv6Addr::from(octets).into()),
            _ => Err(Malformed("address of no known family")),
        }
    }

    pub(crate) fn socket(&mut self) -> Read<SocketAddr> {
        Ok(SocketAddr::new(self.addr()?, self.u16()?))
    }

    pub(crate) fn range(&mut self) -> Read<AddrRange> {
        AddrRange::new(self.addr()?, self.addr()?).map_err(|_| Malformed("empty address range"))
    }

    pub(crate) fn ports(&mut self) -> Read<PortRange> {
        PortRange::new(self.u16()?, self.u16()?).map_err(|_| Malformed("empty port range"))
    }

    pub(crate) fn selector(&mut self) -> Read<Selector> {
        let (local, remote) = (self.range()?, self.range()?);
        if local.start().is_ipv4() != remote.start().is_ipv4() {
            return Err(Malformed("selector of two address families"));
        }
        let (some, protocol) = (self.bool()?, self.u8()?);
        let protocol = some.then_some(protocol);
        Ok(Selector { local, remote, protocol, local_ports: self.ports()?, remote_ports: self.ports()? })
    }

    pub(crate) fn prefix(&mut self) -> Read<Prefix> {
        Prefix::new(self.addr()?, self.u8()?).map_err(|_| Malformed("prefix"))
    }
}
