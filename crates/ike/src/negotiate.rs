//! Negotiation: which proposal, which selectors.
//!
//! Decides: what both sides can agree on, and says attribute by attribute why they cannot.
//! Reads: the configuration and the peer's offer. Writes: nothing. Never: keeps state.

pub(crate) mod algorithm;
pub(crate) mod proposal;
pub(crate) mod ts;
