//! ESP to clear. The order of the stages stands in `worker`.

pub(crate) mod lookup;
pub(crate) mod replay;
pub(crate) mod decrypt;
pub(crate) mod shared;
pub(crate) mod decap;
mod plain;
pub(crate) mod transport;
pub(crate) mod ah;
pub(crate) mod bundle;
pub(crate) mod rules;
mod decap6;
mod checksums;
pub(crate) mod policy;

pub(crate) use decrypt::Authentic;
