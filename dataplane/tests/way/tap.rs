//! R50, R51: packets at each stage of their way under one number, from a real worker; and what a capture may not cost.

use crate::rig::*;
use ravelin_dataplane::{Filter, Origin, Records, Tap};
use ravelin_ring::counters::Drop;
use ravelin_ring::inspect::{Record, Stage, Want};
use ravelin_ring::msg::{Mode, Suite, WorkerId};
use std::collections::BTreeMap;
use std::sync::Arc;

fn tapped(gate: &mut Gate, want: Want) -> Arc<Records> {
    let snaplen = if want.snaplen == 0 { 2048 } else { want.snaplen };
    let filter = Filter::new(&Want { snaplen, ..want }, &["lan0".into(), "wan0".into()]).unwrap();
    let records = Records::new(snaplen.into());
    gate.tap = Some(Tap::new(filter, records.clone(), WorkerId(0)));
    records
}

fn drain(records: &Records) -> Vec<Record> {
    std::iter::from_fn(|| {
        let record = records.next()?;
        let copy = (*record).clone();
        records.done(record);
        Some(copy)
    })
    .collect()
}

/// The stages of each packet, by its number.
fn ways(list: &[Record]) -> Vec<String> {
    let mut by_id: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    for record in list {
        by_id.entry(record.id).or_default().push(record.stage.name());
    }
    by_id.values().map(|stages| stages.join(" ")).collect()
}

#[test]
fn esp_before_and_after_under_one_number() {
    for pair in [Pair::default(), Pair { udp: true, ..Pair::default() }, Pair { v6: true, ..Pair::default() }]
    {
        let (mut a, mut b) = gates(&pair);
        let (at_a, at_b) = (tapped(&mut a, Want::default()), tapped(&mut b, Want::default()));
        for n in 1..4u64 {
            let clear = ip(HOST_A, HOST_B, 200);
            let out = a.receive(INSIDE, &clear);
            let list = drain(&at_a);
            assert_eq!(ways(&list), ["rx policy pre-encrypt tx"]);
            let [rx, policy, seal, tx] = &list[..] else { panic!("{list:?}") };
            assert!(rx.ethernet && tx.ethernet && !policy.ethernet && !seal.ethernet);
            assert_eq!((&rx.bytes[14..], &tx.bytes[..]), (&clear[..], &out.bytes[..]));
            assert_eq!(policy.bytes, clear);
            for record in [policy, seal, tx] {
                let told =
                    (record.spi, record.sequence, record.sa, record.tunnel, record.verdict, record.egress);
                assert_eq!(told, (0x1000, n, 11, TUNNEL.0, Record::FORWARD, WAN.0));
            }
            b.receive(WAN, &out.bytes[14..]);
            let list = drain(&at_b);
            assert_eq!(ways(&list), ["rx decrypted policy tx"]);
            let aged = edit(clear, |ip| ip.set_ttl(63));
            assert_eq!(list[1].bytes, aged, "as it went in, a hop later");
            for record in &list[..2] {
                assert_eq!((record.spi, record.sequence, record.sa, record.port), (0x1000, n, 10, WAN.0));
            }
        }
        assert_eq!((at_a.take_lost(), at_b.take_lost()), (0, 0));
    }
}

#[test]
fn fragments_and_other_modes_have_their_stages() {
    let (mut a, _) = gates(&Pair { tunnel_mtu: 600, ..Pair::default() });
    let records = tapped(&mut a, Want::default());
    let large = edit(ip(HOST_A, HOST_B, 1400), |ip| ip.set_df(false));
    let out = a.run(&[(Origin::Port(INSIDE), ether(&large))]);
    let list = drain(&records);
    let sealed: Vec<u64> = list.iter().filter(|r| r.stage == Stage::Tx).map(|r| r.sequence).collect();
    assert_eq!(sealed.len(), out.len());
    assert_eq!(sealed.len(), list.iter().filter(|r| r.stage == Stage::PreEncrypt).count());
    assert_eq!(sealed.iter().max(), Some(&(sealed.len() as u64)), "each its own number");
    for pair in [mode_pair(Mode::Transport), Pair { suite: Suite::AhSha256, ..mode_pair(Mode::Tunnel) }] {
        let (mut a, mut b) = mode_gates(&pair);
        let (at_a, at_b) = (tapped(&mut a, Want::default()), tapped(&mut b, Want::default()));
        let clear = mode_packet(&pair, 100);
        let wire = mode_send(&mut a, &pair, &clear);
        let list = drain(&at_a);
        assert_eq!(ways(&list), ["rx policy pre-encrypt tx"]);
        assert_eq!((list[3].spi, list[3].sequence), (0x1000, 1));
        b.receive(WAN, &wire);
        // What is the kernel's own has left the way when policies and SAs are known.
        let wanted = if pair.mode == Mode::Transport { "rx decrypted tx" } else { "rx decrypted policy tx" };
        assert_eq!(ways(&drain(&at_b)), [wanted]);
    }
}

#[test]
fn drops_are_told_with_the_packet_as_it_came() {
    let (mut a, mut b) = gates(&Pair::default());
    let records = tapped(&mut b, Want { stages: vec![Stage::Drop], ..Want::default() });
    let out = a.receive(INSIDE, &ip(HOST_A, HOST_B, 200));
    let wire = out.forwarded(WAN).to_vec();
    let mut forged = wire.clone();
    forged[60] ^= 1;
    b.receive(WAN, &forged).lost(Drop::BadIcv);
    b.receive(WAN, &wire);
    b.receive(WAN, &wire).lost(Drop::ReplayDup);
    b.receive(WAN, &ip(HOST_A, HOST_B, 77)).lost(Drop::PlainOnProtected);
    let list = drain(&records);
    let told: Vec<_> = list.iter().map(|r| (r.reason().unwrap(), r.spi, r.sequence)).collect();
    assert_eq!(told, [("bad_icv", 0x1000, 1), ("replay_dup", 0x1000, 1), ("plain_on_protected", 0, 0)]);
    assert_eq!((&list[0].bytes[14..], list[0].length as usize), (&forged[..], forged.len() + 14));
}

#[test]
fn conditions_hold_at_any_stage() {
    let stages = |want: Want| {
        let (mut a, _) = gates(&Pair::default());
        let records = tapped(&mut a, want);
        a.receive(INSIDE, &ip(HOST_A, HOST_B, 100));
        a.receive(INSIDE, &ip(HOST_A, INTERNET, 100));
        a.receive(WAN, &ip(HOST_B, HOST_A, 100)).lost(Drop::PlainOnProtected);
        drain(&records).iter().map(|r| (r.id, r.stage)).collect::<Vec<_>>()
    };
    let none = Want::default();
    let both = vec![
        (1, Stage::Rx),
        (1, Stage::Policy),
        (1, Stage::PreEncrypt),
        (1, Stage::Tx),
        (3, Stage::Rx),
        (3, Stage::Drop),
    ];
    assert_eq!(stages(Want { host: Some(addr(HOST_B)), ..none.clone() }), both);
    // Inner host and outer protocol: the same packet at two stages.
    let esp = Want { host: Some(addr(HOST_B)), protocol: Some(50), ..none.clone() };
    assert_eq!(stages(esp), both[..4]);
    assert_eq!(stages(Want { spi: Some(0x1000), ..none.clone() }), both[..4]);
    assert_eq!(stages(Want { tunnel: Some(TUNNEL.0), ..none.clone() }), both[..4]);
    assert_eq!(stages(Want { port: Some("wan0".into()), ..none.clone() }), both[4..]);
    assert_eq!(stages(Want { reason: Some("plain_on_protected".into()), ..none.clone() }), both[4..]);
    assert_eq!(stages(Want { service: Some(2001), ..none.clone() }), []);
    assert_eq!(stages(Want { service: Some(2000), reason: Some("land".into()), ..none.clone() }), []);
    let tx = vec![(1, Stage::Tx), (2, Stage::Tx)];
    assert_eq!(stages(Want { service: Some(2000), stages: vec![Stage::Tx], ..none.clone() }), tx);
    let ports = ["lan0".to_owned()];
    for (want, word) in [
        (Want { port: Some("eth9".into()), ..none.clone() }, "lan0"),
        (Want { reason: Some("bad luck".into()), ..none.clone() }, "bad luck"),
    ] {
        assert!(Filter::new(&want, &ports).unwrap_err().contains(word));
    }
}

#[test]
fn a_sample_is_a_part_of_the_packets_at_all_their_stages() {
    let (mut a, _) = gates(&Pair::default());
    let records = tapped(&mut a, Want { sample: 10, snaplen: 40, ..Want::default() });
    let packets: Vec<_> = (0..200).map(|_| (Origin::Port(INSIDE), ether(&ip(HOST_A, HOST_B, 100)))).collect();
    a.run(&packets);
    let list = drain(&records);
    assert_eq!(ways(&list), ["rx policy pre-encrypt tx"; 20]);
    assert!(list.iter().all(|r| r.bytes.len() == 40 && r.length > 99));
}

/// Nobody reads: records are lost and counted, packets go on, and their worker does what its twin does.
#[test]
fn a_full_buffer_costs_records_only() {
    let (mut a, mut twin) = (gates(&Pair::default()).0, gates(&Pair::default()).0);
    let records = tapped(&mut a, Want::default());
    let packets: Vec<_> = (0..64).map(|_| (Origin::Port(INSIDE), ether(&ip(HOST_A, HOST_B, 100)))).collect();
    for _ in 0..40 {
        let (out, other) = (a.run(&packets), twin.run(&packets));
        assert_eq!(out.len(), other.len());
        out.iter().for_each(|o| _ = o.forwarded(WAN));
    }
    assert_eq!(a.worker.stats(), twin.worker.stats());
    let (told, lost) = (drain(&records).len() as u64, records.take_lost());
    // Four stages, and a copy in case it is dropped, which finds room or not as they do.
    assert!(told <= 4096 && told > 3000 && lost > 40 * 64 * 4 - 4096, "{told} told, {lost} lost");
    assert_eq!(records.take_lost(), 0);
    a.run(&packets);
    assert_eq!(drain(&records).len(), 64 * 4, "there is room again");
}
