//! The test plays the kernel: it owns the other side of every ring and writes whatever it likes.

use super::*;
use crate::UmemConfig;
use crate::ring::Side;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};
use proptest::prelude::*;

const SIZE: u32 = 8;
const FRAMES: u32 = 16;
const CHUNK: u64 = 2048;

/// The kernel's side of one ring.
struct Side2<T: 'static> {
    producer: &'static AtomicU32,
    consumer: &'static AtomicU32,
    flags: &'static AtomicU32,
    slots: NonNull<T>,
}

impl<T: Copy + Default + 'static> Side2<T> {
    /// Leaks a little memory per test: rings must outlive everything.
    fn new(side: Side) -> (Self, Ring<T>) {
        let index = || &*Box::leak(Box::new(AtomicU32::new(0)));
        let (producer, consumer, flags) = (index(), index(), index());
        let slots: &'static mut [T] = Box::leak(vec![T::default(); SIZE as usize].into_boxed_slice());
        let slots = NonNull::from(slots).cast::<T>();
        // SAFETY: leaked memory: valid for ever; the test plays the kernel in the same thread.
        let ring = unsafe {
            Ring::over(
                side,
                SIZE,
                NonNull::from(producer),
                NonNull::from(consumer),
                NonNull::from(flags),
                slots,
            )
        };
        (Self { producer, consumer, flags, slots }, ring)
    }

    fn write(&self, value: T) {
        let at = self.producer.load(Ordering::Relaxed);
        // SAFETY: within the slots.
        unsafe { self.slots.add((at % SIZE) as usize).write_volatile(value) };
        self.producer.store(at.wrapping_add(1), Ordering::Release);
    }

    fn read(&self) -> Option<T> {
        let at = self.consumer.load(Ordering::Relaxed);
        if at == self.producer.load(Ordering::Acquire) {
            return None;
        }
        // SAFETY: within the slots.
        let value = unsafe { self.slots.add((at % SIZE) as usize).read_volatile() };
        self.consumer.store(at.wrapping_add(1), Ordering::Release);
        Some(value)
    }
}

struct Kernel {
    rx: Side2<Desc>,
    tx: Side2<Desc>,
    fill: Side2<u64>,
    completion: Side2<u64>,
}

/// `xdp_desc` has no Default.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Desc {
    addr: u64,
    len: u32,
    options: u32,
}

fn desc_ring(side: Side) -> (Side2<Desc>, Ring<libc::xdp_desc>) {
    let (kernel, _) = Side2::<Desc>::new(side);
    // SAFETY: the same layout as `xdp_desc` (asserted), leaked memory.
    let ring = unsafe {
        Ring::over(
            side,
            SIZE,
            NonNull::from(kernel.producer),
            NonNull::from(kernel.consumer),
            NonNull::from(kernel.flags),
            kernel.slots.cast(),
        )
    };
    (kernel, ring)
}

const _: () = assert!(size_of::<Desc>() == size_of::<libc::xdp_desc>());

fn rig(fill_limit: u32) -> (Kernel, Queue, FramePool) {
    let umem = Umem::new(UmemConfig { frames: FRAMES, ..UmemConfig::default() }).unwrap();
    let pool = umem.pools(1).remove(0);
    let (rx, rx_ring) = desc_ring(Side::Consumer);
    let (tx, tx_ring) = desc_ring(Side::Producer);
    let (fill, fill_ring) = Side2::new(Side::Producer);
    let (completion, completion_ring) = Side2::new(Side::Consumer);
    let rings = Rings { rx: rx_ring, tx: tx_ring, fill: fill_ring, completion: completion_ring };
    (Kernel { rx, tx, fill, completion }, Queue::new(umem, rings, fill_limit), pool)
}

#[test]
fn a_frame_goes_in_out_and_home() {
    let (kernel, mut queue, mut pool) = rig(4);
    queue.refill(&mut pool);
    assert_eq!(pool.available(), 12);
    let addr = kernel.fill.read().unwrap();
    kernel.rx.write(Desc { addr: addr + 256, len: 60, options: 0 });
    let mut got = ArrayVec::<Frame, 4>::new();
    assert_eq!(queue.receive(&mut got, 64), 1);
    let mut frame = got.pop().unwrap();
    assert_eq!((frame.len(), frame.headroom()), (60, 256));
    assert!(frame.push_front(80) && frame.extend(20));
    queue.send(frame).unwrap();
    assert!(!queue.flush(), "the kernel is awake");
    let sent = kernel.tx.read().unwrap();
    assert_eq!((sent.addr, sent.len), (addr + 176, 160));
    assert_eq!(queue.complete(&mut pool), 0);
    kernel.completion.write(sent.addr);
    assert_eq!(queue.complete(&mut pool), 1);
    assert_eq!(pool.available(), 13);
    queue.refill(&mut pool);
    assert_eq!(pool.available(), 12);
    assert_eq!(queue.anomalies(), Anomalies::default());
    assert_eq!(queue.into_lent().reclaim(&mut pool, false), 0);
    assert_eq!(pool.available(), 16);
}

#[test]
fn a_full_ring_gives_the_frame_back_and_wakes() {
    let (kernel, mut queue, mut pool) = rig(0);
    kernel.tx.flags.store(libc::XDP_RING_NEED_WAKEUP, Ordering::Relaxed);
    for _ in 0..SIZE {
        let mut frame = pool.alloc().unwrap();
        assert!(frame.extend(60));
        queue.send(frame).unwrap();
    }
    let mut frame = pool.alloc().unwrap();
    let empty = queue.send(frame).unwrap_err();
    frame = empty;
    assert!(frame.extend(60));
    let frame = queue.send(frame).expect_err("the ring is full");
    pool.free(frame);
    assert!(queue.flush());
    for _ in 0..SIZE {
        kernel.tx.read().unwrap();
    }
    assert!(!queue.flush(), "nothing is left to wake for");
    assert_eq!(queue.tx_room(64), 8);
    assert_eq!(queue.into_lent().reclaim(&mut pool, false), 8, "never completed: lost, not reused");
}

#[test]
fn one_descriptor_twice_makes_one_frame() {
    let (kernel, mut queue, mut pool) = rig(4);
    queue.refill(&mut pool);
    let addr = kernel.fill.read().unwrap();
    for _ in 0..3 {
        kernel.rx.write(Desc { addr: addr + 256, len: 60, options: 0 });
    }
    let mut got = ArrayVec::<Frame, 8>::new();
    assert_eq!(queue.receive(&mut got, 64), 1);
    assert_eq!(queue.anomalies().descriptors, 2);
    pool.free(got.remove(0));
}

#[test]
fn only_so_many_are_received_as_asked_for() {
    let (kernel, mut queue, mut pool) = rig(8);
    queue.refill(&mut pool);
    while let Some(addr) = kernel.fill.read() {
        kernel.rx.write(Desc { addr: addr + 256, len: 60, options: 0 });
    }
    let mut got = ArrayVec::<Frame, 6>::new();
    assert_eq!((queue.receive(&mut got, 5), queue.receive(&mut got, 64)), (5, 1));
    for frame in got.drain(..) {
        pool.free(frame);
    }
    assert_eq!(queue.receive(&mut got, 64), 2);
    for frame in got.drain(..) {
        pool.free(frame);
    }
}

#[derive(Clone, Debug)]
enum Op {
    Refill,
    Receive(usize),
    Send,
    Complete,
    KernelRx { addr: u64, len: u32, options: u32 },
    KernelHonestRx,
    KernelComplete(u64),
    KernelHonestTx,
    KernelIndex { ring: u8, value: u32 },
}

fn op() -> impl Strategy<Value = Op> {
    let addr = prop_oneof![0..u64::from(FRAMES) * CHUNK, any::<u64>()];
    prop_oneof![
        Just(Op::Refill),
        (0usize..20).prop_map(Op::Receive),
        Just(Op::Send),
        Just(Op::Complete),
        (addr.clone(), prop_oneof![0u32..4096, any::<u32>()], 0u32..2)
            .prop_map(|(addr, len, options)| Op::KernelRx { addr, len, options }),
        Just(Op::KernelHonestRx),
        addr.prop_map(Op::KernelComplete),
        Just(Op::KernelHonestTx),
        (0u8..4, any::<u32>()).prop_map(|(ring, value)| Op::KernelIndex { ring, value }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever the kernel writes: no panic, no frame twice, every frame inside of its chunk.
    #[test]
    fn a_mad_kernel_cannot_make_two_owners(ops in proptest::collection::vec(op(), 1..80)) {
        let (kernel, mut queue, mut pool) = rig(6);
        let mut held = ArrayVec::<Frame, 16>::new();
        for op in ops {
            match op {
                Op::Refill => queue.refill(&mut pool),
                Op::Receive(max) => { queue.receive(&mut held, max); }
                Op::Send => if let Some(mut frame) = held.pop() {
                    if frame.is_empty() { let _ = frame.extend(60); }
                    if let Err(frame) = queue.send(frame) { pool.free(frame); }
                    queue.flush();
                },
                Op::Complete => { queue.complete(&mut pool); }
                Op::KernelRx { addr, len, options } => kernel.rx.write(Desc { addr, len, options }),
                Op::KernelHonestRx => if let Some(addr) = kernel.fill.read() {
                    kernel.rx.write(Desc { addr: addr + 256, len: 60, options: 0 });
                },
                Op::KernelComplete(addr) => kernel.completion.write(addr),
                Op::KernelHonestTx => if let Some(desc) = kernel.tx.read() {
                    kernel.completion.write(desc.addr);
                },
                Op::KernelIndex { ring, value } => match ring {
                    0 => kernel.rx.producer.store(value, Ordering::Relaxed),
                    1 => kernel.completion.producer.store(value, Ordering::Relaxed),
                    2 => kernel.tx.consumer.store(value, Ordering::Relaxed),
                    _ => kernel.fill.consumer.store(value, Ordering::Relaxed),
                },
            }
            let mut owned: Vec<u32> = held.iter().map(Frame::index).collect();
            owned.sort_unstable();
            owned.dedup();
            prop_assert_eq!(owned.len(), held.len(), "a frame is held twice");
            let all = held.len() + pool.available() + queue.lent.stray.len()
                + (queue.lent.filled.count + queue.lent.sent.count) as usize;
            prop_assert_eq!(all, FRAMES as usize, "frames neither vanish nor multiply");
            for frame in &held {
                prop_assert!(frame.headroom() + frame.len() + frame.tailroom() == 2048);
            }
        }
        for frame in held.drain(..) { pool.free(frame); }
    }
}
