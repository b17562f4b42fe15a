#![no_main]
use libfuzzer_sys::fuzz_target;
use signalbox_fuzz::forwarded::body;

fuzz_target!(|bytes: &[u8]| body(bytes));
