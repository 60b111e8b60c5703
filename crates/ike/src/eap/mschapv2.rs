//! EAP-MSCHAPv2 (draft-kamath-pppext-eap-mschapv2): both sides prove that they know the password, and make a key.
//!
//! Decides: whether each of the method's packets is what it must be. Reads: type-data of packets. Writes: type-data.
//! Never: asks for a second try or a new password.

use super::MAX_NAME;
use super::mschap::{self, CHALLENGE, NT_RESPONSE, PasswordHash, Run};
use crate::config::Secret;
use crate::crypto::{Wiped, prf};
use crate::payload::Reader;
use rand_core::Rng;

const OP_CHALLENGE: u8 = 1;
const OP_RESPONSE: u8 = 2;
const OP_SUCCESS: u8 = 3;
const OP_FAILURE: u8 = 4;

/// Behind the four bytes of the method's own header.
fn framed(op: u8, id: u8, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    let len = u16::try_from(4 + body.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut out = vec![op, id, len[0], len[1]];
    out.extend_from_slice(&body);
    out
}

/// The method's own number and what follows its header.
fn unframed(data: &[u8]) -> Option<(u8, u8, &[u8])> {
    let mut r = Reader::new(data, "MSCHAPv2");
    let (op, id, len) = (r.u8().ok()?, r.u8().ok()?, r.u16().ok()?);
    (usize::from(len) == data.len()).then(|| (op, id, r.rest()))
}

fn name(bytes: &[u8]) -> Option<String> {
    let text = core::str::from_utf8(bytes).ok()?.trim_end_matches('\0');
    (!text.is_empty() && text.len() <= MAX_NAME && !text.chars().any(char::is_control))
        .then(|| text.to_owned())
}

/// As server.
#[derive(Debug)]
pub(super) struct Serving {
    challenge: [u8; CHALLENGE],
    /// After the response was right.
    proven: Option<(String, Wiped)>,
}

/// What the server does next.
#[derive(Debug)]
pub(super) enum Verdict {
    /// This type-data goes out.
    Ask(Vec<u8>),
    Proven(String, Wiped),
    Refused(String),
}

impl Serving {
    /// With the type-data of its first request.
    pub(super) fn begin(id: u8, rng: &mut dyn Rng) -> (Self, Vec<u8>) {
        let mut challenge = [0; CHALLENGE];
        rng.fill_bytes(&mut challenge);
        let size = [u8::try_from(CHALLENGE).unwrap_or_default()];
        let data = framed(OP_CHALLENGE, id, &[&size, &challenge, b"ravelin"]);
        (Self { challenge, proven: None }, data)
    }

    pub(super) fn on(&mut self, id: u8, data: &[u8], password: impl Fn(&str) -> Option<Secret>) -> Verdict {
        if let Some((user, msk)) = self.proven.take() {
            // One byte: it agrees that we know the password too.
            return if data == [OP_SUCCESS] {
                Verdict::Proven(user, msk)
            } else {
                Verdict::Refused(format!("{user} did not agree that we know the password"))
            };
        }
        let Some((client_challenge, nt, user)) = response(data) else {
            return Verdict::Refused("a malformed response".to_owned());
        };
        let run = Run { server_challenge: &self.challenge, client_challenge: &client_challenge, user: &user };
        // A name that nobody has takes as long as a wrong password.
        let known = password(&user);
        let secret = known.as_ref().map_or(b"".as_slice(), Secret::expose);
        let Some(hash) = PasswordHash::of(secret) else {
            return Verdict::Refused(format!("the password of {user} is no text"));
        };
        let right = prf::equal(&run.nt_response(&hash), &nt) && known.is_some();
        if !right {
            return Verdict::Refused(format!("{user} does not know the password, or is no user here"));
        }
        let text = format!("S={} M=welcome", run.server_response(&hash, &nt));
        self.proven = Some((user, mschap::msk(&hash, &nt)));
        Verdict::Ask(framed(OP_SUCCESS, id, &[text.as_bytes()]))
    }
}

fn response(data: &[u8]) -> Option<([u8; CHALLENGE], [u8; NT_RESPONSE], String)> {
    let (op, _, body) = unframed(data)?;
    let mut r = Reader::new(body, "MSCHAPv2 response");
    if op != OP_RESPONSE || r.u8().ok()? != 49 {
        return None;
    }
    let challenge = r.array().ok()?;
    r.take(8).ok()?;
    let nt = r.array().ok()?;
    r.u8().ok()?;
    Some((challenge, nt, name(r.rest())?))
}

/// As client.
#[derive(Debug)]
pub(super) enum Asked {
    Nothing,
    /// We answered the challenge: what the server must say now, and the key.
    Answered {
        expected: String,
        msk: Wiped,
    },
}

/// What the client answers.
#[derive(Debug)]
pub(super) enum Reply {
    Say(Vec<u8>),
    /// The server has proven itself too; with the type-data of our last word.
    Proven(Vec<u8>, Wiped),
    Refused(String),
    /// The server said no; with the type-data of our last word.
    Failed(Vec<u8>, String),
}

impl Asked {
    pub(super) fn on(&mut self, data: &[u8], user: &str, password: &Secret, rng: &mut dyn Rng) -> Reply {
        let refused = |why: &str| Reply::Refused(why.to_owned());
        let Some((op, id, body)) = unframed(data) else { return refused("a malformed request") };
        match (op, core::mem::replace(self, Self::Nothing)) {
            (OP_CHALLENGE, Self::Nothing) => {
                self.answer(id, body, user, password, rng).unwrap_or_else(|| refused("a malformed challenge"))
            }
            (OP_SUCCESS, Self::Answered { expected, msk }) => {
                let said = body.strip_prefix(b"S=").and_then(|rest| rest.get(..expected.len()));
                if said.is_some_and(|said| prf::equal(&said.to_ascii_uppercase(), expected.as_bytes())) {
                    Reply::Proven(vec![OP_SUCCESS], msk)
                } else {
                    refused("the server does not know the password")
                }
            }
            (OP_FAILURE, _) => {
                let why = format!("the server refused: {}", String::from_utf8_lossy(body).escape_debug());
                Reply::Failed(vec![OP_FAILURE], why.chars().take(200).collect())
            }
            _ => refused("a request out of place"),
        }
    }

    fn answer(
        &mut self,
        id: u8,
        body: &[u8],
        user: &str,
        password: &Secret,
        rng: &mut dyn Rng,
    ) -> Option<Reply> {
        let mut r = Reader::new(body, "MSCHAPv2 challenge");
        if usize::from(r.u8().ok()?) != CHALLENGE {
            return None;
        }
        let server_challenge = r.array().ok()?;
        let mut client_challenge = [0; CHALLENGE];
        rng.fill_bytes(&mut client_challenge);
        let Some(hash) = PasswordHash::of(password.expose()) else {
            return Some(Reply::Refused("our password is no text".to_owned()));
        };
        let run = Run { server_challenge: &server_challenge, client_challenge: &client_challenge, user };
        let nt = run.nt_response(&hash);
        *self = Self::Answered { expected: run.server_response(&hash, &nt), msk: mschap::msk(&hash, &nt) };
        let body: [&[u8]; 6] = [&[49], &client_challenge, &[0; 8], &nt, &[0], user.as_bytes()];
        Some(Reply::Say(framed(OP_RESPONSE, id, &body)))
    }
}
