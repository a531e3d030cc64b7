//! See `weir_fuzz::pg_dialogue`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::pg_dialogue::run(data));
