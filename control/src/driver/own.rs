//! The machine's own addresses, as tunnels ask for them.
//!
//! Decides: which of them a tunnel may go by, and why it has none (R69, R70). Reads: the mirror of the kernel.
//! Writes: nothing. Never: takes a link that is down for an address that is gone.

use crate::config::{Config, Errors, Findings, Tunnel};
use crate::kernel::Model;
use ravelin_ring::msg::{NextHop, VrfId};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Addresses(BTreeMap<IpAddr, Vec<Device>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Device {
    name: String,
    vrf: VrfId,
    up: bool,
}

impl Addresses {
    pub(super) fn of(model: &Model) -> Self {
        let mut all: BTreeMap<IpAddr, Vec<Device>> = BTreeMap::new();
        for (addr, vrf, link) in model.own_addresses() {
            all.entry(addr).or_default().push(Device { name: link.name.clone(), vrf, up: link.up });
        }
        Self(all)
    }

    fn devices(&self, addr: IpAddr) -> &[Device] {
        self.0.get(&addr).map_or(&[], Vec::as_slice)
    }

    /// What is sent from there can leave.
    pub(super) fn usable(&self, tunnel: &Tunnel, vrf: VrfId, addr: IpAddr) -> bool {
        self.devices(addr).iter().any(|d| d.up && d.vrf == vrf && may_be(tunnel, d))
    }

    /// Why none of its addresses is there; `None`: one is. One of a device that belongs to no VRF may be of any, and
    /// `local` says of an address that no device has whether the kernel takes it for its own nevertheless.
    pub(super) fn lack(
        &self,
        tunnel: &Tunnel,
        vrf: VrfId,
        mut local: impl FnMut(IpAddr) -> bool,
    ) -> Option<String> {
        let here = |d: &Device| (d.vrf == vrf || d.vrf == VrfId::MAIN) && may_be(tunnel, d);
        let mut there = |addr: IpAddr| match self.devices(addr) {
            [] => tunnel.local_interface.is_none() && local(addr),
            devices => devices.iter().any(here),
        };
        if tunnel.locals().any(&mut there) {
            return None;
        }
        let wanted = tunnel.locals().map(|addr| addr.to_string()).collect::<Vec<_>>().join(" or ");
        Some(match (&tunnel.local_interface, self.devices(tunnel.local).first()) {
            (Some(name), Some(other)) => format!("{wanted} is on {}, not on {name}", other.name),
            (Some(name), None) => format!("{name} does not have {wanted}"),
            (None, Some(other)) => format!("{wanted} is on {}, which is in another VRF", other.name),
            (None, None) => format!("the machine does not have {wanted}"),
        })
    }

    /// R70: an address that another device has than the tunnel says is a mistake of the configuration. One that no
    /// device has may come.
    pub(super) fn agree(&self, config: &Config, file: &Path) -> Result<(), Errors> {
        let mut findings = Findings::of(file);
        for tunnel in &config.tunnels {
            let (Some(name), [first, ..]) = (&tunnel.local_interface, self.devices(tunnel.local)) else {
                continue;
            };
            if !self.devices(tunnel.local).iter().any(|d| may_be(tunnel, d)) {
                let found = format!(
                    "`local-interface` of tunnel \"{}\" is {name}, but {} has {}",
                    tunnel.name, first.name, tunnel.local
                );
                let cure = format!("write local-interface = \"{}\", or move the address", first.name);
                findings.error(tunnel.line, found, "the device that has the address", cure);
            }
        }
        findings.finish().map(drop)
    }
}

fn may_be(tunnel: &Tunnel, device: &Device) -> bool {
    tunnel.local_interface.as_ref().is_none_or(|name| name.as_str() == device.name)
}

/// Whether the kernel takes packets for an address as its own by a route alone; each is looked up once.
pub(super) fn by_route(model: &Model) -> impl FnMut(IpAddr) -> bool {
    let mut known: BTreeMap<IpAddr, bool> = BTreeMap::new();
    move |addr| *known.entry(addr).or_insert_with(|| model.leads(addr) == Some(NextHop::Local))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = include_str!("../../../configs/minimal.toml");

    fn config(keys: &str) -> Config {
        Config::parse(Path::new("gw.toml"), &format!("{MINIMAL}\n{keys}\n")).unwrap_or_else(|e| panic!("{e}"))
    }

    fn have(all: &[(&str, &str, u32, bool)]) -> Addresses {
        let mut out = Addresses::default();
        for (addr, name, vrf, up) in all {
            let device =
                Device { name: (*name).to_owned(), vrf: VrfId(u16::try_from(*vrf).unwrap()), up: *up };
            out.0.entry(addr.parse().unwrap()).or_default().push(device);
        }
        out
    }

    fn lack(own: &Addresses, config: &Config) -> Option<String> {
        own.lack(&config.tunnels.iter().next().unwrap().clone(), VrfId::MAIN, |_| false)
    }

    // R69: an address is there while any device has it, up or not; of another VRF's device it is another one.
    #[test]
    fn an_address_is_gone_when_no_device_has_it() {
        let plain = config("");
        let local = plain.tunnels.iter().next().unwrap().local.to_string();
        for (own, there) in [
            (vec![], false),
            (vec![(local.as_str(), "wan0", 0, true)], true),
            (vec![(local.as_str(), "wan0", 0, false)], true),
            (vec![(local.as_str(), "wan0", 7, true)], false),
            (vec![("192.0.2.77", "wan0", 0, true)], false),
        ] {
            assert_eq!(lack(&have(&own), &plain).is_none(), there, "{own:?}");
        }
        let tunnel = plain.tunnels.iter().next().unwrap().clone();
        assert_eq!(have(&[]).lack(&tunnel, VrfId::MAIN, |_| true), None, "any address of a local route");
        let more = config("local-backups = [\"192.0.2.77\"]\nmobike = true");
        assert_eq!(lack(&have(&[("192.0.2.77", "wan0", 0, true)]), &more), None);
        let why = lack(&have(&[]), &more).unwrap();
        assert!(why.contains(&local) && why.contains("192.0.2.77"), "{why}");
    }

    // R70: the named device must be the one that holds the address.
    #[test]
    fn the_named_device_must_have_the_address() {
        let named = config("local-interface = \"wan0\"");
        let local = named.tunnels.iter().next().unwrap().local.to_string();
        let (right, wrong) = (have(&[(&local, "wan0", 0, true)]), have(&[(&local, "lan0", 0, true)]));
        let both = have(&[(&local, "lan0", 0, true), (&local, "wan0", 0, true)]);
        let file = Path::new("gw.toml");
        for (own, good) in [(&right, true), (&wrong, false), (&both, true)] {
            assert_eq!(
                (lack(own, &named).is_none(), own.agree(&named, file).is_ok()),
                (good, good),
                "{own:?}"
            );
        }
        let said = wrong.agree(&named, file).unwrap_err().to_string();
        assert!(said.contains("wan0") && said.contains("lan0") && said.contains(&local), "{said}");
        // It may come yet: nothing to refuse, and nothing to begin with.
        assert!(have(&[]).agree(&named, file).is_ok() && lack(&have(&[]), &named).is_some());
        assert!(wrong.agree(&config(""), file).is_ok());
    }
}
