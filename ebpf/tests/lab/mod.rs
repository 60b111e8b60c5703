//! Two namespaces and a veth pair: a host that sends datagrams, a gateway on whose end the program sits.

use aya::maps::{Array, Map, MapData};
use aya::programs::{Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use ravelin_ebpf::abi::{self, Config};
use ravelin_ebpf::{AttachMode, Error, PortConfig, Steering};
use ravelin_testkit::Namespace;
use std::io::{BufRead as _, BufReader};
use std::net::UdpSocket;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// Addresses of the gateway's namespace.
pub(crate) const UNPROTECTED: &str = "10.77.0.1";
pub(crate) const PROTECTED: &str = "10.2.0.1";
const HOST: &str = "10.77.0.2";
/// Datagrams of a flood, at the least, and the time between two.
const FLOOD: usize = 2000;
const PAUSE: Duration = Duration::from_micros(100);

pub(crate) struct Lab {
    gateway: Namespace,
    host: Namespace,
}

/// A process that attached the program and holds it.
pub(crate) struct Attacher {
    child: Child,
    pub(crate) mode: String,
}

impl Attacher {
    /// SIGKILL, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Attacher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Lab {
    pub(crate) fn new(name: &str) -> Self {
        let (gateway, host) = (Namespace::new(&format!("{name}-g")), Namespace::new(&format!("{name}-h")));
        let me = Self { gateway, host };
        me.make_devices();
        me
    }

    fn make_devices(&self) {
        let (g, h) = (&self.gateway, &self.host);
        // A dot in the name, as VLAN devices have it, must not trouble bpffs.
        g.join("w.0", h, "h0");
        g.ip(&format!("addr add {UNPROTECTED}/24 dev w.0"));
        g.ip(&format!("addr add {PROTECTED}/32 dev w.0"));
        h.ip(&format!("addr add {HOST}/24 dev h0"));
        h.ip(&format!("route add {PROTECTED}/32 via {UNPROTECTED}"));
    }

    pub(crate) fn recreate_device(&self) {
        self.gateway.ip("link del w.0");
        self.make_devices();
    }

    pub(crate) fn set_mtu(&self, mtu: u32) {
        self.gateway.ip(&format!("link set w.0 mtu {mtu}"));
        self.host.ip(&format!("link set h0 mtu {mtu}"));
    }

    pub(crate) fn device(&self) -> String {
        "w.0".into()
    }

    pub(crate) fn pins(&self) -> PathBuf {
        Path::new("/sys/fs/bpf").join(self.gateway.name())
    }

    /// Whether any of a few datagrams from the host reaches a socket at this address of the gateway.
    pub(crate) fn arrives(&self, address: &str) -> bool {
        let receiver = self.gateway.inside(|| UdpSocket::bind((address, 0))).unwrap();
        let sender = self.host.inside(|| UdpSocket::bind((HOST, 0))).unwrap();
        receiver.set_read_timeout(Some(Duration::from_millis(150))).unwrap();
        let to = receiver.local_addr().unwrap();
        (0..4).any(|_| {
            sender.send_to(b"through", to).unwrap();
            receiver.recv(&mut [0; 16]).is_ok()
        })
    }

    /// Does `f` ten times or more while datagrams go to this address of the gateway: how many of them arrived.
    pub(crate) fn flood(&self, address: &str, mut f: impl FnMut()) -> usize {
        let receiver = self.gateway.inside(|| UdpSocket::bind((address, 0))).unwrap();
        let sender = self.host.inside(|| UdpSocket::bind((HOST, 0))).unwrap();
        receiver.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let to = receiver.local_addr().unwrap();
        let (sent, done) = (AtomicUsize::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Bounded, should `f` panic.
                while !done.load(Relaxed) && sent.fetch_add(1, Relaxed) < 50 * FLOOD {
                    sender.send_to(b"through", to).unwrap();
                    std::thread::sleep(PAUSE); // gives `f` its turn
                }
            });
            let mut rounds = 0;
            while rounds < 10 || sent.load(Relaxed) < FLOOD {
                f();
                rounds += 1;
            }
            done.store(true, Relaxed);
        });
        std::iter::from_fn(|| receiver.recv(&mut [0; 16]).ok()).count()
    }

    /// An unbound AF_XDP socket.
    pub(crate) fn xdp_socket(&self) -> OwnedFd {
        // SAFETY: no pointers are passed.
        let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        // SAFETY: a new descriptor which nobody else owns.
        unsafe { OwnedFd::from_raw_fd(fd) }
    }

    /// Runs with the index of the gateway's device, in its namespace.
    pub(crate) fn in_gateway<T: Send>(&self, f: impl FnOnce(u32) -> T + Send) -> T {
        self.gateway.inside(|| {
            // SAFETY: the name ends with a zero byte.
            let ifindex = unsafe { libc::if_nametoindex(c"w.0".as_ptr()) };
            assert_ne!(ifindex, 0, "w.0 is missing");
            f(ifindex)
        })
    }

    pub(crate) fn attach(&self, mode: AttachMode) -> Result<Steering, Error> {
        self.in_gateway(|ifindex| {
            let port = PortConfig { ifindex, name: self.device(), mode, vpn_only: false };
            Steering::load_and_attach(&port, &self.pins())
        })
    }

    pub(crate) fn attach_to(&self, ifindex: u32, name: &str) -> Result<Steering, Error> {
        let port = PortConfig { ifindex, name: name.into(), mode: AttachMode::Auto, vpn_only: false };
        self.in_gateway(|_| Steering::load_and_attach(&port, &self.pins()))
    }

    /// Another owner's program: as long as the value lives.
    pub(crate) fn attach_foreign(&self) -> Ebpf {
        let mut ebpf = EbpfLoader::new().load(ravelin_ebpf::OBJECT).unwrap();
        let program: &mut Xdp = ebpf.program_mut(abi::PROGRAM).unwrap().try_into().unwrap();
        program.load().unwrap();
        self.in_gateway(|ifindex| program.attach_to_if_index(ifindex, XdpMode::Driver).map(drop)).unwrap();
        ebpf
    }

    pub(crate) fn stamp_pinned_version(&self, version: u32) {
        let path = self.pins().join("w%2e0").join(abi::CONFIG);
        let mut config: Array<_, Config> = Map::Array(MapData::from_pin(path).unwrap()).try_into().unwrap();
        config.set(0, Config { version, ..Config::default() }, 0).unwrap();
    }

    /// A process of its own that attaches; back when it says in which mode.
    pub(crate) fn spawn_attach(&self, protected: &[&str]) -> Attacher {
        let example = std::env::current_exe().unwrap();
        let example = example.ancestors().nth(2).unwrap().join("examples/attach");
        assert!(
            example.exists(),
            "{} is not built; `cargo build -p ravelin-ebpf --examples`",
            example.display()
        );
        let mut child = self
            .gateway
            .command(&example.display().to_string())
            .args([self.device().as_ref(), self.pins().as_os_str()])
            .args(protected)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("nsenter (util-linux) is needed");
        let mut mode = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut mode).unwrap();
        Attacher { child, mode: mode.trim_end().into() }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = ravelin_ebpf::release(&self.pins());
    }
}
