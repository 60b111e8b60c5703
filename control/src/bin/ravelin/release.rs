//! `ravelin release`: lets go of what a stopped gateway left in the kernel.
//!
//! Decides: nothing but that no process of the gateway runs. Never: works beside one.

use super::{Failure, print};
use ravelin_control::{api, kernel};
use std::path::Path;

pub(crate) fn run(run_dir: &Path, tun: &str) -> Result<(), Failure> {
    for (process, socket) in [("ravelin-dataplane", "dataplane.sock"), ("ravelin-control", "control.sock")] {
        if api::listens(&run_dir.join(socket)) {
            return Err(Failure::Refused(format!(
                "{process} is running in {}: its traffic would leave in clear\n    cure: stop it first",
                run_dir.display()
            )));
        }
    }
    let refuse = |why: String| Failure::Refused(format!("{why}\n    cure: run this command as root"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|why| refuse(why.to_string()))?;
    let released = runtime
        .block_on(kernel::release(tun, &api::instance(run_dir)))
        .map_err(|why| refuse(format!("not everything could be removed: {why}")))?;
    let device = if released.tun { format!(", device {tun}") } else { String::new() };
    print(&format!(
        "removed: {} routes and rules, {} pinned XDP objects{device}\n",
        released.routes_and_rules,
        released.pins.len()
    ));
    Ok(())
}
