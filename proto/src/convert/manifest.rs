//! Files that say what there is to be: documents of several kinds, one after the other.

use signalbox_model::suggestion::suggestion;

use super::{
    json::FormatError,
    yaml::{self, Document, FormatErrors, Part, Position},
};
use crate::v1;

/// `kind` of a [`v1::WorkflowManifest`].
pub const WORKFLOW: &str = "Workflow";
/// `kind` of a [`v1::ApiKeyManifest`].
pub const API_KEY: &str = "ApiKey";

/// One document.
#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "there are few at a time, each used once"
)]
pub enum Manifest {
    /// A key.
    ApiKey(Document<v1::ApiKeyManifest>),
    /// A workflow.
    Workflow(Document<v1::WorkflowManifest>),
}

impl Manifest {
    /// What is wrong with the document, and so not in its message.
    #[must_use]
    pub fn wrong(&self) -> &[FormatError] {
        match self {
            Self::ApiKey(document) => document.wrong(),
            Self::Workflow(document) => document.wrong(),
        }
    }

    /// Whether what is told of `path` may be so only because of that.
    #[must_use]
    pub fn explains(&self, path: &str) -> bool {
        match self {
            Self::ApiKey(document) => document.explains(path),
            Self::Workflow(document) => document.explains(path),
        }
    }

    /// Where `path` stands in the file.
    #[must_use]
    pub fn position(&self, path: &str) -> Position {
        match self {
            Self::ApiKey(document) => document.position(path),
            Self::Workflow(document) => document.position(path),
        }
    }
}

/// The documents of a file.
///
/// # Errors
/// The problems of all documents.
pub fn read(text: &str) -> Result<Vec<Manifest>, FormatErrors> {
    let mut manifests = Vec::new();
    let mut problems = Vec::new();
    for part in salvage(text) {
        match part {
            Ok(manifest) if manifest.wrong().is_empty() => manifests.push(manifest),
            Ok(manifest) => problems.extend_from_slice(manifest.wrong()),
            Err(errors) => problems.extend(errors.0),
        }
    }
    if problems.is_empty() {
        Ok(manifests)
    } else {
        Err(FormatErrors(problems))
    }
}

/// Each document of a file as far as it can be read.
#[must_use]
pub fn salvage(text: &str) -> Vec<Result<Manifest, FormatErrors>> {
    yaml::parts(text).iter().map(read_part).collect()
}

fn read_part(part: &Part<'_>) -> Result<Manifest, FormatErrors> {
    let (kind, at) = part.top("kind")?;
    let message = match kind.as_deref() {
        Some(WORKFLOW) => return part.salvage().map(Manifest::Workflow),
        Some(API_KEY) => return part.salvage().map(Manifest::ApiKey),
        None => format!("is missing; expected {WORKFLOW} or {API_KEY}"),
        Some(other) => {
            let shown: String = other.chars().take(64).collect();
            let hint = suggestion(&shown, [WORKFLOW, API_KEY]);
            format!("is {shown:?}; expected {WORKFLOW} or {API_KEY}{hint}")
        }
    };
    Err(FormatErrors(vec![FormatError {
        path: "kind".to_owned(),
        line: Some(at.line),
        column: Some(at.column),
        message,
    }]))
}
