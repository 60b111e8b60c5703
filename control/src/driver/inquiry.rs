//! Asking whether a peer's certificates are revoked, where the lists of the configuration do not tell: CRLs by HTTP, OCSP
//! (RFC 6960).
//!
//! Decides: who is asked, how long an answer is kept. Reads: answers of strangers, which must be signed. Writes: its
//! cache. Never: keeps the loop waiting (all of it runs in tasks of its own), asks about certificates that no trusted CA
//! issued (the engine has judged the path before), holds more than its bounds.

mod cache;

use super::revocation::by_lists;
use crate::fetch::{Body, fetch};
use crate::metrics::Counter;
use cache::Cache;
use ravelin_ike::cert::{Certificate, ocsp};
use ravelin_ike::command::{Answer, Status};
use ravelin_ike::config::{Trust, When};
use ravelin_ike::event::RevocationToken;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc};

/// Peers that wait at one time; more get no answer.
const MAX_ASKED: usize = 64;
/// One question to one server.
const PATIENCE: Duration = Duration::from_secs(4);
/// All questions about one peer: the engine waits a little longer.
const ALL: Duration = Duration::from_secs(12);
/// Addresses that are tried for one certificate.
const MAX_ADDRESSES: usize = 3;

pub(super) type Done = (RevocationToken, Vec<Status>);
/// The path of certificates, and by which rules it is judged.
pub(super) type Question = (RevocationToken, Arc<Trust>, Vec<Certificate>);

/// What the engine asked, and what became of it.
#[derive(Debug)]
pub(super) struct Inquiries {
    sender: mpsc::Sender<Done>,
    receiver: mpsc::Receiver<Done>,
    places: Arc<Semaphore>,
    cache: Arc<Cache>,
}

impl Inquiries {
    pub(super) fn new() -> Self {
        let (sender, receiver) = mpsc::channel(MAX_ASKED);
        Self { sender, receiver, places: Arc::new(Semaphore::new(MAX_ASKED)), cache: Arc::default() }
    }

    /// Its answer comes by [`Self::done`]. False: too many wait, and there will be none.
    fn ask(&self, (token, trust, path): Question) -> bool {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return false };
        let (sender, cache) = (self.sender.clone(), Arc::clone(&self.cache));
        tokio::spawn(async move {
            let judged = tokio::time::timeout(ALL, judge(&trust, &path, &cache, super::revocation::now));
            // Silence is judged by the engine: by its rules it may refuse.
            let answers = judged.await.unwrap_or_default();
            drop(place);
            let _ = sender.send((token, answers)).await;
        });
        true
    }

    /// Safe to cancel.
    pub(super) async fn done(&mut self) -> Done {
        match self.receiver.recv().await {
            Some(done) => done,
            // Never: a sender is ours.
            None => std::future::pending().await,
        }
    }
}

impl super::Driver {
    /// What the engine wants to know of certificates goes out to whom it concerns.
    pub(super) fn ask_revocation(&mut self, now: Instant) {
        while let Some(question) = self.core.poll_question() {
            let token = question.0;
            if !self.inquiries.ask(question) {
                self.core.metrics.count(Counter::InquiriesFull);
                self.core.revocation(now, token, Vec::new());
            }
        }
    }
}

/// One status for each certificate of the path but the last.
async fn judge(trust: &Trust, path: &[Certificate], cache: &Cache, now: fn() -> u64) -> Vec<Status> {
    let mut answers = Vec::new();
    for pair in path.windows(2) {
        let [of, issuer] = pair else { continue };
        let asked = Asked { trust, of, issuer, cache, now: now() };
        let (crl, ocsp) = tokio::join!(asked.by_crl(), asked.by_ocsp());
        answers.push(Status { crl, ocsp });
    }
    answers
}

struct Asked<'a> {
    trust: &'a Trust,
    of: &'a Certificate,
    issuer: &'a Certificate,
    cache: &'a Cache,
    now: u64,
}

impl Asked<'_> {
    async fn by_crl(&self) -> Answer {
        if self.trust.revocation.crl == When::Never {
            return Answer::Unknown("CRLs are not asked".to_owned());
        }
        let mut answer = by_lists(self.trust, self.of, self.issuer, self.now);
        let urls = if self.trust.crl_urls.is_empty() {
            self.of.crl_addresses()
        } else {
            self.trust.crl_urls.as_slice()
        };
        for url in urls.iter().take(MAX_ADDRESSES) {
            if !matches!(answer, Answer::Unknown(_)) {
                break;
            }
            answer = match self.cache.list(url, self.now, PATIENCE).await {
                Ok(list) => {
                    let (of, issuer, now) = (self.of.clone(), self.issuer.clone(), self.now);
                    // A long list takes long to hash.
                    let said = tokio::task::spawn_blocking(move || list.is_revoked(&of, &issuer, now));
                    match said.await {
                        Ok(Ok(true)) => Answer::Revoked,
                        Ok(Ok(false)) => Answer::Good,
                        Ok(Err(why)) => Answer::Unknown(format!("{url}: {why}")),
                        Err(why) => Answer::Unknown(why.to_string()),
                    }
                }
                Err(why) => Answer::Unknown(why),
            };
        }
        answer
    }

    async fn by_ocsp(&self) -> Answer {
        if self.trust.revocation.ocsp == When::Never {
            return Answer::Unknown("OCSP is not asked".to_owned());
        }
        if let Some(said) = self.cache.said(self.of, self.issuer, self.now) {
            return answer(said);
        }
        let own = self.trust.ocsp_url.as_slice();
        let urls = if own.is_empty() { self.of.ocsp_addresses() } else { own };
        let mut why = "the certificate names no OCSP responder".to_owned();
        for url in urls.iter().take(MAX_ADDRESSES) {
            match self.ask(url).await {
                Ok(said) => {
                    self.cache.keep_said(self.of, self.issuer, said, self.now);
                    return answer(said);
                }
                Err(reason) => why = reason,
            }
        }
        Answer::Unknown(why)
    }

    async fn ask(&self, url: &str) -> Result<ocsp::Said, String> {
        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce).map_err(|why| why.to_string())?;
        let question = ocsp::Question::new(self.of, self.issuer, nonce);
        let request = question.request();
        let body = Body { kind: "application/ocsp-request", bytes: &request };
        let begun = Instant::now();
        let answer = fetch(url, Some(body), ocsp::MAX_LEN, PATIENCE).await?;
        tracing::debug!(url, took = ?begun.elapsed(), "OCSP answered");
        question.judge(&answer, self.issuer, self.now).map_err(|why| format!("{url}: {why}"))
    }
}

const fn answer(said: ocsp::Said) -> Answer {
    if said.revoked { Answer::Revoked } else { Answer::Good }
}

#[cfg(test)]
mod tests;
