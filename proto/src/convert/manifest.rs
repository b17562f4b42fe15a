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
    for part in yaml::parts(text) {
        match read_part(&part) {
            Ok(manifest) => manifests.push(manifest),
            Err(errors) => problems.extend(errors.0),
        }
    }
    if problems.is_empty() {
        Ok(manifests)
    } else {
        Err(FormatErrors(problems))
    }
}

fn read_part(part: &Part<'_>) -> Result<Manifest, FormatErrors> {
    let (kind, at) = part.top("kind")?;
    let message = match kind.as_deref() {
        Some(WORKFLOW) => return part.read().map(Manifest::Workflow),
        Some(API_KEY) => return part.read().map(Manifest::ApiKey),
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
