//! Keys do not outlive their use.

use super::*;

/// What a dropped key leaves in its memory: nothing of the key.
#[test]
fn a_dropped_key_is_zeroed() {
    for suite in Suite::ALL {
        let mut place = core::mem::ManuallyDrop::new(key(suite, 3));
        let bytes = core::ptr::from_ref(&*place).cast::<u8>();
        // SAFETY: all tables of a key are plain bytes (its padding is not among them), and it lives.
        let table = |offset: usize, len: usize| unsafe {
            core::slice::from_raw_parts(bytes.wrapping_add(offset), len).to_vec()
        };
        let secrets = Key::secret_tables();
        let before: Vec<u8> = secrets.iter().flat_map(|&(offset, len)| table(offset, len)).collect();
        assert!(before.iter().filter(|&&byte| byte != 0).count() >= 16, "{suite:?}: keys are there");
        // SAFETY: dropped once; its memory stays allocated on this stack, and only bytes are read from it.
        unsafe { core::mem::ManuallyDrop::drop(&mut place) };
        let after: Vec<u8> = secrets.iter().flat_map(|&(offset, len)| table(offset, len)).collect();
        assert!(after.iter().all(|&byte| byte == 0), "{suite:?}");
    }
}

#[test]
fn a_key_is_never_printed() {
    for suite in Suite::ALL {
        assert_eq!(format!("{:?}", key(suite, 3)), format!("Key({}, …)", suite.name()));
    }
}
