//! Arbitrary frames, outer fragments among them, through a whole worker with an SA in force, whose gateways speak IPv4 or
//! IPv6, plain or in UDP, and whose selectors are of both: every packet ends in one verdict and no frame is lost (`Gate::run` asserts conservation).
#![no_main]

#[path = "../../dataplane/tests/way/mod.rs"]
mod way;

use libfuzzer_sys::fuzz_target;
use ravelin_dataplane::Origin;
use ravelin_ring::msg::{Behind, Gre, Interface, InterfaceId, InterfaceName, TableCommand};
use ravelin_ring::setup::ReversePath;
use way::{Gate, INSIDE, Pair, WAN, WAN_A, WAN_B};

fuzz_target!(|data: &[u8]| {
    let mut gate = Gate::new(true);
    let bit = |n: u8| data.first().is_some_and(|b| b & n != 0);
    let pair = Pair { v6: bit(4), udp: bit(8), ..Pair::default() };
    gate.install(&pair);
    gate.use_pair(&pair);
    if data.first().is_some_and(|b| b & 8 != 0) {
        end_of_gre(&mut gate);
    }
    // The first byte of each part says by which door it comes and how long it is.
    let (mut rest, mut packets) = (data, Vec::new());
    while let Some((head, tail)) = rest.split_first() {
        let origin = match head & 3 {
            0 => Origin::Tun,
            1 => Origin::Port(INSIDE),
            _ => Origin::Port(WAN),
        };
        let len = (usize::from(head >> 2) * 4).min(tail.len());
        packets.push((origin, tail[..len].to_vec()));
        rest = &tail[len..];
    }
    gate.run(&packets);
    gate.settle();
});

/// GRE from the other gateway ends here, with any of the options.
fn end_of_gre(gate: &mut Gate) {
    let (local, remote) = (WAN_A.into(), WAN_B.into());
    let gre = Gre { local, remote, key: Some(0), checksum: false, sequence: true, mtu: 1400, tunnel: None };
    gate.set(TableCommand::AddInterface(Interface {
        id: InterfaceId(0),
        name: InterfaceName::new("gre").expect("a name"),
        behind: Behind::Gre(gre),
        reverse_path: ReversePath::Loose,
    }));
    gate.commit();
}
