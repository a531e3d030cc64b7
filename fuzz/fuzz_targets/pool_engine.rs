//! See `weir_fuzz::pool_engine`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::pool_engine::run(data));
