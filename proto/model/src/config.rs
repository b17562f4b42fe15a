//! Configuration as a node sees it: keys, workflows and secrets, at a revision.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use jiff::Timestamp;

use crate::{
    ids::{ApiKeyName, ProjectId, SecretName, WorkflowName},
    key_scope::KeyScope,
    rate_limit::RateLimit,
    secret::Secret,
    workflow::{Front, Workflow},
};

/// Number of a state of the control plane's configuration. It only grows within one incarnation of the database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// SHA-256 of an API key's value. Keys hold 256 random bits, so that a plain digest cannot be searched.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyDigest(pub [u8; 32]);

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(…)")
    }
}

/// The value that a key had before its last rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreviousValue {
    /// Digest of it.
    pub digest: KeyDigest,
    /// When it stops working.
    pub expires_at: Timestamp,
}

/// What a node knows of an API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyConfig {
    /// Its name.
    pub name: ApiKeyName,
    /// Digest of its value: of the newest, when it has two.
    pub digest: KeyDigest,
    /// Refuse it.
    pub revoked: bool,
    /// When it stops working by itself.
    pub expires_at: Option<Timestamp>,
    /// How many requests are taken with it.
    pub rate_limit: Option<RateLimit>,
    /// For which workflows it counts, and from where; none: for all of its project, from anywhere.
    pub scope: Option<Arc<KeyScope>>,
    /// The value before, if it had an overlap with this one.
    pub previous: Option<Box<PreviousValue>>,
}

impl KeyConfig {
    /// Whether a caller may use it at `now`.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        !self.revoked && self.expires_at.is_none_or(|at| now < at)
    }

    /// Whether the value with this digest is one that it has at `now`.
    #[must_use]
    pub fn has_value(&self, digest: &KeyDigest, now: Timestamp) -> bool {
        let is_previous =
            |previous: &PreviousValue| previous.digest == *digest && now < previous.expires_at;
        self.digest == *digest || self.previous.as_deref().is_some_and(is_previous)
    }
}

/// What a node knows of a workflow.
#[derive(Clone, Debug)]
pub struct WorkflowConfig {
    /// Its name.
    pub name: WorkflowName,
    /// Whether it accepts events.
    pub enabled: bool,
    /// What new executions run.
    pub published: Option<PublishedVersion>,
    /// Topic bound by its first confirmed subscription, when the trigger lists none.
    pub bound_topic: Option<String>,
}

/// The version that new executions run.
#[derive(Clone, Debug)]
pub struct PublishedVersion {
    /// Its number, from 1.
    pub number: u64,
    /// What is needed of its definition before one of its executions runs.
    pub front: Arc<Front>,
    /// The definition as written (an encoded `signalbox.v1.WorkflowSpec`), for those who must keep it.
    pub source: Bytes,
    /// BLAKE3 of `source`: two versions of one number differ in it when their workflow was deleted and made again.
    pub source_digest: [u8; 32],
    /// What came of reading all of it: why it cannot be run here, if it cannot.
    whole: Arc<OnceLock<Result<(), String>>>,
}

impl PublishedVersion {
    /// A version whose definition was read.
    #[must_use]
    pub fn read(number: u64, workflow: &Workflow, source: Bytes) -> Self {
        Self {
            whole: Arc::new(OnceLock::from(Ok(()))),
            ..Self::unread(number, workflow.front().clone(), source)
        }
    }

    /// A version of which nobody has read more than the front.
    #[must_use]
    pub fn unread(number: u64, front: Front, source: Bytes) -> Self {
        let source_digest = *blake3::hash(&source).as_bytes();
        Self {
            number,
            front: Arc::new(front),
            source,
            source_digest,
            whole: Arc::default(),
        }
    }

    /// The same definition as another version.
    #[must_use]
    pub fn numbered(self, number: u64) -> Self {
        Self { number, ..self }
    }

    /// Whether all of it has been read.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.whole.get().is_some()
    }

    /// What came of reading all of it, by `read` unless that was done before: once for all copies of this.
    ///
    /// # Errors
    /// Why it cannot be run here.
    pub fn check(&self, read: impl FnOnce(&[u8]) -> Result<(), String>) -> Result<(), &str> {
        let whole = self.whole.get_or_init(|| read(&self.source));
        whole.as_ref().map_err(String::as_str).copied()
    }
}

/// A secret on its way to a node, and on the node's disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedSecret {
    /// Its name.
    pub name: SecretName,
    /// Revision at which its value was last written.
    pub revision: Revision,
    /// Its value, sealed to the node.
    pub sealed_value: Bytes,
}

/// What a node knows of a secret.
#[derive(Clone, Debug)]
pub struct SecretConfig {
    /// Its name.
    pub name: SecretName,
    /// Its value.
    pub value: Secret,
}

/// What a node knows of a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectConfig {
    /// Which.
    pub project: ProjectId,
    /// How many requests are taken for all its workflows together.
    pub rate_limit: RateLimit,
}

/// One resource of the configuration.
#[derive(Clone, Debug)]
pub enum Resource {
    /// An API key.
    Key(KeyConfig),
    /// A workflow.
    Workflow(WorkflowConfig),
    /// A secret.
    Secret(SecretConfig),
    /// A project that has a quota which nodes hold.
    Project(ProjectConfig),
}
