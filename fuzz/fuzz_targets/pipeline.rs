//! Fuzzes the whole gateway: a script of frames, time and reloads. What it does is in `tests/src/fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tidegate_tests::fuzz::pipeline(input));
