//! The Signalbox data plane: takes Amazon SNS webhooks, makes them durable, runs their workflows and reports.
//!
//! Imports point downwards only: `server` → `layer` → `ingest` → `spool`; `execution`, `sync` and `report` stand beside
//! `ingest` and meet it in `spool` and `config` only; `identity` gets `sync` and `report` their tokens.

pub mod config;
pub mod egress;
pub mod execution;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod identity;
pub mod in_use;
pub mod ingest;
pub mod layer;
pub mod node;
pub mod options;
pub mod rate;
pub mod report;
pub mod retirement;
pub mod server;
#[cfg(test)]
mod simulation;
pub mod spool;
pub mod spool_command;
pub mod sync;
