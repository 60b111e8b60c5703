//! Devices of route-based tunnels, between the configuration, the kernel and the data plane.
//!
//! Decides: their numbers; when a device that the configuration does not name any more is deleted. Reads: the
//! configuration, links. Writes: commands for the data plane; addresses, routes and MTU of the devices.
//! Never: gives a number away that the generation before had.

use super::{Driver, DriverError, gre_path};
use crate::config::{self, Config, TunnelInterface};
use crate::kernel::{self, Link, TunnelDevice};
use ravelin_ike::config::Start;
use ravelin_ring::msg::{
    Behind, Gre, Interface, InterfaceId, InterfaceName, PortId, TableCommand, VrfId, VrfPart,
};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// Numbers by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers {
    now: BTreeMap<String, InterfaceId>,
    before: BTreeSet<InterfaceId>,
    pub(super) paths: gre_path::Paths,
}

impl Numbers {
    /// Those of `config`; a device that was there keeps its number. Which devices are gone.
    pub(super) fn follow(&mut self, config: &Config) -> Vec<String> {
        let names: Vec<String> = names(config).collect();
        let old = std::mem::take(&mut self.now);
        let kept: BTreeMap<String, InterfaceId> =
            names.iter().filter_map(|n| Some((n.clone(), *old.get(n)?))).collect();
        let mut taken: BTreeSet<InterfaceId> = old.values().chain(&self.before).copied().collect();
        self.now = kept;
        for name in names {
            let Entry::Vacant(place) = self.now.entry(name) else { continue };
            let free = (0..=u16::MAX).map(InterfaceId).find(|id| !taken.contains(id));
            let Some(id) = free else { break }; // the configuration allows far fewer
            taken.insert(id);
            place.insert(id);
        }
        self.before = old.values().copied().collect();
        old.into_keys().filter(|name| !self.now.contains_key(name)).collect()
    }

    pub(super) fn all(&self) -> &BTreeMap<String, InterfaceId> {
        &self.now
    }

    /// The list, whole.
    pub(super) fn commands(&self, config: &Config) -> Vec<TableCommand> {
        let interface = |(behind, it): (Behind, &TunnelInterface)| {
            Some(TableCommand::AddInterface(Interface {
                id: *self.now.get(it.name.as_str())?,
                name: InterfaceName::new(it.name.as_str())?,
                behind,
                reverse_path: it.reverse_path,
            }))
        };
        let tunnels = config.tunnels.iter().filter_map(|t| {
            let hold = t.start == Start::OnTraffic;
            Some((Behind::Tunnel { tunnel: t.id, hold }, t.interface.as_ref()?))
        });
        let list =
            tunnels.chain(config.gre.iter().filter_map(|it| Some((self.behind(it, config)?, &it.device))));
        let all = core::iter::once(TableCommand::ClearInterfaces).chain(list.filter_map(interface));
        all.chain(self.members(config)).collect()
    }

    /// `None`: what has to protect it is not there, which no checked configuration says.
    fn behind(&self, gre: &config::Gre, config: &Config) -> Option<Behind> {
        let tunnel = match &gre.protected_by {
            Some(name) => Some(config.tunnel(name)?.id),
            None => None,
        };
        Some(Behind::Gre(Gre {
            local: gre.local,
            remote: gre.remote,
            key: gre.key,
            checksum: gre.checksum,
            sequence: gre.sequence,
            mtu: self.paths.mtu(gre),
            tunnel,
        }))
    }

    /// Which ports and devices belong to which VRF.
    fn members(&self, config: &Config) -> Vec<TableCommand> {
        let ports = (0..).zip(&config.ports).map(|(n, port)| (VrfPart::Port(PortId(n)), &port.vrf));
        let devices = vrfs_of_devices(config)
            .filter_map(|(it, vrf)| Some((VrfPart::Interface(*self.now.get(it.name.as_str())?), vrf)));
        let all = ports.chain(devices).map(|(part, vrf)| (part, config.vrf(vrf.as_deref())));
        let others = all.filter(|(_, vrf)| *vrf != VrfId::MAIN);
        others.map(|(part, vrf)| TableCommand::InVrf { vrf, part }).collect()
    }
}

/// The devices of tunnels, each with the VRF of what goes through.
fn vrfs_of_devices(config: &Config) -> impl Iterator<Item = (&TunnelInterface, &Option<String>)> {
    let tunnels = config.tunnels.iter().filter_map(|t| Some((t.interface.as_ref()?, &t.vrf)));
    tunnels.chain(config.gre.iter().map(|gre| (&gre.device, &gre.vrf)))
}

/// The VRFs of all devices that belong to one, by their names, and all VRFs there are.
fn memberships(config: &Config) -> (BTreeMap<String, VrfId>, BTreeSet<VrfId>) {
    let ports = config.ports.iter().map(|port| (port.name.to_string(), &port.vrf));
    let devices = vrfs_of_devices(config).map(|(it, vrf)| (it.name.to_string(), vrf));
    let all = ports.chain(devices).map(|(name, vrf)| (name, config.vrf(vrf.as_deref())));
    let others = all.filter(|(_, vrf)| *vrf != VrfId::MAIN);
    (others.collect(), config.vrfs.iter().map(config::Vrf::id).collect())
}

fn names(config: &Config) -> impl Iterator<Item = String> {
    config.devices().map(|device| device.name.to_string())
}

/// What the kernel has to make of them.
pub(super) fn wanted(config: &Config) -> Vec<TunnelDevice> {
    let device = |(it, vrf): (&TunnelInterface, &Option<String>)| TunnelDevice {
        vrf: config.vrf(vrf.as_deref()),
        name: it.name.to_string(),
        mtu: it.mtu,
        addresses: it.addresses.clone(),
        routes: it.routes.clone(),
    };
    // What policies of a VRF protect goes nowhere while nobody does; in the main one table 4500 sees to that.
    let held = config.vrfs.iter().map(|vrf| TunnelDevice {
        vrf: vrf.id(),
        name: String::new(),
        mtu: 0,
        addresses: vec![],
        routes: config.selectors_in(vrf.id()).flat_map(|s| kernel::prefixes_of(&s.remote)).collect(),
    });
    vrfs_of_devices(config).map(device).chain(held).collect()
}

/// As the driver has them.
#[derive(Default)]
pub(super) struct Devices {
    pub(super) numbers: Numbers,
    /// What they were last brought to, and as they were then.
    brought: Option<(Vec<TunnelDevice>, Vec<Option<Link>>)>,
    /// Not configured any more.
    gone: Vec<String>,
}

impl Driver {
    /// After a change of the configuration: numbers, and the names by which routes are recognised.
    pub(super) fn number_devices(&mut self) {
        let gone = self.devices.numbers.follow(&self.core.config);
        self.devices.gone.extend(gone);
        self.mirror.name_interfaces(self.devices.numbers.all().clone());
        let (members, vrfs) = memberships(&self.core.config);
        self.mirror.name_vrfs(members, vrfs);
    }

    /// Brings the devices to what the configuration says, as far as they are there.
    pub(super) async fn update_devices(&mut self) -> Result<(), DriverError> {
        let wanted = wanted(&self.core.config);
        let links: Vec<_> =
            wanted.iter().map(|device| self.mirror.model().link_named(&device.name).cloned()).collect();
        let state = (wanted, links);
        if self.devices.brought.as_ref() != Some(&state) {
            kernel::set_devices(&state.0, self.mirror.model()).await?;
            self.devices.brought = Some(state);
        }
        Ok(())
    }

    /// Once the data plane has let go of them.
    pub(super) async fn delete_devices(&mut self) -> Result<(), DriverError> {
        for name in std::mem::take(&mut self.devices.gone) {
            if self.devices.numbers.all().contains_key(&name) {
                continue; // it came back meanwhile
            }
            if let Some(link) = self.mirror.model().link_named(&name) {
                kernel::delete_device(self.mirror.handle(), link.index).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn config(devices: &[&str]) -> Config {
        let mut text = "[[port]]\nname = \"wan0\"\n".to_owned();
        for (n, name) in devices.iter().enumerate() {
            text.push_str(&format!(
                "[[tunnel]]\nname = \"t{name}\"\nlocal = \"198.18.0.1\"\nremote = \"198.18.1.{}\"\n\
                 interface = {{ name = \"{name}\" }}\n",
                n + 1
            ));
        }
        Config::parse(Path::new("test.toml"), &text).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn a_number_rests_for_a_generation_before_another_device_has_it() {
        let mut numbers = Numbers::default();
        assert_eq!(numbers.follow(&config(&["a", "b"])), Vec::<String>::new());
        let id = |numbers: &Numbers, name: &str| numbers.all().get(name).map(|id| id.0);
        assert_eq!((id(&numbers, "a"), id(&numbers, "b")), (Some(0), Some(1)));
        assert_eq!(numbers.follow(&config(&["b", "c"])), ["a"]);
        assert_eq!((id(&numbers, "b"), id(&numbers, "c")), (Some(1), Some(2)));
        assert_eq!(numbers.follow(&config(&["c", "d"])), ["b"]);
        assert_eq!(id(&numbers, "d"), Some(3), "0 and 1 were in the two generations before");
        numbers.follow(&config(&["c", "d", "e"]));
        assert_eq!(id(&numbers, "e"), Some(0));
    }

    #[test]
    fn the_data_plane_is_told_of_each_device_with_its_tunnel() {
        let c = config(&["a", "b"]);
        let mut numbers = Numbers::default();
        numbers.follow(&c);
        let commands = numbers.commands(&c);
        assert_eq!((commands.len(), &commands[0]), (3, &TableCommand::ClearInterfaces));
        let TableCommand::AddInterface(second) = commands[2] else { panic!("{commands:?}") };
        assert_eq!(
            (second.name.as_str(), second.behind),
            ("b", Behind::Tunnel { tunnel: c.tunnel("tb").unwrap().id, hold: false })
        );
        assert_eq!(wanted(&c)[0].mtu, 1415);
    }
}
