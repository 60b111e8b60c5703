//! Any bytes as a certificate, key, CRL or name: errors, never a panic; a name that is read is printed and covered.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ravelin_ike::cert::{Certificate, Crl, Dn, DnPattern, PublicKey, path};

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
    let _ = (Crl::read_all(bytes), PublicKey::read(bytes));
    if let Some(dn) = Dn::from_der(bytes) {
        let _ = dn.to_string();
        assert!(DnPattern::exact(&dn).matches(&dn));
    }
    if let Ok(text) = core::str::from_utf8(bytes) {
        let _ = DnPattern::parse(text).map(|p| p.der());
    }
});
