//! A second check of what comes out of tunnels, beside the selectors of their SAs (R223, RFC 4301 §5.2).
//!
//! Decides: `filter_decrypted` for what a tunnel with such a list does not name. Reads: the lists of the snapshot.
//! Never: asked of a tunnel without one, nor of a flow that is known: flows do not outlive the lists.

use super::{TableError, push};
use crate::spd::{Fit, Query, SaSelectors};
use ravelin_ring::counters::Drop;
use ravelin_ring::msg::TunnelId;
use ravelin_wire::Selector;
use std::collections::HashMap;
use std::sync::Arc;

const MAX_FILTERS: usize = 1 << 20;

/// By tunnel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filters(Arc<HashMap<TunnelId, SaSelectors>>);

impl Filters {
    /// `must`: there has to be a list, which may be on its way or was refused.
    pub(crate) fn check(&self, tunnel: TunnelId, must: bool, query: &Query) -> Result<(), Drop> {
        let Some(list) = self.0.get(&tunnel) else {
            return if must { Err(Drop::FilterDecrypted) } else { Ok(()) };
        };
        match list.fit(query) {
            Fit::Inside => Ok(()),
            Fit::Outside => Err(Drop::FilterDecrypted),
            Fit::Unknown => Err(Drop::Fragment),
        }
    }
}

/// As they are gathered.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    list: Vec<(TunnelId, Selector)>,
    /// Of the last commit.
    kept: Vec<(TunnelId, Selector)>,
    compiled: Filters,
}

impl Gathered {
    pub(super) fn clear(&mut self) {
        self.list.clear();
    }

    pub(super) fn add(&mut self, tunnel: TunnelId, selector: Selector) -> Result<(), TableError> {
        push(&mut self.list, (tunnel, selector), MAX_FILTERS)
    }

    pub(super) fn restore(&mut self) {
        self.list.clone_from(&self.kept);
    }

    pub(super) fn compile(&mut self) -> Filters {
        if self.list != self.kept {
            let mut by: HashMap<TunnelId, Vec<Selector>> = HashMap::new();
            for (tunnel, selector) in &self.list {
                by.entry(*tunnel).or_default().push(*selector);
            }
            self.compiled =
                Filters(Arc::new(by.into_iter().map(|(t, list)| (t, SaSelectors::new(&list))).collect()));
            self.kept.clone_from(&self.list);
        }
        self.compiled.clone()
    }
}
