//! Ids and resource names as types (AIP-122). A name that parsed is valid.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

mod instance;
mod names;

pub use instance::StepInstance;
pub use names::{
    ApiKeyName, DeliveryName, EnrollmentTokenName, ExecutionName, NodeName, ProjectName,
    SecretName, SubscriptionName, WorkflowName, WorkflowVersionName,
};

/// Why a text is not the id or name that it should be. Display says what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not {expected}")]
pub struct IdError {
    found: String,
    expected: &'static str,
}

impl IdError {
    pub(crate) fn new(found: &str, expected: &'static str) -> Self {
        // What came from outside is cut, so that an error stays one readable line.
        let found = found.chars().take(96).collect();
        Self { found, expected }
    }
}

/// The form that AIP-122 asks of ids that users choose, as a regular expression.
pub const RESOURCE_ID_PATTERN: &str = "[a-z]([a-z0-9-]{0,61}[a-z0-9])?";

/// The form of steps' ids, so that CEL reads them as identifiers.
pub const STEP_ID_PATTERN: &str = "[a-z]([a-zA-Z0-9_]{0,61}[a-zA-Z0-9])?";

/// [`RESOURCE_ID_PATTERN`].
fn is_resource_id(text: &str) -> bool {
    let bytes = text.as_bytes();
    matches!(bytes.len(), 1..=63)
        && bytes[0].is_ascii_lowercase()
        && bytes[bytes.len() - 1] != b'-'
        && bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

/// `[a-zA-Z0-9][a-zA-Z0-9_.:-]{0,127}`, so that it can be an id of what is waited for.
fn is_signal_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    matches!(bytes.len(), 1..=128)
        && bytes[0].is_ascii_alphanumeric()
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"_.:-".contains(b))
}

/// [`STEP_ID_PATTERN`].
fn is_step_id(text: &str) -> bool {
    let bytes = text.as_bytes();
    matches!(bytes.len(), 1..=63)
        && bytes[0].is_ascii_lowercase()
        && bytes[bytes.len() - 1] != b'_'
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || *b == b'_')
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $check:path, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                if $check(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(IdError::new(text, $expected))
                }
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

id!(
    /// Last segment of a project's name.
    ProjectId, is_resource_id, "an id: 1 to 63 of a-z, 0-9 and '-', starting with a letter and not ending with '-'"
);
id!(
    /// Last segment of a workflow's name.
    WorkflowId, is_resource_id, "an id: 1 to 63 of a-z, 0-9 and '-', starting with a letter and not ending with '-'"
);
id!(
    /// Last segment of an API key's name.
    ApiKeyId, is_resource_id, "an id: 1 to 63 of a-z, 0-9 and '-', starting with a letter and not ending with '-'"
);
id!(
    /// Last segment of a secret's name.
    SecretId, is_resource_id, "an id: 1 to 63 of a-z, 0-9 and '-', starting with a letter and not ending with '-'"
);
id!(
    /// Last segment of an execution's name; see [`ExecutionId::derive`].
    ExecutionId, is_resource_id, "an execution id: 1 to 63 of a-z, 0-9 and '-', starting with a letter"
);
id!(
    /// Last segment of a subscription's name; see [`SubscriptionId::derive`].
    SubscriptionId, is_resource_id, "a subscription id: 1 to 63 of a-z, 0-9 and '-', starting with a letter"
);
id!(
    /// Last segment of a delivery's name.
    DeliveryId, is_resource_id, "a delivery id: 1 to 63 of a-z, 0-9 and '-', starting with a letter"
);
id!(
    /// Last segment of a node's name; made with the node's data folder.
    NodeId, is_resource_id, "a node id: 1 to 63 of a-z, 0-9 and '-', starting with a letter"
);
id!(
    /// Last segment of an enrollment token's name.
    EnrollmentTokenId, is_resource_id, "an enrollment token's id: 1 to 63 of a-z, 0-9 and '-', starting with a letter"
);
id!(
    /// Tells a signal from the others of its execution.
    SignalId, is_resource_id, "a signal id: 1 to 63 of a-z, 0-9 and '-', starting with a letter"
);
id!(
    /// Names what a `wait` waits for.
    SignalName, is_signal_name, "a signal's name: 1 to 128 of a-z, A-Z, 0-9, '_', '.', ':' and '-', starting with a letter or a digit"
);
id!(
    /// Names a step within its workflow.
    StepId, is_step_id, "a step id: 1 to 63 of a-z, A-Z, 0-9 and '_', starting with a small letter and not ending with '_'"
);

impl ProjectId {
    /// The project that exists from the start.
    #[must_use]
    pub fn default_project() -> Self {
        Self("default".into())
    }
}

impl ExecutionId {
    /// The id of the execution that a message starts (invariant I2): a digest of the workflow, the message's source
    /// (topic ARN, or empty) and its id, so that a copy of the message can only name the same execution. `nonce` sets
    /// an explicit replay apart.
    #[must_use]
    pub fn derive(
        workflow: &WorkflowName,
        source: &str,
        message_id: &str,
        nonce: Option<&str>,
    ) -> Self {
        Self(
            digest_id(
                'x',
                "signalbox 2026-11 execution id",
                &[
                    &workflow.to_text(),
                    source,
                    message_id,
                    nonce.unwrap_or_default(),
                ],
            )
            .into(),
        )
    }
}

impl ExecutionId {
    /// The id of the execution of `workflow` that an attempt starts: a digest of both, so that the same attempt, after a crash,
    /// can only name the same execution.
    #[must_use]
    pub fn derive_child(
        workflow: &WorkflowName,
        parent: &ExecutionName,
        step: &StepInstance,
        attempt: u32,
    ) -> Self {
        let parts = [
            workflow.to_text(),
            parent.to_text(),
            step.to_string(),
            attempt.to_string(),
        ];
        let parts = parts.each_ref().map(String::as_str);
        Self(digest_id('x', "signalbox 2026-12 child execution id", &parts).into())
    }
}

impl StepId {
    /// Stands for the id of a step whose own is wrong, while its definition is checked: one for each path, and none that a
    /// definition could write.
    #[must_use]
    pub fn placeholder(path: &str) -> Self {
        Self(format!("({path})").into())
    }
}

impl SubscriptionId {
    /// The id of a topic's subscription to a workflow: a digest of both.
    #[must_use]
    pub fn derive(workflow: &WorkflowName, topic_arn: &str) -> Self {
        Self(
            digest_id(
                's',
                "signalbox 2026-11 subscription id",
                &[&workflow.to_string(), topic_arn],
            )
            .into(),
        )
    }
}

/// `prefix` and 160 bits of BLAKE3 over the parts, each with its length before it so that no two lists collide.
fn digest_id(prefix: char, context: &str, parts: &[&str]) -> String {
    let length: usize = parts.iter().map(|part| size_of::<u64>() + part.len()).sum();
    let mut text = Vec::with_capacity(length);
    for part in parts {
        text.extend_from_slice(&(part.len() as u64).to_le_bytes());
        text.extend_from_slice(part.as_bytes());
    }
    let digest = blake3::derive_key(context, &text);
    let mut id = String::with_capacity(33);
    id.push(prefix);
    id.push_str(
        &data_encoding::BASE32_NOPAD
            .encode(&digest[..20])
            .to_ascii_lowercase(),
    );
    id
}

#[cfg(test)]
mod tests;
