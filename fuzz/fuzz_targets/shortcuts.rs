//! Fuzzes both ends of ZSNP together. What it does is in `tests/src/fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tidegate_tests::fuzz::shortcuts(input));
