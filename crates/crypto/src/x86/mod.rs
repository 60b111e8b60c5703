//! Kernels for x86-64 on `std::arch`.
use crate::engine::{Group, Kernel, Tier};
use crate::{Key, OpenJob, SealJob};

pub(crate) fn prefetch(_key: &Key) {}
pub(crate) fn fill_tables(_key: &mut Key, _cipher_key: &[u8]) {}
pub(crate) fn gcm_kernel(_tier: Tier) -> Kernel {
    Kernel::Portable
}
pub(crate) fn cbc_kernel(_tier: Tier) -> Kernel {
    Kernel::Portable
}
pub(crate) fn chacha_kernel(_tier: Tier) -> Kernel {
    Kernel::Portable
}
pub(crate) fn sha_kernel(_tier: Tier) -> Kernel {
    Kernel::Portable
}
pub(crate) fn seal_gcm(_k: Kernel, _jobs: &mut [SealJob], _group: Group) {}
pub(crate) fn open_gcm(_k: Kernel, _jobs: &mut [OpenJob], _group: Group) -> Group {
    0
}
