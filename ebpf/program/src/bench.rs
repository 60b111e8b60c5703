//! The bench's XDP programs: `tap` counts what reaches an end of the wire, `blast` numbers live frames and sends them.
//!
//! Decides: which frames are the bench's own (UDP to the discard port, ESP); everything else is the kernel's. Reads: the
//! frame, the maps of `bench_abi`. Writes: per-CPU counters; `blast` also its own frames. Never: sees a port of the
//! gateway.
#![no_std]
#![no_main]

#[path = "../../src/bench_abi.rs"]
#[allow(dead_code, reason = "names are user space's part of it")]
mod abi;

use abi::{Blast, Marks, Tapped};
use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::{Array, PerCpuArray, XskMap};
use aya_ebpf::programs::XdpContext;

#[map]
static TAP_SOCKETS: XskMap = XskMap::with_max_entries(abi::MAX_QUEUES, 0);
/// One mask: a frame whose count has none of its bits goes to the socket.
#[map]
static TAP_CONFIG: Array<u32> = Array::with_max_entries(1, 0);
#[map]
static TAP_COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Tapped::COUNT, 0);
/// No mark is made before this time.
#[map]
static TAP_FROM: Array<u64> = Array::with_max_entries(1, 0);
#[map]
static TAP_MARKS: PerCpuArray<Marks> = PerCpuArray::with_max_entries(Tapped::COUNT, 0);
#[map]
static BLAST_CONFIG: Array<Blast> = Array::with_max_entries(1, 0);
#[map]
static BLAST_COUNT: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

const IP: usize = 14;
const UDP: usize = IP + 20;
const PAYLOAD: usize = UDP + 8;
/// Behind the bench's mark.
const NUMBER: usize = PAYLOAD + 4;
const ESP_PROTOCOL: u8 = 50;
const UDP_PROTOCOL: u8 = 17;
const NAT_TRAVERSAL: u16 = 4500;

#[xdp]
pub fn tap(ctx: XdpContext) -> u32 {
    let Some(what) = of_the_bench(&ctx) else { return XDP_PASS };
    let Some(counter) = TAP_COUNTERS.get_ptr_mut(what as u32) else { return XDP_ABORTED };
    // SAFETY: this processor's own slot, and XDP programs do not interrupt each other on one processor.
    let count = unsafe {
        *counter += 1;
        *counter
    };
    if count % abi::MARK_EVERY == 0 {
        mark(what, count);
    }
    let mask = TAP_CONFIG.get(0).copied().unwrap_or(abi::NO_SAMPLES);
    if mask != abi::NO_SAMPLES && count & u64::from(mask) == 0 {
        return TAP_SOCKETS.redirect(ctx.rx_queue_index(), u64::from(XDP_DROP)).unwrap_or(XDP_DROP);
    }
    XDP_DROP
}

#[inline(always)]
fn mark(what: Tapped, count: u64) {
    let (Some(from), Some(marks)) = (TAP_FROM.get(0), TAP_MARKS.get_ptr_mut(what as u32)) else { return };
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    if now < *from {
        return;
    }
    // SAFETY: as in `tap`.
    let marks = unsafe { &mut *marks };
    if marks.first_time == 0 {
        (marks.first_count, marks.first_time) = (count, now);
    }
    (marks.last_count, marks.last_time) = (count, now);
}

#[inline(always)]
fn of_the_bench(ctx: &XdpContext) -> Option<Tapped> {
    let link = bytes::<14>(ctx, 0)?;
    if [link[12], link[13]] != [8, 0] {
        return None;
    }
    let ip = bytes::<20>(ctx, IP)?;
    if ip[0] != 0x45 {
        return None;
    }
    match ip[9] {
        ESP_PROTOCOL => Some(Tapped::Esp),
        UDP_PROTOCOL => {
            let udp = bytes::<12>(ctx, UDP)?;
            match u16::from_be_bytes([udp[2], udp[3]]) {
                abi::DISCARD => Some(Tapped::Clear),
                // A zero word is the mark of IKE.
                NAT_TRAVERSAL if [udp[8], udp[9], udp[10], udp[11]] != [0; 4] => Some(Tapped::Esp),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Runs on frames that user space injects, never on received ones.
#[xdp]
pub fn blast(ctx: XdpContext) -> u32 {
    numbered(&ctx).map_or(XDP_ABORTED, |()| XDP_TX)
}

#[inline(always)]
fn numbered(ctx: &XdpContext) -> Option<()> {
    let config = BLAST_CONFIG.get(0)?;
    let counter = BLAST_COUNT.get_ptr_mut(0)?;
    // SAFETY: as in `tap`.
    let number = unsafe {
        *counter += 1;
        *counter - 1
    };
    let (flows, tunnels) = (u64::from(config.flows.max(1)), u64::from(config.tunnels.max(1)));
    let port = (config.first_port + (number / tunnels % flows) as u32) as u16;
    write(ctx, UDP, port.to_be_bytes())?;
    write(ctx, NUMBER, number.to_be_bytes())?;
    if tunnels > 1 {
        let to = config.first_destination + (number % tunnels) as u32;
        write(ctx, IP + 16, to.to_be_bytes())?;
        let sum = header_checksum(&bytes::<20>(ctx, IP)?);
        write(ctx, IP + 10, sum.to_be_bytes())?;
    }
    Some(())
}

#[inline(always)]
fn header_checksum(header: &[u8; 20]) -> u16 {
    let mut sum = 0u32;
    for (i, pair) in header.chunks_exact(2).enumerate() {
        if i != 5 {
            sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
        }
    }
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

#[inline(always)]
fn bytes<const N: usize>(ctx: &XdpContext, offset: usize) -> Option<[u8; N]> {
    let at = ctx.data() + offset;
    if at + N > ctx.data_end() {
        return None;
    }
    // SAFETY: `at..at + N` lies inside the frame (checked above, and again by the verifier); bytes have no alignment.
    Some(unsafe { *(at as *const [u8; N]) })
}

#[inline(always)]
fn write<const N: usize>(ctx: &XdpContext, offset: usize, value: [u8; N]) -> Option<()> {
    let at = ctx.data() + offset;
    if at + N > ctx.data_end() {
        return None;
    }
    // SAFETY: as in `bytes`; the frame is this program's own until it returns.
    unsafe { *(at as *mut [u8; N]) = value };
    Some(())
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
