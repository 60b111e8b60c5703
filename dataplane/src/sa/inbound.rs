//! One inbound SA.

use super::outbound::small;
use super::window::Window;
use super::{Limits, Throttle};
use crate::classify::v6::folded;
use crate::spd::SaSelectors;
use ravelin_crypto::{Key, Suite as Algorithms};
use ravelin_ring::counters::Drop;
use ravelin_ring::msg::{Mode, Rules, SaId, SaSpec, TunnelId, VrfId};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// All that look-up, replay check and commit touch.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(crate) struct InboundHot {
    pub(crate) window: Window,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) spi: u32,
    pub(crate) esn: bool,
    /// The slow part of `commit` is due: first packet, or a hard limit was reached; or what comes out is not of tunnel mode.
    pub(crate) attention: bool,
    /// Of transport mode: whatever the next header is, it is the payload of the packet around it.
    pub(crate) transport: bool,
    /// See [`Limits::gates`].
    pub(crate) gates: (u64, u64),
    /// Of the last packet, in milliseconds; 0 with no packets yet.
    pub(crate) last_ms: u64,
    /// Where the peer is, for SAs in UDP whose peer may move.
    pub(crate) remote: (u32, u16),
    pub(crate) udp: bool,
    /// Of the suite: bytes before the payload, and of the ICV.
    pub(crate) payload_offset: u8,
    pub(crate) icv: u8,
}

const _: () = assert!(size_of::<InboundHot>() == 128);
const _: () = assert!(core::mem::offset_of!(InboundHot, gates) <= 64);

impl Default for InboundHot {
    fn default() -> Self {
        Self {
            window: Window::new(0),
            packets: 0,
            bytes: 0,
            last_ms: 0,
            spi: 0,
            esn: false,
            attention: false,
            gates: (0, 0),
            remote: (0, 0),
            udp: false,
            payload_offset: 0,
            icv: 0,
            transport: false,
        }
    }
}

/// Read on mismatch, expiry, or by a report.
#[derive(Clone, Debug)]
pub(crate) struct InboundSa {
    pub(crate) id: SaId,
    pub(crate) tunnel: TunnelId,
    pub(crate) suite: ravelin_ring::msg::Suite,
    pub(crate) mode: Mode,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    /// Its packets come by ports of this VRF.
    pub(crate) outside: VrfId,
    /// What comes out of it is of this VRF.
    pub(crate) inside: VrfId,
    pub(crate) selectors: SaSelectors,
    pub(crate) limits: Limits,
    pub(crate) rules: Rules,
    /// See [`ravelin_ring::msg::Extras::filtered`].
    pub(crate) filtered: bool,
    /// See [`ravelin_ring::msg::Extras::partner`].
    pub(crate) partner: Option<SaId>,
    /// The key for those who share the crypto; wiped as the last of them lets go of it.
    pub(crate) shared: Option<Arc<Key>>,
    /// `FirstPacket` was said.
    pub(crate) greeted: bool,
    pub(crate) moved: Throttle,
    pub(crate) replay_drops: u64,
    pub(crate) icv_drops: u64,
    pub(crate) selector_drops: u64,
}

impl InboundSa {
    pub(crate) fn new(spec: &SaSpec, selectors: SaSelectors, shared: Option<Arc<Key>>) -> Self {
        Self {
            id: spec.id,
            tunnel: spec.tunnel,
            suite: spec.suite,
            mode: spec.mode,
            local: spec.local,
            remote: spec.remote,
            outside: spec.extras.outside,
            inside: spec.extras.inside,
            selectors,
            limits: Limits::new(spec),
            rules: spec.extras.rules,
            filtered: spec.extras.filtered,
            partner: spec.extras.partner,
            shared,
            greeted: false,
            moved: Throttle::default(),
            replay_drops: 0,
            icv_drops: 0,
            selector_drops: 0,
        }
    }

    /// VRFs are asked about its packets even where there are none any more.
    pub(crate) fn is_apart(&self) -> bool {
        self.outside != VrfId::MAIN || self.inside != VrfId::MAIN
    }

    /// Counts a packet that the SA does not let through.
    pub(crate) fn refuse(&mut self, why: Drop) {
        if matches!(why, Drop::ReplayOld | Drop::ReplayDup) {
            self.replay_drops += 1;
        } else if why == Drop::BadIcv {
            self.icv_drops += 1;
        } else if why == Drop::SelectorMismatch {
            self.selector_drops += 1;
        }
    }

    pub(crate) fn hot(&self, spec: &SaSpec, algorithms: Algorithms) -> InboundHot {
        InboundHot {
            window: Window::new(spec.replay_window),
            spi: spec.spi.get(),
            esn: spec.esn,
            attention: true,
            gates: self.limits.gates(),
            remote: place(spec.remote),
            udp: spec.remote.port() != 0,
            payload_offset: small(algorithms.payload_offset()),
            icv: small(algorithms.icv_len()),
            transport: spec.mode == Mode::Transport,
            ..InboundHot::default()
        }
    }
}

/// Address and port as packets are compared with.
pub(crate) fn place(addr: SocketAddr) -> (u32, u16) {
    match addr.ip() {
        IpAddr::V4(a) => (a.to_bits(), addr.port()),
        IpAddr::V6(a) => (folded(a.to_bits()), addr.port()),
    }
}
