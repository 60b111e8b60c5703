//! What all IKE SAs share while one of them works: generator, configuration, queues, the directory of pairs.
//!
//! Decides: which pair of a child carries its outbound traffic; bounds of the queues. Reads: its tables.
//! Writes: events, datagrams, actions. Never: touches an IKE SA (what concerns another one becomes an [`Action`]).

use super::directory::{self, Between, Directory};
use super::pairs::{Lane, Located};
use super::peers::Peers;
use super::setup::{EndpointConfig, Near, Transmit};
use crate::child_sa::ChildPair;
use crate::config::{ChildId, Connection, ConnectionId, IkeProposal, Realm};
use crate::counters::{Counter, Counters};
use crate::crypto::keys::IkeKeys;
use crate::event::{ChildSaId, Event, IkeSaId};
use crate::fragment::Room;
use crate::ike_sa::{Authentic, IkeSa, Waiting};
use crate::keylog::KeyLine;
use crate::task::address::Assigned;
use crate::ticket::{Kept, Ring};
use core::net::{IpAddr, SocketAddr};
use core::ops::{Deref, DerefMut};
use core::time::Duration;
use rand_core::{CryptoRng, Rng};
use ravelin_wire::{Selector, Spi};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

/// Longer than an IKE_AUTH with all its retransmissions takes.
const CLAIM: Duration = Duration::from_secs(60);

/// What one IKE SA asks of the others.
#[derive(Debug)]
pub(crate) enum Action {
    /// A rekey made a new IKE SA.
    Spawn(Box<IkeSa>),
    /// Children and waiting tasks of `from` go to `to`.
    Inherit { from: IkeSaId, to: IkeSaId, children: Vec<ChildPair>, queue: VecDeque<Waiting> },
    /// The peer uses `to`, which its rekey made, while ours was under way: what `from` has goes there, and then the
    /// message is judged.
    Claim { from: IkeSaId, to: IkeSaId, message: Box<Authentic> },
    /// The peer, who made it, is to delete this IKE SA: it lost a collision.
    Redundant(IkeSaId),
    /// `ike` is up with an authenticated peer: look for others with the same one.
    Established { ike: IkeSaId, initial_contact: bool },
    /// The connection lost an IKE SA or failed to get one.
    Down { connection: ConnectionId, ike: IkeSaId, why: String, announced: bool },
    /// A child is missing, or was refused (then `why`).
    ChildMissing { connection: ConnectionId, child: ChildId, why: Option<String> },
    /// Look whether all that is wanted is there.
    Reconcile(ConnectionId),
    /// The peer's gateway `from` sends us to another one.
    Redirect { connection: Arc<Connection>, ike: IkeSaId, from: IpAddr, to: IpAddr },
    /// It is time that both sides of this IKE SA prove themselves anew, by another one.
    Reauthenticate(IkeSaId),
}

pub(crate) struct Shared {
    pub(crate) config: EndpointConfig,
    pub(crate) rng: Box<dyn CryptoRng + Send>,
    pub(crate) counters: Counters,
    pub(crate) connections: Directory,
    pub(crate) actions: VecDeque<Action>,
    pub(crate) events: VecDeque<Event>,
    pub(crate) transmits: VecDeque<Transmit>,
    rejections: usize,
    pub(super) pairs: BTreeMap<ChildSaId, Located>,
    /// Inbound SPIs of `pairs`.
    pub(super) inbound: BTreeSet<Spi>,
    pub(super) by_child: BTreeSet<(Lane, ChildSaId)>,
    pub(super) outbound: BTreeMap<Lane, ChildSaId>,
    /// Packets that asked for a child, until its SA is asked for; one for each child of the configuration at most.
    triggers: BTreeMap<ChildId, Selector>,
    /// Of connections for any address.
    pub(super) peers: Peers,
    /// What peers gave to connections that asked for addresses, and whether it is in use; kept to be asked for again.
    pub(crate) given: BTreeMap<ConnectionId, (Assigned, bool)>,
    last_id: u64,
    /// Who claimed INITIAL_CONTACT between two identities, and until when that may still be on its way.
    claims: HashMap<Between, (ConnectionId, Instant)>,
    /// Room for messages in pieces.
    pub(crate) strangers_room: Room,
    pub(crate) peers_room: Room,
    /// Tickets that we give, and that we were given (RFC 5723).
    pub(crate) tickets: Ring,
    pub(crate) kept: Kept,
    /// Connections that tell what they do.
    pub(crate) traced: BTreeSet<ConnectionId>,
}

impl Shared {
    pub(crate) fn new(config: EndpointConfig, rng: Box<dyn CryptoRng + Send>) -> Self {
        let limits = config.limits;
        Self {
            strangers_room: Room::new(limits.strangers_fragments, limits.stranger_message),
            peers_room: Room::new(limits.peers_fragments, limits.peer_message),
            config,
            rng,
            counters: Counters::default(),
            connections: Directory::default(),
            actions: VecDeque::new(),
            events: VecDeque::new(),
            transmits: VecDeque::new(),
            rejections: 0,
            pairs: BTreeMap::new(),
            inbound: BTreeSet::new(),
            by_child: BTreeSet::new(),
            outbound: BTreeMap::new(),
            triggers: BTreeMap::new(),
            peers: Peers::default(),
            given: BTreeMap::new(),
            last_id: 0,
            traced: BTreeSet::new(),
            tickets: Ring::default(),
            kept: Kept::default(),
            claims: HashMap::new(),
        }
    }

    pub(crate) fn ring_and_rng(&mut self) -> (&mut Ring, &mut (dyn CryptoRng + Send)) {
        (&mut self.tickets, &mut *self.rng)
    }

    /// Never the same twice.
    pub(crate) const fn fresh_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    pub(crate) fn nonce(&mut self) -> Vec<u8> {
        let mut nonce = vec![0; 32];
        self.rng.fill_bytes(&mut nonce);
        nonce
    }

    /// A non-zero SPI for an IKE SA of ours; 64 random bits do not meet again.
    pub(crate) fn ike_spi(&mut self) -> u64 {
        self.rng.next_u64().max(1)
    }

    /// From 0 to `most`, at random.
    pub(crate) fn random_up_to(&mut self, most: Duration) -> Duration {
        let millis = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.rng.next_u64() % millis.saturating_add(1).max(1))
    }

    pub(crate) fn count(&mut self, which: Counter) {
        self.counters.count(which);
    }

    pub(crate) fn inbound_spi(&mut self, child: ChildId, near: Option<Near>) -> Spi {
        let mut spi = self.config.spi_source.inbound_spi(child, near);
        // A source that repeats itself is a bug of the caller's; a few more questions cost nothing.
        for _ in 0..16 {
            if !self.inbound.contains(&spi) {
                break;
            }
            spi = self.config.spi_source.inbound_spi(child, near);
        }
        spi
    }

    pub(crate) fn set_trigger(&mut self, child: ChildId, packet: Selector) {
        self.triggers.insert(child, packet);
    }

    /// The packet that asked for the child, told once.
    pub(crate) fn trigger(&mut self, child: ChildId) -> Option<Selector> {
        self.triggers.remove(&child)
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// The text is only made when somebody wants it.
    pub(crate) fn trace(&mut self, connection: ConnectionId, ike: IkeSaId, text: impl FnOnce() -> String) {
        if self.traced.contains(&connection) {
            self.event(Event::Trace { connection, ike, text: text() });
        }
    }

    /// Only where a laboratory asked for it.
    pub(crate) fn log_keys(&mut self, spis: (u64, u64), proposal: &IkeProposal, keys: &IkeKeys) {
        if self.config.key_log {
            self.event(Event::KeyLog(KeyLine::new(spis, proposal, keys)));
        }
    }

    /// For what strangers can cause: bounded.
    pub(crate) fn rejected(&mut self, connection: Option<ConnectionId>, remote: SocketAddr, why: String) {
        tracing::debug!(%remote, why, "refused");
        if let Some(id) = connection {
            // No IKE SA yet.
            self.trace(id, IkeSaId(0), || format!("refused: {why}"));
        }
        if self.rejections < self.config.limits.rejections {
            self.rejections += 1;
            self.event(Event::Rejected { connection, remote, why });
        } else {
            self.count(Counter::QueueFull);
        }
    }

    pub(crate) fn next_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        if matches!(event, Some(Event::Rejected { .. })) {
            self.rejections -= 1;
        }
        event
    }

    pub(crate) fn transmit(&mut self, transmit: Transmit) {
        if self.transmits.len() < self.config.limits.transmits {
            self.count(Counter::MessagesOut);
            self.transmits.push_back(transmit);
        } else {
            self.count(Counter::QueueFull);
        }
    }

    pub(crate) fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    /// Connections that a peer at these addresses may use, those that name its address first.
    pub(crate) fn candidates(
        &self,
        realm: Realm,
        local: Option<IpAddr>,
        remote: IpAddr,
    ) -> Vec<Arc<Connection>> {
        self.connections.candidates(realm, local, remote)
    }

    /// How many of the peer's gateways there are to try.
    pub(crate) fn gateways(&self, id: ConnectionId) -> usize {
        self.connections.gateways(id).len().max(1)
    }

    /// An IKE SA of the connection is established.
    pub(crate) fn has_peer(&self, connection: ConnectionId) -> bool {
        self.connections.is_up(connection)
    }

    /// An IKE SA between these two identities is established, by whichever connection: a claim of INITIAL_CONTACT
    /// would be wrong (RFC 7296 §2.4).
    pub(crate) fn has_peer_of(&self, connection: &Connection) -> bool {
        self.connections.is_up_between(connection)
    }

    /// Whether the connection may claim to have no other IKE SA with its peer. Of several connections between the same
    /// identities that begin at once only the first one does: each claim would end the one before it at the peer.
    pub(crate) fn may_claim(&mut self, now: Instant, connection: &Connection) -> bool {
        let ids = directory::between(connection);
        let other = |(by, until): &(ConnectionId, Instant)| *by != connection.id && now < *until;
        if self.has_peer_of(connection) || self.claims.get(&ids).is_some_and(other) {
            return false;
        }
        // Now and then, so that what a reload took away does not stay.
        if self.claims.len().is_power_of_two() {
            self.claims.retain(|_, (_, until)| now < *until);
        }
        self.claims.insert(ids, (connection.id, now + CLAIM));
        self.count(Counter::InitialContactSent);
        true
    }
}

/// [`Shared`] at one moment.
pub(crate) struct Cx<'a> {
    pub(crate) now: Instant,
    shared: &'a mut Shared,
}

impl<'a> Cx<'a> {
    pub(crate) const fn new(now: Instant, shared: &'a mut Shared) -> Self {
        Self { now, shared }
    }
}

impl Deref for Cx<'_> {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        self.shared
    }
}

impl DerefMut for Cx<'_> {
    fn deref_mut(&mut self) -> &mut Shared {
        self.shared
    }
}
