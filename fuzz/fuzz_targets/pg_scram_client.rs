//! See `weir_fuzz::pg_scram_client`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::pg_scram_client::run(data));
