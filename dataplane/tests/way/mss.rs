//! The MSS of TCP through tunnels: lowered in SYNs of both directions, both families; everything else as it was.

use crate::rig::*;
use ravelin_dataplane::Origin;
use ravelin_ring::msg::*;
use ravelin_wire::checksum::Sum;
use ravelin_wire::ipv4::{Ipv4, Ipv4Header};
use ravelin_wire::ipv6::Ipv6;

const SYN: u8 = 2;
const ACK: u8 = 16;

fn segment(flags: u8, mss: u16) -> Vec<u8> {
    let [a, b] = mss.to_be_bytes();
    let mut bytes = vec![0x0f, 0xa0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x70, flags, 0xff, 0xff, 0, 0, 0, 0];
    bytes.extend([1, 1, 2, 4, a, b, 1, 0]);
    bytes
}

fn four(to_b: bool, flags: u8, mss: u16) -> Vec<u8> {
    let (src, dst) = if to_b { (HOST_A, HOST_B) } else { (HOST_B, HOST_A) };
    let mut tcp = segment(flags, mss);
    let sum = Sum::new().pseudo_v4(src, dst, 6, tcp.len() as u16).bytes(&tcp).finish();
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    let header = Ipv4Header {
        tos: 0,
        total_len: 20 + tcp.len() as u16,
        id: 1,
        df: true,
        mf: false,
        fragment_offset: 0,
        ttl: 64,
        protocol: 6,
        src,
        dst,
    };
    [&header.to_bytes()[..], &tcp].concat()
}

fn six(flags: u8, mss: u16) -> Vec<u8> {
    let mut tcp = segment(flags, mss);
    let sum = Sum::new().pseudo_v6(HOST_A6, HOST_B6, 6, tcp.len() as u32).bytes(&tcp).finish();
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    packet6(HOST_A6, HOST_B6, 6, &tcp)
}

/// What arrives behind the other gateway, with its checksum right.
fn through(from: &mut Gate, to: &mut Gate, packet: &[u8]) -> u16 {
    let sealed = from.receive(INSIDE, packet);
    sealed.forwarded(WAN);
    let out = to.one(Origin::Port(WAN), sealed.bytes);
    let bytes = out.forwarded(INSIDE);
    let (payload, pseudo) = match bytes[0] >> 4 {
        4 => {
            let ip = Ipv4::parse(bytes).unwrap();
            (ip.payload(), Sum::new().pseudo_v4(ip.src(), ip.dst(), 6, ip.payload().len() as u16))
        }
        _ => {
            let ip = Ipv6::parse(bytes).unwrap();
            (&bytes[40..], Sum::new().pseudo_v6(ip.src(), ip.dst(), 6, bytes.len() as u32 - 40))
        }
    };
    assert_eq!(pseudo.bytes(payload).finish(), 0, "TCP checksum");
    u16::from_be_bytes([payload[24], payload[25]])
}

fn bounded(mss: u16, pair: &Pair) -> (Gate, Gate) {
    let (mut a, b) = gates(pair);
    a.set(TableCommand::AddMss { tunnel: TUNNEL, mss });
    a.commit();
    (a, b)
}

#[test]
fn a_number_bounds_both_directions() {
    let (mut a, mut b) = bounded(1360, &Pair::default());
    assert_eq!(through(&mut a, &mut b, &four(true, SYN, 1460)), 1360);
    assert_eq!(through(&mut b, &mut a, &four(false, SYN | ACK, 1460)), 1360);
    assert_eq!(through(&mut a, &mut b, &four(true, SYN, 1200)), 1200, "never raised");
    assert_eq!(through(&mut a, &mut b, &four(true, ACK, 1460)), 1460, "no SYN");
    assert_eq!(through(&mut a, &mut b, &four(true, SYN, 1460)), 1360, "a flow that is known");
    assert_eq!(through(&mut a, &mut b, &six(SYN, 1440)), 1360);
}

// AES-GCM over 1,400: IP 20, ESP 8, IV 8, ICV 16, padding to 4 with its two bytes: 1,346 octets, of which TCP has the rest.
#[test]
fn the_way_bounds_by_what_it_takes() {
    let (mut a, mut b) = bounded(NatRule::MSS_OF_PATH, &Pair { tunnel_mtu: 1400, ..Pair::default() });
    assert_eq!(through(&mut a, &mut b, &four(true, SYN, 1460)), 1346 - 40);
    assert_eq!(through(&mut b, &mut a, &four(false, SYN | ACK, 1460)), 1346 - 40);
    assert_eq!(through(&mut a, &mut b, &six(SYN, 1440)), 1346 - 60);
    let whole = a.receive(INSIDE, &ip(HOST_A, HOST_B, 1346));
    assert_eq!(whole.forwarded(WAN).len(), 1400, "and that much goes in one packet");
}

#[test]
fn without_a_bound_nothing_changes() {
    let (mut a, mut b) = gates(&Pair::default());
    assert_eq!(through(&mut a, &mut b, &four(true, SYN, 1460)), 1460);
}
