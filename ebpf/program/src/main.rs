//! The XDP program: which frames go to a worker's AF_XDP socket, which to the kernel, which nowhere.
//!
//! Decides: by `ravelin_wire::classify` alone; user space runs the same function. Reads: the frame, the maps of `abi`.
//! Writes: per-CPU counters. Never: changes a frame, and never passes what the data plane ought to have: without a socket
//! for the queue such a frame is dropped and counted (fail closed).
#![no_std]
#![no_main]

#[path = "../../src/abi.rs"]
#[allow(dead_code, reason = "names and versions are user space's part of it")]
mod abi;

use abi::{Config, Counted};
use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_REDIRECT};
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::lpm_trie::{Key, LpmTrie};
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, XskMap};
use aya_ebpf::programs::XdpContext;
use core::net::{Ipv4Addr, Ipv6Addr};
use ravelin_wire::{Bytes, Features, First, FragmentKey, PortRanges, Steer, SteerTables, classify};

const NO_PREALLOC: u32 = aya_ebpf::bindings::BPF_F_NO_PREALLOC;

#[map]
static SOCKETS: XskMap = XskMap::with_max_entries(abi::MAX_QUEUES, 0);
#[map]
static GATEWAYS_V4: HashMap<[u8; 4], u32> = HashMap::with_max_entries(abi::MAX_GATEWAYS, NO_PREALLOC);
#[map]
static GATEWAYS_V6: HashMap<[u8; 16], u32> = HashMap::with_max_entries(abi::MAX_GATEWAYS, NO_PREALLOC);
#[map]
static PROTECTED_V4: LpmTrie<[u8; 4], u32> = LpmTrie::with_max_entries(abi::MAX_PROTECTED, 0);
#[map]
static PROTECTED_V6: LpmTrie<[u8; 16], u32> = LpmTrie::with_max_entries(abi::MAX_PROTECTED, 0);
#[map]
static INSIDE_V4: LpmTrie<[u8; 4], u32> = LpmTrie::with_max_entries(abi::MAX_INSIDE, 0);
#[map]
static TRANSLATED_V4: HashMap<[u8; 4], PortRanges> =
    HashMap::with_max_entries(abi::MAX_TRANSLATED, NO_PREALLOC);
#[map]
static ADMITTED_V4: LpmTrie<[u8; 4], u32> = LpmTrie::with_max_entries(abi::MAX_ADMITTED, 0);
#[map]
static ADMITTED_V6: LpmTrie<[u8; 16], u32> = LpmTrie::with_max_entries(abi::MAX_ADMITTED, 0);
#[map]
static FRAGMENTS: LruHashMap<FragmentKey, u32> = LruHashMap::with_max_entries(abi::MAX_FRAGMENTS, 0);
#[map]
static CONFIG: Array<Config> = Array::with_max_entries(1, 0);
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Counted::COUNT, 0);

#[xdp]
pub fn ravelin(ctx: XdpContext) -> u32 {
    match classify(&Frame { start: ctx.data(), end: ctx.data_end() }, &Maps) {
        Steer::Pass => counted(Counted::Passed, XDP_PASS),
        Steer::DropUnparsable => counted(Counted::Unparsable, XDP_DROP),
        Steer::DropNotAdmitted => counted(Counted::NotAdmitted, XDP_DROP),
        Steer::ToWorker(_) => to_worker(ctx.rx_queue_index()),
    }
}

/// The fallback of the redirect is a drop as well: the socket may go between the look-up and the redirect.
#[inline(always)]
fn to_worker(queue: u32) -> u32 {
    if SOCKETS.get(queue).is_none() {
        return counted(Counted::NoWorker, XDP_DROP);
    }
    match SOCKETS.redirect(queue, u64::from(XDP_DROP)) {
        Ok(XDP_REDIRECT) => counted(Counted::Steered, XDP_REDIRECT),
        _ => counted(Counted::NoWorker, XDP_DROP),
    }
}

#[inline(always)]
fn counted(what: Counted, action: u32) -> u32 {
    if let Some(counter) = COUNTERS.get_ptr_mut(what as u32) {
        // SAFETY: this processor's own slot, and XDP programs do not interrupt each other on one processor.
        unsafe { *counter += 1 };
    }
    action
}

/// `data..data_end` of the frame.
struct Frame {
    start: usize,
    end: usize,
}

impl Bytes for Frame {
    #[inline(always)]
    fn array<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        // The verifier wants a constant bound of the offset before it adds it to a packet pointer.
        if offset > Self::MAX_OFFSET {
            return None;
        }
        let at = self.start + offset;
        if at + N > self.end {
            return None;
        }
        // SAFETY: `at..at + N` lies inside the frame (checked above, and checked again by the verifier); bytes have no
        // alignment.
        Some(unsafe { *(at as *const [u8; N]) })
    }
}

/// The maps as the classifier's tables.
struct Maps;

impl SteerTables for Maps {
    #[inline(always)]
    fn is_gateway_v4(&self, addr: Ipv4Addr) -> bool {
        GATEWAYS_V4.get_ptr(&addr.octets()).is_some()
    }

    #[inline(always)]
    fn is_gateway_v6(&self, addr: Ipv6Addr) -> bool {
        GATEWAYS_V6.get_ptr(&addr.octets()).is_some()
    }

    #[inline(always)]
    fn is_protected_v4(&self, addr: Ipv4Addr) -> bool {
        PROTECTED_V4.get(Key::new(32, addr.octets())) == Some(&abi::PROTECTED)
    }

    #[inline(always)]
    fn is_protected_v6(&self, addr: Ipv6Addr) -> bool {
        PROTECTED_V6.get(Key::new(128, addr.octets())) == Some(&abi::PROTECTED)
    }

    #[inline(always)]
    fn udp_encap_port(&self) -> Option<u16> {
        match CONFIG.get(0)?.udp_port {
            0 => None,
            port => Some(port as u16),
        }
    }

    #[inline(always)]
    fn features(&self) -> Features {
        CONFIG.get(0).map_or(Features(0), |config| Features(config.features))
    }

    #[inline(always)]
    fn is_admitted_v4(&self, addr: Ipv4Addr) -> bool {
        ADMITTED_V4.get(Key::new(32, addr.octets())).is_some()
    }

    #[inline(always)]
    fn is_admitted_v6(&self, addr: Ipv6Addr) -> bool {
        ADMITTED_V6.get(Key::new(128, addr.octets())).is_some()
    }

    #[inline(always)]
    fn is_ike_port(&self, port: u16) -> bool {
        let ports = CONFIG.get(0).map_or(0, |config| config.ike_ports);
        port != 0 && ((ports >> 16) as u16 == port || ports as u16 == port)
    }

    #[inline(always)]
    fn is_inside(&self, addr: Ipv4Addr) -> bool {
        INSIDE_V4.get(Key::new(32, addr.octets())).is_some()
    }

    #[inline(always)]
    fn translated_ports(&self, addr: Ipv4Addr) -> Option<PortRanges> {
        let ports = TRANSLATED_V4.get_ptr(&addr.octets())?;
        // SAFETY: the kernel keeps a value where it is until this program has ended; one that changes meanwhile is read
        // half old and half new, each port whole.
        Some(unsafe { *ports })
    }

    /// Without room, or where two processors meet, the later fragments are nobody's: they are lost, no more.
    #[inline(always)]
    fn note_first(&self, key: &FragmentKey, first: Option<First>) {
        let _ = match first {
            Some(first) => FRAGMENTS.insert(key, first as u32, 0),
            None => FRAGMENTS.remove(key),
        };
    }

    #[inline(always)]
    fn first_of(&self, key: &FragmentKey) -> Option<First> {
        const WORKER: u32 = First::Worker as u32;
        const KERNEL: u32 = First::Kernel as u32;
        let first = FRAGMENTS.get_ptr(key)?;
        // SAFETY: the kernel keeps a value where it is until this program has ended, and writes words whole.
        match unsafe { *first } {
            WORKER => Some(First::Worker),
            KERNEL => Some(First::Kernel),
            _ => None,
        }
    }
}

/// Never reached: nothing here can panic, or the verifier would refuse the loop.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// None of the helpers used here asks for a GPL-compatible licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 11] = *b"Apache-2.0\0";
