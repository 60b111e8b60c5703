//! Rekeys by one side, without a gap.

use super::pair::*;
use crate::config::*;
use crate::counters::Counter;
use crate::event::Event;
use core::time::Duration;

fn pfs(c: &mut Connection, groups: &[Option<Group>]) {
    c.children[0].proposals = groups.iter().map(|&group| EspProposal { group, ..ESP }).collect();
}

// R208, R308
#[test]
fn child_rekeys_leave_no_moment_without_a_working_pair() {
    for traffic in [true, false] {
        let mut pair = Pair::established();
        pair.traffic = traffic;
        for i in 0..20 {
            let before = pair.a.pairs()[0].id;
            pair.rekey_child(if i % 2 == 0 { Side::A } else { Side::B });
            pair.run_secs(2);
            pair.assert_one_pair();
            let after = pair.a.pairs()[0].clone();
            assert!(after.id != before && after.replaces == Some(before));
        }
        assert_eq!(pair.a.count(Counter::ChildRekeyed) + pair.b.count(Counter::ChildRekeyed), 20);
        let downs = pair.a.events.iter().filter(|e| matches!(e, Event::ChildDown { .. })).count();
        assert_eq!(downs, 0);
    }
}

// Step by step: the responder goes on with the old SA until the initiator shows that it has the new one.
#[test]
fn the_responder_switches_when_the_peer_has_proven_the_new_sa() {
    let mut pair = Pair::established();
    let old = pair.b.pairs()[0].id;
    pair.rekey_child(Side::A);
    // Request, installation at B, answer: B has both, and still sends by the old one.
    pair.run(LATENCY + INSTALL);
    assert_eq!(pair.b.pairs().len(), 2);
    assert_eq!(pair.b.outbound[&CHILD], old);
    pair.run_secs(1);
    assert_ne!(pair.b.outbound[&CHILD], old);
}

#[test]
fn the_old_inbound_sa_has_a_grace() {
    let mut pair = Pair::established();
    pair.rekey_child(Side::A);
    pair.run_secs(1);
    for node in [&pair.a, &pair.b] {
        let graces: Vec<Duration> = node
            .events
            .iter()
            .filter_map(|e| if let Event::Remove { grace, .. } = e { Some(*grace) } else { None })
            .collect();
        assert_eq!(graces, [Duration::from_secs(5)]);
    }
}

#[test]
fn ike_rekeys_keep_the_children() {
    let mut pair = Pair::established();
    for i in 0..10 {
        let (ike, child) = (pair.live(Side::A)[0].id, pair.a.pairs()[0].id);
        pair.rekey_ike(if i % 2 == 0 { Side::A } else { Side::B });
        pair.run_secs(2);
        pair.assert_one_pair();
        assert_ne!(pair.live(Side::A)[0].id, ike);
        assert_eq!(pair.a.pairs()[0].id, child, "children move, they do not change");
        // The new IKE SA can rekey the child that it inherited.
        pair.rekey_child(if i % 3 == 0 { Side::A } else { Side::B });
        pair.run_secs(2);
        pair.assert_one_pair();
    }
    let (ups, downs) = pair.a.events.iter().fold((0, 0), |(u, d), e| match e {
        Event::IkeUp { .. } => (u + 1, d),
        Event::IkeDown { .. } => (u, d + 1),
        _ => (u, d),
    });
    assert_eq!((ups, downs), (11, 10));
}

// R163, R164: lifetimes begin rekeys by themselves; both ends have the same ones
#[test]
fn lifetimes_begin_rekeys() {
    let mut pair = Pair::with(21, |side, c| {
        c.lifetime = Duration::from_secs(if side == Side::A { 500 } else { 700 });
        c.children[0].lifetime = Duration::from_secs(100);
        c.children[0].hard_lifetime = Duration::from_secs(130);
    });
    pair.run_secs(1);
    pair.watch = true;
    pair.run_secs(2000);
    pair.assert_one_pair();
    let children = pair.a.count(Counter::ChildRekeyed) + pair.b.count(Counter::ChildRekeyed);
    assert!((18..=22).contains(&children), "{children} rekeys in 2000 s");
    assert!(pair.a.count(Counter::IkeRekeyed) >= 3);
}

// R140: PFS in all the ways the two sides can want it
#[test]
fn rekeys_with_and_without_pfs() {
    let x = Some(Group::Curve25519);
    let e = Some(Group::Ecp256);
    let cases: [(&[Option<Group>], &[Option<Group>], Option<Group>); 5] = [
        (&[None], &[None], None),
        (&[x], &[x], x),
        (&[x, None], &[None], None),
        // B wants another group first: INVALID_KE_PAYLOAD, then again.
        (&[x, e], &[e], e),
        (&[e], &[x, e], e),
    ];
    for (i, (a, b, want)) in cases.into_iter().enumerate() {
        let mut pair = Pair::with(30 + i as u64, |side, c| pfs(c, if side == Side::A { a } else { b }));
        pair.run_secs(1);
        pair.watch = true;
        pair.rekey_child(Side::A);
        pair.run_secs(20);
        pair.assert_one_pair();
        assert_eq!(pair.a.pairs()[0].proposal.group, want, "case {i}");
        assert_eq!(pair.a.count(Counter::ChildRekeyed), 1, "case {i}");
        pair.rekey_child(Side::B);
        pair.run_secs(20);
        pair.assert_one_pair();
    }
}

#[test]
fn a_rekey_that_the_peer_refuses_leaves_the_old_pair() {
    let mut pair = Pair::with(40, |side, c| {
        if side == Side::B {
            pfs(c, &[Some(Group::Curve25519)]);
        }
    });
    pair.run_secs(1);
    let old = pair.a.pairs()[0].id;
    pair.rekey_child(Side::A);
    pair.run_secs(5);
    pair.assert_one_pair();
    assert_eq!(pair.a.pairs()[0].id, old);
    assert_eq!(pair.b.count(Counter::NoProposal), 1);
}

#[test]
fn ike_rekey_with_another_group() {
    let second = IkeProposal { group: Group::Ecp256, ..GCM };
    let mut pair = Pair::with(41, |side, c| {
        c.proposals = match side {
            Side::A => vec![GCM, second],
            Side::B => vec![second, GCM],
        }
    });
    pair.run_secs(1);
    pair.rekey_ike(Side::A);
    pair.run_secs(5);
    pair.assert_one_pair();
    assert_eq!(pair.live(Side::A)[0].proposal, Some(second));
}

#[test]
fn a_data_plane_that_refuses_the_new_pair_keeps_the_old_one() {
    for who in [Side::A, Side::B] {
        let mut pair = Pair::established();
        pair.node(who).refuse_installs = 1;
        pair.rekey_child(Side::A);
        pair.run_secs(30);
        pair.assert_one_pair();
    }
}
