//! Workers that cannot help themselves (R74): whose thread ended, and whose core does not run them.
//!
//! Decides: by which thread, and on which cores, a worker goes on; when there is no way on, and the process ends.
//! Reads: whether threads take turns. Never: touches what a worker works with.

use crate::runner::{Handle, Life, Order};

/// Those without a thread go on by the thread that serves the fewest, a new one if there is none.
pub(super) fn place(workers: &mut [Handle]) {
    for at in 0..workers.len() {
        let Some(runner) = workers.get(at).and_then(Handle::orphan) else { continue };
        let left = workers.get(at).map_or(u16::MAX, Handle::crew);
        match heir(workers, left).and_then(|heir| workers.get(heir)) {
            Some(heir) => heir.order(Order::Adopt(runner)),
            None => {
                let started = workers.get_mut(at).map(|worker| worker.restart(runner));
                if let Some(Err(error)) = started {
                    tracing::error!(worker = at, %error, "no thread for a worker; what is protected is dropped");
                    std::process::abort();
                }
            }
        }
    }
}

/// A worker that is served by another thread than that of worker `left`.
fn heir(workers: &[Handle], left: u16) -> Option<usize> {
    let crowd = |crew| workers.iter().filter(|other| other.is_served() && other.crew() == crew).count();
    let served = workers.iter().enumerate().filter(|(_, worker)| worker.is_served() && worker.crew() != left);
    served.min_by_key(|(_, worker)| crowd(worker.crew())).map(|(at, _)| at)
}

/// A worker whose core does not run it goes on where the others are. `cores`: of the threads.
pub(super) fn look_after(workers: &mut [Handle], cores: &[u16]) {
    for at in 0..workers.len() {
        let Some(worker) = workers.get_mut(at) else { continue };
        let life = worker.look();
        match life {
            Life::Moves => {}
            Life::StandsStill => {
                let own = cores.get(usize::from(worker.crew())).map_or(usize::MAX, |core| usize::from(*core));
                let moved = worker.relocate(others(cores, own).into_iter());
                tracing::error!(
                    worker = at,
                    core = own,
                    ?moved,
                    "a worker stands still; moved to other cores"
                );
            }
            Life::Hangs => {
                tracing::error!(
                    worker = at,
                    "a worker hangs; the data plane ends, and XDP drops what is protected"
                );
                std::process::abort();
            }
        }
    }
}

/// The cores of the other threads; without others, all but its own.
fn others(cores: &[u16], own: usize) -> Vec<usize> {
    let other = |core: &usize| *core != own;
    let workers: Vec<usize> = cores.iter().map(|core| usize::from(*core)).filter(other).collect();
    if !workers.is_empty() {
        return workers;
    }
    core_affinity::get_core_ids().unwrap_or_default().iter().map(|c| c.id).filter(other).collect()
}
