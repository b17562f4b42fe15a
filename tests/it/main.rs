//! Signalbox from outside: the real binaries, as processes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    missing_docs
)]

mod acme;
mod apply;
mod attacks;
mod audit;
mod auth;
mod aws;
mod bad_input;
mod buf_curl;
mod cancel;
mod child;
mod conformance;
mod crash;
mod deleted;
mod dev;
mod disk;
mod endurance;
mod enroll;
mod examples;
mod filter;
mod keys;
mod links;
mod lists;
mod local_stack;
mod maintenance;
mod manual;
mod mutual_tls;
mod overload;
mod partition;
mod projects;
mod rejected;
mod replicas;
mod retention;
mod retire;
mod retry;
mod revocation;
mod schedule;
mod script;
mod secrets;
mod sent_links;
mod signal;
mod trace;
mod turns;
