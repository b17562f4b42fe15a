//! Workflows that run each other, by what their published versions say (`docs/decisions/0031-deleted.md`).

use std::collections::{BTreeMap, BTreeSet};

use signalbox_model::{
    error::Error,
    ids::{ProjectId, WorkflowId, WorkflowName},
    violation::Violation,
    workflow::Workflow,
};
use signalbox_proto::convert::definition;

use super::App;
use crate::store::Tx;

/// Workflows whose calls are noted at once.
const BATCH_MAX: u64 = 200;
/// Callers that a refusal names.
const CALLERS_SHOWN_MAX: usize = 10;

impl App {
    /// Notes the calls of published workflows where that was not done: one batch. Gives how many; 0: all are noted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_calls(&self) -> Result<usize, Error> {
        self.store
            .configure(async |tx| note_missing(tx, None).await)
            .await
    }
}

/// Notes the calls of what is published.
pub(in crate::app) async fn note(
    tx: &Tx,
    name: &WorkflowName,
    version: i64,
    workflow: &Workflow,
) -> Result<(), Error> {
    let called: BTreeSet<&WorkflowId> = workflow.names().calls.iter().map(|(_, id)| id).collect();
    let calls: Vec<_> = called
        .into_iter()
        .map(|id| (id, workflow.always_calls(id)))
        .collect();
    tx.set_workflow_calls(name, version, &calls).await
}

/// Notes what a replica published that does not know of calls; of one project, or of all. One batch; gives how many.
async fn note_missing(tx: &Tx, project: Option<&ProjectId>) -> Result<usize, Error> {
    let rows = tx.without_calls(project, BATCH_MAX).await?;
    for row in &rows {
        let text = format!("projects/{}/workflows/{}", row.project, row.id);
        let name: WorkflowName = text.parse().map_err(|error| Error::Internal {
            message: format!("a stored name cannot be read: {error}"),
        })?;
        let version = row.published_version;
        let read = match tx.workflow_version(&name, version).await {
            Ok(stored) => definition::decode(&stored.source, &name.project).map_err(Error::from),
            Err(error) => Err(error),
        };
        match read {
            Ok(workflow) => note(tx, &name, version, &workflow).await?,
            // Nobody else is kept from what they do.
            Err(error @ (Error::Invalid(_) | Error::NotFound { .. })) => {
                tracing::error!(workflow = %name, %error, "a published definition cannot be read: whom it runs is not known");
                tx.set_workflow_calls(&name, version, &[]).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(rows.len())
}

async fn note_all_missing(tx: &Tx, project: &ProjectId) -> Result<(), Error> {
    while note_missing(tx, Some(project)).await? > 0 {}
    Ok(())
}

/// A workflow that others run is not deleted: their steps would fail.
pub(in crate::app) async fn refuse_while_called(tx: &Tx, name: &WorkflowName) -> Result<(), Error> {
    note_all_missing(tx, &name.project).await?;
    let max = u64::try_from(CALLERS_SHOWN_MAX).unwrap_or(u64::MAX);
    let callers = tx.callers(name, max + 1).await?;
    if callers.is_empty() {
        return Ok(());
    }
    let project = &name.project;
    let shown = callers.iter().take(CALLERS_SHOWN_MAX);
    let shown: Vec<_> = shown
        .map(|id| format!("projects/{project}/workflows/{id}"))
        .collect();
    let more = match callers.len() > CALLERS_SHOWN_MAX {
        true => " and others",
        false => "",
    };
    Err(Error::Precondition {
        subject: name.to_string(),
        reason: "REFERENCED",
        message: format!(
            "{name} is run by the published version of {}{more}; publish versions without it first",
            shown.join(", ")
        ),
    })
}

/// What is wrong with publishing `workflow` as `name` because every execution of it would, by way of others, run it again. One
/// call on the way that a condition decides on is enough for it to end.
pub(in crate::app) async fn circles(
    tx: &Tx,
    name: &WorkflowName,
    workflow: &Workflow,
) -> Result<Vec<Violation>, Error> {
    let own = name.workflow.as_str();
    let mut callers: BTreeMap<String, String> = BTreeMap::new();
    for (_, id) in &workflow.names().calls {
        // That it runs itself is told where it is looked at alone.
        if id.as_str() != own && workflow.always_calls(id) {
            callers.insert(id.to_string(), own.to_owned());
        }
    }
    let mut front: Vec<String> = callers.keys().cloned().collect();
    if front.is_empty() {
        return Ok(Vec::new());
    }
    note_all_missing(tx, &name.project).await?;
    while !front.is_empty() {
        let mut next = Vec::new();
        for (caller, callee) in tx.certain_calls(&name.project, &front).await? {
            if callee == own {
                return Ok(vec![circle(&callers, own, &caller, workflow)]);
            }
            if !callers.contains_key(&callee) {
                callers.insert(callee.clone(), caller);
                next.push(callee);
            }
        }
        front = next;
    }
    Ok(Vec::new())
}

/// The way from `own` to `last`, which runs `own`, told at the step that begins it.
fn circle(
    callers: &BTreeMap<String, String>,
    own: &str,
    last: &str,
    workflow: &Workflow,
) -> Violation {
    let mut way = vec![own, last];
    let mut at = last;
    while let Some(caller) = callers.get(at) {
        at = caller;
        way.push(at);
        if at == own {
            break;
        }
    }
    way.reverse();
    let first = way.get(1).copied().unwrap_or(last);
    let mut calls = workflow.names().calls.iter();
    let field = calls
        .find(|(_, id)| id.as_str() == first)
        .map_or("steps", |(field, _)| field);
    let way = way.join(" -> ");
    Violation::new(
        format!("spec.{field}"),
        format!(
            "every execution would run the workflow itself again, by {way}: let a condition decide on the way"
        ),
    )
}
