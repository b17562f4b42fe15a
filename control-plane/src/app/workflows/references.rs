//! What a definition names of its project.

use std::{collections::BTreeSet, fmt};

use signalbox_model::{
    error::Error,
    ids::{ApiKeyName, ProjectId, SecretId, SecretName, WorkflowId, WorkflowName},
    suggestion::suggestion,
    violation::{Violation, Violations},
    workflow::{Names, Trigger, Workflow},
};

use super::calls;
use crate::store::{Near, Tx};

/// Names of one definition for which others are looked through that may have been meant.
const HINTS_MAX: usize = 20;
/// Ids that are listed where one of them is expected.
const LISTED_MAX: usize = 10;

/// A definition that names a key that does not exist, or does not count for the workflow, would refuse every message, one that
/// names a secret that does not exist, or a workflow, would fail at its step: all of them are refused themselves, when written.
/// `own` is the id of the workflow whose definition it is, where that is known.
pub(super) async fn check(
    tx: &Tx,
    project: &ProjectId,
    own: Option<&WorkflowId>,
    workflow: &Workflow,
) -> Result<(), Error> {
    let mut problems = missing(tx, project, own, workflow.names()).await?;
    problems.extend(own.and_then(|own| calls_itself(own, workflow)));
    if problems.is_empty() {
        Ok(())
    } else {
        Err(Error::Invalid(Violations(problems)))
    }
}

/// What is wrong with the names alone, of a definition that may be wrong otherwise.
pub(super) async fn missing(
    tx: &Tx,
    project: &ProjectId,
    own: Option<&WorkflowId>,
    names: &Names,
) -> Result<Vec<Violation>, Error> {
    let mut search = Search {
        tx,
        left: HINTS_MAX,
        problems: Vec::new(),
    };
    search.keys(own, &names.keys).await?;
    search.secrets(project, &names.secrets).await?;
    search.workflows(project, own, &names.calls).await?;
    Ok(search.problems)
}

/// The same of a definition that is to be published as `name`: it must not run itself without end, by way of others either.
pub(in crate::app) async fn check_published(
    tx: &Tx,
    name: &WorkflowName,
    workflow: &Workflow,
) -> Result<(), Error> {
    check(tx, &name.project, Some(&name.workflow), workflow).await?;
    match calls::circles(tx, name, workflow).await? {
        circles if circles.is_empty() => Ok(()),
        circles => Err(Error::Invalid(Violations(circles))),
    }
}

/// Notes what the version names that is published now: the version `version`.
pub(in crate::app) async fn note(
    tx: &Tx,
    name: &WorkflowName,
    enabled: bool,
    version: i64,
    workflow: &Workflow,
) -> Result<(), Error> {
    calls::note(tx, name, version, workflow).await?;
    let has_schedule = matches!(workflow.trigger(), Trigger::Schedule(_));
    tx.set_schedule(name, enabled, has_schedule).await?;
    tx.set_workflow_keys(name, workflow.trigger().api_keys())
        .await?;
    let secrets = workflow.names().secrets.iter();
    let secrets: BTreeSet<&SecretId> = secrets.map(|(_, id)| id).collect();
    tx.set_workflow_secrets(name, &secrets).await
}

/// That every execution would run the workflow itself again.
fn calls_itself(own: &WorkflowId, workflow: &Workflow) -> Option<Violation> {
    let mut calls = workflow.names().calls.iter();
    let (field, _) = calls.find(|(_, id)| id == own)?;
    workflow.always_calls(own).then(|| {
        let text =
            "every execution would run the workflow itself again: let a condition decide whether";
        Violation::new(format!("spec.{field}"), text)
    })
}

/// Looks for what is named.
struct Search<'t> {
    tx: &'t Tx,
    /// How many hints may still be looked for.
    left: usize,
    problems: Vec<Violation>,
}

impl Search<'_> {
    /// Keys that do not exist, and keys whose scope leaves the workflow out.
    async fn keys(
        &mut self,
        own: Option<&WorkflowId>,
        keys: &[(String, ApiKeyName)],
    ) -> Result<(), Error> {
        for (field, name) in keys {
            let field = format!("spec.{field}");
            let scope = match found(self.tx.key(name).await)? {
                Some(row) => row.scope()?,
                None => {
                    let near = self.near(self.tx.keys_near(name)).await?;
                    let text = unknown(name, name.api_key.as_str(), "an API key", near);
                    self.problems.push(Violation::new(field, text));
                    continue;
                }
            };
            if own.is_some_and(|own| !scope.has_workflow(own)) {
                let text =
                    format!("{name} does not count for this workflow: its scope names others");
                self.problems.push(Violation::new(field, text));
            }
        }
        Ok(())
    }

    async fn secrets(
        &mut self,
        project: &ProjectId,
        secrets: &[(String, SecretId)],
    ) -> Result<(), Error> {
        // One that is named several times is looked for once.
        let mut looked_for: Vec<(&SecretId, Option<String>)> = Vec::new();
        for (field, secret) in secrets {
            let before = looked_for.iter().find(|(id, _)| *id == secret);
            let problem = match before {
                Some((_, problem)) => problem.clone(),
                None => {
                    let problem = self.secret(project, secret).await?;
                    looked_for.push((secret, problem.clone()));
                    problem
                }
            };
            let problem = problem.map(|text| Violation::new(format!("spec.{field}"), text));
            self.problems.extend(problem);
        }
        Ok(())
    }

    async fn secret(
        &mut self,
        project: &ProjectId,
        secret: &SecretId,
    ) -> Result<Option<String>, Error> {
        let name = SecretName {
            project: project.clone(),
            secret: secret.clone(),
        };
        if found(self.tx.secret(&name).await)?.is_some() {
            return Ok(None);
        }
        let near = self.near(self.tx.secrets_near(&name)).await?;
        Ok(Some(unknown(&name, secret.as_str(), "a secret", near)))
    }

    /// Workflows that are run. The workflow itself need not exist.
    async fn workflows(
        &mut self,
        project: &ProjectId,
        own: Option<&WorkflowId>,
        calls: &[(String, WorkflowId)],
    ) -> Result<(), Error> {
        for (field, id) in calls {
            if own == Some(id) {
                continue;
            }
            let name = WorkflowName {
                project: project.clone(),
                workflow: id.clone(),
            };
            if found(self.tx.workflow(&name).await)?.is_none() {
                let near = self.near(self.tx.workflows_near(&name)).await?;
                let text = unknown(&name, id.as_str(), "a workflow", near);
                let field = format!("spec.{field}");
                self.problems.push(Violation::new(field, text));
            }
        }
        Ok(())
    }

    /// What `search` finds, as often as it may be asked.
    async fn near(
        &mut self,
        search: impl Future<Output = Result<Near, Error>>,
    ) -> Result<Near, Error> {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                search.await
            }
            None => Ok(Near::default()),
        }
    }
}

fn found<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(row) => Ok(Some(row)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// That there is no `name`, which of the ids near it may have been meant, and what else there is, if that is not much.
fn unknown(name: &impl fmt::Display, id: &str, expected: &str, near: Near) -> String {
    let Near { ids, are_all } = near;
    let hint = suggestion(id, ids.iter().map(String::as_str));
    let listed = match ids.len() {
        0 if are_all => ", which has none".to_owned(),
        1..=LISTED_MAX if are_all => format!(": {}", ids.join(", ")),
        _ => String::new(),
    };
    format!("{name} does not exist{hint}; expected {expected} of the project{listed}")
}
