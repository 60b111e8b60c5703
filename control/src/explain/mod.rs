//! `ravelin explain`: questions about packets and tunnels, and their answers in words.
//!
//! Decides: how an answer reads. Reads: answers of the data plane, names of the control process, capture files.
//! Never: judges a packet itself; the data plane does, by its own stages.

pub mod packet;
pub mod pcap;
mod text;
mod tunnel;

pub use text::{Names, summary, text};
pub use tunnel::diagnosis;
