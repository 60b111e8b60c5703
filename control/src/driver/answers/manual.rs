//! What `show tunnels` says of a tunnel with keys by hand.
//!
//! Decides: nothing. Reads: the configuration, the installer. Writes: nothing.

use super::super::core::Core;
use super::esp_text;
use crate::api::TunnelStatus;
use crate::config::{ManualSa, Tunnel, mode_text};

/// What the engine says of others. Of a bundle the SPIs are AH's, which come first on the wire.
pub(super) fn fill(core: &Core, t: &Tunnel, status: TunnelStatus) -> TunnelStatus {
    let up = core.installer.in_use(t.id).is_some();
    let Some((manual, outer)) = t.manual.as_ref().filter(|_| up).and_then(|m| Some((m, m.sas().next()?)))
    else {
        return status;
    };
    let suite =
        |sa: &ManualSa| format!("{}{}", if sa.proposal.is_ah() { "ah-" } else { "" }, esp_text(&sa.proposal));
    let all = |text: fn(&ManualSa) -> String| manual.sas().map(text).collect::<Vec<_>>().join("+");
    TunnelStatus {
        encapsulation: Some(all(|sa| sa.protocol().to_owned())),
        mode: Some(mode_text(t.mode).to_owned()),
        spi_in: Some(format!("{:08x}", outer.spi_in.get())),
        spi_out: Some(format!("{:08x}", outer.spi_out.get())),
        suite: Some(manual.sas().map(suite).collect::<Vec<_>>().join("+")),
        ..status
    }
}
