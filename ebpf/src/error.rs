//! What can go wrong, each with its cure.

use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(
        "not allowed to load XDP programs: run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN \
         (the last one for pinning); in a container, allow the bpf() system call"
    )]
    NotAllowed(#[source] io::Error),
    #[error("no such device: {name} (index {ifindex}); `ip link` shows which there are")]
    NoDevice { name: String, ifindex: u32 },
    #[error(
        "{name} carries another XDP program already (id {id}); `bpftool prog show id {id}` tells whose it is, \
         `ip link set dev {name} xdp off` (or `bpftool net detach xdp dev {name}`, or ending its owner) removes it"
    )]
    Occupied { name: String, id: u32 },
    #[error(
        "{name} cannot take an XDP program in native mode with its MTU: lower it (veth: 3,506 at most, \
         `ip link set dev {name} mtu 1500`), or set attach = \"auto\" or \"generic\""
    )]
    MtuTooLarge { name: String },
    #[error("the driver of {name} has no native XDP: set attach = \"auto\" or \"generic\"")]
    NoNative { name: String },
    #[error("this kernel cannot attach XDP by a link to {name}: Linux 5.9 or later is needed")]
    NoLinks { name: String },
    #[error(
        "{name} was left in {found} mode by an earlier process and cannot change to {wanted} without a gap; \
         stop the data plane, run `ravelin release`, start again"
    )]
    ModeInForce { name: String, found: crate::Attached, wanted: crate::AttachMode },
    #[error(
        "the pinned maps in {} are of layout {found}, this program speaks {ours}; stop the data plane and run \
         `ravelin release` (until then what they protect stays dropped)", path.display()
    )]
    PinnedByOther { path: PathBuf, found: u32, ours: u32 },
    #[error(
        "{} does not lie in a BPF file system, where pinned programs outlive their process; \
         `mount -t bpf bpf /sys/fs/bpf`, and choose a directory there", path.display()
    )]
    NotBpffs { path: PathBuf },
    #[error("cannot {what} {}", path.display())]
    Pin {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "queue {queue} of {name}: steering serves {} queues at most; `ethtool -L` lowers their number",
        crate::abi::MAX_QUEUES
    )]
    Queue { name: String, queue: u32 },
    #[error("{what}: more than {max}; nothing was removed, what was in force stays so")]
    TableFull { what: &'static str, max: u32 },
    #[error("cannot ask the kernel for the state of {name}")]
    Netlink {
        name: String,
        #[source]
        source: io::Error,
    },
    #[error("{name}: cannot {what}")]
    Bpf {
        name: String,
        what: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// Of a call into the BPF library: missing rights are told apart, everything else keeps its source.
    pub(crate) fn bpf<E>(name: &str, what: &'static str) -> impl FnOnce(E) -> Self
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let name = name.to_owned();
        move |e| match os_error(&e) {
            Some(code @ (libc::EPERM | libc::EACCES)) => Self::NotAllowed(io::Error::from_raw_os_error(code)),
            _ => Self::Bpf { name, what, source: Box::new(e) },
        }
    }

    pub(crate) fn pin(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Pin { what, path, source }
    }
}

/// The system's error number at the bottom of a chain of sources.
pub(crate) fn os_error(e: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut next = Some(e);
    while let Some(e) = next {
        if let Some(code) = e.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(code);
        }
        next = e.source();
    }
    None
}

/// The error and all its sources in one line, for the log.
pub(crate) fn chain(e: &(dyn std::error::Error + 'static)) -> String {
    let mut text = e.to_string();
    let mut next = e.source();
    while let Some(e) = next {
        let cause = e.to_string();
        // Some errors print their source themselves.
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
        next = e.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    #[test]
    fn missing_rights_are_found_below_other_errors() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] io::Error);
        let e = Error::bpf("eth0", "load")(Outer(io::Error::from_raw_os_error(libc::EPERM)));
        assert!(matches!(e, Error::NotAllowed(_)));
        assert!(e.to_string().contains("CAP_NET_ADMIN"));
        let e = Error::bpf("eth0", "load")(Outer(io::Error::from_raw_os_error(libc::EINVAL)));
        assert!(matches!(e, Error::Bpf { .. }));
        assert!(e.source().is_some());
    }
}
