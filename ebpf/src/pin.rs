//! Where the state that outlives the process is kept: one directory per port in bpffs, with the link and the maps.

use crate::error::Error;
use crate::sys;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Where Linux has its BPF file system.
const BPFFS: &str = "/sys/fs/bpf";
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;
/// Name of the pinned link in a port's directory; everything else in there is a map.
const LINK: &str = "link";

/// The pins of one port.
#[derive(Debug)]
pub(crate) struct PinDir(PathBuf);

impl PinDir {
    /// Makes the directory below `root`, mounting bpffs in its usual place where nobody has.
    pub(crate) fn create(root: &Path, port: &str) -> Result<Self, Error> {
        ensure_bpffs(root)?;
        let dir = root.join(encoded(port));
        fs::create_dir_all(&dir).map_err(Error::pin("make the directory", &dir))?;
        Ok(Self(dir))
    }

    pub(crate) fn link(&self) -> PathBuf {
        self.0.join(LINK)
    }

    pub(crate) fn map(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Takes the program off its port and removes everything.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        remove_dir(&self.0)?;
        if let Some(root) = self.0.parent() {
            let _ = fs::remove_dir(root); // only when it was the last port
        }
        Ok(())
    }
}

/// Detaches every port pinned below `root` and removes the pins, by preference without a running data plane: one
/// that runs loses its frames. Returns the ports.
pub fn release(root: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::pin("read", root)(e)),
    };
    let mut ports = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::pin("read", root))?;
        remove_dir(&entry.path())?;
        ports.push(decoded(&entry.file_name().to_string_lossy()));
    }
    fs::remove_dir(root).map_err(Error::pin("remove", root))?;
    ports.sort();
    Ok(ports)
}

fn remove_dir(dir: &Path) -> Result<(), Error> {
    let remove = |path: &Path| match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::pin("remove", path)(e)),
        _ => Ok(()),
    };
    let link = dir.join(LINK);
    if link.exists() {
        sys::detach_pinned(&link).map_err(Error::pin("detach", &link))?;
        remove(&link)?;
    }
    for entry in fs::read_dir(dir).map_err(Error::pin("read", dir))? {
        remove(&entry.map_err(Error::pin("read", dir))?.path())?;
    }
    fs::remove_dir(dir).map_err(Error::pin("remove", dir))
}

/// bpffs keeps names with dots for itself; device names may have them (VLANs).
fn encoded(port: &str) -> String {
    port.replace('%', "%25").replace('.', "%2e")
}

fn decoded(name: &str) -> String {
    name.replace("%2e", ".").replace("%25", "%")
}

fn ensure_bpffs(root: &Path) -> Result<(), Error> {
    let existing = root.ancestors().find(|p| p.exists()).unwrap_or_else(|| Path::new("/"));
    if is_bpffs(existing).map_err(Error::pin("look at", existing))? {
        return Ok(());
    }
    if !root.starts_with(BPFFS) {
        return Err(Error::NotBpffs { path: root.into() });
    }
    mount_bpffs().map_err(Error::pin("mount the BPF file system at", BPFFS))?;
    // Mounts of this file system share nothing: one in a mount namespace of our own goes with our namespace.
    if fs::read_link("/proc/self/ns/mnt").ok() != fs::read_link("/proc/1/ns/mnt").ok() {
        tracing::warn!(
            "mounted {BPFFS} in a mount namespace of our own: pinned programs end with it, so that a dead data plane \
             would no longer drop what is protected; mount it outside first, or enter only the network namespace \
             (nsenter --net=… instead of ip netns exec)"
        );
    }
    Ok(())
}

fn is_bpffs(path: &Path) -> io::Result<bool> {
    let c = CString::new(path.as_os_str().as_bytes())?;
    let mut stat = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: `c` ends with a zero byte, `stat` has room for the answer.
    if unsafe { libc::statfs(c.as_ptr(), stat.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded and filled it.
    let kind = unsafe { stat.assume_init() }.f_type;
    Ok(kind == BPF_FS_MAGIC)
}

fn mount_bpffs() -> io::Result<()> {
    let (kind, target) = (CString::new("bpf")?, CString::new(BPFFS)?);
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    let options = CString::new("mode=700")?;
    // SAFETY: all strings end with a zero byte and outlive the call.
    let rc =
        unsafe { libc::mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, options.as_ptr().cast()) };
    if rc != 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_dots_survive() {
        for name in ["wan0", "eth0.100", "a%2eb", "a.b%c"] {
            assert!(!encoded(name).contains('.'));
            assert_eq!(decoded(&encoded(name)), name);
        }
        assert_ne!(encoded("a.b"), encoded("a%2eb"));
    }

    #[test]
    fn another_file_system_is_refused() {
        let dir = std::env::temp_dir().join("ravelin-not-bpffs");
        assert!(matches!(PinDir::create(&dir, "wan0"), Err(Error::NotBpffs { .. })));
    }
}
