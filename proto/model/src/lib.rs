//! What Signalbox's wire means. No transport and no storage: this crate knows neither tonic nor prost, neither SeaORM
//! nor hyper.
//!
//! A [`workflow::Workflow`] can only be made through [`workflow::Workflow::new`]; the control plane (on write), the
//! command line (offline) and the data plane (before applying) all go through it, so that they cannot disagree on what
//! is valid.

pub mod audit;
pub mod aws;
pub mod child;
pub mod config;
pub mod enrollment;
pub mod error;
pub mod event;
pub mod execution;
pub mod expression;
pub mod filter_policy;
pub mod ids;
pub mod key_scope;
pub mod key_use;
pub mod labels;
pub mod limits;
pub mod link;
pub mod rate_limit;
pub mod record;
pub mod retry;
pub mod schedule;
pub mod script;
pub mod secret;
pub mod signal;
pub mod suggestion;
pub mod violation;
pub mod workflow;
