//! What this process may do, and what it leaves behind.
//!
//! Decides: which privileges remain. Never: gives any back.

use anyhow::{Context as _, bail};
use caps::{CapSet, Capability, CapsHashSet};
use core::cell::Cell;
use nix::sys::prctl;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

/// Loading, attaching, binding and locking frames need these; so does doing it again when a device comes back.
const NEEDED: [(Capability, &str); 3] = [
    (Capability::CAP_NET_ADMIN, "CAP_NET_ADMIN"),
    (Capability::CAP_NET_RAW, "CAP_NET_RAW"),
    (Capability::CAP_BPF, "CAP_BPF"),
];
/// Kept as well where the process has them: for the verifier, and for frames beyond RLIMIT_MEMLOCK.
const HELPFUL: [Capability; 2] = [Capability::CAP_PERFMON, Capability::CAP_IPC_LOCK];

thread_local! {
    /// This thread's panics are answered by itself.
    static SUPERVISED: Cell<bool> = const { Cell::new(false) };
}

/// From now on a panic of this thread does not end the process.
pub(crate) fn supervise() {
    SUPERVISED.set(true);
}

/// Keys are in this memory: no core dump, no ptrace by our own user, no new privileges through exec. A panic of any
/// thread that is not supervised ends the process, so that XDP drops what nobody takes any more.
pub(crate) fn at_start() -> anyhow::Result<()> {
    prctl::set_dumpable(false).context("cannot forbid core dumps (PR_SET_DUMPABLE)")?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).context("cannot forbid core dumps (RLIMIT_CORE)")?;
    prctl::set_no_new_privs().context("cannot set no_new_privs")?;
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        if !SUPERVISED.get() {
            std::process::abort();
        }
    }));
    require()?;
    raise_memlock();
    Ok(())
}

fn require() -> anyhow::Result<()> {
    let have = caps::read(None, CapSet::Effective).context("cannot read this process's capabilities")?;
    let missing: Vec<&str> =
        NEEDED.iter().filter(|(c, _)| !have.contains(c)).map(|(_, name)| *name).collect();
    if !missing.is_empty() {
        bail!("missing {}: run as root, or give the service these capabilities", missing.join(", "));
    }
    Ok(())
}

/// Without CAP_IPC_LOCK the kernel counts the frames against this limit. Best effort: the bind says what is missing.
fn raise_memlock() {
    let Ok((_, hard)) = getrlimit(Resource::RLIMIT_MEMLOCK) else { return };
    let wish = RLIM_INFINITY;
    if setrlimit(Resource::RLIMIT_MEMLOCK, wish, wish).is_err() {
        let _ = setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard);
    }
}

/// Of the main thread, once everything is attached: what a returning device needs, nothing else.
pub(crate) fn reduce() -> anyhow::Result<()> {
    let keep: CapsHashSet = NEEDED.iter().map(|(c, _)| *c).chain(HELPFUL).collect();
    let have = caps::read(None, CapSet::Permitted)?;
    let keep: CapsHashSet = have.intersection(&keep).copied().collect();
    drop_to(&keep).context("cannot reduce this process's capabilities")
}

/// Of a worker: none. Its sockets and devices are open already.
pub(crate) fn renounce() -> anyhow::Result<()> {
    drop_to(&CapsHashSet::new()).context("cannot drop a worker's capabilities")
}

fn drop_to(keep: &CapsHashSet) -> Result<(), caps::errors::CapsError> {
    for capability in caps::all() {
        // Refused without CAP_SETPCAP; no_new_privs makes the bounding set idle anyway.
        if !keep.contains(&capability) && caps::drop(None, CapSet::Bounding, capability).is_err() {
            break;
        }
    }
    caps::clear(None, CapSet::Ambient)?;
    caps::clear(None, CapSet::Inheritable)?;
    caps::set(None, CapSet::Effective, keep)?;
    caps::set(None, CapSet::Permitted, keep)
}
