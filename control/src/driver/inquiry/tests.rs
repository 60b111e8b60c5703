//! Servers that do not help. Those that do, the lab has: openssl's responder, and lists over HTTP.

use super::*;
use ravelin_ike::config::Revocation;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn certificate() -> Certificate {
    let pem = include_bytes!("../../secrets/files/gateway.pem");
    Certificate::read_all(pem).unwrap().remove(0)
}

/// Answers everybody with the same; counts them.
async fn server(says: &'static [u8]) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (url, count) =
        (format!("http://{}/x", listener.local_addr().unwrap()), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = stream.read(&mut [0; 2048]).await;
            let _ = stream.write_all(says).await;
        }
    });
    (url, count)
}

fn trust(crl: &str, ocsp: &str) -> Arc<Trust> {
    Arc::new(Trust {
        authorities: vec![certificate()],
        crls: Arc::default(),
        revocation: Revocation { crl: When::Required, ocsp: When::Required },
        crl_urls: vec![crl.to_owned()],
        ocsp_url: Some(ocsp.to_owned()),
    })
}

#[tokio::test]
async fn nonsense_is_no_answer_and_is_not_asked_for_again_at_once() {
    let (url, count) = server(b"HTTP/1.0 200 OK\r\n\r\nnonsense").await;
    let (trust, cache) = (trust(&url, &url), Cache::default());
    for _ in 0..2 {
        let said = judge(&trust, &[certificate(), certificate()], &cache, || 1_800_000_000).await;
        let [Status { crl: Answer::Unknown(crl), ocsp: Answer::Unknown(ocsp) }] = said.as_slice() else {
            panic!("{said:?}")
        };
        assert!(crl.contains(&url) && ocsp.contains(&url), "{crl} {ocsp}");
    }
    // Each question of OCSP is a new one; the list was asked for once.
    assert_eq!(count.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn who_asks_for_the_same_list_waits_for_the_one_that_fetches_it() {
    let (url, count) = server(b"HTTP/1.0 200 OK\r\n\r\nnonsense").await;
    let (trust, cache) = (trust(&url, "http://127.0.0.1:9/"), Cache::default());
    let chain = [certificate(), certificate()];
    let ask = || judge(&trust, &chain, &cache, || 1_800_000_000);
    tokio::join!(ask(), ask(), ask(), ask(), ask(), ask());
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn only_so_many_wait() {
    // It takes connections and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (trust, mut inquiries) = (trust(&url, &url), Inquiries::new());
    let mut ask = |n| {
        inquiries.ask((
            RevocationToken { ike: n, question: 1 },
            Arc::clone(&trust),
            vec![certificate(), certificate()],
        ))
    };
    assert!((0..MAX_ASKED as u64).all(&mut ask));
    assert!(!ask(99));
    drop(listener);
    // The connections end, and with them the questions.
    let (_, answers) = inquiries.done().await;
    assert!(matches!(answers.as_slice(), [Status { crl: Answer::Unknown(_), ocsp: Answer::Unknown(_) }]));
}
