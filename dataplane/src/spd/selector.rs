//! The selectors of one SA (RFC 4301 §5.2 step 4): what its packets must match, before encryption and after decryption.

use super::family::Family;
use super::table::{Match, Ranges, ports_match};
use super::{Asked, Query};
use ravelin_wire::{PortRange, Selector};
use std::net::IpAddr;

/// Of both families: one SA may carry both.
#[derive(Clone, Debug, Default)]
pub(crate) struct SaSelectors {
    v4: Box<[One<u32>]>,
    v6: Box<[One<u128>]>,
}

#[derive(Clone, Debug)]
struct One<A> {
    ranges: Ranges<A>,
    protocol: Option<u8>,
    local_ports: PortRange,
    remote_ports: PortRange,
}

/// What an SA's selectors say of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fit {
    Inside,
    Outside,
    /// The ports are hidden, and they would decide.
    Unknown,
}

impl SaSelectors {
    pub(crate) fn new(list: &[Selector]) -> Self {
        Self {
            v4: list.iter().filter_map(One::new).collect(),
            v6: list.iter().filter_map(One::new).collect(),
        }
    }

    /// Prefixes around `to` that are shorter than this hold more than each near side does in which `to` lies. In bits.
    /// `None`: it lies in none, since it was translated.
    pub(crate) fn wide(&self, to: IpAddr) -> Option<u8> {
        match to {
            IpAddr::V4(a) => wide(&self.v4, a.to_bits(), 32),
            IpAddr::V6(a) => wide(&self.v6, a.to_bits(), 128),
        }
    }

    #[inline]
    pub(crate) fn fit(&self, query: &Query) -> Fit {
        match query {
            Query::V4(asked) => fit(&self.v4, asked),
            Query::V6(asked) => fit(&self.v6, asked),
        }
    }
}

impl<A: Family> One<A> {
    /// `None`: of the other family.
    fn new(selector: &Selector) -> Option<Self> {
        Some(Self {
            ranges: Ranges::of(selector)?,
            protocol: selector.protocol,
            local_ports: selector.local_ports,
            remote_ports: selector.remote_ports,
        })
    }
}

fn wide<A: Family>(list: &[One<A>], to: A, bits: u8) -> Option<u8> {
    let holds = |len: u8, (start, end)| {
        let (first, last) = (to & A::mask(len), to.last(len));
        first <= start && end <= last && (first, last) != (start, end)
    };
    let near = list.iter().filter_map(|one| one.ranges.near(to));
    // Of the lengths the short ones hold it.
    near.map(|near| (0..bits).find(|len| !holds(*len, near)).unwrap_or(bits)).min()
}

#[inline]
fn fit<A: Family>(list: &[One<A>], asked: &Asked<A>) -> Fit {
    let mut fit = Fit::Outside;
    for s in list {
        if !s.ranges.hold(asked) || s.protocol.is_some_and(|p| p != asked.protocol) {
            continue;
        }
        match ports_match(s.local_ports, s.remote_ports, asked.ports) {
            Match::Yes => return Fit::Inside,
            Match::Maybe => fit = Fit::Unknown,
            Match::No => {}
        }
    }
    fit
}
