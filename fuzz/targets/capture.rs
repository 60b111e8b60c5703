//! Any bytes as a capture file that `ravelin explain` is given: what is read of it lies in it, and once more as the simplest file of all it is
//! the same packets.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ravelin_control::explain::pcap::{Packet, packets};

fuzz_target!(|data: &[u8]| {
    let Ok(list) = packets(data) else { return };
    let all: usize = list.iter().map(|packet| packet.bytes.len()).sum();
    assert!(all + 16 * list.len() <= data.len(), "more than the file has");
    for packet in list.iter().filter(|packet| !packet.bytes.is_empty()) {
        assert!(data.windows(packet.bytes.len()).any(|part| part == packet.bytes), "not of the file");
    }
    for ethernet in [true, false] {
        let some: Vec<Packet> = list.iter().filter(|packet| packet.ethernet == ethernet).cloned().collect();
        assert_eq!(packets(&classic(ethernet, &some)).as_ref(), Ok(&some));
    }
});

/// As tcpdump writes it.
fn classic(ethernet: bool, list: &[Packet]) -> Vec<u8> {
    let link = if ethernet { 1 } else { 101 };
    let mut file: Vec<u8> = [0xa1b2_c3d4, 0x0002_0004, 0, 0, 65_535, link].map(u32::to_be_bytes).concat();
    for packet in list {
        let len = u32::try_from(packet.bytes.len()).expect("as long as a packet");
        file.extend([1, 2, len, len + u32::from(packet.cut)].map(u32::to_be_bytes).concat());
        file.extend_from_slice(&packet.bytes);
    }
    file
}
