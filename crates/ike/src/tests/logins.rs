//! Logging in by EAP (R206), in both roles (RFC 7296 §2.16), and post-quantum pre-shared keys (RFC 8784).

use super::certificates::{Lab, lab, own, trust};
use super::pair::*;
use crate::cert::Family;
use crate::command::{Answer, Status};
use crate::config::*;
use crate::counters::Counter;
use crate::event::Event;
use std::collections::BTreeMap;
use std::sync::Arc;

/// B lets these in, each with a password of its own.
pub(super) fn lets_in(c: &mut Connection, names: &[&str]) {
    logs_in(Side::B, c, "", (MSCHAPV2, MSCHAPV2));
    if let RemoteAuth::Eap(server) = &mut c.remote_auth {
        let users = names.iter().map(|name| ((*name).to_owned(), Secret::new(format!("{name}-pass").into())));
        Arc::make_mut(server).users = Arc::new(users.collect());
    }
}

/// A is one of them.
pub(super) fn as_user(c: &mut Connection, name: &str) {
    logs_in(Side::A, c, &format!("{name}-pass"), (MSCHAPV2, MSCHAPV2));
    if let LocalAuth::Eap(client) = &mut c.local_auth {
        Arc::make_mut(client).user = name.to_owned();
    }
}

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

/// A is carol, by MS-CHAPv2.
pub(super) fn carol(side: Side, c: &mut Connection) {
    logs_in(side, c, "carol-pass", (MSCHAPV2, MSCHAPV2));
}

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

/// RFC 8784 §3: with EAP the key is named once EAP is over; the first AUTH of the responder is made without it.
#[test]
fn ppks_go_together_with_logins() {
    let choices = [None, ppk("one", 1, false), ppk("one", 1, true), ppk("two", 2, false)];
    for method in [MSCHAPV2, MD5] {
        for (n, a) in (0u64..).zip(&choices) {
            for (m, b) in (0u64..).zip(&choices) {
                let mut pair = Pair::with(200 + 4 * n + m, |side, c| {
                    logs_in(side, c, "carol-pass", (method, method));
                    c.ppk = if side == Side::A { a.clone() } else { b.clone() };
                });
                pair.run_secs(1);
                let same = a.as_ref().map(|p| &p.id) == b.as_ref().map(|p| &p.id);
                let insists = |p: &Option<Ppk>| p.as_ref().is_some_and(|p| p.required);
                let up = same || !(insists(a) || insists(b));
                assert_eq!(pair.a.pairs().len(), usize::from(up), "{a:?} {b:?} {:#?}", pair.a.log);
                assert_eq!(pair.b.pairs().len(), usize::from(up), "{a:?} {b:?} {:#?}", pair.b.log);
                if up {
                    pair.assert_one_pair();
                }
            }
        }
    }
    let mut pair = Pair::with(240, |side, c| {
        logs_in(side, c, "carol-pass", (MSCHAPV2, MSCHAPV2));
        c.ppk = ppk("one", side as u8, false);
    });
    pair.run_secs(1);
    assert!(pair.a.pairs().is_empty() && pair.b.pairs().is_empty(), "one name, two keys");
}

fn tls(lab: &Lab, side: Side, revocation: Revocation) -> EapTls {
    let RemoteAuth::Certificate(mut trust) = trust(&[&lab.root]) else { panic!() };
    Arc::make_mut(&mut trust).revocation = revocation;
    let own = own(if side == Side::A { &lab.a } else { &lab.b }, &[]);
    EapTls { own: Arc::new(own), trust }
}

fn by_tls(lab: &Lab, side: Side, revocation: Revocation) -> (LocalAuth, RemoteAuth) {
    let (password, methods) = (Secret::new(vec![]), vec![EapMethod::Tls]);
    let tls = Some(tls(lab, side, revocation));
    let user = if side == Side::A { "a.lab" } else { "b.lab" }.to_owned();
    let client = EapClient { user, password, methods: methods.clone(), tls: tls.clone() };
    let server = EapServer { methods, users: Arc::default(), ask_identity: true, tls };
    (LocalAuth::Eap(Arc::new(client)), RemoteAuth::Eap(Arc::new(server)))
}

/// Both sides by EAP-TLS alone.
fn only(lab: &Lab, side: Side, c: &mut Connection, revocation: Revocation) {
    (c.local_auth, c.remote_auth) = by_tls(lab, side, revocation);
    if side == Side::B {
        c.remote_id = Identity::Any;
    }
}

/// RFC 5998: no AUTH of the responder before EAP; with loss, with rekeys, with a post-quantum pre-shared key.
#[test]
fn both_sides_prove_themselves_by_eap_alone() {
    let lab = lab(Family::P256);
    for (seed, loss, key) in [(300, 0, None), (301, 20, None), (302, 0, ppk("one", 1, true))] {
        let mut pair = Pair::with(seed, |side, c| {
            only(&lab, side, c, Revocation::default());
            c.ppk = key.clone();
        });
        pair.faults.loss = loss;
        pair.run_secs(if loss == 0 { 1 } else { 90 });
        pair.faults.loss = 0;
        pair.run_secs(20);
        pair.assert_one_pair();
        assert_eq!(pair.live(Side::B)[0].remote_id, "a.lab");
        assert_eq!(pair.live(Side::A)[0].remote_id, "b.lab");
        pair.rekey_ike(Side::B);
        pair.run_secs(10);
        pair.assert_one_pair();
    }
}

#[test]
fn eap_alone_is_not_taken_from_who_does_not_prove_itself() {
    let lab = lab(Family::P256);
    let refused = |mut pair: Pair, why: &str| {
        pair.run_secs(3);
        assert!(pair.a.pairs().is_empty() && pair.b.pairs().is_empty(), "{why}");
        let said = pair.a.log.iter().chain(&pair.b.log).any(|line| line.contains(why));
        assert!(said, "{why}: {:#?} {:#?}", pair.a.log, pair.b.log);
    };
    // Its certificate, of the right CA, has another name (RFC 5998 §4).
    let another = Pair::with(310, |side, c| {
        only(&lab, side, c, Revocation::default());
        match side {
            Side::A => c.remote_id = Identity::Any,
            Side::B => c.local_id = Identity::Fqdn("bank.lab".into()),
        }
    });
    refused(another, "does not have its identity");
    // It is not the one that is asked for.
    let unwanted = Pair::with(311, |side, c| {
        only(&lab, side, c, Revocation::default());
        if side == Side::B {
            c.local_id = Identity::Fqdn("bank.lab".into());
        }
    });
    refused(unwanted, "no connection with these identities");
    // A method that proves the client alone, or makes a guessable thing of it.
    for (seed, method) in [(312, EapMethod::Md5), (313, EapMethod::MsChapV2)] {
        let weak = Pair::with(seed, |side, c| {
            logs_in(side, c, "carol-pass", (&[method], &[method]));
            let (client, server) = by_tls(&lab, side, Revocation::default());
            match side {
                Side::A => c.remote_auth = server,
                Side::B => c.local_auth = client,
            }
        });
        refused(weak, "does not prove both sides");
    }
    // Who wants proof of us beforehand gets none from a side that has EAP alone.
    let old = Pair::with(314, |side, c| {
        only(&lab, side, c, Revocation::default());
        if side == Side::A {
            c.remote_auth = trust(&[&lab.root]);
        }
    });
    refused(old, "RFC 5998");
    // A responder that proves itself by AUTH all the same is none that we can check.
    let both = Pair::with(315, |side, c| {
        only(&lab, side, c, Revocation::default());
        if side == Side::B {
            c.local_auth = LocalAuth::Key(Arc::new(own(&lab.b, &[])));
        }
    });
    refused(both, "must log in by EAP");
}

/// CRL and OCSP about the certificates of EAP-TLS, on either side, with EAP alone and after AUTH.
#[test]
fn revocation_is_asked_about_certificates_of_eap() {
    let lab = lab(Family::P256);
    let status = |crl: Answer| vec![Status { crl, ocsp: Answer::Unknown("off".to_owned()) }];
    let run = |seed, asks: Side, alone: bool, crl: When, known: Vec<Status>| {
        let mut pair = Pair::empty(seed);
        pair.node(asks).revocation = known;
        for side in [Side::B, Side::A] {
            let mut c = Pair::connection(side);
            let rules =
                if side == asks { Revocation { crl, ocsp: When::Never } } else { Revocation::default() };
            only(&lab, side, &mut c, rules);
            match (alone, side) {
                (true, _) => {}
                (false, Side::A) => c.remote_auth = trust(&[&lab.root]),
                (false, Side::B) => c.local_auth = LocalAuth::Key(Arc::new(own(&lab.b, &[]))),
            }
            pair.command(side, crate::command::Command::Configure(Box::new(c)));
        }
        pair.run_secs(20);
        pair
    };
    for asks in [Side::A, Side::B] {
        for alone in [true, false] {
            let good = run(320, asks, alone, When::Required, status(Answer::Good));
            good.assert_one_pair();
            let questions = |e: &&Event| matches!(e, Event::CheckRevocation { .. });
            assert_eq!(good.see(asks).events.iter().filter(questions).count(), 1);
            for (when, known, why) in [
                (When::IfAvailable, status(Answer::Revoked), "is revoked"),
                (When::Required, vec![], "no answer in time"),
            ] {
                let pair = run(321, asks, alone, when, known);
                assert!(pair.see(asks).pairs().is_empty(), "{asks:?} {why}");
                assert!(pair.see(asks).log.iter().any(|l| l.contains(why)), "{:#?}", pair.see(asks).log);
            }
        }
    }
}
