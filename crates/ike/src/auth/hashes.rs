//! SIGNATURE_HASH_ALGORITHMS (RFC 7427 §4).
//!
//! Decides: which hashes we take in signatures. Never: takes SHA-1.

use super::requests;
use crate::cert::scheme::{Hash, IDENTITY};
use crate::config::{Connection, LocalAuth, RemoteAuth};
use crate::endpoint::EndpointConfig;
use crate::message::View;
use crate::payload::{Notify, Payload, notify};
use std::sync::Arc;

/// Those that the peer takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Hashes(u8);

/// Ours, in order of preference.
pub(crate) const OURS: [Hash; 3] = [Hash::Sha256, Hash::Sha384, Hash::Sha512];

impl Hashes {
    /// `None`: the peer does not speak RFC 7427. Unknown numbers are no harm.
    pub(crate) fn of(view: View<'_>) -> Option<Self> {
        let n = view.notify(notify::SIGNATURE_HASH_ALGORITHMS)?;
        let numbers = n.data.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
        Some(Self(numbers.filter(|n| *n <= IDENTITY).fold(0, |set, n| set | 1 << n)))
    }

    pub(crate) const fn has(self, hash: Hash) -> bool {
        self.0 & 1 << hash.number() != 0
    }

    /// Ed25519 hashes by itself (RFC 8420 §2).
    pub(crate) const fn has_identity(self) -> bool {
        self.0 & 1 << IDENTITY != 0
    }
}

/// What we send where a signature may come.
pub(crate) fn notify() -> Payload {
    let numbers = OURS.map(Hash::number).into_iter().chain([IDENTITY]);
    let data = numbers.flat_map(u16::to_be_bytes).collect();
    Payload::Notify(Notify::with_data(notify::SIGNATURE_HASH_ALGORITHMS, data))
}

/// One of the two sides signs.
const fn wanted(connection: &Connection) -> bool {
    matches!(connection.local_auth, LocalAuth::Key(_))
        || matches!(connection.remote_auth, RemoteAuth::Certificate(_) | RemoteAuth::RawKey(_))
}

/// As initiator, in IKE_SA_INIT.
pub(crate) fn offer(config: &EndpointConfig, connection: &Connection) -> Option<Payload> {
    (config.signature_negotiation && wanted(connection)).then(notify)
}

/// As responder: the peer's hashes, and what the answer says for any of these connections.
pub(crate) fn answer(
    config: &EndpointConfig,
    candidates: &[Arc<Connection>],
    view: View<'_>,
    payloads: &mut Vec<Payload>,
) -> Option<Hashes> {
    payloads.extend(requests(candidates.iter().map(|c| &**c)));
    let signs = config.signature_negotiation && candidates.iter().any(|c| wanted(c));
    let hashes = Hashes::of(view).filter(|_| signs);
    payloads.extend(hashes.map(|_| notify()));
    hashes
}
