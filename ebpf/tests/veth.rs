//! The program on real devices: veth pairs in network namespaces made here. Needs root, `ip` and `nsenter`.
//!
//! A datagram from the host's namespace to an address of the gateway's namespace arrives, or it does not: that is all
//! these tests look at, besides what the kernel says is attached.
#![allow(clippy::unwrap_used, reason = "a test's helpers are test code")]

mod lab;

use lab::{Lab, PROTECTED, UNPROTECTED};
use ravelin_ebpf::abi::{MAX_QUEUES, VERSION};
use ravelin_ebpf::{Admission, AttachMode, Attached, Error, attached_program, release};

#[test]
fn a_killed_process_leaves_protected_traffic_dropped() {
    let lab = Lab::new("wire-kill");
    assert!(lab.arrives(UNPROTECTED) && lab.arrives(PROTECTED), "before");
    // 1. Attached natively, the kernel's traffic still passes.
    let child = lab.spawn_attach(&["10.2.0.0/24"]);
    assert_eq!(child.mode, "native");
    assert!(lab.arrives(UNPROTECTED) && !lab.arrives(PROTECTED), "attached");
    let first = lab.in_gateway(attached_program).unwrap().unwrap();
    // 2. The process dies by SIGKILL; the program does not.
    child.kill();
    assert_eq!(lab.in_gateway(attached_program).unwrap(), Some(first));
    assert!(lab.arrives(UNPROTECTED) && !lab.arrives(PROTECTED), "dead");
    // 3. The next process adopts: another program behind the same link, the tables as they were.
    let steering = lab.attach(AttachMode::Native).unwrap();
    let second = lab.in_gateway(attached_program).unwrap().unwrap();
    assert_ne!(first.0, second.0);
    assert_eq!((second.1, steering.attached_mode()), (Attached::Native, Attached::Native));
    assert!(lab.arrives(UNPROTECTED) && !lab.arrives(PROTECTED), "adopted");
    assert!(steering.counters().unwrap().no_worker > 0);
    // 4. Let go: nothing is left.
    steering.detach().unwrap();
    assert_eq!(lab.in_gateway(attached_program).unwrap(), None);
    assert!(!lab.pins().exists());
    assert!(lab.arrives(UNPROTECTED) && lab.arrives(PROTECTED), "detached");
}

#[test]
fn dropping_keeps_the_program_and_release_removes_it() {
    let lab = Lab::new("wire-rel");
    let mut steering = lab.attach(AttachMode::Auto).unwrap();
    steering.set_protected(&["10.2.0.0/24".parse().unwrap()]).unwrap();
    assert!(!lab.arrives(PROTECTED));
    drop(steering);
    assert!(lab.in_gateway(attached_program).unwrap().is_some());
    assert!(!lab.arrives(PROTECTED), "no owner");
    assert_eq!(release(&lab.pins()).unwrap(), [lab.device()]);
    assert_eq!(lab.in_gateway(attached_program).unwrap(), None);
    assert!(lab.arrives(PROTECTED), "released");
    assert_eq!(release(&lab.pins()).unwrap(), [] as [String; 0], "again is no error");
}

#[test]
fn a_restart_has_no_moment_in_which_protected_traffic_passes() {
    let lab = Lab::new("wire-gap");
    let mut steering = lab.attach(AttachMode::Native).unwrap();
    steering.set_protected(&["10.2.0.0/24".parse().unwrap()]).unwrap();
    let arrived = lab.flood(PROTECTED, || {
        let next = lab.attach(AttachMode::Native).unwrap();
        drop(std::mem::replace(&mut steering, next));
    });
    assert_eq!(arrived, 0);
    steering.detach().unwrap();
}

#[test]
fn changing_tables_has_no_moment_in_which_protected_traffic_passes() {
    let lab = Lab::new("wire-tab");
    let mut steering = lab.attach(AttachMode::Auto).unwrap();
    let prefixes = |all: &[&str]| all.iter().map(|p| p.parse().unwrap()).collect::<Vec<_>>();
    steering.set_protected(&prefixes(&["10.2.0.0/24"])).unwrap();
    let arrived = lab.flood(PROTECTED, || {
        for set in [&["10.2.0.0/16", "fd02::/16"][..], &["0.0.0.0/0"], &["10.2.0.1/32"], &["10.2.0.0/24"]] {
            steering.set_protected(&prefixes(set)).unwrap();
        }
    });
    assert_eq!(arrived, 0);
    steering.set_protected(&prefixes(&["10.3.0.0/24"])).unwrap();
    assert!(lab.arrives(PROTECTED), "no longer protected");
    steering.detach().unwrap();
}

#[test]
fn sockets_addresses_and_port_are_set_and_cleared() {
    let lab = Lab::new("wire-set");
    let mut steering = lab.attach(AttachMode::Auto).unwrap();
    let gateways = ["198.18.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    steering.set_gateway_addresses(&gateways).unwrap();
    steering.set_gateway_addresses(&gateways[1..]).unwrap();
    steering.set_udp_port(Some(4565)).unwrap();
    let socket = lab.xdp_socket();
    steering.set_socket(0, &socket).unwrap();
    steering.clear_socket(0).unwrap();
    steering.clear_socket(0).unwrap();
    assert!(matches!(steering.set_socket(MAX_QUEUES, &socket), Err(Error::Queue { queue: MAX_QUEUES, .. })));
    assert!(matches!(steering.clear_socket(u32::MAX), Err(Error::Queue { .. })));
    steering.detach().unwrap();
}

#[test]
fn a_large_mtu_falls_back_to_generic_or_says_why_not() {
    let lab = Lab::new("wire-mtu");
    lab.set_mtu(9000);
    let e = lab.attach(AttachMode::Native).unwrap_err();
    assert!(matches!(e, Error::MtuTooLarge { .. }), "{e:?}");
    assert!(e.to_string().contains("mtu 1500"), "{e}");
    assert_eq!(lab.in_gateway(attached_program).unwrap(), None);
    assert!(!lab.pins().exists(), "nothing is left of a failed start");
    let mut steering = lab.attach(AttachMode::Auto).unwrap();
    assert_eq!(steering.attached_mode(), Attached::Generic);
    steering.set_protected(&["10.2.0.0/24".parse().unwrap()]).unwrap();
    assert!(lab.arrives(UNPROTECTED) && !lab.arrives(PROTECTED));
    // A mode in force is not changed behind the operator's back.
    drop(steering);
    lab.set_mtu(1500);
    let e = lab.attach(AttachMode::Native).unwrap_err();
    assert!(matches!(e, Error::ModeInForce { found: Attached::Generic, .. }), "{e:?}");
    assert!(!lab.arrives(PROTECTED), "a refused start opens nothing");
    release(&lab.pins()).unwrap();
}

#[test]
fn somebody_elses_program_is_named_and_left_alone() {
    let lab = Lab::new("wire-occ");
    let theirs = lab.attach_foreign();
    let e = lab.attach(AttachMode::Auto).unwrap_err();
    let (id, _) = lab.in_gateway(attached_program).unwrap().unwrap();
    assert!(matches!(&e, Error::Occupied { id: found, .. } if *found == id), "{e:?}");
    assert!(e.to_string().contains("xdp off"), "{e}");
    drop(theirs);
    release(&lab.pins()).unwrap();
}

#[test]
fn pins_of_a_device_that_is_gone_do_not_stand_in_the_way() {
    let lab = Lab::new("wire-gone");
    drop(lab.attach(AttachMode::Auto).unwrap());
    lab.recreate_device();
    assert_eq!(lab.in_gateway(attached_program).unwrap(), None);
    let steering = lab.attach(AttachMode::Auto).unwrap();
    assert!(lab.in_gateway(attached_program).unwrap().is_some());
    steering.detach().unwrap();
}

#[test]
fn maps_of_another_layout_are_refused() {
    let lab = Lab::new("wire-abi");
    let mut steering = lab.attach(AttachMode::Auto).unwrap();
    steering.set_protected(&["10.2.0.0/24".parse().unwrap()]).unwrap();
    drop(steering);
    lab.stamp_pinned_version(VERSION + 1);
    let e = lab.attach(AttachMode::Auto).unwrap_err();
    assert!(
        matches!(e, Error::PinnedByOther { found, ours, .. } if found == VERSION + 1 && ours == VERSION),
        "{e:?}"
    );
    assert!(!lab.arrives(PROTECTED), "a refused start opens nothing");
    release(&lab.pins()).unwrap();
}

#[test]
fn an_unknown_device_is_named() {
    let lab = Lab::new("wire-dev");
    let e = lab.attach_to(0x7fff_fff0, "nosuch0").unwrap_err();
    assert!(matches!(e, Error::NoDevice { .. }), "{e:?}");
    assert!(e.to_string().contains("nosuch0"), "{e}");
}

// R222: nothing but the VPN from the first frame on, by whatever way the program is attached; who dies opens nothing.
#[test]
fn a_port_for_the_vpn_alone_is_closed_from_attaching_on_until_it_is_told_otherwise() {
    let lab = Lab::new("wire-vpn");
    assert!(lab.arrives(UNPROTECTED), "before");
    let child = lab.spawn_attach(&["vpn-only"]);
    assert!(!lab.arrives(UNPROTECTED), "attached, without any table");
    child.kill();
    assert!(!lab.arrives(UNPROTECTED), "dead");
    let mut steering = lab.attach(AttachMode::Native).unwrap();
    assert!(!lab.arrives(UNPROTECTED), "adopted by one that was told nothing yet");
    let ike_ports = [500, 4500];
    let elsewhere = ["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
    let arrived = lab.flood(UNPROTECTED, || {
        for from in [&elsewhere[..], &[], &elsewhere[..1]] {
            steering.set_admission(Admission::Vpn { from, ike_ports }).unwrap();
        }
    });
    assert_eq!(arrived, 0, "while the list changes");
    let everybody = ["0.0.0.0/0".parse().unwrap()];
    steering.set_admission(Admission::Vpn { from: &everybody, ike_ports }).unwrap();
    assert!(lab.arrives(UNPROTECTED), "from an admitted source");
    steering.set_admission(Admission::Vpn { from: &[], ike_ports }).unwrap();
    assert!(!lab.arrives(UNPROTECTED), "closed again");
    assert!(steering.counters().unwrap().not_admitted > 0);
    steering.set_admission(Admission::All).unwrap();
    assert!(lab.arrives(UNPROTECTED), "opened");
    steering.detach().unwrap();
    let mut steering = lab.attach(AttachMode::Generic).unwrap();
    steering.set_admission(Admission::Vpn { from: &[], ike_ports }).unwrap();
    assert!(!lab.arrives(UNPROTECTED), "generic");
    steering.detach().unwrap();
}
