//! The program has no library, so its `settings` are taken as they are.
#![no_main]

#[path = "../../crates/orchestrate-cli/src/settings/tests/fuzzed.rs"]
mod fuzzed;
#[path = "../../crates/orchestrate-cli/src/settings/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the program uses all of it")]
mod settings;

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzzed::config(input));
