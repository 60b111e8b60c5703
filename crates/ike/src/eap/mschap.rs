//! The arithmetic of MS-CHAP version 2 (RFC 2759 §8) and of the keys that come from it (RFC 3079 §3).
//!
//! Decides: nothing. Never: keeps a password or a hash of one. MD4 and DES are what the method is made of; nothing else
//! here uses them.

use crate::crypto::Wiped;
use cipher::{Block, BlockCipherEncrypt, KeyInit};
use des::Des;
use md4::Md4;
use sha1::{Digest, Sha1};
use zeroize::Zeroizing;

pub(super) const CHALLENGE: usize = 16;
pub(super) const NT_RESPONSE: usize = 24;

/// One run of the method as both sides know it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run<'a> {
    pub(super) server_challenge: &'a [u8; CHALLENGE],
    pub(super) client_challenge: &'a [u8; CHALLENGE],
    /// As it stands in the response.
    pub(super) user: &'a str,
}

/// MD4 of the password in UTF-16.
pub(super) struct PasswordHash(Zeroizing<[u8; 16]>);

impl PasswordHash {
    /// `None`: the password is no text.
    pub(super) fn of(password: &[u8]) -> Option<Self> {
        let text = core::str::from_utf8(password).ok()?;
        // Room for all of it at once: growing would leave copies behind.
        let mut wide = Zeroizing::new(Vec::with_capacity(2 * text.len()));
        text.encode_utf16().for_each(|unit| wide.extend_from_slice(&unit.to_le_bytes()));
        Some(Self(Zeroizing::new(Md4::digest(&*wide).into())))
    }

    fn twice(&self) -> Zeroizing<[u8; 16]> {
        Zeroizing::new(Md4::digest(*self.0).into())
    }
}

impl Run<'_> {
    /// ChallengeHash(); a domain before the name does not count.
    fn challenge(&self) -> [u8; 8] {
        let name = self.user.rsplit('\\').next().unwrap_or_default();
        let hash = Sha1::new_with_prefix(self.client_challenge)
            .chain_update(self.server_challenge)
            .chain_update(name)
            .finalize();
        core::array::from_fn(|at| hash.get(at).copied().unwrap_or_default())
    }

    /// GenerateNTResponse()
    pub(super) fn nt_response(&self, password: &PasswordHash) -> [u8; NT_RESPONSE] {
        let mut key = Zeroizing::new([0; 21]);
        key.iter_mut().zip(password.0.iter()).for_each(|(to, from)| *to = *from);
        let (challenge, mut out) = (self.challenge(), [0; NT_RESPONSE]);
        for (part, to) in key.as_chunks::<7>().0.iter().zip(out.as_chunks_mut::<8>().0) {
            *to = des(part, challenge);
        }
        out
    }

    /// GenerateAuthenticatorResponse(), without the "S=" before its digits.
    pub(super) fn server_response(&self, password: &PasswordHash, nt: &[u8; NT_RESPONSE]) -> String {
        const MAGIC_1: &[u8] = b"Magic server to client signing constant";
        const MAGIC_2: &[u8] = b"Pad to make it do more than one iteration";
        let first =
            Sha1::new_with_prefix(*password.twice()).chain_update(nt).chain_update(MAGIC_1).finalize();
        let second =
            Sha1::new_with_prefix(first).chain_update(self.challenge()).chain_update(MAGIC_2).finalize();
        second.iter().map(|byte| format!("{byte:02X}")).collect()
    }
}

/// The key that both sides have afterwards: what the server receives with, what it sends with, and zeroes
/// (draft-kamath-pppext-eap-mschapv2 §5; RFC 3079 §3.4).
pub(super) fn msk(password: &PasswordHash, nt: &[u8; NT_RESPONSE]) -> Wiped {
    const MASTER: &[u8] = b"This is the MPPE Master Key";
    const CLIENT_SENDS: &[u8] =
        b"On the client side, this is the send key; on the server side, it is the receive key.";
    const SERVER_SENDS: &[u8] =
        b"On the client side, this is the receive key; on the server side, it is the send key.";
    let master = Sha1::new_with_prefix(*password.twice()).chain_update(nt).chain_update(MASTER).finalize();
    let master = Zeroizing::new(<[u8; 20]>::from(master));
    let mut out = Zeroizing::new(vec![0; 64]);
    for (magic, place) in [CLIENT_SENDS, SERVER_SENDS].into_iter().zip(out.chunks_exact_mut(16)) {
        let hash = Sha1::new()
            .chain_update(master.get(..16).unwrap_or_default())
            .chain_update([0; 40])
            .chain_update(magic)
            .chain_update([0xf2; 40])
            .finalize();
        let hash = Zeroizing::new(<[u8; 20]>::from(hash));
        place.iter_mut().zip(hash.iter()).for_each(|(to, from)| *to = *from);
    }
    out
}

/// One block by seven bytes of key; the eighth bits are parity, which DES does not look at.
fn des(key: &[u8; 7], block: [u8; 8]) -> [u8; 8] {
    let mut wide = [0; 8];
    wide.iter_mut().skip(1).zip(key).for_each(|(to, from)| *to = *from);
    let bits = u64::from_be_bytes(wide);
    let spread = Zeroizing::new(core::array::from_fn::<u8, 8, _>(|at| {
        let seven = bits >> (49 - 7 * at) & 0x7f;
        u8::try_from(seven << 1).unwrap_or_default()
    }));
    let mut block = Block::<Des>::from(block);
    Des::new((&*spread).into()).encrypt_block(&mut block);
    block.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    /// RFC 2759 §9.2, RFC 3079 §3.5.3
    #[test]
    fn rfc2759_and_rfc3079() {
        let (server, client) =
            (hex!("5B5D7C7D7B3F2F3E3C2C602132262628"), hex!("21402324255E262A28295F2B3A337C7E"));
        for user in ["User", "LAB\\User"] {
            let run = Run { server_challenge: &server, client_challenge: &client, user };
            let hash = PasswordHash::of(b"clientPass").unwrap();
            assert_eq!(*hash.0, hex!("44EBBA8D5312B8D611474411F56989AE"));
            assert_eq!(*hash.twice(), hex!("41C00C584BD2D91C4017A2A12FA59F3F"));
            assert_eq!(run.challenge(), hex!("D02E4386BCE91226"));
            let nt = run.nt_response(&hash);
            assert_eq!(nt, hex!("82309ECD8D708B5EA08FAA3981CD83544233114A3D85D6DF"));
            assert_eq!(run.server_response(&hash, &nt), "407A5589115FD0D6209F510FE9C04566932CDA56");
            let msk = msk(&hash, &nt);
            // The RFC's example is the key by which the server sends.
            assert_eq!(msk[16..32], hex!("8B7CDC149B993A1BA118CB153F56DCCB"));
            assert_eq!((msk.len(), &msk[32..]), (64, &[0; 32][..]));
        }
        assert!(PasswordHash::of(b"\xff").is_none());
    }
}
