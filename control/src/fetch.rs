//! Files and answers by HTTP: CRLs and OCSP. As little of HTTP as these services need.
//!
//! Decides: what is an address, whether an answer is whole. Reads: answers of strangers, over connections that nobody
//! protects: what comes must prove itself by a signature. Never: follows a redirection, reads more than it is told to,
//! waits longer than it is told to, speaks TLS (RFC 5280 §8 says why not).

use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Lines before the body.
const MAX_HEAD: usize = 16 * 1024;
const MAX_URL: usize = 1024;

/// `http://host[:port]/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    /// As a look-up of names wants it.
    host: String,
    port: u16,
    /// As the request has them.
    authority: String,
    path: String,
}

impl Url {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("http://").filter(|_| text.len() <= MAX_URL)?;
        if !rest.bytes().all(|b| b.is_ascii_graphic()) {
            return None;
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        // A name and password before the host would be none of ours to send.
        if authority.contains('@') {
            return None;
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(v6) => {
                let (host, rest) = v6.split_once(']')?;
                (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let port = match port {
            Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().ok().filter(|port| *port != 0)?
            }
            Some(_) => return None,
            None => 80,
        };
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        (!host.is_empty()).then(|| Self {
            host: host.to_owned(),
            port,
            authority: authority.to_owned(),
            path,
        })
    }
}

/// What is sent with a POST.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Body<'a> {
    pub(crate) kind: &'a str,
    pub(crate) bytes: &'a [u8],
}

/// The body of the answer: at most `most` bytes, within `patience`. `Err`: a sentence for the operator.
pub(crate) async fn fetch(
    url: &str,
    send: Option<Body<'_>>,
    most: usize,
    patience: Duration,
) -> Result<Vec<u8>, String> {
    let parsed =
        Url::parse(url).ok_or_else(|| format!("{url}: not an address of the form http://host/path"))?;
    let answer = tokio::time::timeout(patience, exchange(&parsed, send, most));
    match answer.await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(why)) => Err(format!("{url}: {why}")),
        Err(_) => Err(format!("{url}: no answer within {} s", patience.as_secs())),
    }
}

async fn exchange(url: &Url, send: Option<Body<'_>>, most: usize) -> Result<Vec<u8>, String> {
    let text = |why: std::io::Error| why.to_string();
    let mut stream = TcpStream::connect((url.host.as_str(), url.port)).await.map_err(text)?;
    stream.write_all(&request(url, send)).await.map_err(text)?;
    let limit = MAX_HEAD + most;
    let (mut answer, mut chunk) = (Vec::new(), vec![0; 16 * 1024]);
    loop {
        let n = stream.read(&mut chunk).await.map_err(text)?;
        answer.extend_from_slice(chunk.get(..n).unwrap_or_default());
        if answer.len() > limit {
            return Err(format!("the answer is longer than {most} bytes"));
        }
        match read(&answer, n == 0, most)? {
            Some(body) => return Ok(body),
            None if n == 0 => return Err("the answer is cut short".to_owned()),
            None => {}
        }
    }
}

/// HTTP/1.0: the answer is neither in chunks nor does anything follow it.
fn request(url: &Url, send: Option<Body<'_>>) -> Vec<u8> {
    let Url { authority, path, .. } = url;
    let method = if send.is_some() { "POST" } else { "GET" };
    let mut out = format!("{method} {path} HTTP/1.0\r\nHost: {authority}\r\nConnection: close\r\n");
    if let Some(Body { kind, bytes }) = send {
        out += &format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", bytes.len());
    }
    out += "\r\n";
    let mut out = out.into_bytes();
    out.extend_from_slice(send.map_or(&[], |body| body.bytes));
    out
}

/// The body, once it is whole. `ended`: nothing more comes.
fn read(answer: &[u8], ended: bool, most: usize) -> Result<Option<Vec<u8>>, String> {
    let Some(at) = answer.windows(4).take(MAX_HEAD).position(|four| four == b"\r\n\r\n") else {
        let long = answer.len() > MAX_HEAD;
        return if long { Err("the head of the answer is too long".to_owned()) } else { Ok(None) };
    };
    let (head, body) = (answer.get(..at).unwrap_or_default(), answer.get(at + 4..).unwrap_or_default());
    let head = core::str::from_utf8(head).map_err(|_| "the head of the answer is no text".to_owned())?;
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    let code = status.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
    if code != Some("200") {
        let shown: String = status.chars().take(60).collect();
        return Err(format!("the server says {shown:?}"));
    }
    let mut length = None;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err("the answer comes in chunks, which was not asked for".to_owned());
        }
        if name.eq_ignore_ascii_case("content-length") {
            let n: usize = value.trim().parse().map_err(|_| "the answer's length is no number".to_owned())?;
            if length.replace(n).is_some_and(|before| before != n) {
                return Err("the answer has two lengths".to_owned());
            }
        }
    }
    if length.unwrap_or(body.len()) > most {
        return Err(format!("the answer is longer than {most} bytes"));
    }
    match length {
        Some(n) => Ok(body.get(..n).map(<[u8]>::to_vec)),
        None => Ok(ended.then(|| body.to_vec())),
    }
}

/// Any bytes as an answer, whole and cut, and as an address: nothing longer than was asked for, never a panic.
#[cfg(any(test, fuzzing))]
pub fn read_anything(bytes: &[u8]) {
    for ended in [false, true] {
        if let Ok(Some(body)) = read(bytes, ended, 100) {
            assert!(body.len() <= 100);
        }
    }
    if let Ok(text) = core::str::from_utf8(bytes)
        && let Some(url) = Url::parse(text)
    {
        let lines = request(&url, None).iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(lines, 4, "nobody writes lines of ours");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::net::TcpListener;

    #[test]
    fn addresses() {
        let parsed = |text: &str| Url::parse(text).map(|u| (u.host, u.port, u.authority, u.path));
        let want = |host: &str, port, authority: &str, path: &str| {
            Some((host.to_owned(), port, authority.to_owned(), path.to_owned()))
        };
        assert_eq!(parsed("http://crl.lab/a/b.crl"), want("crl.lab", 80, "crl.lab", "/a/b.crl"));
        assert_eq!(parsed("http://198.18.0.1:8080"), want("198.18.0.1", 8080, "198.18.0.1:8080", "/"));
        assert_eq!(
            parsed("http://[2001:db8::1]:81/x?y#z"),
            want("2001:db8::1", 81, "[2001:db8::1]:81", "/x?y")
        );
        assert_eq!(parsed("http://h?q"), want("h", 80, "h", "/?q"));
        for bad in [
            "https://crl.lab/",
            "http://",
            "http:///x",
            "http://a b/",
            "http://h:/",
            "http://h:0/",
            "http://h:99999/",
            "http://u:p@h/",
            "http://h/\r\nX: y",
            "http://[::1",
            "http://[::1]x/",
            "ldap://h/",
            "http://h:+1/",
        ] {
            assert_eq!(parsed(bad), None, "{bad}");
        }
    }

    /// A server that says this, to a client that asks for at most 10 bytes.
    async fn told(says: Vec<u8>) -> (Result<Vec<u8>, String>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut heard = vec![0; 1024];
            let n = stream.read(&mut heard).await.unwrap();
            heard.truncate(n);
            stream.write_all(&says).await.unwrap();
            heard
        });
        let body = Body { kind: "application/ocsp-request", bytes: b"hello" };
        let got = fetch(&format!("http://127.0.0.1:{port}/a"), Some(body), 10, Duration::from_secs(10)).await;
        (got, server.await.unwrap())
    }

    #[tokio::test]
    async fn answers() {
        let (got, heard) = told(b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 4\r\n\r\nbodymore".to_vec()).await;
        assert_eq!(got.unwrap(), b"body");
        let heard = String::from_utf8(heard).unwrap();
        assert!(heard.starts_with("POST /a HTTP/1.0\r\nHost: 127.0.0.1:"), "{heard}");
        assert!(heard.ends_with("Content-Type: application/ocsp-request\r\nContent-Length: 5\r\n\r\nhello"));
        let (got, _) = told(b"HTTP/1.0 200 OK\r\n\r\nbody".to_vec()).await;
        assert_eq!(got.unwrap(), b"body", "until the end");
        for (says, why) in [
            (&b"HTTP/1.0 404 Not Found\r\n\r\n"[..], "404"),
            (b"HTTP/1.1 301 Moved\r\nLocation: http://elsewhere/\r\n\r\n", "301"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n", "longer than 10"),
            (b"HTTP/1.1 200 OK\r\n\r\nelevenbytes", "longer than 10"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbod", "cut short"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 3\r\n\r\nbody", "two lengths"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "in chunks"),
            (b"SSH-2.0-OpenSSH\r\n\r\n", "SSH"),
            (b"", "cut short"),
        ] {
            let (got, _) = told(says.to_vec()).await;
            let got = got.unwrap_err();
            assert!(got.contains(why), "{why}: {got}");
        }
        let (got, _) = told(vec![b'x'; 40_000]).await;
        assert!(got.is_err());
    }

    #[tokio::test]
    async fn who_does_not_answer_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let got = fetch(&url, None, 10, Duration::from_millis(20)).await;
        assert!(got.unwrap_err().contains("no answer within"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn any_bytes_are_no_danger(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            read_anything(&bytes);
            read_anything(&[b"HTTP/1.1 200 OK\r\n", &bytes[..]].concat());
            read_anything(&[b"http://", &bytes[..]].concat());
        }
    }
}
