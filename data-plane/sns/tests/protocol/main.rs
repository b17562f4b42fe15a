//! The protocol from the outside: genuine messages, captured messages, hostile messages.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod captures;
mod certificates;
mod envelopes;
mod headers;
mod properties;
mod signatures;
mod support;
mod vectors;
