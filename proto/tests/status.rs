//! Errors as statuses, and back.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use signalbox_model::{
    error::Error,
    violation::{Violation, Violations},
};
use signalbox_proto::convert::status::{ApiError, DOMAIN, to_status};
use tonic::Code;
use tonic_types::StatusExt as _;

#[test]
fn every_error_has_its_code_and_a_reason() {
    let message = || "m".to_owned();
    let resource = || "projects/p/workflows/w".to_owned();
    let reason = "WHY";
    let cases = [
        (
            Error::invalid("a.b", "wrong"),
            Code::InvalidArgument,
            "FIELDS_INVALID",
        ),
        (
            Error::not_found(resource()),
            Code::NotFound,
            "RESOURCE_NOT_FOUND",
        ),
        (
            Error::AlreadyExists {
                resource: resource(),
            },
            Code::AlreadyExists,
            "RESOURCE_EXISTS",
        ),
        (
            Error::Stale {
                resource: resource(),
            },
            Code::Aborted,
            "ETAG_MISMATCH",
        ),
        (
            Error::Precondition {
                subject: resource(),
                reason,
                message: message(),
            },
            Code::FailedPrecondition,
            reason,
        ),
        (
            Error::Unauthenticated {
                reason,
                message: message(),
            },
            Code::Unauthenticated,
            reason,
        ),
        (
            Error::Denied {
                reason,
                message: message(),
            },
            Code::PermissionDenied,
            reason,
        ),
        (
            Error::Exhausted { message: message() },
            Code::ResourceExhausted,
            "LIMIT_REACHED",
        ),
        (
            Error::Quota {
                subject: "projects/p".to_owned(),
                quota: "api_keys",
                limit: 3,
                used: 3,
            },
            Code::ResourceExhausted,
            "QUOTA_EXCEEDED",
        ),
        (
            Error::Unavailable { message: message() },
            Code::Unavailable,
            "UNAVAILABLE",
        ),
        (
            Error::OutOfService {
                reason,
                message: message(),
            },
            Code::Unavailable,
            reason,
        ),
        (
            Error::Internal { message: message() },
            Code::Internal,
            "INTERNAL",
        ),
    ];
    for (error, code, reason) in cases {
        let text = error.to_string();
        let status = to_status(error);
        assert_eq!(status.code(), code);
        let info = status.get_details_error_info().unwrap();
        assert_eq!(
            (info.reason.as_str(), info.domain.as_str()),
            (reason, DOMAIN)
        );
        let api = ApiError::from(status);
        assert_eq!((api.code, api.to_string()), (code, text));
        assert_eq!(api.reason.as_deref(), Some(reason));
    }
}

#[test]
fn details_come_back_whole() {
    let violations = vec![
        Violation::new("spec.steps[0].id", "is missing"),
        Violation::new("", "is empty"),
    ];
    let api = ApiError::from(to_status(Error::Invalid(Violations(violations.clone()))));
    assert_eq!(api.violations, violations);
    assert!(
        api.to_string()
            .contains("spec.steps[0].id: is missing; is empty"),
        "{api}"
    );

    let status = to_status(Error::not_found("projects/p/apiKeys/k"));
    let info = status.get_details_resource_info().unwrap();
    assert_eq!(info.resource_type, "signalbox.dev/ApiKey");
    assert_eq!(
        ApiError::from(status).resource.as_deref(),
        Some("projects/p/apiKeys/k")
    );

    let status = to_status(Error::Quota {
        subject: "projects/p".to_owned(),
        quota: "workflows",
        limit: 10,
        used: 12,
    });
    let info = status.get_details_error_info().unwrap();
    let said = ["quota", "limit", "used"].map(|name| info.metadata[name].as_str());
    assert_eq!(said, ["workflows", "10", "12"]);
    let failure = status.get_details_quota_failure().unwrap();
    assert_eq!(failure.violations[0].subject, "projects/p");
    assert!(failure.violations[0].description.contains("12 of 10"));

    let away = ApiError::from(to_status(Error::Unavailable {
        message: "m".into(),
    }));
    assert_eq!(away.retry_after, Some(Duration::from_secs(1)));

    let precondition = to_status(Error::Precondition {
        subject: "projects/p/apiKeys/k".into(),
        reason: "REFERENCED",
        message: "is in use".into(),
    });
    let failure = precondition.get_details_precondition_failure().unwrap();
    assert_eq!(failure.violations[0].r#type, "REFERENCED");
    assert_eq!(failure.violations[0].subject, "projects/p/apiKeys/k");
}
