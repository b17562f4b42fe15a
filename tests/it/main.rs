//! Signalbox from outside: the real binaries, as processes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    missing_docs
)]

mod acme;
mod attacks;
mod aws;
mod bad_input;
mod buf_curl;
mod cancel;
mod child;
mod crash;
mod dev;
mod disk;
mod endurance;
mod filter;
mod links;
mod lists;
mod local_stack;
mod manual;
mod overload;
mod partition;
mod rejected;
mod retry;
mod revocation;
mod schedule;
mod secrets;
mod signal;
mod trace;
mod turns;
