//! Addresses that peers gave to tunnels which ask for them (RFC 7296 §2.19).
//!
//! Decides: which address stands on which device. Reads: what the engine tells, the configuration. Writes: the devices,
//! and a file of what it put there, so that the next process takes away what it does not get again.
//! Never: takes away an address that it did not put there; waits for a device that is not there.

use super::{Driver, DriverError};
use crate::config::{Config, Tunnel};
use crate::kernel::address;
use ravelin_ike::config::ConnectionId;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tracing::{info, warn};

/// Far more than tunnels can ask for.
const MAX_SIZE: u64 = 4 << 20;

/// Name of a device, and an address on it.
type Placed = BTreeSet<(String, IpAddr)>;

#[derive(Debug, Default)]
pub(super) struct Given {
    path: PathBuf,
    of: BTreeMap<ConnectionId, Gift>,
    /// What we put there, or a process before us.
    placed: Placed,
    /// Is to be looked at.
    due: bool,
}

/// What one peer gave.
#[derive(Debug, Default)]
pub(super) struct Gift {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) dns: Vec<IpAddr>,
}

impl Given {
    pub(super) fn load(run_dir: &Path) -> Self {
        let path = run_dir.join("addresses.json");
        let small = std::fs::metadata(&path).is_ok_and(|m| m.len() <= MAX_SIZE);
        let text = if small { std::fs::read(&path).ok() } else { None };
        let placed = text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        Self { path, placed, ..Self::default() }
    }

    pub(super) fn of(&self, id: ConnectionId) -> Option<&Gift> {
        self.of.get(&id)
    }

    pub(super) fn addresses(&self, tunnel: &Tunnel) -> &[IpAddr] {
        self.of.get(&tunnel.connection_id()).map_or(&[], |gift| gift.addresses.as_slice())
    }

    pub(super) fn set(&mut self, id: ConnectionId, addresses: Vec<IpAddr>, dns: Vec<IpAddr>) {
        self.due = true;
        if addresses.is_empty() {
            self.of.remove(&id);
        } else {
            self.of.insert(id, Gift { addresses, dns });
        }
    }

    /// Devices may have come or gone, or IKE has begun and what it goes on with is known.
    pub(super) const fn look(&mut self) {
        self.due = true;
    }

    fn wanted(&self, config: &Config) -> Placed {
        let tunnels = config.tunnels.iter().filter(|t| t.parent.is_none());
        let each = tunnels.flat_map(|t| {
            let device = t.exchanges.address_device.as_ref().unwrap_or(&config.dataplane.tun);
            self.addresses(t).iter().map(|a| (device.to_string(), *a))
        });
        each.collect()
    }

    /// Before an address is put anywhere, so that a crash leaves none behind that nobody knows of.
    fn save(&self, placed: &Placed) -> io::Result<()> {
        let aside = self.path.with_extension("json.new");
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        file.write_all(&serde_json::to_vec(placed).map_err(io::Error::other)?)?;
        file.sync_all()?;
        std::fs::rename(&aside, &self.path)
    }
}

impl Driver {
    /// Brings the devices to what the peers gave. What fails is tried again when the kernel tells of a change.
    pub(super) async fn place_addresses(&mut self) -> Result<(), DriverError> {
        if !std::mem::take(&mut self.core.given.due) {
            return Ok(());
        }
        let (wanted, before) = (self.core.given.wanted(&self.core.config), self.core.given.placed.clone());
        if wanted == before {
            return Ok(());
        }
        let both: Placed = wanted.union(&before).cloned().collect();
        if let Err(why) = self.core.given.save(&both) {
            warn!(%why, "what addresses the peers gave could not be written down");
        }
        // Nothing is sent from an address that goes.
        self.update_routes().await?;
        for (device, addr) in before.difference(&wanted) {
            if let Some(link) = self.mirror.model().link_named(device) {
                address::remove(self.mirror.handle(), link.index, *addr).await?;
            }
            self.core.given.placed.remove(&(device.clone(), *addr));
            info!(device, %addr, "an address that a peer gave is gone");
            // With a device's last IPv4 address the kernel takes all routes into it, without a word.
            self.routes = None;
        }
        self.update_routes().await?;
        for (device, addr) in wanted.difference(&before) {
            match self.mirror.model().link_named(device) {
                Some(link) => {
                    address::add(self.mirror.handle(), link.index, *addr).await?;
                    self.core.given.placed.insert((device.clone(), *addr));
                    info!(device, %addr, "the peer gave an address");
                }
                None => warn!(device, %addr, "the peer gave an address, but the device for it is not there"),
            }
        }
        let placed = &self.core.given.placed;
        if *placed != both
            && let Err(why) = self.core.given.save(placed)
        {
            warn!(%why, "what addresses the peers gave could not be written down");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &str) -> Config {
        let text = format!(
            "[[port]]\nname = \"wan0\"\n[[tunnel]]\nname = \"road\"\nlocal = \"198.18.0.1\"\nremote = \"198.18.0.2\"\n\
             request-address = [\"ipv4\"]\n{more}selectors = [{{ remote = \"10.1.0.0/24\" }}]\n"
        );
        Config::parse(Path::new("t.toml"), &text).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn each_address_has_its_device_and_the_file_tells_the_next_process() {
        let dir = tempfile::tempdir().unwrap();
        let mut given = Given::load(dir.path());
        let address: IpAddr = "10.3.0.8".parse().unwrap();
        let c = config("");
        assert!(given.wanted(&c).is_empty());
        given.set(c.tunnels[0].connection_id(), vec![address], vec![]);
        let wanted = given.wanted(&c);
        assert_eq!(wanted, [("ravelin0".to_owned(), address)].into());
        assert_eq!(
            given.wanted(&config("address-device = \"dummy0\"\n")),
            [("dummy0".to_owned(), address)].into()
        );
        given.save(&wanted).unwrap();
        let next = Given::load(dir.path());
        assert_eq!((next.placed, next.of.len()), (wanted, 0));
        given.set(c.tunnels[0].connection_id(), vec![], vec![]);
        assert!(given.wanted(&c).is_empty() && given.addresses(&c.tunnels[0]).is_empty());
    }
}
