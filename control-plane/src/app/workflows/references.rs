//! What a definition names of its project.

use std::collections::BTreeSet;

use signalbox_model::{
    error::Error,
    ids::{ProjectId, SecretId, SecretName, WorkflowId, WorkflowName},
    violation::{Violation, Violations},
    workflow::{Trigger, Workflow},
};

use super::calls;
use crate::store::Tx;

/// A definition that names a key that does not exist, or does not count for the workflow, would refuse every message, one that
/// names a secret that does not exist, or a workflow, would fail at its step: all of them are refused themselves, when written.
/// `own` is the id of the workflow whose definition it is, where that is known.
pub(super) async fn check(
    tx: &Tx,
    project: &ProjectId,
    own: Option<&WorkflowId>,
    workflow: &Workflow,
) -> Result<(), Error> {
    let mut problems = missing_keys(tx, workflow).await?;
    if let Some(own) = own {
        problems.extend(unfit_keys(tx, own, workflow).await?);
    }
    problems.extend(missing_secrets(tx, project, workflow).await?);
    problems.extend(wrong_calls(tx, project, own, workflow).await?);
    if problems.is_empty() {
        Ok(())
    } else {
        Err(Error::Invalid(Violations(problems)))
    }
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
    tx.set_workflow_secrets(name, &secrets(workflow)).await
}

fn secrets(workflow: &Workflow) -> BTreeSet<&SecretId> {
    workflow.secrets().iter().map(|(_, id)| id).collect()
}

/// Where a trigger names its keys, if it does.
fn field_of_keys(trigger: &Trigger) -> Option<&'static str> {
    match trigger {
        Trigger::AmazonSns(_) => Some("spec.trigger.amazonSns.apiKeys"),
        Trigger::Webhook(_) => Some("spec.trigger.webhook.apiKeys"),
        Trigger::Manual | Trigger::Schedule(_) => None,
    }
}

/// Keys whose scope leaves the workflow out.
async fn unfit_keys(
    tx: &Tx,
    own: &WorkflowId,
    workflow: &Workflow,
) -> Result<Vec<Violation>, Error> {
    let mut problems = Vec::new();
    let Some(field) = field_of_keys(workflow.trigger()) else {
        return Ok(problems);
    };
    for (place, name) in workflow.trigger().api_keys().iter().enumerate() {
        let scope = match tx.key(name).await {
            Ok(row) => row.scope()?,
            // Told by the others.
            Err(Error::NotFound { .. }) => continue,
            Err(error) => return Err(error),
        };
        if !scope.has_workflow(own) {
            problems.push(Violation::new(
                format!("{field}[{place}]"),
                format!("{name} does not count for this workflow: its scope names others"),
            ));
        }
    }
    Ok(problems)
}

async fn missing_keys(tx: &Tx, workflow: &Workflow) -> Result<Vec<Violation>, Error> {
    let keys = workflow.trigger().api_keys();
    let Some(field) = field_of_keys(workflow.trigger()) else {
        return Ok(Vec::new());
    };
    let missing = tx.missing_keys(keys).await?;
    let violations = missing.into_iter().map(|place| {
        Violation::new(
            format!("{field}[{place}]"),
            format!("{} does not exist", keys[place]),
        )
    });
    Ok(violations.collect())
}

async fn missing_secrets(
    tx: &Tx,
    project: &ProjectId,
    workflow: &Workflow,
) -> Result<Vec<Violation>, Error> {
    let mut missing = BTreeSet::new();
    for secret in secrets(workflow) {
        let name = SecretName {
            project: project.clone(),
            secret: secret.clone(),
        };
        match tx.secret(&name).await {
            Ok(_) => {}
            Err(Error::NotFound { .. }) => {
                missing.insert(secret);
            }
            Err(error) => return Err(error),
        }
    }
    let places = workflow.secrets().iter();
    let violations =
        places
            .filter(|(_, secret)| missing.contains(secret))
            .map(|(field, secret)| {
                Violation::new(
                    format!("spec.{field}"),
                    format!("projects/{project}/secrets/{secret} does not exist"),
                )
            });
    Ok(violations.collect())
}

/// Workflows that are run and do not exist, and the workflow itself where nothing keeps it from running itself again and again.
async fn wrong_calls(
    tx: &Tx,
    project: &ProjectId,
    own: Option<&WorkflowId>,
    workflow: &Workflow,
) -> Result<Vec<Violation>, Error> {
    let mut problems = Vec::new();
    for (field, id) in workflow.calls() {
        let field = format!("spec.{field}");
        if own == Some(id) {
            if workflow.always_calls(id) {
                let text = "every execution would run the workflow itself again: let a condition decide whether";
                problems.push(Violation::new(field, text));
            }
            continue;
        }
        let name = WorkflowName {
            project: project.clone(),
            workflow: id.clone(),
        };
        match tx.workflow(&name).await {
            Ok(_) => {}
            Err(Error::NotFound { .. }) => {
                problems.push(Violation::new(field, format!("{name} does not exist")));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(problems)
}
