//! The Notify payload (RFC 7296 §3.10).
//!
//! Decides: whether it is well formed; which types are errors. Never: acts on one.

use super::Reader;
use crate::error::Malformed;

pub(crate) const UNSUPPORTED_CRITICAL_PAYLOAD: u16 = 1;
pub(crate) const INVALID_MAJOR_VERSION: u16 = 5;
pub(crate) const INVALID_SYNTAX: u16 = 7;
pub(crate) const NO_PROPOSAL_CHOSEN: u16 = 14;
pub(crate) const INVALID_KE_PAYLOAD: u16 = 17;
pub(crate) const AUTHENTICATION_FAILED: u16 = 24;
pub(crate) const NO_ADDITIONAL_SAS: u16 = 35;
pub(crate) const INTERNAL_ADDRESS_FAILURE: u16 = 36;
pub(crate) const FAILED_CP_REQUIRED: u16 = 37;
pub(crate) const TS_UNACCEPTABLE: u16 = 38;
pub(crate) const TEMPORARY_FAILURE: u16 = 43;
pub(crate) const CHILD_SA_NOT_FOUND: u16 = 44;
/// RFC 9370 §2.2.4.
pub(crate) const STATE_NOT_FOUND: u16 = 47;
/// RFC 9611 §8, by IANA's list.
pub(crate) const TS_MAX_QUEUE: u16 = 48;
pub(crate) const INITIAL_CONTACT: u16 = 16384;
pub(crate) const NAT_DETECTION_SOURCE_IP: u16 = 16388;
pub(crate) const NAT_DETECTION_DESTINATION_IP: u16 = 16389;
pub(crate) const COOKIE: u16 = 16390;
pub(crate) const USE_TRANSPORT_MODE: u16 = 16391;
pub(crate) const REKEY_SA: u16 = 16393;
pub(crate) const ESP_TFC_PADDING_NOT_SUPPORTED: u16 = 16394;
pub(crate) const UNEXPECTED_NAT_DETECTED: u16 = 41;
pub(crate) const MOBIKE_SUPPORTED: u16 = 16396;
pub(crate) const ADDITIONAL_IP4_ADDRESS: u16 = 16397;
pub(crate) const ADDITIONAL_IP6_ADDRESS: u16 = 16398;
pub(crate) const NO_ADDITIONAL_ADDRESSES: u16 = 16399;
pub(crate) const UPDATE_SA_ADDRESSES: u16 = 16400;
pub(crate) const COOKIE2: u16 = 16401;
pub(crate) const NO_NATS_ALLOWED: u16 = 16402;
pub(crate) const REDIRECT_SUPPORTED: u16 = 16406;
pub(crate) const REDIRECT: u16 = 16407;
pub(crate) const REDIRECTED_FROM: u16 = 16408;
/// RFC 5723 §8.
pub(crate) const TICKET_LT_OPAQUE: u16 = 16409;
pub(crate) const TICKET_REQUEST: u16 = 16410;
pub(crate) const TICKET_ACK: u16 = 16411;
pub(crate) const TICKET_NACK: u16 = 16412;
pub(crate) const TICKET_OPAQUE: u16 = 16413;
pub(crate) const CHILDLESS_IKEV2_SUPPORTED: u16 = 16418;
pub(crate) const IKEV2_FRAGMENTATION_SUPPORTED: u16 = 16430;
pub(crate) const INTERMEDIATE_EXCHANGE_SUPPORTED: u16 = 16438;
pub(crate) const SIGNATURE_HASH_ALGORITHMS: u16 = 16431;
/// RFC 5998 §3.
pub(crate) const EAP_ONLY_AUTHENTICATION: u16 = 16417;
pub(crate) const USE_PPK: u16 = 16435;
pub(crate) const PPK_IDENTITY: u16 = 16436;
pub(crate) const NO_PPK_AUTH: u16 = 16437;
/// RFC 9370 §2.2.4.
pub(crate) const ADDITIONAL_KEY_EXCHANGE: u16 = 16441;
pub(crate) const SA_RESOURCE_INFO: u16 = 16444;

/// Types below this are errors (RFC 7296 §3.10.1).
const FIRST_STATUS: u16 = 16384;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Notify {
    pub(crate) protocol: u8,
    pub(crate) spi: Vec<u8>,
    pub(crate) kind: u16,
    pub(crate) data: Vec<u8>,
}

impl Notify {
    pub(crate) const fn new(kind: u16) -> Self {
        Self { protocol: 0, spi: Vec::new(), kind, data: Vec::new() }
    }

    pub(crate) const fn with_data(kind: u16, data: Vec<u8>) -> Self {
        Self { protocol: 0, spi: Vec::new(), kind, data }
    }

    pub(crate) const fn is_error(&self) -> bool {
        self.kind < FIRST_STATUS
    }

    pub(crate) fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(body, "notify");
        let protocol = r.u8()?;
        let spi_len = usize::from(r.u8()?);
        let kind = r.u16()?;
        let spi = r.take(spi_len)?.to_vec();
        Ok(Self { protocol, spi, kind, data: r.rest().to_vec() })
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.protocol, u8::try_from(self.spi.len()).unwrap_or(0)]);
        out.extend_from_slice(&self.kind.to_be_bytes());
        out.extend_from_slice(&self.spi);
        out.extend_from_slice(&self.data);
    }
}

pub(crate) fn name(kind: u16) -> String {
    let known = match kind {
        UNSUPPORTED_CRITICAL_PAYLOAD => "UNSUPPORTED_CRITICAL_PAYLOAD",
        4 => "INVALID_IKE_SPI",
        INVALID_MAJOR_VERSION => "INVALID_MAJOR_VERSION",
        INVALID_SYNTAX => "INVALID_SYNTAX",
        9 => "INVALID_MESSAGE_ID",
        11 => "INVALID_SPI",
        NO_PROPOSAL_CHOSEN => "NO_PROPOSAL_CHOSEN",
        INVALID_KE_PAYLOAD => "INVALID_KE_PAYLOAD",
        AUTHENTICATION_FAILED => "AUTHENTICATION_FAILED",
        34 => "SINGLE_PAIR_REQUIRED",
        NO_ADDITIONAL_SAS => "NO_ADDITIONAL_SAS",
        INTERNAL_ADDRESS_FAILURE => "INTERNAL_ADDRESS_FAILURE",
        FAILED_CP_REQUIRED => "FAILED_CP_REQUIRED",
        TS_UNACCEPTABLE => "TS_UNACCEPTABLE",
        39 => "INVALID_SELECTORS",
        TEMPORARY_FAILURE => "TEMPORARY_FAILURE",
        CHILD_SA_NOT_FOUND => "CHILD_SA_NOT_FOUND",
        STATE_NOT_FOUND => "STATE_NOT_FOUND",
        TS_MAX_QUEUE => "TS_MAX_QUEUE",
        ADDITIONAL_KEY_EXCHANGE => "ADDITIONAL_KEY_EXCHANGE",
        SA_RESOURCE_INFO => "SA_RESOURCE_INFO",
        INITIAL_CONTACT => "INITIAL_CONTACT",
        NAT_DETECTION_SOURCE_IP => "NAT_DETECTION_SOURCE_IP",
        NAT_DETECTION_DESTINATION_IP => "NAT_DETECTION_DESTINATION_IP",
        COOKIE => "COOKIE",
        USE_TRANSPORT_MODE => "USE_TRANSPORT_MODE",
        REKEY_SA => "REKEY_SA",
        ESP_TFC_PADDING_NOT_SUPPORTED => "ESP_TFC_PADDING_NOT_SUPPORTED",
        INTERMEDIATE_EXCHANGE_SUPPORTED => "INTERMEDIATE_EXCHANGE_SUPPORTED",
        REDIRECT_SUPPORTED => "REDIRECT_SUPPORTED",
        REDIRECT => "REDIRECT",
        REDIRECTED_FROM => "REDIRECTED_FROM",
        TICKET_LT_OPAQUE => "TICKET_LT_OPAQUE",
        TICKET_REQUEST => "TICKET_REQUEST",
        TICKET_ACK => "TICKET_ACK",
        TICKET_NACK => "TICKET_NACK",
        TICKET_OPAQUE => "TICKET_OPAQUE",
        UNEXPECTED_NAT_DETECTED => "UNEXPECTED_NAT_DETECTED",
        MOBIKE_SUPPORTED => "MOBIKE_SUPPORTED",
        ADDITIONAL_IP4_ADDRESS => "ADDITIONAL_IP4_ADDRESS",
        ADDITIONAL_IP6_ADDRESS => "ADDITIONAL_IP6_ADDRESS",
        NO_ADDITIONAL_ADDRESSES => "NO_ADDITIONAL_ADDRESSES",
        UPDATE_SA_ADDRESSES => "UPDATE_SA_ADDRESSES",
        COOKIE2 => "COOKIE2",
        NO_NATS_ALLOWED => "NO_NATS_ALLOWED",
        EAP_ONLY_AUTHENTICATION => "EAP_ONLY_AUTHENTICATION",
        CHILDLESS_IKEV2_SUPPORTED => "CHILDLESS_IKEV2_SUPPORTED",
        IKEV2_FRAGMENTATION_SUPPORTED => "IKEV2_FRAGMENTATION_SUPPORTED",
        SIGNATURE_HASH_ALGORITHMS => "SIGNATURE_HASH_ALGORITHMS",
        USE_PPK => "USE_PPK",
        PPK_IDENTITY => "PPK_IDENTITY",
        NO_PPK_AUTH => "NO_PPK_AUTH",
        other => return format!("notify {other}"),
    };
    known.to_owned()
}
