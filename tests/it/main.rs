//! Signalbox from outside: the real binaries, as processes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    missing_docs
)]

mod attacks;
mod bad_input;
mod buf_curl;
mod crash;
mod dev;
mod disk;
mod endurance;
mod local_stack;
mod manual;
mod partition;
mod revocation;
mod trace;
