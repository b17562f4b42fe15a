//! Codes of the failures that Signalbox itself finds. They are stable: callers match on them.

/// An expression or a template gave no value.
pub const EXPRESSION: &str = "EXPRESSION";
/// What a request's templates gave is no request: not an http URL, a header with control characters, too large.
pub const INVALID_REQUEST: &str = "INVALID_REQUEST";
/// The server answered with a status other than 2xx.
pub const HTTP_STATUS: &str = "HTTP_STATUS";
/// An attempt took longer than the step's `timeout`.
pub const TIMEOUT: &str = "TIMEOUT";
/// The execution took longer than the workflow's `timeout`.
pub const EXECUTION_TIMEOUT: &str = "EXECUTION_TIMEOUT";
/// No connection, or a broken one.
pub const CONNECTION: &str = "CONNECTION";
/// The target's address may not be called from this node.
pub const EGRESS_BLOCKED: &str = "EGRESS_BLOCKED";
/// The response is larger than may be kept.
pub const RESPONSE_TOO_LARGE: &str = "RESPONSE_TOO_LARGE";
/// The definition cannot be read by this node.
pub const DEFINITION: &str = "DEFINITION";
/// A fault of Signalbox.
pub const INTERNAL: &str = "INTERNAL";
