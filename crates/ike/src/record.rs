//! One established IKE SA as bytes, for the control process that comes after this one.
//!
//! Decides: which SAs can be continued, and whether bytes are a record of one. Reads: an SA, or bytes.
//! Writes: bytes with keys in them, which the caller seals. Never: restores half of an SA; trusts a length.
//!
//! What a record promises: the message ids in it are the next ones of both sides. So it must be stored before any
//! datagram leaves that was made with it, which is why [`crate::endpoint::Endpoint::poll_record`] comes before
//! `poll_transmit`.

mod bytes;
mod children;
mod refs;

pub use bytes::Clock;
pub(crate) use bytes::{Out, bytes_of, ip_of, socket_of, wiped_of};
pub use refs::{PairRef, PeerOf};

use crate::config::{Connection, ConnectionId, EapTls, IkeProposal, LocalAuth, Realm, RemoteAuth};
use crate::crypto::cipher::Protection;
use crate::crypto::keys::IkeKeys;
use crate::crypto::{Wiped, prf};
use crate::endpoint::FromPeer;
use crate::error::Malformed;
use crate::event::IkeSaId;
use crate::header::Exchange;
use crate::ike_sa::{Core, Established, IkeSa, Path, Phase, State, Window};
use crate::payload::{Id, Reader};
use crate::snapshot::Role;
use crate::task::address::Assigned;
use crate::task::delete::{Delete, Inbound};
use crate::task::mobike::{self, Mobility, Update};
use crate::task::{Task, liveness::Liveness, lost::Lost};
use crate::ticket::Given;
use core::net::IpAddr;
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// Rises with each change of the format: a record of another version is refused.
const VERSION: u8 = 10;
/// No lawful record is longer: the last answer of ours (a datagram), and a few hundred children.
const MAX: usize = 1 << 18;

/// Why a record is of no use. All of them lead to a new IKE SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("it is of another version of the format")]
    Version,
    #[error("it cannot be read")]
    Malformed,
    #[error("its connection is not configured any more, or otherwise")]
    Connection,
    #[error("its lifetime is over")]
    Expired,
    #[error("it is there twice")]
    Twice,
}

impl From<Malformed> for Refused {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// What a record holds beyond the SA itself.
#[derive(Debug)]
pub(crate) struct Restored {
    pub(crate) sa: IkeSa,
    /// Inbound SPIs of children that the peer may have and we do not: to be deleted.
    pub(crate) orphans: Vec<Inbound>,
    /// Whose it is, of a connection for any address.
    pub(crate) peer: Option<FromPeer>,
}

/// `None`: the SA is not one that could be continued. It is about to end, or in an exchange whose private value is
/// not kept (an IKE rekey of ours), or has not authenticated yet.
pub(crate) fn write(sa: &IkeSa, clock: &Clock, peer: Option<&FromPeer>) -> Option<Wiped> {
    let (core, e) = (&sa.core, sa.established()?);
    let initial = e.held.as_ref().is_some_and(|h| h.asked.exchange == Exchange::IkeAuth);
    if e.phase != Phase::Live || e.predecessor.is_some() || e.rival.is_some() || initial {
        return None;
    }
    let proposal = core.connection.proposals.iter().position(|p| *p == e.proposal)?;
    let mut out = Out::default();
    out.u8(VERSION);
    out.raw(&fingerprint(&core.connection));
    out.u32(peer.map_or(core.connection.id, |p| p.template).0);
    out.u8(u8::from(peer.is_some()));
    if let Some(peer) = peer {
        peer.write(&mut out)?;
    }
    out.u8(u8::from(core.role == Role::Responder));
    out.u64(core.our_spi);
    out.u64(core.peer_spi);
    write_path(&core.path, &mut out);
    out.u8(u8::from(core.fragmentation));
    out.u8(match core.mobility {
        Mobility::Off => 0,
        Mobility::Leads => 1,
        Mobility::Follows => 2,
    });
    for list in [&core.assigned.addresses, &core.assigned.dns] {
        out.u8(u8::try_from(list.len()).ok()?);
        list.iter().for_each(|ip| out.ip(*ip));
    }
    out.u8(u8::try_from(core.others.len()).ok()?);
    core.others.iter().for_each(|ip| out.ip(*ip));
    core.window.write(&mut out);
    out.u8(u8::try_from(proposal).ok()?);
    write_keys(&e.keys, &mut out);
    out.u8(e.peer_id.kind);
    out.bytes(&e.peer_id.data);
    let renewing = e.has_task(|t| matches!(t, Task::IkeRekey(_)));
    out.time(clock, core.created);
    // A rekey that waits is to be begun anew.
    out.time(clock, if renewing { core.created } else { e.rekey_at });
    out.time(clock, e.expires_at);
    out.u8(u8::from(e.reauthenticate_at.is_some()));
    e.reauthenticate_at.into_iter().for_each(|at| out.time(clock, at));
    e.session.write(clock, &mut out);
    write_task(e.active.as_ref(), &mut out)?;
    children::write(e, &core.connection, clock, &mut out)?;
    let bytes = out.finish();
    (bytes.len() <= MAX).then_some(bytes)
}

/// The SA of a record, of one of these connections (each towards all gateways of its peer). `id` will be its number.
pub(crate) fn read<'c>(
    bytes: &[u8],
    connections: impl Fn(ConnectionId) -> &'c [Arc<Connection>],
    clock: &Clock,
    now: Instant,
    mut fresh: impl FnMut() -> u64,
) -> Result<Restored, Refused> {
    if bytes.len() > MAX {
        return Err(Refused::Malformed);
    }
    let mut r = Reader::new(bytes, "record");
    if r.u8()? != VERSION {
        return Err(Refused::Version);
    }
    let wanted: [u8; 32] = r.array()?;
    let template = ConnectionId(r.u32()?);
    let peer = if flag(&mut r)? { Some(FromPeer::read(&mut r, template)?) } else { None };
    let mut towards = connections(template).iter();
    let mut connection = towards.find(|c| fingerprint(c) == wanted).cloned().ok_or(Refused::Connection)?;
    if let Some(peer) = &peer {
        connection = Arc::new(peer.connection(&connection).ok_or(Refused::Connection)?);
    }
    let role = if flag(&mut r)? { Role::Responder } else { Role::Initiator };
    let (our_spi, peer_spi) = (r.u64()?, r.u64()?);
    let path = read_path(&mut r)?;
    let fragmentation = flag(&mut r)?;
    let mobility = match r.u8()? {
        0 => Mobility::Off,
        1 => Mobility::Leads,
        2 => Mobility::Follows,
        _ => return Err(Refused::Malformed),
    };
    let assigned = Assigned { addresses: read_ips(&mut r)?, dns: read_ips(&mut r)? };
    let others = read_ips(&mut r)?;
    if assigned.is_empty() != connection.exchanges.addresses.is_empty() {
        return Err(Refused::Connection);
    }
    let connection = assigned.narrow(&connection);
    let window = Window::read(&mut r, connection.exchanges.realm, now)?;
    let proposal = *connection.proposals.get(usize::from(r.u8()?)).ok_or(Refused::Malformed)?;
    let keys = read_keys(&mut r, &proposal)?;
    let peer_id = Id { kind: r.u8()?, data: bytes_of(&mut r)?.to_vec() };
    let (created, rekey_at, expires_at) = (clock.read(&mut r)?, clock.read(&mut r)?, clock.read(&mut r)?);
    if expires_at <= now {
        return Err(Refused::Expired);
    }
    let reauthenticate_at = if flag(&mut r)? { Some(clock.read(&mut r)?) } else { None };
    let session = Given::read(clock, &mut r)?;
    let active = read_task(&mut r)?;
    if our_spi == 0 || peer_spi == 0 || window.is_free() != active.is_none() {
        return Err(Refused::Malformed);
    }
    let (children, orphans) = children::read(&mut r, &connection, clock, &mut fresh)?;
    if !r.is_empty() {
        return Err(Refused::Malformed);
    }
    let mut core = Core::new(IkeSaId(fresh()), role, (our_spi, peer_spi), connection, path, now);
    (core.window, core.created, core.fragmentation) = (window, created, fragmentation);
    (core.assigned, core.others) = (assigned, others.into());
    core.mobility = mobility;
    core.told = mobike::elsewhere(&core);
    let e = Established {
        keys,
        proposal,
        peer_id,
        phase: Phase::Live,
        children,
        queue: VecDeque::new(),
        active,
        held: None,
        rival: None,
        series: Vec::new(),
        not_found: 0,
        predecessor: None,
        since: created,
        last_heard: now,
        rekey_at,
        expires_at,
        reauthenticate_at,
        session,
        enough: Vec::new(),
        announced: true,
    };
    Ok(Restored { sa: IkeSa { core, state: State::Established(Box::new(e)) }, orphans, peer })
}

/// Two connections with the same one agree in all that an IKE SA depends on. Only ever stored sealed, since the secret
/// is in it.
pub(crate) fn fingerprint(c: &Connection) -> [u8; 32] {
    let public = (c.local, c.remote, &c.local_id, &c.remote_id, &c.proposals, c.force_udp);
    let mut sha = Sha256::new();
    sha.update(format!("{public:?}"));
    match &c.local_auth {
        LocalAuth::Psk(secret) => part(&mut sha, 1, secret.expose()),
        LocalAuth::Key(own) => {
            part(&mut sha, 2, own.key.public().spki());
            own.chain.iter().for_each(|cert| part(&mut sha, 3, cert.der()));
        }
        LocalAuth::Eap(client) => {
            part(&mut sha, 8, client.user.as_bytes());
            part(&mut sha, 9, client.password.expose());
            client.tls.iter().for_each(|tls| tls_parts(&mut sha, tls));
        }
    }
    match &c.remote_auth {
        RemoteAuth::Psk(secret) => part(&mut sha, 4, secret.expose()),
        RemoteAuth::Certificate(trust) => {
            part(&mut sha, 5, format!("{:?}", trust.revocation).as_bytes());
            trust.authorities.iter().for_each(|cert| part(&mut sha, 6, cert.der()));
        }
        RemoteAuth::RawKey(keys) => keys.iter().for_each(|key| part(&mut sha, 7, key.spki())),
        RemoteAuth::Eap(server) => {
            for (name, password) in server.users.iter() {
                part(&mut sha, 10, name.as_bytes());
                part(&mut sha, 11, password.expose());
            }
            server.tls.iter().for_each(|tls| tls_parts(&mut sha, tls));
        }
    }
    for address in &c.exchanges.addresses {
        part(&mut sha, 17, address.to_string().as_bytes());
    }
    if c.exchanges.realm != Realm(0) {
        part(&mut sha, 18, &c.exchanges.realm.0.to_be_bytes());
    }
    if let Some(ppk) = &c.ppk {
        part(&mut sha, 12 + u8::from(ppk.required), &ppk.id);
        part(&mut sha, 14, ppk.key.expose());
    }
    sha.finalize().into()
}

fn tls_parts(sha: &mut Sha256, tls: &EapTls) {
    part(sha, 15, tls.own.key.public().spki());
    tls.trust.authorities.iter().for_each(|cert| part(sha, 16, cert.der()));
}

/// With its kind and length, so that no two lists of parts are the same bytes.
fn part(sha: &mut Sha256, kind: u8, bytes: &[u8]) {
    sha.update([kind]);
    sha.update(bytes.len().to_be_bytes());
    sha.update(bytes);
}

fn write_path(path: &Path, out: &mut Out) {
    out.u8(u8::from(path.local.is_some()));
    path.local.into_iter().for_each(|ip| out.ip(ip));
    out.socket(path.remote);
    for bit in [path.natt, path.nat_local, path.nat_remote, path.force_udp] {
        out.u8(u8::from(bit));
    }
}

fn read_path(r: &mut Reader<'_>) -> Result<Path, Malformed> {
    let local = if flag(r)? { Some(ip_of(r)?) } else { None };
    Ok(Path {
        local,
        remote: socket_of(r)?,
        natt: flag(r)?,
        nat_local: flag(r)?,
        nat_remote: flag(r)?,
        force_udp: flag(r)?,
    })
}

fn write_keys(keys: &IkeKeys, out: &mut Out) {
    for key in [&keys.d, &keys.pi, &keys.pr] {
        out.bytes(key);
    }
    for direction in [&keys.from_initiator, &keys.from_responder] {
        let (key, integrity, counter) = direction.state();
        out.bytes(key);
        out.bytes(integrity);
        out.u64(counter);
    }
}

fn read_keys(r: &mut Reader<'_>, proposal: &IkeProposal) -> Result<IkeKeys, Malformed> {
    let len = prf::len(proposal.prf);
    let one = |r: &mut Reader<'_>| {
        let key = wiped_of(r)?;
        if key.len() == len { Ok(key) } else { Err(Malformed::Length("record")) }
    };
    let (d, pi, pr) = (one(r)?, one(r)?, one(r)?);
    let direction = |r: &mut Reader<'_>| {
        let (key, integrity) = (wiped_of(r)?, wiped_of(r)?);
        let counter = r.u64()?;
        Protection::restored(proposal, key, integrity, counter).ok_or(Malformed::Length("record"))
    };
    let (from_initiator, from_responder) = (direction(r)?, direction(r)?);
    Ok(IkeKeys { prf: proposal.prf, d, pi, pr, from_initiator, from_responder })
}

/// At which of its key exchanges a child was.
const fn lost(second: bool) -> u8 {
    if second { 5 } else { 3 }
}

/// The request that waits for its answer. The datagram stands in the window.
fn write_task(active: Option<&Task>, out: &mut Out) -> Option<()> {
    let (kind, spi) = match active {
        None => (0, None),
        // The cookie of a probe is not kept: any answer proves life.
        Some(Task::Liveness(_) | Task::Probe(_) | Task::Announce(_) | Task::Ticket(_)) => (1, None),
        Some(Task::Update(_)) => (4, None),
        Some(Task::Delete(Delete::Child(spi))) => (2, Some(*spi)),
        // Their private values are not kept: should they succeed, what they made is deleted.
        Some(Task::ChildCreate(t)) => (lost(t.exchange.second().is_some()), Some(t.exchange.inbound()?)),
        Some(Task::ChildRekey(t)) => (lost(t.exchange.second().is_some()), Some(t.exchange.inbound()?)),
        Some(Task::Lost(t)) => (lost(t.second), Some(t.inbound)),
        Some(Task::IkeRekey(_) | Task::Delete(Delete::Ike | Delete::AuthFailed)) => return None,
    };
    out.u8(kind);
    spi.into_iter().for_each(|spi| bytes::write_inbound(spi, out));
    Some(())
}

fn read_task(r: &mut Reader<'_>) -> Result<Option<Task>, Malformed> {
    Ok(match r.u8()? {
        0 => None,
        1 => Some(Task::Liveness(Liveness)),
        2 => Some(Task::Delete(Delete::child(bytes::inbound_of(r)?))),
        4 => Some(Task::Update(Update::new())),
        kind @ (3 | 5) => {
            Some(Task::Lost(Lost { inbound: bytes::inbound_of(r)?, second: kind == lost(true) }))
        }
        _ => return Err(Malformed::Value("record")),
    })
}

fn read_ips(r: &mut Reader<'_>) -> Result<Vec<IpAddr>, Malformed> {
    (0..r.u8()?).map(|_| ip_of(r)).collect()
}

fn flag(r: &mut Reader<'_>) -> Result<bool, Malformed> {
    match r.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed::Value("record")),
    }
}
