//! ESP octets against two implementations that share nothing with ours: scapy (Python's `cryptography` below it) opens
//! what the data plane sealed and the other way round; tshark opens a capture of ours.
//!
//! Needs Debian's python3-scapy, python3-cryptography and tshark; without them these tests fail.

use crate::rig::*;
use ravelin_crypto::{Engine, Key, OpenJob, SealJob, Tier};
use ravelin_dataplane::Origin;
use ravelin_ring::counters::Drop as Reason;
use ravelin_ring::msg::{Mode, NatKind, NatRule, Neighbour, Protocol, Suite, TableCommand};
use ravelin_wire::{AddrRange, PortRange, Prefix};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const ORACLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/way/scapy_oracle.py");
/// Debian's, which has Debian's modules.
const PYTHON: &str = "/usr/bin/python3";
const HIGH: u64 = 1 << 32;

/// scapy in a process of its own.
struct Scapy {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Scapy {
    fn start() -> Self {
        let mut child = Command::new(PYTHON)
            .arg(ORACLE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{PYTHON}: {e}; apt-get install python3-scapy python3-cryptography"));
        let (to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, to, from }
    }

    fn ask(&mut self, sa: &Sa, what: &str, packet: &[u8], seq: u64) -> Result<Vec<u8>, String> {
        let mut request = sa.0.clone();
        for (key, value) in [("do", json!(what)), ("packet", json!(hex(packet))), ("seq", json!(seq))] {
            request[key] = value;
        }
        let mut line = String::new();
        // The oracle says on standard error what it lacks, and ends.
        let missing = "scapy does not answer: apt-get install python3-scapy python3-cryptography";
        writeln!(self.to, "{request}").expect(missing);
        assert_ne!(self.from.read_line(&mut line).unwrap(), 0, "{missing}");
        let answer: Value = serde_json::from_str(&line).unwrap();
        match answer["bytes"].as_str() {
            Some(bytes) => Ok(unhex(bytes)),
            None => Err(answer["error"].to_string()),
        }
    }

    /// What else it can make.
    #[track_caller]
    fn make(&mut self, request: &Value) -> Vec<u8> {
        let mut line = String::new();
        writeln!(self.to, "{request}").unwrap();
        self.from.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        unhex(answer["bytes"].as_str().unwrap_or_else(|| panic!("{answer} to {request}")))
    }

    /// The packet with another end, and all its checksums made anew.
    #[track_caller]
    fn translated(
        &mut self,
        packet: &[u8],
        side: &str,
        (addr, port): (Ipv4Addr, u16),
        quoted: bool,
    ) -> Vec<u8> {
        let (packet, addr) = (hex(packet), addr.to_string());
        self.make(&json!({ "do": "translate", "packet": packet, "side": side, "addr": addr, "port": port, "quoted": quoted }))
    }

    /// The packet as its source, or a router, cuts it.
    fn fragment(&mut self, packet: &[u8], size: usize) -> Vec<Vec<u8>> {
        let mut line = String::new();
        writeln!(self.to, "{}", json!({ "do": "fragment", "packet": hex(packet), "size": size })).unwrap();
        self.from.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        let parts = answer["parts"].as_array().unwrap_or_else(|| panic!("{answer}"));
        parts.iter().map(|part| unhex(part.as_str().unwrap())).collect()
    }

    #[track_caller]
    fn open(&mut self, sa: &Sa, packet: &[u8], seq: u64) -> Vec<u8> {
        self.ask(sa, "open", packet, seq)
            .unwrap_or_else(|e| panic!("{e}\nof {seq:#x} {sa:?}\n{}", hex(packet)))
    }

    #[track_caller]
    fn seal(&mut self, sa: &Sa, inner: &[u8], seq: u64) -> Vec<u8> {
        self.ask(sa, "seal", inner, seq).unwrap_or_else(|e| panic!("{e}\nof {seq:#x} {sa:?}"))
    }
}

impl Drop for Scapy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An SA in scapy's words: the direction from A to B.
#[derive(Debug)]
struct Sa(Value);

impl Sa {
    fn new(names: Names, keymat: &[u8], spi: u32, esn: bool, udp: bool) -> Self {
        // The salt of an AEAD belongs to its key.
        let (cipher, integrity) =
            if names.auth == "NULL" { (keymat, &[][..]) } else { keymat.split_at(names.cipher_key) };
        Self(json!({
            "spi": spi, "esn": esn, "udp": udp, "src": WAN_A.to_string(), "dst": WAN_B.to_string(),
            "ah": false, "transport": false, "crypt": names.crypt, "crypt_key": hex(cipher), "auth": names.auth, "auth_key": hex(integrity),
        }))
    }

    fn of(pair: &Pair) -> Self {
        let ah = pair.suite.protocol() == Protocol::Ah;
        let mut sa = Self::new(names_of(pair.suite), &pair.keymat(true), pair.spi, pair.esn, pair.udp);
        sa.0["ah"] = json!(ah);
        sa.0["transport"] = json!(pair.mode == Mode::Transport);
        if pair.v6 {
            sa.0["src"] = json!(WAN_A6.to_string());
            sa.0["dst"] = json!(WAN_B6.to_string());
        }
        sa
    }
}

/// What scapy calls a suite, and where its cipher key ends.
#[derive(Clone, Copy)]
struct Names {
    crypt: &'static str,
    auth: &'static str,
    cipher_key: usize,
}

fn names(crypt: &'static str, auth: &'static str, cipher_key: usize) -> Names {
    Names { crypt, auth, cipher_key }
}

fn names_of(suite: Suite) -> Names {
    use ravelin_crypto::Suite as Crypto;
    crypto_names(match suite {
        Suite::Aes128Gcm16 => Crypto::Aes128Gcm16,
        Suite::Aes256Gcm16 => Crypto::Aes256Gcm16,
        Suite::ChaCha20Poly1305 => Crypto::ChaCha20Poly1305,
        Suite::Aes128CbcSha1 => Crypto::Aes128CbcSha1,
        Suite::Aes256CbcSha1 => Crypto::Aes256CbcSha1,
        Suite::Aes128CbcSha256 => Crypto::Aes128CbcSha256,
        Suite::Aes256CbcSha256 => Crypto::Aes256CbcSha256,
        Suite::Aes128Gmac => Crypto::Aes128Gmac,
        Suite::Aes192Gmac => Crypto::Aes192Gmac,
        Suite::Aes256Gmac => Crypto::Aes256Gmac,
        Suite::Aes128CbcSha384 => Crypto::Aes128CbcSha384,
        Suite::Aes256CbcSha384 => Crypto::Aes256CbcSha384,
        Suite::Aes128CbcSha512 => Crypto::Aes128CbcSha512,
        Suite::Aes256CbcSha512 => Crypto::Aes256CbcSha512,
        Suite::Aes128CtrSha1 => Crypto::Aes128CtrSha1,
        Suite::Aes192CtrSha1 => Crypto::Aes192CtrSha1,
        Suite::Aes256CtrSha1 => Crypto::Aes256CtrSha1,
        Suite::Aes128CtrSha256 => Crypto::Aes128CtrSha256,
        Suite::Aes192CtrSha256 => Crypto::Aes192CtrSha256,
        Suite::Aes256CtrSha256 => Crypto::Aes256CtrSha256,
        Suite::Aes256CtrSha384 => Crypto::Aes256CtrSha384,
        Suite::Aes256CtrSha512 => Crypto::Aes256CtrSha512,
        Suite::AhSha1 => Crypto::NullSha1,
        Suite::AhSha256 => Crypto::NullSha256,
        Suite::AhSha384 => Crypto::NullSha384,
        Suite::AhSha512 => Crypto::NullSha512,
        Suite::AhGmac128 | Suite::AhGmac192 | Suite::AhGmac256 => return names("NULL", "AES-GMAC", 0),
    })
}

fn crypto_names(suite: ravelin_crypto::Suite) -> Names {
    use ravelin_crypto::Suite as S;
    let (sha1, sha256, sha384, sha512) = ("HMAC-SHA1-96", "SHA2-256-128", "SHA2-384-192", "SHA2-512-256");
    match suite {
        S::Aes128Gcm16 | S::Aes192Gcm16 | S::Aes256Gcm16 => names("AES-GCM", "NULL", 0),
        S::ChaCha20Poly1305 => names("CHACHA20-POLY1305", "NULL", 0),
        S::Aes128CbcSha1 => names("AES-CBC", sha1, 16),
        S::Aes192CbcSha1 => names("AES-CBC", sha1, 24),
        S::Aes256CbcSha1 => names("AES-CBC", sha1, 32),
        S::Aes128CbcSha256 => names("AES-CBC", sha256, 16),
        S::Aes192CbcSha256 => names("AES-CBC", sha256, 24),
        S::Aes256CbcSha256 => names("AES-CBC", sha256, 32),
        S::Aes128CbcSha384 => names("AES-CBC", sha384, 16),
        S::Aes256CbcSha384 => names("AES-CBC", sha384, 32),
        S::Aes128CbcSha512 => names("AES-CBC", sha512, 16),
        S::Aes256CbcSha512 => names("AES-CBC", sha512, 32),
        // The nonce belongs to the cipher's key.
        S::Aes128CtrSha1 => names("AES-CTR", sha1, 20),
        S::Aes192CtrSha1 => names("AES-CTR", sha1, 28),
        S::Aes256CtrSha1 => names("AES-CTR", sha1, 36),
        S::Aes128CtrSha256 => names("AES-CTR", sha256, 20),
        S::Aes192CtrSha256 => names("AES-CTR", sha256, 28),
        S::Aes256CtrSha256 => names("AES-CTR", sha256, 36),
        S::Aes256CtrSha384 => names("AES-CTR", sha384, 36),
        S::Aes256CtrSha512 => names("AES-CTR", sha512, 36),
        S::NullSha1 => names("NULL", sha1, 0),
        S::NullSha256 => names("NULL", sha256, 0),
        S::NullSha384 => names("NULL", sha384, 0),
        S::NullSha512 => names("NULL", sha512, 0),
        // The oracle adds it to scapy's table.
        S::Aes128Gmac | S::Aes192Gmac | S::Aes256Gmac => names("AES-NULL-GMAC", "NULL", 0),
        S::NoProtectionForBenches => panic!("not an algorithm"),
    }
}

/// Every residue of both alignments, and some lengths of real traffic.
fn sizes() -> impl Iterator<Item = usize> {
    (20..=36).chain([64, 100, 576, 1000, 1280, 1399])
}

fn aged(bytes: Vec<u8>) -> Vec<u8> {
    let ttl = bytes[8];
    edit(bytes, |ip| ip.set_ttl(ttl - 1))
}

// R200, R219: every suite of the data plane, plain and in UDP, with and without ESN.
#[test]
fn scapy_opens_what_the_data_plane_sealed() {
    let mut scapy = Scapy::start();
    each_pair(|pair| {
        let (mut a, _) = gates(pair);
        let sa = Sa::of(pair);
        let sent: Vec<_> = sizes().map(|len| ip(HOST_A, HOST_B, len)).collect();
        let frames: Vec<_> = sent.iter().map(|p| (Origin::Port(INSIDE), ether(p))).collect();
        for (n, (out, sent)) in a.run(&frames).iter().zip(sent).enumerate() {
            let packet = out.forwarded(WAN);
            assert_eq!(scapy.open(&sa, packet, n as u64 + 1), aged(sent));
        }
        // And it would notice: an oracle that opens everything proves nothing.
        let mut bad = a.receive(INSIDE, &ip(HOST_A, HOST_B, 100)).forwarded(WAN).to_vec();
        *bad.last_mut().unwrap() ^= 1;
        let refusal = scapy.ask(&sa, "open", &bad, sizes().count() as u64 + 1).unwrap_err();
        assert!(refusal.contains("IPSecIntegrityError"), "{refusal}");
    });
}

// R200, R219
// RFC 4303 §2.7: behind the packet lie zeros that its own length does not count.
#[test]
fn scapy_finds_the_packet_before_its_padding() {
    let mut scapy = Scapy::start();
    for suite in [Suite::Aes256Gcm16, Suite::Aes128CbcSha256] {
        let pair = Pair { suite, tfc: 700, ..Pair::default() };
        let (mut a, _) = gates(&pair);
        let clear = ip(HOST_A, HOST_B, 100);
        let sealed = a.receive(INSIDE, &clear).forwarded(WAN).to_vec();
        assert!(sealed.len() > 700);
        let inner = scapy.open(&Sa::of(&pair), &sealed, 1);
        assert_eq!(inner.get(..clear.len()), Some(&aged(clear)[..]));
        assert_eq!(inner.len(), 700);
        assert!(inner[100..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn the_data_plane_opens_what_scapy_sealed() {
    let mut scapy = Scapy::start();
    each_pair(|pair| {
        let (_, mut b) = gates(pair);
        let sa = Sa::of(pair);
        let sent: Vec<_> = sizes().map(|len| ip(HOST_A, HOST_B, len)).collect();
        let sealed = |(n, inner): (usize, &Vec<u8>)| ether(&scapy.seal(&sa, inner, n as u64 + 1));
        let frames: Vec<_> =
            sent.iter().enumerate().map(sealed).map(|frame| (Origin::Port(WAN), frame)).collect();
        for (out, sent) in b.run(&frames).iter().zip(sent) {
            assert_eq!(out.forwarded(INSIDE), aged(sent));
        }
        // The ICV covers the low half of the number: the same octets under another one are a forgery.
        let mut bad = frames[5].1.clone();
        let seq = 14 + 20 + if pair.udp { 8 } else { 0 } + 4;
        bad[seq..seq + 4].copy_from_slice(&5000_u32.to_be_bytes());
        b.one(Origin::Port(WAN), bad).lost(Reason::BadIcv);
    });
}

// R125: the inner families in the outer ones, plain and in UDP, both ways; the checksum of UDP over IPv6 is scapy's too.
#[test]
fn scapy_agrees_on_every_pair_of_families() {
    let mut scapy = Scapy::start();
    for suite in [Suite::Aes256Gcm16, Suite::Aes128CbcSha256] {
        for (udp, v6) in [(false, false), (true, false), (false, true), (true, true)] {
            let pair = Pair { suite, udp, v6, ..Pair::default() };
            let (mut a, mut b) = gates(&pair);
            let sa = Sa::of(&pair);
            for (n, len) in (61..=78).chain([577, 1280, 1390]).enumerate() {
                let seq = n as u64 + 1;
                for (seq, sent) in
                    [(2 * seq - 1, ip(HOST_A, HOST_B, len)), (2 * seq, ip6(HOST_A6, HOST_B6, len))]
                {
                    let wire = a.receive(INSIDE, &sent).forwarded(WAN).to_vec();
                    let mut aged = sent.clone();
                    if sent[0] >> 4 == 6 {
                        aged[7] -= 1;
                    } else {
                        aged = edit(aged, |ip| ip.set_ttl(63));
                    }
                    assert_eq!(scapy.open(&sa, &wire, seq), aged, "{suite:?} udp {udp} v6 {v6} {len}");
                    let sealed = scapy.seal(&sa, &sent, seq);
                    assert_eq!(b.receive(WAN, &sealed).forwarded(INSIDE), aged);
                }
            }
        }
    }
}

// RFC 4303 §2.2.1, appendix A: the high half is not on the wire, and yet under the ICV.
#[test]
fn extended_numbers_go_past_the_low_half() {
    let mut scapy = Scapy::start();
    for (suite, _) in SUITES {
        let pair = Pair { suite, esn: true, ..Pair::default() };
        let (_, mut b) = gates(&pair);
        let sa = Sa::of(&pair);
        let inner = ip(HOST_A, HOST_B, 120);
        // Up to the end of the first half, over it and back within the window.
        for seq in [HIGH / 2, HIGH - 2, HIGH - 1, HIGH, HIGH + 1, HIGH - 3, HIGH + 900] {
            let packet = scapy.seal(&sa, &inner, seq);
            assert_eq!(b.receive(WAN, &packet).forwarded(INSIDE), aged(inner.clone()), "{suite:?} {seq:#x}");
        }
        assert_eq!(b.report(10).sequence, HIGH + 900);
        // The low half of HIGH + 2000 with the wrong high half under the ICV.
        b.receive(WAN, &scapy.seal(&sa, &inner, 2000)).lost(Reason::BadIcv);
    }
}

// R159: AH in both modes and ESP in transport mode, with and without ESN, both ways; byte for byte, since scapy makes each
// of our packets anew.
#[test]
fn scapy_and_the_data_plane_agree_about_transport_mode_and_ah() {
    let mut scapy = Scapy::start();
    each_mode(|pair| {
        let (mut a, mut b) = mode_gates(pair);
        let sa = Sa::of(pair);
        let transport = pair.mode == Mode::Transport;
        // Room for the UDP header, which this scapy would invent.
        let sizes = sizes().filter(|len| *len >= 28);
        let clear: Vec<_> = sizes.map(|len| mode_packet(pair, len)).collect();
        for (seq, sent) in (1..).zip(&clear) {
            let out = if transport { a.one(Origin::Tun, sent.clone()) } else { a.receive(INSIDE, sent) };
            let inner = if transport { sent.clone() } else { aged(sent.clone()) };
            assert_eq!(scapy.open(&sa, out.forwarded(WAN), seq), inner, "{sa:?}");
        }
        let mut bad = mode_send(&mut a, pair, &clear[10]);
        *bad.last_mut().unwrap() ^= 1;
        let refusal = scapy.ask(&sa, "open", &bad, clear.len() as u64 + 1).unwrap_err();
        assert!(refusal.contains("IPSecIntegrityError"), "{refusal}");
        let first = if pair.esn { 7 * HIGH - 3 } else { 1 };
        if pair.esn {
            // The window has to be near: half the numbers ahead of it are the most that can be told.
            for high in 1..=13 {
                mode_arrives(&mut b, pair, &scapy.seal(&sa, &clear[10], high * (HIGH / 2)), &clear[10]);
            }
        }
        for (seq, sent) in (first..).zip(&clear) {
            mode_arrives(&mut b, pair, &scapy.seal(&sa, sent, seq), sent);
        }
    });
}

// R159: the same over IPv6, and with extension headers before and behind AH and ESP, which scapy places as RFC 4302 §3.1.1
// says and zeroes as its §3.3.3.1.2 says; a routing header of type 2 counts as it arrives.
#[test]
fn scapy_and_the_data_plane_agree_about_transport_mode_and_ah_over_ipv6() {
    let mut scapy = Scapy::start();
    each_mode6(|pair| {
        let (mut a, mut b) = mode_gates(pair);
        let sa = Sa::of(pair);
        let transport = pair.mode == Mode::Transport;
        let mut clear: Vec<_> =
            (60..=76).chain([577, 1280, 1390]).map(|len| mode_packet(pair, len)).collect();
        if transport {
            let hop = |next: u8| [next, 0, 0x3e, 2, 7, 7, 1, 0];
            let destination = |next: u8| [next, 0, 0x1e, 4, 1, 2, 3, 4];
            let routing =
                |next: u8, left: u8| [&[next, 2, 2, left, 0, 0, 0, 0][..], &WAN_A6.octets()].concat();
            for (first, headers) in [
                (0, hop(17).to_vec()),
                (60, destination(17).to_vec()),
                (43, routing(17, 0)),
                (0, [&hop(60)[..], &destination(43), &routing(60, 0), &destination(17)].concat()),
            ] {
                // Under AH a routing header is looked at below.
                if pair.suite.protocol() == Protocol::Esp || !headers.contains(&43) && first != 43 {
                    clear.push(packet6(WAN_A6, WAN_B6, first, &[&headers, &clear[5][40..]].concat()));
                }
            }
        }
        for (seq, sent) in (1..).zip(&clear) {
            let out = if transport { a.one(Origin::Tun, sent.clone()) } else { a.receive(INSIDE, sent) };
            let inner = if transport { sent.clone() } else { aged(sent.clone()) };
            let mut told = Sa(sa.0.clone());
            if pair.suite.protocol() == Protocol::Esp && sent[6] == 43 {
                told.0["clear"] = json!(hex(sent));
            }
            assert_eq!(scapy.open(&told, out.forwarded(WAN), seq), inner, "{sa:?}");
            mode_arrives(&mut b, pair, &scapy.seal(&sa, sent, seq), sent);
        }
        let mut bad = mode_send(&mut a, pair, &clear[10]);
        *bad.last_mut().unwrap() ^= 1;
        let refusal = scapy.ask(&sa, "open", &bad, clear.len() as u64 + 1).unwrap_err();
        assert!(refusal.contains("IPSecIntegrityError"), "{refusal}");
    });
}

// R159, RFC 4302 §3.3.3.1.2.2: a routing header with a hop to come counts as its destination sees it.
#[test]
fn scapy_and_the_data_plane_agree_about_routing_headers_under_ah() {
    let mut scapy = Scapy::start();
    for suite in [Suite::AhSha1, Suite::AhSha256, Suite::AhSha512] {
        let pair = Pair { suite, ..mode_pair6(Mode::Transport) };
        let (mut a, mut b) = mode_gates(&pair);
        // By way of the second gateway to another of its addresses: of type 2, as mobile nodes have it.
        let headers = [&[17, 2, 2, 1, 0, 0, 0, 0][..], &GATE_B6.octets()].concat();
        let mut clear = packet6(WAN_A6, WAN_B6, 43, &[&headers, &mode_packet(&pair, 100)[40..]].concat());
        let packet = mode_send(&mut a, &pair, &clear);
        assert_eq!(packet, scapy.seal(&Sa::of(&pair), &clear, 1));
        // To one and the same address it is what arrives, but for the number of hops left.
        clear[48..64].copy_from_slice(&WAN_B6.octets());
        let mut packet = scapy.seal(&Sa::of(&pair), &clear, 2);
        (packet[43], clear[43]) = (0, 0);
        mode_arrives(&mut b, &pair, &packet, &clear);
    }
}

// R158, RFC 8200 §4.5: scapy cuts what one gateway sent; the other joins it, plain, in UDP and AH, over both families.
#[test]
fn the_data_plane_joins_what_scapy_cut() {
    let mut scapy = Scapy::start();
    let ah = Suite::AhSha256;
    for (udp, v6, suite) in [
        (false, false, Suite::Aes256Gcm16),
        (true, false, Suite::Aes128CbcSha256),
        (false, true, Suite::Aes256Gcm16),
        (true, true, Suite::ChaCha20Poly1305),
        (false, true, ah),
    ] {
        let pair = Pair { udp, v6, suite, df: ravelin_ring::msg::OuterDf::Clear, ..Pair::default() };
        let (mut a, mut b) = gates(&pair);
        for (n, len) in [1100, 1300, 1399].into_iter().enumerate() {
            let sent = edit(ip(HOST_A, HOST_B, len), |ip| ip.set_df(false));
            let mut wire = a.receive(INSIDE, &sent).forwarded(WAN).to_vec();
            if v6 && n == 1 && suite != ah {
                // Options for each hop, which its source might have put there.
                let payload = [&[wire[6], 0, 5, 2, 0, 0, 1, 0], &wire[40..]].concat();
                wire = packet6(WAN_A6, WAN_B6, 0, &payload);
            }
            let parts = scapy.fragment(&wire, 600 + 40 * n);
            assert!(parts.len() >= 2 && parts.iter().all(|p| p.len() <= 680), "{}", parts.len());
            let frames: Vec<_> = parts.iter().map(|p| (Origin::Port(WAN), ether(p))).collect();
            let out = b.run(&frames);
            assert_eq!(
                out.last().unwrap().forwarded(INSIDE),
                aged(aged(sent)),
                "udp {udp} v6 {v6} {suite:?}"
            );
        }
        assert_eq!(b.held(), 0);
    }
}

// R113: AH around ESP, each made and read by scapy's SA of its own, octet for octet in both directions.
#[test]
fn scapy_agrees_about_bundles() {
    let mut scapy = Scapy::start();
    each_bundle(|esp, ah| {
        let (mut a, mut b) = bundle_gates(esp, ah);
        let (inner, outer) = (Sa::of(esp), Sa::of(ah));
        for (seq, len) in (1..).zip([64, 65, 66, 67, 100, 576, 1200]) {
            let clear = mode_packet(esp, len);
            let tunnel = esp.mode == Mode::Tunnel;
            let packet = mode_send(&mut a, esp, &clear);
            let sealed = scapy.open(&outer, &packet, seq);
            let protected = if tunnel { aged(clear.clone()) } else { clear.clone() };
            assert_eq!(scapy.open(&inner, &sealed, seq), protected, "{esp:?}");
            let sealed = scapy.seal(&inner, &protected, seq);
            mode_arrives(&mut b, esp, &scapy.seal(&outer, &sealed, seq), &protected);
        }
        // And it would notice.
        let mut bad = mode_send(&mut a, esp, &mode_packet(esp, 100));
        *bad.last_mut().unwrap() ^= 1;
        assert!(scapy.ask(&outer, "open", &bad, 8).unwrap_err().contains("IPSecIntegrityError"));
    });
}

// R159: options that stay count, those that change on the way do not; both ends agree on which is which.
#[test]
fn scapy_and_the_data_plane_agree_about_options_under_ah() {
    let mut scapy = Scapy::start();
    let pair = Pair { suite: Suite::AhSha256, ..mode_pair(Mode::Transport) };
    let (mut a, mut b) = mode_gates(&pair);
    let sa = Sa::of(&pair);
    let router_alert = [148, 4, 0, 0];
    let record_route = [7, 7, 4, 1, 2, 3, 4, 0];
    for (seq, options) in (1..).zip([&router_alert[..], &record_route, &[1, 1, 1, 0]]) {
        let sent = with_options(&mode_packet(&pair, 100), options);
        let packet = mode_send(&mut a, &pair, &sent);
        assert_eq!(scapy.open(&sa, &packet, seq), sent);
        mode_arrives(&mut b, &pair, &scapy.seal(&sa, &sent, seq), &sent);
    }
    // A router on the way writes into the record route: nothing is wrong with that.
    let mut sent = with_options(&mode_packet(&pair, 100), &record_route);
    let mut packet = mode_send(&mut a, &pair, &sent);
    for bytes in [&mut packet, &mut sent] {
        bytes[22..27].copy_from_slice(&[8, 9, 9, 9, 9]);
        edit_checksum(bytes);
    }
    mode_arrives(&mut b, &pair, &packet, &sent);
}

/// Plain and in UDP, with and without ESN, each suite that can be negotiated.
fn each_pair(mut check: impl FnMut(&Pair)) {
    for (suite, _) in SUITES {
        for (udp, esn) in [(false, false), (true, false), (false, true), (true, true)] {
            check(&Pair { suite, udp, esn, ..Pair::default() });
        }
    }
}

// Below the data plane: all suites of the crypto crate, on each kind of kernel that this CPU has, at numbers that no
// test reaches packet by packet.
#[test]
fn every_kernel_agrees_with_scapy() {
    let mut scapy = Scapy::start();
    for suite in ravelin_crypto::Suite::ALL {
        let keymat: Vec<u8> = (0..suite.keymat_len()).map(|i| (i * 11 + 3) as u8).collect();
        let key = Key::new(suite, &keymat, [9; 16]).unwrap();
        for (tier, esn, first) in [
            (Tier::Portable, true, 5 * HIGH - 3),
            (Tier::Sse, false, 0xffff_fff0),
            (Tier::Avx2, true, 3 * HIGH - 5),
            (Tier::Avx512, true, 0xfedc_ba98 * HIGH - 3),
        ] {
            let sa = Sa::new(crypto_names(suite), &keymat, 0x0100_0203, esn, false);
            burst(&mut scapy, &sa, &key, suite, Engine::with_tier(tier), esn, first);
        }
    }
}

/// Twelve packets of different lengths in one call, each way.
fn burst(
    scapy: &mut Scapy,
    sa: &Sa,
    key: &Key,
    suite: ravelin_crypto::Suite,
    engine: Engine,
    esn: bool,
    first: u64,
) {
    let inner: Vec<_> = (0..12_usize).map(|n| ip(HOST_A, HOST_B, 20 + n * n * 9 + n)).collect();
    let mut ours: Vec<_> = inner.iter().map(|p| room(suite, p)).collect();
    let mut jobs: Vec<_> = (first..)
        .zip(&inner)
        .zip(&mut ours)
        .map(|((seq, inner), packet)| SealJob {
            key,
            spi: 0x0100_0203,
            seq,
            esn,
            next_header: 4,
            payload_len: inner.len(),
            packet,
        })
        .collect();
    assert_eq!(engine.seal(&mut jobs), 0);
    for ((seq, inner), esp) in (first..).zip(&inner).zip(&ours) {
        assert_eq!(&scapy.open(sa, &outer(esp), seq), inner, "{suite:?} {engine:?}");
    }
    let mut theirs: Vec<_> =
        (first..).zip(&inner).map(|(seq, p)| scapy.seal(sa, p, seq)[20..].to_vec()).collect();
    let mut jobs: Vec<_> =
        (first..).zip(&mut theirs).map(|(seq, packet)| OpenJob::new(key, seq, esn, packet)).collect();
    engine.open(&mut jobs);
    for (job, inner) in jobs.iter().zip(&inner) {
        let opened = job.outcome.unwrap();
        assert_eq!(&job.packet[opened.offset.into()..][..opened.len.into()], inner, "{suite:?} {engine:?}");
        assert_eq!(opened.next_header, 4);
    }
}

/// The packet where the engine wants it, ready to be sealed.
fn room(suite: ravelin_crypto::Suite, inner: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; suite.sealed_len(inner.len())];
    packet[suite.payload_offset()..][..inner.len()].copy_from_slice(inner);
    packet
}

/// An IP packet around ESP octets.
fn outer(esp: &[u8]) -> Vec<u8> {
    let header = ip(WAN_A, WAN_B, 20 + esp.len());
    let header = edit(header, |ip| ip.set_protocol(50));
    [&header[..20], esp].concat()
}

// R200: a capture of ours, opened by Wireshark's dissector with the keys in hand.
#[test]
fn tshark_opens_a_capture_of_ours() {
    let file = std::env::temp_dir().join(format!("ravelin-esp-{}.pcap", std::process::id()));
    let mut tshark = Command::new("tshark");
    tshark.args(["-o", "esp.enable_encryption_decode:TRUE", "-o", "esp.enable_authentication_check:TRUE"]);
    let mut capture = Capture::new();
    let mut wanted = vec![];
    // This tshark does not know ChaCha20-Poly1305 in ESP.
    // Nor GMAC, and of the rest not every pair.
    let known = SUITES.into_iter().take(7).filter(|(suite, _)| *suite != Suite::ChaCha20Poly1305);
    let known = known.chain(SUITES.into_iter().filter(|(suite, _)| *suite == Suite::Aes128CtrSha256));
    for (n, (suite, _)) in known.enumerate() {
        // An SPI for each suite, plain and in UDP: tshark finds the keys by it.
        for udp in [false, true] {
            let pair =
                Pair { suite, udp, spi: 0x2000 + (n as u32) * 16 + u32::from(udp) * 8, ..Pair::default() };
            tshark.args(["-o", &tshark_key(&pair)]);
            let (mut a, _) = gates(&pair);
            for seq in 1..=3 {
                let sent = ip(HOST_A, HOST_B, 100 + seq * 50);
                capture.add(a.receive(INSIDE, &sent).forwarded(WAN));
                wanted.push(format!("{:#010x}\t{seq}\t1\t{HOST_B}\t1000\t2000\t{}", pair.spi, sent.len()));
            }
        }
    }
    std::fs::write(&file, capture.0).unwrap();
    let fields =
        ["esp.spi", "esp.sequence", "esp.icv_good", "ip.dst", "udp.srcport", "udp.dstport", "ip.len"];
    // Of each field the last one: that of the innermost header.
    tshark.arg("-r").arg(&file).args(["-T", "fields", "-E", "occurrence=l"]);
    for field in fields {
        tshark.args(["-e", field]);
    }
    let out = tshark.output().unwrap_or_else(|e| panic!("tshark: {e}; apt-get install tshark"));
    std::fs::remove_file(&file).unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let seen: Vec<_> = text.lines().collect();
    assert_eq!(seen, wanted, "{}", String::from_utf8_lossy(&out.stderr));
}

/// A row of tshark's table of ESP SAs.
fn tshark_key(pair: &Pair) -> String {
    let (cipher, integrity) = match pair.suite {
        Suite::Aes128Gcm16 | Suite::Aes256Gcm16 => ("AES-GCM with 16 octet ICV [RFC4106]", "NULL"),
        Suite::ChaCha20Poly1305 => panic!("unknown to tshark"),
        Suite::Aes128CbcSha1 | Suite::Aes256CbcSha1 => ("AES-CBC [RFC3602]", "HMAC-SHA-1-96 [RFC2404]"),
        Suite::Aes128CbcSha256 | Suite::Aes256CbcSha256 => {
            ("AES-CBC [RFC3602]", "HMAC-SHA-256-128 [RFC4868]")
        }
        Suite::Aes128CtrSha256 => ("AES-CTR [RFC3686]", "HMAC-SHA-256-128 [RFC4868]"),
        other => panic!("not for tshark: {other:?}"),
    };
    let keymat = pair.keymat(true);
    let (key, auth) = if integrity == "NULL" {
        (&keymat[..], &[][..])
    } else {
        keymat.split_at(names_of(pair.suite).cipher_key)
    };
    let auth = if auth.is_empty() { String::new() } else { format!("0x{}", hex(auth)) };
    format!(
        "uat:esp_sa:\"IPv4\",\"{WAN_A}\",\"{WAN_B}\",\"{:#010x}\",\"{cipher}\",\"0x{}\",\"{integrity}\",\"{auth}\"",
        pair.spi,
        hex(key)
    )
}

// R53 to R57: scapy translates as we do, octet for octet, both ways: TCP, UDP, ping, ESP by a static address; errors with the
// packet that they quote, and fragments.
#[test]
fn scapy_translates_alike() {
    const POOL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 8);
    const FIXED: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);
    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 80);
    let one = |addr: Ipv4Addr| AddrRange::new(addr.into(), addr.into()).unwrap();
    let source = NatRule {
        kind: NatKind::Source,
        from: AddrRange::from("10.1.0.0/24".parse::<Prefix>().unwrap()),
        to: AddrRange::ANY_V4,
        target: one(POOL),
        protocols: NatRule::ALL,
        ports: PortRange::ANY,
        target_ports: PortRange::new(1024, 65535).unwrap(),
        port: Some(WAN),
        tunnel: false,
        own: false,
        line: 1,
    };
    let fixed = NatRule { kind: NatKind::Static, from: one(SERVER), target: one(FIXED), ..source };
    let (mut a, mut scapy) = (Gate::new(true), Scapy::start());
    for rule in [fixed, source] {
        a.set(TableCommand::AddNat(rule));
    }
    a.set(TableCommand::SetNeighbour(Neighbour { port: INSIDE, addr: SERVER.into(), mac: mac(10) }));
    a.commit();
    // A router on its way counts the TTL down.
    let sent = |packet: &[u8]| edit(packet.to_vec(), |ip| ip.set_ttl(61));
    for (protocol, host, shown, len) in [
        (6, HOST_A, POOL, 100),
        (17, HOST_A, POOL, 333),
        (1, HOST_A, POOL, 56),
        (50, SERVER, FIXED, 64),
        (47, SERVER, FIXED, 9),
    ] {
        let make = |scapy: &mut Scapy, src: Ipv4Addr, dst: Ipv4Addr, ports: (u16, u16)| {
            let (src, dst, ports) = (src.to_string(), dst.to_string(), [ports.0, ports.1]);
            scapy.make(&json!({ "do": "make", "protocol": protocol, "src": src, "dst": dst, "ports": ports, "len": len }))
        };
        let out = make(&mut scapy, host, INTERNET, (4000, 53));
        let went = a.receive(INSIDE, &sent(&out)).forwarded(WAN).to_vec();
        let at = if protocol == 1 { 24 } else { 20 };
        let port = u16::from_be_bytes([went[at], went[at + 1]]);
        assert_eq!(
            hex(&went),
            hex(&scapy.translated(&out, "src", (shown, port), false)),
            "out, protocol {protocol}"
        );
        let error =
            json!({ "do": "error", "of": hex(&went), "src": "203.0.113.1", "dst": shown.to_string() });
        let error = scapy.make(&error);
        let came = a.receive(WAN, &sent(&error)).forwarded(INSIDE).to_vec();
        let own = if protocol == 50 || protocol == 47 { 0 } else { 4000 };
        assert_eq!(
            hex(&came),
            hex(&scapy.translated(&error, "dst", (host, own), true)),
            "error, protocol {protocol}"
        );
        if protocol != 1 {
            let back = make(&mut scapy, INTERNET, shown, (53, port));
            let came = a.receive(WAN, &sent(&back)).forwarded(INSIDE).to_vec();
            assert_eq!(
                hex(&came),
                hex(&scapy.translated(&back, "dst", (host, own), false)),
                "back, protocol {protocol}"
            );
        }
    }
    let whole = json!({ "do": "make", "protocol": 17, "src": HOST_A.to_string(), "dst": INTERNET.to_string(), "ports": [4000, 53], "len": 1300 });
    let whole = scapy.make(&whole);
    let parts: Vec<Vec<u8>> = scapy.fragment(&whole, 500);
    let went: Vec<Vec<u8>> =
        parts.iter().map(|part| a.receive(INSIDE, &sent(part)).forwarded(WAN).to_vec()).collect();
    let port = u16::from_be_bytes([went[0][20], went[0][21]]);
    let theirs = scapy.translated(&whole, "src", (POOL, port), false);
    assert_eq!(went, scapy.fragment(&theirs, 500), "in parts");
}

// R57, R58: hosts inside that speak ESP with one outside, all by one address; each one's packets are scapy's, go out under
// its SPI and come back under another, to nobody else, rekeys included.
#[test]
fn esp_of_several_hosts_finds_its_way_by_spi() {
    const POOL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 8);
    let one = AddrRange::new(POOL.into(), POOL.into()).unwrap();
    let mut a = Gate::new(true);
    a.set(TableCommand::AddNat(NatRule {
        kind: NatKind::Source,
        from: AddrRange::from("10.1.0.0/24".parse::<Prefix>().unwrap()),
        to: AddrRange::ANY_V4,
        target: one,
        protocols: NatRule::ALL,
        ports: PortRange::ANY,
        target_ports: PortRange::new(1024, 65535).unwrap(),
        port: Some(WAN),
        tunnel: false,
        own: false,
        line: 1,
    }));
    let hosts = [20, 21, 22].map(|last| Ipv4Addr::new(10, 1, 0, last));
    for host in hosts {
        a.set(TableCommand::SetNeighbour(Neighbour { port: INSIDE, addr: host.into(), mac: mac(10) }));
    }
    a.commit();
    let mut scapy = Scapy::start();
    // Each end chooses the SPI that it receives by; the second round is after a rekey of all.
    let pair = |spi: u32| Pair { suite: Suite::Aes128CbcSha256, spi, ..Pair::default() };
    let clear = ip(HOST_A, HOST_B, 200);
    let carry = |a: &mut Gate, scapy: &mut Scapy, host: Ipv4Addr, spi: u32, seq: u64| {
        let (mut there, mut back) = (Sa::of(&pair(spi)), Sa::of(&pair(spi + 7)));
        (there.0["src"], there.0["dst"]) = (json!(host.to_string()), json!(INTERNET.to_string()));
        (back.0["src"], back.0["dst"]) = (json!(INTERNET.to_string()), json!(POOL.to_string()));
        let sent = scapy.seal(&there, &clear, seq);
        let went = a.receive(INSIDE, &edit(sent, |ip| ip.set_ttl(61))).forwarded(WAN).to_vec();
        assert_eq!(went[12..16], POOL.octets());
        assert_eq!(scapy.open(&there, &went, seq), clear);
        let answer = scapy.seal(&back, &clear, seq);
        let came = a.receive(WAN, &edit(answer, |ip| ip.set_ttl(61))).forwarded(INSIDE).to_vec();
        assert_eq!(came[16..20], host.octets(), "its own answer");
        assert_eq!(scapy.open(&back, &came, seq), clear);
    };
    // One after the other, each in a time of its own.
    for (n, host) in (0u32..).zip(hosts) {
        carry(&mut a, &mut scapy, host, 0x1000 + n * 16, 1);
        a.now.ms += 6_000;
    }
    for seq in 2..4 {
        for (n, host) in (0u32..).zip(hosts) {
            carry(&mut a, &mut scapy, host, 0x1000 + n * 16, seq);
        }
    }
    for (n, host) in [2u32, 1, 0].map(|n| (n, hosts[n as usize])) {
        carry(&mut a, &mut scapy, host, 0x2000 + n * 16, 1);
        a.now.ms += 6_000;
    }
    for (n, host) in (0u32..).zip(hosts) {
        carry(&mut a, &mut scapy, host, 0x1000 + n * 16, 4);
        carry(&mut a, &mut scapy, host, 0x2000 + n * 16, 2);
    }
    // An SPI that nobody waits for is nobody's, and one that does not wait alone waits for its turn.
    let mut stray = Sa::of(&pair(0x9000));
    (stray.0["src"], stray.0["dst"]) = (json!(INTERNET.to_string()), json!(POOL.to_string()));
    let stray = scapy.seal(&stray, &clear, 1);
    a.receive(WAN, &edit(stray, |ip| ip.set_ttl(61))).lost(Reason::NatUnknownSpi);
    let mut asks = |host: Ipv4Addr, spi: u32| {
        let mut sa = Sa::of(&pair(spi));
        (sa.0["src"], sa.0["dst"]) = (json!(host.to_string()), json!(INTERNET.to_string()));
        edit(scapy.seal(&sa, &clear, 1), |ip| ip.set_ttl(61))
    };
    a.receive(INSIDE, &asks(hosts[0], 0x3000)).forwarded(WAN);
    a.receive(INSIDE, &asks(hosts[1], 0x3010)).lost(Reason::NatBusy);
    a.now.ms += 5_000;
    a.receive(INSIDE, &asks(hosts[1], 0x3010)).forwarded(WAN);
}

/// A file of IP packets, as tcpdump writes it.
struct Capture(Vec<u8>);

impl Capture {
    fn new() -> Self {
        const RAW_IP: u32 = 101;
        let words = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65535, RAW_IP];
        Self(words.into_iter().flat_map(u32::to_ne_bytes).collect())
    }

    fn add(&mut self, packet: &[u8]) {
        let len = packet.len() as u32;
        self.0.extend([0, 0, len, len].into_iter().flat_map(u32::to_ne_bytes));
        self.0.extend_from_slice(packet);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, b| {
        write!(text, "{b:02x}").unwrap();
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}
