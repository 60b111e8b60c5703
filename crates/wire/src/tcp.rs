//! TCP (RFC 9293): as much as selectors, ICMP errors and `explain` need.

use crate::Malformed;

pub const HEADER: usize = 20;

/// A header whose data offset holds.
#[derive(Clone, Copy, Debug)]
pub struct Tcp<'a> {
    fixed: &'a [u8; HEADER],
    header_len: usize,
}

impl<'a> Tcp<'a> {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const ACK: u8 = 0x10;

    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let fixed = bytes.first_chunk::<HEADER>().ok_or(Malformed::Truncated)?;
        let header_len = usize::from(fixed[12] >> 4) * 4;
        if header_len < HEADER || header_len > bytes.len() {
            return Err(Malformed::HeaderLength);
        }
        Ok(Self { fixed, header_len })
    }

    #[inline]
    pub const fn src(&self) -> u16 {
        u16::from_be_bytes([self.fixed[0], self.fixed[1]])
    }

    #[inline]
    pub const fn dst(&self) -> u16 {
        u16::from_be_bytes([self.fixed[2], self.fixed[3]])
    }

    #[inline]
    pub const fn flags(&self) -> u8 {
        self.fixed[13]
    }

    /// With options.
    #[inline]
    pub const fn header_len(&self) -> usize {
        self.header_len
    }
}

/// Source and destination port of a transport header that begins with them: TCP, UDP, UDP-Lite, SCTP, DCCP. Four bytes
/// are enough, as in the quotation of an ICMP error.
#[inline]
pub fn ports(transport: &[u8]) -> Option<(u16, u16)> {
    let [s0, s1, d0, d1] = *transport.first_chunk::<4>()?;
    Some((u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1])))
}

/// Whether packets of this protocol begin with [`ports`].
#[inline]
pub const fn has_ports(protocol: u8) -> bool {
    const DCCP: u8 = 33;
    const UDP_LITE: u8 = 136;
    matches!(protocol, crate::protocol::TCP | crate::protocol::UDP | crate::protocol::SCTP | DCCP | UDP_LITE)
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use proptest::prelude::*;
    use std::vec::Vec;

    #[test]
    fn fields() {
        let mut b = [0u8; 24];
        b[..4].copy_from_slice(&[0x30, 0x39, 0x00, 0x50]);
        b[12] = 0x60;
        b[13] = Tcp::SYN;
        let t = Tcp::parse(&b).unwrap();
        assert_eq!((t.src(), t.dst(), t.flags(), t.header_len()), (12345, 80, Tcp::SYN, 24));
        assert_eq!(ports(&b), Some((12345, 80)));
        assert_eq!(ports(&b[..3]), None);
        b[12] = 0x70;
        assert!(matches!(Tcp::parse(&b), Err(Malformed::HeaderLength)));
    }

    proptest! {
        #[test]
        fn any_bytes(bytes: Vec<u8>) {
            if let Ok(t) = Tcp::parse(&bytes) {
                prop_assert!(t.header_len() <= bytes.len());
            }
            let _ = ports(&bytes);
        }
    }
}
