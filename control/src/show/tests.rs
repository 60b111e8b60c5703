use super::*;
use crate::api::*;
use ravelin_ring::counters::{Counter, Drop as Reason, SocketCounter, XdpCounter};
use std::collections::BTreeMap;

fn tunnel(name: &str, up: bool) -> TunnelStatus {
    let when = |value: u64| up.then_some(value);
    let word = |value: &str| up.then(|| value.to_owned());
    TunnelStatus {
        name: name.into(),
        id: 0,
        state: if up { TunnelState::Up } else { TunnelState::Retrying },
        local: "198.18.0.1:4500".into(),
        remote: if up { "198.18.0.2:4500" } else { "198.18.0.9" }.into(),
        local_id: "a.lab".into(),
        remote_id: "b.lab".into(),
        encapsulation: word("esp-in-udp"),
        mode: word("tunnel"),
        ike_spi_local: word("0123456789abcdef"),
        ike_spi_remote: word("fedcba9876543210"),
        ike_suite: word("aes256gcm16-prfsha384-x25519"),
        ike_age_s: when(4000),
        ike_rekey_in_s: when(10_400),
        credential: "secret of a.lab and b.lab (secrets.toml:3)".into(),
        ike_exchange: word("child rekey"),
        ike_message_ids: up.then_some((4, 7)),
        ike_resumed: false,
        ike_ticket_for_s: None,
        spi_in: word("0xc0000101"),
        spi_out: word("0xc0000202"),
        suite: word("aes256gcm16"),
        age_s: when(725),
        rekey_in_s: when(2875),
        traffic_in: Traffic { packets: 1_234_567, bytes: 1_728_393_800 },
        traffic_out: Traffic { packets: 17, bytes: 1_428 },
        idle_in_s: when(0),
        idle_out_s: None,
        one_way_s: None,
        interface: None,
        vrf: None,
        outside_vrf: None,
        selectors: vec!["10.1.0.0/24 = 10.2.0.0/24".into(), "10.1.1.0/24 = 10.2.0.0/24".into()],
        addresses: if up { vec!["10.3.0.8".into()] } else { vec![] },
        dns: if up { vec!["10.1.0.53".into(), "10.1.0.54".into()] } else { vec![] },
        rekeys: 3,
        last_error: (!up).then(|| "the peer does not answer".into()),
        last_error_age_s: (!up).then_some(5),
        retry_in_s: (!up).then_some(15),
        peers: vec![],
    }
}

fn sa(direction: SaDirection) -> SaStatus {
    SaStatus {
        tunnel: "office".into(),
        direction,
        spi: "0xc0000101".into(),
        id: 7,
        worker: 1,
        suite: "aes256gcm16".into(),
        esn: direction == SaDirection::In,
        local: "198.18.0.1:4500".into(),
        remote: "198.18.0.2:4500".into(),
        state: if direction == SaDirection::In { "installed" } else { "in-use" }.into(),
        sequence: 1_234_567,
        replay_window: 1024,
        packets: 1_234_567,
        bytes: 1_728_393_800,
        age_s: 725,
        idle_s: (direction == SaDirection::In).then_some(0),
        rekey_in_s: Some(2875),
        expires_in_s: Some(3235),
        replay_drops: 2,
        icv_drops: 1,
        selector_drops: 0,
    }
}

fn port(name: &str, attach: &str) -> PortStatus {
    PortStatus {
        name: name.into(),
        id: 0,
        ifindex: 4,
        mac: "02:00:00:00:00:01".into(),
        up: true,
        mtu: 1500,
        attach: Some(attach.into()),
        bind: Some("copy".into()),
        queues: 1,
        counters: counters(
            XdpCounter::ALL.iter().map(|c| c.name()).chain(SocketCounter::ALL.iter().map(|c| c.name())),
        ),
    }
}

/// Each name with its place, from 1.
fn counters<'n>(names: impl Iterator<Item = &'n str>) -> BTreeMap<String, u64> {
    names.map(str::to_owned).zip(1u64..).collect()
}

fn worker(id: u16) -> WorkerStatus {
    WorkerStatus {
        id,
        thread: 0,
        core: 1,
        crypto: Some("aes-gcm: vaes-avx512".into()),
        buffers: Some("huge pages".into()),
        sas_in: 2,
        sas_out: 1,
        counters: counters(Counter::ALL.iter().map(|c| c.name())),
        drops: 9,
        conservation: Conservation::of(20, 18),
    }
}

fn drops() -> DropStatus {
    let zero: BTreeMap<String, u64> = Reason::ALL.iter().map(|r| (r.name().to_owned(), 0)).collect();
    let mut some = zero.clone();
    some.insert(Reason::ReplayDup.name().into(), 12);
    some.insert(Reason::BadIcv.name().into(), 3);
    let port = PortDrops { port: "wan0".into(), drops: BTreeMap::from([("no_worker".into(), 4)]) };
    DropStatus {
        workers: vec![WorkerDrops { worker: 0, drops: some.clone() }, WorkerDrops { worker: 1, drops: zero }],
        ports: vec![port],
        total: some,
        conservation: Conservation::of(1000, 1000),
    }
}

#[track_caller]
fn assert_text(answer: &Answer, detail: bool, expected: &str) {
    let text = text(answer, detail);
    assert_eq!(text, expected.trim_start_matches('\n'), "\n{text}");
    for line in text.lines() {
        assert!(line.chars().count() <= 100, "over 100 columns: {line}");
    }
}

/// R105, R106: what an operator sees first.
#[test]
fn tunnels_as_a_table() {
    let answer = Answer::Tunnels(vec![tunnel("office", true), tunnel("factory", false)]);
    assert_text(
        &answer,
        false,
        "
TUNNEL   STATE     PEER             SUITE             IN      OUT    AGE  REKEY IN
office   up        198.18.0.2:4500  aes256gcm16  1.6 GiB  1.3 KiB  12m5s    47m55s
factory  retrying  198.18.0.9       -            1.6 GiB  1.3 KiB      -         -
factory: the peer does not answer (5s ago); next attempt in 15s
",
    );
}

// R217, R225: the IKE SA; R176: whose secret; R193: its exchanges
#[test]
fn one_tunnel_in_detail() {
    assert_text(
        &Answer::Tunnels(vec![tunnel("office", true)]),
        true,
        "
tunnel office
  state          up
  local          198.18.0.1:4500 (a.lab)
  remote         198.18.0.2:4500 (b.lab)
  encapsulation  esp-in-udp
  selector       10.1.0.0/24 = 10.2.0.0/24
  selector       10.1.1.0/24 = 10.2.0.0/24
  address        10.3.0.8
  DNS            10.1.0.53, 10.1.0.54
  IKE SA         0123456789abcdef (ours) fedcba9876543210 (theirs), aes256gcm16-prfsha384-x25519
  IKE age        1h6m, rekey in 2h53m
  proof          secret of a.lab and b.lab (secrets.toml:3)
  exchanges      next message id 4 (ours) 7 (theirs); waits for the answer to child rekey
  child SA       0xc0000101 (in) 0xc0000202 (out), aes256gcm16
  child age      12m5s, rekey in 47m55s
  rekeys         3
  in             1234567 packets, 1.6 GiB, last packet 0s ago
  out            17 packets, 1.3 KiB, never used
",
    );
}

#[test]
fn a_failing_tunnel_in_detail() {
    assert_text(
        &Answer::Tunnels(vec![tunnel("factory", false)]),
        true,
        "
tunnel factory
  state          retrying
  local          198.18.0.1:4500 (a.lab)
  remote         198.18.0.9 (b.lab)
  encapsulation  -
  selector       10.1.0.0/24 = 10.2.0.0/24
  selector       10.1.1.0/24 = 10.2.0.0/24
  rekeys         3
  in             1234567 packets, 1.6 GiB, never used
  out            17 packets, 1.3 KiB, never used
  last error     the peer does not answer (5s ago); next attempt in 15s
",
    );
}

/// R107.
#[test]
fn sas_as_a_table() {
    assert_text(
        &Answer::Sas(vec![sa(SaDirection::In), sa(SaDirection::Out)]),
        false,
        "
TUNNEL  DIR  SPI         SUITE        STATE      WORKER  PACKETS    BYTES  DROPS    AGE   IDLE
office  in   0xc0000101  aes256gcm16  installed       1  1234567  1.6 GiB      3  12m5s     0s
office  out  0xc0000101  aes256gcm16  in-use          1  1234567  1.6 GiB      3  12m5s  never
",
    );
}

/// R107.
// R196, R217, R226
#[test]
fn one_sa_in_detail() {
    assert_text(
        &Answer::Sas(vec![sa(SaDirection::In), sa(SaDirection::Out)]),
        true,
        "
SA 0xc0000101 in
  tunnel         office
  state          installed on worker 1
  suite          aes256gcm16, extended sequence numbers
  outer          198.18.0.1:4500 = 198.18.0.2:4500
  sequence       1234567
  traffic        1234567 packets, 1.6 GiB
  age            12m5s, last packet 0s ago
  rekey in       47m55s, ends in 53m55s
  replay window  1024
  drops          replay 2, icv 1, selector 0

SA 0xc0000101 out
  tunnel    office
  state     in-use on worker 1
  suite     aes256gcm16
  outer     198.18.0.1:4500 = 198.18.0.2:4500
  sequence  1234567
  traffic   1234567 packets, 1.6 GiB
  age       12m5s, never used
  rekey in  47m55s, ends in 53m55s
",
    );
}

// R224: the policy, the proposal that is in use marked.
#[test]
fn proposals_in_order() {
    let policy = ProposalStatus {
        tunnel: "office".into(),
        ike: vec!["aes256gcm16-prfsha384-x25519".into(), "aes256-sha256-modp2048".into()],
        ike_in_use: Some("aes256-sha256-modp2048".into()),
        protocol: "esp".into(),
        child: vec!["aes256gcm16-x25519".into()],
        child_in_use: Some("aes256gcm16".into()),
        mode: "tunnel".into(),
        auth: "psk".into(),
        remote_auth: "certificate".into(),
        ike_lifetime_s: 14_400,
        lifetime_s: 3600,
        lifebytes: 64 << 30,
        lifepackets: 0,
    };
    assert_text(
        &Answer::Proposals(vec![policy.clone()]),
        false,
        "
tunnel office
  proof         psk (ours), certificate (theirs)
  IKE proposal  aes256gcm16-prfsha384-x25519
  IKE proposal  aes256-sha256-modp2048 (in use)
  IKE lifetime  4h
  child         ESP in tunnel mode
  proposal      aes256gcm16-x25519
  proposal      aes256gcm16 (in use)
  lifetime      1h, 64.0 GiB
",
    );
    let one = only(Answer::Proposals(vec![policy]), "offic").unwrap_err();
    assert!(one.contains("did you mean \"office\""), "{one}");
}

#[test]
fn ports_as_a_table() {
    let mut lan = port("lan0", "native");
    let admits_all = XdpCounter::NotAdmitted.name();
    lan.counters.retain(|name, _| name != admits_all && SocketCounter::ALL.iter().all(|c| c.name() != name));
    assert_text(
        &Answer::Ports(vec![lan, port("wan0", "generic")]),
        false,
        "
PORT  LINK  XDP      BIND  QUEUES   MTU  MAC                PASSED  STEERED  DROPPED  LOST
lan0  up    native   copy       1  1500  02:00:00:00:00:01       1        2        7     0
wan0  up    generic  copy       1  1500  02:00:00:00:00:01       1        2       12    13
wan0: dropped, since the port admits the VPN alone: 5 (not_admitted)
wan0: lost before a worker saw them: 7 at a full receive ring, 6 without an empty frame
wan0: generic XDP: every packet is copied; native mode would be faster
",
    );
}

#[test]
fn workers_as_a_table() {
    assert_text(
        &Answer::Workers(vec![worker(0), worker(1)]),
        false,
        "
WORKER  BY  CORE  SAS IN  SAS OUT  RECEIVED  ENCRYPTED  DECRYPTED  FORWARDED  PUNTED  DROPS  ON WAY
     0   0     1       2        1         1         11         12          5       6      9       2
     1   0     1       2        1         1         11         12          5       6      9       2
worker 0 crypto: aes-gcm: vaes-avx512
worker 0 failed 27 times and stood still 28 times (moved to other cores): see its log
worker 0 shares crypto: 24 packets lent, 25 bursts of them done by itself, 26 packets of others
worker 1 crypto: aes-gcm: vaes-avx512
worker 1 failed 27 times and stood still 28 times (moved to other cores): see its log
worker 1 goes on by the thread of worker 0, with all its SAs: its own thread failed repeatedly
worker 1 shares crypto: 24 packets lent, 25 bursts of them done by itself, 26 packets of others
buffers: huge pages
",
    );
}

/// R91: one line per reason.
#[test]
fn drops_as_a_table() {
    assert_text(
        &Answer::Drops(drops()),
        false,
        "
WHERE            REASON      PACKETS
worker 0         bad_icv           3
worker 0         replay_dup       12
port wan0 (XDP)  no_worker         4
entered 1000 = left 1000 (every packet is accounted for)
",
    );
}

/// Every reason of what was named, also those at 0.
#[test]
fn drops_of_one_worker() {
    let Answer::Drops(drops) = only(Answer::Drops(drops()), "0").unwrap() else { panic!("another kind") };
    assert!(drops.ports.is_empty());
    let text = text(&Answer::Drops(drops), true);
    assert_eq!(text.lines().count(), 1 + Reason::COUNT + 1, "{text}");
    for reason in Reason::ALL {
        assert!(text.contains(reason.name()), "{} is missing", reason.name());
    }
}

#[test]
fn nothing_to_show_says_so() {
    let empty = [
        (Answer::Tunnels(vec![]), "no tunnels"),
        (Answer::Sas(vec![]), "no SAs"),
        (Answer::Gre(vec![]), "no tunnels of GRE"),
        (Answer::Ports(vec![]), "not connected"),
        (Answer::Workers(vec![]), "not connected"),
        (Answer::Drops(DropStatus::default()), "nothing was dropped\nentered 0 = left 0"),
        (Answer::refused("why"), "why"),
    ];
    for (answer, part) in empty {
        assert!(text(&answer, false).contains(part));
    }
}

#[test]
fn tunnels_of_gre_as_a_table() {
    let up = GreStatus {
        name: "gre-a".into(),
        up: true,
        local: "198.18.0.1".into(),
        remote: "198.18.0.2".into(),
        key: Some(7),
        checksum: true,
        mtu: 1411,
        protected_by: Some("branch".into()),
        ..GreStatus::default()
    };
    let down = GreStatus {
        name: "gre-b".into(),
        up: false,
        detail: "no route to 192.0.2.9 by a port".into(),
        remote: "192.0.2.9".into(),
        key: None,
        checksum: false,
        mtu: 1476,
        protected_by: None,
        ..up.clone()
    };
    let both = Answer::Gre(vec![up, down]);
    let expected = "\
GRE    STATE  LOCAL       REMOTE      OPTIONS          MTU  PROTECTED BY
gre-a  up     198.18.0.1  198.18.0.2  key 7 checksum  1411  branch
gre-b  down   198.18.0.1  192.0.2.9   -               1476  -
gre-b: no route to 192.0.2.9 by a port
";
    assert_text(&both, false, expected);
    assert!(json(&both).unwrap().contains("\"protected_by\": \"branch\""));
    assert_eq!(only(both, "gre-c").unwrap_err(), "no tunnel of GRE \"gre-c\"; did you mean \"gre-a\"?");
}

#[test]
fn a_sum_that_does_not_hold_is_said() {
    let mut drops = drops();
    drops.conservation = Conservation::of(10, 7);
    assert!(text(&Answer::Drops(drops.clone()), false).contains("(3 on their way)"));
    drops.conservation = Conservation::of(7, 10);
    assert!(text(&Answer::Drops(drops), false).contains("3 more left than entered"));
    assert_eq!(Conservation::of(u64::MAX, 0).difference, i64::MAX);
    assert_eq!(Conservation::of(0, 5).difference, -5);
}

#[test]
fn names_choose_and_wrong_ones_are_answered() {
    let both = || Answer::Tunnels(vec![tunnel("office", true), tunnel("factory", false)]);
    assert_eq!(only(both(), "factory"), Ok(Answer::Tunnels(vec![tunnel("factory", false)])));
    assert_eq!(only(both(), "ofice").unwrap_err(), "no tunnel \"ofice\"; did you mean \"office\"?");
    assert_eq!(only(both(), "x").unwrap_err(), "no tunnel \"x\"; there are: office, factory");
    assert_eq!(only(Answer::Ports(vec![]), "x").unwrap_err(), "no port \"x\": there is none at all");
    assert!(
        matches!(only(Answer::Workers(vec![worker(0), worker(1)]), "1"), Ok(Answer::Workers(w)) if w[0].id == 1)
    );
    assert!(only(Answer::Drops(drops()), "lan9").unwrap_err().contains("wan0"));
    assert!(only(Answer::Sas(vec![sa(SaDirection::In)]), "office").is_ok());
}

/// The keys that scripts rely on; a change here breaks them.
#[test]
fn json_keys_are_stable() {
    fn keys(answer: &Answer) -> String {
        let value: serde_json::Value = serde_json::from_str(&json(answer).unwrap()).unwrap();
        let one = value.as_array().map_or(&value, |all| &all[0]);
        one.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>().join(" ")
    }
    assert_eq!(
        keys(&Answer::Tunnels(vec![tunnel("office", true)])),
        "addresses age_s credential dns encapsulation id idle_in_s idle_out_s ike_age_s ike_exchange ike_message_ids ike_rekey_in_s ike_resumed ike_spi_local ike_spi_remote ike_suite ike_ticket_for_s interface \
         last_error last_error_age_s local local_id mode name one_way_s outside_vrf peers rekey_in_s rekeys remote remote_id retry_in_s selectors spi_in \
         spi_out state suite traffic_in traffic_out vrf"
    );
    assert_eq!(
        keys(&Answer::Sas(vec![sa(SaDirection::In)])),
        "age_s bytes direction esn expires_in_s icv_drops id idle_s local packets rekey_in_s remote replay_drops \
         replay_window selector_drops sequence spi state suite tunnel worker"
    );
    assert_eq!(
        keys(&Answer::Ports(vec![port("wan0", "native")])),
        "attach bind counters id ifindex mac mtu name queues up"
    );
    assert_eq!(
        keys(&Answer::Workers(vec![worker(0)])),
        "buffers conservation core counters crypto drops id sas_in sas_out thread"
    );
    assert_eq!(keys(&Answer::Drops(drops())), "conservation ports total workers");
    let text = json(&Answer::Tunnels(vec![tunnel("office", true)])).unwrap();
    assert!(text.contains("\"state\": \"up\"") && text.contains("\"idle_out_s\": null"), "{text}");
}

#[test]
fn numbers_read_well() {
    let cases = [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (102_400, "100 KiB"),
        (1 << 20, "1.0 MiB"),
        ((1 << 30) - 1, "1023 MiB"),
        (u64::MAX, "15.9 EiB"),
    ];
    for (count, text) in cases {
        assert_eq!(bytes(count), text);
    }
    let cases =
        [(0, "0s"), (59, "59s"), (60, "1m"), (61, "1m1s"), (3600, "1h"), (7260, "2h1m"), (93_600, "1d2h")];
    for (seconds, text) in cases {
        assert_eq!(span(seconds), text);
    }
    assert!(span(u64::MAX).ends_with('h'));
}
