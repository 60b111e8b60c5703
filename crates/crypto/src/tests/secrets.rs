//! Keys do not outlive their use.

use core::mem::{ManuallyDrop, MaybeUninit};

use aes::cipher::KeyInit;
use zeroize::ZeroizeOnDrop;

use super::*;

/// What a dropped key leaves in its memory: nothing of the key.
#[test]
fn a_dropped_key_is_zeroed() {
    for suite in Suite::ALL {
        let mut place = ManuallyDrop::new(key(suite, 3));
        let bytes = core::ptr::from_ref(&*place).cast::<u8>();
        // SAFETY: all tables of a key are plain bytes (its padding is not among them), and it lives.
        let table = |offset: usize, len: usize| unsafe {
            core::slice::from_raw_parts(bytes.wrapping_add(offset), len).to_vec()
        };
        let secrets = Key::secret_tables();
        let before: Vec<u8> = secrets.iter().flat_map(|&(offset, len)| table(offset, len)).collect();
        assert!(before.iter().filter(|&&byte| byte != 0).count() >= 16, "{suite:?}: keys are there");
        // SAFETY: dropped once; its memory stays allocated on this stack, and only bytes are read from it.
        unsafe { ManuallyDrop::drop(&mut place) };
        let after: Vec<u8> = secrets.iter().flat_map(|&(offset, len)| table(offset, len)).collect();
        assert!(after.iter().all(|&byte| byte == 0), "{suite:?}");
    }
}

/// What a key owns on the heap wipes itself: KEYMAT, and what a portable kernel may have made of it. A part whose type does
/// not promise it does not compile.
#[test]
fn what_a_key_owns_promises_to_wipe_itself() {
    fn promises(_: &dyn ZeroizeOnDrop) {}
    for suite in Suite::ALL {
        key(suite, 3).wiped_parts().for_each(promises);
    }
}

/// The promise is kept: what is left in the memory of a dropped part is the same whatever the key was.
#[test]
fn what_portable_kernels_hold_of_a_key_is_wiped() {
    is_wiped::<aes::Aes128>("aes-128", 16);
    is_wiped::<aes::Aes192>("aes-192", 24);
    is_wiped::<aes::Aes256>("aes-256", 32);
    is_wiped::<aes_gcm::Aes128Gcm>("aes-128-gcm", 16);
    is_wiped::<aes_gcm::Aes256Gcm>("aes-256-gcm", 32);
    is_wiped::<chacha20poly1305::ChaCha20Poly1305>("chacha20-poly1305", 32);
    is_wiped::<hmac::Hmac<sha1::Sha1>>("hmac-sha1", 20);
    is_wiped::<hmac::Hmac<sha2::Sha256>>("hmac-sha2-256", 32);
    is_wiped::<hmac::Hmac<sha2::Sha384>>("hmac-sha2-384", 48);
    is_wiped::<hmac::Hmac<sha2::Sha512>>("hmac-sha2-512", 64);
}

fn is_wiped<T: KeyInit>(name: &str, len: usize) {
    let [one, other] = [1, 2].map(|seed| {
        let mut place: Box<MaybeUninit<T>> = Box::new(MaybeUninit::zeroed());
        place.write(T::new_from_slice(&noise(seed, len)).unwrap());
        let before = bytes(&place);
        // SAFETY: written above, dropped once; its memory stays allocated.
        unsafe { place.assume_init_drop() };
        (before, bytes(&place))
    });
    assert!(one.0.iter().zip(&other.0).filter(|(a, b)| a != b).count() >= len - 4, "{name}: keys are there");
    assert!(one.1 == other.1, "{name}");
}

fn bytes<T>(place: &MaybeUninit<T>) -> Vec<u8> {
    let start = place.as_ptr().cast::<u8>();
    // SAFETY: within the place, which was zeroed before anything was written; volatile, so that it is read as it is.
    (0..size_of::<T>()).map(|n| unsafe { start.add(n).read_volatile() }).collect()
}

#[test]
fn a_key_is_never_printed() {
    for suite in Suite::ALL {
        assert_eq!(format!("{:?}", key(suite, 3)), format!("Key({}, …)", suite.name()));
    }
}
