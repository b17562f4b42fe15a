#![no_main]
use libfuzzer_sys::fuzz_target;
use signalbox_fuzz::template::body;

fuzz_target!(
    // CEL's interpreter panics on some trees, which evaluation catches: libFuzzer's hook would end the process at once. A
    // panic that is not caught ends it all the same.
    init: std::panic::set_hook(Box::new(|_| {})),
    |bytes: &[u8]| body(bytes)
);
