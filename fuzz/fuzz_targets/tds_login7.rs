//! See `weir_fuzz::tds_login7`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::tds_login7::run(data));
