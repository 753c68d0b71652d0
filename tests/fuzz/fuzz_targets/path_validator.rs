#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| herdless_fuzz::path_validator(bytes));
