//! Fuzzes commands for a ZStack router agent. What it does is in `tests/src/fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tidegate_tests::fuzz::zstack(input));
