//! Watches a packet on its dry way: keeps what it does to SAs from lasting, and notes what is decided about it.
//!
//! Decides: nothing. Reads: the packet between stages, policies and routes by the stages' own functions. Writes: SAs back
//! as they were. Never: has a packet sealed with an SA's own key.

use crate::outbound;
use crate::packet::Packet;
use crate::probe::{Point, Probe, View};
use crate::route::Hop;
use crate::sa::{InboundHot, InboundSa, Limits, OutboundHot, OutboundSa, SaDb};
use crate::spd::{Answer, Spd};
use crate::tables::Tables;
use crate::verdict::Verdict;
use core::fmt::Debug;
use ravelin_crypto::{Key, Suite};
use ravelin_ring::counters::Drop;
use ravelin_ring::inspect::{self, Class, Enclosed, Flow, Policy, Route, Sa, Size, Step};
use ravelin_ring::msg::{VrfId, WorkerId};
use std::net::IpAddr;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Dry {
    tables: Arc<Tables>,
    inbound: Vec<(u32, InboundHot, InboundSa)>,
    outbound: Vec<Lent>,
    /// Of the packet that is asked about: the first of its batch.
    step: Step,
}

/// An outbound SA while a key of nobody stands in its place.
#[derive(Debug)]
struct Lent {
    place: u32,
    hot: OutboundHot,
    limits: Limits,
    key: Box<Key>,
}

impl Dry {
    pub(super) fn new(tables: Arc<Tables>, worker: WorkerId) -> Self {
        let step = Step {
            worker: worker.0,
            vrf: None,
            class: Class::Refused,
            spi: None,
            opens: None,
            flow: None,
            translated: None,
            nat: vec![],
            came: None,
            goes: None,
            route: None,
            gre: None,
            protects: None,
            size: None,
            icmp: None,
            verdict: inspect::Verdict::Consumed,
        };
        Self { tables, inbound: vec![], outbound: vec![], step }
    }

    /// Puts the SAs back. What was found out.
    pub(super) fn finish(self, db: &mut SaDb) -> Step {
        for Lent { place, hot, limits, mut key } in self.outbound.into_iter().rev() {
            if let Some((now, cold)) = db.outbound.both(place) {
                (*now, cold.limits) = (hot, limits);
            }
            if let Some(slot) = db.outbound.key_mut(place) {
                core::mem::swap(slot, &mut *key);
            }
        }
        for (place, hot, cold) in self.inbound.into_iter().rev() {
            if let Some(both) = db.inbound.both(place) {
                (*both.0, *both.1) = (hot, cold);
            }
        }
        self.step
    }

    fn sorted(&mut self, view: &mut View<'_>) {
        let (esp, ah) = view.places;
        let Some(first) = view.batch.packets.first() else { return };
        self.step.class = match first.verdict {
            _ if esp.contains(&0) => Class::Esp,
            _ if ah.contains(&0) => Class::Ah,
            Verdict::Pending => Class::Clear,
            Verdict::Held | Verdict::Consumed => Class::Fragment,
            Verdict::Punt | Verdict::Deliver { .. } => Class::Kernel,
            Verdict::Drop(_) | Verdict::Forward { .. } | Verdict::HandOff { .. } => Class::Refused,
        };
        let spi = first.meta.spi;
        let place = match self.step.class {
            Class::Esp => view.db.find(spi),
            Class::Ah => view.db.find_ah(spi),
            Class::Clear | Class::Kernel | Class::Fragment | Class::Refused => return,
        };
        self.step.spi = Some(spi);
        let Some((place, (hot, cold))) = place.and_then(|at| Some((at, view.db.inbound.both(at)?))) else {
            return;
        };
        self.step.opens = Some(opens(hot, cold));
        let partner = cold.partner;
        self.inbound.push((place, hot.clone(), cold.clone()));
        // What is within AH is opened too.
        let inner = partner.and_then(|id| view.db.inbound_place(id));
        if let Some((place, (hot, cold))) = inner.and_then(|at| Some((at, view.db.inbound.both(at)?))) {
            self.inbound.push((place, hot.clone(), cold.clone()));
        }
    }

    fn clear(&mut self, packet: &Packet) {
        if let Some(sa) = &mut self.step.opens {
            sa.sequence = packet.meta.seq;
        }
        if packet.pending() {
            self.asked(packet);
        }
    }

    /// Its addresses, what the policies say of them, and where the routes lead.
    fn asked(&mut self, packet: &Packet) {
        let flow = flow(packet);
        match &self.step.flow {
            None => self.step.flow = Some(flow),
            Some(before) => self.step.translated = (flow != *before).then_some(flow),
        }
        let hop = self.tables.hop(self.tables.way_in_vrf(packet, packet.destination()));
        let (came, goes) = outbound::policy::ask(packet, &self.tables, None, hop);
        self.step.came = Some(policy(&self.tables, packet.meta.vrf, came));
        self.step.goes = Some(policy(&self.tables, packet.meta.vrf, goes));
        self.step.vrf = Some(packet.meta.vrf.0).filter(|vrf| *vrf != VrfId::MAIN.0);
        self.step.route = Some(self.route(hop, packet.destination()));
    }

    /// The packet of GRE around it begins anew (R241).
    fn enclosed(&mut self, packet: &Packet) {
        let hop = self.tables.hop(self.tables.way_in_vrf(packet, packet.destination()));
        let (_, goes) = outbound::policy::ask(packet, &self.tables, None, hop);
        let goes = policy(&self.tables, packet.meta.vrf, goes);
        let route = self.route(hop, packet.destination());
        self.step.gre = Some(Enclosed { flow: flow(packet), goes, route });
    }

    fn route(&self, hop: Hop, destination: IpAddr) -> Route {
        match hop {
            Hop::Port { port, gateway } => {
                let next_hop = gateway.unwrap_or(destination);
                let mac = self.tables.neighbours.get(port, next_hop).map(|mac| mac.to_string());
                Route::Port { port: port.0, next_hop, mac }
            }
            Hop::Local => Route::Local,
            Hop::Tunnel => Route::Tunnel,
            Hop::Interface(id) => Route::Interface { interface: id.0 },
            Hop::Kernel => Route::Kernel,
            Hop::Blackhole => Route::Blackhole,
            Hop::None => Route::None,
        }
    }

    fn decided(&mut self, view: &mut View<'_>) {
        for at in view.places.0 {
            let packet = view.batch.packets.get(usize::from(*at)).filter(|packet| packet.pending());
            if let Some(place) = packet.map(|packet| packet.meta.sa) {
                self.lend(place, view.db, *at == 0);
            }
        }
        if self.step.size.is_some() {
            return; // the second time is about an error of our own
        }
        let Some(first) = view.batch.packets.first() else { return };
        let meta = &first.meta;
        if first.pending() {
            self.step.size =
                Some(Size { length: meta.ip.total_len, limit: meta.limit, df: meta.ip.df, pieces: 1 });
        }
    }

    /// The SA as it is, kept; a key of nobody in the place of its own.
    fn lend(&mut self, place: u32, db: &mut SaDb, first: bool) {
        let Some((hot, cold)) = db.outbound.both(place) else { return };
        let known = self.outbound.iter().any(|lent| lent.place == place);
        let around = cold.partner.filter(|_| !cold.goes_around());
        let (hot, limits) = (hot.clone(), cold.limits.clone());
        if first && self.step.protects.is_none() {
            let (local, remote) = (cold.local.ip(), cold.remote.ip());
            self.step.protects = Some(protects(&hot, cold));
            let route = self.route(self.tables.way_outside(cold.outside, local, remote), remote);
            match &mut self.step.gre {
                Some(outer) => outer.route = route,
                None => self.step.route = Some(route),
            }
        }
        let Some(slot) = db.outbound.key_mut(place) else { return };
        if known {
            return;
        }
        let Some(mut key) = nobodys(slot.suite()) else { return };
        core::mem::swap(slot, &mut *key);
        self.outbound.push(Lent { place, hot, limits, key });
        if let Some(place) = around.and_then(|id| db.outbound_place(id)) {
            self.lend(place, db, false);
        }
    }

    fn done(&mut self, view: &View<'_>) {
        let Some((first, others)) = view.batch.packets.split_first() else { return };
        self.step.verdict = verdict(first.verdict);
        self.step.icmp = others.iter().find(|p| p.is_error()).map(|p| verdict(p.verdict));
        let goes_on = |p: &&Packet| !p.is_error() && p.verdict.goes_on();
        if let Some(size) = &mut self.step.size {
            let pieces = view.batch.packets.iter().filter(goes_on).count();
            size.pieces = u16::try_from(pieces).unwrap_or(u16::MAX);
        }
        let unrouted =
            [Drop::PlainOnProtected, Drop::PolicyDiscard, Drop::SelectorMismatch, Drop::NoOutboundSa];
        if unrouted.iter().any(|why| first.verdict == Verdict::Drop(*why)) {
            self.step.route = None;
        }
    }
}

impl Probe for Dry {
    fn look(&mut self, point: Point, mut view: View<'_>) {
        let at_first = view.batch.packets.first();
        match point {
            Point::Sorted => self.sorted(&mut view),
            Point::Clear => at_first.into_iter().for_each(|packet| self.clear(packet)),
            Point::Decided => {
                if let Some(packet) = at_first.filter(|p| p.is_enclosing()) {
                    self.enclosed(packet);
                }
                // Once more: what NAT made of it. What waits has left its frame.
                if let Some(packet) = at_first.filter(|p| p.pending() && self.step.size.is_none()) {
                    self.asked(packet);
                }
                self.decided(&mut view);
            }
            Point::Done => self.done(&view),
            Point::Received | Point::Seal => {}
        }
    }
}

/// Protects nothing that anybody sees.
fn nobodys(suite: Suite) -> Option<Box<Key>> {
    let (mut material, mut seed) = ([0; 128], [0; 16]);
    let material = material.get_mut(..suite.keymat_len())?;
    getrandom::fill(material).ok()?;
    getrandom::fill(&mut seed).ok()?;
    Key::new(suite, material, seed).ok().map(Box::new)
}

fn flow(packet: &Packet) -> Flow {
    let ip = &packet.meta.ip;
    Flow {
        source: packet.source(),
        destination: packet.destination(),
        protocol: ip.protocol,
        ports: (!ip.portless).then_some(ip.ports),
    }
}

fn opens(hot: &InboundHot, sa: &InboundSa) -> Sa {
    Sa {
        id: sa.id.0,
        tunnel: sa.tunnel.0,
        spi: hot.spi,
        suite: word(&sa.suite),
        mode: word(&sa.mode),
        local: sa.local.to_string(),
        remote: sa.remote.to_string(),
        sequence: 0,
    }
}

fn protects(hot: &OutboundHot, sa: &OutboundSa) -> Sa {
    Sa {
        id: sa.id.0,
        tunnel: sa.tunnel.0,
        spi: hot.spi,
        suite: word(&sa.suite),
        mode: word(&sa.mode),
        local: sa.local.to_string(),
        remote: sa.remote.to_string(),
        sequence: hot.sequence.saturating_add(1),
    }
}

/// As `show sas` writes it.
fn word(of: &impl Debug) -> String {
    format!("{of:?}").to_lowercase()
}

fn policy(tables: &Tables, vrf: VrfId, (answer, place): (Answer, u64)) -> Policy {
    let nothing = Spd::default();
    let (spd, from) = tables.spd_of(vrf).unwrap_or((&nothing, 0));
    let tunnel = match answer {
        Answer::Protect(place) => spd.tunnels().get(place.saturating_sub(from) as usize).map(|(id, _)| id.0),
        Answer::Bypass | Answer::Discard | Answer::Unknown => None,
    };
    let action = match answer {
        Answer::Protect(_) => inspect::Action::Protect,
        Answer::Bypass => inspect::Action::Bypass,
        Answer::Discard => inspect::Action::Discard,
        Answer::Unknown => inspect::Action::Unknown,
    };
    let origin = spd.origin(place).filter(|_| answer != Answer::Unknown);
    let line = origin.map(|(_, line)| line).filter(|&line| line > 0);
    Policy { action, order: origin.map(|(order, _)| order), line, tunnel }
}

fn verdict(of: Verdict) -> inspect::Verdict {
    match of {
        Verdict::Forward { port } => inspect::Verdict::Forward { port: port.0 },
        Verdict::Punt => inspect::Verdict::Punt,
        Verdict::Deliver { interface } => inspect::Verdict::Deliver { interface: interface.0 },
        Verdict::HandOff { worker } => inspect::Verdict::HandOff { worker: worker.0 },
        Verdict::Drop(why) => inspect::Verdict::Drop { reason: why.name().to_owned() },
        Verdict::Held => inspect::Verdict::Held,
        Verdict::Consumed | Verdict::Pending => inspect::Verdict::Consumed,
    }
}
