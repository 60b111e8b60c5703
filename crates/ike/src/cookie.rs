//! Cookies against floods of IKE_SA_INIT from forged addresses (RFC 7296 §2.6).
//!
//! Decides: whether a cookie is one that we gave to this initiator lately. Reads: nonce, SPI, address.
//! Writes: nothing per peer. Never: keeps state for a peer that has not shown its cookie.

use crate::config::Prf;
use crate::crypto::{Wiped, prf};
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use rand_core::Rng;
use std::time::Instant;
use zeroize::Zeroizing;

/// A cookie is good for one to two of these.
const ROTATION: Duration = Duration::from_secs(60);

pub(crate) struct Cookies {
    version: u8,
    current: Wiped,
    previous: Option<Wiped>,
    since: Option<Instant>,
}

impl fmt::Debug for Cookies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cookies(…)")
    }
}

impl Cookies {
    pub(crate) fn new() -> Self {
        Self { version: 0, current: Zeroizing::new(Vec::new()), previous: None, since: None }
    }

    /// Version byte, then prf(secret, Ni | address | port | SPIi).
    pub(crate) fn make(
        &mut self,
        now: Instant,
        rng: &mut dyn Rng,
        nonce: &[u8],
        spi: u64,
        from: SocketAddr,
    ) -> Vec<u8> {
        self.rotate(now, rng);
        cookie(self.version, &self.current, nonce, spi, from)
    }

    pub(crate) fn check(
        &mut self,
        now: Instant,
        rng: &mut dyn Rng,
        nonce: &[u8],
        spi: u64,
        from: SocketAddr,
        got: &[u8],
    ) -> bool {
        self.rotate(now, rng);
        let Some(&version) = got.first() else { return false };
        if version == self.version {
            prf::equal(&cookie(version, &self.current, nonce, spi, from), got)
        } else if version.wrapping_add(1) == self.version {
            self.previous.as_ref().is_some_and(|old| prf::equal(&cookie(version, old, nonce, spi, from), got))
        } else {
            false
        }
    }

    fn rotate(&mut self, now: Instant, rng: &mut dyn Rng) {
        let age = self.since.map(|since| now.saturating_duration_since(since));
        if age.is_some_and(|age| age < ROTATION) {
            return;
        }
        let mut fresh = Zeroizing::new(vec![0; 32]);
        rng.fill_bytes(&mut fresh);
        let old = core::mem::replace(&mut self.current, fresh);
        // A secret that is two rotations old must not serve any more.
        self.previous = age.filter(|age| *age < 2 * ROTATION).map(|_| old);
        self.version = self.version.wrapping_add(1);
        self.since = Some(now);
    }
}

fn cookie(version: u8, secret: &[u8], nonce: &[u8], spi: u64, from: SocketAddr) -> Vec<u8> {
    let addr = match from.ip() {
        core::net::IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
        core::net::IpAddr::V6(a) => a.octets(),
    };
    let parts: [&[u8]; 4] = [nonce, &addr, &from.port().to_be_bytes(), &spi.to_be_bytes()];
    let tag = prf::prf(Prf::HmacSha256, secret, &parts);
    [&[version], tag.as_slice()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    #[test]
    fn good_only_for_its_initiator_and_its_time() {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let mut cookies = Cookies::new();
        let t0 = Instant::now();
        let from: SocketAddr = "192.0.2.1:500".parse().unwrap();
        let other: SocketAddr = "192.0.2.2:500".parse().unwrap();
        let cookie = cookies.make(t0, &mut rng, &[1; 32], 5, from);
        assert!(cookie.len() <= 64, "RFC 7296 §3.10.1");
        assert!(cookies.check(t0, &mut rng, &[1; 32], 5, from, &cookie));
        assert!(!cookies.check(t0, &mut rng, &[2; 32], 5, from, &cookie));
        assert!(!cookies.check(t0, &mut rng, &[1; 32], 6, from, &cookie));
        assert!(!cookies.check(t0, &mut rng, &[1; 32], 5, other, &cookie));
        assert!(!cookies.check(t0, &mut rng, &[1; 32], 5, from, &cookie[1..]));
        assert!(!cookies.check(t0, &mut rng, &[1; 32], 5, from, &[]));
        // One rotation later the secret before still counts, after the second one it does not.
        assert!(cookies.check(t0 + ROTATION, &mut rng, &[1; 32], 5, from, &cookie));
        assert!(!cookies.check(t0 + 2 * ROTATION, &mut rng, &[1; 32], 5, from, &cookie));
    }

    #[test]
    fn a_secret_from_long_ago_is_gone() {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let mut cookies = Cookies::new();
        let t0 = Instant::now();
        let from: SocketAddr = "192.0.2.1:500".parse().unwrap();
        let cookie = cookies.make(t0, &mut rng, &[1; 32], 5, from);
        assert!(!cookies.check(t0 + 10 * ROTATION, &mut rng, &[1; 32], 5, from, &cookie));
    }
}
