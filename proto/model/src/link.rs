//! Links that decide an approval, for whoever holds them: tokens (JWT, EdDSA: RFC 7519, RFC 8037) that the control plane makes when it
//! is asked, and nodes for the steps that send them.

use serde::{Deserialize, Serialize};

use crate::{
    ids::{ExecutionName, StepInstance},
    signal::ApprovalDecision,
};

/// For whom the tokens are: another audience than that of tokens of the API, so that neither can be used for the other.
pub const AUDIENCE: &str = "signalbox-approval";
/// Who makes them.
pub const ISSUER: &str = "signalbox";
/// Where links lead, below the URL at which people reach the control plane.
pub const LINKS_PATH: &str = "/approvals/";

/// What a link says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    iss: String,
    aud: String,
    /// Whom it was made for, or the run of the step that sends it: its label.
    pub sub: String,
    /// Its id.
    pub jti: uuid::Uuid,
    /// When it was made, in seconds since the Unix epoch.
    pub iat: i64,
    /// Until when it counts, likewise.
    pub exp: i64,
    /// The execution.
    pub execution: ExecutionName,
    /// The run of the approval.
    pub step: StepInstance,
    /// What it decides.
    pub decision: ApprovalDecision,
}

impl Link {
    /// A link for `label`, called `id`, that counts for a time (from, until, in seconds since the Unix epoch).
    #[must_use]
    pub fn new(
        label: &str,
        id: uuid::Uuid,
        (iat, exp): (i64, i64),
        (execution, step): (&ExecutionName, &StepInstance),
        decision: ApprovalDecision,
    ) -> Self {
        Self {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: label.to_owned(),
            jti: id,
            iat,
            exp,
            execution: execution.clone(),
            step: step.clone(),
            decision,
        }
    }
}

/// The URL of the link whose token this is, below `public_url`, which has no slash at its end.
#[must_use]
pub fn url(public_url: &str, token: &str) -> String {
    format!("{public_url}{LINKS_PATH}{token}")
}

/// The two links of an approval, as expressions read them.
#[derive(Clone, PartialEq, Eq)]
pub struct ApprovalUrls {
    /// `approvals.<id>.approveUrl`.
    pub approve: String,
    /// `approvals.<id>.rejectUrl`.
    pub reject: String,
}

impl std::fmt::Debug for ApprovalUrls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApprovalUrls(***)")
    }
}
