#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| orchestrate_core::fuzzing::words(input));
