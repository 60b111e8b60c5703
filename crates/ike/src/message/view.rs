//! Finding payloads in a message: what may stand once is found once.
//!
//! Decides: whether a payload is there, and there once. Never: changes anything.

use crate::error::{Error, Malformed};
use crate::payload::{Cert, Cp, Delete, Id, Notify, Payload, Proposal, TrafficSelector, notify};

#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a>(pub(crate) &'a [Payload]);

impl<'a> View<'a> {
    fn one<T>(
        self,
        what: &'static str,
        pick: impl Fn(&'a Payload) -> Option<T>,
    ) -> Result<Option<T>, Malformed> {
        let mut found = self.0.iter().filter_map(pick);
        let first = found.next();
        if found.next().is_some() { Err(Malformed::Twice(what)) } else { Ok(first) }
    }

    fn need<T>(self, what: &'static str, pick: impl Fn(&'a Payload) -> Option<T>) -> Result<T, Malformed> {
        self.one(what, pick)?.ok_or(Malformed::Missing(what))
    }

    pub(crate) fn sa(self) -> Result<&'a [Proposal], Malformed> {
        self.need("SA payload", |p| if let Payload::Sa(list) = p { Some(list.as_slice()) } else { None })
    }

    pub(crate) fn has_sa(self) -> bool {
        self.0.iter().any(|p| matches!(p, Payload::Sa(_)))
    }

    /// Group and public value.
    pub(crate) fn ke(self) -> Result<Option<(u16, &'a [u8])>, Malformed> {
        self.one("KE payload", |p| {
            if let Payload::KeyExchange { group, data } = p { Some((*group, data.as_slice())) } else { None }
        })
    }

    pub(crate) fn nonce(self) -> Result<&'a [u8], Malformed> {
        self.need("nonce", |p| if let Payload::Nonce(n) = p { Some(n.as_slice()) } else { None })
    }

    pub(crate) fn id_i(self) -> Result<&'a Id, Malformed> {
        self.need("IDi payload", |p| if let Payload::IdI(id) = p { Some(id) } else { None })
    }

    pub(crate) fn id_r(self) -> Result<Option<&'a Id>, Malformed> {
        self.one("IDr payload", |p| if let Payload::IdR(id) = p { Some(id) } else { None })
    }

    /// Method and data.
    pub(crate) fn auth(self) -> Result<Option<(u8, &'a [u8])>, Malformed> {
        self.one("AUTH payload", |p| {
            if let Payload::Auth { method, data } = p { Some((*method, data.as_slice())) } else { None }
        })
    }

    /// The packet of EAP.
    pub(crate) fn eap(self) -> Result<Option<&'a [u8]>, Malformed> {
        self.one("EAP payload", |p| if let Payload::Eap(packet) = p { Some(packet.as_slice()) } else { None })
    }

    pub(crate) fn certs(self) -> impl Iterator<Item = &'a Cert> {
        self.0.iter().filter_map(|p| if let Payload::Cert(c) = p { Some(c) } else { None })
    }

    pub(crate) fn cert_requests(self) -> impl Iterator<Item = &'a Cert> {
        self.0.iter().filter_map(|p| if let Payload::CertReq(c) = p { Some(c) } else { None })
    }

    pub(crate) fn ts_i(self) -> Result<&'a [TrafficSelector], Malformed> {
        self.need("TSi payload", |p| if let Payload::TsI(list) = p { Some(list.as_slice()) } else { None })
    }

    pub(crate) fn ts_r(self) -> Result<&'a [TrafficSelector], Malformed> {
        self.need("TSr payload", |p| if let Payload::TsR(list) = p { Some(list.as_slice()) } else { None })
    }

    pub(crate) fn cp(self) -> Result<Option<&'a Cp>, Malformed> {
        self.one("CP payload", |p| if let Payload::Cp(cp) = p { Some(cp) } else { None })
    }

    pub(crate) fn notifies(self) -> impl Iterator<Item = &'a Notify> {
        self.0.iter().filter_map(|p| if let Payload::Notify(n) = p { Some(n) } else { None })
    }

    pub(crate) fn notify(self, kind: u16) -> Option<&'a Notify> {
        self.notifies().find(|n| n.kind == kind)
    }

    /// The first error notify, if there is one.
    pub(crate) fn error(self) -> Option<&'a Notify> {
        self.notifies().find(|n| n.is_error())
    }

    /// `Err` when the message carries an error notify.
    pub(crate) fn refuse_errors(self) -> Result<(), Error> {
        match self.error() {
            Some(n) => Err(Error::Refused(n.kind)),
            None => Ok(()),
        }
    }

    pub(crate) fn deletes(self) -> impl Iterator<Item = &'a Delete> {
        self.0.iter().filter_map(|p| if let Payload::Delete(d) = p { Some(d) } else { None })
    }

    /// The group that an INVALID_KE_PAYLOAD asks for.
    pub(crate) fn wanted_group(self) -> Option<u16> {
        let n = self.notify(notify::INVALID_KE_PAYLOAD)?;
        Some(u16::from_be_bytes(n.data.as_slice().try_into().ok()?))
    }
}
