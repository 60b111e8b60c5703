//! EAP as server, which is IKE's responder (RFC 3748 §4, §5.3).
//!
//! Decides: which method is offered, whether the user has proven itself. Reads: packets of a stranger. Never: offers a
//! method twice, tells an unknown user from a wrong password, gives a second try.

use super::mschapv2::{Serving, Verdict};
use super::packet::{self, Packet};
use super::tls::{self, Tls, Turn};
use super::{MAX_NAME, MAX_ROUNDS, Proof, Proven, Step, md5};
use crate::cert::Certificate;
use crate::config::{EapMethod, EapServer, Secret};
use crate::crypto::Wiped;
use crate::payload::Id;
use rand_core::Rng;
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Server {
    config: Arc<EapServer>,
    /// Not offered yet, in order of preference.
    methods: Vec<EapMethod>,
    /// Of our last request.
    id: u8,
    rounds: u8,
    /// Seconds since 1970, when it began.
    now: u64,
    /// By its own word.
    user: String,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Identity,
    Md5([u8; md5::CHALLENGE]),
    /// `begun`: the client did answer it, so it is too late to refuse it.
    MsChapV2 {
        run: Serving,
        begun: bool,
    },
    /// `begun`: as above.
    Tls {
        run: Box<Tls>,
        begun: bool,
    },
    /// The client is being told; why.
    Refused(String),
    Over,
}

impl Server {
    /// With the first request. `ike_id`: as whom the client began IKE_AUTH.
    pub(crate) fn begin(config: Arc<EapServer>, ike_id: String, now: u64, rng: &mut dyn Rng) -> (Self, Step) {
        let mut id = [0];
        rng.fill_bytes(&mut id);
        let methods = config.methods.clone();
        let ask = config.ask_identity;
        let mut server =
            Self { config, methods, id: id[0], rounds: 0, now, user: ike_id, stage: Stage::Identity };
        let first = if ask { server.request(packet::IDENTITY, b"") } else { server.offer(|_| true, rng) };
        (server, first)
    }

    /// What the client answered.
    pub(crate) fn on(&mut self, bytes: &[u8], rng: &mut dyn Rng) -> Step {
        self.rounds = self.rounds.saturating_add(1);
        if self.rounds > MAX_ROUNDS {
            return self.refuse("too many rounds");
        }
        let Some(packet) = Packet::parse(bytes) else { return self.refuse("a malformed packet") };
        let Some(kind) = packet.kind.filter(|_| packet.code == packet::RESPONSE && packet.id == self.id)
        else {
            return self.refuse("a packet that answers nothing");
        };
        match (core::mem::replace(&mut self.stage, Stage::Over), kind) {
            (Stage::Identity, packet::IDENTITY) => match name(packet.data) {
                Some(user) => {
                    self.user = user;
                    self.offer(|_| true, rng)
                }
                None => self.refuse("a malformed identity"),
            },
            (Stage::Refused(why), _) => self.refuse(&why),
            (
                Stage::Md5(_) | Stage::MsChapV2 { begun: false, .. } | Stage::Tls { begun: false, .. },
                packet::NAK,
            ) => self.offer(|method| packet.data.contains(&number(method)), rng),
            (Stage::Md5(challenge), packet::MD5) => self.judge_md5(&challenge, packet),
            (Stage::MsChapV2 { run, .. }, packet::MSCHAPV2) => self.mschapv2(run, packet),
            (Stage::Tls { run, .. }, packet::TLS) => self.tls(run, packet),
            _ => self.refuse("an answer of another kind"),
        }
    }

    /// The next method of ours that the client can.
    fn offer(&mut self, can: impl Fn(EapMethod) -> bool, rng: &mut dyn Rng) -> Step {
        let Some(at) = self.methods.iter().position(|method| can(*method)) else {
            return self.refuse("no method that both sides can");
        };
        // What the client refused or passed over is not offered again.
        let method = self.methods.remove(at);
        match method {
            EapMethod::Tls => {
                let run = self.config.tls.as_ref().and_then(|config| Tls::server(config, self.now));
                let Some(run) = run else { return self.refuse("TLS cannot begin") };
                self.stage = Stage::Tls { run: Box::new(run), begun: false };
                self.request(packet::TLS, &tls::start())
            }
            EapMethod::Md5 => {
                let mut challenge = [0; md5::CHALLENGE];
                rng.fill_bytes(&mut challenge);
                self.stage = Stage::Md5(challenge);
                self.request(packet::MD5, &md5::challenge(&challenge, "ravelin"))
            }
            EapMethod::MsChapV2 => {
                let (run, data) = Serving::begin(self.id.wrapping_add(1), rng);
                self.stage = Stage::MsChapV2 { run, begun: false };
                self.request(packet::MSCHAPV2, &data)
            }
        }
    }

    fn judge_md5(&mut self, challenge: &[u8], packet: Packet<'_>) -> Step {
        let known = self.password(&self.user);
        let secret = known.as_ref().map_or(b"".as_slice(), Secret::expose);
        if md5::verify(packet.id, secret, challenge, packet.data) && known.is_some() {
            return self.done(self.user.clone(), None, Proof::Itself);
        }
        self.refuse(&format!("{} does not know the password, or is no user here", self.user))
    }

    fn mschapv2(&mut self, mut run: Serving, packet: Packet<'_>) -> Step {
        let id = self.id.wrapping_add(1);
        match run.on(id, packet.data, |user| self.password(user)) {
            Verdict::Ask(data) => {
                self.stage = Stage::MsChapV2 { run, begun: true };
                self.request(packet::MSCHAPV2, &data)
            }
            Verdict::Proven(user, msk) => self.done(user, Some(msk), Proof::Itself),
            // Without the method's own words, which would only ask for another try.
            Verdict::Refused(why) => self.refuse(&why),
        }
    }

    fn tls(&mut self, mut run: Box<Tls>, packet: Packet<'_>) -> Step {
        match run.on(packet.data) {
            Turn::Say(data) => {
                self.stage = Stage::Tls { run, begun: true };
                self.request(packet::TLS, &data)
            }
            Turn::Alert(data, why) => {
                self.stage = Stage::Refused(why);
                self.request(packet::TLS, &data)
            }
            Turn::Proven(_, msk) => match run.path() {
                Some(path) => {
                    let user = path.first().map(|own| self.who(own)).unwrap_or_default();
                    self.done(user, Some(msk), Proof::Path { trust: run.trust(), path })
                }
                None => self.refuse("the client showed no certificate"),
            },
            Turn::Failed(why) => self.refuse(&why),
        }
    }

    /// By the name that it claimed, if its certificate has that, as that spells it; else by the first that it has.
    fn who(&self, certificate: &Certificate) -> String {
        if let Some(own) = certificate.spelling(&Id::user(&self.user)) {
            return own;
        }
        let subject = certificate.subject();
        let names = certificate.alternative_names();
        if subject.is_empty() { names.into_iter().next().unwrap_or_default() } else { subject.to_string() }
    }

    fn password(&self, user: &str) -> Option<Secret> {
        self.config.users.get(user).cloned()
    }

    fn request(&mut self, kind: u8, data: &[u8]) -> Step {
        self.id = self.id.wrapping_add(1);
        Step::Send(packet::write(packet::REQUEST, self.id, kind, data))
    }

    fn done(&self, user: String, msk: Option<Wiped>, by: Proof) -> Step {
        Step::Done(Proven { say: Some(packet::verdict(packet::SUCCESS, self.id)), msk, user, by })
    }

    fn refuse(&mut self, why: &str) -> Step {
        self.stage = Stage::Over;
        Step::Failed { say: Some(packet::verdict(packet::FAILURE, self.id)), why: format!("EAP: {why}") }
    }
}

fn name(data: &[u8]) -> Option<String> {
    let text = core::str::from_utf8(data).ok()?;
    let lawful = !text.is_empty() && text.len() <= MAX_NAME && !text.chars().any(char::is_control);
    lawful.then(|| text.to_owned())
}

pub(super) const fn number(method: EapMethod) -> u8 {
    match method {
        EapMethod::Md5 => packet::MD5,
        EapMethod::MsChapV2 => packet::MSCHAPV2,
        EapMethod::Tls => packet::TLS,
    }
}
