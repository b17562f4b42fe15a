//! Drives the real Signalbox binaries from outside.
//!
//! Everything runs on loopback ports that the kernel chose, in a temporary folder of its own, and is stopped by the
//! handle that started it. Tests wait on conditions ([`wait::until`]), never for a time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::disallowed_methods
)]

pub mod api;
pub mod balancer;
pub mod cli;
pub mod disk;
pub mod endurance;
pub mod grpc;
pub mod localstack;
pub mod oidc;
pub mod otlp;
pub mod pebble;
pub mod planes;
pub mod process;
pub mod proxy;
pub mod target;
pub mod wait;
