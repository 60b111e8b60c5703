//! Traffic selector payloads (RFC 7296 §3.13).
//!
//! Decides: whether they are well formed. Never: narrows (that is `negotiate::ts`).

use super::{Reader, patch_len};
use crate::error::Malformed;
use core::net::IpAddr;
use ravelin_wire::{AddrRange, PortRange};

const TS_IPV4: u8 = 7;
const TS_IPV6: u8 = 8;

/// One side of a selector pair.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TrafficSelector {
    pub(crate) protocol: Option<u8>,
    pub(crate) addrs: AddrRange,
    /// `None`: OPAQUE (start 65535, end 0): only packets whose port cannot be known.
    pub(crate) ports: Option<PortRange>,
}

/// Selectors of types that we do not know are left out, as nothing could match them.
pub(crate) fn parse(body: &[u8]) -> Result<Vec<TrafficSelector>, Malformed> {
    let mut r = Reader::new(body, "TS payload");
    let count = usize::from(r.u8()?);
    r.take(3)?;
    let mut list = Vec::new();
    for _ in 0..count {
        let kind = r.u8()?;
        let protocol = r.u8()?;
        let len = usize::from(r.u16()?).checked_sub(4).ok_or(Malformed::Length("traffic selector"))?;
        let body = r.take(len)?;
        if matches!(kind, TS_IPV4 | TS_IPV6) {
            list.push(parse_one(kind, protocol, body)?);
        }
    }
    if count == 0 || !r.is_empty() { Err(Malformed::Length("TS payload")) } else { Ok(list) }
}

fn parse_one(kind: u8, protocol: u8, body: &[u8]) -> Result<TrafficSelector, Malformed> {
    let mut r = Reader::new(body, "traffic selector");
    let (first, last) = (r.u16()?, r.u16()?);
    let (start, end): (IpAddr, IpAddr) = if kind == TS_IPV4 {
        (r.array::<4>()?.into(), r.array::<4>()?.into())
    } else {
        (r.array::<16>()?.into(), r.array::<16>()?.into())
    };
    if !r.is_empty() {
        return Err(Malformed::Length("traffic selector"));
    }
    let ports = match PortRange::new(first, last) {
        Ok(ports) => Some(ports),
        Err(_) if (first, last) == (u16::MAX, 0) => None,
        Err(_) => return Err(Malformed::Value("port range")),
    };
    let addrs = AddrRange::new(start, end).map_err(|_| Malformed::Value("address range"))?;
    Ok(TrafficSelector { protocol: (protocol != 0).then_some(protocol), addrs, ports })
}

/// No more than 255 fit; callers offer no more.
pub(crate) fn write(list: &[TrafficSelector], out: &mut Vec<u8>) {
    let list = list.get(..list.len().min(255)).unwrap_or(list);
    out.extend_from_slice(&[u8::try_from(list.len()).unwrap_or(u8::MAX), 0, 0, 0]);
    for ts in list {
        let start = out.len();
        let kind = if ts.addrs.start().is_ipv4() { TS_IPV4 } else { TS_IPV6 };
        out.extend_from_slice(&[kind, ts.protocol.unwrap_or(0), 0, 0]);
        let (first, last) = ts.ports.map_or((u16::MAX, 0), |p| (p.start(), p.end()));
        out.extend_from_slice(&first.to_be_bytes());
        out.extend_from_slice(&last.to_be_bytes());
        write_addr(ts.addrs.start(), out);
        write_addr(ts.addrs.end(), out);
        patch_len(out, start);
    }
}

fn write_addr(addr: IpAddr, out: &mut Vec<u8>) {
    match addr {
        IpAddr::V4(a) => out.extend_from_slice(&a.octets()),
        IpAddr::V6(a) => out.extend_from_slice(&a.octets()),
    }
}
