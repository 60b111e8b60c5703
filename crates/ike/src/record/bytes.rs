//! Numbers, addresses and times of a record.
//!
//! Decides: nothing. Never: leaves a key behind in memory that grew (the buffer is wiped when it moves).

use crate::crypto::Wiped;
use crate::error::Malformed;
use crate::payload::Reader;
use crate::task::delete::Inbound;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use ravelin_wire::Spi;
use std::time::Instant;
use zeroize::Zeroizing;

/// No timer of a record reaches further, in either direction.
const FARTHEST: Duration = Duration::from_secs(366 * 86_400);

/// One moment by two clocks: this process's own, and one that the next process has too (time since boot).
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    pub here: Instant,
    pub boot: Duration,
}

impl Clock {
    fn stamp(&self, at: Instant) -> u64 {
        let boot = match at.checked_duration_since(self.here) {
            Some(after) => self.boot.saturating_add(after),
            None => self.boot.saturating_sub(self.here.saturating_duration_since(at)),
        };
        u64::try_from(boot.as_millis()).unwrap_or(u64::MAX)
    }

    /// A time before this machine booted, or years away, is none.
    pub(crate) fn read(&self, r: &mut Reader<'_>) -> Result<Instant, Malformed> {
        let boot = Duration::from_millis(r.u64()?);
        let far = || Malformed::Value("time in a record");
        match boot.checked_sub(self.boot) {
            Some(after) if after <= FARTHEST => self.here.checked_add(after).ok_or_else(far),
            Some(_) => Err(far()),
            // An age beyond what the clock can tell does not matter.
            None => Ok(self.here.checked_sub(self.boot.saturating_sub(boot)).unwrap_or(self.here)),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Out(Zeroizing<Vec<u8>>);

impl Default for Out {
    fn default() -> Self {
        Self(Zeroizing::new(Vec::with_capacity(1024)))
    }
}

impl Out {
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        if self.0.capacity() - self.0.len() < bytes.len() {
            // Growing by itself would leave a copy that nobody wipes.
            let mut larger = Vec::with_capacity((self.0.capacity() * 2).max(self.0.len() + bytes.len()));
            larger.extend_from_slice(&self.0);
            self.0 = Zeroizing::new(larger);
        }
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn u8(&mut self, n: u8) {
        self.raw(&[n]);
    }

    pub(crate) fn u16(&mut self, n: u16) {
        self.raw(&n.to_be_bytes());
    }

    pub(crate) fn u32(&mut self, n: u32) {
        self.raw(&n.to_be_bytes());
    }

    pub(crate) fn u64(&mut self, n: u64) {
        self.raw(&n.to_be_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.raw(bytes);
    }

    pub(crate) fn ip(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(a) => {
                self.u8(4);
                self.raw(&a.octets());
            }
            IpAddr::V6(a) => {
                self.u8(6);
                self.raw(&a.octets());
            }
        }
    }

    pub(crate) fn socket(&mut self, addr: SocketAddr) {
        self.ip(addr.ip());
        self.u16(addr.port());
    }

    pub(crate) fn time(&mut self, clock: &Clock, at: Instant) {
        self.u64(clock.stamp(at));
    }

    pub(crate) fn finish(self) -> Wiped {
        self.0
    }
}

pub(crate) fn bytes_of<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    let len = usize::try_from(r.u32()?).map_err(|_| Malformed::Length("record"))?;
    r.take(len)
}

pub(crate) fn wiped_of(r: &mut Reader<'_>) -> Result<Wiped, Malformed> {
    Ok(Zeroizing::new(bytes_of(r)?.to_vec()))
}

pub(crate) fn ip_of(r: &mut Reader<'_>) -> Result<IpAddr, Malformed> {
    match r.u8()? {
        4 => Ok(r.array::<4>()?.into()),
        6 => Ok(r.array::<16>()?.into()),
        _ => Err(Malformed::Value("address in a record")),
    }
}

pub(crate) fn socket_of(r: &mut Reader<'_>) -> Result<SocketAddr, Malformed> {
    Ok(SocketAddr::new(ip_of(r)?, r.u16()?))
}

pub(super) fn spi_of(r: &mut Reader<'_>) -> Result<Spi, Malformed> {
    Spi::try_from(r.u32()?).map_err(|_| Malformed::Value("SPI in a record"))
}

pub(super) fn write_inbound(inbound: Inbound, out: &mut Out) {
    out.u32(inbound.spi.get());
    out.u8(u8::from(inbound.ah));
}

pub(super) fn inbound_of(r: &mut Reader<'_>) -> Result<Inbound, Malformed> {
    Ok(Inbound { spi: spi_of(r)?, ah: super::flag(r)? })
}
