//! A file with a workflow.

use std::path::Path;

use signalbox_model::{ids::WorkflowName, violation::Violation};
use signalbox_proto::{
    convert::{
        definition,
        json::FormatError,
        yaml::{self, Document},
    },
    v1,
};

use super::COLLECTION;
use crate::{CliError, args::Global, commands::read_text};

/// A valid workflow, and where in its file everything stands.
pub(super) struct WorkflowFile {
    shown: String,
    document: Document<v1::Workflow>,
}

impl WorkflowFile {
    /// Reads a file and checks it as the control plane does.
    ///
    /// # Errors
    /// All problems, each with its line and column.
    pub(super) fn read(global: &Global, path: &Path) -> Result<Self, CliError> {
        let shown = path.display().to_string();
        let text = read_text(path)?;
        let document = yaml::salvage::<v1::Workflow>(&text).map_err(|errors| {
            invalid(&shown, errors.0.iter().map(ToString::to_string).collect())
        })?;
        let mut file = Self { shown, document };
        let mut problems = file.check(global)?;
        problems.retain(|problem| !file.document.explains(&problem.field));
        if problems.is_empty() && file.document.wrong().is_empty() {
            Ok(file)
        } else {
            Err(file.refused(&problems))
        }
    }

    pub(super) fn workflow(&self) -> &v1::Workflow {
        &self.document.message
    }

    /// The error that tells each of `problems` at its place in the file, and what is wrong with that itself.
    pub(super) fn refused(&self, problems: &[Violation]) -> CliError {
        let mut told: Vec<FormatError> = self.document.wrong().to_vec();
        for Violation { field, description } in problems {
            // The control plane names fields of its request, which holds the workflow.
            let path = field.strip_prefix("workflow.").unwrap_or(field);
            let at = self.document.position(path);
            told.push(FormatError {
                path: path.to_owned(),
                line: Some(at.line),
                column: Some(at.column),
                message: description.clone(),
            });
        }
        // As one reads the file.
        told.sort_by_key(|error| (error.line, error.column));
        invalid(&self.shown, told.iter().map(ToString::to_string).collect())
    }

    fn check(&mut self, global: &Global) -> Result<Vec<Violation>, CliError> {
        let workflow = &mut self.document.message;
        let mut problems = Vec::new();
        let mut project = global.project.one();
        if workflow.name.is_empty() {
            problems.push(Violation::new("name", "is missing"));
        } else {
            workflow.name = global.name(COLLECTION, &workflow.name)?;
            match workflow.name.parse::<WorkflowName>() {
                Ok(name) => project = Some(name.project),
                Err(error) => problems.push(Violation::new("name", error.to_string())),
            }
        }
        match (&workflow.spec, project) {
            (None, _) => problems.push(Violation::new("spec", "is missing")),
            (Some(spec), Some(project)) => {
                if let Err(violations) = definition::workflow(spec, &project) {
                    problems.extend(violations.0.into_iter().map(within_spec));
                }
            }
            // Without a project there is no name either, which has been told.
            (Some(_), None) => {}
        }
        Ok(problems)
    }
}

fn within_spec(violation: Violation) -> Violation {
    let Violation { field, description } = violation;
    let field = if field.is_empty() {
        "spec".to_owned()
    } else {
        format!("spec.{field}")
    };
    Violation { field, description }
}

fn invalid(shown: &str, problems: Vec<String>) -> CliError {
    CliError::Data {
        what: format!("{shown} is no valid workflow"),
        problems,
    }
}
