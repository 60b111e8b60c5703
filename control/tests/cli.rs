//! The command `ravelin` as an operator runs it: what it prints, and its exit codes.

#![allow(clippy::unwrap_used)] // helpers of tests, outside of #[test]

use ravelin_control::api::{
    Answer, Call, Outcome, PortStatus, Reloaded, Request, Server, TunnelState, VersionStatus, What,
    socket_path,
};
use ravelin_control::config::Config;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SECRETS: &str = include_str!("../../configs/secrets.example.toml");
const TWO: &str = include_str!("../../configs/two-tunnels.toml");

struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn ravelin(arguments: &[&str]) -> Ran {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_ravelin")).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: status.code().expect("not killed"), out: text(stdout), err: text(stderr) }
}

/// A configuration with its secrets, as an operator has them.
fn folder(config: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gw.toml");
    std::fs::write(&file, config).unwrap();
    let secrets = folder.path().join("secrets.toml");
    std::fs::write(&secrets, SECRETS).unwrap();
    std::fs::set_permissions(&secrets, std::fs::Permissions::from_mode(0o600)).unwrap();
    (folder, file)
}

/// Answers as a gateway with one port and one tunnel would.
fn answer(call: Call) {
    let outcome = |tunnel: String, done: bool, state, detail: &str| {
        Answer::Outcome(Outcome { tunnel, done, state, detail: detail.into() })
    };
    let answer = match call.request {
        Request::Show { what: What::Ports, .. } => Answer::Ports(vec![PortStatus {
            name: "wan0".into(),
            id: 0,
            ifindex: 3,
            mac: "02:00:00:00:00:01".into(),
            up: true,
            mtu: 1500,
            attach: Some("native".into()),
            bind: Some("copy".into()),
            queues: 1,
            counters: BTreeMap::new(),
        }]),
        Request::Show { .. } => Answer::Tunnels(Vec::new()),
        Request::Up { tunnel, .. } if tunnel == "office" => outcome(tunnel, true, TunnelState::Up, ""),
        Request::Up { tunnel, .. } => {
            outcome(tunnel, false, TunnelState::Retrying, "the peer does not answer")
        }
        Request::Down { tunnel, .. } => Answer::refused(format!("no tunnel \"{tunnel}\"")),
        Request::Reload => Answer::Reloaded(Reloaded::Applied {
            difference: vec!["+ tunnel van".into()],
            warnings: Vec::new(),
        }),
        Request::Trace { tunnel, on } => Answer::Traced { tunnel, on },
        Request::Clear { spi: None, .. } => Answer::Cleared(Vec::new()),
        Request::Clear { peer, spi: Some(spi), .. } => Answer::Cleared(vec![ravelin_control::api::Cleared {
            tunnel: "office".into(),
            peer: peer.map(|peer| peer.to_string()),
            spi: Some(format!("{spi:08x}")),
        }]),
        Request::Version => Answer::Version(VersionStatus {
            api: 1,
            control: "9.9.9".into(),
            dataplane: None,
            uptime_s: 61,
            config_file: "/etc/ravelin/ravelin.toml".into(),
            pid: 42,
        }),
    };
    let _ = call.reply.send(answer);
}

/// Runs the command against such a gateway.
async fn against(arguments: &'static [&'static str]) -> Ran {
    serving(arguments, answer).await
}

async fn serving(arguments: &'static [&'static str], mut answer: impl FnMut(Call) + Send + 'static) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let (server, mut calls) = Server::bind(&socket_path(folder.path())).unwrap();
    let _serving = server.start().unwrap();
    tokio::spawn(async move {
        while let Some(call) = calls.recv().await {
            answer(call);
        }
    });
    let directory = folder.path().to_string_lossy().into_owned();
    tokio::task::spawn_blocking(move || ravelin(&[&["--run-dir", &directory], arguments].concat()))
        .await
        .unwrap()
}

#[test]
fn check_says_ok() {
    let (_folder, file) = folder(TWO);
    let ran = ravelin(&["check", &file.to_string_lossy()]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert_eq!(ran.out, format!("{}: ok (2 ports, 2 tunnels, 3 selectors)\n", file.display()));
}

/// File, line, found, expected, cure; all of them; exit code 1.
#[test]
fn check_says_all_errors() {
    let (_folder, file) = folder(&TWO.replace("lifetime = \"30m\"", "lifetime = 30\ndff = \"copy\""));
    let ran = ravelin(&["check", &file.to_string_lossy()]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    let line = TWO.lines().position(|line| line == "lifetime = \"30m\"").unwrap() + 1;
    let (first, second) =
        (format!("{}:{line}: error: ", file.display()), format!("{}:{}: ", file.display(), line + 1));
    assert!(ran.err.contains(&first) && ran.err.contains(&second), "{}", ran.err);
    assert!(ran.err.contains("cure: add the unit: \"30s\"") && ran.err.contains("did you mean `df`?"));
    assert!(ran.err.ends_with(&format!("{}: 2 errors\n", file.display())), "{}", ran.err);
}

#[test]
fn check_reads_the_secrets_too() {
    let (folder, file) = folder(TWO);
    let file = file.to_string_lossy().into_owned();
    let secrets = folder.path().join("secrets.toml");
    std::fs::set_permissions(&secrets, std::fs::Permissions::from_mode(0o644)).unwrap();
    let ran = ravelin(&["check", &file]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains(&format!("cure: chmod 600 {}", secrets.display())), "{}", ran.err);
    assert_eq!(ravelin(&["check", "--no-secrets", &file]).code, 0);
    std::fs::remove_file(secrets).unwrap();
    assert_eq!(ravelin(&["check", &file]).code, 1);
}

#[test]
fn check_as_json() {
    let (_folder, file) = folder("[[port]]\nname = 3\n");
    let ran = ravelin(&["check", "--json", &file.to_string_lossy()]);
    assert_eq!((ran.code, ran.err.as_str()), (1, ""));
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(value["ok"], false);
    assert_eq!(value["errors"][0]["line"], 2);
    assert_eq!(value["errors"][0]["severity"], "error");
}

/// Wrong usage is 2; every subcommand explains itself with an example.
#[test]
fn usage_and_help() {
    assert_eq!(ravelin(&[]).code, 2);
    assert_eq!(ravelin(&["show", "nonsense"]).code, 2);
    assert_eq!(ravelin(&["up"]).code, 2);
    assert_eq!(ravelin(&["up", "t", "--timeout", "601"]).code, 2);
    let help = ravelin(&["--help"]);
    assert_eq!(help.code, 0);
    assert!(help.out.contains("Exit codes:"));
    for command in ["check", "show", "up", "down", "reload", "release", "version"] {
        assert!(help.out.contains(command));
        let ran = ravelin(&[command, "--help"]);
        assert_eq!(ran.code, 0);
        assert!(ran.out.contains(&format!("  ravelin {command}")), "no example of {command}: {}", ran.out);
    }
}

/// Every command that needs the process says which to start; exit code 3.
#[test]
fn nobody_there() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().to_string_lossy().into_owned();
    for command in [&["show", "tunnels"][..], &["up", "t"], &["down", "t"], &["reload"]] {
        let ran = ravelin(&[&["--run-dir", &directory], command].concat());
        assert_eq!((ran.code, ran.out.as_str()), (3, ""), "{command:?}");
        assert!(ran.err.contains("ravelin-control is not running"), "{}", ran.err);
        assert!(ran.err.contains("control.sock") && ran.err.contains("cure: start it"), "{}", ran.err);
    }
    let ran = ravelin(&["--socket", "/nonexistent/s", "version"]);
    assert_eq!(ran.code, 0);
    assert!(ran.out.contains("ravelin-control is not running (/nonexistent/s)"), "{}", ran.out);
}

#[tokio::test]
async fn show_as_table_and_json() {
    let ran = against(&["show", "ports"]).await;
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(ran.out.starts_with("PORT  LINK  XDP"), "{}", ran.out);
    let ran = against(&["show", "ports", "wan0", "--json"]).await;
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(value[0]["name"], "wan0");
    let ran = against(&["show", "ports", "wan1"]).await;
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert_eq!(ran.err, "no port \"wan1\"; did you mean \"wan0\"?\n");
    let ran = against(&["show", "tunnels"]).await;
    assert_eq!((ran.code, ran.out.as_str()), (0, "no tunnels are configured\n"));
}

#[tokio::test]
async fn up_and_down_say_the_outcome() {
    let ran = against(&["up", "office"]).await;
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "tunnel office is up\n", ""));
    let ran = against(&["up", "factory", "--timeout", "1"]).await;
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert_eq!(ran.err, "tunnel factory is retrying: the peer does not answer\n");
    let ran = against(&["up", "factory", "--json"]).await;
    assert_eq!((ran.code, ran.err.as_str()), (1, ""));
    assert!(ran.out.contains("\"done\": false"), "{}", ran.out);
    let ran = against(&["down", "nobody"]).await;
    assert_eq!((ran.code, ran.err.as_str()), (1, "no tunnel \"nobody\"\n"));
}

// R233: what is cleared has to be named.
#[tokio::test]
async fn clear_says_what_it_cleared() {
    let ran = against(&["clear", "sas", "--spi", "0xc0000101", "--peer", "198.18.0.2"]).await;
    let said = "tunnel office: child SA c0000101 with 198.18.0.2 cleared\n";
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, said, ""));
    let ran = against(&["clear", "session", "office"]).await;
    assert_eq!((ran.code, ran.err.as_str()), (1, "nothing fits: nothing was cleared\n"));
    let ran = against(&["clear", "ike"]).await;
    assert!(ran.code == 1 && ran.err.contains("--all"), "{}", ran.err);
    assert_eq!(against(&["clear", "sas", "--spi", "xyz"]).await.code, 2);
    assert_eq!(against(&["clear", "everything"]).await.code, 2);
    assert_eq!(against(&["clear", "ike", "office", "--all"]).await.code, 2);
    let ran = against(&["clear", "ike", "--all", "--json"]).await;
    assert_eq!((ran.code, ran.out.as_str()), (0, "[]\n"));
}

#[tokio::test]
async fn reload_says_what_changed() {
    let ran = against(&["reload"]).await;
    assert_eq!((ran.code, ran.out.as_str()), (0, "+ tunnel van\n"));
    let nothing = |call: Call| {
        let none = Reloaded::Applied { difference: Vec::new(), warnings: vec!["careful".into()] };
        let _ = call.reply.send(Answer::Reloaded(none));
    };
    let ran = serving(&["reload"], nothing).await;
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "nothing changed\n", "careful\n"));
    let broken = |call: Call| {
        let errors = Config::parse(Path::new("gw.toml"), "frames = 1").unwrap_err();
        let _ = call.reply.send(Answer::Reloaded(Reloaded::Refused { errors }));
    };
    let ran = serving(&["reload"], broken).await;
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert!(ran.err.contains("gw.toml:1: error: unknown key `frames`"), "{}", ran.err);
    assert!(ran.err.ends_with("nothing was changed\n"), "{}", ran.err);
    let ran = serving(&["reload", "--json"], broken).await;
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("\"outcome\": \"refused\""), "{}", ran.out);
}

#[tokio::test]
async fn version_names_all_three() {
    let ran = against(&["version"]).await;
    assert_eq!(ran.code, 0);
    let own = env!("CARGO_PKG_VERSION");
    assert_eq!(
        ran.out,
        format!(
            "ravelin {own}\nravelin-control 9.9.9 (pid 42, up 1m1s, /etc/ravelin/ravelin.toml)\n\
             ravelin-dataplane not connected\n"
        )
    );
    assert!(against(&["version", "--json"]).await.out.contains("\"control\": \"9.9.9\""));
}

/// While a gateway runs, its protection is not taken away.
#[tokio::test]
async fn release_is_refused_while_the_gateway_runs() {
    let ran = against(&["release", "--tun", "config-none0"]).await;
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert!(
        ran.err.contains("ravelin-control is running") && ran.err.contains("stop it first"),
        "{}",
        ran.err
    );
}
