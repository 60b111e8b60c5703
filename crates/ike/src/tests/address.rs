//! An address from the peer (RFC 7296 §2.19, R33): A asks, B has a pool.

use super::any_connection;
use super::pair::*;
use crate::command::Command;
use crate::config::*;
use crate::event::Event;
use crate::payload::notify;
use core::net::IpAddr;
use core::time::Duration;
use ravelin_wire::AddrRange;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn server(pool: &[&str]) -> Connection {
    let mut any = any_connection();
    any.children[0].selectors =
        vec![selector("10.2.0.0/24", "10.3.0.0/24"), selector("2001:db8:2::/64", "2001:db8:3::/64")];
    let addresses = pool.iter().map(|p| prefix(p).into()).collect();
    any.pool = Some(Pool { addresses, dns: vec![ip("10.2.0.53")] });
    any
}

fn client(wanted: &[&str]) -> Connection {
    let mut c = Pair::connection(Side::A);
    let here =
        |remote| ravelin_wire::Selector { local: AddrRange::ANY_V4, ..selector("10.1.0.0/24", remote) };
    c.children[0].selectors = vec![
        here("10.2.0.0/24"),
        ravelin_wire::Selector { local: AddrRange::ANY_V6, ..selector("2001:db8:1::/64", "2001:db8:2::/64") },
    ];
    c.exchanges.addresses = wanted.iter().map(|a| ip(a)).collect();
    c
}

fn begun(seed: u64, server: Connection, client: Connection) -> Pair {
    let mut pair = Pair::empty(seed);
    pair.command(Side::B, Command::Configure(Box::new(server)));
    pair.command(Side::A, Command::Configure(Box::new(client)));
    pair.run_secs(3);
    pair
}

/// What A was told it has, change by change.
fn given(pair: &Pair) -> Vec<(Vec<IpAddr>, Vec<IpAddr>)> {
    let told = |e: &Event| match e {
        Event::Given { addresses, dns, .. } => Some((addresses.clone(), dns.clone())),
        _ => None,
    };
    pair.a.events.iter().filter_map(told).collect()
}

fn locals(pair: &Pair) -> Vec<IpAddr> {
    let pairs = pair.a.pairs();
    let mut all: Vec<IpAddr> = pairs.iter().flat_map(|sa| &sa.selectors).map(|s| s.local.start()).collect();
    all.sort();
    all.dedup();
    assert!(
        pairs.iter().flat_map(|sa| &sa.selectors).all(|s| s.local.start() == s.local.end()),
        "one host each"
    );
    all
}

#[test]
fn the_address_narrows_the_selectors_and_outlives_rekeys() {
    let mut pair = begun(700, server(&["10.3.0.8/30", "2001:db8:3::8/126"]), client(&["0.0.0.0", "::"]));
    let had = vec![ip("10.3.0.8"), ip("2001:db8:3::8")];
    assert_eq!(locals(&pair), had);
    assert_eq!(given(&pair), [(had.clone(), vec![ip("10.2.0.53")])]);
    pair.assert_same_tables();
    let outbound = |pair: &Pair| *pair.a.outbound.get(&CHILD).unwrap();
    let first = outbound(&pair);
    pair.command(Side::A, Command::RekeyChild(first));
    pair.run_secs(20);
    assert_ne!(outbound(&pair), first);
    pair.command(Side::A, Command::RekeyIke(CONNECTION));
    pair.run_secs(60);
    let second = *pair.b.outbound.values().next().unwrap();
    pair.command(Side::B, Command::RekeyChild(second));
    pair.run_secs(20);
    assert_eq!(locals(&pair), had);
    assert_eq!(given(&pair).len(), 1, "nothing changed");
    pair.assert_same_tables();
    // A new IKE SA beside the old one: the same address, and never none.
    pair.command(Side::A, Command::Renew { connection: CONNECTION });
    pair.run_secs(60);
    assert_eq!((locals(&pair), given(&pair).len()), (had, 1));
    assert_eq!(pair.live(Side::A).len(), 1);
    pair.command(Side::A, Command::Terminate { connection: CONNECTION });
    pair.run_secs(10);
    assert_eq!(given(&pair).last(), Some(&(vec![], vec![])));
}

// The address of last time is asked for, though another is free.
#[test]
fn who_comes_back_asks_for_what_it_had() {
    let mut pair = begun(701, server(&["10.3.0.0/24"]), client(&["10.3.0.77"]));
    // Ours to wish, the server's to give: Ravelin gives the first free one.
    assert_eq!(locals(&pair), [ip("10.3.0.0")]);
    pair.command(Side::A, Command::Terminate { connection: CONNECTION });
    pair.run_secs(10);
    pair.initiate(Side::A);
    pair.run_secs(3);
    assert_eq!(locals(&pair), [ip("10.3.0.0")]);
    assert_eq!(given(&pair).len(), 3);
}

#[test]
fn without_an_address_there_is_no_tunnel_and_the_reason_is_named() {
    // B has no pool: it does not answer the question.
    let mut plain = server(&["10.3.0.0/24"]);
    plain.pool = None;
    plain.remote_id = Identity::Any;
    let pair = begun(702, plain, client(&["0.0.0.0"]));
    assert!(pair.a.pairs().is_empty() && given(&pair).is_empty());
    let failed = |pair: &Pair| -> Vec<String> {
        let why = |e: &Event| if let Event::Failed { why, .. } = e { Some(why.clone()) } else { None };
        pair.a.events.iter().filter_map(why).collect()
    };
    assert!(failed(&pair)[0].contains("no address"), "{:?}", failed(&pair));
    // The pool has none of the family.
    let pair = begun(703, server(&["2001:db8:3::8/126"]), client(&["0.0.0.0"]));
    assert!(
        failed(&pair)[0].contains(&notify::name(notify::INTERNAL_ADDRESS_FAILURE)),
        "{:?}",
        failed(&pair)
    );
    assert!(given(&pair).is_empty());
    // We do not ask, and B insists.
    let mut silent = client(&[]);
    silent.children[0].selectors = vec![selector("10.3.0.9/32", "10.2.0.0/24")];
    let mut pair = begun(704, server(&["10.3.0.0/24"]), silent);
    assert!(failed(&pair)[0].contains(&notify::name(notify::FAILED_CP_REQUIRED)), "{:?}", failed(&pair));
    // Once the server has addresses again, it comes up by itself.
    pair.command(Side::A, Command::Configure(Box::new(client(&["0.0.0.0"]))));
    pair.run(Duration::from_secs(120));
    assert_eq!(locals(&pair), [ip("10.3.0.0")]);
}

#[test]
fn the_next_process_has_the_address_too() {
    let config = client(&["0.0.0.0"]);
    let mut pair = begun(705, server(&["10.3.0.0/24"]), config.clone());
    let taken = pair.crash_into(Side::A, 1, vec![config.clone()]);
    assert_eq!((taken.ike_sas, taken.pairs.len()), (1, 1), "{taken:?}");
    assert_eq!(given(&pair).len(), 2, "it is told again");
    let id = *pair.a.outbound.get(&CHILD).unwrap();
    pair.run_secs(5);
    pair.command(Side::A, Command::RekeyChild(id));
    pair.run_secs(20);
    assert_eq!(locals(&pair), [ip("10.3.0.0")]);
    pair.assert_same_tables();
    // It was not to ask for one any more: what it has is of no use.
    let mut other = config;
    other.exchanges.addresses.clear();
    assert_eq!(pair.crash_into(Side::A, 2, vec![other]).ike_sas, 0);
}

// A reload that changes something else leaves the tunnel and its address alone.
#[test]
fn a_reload_keeps_the_address() {
    let mut config = client(&["0.0.0.0"]);
    let mut pair = begun(706, server(&["10.3.0.0/24"]), config.clone());
    let before = pair.a.pairs()[0].id;
    config.children[0].lifetime = Duration::from_secs(1800);
    pair.command(Side::A, Command::Configure(Box::new(config.clone())));
    pair.run_secs(3);
    assert_eq!((pair.a.pairs()[0].id, given(&pair).len()), (before, 1));
    config.exchanges.addresses = vec![ip("10.3.0.5")];
    pair.command(Side::A, Command::Configure(Box::new(config)));
    pair.run_secs(10);
    assert_ne!(pair.a.pairs()[0].id, before, "another wish is another IKE SA");
}
