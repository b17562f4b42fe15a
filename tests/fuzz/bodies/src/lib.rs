//! What the fuzz targets do with their bytes, as plain functions: libFuzzer calls them for as long as one likes
//! (`tests/fuzz/README.md`), and the ordinary tests for a short while, always in the same way.
//!
//! A body panics when a promise is broken, and only then. Where it can, it compares with a second implementation, written
//! from the specification and as simple as can be.
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod certificate;
pub mod certificate_url;
pub mod confirm_answer;
pub mod envelope;
pub mod forwarded;
pub mod intake_log;
pub mod intake_record;
pub mod key;
pub mod mutate;
pub mod proxy_header;
pub mod route;
pub mod string_to_sign;
pub mod template;

/// A fuzz target.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, which its corpus' folder has, too.
    pub name: &'static str,
    /// What it does with bytes.
    pub body: fn(&[u8]),
    /// Mutations that the ordinary tests try.
    pub mutations: u32,
    /// Pieces that mutations insert: what a random byte hardly finds.
    pub tokens: &'static [&'static str],
}

/// Every target.
pub const TARGETS: &[Target] = &[
    certificate::TARGET,
    certificate_url::TARGET,
    confirm_answer::TARGET,
    envelope::TARGET,
    forwarded::TARGET,
    intake_log::TARGET,
    intake_record::TARGET,
    key::TARGET,
    proxy_header::TARGET,
    route::TARGET,
    string_to_sign::TARGET,
    template::TARGET,
];
