//! See `weir_fuzz::tds_request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::tds_request::run(data));
