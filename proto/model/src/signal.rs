//! Signals: what someone tells an execution that waits for it, or that an approval is decided.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    execution::JsonText,
    ids::{SignalId, SignalName, StepInstance},
    secret::Masks,
};

/// Something told to an execution. It is told once: its id tells a copy from another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// Its id, unique in the execution.
    pub id: SignalId,
    /// What is told.
    pub kind: SignalKind,
    /// Who told it: a token's subject, or a link's label.
    pub by: String,
    /// When, by the control plane's clock.
    pub at: Timestamp,
}

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SignalKind {
    /// To whichever step waits for this name; kept until one does.
    Named {
        /// The name.
        name: SignalName,
        /// What comes with it.
        payload: JsonText,
    },
    /// To one `approval`.
    Decision {
        /// The run of the step.
        step: StepInstance,
        /// What was decided.
        decision: ApprovalDecision,
        /// Why, for people; may be empty.
        comment: String,
    },
}

impl Signal {
    /// The same without what `masks` searches for.
    #[must_use]
    pub fn masked(self, masks: &Masks) -> Self {
        let kind = match self.kind {
            SignalKind::Named { name, payload } => SignalKind::Named {
                name,
                payload: masks.json_text(payload),
            },
            SignalKind::Decision {
                step,
                decision,
                comment,
            } => SignalKind::Decision {
                step,
                decision,
                comment: masks.text(&comment).unwrap_or(comment),
            },
        };
        Self { kind, ..self }
    }
}

/// How an approval was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ApprovalDecision {
    /// Go on.
    Approved,
    /// Do not.
    Rejected,
}

impl ApprovalDecision {
    /// As outputs and the control plane's rows write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "APPROVED",
            Self::Rejected => "REJECTED",
        }
    }

    /// Of what [`ApprovalDecision::as_str`] gave.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        [Self::Approved, Self::Rejected]
            .into_iter()
            .find(|decision| decision.as_str() == text)
    }
}
