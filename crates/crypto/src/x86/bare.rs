//! The bare primitives below the bursts, for others' vectors that are no ESP packets.

use super::*;

/// The bare primitive of [`seal_gcm`] and [`open_gcm`] for vectors with other associated data than ESP's: at most one
/// block of it.
#[allow(clippy::cast_possible_truncation, reason = "halves of a number")]
pub(crate) fn bare_gcm(kernel: Kernel, key: &Key, aad: &[u8], packet: &mut [u8], seal: bool) -> bool {
    let mut block = [0; 16];
    block[..aad.len()].copy_from_slice(aad);
    let aad_bits = aad.len() as u64 * 8;
    let aad = u128::from_be_bytes(block);
    let head = u128::from_be_bytes(*packet.first_chunk().unwrap());
    let unit = gcm::Unit {
        key,
        body: packet.len() - 32,
        packet: packet.as_mut_ptr(),
        iv: head as u64,
        header: (head >> 64) as u64,
        aad: ((aad >> 64) as u64, aad as u64),
        aad_bits,
        plain_aad: false,
        text_bits: (packet.len() as u64 - 32) * 8,
        next: packet.as_ptr(),
    };
    assert!([Tier::Sse, Tier::Avx2, Tier::Avx512].map(gcm_kernel).contains(&kernel));
    // SAFETY: header and ICV were subtracted from the length, and the CPU was asked.
    unsafe {
        match (kernel, seal) {
            (Kernel::Vaes512, true) => gcm_vaes::seal_unit(&unit),
            (Kernel::Vaes512, false) => return gcm_vaes::open_unit(&unit),
            (Kernel::Vaes256, true) => gcm_vaes256::seal_unit(&unit),
            (Kernel::Vaes256, false) => return gcm_vaes256::open_unit(&unit),
            (_, true) => gcm_aes_ni::seal_unit(&unit),
            (_, false) => return gcm_aes_ni::open_unit(&unit),
        }
    }
    true
}

/// The bare primitive of [`seal_chacha`] and [`open_chacha`], for vectors: alone, and as several of a burst, since the
/// lanes of Poly1305 are for these. At most one block of associated data.
pub(crate) fn bare_chacha(kernel: Kernel, key: &Key, aad: &[u8], packet: &mut [u8], seal: bool) -> bool {
    assert!([Tier::Avx2, Tier::Avx512].map(chacha_kernel).contains(&kernel));
    let mut burst = vec![packet.to_vec(); 9];
    let mut block = [0; 16];
    block[..aad.len()].copy_from_slice(aad);
    let run = |packets: &mut [Vec<u8>]| {
        let unit = |packet| chacha::Unit { key, aad: block, aad_len: aad.len(), packet };
        let mut units: ArrayVec<chacha::Unit, BURST> = packets.iter_mut().map(|p| unit(&mut p[..])).collect();
        let all = (1 << units.len()) - 1;
        if seal {
            chacha::seal(kernel, &mut units);
            return true;
        }
        let authentic = chacha::open(kernel, &mut units);
        assert!(authentic == 0 || authentic == all, "equal packets have equal fates");
        authentic == all
    };
    let good = run(&mut burst);
    let mut alone = [packet.to_vec()];
    assert_eq!(run(&mut alone), good);
    assert!(burst.iter().all(|packet| *packet == alone[0]), "a lane made something else");
    packet.copy_from_slice(&alone[0]);
    good
}
