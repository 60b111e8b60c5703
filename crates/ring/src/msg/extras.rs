//! What an SA does besides what IKE negotiates.

use super::{SaId, VrfId};

/// What an SA does beyond the plain way.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Extras {
    /// Last number that was used under these keys before; 0 for new ones. Outbound only.
    pub sequence: u64,
    /// Where the SA is not in UDP anyway, its packets go to this UDP port of the peer, from a port that each inner flow has
    /// for itself; 0: plain ESP. Outbound, ESP in tunnel mode only.
    pub multipath: u16,
    /// The crypto of its packets is shared by all workers while its own is loaded. ESP in tunnel mode without rules only.
    pub shared: bool,
    pub rules: Rules,
    /// The other half of a bundle (RFC 4301 §4.3 of 1998's form): an SA of ESP names the one of AH that goes around it, which
    /// is installed before it, has the same ends and names it in turn. Neither carries anything by itself.
    pub partner: Option<SaId>,
    /// Where its outer addresses belong: its packets come and go by ports of this VRF alone.
    pub outside: VrfId,
    /// Where what goes through its tunnel belongs: nothing comes out while the tables say another VRF of the tunnel.
    pub inside: VrfId,
    /// What comes out of its tunnel has to pass a filter of the tables; while there is none, nothing does. Inbound only.
    pub filtered: bool,
}

/// How packets travel by an SA in tunnel mode.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Rules {
    /// Packets go as they are, lawful or not, of any size: this tunnel is no hop of theirs.
    pub passive: bool,
    /// The TTL is not counted down.
    pub keep_ttl: bool,
    /// Inner headers with anomalies are dropped.
    pub check_headers: bool,
    /// What is too large is fragmented after its encryption (RFC 4303 §3.3.4), not before.
    pub fragment_after: bool,
}

impl Rules {
    pub const fn to_bits(self) -> u8 {
        self.passive as u8
            | (self.keep_ttl as u8) << 1
            | (self.check_headers as u8) << 2
            | (self.fragment_after as u8) << 3
    }

    /// `None`: a rule that nobody knows.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        if bits >> 4 != 0 {
            return None;
        }
        Some(Self {
            passive: bits & 1 != 0,
            keep_ttl: bits & 2 != 0,
            check_headers: bits & 4 != 0,
            fragment_after: bits & 8 != 0,
        })
    }

    pub const fn any(self) -> bool {
        self.to_bits() != 0
    }
}
