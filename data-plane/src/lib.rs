//! The Signalbox data plane: takes Amazon SNS webhooks, makes them durable, runs their workflows and reports.
//!
//! Imports point downwards only: `server` → `layer` → `ingest` → `spool`; `execution`, `sync` and `report` stand beside
//! `ingest` and meet it in `spool` and `config` only.

pub mod egress;
pub mod spool;
