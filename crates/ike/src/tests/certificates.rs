//! Authentication by signatures (R192, R204), in both roles: every method, and everything that must not be believed.

use super::pair::*;
use super::pki::*;
use crate::cert::{Certificate, DnPattern, Family, path};
use crate::command::{Answer, Status};
use crate::config::*;
use crate::counters::Counter;
use crate::event::Event;
use std::sync::Arc;

pub(super) fn own(made: &Made, between: &[&Made]) -> OwnKey {
    let chain = core::iter::once(made).chain(between.iter().copied()).map(|m| m.cert.clone()).collect();
    OwnKey { key: made.key.clone(), chain, send_chain: true, prefer_pss: false }
}

pub(super) fn trust(authorities: &[&Made]) -> RemoteAuth {
    let authorities = authorities.iter().map(|m| m.cert.clone()).collect();
    RemoteAuth::Certificate(Arc::new(Trust {
        authorities,
        crls: Arc::default(),
        revocation: Revocation::default(),
        crl_urls: Vec::new(),
        ocsp_url: None,
    }))
}

/// One root, a certificate for each side.
pub(super) struct Lab {
    pub(super) root: Made,
    pub(super) a: Made,
    pub(super) b: Made,
}

pub(super) fn lab(family: Family) -> Lab {
    let root = ca("C=DE, O=Lab, CN=Root").root();
    let a = leaf("C=DE, O=Lab, CN=a", &[dns("a.lab"), ip(&[198, 18, 0, 1]), mail("ops@a.lab")]);
    let b = leaf("C=DE, O=Lab, CN=b", &[dns("b.lab")]);
    Lab { a: a.family(family).by(&root), b: b.family(family).by(&root), root }
}

impl Lab {
    fn auth(&self, side: Side, c: &mut Connection) {
        let own = own(if side == Side::A { &self.a } else { &self.b }, &[]);
        c.local_auth = LocalAuth::Key(Arc::new(own));
        c.remote_auth = trust(&[&self.root]);
    }

    fn pair(&self, seed: u64, change: impl Fn(Side, &mut Connection)) -> Pair {
        Pair::with(seed, |side, c| {
            self.auth(side, c);
            change(side, c);
        })
    }
}

fn own_key(c: &mut Connection) -> &mut OwnKey {
    match &mut c.local_auth {
        LocalAuth::Key(own) => Arc::make_mut(own),
        other => panic!("{other:?}"),
    }
}

fn trusted(c: &mut Connection) -> &mut Trust {
    match &mut c.remote_auth {
        RemoteAuth::Certificate(trust) => Arc::make_mut(trust),
        other => panic!("{other:?}"),
    }
}

fn refused(mut pair: Pair, why: &str) {
    pair.run_secs(5);
    assert!(pair.a.pairs().is_empty() && pair.b.pairs().is_empty(), "{why}");
    let said = pair.a.log.iter().chain(&pair.b.log).any(|line| line.contains(why));
    assert!(said, "{why}: {:#?} {:#?}", pair.a.log, pair.b.log);
    assert!(pair.a.count(Counter::AuthFailed) + pair.b.count(Counter::AuthFailed) > 0, "{why}");
}

// R100, RFC 7427, RFC 8420
#[test]
fn every_family_of_keys_in_both_roles() {
    for family in [Family::Rsa, Family::P256, Family::P384, Family::P521, Family::Ed25519] {
        for pss in [false, true] {
            let mut pair = lab(family).pair(1, |_, c| own_key(c).prefer_pss = pss);
            pair.run_secs(1);
            pair.assert_one_pair();
            if family != Family::Rsa {
                break;
            }
        }
    }
}

// One side by certificate, the other by secret (RFC 7296 §2.15 allows it), and raw keys (RFC 7670)
#[test]
fn each_side_has_a_way_of_its_own() {
    let lab = lab(Family::P256);
    let secret = || Secret::new(b"one way only".to_vec());
    let mut pair = lab.pair(2, |side, c| match side {
        Side::A => c.remote_auth = RemoteAuth::Psk(secret()),
        Side::B => c.local_auth = LocalAuth::Psk(secret()),
    });
    pair.run_secs(1);
    pair.assert_one_pair();
    for family in [Family::Rsa, Family::P384, Family::Ed25519] {
        let keys = [made(family, "CN=a"), made(family, "CN=b")];
        let raw = |wrong: bool| {
            Pair::with(3, |side, c| {
                let (mine, theirs) = if side == Side::A { (0, 1) } else { (1, 0) };
                let own = OwnKey {
                    key: keys[mine].key.clone(),
                    chain: vec![],
                    send_chain: true,
                    prefer_pss: false,
                };
                c.local_auth = LocalAuth::Key(Arc::new(own));
                let peer = if wrong { mine } else { theirs };
                c.remote_auth = RemoteAuth::RawKey(Arc::new(vec![keys[peer].key.public().clone()]));
            })
        };
        let mut pair = raw(false);
        pair.run_secs(1);
        pair.assert_one_pair();
        // There is but one RSA key here.
        if family != Family::Rsa {
            refused(raw(true), "did not sign with a key of its own");
        }
    }
}

fn made(family: Family, subject: &str) -> Made {
    leaf(subject, &[]).family(family).root()
}

// RFC 7296 §2.15, RFC 4754: peers without RFC 7427
#[test]
fn the_old_methods() {
    for family in [Family::Rsa, Family::P256, Family::P384, Family::P521] {
        let mut pair = Pair::empty(4);
        pair.a.ep.speaks_signatures(false);
        pair.b.ep.speaks_signatures(true);
        configure(&mut pair, &lab(family));
        pair.run_secs(1);
        pair.assert_one_pair();
    }
    // Ed25519 has no old method.
    let mut pair = Pair::empty(4);
    pair.a.ep.speaks_signatures(false);
    configure(&mut pair, &lab(Family::Ed25519));
    pair.run_secs(3);
    assert!(pair.a.pairs().is_empty());
    assert!(pair.a.log.iter().any(|l| l.contains("no signature that our key can make")));
}

fn configure(pair: &mut Pair, lab: &Lab) {
    for side in [Side::A, Side::B] {
        let mut c = Pair::connection(side);
        lab.auth(side, &mut c);
        pair.command(side, crate::command::Command::Configure(Box::new(c)));
    }
}

// R79, R80, R123: RFC 7296 §3.6, §3.7
#[test]
fn chains_and_cas_per_tunnel() {
    let lab = lab(Family::P256);
    let between = ca("CN=Between").by(&lab.root);
    let deep = ca("CN=Deep").family(Family::P384).by(&between);
    let a = leaf("CN=a", &[dns("a.lab")]).by(&deep);
    let long = |send: bool, trusted_by_b: &[&Made]| {
        lab.pair(5, |side, c| match side {
            Side::A => {
                c.local_auth = LocalAuth::Key(Arc::new(OwnKey {
                    send_chain: send,
                    ..own(&a, &[&deep, &between, &lab.root])
                }));
            }
            Side::B => c.remote_auth = trust(trusted_by_b),
        })
    };
    let count = |pair: &mut Pair| {
        pair.run_secs(1);
        pair.assert_one_pair();
        // All pieces of IKE_AUTH.
        pair.sent
            .iter()
            .filter(|(_, s, _)| *s == Side::A)
            .skip(1)
            .map(|(_, _, t)| t.bytes.len())
            .sum::<usize>()
    };
    let whole = count(&mut long(true, &[&lab.root]));
    // CERTREQ names what B has: nothing above it is sent.
    let part = count(&mut long(true, &[&between]));
    let own_only = count(&mut long(false, &[&deep]));
    assert!(whole > part + 300 && part > own_only + 300, "{whole} {part} {own_only}");
    refused(long(false, &[&lab.root]), "no trusted CA issued");
    // R79: the CA is known to the box, but not for this tunnel.
    let other = ca("CN=Other").root();
    refused(long(true, &[&other]), "no trusted CA issued");
}

// R109, RFC 5280 §6.1, RFC 4945 §5.1.3
#[test]
fn certificates_that_prove_nothing() {
    let lab = lab(Family::P256);
    let root = &lab.root;
    let with = |a: Made, between: Vec<Made>| {
        lab.pair(6, |side, c| {
            if side == Side::A {
                c.local_auth = LocalAuth::Key(Arc::new(own(&a, &between.iter().collect::<Vec<_>>())));
            }
        })
    };
    let fine = || leaf("CN=a", &[dns("a.lab")]);
    let mut good = with(fine().by(root), vec![]);
    good.run_secs(1);
    good.assert_one_pair();
    refused(with(Order { valid: (TODAY - 2 * DAY, TODAY - 1), ..fine() }.by(root), vec![]), "has expired");
    refused(with(Order { valid: (TODAY + 1, TODAY + DAY), ..fine() }.by(root), vec![]), "not valid yet");
    refused(with(Order { usage: Some(vec![5, 0x20]), ..fine() }.by(root), vec![]), "not for signing");
    refused(with(leaf("CN=a", &[dns("x.lab")]).by(root), vec![]), "a.lab is not in the peer's certificate");
    refused(with(leaf("CN=a.lab", &[]).by(root), vec![]), "a.lab is not in the peer's certificate");
    let critical = vec![("1.2.3.4", true, vec![5, 0])];
    refused(with(Order { extra: critical, ..fine() }.by(root), vec![]), "unknown critical extension 1.2.3.4");
    // Code signing only.
    let purpose = vec![("2.5.29.37", false, vec![0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 3])];
    refused(with(Order { extra: purpose, ..fine() }.by(root), vec![]), "not for signing");
    let no_ca = leaf("CN=Between", &[]).by(root);
    refused(with(fine().by(&no_ca), vec![no_ca]), "is not a CA");
    let no_signing = Order { usage: Some(vec![1, 0x02]), ..ca("CN=Between") }.by(root);
    refused(with(fine().by(&no_signing), vec![no_signing]), "is not a CA");
    let short = Order { ca: Some(Some(0)), ..ca("CN=Short") }.by(root);
    let below = ca("CN=Below").by(&short);
    refused(with(fine().by(&below), vec![below, short]), "longer than CN=Short allows");
    let stale = Order { valid: (TODAY - 2, TODAY - 1), ..ca("CN=Between") }.by(root);
    refused(with(fine().by(&stale), vec![stale]), "has expired");
    let between = ca("CN=Between").by(root);
    refused(with(fine().by(&between), vec![]), "no trusted CA issued");
    // Somebody else's key signed for a name that it has not.
    let thief = ca("C=DE, O=Lab, CN=Root").family(Family::Ed25519).root();
    refused(with(fine().by(&thief), vec![]), "signature of the certificate of CN=a is wrong");
    // A certificate that is another's.
    let mut stolen = fine().by(root);
    stolen.key = made(Family::P256, "CN=thief").key;
    refused(with(stolen, vec![]), "not of the key in its certificate");
}

// RFC 5280 §4.2.1.10
#[test]
fn name_constraints_hold() {
    let lab = lab(Family::P256);
    let permitted = |names: &[Vec<u8>], tag: u8| {
        use crate::cert::scheme::tlv;
        let trees: Vec<_> = names.iter().map(|n| tlv(0x30, &[n])).collect();
        vec![(
            "2.5.29.30",
            true,
            tlv(0x30, &[&tlv(tag, &trees.iter().map(Vec::as_slice).collect::<Vec<_>>())]),
        )]
    };
    let judge = |extra: Vec<(&'static str, bool, Vec<u8>)>, alt: &[Vec<u8>]| {
        let between = Order { extra, ..ca("CN=Between") }.by(&lab.root);
        let a = leaf("C=DE, O=Lab, CN=a", alt).by(&between);
        path::find(&a.cert, &[between.cert], std::slice::from_ref(&lab.root.cert), TODAY)
            .map(|path| path.len())
    };
    let (only, never) = (0xa0, 0xa1);
    let directory =
        || crate::cert::scheme::tlv(0xa4, &[&DnPattern::parse("C=DE, O=Lab").unwrap().der().unwrap()]);
    assert_eq!(judge(permitted(&[dns("lab")], only), &[dns("a.lab")]), Ok(3));
    assert_eq!(judge(permitted(&[dns("lab"), directory()], only), &[dns("lab")]), Ok(3));
    assert!(judge(permitted(&[dns("lab")], only), &[dns("a.slab")]).is_err());
    assert!(judge(permitted(&[dns(".lab")], only), &[dns("a.lab"), dns("b.example")]).is_err());
    assert!(judge(permitted(&[dns("a.lab")], never), &[dns("A.LAB")]).is_err());
    assert_eq!(judge(permitted(&[dns("b.lab")], never), &[dns("a.lab")]), Ok(3));
    let net = ip(&[198, 18, 0, 0, 255, 255, 0, 0]);
    assert_eq!(judge(permitted(std::slice::from_ref(&net), only), &[ip(&[198, 18, 7, 7])]), Ok(3));
    assert!(judge(permitted(&[net], only), &[ip(&[198, 19, 7, 7])]).is_err());
    assert_eq!(judge(permitted(&[mail("a.lab")], only), &[mail("ops@a.lab")]), Ok(3));
    assert!(judge(permitted(&[mail(".lab")], only), &[mail("ops@lab")]).is_err());
    assert!(judge(permitted(&[directory()], never), &[dns("a.lab")]).is_err());
    // A kind of name that we do not compare.
    let uri = crate::cert::scheme::tlv(0x86, &[b"http://a.lab/"]);
    assert!(judge(permitted(&[crate::cert::scheme::tlv(0x86, &[b".lab"])], only), &[uri]).is_err());
}

// R123: identities of every kind, held against the certificate
#[test]
fn identities_are_those_of_the_certificate() {
    let lab = lab(Family::P256);
    let dn = |text: &str| Identity::Dn(DnPattern::parse(text).unwrap());
    let key_id = Identity::KeyId(lab.a.cert.key().sha1());
    let good = [
        (Identity::Fqdn("A.lab".into()), Identity::Fqdn("a.lab".into())),
        (Identity::UserFqdn("ops@a.lab".into()), Identity::UserFqdn("ops@a.lab".into())),
        (Identity::Address("198.18.0.1".parse().unwrap()), Identity::Any),
        (dn("C=DE, O=Lab, CN=a"), dn("C=DE, O=*, CN=?")),
        (dn("C=DE, O=Lab, CN=a"), dn("O=Lab, *")),
        (dn("C=DE, O=Lab, CN=a"), dn("*, CN=a")),
        (key_id.clone(), key_id),
    ];
    for (i, (mine, wanted)) in good.into_iter().enumerate() {
        let mut pair = lab.pair(7, |side, c| match side {
            Side::A => c.local_id = mine.clone(),
            Side::B => c.remote_id = wanted.clone(),
        });
        pair.run_secs(1);
        // `?` is no wildcard, and the order of a name's parts counts.
        let fits = !matches!(i, 3 | 4);
        assert_eq!(pair.a.pairs().len() == 1, fits, "{mine:?} for {wanted:?}: {:?}", pair.b.log);
    }
    let bad = [
        Identity::Fqdn("c.lab".into()),
        Identity::UserFqdn("a.lab".into()),
        Identity::Address("198.18.0.2".parse().unwrap()),
        Identity::KeyId(vec![1; 20]),
        dn("C=DE, O=Lab, CN=b"),
    ];
    for id in bad {
        let pair = lab.pair(8, |side, c| match side {
            Side::A => c.local_id = id.clone(),
            Side::B => c.remote_id = Identity::Any,
        });
        refused(pair, "is not in the peer's certificate");
    }
}

// CRL and OCSP: off, if available, required
#[test]
fn revocation_is_asked_before_the_sa_stands() {
    let lab = lab(Family::P256);
    let status = |crl: Answer, ocsp: Answer| vec![Status { crl, ocsp }];
    let none = || Answer::Unknown("nobody answers".to_owned());
    let run = |crl: When, known: Option<Vec<Status>>, asks: Side| {
        let mut pair = Pair::empty(9);
        pair.node(asks).revocation = known.unwrap_or_default();
        for side in [Side::A, Side::B] {
            let mut c = Pair::connection(side);
            lab.auth(side, &mut c);
            if side == asks {
                trusted(&mut c).revocation = Revocation { crl, ocsp: When::Never };
            }
            pair.command(side, crate::command::Command::Configure(Box::new(c)));
        }
        pair.run_secs(20);
        pair
    };
    for side in [Side::A, Side::B] {
        let asked =
            |pair: &Pair| pair.see(side).events.iter().any(|e| matches!(e, Event::CheckRevocation { .. }));
        let off = run(When::Never, None, side);
        assert!(!asked(&off) && off.a.pairs().len() == 1);
        let good = run(When::Required, Some(status(Answer::Good, none())), side);
        assert!(asked(&good));
        good.assert_one_pair();
        run(When::IfAvailable, Some(status(none(), none())), side).assert_one_pair();
        // Silence: after the time is over.
        run(When::IfAvailable, None, side).assert_one_pair();
        for (when, known, why) in [
            (When::IfAvailable, Some(status(Answer::Revoked, none())), "is revoked"),
            (When::Required, Some(status(none(), Answer::Good)), "nobody answers"),
            (When::Required, None, "no answer in time"),
        ] {
            let pair = run(when, known, side);
            assert!(pair.see(side).pairs().is_empty());
            assert!(pair.see(side).log.iter().any(|l| l.contains(why)), "{why}: {:?}", pair.see(side).log);
        }
    }
}

// RFC 7427 §3: AUTH is altered, and said to be of another method
#[test]
fn an_altered_auth_proves_nothing() {
    use crate::auth::{Prover, Signed, payload};
    use crate::crypto::keys::{self, Ingredients};
    use crate::message::View;
    use crate::payload::{Cert, Id, Payload, cert};
    let lab = lab(Family::P256);
    let from = Ingredients { ni: b"ni", nr: b"nr", initiator_spi: 1, responder_spi: 2 };
    let keys = keys::ike_keys(&GCM, b"seed", from);
    let id = Id::of(&Identity::Fqdn("a.lab".into())).unwrap();
    let signed = Signed { message: b"message", nonce: b"nonce", id: &id, int_auth: &[] };
    let (mine, other) = (crate::snapshot::Role::Initiator, crate::snapshot::Role::Responder);
    let local = LocalAuth::Key(Arc::new(own(&lab.a, &[])));
    let mut rng = <rand_chacha::ChaCha20Rng as rand_core::SeedableRng>::seed_from_u64(1);
    let all = crate::auth::Hashes::of(View(&[crate::auth::notify()]));
    let Some(Payload::Auth { method, data }) = payload(keys.proof(mine), &local, signed, all, &mut rng)
    else {
        panic!()
    };
    let shown = [Payload::Cert(Cert { encoding: cert::X509, data: lab.a.cert.der().to_vec() })];
    let by = trust(&[&lab.root]);
    let judge_as = |signer, signed: Signed<'_>, method: u8, data: &[u8]| {
        Prover::new(keys.proof(signer), signed, (method, data.to_vec()), View(&shown), all, TODAY)
            .prove(&by)
            .is_ok()
    };
    let judge = |signed: Signed<'_>, method: u8, data: &[u8]| judge_as(mine, signed, method, data);
    assert!(method == 14 && judge(signed, method, &data));
    assert!(!judge(Signed { message: b"massage", ..signed }, method, &data));
    assert!(!judge(Signed { nonce: b"nunce", ..signed }, method, &data));
    assert!(!judge_as(other, signed, method, &data));
    for other in (0..=255u8).filter(|m| *m != method) {
        assert!(!judge(signed, other, &data), "{other}");
    }
    for at in 0..data.len() {
        let mut altered = data.to_vec();
        altered[at] ^= 0x40;
        assert!(!judge(signed, method, &altered), "byte {at}");
        assert!(!judge(signed, method, &data[..at]), "cut at {at}");
    }
    // Encodings that nobody asked for (RFC 7296 §3.6).
    let address = [Payload::Cert(Cert { encoding: 12, data: vec![0; 60] })];
    let why = Prover::new(keys.proof(mine), signed, (method, data.to_vec()), View(&address), all, TODAY)
        .prove(&by)
        .unwrap_err();
    assert!(why.to_string().contains("which we did not ask for"));
    let many: Vec<Payload> = (0..17).flat_map(|_| shown.clone()).collect();
    assert!(
        Prover::new(keys.proof(mine), signed, (method, data.to_vec()), View(&many), all, TODAY)
            .prove(&by)
            .is_err()
    );
    // A peer that takes no hash of ours gets no signature.
    let sha1 =
        crate::payload::Notify::with_data(crate::payload::notify::SIGNATURE_HASH_ALGORITHMS, vec![0, 1]);
    let none = crate::auth::Hashes::of(View(&[Payload::Notify(sha1)]));
    assert!(none.is_some() && payload(keys.proof(mine), &local, signed, none, &mut rng).is_none());
}

// Bounds: many certificates, long ones, chains that branch
#[test]
fn hostile_chains_are_bounded() {
    let root = ca("CN=Root").root();
    // Sixteen CAs of one name, none with the right key: each fits the others by name.
    let maze: Vec<Made> = (0..16).map(|seed| Order { seed, ..ca("CN=Maze") }).map(Order::root).collect();
    let victim = leaf("CN=a", &[dns("a.lab")]).by(&maze[0]);
    let others: Vec<Certificate> = maze.iter().map(|m| m.cert.clone()).collect();
    assert!(path::find(&victim.cert, &others, std::slice::from_ref(&root.cert), TODAY).is_err());
    // A ring.
    let one = ca("CN=One").root();
    let two = ca("CN=Two").by(&one);
    let back = ca("CN=One").by(&two);
    let ring = [two.cert.clone(), back.cert.clone(), one.cert];
    assert!(
        path::find(&leaf("CN=a", &[]).by(&two).cert, &ring, std::slice::from_ref(&root.cert), TODAY).is_err()
    );
    // Deeper than any real one.
    let mut chain = vec![root.clone()];
    for depth in 0..12 {
        let next = ca(&format!("CN=Depth {depth}")).by(chain.last().unwrap());
        chain.push(next);
    }
    let deep = leaf("CN=a", &[]).by(chain.last().unwrap());
    let others: Vec<Certificate> = chain.iter().skip(1).map(|m| m.cert.clone()).collect();
    assert!(path::find(&deep.cert, &others, std::slice::from_ref(&root.cert), TODAY).is_err());
    let huge = Order { extra: vec![("1.2.3", false, vec![0; 20_000])], ..leaf("CN=a", &[]) };
    let key = made(Family::P256, "CN=k").key;
    assert!(Certificate::from_der(&huge.der(&key, "CN=Root", &root.key)).is_err());
}

mod any_bytes {
    use super::*;
    use crate::payload::{Id, parse_chain};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn no_altered_certificate_panics_or_passes(at in any::<prop::sample::Index>(), to in any::<u8>(), cut in 0usize..4) {
            let lab = lab(Family::Ed25519);
            let mut der = lab.a.cert.der().to_vec();
            let i = at.index(der.len());
            let same = der[i] == to && cut == 0;
            der[i] = to;
            der.truncate(der.len() - cut);
            if let Ok(cert) = Certificate::from_der(&der) {
                prop_assert!(same || path::find(&cert, &[], &[lab.root.cert], TODAY).is_err());
            }
        }

        #[test]
        fn payloads_of_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300), first in 35u8..49) {
            let _ = parse_chain(first, &bytes);
            let _ = Id::parse(&bytes).map(|id| id.to_string());
            let _ = Certificate::from_der(&bytes);
            let _ = Certificate::read_all(&bytes);
            let _ = crate::cert::PublicKey::from_spki(&bytes);
            let _ = crate::cert::scheme::Scheme::parse(&bytes);
        }
    }
}
