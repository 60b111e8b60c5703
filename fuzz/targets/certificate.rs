//! Any bytes as a certificate, key, CRL, answer of OCSP or name: errors, never a panic; a name that is read is printed and covered.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ravelin_ike::cert::{Certificate, Crl, Dn, DnPattern, PublicKey, ocsp, path};
use std::sync::OnceLock;

const PEM: &[u8] = include_bytes!("../../control/src/secrets/files/gateway.pem");
static OWN: OnceLock<Certificate> = OnceLock::new();

fuzz_target!(|bytes: &[u8]| {
    if let Ok(all) = Certificate::read_all(bytes) {
        let now = all.first().map_or(0, |c| c.validity().0);
        if let Some((own, others)) = all.split_first() {
            let _ = path::find(own, others, others, now);
        }
        for c in &all {
            let _ = (c.default_identity(), c.alternative_names());
        }
    }
    // Unsigned, nothing may be good or revoked.
    let own = OWN.get_or_init(|| Certificate::read_all(PEM).expect("a good one").remove(0));
    assert!(ocsp::Question::new(own, own, [7; 32]).judge(bytes, own, 1_800_000_000).is_err());
    let _ = (Crl::read_all(bytes), PublicKey::read(bytes));
    if let Some(dn) = Dn::from_der(bytes) {
        let _ = dn.to_string();
        assert!(DnPattern::exact(&dn).matches(&dn));
    }
    if let Ok(text) = core::str::from_utf8(bytes) {
        let _ = DnPattern::parse(text).map(|p| p.der());
    }
});
