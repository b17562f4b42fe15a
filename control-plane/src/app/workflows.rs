//! Workflows.

pub(super) mod calls;
pub(super) mod references;

use std::sync::Arc;

use signalbox_model::{
    error::Error,
    ids::{ProjectId, WorkflowId, WorkflowName},
    labels::{LabelSelector, Labels},
    limits,
    violation::{Violation, Violations},
    workflow::{Names, Trigger, Workflow as Valid},
};

use super::{
    App, Found, audit, check_etag, check_length, check_request_id, deleted::live_workflow,
    quotas::Counted,
};
use crate::store::{
    Actor, Page, PageOf, Tx,
    rows::{Workflow, WorkflowVersion},
};

const CREATE: &str = "CreateWorkflow";

/// A valid definition and how it was written.
#[derive(Clone, Debug)]
pub struct Definition {
    /// What it means.
    pub workflow: Arc<Valid>,
    /// The encoded spec.
    pub source: Vec<u8>,
}

/// What a workflow is written with.
#[derive(Clone, Debug)]
pub struct NewWorkflow {
    /// Name for people.
    pub display_name: String,
    /// What it is for.
    pub description: String,
    /// Its labels.
    pub labels: Labels,
    /// Its definition.
    pub definition: Definition,
}

/// How to reach a workflow.
#[derive(Clone, Debug)]
pub struct WebhookAccess {
    /// URL to post to.
    pub url: String,
    /// What its version takes.
    pub trigger: Trigger,
}

impl App {
    /// Creates a workflow with version 1.
    ///
    /// # Errors
    /// `NotFound` (project), `Precondition` (project), `Quota`, `AlreadyExists`, `IdKept`, `Invalid`.
    pub async fn create_workflow(
        &self,
        actor: &Actor,
        project: &ProjectId,
        id: &WorkflowId,
        new: NewWorkflow,
        publish: bool,
        request_id: &str,
    ) -> Result<Workflow, Error> {
        check_texts(&new)?;
        let request_id = check_request_id(request_id)?;
        let name = WorkflowName {
            project: project.clone(),
            workflow: id.clone(),
        };
        let text = name.to_string();
        self.store
            .configure(async |tx| {
                if let Some(request_id) = request_id
                    && let Some(before) = tx.request(project, CREATE, request_id).await?
                {
                    if before != text {
                        return Err(Error::invalid(
                            "request_id",
                            "was used for another workflow",
                        ));
                    }
                    return live_workflow(tx, &name).await;
                }
                self.require_quota(tx, project, Counted::Workflow).await?;
                let definition = &new.definition.workflow;
                check(tx, &name, definition, publish).await?;
                let row = tx
                    .insert_workflow(
                        Workflow {
                            project: project.to_string(),
                            id: id.to_string(),
                            display_name: new.display_name.clone(),
                            description: new.description.clone(),
                            enabled: true,
                            latest_version: 1,
                            published_version: i64::from(publish),
                            bound_topic: None,
                            create_time_us: tx.now_us(),
                            update_time_us: tx.now_us(),
                            revision: 0,
                            labels_json: String::new(),
                        }
                        .with_labels(&new.labels),
                    )
                    .await?;
                tx.insert_version(version_row(tx, actor, &name, 1, &new.definition.source))
                    .await?;
                if publish {
                    references::note(tx, &name, true, 1, definition).await?;
                }
                if let Some(request_id) = request_id {
                    tx.note_request(project, CREATE, request_id, &text).await?;
                }
                let after = audit::workflow_with_spec(&row, &new.definition.source);
                tx.audit(actor, CREATE, &text, audit::diff(None, Some(&after)));
                Ok(row)
            })
            .await
    }

    /// Writes the display fields and, when the definition differs from the latest version's, a new version.
    ///
    /// # Errors
    /// `NotFound`, `Stale`, `Invalid`.
    pub async fn update_workflow(
        &self,
        actor: &Actor,
        name: &WorkflowName,
        new: NewWorkflow,
        publish: bool,
        etag: &str,
    ) -> Result<Workflow, Error> {
        check_texts(&new)?;
        let text = name.to_string();
        self.store
            .configure(async |tx| {
                let row = live_workflow(tx, name).await?;
                check_etag(etag, row.revision, &text)?;
                check(tx, name, &new.definition.workflow, publish).await?;
                let latest = tx.workflow_version(name, row.latest_version).await?;
                let mut next = Workflow {
                    display_name: new.display_name.clone(),
                    description: new.description.clone(),
                    update_time_us: tx.now_us(),
                    ..row.clone()
                }
                .with_labels(&new.labels);
                if latest.source != new.definition.source {
                    next.latest_version += 1;
                    let version =
                        version_row(tx, actor, name, next.latest_version, &new.definition.source);
                    tx.insert_version(version).await?;
                }
                if publish && next.published_version != next.latest_version {
                    next.published_version = next.latest_version;
                    let (version, definition) = (next.latest_version, &new.definition.workflow);
                    references::note(tx, name, row.enabled, version, definition).await?;
                }
                let unchanged = Workflow {
                    update_time_us: row.update_time_us,
                    ..next.clone()
                } == row;
                if unchanged {
                    return Ok(row);
                }
                let before = audit::workflow_with_spec(&row, &latest.source);
                let row = tx.update_workflow(next).await?;
                let after = audit::workflow_with_spec(&row, &new.definition.source);
                let changes = audit::diff(Some(&before), Some(&after));
                tx.audit(actor, "UpdateWorkflow", &text, changes);
                Ok(row)
            })
            .await
    }

    /// Makes `version` (0: the latest) the one that new executions run. `decode` reads its source.
    ///
    /// # Errors
    /// `NotFound`, `Stale`, `Invalid` when a key or secret that it names is gone.
    pub async fn publish_workflow(
        &self,
        actor: &Actor,
        name: &WorkflowName,
        version: i64,
        etag: &str,
        decode: impl Fn(&[u8]) -> Result<Valid, Violations>,
    ) -> Result<Workflow, Error> {
        let text = name.to_string();
        self.store
            .configure(async |tx| {
                let row = live_workflow(tx, name).await?;
                check_etag(etag, row.revision, &text)?;
                let number = if version == 0 {
                    row.latest_version
                } else {
                    version
                };
                let source = tx.workflow_version(name, number).await?.source;
                let workflow = decode(&source)?;
                references::check_published(tx, name, &workflow).await?;
                references::note(tx, name, row.enabled, number, &workflow).await?;
                let before = audit::workflow(&row);
                let published = Workflow {
                    published_version: number,
                    update_time_us: tx.now_us(),
                    ..row
                };
                let row = tx.update_workflow(published).await?;
                let changes = audit::diff(Some(&before), Some(&audit::workflow(&row)));
                tx.audit(actor, "PublishWorkflow", &text, changes);
                Ok(row)
            })
            .await
    }

    /// Lets a workflow accept events, or not.
    ///
    /// # Errors
    /// `NotFound`, `Stale`.
    pub async fn set_workflow_enabled(
        &self,
        actor: &Actor,
        name: &WorkflowName,
        enabled: bool,
        etag: &str,
    ) -> Result<Workflow, Error> {
        let text = name.to_string();
        let action = if enabled {
            "EnableWorkflow"
        } else {
            "DisableWorkflow"
        };
        self.store
            .configure(async |tx| {
                let row = live_workflow(tx, name).await?;
                check_etag(etag, row.revision, &text)?;
                if row.enabled == enabled {
                    return Ok(row);
                }
                let before = audit::workflow(&row);
                let changed = Workflow {
                    enabled,
                    update_time_us: tx.now_us(),
                    ..row
                };
                let row = tx.update_workflow(changed).await?;
                tx.enable_schedule(name, enabled).await?;
                let changes = audit::diff(Some(&before), Some(&audit::workflow(&row)));
                tx.audit(actor, action, &text, changes);
                Ok(row)
            })
            .await
    }

    /// Deletes a workflow; it can be undeleted, its executions stay.
    ///
    /// # Errors
    /// `NotFound`, `Stale`; `Precondition` while the published version of another runs it.
    pub async fn delete_workflow(
        &self,
        actor: &Actor,
        name: &WorkflowName,
        etag: &str,
    ) -> Result<(), Error> {
        let text = name.to_string();
        self.store
            .configure(async |tx| {
                let row = tx.workflow(name).await?;
                check_etag(etag, row.revision, &text)?;
                calls::refuse_while_called(tx, name).await?;
                let latest = tx.workflow_version(name, row.latest_version).await?;
                let before = audit::workflow_with_spec(&row, &latest.source);
                let revision = tx.delete_workflow(name).await?;
                tx.keep_deleted(&Workflow { revision, ..row }).await?;
                tx.audit(
                    actor,
                    "DeleteWorkflow",
                    &text,
                    audit::diff(Some(&before), None),
                );
                Ok(())
            })
            .await
    }

    /// A workflow and its latest version's source; also one that is deleted.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn workflow(&self, name: &WorkflowName) -> Result<(Found<Workflow>, Vec<u8>), Error> {
        let found = self.found_workflow(name).await?;
        let version = self
            .store
            .workflow_version(name, found.row.latest_version)
            .await?;
        Ok((found, version.source))
    }

    /// The workflows of a project that have these labels; on demand with those that are deleted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn workflows(
        &self,
        project: &ProjectId,
        labels: &LabelSelector,
        with_deleted: bool,
        page: &Page,
    ) -> Result<PageOf<Found<Workflow>>, Error> {
        if with_deleted {
            return self.list_with_deleted(project, labels, page).await;
        }
        let live = self.store.workflows(project, labels, page).await?;
        Ok(PageOf {
            rows: live.rows.into_iter().map(Found::live).collect(),
            next: live.next,
        })
    }

    /// The versions of a workflow, newest first; also of one that is deleted.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn versions(
        &self,
        name: &WorkflowName,
        page: &Page,
    ) -> Result<PageOf<WorkflowVersion>, Error> {
        self.found_workflow(name).await?;
        self.store.versions(name, page).await
    }

    /// The keys, secrets and workflows that a definition names and that do not exist in its project; and, where it is known whose
    /// it is, the circle in which it would run itself. `own` need not exist.
    ///
    /// # Errors
    /// `NotFound` (project).
    pub async fn validate(
        &self,
        project: &ProjectId,
        own: Option<&WorkflowId>,
        workflow: &Valid,
    ) -> Result<Vec<Violation>, Error> {
        let name = own.map(|own| WorkflowName {
            project: project.clone(),
            workflow: own.clone(),
        });
        let check = async |tx: &mut Tx| {
            tx.require_project(project).await?;
            match &name {
                Some(name) => references::check_published(tx, name, workflow).await,
                None => references::check(tx, project, None, workflow).await,
            }
        };
        // Calls may have to be noted first.
        let checked = match name.is_some() {
            true => self.store.configure(check).await,
            false => self.store.write(check).await,
        };
        match checked {
            Ok(()) => Ok(Vec::new()),
            Err(Error::Invalid(violations)) => Ok(violations.0),
            Err(error) => Err(error),
        }
    }

    /// The keys, secrets and workflows that do not exist in the project, of those that a definition names which is wrong
    /// otherwise.
    ///
    /// # Errors
    /// `NotFound` (project).
    pub async fn missing(
        &self,
        project: &ProjectId,
        own: Option<&WorkflowId>,
        names: &Names,
    ) -> Result<Vec<Violation>, Error> {
        let look = async |tx: &mut Tx| {
            tx.require_project(project).await?;
            references::missing(tx, project, own, names).await
        };
        self.store.write(look).await
    }

    /// How to reach a workflow by its published version, or its latest. `decode` reads its source.
    ///
    /// # Errors
    /// `NotFound`; `Precondition` when its trigger takes no requests.
    pub async fn webhook(
        &self,
        name: &WorkflowName,
        decode: impl Fn(&[u8]) -> Result<Valid, Violations>,
    ) -> Result<WebhookAccess, Error> {
        let row = self.live_workflow(name).await?;
        let number = match row.published_version {
            0 => row.latest_version,
            published => published,
        };
        let source = self.store.workflow_version(name, number).await?.source;
        let trigger = decode(&source)?.trigger().clone();
        let kind = match &trigger {
            Trigger::AmazonSns(_) => "sns",
            Trigger::Webhook(_) => "webhook",
            Trigger::Manual | Trigger::Schedule(_) => {
                let kind = match &trigger {
                    Trigger::Schedule(_) => "a schedule",
                    _ => "manual",
                };
                return Err(Error::Precondition {
                    subject: name.to_string(),
                    reason: "NO_WEBHOOK",
                    message: format!("the workflow's trigger is {kind}: it has no webhook"),
                });
            }
        };
        let base = self.settings.public_webhook_url.trim_end_matches('/');
        Ok(WebhookAccess {
            url: format!("{base}/v1/{name}/{kind}"),
            trigger,
        })
    }
}

/// What a definition names must be there; what is published must not run itself without end.
async fn check(tx: &Tx, name: &WorkflowName, workflow: &Valid, publish: bool) -> Result<(), Error> {
    if publish {
        return references::check_published(tx, name, workflow).await;
    }
    references::check(tx, &name.project, Some(&name.workflow), workflow).await
}

fn check_texts(new: &NewWorkflow) -> Result<(), Error> {
    check_length(
        "workflow.display_name",
        &new.display_name,
        limits::DISPLAY_NAME_MAX_CHARS,
    )?;
    check_length(
        "workflow.description",
        &new.description,
        limits::DESCRIPTION_MAX_CHARS,
    )
}

fn version_row(
    tx: &Tx,
    actor: &Actor,
    name: &WorkflowName,
    version: i64,
    source: &[u8],
) -> WorkflowVersion {
    WorkflowVersion {
        project: name.project.to_string(),
        workflow: name.workflow.to_string(),
        version,
        source: source.to_vec(),
        create_time_us: tx.now_us(),
        creator: actor.subject.clone(),
    }
}
