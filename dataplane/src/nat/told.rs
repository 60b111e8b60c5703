//! By which rule a packet was translated, for who asks (R53, R304).
//!
//! Decides: nothing. Never: is told of a packet that is not only asked about.

use super::Turn;
use super::rules::Rule;
use ravelin_ring::inspect::{Nat, NatBy};

/// Once on the way in, once on the way out, and the same for an error about it: more is not told.
const MOST: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Told(Vec<Nat>);

impl Told {
    #[cold]
    pub(super) fn say(&mut self, by: NatBy, rule: Option<&Rule>) {
        let line = rule.map(|rule| rule.line).filter(|&line| line > 0);
        if self.0.len() < MOST {
            self.0.push(Nat { by, line });
        }
    }

    /// That no rule matched is worth a word where no other did.
    pub(super) fn take(&mut self) -> Vec<Nat> {
        let mut all = core::mem::take(&mut self.0);
        if all.iter().any(|nat| nat.by != NatBy::Nothing) {
            all.retain(|nat| nat.by != NatBy::Nothing);
        }
        all.dedup();
        all
    }
}

impl Turn<'_> {
    /// For who only asks.
    #[inline]
    pub(super) fn say(&mut self, by: NatBy, rule: Option<&Rule>) {
        if self.state.store.dry {
            self.state.told.say(by, rule);
        }
    }
}
