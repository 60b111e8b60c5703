//! Numbers shared by crates that may not know each other: the XDP program's counters and their names in the ring.

use ravelin_ebpf::abi::Counted;
use ravelin_ring::counters::XdpCounter;

#[test]
fn counters_of_the_xdp_program_stand_in_the_order_of_their_names() {
    let pairs = [
        (Counted::Passed, XdpCounter::Passed),
        (Counted::Steered, XdpCounter::Steered),
        (Counted::NoWorker, XdpCounter::NoWorker),
        (Counted::Unparsable, XdpCounter::Unparsable),
        (Counted::NotAdmitted, XdpCounter::NotAdmitted),
    ];
    assert_eq!(pairs.len(), XdpCounter::COUNT);
    assert_eq!(Counted::COUNT as usize, XdpCounter::COUNT);
    for (program, name) in pairs {
        assert_eq!(program as u32, name as u32, "{name:?}");
    }
}
