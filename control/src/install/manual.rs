//! SAs of tunnels with keys by hand: installed once, kept until the configuration says otherwise, never renewed (R114).
//!
//! Decides: their ids, which are made of all that they are, so that what a later control process finds is known for the same or not. Reads:
//! tunnels, the workers' answers. Writes: commands for the workers: AH of a bundle first, the way out last. Never: gives an
//! SA that is there another beginning of its numbers; takes one out that is wanted.

use super::half::{half_of, mode_of, suite_of};
use super::{Installer, Waiting};
use crate::config::{ManualSa, Tunnel};
use getrandom::SysRng;
use rand_core::{Rng, UnwrapErr};
use ravelin_ring::msg::{
    Direction, Extras, KeyMaterial, Outcome, Protocol, Rules, SaId, SaSpec, TunnelId, VrfId, WorkerCommand,
    WorkerId,
};
use ravelin_wire::Selector;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Instant;
use tracing::{info, warn};

/// What ids of manual SAs are hashed with: ids are shown, and must not tell whether a guess at a key is right.
pub struct IdSalt([u8; 32]);

impl IdSalt {
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// That no other process will have.
    pub fn random() -> Self {
        let mut bytes = [0; 32];
        UnwrapErr(SysRng).fill_bytes(&mut bytes);
        Self(bytes)
    }
}

impl std::fmt::Debug for IdSalt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IdSalt").finish_non_exhaustive()
    }
}

/// All SAs of one tunnel, in the order in which they are installed.
#[derive(Debug)]
pub struct ManualSas {
    tunnel: TunnelId,
    name: String,
    specs: Vec<SaSpec>,
    selectors: Vec<Selector>,
    /// By which the tunnel sends.
    sender: SaId,
}

/// No larger than the tunnels of the configuration.
#[derive(Debug, Default)]
pub(super) struct Manual {
    /// What was wanted last, or what is there, may have changed.
    due: bool,
    ids: BTreeSet<SaId>,
    /// Of them AH around ESP: its packets are counted there.
    outer: BTreeSet<SaId>,
    /// Those that workers have not answered for.
    open: BTreeSet<SaId>,
    senders: BTreeMap<TunnelId, SaId>,
    /// Workers did not take them; tried again when somebody asks.
    refused: BTreeSet<SaId>,
    stopped: bool,
}

impl Manual {
    pub(super) fn has(&self, id: SaId) -> bool {
        self.ids.contains(&id)
    }

    pub(super) fn goes_around(&self, id: SaId) -> bool {
        self.outer.contains(&id)
    }

    /// The SA is gone.
    pub(super) fn forget(&mut self, id: SaId) {
        self.due |= self.ids.remove(&id);
        self.outer.remove(&id);
        self.open.remove(&id);
    }
}

impl ManualSas {
    /// `None`: it has no manual SAs, or their keys are not known. `vrfs`: where its gateways are, and what goes through.
    pub fn of(tunnel: &Tunnel, vrfs: (VrfId, VrfId), salt: &IdSalt) -> Option<Self> {
        let manual = tunnel.manual.as_ref()?;
        let mut specs = Vec::new();
        for direction in [Direction::Inbound, Direction::Outbound] {
            let mut around = None;
            for sa in manual.sas() {
                let mut spec = spec(tunnel, sa, direction, (manual.is_bundle(), vrfs))?;
                spec.id = id_of(&spec, tunnel, manual.is_bundle(), salt);
                spec.extras.partner = around;
                around = Some(spec.id);
                specs.push(spec);
            }
            // Each names the other.
            if let [.., outer, inner] = specs.as_mut_slice()
                && manual.is_bundle()
            {
                outer.extras.partner = Some(inner.id);
            }
        }
        Some(Self {
            tunnel: tunnel.id,
            name: tunnel.name.clone(),
            sender: specs.last()?.id,
            selectors: tunnel.selectors.iter().map(|s| s.selector).collect(),
            specs,
        })
    }
}

fn spec(
    tunnel: &Tunnel,
    sa: &ManualSa,
    direction: Direction,
    (bundle, (outside, inside)): (bool, (VrfId, VrfId)),
) -> Option<SaSpec> {
    let [key_in, key_out] = sa.keys.as_ref()?;
    let (spi, key) = match direction {
        Direction::Inbound => (sa.spi_in, key_in),
        Direction::Outbound => (sa.spi_out, key_out),
    };
    // AH goes into the header that ESP has made.
    let mode = if bundle && sa.proposal.is_ah() { ravelin_ike::config::Mode::Transport } else { tunnel.mode };
    let outer = bundle && sa.proposal.is_ah();
    let travel = tunnel.travel;
    Some(SaSpec {
        id: SaId(0), // made of the rest
        tunnel: tunnel.id,
        direction,
        spi,
        suite: suite_of(&sa.proposal)?,
        keys: KeyMaterial::new(key.expose())?,
        esn: false,
        local: SocketAddr::new(tunnel.local, 0),
        remote: SocketAddr::new(tunnel.remote?, 0),
        mode: mode_of(mode),
        // RFC 4302 §2.5, RFC 4303 §2.2: with static keys the receiver cannot tell a sender that begins anew from a replay.
        replay_window: 0,
        tunnel_mtu: tunnel.tunnel_mtu,
        outer_df: tunnel.df,
        tfc: 0,
        extras: Extras {
            multipath: if sa.proposal.is_ah() { 0 } else { travel.multipath },
            rules: if outer { Rules::default() } else { travel.rules },
            outside,
            inside,
            filtered: direction == Direction::Inbound && !tunnel.filter.is_empty(),
            ..Extras::default()
        },
        soft_bytes: 0,
        hard_bytes: 0,
        soft_packets: 0,
        hard_packets: 0,
        selectors: u16::try_from(tunnel.selectors.len()).ok().filter(|n| *n > 0)?,
    })
}

/// The same for the same SA of the same tunnel, whichever process makes it that has the salt.
fn id_of(spec: &SaSpec, tunnel: &Tunnel, bundle: bool, salt: &IdSalt) -> SaId {
    let mut hash = Sha256::new();
    hash.update(b"ravelin manual SA");
    hash.update(salt.0);
    let SaSpec { direction, spi, suite, keys, local, remote, mode, tunnel_mtu, outer_df, extras, .. } = spec;
    let shape = format!(
        "{:?} {direction:?} {spi:?} {suite:?} {local} {remote} {mode:?} {tunnel_mtu} {outer_df:?} {:?} {bundle} {:?}",
        spec.tunnel,
        (extras.rules, extras.multipath, extras.outside, extras.inside),
        tunnel.selectors.iter().map(|s| s.selector).collect::<Vec<_>>(),
    );
    hash.update(shape.as_bytes());
    hash.update(keys.as_slice());
    let digest = hash.finalize();
    SaId(digest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes)))
}

impl Installer {
    /// Something about manual SAs may have changed.
    pub fn manual_due(&mut self, again: bool) {
        self.manual.due = true;
        if again {
            self.manual.refused.clear();
        }
    }

    pub fn take_manual_due(&mut self) -> bool {
        std::mem::take(&mut self.manual.due) && !self.manual.stopped
    }

    /// Brings what is installed to what is wanted.
    pub fn follow_manual(&mut self, now: Instant, wanted: Vec<ManualSas>) {
        let ids: BTreeSet<SaId> = wanted.iter().flat_map(|w| w.specs.iter().map(|s| s.id)).collect();
        let tunnels: BTreeSet<TunnelId> = wanted.iter().map(|w| w.tunnel).collect();
        self.drop_adopted(|half| tunnels.contains(&half.tunnel) && !ids.contains(&half.id));
        let gone: Vec<SaId> = self.manual.ids.difference(&ids).copied().collect();
        gone.into_iter().for_each(|id| self.drop_manual(id));
        for sas in wanted {
            self.follow_one(now, sas);
        }
    }

    fn follow_one(&mut self, now: Instant, sas: ManualSas) {
        let half = |id: SaId| self.halves.get(&id);
        // What goes still comes back once it is gone: `forget` asks for that.
        if sas
            .specs
            .iter()
            .any(|s| half(s.id).is_some_and(|h| h.leaving) || self.manual.refused.contains(&s.id))
        {
            return;
        }
        let there = sas.specs.iter().filter(|s| half(s.id).is_some()).count();
        let is_outer = |s: &&SaSpec| s.extras.partner.is_some() && s.suite.protocol() == Protocol::Ah;
        let outer = sas.specs.iter().filter(is_outer);
        self.manual.outer.extend(outer.map(|s| s.id));
        self.manual.senders.insert(sas.tunnel, sas.sender);
        if there == sas.specs.len() {
            // Of the control process before this one, and the very same.
            for spec in &sas.specs {
                self.adopted.remove(&(sas.tunnel, spec.id));
                self.manual.ids.insert(spec.id);
            }
            if self.in_use.get(&sas.tunnel) != Some(&sas.sender) && !self.is_open(&sas) {
                self.send_by_manual(sas.tunnel, sas.sender);
            }
        } else if there > 0 {
            let ids: Vec<SaId> = sas.specs.iter().map(|s| s.id).filter(|id| half(*id).is_some()).collect();
            for id in ids {
                self.manual.ids.insert(id);
                self.adopted.remove(&(sas.tunnel, id));
                self.drop_manual(id);
            }
        } else {
            self.install_manual(now, sas);
        }
    }

    fn is_open(&self, sas: &ManualSas) -> bool {
        sas.specs.iter().any(|s| self.manual.open.contains(&s.id))
    }

    fn install_manual(&mut self, now: Instant, sas: ManualSas) {
        info!(tunnel = sas.name, sas = sas.specs.len(), "SAs with keys by hand are installed");
        let inbound = sas.specs.iter().filter(|s| s.direction == Direction::Inbound);
        let Some(owner) = inbound.map(|s| self.spis.owner(s.spi)).next_back() else { return };
        for spec in sas.specs {
            if spec.direction == Direction::Inbound {
                self.spis.take(spec.spi);
            }
            let mut half = half_of(now, ravelin_ike::event::ChildSaId(0), owner, &spec);
            half.pair = None;
            self.halves.insert(spec.id, half);
            self.manual.ids.insert(spec.id);
            self.manual.open.insert(spec.id);
            for selector in &sas.selectors {
                self.push(owner, WorkerCommand::SaSelector { sa: spec.id, selector: *selector });
            }
            let token = self.token(Waiting::Manual(spec.id));
            self.push(owner, WorkerCommand::InstallSa { token, spec: Box::new(spec) });
        }
    }

    /// A worker's answer about one of them.
    pub(super) fn manual_done(&mut self, id: SaId, outcome: Outcome) {
        self.manual.open.remove(&id);
        let Some(tunnel) = self.halves.get(&id).map(|h| h.tunnel) else { return };
        let mine: Vec<SaId> = self.of_manual(tunnel).collect();
        if outcome != Outcome::Ok {
            let spi = self.halves.get(&id).map(|h| h.spi);
            warn!(?outcome, tunnel = tunnel.0, ?spi, "the data plane did not take an SA with keys by hand");
            self.manual.refused.extend(&mine);
            return mine.into_iter().for_each(|id| self.drop_manual(id));
        }
        let sender = self.manual.senders.get(&tunnel).copied();
        if let Some(sender) = sender.filter(|_| !mine.iter().any(|id| self.manual.open.contains(id))) {
            self.send_by_manual(tunnel, sender);
        }
    }

    fn of_manual(&self, tunnel: TunnelId) -> impl Iterator<Item = SaId> {
        let of_tunnel =
            move |id: &&SaId| self.halves.get(id).is_some_and(|h| h.tunnel == tunnel && !h.leaving);
        self.manual.ids.iter().filter(of_tunnel).copied()
    }

    fn send_by_manual(&mut self, tunnel: TunnelId, sender: SaId) {
        let Some(owner) = self.halves.get(&sender).filter(|h| !h.leaving).map(|h| h.worker) else { return };
        self.in_use.insert(tunnel, sender);
        for worker in (0..self.workers).map(WorkerId) {
            self.send_by(worker, tunnel, sender, owner);
        }
    }

    fn drop_manual(&mut self, id: SaId) {
        let Some(tunnel) = self.halves.get(&id).map(|h| h.tunnel) else { return };
        self.stop_if_used(tunnel, id);
        self.doom(id);
    }

    /// For ever: the process ends.
    pub(super) fn remove_manual(&mut self) {
        self.manual.stopped = true;
        self.manual.ids.clone().into_iter().for_each(|id| self.drop_manual(id));
    }
}
