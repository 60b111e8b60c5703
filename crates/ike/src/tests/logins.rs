//! Logging in by EAP, in both roles (RFC 7296 §2.16), and post-quantum pre-shared keys (RFC 8784).

use super::certificates::{lab, own, trust};
use super::pair::*;
use crate::cert::Family;
use crate::config::*;
use crate::counters::Counter;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A logs in at B, which has a certificate.
fn logs_in(side: Side, c: &mut Connection, password: &str, methods: (&[EapMethod], &[EapMethod])) {
    let lab = lab(Family::P256);
    if side == Side::A {
        let password = Secret::new(password.into());
        c.local_auth = LocalAuth::Eap(Arc::new(EapClient {
            user: "carol".into(),
            password,
            methods: methods.0.into(),
            tls: None,
        }));
        c.remote_auth = trust(&[&lab.root]);
    } else {
        c.local_auth = LocalAuth::Key(Arc::new(own(&lab.b, &[])));
        let users = [("carol", "carol-pass"), ("dave", "dave-pass")];
        let users = users.map(|(name, password)| (name.to_owned(), Secret::new(password.into())));
        c.remote_auth = RemoteAuth::Eap(Arc::new(EapServer {
            methods: methods.1.into(),
            users: Arc::new(BTreeMap::from(users)),
            ask_identity: true,
            tls: None,
        }));
        c.remote_id = Identity::Any;
    }
}

const MSCHAPV2: &[EapMethod] = &[EapMethod::MsChapV2];
const MD5: &[EapMethod] = &[EapMethod::Md5];

/// With a key of the method, with none (AUTH then is made of SK_p), and after a Nak; with loss, and in pieces.
#[test]
fn carol_logs_in_by_each_method() {
    let both: &[EapMethod] = &[EapMethod::MsChapV2, EapMethod::Md5];
    for (seed, methods) in [(1, (MSCHAPV2, MSCHAPV2)), (2, (MD5, MD5)), (3, (MD5, both)), (4, (both, MD5))] {
        for loss in [0, 20] {
            let mut pair = Pair::with(seed, |side, c| logs_in(side, c, "carol-pass", methods));
            pair.faults.loss = loss;
            pair.run_secs(if loss == 0 { 1 } else { 60 });
            pair.faults.loss = 0;
            pair.run_secs(20);
            pair.assert_one_pair();
            assert_eq!(
                pair.b.ep.snapshot(pair.now).ike_sas[0].remote_id,
                "carol",
                "who is proven, not who is claimed"
            );
            pair.rekey_ike(Side::A);
            pair.rekey_child(Side::B);
            pair.run_secs(10);
            pair.assert_one_pair();
        }
    }
}

#[test]
fn who_does_not_know_the_password_gets_nothing() {
    for methods in [MSCHAPV2, MD5] {
        let mut pair = Pair::with(5, |side, c| logs_in(side, c, "guess", (methods, methods)));
        pair.run_secs(1);
        assert!(pair.a.pairs().is_empty() && pair.b.pairs().is_empty());
        let of = |lines: &[String], text: &str| lines.iter().any(|line| line.contains(text));
        assert!(of(&pair.b.log, "carol does not know the password"), "{:#?}", pair.b.log);
        assert!(of(&pair.a.log, "the server refused us"), "{:#?}", pair.a.log);
        assert_eq!(pair.b.count(Counter::AuthFailed), 1);
    }
    let mut pair = Pair::with(6, |side, c| logs_in(side, c, "carol-pass", (MD5, MSCHAPV2)));
    pair.run_secs(1);
    assert!(pair.a.pairs().is_empty());
    assert!(pair.b.log.iter().any(|l| l.contains("no method that both sides can")), "{:#?}", pair.b.log);
}

/// The responder proves itself first: a client never answers one that does not.
#[test]
fn a_client_tells_nothing_to_a_stranger() {
    let mut pair = Pair::with(7, |side, c| {
        logs_in(side, c, "carol-pass", (MD5, MD5));
        if side == Side::B {
            c.local_auth = LocalAuth::Psk(Secret::new(b"anything".to_vec()));
        }
    });
    pair.run_secs(1);
    assert!(pair.a.pairs().is_empty() && pair.b.pairs().is_empty());
    assert!(pair.a.count(Counter::AuthFailed) > 0);
    // And a responder that asks for nothing lets nobody in without AUTH.
    let mut pair = Pair::with(8, |side, c| {
        if side == Side::A {
            logs_in(side, c, "carol-pass", (MD5, MD5));
        }
    });
    pair.run_secs(1);
    assert!(pair.b.pairs().is_empty());
    assert!(pair.b.log.iter().any(|l| l.contains("lets a peer log in by EAP")), "{:#?}", pair.b.log);
}

/// One who never finishes is forgotten in time.
#[test]
fn a_half_open_login_ends() {
    let mut pair = Pair::with(9, |side, c| logs_in(side, c, "carol-pass", (MSCHAPV2, MSCHAPV2)));
    let mut n = 0;
    pair.filter = Some(Box::new(move |from, _| {
        n += u32::from(from == Side::A);
        from == Side::A && n > 3
    }));
    pair.run_secs(2);
    let states = |p: &Pair| p.b.ep.snapshot(p.now).ike_sas.iter().map(|s| s.state).collect::<Vec<_>>();
    assert_eq!(states(&pair), ["EAP asked"]);
    pair.command(Side::A, crate::command::Command::Terminate { connection: CONNECTION });
    pair.run_secs(40);
    assert_eq!(states(&pair), [""; 0]);
    assert!(pair.b.count(Counter::HalfOpenExpired) > 0);
}

/// What the trace says of a login names every step, and no secret.
#[test]
fn the_trace_of_a_login_has_no_secret() {
    let mut pair = Pair::with(10, |side, c| {
        logs_in(side, c, "carol-pass", (MSCHAPV2, MSCHAPV2));
        c.start = Start::Respond;
    });
    for side in [Side::A, Side::B] {
        pair.command(side, crate::command::Command::Trace { connection: CONNECTION, on: true });
    }
    pair.initiate(Side::A);
    pair.run_secs(1);
    pair.assert_one_pair();
    for node in [&pair.a, &pair.b] {
        let all = format!("{:?}", node.events);
        for step in ["EAP(Request Identity)", "EAP(Response MSCHAPv2)", "EAP(Success)"] {
            assert!(all.contains(step), "{step}");
        }
        assert!(!all.contains("carol-pass"));
    }
}

fn ppk(id: &str, key: u8, required: bool) -> Option<Ppk> {
    Some(Ppk { id: id.into(), key: Secret::new(vec![key; 32]), required })
}

/// The whole table of RFC 8784 §3: what each side has and whether it insists.
#[test]
fn ppks_are_used_where_both_have_them_and_missed_where_one_insists() {
    let choices =
        [None, ppk("one", 1, false), ppk("one", 1, true), ppk("two", 2, false), ppk("two", 2, true)];
    for (n, a) in (0u64..).zip(&choices) {
        for (m, b) in (0u64..).zip(&choices) {
            let mut pair = Pair::with_key_log(20 + 5 * n + m, |side, c| {
                c.ppk = if side == Side::A { a.clone() } else { b.clone() };
                c.proposals = vec![IkeProposal { kem: (m == 1).then_some(Kem::MlKem512), ..GCM }];
            });
            pair.run_secs(1);
            let same = a.as_ref().map(|p| &p.id) == b.as_ref().map(|p| &p.id);
            let insists = |p: &Option<Ppk>| p.as_ref().is_some_and(|p| p.required);
            let up = same || !(insists(a) || insists(b));
            assert_eq!(pair.a.pairs().len(), usize::from(up), "{a:?} {b:?} {:#?}", pair.a.log);
            assert_eq!(pair.b.pairs().len(), usize::from(up), "{a:?} {b:?}");
            if up {
                // The children's keys agree, and so do those of later ones.
                pair.assert_one_pair();
                pair.rekey_ike(Side::B);
                pair.run_secs(3);
                pair.rekey_child(Side::A);
                pair.run_secs(10);
                pair.assert_one_pair();
            }
        }
    }
}

/// One name, two keys: the proof fails, and does not fall back to the keys without it.
#[test]
fn another_key_under_the_same_name_is_refused() {
    for required in [true, false] {
        let mut pair = Pair::with(60, |side, c| c.ppk = ppk("one", side as u8, required));
        pair.run_secs(1);
        assert!(pair.a.pairs().is_empty() && pair.b.pairs().is_empty());
        assert!(pair.b.count(Counter::AuthFailed) > 0);
    }
}
