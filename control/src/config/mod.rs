//! The configuration file: TOML text in, a checked [`Config`] out, or everything that is wrong with it.
//!
//! Decides: which keys there are, what they may hold, what they default to, what contradicts what.
//! Reads: one file, at most [`MAX_SIZE`] bytes. Writes: nothing.
//! Never: asks the kernel anything (whether a port exists is the data plane's to say), reads a secret.
//!
//! The way of a file: text → [`reader`] (spanned TOML tables, unknown keys) → [`sections`], [`tunnel`] (values that
//! cannot be wrong) → [`check`] (what contradicts what) → [`compile`] (what the other parts are told).

mod diagnostic;
mod model;
mod compile;

pub use diagnostic::{Diagnostic, Errors, MAX_FINDINGS, Severity};
pub use model::*;
