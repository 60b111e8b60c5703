use super::*;
use crate::packet::{Door, Origin};
use ravelin_xsk::Frame;

fn packet(n: u32, ports: (u16, u16)) -> Packet {
    let mut packet = Packet::new(Frame::none(), Origin::Port(PortId(0)));
    let ip = &mut packet.meta.ip;
    (ip.src, ip.dst, ip.protocol, ip.ports) = (0x0a01_0001, n, 17, ports);
    packet
}

fn known(epoch: u32, port: u16) -> Known {
    Known { epoch, port: PortId(port), limit: 1500, ..Known::NOTHING }
}

impl Flows {
    /// What is known of the packet's flow, in force or not. Only packets with a key are given a bucket.
    fn get(&self, line: u32, key: &Key) -> Option<Known> {
        let (line, n) = self.position(line, key)?;
        let Basis { epoch, came, stamp } = self.bases[line][n];
        Some(Known { epoch, came, stamp, ..self.lines[line].0[n].known() })
    }
}

/// By which port the packet's flow leaves.
fn way(flows: &Flows, packet: &Packet) -> Option<u16> {
    let Place { key, line } = flows.place(Key::of(packet)?);
    flows.get(line, &key).map(|known| known.port.0)
}

/// More flows than there is room for: some are forgotten, none is taken for another.
#[test]
fn a_full_table_forgets_and_never_confuses() {
    let mut flows = Flows::with_buckets(16);
    for n in 0..1000 {
        flows.put(flows.place(Key::of(&packet(n, (1, 2))).unwrap()), known(1, n as u16));
    }
    let found: Vec<u32> = (0..1000).filter(|n| way(&flows, &packet(*n, (1, 2))).is_some()).collect();
    assert!((32..=64).contains(&found.len()), "{} of 64 places hold a flow", found.len());
    for n in found {
        assert_eq!(way(&flows, &packet(n, (1, 2))), Some(n as u16));
        assert_eq!(way(&flows, &packet(n, (2, 1))), None);
    }
    flows.forget();
    assert!((0..1000).all(|n| way(&flows, &packet(n, (1, 2))).is_none()));
}

#[test]
fn the_same_flow_has_one_place_and_stale_ones_go_first() {
    let mut flows = Flows::with_buckets(1);
    let key = |n| Place { key: Key::of(&packet(n, (0, 0))).unwrap(), line: 0 };
    for n in 0..4 {
        flows.put(key(n), known(1 + u32::from(n == 2), n as u16));
    }
    flows.put(key(2), known(2, 20));
    for n in [5, 6, 7] {
        flows.put(key(n), known(2, n as u16));
    }
    for n in [2, 5, 6, 7] {
        assert!(flows.get(0, &key(n).key).is_some_and(|known| known.epoch == 2), "{n}");
    }
    assert!(flows.get(0, &key(0).key).is_none());
}

/// Nothing is known of what may not be known: hidden ports, first fragments, the host's own, what another worker's SA has let through.
#[test]
fn some_packets_have_no_flow() {
    let mut fragment = packet(1, (0, 0));
    fragment.meta.ip.portless = true;
    let mut own = packet(1, (0, 0));
    own.door = Door::Tun;
    let mut strange = packet(1, (0, 0));
    strange.door = Door::Sa;
    let mut first = packet(1, (0, 0));
    first.meta.ip.fragment = true;
    for packet in [fragment, first, own, strange] {
        assert_eq!(Key::of(&packet), None);
    }
    let mut opened = packet(1, (0, 0));
    (opened.door, opened.meta.opened, opened.meta.sa) = (Door::Sa, true, 0);
    assert_ne!(Key::of(&opened), Key::of(&packet(1, (0, 0))), "each door has its own flows");
    assert_eq!(way(&Flows::none(), &packet(1, (0, 0))), None);
}

/// What is known comes back as it was put in, whatever it is; and where there is room, in the line that is asked for.
#[test]
fn what_is_known_fits_into_half_a_line() {
    let mut flows = Flows::with_buckets(1);
    let way =
        Known { epoch: 3, came: 5, sa: (1 << 22) - 1, stamp: 7, limit: 9000, version: 8, ..Known::NOTHING };
    let clear = Known { sa: CLEAR, port: PortId(u16::MAX), limit: u16::MAX, mac: u64::MAX >> 16, ..way };
    for (n, line, known) in [(1, 0, way), (2, 1, clear), (3, 1, way), (4, 0, clear)] {
        let key = Key::of(&packet(n, (1, 1))).unwrap();
        flows.put(Place { key, line }, known);
        assert_eq!(flows.position(line, &key).map(|(line, _)| line), Some(line as usize));
        let Known { epoch, came, sa, stamp, limit, port, version, mac } = flows.get(line, &key).unwrap();
        assert_eq!((epoch, came, stamp, version), (3, 5, 7, 8));
        assert_eq!((sa, limit), (known.sa, known.limit));
        if sa == CLEAR {
            assert_eq!((port, route::address(mac)), (known.port, route::address(known.mac)));
        }
    }
    // It holds from then on, or is not known any more.
    let key = Key::of(&packet(2, (1, 1))).unwrap();
    assert!(flows.still(1, &key, 8, |_| unreachable!()).is_some());
    assert!(flows.still(1, &key, 9, |known| known.stamp != 7).is_none());
    assert!(flows.still(1, &key, 9, |known| (known.epoch, known.came, known.stamp) == (3, 5, 7)).is_some());
    assert!(flows.still(1, &key, 9, |_| unreachable!()).is_some());
}
