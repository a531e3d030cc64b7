//! See `weir_fuzz::tds_prelogin`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::tds_prelogin::run(data));
