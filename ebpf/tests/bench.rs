//! The bench's tap tells its own packets from the kernel's (BPF_PROG_TEST_RUN; no interface is touched). Needs the rights
//! to load programs and says so where they are missing.
#![allow(clippy::unwrap_used, reason = "a test's helpers are test code")]

use aya::maps::PerCpuArray;
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use ravelin_ebpf::bench::OBJECT;
use ravelin_ebpf::bench_abi::{self as abi, Blast, Tapped};

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;

fn loaded(program: &str) -> Ebpf {
    let cannot = "cannot load the XDP program; this test needs root (CAP_BPF, CAP_NET_ADMIN) and bpf()";
    let mut ebpf = EbpfLoader::new().load(OBJECT).expect(cannot);
    let xdp: &mut Xdp = ebpf.program_mut(program).unwrap().try_into().unwrap();
    xdp.load().expect(cannot);
    ebpf
}

fn run(ebpf: &Ebpf, program: &str, frame: &[u8], out: &mut [u8]) -> u32 {
    let xdp: &Xdp = ebpf.program(program).unwrap().try_into().unwrap();
    let options = TestRunOptions { data_in: Some(frame), data_out: Some(out), ..TestRunOptions::new() };
    xdp.test_run(options).unwrap().return_value
}

fn frame(protocol: u8, destination: u16, payload: &[u8]) -> Vec<u8> {
    let total = u16::try_from(28 + payload.len()).unwrap().to_be_bytes();
    let mut f = vec![0; 12];
    f.extend([
        8, 0, 0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, protocol, 0, 0, 10, 1, 0, 10, 10, 128, 0, 10,
    ]);
    f.extend([0x27, 0x10]);
    f.extend(destination.to_be_bytes());
    f.extend([0, 8, 0, 0]);
    f.extend(payload);
    f
}

#[test]
fn the_tap_takes_what_is_the_benchs_and_leaves_the_rest() {
    let ebpf = loaded(abi::TAP);
    let count = |what: Tapped| -> u64 {
        let map: PerCpuArray<_, u64> = PerCpuArray::try_from(ebpf.map(abi::TAP_COUNTERS).unwrap()).unwrap();
        map.get(&(what as u32), 0).unwrap().iter().sum()
    };
    let mut arp = frame(17, abi::DISCARD, &[0; 20]);
    arp[12..14].copy_from_slice(&[8, 6]);
    let mut options = frame(17, abi::DISCARD, &[0; 20]);
    options[14] = 0x46;
    for (frame, verdict, what) in [
        (frame(17, abi::DISCARD, &[1; 20]), XDP_DROP, Some(Tapped::Clear)),
        (frame(50, 0x1234, &[1; 20]), XDP_DROP, Some(Tapped::Esp)),
        (frame(17, 4500, &[1; 20]), XDP_DROP, Some(Tapped::Esp)),
        (frame(17, 4500, &[0; 20]), XDP_PASS, None),
        (frame(17, 500, &[1; 20]), XDP_PASS, None),
        (frame(6, abi::DISCARD, &[1; 20]), XDP_PASS, None),
        (frame(17, abi::DISCARD, &[]), XDP_PASS, None),
        (arp, XDP_PASS, None),
        (options, XDP_PASS, None),
    ] {
        let before = (count(Tapped::Clear), count(Tapped::Esp));
        assert_eq!(run(&ebpf, abi::TAP, &frame, &mut [0; 256]), verdict, "{frame:02x?}");
        // The map of samples is zero here: one packet in 2^0 goes to a socket, of which there is none.
        let (clear, esp) = (count(Tapped::Clear) - before.0, count(Tapped::Esp) - before.1);
        assert_eq!(
            (clear, esp),
            (u64::from(what == Some(Tapped::Clear)), u64::from(what == Some(Tapped::Esp)))
        );
    }
}

#[test]
fn blasted_frames_are_numbered_and_lawful() {
    let mut ebpf = loaded(abi::BLAST);
    let config = Blast { flows: 3, tunnels: 2, first_destination: 0x0a80_000a, first_port: 10_000 };
    let mut map: aya::maps::Array<_, Blast> = ebpf.map_mut(abi::BLAST_CONFIG).unwrap().try_into().unwrap();
    map.set(0, config, 0).unwrap();
    let mut seen = Vec::new();
    for _ in 0..12 {
        let (sent, mut out) = (frame(17, abi::DISCARD, &[0; 20]), [0; 256]);
        assert_eq!(run(&ebpf, abi::BLAST, &sent, &mut out), XDP_TX);
        let sum = out[14..34].chunks(2).map(|p| u32::from(u16::from_be_bytes([p[0], p[1]]))).sum::<u32>();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "the header's checksum");
        let number = u64::from_be_bytes(out[46..54].try_into().unwrap());
        let port = u64::from(u16::from_be_bytes([out[34], out[35]]));
        assert_eq!(u64::from(out[33]), 10 + number % 2);
        assert_eq!(port, 10_000 + number / 2 % 3);
        seen.push(number);
    }
    // One counter for each processor; the test may have moved between them.
    assert!(seen.windows(2).any(|w| w[1] == w[0] + 1), "{seen:?}");
    assert_ne!(run(&ebpf, abi::BLAST, &frame(17, 9, &[0; 4]), &mut [0; 256]), XDP_TX, "no room for a number");
}
