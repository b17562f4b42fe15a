//! Process plumbing that both planes and the CLI share.
//!
//! Nothing here knows SNS, workflows or gRPC services: it starts a process, makes it observable,
//! and ends it in good order. It imports no other crate of this workspace.
//!
//! | module | what it gives |
//! | --- | --- |
//! | [`telemetry`] | logs to stderr, spans by OTLP, W3C trace context |
//! | [`metrics`] | the process-wide Prometheus recorder |
//! | [`admin`] | `/healthz`, `/readyz`, `/metrics` |
//! | [`shutdown`] | signals, draining, forcing |
//! | [`span`] | spans of time on a command line |
//! | [`net`] | binding a listener with one clear error line |
//! | [`data_dir`] | an exclusively locked folder, secret files |
//! | [`tls`] | PEM files to rustls configurations, and their exchange while they serve |
//! | [`hpke`] | values sealed to one process |
//! | [`exit`] | exit codes and the one error line |
//! | [`backoff`] | the one reconnect policy |
//! | [`background`] | threads for what may wait |
//! | [`ambient`] | the time of day and chance, so that a simulation can give its own |

pub mod admin;
pub mod ambient;
pub mod background;
pub mod backoff;
pub mod data_dir;
pub mod exit;
pub mod hpke;
pub mod metrics;
pub mod net;
pub mod shutdown;
pub mod span;
pub mod telemetry;
pub mod tls;
