//! Whether the addresses of an IPv4 header are ones that a packet may have.
//!
//! Decides: that, by the door it came by. Reads: source and destination. Writes: nothing. Never: asks routes or policies.

use super::common::Head;
use crate::packet::{Door, Ip};
use ravelin_ring::counters::Drop;

/// Sources nobody can answer and destinations nobody can be reached by (RFC 1812 §5.3.7, RFC 6890).
#[inline]
pub(crate) fn lawful(ip: &Ip, door: Door) -> Result<(), Drop> {
    if ordinary(ip) && door != Door::Tun { Ok(()) } else { unusual(ip, door) }
}

/// Both from 1.0.0.0 on and below 224.0.0.0, without 127/8: most packets need no more than that.
#[inline]
fn ordinary(ip: &Ip) -> bool {
    let first = |addr: u32| ORDINARY[usize::from(addr.to_be_bytes()[0])];
    first(ip.src) & first(ip.dst)
}

/// [`lawful`] for most packets that came by a port or out of an SA; the others are to be asked about.
#[inline(always)]
pub(crate) fn plainly(head: &Head) -> bool {
    let (src, dst) = head.nets();
    ORDINARY[usize::from(src)] & ORDINARY[usize::from(dst)]
}

/// By the first byte of an address.
static ORDINARY: [bool; 256] = {
    let mut ordinary = [false; 256];
    let mut first = 1;
    while first < 224 {
        ordinary[first] = first != 127;
        first += 1;
    }
    ordinary
};

#[inline(never)]
fn unusual(ip: &Ip, door: Door) -> Result<(), Drop> {
    let never = |addr: u32| matches!(addr >> 24, 0 | 127);
    if never(ip.src) || never(ip.dst) || ip.src >> 28 >= 0xe {
        return Err(Drop::BadAddress);
    }
    if ip.dst >> 28 >= 0xe {
        let multicast = ip.dst >> 28 == 0xe || ip.dst == u32::MAX;
        if multicast && matches!(door, Door::Device(_)) {
            return Ok(()); // its tunnel is a link, over which routers speak with each other
        }
        return Err(if multicast { Drop::MulticastPolicyMode } else { Drop::BadAddress });
    }
    // A packet of the host's own may come from any address of the host, but not claim to be to itself.
    if door == Door::Tun && ip.src == ip.dst { Err(Drop::BadAddress) } else { Ok(()) }
}
