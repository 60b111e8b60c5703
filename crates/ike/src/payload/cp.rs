//! The Configuration payload (RFC 7296 §3.15).
//!
//! Decides: whether it is well formed. Never: gives an address away (that is `endpoint::peers`).

use super::Reader;
use crate::error::Malformed;
use core::net::IpAddr;

pub(crate) const CFG_REQUEST: u8 = 1;
pub(crate) const CFG_REPLY: u8 = 2;

pub(crate) const INTERNAL_IP4_ADDRESS: u16 = 1;
const INTERNAL_IP4_DNS: u16 = 3;
pub(crate) const INTERNAL_IP6_ADDRESS: u16 = 8;
const INTERNAL_IP6_DNS: u16 = 10;

/// Far more than any client asks for.
const MAX_ATTRIBUTES: usize = 64;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Cp {
    pub(crate) kind: u8,
    pub(crate) attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Attribute {
    pub(crate) kind: u16,
    pub(crate) value: Vec<u8>,
}

impl Attribute {
    pub(crate) fn address(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(a) => Self { kind: INTERNAL_IP4_ADDRESS, value: a.octets().to_vec() },
            // The last byte is the length of its prefix: the client has this one address.
            IpAddr::V6(a) => {
                Self { kind: INTERNAL_IP6_ADDRESS, value: a.octets().into_iter().chain([128]).collect() }
            }
        }
    }

    /// In a request: this address, or any of its family.
    pub(crate) fn wanted(addr: IpAddr) -> Self {
        let one = Self::address(addr);
        if addr.is_unspecified() { Self { value: Vec::new(), ..one } } else { one }
    }

    pub(crate) const fn any_name_server(v4: bool) -> Self {
        Self { kind: if v4 { INTERNAL_IP4_DNS } else { INTERNAL_IP6_DNS }, value: Vec::new() }
    }

    /// In a reply: an address for us. What stands behind it is the length of its prefix, which says nothing to one host.
    pub(crate) fn given(&self) -> Option<IpAddr> {
        self.ip(INTERNAL_IP4_ADDRESS, INTERNAL_IP6_ADDRESS)
    }

    pub(crate) fn name_server(&self) -> Option<IpAddr> {
        self.ip(INTERNAL_IP4_DNS, INTERNAL_IP6_DNS)
    }

    fn ip(&self, v4: u16, v6: u16) -> Option<IpAddr> {
        if self.kind == v4 {
            <[u8; 4]>::try_from(self.value.as_slice()).ok().map(IpAddr::from)
        } else if self.kind == v6 && self.value.len() <= 17 {
            self.value.first_chunk::<16>().copied().map(IpAddr::from)
        } else {
            None
        }
    }

    pub(crate) fn dns(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(a) => Self { kind: INTERNAL_IP4_DNS, value: a.octets().to_vec() },
            IpAddr::V6(a) => Self { kind: INTERNAL_IP6_DNS, value: a.octets().to_vec() },
        }
    }
}

impl Cp {
    pub(crate) fn asks_for(&self, kind: u16) -> bool {
        self.kind == CFG_REQUEST && self.attributes.iter().any(|a| a.kind == kind)
    }

    pub(crate) fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(body, "configuration payload");
        let kind = r.u8()?;
        r.take(3)?;
        let mut attributes = Vec::new();
        while !r.is_empty() {
            if attributes.len() >= MAX_ATTRIBUTES {
                return Err(Malformed::TooMany("configuration attributes"));
            }
            let kind = r.u16()? & 0x7fff;
            let len = usize::from(r.u16()?);
            attributes.push(Attribute { kind, value: r.take(len)?.to_vec() });
        }
        Ok(Self { kind, attributes })
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.kind, 0, 0, 0]);
        for attribute in &self.attributes {
            let len = u16::try_from(attribute.value.len()).unwrap_or(0); // an address at most
            out.extend_from_slice(&attribute.kind.to_be_bytes());
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(&attribute.value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_reply_is_read_as_it_was_written() {
        let addresses: [IpAddr; 2] = ["10.3.0.7".parse().unwrap(), "2001:db8::7".parse().unwrap()];
        let attributes =
            addresses.into_iter().flat_map(|a| [Attribute::address(a), Attribute::dns(a)]).collect();
        let cp = Cp { kind: CFG_REPLY, attributes };
        let mut bytes = Vec::new();
        cp.write(&mut bytes);
        assert_eq!(bytes.len(), 4 + 8 + 8 + 21 + 20);
        assert_eq!(Cp::parse(&bytes), Ok(cp));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(cp) = Cp::parse(&bytes) {
                let mut out = Vec::new();
                cp.write(&mut out);
                prop_assert_eq!(Cp::parse(&out), Ok(cp));
            }
        }
    }
}
