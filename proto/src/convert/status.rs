//! Errors ↔ gRPC statuses with `google.rpc` details (<https://google.aip.dev/193>).

use std::{collections::HashMap, time::Duration};

use signalbox_model::{error::Error, violation::Violation};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation, StatusExt as _};

/// `domain` of every `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "signalbox.dev";

/// Pause that UNAVAILABLE asks for.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The status of an error.
#[must_use]
pub fn to_status(error: Error) -> Status {
    let message = error.to_string();
    let (code, details) = match error {
        Error::Invalid(violations) => {
            let fields: Vec<_> = violations
                .0
                .into_iter()
                .map(|Violation { field, description }| FieldViolation {
                    field,
                    description,
                    ..Default::default()
                })
                .collect();
            (
                Code::InvalidArgument,
                ErrorDetails::with_bad_request(fields),
            )
        }
        Error::NotFound { resource } => (Code::NotFound, about(resource)),
        Error::AlreadyExists { resource } => (Code::AlreadyExists, about(resource)),
        Error::Stale { resource } => (Code::Aborted, about(resource)),
        Error::Precondition {
            subject,
            reason,
            message,
        } => {
            let violation = PreconditionViolation::new(reason, subject, message);
            let mut details = ErrorDetails::with_precondition_failure(vec![violation]);
            details.set_error_info(reason, DOMAIN, HashMap::new());
            (Code::FailedPrecondition, details)
        }
        Error::Unauthenticated { reason, .. } => (Code::Unauthenticated, info(reason)),
        Error::Denied { reason, .. } => (Code::PermissionDenied, info(reason)),
        Error::Exhausted { .. } => (Code::ResourceExhausted, info("LIMIT_REACHED")),
        Error::Unavailable { .. } => (
            Code::Unavailable,
            ErrorDetails::with_retry_info(Some(RETRY_DELAY)),
        ),
        Error::Internal { .. } => (Code::Internal, ErrorDetails::new()),
    };
    Status::with_error_details(code, message, details)
}

fn about(resource: String) -> ErrorDetails {
    ErrorDetails::with_resource_info("", resource, "", "")
}

fn info(reason: &str) -> ErrorDetails {
    ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new())
}

/// What a status says, with its details unpacked.
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
}

impl From<Status> for ApiError {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        Self {
            code: status.code(),
            message: status.message().to_owned(),
            reason: details.error_info().map(|info| info.reason.clone()),
            violations: details
                .bad_request()
                .map(|bad| {
                    bad.field_violations
                        .iter()
                        .map(|v| Violation::new(v.field.clone(), v.description.clone()))
                        .collect()
                })
                .unwrap_or_default(),
        }
    }
}
