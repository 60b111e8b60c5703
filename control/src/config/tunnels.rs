//! The tunnels of a configuration, in file order, found by name and by number without a search.
//!
//! Decides: nothing; of two with one name the first is found (which `check` refuses anyway).
//! Never: lets a number change without its index.

use super::manual::Manual;
use super::model::Tunnel;
use core::ops::Deref;
use ravelin_ike::config::Secret;
use ravelin_ring::msg::TunnelId;
use std::collections::HashMap;

#[derive(Clone, Debug, Default)]
pub struct Tunnels {
    list: Vec<Tunnel>,
    by_name: HashMap<String, usize>,
    by_id: HashMap<TunnelId, usize>,
}

impl Tunnels {
    pub fn by_name(&self, name: &str) -> Option<&Tunnel> {
        self.list.get(*self.by_name.get(name)?)
    }

    pub fn by_id(&self, id: TunnelId) -> Option<&Tunnel> {
        self.list.get(*self.by_id.get(&id)?)
    }

    /// Gives manual SAs their keys, by name.
    pub(crate) fn give_keys(&mut self, mut key: impl FnMut(&str) -> Option<Secret>) {
        for tunnel in &mut self.list {
            let name = &tunnel.name;
            for sa in tunnel.manual.iter_mut().flat_map(Manual::sas_mut) {
                let [inbound, outbound] = sa.key_names(name).map(|name| key(&name));
                sa.keys = inbound.zip(outbound).map(Into::into);
            }
        }
    }

    pub(crate) fn name_credentials(&mut self, name: impl Fn(&Tunnel) -> String) {
        for tunnel in &mut self.list {
            tunnel.credentials = tunnel.towards().map(|gateway| name(&gateway)).collect();
        }
    }

    /// Gives the tunnels other numbers; `None` leaves one as it is.
    pub fn renumber(&mut self, mut number: impl FnMut(&Tunnel) -> Option<TunnelId>) {
        let mut now = HashMap::new();
        for tunnel in &mut self.list {
            let before = tunnel.id;
            if let Some(id) = number(tunnel) {
                tunnel.id = id;
            }
            now.insert(before, tunnel.id);
        }
        for tunnel in &mut self.list {
            tunnel.parent = tunnel.parent.map(|before| now.get(&before).copied().unwrap_or(before));
        }
        *self = core::mem::take(&mut self.list).into_iter().collect();
    }
}

impl FromIterator<Tunnel> for Tunnels {
    fn from_iter<I: IntoIterator<Item = Tunnel>>(tunnels: I) -> Self {
        let mut me = Self { list: tunnels.into_iter().collect(), ..Self::default() };
        for (n, tunnel) in me.list.iter().enumerate() {
            me.by_name.entry(tunnel.name.clone()).or_insert(n);
            me.by_id.entry(tunnel.id).or_insert(n);
        }
        me
    }
}

impl Deref for Tunnels {
    type Target = [Tunnel];

    fn deref(&self) -> &[Tunnel] {
        &self.list
    }
}

impl<'a> IntoIterator for &'a Tunnels {
    type Item = &'a Tunnel;
    type IntoIter = core::slice::Iter<'a, Tunnel>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}
