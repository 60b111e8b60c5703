//! What the tests of several crates share: network namespaces of their own, selectors, waiting without guessing.
//!
//! Decides: names of namespaces, how long a test waits at most. Reads and writes: namespaces that it made.
//! Never: part of the product; a dev-dependency only. Panics where a test must fail.
#![forbid(unsafe_code)]
#![allow(clippy::missing_panics_doc, clippy::expect_used)] // that is what test helpers do

mod netns;
mod selector;
mod wait;

pub use netns::{Namespace, ip};
pub use selector::{mirror, selector};
pub use wait::{PATIENCE, Process, eventually};
