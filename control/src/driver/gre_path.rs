//! How much the ways of GRE carry, as routers on them said (RFC 1191, RFC 8201; RFC 7588 §3.2).
//!
//! Decides: whether a notice concerns a tunnel of GRE, and how long it is believed. Reads: the configuration. Writes: the size
//! of packets in those tunnels, by the list of devices. Never: raises one by a notice, only by forgetting one; believes
//! anything about GRE that an SA protects, which is never seen outside; changes one more often than once a second.

use super::Driver;
use crate::config::{Config, Gre};
use crate::icmp::{Quoted, TooBig};
use ravelin_ring::msg::VrfId;
use ravelin_wire::{gre, ipv4, ipv6};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tracing::info;

/// RFC 1191 §6.3 recommends it: the way may have become wider.
const BELIEVED: Duration = Duration::from_secs(600);
/// Whoever lies about a way may not have the tables made anew as often as he likes.
const AT_MOST: Duration = Duration::from_secs(1);

/// By name of the device; no larger than the configuration.
#[derive(Clone, Debug, Default)]
pub(super) struct Paths(BTreeMap<String, Narrow>);

#[derive(Clone, Copy, Debug)]
struct Narrow {
    /// Largest inner packet.
    mtu: u16,
    since: Instant,
}

impl Paths {
    /// Largest packet in the tunnel.
    pub(super) fn mtu(&self, gre: &Gre) -> u16 {
        let learnt = self.0.get(gre.device.name.as_str()).map(|narrow| narrow.mtu);
        learnt.map_or(gre.device.mtu, |mtu| mtu.min(gre.device.mtu))
    }

    /// A router dropped a packet of ours. True: of a tunnel whose way is narrower than was known.
    fn learn(&mut self, now: Instant, config: &Config, vrf: VrfId, notice: &TooBig) -> bool {
        let Quoted::Gre { key } = notice.quoted else { return false };
        let same = |it: &&Gre| (it.local, it.remote, it.key) == (notice.local, notice.remote, key);
        let clear = |it: &&Gre| it.protected_by.is_none() && vrf == VrfId::MAIN;
        let Some(it) = config.gre.iter().find(same).filter(clear) else { return false };
        let mtu = notice.mtu.saturating_sub(overhead(it));
        let soon = self.0.get(it.device.name.as_str()).is_some_and(|n| now < n.since + AT_MOST);
        if mtu >= self.mtu(it) || soon {
            return false;
        }
        self.0.insert(it.device.name.to_string(), Narrow { mtu, since: now });
        true
    }

    /// Ways whose time is over, or whose tunnel is gone, are taken for as wide as the configuration says.
    fn age(&mut self, now: Instant, config: &Config) -> bool {
        let before = self.0.len();
        let there = |name: &str| config.gre.iter().any(|it| it.device.name.as_str() == name);
        self.0.retain(|name, narrow| now < narrow.since + BELIEVED && there(name));
        self.0.len() < before
    }
}

/// Around an inner packet.
fn overhead(it: &Gre) -> u16 {
    let header =
        gre::Gre { protocol: 0, checksum: it.checksum, key: it.key, sequence: it.sequence.then_some(0) };
    let outer = if it.local.is_ipv4() { ipv4::HEADER } else { ipv6::HEADER };
    u16::try_from(outer + header.len()).unwrap_or(u16::MAX)
}

impl Driver {
    pub(super) fn gre_too_big(&mut self, now: Instant, vrf: VrfId, notice: &TooBig) {
        if self.devices.numbers.paths.learn(now, &self.core.config, vrf, notice) {
            info!(remote = %notice.remote, mtu = notice.mtu, "the way to the far end of GRE is narrower than configured");
            self.tell_devices();
        }
    }

    pub(super) fn age_gre_paths(&mut self, now: Instant) {
        if self.devices.numbers.paths.age(now, &self.core.config) {
            self.tell_devices();
        }
    }

    fn tell_devices(&mut self) {
        if self.link.plane().is_some() {
            self.publish(self.devices.numbers.commands(&self.core.config));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn config(keys: &str) -> Config {
        let text = format!(
            "[[port]]\nname = \"wan0\"\n[[gre]]\nname = \"gre1\"\nlocal = \"198.18.0.1\"\nremote = \"198.18.0.2\"\n{keys}"
        );
        Config::parse(Path::new("test.toml"), &text).unwrap_or_else(|e| panic!("{e}"))
    }

    // RFC 1191 §6.3, RFC 7588 §3.2: what is quoted has to be of the tunnel, key and all.
    #[test]
    fn a_narrow_way_is_learnt_and_forgotten() {
        let config = config("key = 7\nchecksum = true\nsequence = true\nmtu = 1460\n");
        let gre = &config.gre[0];
        let (mut paths, now, main) = (Paths::default(), Instant::now(), VrfId::MAIN);
        let notice = |key, mtu| TooBig {
            local: gre.local,
            remote: gre.remote,
            quoted: Quoted::Gre { key },
            mtu,
            device: 1,
        };
        let good = notice(Some(7), 1300);
        for (bad, vrf, why) in [
            (notice(None, 1300), main, "no key"),
            (notice(Some(8), 1300), main, "another key"),
            (TooBig { remote: gre.local, ..good }, main, "other ends"),
            (TooBig { quoted: Quoted::Sa { spi: 7 }, ..good }, main, "an SA's"),
            (good, VrfId(101), "another VRF"),
            (notice(Some(7), 1500), main, "as wide as it was"),
        ] {
            assert!(!paths.learn(now, &config, vrf, &bad), "{why}");
            assert_eq!(paths.mtu(gre), 1460, "{why}");
        }
        assert!(paths.learn(now, &config, main, &good));
        assert_eq!(paths.mtu(gre), 1300 - 20 - 16);
        let later = now + AT_MOST;
        assert!(
            !paths.learn(later - Duration::from_millis(1), &config, main, &notice(Some(7), 1200)),
            "too soon"
        );
        assert!(!paths.learn(later, &config, main, &notice(Some(7), 1400)), "never wider by a notice");
        assert!(paths.learn(later, &config, main, &notice(Some(7), 576)));
        assert_eq!(paths.mtu(gre), 540);
        assert!(!paths.age(later + BELIEVED - Duration::from_millis(1), &config));
        assert!(paths.age(later + BELIEVED, &config));
        assert_eq!(paths.mtu(gre), 1460);
    }
}
