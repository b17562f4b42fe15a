//! Webhooks over real connections: the server with its layers, ingest, the spool, and an Amazon SNS of the tests' own
//! with real keys, certificates and confirmations.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr
)]

mod certificates;
mod confirm;
mod connections;
mod crowds;
mod duplicates;
mod filter;
mod keys;
mod limits;
mod messages;
mod node;
mod proxies;
mod secrets;
mod sns;
mod status;
mod tls;
mod trace;
