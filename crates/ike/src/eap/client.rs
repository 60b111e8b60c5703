//! EAP as client, which is IKE's initiator (RFC 3748 §4, §5.3).
//!
//! Decides: whether a method that the server wants is one of ours, whether the server may say "success".
//! Reads: packets of a server that has proven itself to IKE. Never: begins a second method after it answered one.

use super::mschapv2::{Asked, Reply};
use super::packet::{self, Packet};
use super::server::number;
use super::tls::{Tls, Turn};
use super::{MAX_ROUNDS, Proof, Proven, Step, md5};
use crate::config::{EapClient, EapMethod};
use crate::crypto::Wiped;
use rand_core::Rng;
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Client {
    config: Arc<EapClient>,
    rounds: u8,
    /// Seconds since 1970, when it began.
    now: u64,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Begin,
    MsChapV2(Asked),
    Tls(Box<Tls>),
    /// Only "success" may come now, or "failure".
    Proven(Option<Wiped>, Proof),
    /// The server said no, and why.
    Refused(String),
    Over,
}

impl Client {
    pub(crate) const fn new(config: Arc<EapClient>, now: u64) -> Self {
        Self { config, rounds: 0, now, stage: Stage::Begin }
    }

    /// What the server asks or says.
    pub(crate) fn on(&mut self, bytes: &[u8], rng: &mut dyn Rng) -> Step {
        self.rounds = self.rounds.saturating_add(1);
        if self.rounds > MAX_ROUNDS {
            return failed("too many rounds");
        }
        let Some(packet) = Packet::parse(bytes) else { return failed("a malformed packet") };
        let stage = core::mem::replace(&mut self.stage, Stage::Over);
        match (packet.code, packet.kind) {
            (packet::SUCCESS, _) => match stage {
                Stage::Proven(msk, by) => {
                    Step::Done(Proven { say: None, msk, user: self.config.user.clone(), by })
                }
                Stage::Begin | Stage::MsChapV2(_) | Stage::Tls(_) | Stage::Refused(_) | Stage::Over => {
                    failed("success that nobody has proven")
                }
            },
            (packet::FAILURE, _) => match stage {
                Stage::Refused(why) => failed(&why),
                Stage::Begin | Stage::MsChapV2(_) | Stage::Tls(_) | Stage::Proven(..) | Stage::Over => {
                    failed("the server refused us")
                }
            },
            (packet::REQUEST, Some(kind)) => self.on_request(stage, kind, packet, rng),
            _ => failed("a packet that is no request"),
        }
    }

    fn on_request(&mut self, stage: Stage, kind: u8, packet: Packet<'_>, rng: &mut dyn Rng) -> Step {
        let config = Arc::clone(&self.config);
        match (stage, kind) {
            // RFC 3748 §5.2: to be shown to somebody; there is nobody.
            (stage, packet::NOTIFICATION) => {
                self.stage = stage;
                respond(packet, packet::NOTIFICATION, b"")
            }
            (Stage::Begin, packet::IDENTITY) => {
                self.stage = Stage::Begin;
                respond(packet, packet::IDENTITY, config.user.as_bytes())
            }
            (Stage::Begin, packet::MD5) if self.can(EapMethod::Md5) => {
                let Some(challenge) = md5::value(packet.data) else { return failed("a malformed challenge") };
                let data = md5::respond(packet.id, config.password.expose(), challenge, &config.user);
                self.stage = Stage::Proven(None, Proof::Itself);
                respond(packet, packet::MD5, &data)
            }
            (Stage::Begin, packet::MSCHAPV2) if self.can(EapMethod::MsChapV2) => {
                self.mschapv2(Asked::Nothing, packet, rng)
            }
            (Stage::Begin, packet::TLS) if self.can(EapMethod::Tls) => {
                let run = config.tls.as_ref().and_then(|config| Tls::client(config, self.now));
                let Some(run) = run else { return failed("TLS cannot begin") };
                self.tls(Box::new(run), packet)
            }
            (Stage::Tls(run), packet::TLS) => self.tls(run, packet),
            (Stage::MsChapV2(run), packet::MSCHAPV2) => self.mschapv2(run, packet, rng),
            (Stage::Begin, _) => {
                self.stage = Stage::Begin;
                // RFC 3748 §5.3.1; expanded types get the same answer (§5.3.2 leaves it to those who know such).
                let ours: Vec<u8> = config.methods.iter().map(|method| number(*method)).collect();
                respond(packet, packet::NAK, &ours)
            }
            _ => failed("a request of another kind"),
        }
    }

    fn mschapv2(&mut self, mut run: Asked, packet: Packet<'_>, rng: &mut dyn Rng) -> Step {
        match run.on(packet.data, &self.config.user, &self.config.password, rng) {
            Reply::Say(data) => {
                self.stage = Stage::MsChapV2(run);
                respond(packet, packet::MSCHAPV2, &data)
            }
            Reply::Proven(data, msk) => {
                self.stage = Stage::Proven(Some(msk), Proof::Itself);
                respond(packet, packet::MSCHAPV2, &data)
            }
            Reply::Failed(data, why) => {
                self.stage = Stage::Refused(why);
                respond(packet, packet::MSCHAPV2, &data)
            }
            Reply::Refused(why) => failed(&why),
        }
    }

    fn tls(&mut self, mut run: Box<Tls>, packet: Packet<'_>) -> Step {
        let (stage, data) = match run.on(packet.data) {
            Turn::Say(data) => (Stage::Tls(run), data),
            Turn::Alert(data, why) => (Stage::Refused(why), data),
            Turn::Proven(data, msk) => match run.path() {
                Some(path) => (Stage::Proven(Some(msk), Proof::Path { trust: run.trust(), path }), data),
                None => return failed("the server's certificates lead to no CA"),
            },
            Turn::Failed(why) => return failed(&why),
        };
        self.stage = stage;
        respond(packet, packet::TLS, &data)
    }

    fn can(&self, method: EapMethod) -> bool {
        self.config.methods.contains(&method)
    }
}

fn respond(to: Packet<'_>, kind: u8, data: &[u8]) -> Step {
    Step::Send(packet::write(packet::RESPONSE, to.id, kind, data))
}

fn failed(why: &str) -> Step {
    Step::Failed { say: None, why: format!("EAP: {why}") }
}
