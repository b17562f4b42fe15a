//! The binary `signalbox`, run as its users run it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod api;
mod files;
mod offline;
mod runs;
mod support;
