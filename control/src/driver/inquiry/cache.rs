//! Lists and answers that were fetched, for as long as they hold.
//!
//! Decides: when something is fetched anew, what goes when it is too much. Never: keeps a list beyond its own end, holds
//! more than [`MAX_BYTES`] of lists, fetches one list twice at a time or more than [`MAX_FETCHED`] together.

use crate::fetch::fetch;
use ravelin_ike::cert::{Certificate, Crl, crl, ocsp};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Of all lists together, as they came.
const MAX_BYTES: usize = 64 << 20;
const MAX_LISTS: usize = 64;
/// At once: each may be of [`crl::MAX_LEN`], and more while it is read.
const MAX_FETCHED: usize = 4;
const MAX_SAID: usize = 4096;
/// After so long a list is fetched anew, though it would hold longer: CAs revoke in between.
const FRESH: Duration = Duration::from_secs(15 * 60);
/// Likewise, in seconds of the day's clock, for what a responder said.
const SAID_FRESH: u64 = 10 * 60;
/// So long a server that failed is not asked again.
const FAILED: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Cache {
    kept: Mutex<Kept>,
    places: Semaphore,
}

#[derive(Debug, Default)]
struct Kept {
    lists: BTreeMap<String, List>,
    /// Held by who fetches the list of a URL, while others wait for it.
    turns: BTreeMap<String, Arc<tokio::sync::Mutex<()>>>,
    /// Issuer's key and serial number; until when.
    said: BTreeMap<(Vec<u8>, Vec<u8>), ocsp::Said>,
}

type Got = Result<Arc<Crl>, String>;

#[derive(Debug)]
struct List {
    /// Or why there is none.
    got: Got,
    size: usize,
    at: Instant,
}

impl List {
    fn holds(&self, now: u64) -> bool {
        match &self.got {
            Ok(list) => self.at.elapsed() < FRESH && now <= list.validity().1,
            Err(_) => self.at.elapsed() < FAILED,
        }
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self { kept: Mutex::default(), places: Semaphore::new(MAX_FETCHED) }
    }
}

impl Cache {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        // What a task that panicked left is whole: each change is one call.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The list at `url`, which must yet prove itself.
    pub(super) async fn list(&self, url: &str, now: u64, patience: Duration) -> Got {
        let turn = match self.kept().known_or_turn(url, now) {
            Ok(known) => return known,
            Err(turn) => turn,
        };
        let _turn = turn.lock().await;
        // Never closed.
        let _place = self.places.acquire().await;
        if let Ok(known) = self.kept().known_or_turn(url, now) {
            return known;
        }
        let (got, size) = match fetch(url, None, crl::MAX_LEN, patience).await {
            Ok(bytes) => {
                let size = bytes.len();
                // A long list takes long to read.
                let read = tokio::task::spawn_blocking(move || Crl::read_all(&bytes)).await;
                let list = read.map_err(|why| why.to_string()).and_then(|all| {
                    let all = all.map_err(|why| format!("{url}: {why}"))?;
                    all.into_iter().next().ok_or_else(|| format!("{url}: no CRL"))
                });
                (list.map(Arc::new), size)
            }
            Err(why) => (Err(why), 0),
        };
        tracing::debug!(url, size, ok = got.is_ok(), "CRL fetched");
        let mut kept = self.kept();
        // A failure does not displace a list that still holds.
        if let (Err(why), Some(List { got: Ok(before), at, .. })) = (&got, kept.lists.get_mut(url))
            && now <= before.validity().1
        {
            tracing::debug!(url, why, "the list from before is used");
            // Not asked again for a while.
            *at = Instant::now().checked_sub(FRESH.saturating_sub(FAILED)).unwrap_or(*at);
            return Ok(Arc::clone(before));
        }
        kept.keep_list(url, List { got: got.clone(), size, at: Instant::now() });
        got
    }

    /// What a responder said of it a short while ago.
    pub(super) fn said(&self, of: &Certificate, issuer: &Certificate, now: u64) -> Option<ocsp::Said> {
        self.kept().said.get(&key(of, issuer)).copied().filter(|said| now <= said.until)
    }

    pub(super) fn keep_said(&self, of: &Certificate, issuer: &Certificate, said: ocsp::Said, now: u64) {
        let mut kept = self.kept();
        if kept.said.len() >= MAX_SAID {
            kept.said.retain(|_, said| now <= said.until);
        }
        if kept.said.len() >= MAX_SAID {
            kept.said.clear();
        }
        let until = said.until.min(now.saturating_add(SAID_FRESH));
        kept.said.insert(key(of, issuer), ocsp::Said { until, ..said });
    }
}

impl Kept {
    /// The list, or whose turn it is to fetch it.
    fn known_or_turn(&mut self, url: &str, now: u64) -> Result<Got, Arc<tokio::sync::Mutex<()>>> {
        if let Some(known) = self.lists.get(url).filter(|list| list.holds(now)) {
            return Ok(known.got.clone());
        }
        self.turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Err(Arc::clone(self.turns.entry(url.to_owned()).or_default()))
    }

    /// The oldest go until there is room.
    fn keep_list(&mut self, url: &str, list: List) {
        self.lists.remove(url);
        let mut used: usize = self.lists.values().map(|list| list.size).sum();
        while used + list.size > MAX_BYTES || self.lists.len() >= MAX_LISTS {
            let oldest = self.lists.iter().min_by_key(|(_, list)| list.at).map(|(url, _)| url.clone());
            let Some(gone) = oldest.and_then(|url| self.lists.remove(&url)) else { break };
            used -= gone.size;
        }
        self.lists.insert(url.to_owned(), list);
    }
}

fn key(of: &Certificate, issuer: &Certificate) -> (Vec<u8>, Vec<u8>) {
    (issuer.key().spki().to_vec(), of.serial().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_has_an_end() {
        let mut kept = Kept::default();
        let list = |size| List { got: Err("none".to_owned()), size, at: Instant::now() };
        for n in 0..3 * MAX_LISTS {
            kept.keep_list(&n.to_string(), list(MAX_BYTES / 4));
            assert!(kept.lists.len() <= 4);
        }
        assert!(kept.lists.contains_key(&(3 * MAX_LISTS - 1).to_string()), "the newest stays");
        for n in 0..3 * MAX_LISTS {
            kept.keep_list(&n.to_string(), list(0));
        }
        assert_eq!(kept.lists.len(), MAX_LISTS);
    }
}
