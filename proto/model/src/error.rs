//! Errors of use cases, free of transport. They become a gRPC status once, at the edge (`signalbox-proto::convert`).

use crate::violation::Violations;

/// Reason of what is refused because its resource is deleted.
pub const RESOURCE_DELETED: &str = "RESOURCE_DELETED";

/// Why a use case gave nothing. Each variant is one `google.rpc.Code`; texts hold no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// INVALID_ARGUMENT with `google.rpc.BadRequest`.
    #[error("the request is invalid: {0}")]
    Invalid(Violations),
    /// NOT_FOUND.
    #[error("{resource} does not exist")]
    NotFound {
        /// Its name.
        resource: String,
    },
    /// ALREADY_EXISTS.
    #[error("{resource} exists already")]
    AlreadyExists {
        /// Its name.
        resource: String,
    },
    /// ALREADY_EXISTS: its id is that of one that was deleted, and is kept.
    #[error(
        "{resource} was deleted, and is kept: undelete it, or delete it for good (purge), and its id is free"
    )]
    IdKept {
        /// Its name.
        resource: String,
    },
    /// FAILED_PRECONDITION with `google.rpc.PreconditionFailure`.
    #[error("{message}")]
    Precondition {
        /// Resource that is not in the state needed.
        subject: String,
        /// Stable upper-snake-case reason.
        reason: &'static str,
        /// The same for people.
        message: String,
    },
    /// ABORTED: the etag is not the current one (AIP-154).
    #[error("{resource} has changed since it was read: its etag is another")]
    Stale {
        /// Its name.
        resource: String,
    },
    /// UNAUTHENTICATED with `google.rpc.ErrorInfo`.
    #[error("{message}")]
    Unauthenticated {
        /// Stable upper-snake-case reason, such as `TOKEN_EXPIRED`.
        reason: &'static str,
        /// The same for people.
        message: String,
    },
    /// PERMISSION_DENIED with `google.rpc.ErrorInfo`.
    #[error("{message}")]
    Denied {
        /// Stable upper-snake-case reason.
        reason: &'static str,
        /// The same for people.
        message: String,
    },
    /// RESOURCE_EXHAUSTED.
    #[error("{message}")]
    Exhausted {
        /// Which limit.
        message: String,
    },
    /// RESOURCE_EXHAUSTED with `google.rpc.QuotaFailure` and `google.rpc.ErrorInfo`: a quota of a project.
    #[error("{subject} has reached its quota {quota}: it uses {used} of {limit}")]
    Quota {
        /// Name of the project.
        subject: String,
        /// Which: the field of `ProjectQuotas`.
        quota: &'static str,
        /// How much it may have.
        limit: i64,
        /// How much it has.
        used: i64,
    },
    /// UNAVAILABLE: trying again may help.
    #[error("{message}")]
    Unavailable {
        /// What is away.
        message: String,
    },
    /// UNAVAILABLE with `google.rpc.ErrorInfo`: who was asked must not work with its database. Another replica may.
    #[error("{message}")]
    OutOfService {
        /// Stable upper-snake-case reason.
        reason: &'static str,
        /// The same for people.
        message: String,
    },
    /// INTERNAL. The message is for callers; the cause was logged where it happened.
    #[error("{message}")]
    Internal {
        /// What failed.
        message: String,
    },
}

impl Error {
    /// One problem of the request.
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::Invalid(Violations::one(field, description))
    }

    /// `resource` is deleted, and can be undeleted: nothing else can be done with it.
    pub fn deleted(resource: impl ToString) -> Self {
        let subject = resource.to_string();
        Self::Precondition {
            message: format!("{subject} is deleted: undelete it first"),
            subject,
            reason: RESOURCE_DELETED,
        }
    }

    /// `resource` does not exist.
    pub fn not_found(resource: impl ToString) -> Self {
        Self::NotFound {
            resource: resource.to_string(),
        }
    }
}

impl From<Violations> for Error {
    fn from(violations: Violations) -> Self {
        Self::Invalid(violations)
    }
}
