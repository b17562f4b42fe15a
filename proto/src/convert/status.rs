//! Errors ↔ gRPC statuses with `google.rpc` details (<https://google.aip.dev/193>).

use std::{collections::HashMap, time::Duration};

use signalbox_model::{
    error::{Error, RESOURCE_DELETED},
    violation::Violation,
};
use tonic::{Code, Status};
use tonic_types::{
    ErrorDetails, FieldViolation, PreconditionViolation, QuotaViolation, StatusExt as _,
};

/// `domain` of every `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "signalbox.dev";

/// Pause that UNAVAILABLE asks for.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The status of an error. Each carries an `ErrorInfo` (AIP-193), and what its code asks for beside it.
#[must_use]
pub fn to_status(error: Error) -> Status {
    let message = error.to_string();
    let mut metadata = HashMap::new();
    let (code, reason, mut details) = match error {
        Error::Invalid(violations) => {
            let fields: Vec<_> = violations.0.into_iter().map(field_violation).collect();
            (
                Code::InvalidArgument,
                "FIELDS_INVALID",
                ErrorDetails::with_bad_request(fields),
            )
        }
        Error::NotFound { resource } => (Code::NotFound, "RESOURCE_NOT_FOUND", about(resource)),
        Error::AlreadyExists { resource } => {
            (Code::AlreadyExists, "RESOURCE_EXISTS", about(resource))
        }
        Error::IdKept { resource } => (Code::AlreadyExists, RESOURCE_DELETED, about(resource)),
        Error::Stale { resource } => (Code::Aborted, "ETAG_MISMATCH", about(resource)),
        Error::Precondition {
            subject,
            reason,
            message,
        } => {
            let violation = PreconditionViolation::new(reason, subject, message);
            (
                Code::FailedPrecondition,
                reason,
                ErrorDetails::with_precondition_failure(vec![violation]),
            )
        }
        Error::Unauthenticated { reason, .. } => {
            (Code::Unauthenticated, reason, ErrorDetails::new())
        }
        Error::Denied { reason, .. } => (Code::PermissionDenied, reason, ErrorDetails::new()),
        Error::Exhausted { .. } => (
            Code::ResourceExhausted,
            "LIMIT_REACHED",
            ErrorDetails::new(),
        ),
        Error::Quota {
            subject,
            quota,
            limit,
            used,
        } => {
            for (name, value) in [
                ("quota", quota.to_owned()),
                ("limit", limit.to_string()),
                ("used", used.to_string()),
            ] {
                metadata.insert(name.to_owned(), value);
            }
            let violation = QuotaViolation {
                quota_id: quota.to_owned(),
                quota_value: limit,
                ..QuotaViolation::new(subject, message.clone())
            };
            (
                Code::ResourceExhausted,
                "QUOTA_EXCEEDED",
                ErrorDetails::with_quota_failure(vec![violation]),
            )
        }
        Error::Unavailable { .. } => (
            Code::Unavailable,
            "UNAVAILABLE",
            ErrorDetails::with_retry_info(Some(RETRY_DELAY)),
        ),
        Error::OutOfService { reason, .. } => (
            Code::Unavailable,
            reason,
            ErrorDetails::with_retry_info(Some(RETRY_DELAY)),
        ),
        Error::Internal { .. } => (Code::Internal, "INTERNAL", ErrorDetails::new()),
    };
    details.set_error_info(reason, DOMAIN, metadata);
    Status::with_error_details(code, message, details)
}

fn field_violation(violation: Violation) -> FieldViolation {
    let Violation { field, description } = violation;
    FieldViolation {
        field,
        description,
        ..Default::default()
    }
}

fn about(resource: String) -> ErrorDetails {
    let kind = resource_type(&resource);
    ErrorDetails::with_resource_info(kind, resource, "", "")
}

/// The type of a resource by its name (AIP-123).
fn resource_type(name: &str) -> &'static str {
    match name.rsplit('/').nth(1) {
        Some("apiKeys") => "signalbox.dev/ApiKey",
        Some("workflows") => "signalbox.dev/Workflow",
        Some("versions") => "signalbox.dev/WorkflowVersion",
        Some("executions") => "signalbox.dev/Execution",
        Some("subscriptions") => "signalbox.dev/Subscription",
        Some("deliveries") => "signalbox.dev/Delivery",
        Some("secrets") => "signalbox.dev/Secret",
        Some("nodes") => "signalbox.dev/Node",
        Some("enrollmentTokens") => "signalbox.dev/EnrollmentToken",
        Some("projects") => "signalbox.dev/Project",
        _ => "",
    }
}

/// What a status says, with its details unpacked. Displays as the status's message, which tells all violations.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The code.
    pub code: Code,
    /// The message.
    pub message: String,
    /// Reason of a `google.rpc.ErrorInfo`.
    pub reason: Option<String>,
    /// Fields of a `google.rpc.BadRequest`.
    pub violations: Vec<Violation>,
    /// Name of a `google.rpc.ResourceInfo`.
    pub resource: Option<String>,
    /// Pause of a `google.rpc.RetryInfo`.
    pub retry_after: Option<Duration>,
}

impl From<Status> for ApiError {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let violations = details.bad_request().map(|bad| {
            bad.field_violations
                .iter()
                .map(|v| Violation::new(v.field.clone(), v.description.clone()))
                .collect()
        });
        Self {
            code: status.code(),
            message: status.message().to_owned(),
            reason: details.error_info().map(|info| info.reason.clone()),
            violations: violations.unwrap_or_default(),
            resource: details
                .resource_info()
                .map(|info| info.resource_name.clone()),
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
        }
    }
}
