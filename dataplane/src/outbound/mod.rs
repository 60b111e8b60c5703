//! Clear to ESP, or on in clear. The order of the stages stands in `worker`.

pub(crate) mod policy;
pub(crate) mod select;
pub(crate) mod fragment;
pub(crate) mod tfc;
pub(crate) mod sequence;
pub(crate) mod encrypt;
pub(crate) mod shared;
pub(crate) mod encap;
mod multipath;
pub(crate) mod plain;
pub(crate) mod modes;
mod bundle;
pub(crate) mod front;
mod encap6;
mod fragment6;

pub(crate) use encap6::checksum;
