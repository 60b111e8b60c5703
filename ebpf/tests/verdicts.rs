//! The kernel's verdict equals user space's, for a corpus and for generated frames (BPF_PROG_TEST_RUN; no interface is
//! touched). Needs the rights to load programs and says so where they are missing.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test's helpers are test code")]

mod frames;

use aya::maps::{HashMap, LpmTrie, MapData, PerCpuArray, XskMap, lpm_trie::Key};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use frames::{Random, corpus, generated};
use ravelin_ebpf::abi::{self, Config, Counted};
use ravelin_wire::{
    Class, Features, First, FragmentKey, PortRanges, Prefix, Steer, SteerTables, Tables, classify,
};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_REDIRECT: u32 = 4;
/// BPF_PROG_TEST_RUN takes no less than an Ethernet header.
const SHORTEST: usize = 14;
const UDP_PORT: u16 = 4565;

struct Kernel {
    ebpf: Ebpf,
    gateways: Vec<IpAddr>,
    protected: Vec<Prefix>,
    exempt: Vec<Prefix>,
    /// Unbound, which is enough for a redirect to succeed in a test run.
    socket: Option<OwnedFd>,
    /// What the program remembers of first fragments, as user space sees it.
    first: RefCell<BTreeMap<FragmentKey, First>>,
    /// The port admits the VPN alone.
    closed: bool,
}

/// [`Tables`] with a memory for first fragments.
struct Remembering<'a>(Tables<'a>, &'a RefCell<BTreeMap<FragmentKey, First>>);

impl SteerTables for Remembering<'_> {
    fn is_gateway_v4(&self, addr: Ipv4Addr) -> bool {
        self.0.is_gateway_v4(addr)
    }
    fn is_gateway_v6(&self, addr: Ipv6Addr) -> bool {
        self.0.is_gateway_v6(addr)
    }
    fn is_protected_v4(&self, addr: Ipv4Addr) -> bool {
        self.0.is_protected_v4(addr)
    }
    fn is_protected_v6(&self, addr: Ipv6Addr) -> bool {
        self.0.is_protected_v6(addr)
    }
    fn udp_encap_port(&self) -> Option<u16> {
        self.0.udp_encap_port()
    }
    fn features(&self) -> Features {
        self.0.features()
    }
    fn is_admitted_v4(&self, addr: Ipv4Addr) -> bool {
        self.0.is_admitted_v4(addr)
    }
    fn is_admitted_v6(&self, addr: Ipv6Addr) -> bool {
        self.0.is_admitted_v6(addr)
    }
    fn is_ike_port(&self, port: u16) -> bool {
        self.0.is_ike_port(port)
    }
    fn is_inside(&self, addr: Ipv4Addr) -> bool {
        self.0.is_inside(addr)
    }
    fn translated_ports(&self, addr: Ipv4Addr) -> Option<PortRanges> {
        self.0.translated_ports(addr)
    }
    fn note_first(&self, key: &FragmentKey, first: Option<First>) {
        let mut map = self.1.borrow_mut();
        match first {
            Some(first) => map.insert(*key, first),
            None => map.remove(key),
        };
    }
    fn first_of(&self, key: &FragmentKey) -> Option<First> {
        self.1.borrow().get(key).copied()
    }
}

impl Kernel {
    /// With a socket for queue 0 (which test runs use) and the tables of the corpus.
    fn steering() -> Self {
        let mut me = Self::without_worker();
        me.set_socket();
        me
    }

    fn without_worker() -> Self {
        let cannot = "cannot load the XDP program; this test needs root (CAP_BPF, CAP_NET_ADMIN) and bpf()";
        let mut ebpf = EbpfLoader::new().load(ravelin_ebpf::OBJECT).expect(cannot);
        let program: &mut Xdp = ebpf.program_mut(abi::PROGRAM).unwrap().try_into().unwrap();
        program.load().expect(cannot);
        let mut me = Self {
            ebpf,
            gateways: frames::gateways(),
            protected: frames::protected(),
            exempt: frames::exempt(),
            socket: None,
            first: RefCell::default(),
            closed: false,
        };
        me.fill_tables();
        me
    }

    fn fill_tables(&mut self) {
        let mut g4: HashMap<_, [u8; 4], u32> = self.map(abi::GATEWAYS_V4);
        let mut g6: HashMap<_, [u8; 16], u32> = self.map(abi::GATEWAYS_V6);
        for a in &self.gateways {
            match a {
                IpAddr::V4(a) => g4.insert(a.octets(), 1, 0).unwrap(),
                IpAddr::V6(a) => g6.insert(a.octets(), 1, 0).unwrap(),
            }
        }
        let mut p4: LpmTrie<_, [u8; 4], u32> = self.map(abi::PROTECTED_V4);
        let mut p6: LpmTrie<_, [u8; 16], u32> = self.map(abi::PROTECTED_V6);
        let protected = self.protected.iter().map(|p| (p, abi::PROTECTED));
        for (p, value) in protected.chain(self.exempt.iter().map(|p| (p, abi::EXEMPT))) {
            match p.addr() {
                IpAddr::V4(a) => p4.insert(&Key::new(p.len().into(), a.octets()), value, 0).unwrap(),
                IpAddr::V6(a) => p6.insert(&Key::new(p.len().into(), a.octets()), value, 0).unwrap(),
            }
        }
        let mut inside: LpmTrie<_, [u8; 4], u32> = self.map(abi::INSIDE_V4);
        for p in frames::inside() {
            let IpAddr::V4(a) = p.addr() else { continue };
            inside.insert(&Key::new(p.len().into(), a.octets()), 1, 0).unwrap();
        }
        let mut translated: HashMap<_, [u8; 4], PortRanges> = self.map(abi::TRANSLATED_V4);
        for (addr, ports) in frames::translated() {
            translated.insert(addr.octets(), ports, 0).unwrap();
        }
        self.configure(Features::TRANSLATES | Features::GRE);
    }

    fn configure(&self, features: u32) {
        let mut config: aya::maps::Array<_, Config> = self.map(abi::CONFIG);
        let [a, b] = frames::IKE_PORTS.map(u32::from);
        let udp_port = UDP_PORT.into();
        config
            .set(0, Config { version: abi::VERSION, udp_port, features, ike_ports: a << 16 | b }, 0)
            .unwrap();
    }

    /// With a socket, on a port that admits the VPN alone, and what comes from [`frames::admitted`].
    fn closed() -> Self {
        let mut me = Self::steering();
        me.closed = true;
        let mut v4: LpmTrie<_, [u8; 4], u32> = me.map(abi::ADMITTED_V4);
        let mut v6: LpmTrie<_, [u8; 16], u32> = me.map(abi::ADMITTED_V6);
        for p in frames::admitted() {
            match p.addr() {
                IpAddr::V4(a) => v4.insert(&Key::new(p.len().into(), a.octets()), 1, 0).unwrap(),
                IpAddr::V6(a) => v6.insert(&Key::new(p.len().into(), a.octets()), 1, 0).unwrap(),
            }
        }
        me.configure(Features::TRANSLATES | Features::GRE | Features::VPN_ONLY);
        me
    }

    /// A map of its own descriptor, so that several can be open.
    fn map<T: TryFrom<aya::maps::Map>>(&self, name: &str) -> T
    where
        T::Error: std::fmt::Debug,
    {
        let id = self.ebpf.map(name).map(map_id).unwrap();
        let data = MapData::from_id(id).unwrap();
        let map = aya::maps::Map::from_map_data(data).unwrap();
        T::try_from(map).unwrap_or_else(|e| panic!("{name}: {e:?}"))
    }

    fn set_socket(&mut self) {
        // SAFETY: no pointers are passed.
        let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        assert!(
            fd >= 0,
            "no AF_XDP socket: {}; this test needs CAP_NET_RAW",
            std::io::Error::last_os_error()
        );
        // SAFETY: a new descriptor which nobody else owns.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        let mut map: XskMap<_> = self.map(abi::SOCKETS);
        map.set(0, socket.as_raw_fd(), 0).unwrap();
        self.socket = Some(socket);
    }

    fn verdict(&self, frame: &[u8]) -> u32 {
        let program: &Xdp = self.ebpf.program(abi::PROGRAM).unwrap().try_into().unwrap();
        let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::new() };
        program.test_run(options).unwrap_or_else(|e| panic!("test run of {frame:02x?}: {e}")).return_value
    }

    fn user_space(&self, frame: &[u8]) -> Steer {
        let admitted = frames::admitted();
        let tables = Tables {
            gateways: &self.gateways,
            protected: &self.protected,
            udp_port: Some(UDP_PORT),
            inside: &frames::inside(),
            translated: &frames::translated(),
            exempt: &self.exempt,
            gre: true,
            vpn_only: self.closed.then_some(&admitted),
            ike_ports: frames::IKE_PORTS,
        };
        classify(frame, &Remembering(tables, &self.first))
    }

    fn counter(&self, what: Counted) -> u64 {
        let map: PerCpuArray<_, u64> = self.map(abi::COUNTERS);
        map.get(&(what as u32), 0).unwrap().iter().sum()
    }

    /// Compares the two and says which it was.
    fn agree(&self, frame: &[u8]) -> Steer {
        let steer = self.user_space(frame);
        let want = match steer {
            Steer::Pass => XDP_PASS,
            Steer::ToWorker(_) => XDP_REDIRECT,
            Steer::DropUnparsable | Steer::DropNotAdmitted => XDP_DROP,
        };
        assert_eq!(self.verdict(frame), want, "user space says {steer:?} of {frame:02x?}");
        steer
    }
}

fn map_id(map: &aya::maps::Map) -> u32 {
    use aya::maps::Map;
    match map {
        Map::Array(m) | Map::HashMap(m) | Map::LpmTrie(m) | Map::PerCpuArray(m) | Map::XskMap(m) => {
            m.info().unwrap().id()
        }
        other => panic!("unexpected kind of map: {other:?}"),
    }
}

/// How often each verdict came, by name, so that a generator which misses one is found out.
fn tally(seen: &mut BTreeMap<&'static str, usize>, steer: Steer) {
    *seen.entry(frames::name(steer)).or_default() += 1;
}

fn assert_all_seen(seen: &BTreeMap<&'static str, usize>, at_least: usize, names: &[&str]) {
    for name in names {
        let n = seen.get(*name).copied().unwrap_or(0);
        assert!(n >= at_least, "only {n} frames were {name}: {seen:?}");
    }
}

// R40, R158
#[test]
fn corpus_has_the_same_verdict_on_both_sides() {
    let kernel = Kernel::steering();
    let mut seen = BTreeMap::new();
    for (what, frame, want) in corpus() {
        assert_eq!(kernel.user_space(&frame), want, "{what}");
        tally(&mut seen, kernel.agree(&frame));
    }
    assert_all_seen(&seen, 1, &frames::NAMES);
}

#[test]
fn every_truncation_of_the_corpus_has_the_same_verdict() {
    let kernel = Kernel::steering();
    for (_, frame, _) in corpus() {
        for len in SHORTEST..frame.len() {
            kernel.agree(&frame[..len]);
        }
    }
}

#[test]
fn every_byte_changed_has_the_same_verdict() {
    let kernel = Kernel::steering();
    for (_, frame, _) in corpus() {
        for at in 12..frame.len().min(96) {
            for change in [0x01, 0x10, 0x80, 0xff] {
                let mut f = frame.clone();
                f[at] ^= change;
                kernel.agree(&f);
            }
        }
    }
}

#[test]
fn generated_frames_have_the_same_verdict() {
    let kernel = Kernel::steering();
    let mut seen = BTreeMap::new();
    let mut random = Random::new(0x5eed);
    for _ in 0..20_000 {
        tally(&mut seen, kernel.agree(&generated(&mut random)));
    }
    assert_all_seen(&seen, 50, &frames::NAMES);
}

#[test]
fn without_a_socket_nothing_that_a_worker_should_get_passes() {
    let kernel = Kernel::without_worker();
    let mut want = [0u64; Counted::COUNT as usize];
    for (what, frame, steer) in corpus() {
        let (action, counter) = match steer {
            Steer::Pass => (XDP_PASS, Counted::Passed),
            Steer::ToWorker(_) => (XDP_DROP, Counted::NoWorker),
            Steer::DropUnparsable => (XDP_DROP, Counted::Unparsable),
            Steer::DropNotAdmitted => (XDP_DROP, Counted::NotAdmitted),
        };
        assert_eq!(kernel.verdict(&frame), action, "{what}");
        want[counter as usize] += 1;
    }
    for counter in [Counted::Passed, Counted::Steered, Counted::NoWorker, Counted::Unparsable] {
        assert_eq!(kernel.counter(counter), want[counter as usize], "{counter:?}");
    }
}

#[test]
fn steered_frames_are_counted_and_a_closed_socket_fails_closed() {
    let mut kernel = Kernel::steering();
    let esp =
        corpus().into_iter().find(|(_, _, s)| matches!(s, Steer::ToWorker(Class::Esp { .. }))).unwrap().1;
    assert_eq!(kernel.verdict(&esp), XDP_REDIRECT);
    assert_eq!(kernel.counter(Counted::Steered), 1);
    kernel.socket = None; // the kernel clears the entry of a socket that closes
    assert_eq!(kernel.verdict(&esp), XDP_DROP);
    assert_eq!((kernel.counter(Counted::Steered), kernel.counter(Counted::NoWorker)), (1, 1));
}

// R222: what such a port admits, and what it does not, each counted once.
#[test]
fn a_port_for_the_vpn_alone_admits_what_the_corpus_says() {
    let kernel = Kernel::closed();
    let mut seen = BTreeMap::new();
    let mut want = [0u64; Counted::COUNT as usize];
    for (what, frame, steer) in frames::closed() {
        assert_eq!(kernel.user_space(&frame), steer, "{what}");
        tally(&mut seen, kernel.agree(&frame));
        want[match steer {
            Steer::Pass => Counted::Passed,
            Steer::ToWorker(_) => Counted::Steered,
            Steer::DropUnparsable => Counted::Unparsable,
            Steer::DropNotAdmitted => Counted::NotAdmitted,
        } as usize] += 1;
    }
    assert_all_seen(&seen, 1, &["pass", "not admitted", "esp", "ah", "ipsec fragment", "esp in udp", "gre"]);
    for (n, counter) in
        [Counted::Passed, Counted::Steered, Counted::NoWorker, Counted::Unparsable, Counted::NotAdmitted]
            .into_iter()
            .enumerate()
    {
        assert_eq!(kernel.counter(counter), want[n], "{counter:?}");
    }
}

// R222: and nothing that is cut, changed or made up opens it: the open port's verdict decides what may pass at all.
#[test]
fn a_port_for_the_vpn_alone_agrees_and_never_admits_more_than_an_open_one() {
    let (kernel, open) = (Kernel::closed(), Kernel::without_worker());
    let judge = |frame: &[u8]| {
        let (steer, without) = (kernel.agree(frame), open.user_space(frame));
        match steer {
            Steer::DropNotAdmitted => {}
            // The fragments of IKE are remembered on the closed port only.
            _ if steer == without => {}
            _ if without == Steer::Pass
                || matches!(without, Steer::ToWorker(Class::Protected | Class::Translated)) =>
            {
                assert!(matches!(steer, Steer::Pass | Steer::DropUnparsable), "{steer:?} of {frame:02x?}");
            }
            _ => panic!("{steer:?}, where an open port says {without:?}: {frame:02x?}"),
        }
        steer
    };
    for (_, frame, _) in frames::closed() {
        (SHORTEST..frame.len()).for_each(|len| _ = judge(&frame[..len]));
        for at in 0..frame.len().min(110) {
            for change in [0x01, 0x10, 0x80, 0xff] {
                let mut f = frame.clone();
                f[at] ^= change;
                judge(&f);
            }
        }
    }
    let (mut random, mut seen) = (Random::new(0x0222), BTreeMap::new());
    for _ in 0..20_000 {
        tally(&mut seen, judge(&generated(&mut random)));
    }
    assert_all_seen(
        &seen,
        50,
        &["pass", "not admitted", "esp", "ah", "ipsec fragment", "esp in udp", "udp encapsulation"],
    );
}
