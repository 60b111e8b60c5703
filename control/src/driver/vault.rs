//! The IKE SAs on disk, for the control process that comes after this one: one sealed file each.
//!
//! Decides: whether a file is ours, of this boot and unaltered. Reads and writes: `ike/` in the run directory, and the
//! key beside it. Never: leaves a key in clear in a record; waits for the disk (a record must outlive the process, not
//! the machine: after a crash of that the data plane's SAs are gone too, and the boot it names is another).

use crate::install::IdSalt;
use crate::metrics::{Counter, Metrics};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use ravelin_ike::endpoint::Record;
use ravelin_ike::record::Clock;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tracing::{info, warn};
use zeroize::Zeroizing;

/// What every file begins with; the last byte is the version of the sealing.
const MAGIC: &[u8; 5] = b"RVIK\x01";
const NONCE: usize = 24;
const TAG: usize = 16;
/// No lawful file is larger.
const MAX_FILE: u64 = (1 << 18) + 64;
/// As many IKE SAs as the engine allows.
const MAX_FILES: usize = 65_536;

pub(super) struct Vault {
    dir: PathBuf,
    key_file: PathBuf,
    cipher: XChaCha20Poly1305,
    salt: [u8; 32],
    boot: String,
    /// Stored by this process.
    names: BTreeSet<u64>,
    failing: bool,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// This moment, by a clock that the next process has too.
pub(super) fn clock(now: Instant) -> Option<Clock> {
    let text = fs::read_to_string("/proc/uptime").ok()?;
    let seconds: f64 = text.split_whitespace().next()?.parse().ok()?;
    Some(Clock { here: now, boot: Duration::try_from_secs_f64(seconds).ok()? })
}

impl Vault {
    pub(super) fn open(run_dir: &Path) -> io::Result<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        let (dir, key_file) = (run_dir.join("ike"), run_dir.join("ike.key"));
        if !dir.exists() {
            fs::DirBuilder::new().mode(0o700).create(&dir)?;
        }
        let key = match read_private(&key_file, 32) {
            Ok(key) if key.len() == 32 => key,
            // None, or not one that only we could have written: what it sealed is of no use.
            Ok(_) | Err(_) => make_key(&key_file)?,
        };
        let cipher = XChaCha20Poly1305::new_from_slice(&key).map_err(|_| io::ErrorKind::InvalidData)?;
        let salt = Sha256::new().chain_update(b"ravelin ids").chain_update(&*key).finalize().into();
        Ok(Self { dir, key_file, cipher, salt, boot, names: BTreeSet::new(), failing: false })
    }

    /// For ids that the next process has to know again.
    pub(super) const fn salt(&self) -> IdSalt {
        IdSalt::new(self.salt)
    }

    /// All that can be opened, and how many files could not.
    pub(super) fn load(&self) -> (Vec<Zeroizing<Vec<u8>>>, usize) {
        let (mut records, mut refused) = (Vec::new(), 0);
        for (path, name) in self.files() {
            match read_private(&path, MAX_FILE).ok().and_then(|bytes| self.unseal(name?, &bytes)) {
                Some(record) => records.push(record),
                None => refused += 1,
            }
        }
        (records, refused)
    }

    /// Takes away what an earlier process left and this one did not store again.
    pub(super) fn sweep(&self) {
        for (path, name) in self.files() {
            if name.is_none_or(|name| !self.names.contains(&name)) {
                let _ = fs::remove_file(path);
            }
        }
    }

    /// To be done before any datagram leaves that the record speaks of.
    pub(super) fn apply(&mut self, record: Record, metrics: &mut Metrics) {
        match record {
            Record::Keep { name, bytes } => {
                self.names.insert(name);
                match self.store(name, &bytes) {
                    Ok(()) => {
                        metrics.count(Counter::RecordsStored);
                        self.failing = false;
                    }
                    Err(why) => {
                        // An old record would be worse than none.
                        let _ = fs::remove_file(self.path(name));
                        metrics.count(Counter::RecordsFailed);
                        if !std::mem::replace(&mut self.failing, true) {
                            warn!(%why, dir = %self.dir.display(), "IKE SAs cannot be stored: a killed control process will negotiate anew");
                        }
                    }
                }
            }
            Record::Forget { name } => {
                self.names.remove(&name);
                let _ = fs::remove_file(self.path(name));
            }
        }
    }

    /// After the last Delete nothing is left to go on with.
    pub(super) fn clear(&mut self) {
        self.names.clear();
        self.sweep();
        let _ = fs::remove_file(&self.key_file);
    }

    fn path(&self, name: u64) -> PathBuf {
        self.dir.join(format!("{name:016x}.sa"))
    }

    /// With the names in them; `None`: not one of ours.
    fn files(&self) -> Vec<(PathBuf, Option<u64>)> {
        let Ok(entries) = fs::read_dir(&self.dir) else { return Vec::new() };
        let paths = entries.filter_map(|e| Some(e.ok()?.path())).take(MAX_FILES);
        paths
            .map(|path| {
                let stem = path.file_stem().and_then(|s| s.to_str()).filter(|s| s.len() == 16);
                let ours = path.extension().is_some_and(|e| e == "sa");
                let name = stem.filter(|_| ours).and_then(|s| u64::from_str_radix(s, 16).ok());
                (path, name)
            })
            .collect()
    }

    /// Written aside and moved into place: the old or the new one is there, never half of one.
    fn store(&self, name: u64, plain: &[u8]) -> io::Result<()> {
        let sealed = self.seal(name, plain)?;
        let aside = self.dir.join("new");
        private(&aside)?.write_all(&sealed)?;
        fs::rename(&aside, self.path(name))
    }

    fn seal(&self, name: u64, plain: &[u8]) -> io::Result<Vec<u8>> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(io::Error::other)?;
        let mut out = [MAGIC.as_slice(), &nonce, plain].concat();
        let text = out.get_mut(MAGIC.len() + NONCE..).unwrap_or_default();
        let tag = self.cipher.encrypt_inout_detached((&nonce).into(), &self.context(name), text.into());
        out.extend_from_slice(&tag.map_err(|_| io::ErrorKind::InvalidData)?);
        Ok(out)
    }

    fn unseal(&self, name: u64, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let rest = sealed.strip_prefix(MAGIC)?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE>()?;
        let (text, tag) = rest.split_last_chunk::<TAG>()?;
        let mut plain = Zeroizing::new(text.to_vec());
        let context = self.context(name);
        let buffer = plain.as_mut_slice();
        self.cipher.decrypt_inout_detached(nonce.into(), &context, buffer.into(), tag.into()).ok()?;
        Some(plain)
    }

    /// A record of another boot, or under another name, does not open.
    fn context(&self, name: u64) -> Vec<u8> {
        [MAGIC.as_slice(), self.boot.as_bytes(), &name.to_be_bytes()].concat()
    }
}

fn private(path: &Path) -> io::Result<fs::File> {
    // Not into somebody else's file.
    let _ = fs::remove_file(path);
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn make_key(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut key = Zeroizing::new(vec![0; 32]);
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    private(path)?.write_all(&key)?;
    Ok(key)
}

/// Only a plain file that nobody else could write or read.
fn read_private(path: &Path, max: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let no_links = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(no_links).open(path)?;
    let meta = file.metadata()?;
    let ours = meta.uid() == nix::unistd::geteuid().as_raw() && meta.mode() & 0o077 == 0;
    if !meta.is_file() || !ours || meta.len() > max {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0) + 1));
    file.take(max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Said once, after the records were looked at.
pub(super) fn tell(ike_sas: usize, pairs: usize, unreadable: usize, why: &[ravelin_ike::record::Refused]) {
    if ike_sas > 0 {
        info!(ike_sas, child_sas = pairs, "IKE SAs of the control process before this one go on");
    }
    if unreadable > 0 {
        warn!(files = unreadable, "stored IKE SAs could not be read: they are negotiated anew");
    }
    for why in why {
        info!(%why, "a stored IKE SA is not continued: it is negotiated anew");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn keep(name: u64, bytes: &[u8]) -> Record {
        Record::Keep { name, bytes: Zeroizing::new(bytes.to_vec()) }
    }

    fn texts(vault: &Vault) -> Vec<Vec<u8>> {
        let mut all: Vec<Vec<u8>> = vault.load().0.iter().map(|r| r.to_vec()).collect();
        all.sort();
        all
    }

    #[test]
    fn what_one_process_stores_the_next_one_reads_and_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let mut metrics = Metrics::default();
        let mut vault = Vault::open(dir.path()).unwrap();
        for (name, text) in [(1, &b"the first secret"[..]), (2, b"two"), (2, b"newer"), (3, b"three")] {
            vault.apply(keep(name, text), &mut metrics);
        }
        vault.apply(Record::Forget { name: 3 }, &mut metrics);
        assert_eq!(metrics.get(Counter::RecordsStored), 4);
        let next = Vault::open(dir.path()).unwrap();
        assert_eq!(texts(&next), [b"newer".to_vec(), b"the first secret".to_vec()]);
        for (path, _) in next.files() {
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            let bytes = fs::read(&path).unwrap();
            assert!(!bytes.windows(6).any(|w| w == b"secret"), "nothing stands in clear");
        }
        let mode = |name| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("ike.key"), mode("ike")), (0o600, 0o700));
        next.sweep();
        assert!(texts(&next).is_empty(), "it did not store them itself");
        vault.clear();
        assert!(!dir.path().join("ike.key").exists());
    }

    #[test]
    fn altered_cut_swapped_or_foreign_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut vault = Vault::open(dir.path()).unwrap();
        vault.apply(keep(7, b"text"), &mut Metrics::default());
        let path = vault.path(7);
        let good = fs::read(&path).unwrap();
        let with = |bytes: &[u8]| {
            private(&path).unwrap().write_all(bytes).unwrap();
            vault.load().1
        };
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(with(&bad), 1, "byte {at}");
            assert_eq!(with(&good[..at]), 1, "length {at}");
        }
        assert_eq!(with(&good), 0);
        fs::copy(&path, vault.path(8)).unwrap();
        assert_eq!(vault.load().1, 1, "under another name");
        fs::remove_file(vault.path(8)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(vault.load().1, 1, "others could read it");
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/proc/self/environ", &path).unwrap();
        assert_eq!(vault.load().1, 1);
    }

    #[test]
    fn another_boot_or_another_key_opens_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut vault = Vault::open(dir.path()).unwrap();
        vault.apply(keep(7, b"text"), &mut Metrics::default());
        let mut other = Vault::open(dir.path()).unwrap();
        other.boot = "another".to_owned();
        assert_eq!(other.load().1, 1);
        fs::remove_file(dir.path().join("ike.key")).unwrap();
        assert_eq!(Vault::open(dir.path()).unwrap().load().1, 1);
    }

    #[test]
    fn what_cannot_be_stored_is_not_left_in_an_old_state() {
        let dir = tempfile::tempdir().unwrap();
        let mut vault = Vault::open(dir.path()).unwrap();
        let mut metrics = Metrics::default();
        vault.apply(keep(7, b"old"), &mut metrics);
        // A directory where the new one is to be written.
        fs::create_dir(dir.path().join("ike/new")).unwrap();
        vault.apply(keep(7, b"new"), &mut metrics);
        assert_eq!(metrics.get(Counter::RecordsFailed), 1);
        assert!(texts(&vault).is_empty());
    }
}
