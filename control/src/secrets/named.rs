//! What the proofs of a tunnel rest on, by name (R176): for logs and `show`.
//!
//! Decides: how an entry is called. Reads: the secrets file's entries, the configuration. Never: says anything of a value.

use super::Secrets;
use crate::config::{Config, IdText, Tunnel, Way};
use std::path::Path;

impl Secrets {
    /// Gives every tunnel the names of its credentials, one for each gateway of its peer.
    pub fn name_credentials(&self, config: &mut Config) {
        config.tunnels.name_credentials(|tunnel| self.credential(tunnel));
    }

    fn credential(&self, tunnel: &Tunnel) -> String {
        let (auth, psk) = (&tunnel.auth, self.psk(tunnel));
        let file = |path: Option<&Path>| path.map_or_else(String::new, |path| path.display().to_string());
        let own = match auth.local {
            Way::Psk => psk.clone(),
            Way::Certificate => format!("certificate {}", file(auth.certificate.as_deref())),
            Way::RawKey => format!("key {}", file(auth.private_key.as_deref())),
            Way::Eap => {
                let user = auth.eap_user.clone();
                format!("EAP as {}", user.unwrap_or_else(|| IdText(&tunnel.local_id).to_string()))
            }
            Way::Manual => return "keys by hand".to_owned(),
        };
        let first = |paths: &[std::path::PathBuf]| file(paths.first().map(std::path::PathBuf::as_path));
        let peer = match auth.remote {
            Way::Psk => psk,
            Way::Certificate => format!("peer by CA {}", first(&auth.trusted_ca)),
            Way::RawKey => format!("peer by key {}", first(&auth.peer_keys)),
            Way::Eap => "peer by EAP".to_owned(),
            Way::Manual => String::new(),
        };
        let ppk = auth.ppk_id.as_ref().map(|id| format!(", PPK {id}")).unwrap_or_default();
        if own == peer { format!("{own}{ppk}") } else { format!("{own}, {peer}{ppk}") }
    }

    /// The entry by its identities and its line.
    fn psk(&self, tunnel: &Tunnel) -> String {
        let Some(entry) = self.entry(tunnel) else { return "no secret".to_owned() };
        let name = self.file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        format!("secret of {} and {} ({name}:{})", IdText(&entry.local), IdText(&entry.remote), entry.line)
    }
}
