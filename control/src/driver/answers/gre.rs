//! What `show gre` says.
//!
//! Decides: whether a tunnel of GRE is up (R239). Reads: configuration, the kernel's routes, the tunnels. Writes: nothing.

use super::super::core::Core;
use super::super::gre_path::Paths;
use crate::api::GreStatus;
use crate::kernel::Model;
use ravelin_ring::msg::NextHop;

pub(in crate::driver) fn gre(
    core: &Core,
    (model, paths): (&Model, &Paths),
    name: Option<&str>,
) -> Vec<GreStatus> {
    let wanted = core.config.gre.iter().filter(|it| name.is_none_or(|n| it.device.name.as_str() == n));
    wanted
        .map(|it| {
            let route = model.leads(it.remote);
            let by = it.protected_by.as_deref().and_then(|name| core.config.tunnel(name));
            let detail = match route {
                Some(NextHop::Port { .. }) if by.is_some_and(|t| core.installer.in_use(t.id).is_none()) => {
                    format!("tunnel \"{}\" is down", it.protected_by.as_deref().unwrap_or_default())
                }
                Some(NextHop::Port { .. }) => String::new(),
                Some(NextHop::Interface(_)) => format!("the route to {} leads into a tunnel", it.remote),
                Some(NextHop::Local | NextHop::Tunnel | NextHop::Kernel | NextHop::Blackhole) | None => {
                    format!("no route to {} by a port", it.remote)
                }
            };
            GreStatus {
                name: it.device.name.to_string(),
                up: detail.is_empty(),
                detail,
                local: it.local.to_string(),
                remote: it.remote.to_string(),
                key: it.key,
                checksum: it.checksum,
                sequence: it.sequence,
                mtu: paths.mtu(it),
                protected_by: it.protected_by.clone(),
            }
        })
        .collect()
}
