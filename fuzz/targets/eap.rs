//! Packets of EAP for a server and a client: no panic, and nobody has proven a thing by luck.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    ravelin_ike::fuzzing::eap(data);
});
