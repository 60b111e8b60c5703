//! Any bytes as an answer of a server that has CRLs or speaks OCSP, and as its address.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    ravelin_control::read_anything(data);
});
