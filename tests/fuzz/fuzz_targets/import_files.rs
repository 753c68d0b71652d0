#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| herdless_fuzz::import_files(bytes));
