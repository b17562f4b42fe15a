//! The Signalbox control plane: keys, workflows, execution history, and the nodes' configuration, over gRPC.
//!
//! Imports point downwards only: `server` → `auth` → `api` → `app` → `store` → `signalbox-model`; `sync`, `report`
//! and `enrollment` stand beside `api`, and so do `schedules`, `retention`, `calls`, `checkpoints` and `replicas`. SeaORM entities do not leave
//! `store`; only these see wire types.

pub mod api;
pub mod app;
pub mod auth;
pub mod calls;
pub mod checkpoints;
pub mod crypto;
pub mod enrollment;
pub mod maintenance;
pub mod master_key;
pub mod options;
pub mod replicas;
pub mod report;
pub mod retention;
pub mod schedules;
pub mod server;
pub mod store;
pub mod sync;
