//! Client and server against each other, and against anything at all.

use super::packet::{self, Packet};
use super::*;
use crate::config::{EapClient, EapMethod, EapServer, EapTls, OwnKey, Revocation, Secret, Trust};
use crate::tests::pki::*;
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::collections::BTreeMap;
use std::sync::Arc;

const BOTH: [EapMethod; 2] = [EapMethod::MsChapV2, EapMethod::Md5];

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(7)
}

fn client(user: &str, password: &str, methods: &[EapMethod]) -> Client {
    let password = Secret::new(password.into());
    Client::new(
        Arc::new(EapClient { user: user.into(), password, methods: methods.into(), tls: None }),
        TODAY,
    )
}

fn server(methods: &[EapMethod], ask_identity: bool) -> (Server, Step) {
    let users = ["carol", "dave@lab"].map(|u| (u.to_owned(), Secret::new(format!("{u}-pass").into())));
    let users = Arc::new(BTreeMap::from(users));
    let config = EapServer { methods: methods.into(), users, ask_identity, tls: None };
    Server::begin(Arc::new(config), "carol".into(), TODAY, &mut rng())
}

/// What the server says of the client, and the client of the server; kinds of the server's packets.
type Outcome = (Result<Proven, String>, Result<Proven, String>, Vec<u8>);

fn run(mut client: Client, (mut server, first): (Server, Step)) -> Outcome {
    let (mut rng, mut step, mut kinds) = (rng(), first, Vec::new());
    loop {
        let (say, verdict) = match step {
            Step::Send(p) => (p, None),
            Step::Done(mut proven) => (proven.say.take().unwrap(), Some(Ok(proven))),
            Step::Failed { say, why } => (say.unwrap(), Some(Err(why))),
        };
        kinds.extend(Packet::parse(&say).unwrap().kind);
        let answer = client.on(&say, &mut rng);
        match (answer, verdict) {
            (Step::Send(p), None) => step = server.on(&p, &mut rng),
            (Step::Done(proven), Some(verdict)) => return (verdict, Ok(proven), kinds),
            (Step::Failed { why, .. }, verdict) => {
                return (verdict.unwrap_or(Err("hears nothing".into())), Err(why), kinds);
            }
            (other, verdict) => panic!("{other:?} {verdict:?}"),
        }
    }
}

/// RFC 3748 §5.1, §5.3.1, §5.4
#[test]
fn every_method_and_what_both_sides_have_of_it() {
    for (methods, theirs, used) in [
        (&BOTH[..], &BOTH[..], packet::MSCHAPV2),
        (&BOTH[..1], &BOTH[..1], packet::MSCHAPV2),
        (&BOTH[1..], &BOTH[..], packet::MD5),
        // The server's first choice is refused by a Nak.
        (&BOTH[..], &BOTH[1..], packet::MD5),
    ] {
        for ask in [true, false] {
            let (of_client, of_server, kinds) =
                run(client("carol", "carol-pass", theirs), server(methods, ask));
            let (of_client, of_server) = (of_client.unwrap(), of_server.unwrap());
            assert_eq!(of_client.user, "carol");
            assert_eq!(of_client.msk, of_server.msk, "one key");
            assert_eq!(of_client.msk.is_some(), used == packet::MSCHAPV2);
            assert_eq!((kinds.contains(&packet::IDENTITY), kinds.last()), (ask, Some(&used)));
        }
    }
    let (of_client, ..) = run(client("dave@lab", "dave@lab-pass", &BOTH), server(&BOTH, true));
    assert_eq!(of_client.unwrap().user, "dave@lab");
}

#[test]
fn who_does_not_know_the_password_is_refused_and_learns_nothing() {
    let mut lengths = Vec::new();
    for (user, password) in [("carol", "wrong"), ("mallory", "carol-pass"), ("carol", "")] {
        for methods in [&BOTH[..1], &BOTH[1..]] {
            let (of_client, of_server, kinds) = run(client(user, password, &BOTH), server(methods, true));
            assert!(of_client.unwrap_err().contains("does not know the password, or is no user here"));
            assert_eq!(of_server.unwrap_err(), "EAP: the server refused us");
            lengths.push(kinds.len());
        }
    }
    assert!(lengths.iter().all(|n| *n == 2), "the same steps for all: {lengths:?}");
    let (of_client, ..) = run(client("carol", "carol-pass", &BOTH[1..]), server(&BOTH[..1], true));
    assert!(of_client.unwrap_err().contains("no method that both sides can"));
}

/// The server must prove itself too before the client believes its success.
#[test]
fn a_server_without_the_password_is_refused() {
    let mut rng = rng();
    let mut honest = client("carol", "carol-pass", &BOTH[..1]);
    let ask = |data: &[u8], id| packet::write(packet::REQUEST, id, packet::MSCHAPV2, data);
    let mut challenge = vec![1, 1, 0, 26, 16];
    challenge.extend([7; 16]);
    challenge.extend(b"trick");
    assert!(matches!(honest.on(&ask(&challenge, 1), &mut rng), Step::Send(_)));
    let mut lie = vec![3, 2, 0, 46];
    lie.extend(format!("S={}", "0".repeat(40)).bytes());
    let Step::Failed { why, .. } = honest.on(&ask(&lie, 2), &mut rng) else { panic!() };
    assert_eq!(why, "EAP: the server does not know the password");
    // Success out of nothing, and in the middle.
    for first in [None, Some(ask(&challenge, 1))] {
        let mut honest = client("carol", "carol-pass", &BOTH[..1]);
        if let Some(first) = first {
            honest.on(&first, &mut rng);
        }
        let step = honest.on(&packet::verdict(packet::SUCCESS, 1), &mut rng);
        assert!(matches!(step, Step::Failed { .. }), "{step:?}");
    }
}

#[test]
fn a_run_has_an_end() {
    let (mut client, mut rng) = (client("carol", "carol-pass", &BOTH), rng());
    let ask = packet::write(packet::REQUEST, 1, packet::IDENTITY, b"");
    let sent = (0..=MAX_ROUNDS).filter(|_| matches!(client.on(&ask, &mut rng), Step::Send(_))).count();
    assert_eq!(sent, usize::from(MAX_ROUNDS));
    // A Nak for what was offered already is the end.
    let (mut server, first) = server(&BOTH, false);
    let Step::Send(first) = first else { panic!() };
    let nak = |id| packet::write(packet::RESPONSE, id, packet::NAK, &[packet::MSCHAPV2]);
    let step = server.on(&nak(first[1]), &mut rng);
    assert!(matches!(step, Step::Failed { .. }), "{step:?}");
}

fn tls_of(made: &Made, root: &Made) -> Option<EapTls> {
    let own =
        OwnKey { key: made.key.clone(), chain: vec![made.cert.clone()], send_chain: true, prefer_pss: false };
    let trust = Trust {
        authorities: vec![root.cert.clone()],
        crls: Arc::default(),
        revocation: Revocation::default(),
        crl_urls: Vec::new(),
        ocsp_url: None,
    };
    Some(EapTls { own: Arc::new(own), trust: Arc::new(trust) })
}

fn tls_pair(theirs: Option<EapTls>, ours: Option<EapTls>) -> Outcome {
    let methods = vec![EapMethod::Tls];
    let password = Secret::new(Vec::new());
    let config = EapClient { user: "carol".into(), password, methods: methods.clone(), tls: theirs };
    let users = Arc::default();
    let server = EapServer { methods, users, ask_identity: true, tls: ours };
    let begun = Server::begin(Arc::new(server), "carol".into(), TODAY, &mut rng());
    run(Client::new(Arc::new(config), TODAY), begun)
}

/// RFC 5216, RFC 9190: each kind of key on each side; a flight in many pieces.
#[test]
fn tls_proves_both_sides_and_makes_one_key() {
    use crate::cert::Family;
    let root = ca("CN=Root").root();
    for family in [Family::Rsa, Family::P256, Family::P384, Family::P521, Family::Ed25519] {
        let server = leaf("CN=server", &[dns("eap.lab")]).family(family).by(&root);
        let client = leaf("CN=client", &[dns("carol")]).family(family).by(&root);
        let (of_client, of_server, kinds) = tls_pair(tls_of(&client, &root), tls_of(&server, &root));
        let (of_client, of_server) = (of_client.unwrap(), of_server.unwrap());
        assert_eq!((of_client.user.as_str(), of_client.msk.as_ref().unwrap().len()), ("carol", 64));
        assert_eq!(of_client.msk, of_server.msk, "{family:?}");
        assert!(kinds[1..].iter().all(|kind| *kind == packet::TLS));
    }
    // A name that the certificate does not have is not believed.
    let other = leaf("CN=dave", &[dns("dave")]).by(&root);
    let server = leaf("CN=server", &[]).by(&root);
    let (of_client, ..) = tls_pair(tls_of(&other, &root), tls_of(&server, &root));
    assert_eq!(of_client.unwrap().user, "CN=dave");
    let long: Vec<Vec<u8>> = (0..100).map(|n| dns(&format!("name-{n}-{}.lab", "x".repeat(40)))).collect();
    let (big, client) = (leaf("CN=big", &long).by(&root), leaf("CN=client", &long).by(&root));
    let (of_client, of_server, kinds) = tls_pair(tls_of(&client, &root), tls_of(&big, &root));
    assert_eq!(of_client.unwrap().msk, of_server.unwrap().msk);
    assert!(kinds.len() > 12, "{}", kinds.len());
}

#[test]
fn tls_with_the_wrong_certificate_is_refused() {
    let (root, other) = (ca("CN=Root").root(), ca("CN=Other").root());
    let (good, stranger) = (leaf("CN=good", &[]).by(&root), leaf("CN=stranger", &[]).by(&other));
    let old = Order { valid: (TODAY - 3 * DAY, TODAY - DAY), ..leaf("CN=old", &[]) }.by(&root);
    for bad in [&stranger, &old] {
        let (of_client, of_server, _) = tls_pair(tls_of(bad, &root), tls_of(&good, &root));
        assert!(of_client.is_err() && of_server.is_err());
        let (of_client, of_server, _) = tls_pair(tls_of(&good, &root), tls_of(bad, &root));
        assert!(of_client.is_err() && of_server.is_err());
    }
    // A certificate without its key.
    let mut thief = tls_of(&good, &root).unwrap();
    let own = OwnKey { key: stranger.key.clone(), ..(*thief.own).clone() };
    thief.own = Arc::new(own);
    let (of_client, ..) = tls_pair(Some(thief), tls_of(&good, &root));
    assert!(of_client.is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Honest runs in which some bytes of some packets are others: no panic, an end, and never a user who has not
    /// proven itself.
    #[test]
    fn altered_packets_prove_nothing(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        md5 in any::<bool>(),
        ask in any::<bool>(),
    ) {
        crate::fuzzing::eap(&bytes);
        let methods = if md5 { &BOTH[1..] } else { &BOTH[..] };
        let (mut server, mut step) = server(methods, ask);
        let mut client = client("carol", "not-the-password", &BOTH);
        let mut rng = rng();
        for change in bytes.chunks(2) {
            let Step::Send(mut packet) = step else { break };
            if let (&[at, xor], len) = (change, packet.len()) {
                packet[usize::from(at) % len] ^= xor;
            }
            let Step::Send(mut packet) = client.on(&packet, &mut rng) else { break };
            if let (&[xor, at], len) = (change, packet.len()) {
                packet[usize::from(at) % len] ^= xor & 1;
            }
            step = server.on(&packet, &mut rng);
            prop_assert!(!matches!(step, Step::Done(_)));
        }
    }
}
