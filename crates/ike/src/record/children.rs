//! The child SA pairs of a record. Their keys are the data plane's alone.
//!
//! Decides: which pairs can be continued; the inbound SPIs of the others, which the peer is to be told of.

use super::bytes::{inbound_of, ip_of, spi_of, write_inbound};
use super::{Clock, Out, flag};
use crate::child_sa::{ChildPair, PairState, Place, Then};
use crate::config::{Child, Connection};
use crate::error::Malformed;
use crate::event::ChildSaId;
use crate::ike_sa::Established;
use crate::payload::Reader;
use crate::task::Task;
use crate::task::delete::{Delete, Inbound};
use ravelin_wire::{AddrRange, PortRange, Selector};
use sha2::{Digest, Sha256};

pub(super) fn write(e: &Established, connection: &Connection, clock: &Clock, out: &mut Out) -> Option<()> {
    let ready = || e.children.iter().filter(|p| !matches!(p.state, PairState::Installing(_)));
    out.u16(u16::try_from(ready().count()).ok()?);
    for pair in ready() {
        let child = connection.children.iter().find(|c| c.id == pair.child)?;
        let rekeying = e.has_task(|t| matches!(t, Task::ChildRekey(r) if r.old == pair.id));
        out.u32(pair.child.0);
        out.raw(&fingerprint(child));
        out.u32(pair.inbound.get());
        out.u32(pair.outbound.get());
        out.u8(u8::from(pair.proposal.is_ah()));
        let proposal = child.proposals.iter().position(|p| *p == pair.proposal)?;
        out.u8(u8::try_from(proposal).ok()?);
        out.u16(pair.place.resource);
        let grouped = pair.place.grouped;
        for bit in [grouped, pair.state == PairState::Deleting, pair.replaced, pair.awaits_proof] {
            out.u8(u8::from(bit));
        }
        out.time(clock, pair.created);
        // A rekey that waits is to be begun anew.
        out.time(clock, if rekeying { pair.created } else { pair.rekey_at });
        out.time(clock, pair.expires_at);
        super::write_path(&pair.path, out);
        out.u16(u16::try_from(pair.selectors.len()).ok()?);
        pair.selectors.iter().for_each(|s| write_selector(s, out));
    }
    let orphans = orphans(e);
    out.u16(u16::try_from(orphans.len()).ok()?);
    orphans.into_iter().for_each(|spi| write_inbound(spi, out));
    Some(())
}

/// What the peer has and the next process will not: pairs that the data plane was just given (the answer to the
/// peer's own request has not left then, so that one does not count), and Deletes that wait.
fn orphans(e: &Established) -> Vec<Inbound> {
    let installing = |p: &&ChildPair| {
        matches!(p.state, PairState::Installing(Then::Use | Then::Replace(_) | Then::Discard))
    };
    let known = |i: &Inbound| e.children.iter().any(|p| p.inbound == i.spi && p.state == PairState::Deleting);
    let deletes = e.queue.iter().filter_map(|w| {
        let Task::Delete(Delete::Child(inbound)) = &w.task else { return None };
        (!known(inbound)).then_some(*inbound)
    });
    e.children.iter().filter(installing).map(Inbound::from).chain(deletes).collect()
}

pub(super) fn read(
    r: &mut Reader<'_>,
    connection: &Connection,
    clock: &Clock,
    fresh: &mut impl FnMut() -> u64,
) -> Result<(Vec<ChildPair>, Vec<Inbound>), Malformed> {
    let (mut pairs, mut orphans) = (Vec::new(), Vec::new());
    for _ in 0..r.u16()? {
        match pair(r, connection, clock, ChildSaId(fresh()))? {
            (_, Some(pair)) => pairs.push(pair),
            (inbound, None) => orphans.push(inbound),
        }
    }
    for _ in 0..r.u16()? {
        orphans.push(inbound_of(r)?);
    }
    Ok((pairs, orphans))
}

/// No pair when the configuration changed so that it is not wanted any more.
fn pair(
    r: &mut Reader<'_>,
    connection: &Connection,
    clock: &Clock,
    id: ChildSaId,
) -> Result<(Inbound, Option<ChildPair>), Malformed> {
    let (child, print) = (r.u32()?, r.array::<32>()?);
    let child = connection.children.iter().find(|c| c.id.0 == child && fingerprint(c) == print);
    let (inbound, outbound, ah) = (spi_of(r)?, spi_of(r)?, flag(r)?);
    let proposal = usize::from(r.u8()?);
    let place = Place { resource: r.u16()?, grouped: flag(r)? };
    let (deleting, replaced, awaits_proof) = (flag(r)?, flag(r)?, flag(r)?);
    let (created, rekey_at, expires_at) = (clock.read(r)?, clock.read(r)?, clock.read(r)?);
    let path = super::read_path(r)?;
    let mut selectors = Vec::new();
    for _ in 0..r.u16()? {
        selectors.push(selector(r)?);
    }
    let Some(child) = child else { return Ok((Inbound { spi: inbound, ah }, None)) };
    let proposal = *child.proposals.get(proposal).ok_or(Malformed::Value("record"))?;
    let state = if deleting { PairState::Deleting } else { PairState::Installed };
    let pair = ChildPair {
        id,
        child: child.id,
        place,
        inbound,
        outbound,
        mode: child.mode,
        proposal,
        selectors,
        state,
        replaced,
        awaits_proof,
        // The process before this one was gone for as long.
        proof_by: (awaits_proof && place.resource > 0).then_some(created),
        created,
        rekey_at,
        expires_at,
        path,
    };
    Ok(((&pair).into(), Some(pair)))
}

fn fingerprint(child: &Child) -> [u8; 32] {
    Sha256::digest(format!("{:?}", (child.mode, &child.selectors, &child.proposals))).into()
}

fn write_selector(s: &Selector, out: &mut Out) {
    for range in [s.local, s.remote] {
        out.ip(range.start());
        out.ip(range.end());
    }
    out.u8(u8::from(s.protocol.is_some()));
    out.u8(s.protocol.unwrap_or(0));
    for ports in [s.local_ports, s.remote_ports] {
        out.u16(ports.start());
        out.u16(ports.end());
    }
}

fn selector(r: &mut Reader<'_>) -> Result<Selector, Malformed> {
    let bad = |_| Malformed::Value("selector in a record");
    let (local, remote) = ((ip_of(r)?, ip_of(r)?), (ip_of(r)?, ip_of(r)?));
    let (some, protocol) = (flag(r)?, r.u8()?);
    let ports = [(r.u16()?, r.u16()?), (r.u16()?, r.u16()?)];
    Ok(Selector {
        local: AddrRange::new(local.0, local.1).map_err(bad)?,
        remote: AddrRange::new(remote.0, remote.1).map_err(bad)?,
        protocol: some.then_some(protocol),
        local_ports: PortRange::new(ports[0].0, ports[0].1).map_err(bad)?,
        remote_ports: PortRange::new(ports[1].0, ports[1].1).map_err(bad)?,
    })
}
