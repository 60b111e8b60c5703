//! Any text as a configuration file: errors, never a panic; what is accepted compiles to tables.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ravelin_control::config::Config;
use std::path::Path;

fuzz_target!(|text: &str| {
    if let Ok(config) = Config::parse(Path::new("fuzz.toml"), text) {
        let _ = (config.setup(), config.policies(), config.protected());
    }
});
