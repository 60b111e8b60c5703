//! The engine's counters, each with the name that metrics use.
//!
//! Decides: names. Reads: nothing. Writes: its own numbers. Never: goes down.

macro_rules! counters {
    ($($variant:ident $name:literal $help:literal,)*) => {
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(usize)]
        pub enum Counter { $(#[doc = $help] $variant,)* }

        impl Counter {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            pub const COUNT: usize = Self::ALL.len();

            /// As in metrics and in `ravelin show`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// A sentence for the operator.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)* }
            }
        }
    };
}

counters! {
    MessagesIn "messages_in" "Datagrams handed to the engine",
    MessagesOut "messages_out" "Datagrams the engine sent, retransmissions included",
    Retransmits "retransmits" "Requests sent again because no answer came",
    RepliesRepeated "replies_repeated" "Answers sent again because the peer repeated its request",
    FragmentsSent "fragments_sent" "Pieces of messages that were too long for one datagram (RFC 7383)",
    FragmentsReceived "fragments_received" "Authentic pieces of messages",
    FragmentsUseless "fragments_useless" "Pieces that were there already or fit no message that is waited for",
    FragmentsNoRoom "fragments_no_room" "Messages in pieces given up because the room for pieces was full",
    FragmentsExpired "fragments_expired" "Messages in pieces given up because pieces never came",
    Reassembled "reassembled" "Messages put together from pieces",
    GaveUp "gave_up" "Requests that were never answered",
    Malformed "malformed" "Messages that broke the format before they were authenticated",
    MalformedAuthentic "malformed_authentic" "Messages of an authenticated peer that broke the format",
    WrongVersion "wrong_version" "Messages of another major version",
    UnknownSpi "unknown_spi" "Messages for an IKE SA that does not exist",
    WrongRealm "wrong_realm" "Messages for an IKE SA of another VRF",
    BadIntegrity "bad_integrity" "Messages whose checksum did not match",
    OutOfWindow "out_of_window" "Messages with a message id outside the window",
    OutOfPlace "out_of_place" "Messages that the state of the SA does not allow",
    CriticalUnknown "critical_unknown" "Messages with an unknown payload marked critical",
    NoConnection "no_connection" "Requests from addresses that no connection names",
    NoProposal "no_proposal_chosen" "Negotiations without a common proposal",
    InvalidKe "invalid_ke" "INVALID_KE_PAYLOAD sent or received",
    BadPublicValue "bad_public_value" "Public values that are not lawful in their group",
    TsUnacceptable "ts_unacceptable" "Negotiations without common traffic selectors",
    NoAddress "no_address" "Peers that asked for no address though there is a pool, or found none free",
    AuthFailed "auth_failed" "Peers that could not prove their identity",
    PeerRejectedAuth "peer_rejected_auth" "Attempts that the peer refused with AUTHENTICATION_FAILED",
    CookiesSent "cookies_sent" "Requests answered with a cookie",
    CookiesAccepted "cookies_accepted" "Requests that came back with a good cookie",
    HalfOpenFull "half_open_full" "Requests dropped because too many peers had not authenticated",
    HalfOpenExpired "half_open_expired" "Peers that began and never authenticated",
    Hybrid "hybrid_key_exchanges" "Additional key exchanges as responder (ML-KEM)",
    StateNotFound "state_not_found" "STATE_NOT_FOUND sent or received: additional key exchanges that came too late (RFC 9370)",
    IkeEstablished "ike_established" "IKE SAs established, rekeys included",
    IkeRekeyed "ike_rekeyed" "IKE SAs replaced by a rekey",
    IkeClosed "ike_closed" "IKE SAs that ended, rekeys included",
    ChildEstablished "child_established" "Child SA pairs established, rekeys included",
    ChildRekeyed "child_rekeyed" "Child SA pairs replaced by a rekey",
    ChildClosed "child_closed" "Child SA pairs that ended, rekeys included",
    ResourceSas "resource_sas" "Child SA pairs for one resource of a side, besides the first of their group (RFC 9611)",
    ResourceLimit "resource_limit" "TS_MAX_QUEUE sent or received: no more such pairs",
    Collisions "collisions" "Exchanges of both sides that crossed and made a redundant SA",
    TemporaryFailures "temporary_failures" "TEMPORARY_FAILURE received",
    InitialContact "initial_contact" "INITIAL_CONTACT received, older SAs of the peer removed",
    InitialContactSent "initial_contact_sent" "Attempts that claimed INITIAL_CONTACT",
    LivenessChecks "liveness_checks" "Peers asked whether they live",
    PeerDead "peer_dead" "Peers that did not answer any more",
    PeerMoved "peer_moved" "Changes of a peer's address or port",
    Redirected "redirected" "Redirects to another gateway that were followed",
    RedirectsSent "redirects_sent" "Peers that were sent to another gateway",
    NewMappings "new_mappings" "Changes of our own address and port at a NAT that the peer was told of (MOBIKE)",
    OtherAddress "other_address" "Peers tried at another of their addresses (MOBIKE)",
    RedirectsIgnored "redirects_ignored" "Redirects that were not allowed or of no use",
    Keepalives "keepalives" "NAT keepalives sent",
    InstallFailed "install_failed" "Child SAs that the data plane could not take",
    Restored "restored" "IKE SAs continued from records of the control process before this one",
    RestoreRefused "restore_refused" "Records of IKE SAs that were of no use",
    TicketsGiven "tickets_given" "Tickets for session resumption given to peers (RFC 5723)",
    TicketsTaken "tickets_taken" "Tickets for session resumption that gateways gave us",
    Resumed "resumed" "IKE SAs resumed by a ticket, in either role",
    TicketUnreadable "ticket_unreadable" "Tickets refused: altered, foreign, or of a key that is gone",
    TicketExpired "ticket_expired" "Tickets refused: their time was over",
    TicketSpent "ticket_spent" "Tickets refused: used before, or their IKE SA had been ended",
    TicketOutdated "ticket_outdated" "Tickets refused: configuration or credentials have changed since",
    ResumptionRefused "resumption_refused" "Tickets of ours that a gateway refused: a whole exchange followed",
    QueueFull "queue_full" "Things dropped because a bounded queue was full",
}

/// One number for each [`Counter`].
#[derive(Clone, Debug)]
pub struct Counters([u64; Counter::COUNT]);

impl Default for Counters {
    fn default() -> Self {
        Self([0; Counter::COUNT])
    }
}

impl Counters {
    pub fn get(&self, which: Counter) -> u64 {
        self.0[which as usize]
    }

    pub fn iter(&self) -> impl Iterator<Item = (Counter, u64)> + '_ {
        Counter::ALL.iter().map(|&c| (c, self.get(c)))
    }

    pub(crate) fn count(&mut self, which: Counter) {
        self.0[which as usize] += 1;
    }
}
