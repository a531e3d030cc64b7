//! See `weir_fuzz::metadata_yaml`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::metadata_yaml::run(data));
