//! IKE_AUTH in both roles, with the first child (RFC 7296 §1.2, §2.15, §2.21.2).
//!
//! Decides: whether the peer is who it must be. Never: makes an established SA of a peer that has not proven it.

mod eap_client;
mod eap_server;
mod initiate;
mod judge;
mod respond;

pub(crate) use eap_server::LoggingIn;
pub(crate) use initiate::AuthSent;
pub(crate) use judge::Judging;

use crate::auth::{Hashes, Signed};
use crate::config::{Connection, IkeProposal};
use crate::crypto::keys::IkeKeys;
use crate::ike_sa::Core;
use crate::payload::{Cert, Id};
use crate::snapshot::Role;
use crate::task::redirect::Can;
use crate::ticket::Resumed;

/// What IKE_SA_INIT left.
#[derive(Debug)]
pub(crate) struct Init {
    pub(crate) keys: IkeKeys,
    pub(crate) proposal: IkeProposal,
    pub(crate) request: Vec<u8>,
    pub(crate) response: Vec<u8>,
    pub(crate) ni: Vec<u8>,
    pub(crate) nr: Vec<u8>,
    /// IntAuth_i | IntAuth_r | message id of IKE_AUTH, when there was an IKE_INTERMEDIATE.
    pub(crate) int_auth: Vec<u8>,
    /// The peer's, if both sides speak RFC 7427.
    pub(crate) hashes: Option<Hashes>,
    /// As initiator: both sides want IKE_AUTH without a child (RFC 6023).
    pub(crate) childless: bool,
    /// Both sides have post-quantum pre-shared keys (RFC 8784).
    pub(crate) ppk: bool,
    /// As responder: the peer's proof rests on one.
    pub(crate) ppk_used: bool,
    /// As responder: what the peer said of them.
    pub(crate) redirects: Can,
    /// As initiator: the CERTREQ payloads of the answer.
    pub(crate) wanted: Vec<Cert>,
    /// What goes on of an earlier IKE SA (RFC 5723), in place of keys of its own and of proofs.
    pub(crate) resumed: Option<Box<Resumed>>,
}

impl Init {
    pub(super) const fn signed<'a>(&'a self, signer: Role, id: &'a Id) -> Signed<'a> {
        let (message, nonce) = match signer {
            Role::Initiator => (&self.request, &self.nr),
            Role::Responder => (&self.response, &self.ni),
        };
        Signed {
            message: message.as_slice(),
            nonce: nonce.as_slice(),
            id,
            int_auth: self.int_auth.as_slice(),
        }
    }
}

pub(super) fn our_id(connection: &Connection, core: &Core) -> Option<Id> {
    Id::of(&connection.local_id).or_else(|| Id::of(&crate::config::Identity::Address(core.path.local?)))
}
