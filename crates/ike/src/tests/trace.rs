//! The trace and the key log: what an operator and tshark can see of an exchange.

use super::pair::*;
use crate::command::Command;
use crate::config::*;
use crate::event::Event;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::process::Stdio;

fn traced(pair: &Pair, side: Side) -> Vec<String> {
    let text = |e: &Event| if let Event::Trace { text, .. } = e { Some(text.clone()) } else { None };
    pair.see(side).events.iter().filter_map(text).collect()
}

// R313, R144, R178, R185, R186, R235: every message, every state, every decision; and only while it is on
#[test]
fn a_trace_tells_messages_states_and_decisions() {
    let mut pair = Pair::with(400, |side, c| {
        if side == Side::A {
            c.start = Start::Respond;
        }
    });
    for side in [Side::A, Side::B] {
        pair.command(side, Command::Trace { connection: CONNECTION, on: true });
    }
    pair.initiate(Side::A);
    pair.run_secs(1);
    let a = traced(&pair, Side::A);
    let wanted = [
        "out IKE_SA_INIT request 0: [SA, KE(31), Nonce,",
        "in IKE_SA_INIT response 0: [SA, KE(31), Nonce,",
        "chosen: encryption aes256gcm16, prf prfsha256, group x25519",
        "IKE_SA_INIT sent -> IKE_AUTH sent",
        "out IKE_AUTH request 1: [IDi,",
        "in IKE_AUTH response 1: [IDr, AUTH, SA, TSi, TSr]",
        "IKE_AUTH sent -> established",
    ];
    for text in wanted {
        assert!(a.iter().any(|line| line.contains(text)), "{text} is not in {a:#?}");
    }
    assert!(traced(&pair, Side::B).iter().any(|line| line.contains("IKE_SA_INIT answered -> established")));
    let secret = format!("{a:?}");
    assert!(!secret.contains("correct horse"));
    // Off again.
    pair.command(Side::A, Command::Trace { connection: CONNECTION, on: false });
    let before = traced(&pair, Side::A).len();
    pair.rekey_child(Side::A);
    pair.run_secs(5);
    assert_eq!(traced(&pair, Side::A).len(), before);
}

#[test]
fn a_refused_proposal_is_traced_attribute_by_attribute() {
    let mut pair = Pair::with(401, |side, c| {
        c.start = Start::Respond;
        if side == Side::B {
            c.proposals = vec![IkeProposal { encryption: Encryption::AesGcm16_128, ..GCM }];
        }
    });
    pair.command(Side::B, Command::Trace { connection: CONNECTION, on: true });
    pair.initiate(Side::A);
    pair.run(Duration::from_millis(500));
    let b = traced(&pair, Side::B);
    let why = "encryption: wanted aes128gcm16, got aes256gcm16";
    assert!(b.iter().any(|line| line.contains(why)), "{b:#?}");
}

/// One packet of a capture file: IPv4, UDP, payload.
fn packet(out: &mut Vec<u8>, from: SocketAddr, to: SocketAddr, payload: &[u8]) {
    let (IpAddr::V4(source), IpAddr::V4(dest)) = (from.ip(), to.ip()) else { panic!("IPv4 only") };
    let len = (28 + payload.len()) as u32;
    [0, 0, len, len].iter().for_each(|field: &u32| out.extend_from_slice(&field.to_le_bytes()));
    out.extend_from_slice(&[0x45, 0]);
    out.extend_from_slice(&(len as u16).to_be_bytes());
    out.extend_from_slice(&[0, 0, 0, 0, 64, 17, 0, 0]);
    out.extend_from_slice(&source.octets());
    out.extend_from_slice(&dest.octets());
    for field in [from.port(), to.port(), (len - 20) as u16, 0] {
        out.extend_from_slice(&field.to_be_bytes());
    }
    out.extend_from_slice(payload);
}

/// The pair's datagrams as a capture of raw IPv4.
fn capture(pair: &Pair) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&0xa1b2_c3d4u32.to_le_bytes());
    out.extend_from_slice(&[2, 0, 4, 0]);
    [0, 0, 65_535, 101].iter().for_each(|field: &u32| out.extend_from_slice(&field.to_le_bytes()));
    for (_, side, t) in &pair.sent {
        let port = if t.natt { 4500 } else { 500 };
        packet(&mut out, SocketAddr::new(pair.see(*side).addr, port), t.remote, &t.datagram());
    }
    out
}

fn tshark(pcap: &[u8], keys: &[String]) -> String {
    use std::io::Write;
    let mut command = std::process::Command::new("tshark");
    command.args(["-r", "-", "-V", "-Y", "isakmp"]);
    for line in keys {
        command.args(["-o", &format!("uat:ikev2_decryption_table:{line}")]);
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tshark, of the package of that name, judges the key log");
    child.stdin.take().unwrap().write_all(pcap).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

// R314: with the key log tshark reads what it otherwise cannot
#[test]
fn tshark_decrypts_our_exchange_with_the_key_log() {
    let cbc =
        IkeProposal { encryption: Encryption::AesCbc256, integrity: Some(Integrity::HmacSha256_128), ..GCM };
    for proposal in [GCM, cbc] {
        let mut pair = Pair::with_key_log(402, |_, c| c.proposals = vec![proposal]);
        pair.run_secs(1);
        pair.assert_one_pair();
        let line =
            |e: &Event| if let Event::KeyLog(line) = e { Some(line.expose().to_owned()) } else { None };
        let keys: Vec<String> = pair.a.events.iter().filter_map(line).collect();
        let theirs: Vec<String> = pair.b.events.iter().filter_map(line).collect();
        assert_eq!(keys.len(), 1);
        assert_eq!(keys, theirs, "both ends have the same keys");
        let pcap = capture(&pair);
        let blind = tshark(&pcap, &[]);
        assert!(blind.contains("IKE_AUTH") && !blind.contains("a.lab"), "{blind}");
        let seen = tshark(&pcap, &keys);
        for text in ["a.lab", "b.lab", "Authentication Data", "10.2.0.255"] {
            assert!(seen.contains(text), "{text} is not in {seen}");
        }
    }
}

#[test]
fn without_the_option_no_key_leaves_the_engine() {
    let mut pair = Pair::established();
    pair.rekey_ike(Side::A);
    pair.run_secs(5);
    for node in [&pair.a, &pair.b] {
        assert!(!node.events.iter().any(|e| matches!(e, Event::KeyLog(_))));
    }
}
