//! What a peer with keys can send: chains of payloads, pieces of messages; and anybody's tickets. No panic, no room taken beyond the bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    ravelin_ike::fuzzing::payloads(data);
    ravelin_ike::fuzzing::pieces(data);
    ravelin_ike::fuzzing::assigned(data);
    ravelin_ike::fuzzing::tickets(data);
});
