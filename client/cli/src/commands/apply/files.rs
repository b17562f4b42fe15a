//! What files want: read, and checked as far as that goes without a control plane.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use signalbox_model::{
    ids::{ApiKeyName, WorkflowName},
    key_scope::KeyScope,
    labels::{LabelSelector, Labels},
    rate_limit::RateLimitError,
    violation::{Violation, Violations},
    workflow::Workflow,
};
use signalbox_proto::{
    convert::{
        definition,
        json::FormatError,
        manifest::{self, Manifest},
        rate_limit,
    },
    v1,
};

use super::resource::{KEYS, Resource, WORKFLOWS};
use crate::{CliError, args::Global, commands::read_text};

/// Files of one folder, and of those below it.
const FILES_MAX: usize = 10_000;
/// Folders in folders.
const DEPTH_MAX: usize = 32;

/// A document that is valid, but for what only the control plane knows.
pub(super) struct Wanted {
    /// The file, as it is shown.
    file: String,
    manifest: Manifest,
    pub(super) resource: Resource,
    /// What a workflow's spec means.
    pub(super) workflow: Option<Workflow>,
}

impl Wanted {
    pub(super) fn file(&self) -> &str {
        &self.file
    }

    /// A problem at its place in the file.
    pub(super) fn problem(&self, problem: &Violation) -> String {
        located(&self.file, &self.manifest, problem)
    }
}

fn located(
    file: &str,
    manifest: &Manifest,
    Violation { field, description }: &Violation,
) -> String {
    let at = manifest.position(field);
    let error = FormatError {
        path: field.clone(),
        line: Some(at.line),
        column: Some(at.column),
        message: description.clone(),
    };
    format!("{file}: {error}")
}

/// The error that tells all of `problems`.
pub(super) fn refused(problems: Vec<String>) -> CliError {
    CliError::Data {
        what: "the files cannot be applied".to_owned(),
        problems,
    }
}

/// Reads all that `paths` say; every document must have `labels`.
pub(super) fn read(
    global: &Global,
    paths: &[PathBuf],
    labels: Option<&LabelSelector>,
) -> Result<Vec<Wanted>, CliError> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            gather(path, 0, &mut files)?;
        } else {
            files.push(path.clone());
        }
    }
    let mut all: Vec<Wanted> = Vec::new();
    let mut problems = Vec::new();
    // Where each name was seen first.
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for path in files {
        let file = path.display().to_string();
        for manifest in manifest::salvage(&read_text(&path)?) {
            let manifest = match manifest {
                Ok(manifest) => manifest,
                Err(errors) => {
                    problems.extend(errors.0.iter().map(|error| format!("{file}: {error}")));
                    continue;
                }
            };
            let mut found = Vec::new();
            let wanted = check(global, &file, manifest, labels, &mut found);
            if let Some(wanted) = wanted {
                let name = wanted.resource.name().to_owned();
                let at = wanted.manifest.position("name").line;
                let place = format!("{file}, line {at}");
                if let Some(first) = seen.get(&name) {
                    let text = format!("{name} is wanted twice; first in {first}");
                    found.push(wanted.problem(&Violation::new("name", text)));
                } else {
                    seen.insert(name, place);
                }
                all.push(wanted);
            }
            problems.extend(found);
        }
    }
    if !problems.is_empty() {
        return Err(refused(problems));
    }
    if all.is_empty() {
        return Err(refused(vec!["there is no document in them".to_owned()]));
    }
    Ok(all)
}

/// The files below a folder, in the order of their names; what begins with a dot is left out.
fn gather(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), CliError> {
    let failed = |error| CliError::Read(folder.to_owned(), error);
    let mut entries = std::fs::read_dir(folder)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(failed)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        // A link to a folder may lead back here.
        if entry.file_type().map_err(failed)?.is_dir() {
            if depth < DEPTH_MAX {
                gather(&path, depth + 1, files)?;
            }
            continue;
        }
        let extension = path.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("yaml" | "yml" | "json")) {
            files.push(path);
        }
        if files.len() > FILES_MAX {
            let problem = format!("has more than {FILES_MAX} files");
            return Err(refused(vec![format!("{}: {problem}", folder.display())]));
        }
    }
    Ok(())
}

/// A document's resource; what is wrong with it is added to `problems`.
fn check(
    global: &Global,
    file: &str,
    manifest: Manifest,
    selector: Option<&LabelSelector>,
    problems: &mut Vec<String>,
) -> Option<Wanted> {
    let mut found = Vec::new();
    let (resource, workflow) = match &manifest {
        Manifest::ApiKey(document) => (key(global, &document.message, &mut found), None),
        Manifest::Workflow(document) => self::workflow(global, &document.message, &mut found),
    };
    let labels = match &manifest {
        Manifest::ApiKey(document) => &document.message.labels,
        Manifest::Workflow(document) => &document.message.labels,
    };
    match (Labels::new("labels", labels.clone()), selector) {
        (Ok(labels), Some(selector)) if !labels.match_all(selector) => {
            let text = "lacks what --selector says: the next --prune would not know it as its own";
            found.push(Violation::new("labels", text));
        }
        (Ok(_), _) => {}
        (Err(violations), _) => found.extend(violations.0),
    }
    let told = found.iter().map(|problem| {
        let at = manifest.position(&problem.field);
        let text = located(file, &manifest, problem);
        (Some((at.line, at.column)), problem.field.as_str(), text)
    });
    let told = told.filter(|(_, field, _)| !manifest.explains(field));
    let wrong = manifest.wrong().iter().map(|error| {
        let at = error.line.zip(error.column);
        (at, error.path.as_str(), format!("{file}: {error}"))
    });
    let mut told: Vec<_> = wrong.chain(told).collect();
    // As one reads the file.
    told.sort_by_key(|(at, ..)| *at);
    problems.extend(told.into_iter().map(|(.., text)| text));
    Some(Wanted {
        file: file.to_owned(),
        resource: resource?.settled(),
        workflow,
        manifest,
    })
}

/// The full name of what a document calls `name`.
fn name<N: std::str::FromStr<Err: ToString>>(
    global: &Global,
    collection: &str,
    name: &str,
    problems: &mut Vec<Violation>,
) -> Option<(String, N)> {
    if name.is_empty() {
        problems.push(Violation::new("name", "is missing"));
        return None;
    }
    let full = match global.name(collection, name) {
        Ok(full) => full,
        Err(error) => {
            problems.push(Violation::new("name", error.to_string()));
            return None;
        }
    };
    match full.parse() {
        Ok(parsed) => Some((full, parsed)),
        Err(error) => {
            problems.push(Violation::new("name", error.to_string()));
            None
        }
    }
}

fn key(
    global: &Global,
    manifest: &v1::ApiKeyManifest,
    problems: &mut Vec<Violation>,
) -> Option<Resource> {
    let limit = manifest
        .spec
        .as_ref()
        .and_then(|spec| spec.rate_limit.as_ref());
    for problem in limit
        .map(rate_limit::from_wire)
        .and_then(Result::err)
        .unwrap_or_default()
    {
        let part = match problem {
            RateLimitError::EventsPerSecond(_) => "eventsPerSecond",
            RateLimitError::Burst(_) => "burst",
        };
        let field = format!("spec.rateLimit.{part}");
        problems.push(Violation::new(field, problem.to_string()));
    }
    let named = name::<ApiKeyName>(global, KEYS, &manifest.name, problems);
    // Without a name, the project that is asked for is as good as another.
    let project = match &named {
        Some((_, name)) => Some(name.project.clone()),
        None => global.project.one(),
    };
    if let (Some(spec), Some(project)) = (&manifest.spec, project) {
        let scope = KeyScope::new(&project, &spec.workflows, &spec.source_networks);
        for problem in scope.err().unwrap_or_default() {
            let field = problem.field("spec.workflows", "spec.sourceNetworks");
            problems.push(Violation::new(field, problem.to_string()));
        }
    }
    let (name, _) = named?;
    Some(Resource::Key(v1::ApiKeyManifest {
        name,
        ..manifest.clone()
    }))
}

fn workflow(
    global: &Global,
    manifest: &v1::WorkflowManifest,
    problems: &mut Vec<Violation>,
) -> (Option<Resource>, Option<Workflow>) {
    let name = name::<WorkflowName>(global, WORKFLOWS, &manifest.name, problems);
    let Some(spec) = &manifest.spec else {
        problems.push(Violation::new("spec", "is missing"));
        return (None, None);
    };
    // Without a name, the project that is asked for is as good as another.
    let project = match &name {
        Some((_, name)) => Some(name.project.clone()),
        None => global.project.one(),
    };
    let checked = project.map(|project| definition::workflow(spec, &project));
    let workflow = match checked {
        Some(Ok(workflow)) => Some(workflow),
        Some(Err(Violations(violations))) => {
            problems.extend(violations.into_iter().map(within_spec));
            None
        }
        None => None,
    };
    let resource = name.map(|(name, _)| {
        Resource::Workflow(v1::WorkflowManifest {
            name,
            ..manifest.clone()
        })
    });
    (resource, workflow)
}

fn within_spec(Violation { field, description }: Violation) -> Violation {
    let separator = if field.is_empty() { "" } else { "." };
    Violation::new(format!("spec{separator}{field}"), description)
}
