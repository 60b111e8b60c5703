//! strongSwan's control socket (its VICI protocol, version 1): requests, their answers, and events until the answer.
//!
//! Decides: nothing. Never: waits longer than [`PATIENCE`] for anything, believes a length beyond [`LONGEST`].

use anyhow::{Context, bail, ensure};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);
/// What the daemon itself takes.
const LONGEST: usize = 512 * 1024;

/// Kinds of packets.
const REQUEST: u8 = 0;
const RESPONSE: u8 = 1;
const REGISTER: u8 = 3;
const CONFIRM: u8 = 5;
const EVENT: u8 = 7;

/// Elements of a message.
const SECTION_START: u8 = 1;
const SECTION_END: u8 = 2;
const KEY_VALUE: u8 = 3;
const LIST_START: u8 = 4;
const LIST_ITEM: u8 = 5;
const LIST_END: u8 = 6;

/// Values by their paths, as in `ikesas.total`.
pub(super) type Message = Vec<(String, String)>;

#[derive(Debug)]
pub(super) struct Vici(UnixStream);

impl Vici {
    pub(super) fn connect(path: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(path).with_context(|| path.display().to_string())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(stream))
    }

    /// Its answer; an error where it says that it failed.
    pub(super) fn request(&mut self, command: &str, arguments: &[(&str, &str)]) -> anyhow::Result<Message> {
        self.events(command, arguments, |_| {})
    }

    /// The same; events that come before the answer are given to `each`.
    pub(super) fn events(
        &mut self,
        command: &str,
        arguments: &[(&str, &str)],
        mut each: impl FnMut(&Message),
    ) -> anyhow::Result<Message> {
        self.put(REQUEST, command, arguments)?;
        loop {
            let (kind, body) = self.get()?;
            let message = match kind {
                EVENT => body.split_first().and_then(|(&name, rest)| rest.get(usize::from(name)..)),
                RESPONSE => Some(&body[..]),
                other => bail!("strongSwan answers {command} by a packet of kind {other}"),
            };
            let message = message.and_then(parse).context("strongSwan's answer is not understood")?;
            if kind == EVENT {
                each(&message);
                continue;
            }
            let said = |key| message.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
            ensure!(said("success") != Some("no"), "{command}: {}", said("errmsg").unwrap_or("failed"));
            return Ok(message);
        }
    }

    pub(super) fn register(&mut self, event: &str) -> anyhow::Result<()> {
        self.put(REGISTER, event, &[])?;
        let (kind, _) = self.get()?;
        ensure!(kind == CONFIRM, "strongSwan has no event {event}");
        Ok(())
    }

    fn put(&mut self, kind: u8, name: &str, arguments: &[(&str, &str)]) -> anyhow::Result<()> {
        let mut body = vec![kind, u8::try_from(name.len())?];
        body.extend(name.as_bytes());
        for (key, value) in arguments {
            body.extend([KEY_VALUE, u8::try_from(key.len())?]);
            body.extend(key.as_bytes());
            body.extend(u16::try_from(value.len())?.to_be_bytes());
            body.extend(value.as_bytes());
        }
        let length = u32::try_from(body.len())?.to_be_bytes();
        Ok(self.0.write_all(&[&length[..], &body].concat())?)
    }

    fn get(&mut self) -> anyhow::Result<(u8, Vec<u8>)> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).context("strongSwan does not answer")?;
        let length = usize::try_from(u32::from_be_bytes(length))?;
        ensure!((1..=LONGEST).contains(&length), "strongSwan sends a packet of {length} bytes");
        let mut packet = vec![0; length];
        self.0.read_exact(&mut packet).context("strongSwan ended in the middle of its answer")?;
        let kind = packet.remove(0);
        Ok((kind, packet))
    }
}

/// `None`: cut off, or no message.
fn parse(mut rest: &[u8]) -> Option<Message> {
    let (mut out, mut path) = (Vec::new(), Vec::<String>::new());
    let at = |path: &[String], key: &str| {
        path.iter().map(String::as_str).chain([key]).collect::<Vec<_>>().join(".")
    };
    while let Some((kind, after)) = rest.split_first() {
        rest = after;
        match *kind {
            SECTION_START | LIST_START => path.push(short(&mut rest)?),
            SECTION_END | LIST_END => drop(path.pop()?),
            KEY_VALUE => {
                let key = short(&mut rest)?;
                out.push((at(&path, &key), long(&mut rest)?));
            }
            LIST_ITEM => out.push((path.join("."), long(&mut rest)?)),
            _ => return None,
        }
    }
    path.is_empty().then_some(out)
}

fn short(rest: &mut &[u8]) -> Option<String> {
    let (&length, after) = rest.split_first()?;
    *rest = after;
    take(rest, length.into())
}

fn long(rest: &mut &[u8]) -> Option<String> {
    let (length, after) = rest.split_first_chunk()?;
    *rest = after;
    take(rest, u16::from_be_bytes(*length).into())
}

fn take(rest: &mut &[u8], length: usize) -> Option<String> {
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn whole() -> Vec<u8> {
        let mut all = vec![SECTION_START, 6];
        all.extend(b"ikesas");
        all.extend([KEY_VALUE, 5]);
        all.extend(b"total\0\x03100");
        all.push(SECTION_END);
        all.extend([LIST_START, 2]);
        all.extend(b"ts");
        all.extend([LIST_ITEM, 0, 1, b'x', LIST_END]);
        all
    }

    #[test]
    fn values_are_found_by_their_paths_and_cut_messages_are_refused() {
        let all = whole();
        let want = [("ikesas.total", "100"), ("ts", "x")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(parse(&all).unwrap(), want);
        // Between two elements of the outermost level a cut leaves a whole message.
        let section = 8 + 2 + 5 + 2 + 3 + 1;
        for length in (1..all.len()).filter(|l| *l != section) {
            assert!(parse(&all[..length]).is_none(), "{length}");
        }
        assert!(parse(&[9]).is_none() && parse(&[SECTION_END]).is_none());
    }

    /// What the daemon sends to one request, and what comes of it.
    fn asked(answers: &[(u8, &[u8])]) -> (anyhow::Result<Message>, usize) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let packets: Vec<u8> = answers
            .iter()
            .flat_map(|(kind, body)| {
                let length = u32::try_from(body.len() + 1).unwrap().to_be_bytes();
                [&length[..], &[*kind], body].concat()
            })
            .collect();
        let daemon = thread::spawn(move || {
            let mut request = [0; 4 + 2 + 5 + 2 + 1 + 2 + 1];
            theirs.read_exact(&mut request).unwrap();
            assert_eq!(&request, b"\0\0\0\x0d\0\x05stats\x03\x01k\0\x01v");
            theirs.write_all(&packets).unwrap();
        });
        let mut events = 0;
        let answer = Vici(ours).events("stats", &[("k", "v")], |_| events += 1);
        daemon.join().unwrap();
        (answer, events)
    }

    #[test]
    fn events_come_before_the_answer_and_failure_is_an_error() {
        let event = [b"\x02ev", &whole()[..]].concat();
        let (answer, events) = asked(&[(EVENT, &event), (EVENT, &event), (RESPONSE, &whole())]);
        assert_eq!((answer.unwrap().len(), events), (2, 2));
        let no = b"\x03\x07success\0\x02no\x03\x06errmsg\0\x04busy";
        assert_eq!(asked(&[(RESPONSE, no)]).0.unwrap_err().to_string(), "stats: busy");
        assert!(asked(&[(2, b"")]).0.is_err(), "an unknown command");
        assert!(asked(&[]).0.is_err(), "it is gone");
    }
}
