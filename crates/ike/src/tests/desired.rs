//! What the configuration wants comes back by itself, whatever failed, and at a pace that harms nobody.

use super::pair::*;
use crate::command::Command;
use core::time::Duration;
use rand_core::Rng;

fn wanted(seed: u64) -> Pair {
    let mut pair = Pair::with(seed, |_, c| c.dpd_delay = Duration::from_secs(20));
    pair.run_secs(5);
    pair.assert_one_pair();
    pair
}

/// One thing goes wrong.
fn trouble(pair: &mut Pair, seed: u64) {
    match pair.rng.next_u64() % 8 {
        0 => {
            pair.restart(Side::B, seed);
            pair.command(Side::B, Command::Configure(Box::new(Pair::connection(Side::B))));
        }
        1 => pair.b.refuse_installs = 2,
        2 => pair.a.refuse_installs = 2,
        3 => pair.filter = Some(Box::new(|_, _| true)),
        4 => pair.filter = Some(Box::new(|side, _| side == Side::B)),
        5 => pair.command(Side::B, Command::Terminate { connection: CONNECTION }),
        6 => {
            if let Some(id) = pair.a.outbound.get(&CHILD).copied() {
                pair.command(Side::A, Command::DeleteChild(id));
            }
        }
        _ => drop(pair.crash(Side::A, seed)),
    }
    if pair.rng.next_u64().is_multiple_of(3) {
        pair.rekey_ike(Side::A);
    }
}

#[test]
fn whatever_fails_it_comes_back() {
    for seed in 0..60 {
        let mut pair = wanted(seed);
        for round in 0..5 {
            trouble(&mut pair, seed * 10 + round);
            let pause = Duration::from_millis(pair.rng.next_u64() % 90_000);
            pair.run(pause);
            pair.filter = None;
            let pause = Duration::from_millis(pair.rng.next_u64() % 5000);
            pair.run(pause);
        }
        (pair.a.refuse_installs, pair.b.refuse_installs) = (0, 0);
        let mut a = Pair::connection(Side::A);
        a.dpd_delay = Duration::from_secs(20);
        pair.command(Side::A, Command::Configure(Box::new(a)));
        pair.run_secs(400);
        pair.assert_one_pair();
    }
}

#[test]
fn a_peer_that_is_gone_is_asked_less_and_less_often() {
    let mut pair = wanted(1);
    pair.filter = Some(Box::new(|_, _| true));
    let since = pair.now;
    pair.run_secs(3600);
    let mut spis: Vec<_> = pair.sent_by(Side::A, since).iter().map(|(_, t)| t.bytes[..8].to_vec()).collect();
    let datagrams = spis.len();
    spis.dedup();
    assert!((25..=45).contains(&spis.len()), "{} attempts in an hour", spis.len());
    assert!(datagrams <= spis.len() * 6 + 6, "{datagrams} datagrams");
    pair.filter = None;
    pair.run_secs(130);
    pair.assert_one_pair();
}
