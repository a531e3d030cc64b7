//! See `weir_fuzz::tds_browser`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::tds_browser::run(data));
