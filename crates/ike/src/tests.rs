//! Two endpoints on a fake clock (habit 14): every scenario is a test of its own.

mod pair;
pub(crate) mod pki;
mod connect;
mod certificates;
mod logins;
mod children;
mod resources;
mod peers;
mod address;
mod rekey;
mod collisions;
mod lossy;
mod fragments;
mod hybrid;
mod followup;
mod trace;
mod hostile;
mod nat;
mod lifecycle;
mod clear;
mod survival;
mod findings;
mod backups;
mod desired;
mod renewal;
mod mobike;
mod redirect;
mod resume;
mod realms;

pub(crate) use pair::Spis;

/// B's, for peers at any address.
pub(crate) fn any_connection() -> crate::config::Connection {
    let mut c = pair::Pair::connection(pair::Side::B);
    c.remote = None;
    c
}
