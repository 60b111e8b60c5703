//! The key log of a laboratory: a file that tshark reads (its `ikev2_decryption_table`).
//!
//! Decides: who may read the file (its owner). Writes: a line for each IKE SA. Never: exists unless two options of the
//! command line ask for it.

use ravelin_ike::keylog::KeyLine;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use tracing::{error, warn};

/// Appends to `path`, which is made for its owner alone; one that others can read is refused. A thread writes, so that a
/// slow disk does not hold up IKE.
pub(crate) fn start(path: &Path) -> io::Result<Sender<KeyLine>> {
    let mut file =
        OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(path)?;
    if file.metadata()?.mode() & 0o077 != 0 {
        let why = "others than its owner can use it; remove it, or chmod 600";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    warn!("KEY LOG: the keys of every IKE SA go to {}", path.display());
    warn!(
        "KEY LOG: whoever reads that file can read all traffic of all tunnels; never do this outside of a laboratory"
    );
    let (sender, lines) = channel::<KeyLine>();
    std::thread::Builder::new().name("key-log".to_owned()).spawn(move || {
        for line in lines {
            if let Err(why) = writeln!(file, "{}", line.expose()) {
                error!(%why, "the key log cannot be written; it ends here");
                return;
            }
        }
    })?;
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        drop(start(&path).unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let open = dir.path().join("open");
        std::fs::write(&open, "").unwrap();
        std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        assert_eq!(start(&open).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        std::os::unix::fs::symlink(&open, dir.path().join("link")).unwrap();
        assert!(start(&dir.path().join("link")).is_err());
    }
}
