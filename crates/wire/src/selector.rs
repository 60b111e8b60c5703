//! Traffic selectors (RFC 4301 §4.4.1.1): ranges of addresses and ports and a protocol, for both ends.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

/// IP protocol number of a selector; `None` is "any".
pub type Protocol = Option<u8>;

/// Addresses `start..=end` of one family.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AddrRange {
    start: IpAddr,
    end: IpAddr,
}

/// The end of a range lies before its start, or the two are of different families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmptyRange;

impl AddrRange {
    pub const ANY_V4: Self =
        Self { start: IpAddr::V4(Ipv4Addr::UNSPECIFIED), end: IpAddr::V4(Ipv4Addr::BROADCAST) };
    pub const ANY_V6: Self =
        Self { start: IpAddr::V6(Ipv6Addr::UNSPECIFIED), end: IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)) };

    pub fn new(start: IpAddr, end: IpAddr) -> Result<Self, EmptyRange> {
        if start.is_ipv4() != end.is_ipv4() || end < start {
            return Err(EmptyRange);
        }
        Ok(Self { start, end })
    }

    pub const fn start(&self) -> IpAddr {
        self.start
    }

    pub const fn end(&self) -> IpAddr {
        self.end
    }

    /// An address of the other family is never inside.
    #[inline]
    pub fn contains(&self, addr: IpAddr) -> bool {
        // IpAddr orders all of IPv4 before all of IPv6, so a foreign family falls outside.
        self.start <= addr && addr <= self.end
    }

    pub fn covers(&self, other: &Self) -> bool {
        self.contains(other.start) && self.contains(other.end)
    }

    /// What both ranges hold, if anything (narrowing, RFC 7296 §2.9).
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        Self::new(self.start.max(other.start), self.end.min(other.end)).ok()
    }

    /// The fewest prefixes that together hold exactly this range: at most 62 for IPv4, 254 for IPv6.
    pub const fn prefixes(&self) -> Prefixes {
        Prefixes { rest: Some(*self) }
    }

    /// The range as one prefix, when it is one.
    pub fn as_prefix(&self) -> Option<Prefix> {
        let (bits, len) = match (self.start, self.end) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits() ^ b.to_bits()), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits(), 128),
            _ => return None,
        };
        let host_bits = u8::try_from(128 - bits.leading_zeros()).ok()?;
        let prefix = Prefix::new(self.start, len - host_bits).ok()?;
        (Self::from(prefix) == *self).then_some(prefix)
    }
}

/// Iterator of [`AddrRange::prefixes`], in the order of addresses.
#[derive(Clone, Debug)]
pub struct Prefixes {
    rest: Option<AddrRange>,
}

impl Iterator for Prefixes {
    type Item = Prefix;

    /// The largest prefix that begins where the rest begins and does not reach beyond its end.
    fn next(&mut self) -> Option<Prefix> {
        let rest = self.rest.take()?;
        let (width, start, end) = match (rest.start, rest.end) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (32, u128::from(a.to_bits()), u128::from(b.to_bits())),
            (IpAddr::V6(a), IpAddr::V6(b)) => (128, a.to_bits(), b.to_bits()),
            _ => return None,
        };
        // As many host bits as the start has zeros for, and as the rest has addresses for.
        let fits = (end - start).checked_add(1).map_or(128, u128::ilog2);
        let host = start.trailing_zeros().min(width).min(fits);
        let prefix = Prefix::new(rest.start, u8::try_from(width - host).ok()?).ok()?;
        self.rest = after(AddrRange::from(prefix).end).and_then(|start| AddrRange::new(start, rest.end).ok());
        Some(prefix)
    }
}

/// The next address of the family, if there is one.
fn after(addr: IpAddr) -> Option<IpAddr> {
    match addr {
        IpAddr::V4(a) => a.to_bits().checked_add(1).map(|b| IpAddr::V4(Ipv4Addr::from_bits(b))),
        IpAddr::V6(a) => a.to_bits().checked_add(1).map(|b| IpAddr::V6(Ipv6Addr::from_bits(b))),
    }
}

/// Ports `start..=end` in host order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PortRange {
    start: u16,
    end: u16,
}

impl PortRange {
    pub const ANY: Self = Self { start: 0, end: u16::MAX };

    pub const fn new(start: u16, end: u16) -> Result<Self, EmptyRange> {
        if end < start { Err(EmptyRange) } else { Ok(Self { start, end }) }
    }

    pub const fn start(&self) -> u16 {
        self.start
    }

    pub const fn end(&self) -> u16 {
        self.end
    }

    #[inline]
    pub const fn contains(&self, port: u16) -> bool {
        self.start <= port && port <= self.end
    }

    pub const fn covers(&self, other: &Self) -> bool {
        self.contains(other.start) && self.contains(other.end)
    }

    pub fn intersect(&self, other: &Self) -> Option<Self> {
        Self::new(self.start.max(other.start), self.end.min(other.end)).ok()
    }
}

/// One pair of traffic selectors, seen from this gateway: `local` is behind us, `remote` behind the peer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Selector {
    pub local: AddrRange,
    pub remote: AddrRange,
    /// `None`: any protocol; the port ranges then are [`PortRange::ANY`].
    pub protocol: Protocol,
    pub local_ports: PortRange,
    pub remote_ports: PortRange,
}

/// A network prefix in canonical form: host bits are zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    addr: IpAddr,
    len: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefixError {
    /// Not of the form `address/length`, nor an address.
    Syntax,
    /// Over 32 (IPv4) or 128 (IPv6) bits.
    Length,
    /// Bits beyond the length are set, as in 10.0.0.1/24.
    HostBits,
}

impl Prefix {
    pub fn new(addr: IpAddr, len: u8) -> Result<Self, PrefixError> {
        let masked = mask(addr, len).ok_or(PrefixError::Length)?;
        if masked == addr { Ok(Self { addr, len }) } else { Err(PrefixError::HostBits) }
    }

    /// The prefix that holds `addr`; host bits are cleared.
    pub fn of(addr: IpAddr, len: u8) -> Result<Self, PrefixError> {
        Ok(Self { addr: mask(addr, len).ok_or(PrefixError::Length)?, len })
    }

    pub const fn addr(&self) -> IpAddr {
        self.addr
    }

    /// Length in bits.
    #[allow(clippy::len_without_is_empty)] // a prefix length, not a count of elements
    pub const fn len(&self) -> u8 {
        self.len
    }

    #[inline]
    pub fn contains(&self, addr: IpAddr) -> bool {
        mask(addr, self.len) == Some(self.addr)
    }
}

fn mask(addr: IpAddr, len: u8) -> Option<IpAddr> {
    match addr {
        IpAddr::V4(a) => {
            let host = 32u32.checked_sub(len.into())?;
            let mask = u32::MAX.checked_shl(host).unwrap_or(0);
            Some(IpAddr::V4(Ipv4Addr::from_bits(a.to_bits() & mask)))
        }
        IpAddr::V6(a) => {
            let host = 128u32.checked_sub(len.into())?;
            let mask = u128::MAX.checked_shl(host).unwrap_or(0);
            Some(IpAddr::V6(Ipv6Addr::from_bits(a.to_bits() & mask)))
        }
    }
}

impl From<Prefix> for AddrRange {
    fn from(p: Prefix) -> Self {
        let end = match p.addr {
            IpAddr::V4(a) => {
                let host = u32::MAX.checked_shr(p.len.into()).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(a.to_bits() | host))
            }
            IpAddr::V6(a) => {
                let host = u128::MAX.checked_shr(p.len.into()).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(a.to_bits() | host))
            }
        };
        Self { start: p.addr, end }
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    /// `10.1.0.0/24`, `2001:db8::/32`, or an address alone (all its bits).
    fn from_str(s: &str) -> Result<Self, PrefixError> {
        let (addr, len) = match s.split_once('/') {
            Some((addr, len)) => (addr, Some(len.parse().map_err(|_| PrefixError::Syntax)?)),
            None => (s, None),
        };
        let addr: IpAddr = addr.parse().map_err(|_| PrefixError::Syntax)?;
        Self::new(addr, len.unwrap_or_else(|| if addr.is_ipv4() { 32 } else { 128 }))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.len)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for PrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax => "expected ADDRESS/LENGTH, for example 10.1.0.0/24",
            Self::Length => "the prefix length is over 32 (IPv4) or 128 (IPv6)",
            Self::HostBits => "bits beyond the prefix length are set",
        })
    }
}

impl core::error::Error for PrefixError {}

impl fmt::Display for EmptyRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the range is empty or mixes address families")
    }
}

impl core::error::Error for EmptyRange {}

/// A prefix where the range is one, else `start-end`.
impl fmt::Display for AddrRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_prefix() {
            Some(p) => fmt::Display::fmt(&p, f),
            None => write!(f, "{}-{}", self.start, self.end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use proptest::prelude::*;
    use std::string::ToString;

    fn v4(bits: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(bits))
    }

    #[test]
    fn prefix_text_round_trips_and_refuses_host_bits() {
        assert_eq!("10.1.0.0/24".parse::<Prefix>().unwrap().to_string(), "10.1.0.0/24");
        assert_eq!("10.1.0.1/24".parse::<Prefix>(), Err(PrefixError::HostBits));
        assert_eq!("10.1.0.0/33".parse::<Prefix>(), Err(PrefixError::Length));
        assert_eq!("ten".parse::<Prefix>(), Err(PrefixError::Syntax));
        assert_eq!("0.0.0.0/0".parse::<Prefix>().map(AddrRange::from), Ok(AddrRange::ANY_V4));
        assert_eq!("::/0".parse::<Prefix>().map(AddrRange::from), Ok(AddrRange::ANY_V6));
    }

    #[test]
    fn prefixes_of_the_extremes() {
        assert_eq!(AddrRange::ANY_V6.prefixes().map(|p| p.len()).collect::<std::vec::Vec<_>>(), [0]);
        let all_but_one = AddrRange::new("::1".parse().unwrap(), AddrRange::ANY_V6.end()).unwrap();
        assert_eq!(all_but_one.prefixes().count(), 128);
        let worst = AddrRange::new(v4(1), v4(u32::MAX - 1)).unwrap();
        assert_eq!(worst.prefixes().count(), 62);
    }

    proptest! {
        #[test]
        fn range_of_prefix_holds_what_the_prefix_holds(addr: u32, len in 0u8..=32, probe: u32) {
            let p = Prefix::of(v4(addr), len).unwrap();
            let r = AddrRange::from(p);
            prop_assert_eq!(r.contains(v4(probe)), p.contains(v4(probe)));
            prop_assert_eq!(r.as_prefix(), Some(p));
        }

        #[test]
        fn prefixes_hold_the_range_and_nothing_else(a: u32, b: u32, probe: u32) {
            let r = AddrRange::new(v4(a.min(b)), v4(a.max(b))).unwrap();
            let all: std::vec::Vec<_> = r.prefixes().collect();
            prop_assert!(all.len() <= 62);
            for p in [probe, a, b, a.wrapping_sub(1), b.wrapping_add(1)] {
                prop_assert_eq!(all.iter().filter(|x| x.contains(v4(p))).count(), usize::from(r.contains(v4(p))));
            }
        }

        #[test]
        fn intersection_is_membership_in_both(a: u32, b: u32, c: u32, d: u32, probe: u32) {
            let x = AddrRange::new(v4(a.min(b)), v4(a.max(b))).unwrap();
            let y = AddrRange::new(v4(c.min(d)), v4(c.max(d))).unwrap();
            let both = x.contains(v4(probe)) && y.contains(v4(probe));
            prop_assert_eq!(x.intersect(&y).is_some_and(|i| i.contains(v4(probe))), both);
        }
    }
}
