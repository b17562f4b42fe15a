#![no_main]
use libfuzzer_sys::fuzz_target;
use signalbox_fuzz::certificate_url::body;

fuzz_target!(|bytes: &[u8]| body(bytes));
