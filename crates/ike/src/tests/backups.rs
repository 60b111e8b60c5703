//! Several gateways of one peer (R1, R2, R3, R9): B plays them by its addresses.

use super::pair::*;
use crate::command::Command;
use crate::config::{ChildId, Connection, ConnectionId, Identity, Start};
use crate::counters::Counter;
use crate::event::Event;
use core::net::IpAddr;
use core::time::Duration;

fn ip(last: u8) -> IpAddr {
    IpAddr::from([198, 18, 0, last])
}

/// A's connection towards the gateway with this address, which has an identity and a secret of its own.
fn towards(last: u8) -> Connection {
    let mut c = Pair::connection(Side::A);
    c.remote = Some(ip(last));
    c.remote_id = Identity::Fqdn(format!("gw{last}.lab"));
    psk(&mut c, &[last; 20]);
    c.dpd_delay = Duration::from_secs(20);
    c
}

fn ours(gateways: &[u8], back: u64) -> Connection {
    let mut first = towards(gateways[0]);
    first.exchanges.backups = gateways[1..].iter().map(|n| towards(*n)).collect();
    first.exchanges.return_to_first = Duration::from_secs(back);
    first
}

/// B as the gateway with this address.
fn gateway(last: u8) -> Connection {
    let mut c = Pair::connection(Side::B);
    c.id = ConnectionId(last.into());
    c.children[0].id = ChildId(last.into());
    c.local = Some(ip(last));
    c.local_id = Identity::Fqdn(format!("gw{last}.lab"));
    psk(&mut c, &[last; 20]);
    c.dpd_delay = Duration::from_secs(20);
    c
}

fn net(gateways: &[u8], back: u64, alive: &[u8]) -> Pair {
    let mut pair = Pair::empty(7);
    pair.aliases = gateways.iter().map(|n| ip(*n)).collect();
    pair.dead = gateways.iter().filter(|n| !alive.contains(n)).map(|n| ip(*n)).collect();
    for n in gateways {
        pair.command(Side::B, Command::Configure(Box::new(gateway(*n))));
    }
    pair.command(Side::A, Command::Configure(Box::new(ours(gateways, back))));
    pair
}

fn up_with(pair: &Pair) -> Vec<IpAddr> {
    pair.live(Side::A).iter().filter(|i| i.state == "established").map(|i| i.remote.ip()).collect()
}

/// Where A sent IKE_SA_INIT, without repetitions.
fn tried(pair: &Pair) -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = pair
        .sent
        .iter()
        .filter(|(_, side, t)| *side == Side::A && t.bytes.get(18) == Some(&34))
        .map(|(_, _, t)| t.remote.ip())
        .collect();
    all.dedup();
    all
}

#[test]
fn gateways_are_tried_in_order_until_one_answers() {
    let mut pair = net(&[2, 3, 4], 0, &[4]);
    pair.run_secs(14);
    assert_eq!(tried(&pair), [ip(2)], "the next only after the one before failed");
    pair.run_secs(3);
    assert_eq!(tried(&pair), [ip(2), ip(3)]);
    pair.run_secs(20);
    assert_eq!(tried(&pair), [ip(2), ip(3), ip(4)]);
    assert_eq!(up_with(&pair), [ip(4)]);
    assert_eq!(pair.a.pairs().len(), 1);
}

// R1, R3, R9, R148: silence, then the next gateway at once, with its own secret.
#[test]
fn a_silent_gateway_gives_way_to_the_next() {
    let mut pair = net(&[2, 3], 0, &[2, 3]);
    pair.run_secs(5);
    assert_eq!(up_with(&pair), [ip(2)]);
    pair.dead.insert(ip(2));
    pair.run_secs(20 + 17);
    assert_eq!(up_with(&pair), [ip(3)], "{:#?}", pair.a.log);
    assert_eq!(pair.a.pairs().len(), 1);
    assert_eq!(pair.a.count(Counter::PeerDead), 1);
    // And back when that one is lost too.
    pair.dead = [ip(3)].into();
    pair.run_secs(20 + 17 + 5);
    assert_eq!(up_with(&pair), [ip(2)]);
}

#[test]
fn a_gateway_with_another_secret_is_passed_over() {
    let mut pair = net(&[2, 3], 0, &[2, 3]);
    let mut other = gateway(2);
    psk(&mut other, b"not this one");
    pair.command(Side::B, Command::Configure(Box::new(other)));
    pair.run_secs(5);
    assert_eq!(tried(&pair), [ip(2), ip(3)]);
    assert_eq!(up_with(&pair), [ip(3)]);
    let at_once = |e: &Event| matches!(e, Event::Failed { retry: Some(Duration::ZERO), .. });
    assert_eq!(pair.a.events.iter().filter(|e| at_once(e)).count(), 1);
}

#[test]
fn after_a_round_of_all_there_is_a_pause() {
    let mut pair = net(&[2, 3], 0, &[2, 3]);
    for n in [2, 3] {
        let mut other = gateway(n);
        psk(&mut other, b"not this one");
        pair.command(Side::B, Command::Configure(Box::new(other)));
    }
    pair.run_secs(60);
    let rounds = tried(&pair).len();
    assert!((6..=14).contains(&rounds), "{rounds} attempts in a minute");
}

#[test]
fn it_returns_to_the_first_without_a_gap() {
    let mut pair = net(&[2, 3], 60, &[3]);
    pair.run_secs(50);
    assert_eq!(up_with(&pair), [ip(3)]);
    // The first stays dead for one attempt, which does no harm.
    pair.run_secs(120);
    assert_eq!(up_with(&pair), [ip(3)]);
    pair.dead.clear();
    let count = pair.a.events.len();
    pair.run_secs(90);
    assert_eq!(up_with(&pair), [ip(2)], "{:#?}", pair.a.log);
    assert!(!pair.a.events[count..].iter().any(|e| matches!(e, Event::ChildDown { .. })));
    assert_eq!(pair.a.pairs().len(), 1);
    pair.run_secs(300);
    assert_eq!(up_with(&pair), [ip(2)], "and stays there");
}

#[test]
fn on_traffic_too_the_next_gateway_follows() {
    let mut pair = Pair::empty(8);
    pair.aliases = vec![ip(2), ip(3)];
    for n in [2, 3] {
        pair.command(Side::B, Command::Configure(Box::new(gateway(n))));
    }
    let mut c = ours(&[2, 3], 0);
    c.start = Start::OnTraffic;
    pair.command(Side::A, Command::Configure(Box::new(c)));
    pair.run_secs(5);
    assert!(tried(&pair).is_empty());
    pair.dead.insert(ip(2));
    pair.command(Side::A, Command::Initiate { connection: CONNECTION, child: Some(CHILD) });
    pair.run_secs(20);
    assert_eq!(up_with(&pair), [ip(3)]);
}

// R306 with R1: the record says which gateway it was.
#[test]
fn a_new_control_process_goes_on_with_the_backup() {
    let mut pair = net(&[2, 3], 0, &[3]);
    pair.run_secs(50);
    let taken = pair.crash_into(Side::A, 3, vec![ours(&[2, 3], 0)]);
    assert_eq!((taken.ike_sas, taken.pairs.len()), (1, 1));
    pair.run_secs(60);
    assert_eq!(up_with(&pair), [ip(3)]);
    pair.rekey_child(Side::A);
    pair.run_secs(10);
    assert_eq!(pair.a.pairs().len(), 1);
    assert_eq!(pair.a.count(Counter::PeerDead), 0);
}

#[test]
fn another_list_of_gateways_is_another_connection() {
    let mut pair = net(&[2, 3], 0, &[2, 3]);
    pair.run_secs(5);
    pair.command(Side::A, Command::Configure(Box::new(ours(&[3, 2], 0))));
    pair.run_secs(10);
    assert_eq!(up_with(&pair), [ip(3)]);
    assert_eq!(pair.a.pairs().len(), 1);
}
