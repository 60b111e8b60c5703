use super::client::{ClientError, ask};
use super::*;
use core::time::Duration;
use proptest::prelude::*;
use std::os::unix::fs::PermissionsExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

const SOON: Duration = Duration::from_secs(20);

/// A server in a folder of its own, answering `Version` by refusing with the text of the request.
struct Fixture {
    folder: tempfile::TempDir,
    task: tokio::task::JoinHandle<()>,
    _serving: Serving,
}

impl Fixture {
    fn new(read_timeout: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (server, calls) = Server::bind(&socket_path(folder.path())).unwrap();
        let serving = server.with_read_timeout(read_timeout).start().unwrap();
        let task = tokio::spawn(echo(calls));
        Self { folder, task, _serving: serving }
    }

    fn path(&self) -> PathBuf {
        socket_path(self.folder.path())
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.path()).await.unwrap()
    }

    async fn ask(&self, request: Request) -> Result<Answer, ClientError> {
        let path = self.path();
        tokio::task::spawn_blocking(move || ask(&path, &request, SOON)).await.unwrap()
    }
}

/// As when a start fails after it: an error is to be said, not waited for.
#[test]
fn it_ends_while_nobody_listens_to_its_calls_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = socket_path(folder.path());
    let (server, _calls) = Server::bind(&path).unwrap();
    let serving = server.start().unwrap();
    let (done, waits) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        drop(serving);
        done.send(()).unwrap();
    });
    waits.recv_timeout(SOON).unwrap();
    assert!(!path.exists());
}

/// Whoever asks has connected, been read and understood though the loop never rested: it is asked for the answer alone.
#[test]
fn it_is_served_while_the_loop_is_busy() {
    let folder = tempfile::tempdir().unwrap();
    let path = socket_path(folder.path());
    let (server, mut calls) = Server::bind(&path).unwrap();
    let serving = server.start().unwrap();
    let client = std::thread::spawn({
        let path = path.clone();
        move || ask(&path, &Request::Version, SOON)
    });
    // No runtime turns on this thread.
    let call = calls.blocking_recv().unwrap();
    assert!(matches!(call.request, Request::Version));
    call.reply.send(Answer::refused("busy")).unwrap();
    assert!(client.join().unwrap().is_ok() && path.exists());
    drop(calls);
    drop(serving);
    assert!(!path.exists(), "it ends with its last caller, and takes the socket away");
}

async fn echo(mut calls: mpsc::Receiver<Call>) {
    while let Some(call) = calls.recv().await {
        let answer = match call.request {
            Request::Show { what: What::Ports, .. } => Answer::Ports(Vec::new()),
            Request::Down { .. } => continue, // dropped without an answer
            Request::Trace { tunnel, on } => Answer::Traced { tunnel, on },
            other @ (Request::Show { .. }
            | Request::Up { .. }
            | Request::Clear { .. }
            | Request::Reload
            | Request::Version) => Answer::refused(format!("{other:?}")),
        };
        let _ = call.reply.send(answer);
    }
}

async fn exchange(stream: &mut UnixStream, line: &[u8]) -> String {
    stream.write_all(line).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\n") {
        let byte = tokio::time::timeout(SOON, stream.read_u8()).await.expect("no answer in time");
        let Ok(byte) = byte else { break };
        answer.push(byte);
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn asks_and_answers() {
    let fixture = Fixture::new(SOON);
    let request = Request::Show { what: What::Ports, name: None };
    assert_eq!(fixture.ask(request).await.unwrap(), Answer::Ports(Vec::new()));
    let Answer::Error(refusal) = fixture.ask(Request::Version).await.unwrap() else { panic!("not refused") };
    assert_eq!(refusal.message, "Version");
}

/// One connection may carry many requests, and what is not understood does not end it.
#[tokio::test]
async fn unknown_requests_are_answered() {
    let fixture = Fixture::new(SOON);
    let mut stream = fixture.connect().await;
    for (line, part) in [
        (&b"{\"request\":\"explode\"}\n"[..], "unknown variant `explode`"),
        (b"nonsense\n", "not understood"),
        (b"\n", "not understood"),
        (b"\xff\xfe\n", "not understood"),
        (b"{\"request\":\"version\"}\n", "Version"),
        (b"{\"request\":\"show\",\"what\":\"keys\"}\n", "unknown variant `keys`"),
        (b"{\"request\":\"up\",\"tunnel\":\"t\"}\n", "missing field `timeout_ms`"),
        (b"{\"request\":\"show\",\"what\":\"sas\",\"psk\":1}\n", "unknown field `psk`"),
    ] {
        let answer = exchange(&mut stream, line).await;
        assert!(answer.starts_with("{\"answer\":\"error\""), "{answer}");
        assert!(answer.contains(part), "{part}: {answer}");
    }
}

#[tokio::test]
async fn long_requests_are_refused_and_end() {
    let fixture = Fixture::new(SOON);
    let mut stream = fixture.connect().await;
    let answer = exchange(&mut stream, &vec![b'x'; MAX_REQUEST + 1]).await;
    assert!(answer.contains("longer than 65536 bytes"), "{answer}");
    // Closed, whether by an orderly end or since bytes were left unread.
    let end = tokio::time::timeout(SOON, stream.read_u8()).await.expect("must be closed");
    assert!(end.is_err());
    fixture.ask(Request::Version).await.unwrap();
}

/// A silent client is closed and holds nobody up.
#[tokio::test]
async fn silent_clients_are_closed() {
    let fixture = Fixture::new(Duration::from_millis(20));
    let mut silent = fixture.connect().await;
    let mut half = fixture.connect().await;
    half.write_all(b"{\"requ").await.unwrap();
    for stream in [&mut silent, &mut half] {
        let end = tokio::time::timeout(SOON, stream.read_u8()).await.expect("must be closed");
        assert!(end.is_err());
    }
}

#[tokio::test]
async fn many_clients_at_once_and_no_more() {
    let fixture = Fixture::new(SOON);
    let mut streams = Vec::new();
    for _ in 0..server::MAX_CLIENTS {
        let mut stream = fixture.connect().await;
        // An answer proves that this client is being served.
        assert!(exchange(&mut stream, b"{\"request\":\"version\"}\n").await.contains("Version"));
        streams.push(stream);
    }
    let mut one_more = fixture.connect().await;
    let mut answer = String::new();
    one_more.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("32 clients are being served"), "{answer}");
    for stream in &mut streams {
        assert!(exchange(stream, b"{\"request\":\"version\"}\n").await.contains("Version"));
    }
}

#[tokio::test]
async fn a_call_without_an_answer_is_an_error() {
    let fixture = Fixture::new(SOON);
    let request = Request::Down { tunnel: "t".into(), timeout_ms: 0 };
    let Answer::Error(refusal) = fixture.ask(request).await.unwrap() else { panic!("not refused") };
    assert!(refusal.message.contains("gave up the request"));
}

/// Only the owner may use the socket; a living one is not replaced, a dead one is, a file is never.
#[tokio::test]
async fn the_socket_file() {
    let fixture = Fixture::new(SOON);
    let mode = std::fs::metadata(fixture.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(Server::bind(&fixture.path()).unwrap_err().to_string().contains("another ravelin-control"));
    fixture.ask(Request::Version).await.expect("the first one still serves");

    let dead = fixture.folder.path().join("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    assert!(dead.exists() && !listens(&dead));
    let (server, _calls) = Server::bind(&dead).unwrap();
    assert!(listens(&dead));
    drop(server);
    assert!(!dead.exists(), "removed on drop");

    let file = fixture.folder.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    assert!(Server::bind(&file).is_err());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
}

#[tokio::test]
async fn the_server_ends_with_its_receiver() {
    let fixture = Fixture::new(SOON);
    fixture.task.abort();
    let path = fixture.path();
    let gone = async {
        while path.exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, gone).await.expect("the socket must go");
}

/// Each failure to reach the process says what to do.
#[test]
fn failures_name_the_cure() {
    let folder = tempfile::tempdir().unwrap();
    let none = socket_path(folder.path());
    let error = ask(&none, &Request::Version, SOON).unwrap_err();
    assert!(error.unreachable());
    let text = error.to_string();
    assert!(text.contains(&none.display().to_string()) && text.contains("start it"), "{text}");
    drop(std::os::unix::net::UnixListener::bind(&none).unwrap());
    let text = ask(&none, &Request::Version, SOON).unwrap_err().to_string();
    assert!(text.contains("a killed process left behind"), "{text}");
}

/// What is no answer is said, not shown.
#[test]
fn a_strange_server_is_reported() {
    use std::io::{Read, Write};
    let folder = tempfile::tempdir().unwrap();
    let path = socket_path(folder.path());
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let server = std::thread::spawn(move || {
        for answer in [&b"{\"answer\":\"new\"}\n"[..], b""] {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_to_end(&mut Vec::new()).unwrap();
            stream.write_all(answer).unwrap();
        }
    });
    let error = ask(&path, &Request::Version, SOON).unwrap_err();
    assert!(matches!(error, ClientError::NotUnderstood(_)), "{error}");
    assert!(matches!(ask(&path, &Request::Version, SOON).unwrap_err(), ClientError::Closed));
    server.join().unwrap();
}

#[test]
fn instances_are_named_by_their_run_directory() {
    assert_eq!(instance(Path::new("/run/ravelin")), "ravelin");
    assert_eq!(instance(Path::new("/run/ravelin-b/")), "ravelin-b");
    assert_eq!(instance(Path::new("/")), "ravelin");
}

/// The lines on the socket; a change here needs a new [`VERSION`].
#[test]
fn requests_on_the_wire() {
    let line = |request: &Request| serde_json::to_string(request).unwrap();
    assert_eq!(line(&Request::Version), r#"{"request":"version"}"#);
    assert_eq!(line(&Request::Reload), r#"{"request":"reload"}"#);
    assert_eq!(line(&Request::Show { what: What::Sas, name: None }), r#"{"request":"show","what":"sas"}"#);
    let up = Request::Up { tunnel: "t".into(), timeout_ms: 5 };
    assert_eq!(line(&up), r#"{"request":"up","tunnel":"t","timeout_ms":5}"#);
    let answer = Answer::Outcome(Outcome {
        tunnel: "t".into(),
        done: true,
        state: TunnelState::IkeOnly,
        detail: String::new(),
    });
    assert_eq!(
        serde_json::to_string(&answer).unwrap(),
        r#"{"answer":"outcome","content":{"tunnel":"t","done":true,"state":"ike-only","detail":""}}"#
    );
    for state in [TunnelState::Down, TunnelState::IkeOnly, TunnelState::Retrying] {
        assert_eq!(serde_json::to_string(&state).unwrap(), format!("\"{}\"", state.name()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_line_is_a_request_or_an_error(line in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = serde_json::from_slice::<Request>(&line);
    }
}
