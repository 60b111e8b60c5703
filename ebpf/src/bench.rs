//! The bench's XDP programs: a tap at each end of the wire, and the kernel's test run as a generator.
//!
//! Decides: how they are loaded and attached (native, else generic). Reads: their counters. Never: pins anything; what
//! is dropped here is off its device. The gateway uses none of this.

use crate::Error;
use crate::bench_abi::{self as abi, Blast, Marks, NO_SAMPLES, Tapped};
use aya::maps::{Array, Map, MapData, MapError, PerCpuArray, PerCpuValues, XskMap};
use aya::programs::xdp::XdpLinkId;
use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use std::fmt;
use std::os::fd::{AsFd, AsRawFd as _};

/// The programs' object, as built by `build.rs`.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/ravelin-xdp-bench"));

// SAFETY: `repr(C)`, four words of 64 bits, no padding, any bits are a value.
unsafe impl aya::Pod for Marks {}

// SAFETY: `repr(C)`, four words, no padding, any bits are a value.
unsafe impl aya::Pod for Blast {}

/// What a tap has counted since it was attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    pub clear: u64,
    pub esp: u64,
}

/// Counts and drops the bench's packets on a device of the bench, and samples some of them to a socket.
pub struct Tap {
    name: String,
    /// Keeps the program loaded.
    _ebpf: Ebpf,
    _link: XdpLinkId,
    sockets: XskMap<MapData>,
    config: Array<MapData, u32>,
    counters: PerCpuArray<MapData, u64>,
    from: Array<MapData, u64>,
    marks: PerCpuArray<MapData, Marks>,
}

impl Tap {
    /// In the network namespace of the calling thread.
    pub fn attach(name: &str, ifindex: u32) -> Result<Self, Error> {
        let mut ebpf = load(name)?;
        let program = program(&mut ebpf, abi::TAP);
        program.load().map_err(Error::bpf(name, "load the tap"))?;
        let link = match program.attach_to_if_index(ifindex, XdpMode::Driver) {
            Ok(link) => link,
            Err(_) => program
                .attach_to_if_index(ifindex, XdpMode::Skb)
                .map_err(Error::bpf(name, "attach the tap; another XDP program may be there (`ip link`)"))?,
        };
        let mut me = Self {
            name: name.to_owned(),
            sockets: map(name, &mut ebpf, abi::TAP_SOCKETS)?,
            config: map(name, &mut ebpf, abi::TAP_CONFIG)?,
            counters: map(name, &mut ebpf, abi::TAP_COUNTERS)?,
            from: map(name, &mut ebpf, abi::TAP_FROM)?,
            marks: map(name, &mut ebpf, abi::TAP_MARKS)?,
            _ebpf: ebpf,
            _link: link,
        };
        me.sample(None)?;
        Ok(me)
    }

    /// Where samples of this queue go.
    pub fn set_socket(&mut self, queue: u32, socket: impl AsFd) -> Result<(), Error> {
        self.sockets
            .set(queue, socket.as_fd().as_raw_fd(), 0)
            .map_err(Error::bpf(&self.name, "enter a socket into the tap's map"))
    }

    /// From now on one packet in 2^`shift` goes to the socket; `None`: none does.
    pub fn sample(&mut self, shift: Option<u8>) -> Result<(), Error> {
        let mask = shift.map_or(NO_SAMPLES, |s| (1 << s.min(31)) - 1);
        self.config.set(0, mask, 0).map_err(Error::bpf(&self.name, "set the tap's samples"))
    }

    /// A new window, which begins at this time (nanoseconds of CLOCK_MONOTONIC).
    pub fn open_window(&mut self, from: u64) -> Result<(), Error> {
        const WHAT: &str = "open the tap's window";
        let name = &self.name;
        self.from.set(0, from, 0).map_err(Error::bpf(name, WHAT))?;
        let processors = aya::util::nr_cpus().map_err(|(_, e)| Error::bpf(name, WHAT)(e))?;
        for what in [Tapped::Clear, Tapped::Esp] {
            let none = vec![Marks::default(); processors];
            let none = PerCpuValues::try_from(none).map_err(Error::bpf(name, WHAT))?;
            self.marks.set(what as u32, none, 0).map_err(Error::bpf(name, WHAT))?;
        }
        Ok(())
    }

    /// Packets per second from the window's first mark to its last, both made in the kernel; 0: too few came.
    pub fn window_rate(&self) -> Result<f64, Error> {
        let mut sum = 0.0;
        for what in [Tapped::Clear, Tapped::Esp] {
            let marks = self.marks.get(&(what as u32), 0);
            let marks = marks.map_err(Error::bpf(&self.name, "read the tap's marks"))?;
            sum += marks.iter().map(rate).sum::<f64>();
        }
        Ok(sum)
    }

    pub fn counts(&self) -> Result<Counts, Error> {
        let sum = |what: Tapped| {
            let values = self.counters.get(&(what as u32), 0);
            let values = values.map_err(Error::bpf(&self.name, "read the tap's counters"))?;
            Ok(values.iter().sum())
        };
        Ok(Counts { clear: sum(Tapped::Clear)?, esp: sum(Tapped::Esp)? })
    }
}

#[allow(clippy::cast_precision_loss)] // far below 2^52 packets and nanoseconds
fn rate(marks: &Marks) -> f64 {
    let packets = marks.last_count.saturating_sub(marks.first_count) as f64;
    let nanos = marks.last_time.saturating_sub(marks.first_time) as f64;
    if nanos > 0.0 { packets / nanos * 1e9 } else { 0.0 }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The kernel's test run with live frames: packets out of a device, as fast as the core can make them.
pub struct LiveFrames {
    name: String,
    ebpf: Ebpf,
    /// `struct xdp_md` of the frames.
    context: [u8; 24],
    template: Vec<u8>,
}

impl LiveFrames {
    /// Frames like `template`, an Ethernet frame of UDP in IPv4, varied as `what` says. The device needs an XDP program
    /// (a [`Tap`] will do). Namespace: that of the thread which calls [`Self::send`].
    pub fn new(name: &str, ifindex: u32, template: Vec<u8>, what: Blast) -> Result<Self, Error> {
        let mut ebpf = load(name)?;
        program(&mut ebpf, abi::BLAST).load().map_err(Error::bpf(name, "load the generator"))?;
        let mut config: Array<_, Blast> = map(name, &mut ebpf, abi::BLAST_CONFIG)?;
        config.set(0, what, 0).map_err(Error::bpf(name, "configure the generator"))?;
        let mut context = [0; 24];
        let len = u32::try_from(template.len()).unwrap_or(0);
        context[4..8].copy_from_slice(&len.to_ne_bytes()); // data_end
        context[12..16].copy_from_slice(&ifindex.to_ne_bytes()); // ingress_ifindex
        Ok(Self { name: name.to_owned(), ebpf, context, template })
    }

    /// Tries to send so many; the device takes what it has room for.
    pub fn send(&mut self, packets: u32) -> Result<(), Error> {
        let options = TestRunOptions {
            data_in: Some(&self.template),
            ctx_in: Some(&self.context),
            repeat: packets,
            attrs: TestRunAttrs::new().xdp_live_frames(64),
            ..TestRunOptions::new()
        };
        program(&mut self.ebpf, abi::BLAST)
            .test_run(options)
            .map(drop)
            .map_err(Error::bpf(&self.name, "send live frames (Linux 5.18 or later is needed)"))
    }
}

impl fmt::Debug for LiveFrames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveFrames").field("name", &self.name).finish_non_exhaustive()
    }
}

fn load(name: &str) -> Result<Ebpf, Error> {
    EbpfLoader::new().load(OBJECT).map_err(Error::bpf(name, "create the maps of the bench's programs"))
}

fn program<'a>(ebpf: &'a mut Ebpf, which: &str) -> &'a mut Xdp {
    ebpf.program_mut(which)
        .and_then(|p| p.try_into().ok())
        .expect("the object was built with this program in it")
}

fn map<T: TryFrom<Map, Error = MapError>>(
    name: &str,
    ebpf: &mut Ebpf,
    map: &'static str,
) -> Result<T, Error> {
    let map = ebpf.take_map(map).expect("the object was built with this map in it");
    T::try_from(map).map_err(Error::bpf(name, "use a map of the bench's programs"))
}
