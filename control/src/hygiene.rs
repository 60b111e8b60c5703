//! What the process gives up and forbids itself.
//!
//! Decides: which privileges remain. Writes: limits and capabilities of this process.
//! Never: keeps what is not needed any more.

use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use tracing::{info, warn};

/// A panic of any thread or task ends the process: nothing goes on beside it half-way.
pub fn end_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        std::process::abort();
    }));
}

/// First thing in `main`: no core dumps and no debugger of the same user, since keys lie in this memory.
pub fn forbid_dumps() -> nix::Result<()> {
    prctl::set_dumpable(false)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)
}

/// Once the sockets are bound: what is left is CAP_NET_ADMIN (routes, rules, neighbours). Reading files of other
/// users goes too, so the configuration and secrets of a reload must belong to the user that the process runs as.
pub fn reduce() {
    let mut keep = CapsHashSet::new();
    keep.insert(Capability::CAP_NET_ADMIN);
    if let Err(why) = prctl::set_no_new_privs() {
        warn!(%why, "no_new_privs could not be set");
    }
    let has = caps::read(None, CapSet::Permitted).unwrap_or_default();
    let keep: CapsHashSet = keep.intersection(&has).copied().collect();
    if keep.is_empty() {
        warn!("running without CAP_NET_ADMIN: routes and neighbours cannot be set");
    }
    // The bounding set can only be cut while CAP_SETPCAP is there: first.
    for set in [CapSet::Bounding, CapSet::Ambient] {
        let excess: Vec<Capability> =
            caps::read(None, set).unwrap_or_default().difference(&keep).copied().collect();
        for capability in excess {
            if let Err(why) = caps::drop(None, set, capability) {
                warn!(?set, ?capability, %why, "could not be dropped");
                break;
            }
        }
    }
    let nothing = CapsHashSet::new();
    for (set, wanted) in
        [(CapSet::Effective, &keep), (CapSet::Permitted, &keep), (CapSet::Inheritable, &nothing)]
    {
        if let Err(why) = caps::set(None, set, wanted) {
            warn!(?set, %why, "capabilities could not be reduced");
        }
    }
    info!(kept = ?keep, "privileges reduced");
}
