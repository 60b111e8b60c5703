//! IKE_SA_INIT and IKE_AUTH between two endpoints.

use super::pair::*;
use crate::command::Command;
use crate::config::*;
use crate::counters::Counter;
use crate::event::Event;
use core::time::Duration;

// A → B: HDR, SAi1, KEi, Ni   B → A: HDR, SAr1, KEr, Nr
// A → B: HDR, SK {IDi, N(INITIAL_CONTACT), IDr, AUTH, SAi2, TSi, TSr}   B → A: HDR, SK {IDr, AUTH, SAr2, TSi, TSr}
// R45, R170, R214
#[test]
fn two_round_trips_bring_up_ike_and_child() {
    let mut pair = Pair::new();
    pair.run_secs(1);
    pair.assert_one_pair();
    assert_eq!(pair.sent.len(), 4, "R46: no child before authentication, and no message more");
    assert!(pair.a.events.iter().any(|e| matches!(e, Event::IkeUp { peer_id, .. } if peer_id == "b.lab")));
    assert!(pair.b.events.iter().any(|e| matches!(e, Event::IkeUp { peer_id, .. } if peer_id == "a.lab")));
    let sa = pair.a.pairs()[0].clone();
    assert_eq!(sa.selectors, [selector("10.1.0.0/24", "10.2.0.0/24")]);
    assert_eq!((sa.udp, sa.local.port(), sa.remote.port()), (false, 0, 0));
    let info = &pair.live(Side::A)[0];
    assert_eq!(info.state, "established");
    assert_eq!((info.local_id.as_str(), info.remote_id.as_str()), ("a.lab", "b.lab"));
    assert_eq!(info.children.len(), 1);
    assert!(info.children[0].outbound_in_use);
}

// R308: the answer that lets the peer use the SA leaves after the data plane has it
#[test]
fn the_responder_holds_its_answer_until_the_sa_is_installed() {
    let mut pair = Pair::new();
    pair.run_secs(1);
    let answer = pair.sent.iter().filter(|(_, s, _)| *s == Side::B).nth(1).unwrap().0;
    let request = pair.sent.iter().filter(|(_, s, _)| *s == Side::A).nth(1).unwrap().0;
    assert_eq!(answer - request, LATENCY + INSTALL);
}

#[test]
fn a_data_plane_that_cannot_take_the_sa_leaves_an_ike_sa_without_it() {
    let mut pair = Pair::with(3, |_, _| {});
    pair.b.refuse_installs = 1;
    pair.run(Duration::from_millis(500));
    assert_eq!(pair.b.count(Counter::InstallFailed), 1);
    assert!(pair.a.pairs().is_empty() && pair.b.pairs().is_empty());
    // The child is tried again.
    pair.run_secs(20);
    pair.assert_one_pair();
    // And as initiator: the peer is told that the pair is not there.
    let mut pair = Pair::with(4, |_, _| {});
    pair.a.refuse_installs = 1;
    pair.run_secs(20);
    pair.assert_one_pair();
}

fn suites() -> Vec<IkeProposal> {
    let mut all = Vec::new();
    let aead = [Encryption::AesGcm16_128, Encryption::AesGcm16_256, Encryption::ChaCha20Poly1305];
    let groups = [Group::Curve25519, Group::Ecp256, Group::Ecp384, Group::Modp2048];
    let prfs = [Prf::HmacSha1, Prf::HmacSha256, Prf::HmacSha384, Prf::HmacSha512];
    for (i, encryption) in aead.into_iter().enumerate() {
        all.push(IkeProposal { encryption, integrity: None, prf: prfs[i], group: groups[i], kem: None });
    }
    let integrity = [
        Integrity::HmacSha1_96,
        Integrity::HmacSha256_128,
        Integrity::HmacSha384_192,
        Integrity::HmacSha512_256,
    ];
    for (i, integrity) in integrity.into_iter().enumerate() {
        let encryption = if i % 2 == 0 { Encryption::AesCbc128 } else { Encryption::AesCbc256 };
        all.push(IkeProposal {
            encryption,
            integrity: Some(integrity),
            prf: prfs[i],
            group: groups[3 - i],
            kem: None,
        });
    }
    all
}

// R169, R212: algorithms of IKE and ESP are independent
#[test]
fn every_suite_of_ike_and_esp() {
    let esp = [
        (Encryption::AesGcm16_256, None),
        (Encryption::ChaCha20Poly1305, None),
        (Encryption::AesCbc128, Some(Integrity::HmacSha1_96)),
        (Encryption::AesCbc256, Some(Integrity::HmacSha256_128)),
    ];
    for (i, ike) in suites().into_iter().enumerate() {
        let (encryption, integrity) = esp[i % esp.len()];
        let mut pair = Pair::with(i as u64, |_, c| {
            c.proposals = vec![ike];
            c.children[0].proposals = vec![EspProposal {
                encryption: Some(encryption),
                integrity,
                group: None,
                kem: None,
                esn: i % 2 == 0,
            }];
        });
        pair.run_secs(1);
        pair.assert_one_pair();
        assert_eq!(pair.live(Side::B)[0].proposal, Some(ike));
        assert_eq!(pair.a.pairs()[0].proposal.esn, i % 2 == 0);
        // The keys of a rekeyed IKE SA are good for the next exchange.
        pair.rekey_ike(Side::A);
        pair.run_secs(2);
        pair.rekey_child(Side::B);
        pair.run_secs(20);
        pair.assert_one_pair();
    }
}

// R123, R158, R136
#[test]
fn every_kind_of_identity() {
    let ids = [
        Identity::Address("198.18.0.9".parse().unwrap()),
        Identity::Address("2001:db8::1".parse().unwrap()),
        Identity::Fqdn("gw.example".into()),
        Identity::UserFqdn("ops@example".into()),
        Identity::KeyId(vec![0, 1, 255]),
    ];
    for id in ids {
        let mut pair = Pair::with(5, |side, c| match side {
            Side::A => c.local_id = id.clone(),
            Side::B => c.remote_id = id.clone(),
        });
        pair.run_secs(1);
        pair.assert_one_pair();
    }
    // Any identity that knows the secret; names without regard to case.
    let mut pair = Pair::with(6, |side, c| match side {
        Side::A => c.remote_id = Identity::Fqdn("B.LAB".into()),
        Side::B => c.remote_id = Identity::Any,
    });
    pair.run_secs(1);
    pair.assert_one_pair();
}

// R6: wrong secret → AUTHENTICATION_FAILED, counter, no SA
#[test]
fn a_wrong_secret_leaves_nothing() {
    let mut pair = Pair::with(7, |side, c| {
        if side == Side::B {
            psk(c, b"wrong");
        }
    });
    pair.run(Duration::from_millis(1500));
    pair.assert_nothing();
    assert_eq!(pair.b.count(Counter::AuthFailed), 1);
    assert_eq!(pair.a.count(Counter::PeerRejectedAuth), 1);
    assert!(pair.a.sas.is_empty() && pair.b.sas.is_empty(), "nothing was ever installed");
    let failed = pair.a.events.iter().find_map(|e| match e {
        Event::Failed { why, retry, .. } => Some((why.clone(), *retry)),
        _ => None,
    });
    let (why, retry) = failed.unwrap();
    assert!(why.contains("AUTHENTICATION_FAILED") && retry.is_some(), "{why}");
    // It is tried again, ever more slowly.
    pair.run_secs(600);
    let tries = pair.b.count(Counter::AuthFailed);
    assert!((8..=20).contains(&tries), "{tries} attempts in ten minutes");
}

// R191: which connection fits, or none
#[test]
fn an_unknown_identity_is_refused_and_told() {
    let mut pair = Pair::with(8, |side, c| {
        if side == Side::A {
            c.local_id = Identity::Fqdn("mallory.lab".into());
        }
    });
    pair.run(Duration::from_millis(1500));
    pair.assert_nothing();
    let told =
        pair.b.events.iter().any(|e| matches!(e, Event::Rejected { why, .. } if why.contains("mallory.lab")));
    assert!(told, "{:#?}", pair.b.log);
}

// RFC 7296 §2.21.2: the initiator finds the responder's AUTH wrong, and tells it
#[test]
fn a_responder_with_another_identity_is_told() {
    let mut pair = Pair::with(9, |side, c| {
        if side == Side::A {
            c.remote_id = Identity::Fqdn("b.lab".into());
        } else {
            c.local_id = Identity::Fqdn("c.lab".into());
        }
    });
    // A asks for b.lab; B is c.lab and refuses at once.
    pair.run(Duration::from_millis(1500));
    pair.assert_nothing();
    assert_eq!(pair.b.count(Counter::AuthFailed), 1);
}

// R183: wanted and got
#[test]
fn different_proposals_are_told_attribute_by_attribute() {
    let mut pair = Pair::with(10, |side, c| {
        if side == Side::B {
            c.proposals = vec![IkeProposal { encryption: Encryption::AesGcm16_128, ..GCM }];
        }
    });
    // Anybody may have said so: A asks twice more before it believes it (RFC 7296 §2.21.1).
    pair.run_secs(8);
    pair.assert_nothing();
    assert_eq!(pair.b.count(Counter::NoProposal), 3);
    assert_eq!(pair.a.count(Counter::NoProposal), 3);
    let failed = |e: &Event| matches!(e, Event::Failed { why, .. } if why.contains("NO_PROPOSAL_CHOSEN"));
    assert!(pair.a.events.iter().any(failed));
    let why = pair.b.events.iter().find_map(|e| match e {
        Event::Rejected { why, .. } => Some(why.clone()),
        _ => None,
    });
    let why = why.unwrap();
    assert!(why.contains("encryption: wanted aes128gcm16, got aes256gcm16"), "{why}");
}

// The IKE SA stands when only the child does not fit (RFC 7296 §1.2)
#[test]
fn a_child_that_does_not_fit_leaves_the_ike_sa() {
    let mut pair = Pair::with(11, |side, c| {
        if side == Side::B {
            c.children[0].selectors = vec![selector("10.9.0.0/24", "10.1.0.0/24")];
        }
    });
    pair.run(Duration::from_millis(1500));
    assert_eq!((pair.live(Side::A).len(), pair.live(Side::B).len()), (1, 1));
    assert!(pair.a.pairs().is_empty() && pair.b.pairs().is_empty());
    assert_eq!(pair.b.count(Counter::TsUnacceptable), 1);
    let mut pair = Pair::with(12, |side, c| {
        if side == Side::B {
            c.children[0].proposals = vec![EspProposal { encryption: Some(Encryption::AesGcm16_256), ..ESP }];
        }
    });
    pair.run(Duration::from_millis(1500));
    assert_eq!(pair.live(Side::A).len(), 1);
    assert_eq!(pair.b.count(Counter::NoProposal), 1);
}

// R195; RFC 7296 §2.9: several selectors in one child SA, each narrowed
#[test]
fn selectors_are_narrowed_to_what_both_want() {
    let mut pair = Pair::with(13, |side, c| match side {
        Side::A => {
            c.children[0].selectors =
                vec![selector("10.1.0.0/24", "10.2.0.0/16"), selector("10.3.0.0/24", "10.2.0.0/16")];
        }
        Side::B => {
            c.children[0].selectors =
                vec![selector("10.2.5.0/24", "10.1.0.0/16"), selector("10.2.5.0/24", "10.3.0.128/25")];
        }
    });
    pair.run_secs(1);
    let want = [selector("10.1.0.0/24", "10.2.5.0/24"), selector("10.3.0.128/25", "10.2.5.0/24")];
    assert_eq!(pair.a.pairs()[0].selectors, want);
    let turned: Vec<_> = pair.b.pairs()[0].selectors.iter().map(|s| (s.remote, s.local)).collect();
    assert_eq!(turned, want.map(|s| (s.local, s.remote)));
}

// RFC 7296 §1.3: INVALID_KE_PAYLOAD in the first exchange
#[test]
fn another_group_is_asked_for_and_given() {
    let second = IkeProposal { group: Group::Ecp256, ..GCM };
    let mut pair = Pair::with(14, |side, c| {
        c.proposals = match side {
            Side::A => vec![GCM, second],
            Side::B => vec![second],
        }
    });
    pair.run_secs(1);
    pair.assert_one_pair();
    assert_eq!(pair.sent.len(), 6);
    assert_eq!((pair.a.count(Counter::InvalidKe), pair.b.count(Counter::InvalidKe)), (1, 1));
    assert_eq!(pair.live(Side::A)[0].proposal, Some(second));
}

// RFC 7296 §2.6
#[test]
fn under_load_a_cookie_is_asked_for() {
    let mut pair = Pair::empty(15);
    pair.b.ep = busy_endpoint(15);
    for side in [Side::A, Side::B] {
        pair.command(side, Command::Configure(Box::new(Pair::connection(side))));
    }
    pair.run_secs(1);
    pair.assert_one_pair();
    assert_eq!((pair.b.count(Counter::CookiesSent), pair.b.count(Counter::CookiesAccepted)), (1, 1));
    assert_eq!(pair.sent.len(), 6);
}

fn busy_endpoint(seed: u64) -> crate::endpoint::Endpoint {
    use rand_core::SeedableRng;
    struct Spis(u32);
    impl crate::endpoint::SpiSource for Spis {
        fn inbound_spi(&mut self, _: ChildId, _: Option<crate::endpoint::Near>) -> ravelin_wire::Spi {
            self.0 += 1;
            ravelin_wire::Spi::try_from(self.0).unwrap()
        }
    }
    let mut config = crate::endpoint::EndpointConfig::new(Box::new(Spis(0xd000_0000)));
    config.limits.cookie_threshold = 0;
    let rng = rand_chacha::ChaCha20Rng::seed_from_u64(seed);
    crate::endpoint::Endpoint::new(config, Box::new(rng))
}

// R180, R202: spacing and count
#[test]
fn a_silent_peer_is_asked_with_growing_pauses_and_given_up() {
    let mut pair = Pair::with(16, |side, c| {
        if side == Side::A {
            c.start = Start::Respond;
        }
    });
    pair.filter = Some(Box::new(|_, _| true));
    pair.initiate(Side::A);
    let t0 = pair.now;
    pair.run_secs(120);
    let times: Vec<f64> = pair.sent_by(Side::A, t0).iter().map(|(at, _)| (*at - t0).as_secs_f64()).collect();
    assert_eq!(times.len(), 6, "one request, five times again: {times:?}");
    for (at, want) in times.iter().zip([0.0, 1.0, 3.0, 7.0, 15.0, 31.0]) {
        assert!((want..=want * 1.1 + 0.2).contains(at), "{times:?}");
    }
    let all: Vec<_> = pair.sent_by(Side::A, t0).into_iter().map(|(_, t)| t.bytes).collect();
    assert!(all.windows(2).all(|w| w[0] == w[1]), "byte for byte the same");
    assert_eq!((pair.a.count(Counter::Retransmits), pair.a.count(Counter::GaveUp)), (5, 1));
    assert!(pair.a.events.iter().any(|e| matches!(e, Event::Failed { retry: None, .. })));
    pair.assert_nothing();
}

#[test]
fn several_children_share_one_ike_sa() {
    let second =
        |local: &str, remote: &str| Child { id: ChildId(8), name: "two".into(), ..child(local, remote) };
    let mut pair = Pair::with(17, |side, c| {
        c.children.push(match side {
            Side::A => second("10.11.0.0/24", "10.12.0.0/24"),
            Side::B => second("10.12.0.0/24", "10.11.0.0/24"),
        });
    });
    pair.run_secs(2);
    assert_eq!((pair.a.pairs().len(), pair.b.pairs().len()), (2, 2));
    assert_eq!((pair.live(Side::A).len(), pair.live(Side::B).len()), (1, 1));
    pair.assert_same_tables();
    assert_eq!(pair.b.outbound.len(), 2);
}

// Both ends begin at the same moment: one IKE SA is left.
#[test]
fn both_ends_begin_at_once() {
    for seed in 0..20 {
        let mut pair = Pair::with(100 + seed, |_, c| c.start = Start::Immediately);
        // Half of the runs a little apart, so that the exchanges interleave in another way.
        pair.run_secs(60);
        pair.assert_one_pair();
    }
    for (seed, late) in (0..30).map(|i| (i, Duration::from_millis(2 * i))) {
        let mut pair = Pair::with(200 + seed, |side, c| {
            if side == Side::A {
                c.start = Start::Immediately;
            }
        });
        pair.run(late);
        pair.initiate(Side::B);
        pair.run_secs(60);
        pair.assert_one_pair();
    }
}

// R211, R72, R189: INITIAL_CONTACT after a restart removes what the peer still holds
#[test]
fn a_restarted_peer_replaces_its_old_sas() {
    let mut pair = Pair::established();
    pair.watch = false;
    pair.restart(Side::A, 77);
    pair.command(Side::A, Command::Configure(Box::new(Pair::connection(Side::A))));
    pair.run_secs(2);
    assert_eq!(pair.b.count(Counter::InitialContact), 1);
    pair.assert_one_pair();
}

// R311: with thousands of tunnels to bring up, their first messages do not drown each other.
#[test]
fn attempts_begin_by_turns_and_peers_that_are_gone_hold_up_nobody() {
    const TUNNELS: u32 = 600;
    let mut pair = Pair::empty(9);
    let limit = crate::endpoint::Limits::default().starting;
    for n in 0..TUNNELS {
        let mut c = Pair::connection(Side::A);
        let remote = core::net::Ipv4Addr::from_bits(0x0a09_0000 | n);
        (c.id, c.remote, c.children[0].id) = (ConnectionId(n), Some(remote.into()), ChildId(n));
        pair.command(Side::A, Command::Configure(Box::new(c)));
    }
    let tried =
        |pair: &Pair| -> std::collections::BTreeSet<_> { pair.sent.iter().map(|s| s.2.remote).collect() };
    assert_eq!(tried(&pair).len(), limit);
    pair.run_secs(4);
    assert_eq!(tried(&pair).len(), TUNNELS as usize, "nobody ever answered");
}
