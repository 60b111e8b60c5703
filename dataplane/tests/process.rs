//! The whole process, with real devices in namespaces of its own: forwarding, failing closed, ending, starting again.
//! Needs root, iproute2, util-linux (nsenter) and ping.
#![allow(clippy::unwrap_used)] // helpers of tests

#[path = "process/lab.rs"]
mod lab;

use lab::{Lab, rested, total, wait_for};
use ravelin_ring::Error;
use ravelin_ring::counters::{Counter, SocketCounter, XdpCounter};
use ravelin_ring::msg::{PortId, TableEvent};
use ravelin_ring::setup::{Attach, Setup};
use ravelin_testkit::eventually;

// R303, R307
#[test]
fn forwards_fails_closed_and_lets_go() {
    let lab = Lab::new("life");
    let setup = lab.setup(&["lan0", "wan0"]);
    assert_eq!(lab.ping("a", "10.77.2.2", 3), 3, "without a data plane the kernel forwards");

    let first = lab.start();
    let mut session = lab.connect(&setup).unwrap();
    assert!(session.welcome.fresh);
    assert!(session.welcome.ports.iter().all(|p| p.attached && p.queues >= 1), "{:?}", session.welcome);
    lab.install(&mut session, 1);

    // Both ways: each ping is a request and a reply.
    assert_eq!(lab.ping("a", "10.77.2.2", 50), 50);
    assert_eq!(lab.ping("b", "10.77.1.2", 50), 50);
    let counters = rested(&session);
    assert_eq!(total(&counters, Counter::Forwarded), 200, "{counters:?}");
    assert_eq!(total(&counters, Counter::Received), 200);
    // Copied a few times per second.
    eventually("XDP to have steered all: the kernel forwarded nothing itself", || {
        let steered = session.counters.port(0).unwrap().get(XdpCounter::Steered);
        (steered == 100).then_some(())
    });

    // Another control process: it gets new rings, and finds what is installed.
    let mut second = lab.connect(&setup).unwrap();
    assert!(!second.welcome.fresh);
    drop(session);
    assert_eq!(lab.ping("a", "10.77.2.2", 20), 20, "what was committed stays in force");
    lab.install(&mut second, 2);
    assert_eq!(lab.ping("a", "10.77.2.2", 20), 20);
    assert_eq!(total(&rested(&second), Counter::Forwarded), 280, "counters go on");

    // What comes while nobody receives is counted by the kernel: the rings hold less than is sent.
    first.signal("-STOP");
    lab.run("a", "ping", &["-q", "-n", "-l", "2000", "-c", "2000", "-W", "1", "10.77.2.2"]);
    first.signal("-CONT");
    eventually("the frames that found no room", || {
        let port = second.counters.port(0).unwrap();
        let lost = port.socket(SocketCounter::RxRingFull) + port.socket(SocketCounter::RxDropped);
        (200..=2000).contains(&lost).then_some(())
    });

    // A setup of another shape is refused, and says in what.
    let mut other = setup.clone();
    other.frames *= 2;
    let error = lab.connect(&other).unwrap_err();
    assert!(matches!(&error, Error::Refused(why) if why.contains("frames")), "{error}");

    // kill -9: the program stays and drops what is protected, though the kernel would forward it.
    first.signal("-KILL");
    assert_eq!(first.end().0, None);
    assert_eq!(lab.ping("a", "10.77.2.2", 5), 0);
    assert_eq!(lab.ping("b", "10.77.1.2", 5), 0);
    assert!(lab.pinned());

    // The next one takes over where it stands; SIGTERM lets go.
    let third = lab.start();
    let mut session = lab.connect(&setup).unwrap();
    assert!(session.welcome.fresh, "a new process knows nothing");
    assert_eq!(lab.ping("a", "10.77.2.2", 5), 0, "before the first commit nothing passes");
    lab.install(&mut session, 3);
    assert_eq!(lab.ping("a", "10.77.2.2", 20), 20);
    third.signal("-TERM");
    let (code, log) = third.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(!lab.pinned());
    assert_eq!(lab.ping("a", "10.77.2.2", 5), 5, "the kernel forwards again");
}

#[test]
fn punts_and_injects_through_the_tun_device() {
    let lab = Lab::new("tun");
    let plane = lab.start();
    let mut session = lab.connect(&lab.setup(&["lan0", "wan0"])).unwrap();
    lab.install(&mut session, 1);
    lab.gateway_ip("link set ravelin0 up");
    assert_eq!(lab.ping("a", "10.77.1.1", 20), 20, "the gateway's own address: punted");
    let counters = rested(&session);
    assert_eq!(total(&counters, Counter::Punted), 20);

    // The host's own traffic into the TUN device goes out of a port; the answer is punted.
    lab.gateway_ip("route add 10.77.2.2/32 dev ravelin0 src 10.77.1.1");
    assert_eq!(lab.ping("gw", "10.77.2.2", 20), 20);
    let counters = rested(&session);
    assert_eq!(total(&counters, Counter::Injected), 20, "{counters:?}");
    assert_eq!(total(&counters, Counter::Punted), 40);
    plane.signal("-INT");
    assert_eq!(plane.end().0, Some(0));
}

#[test]
fn a_device_that_comes_back_is_taken_again() {
    let lab = Lab::new("hotplug");
    let plane = lab.start();
    // By busy polling, so that a queue that is polled goes and comes, too.
    let mut setup = Setup { busy_poll_us: 20, ..lab.setup(&["lan0", "wan0"]) };
    // In generic mode: where no socket can be zero-copy, frames lie spread over the sets of the cache.
    setup.ports.iter_mut().for_each(|port| port.attach = Attach::Generic);
    let mut session = lab.connect(&setup).unwrap();
    lab.install(&mut session, 1);
    assert_eq!(lab.ping("a", "10.77.2.2", 5), 5);
    lab.gateway_ip("link del lan0");
    wait_for(&mut session, TableEvent::PortState { port: PortId(0), attached: false });
    lab.cable("a", "lan0", 1);
    wait_for(&mut session, TableEvent::PortState { port: PortId(0), attached: true });
    lab.install(&mut session, 2);
    assert_eq!(lab.ping("a", "10.77.2.2", 20), 20, "new device, same port");
    rested(&session);
    plane.signal("-TERM");
    let (code, log) = plane.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("busy polling is refused"), "{log}");
}

#[test]
fn what_cannot_start_leaves_nothing() {
    let lab = Lab::new("fail");
    let plane = lab.start();
    let error = lab.connect(&lab.setup(&["lan0", "nonesuch0"])).unwrap_err();
    let why = error.to_string();
    assert!(why.contains("nonesuch0") && why.contains("no such device"), "{why}");
    let (code, log) = plane.end();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("nonesuch0"), "{log}");
    assert!(!lab.pinned(), "the port that was attached is let go");
    assert_eq!(lab.ping("a", "10.77.2.2", 3), 3);
}
