//! One outbound SA, and the header that all its packets get.

use super::Limits;
use crate::spd::SaSelectors;
use ravelin_crypto::{Key, Suite as Algorithms};
use ravelin_ring::msg::{Mode, OuterDf, PortId, Protocol, Rules, SaId, SaSpec, TunnelId, VrfId};
use ravelin_wire::ah;
use ravelin_wire::ethernet::{self, Ethernet};
use ravelin_wire::ipv4::{self, Ipv4Header};
use ravelin_wire::udp::{self, UdpHeader};
use ravelin_wire::{MacAddr, ipv6, protocol};
use std::net::SocketAddr;
use std::sync::Arc;

/// All that sequence, encryption and encapsulation touch.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(crate) struct OutboundHot {
    /// Last number sent.
    pub(crate) sequence: u64,
    pub(crate) bytes: u64,
    pub(crate) gates: (u64, u64),
    pub(crate) last_ms: u64,
    /// The worker's count of table changes when `outer` was found; 0: not yet.
    pub(crate) epoch: u64,
    pub(crate) spi: u32,
    pub(crate) df: OuterDf,
    pub(crate) esn: bool,
    pub(crate) udp: bool,
    /// In UDP with a source port for each inner flow.
    pub(crate) multipath: bool,
    /// Outside is IPv6, whose addresses stand in the cold record.
    pub(crate) v6: bool,
    /// Of the suite: bytes before the payload, bytes of the ICV, and one less than the power of two of which payload and
    /// trailer are a multiple.
    pub(crate) payload_offset: u8,
    pub(crate) icv: u8,
    pub(crate) block_mask: u8,
    /// IP identification of the next packet that may be fragmented on its way; its lower half. As wide as it is read: who
    /// reads more than was just written waits for the cache.
    pub(crate) id: u32,
    pub(crate) outer: Outer,
}

const _: () = assert!(size_of::<OutboundHot>() == 128);

impl OutboundHot {
    /// The identification of one more packet that may be fragmented on its way.
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // the lower half is meant
    pub(crate) fn next_id(&mut self) -> u16 {
        let id = self.id;
        self.id = id.wrapping_add(1);
        id as u16
    }
}

/// How the SA's packets leave, as the tables of one generation say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outer {
    /// Ethernet, IPv4 and perhaps UDP, ready but for lengths, identification, TOS, DF and checksum, which are 0. Of IPv6
    /// Ethernet alone.
    pub(crate) template: [u8; Self::MAX],
    pub(crate) port: PortId,
    /// Largest inner packet; 0: nothing fits.
    pub(crate) max_inner: u16,
    /// Of the words of the IPv4 header as they lie in memory, for its checksum.
    pub(crate) sum: u16,
    /// The packet needs no more than what [`crate::outbound::plain`] does.
    pub(crate) plain: bool,
    /// Bytes before the payload, link header and all, and behind it without padding.
    pub(crate) front: u8,
    pub(crate) back: u8,
    /// DF of the outer header is that of the inner one; or it is set, or not.
    pub(crate) df: Df,
}

/// Two bits for the three wishes: none costs a packet a branch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Df {
    set: bool,
    any: bool,
}

impl Df {
    const fn new(wish: OuterDf) -> Self {
        match wish {
            OuterDf::Copy => Self { set: false, any: true },
            OuterDf::Set => Self { set: true, any: true },
            OuterDf::Clear => Self { set: false, any: false },
        }
    }

    #[inline(always)]
    pub(crate) const fn of(self, inner: bool) -> bool {
        (inner | self.set) & self.any
    }
}

impl Outer {
    pub(crate) const MAX: usize = ethernet::HEADER + ipv4::HEADER + udp::HEADER;

    const UNKNOWN: Self = Self {
        template: [0; Self::MAX],
        port: PortId(0),
        max_inner: 0,
        sum: 0,
        plain: false,
        front: 0,
        back: 0,
        df: Df::new(OuterDf::Copy),
    };
}

impl Default for OutboundHot {
    fn default() -> Self {
        Self {
            sequence: 0,
            bytes: 0,
            gates: (0, 0),
            last_ms: 0,
            epoch: 0,
            spi: 0,
            df: OuterDf::Copy,
            esn: false,
            udp: false,
            multipath: false,
            v6: false,
            payload_offset: 0,
            icv: 0,
            block_mask: 3,
            id: 0,
            outer: Outer::UNKNOWN,
        }
    }
}

/// Read for the selectors, on expiry, on a change of the tables, or by a report.
#[derive(Debug)]
pub(crate) struct OutboundSa {
    pub(crate) id: SaId,
    pub(crate) tunnel: TunnelId,
    pub(crate) suite: ravelin_ring::msg::Suite,
    pub(crate) mode: Mode,
    pub(crate) algorithms: Algorithms,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    /// Whose routes lead to the peer.
    pub(crate) outside: VrfId,
    /// For the report alone.
    pub(crate) inside: VrfId,
    pub(crate) tunnel_mtu: u16,
    /// What the way to the peer carries, as far as is known.
    pub(crate) path_mtu: u16,
    pub(crate) rules: Rules,
    /// See [`ravelin_ring::msg::Extras::partner`].
    pub(crate) partner: Option<SaId>,
    /// Bytes of AH around its packets.
    around: u16,
    /// See [`super::InboundSa::shared`].
    pub(crate) shared: Option<Arc<Key>>,
    /// See [`ravelin_ring::msg::Extras::multipath`].
    multipath: u16,
    /// The number that these keys began after.
    pub(crate) first: u64,
    /// Inner packets shorter than this are padded to it, as far as their way takes that; 0: none.
    pub(crate) tfc: u16,
    pub(crate) limits: Limits,
    /// As negotiated: the peer may have narrowed what the policy asks for (RFC 7296 §2.9).
    pub(crate) selectors: SaSelectors,
}

impl OutboundSa {
    pub(crate) fn new(
        spec: &SaSpec,
        algorithms: Algorithms,
        selectors: SaSelectors,
        shared: Option<Arc<Key>>,
        around: u16,
    ) -> Self {
        Self {
            id: spec.id,
            tunnel: spec.tunnel,
            suite: spec.suite,
            mode: spec.mode,
            algorithms,
            local: spec.local,
            remote: spec.remote,
            outside: spec.extras.outside,
            inside: spec.extras.inside,
            tunnel_mtu: spec.tunnel_mtu,
            path_mtu: u16::MAX,
            rules: spec.extras.rules,
            partner: spec.extras.partner,
            around,
            shared,
            multipath: spec.extras.multipath,
            first: spec.extras.sequence,
            tfc: spec.tfc,
            limits: Limits::new(spec),
            selectors,
        }
    }

    pub(crate) fn hot(&self, spec: &SaSpec) -> OutboundHot {
        OutboundHot {
            sequence: self.first,
            gates: self.limits.gates(),
            spi: spec.spi.get(),
            df: spec.outer_df,
            esn: spec.esn,
            udp: self.ports().is_some(),
            multipath: self.is_multipath(),
            v6: spec.remote.is_ipv6(),
            payload_offset: small(self.algorithms.payload_offset()),
            icv: small(self.algorithms.icv_len()),
            block_mask: small(self.algorithms.alignment().saturating_sub(1)),
            ..OutboundHot::default()
        }
    }

    /// Bytes of the headers between Ethernet and ESP.
    fn headers(&self) -> usize {
        self.ip_header() + if self.ports().is_none() { 0 } else { udp::HEADER }
    }

    fn ip_header(&self) -> usize {
        if self.remote.is_ipv4() { ipv4::HEADER } else { ipv6::HEADER }
    }

    /// Its packets go in UDP from this port to that one; the first is another with each flow where there are several ways.
    pub(crate) fn ports(&self) -> Option<(u16, u16)> {
        match (self.remote.port(), self.multipath) {
            (0, 0) => None,
            (0, multipath) => Some((0, multipath)),
            // R99: where a NAT was found there is nothing but what gets through it.
            (remote, _) => Some((self.local.port(), remote)),
        }
    }

    pub(crate) fn is_multipath(&self) -> bool {
        self.remote.port() == 0 && self.multipath != 0
    }

    /// Not ESP in tunnel mode, with AH around it, or with rules: `outbound::modes` looks at its packets.
    pub(crate) fn is_special(&self) -> bool {
        self.mode != Mode::Tunnel
            || self.suite.protocol() == Protocol::Ah
            || self.rules.any()
            || self.partner.is_some()
    }

    /// AH that goes around another SA's packets.
    pub(crate) fn goes_around(&self) -> bool {
        self.partner.is_some() && self.suite.protocol() == Protocol::Ah
    }

    /// Takes whole packets, and is cut afterwards where it is too large (RFC 4303 §3.3.4).
    pub(crate) fn takes_whole(&self) -> bool {
        self.mode == Mode::Transport || self.rules.passive || self.rules.fragment_after
    }

    /// Stages of its own have its packets too.
    pub(crate) fn needs_more(&self) -> bool {
        self.is_special() || self.tfc != 0
    }

    /// The largest packet outside.
    pub(crate) fn largest(&self, port_mtu: u16) -> u16 {
        self.tunnel_mtu.min(port_mtu).min(self.path_mtu)
    }

    /// The largest inner packet whose outer one is no larger than that.
    pub(crate) fn max_inner(&self, port_mtu: u16) -> u16 {
        let outer = usize::from(self.largest(port_mtu).saturating_sub(self.around));
        let esp = || self.algorithms.max_payload(outer.saturating_sub(self.headers()));
        let icv = ah::icv_field(self.algorithms.ah_icv_len(), self.remote.is_ipv6());
        let ah = || outer.saturating_sub(ah::HEADER + icv);
        let inner = match (self.suite.protocol(), self.mode) {
            (Protocol::Esp, Mode::Tunnel) => esp(),
            // The header stays the packet's own; here it is one without options.
            (Protocol::Esp, Mode::Transport) => esp() + self.ip_header(),
            (Protocol::Ah, Mode::Tunnel) => ah().saturating_sub(self.ip_header()),
            (Protocol::Ah, Mode::Transport) => ah(),
        };
        u16::try_from(inner).unwrap_or(u16::MAX)
    }

    /// How packets leave by a port with this MTU; `src` and `dst` are link addresses.
    pub(crate) fn outer(
        &self,
        hot: &OutboundHot,
        (port, mtu): (PortId, u16),
        (src, dst): (MacAddr, MacAddr),
    ) -> Outer {
        let mut template = self.template(src, dst);
        let headers = ethernet::HEADER + self.headers();
        if self.remote.is_ipv4() {
            template[CHECKSUM..CHECKSUM + 2].fill(0);
        }
        let (words, _) = template[ethernet::HEADER..][..ipv4::HEADER].as_chunks();
        Outer {
            template,
            port,
            max_inner: self.max_inner(mtu),
            sum: words.iter().fold(0, |sum, word| {
                let (sum, carry) = u16::from_le_bytes(*word).overflowing_add(sum);
                sum + u16::from(carry)
            }),
            plain: self.remote.is_ipv4() && !hot.multipath,
            front: small(headers + self.algorithms.payload_offset()),
            back: small(TRAILER + self.algorithms.icv_len()),
            df: Df::new(hot.df),
        }
    }

    /// The headers of every packet.
    fn template(&self, src: MacAddr, dst: MacAddr) -> [u8; Outer::MAX] {
        let mut template = [0; Outer::MAX];
        let (link, rest) = template.split_at_mut(ethernet::HEADER);
        let (SocketAddr::V4(local), SocketAddr::V4(remote)) = (self.local, self.remote) else {
            link.copy_from_slice(&Ethernet { dst, src, ethertype: ethernet::IPV6 }.to_bytes());
            return template;
        };
        let ports = self.ports();
        let ip = Ipv4Header {
            tos: 0,
            total_len: 0,
            id: 0,
            df: false,
            mf: false,
            fragment_offset: 0,
            ttl: 64,
            protocol: if ports.is_some() { protocol::UDP } else { protocol::ESP },
            src: *local.ip(),
            dst: *remote.ip(),
        };
        let (src_port, dst_port) = ports.unwrap_or((0, 0));
        let ports = UdpHeader { src: src_port, dst: dst_port, len: 0, checksum: 0 };
        let (network, transport) = rest.split_at_mut(ipv4::HEADER);
        link.copy_from_slice(&Ethernet { dst, src, ethertype: ethernet::IPV4 }.to_bytes());
        network.copy_from_slice(&ip.to_bytes());
        transport.copy_from_slice(&ports.to_bytes());
        template
    }
}

/// ESP's own bytes behind payload and padding.
const TRAILER: usize = 2;
/// Where the template has the IPv4 header's checksum.
const CHECKSUM: usize = ethernet::HEADER + 10;

pub(super) fn small(n: usize) -> u8 {
    u8::try_from(n).unwrap_or(u8::MAX)
}
