//! `ravelin-control --hold`: closes the kernel and ends, for the time between boot and the gateway's start.
//!
//! Decides: nothing; what stands afterwards is what the control process sets up first when it starts. Reads: the
//! configuration alone, since secrets may lie on a disk that is not there yet. Writes: routes and rules.
//! Never: beside a running gateway, whose routes into the TUN device it would take away.

use super::{DriverError, Options, tables};
use crate::api;
use crate::config::Config;
use crate::kernel::{self, FailClosed, Model};
use std::collections::BTreeSet;
use tracing::info;

/// Nothing that a tunnel covers is forwarded in clear from here on, in neither direction.
pub async fn hold(options: &Options) -> Result<(), DriverError> {
    let config = Config::load(&options.config)?;
    let run_dir = options.run_dir.as_ref().unwrap_or(&config.control.run_dir);
    for socket in ["dataplane.sock", "control.sock"] {
        let socket = run_dir.join(socket);
        if api::listens(&socket) {
            return Err(DriverError::Io {
                what: "the gateway runs and holds by itself",
                path: socket,
                source: std::io::ErrorKind::AddrInUse.into(),
            });
        }
    }
    let (connection, handle, _) = rtnetlink::new_connection().map_err(kernel::KernelError::from)?;
    let connection = tokio::spawn(connection);
    let routes = tables::protected_routes(&config, &BTreeSet::new(), |_| &[]);
    let closed = FailClosed::new(handle, ports(&config)).apply(&routes, None).await;
    let devices = super::devices::wanted(&config);
    let closed = match closed {
        Ok(()) => kernel::set_devices(&devices, &Model::default()).await, // blackholes alone
        failed => failed,
    };
    connection.abort();
    closed?;
    info!(
        networks = routes.len(),
        "held: the kernel forwards nothing to or from them until the gateway runs"
    );
    Ok(())
}

/// Names of the configured devices.
pub(super) fn ports(config: &Config) -> Vec<String> {
    config.ports.iter().map(|p| p.name.to_string()).collect()
}
