//! EAP-TLS (RFC 5216, and RFC 9190 for TLS 1.3): flights of TLS in packets of EAP, and the key that comes of them.
//!
//! Decides: how flights are cut and joined, when the handshake has proven both sides. Reads: pieces of flights of a
//! stranger. Writes: pieces of ours. Never: holds a flight of more than [`MAX_FLIGHT`] bytes, says "done" before TLS does,
//! resumes a session.

mod proof;
mod session;

use crate::cert::{Certificate, path};
use crate::config::{EapTls, Trust};
use crate::crypto::Wiped;
use rustls::Connection;
use std::sync::Arc;
use zeroize::Zeroizing;

const LENGTH: u8 = 0x80;
const MORE: u8 = 0x40;
const START: u8 = 0x20;

/// TLS in one packet of ours: with all headers it fits into one datagram of IKE.
const FRAGMENT: usize = 1000;
/// Certificates make the longest flights; 32 of the longest ones fit.
const MAX_FLIGHT: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Tls {
    connection: Connection,
    serves: bool,
    /// The peer's flight as far as it came.
    incoming: Vec<u8>,
    /// Our flight, and how much of it the peer has.
    outgoing: Vec<u8>,
    sent: usize,
    /// TLS 1.3: the server has said that nothing more comes (RFC 9190 §2.5).
    committed: bool,
    trust: Arc<Trust>,
    /// Seconds since 1970, when it began.
    now: u64,
}

/// What follows from a packet.
#[derive(Debug)]
pub(super) enum Turn {
    /// Type-data.
    Say(Vec<u8>),
    /// Client: type-data of its last word; server: what the client proved.
    Proven(Vec<u8>, Wiped),
    /// Type-data that tells the other side, and why.
    Alert(Vec<u8>, String),
    Failed(String),
}

/// Type-data of the server's first request.
pub(super) const fn start() -> [u8; 1] {
    [START]
}

impl Tls {
    /// `now`: seconds since 1970.
    pub(super) fn client(config: &EapTls, now: u64) -> Option<Self> {
        Some(Self::new(session::client(config, now)?, false, config, now))
    }

    pub(super) fn server(config: &EapTls, now: u64) -> Option<Self> {
        Some(Self::new(session::server(config, now)?, true, config, now))
    }

    fn new(connection: Connection, serves: bool, config: &EapTls, now: u64) -> Self {
        let trust = Arc::clone(&config.trust);
        let (incoming, outgoing) = (Vec::new(), Vec::new());
        Self { connection, serves, incoming, outgoing, sent: 0, committed: false, trust, now }
    }

    /// The other side's certificate and those up to the CA, once the handshake is over.
    pub(super) fn path(&self) -> Option<Vec<Certificate>> {
        let shown = self.connection.peer_certificates()?.iter();
        let shown: Vec<_> = shown.map(|c| Certificate::from_der(c)).collect::<Result<_, _>>().ok()?;
        let (own, others) = shown.split_first()?;
        let found = path::find(own, others, &self.trust.authorities, self.now).ok()?;
        Some(found.into_iter().cloned().collect())
    }

    pub(super) fn trust(&self) -> Arc<Trust> {
        Arc::clone(&self.trust)
    }

    pub(super) fn on(&mut self, data: &[u8]) -> Turn {
        let Some((flags, rest)) = data.split_first() else {
            return Turn::Failed("an empty packet".to_owned());
        };
        if self.sent < self.outgoing.len() {
            // Our flight is not out yet: only an acknowledgement may come.
            return if *flags == 0 && rest.is_empty() {
                Turn::Say(self.fragment())
            } else {
                Turn::Failed("a packet in the middle of our flight".to_owned())
            };
        }
        if let Err(why) = self.join(*flags, rest) {
            return Turn::Failed(why.to_owned());
        }
        if flags & MORE != 0 {
            return Turn::Say(vec![0]);
        }
        self.take_flight()
    }

    fn join(&mut self, flags: u8, rest: &[u8]) -> Result<(), &'static str> {
        let begins = !self.serves && self.incoming.is_empty() && flags & START != 0;
        if flags & START != 0 && !begins {
            return Err("a start in the middle");
        }
        let rest = if flags & LENGTH == 0 {
            rest
        } else {
            let (length, rest) = rest.split_first_chunk().ok_or("a length that is cut short")?;
            let total = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            if total > MAX_FLIGHT {
                return Err("a flight that is too long");
            }
            rest
        };
        if self.incoming.len() + rest.len() > MAX_FLIGHT {
            return Err("a flight that is too long");
        }
        if flags & MORE != 0 && rest.is_empty() {
            return Err("a piece of nothing");
        }
        self.incoming.extend_from_slice(rest);
        Ok(())
    }

    /// The peer's flight is whole.
    fn take_flight(&mut self) -> Turn {
        let flight = core::mem::take(&mut self.incoming);
        let nothing = flight.is_empty();
        let fed = self.feed(&flight);
        if fed.is_ok() && self.is_over() && self.serves && !self.commit() {
            return Turn::Failed("TLS cannot say that it is done".to_owned());
        }
        self.outgoing.clear();
        self.sent = 0;
        while self.connection.wants_write() {
            if self.connection.write_tls(&mut self.outgoing).is_err() {
                return Turn::Failed("TLS has nothing to say".to_owned());
            }
        }
        match fed {
            Err(why) if self.outgoing.is_empty() => Turn::Failed(why),
            Err(why) => Turn::Alert(self.fragment(), why),
            Ok(()) if !self.outgoing.is_empty() => Turn::Say(self.fragment()),
            Ok(()) => self.finish(nothing),
        }
    }

    fn feed(&mut self, flight: &[u8]) -> Result<(), String> {
        let mut rest = flight;
        while !rest.is_empty() {
            let taken = self.connection.read_tls(&mut rest).map_err(|why| why.to_string())?;
            let state = self.connection.process_new_packets().map_err(|why| why.to_string())?;
            if taken == 0 {
                return Err("TLS takes no more".to_owned());
            }
            self.read_plain(state.plaintext_bytes_to_read())?;
        }
        Ok(())
    }

    /// The only thing that is said inside: one zero, by the server (RFC 9190 §2.5).
    fn read_plain(&mut self, waiting: usize) -> Result<(), String> {
        if waiting == 0 {
            return Ok(());
        }
        let mut byte = [1];
        let read = std::io::Read::read(&mut self.connection.reader(), &mut byte);
        if self.serves || waiting != 1 || self.committed || read.ok() != Some(1) || byte != [0] {
            return Err("data where there should be none".to_owned());
        }
        self.committed = true;
        Ok(())
    }

    fn is_over(&self) -> bool {
        !self.connection.is_handshaking()
    }

    fn is_tls13(&self) -> bool {
        self.connection.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3)
    }

    /// As server with TLS 1.3: nothing more of the handshake comes.
    fn commit(&mut self) -> bool {
        if !self.is_tls13() || self.committed {
            return true;
        }
        self.committed = true;
        std::io::Write::write_all(&mut self.connection.writer(), &[0]).is_ok()
    }

    /// We have nothing to say: it is over, or the peer has stopped in the middle.
    fn finish(&mut self, nothing: bool) -> Turn {
        let may = match (self.serves, self.is_tls13()) {
            // The client's empty answer to our last flight.
            (true, _) => nothing,
            (false, true) => self.committed,
            (false, false) => true,
        };
        if !self.is_over() || !may {
            return Turn::Failed("the peer stopped in the middle of TLS".to_owned());
        }
        match self.msk() {
            Some(msk) => Turn::Proven(vec![0], msk),
            None => Turn::Failed("TLS gives no key".to_owned()),
        }
    }

    /// RFC 5216 §2.3, RFC 9190 §2.3: the first half of what is exported.
    fn msk(&self) -> Option<Wiped> {
        let (label, context) = if self.is_tls13() {
            (&b"EXPORTER_EAP_TLS_Key_Material"[..], Some(&[13][..]))
        } else {
            (&b"client EAP encryption"[..], None)
        };
        let mut out = Zeroizing::new(vec![0; 128]);
        self.connection.export_keying_material(out.as_mut_slice(), label, context).ok()?;
        out.truncate(64);
        Some(out)
    }

    fn fragment(&mut self) -> Vec<u8> {
        let end = self.outgoing.len().min(self.sent + FRAGMENT);
        let piece = self.outgoing.get(self.sent..end).unwrap_or_default();
        let (first, more) = (self.sent == 0, end < self.outgoing.len());
        let mut out = vec![if more { MORE } else { 0 }];
        if first && more {
            out = vec![MORE | LENGTH];
            let total = u32::try_from(self.outgoing.len()).unwrap_or(u32::MAX);
            out.extend_from_slice(&total.to_be_bytes());
        }
        out.extend_from_slice(piece);
        self.sent = end;
        out
    }
}
