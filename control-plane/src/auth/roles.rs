//! Who may call what: one table. What is not in it is denied.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A role in a project. Each may what those before it may, but for `data-plane`, which may only what nodes need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Syncs and reports.
    DataPlane,
    /// Reads.
    Viewer,
    /// Runs, enables, disables.
    Operator,
    /// Creates, changes, deletes.
    Editor,
    /// Reveals keys, reads the audit log; in all projects: creates and deletes projects, sets their quotas.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DataPlane => "data-plane",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Editor => "editor",
            Self::Admin => "admin",
        })
    }
}

/// Why a text is no [`Role`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a role: expected viewer, operator, editor, admin or data-plane")]
pub struct RoleError(String);

impl FromStr for Role {
    type Err = RoleError;
    fn from_str(text: &str) -> Result<Self, RoleError> {
        [
            Self::DataPlane,
            Self::Viewer,
            Self::Operator,
            Self::Editor,
            Self::Admin,
        ]
        .into_iter()
        .find(|role| role.to_string() == text)
        .ok_or_else(|| RoleError(text.chars().take(32).collect()))
    }
}

/// What a method needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// This role, or a higher one.
    AtLeast(Role),
    /// Role data-plane, and no other.
    Node,
    /// No token at all, and so no role: the request itself proves from whom it is.
    Proof,
}

impl Requirement {
    pub(super) fn is_met_by(self, role: Option<Role>) -> bool {
        match (self, role) {
            // A handler that asks who calls has no answer: deny.
            (_, None) | (Self::Proof, _) => false,
            (Self::Node, Some(role)) => role == Role::DataPlane,
            (Self::AtLeast(_), Some(Role::DataPlane)) => false,
            (Self::AtLeast(needed), Some(role)) => role >= needed,
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(Role::Admin) => f.write_str("admin"),
            Self::AtLeast(role) => write!(f, "{role} or higher"),
            Self::Node => f.write_str("data-plane"),
            Self::Proof => f.write_str("none"),
        }
    }
}

const VIEWER: Requirement = Requirement::AtLeast(Role::Viewer);
const OPERATOR: Requirement = Requirement::AtLeast(Role::Operator);
const EDITOR: Requirement = Requirement::AtLeast(Role::Editor);
const ADMIN: Requirement = Requirement::AtLeast(Role::Admin);

/// Every method and what it needs. A test walks the descriptors and fails when one is missing.
pub const METHODS: &[(&str, Requirement)] = &[
    ("/signalbox.v1.ApiKeyService/CreateApiKey", EDITOR),
    ("/signalbox.v1.ApiKeyService/GetApiKey", VIEWER),
    ("/signalbox.v1.ApiKeyService/ListApiKeys", VIEWER),
    ("/signalbox.v1.ApiKeyService/UpdateApiKey", EDITOR),
    ("/signalbox.v1.ApiKeyService/RevealApiKey", ADMIN),
    ("/signalbox.v1.ApiKeyService/RotateApiKey", EDITOR),
    ("/signalbox.v1.ApiKeyService/RevokeApiKey", EDITOR),
    ("/signalbox.v1.ApiKeyService/DeleteApiKey", EDITOR),
    ("/signalbox.v1.ApiKeyService/UndeleteApiKey", EDITOR),
    ("/signalbox.v1.WorkflowService/CreateWorkflow", EDITOR),
    ("/signalbox.v1.WorkflowService/GetWorkflow", VIEWER),
    ("/signalbox.v1.WorkflowService/ListWorkflows", VIEWER),
    ("/signalbox.v1.WorkflowService/UpdateWorkflow", EDITOR),
    ("/signalbox.v1.WorkflowService/PublishWorkflow", EDITOR),
    ("/signalbox.v1.WorkflowService/DisableWorkflow", OPERATOR),
    ("/signalbox.v1.WorkflowService/EnableWorkflow", OPERATOR),
    ("/signalbox.v1.WorkflowService/DeleteWorkflow", EDITOR),
    ("/signalbox.v1.WorkflowService/UndeleteWorkflow", EDITOR),
    ("/signalbox.v1.WorkflowService/ListWorkflowVersions", VIEWER),
    ("/signalbox.v1.WorkflowService/ValidateWorkflow", VIEWER),
    ("/signalbox.v1.WorkflowService/RunWorkflow", OPERATOR),
    ("/signalbox.v1.WorkflowService/ListUpcomingRuns", VIEWER),
    ("/signalbox.v1.WorkflowService/GetWebhook", VIEWER),
    ("/signalbox.v1.ExecutionService/GetExecution", VIEWER),
    ("/signalbox.v1.ExecutionService/ListExecutions", VIEWER),
    ("/signalbox.v1.ExecutionService/WatchExecution", VIEWER),
    ("/signalbox.v1.ExecutionService/WatchExecutions", VIEWER),
    ("/signalbox.v1.ExecutionService/GetExecutionEvent", VIEWER),
    ("/signalbox.v1.ExecutionService/CancelExecution", OPERATOR),
    ("/signalbox.v1.ExecutionService/SignalExecution", OPERATOR),
    (
        "/signalbox.v1.ExecutionService/CreateApprovalLinks",
        OPERATOR,
    ),
    ("/signalbox.v1.ExecutionService/RetryExecution", OPERATOR),
    ("/signalbox.v1.DeliveryService/ListDeliveries", VIEWER),
    ("/signalbox.v1.SubscriptionService/GetSubscription", VIEWER),
    (
        "/signalbox.v1.SubscriptionService/ListSubscriptions",
        VIEWER,
    ),
    ("/signalbox.v1.SecretService/CreateSecret", EDITOR),
    ("/signalbox.v1.SecretService/GetSecret", VIEWER),
    ("/signalbox.v1.SecretService/ListSecrets", VIEWER),
    ("/signalbox.v1.SecretService/UpdateSecret", EDITOR),
    ("/signalbox.v1.SecretService/DeleteSecret", EDITOR),
    ("/signalbox.v1.AuditService/ListAuditEntries", ADMIN),
    ("/signalbox.v1.NodeService/GetNode", VIEWER),
    ("/signalbox.v1.NodeService/ListNodes", VIEWER),
    ("/signalbox.v1.NodeService/RevokeNode", ADMIN),
    ("/signalbox.v1.NodeService/CreateEnrollmentToken", ADMIN),
    ("/signalbox.v1.NodeService/ListEnrollmentTokens", ADMIN),
    ("/signalbox.v1.NodeService/DeleteEnrollmentToken", ADMIN),
    ("/signalbox.v1.ProjectService/CreateProject", ADMIN),
    ("/signalbox.v1.ProjectService/GetProject", VIEWER),
    ("/signalbox.v1.ProjectService/ListProjects", VIEWER),
    ("/signalbox.v1.ProjectService/UpdateProject", ADMIN),
    ("/signalbox.v1.ProjectService/DeleteProject", ADMIN),
    ("/signalbox.v1.TokenService/RevokeToken", ADMIN),
    ("/signalbox.v1.TokenService/ListRevokedTokens", ADMIN),
    ("/signalbox.v1.TokenService/RotateSigningKey", ADMIN),
    ("/signalbox.v1.TokenService/ListSigningKeys", ADMIN),
    (
        "/signalbox.dataplane.v1.SyncService/Sync",
        Requirement::Node,
    ),
    (
        "/signalbox.dataplane.v1.ReportService/Report",
        Requirement::Node,
    ),
    (
        "/signalbox.dataplane.v1.EnrollmentService/EnrollNode",
        Requirement::Proof,
    ),
    (
        "/signalbox.dataplane.v1.EnrollmentService/RenewNodeToken",
        Requirement::Proof,
    ),
];
