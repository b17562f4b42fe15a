//! Codes of the failures that Signalbox itself finds. They are stable: callers match on them.

use signalbox_model::execution::Failure;

/// An expression or a template gave no value.
pub const EXPRESSION: &str = "EXPRESSION";
/// What a request's templates gave is no request: not an http URL, a header with control characters, too large.
pub const INVALID_REQUEST: &str = "INVALID_REQUEST";
/// The server answered with a status that is none of success.
pub const HTTP_STATUS: &str = "HTTP_STATUS";
/// An attempt took longer than the step's `timeout`.
pub const TIMEOUT: &str = "TIMEOUT";
/// The execution took longer than the workflow's `timeout`.
pub const EXECUTION_TIMEOUT: &str = Failure::EXECUTION_TIMEOUT;
/// The step took longer than its `totalTimeout`.
pub const STEP_TIMEOUT: &str = "STEP_TIMEOUT";
/// The `finally` steps took longer than they may.
pub const FINALLY_TIMEOUT: &str = "FINALLY_TIMEOUT";
/// The execution has as many step runs, or as large inputs and outputs, as it may have.
pub const HISTORY_FULL: &str = Failure::HISTORY_FULL;
/// The step was stopped by what happened around it.
pub const CANCELLED: &str = Failure::CANCELLED;
/// What a `forEach` is to go through is no list, or too long.
pub const INVALID_ITEMS: &str = "INVALID_ITEMS";
/// What branches or iterations gave, or a script wrote, is larger than may be kept.
pub const OUTPUT_TOO_LARGE: &str = "OUTPUT_TOO_LARGE";
/// What a `wait` is to wait for is no time.
pub const INVALID_TIME: &str = "INVALID_TIME";
/// What a `wait` is to wait for is no signal's name.
pub const INVALID_SIGNAL: &str = "INVALID_SIGNAL";
/// A signal did not come in time.
pub const SIGNAL_TIMEOUT: &str = "SIGNAL_TIMEOUT";
/// Nobody decided an approval in time.
pub const APPROVAL_TIMEOUT: &str = "APPROVAL_TIMEOUT";
/// An approval was rejected.
pub const REJECTED: &str = "REJECTED";
/// An execution that the step started failed.
pub const CHILD_FAILED: &str = "CHILD_FAILED";
/// An execution that the step started took too long.
pub const CHILD_TIMED_OUT: &str = "CHILD_TIMED_OUT";
/// An execution that the step started was cancelled.
pub const CHILD_CANCELLED: &str = "CHILD_CANCELLED";
/// The workflow that the step runs cannot be run by this node now.
pub const CHILD_UNAVAILABLE: &str = "CHILD_UNAVAILABLE";
/// The workflow that the step runs does not take its input.
pub const CHILD_INPUT: &str = "CHILD_INPUT";
/// Too many executions would stand above the one that the step is to start.
pub const CHILD_DEPTH: &str = "CHILD_DEPTH";
/// No connection, or a broken one.
pub const CONNECTION: &str = "CONNECTION";
/// The target's address may not be called from this node.
pub const EGRESS_BLOCKED: &str = "EGRESS_BLOCKED";
/// AWS refused a call; the message begins with AWS's own code.
pub const AWS_ERROR: &str = "AWS_ERROR";
/// There are no credentials to sign a call with.
pub const AWS_CREDENTIALS: &str = "AWS_CREDENTIALS";
/// An SMTP server refused a message; the message begins with the reply's code.
pub const SMTP_ERROR: &str = "SMTP_ERROR";
/// The response is larger than may be kept.
pub const RESPONSE_TOO_LARGE: &str = "RESPONSE_TOO_LARGE";
/// Slack answered with an error.
pub const SLACK_ERROR: &str = "SLACK_ERROR";
/// A script trapped: it did what WebAssembly forbids, such as to divide by 0, or gave up, as a panic does.
pub const SCRIPT_TRAPPED: &str = "SCRIPT_TRAPPED";
/// A script ended with a code other than 0.
pub const SCRIPT_EXITED: &str = "SCRIPT_EXITED";
/// A script computed more than it may.
pub const SCRIPT_FUEL_EXHAUSTED: &str = "SCRIPT_FUEL_EXHAUSTED";
/// A script broke off without the memory that it wanted beyond what it may have.
pub const SCRIPT_MEMORY: &str = "SCRIPT_MEMORY";
/// What a script wrote is no JSON.
pub const SCRIPT_OUTPUT_INVALID: &str = "SCRIPT_OUTPUT_INVALID";
/// A script cannot be compiled by this node, or not be set up.
pub const SCRIPT_INVALID: &str = "SCRIPT_INVALID";
/// The definition cannot be read by this node.
pub const DEFINITION: &str = "DEFINITION";
/// A secret that the step reads does not exist, or has not reached this node.
pub const SECRET_MISSING: &str = "SECRET_MISSING";
/// The step reads links of an approval, and the node was not told where links lead.
pub const LINKS_OFF: &str = "LINKS_OFF";
/// A fault of Signalbox.
pub const INTERNAL: &str = "INTERNAL";
