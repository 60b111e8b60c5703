//! What one control process leaves to the next: the numbers of the tunnels.
//!
//! SAs in the data plane carry a tunnel's number, not its name. After a restart a tunnel must have the number it had,
//! or its traffic would go by another tunnel's SA.

use super::DriverError;
use crate::config::Config;
use nix::sys::stat::Mode;
use ravelin_ring::msg::TunnelId;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// No lawful file is larger.
const MAX_SIZE: u64 = 4 << 20;

fn path(run_dir: &Path) -> PathBuf {
    run_dir.join("tunnels.json")
}

/// Written aside and moved into place: a crash leaves the old or the new one, never half of one.
pub(super) fn save(run_dir: &Path, config: &Config) -> io::Result<()> {
    let ids: BTreeMap<&str, u32> = config.tunnels.iter().map(|t| (t.name.as_str(), t.id.0)).collect();
    let aside = run_dir.join("tunnels.json.new");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(&serde_json::to_vec(&ids).map_err(io::Error::other)?)?;
    file.sync_all()?;
    std::fs::rename(&aside, path(run_dir))
}

/// Gives the tunnels the numbers they had. False: nothing is known, what is installed cannot be told apart.
pub(super) fn restore(run_dir: &Path, config: &mut Config) -> bool {
    let file = path(run_dir);
    let small = std::fs::metadata(&file).is_ok_and(|m| m.len() <= MAX_SIZE);
    let known: Option<BTreeMap<String, u32>> =
        std::fs::read(&file).ok().filter(|_| small).and_then(|text| serde_json::from_slice(&text).ok());
    let Some(known) = known else { return false };
    let used: BTreeSet<u32> = known.values().copied().collect();
    if used.len() != known.len() {
        return false; // two names with one number: not ours
    }
    let mut free = (0u32..).filter(|id| !used.contains(id));
    config.tunnels.renumber(|tunnel| known.get(&tunnel.name).copied().or_else(|| free.next()).map(TunnelId));
    true
}

pub(super) fn make_run_dir(path: &Path) -> Result<(), DriverError> {
    let fail = |source: io::Error| DriverError::Io {
        what: "cannot create the run directory",
        path: path.into(),
        source,
    };
    if !path.exists() {
        std::fs::create_dir_all(path).map_err(fail)?;
        nix::sys::stat::fchmodat(
            nix::fcntl::AT_FDCWD,
            path,
            Mode::S_IRWXU,
            nix::sys::stat::FchmodatFlags::FollowSymlink,
        )
        .map_err(|e| fail(e.into()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(names: &[&str]) -> Config {
        let mut text = String::from("[[port]]\nname = \"wan0\"\n");
        for (n, name) in names.iter().enumerate() {
            text += &format!(
                "[[tunnel]]\nname = \"{name}\"\nlocal = \"198.18.0.1\"\nremote = \"198.18.0.{}\"\nlocal-id = \"a.lab\"\n\
                 remote-id = \"{name}.lab\"\nselectors = [{{ local = \"10.1.0.0/24\", remote = \"10.{}.0.0/24\" }}]\n",
                n + 2,
                n + 2
            );
        }
        Config::parse(Path::new("t.toml"), &text).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn tunnels_keep_their_numbers_though_the_file_changed_in_between() {
        let dir = tempfile::tempdir().unwrap();
        let old = config(&["x", "y", "z"]);
        save(dir.path(), &old).unwrap();
        let mut new = config(&["new", "z", "y"]);
        assert!(restore(dir.path(), &mut new));
        assert_eq!(new.tunnel("z").unwrap().id, old.tunnel("z").unwrap().id);
        assert_eq!(new.tunnel("y").unwrap().id, old.tunnel("y").unwrap().id);
        let id = new.tunnel("new").unwrap().id;
        assert!(old.tunnels.iter().all(|t| t.id != id), "not even the number of the one that went");
    }

    #[test]
    fn what_is_missing_or_nonsense_restores_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut c = config(&["x"]);
        assert!(!restore(dir.path(), &mut c));
        for text in ["", "[]", r#"{"a":1,"b":1}"#, r#"{"a":-1}"#] {
            std::fs::write(path(dir.path()), text).unwrap();
            assert!(!restore(dir.path(), &mut c), "{text}");
        }
    }
}
