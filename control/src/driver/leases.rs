//! Addresses of pools that peers have, kept over restarts.
//!
//! Decides: when they are written. Reads and writes: one file in the run directory, readable by its owner only.
//! Never: gives an address away (the engine does); reads a file that is too large to be one of ours.

use crate::config::Config;
use ravelin_ike::command::Command;
use ravelin_ike::event::PeerKey;
use ravelin_ring::msg::TunnelId;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tracing::warn;

/// All that the engine remembers, with long identities.
const MAX_SIZE: u64 = 64 << 20;

/// By tunnel, by address: identity as `TYPE:HEX`.
type Table = BTreeMap<String, BTreeMap<IpAddr, String>>;

#[derive(Debug, Default)]
pub(super) struct Leases {
    path: PathBuf,
    table: Table,
    unsaved: bool,
}

impl Leases {
    /// What cannot be read is no reason not to start: peers get other addresses then.
    pub(super) fn load(run_dir: &Path) -> Self {
        let path = run_dir.join("leases.json");
        let small = std::fs::metadata(&path).is_ok_and(|m| m.len() <= MAX_SIZE);
        let text = if small { std::fs::read(&path).ok() } else { None };
        let table = text.and_then(|text| match serde_json::from_slice(&text) {
            Ok(table) => Some(table),
            Err(why) => {
                warn!(file = %path.display(), %why, "the leases of the pools cannot be read");
                None
            }
        });
        Self { path, table: table.unwrap_or_default(), unsaved: false }
    }

    /// For the engine, before the first peer.
    pub(super) fn commands(&self, config: &Config) -> Vec<Command> {
        let known = self.table.iter().filter_map(|(name, list)| Some((config.tunnel(name)?, list)));
        let each =
            known.flat_map(|(tunnel, list)| list.iter().map(move |lease| (tunnel.connection_id(), lease)));
        each.filter_map(|(connection, (address, peer))| {
            Some(Command::Lease { connection, peer: key(peer)?, address: *address })
        })
        .collect()
    }

    pub(super) fn note(&mut self, config: &Config, tunnel: TunnelId, peer: &PeerKey, addresses: &[IpAddr]) {
        let Some(tunnel) = config.tunnel_by_id(tunnel) else { return };
        let list = self.table.entry(tunnel.name.clone()).or_default();
        for address in addresses {
            let text = text(peer);
            if list.get(address) != Some(&text) {
                list.insert(*address, text);
                self.unsaved = true;
            }
        }
    }

    /// Written aside and moved into place: a crash leaves the old or the new one, never half of one.
    pub(super) fn save(&mut self, config: &Config) -> io::Result<()> {
        if !std::mem::take(&mut self.unsaved) {
            return Ok(());
        }
        self.table.retain(|name, _| config.tunnel(name).is_some());
        let aside = self.path.with_extension("json.new");
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        file.write_all(&serde_json::to_vec(&self.table).map_err(io::Error::other)?)?;
        file.sync_all()?;
        std::fs::rename(&aside, &self.path)
    }
}

fn text(peer: &PeerKey) -> String {
    let hex: String = peer.data.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}:{hex}", peer.kind)
}

fn key(text: &str) -> Option<PeerKey> {
    let (kind, hex) = text.split_once(':')?;
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    let data: Option<Vec<u8>> = pairs.iter().map(byte).collect();
    Some(PeerKey { kind: kind.parse().ok()?, data: data.filter(|_| rest.is_empty())? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn config() -> Config {
        let text = "[[port]]\nname = \"wan0\"\n[[tunnel]]\nname = \"road\"\nlocal = \"198.18.0.1\"\nremote = \"any\"\n\
                    local-id = \"a.lab\"\npool = [\"10.3.0.0/24\"]\n\
                    selectors = [{ local = \"10.1.0.0/24\", remote = \"10.3.0.0/24\" }]\n";
        Config::parse(Path::new("t.toml"), text).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn leases_outlive_the_process_and_nobody_else_reads_them() {
        let (dir, config) = (tempfile::tempdir().unwrap(), config());
        let tunnel = config.tunnels[0].id;
        let peer = PeerKey { kind: 2, data: b"van.lab".to_vec() };
        let address: IpAddr = "10.3.0.7".parse().unwrap();
        let mut leases = Leases::load(dir.path());
        assert!(leases.commands(&config).is_empty());
        leases.note(&config, tunnel, &peer, &[address]);
        leases.save(&config).unwrap();
        let mode = std::fs::metadata(dir.path().join("leases.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = Leases::load(dir.path());
        let [Command::Lease { peer: found, address: at, .. }] = &again.commands(&config)[..] else {
            panic!()
        };
        assert_eq!((found, *at), (&peer, address));
        // Another peer has it now: one address, one peer.
        let other = PeerKey { kind: 11, data: vec![0, 255] };
        leases.note(&config, tunnel, &other, &[address]);
        leases.save(&config).unwrap();
        let [Command::Lease { peer: found, .. }] = &Leases::load(dir.path()).commands(&config)[..] else {
            panic!()
        };
        assert_eq!(found, &other);
        std::fs::write(dir.path().join("leases.json"), "{\"road\":{\"10.3.0.7\":\"x\"}}").unwrap();
        assert!(Leases::load(dir.path()).commands(&config).is_empty());
    }
}
