//! What is offered: sizes, directions, flows, and the tunnels with their keys that device and tester agree on.
//!
//! Decides: addresses, SPIs and packet sizes by number. Writes: nothing. Never: sends.

use crate::suites::SuiteName;
use anyhow::Context;
use core::fmt;
use core::net::Ipv4Addr;
use core::str::FromStr;
use core::sync::atomic::{AtomicU64, Ordering};
use ravelin_crypto::Key;
use ravelin_ring::msg::Suite;

/// Inner source, first inner destination, outer addresses of the gateway and its peer.
pub(crate) const HOST_A: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 10);
pub(crate) const HOST_B: Ipv4Addr = Ipv4Addr::new(10, 128, 0, 10);
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
pub(crate) const PEER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// Tunnels end at the last address of 10.128.0.0/9.
pub(crate) const MAX_TUNNELS: u32 = 50_000;

/// Smallest packet that carries mark, number and time-stamp; largest that fits through a tunnel without fragments.
pub(crate) const SIZES: core::ops::RangeInclusive<u16> = 48..=1400;

/// Which way the packets go through the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Direction {
    /// Clear in, ESP out
    #[value(name = "out")]
    Out,
    /// ESP in, clear out
    #[value(name = "in")]
    In,
    /// Both at once, in turns; rates are sums
    #[value(name = "both")]
    Both,
}

impl Direction {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::In => "in",
            Self::Both => "both",
        }
    }

    pub(crate) const fn clear(self) -> bool {
        matches!(self, Self::Out | Self::Both)
    }

    pub(crate) const fn sealed(self) -> bool {
        matches!(self, Self::In | Self::Both)
    }
}

/// Length of the inner IP packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Size {
    Fixed(u16),
    /// 7 of 64, 4 of 576 and 1 of 1400 bytes.
    Imix,
}

/// Evenly mixed, so that every stretch has the same share.
const IMIX: [u16; 12] = [64, 576, 64, 64, 576, 64, 1400, 64, 576, 64, 64, 576];

impl Size {
    pub(crate) fn pattern(self) -> Vec<u16> {
        match self {
            Self::Fixed(size) => vec![size],
            Self::Imix => IMIX.to_vec(),
        }
    }

    pub(crate) fn mean(self) -> f64 {
        let pattern = self.pattern();
        let sum: f64 = pattern.iter().copied().map(f64::from).sum();
        #[allow(clippy::cast_precision_loss)] // a dozen at most
        let n = pattern.len() as f64;
        sum / n
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "imix" {
            return Ok(Self::Imix);
        }
        match text.parse() {
            Ok(size) if SIZES.contains(&size) => Ok(Self::Fixed(size)),
            _ => Err(format!("from {} to {} bytes, or imix", SIZES.start(), SIZES.end())),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => size.fmt(f),
            Self::Imix => f.pad("imix"),
        }
    }
}

impl serde::Serialize for Size {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Fixed(size) => to.serialize_u16(*size),
            Self::Imix => to.serialize_str("imix"),
        }
    }
}

/// One tunnel of the device under test, as both sides of its keys.
#[derive(Debug)]
pub(crate) struct Tunnel {
    /// The network behind the peer is this one address.
    pub(crate) remote: Ipv4Addr,
    pub(crate) out: Sa,
    pub(crate) inn: Sa,
}

#[derive(Debug)]
pub(crate) struct Sa {
    pub(crate) spi: u32,
    /// As the device is told.
    pub(crate) keymat: Vec<u8>,
    /// As the tester uses it.
    pub(crate) key: Key,
    /// Last sequence number that the tester sent with this key; none is ever used twice.
    sequence: AtomicU64,
}

/// All tunnels of one start of a device: keys are random and never used for another start, since sequence numbers
/// begin anew.
#[derive(Debug)]
pub(crate) struct Tunnels {
    pub(crate) suite: SuiteName,
    pub(crate) all: Vec<Tunnel>,
}

const FIRST_OUT: u32 = 0x0100_0000;
const FIRST_IN: u32 = 0x0200_0000;

impl Tunnels {
    pub(crate) fn new(suite: SuiteName, count: u32) -> anyhow::Result<Self> {
        anyhow::ensure!((1..=MAX_TUNNELS).contains(&count), "tunnels: from 1 to {MAX_TUNNELS}");
        let tunnel = |n| -> anyhow::Result<Tunnel> {
            let (out, inn) = (Sa::new(suite, FIRST_OUT + n)?, Sa::new(suite, FIRST_IN + n)?);
            Ok(Tunnel { remote: remote(n), out, inn })
        };
        Ok(Self { suite, all: (0..count).map(tunnel).collect::<anyhow::Result<_>>()? })
    }

    /// The key of an ESP packet that arrived: sealed by the device, or by the tester where the device is a forwarder.
    pub(crate) fn of_spi(&self, spi: u32) -> Option<&Key> {
        let at = |first: u32| usize::try_from(spi.checked_sub(first)?).ok();
        let inn = at(FIRST_IN).and_then(|n| self.all.get(n)).map(|t| &t.inn.key);
        inn.or_else(|| at(FIRST_OUT).and_then(|n| self.all.get(n)).map(|t| &t.out.key))
    }

    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.all.len()).unwrap_or(u32::MAX)
    }
}

pub(crate) fn remote(tunnel: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(HOST_B.to_bits() + tunnel)
}

impl Sa {
    pub(crate) fn next_sequence(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn new(suite: SuiteName, spi: u32) -> anyhow::Result<Self> {
        let (suite, key_bytes) = suite.contract();
        let mut keymat = vec![0; key_bytes];
        let mut seed = [0; 16];
        for bytes in [&mut keymat[..], &mut seed] {
            getrandom::fill(bytes).map_err(|e| anyhow::anyhow!("random numbers: {e}"))?;
        }
        let key =
            Key::new(crypto(suite).context("not a suite of ESP")?, &keymat, seed).context("key length")?;
        Ok(Self { spi, keymat, key, sequence: AtomicU64::new(0) })
    }
}

/// The same suite as the kernels name it.
fn crypto(suite: Suite) -> Option<ravelin_crypto::Suite> {
    Some(match suite {
        Suite::Aes128Gcm16 => ravelin_crypto::Suite::Aes128Gcm16,
        Suite::Aes256Gcm16 => ravelin_crypto::Suite::Aes256Gcm16,
        Suite::ChaCha20Poly1305 => ravelin_crypto::Suite::ChaCha20Poly1305,
        Suite::Aes128CbcSha1 => ravelin_crypto::Suite::Aes128CbcSha1,
        Suite::Aes256CbcSha1 => ravelin_crypto::Suite::Aes256CbcSha1,
        Suite::Aes128CbcSha256 => ravelin_crypto::Suite::Aes128CbcSha256,
        Suite::Aes256CbcSha256 => ravelin_crypto::Suite::Aes256CbcSha256,
        Suite::Aes128Gmac => ravelin_crypto::Suite::Aes128Gmac,
        Suite::Aes192Gmac => ravelin_crypto::Suite::Aes192Gmac,
        Suite::Aes256Gmac => ravelin_crypto::Suite::Aes256Gmac,
        Suite::Aes128CbcSha384 => ravelin_crypto::Suite::Aes128CbcSha384,
        Suite::Aes256CbcSha384 => ravelin_crypto::Suite::Aes256CbcSha384,
        Suite::Aes128CbcSha512 => ravelin_crypto::Suite::Aes128CbcSha512,
        Suite::Aes256CbcSha512 => ravelin_crypto::Suite::Aes256CbcSha512,
        Suite::Aes128CtrSha1 => ravelin_crypto::Suite::Aes128CtrSha1,
        Suite::Aes192CtrSha1 => ravelin_crypto::Suite::Aes192CtrSha1,
        Suite::Aes256CtrSha1 => ravelin_crypto::Suite::Aes256CtrSha1,
        Suite::Aes128CtrSha256 => ravelin_crypto::Suite::Aes128CtrSha256,
        Suite::Aes192CtrSha256 => ravelin_crypto::Suite::Aes192CtrSha256,
        Suite::Aes256CtrSha256 => ravelin_crypto::Suite::Aes256CtrSha256,
        Suite::Aes256CtrSha384 => ravelin_crypto::Suite::Aes256CtrSha384,
        Suite::Aes256CtrSha512 => ravelin_crypto::Suite::Aes256CtrSha512,
        Suite::AhSha1
        | Suite::AhSha256
        | Suite::AhSha384
        | Suite::AhSha512
        | Suite::AhGmac128
        | Suite::AhGmac192
        | Suite::AhGmac256 => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imix_has_its_shares_and_sizes_their_bounds() {
        let pattern = Size::Imix.pattern();
        let share = |s| pattern.iter().filter(|p| **p == s).count();
        assert_eq!((share(64), share(576), share(1400)), (7, 4, 1));
        assert!((Size::Imix.mean() - (7.0 * 64.0 + 4.0 * 576.0 + 1400.0) / 12.0).abs() < 1e-9);
        assert_eq!("imix".parse(), Ok(Size::Imix));
        assert_eq!("1400".parse(), Ok(Size::Fixed(1400)));
        for bad in ["47", "1401", "", "-1", "imix2"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }

    #[test]
    fn tunnels_differ_in_all_that_tells_them_apart() {
        let tunnels = Tunnels::new(SuiteName::Aes128Gcm, 3).unwrap();
        assert_eq!(tunnels.count(), 3);
        let [a, b, _] = &tunnels.all[..] else { panic!("three tunnels") };
        assert_ne!(a.remote, b.remote);
        assert_ne!(a.out.keymat, b.out.keymat);
        assert_ne!(a.out.keymat, a.inn.keymat);
        assert!(tunnels.of_spi(b.out.spi).is_some_and(|k| std::ptr::eq(k, &b.out.key)));
        assert!(tunnels.of_spi(b.inn.spi).is_some_and(|k| std::ptr::eq(k, &b.inn.key)));
        assert!(tunnels.of_spi(b.out.spi + 2).is_none(), "no such tunnel");
        assert!(tunnels.of_spi(5).is_none());
        assert!(Tunnels::new(SuiteName::Aes128Gcm, 0).is_err());
    }
}
