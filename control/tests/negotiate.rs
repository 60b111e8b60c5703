//! Two real control processes on one veth, each with a recording data plane: IKEv2 over real UDP.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm)] // a test expects one thing, all else is a failure

mod common;

use common::{Gateway, PATIENCE, Recorded, eventually};
use nix::sys::signal::Signal;
use ravelin_control::api::{Answer, Request, TunnelState, TunnelStatus, What};
use ravelin_ring::msg::{Limit, SaId, WorkerEvent};

const WORKERS: u16 = 2;

fn gateway(name: &str, us: u8, start: &str) -> Gateway {
    let them = 3 - us;
    let (mine, theirs) = (["a.lab", "b.lab"][usize::from(us) - 1], ["a.lab", "b.lab"][usize::from(them) - 1]);
    let g = Gateway::new(name);
    g.write(
        "ravelin.toml",
        &format!(
            "[[port]]\nname = \"wan0\"\n[dataplane]\ncores = [0, 1]\n[control]\nsecrets = \"secrets.toml\"\n\
             [[tunnel]]\nname = \"site\"\nlocal = \"198.18.0.{us}\"\nremote = \"198.18.0.{them}\"\n\
             local-id = \"{mine}\"\nremote-id = \"{theirs}\"\nstart = \"{start}\"\n\
             selectors = [{{ local = \"10.{us}.0.0/24\", remote = \"10.{them}.0.0/24\" }}]\n"
        ),
        0o644,
    );
    let secret = format!(
        "[[secret]]\nlocal-id = \"{mine}\"\nremote-id = \"{theirs}\"\npsk = \"one secret for both of them\"\n"
    );
    g.write("secrets.toml", &secret, 0o600);
    g
}

fn pair(name: &str, starts: [&str; 2]) -> (Gateway, Gateway) {
    let a = gateway(&format!("{name}-a"), 1, starts[0]);
    let b = gateway(&format!("{name}-b"), 2, starts[1]);
    a.namespace.ip("link add wan0 type veth peer name wan1");
    a.namespace.ip(&format!("link set wan1 netns {} name wan0", b.namespace.0));
    for (g, us) in [(&a, 1), (&b, 2)] {
        g.namespace.ip(&format!("addr add 198.18.0.{us}/24 dev wan0"));
        g.namespace.ip("link set wan0 up");
    }
    (a, b)
}

fn start(a: &mut Gateway, b: &mut Gateway) {
    for g in [b, a] {
        g.start_recorder(WORKERS);
        g.start_control();
    }
}

fn tunnel(g: &Gateway) -> TunnelStatus {
    match g.ask(&Request::Show { what: What::Tunnels, name: None }) {
        Answer::Tunnels(mut t) => t.remove(0),
        other => panic!("{other:?}"),
    }
}

fn wait_up(g: &Gateway) -> TunnelStatus {
    eventually("the tunnel to be up", || {
        let t = tunnel(g);
        (t.state == TunnelState::Up && t.spi_out.is_some()).then_some(t)
    })
}

/// (sa, inbound, spi, keys) of everything installed so far, oldest first.
fn installed(g: &Gateway) -> Vec<(u64, bool, u32, Vec<u8>)> {
    let all = g.recorder().worker_commands().into_iter();
    all.filter_map(|(w, r)| match r {
        Recorded::Install { sa, inbound, spi, keys, .. } => {
            if inbound {
                assert_eq!(spi % u32::from(WORKERS), u32::from(w.0), "the SPI names its worker");
            }
            Some((sa, inbound, spi, keys))
        }
        _ => None,
    })
    .collect()
}

fn newest(g: &Gateway, inbound: bool) -> (u64, u32, Vec<u8>) {
    let found = installed(g).into_iter().rev().find(|i| i.1 == inbound).expect("installed");
    (found.0, found.2, found.3)
}

#[test]
fn two_gateways_agree_on_spis_and_keys_and_take_them_down_together() {
    let (mut a, mut b) = pair("agree", ["immediately", "respond"]);
    start(&mut a, &mut b);
    let (on_a, on_b) = (wait_up(&a), wait_up(&b));
    assert_eq!((on_a.spi_in, on_a.spi_out), (on_b.spi_out, on_b.spi_in));
    let (a_in, b_out) = (newest(&a, true), newest(&b, false));
    assert_eq!((a_in.1, &a_in.2), (b_out.1, &b_out.2), "one direction, one SPI, one key");
    let (b_in, a_out) = (newest(&b, true), newest(&a, false));
    assert_eq!((b_in.1, &b_in.2), (a_out.1, &a_out.2));
    assert_ne!(a_in.2, b_in.2, "the directions have keys of their own");

    // The inbound SA is in force before any worker sends by the pair. Up is said when the commands are on their way;
    // the recorder may see the last of them a moment later.
    let commands = eventually("every worker to be told", || {
        let commands = a.recorder().worker_commands();
        let told = commands.iter().filter(|(_, r)| matches!(r, Recorded::Use { .. })).count();
        (told >= usize::from(WORKERS)).then_some(commands)
    });
    let at = |what: &dyn Fn(&Recorded) -> bool| commands.iter().position(|(_, r)| what(r)).unwrap();
    assert!(
        at(&|r| matches!(r, Recorded::Install { inbound: true, .. }))
            < at(&|r| matches!(r, Recorded::Use { .. }))
    );
    assert_eq!(
        commands.iter().filter(|(_, r)| matches!(r, Recorded::Use { .. })).count(),
        usize::from(WORKERS)
    );

    // SIGTERM: Delete messages; the other side takes its SAs out, too.
    a.control().signal(Signal::SIGTERM);
    assert!(a.control().wait().success());
    for g in [&a, &b] {
        eventually("both SAs to be removed", || {
            let gone = g.recorder().worker_commands();
            let removed = |sa: u64| gone.iter().any(|(_, r)| *r == Recorded::Remove { sa });
            installed(g).iter().all(|i| removed(i.0)).then_some(())
        });
    }
}

/// R309, and the rekey order of design.md.
#[test]
fn a_soft_limit_rekeys_without_a_gap_and_counts_go_on() {
    let (mut a, mut b) = pair("rekey", ["immediately", "respond"]);
    start(&mut a, &mut b);
    let before = wait_up(&a);
    let old = newest(&a, false).0;
    eventually("traffic to be counted", || (tunnel(&a).traffic_out.packets > 0).then_some(()));
    let counted = tunnel(&a).traffic_out.packets;
    let owner = a
        .recorder()
        .worker_commands()
        .iter()
        .find_map(|(w, r)| matches!(r, Recorded::Install { sa, .. } if *sa == old).then_some(w.0));
    a.recorder().raise(owner.unwrap(), WorkerEvent::SoftLimit { sa: SaId(old), limit: Limit::Bytes });
    let after = eventually("another pair", || {
        let t = tunnel(&a);
        (t.state == TunnelState::Up && t.spi_out.is_some() && t.spi_out != before.spi_out).then_some(t)
    });
    assert!(after.traffic_out.packets >= counted, "{} < {counted}", after.traffic_out.packets);
    assert_eq!(after.rekeys, 1);
    eventually("the old outbound SA to go", || {
        let commands = a.recorder().worker_commands();
        commands.iter().any(|(_, r)| *r == Recorded::Remove { sa: old }).then_some(())
    });
    let commands = a.recorder().worker_commands();
    assert!(
        !commands.iter().any(|(_, r)| matches!(r, Recorded::Stop { .. })),
        "never without an outbound SA"
    );
    let last_use = commands.iter().rposition(|(_, r)| matches!(r, Recorded::Use { .. })).unwrap();
    let removed = commands.iter().position(|(_, r)| *r == Recorded::Remove { sa: old }).unwrap();
    assert!(last_use < removed, "switch first, then remove");
    let total = tunnel(&a).traffic_out.packets;
    assert!(total >= counted);
}

fn kill_and_start_again(g: &mut Gateway) {
    g.control().signal(Signal::SIGKILL);
    g.control().wait();
    g.recorder().forget();
    g.start_control();
}

/// True once the workers were told to take all of these out; never before another pair is in use.
fn removed_after_their_successors(g: &Gateway, old: &[u64]) -> bool {
    let commands = g.recorder().worker_commands();
    let removed = |sa: &u64| commands.iter().position(|(_, r)| *r == Recorded::Remove { sa: *sa });
    let first = old.iter().filter_map(removed).min();
    let used = |(_, r): &(_, Recorded)| matches!(r, Recorded::Use { sa, .. } if !old.contains(sa));
    let used = commands.iter().position(used);
    assert!(first.is_none_or(|first| used.is_some_and(|used| used < first)), "make before break");
    assert!(!commands.iter().any(|(_, r)| matches!(r, Recorded::Stop { .. })), "never without an SA");
    old.iter().all(|sa| removed(sa).is_some())
}

/// R306: the IKE SA and its pair go on; where they cannot, old SAs stay until new ones carry the traffic.
#[test]
fn a_killed_control_process_leaves_its_sas_and_the_next_one_goes_on_with_them() {
    let (mut a, mut b) = pair("adopt", ["immediately", "respond"]);
    start(&mut a, &mut b);
    let before = wait_up(&a);
    wait_up(&b);
    let ids = |g: &Gateway| installed(g).iter().map(|i| i.0).collect::<Vec<u64>>();
    let (old, (owner, outbound)) = (ids(&a), outbound_of(&a));
    kill_and_start_again(&mut a);
    let after = eventually("an IKE SA", || Some(tunnel(&a)).filter(|t| t.ike_spi_local.is_some()));
    let spis =
        |t: &TunnelStatus| [&t.ike_spi_local, &t.ike_spi_remote, &t.spi_in, &t.spi_out].map(Clone::clone);
    assert_eq!(spis(&after), spis(&before));
    assert!(installed(&a).is_empty(), "nothing new was needed");
    // Who watches over it: the pair is rekeyed as any other.
    a.recorder().raise(owner, WorkerEvent::SoftLimit { sa: SaId(outbound), limit: Limit::Bytes });
    eventually("the pair to be replaced", || removed_after_their_successors(&a, &old).then_some(()));
    assert!(tunnel(&a).traffic_out.packets > 0, "what the old SAs carried is counted");

    // Records that nobody can open any more.
    let old = ids(&a);
    std::fs::remove_file(a.run_dir().join("ike.key")).unwrap();
    kill_and_start_again(&mut a);
    let anew = eventually("an IKE SA", || Some(tunnel(&a)).filter(|t| t.ike_spi_remote.is_some()));
    assert_ne!(anew.ike_spi_remote, after.ike_spi_remote);
    eventually("the old SAs to go", || removed_after_their_successors(&a, &old).then_some(()));
}

/// The newest outbound SA, and the worker that has it.
fn outbound_of(g: &Gateway) -> (u16, u64) {
    let id = newest(g, false).0;
    let all = g.recorder().worker_commands();
    let of = |(w, r): &(ravelin_ring::msg::WorkerId, Recorded)| {
        matches!(r, Recorded::Install { sa, .. } if *sa == id).then_some(w.0)
    };
    (all.iter().find_map(of).unwrap(), id)
}

#[test]
fn up_and_down_answer_when_it_is_so() {
    let (mut a, mut b) = pair("updown", ["on-traffic", "respond"]);
    start(&mut a, &mut b);
    eventually("the responder", || (tunnel(&b).state == TunnelState::Waiting).then_some(()));
    assert_eq!(tunnel(&a).state, TunnelState::Waiting);
    let timeout_ms = u64::try_from(PATIENCE.as_millis()).unwrap();
    let ask = |request: &Request| match a.ask(request) {
        Answer::Outcome(o) => o,
        other => panic!("{other:?}"),
    };
    // The data plane may still be on its way: refused then, with the reason.
    let up =
        eventually("the data plane", || match a.ask(&Request::Up { tunnel: "site".into(), timeout_ms }) {
            Answer::Outcome(o) => Some(o),
            Answer::Error(_) => None,
            other => panic!("{other:?}"),
        });
    assert!(up.done && up.state == TunnelState::Up, "{up:?}");
    let down = ask(&Request::Down { tunnel: "site".into(), timeout_ms });
    assert!(down.done, "{down:?}");
    assert_eq!(tunnel(&a).state, TunnelState::Down);

    // Traffic does not bring up what the operator took down; after `up` and a loss it would.
    let acquire = || WorkerEvent::Acquire {
        tunnel: ravelin_ring::msg::TunnelId(0),
        source: "10.1.0.10".parse().unwrap(),
        destination: "10.2.0.10".parse().unwrap(),
        protocol: 1,
        ports: (0, 0),
    };
    a.recorder().raise(0, acquire());
    let up = ask(&Request::Up { tunnel: "site".into(), timeout_ms });
    assert!(up.done, "{up:?}");
    match a.ask(&Request::Up { tunnel: "nobody".into(), timeout_ms }) {
        Answer::Error(refusal) => assert!(refusal.message.contains("site"), "{refusal:?}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn traffic_brings_a_tunnel_up() {
    let (mut a, mut b) = pair("acquire", ["on-traffic", "respond"]);
    start(&mut a, &mut b);
    eventually("the responder", || (tunnel(&b).state == TunnelState::Waiting).then_some(()));
    eventually("the tunnel", || {
        let acquire = WorkerEvent::Acquire {
            tunnel: ravelin_ring::msg::TunnelId(0),
            source: "10.1.0.10".parse().unwrap(),
            destination: "10.2.0.10".parse().unwrap(),
            protocol: 1,
            ports: (0, 0),
        };
        a.recorder().raise(0, acquire);
        (tunnel(&a).state == TunnelState::Up).then_some(())
    });
}

#[test]
fn when_the_data_plane_dies_the_tunnel_is_made_anew() {
    let (mut a, mut b) = pair("dies", ["immediately", "respond"]);
    start(&mut a, &mut b);
    let before = wait_up(&a);
    a.recorder = None;
    eventually("the tunnel to be down", || (tunnel(&a).state != TunnelState::Up).then_some(()));
    a.start_recorder(WORKERS);
    let after = eventually("the tunnel anew", || {
        let t = tunnel(&a);
        (t.state == TunnelState::Up && t.spi_in.is_some()).then_some(t)
    });
    assert_ne!(before.spi_in, after.spi_in);
    assert_eq!(installed(&a).len(), 2);
    wait_up(&b);
}

fn clear(g: &Gateway, request: &Request) -> Vec<ravelin_control::api::Cleared> {
    match g.ask(request) {
        Answer::Cleared(all) => all,
        other => panic!("{other:?}"),
    }
}

// R232, R233, R234: what was named is cleared, at both ends, and comes back; R224: the policy says what is in use
#[test]
fn what_was_named_is_cleared_and_comes_back() {
    use ravelin_control::api::Clear;
    let (mut a, mut b) = pair("clear", ["immediately", "respond"]);
    start(&mut a, &mut b);
    let before = wait_up(&a);
    wait_up(&b);
    let request = |what, tunnel: Option<&str>, peer: Option<&str>, spi: Option<&str>| Request::Clear {
        what,
        tunnel: tunnel.map(str::to_owned),
        peer: peer.map(|addr| addr.parse().unwrap()),
        spi: spi.map(|spi| u32::from_str_radix(spi, 16).unwrap()),
    };
    let spi = |t: &TunnelStatus| t.spi_in.clone().unwrap();
    // What fits nothing clears nothing.
    for peer in [Some("198.18.0.9"), None] {
        let none = request(Clear::Sas, None, peer, peer.is_none().then_some("00000101"));
        assert_eq!(clear(&a, &none), []);
    }
    assert!(matches!(a.ask(&request(Clear::Ike, Some("nobody"), None, None)), Answer::Error(_)));
    assert!(matches!(a.ask(&request(Clear::Ike, None, None, Some("00000101"))), Answer::Error(_)));

    let cleared = clear(&a, &request(Clear::Sas, None, None, Some(&spi(&before))));
    assert_eq!(cleared.len(), 1);
    assert_eq!((cleared[0].tunnel.as_str(), &cleared[0].spi), ("site", &before.spi_in));
    let other_child =
        eventually("another child SA", || Some(wait_up(&a)).filter(|t| t.spi_in != before.spi_in));
    assert_eq!(other_child.ike_spi_local, before.ike_spi_local, "the IKE SA stays");
    eventually("the other end to follow", || (wait_up(&b).spi_out == wait_up(&a).spi_in).then_some(()));

    let cleared = clear(&b, &request(Clear::Ike, Some("site"), Some("198.18.0.1"), None));
    assert_eq!(cleared.len(), 1);
    let other_ike = |t: &TunnelStatus| t.ike_spi_local.is_some() && t.ike_spi_local != before.ike_spi_local;
    eventually("another IKE SA", || Some(wait_up(&a)).filter(other_ike));

    eventually("packets to be counted", || (wait_up(&a).traffic_out.packets > 0).then_some(()));
    assert_eq!(clear(&a, &request(Clear::Counters, Some("site"), None, None)).len(), 1);
    assert_eq!(tunnel(&a).rekeys, 0);

    let Answer::Proposals(policy) =
        a.ask(&Request::Show { what: What::Proposals, name: Some("site".into()) })
    else {
        panic!("proposals")
    };
    let used = policy[0].ike_in_use.clone().unwrap();
    assert!(policy.len() == 1 && policy[0].ike.contains(&used), "{policy:?}");
    assert_eq!(Some(used), wait_up(&a).ike_suite);
    assert_eq!((policy[0].auth.as_str(), policy[0].protocol.as_str()), ("psk", "esp"));
    let up = wait_up(&a);
    assert!(up.credential.contains("a.lab and b.lab (secrets.toml:1)"), "R176: {}", up.credential);
    assert!(up.ike_message_ids.is_some(), "R193");
    let Answer::Certificates(none) = a.ask(&Request::Show { what: What::Certificates, name: None }) else {
        panic!("certificates")
    };
    assert_eq!(none, []);
}

// R174: IKE by other ports, ours and the peer's; each side keeps to its own
#[test]
fn ike_goes_by_the_ports_of_the_configuration() {
    let (mut a, mut b) = pair("ports", ["immediately", "on-traffic"]);
    let change = |g: &Gateway, ports: &str, remote: &str| {
        let text = std::fs::read_to_string(g.file("ravelin.toml")).unwrap();
        let text = text.replace("[control]\n", &format!("[control]\n{ports}"));
        g.write("ravelin.toml", &text.replace("[[tunnel]]\n", &format!("[[tunnel]]\n{remote}")), 0o644);
    };
    change(&a, "ike-port = 1500\n", "remote-ike-port = 2500\n");
    change(&b, "ike-port = 2500\nnatt-port = 5500\n", "remote-ike-port = 1500\n");
    start(&mut a, &mut b);
    let (on_a, on_b) = (wait_up(&a), wait_up(&b));
    assert_eq!((on_a.spi_in, on_a.encapsulation.as_deref()), (on_b.spi_out, Some("esp")), "no NAT is seen");
    // The other one begins, too.
    let timeout_ms = u64::try_from(PATIENCE.as_millis()).unwrap();
    a.ask(&Request::Down { tunnel: "site".into(), timeout_ms });
    eventually("the other end to follow", || (tunnel(&b).state != TunnelState::Up).then_some(()));
    assert!(
        matches!(b.ask(&Request::Up { tunnel: "site".into(), timeout_ms }), Answer::Outcome(o) if o.done)
    );
}

// R69, R71: no address, no IKE and no SAs, said so; with the address new ones; over a restart of the process too. R70.
#[test]
fn a_gateway_rests_while_the_machine_does_not_have_its_address() {
    let (mut a, mut b) = pair("away", ["immediately", "respond"]);
    start(&mut a, &mut b);
    let before = wait_up(&a);
    a.namespace.ip("addr del 198.18.0.1/24 dev wan0");
    let rests = |g: &Gateway| {
        eventually("the tunnel to rest", || Some(tunnel(g)).filter(|t| t.state == TunnelState::NoAddress))
    };
    let t = rests(&a);
    assert!(t.ike_spi_local.is_none() && t.spi_in.is_none(), "{t:?}");
    assert!(t.last_error.as_deref().is_some_and(|why| why.contains("198.18.0.1")), "{t:?}");
    eventually("the SAs to go", || {
        let commands = a.recorder().worker_commands();
        let removed = |sa: u64| commands.iter().any(|(_, r)| *r == Recorded::Remove { sa });
        installed(&a).iter().all(|i| removed(i.0)).then_some(())
    });
    match a.ask(&Request::Up { tunnel: "site".into(), timeout_ms: 100 }) {
        Answer::Error(refusal) => assert!(refusal.message.contains("198.18.0.1"), "{refusal:?}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(tunnel(&b).state, TunnelState::Up, "nobody told the peer");
    kill_and_start_again(&mut a);
    rests(&a);
    assert!(installed(&a).is_empty());
    a.namespace.ip("addr add 198.18.0.1/24 dev wan0");
    let after = wait_up(&a);
    assert_ne!(after.spi_in, before.spi_in);
    eventually("the peer to have the same", || (tunnel(&b).spi_out == tunnel(&a).spi_in).then_some(()));

    // The address is on another port than the tunnel says: refused, and nothing changes.
    let text = std::fs::read_to_string(a.file("ravelin.toml")).unwrap();
    let wrong =
        text.replace("[[tunnel]]\n", "[[port]]\nname = \"lan0\"\n[[tunnel]]\nlocal-interface = \"lan0\"\n");
    a.write("ravelin.toml", &wrong, 0o644);
    match a.ask(&Request::Reload) {
        Answer::Reloaded(ravelin_control::api::Reloaded::Refused { errors }) => {
            let said = errors.to_string();
            assert!(said.contains("lan0") && said.contains("wan0"), "{said}");
        }
        other => panic!("{other:?}"),
    }
    let right = text.replace("[[tunnel]]\n", "[[tunnel]]\nlocal-interface = \"wan0\"\n");
    a.write("ravelin.toml", &right, 0o644);
    assert!(matches!(
        a.ask(&Request::Reload),
        Answer::Reloaded(ravelin_control::api::Reloaded::Applied { .. })
    ));
    assert_eq!(tunnel(&a).spi_in, after.spi_in);
}
