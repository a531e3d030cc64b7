//! See `weir_fuzz::tds_dialogue`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::tds_dialogue::run(data));
