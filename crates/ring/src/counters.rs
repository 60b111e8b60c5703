//! Names of what is counted. The data plane writes, the control process reads, both by these numbers.

mod cure;

/// Generates an enum whose variants index counters and carry the name that operators see.
macro_rules! named {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        pub enum $name { $($(#[$vmeta])* $variant,)+ }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            pub const COUNT: usize = Self::ALL.len();

            /// The name in `show drops`, JSON and metrics; stable once released.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

named! {
    /// Why a packet was dropped; every drop has exactly one of these. New reasons go at the end.
    Drop {
        /// Not Ethernet with IPv4 or IPv6, or cut short before its own lengths say.
        Malformed = "malformed",
        /// IPv4 header checksum is wrong.
        BadIpChecksum = "bad_ip_checksum",
        /// Source or destination is not lawful for a forwarded packet (multicast source, loopback, 0.0.0.0/8 …).
        BadAddress = "bad_address",
        /// TTL or hop limit ran out; an ICMP error went back, within its rate limit.
        TtlExpired = "ttl_expired",
        /// No inbound SA has this SPI.
        NoSa = "no_sa",
        /// ESP or AH too short, or not a multiple of the cipher's block.
        BadEsp = "bad_esp",
        /// An SA's packet came over another encapsulation, address family or mode than negotiated.
        WrongEncapsulation = "wrong_encapsulation",
        /// The sequence number lies left of the window.
        ReplayOld = "replay_old",
        /// The sequence number was seen before.
        ReplayDup = "replay_dup",
        BadIcv = "bad_icv",
        /// Authentic, but padding or next header cannot be.
        BadPadding = "bad_padding",
        /// The decrypted packet is not IP as its next header says, or lies about its length.
        BadInner = "bad_inner",
        /// Next header 59: traffic-flow confidentiality, dropped without noise (RFC 4303 §2.6).
        Dummy = "dummy",
        /// The inner packet does not match the selectors of its SA.
        SelectorMismatch = "selector_mismatch",
        /// A clear packet that a PROTECT policy covers.
        PlainOnProtected = "plain_on_protected",
        /// The policy says DISCARD, or none matches and the default is DISCARD.
        PolicyDiscard = "policy_discard",
        /// PROTECT, but no outbound SA is up.
        NoOutboundSa = "no_outbound_sa",
        /// The SA's sequence numbers are used up (RFC 4303 §3.3.3).
        SequenceExhausted = "sequence_exhausted",
        /// A hard limit in bytes or packets was reached.
        SaExpired = "sa_expired",
        /// Over the MTU with DF set; an ICMP error went back, within its rate limit.
        TooBig = "too_big",
        /// A fragment of a packet that cannot be judged without its first fragment.
        Fragment = "fragment",
        NoRoute = "no_route",
        /// The route says blackhole, unreachable or prohibit.
        RouteBlackhole = "route_blackhole",
        /// The link address of the next hop is not known yet.
        NeighbourUnresolved = "neighbour_unresolved",
        /// Out of frames.
        NoFrame = "no_frame",
        /// The transmit ring of the port is full.
        TxFull = "tx_full",
        /// The ring to the worker that owns the SA is full.
        HandoffFull = "handoff_full",
        /// The TUN device does not take more.
        PuntFull = "punt_full",
        /// The egress port is gone or down.
        PortDown = "port_down",
        /// Larger than a frame can hold together with its encapsulation.
        FrameTooSmall = "frame_too_small",
        /// A protocol or IP version that this build does not handle where it came.
        Unsupported = "unsupported",
        /// The destination is a broadcast or multicast address, which a policy-based tunnel cannot carry.
        MulticastPolicyMode = "multicast_policy_mode",
        /// The outer header says congestion was met, and the inner transport cannot be told (RFC 6040 §4.2).
        CongestionLost = "congestion_lost",
        /// It waited for an outbound SA that did not come in time.
        HoldExpired = "hold_expired",
        /// It could have waited for an outbound SA, but so many wait already.
        HoldFull = "hold_full",
        /// No way leads back to the source by the port that the packet came by.
        ReversePath = "reverse_path",
        /// The frame was sent to another station's link address: a switch flooded it, or the port is promiscuous.
        OtherStation = "other_station",
        /// IPv4 options that are cut short or lie about their length.
        BadOption = "bad_option",
        /// An IPv4 source route: its destination is not where it goes in the end, and selectors speak of that.
        SourceRoute = "source_route",
        /// Source and destination are one address.
        Land = "land",
        /// The rest of the outer packet did not come in time.
        FragmentTimeout = "frag_timeout",
        /// Outer fragments overlap (RFC 5722): the whole packet is refused.
        FragmentOverlap = "frag_overlap",
        /// An outer fragment came twice.
        FragmentDuplicate = "frag_duplicate",
        /// Too many outer fragments at once, of one packet or of one source.
        FragmentFlood = "frag_flood",
        /// IPv6 extension headers that are cut short or too many, or a source route (RFC 5095).
        BadExtension = "bad_extension",
        /// To an address that stands for others, but nobody is behind it there.
        NatNoMapping = "nat_no_mapping",
        /// Somebody is, who has not spoken to this sender (RFC 4787 §5).
        NatFiltered = "nat_filtered",
        /// No room for another NAT session, and none that could give way.
        NatFull = "nat_full",
        /// The inside host has as many NAT sessions as it may, all of them in use.
        NatHostLimit = "nat_host_limit",
        /// No port of the pool is free for this inside host, or the port that the rule speaks of has no address.
        NatNoPort = "nat_no_port",
        /// Of a protocol without ports: another inside host speaks with that host by every address of the pool, or waits for
        /// its answer to a new SPI (R58).
        NatBusy = "nat_busy",
        /// A fragment whose first one was not seen, where ports decide about its translation.
        NatFragment = "nat_fragment",
        /// An ICMP message that cannot be translated: damaged, or about a packet of no session.
        NatBadIcmp = "nat_bad_icmp",
        /// Its two ends belong to two workers.
        NatOtherWorker = "nat_other_worker",
        /// An IP version that its link does not announce.
        BadIpVersion = "bad_ip_version",
        /// An IPv4 header shorter than 20 bytes or longer than the packet.
        BadIpHeaderLength = "bad_ip_header_length",
        /// A total length below the header's, or beyond what came.
        BadIpLength = "bad_ip_length",
        /// Anomalies of `header-integrity-check`: a TTL or hop limit of 0.
        IpTtlZero = "ip_ttl_zero",
        /// The reserved flag of IPv4 is set, or "don't fragment" on a fragment.
        IpFlags = "ip_flags",
        /// A fragment that is no multiple of eight bytes and not the last, or reaches beyond 65,535.
        IpFragmentLength = "ip_fragment_length",
        /// A first fragment without the whole transport header, or one that would overwrite it (RFC 1858, RFC 3128).
        IpTinyFragment = "ip_tiny_fragment",
        /// A TCP header cut short, or longer than its segment.
        TcpHeader = "tcp_header",
        TcpPortZero = "tcp_port_zero",
        /// Flags that no TCP sends: none, SYN with FIN, RST or URG, none of SYN, RST and ACK.
        TcpFlags = "tcp_flags",
        TcpChecksum = "tcp_checksum",
        /// A UDP length below 8, or other than the packet's.
        UdpLength = "udp_length",
        UdpPortZero = "udp_port_zero",
        UdpChecksum = "udp_checksum",
        /// An ICMP message shorter than 8 bytes.
        IcmpLength = "icmp_length",
        IcmpChecksum = "icmp_checksum",
        /// The worker that did its crypto did not bring it back in time.
        HelperLost = "helper_lost",
        /// So many packets of SAs with shared crypto are with other workers that there is no place for more.
        HelpersBusy = "helpers_busy",
        /// In the hands of a worker that failed (a bug of ours): it goes on without its batch.
        WorkerFailed = "worker_failed",
        /// GRE of another version, or with routing (RFC 2784 §2.3).
        GreHeader = "gre_header",
        /// A GRE header that is cut short.
        GreLength = "gre_length",
        /// The checksum of a GRE packet is wrong, or missing where one is asked for.
        GreChecksum = "gre_checksum",
        /// GRE with a key that no tunnel between its two ends has.
        GreKey = "gre_key",
        /// The sequence number of GRE is missing, or older than the last one (RFC 2890 §2.2).
        GreSequence = "gre_sequence",
        /// GRE that carries something else than IPv4 or IPv6.
        GreProtocol = "gre_protocol",
        /// GRE that came or would leave by something else than the SAs that have to protect it.
        GreUnprotected = "gre_unprotected",
        /// The route of a GRE packet leads into a GRE tunnel: it would never leave.
        GreLoop = "gre_loop",
        /// For the host itself, or a device that is no port, out of a VRF beside the main one: the kernel would answer by the main one.
        VrfLocal = "vrf_local",
        /// ESP for an address that several inside hosts have, by an SPI that none of them waits for (R58).
        NatUnknownSpi = "nat_unknown_spi",
        /// It came out of a tunnel whose `filter-decrypted` does not name it (R223).
        FilterDecrypted = "filter_decrypted",
        /// ESP of a bundle that came without its AH.
        AhMissing = "ah_missing",
        /// In the AH of a bundle was something else than its ESP.
        BundleMismatch = "bundle_mismatch",
        /// ESP or AH that came by a port of another VRF than the outside of its SA is in.
        VrfOutside = "vrf_outside",
        /// Out of an SA that was made for another VRF than its tunnel is in, or of a tunnel that there is not any more.
        VrfInside = "vrf_inside",
    }
}

named! {
    /// Per worker, besides the drops. For every worker, once it rests:
    /// `Received + Injected + Generated + HandedIn + Released = Forwarded + Punted + HandedOut + Consumed + Held + Σ drops`;
    /// `Held - Released` packets wait at this moment, those with other workers among them ([`Counter::Lent`]).
    Counter {
        /// Packets taken from receive rings.
        Received = "received",
        /// Packets taken from the TUN device (the host's own traffic).
        Injected = "injected",
        /// Packets made here: further fragments, ICMP errors.
        Generated = "generated",
        /// Packets that came from another worker.
        HandedIn = "handed_in",
        /// Packets handed to the transmit ring of a port.
        Forwarded = "forwarded",
        /// Packets given to the kernel through the TUN device.
        Punted = "punted",
        HandedOut = "handed_out",
        /// Packets whose content went on in others (fragmented originals).
        Consumed = "consumed",
        ReceivedBytes = "received_bytes",
        ForwardedBytes = "forwarded_bytes",
        Encrypted = "encrypted",
        Decrypted = "decrypted",
        IcmpSent = "icmp_sent",
        IcmpSuppressed = "icmp_suppressed",
        Batches = "batches",
        /// Events that found the event ring full; the state they speak of is reported again later.
        EventsDelayed = "events_delayed",
        /// Commands refused because they were malformed.
        BadCommands = "bad_commands",
        /// Packets that began to wait: for an outbound SA, a link address, other fragments, another worker's crypto.
        Held = "held",
        /// Packets that waited and go on, or are dropped since their time is over.
        Released = "released",
        /// Packets whose source or destination was translated; both: counted twice.
        Translated = "nat_translated",
        /// NAT sessions opened, closed, and those of the closed that gave way to others: opened less closed are open.
        NatOpened = "nat_opened",
        NatClosed = "nat_closed",
        NatEvicted = "nat_evicted",
        /// Packets given to other workers for their crypto; they are among those held and released.
        Lent = "lent",
        /// Bursts whose crypto was to be another worker's, but nobody came to it: it was done here.
        LentBack = "lent_back",
        /// Packets of other workers whose crypto was done here.
        Helped = "helped",
        /// How often the worker failed amid a batch, and went on with all that it has.
        Failures = "failures",
        /// How often the worker stood still for a second, and was moved to the cores of the others.
        Stalls = "stalls",
        /// Packets put into GRE, and taken out of it.
        GreSent = "gre_sent",
        GreReceived = "gre_received",
        /// How often the worker went on by another worker's thread, since its own had failed repeatedly.
        Moves = "moves",
        /// No count: the worker whose thread serves this one; itself, as long as nothing failed.
        Thread = "thread",
    }
}

named! {
    /// Per port, summed over its queues and processors; counted by the XDP program.
    XdpCounter {
        /// Frames left to the kernel.
        Passed = "passed",
        /// Frames redirected to a worker's socket.
        Steered = "steered",
        /// To-be-protected or ESP frames dropped since the worker's socket was missing (fail closed).
        NoWorker = "no_worker",
        /// Frames dropped because they could not be parsed where a policy might cover them.
        Unparsable = "unparsable",
        /// Frames dropped because the port admits the VPN alone, and they are nothing of it.
        NotAdmitted = "not_admitted",
    }
}

named! {
    /// Per port, summed over its sockets; counted by the kernel (XDP_STATISTICS). What it drops was never received.
    SocketCounter {
        /// Frames for which no empty frame was lent to the kernel, or that were too long for one.
        RxDropped = "rx_dropped",
        /// Frames that found the receive ring full: the worker did not keep up.
        RxRingFull = "rx_ring_full",
        /// How often the kernel looked for an empty frame in vain.
        FillRingEmpty = "fill_ring_empty",
        RxInvalid = "rx_invalid",
        TxInvalid = "tx_invalid",
    }
}
