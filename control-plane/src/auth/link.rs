//! Links for approvals: tokens of our own key that decide one approval one way, for whoever holds them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use signalbox_model::{
    error::Error,
    ids::{ExecutionName, StepInstance},
    signal::ApprovalDecision,
};

use super::Tokens;

/// Another audience than that of tokens: neither can be used for the other.
const AUDIENCE: &str = "signalbox-approval";
const ISSUER: &str = "signalbox";
/// Where links lead, below the control plane's public URL.
pub const LINKS_PATH: &str = "/approvals/";

/// What a link says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    iss: String,
    aud: String,
    /// Whom it was made for: its label.
    pub sub: String,
    /// Its id.
    pub jti: uuid::Uuid,
    iat: i64,
    exp: i64,
    /// The execution.
    pub execution: ExecutionName,
    /// The run of the approval.
    pub step: StepInstance,
    /// What it decides.
    pub decision: ApprovalDecision,
}

/// Makes and reads links.
#[derive(Clone, Debug)]
pub struct Links {
    tokens: Tokens,
    public_url: Option<String>,
}

impl Links {
    /// Signed by the key of `tokens`, below `public_url`: none are made without it.
    #[must_use]
    pub fn new(tokens: Tokens, public_url: Option<String>) -> Self {
        Self { tokens, public_url }
    }

    /// The URL of a link for `label` that decides `step`, until `expires_at`.
    ///
    /// # Errors
    /// `Precondition` when the control plane does not know its own URL.
    pub fn url(
        &self,
        (execution, step): (&ExecutionName, &StepInstance),
        decision: ApprovalDecision,
        label: &str,
        expires_at: Timestamp,
    ) -> Result<String, Error> {
        let Some(public_url) = &self.public_url else {
            return Err(Error::Precondition {
                subject: execution.to_string(),
                reason: "LINKS_OFF",
                message: "the control plane does not know where people reach it: set --public-url"
                    .to_owned(),
            });
        };
        let token = self.tokens.sign(&Link {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: label.to_owned(),
            jti: uuid::Uuid::new_v4(),
            iat: Timestamp::now().as_second(),
            exp: expires_at.as_second(),
            execution: execution.clone(),
            step: step.clone(),
            decision,
        });
        let token = token.map_err(|error| {
            tracing::error!(%error, "a link cannot be signed");
            Error::Internal {
                message: "the link cannot be signed".to_owned(),
            }
        })?;
        Ok(format!("{public_url}{LINKS_PATH}{token}"))
    }

    /// What a link's token says.
    ///
    /// # Errors
    /// `Unauthenticated` with the reason; never with a part of the token.
    pub fn read(&self, token: &str) -> Result<Link, Error> {
        let link: Link = self.tokens.claims_of(token, AUDIENCE)?;
        self.tokens.check(&link.jti.to_string())?;
        Ok(link)
    }
}
