//! A network namespace that is gone when the test is.
//!
//! Programs are started with `nsenter`: `ip netns exec` would give them a mount namespace of their own, in which pinned
//! XDP programs die with the process.

use std::fs::File;
use std::process::{Command, Output};
use std::thread;

/// `ip` with these words; panics with what it said when it fails. Returns its output.
pub fn ip(words: &str) -> String {
    let output = Command::new("ip").args(words.split_whitespace()).output();
    let output = output.expect("iproute2 is needed: apt-get install iproute2");
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`ip {words}` (root is needed): {why}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Called `name` and the process id, with loopback up.
    pub fn new(name: &str) -> Self {
        let me = Self { name: format!("{name}-{}", std::process::id()) };
        me.remove(); // of an earlier process with this id
        ip(&format!("netns add {}", me.name));
        me.ip("link set lo up");
        me
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// `ip` inside.
    pub fn ip(&self, words: &str) -> String {
        ip(&format!("-n {} {words}", self.name))
    }

    /// A veth pair from `device` here to `their_device` in `other`; both ends up.
    pub fn join(&self, device: &str, other: &Self, their_device: &str) {
        self.ip(&format!("link add {device} type veth peer name {their_device} netns {}", other.name));
        self.ip(&format!("link set {device} up"));
        other.ip(&format!("link set {their_device} up"));
    }

    /// A program to be started inside, with the file systems of this process.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).arg(program);
        command
    }

    /// Runs a program to its end.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Output {
        self.command(program).args(arguments).output().expect("nsenter is needed: apt-get install util-linux")
    }

    /// Link address of a device.
    pub fn mac(&self, device: &str) -> [u8; 6] {
        let text = self.ip(&format!("-o link show {device}"));
        let mac = text.split("link/ether ").nth(1).and_then(|rest| rest.split(' ').next());
        let bytes = mac.expect("a link address").split(':').map(|b| u8::from_str_radix(b, 16));
        bytes.collect::<Result<Vec<_>, _>>().expect("hexadecimal").try_into().expect("six bytes")
    }

    /// Runs on a thread of its own that enters the namespace first: sockets and devices are then of that namespace.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.name)).expect("the namespace");
        let enter = || {
            nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).expect("root is needed");
            work()
        };
        thread::scope(|scope| scope.spawn(enter).join().expect("the work in the namespace"))
    }

    fn remove(&self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.remove();
    }
}
