//! The real control process with a recording data plane over the real rings: order, reload, restart, errors.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm)] // a test expects one thing, all else is a failure

mod common;

use common::{Gateway, Recorded, Recorder, Told, eventually};
use nix::sys::signal::Signal;
use ravelin_control::api::{Answer, Reloaded, Request, What};
use ravelin_ring::msg::{Action, NextHop, TableCommand};
use std::process::Command;

fn config(tunnels: &[(&str, &str)]) -> String {
    let mut text = String::from(
        "[[port]]\nname = \"lan0\"\n[[port]]\nname = \"wan0\"\n[dataplane]\ncores = [0, 1]\n[control]\nsecrets = \"secrets.toml\"\n",
    );
    for (name, remote) in tunnels {
        text += &format!(
            "[[tunnel]]\nname = \"{name}\"\nlocal = \"198.18.0.1\"\nremote = \"198.18.0.2\"\nlocal-id = \"a.lab\"\n\
             remote-id = \"{name}.lab\"\nstart = \"respond\"\n\
             selectors = [{{ local = \"10.1.0.0/24\", remote = \"{remote}\" }}]\n"
        );
    }
    text
}

fn secrets(names: &[&str]) -> String {
    names
        .iter()
        .map(|n| format!("[[secret]]\nlocal-id = \"a.lab\"\nremote-id = \"{n}.lab\"\npsk = \"a secret that is long enough\"\n"))
        .collect()
}

fn gateway(name: &str) -> Gateway {
    let g = Gateway::new(name);
    for port in ["lan0", "wan0"] {
        g.namespace.ip(&format!("link add {port} type veth peer name {port}x"));
        g.namespace.ip(&format!("link set {port} up"));
        g.namespace.ip(&format!("link set {port}x up"));
    }
    g.namespace.ip("addr add 10.1.0.1/24 dev lan0");
    g.namespace.ip("addr add 198.18.0.1/24 dev wan0");
    g.write("ravelin.toml", &config(&[("b", "10.2.0.0/24")]), 0o644);
    g.write("secrets.toml", &secrets(&["b", "c"]), 0o600);
    g
}

fn policies(commands: &[TableCommand]) -> Vec<Action> {
    let start = commands.iter().rposition(|c| *c == TableCommand::ClearPolicies).unwrap_or(0);
    commands[start..]
        .iter()
        .filter_map(|c| if let TableCommand::AddPolicy(p) = c { Some(p.action) } else { None })
        .filter(|a| matches!(a, Action::Protect(_)))
        .collect()
}

fn committed(recorder: &Recorder) -> bool {
    matches!(
        recorder.told().iter().rfind(|t| matches!(t, Told::Table(_))),
        Some(Told::Table(TableCommand::Commit { .. }))
    )
}

#[test]
fn the_kernel_is_fail_closed_before_the_data_plane_is_there_and_one_generation_brings_all_tables() {
    let mut g = gateway("start");
    g.start_control();
    eventually("the blackhole", || g.protected().contains("blackhole 10.2.0.0/24").then_some(()));
    let rules = g.namespace.ip("rule show pref 220");
    assert!(rules.contains("not from all fwmark 0x52 lookup 4500"), "{rules}");
    match g.ask(&Request::Show { what: What::Drops, name: None }) {
        Answer::Error(refusal) => assert!(refusal.message.contains("ravelin-dataplane"), "{refusal:?}"),
        other => panic!("{other:?}"),
    }

    g.start_recorder(2);
    eventually("a generation", || committed(g.recorder()).then_some(()));
    let tables = g.recorder().tables();
    assert_eq!(tables.iter().filter(|c| matches!(c, TableCommand::Commit { .. })).count(), 1);
    assert_eq!(tables[0], TableCommand::ClearRoutes);
    assert_eq!(policies(&tables).len(), 1);
    assert!(tables.contains(&TableCommand::AddGatewayAddress("198.18.0.1".parse().unwrap())));
    assert!(
        tables
            .iter()
            .any(|c| matches!(c, TableCommand::AddProtectedRange(r) if r.to_string() == "10.2.0.0/24"))
    );
    assert!(tables.iter().any(|c| matches!(c, TableCommand::AddRoute(r) if r.next_hop == NextHop::Local)));
    eventually("the route into the TUN device", || {
        let routes = g.protected();
        (routes.contains("10.2.0.0/24 dev ravelin0") && routes.contains("src 10.1.0.1")).then_some(())
    });

    // A change in the kernel is a further generation with just this change.
    g.recorder().forget();
    g.namespace.ip("route add 10.77.0.0/24 via 198.18.0.2");
    eventually("the route's generation", || committed(g.recorder()).then_some(()));
    let tables = g.recorder().tables();
    assert!(
        matches!(tables.as_slice(), [TableCommand::AddRoute(_), TableCommand::Commit { .. }]),
        "{tables:?}"
    );

    // SIGTERM: an end with exit code 0; routes and rule stay.
    g.control().signal(Signal::SIGTERM);
    assert!(g.control().wait().success());
    assert!(g.protected().contains("10.2.0.0/24"));
}

/// R305
#[test]
fn a_reload_applies_the_difference_and_a_broken_file_changes_nothing() {
    let mut g = gateway("reload");
    g.start_recorder(1);
    g.start_control();
    eventually("the first generation", || committed(g.recorder()).then_some(()));

    g.recorder().forget();
    g.write("ravelin.toml", "[[port]]\nname = 7\n", 0o644);
    match g.ask(&Request::Reload) {
        Answer::Reloaded(Reloaded::Refused { errors }) => assert!(!errors.errors.is_empty()),
        other => panic!("{other:?}"),
    }
    assert!(g.recorder().tables().is_empty());

    g.write("ravelin.toml", &config(&[("c", "10.3.0.0/24"), ("b", "10.2.0.0/24")]), 0o644);
    match g.ask(&Request::Reload) {
        Answer::Reloaded(Reloaded::Applied { difference, .. }) => {
            assert!(difference.iter().any(|l| l.contains("+ tunnel c")), "{difference:?}");
        }
        other => panic!("{other:?}"),
    }
    eventually("both policies", || {
        (committed(g.recorder()) && policies(&g.recorder().tables()).len() == 2).then_some(())
    });
    assert!(g.protected().contains("10.3.0.0/24 dev ravelin0"));
    match g.ask(&Request::Show { what: What::Tunnels, name: Some("b".into()) }) {
        Answer::Tunnels(t) => assert_eq!(t[0].id, 0, "b keeps its number though c stands before it"),
        other => panic!("{other:?}"),
    }

    // SIGHUP does the same; what protected the removed tunnel goes, too.
    g.recorder().forget();
    g.write("ravelin.toml", &config(&[("b", "10.2.0.0/24")]), 0o644);
    g.control().signal(Signal::SIGHUP);
    eventually("one policy", || {
        (committed(g.recorder()) && policies(&g.recorder().tables()).len() == 1).then_some(())
    });
    eventually("its route gone", || (!g.protected().contains("10.3.0.0")).then_some(()));
    assert!(g.protected().contains("10.2.0.0/24 dev ravelin0"));
}

#[test]
fn a_data_plane_that_comes_back_is_told_everything_again() {
    let mut g = gateway("again");
    g.start_recorder(1);
    g.start_control();
    eventually("the first generation", || committed(g.recorder()).then_some(()));
    g.recorder = None;
    g.start_recorder(3);
    eventually("all tables again", || {
        (committed(g.recorder()) && policies(&g.recorder().tables()).len() == 1).then_some(())
    });
    assert!(g.recorder().worker_commands().iter().all(|(_, c)| *c == Recorded::Report));
}

#[test]
fn errors_at_the_start_say_what_is_wrong_and_how_to_cure_it() {
    let g = gateway("errors");
    let start = || {
        let (config, run_dir) = (g.file("ravelin.toml"), g.run_dir());
        let out = Command::new("ip")
            .args(["netns", "exec", &g.namespace.0, env!("CARGO_BIN_EXE_ravelin-control")])
            .args(["--config", config.to_str().unwrap(), "--run-dir", run_dir.to_str().unwrap()])
            .output()
            .unwrap();
        assert_eq!(out.status.code(), Some(1));
        String::from_utf8_lossy(&out.stderr).into_owned()
    };
    // A program that holds UDP 500.
    let script = "import socket,sys\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\ns.bind(('0.0.0.0',500))\nprint('bound',flush=True)\nsys.stdin.read()";
    let mut holder = Command::new("ip")
        .args(["netns", "exec", &g.namespace.0, "python3", "-c", script])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(holder.stdout.take().unwrap()), &mut line)
        .unwrap();
    let said = start();
    assert!(said.contains("UDP port 500") && said.contains("ss -ulpn"), "{said}");
    assert!(g.namespace.ip("rule show pref 220").is_empty(), "nothing was left behind");
    drop(holder.stdin.take());
    holder.wait().unwrap();

    g.write("secrets.toml", &secrets(&["b"]), 0o644);
    assert!(start().contains("chmod 600"));
    g.write("ravelin.toml", "nonsense", 0o644);
    let said = start();
    assert!(said.contains("ravelin.toml:1"), "{said}");
}
