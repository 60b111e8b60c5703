//! Commands of the control process that change SAs.
//!
//! Decides: whether a command can take effect; one that cannot changes nothing. Never: runs during a batch.

use super::inbound::place;
use super::{Direction, Events, InboundSa, Outbound, OutboundSa, Reports, SaDb};
use crate::clock::Now;
use crate::spd::SaSelectors;
use ravelin_crypto::{Key, Suite as Algorithms};
use ravelin_ring::msg::{
    Mode, Outcome, Protocol, SaId, SaReport, SaSpec, Suite, TunnelId, WorkerCommand, WorkerEvent, WorkerId,
};
use ravelin_wire::Selector;
use std::net::SocketAddr;
use std::sync::Arc;
use zeroize::Zeroizing;

/// SAs whose selectors came and whose installation has not yet.
const MAX_PENDING: usize = 64;
/// Selectors of one SA: more than any peer negotiates.
const MAX_SELECTORS: usize = 1024;
/// Reports asked for at once.
const MAX_REPORTS: usize = 4;
/// Numbers that a window may span.
const MAX_WINDOW: u32 = 1 << 20;
/// The smallest MTU that IPv4 knows (RFC 791).
const MIN_MTU: u16 = 68;

impl SaDb {
    /// `None`: nothing to answer, or the answer comes after the reports.
    pub(crate) fn apply(&mut self, command: WorkerCommand) -> Option<WorkerEvent> {
        let (token, outcome) = match command {
            WorkerCommand::SaSelector { sa, selector } => {
                self.keep_selector(sa, selector);
                return None;
            }
            WorkerCommand::ReportSas { token } => {
                if self.reports.len() < MAX_REPORTS {
                    self.reports.push_back(Reports { token, direction: Direction::Inbound, next: 0 });
                    return None;
                }
                (token, Outcome::Refused)
            }
            WorkerCommand::InstallSa { token, spec } => (token, self.install(&spec)),
            WorkerCommand::UseOutbound { token, tunnel, sa, owner } => {
                (token, self.use_outbound(tunnel, sa, owner))
            }
            WorkerCommand::StopOutbound { token, tunnel } => (token, self.leave_by(tunnel, Outbound::None)),
            WorkerCommand::RemoveSa { token, sa } => (token, self.remove(sa)),
            WorkerCommand::PathMtu { token, sa, mtu } => (token, self.narrow(sa, mtu)),
            WorkerCommand::MoveSa { token, sa, local, remote } => (token, self.relocate(sa, local, remote)),
        };
        Some(WorkerEvent::Done { token, outcome })
    }

    fn keep_selector(&mut self, sa: SaId, selector: Selector) {
        if let Some((_, list)) = self.pending.iter_mut().find(|(id, _)| *id == sa) {
            if list.len() <= MAX_SELECTORS {
                list.push(selector);
            }
            return;
        }
        if self.pending.len() >= MAX_PENDING {
            self.pending.pop_front(); // its installation will be refused: the number of selectors is wrong
        }
        self.pending.push_back((sa, vec![selector]));
    }

    fn take_selectors(&mut self, spec: &SaSpec) -> Option<SaSelectors> {
        let at = self.pending.iter().position(|(id, _)| *id == spec.id)?;
        let (_, list) = self.pending.remove(at)?;
        if list.len() != usize::from(spec.selectors) || list.len() > MAX_SELECTORS {
            return None;
        }
        Some(SaSelectors::new(&list))
    }

    fn install(&mut self, spec: &SaSpec) -> Outcome {
        let selectors = self.take_selectors(spec);
        let (Some(selectors), Some((key, shared))) = (selectors, keys(spec)) else { return Outcome::Refused };
        let Some(around) = self.around(spec).filter(|_| lawful(spec)) else { return Outcome::Refused };
        if self.by_id.contains_key(&spec.id) {
            return Outcome::Refused;
        }
        let place = match spec.direction {
            Direction::Inbound => {
                let strange = self.owner(spec.spi.get()) != self.worker;
                if strange
                    || self.by_spi.get(spec.spi.get()).is_some()
                    || self.find_ah(spec.spi.get()).is_some()
                {
                    return Outcome::Refused;
                }
                if self.inbound.len() >= self.max_sas {
                    return Outcome::Full;
                }
                let sa = InboundSa::new(spec, selectors, shared);
                self.ruled += usize::from(sa.rules.any());
                self.bundles += usize::from(sa.partner.is_some());
                self.apart += usize::from(sa.is_apart());
                let place = self.inbound.insert(sa.hot(spec, key.suite()), key, sa);
                match spec.suite.protocol() {
                    Protocol::Esp => _ = self.by_spi.insert(spec.spi.get(), place),
                    Protocol::Ah => _ = self.by_ah_spi.insert(spec.spi.get(), place),
                }
                place
            }
            Direction::Outbound => {
                if self.outbound.len() >= self.max_sas {
                    return Outcome::Full;
                }
                let sa = OutboundSa::new(spec, key.suite(), selectors, shared, around);
                self.special += usize::from(sa.needs_more());
                self.outbound.insert(sa.hot(spec), key, sa)
            }
        };
        self.passive += usize::from(spec.extras.rules.passive);
        self.shared += usize::from(spec.extras.shared);
        self.by_id.insert(spec.id, (spec.direction, place));
        Outcome::Ok
    }

    fn use_outbound(&mut self, tunnel: TunnelId, sa: SaId, owner: WorkerId) -> Outcome {
        if owner != self.worker {
            let known = owner.0 < self.workers;
            return if known { self.leave_by(tunnel, Outbound::There(owner)) } else { Outcome::Refused };
        }
        let Some(&(Direction::Outbound, place)) = self.by_id.get(&sa) else { return Outcome::Refused };
        match self.outbound.both(place) {
            // AH of a bundle carries nothing by itself.
            Some((_, cold)) if cold.tunnel == tunnel && !cold.goes_around() => {
                self.leave_by(tunnel, Outbound::Here(place))
            }
            _ => Outcome::Refused,
        }
    }

    fn leave_by(&mut self, tunnel: TunnelId, outbound: Outbound) -> Outcome {
        let slot = match outbound {
            Outbound::None => self.tunnels.get_mut(tunnel),
            Outbound::Here(_) | Outbound::There(_) => self.tunnels.get_or_make(tunnel),
        };
        match slot {
            Some(slot) => {
                if let Outbound::Here(before) = std::mem::replace(&mut slot.outbound, outbound) {
                    self.outbound.renew(before);
                }
                Outcome::Ok
            }
            None if outbound == Outbound::None => Outcome::Ok,
            None => Outcome::Full,
        }
    }

    fn remove(&mut self, id: SaId) -> Outcome {
        match self.by_id.remove(&id) {
            Some((Direction::Inbound, place)) => {
                if let Some(hot) = self.inbound.hot(place) {
                    self.by_spi.remove(hot.spi);
                    self.by_ah_spi.remove(&hot.spi);
                }
                if let Some(sa) = self.inbound.remove(place) {
                    self.ruled -= usize::from(sa.rules.any());
                    self.bundles -= usize::from(sa.partner.is_some());
                    self.apart -= usize::from(sa.is_apart());
                    self.shared -= usize::from(sa.shared.is_some());
                    self.passive -= usize::from(sa.rules.passive);
                }
            }
            Some((Direction::Outbound, place)) => {
                if let Some(sa) = self.outbound.remove(place) {
                    self.special -= usize::from(sa.needs_more());
                    self.shared -= usize::from(sa.shared.is_some());
                    self.passive -= usize::from(sa.rules.passive);
                    if self.tunnels.in_use(sa.tunnel) == Some(place) {
                        self.leave_by(sa.tunnel, Outbound::None);
                    }
                }
            }
            None => {}
        }
        Outcome::Ok
    }

    /// What is known of the way counts for the next packet on.
    fn narrow(&mut self, id: SaId, mtu: u16) -> Outcome {
        let Some(&(Direction::Outbound, at)) = self.by_id.get(&id) else { return Outcome::Ok };
        if let Some((hot, sa)) = self.outbound.both(at) {
            sa.path_mtu = if mtu == 0 { u16::MAX } else { mtu.max(MIN_MTU) };
            hot.epoch = 0;
            self.outbound.renew(at);
        }
        Outcome::Ok
    }

    fn relocate(&mut self, id: SaId, local: SocketAddr, remote: SocketAddr) -> Outcome {
        if !lawful_ends(local, remote) {
            return Outcome::Refused;
        }
        match self.by_id.get(&id) {
            Some(&(Direction::Inbound, at)) => {
                let Some((hot, cold)) = self.inbound.both(at) else { return Outcome::Refused };
                (cold.local, cold.remote) = (local, remote);
                (hot.remote, hot.udp) = (place(remote), remote.port() != 0);
                self.inbound.renew(at); // its port decides where packets may go (`escape`)
            }
            Some(&(Direction::Outbound, at)) => {
                let Some((hot, cold)) = self.outbound.both(at) else { return Outcome::Refused };
                // Transport mode's packets are of the family of its ends.
                if cold.mode == Mode::Transport && remote.is_ipv4() != cold.remote.is_ipv4() {
                    return Outcome::Refused;
                }
                (cold.local, cold.remote) = (local, remote);
                // The header is made anew with the next packet.
                (hot.epoch, hot.v6) = (0, remote.is_ipv6());
                (hot.udp, hot.multipath) = (cold.ports().is_some(), cold.is_multipath());
                self.outbound.renew(at);
            }
            None => return Outcome::Refused,
        }
        Outcome::Ok
    }

    /// What the worker says next: reports under way after the events of the packets.
    pub(crate) fn next_event(&mut self, events: &mut Events, now: Now) -> Option<WorkerEvent> {
        if let Some(event) = events.pop() {
            return Some(event);
        }
        loop {
            let (direction, from) = self.reports.front().map(|r| (r.direction, r.next))?;
            let found = match direction {
                Direction::Inbound => self.inbound.next(from),
                Direction::Outbound => self.outbound.next(from),
            };
            let front = self.reports.front_mut()?;
            match (found, direction) {
                (Some(at), _) => {
                    front.next = at + 1;
                    return self.report(direction, at, now).map(|r| WorkerEvent::SaReport(Box::new(r)));
                }
                (None, Direction::Inbound) => (front.direction, front.next) = (Direction::Outbound, 0),
                (None, Direction::Outbound) => {
                    let token = self.reports.pop_front()?.token;
                    return Some(WorkerEvent::Done { token, outcome: Outcome::Ok });
                }
            }
        }
    }

    fn report(&self, direction: Direction, at: usize, now: Now) -> Option<SaReport> {
        let idle = |packets, last: u64| if packets == 0 { u64::MAX } else { now.ms.saturating_sub(last) };
        let place = u32::try_from(at).ok()?;
        Some(match direction {
            Direction::Inbound => {
                let (hot, sa) = (self.inbound.peek(place)?, self.inbound.cold.get(at)?.as_ref()?);
                SaReport {
                    id: sa.id,
                    tunnel: sa.tunnel,
                    direction,
                    spi: hot.spi.try_into().ok()?,
                    suite: sa.suite,
                    mode: sa.mode,
                    local: sa.local,
                    remote: sa.remote,
                    sequence: hot.window.top(),
                    packets: hot.packets,
                    bytes: hot.bytes,
                    replay_drops: sa.replay_drops,
                    icv_drops: sa.icv_drops,
                    selector_drops: sa.selector_drops,
                    idle_ms: idle(hot.packets, hot.last_ms),
                    in_use: false,
                    outside: sa.outside,
                    inside: sa.inside,
                    filtered: sa.filtered,
                }
            }
            Direction::Outbound => {
                let (hot, sa) = (self.outbound.peek(place)?, self.outbound.cold.get(at)?.as_ref()?);
                let packets = hot.sequence.saturating_sub(sa.first);
                SaReport {
                    id: sa.id,
                    tunnel: sa.tunnel,
                    direction,
                    spi: hot.spi.try_into().ok()?,
                    suite: sa.suite,
                    mode: sa.mode,
                    local: sa.local,
                    remote: sa.remote,
                    sequence: hot.sequence,
                    packets,
                    bytes: hot.bytes,
                    replay_drops: 0,
                    icv_drops: 0,
                    selector_drops: 0,
                    idle_ms: idle(packets, hot.last_ms),
                    in_use: self.tunnels.in_use(sa.tunnel) == Some(place),
                    outside: sa.outside,
                    inside: sa.inside,
                    filtered: false,
                }
            }
        })
    }
}

impl<H, C> super::Slab<H, C> {
    /// The first place in use from `from` on.
    fn next(&self, from: usize) -> Option<usize> {
        (from..self.cold.len()).find(|at| self.cold[*at].is_some())
    }
}

/// The SA's own key, and one for those who share its crypto: the same, IVs and all. `None`: key material of the wrong
/// length, or no chance to be had for the IVs.
fn keys(spec: &SaSpec) -> Option<(Key, Option<Arc<Key>>)> {
    let mut seed = Zeroizing::new([0; 16]);
    getrandom::fill(&mut *seed).ok()?;
    let key = || Key::new(algorithms(spec.suite), spec.keys.as_slice(), *seed).ok();
    let shared = if spec.extras.shared { Some(Arc::new(key()?)) } else { None };
    Some((key()?, shared))
}

/// AH has the keys of the suite with its HMAC and no cipher, or with its GMAC.
fn algorithms(suite: Suite) -> Algorithms {
    match suite {
        Suite::Aes128Gcm16 => Algorithms::Aes128Gcm16,
        Suite::Aes256Gcm16 => Algorithms::Aes256Gcm16,
        Suite::ChaCha20Poly1305 => Algorithms::ChaCha20Poly1305,
        Suite::Aes128CbcSha1 => Algorithms::Aes128CbcSha1,
        Suite::Aes256CbcSha1 => Algorithms::Aes256CbcSha1,
        Suite::Aes128CbcSha256 => Algorithms::Aes128CbcSha256,
        Suite::Aes256CbcSha256 => Algorithms::Aes256CbcSha256,
        Suite::Aes128Gmac => Algorithms::Aes128Gmac,
        Suite::Aes192Gmac => Algorithms::Aes192Gmac,
        Suite::Aes256Gmac => Algorithms::Aes256Gmac,
        Suite::Aes128CbcSha384 => Algorithms::Aes128CbcSha384,
        Suite::Aes256CbcSha384 => Algorithms::Aes256CbcSha384,
        Suite::Aes128CbcSha512 => Algorithms::Aes128CbcSha512,
        Suite::Aes256CbcSha512 => Algorithms::Aes256CbcSha512,
        Suite::Aes128CtrSha1 => Algorithms::Aes128CtrSha1,
        Suite::Aes192CtrSha1 => Algorithms::Aes192CtrSha1,
        Suite::Aes256CtrSha1 => Algorithms::Aes256CtrSha1,
        Suite::Aes128CtrSha256 => Algorithms::Aes128CtrSha256,
        Suite::Aes192CtrSha256 => Algorithms::Aes192CtrSha256,
        Suite::Aes256CtrSha256 => Algorithms::Aes256CtrSha256,
        Suite::Aes256CtrSha384 => Algorithms::Aes256CtrSha384,
        Suite::Aes256CtrSha512 => Algorithms::Aes256CtrSha512,
        Suite::AhSha1 => Algorithms::NullSha1,
        Suite::AhSha256 => Algorithms::NullSha256,
        Suite::AhSha384 => Algorithms::NullSha384,
        Suite::AhSha512 => Algorithms::NullSha512,
        Suite::AhGmac128 => Algorithms::Aes128Gmac,
        Suite::AhGmac192 => Algorithms::Aes192Gmac,
        Suite::AhGmac256 => Algorithms::Aes256Gmac,
    }
}

fn lawful(spec: &SaSpec) -> bool {
    let rules = spec.extras.rules;
    // Transport mode has no inner packet to speak of.
    let plain = !rules.any() && spec.extras.multipath == 0;
    if spec.mode == Mode::Transport && !plain || rules.passive && rules.check_headers {
        return false;
    }
    let (ah, transport) = (spec.suite.protocol() == Protocol::Ah, spec.mode == Mode::Transport);
    // Those have ways of their own through the stages.
    if spec.extras.shared && (ah || transport || rules.any()) {
        return false;
    }
    // Behind a payload without a length of its own nobody could tell padding from it (RFC 4303 §2.7).
    // Nor does a way of its own pad.
    if spec.tfc != 0 && (ah || transport || rules.any() || spec.direction == Direction::Inbound) {
        return false;
    }
    // Nor has a bundle; and its two SAs stay where they are.
    let bundle = spec.extras.partner.is_some();
    if bundle
        && (spec.extras.shared || spec.tfc != 0 || spec.extras.multipath != 0 || spec.remote.port() != 0)
    {
        return false;
    }
    // AH has no way through a NAT, nor through UDP (RFC 3715 §2.1).
    if ah && (spec.remote.port() != 0 || spec.extras.multipath != 0) {
        return false;
    }
    let direction = match spec.direction {
        Direction::Inbound => spec.replay_window <= MAX_WINDOW,
        Direction::Outbound => {
            let numbers = spec.esn || spec.extras.sequence <= u32::MAX.into();
            spec.tunnel_mtu >= MIN_MTU && numbers
        }
    };
    direction && spec.selectors > 0 && lawful_ends(spec.local, spec.remote)
}

/// Both of one family, and both ports or none.
fn lawful_ends(local: SocketAddr, remote: SocketAddr) -> bool {
    local.is_ipv4() == remote.is_ipv4() && (local.port() == 0) == (remote.port() == 0)
}
