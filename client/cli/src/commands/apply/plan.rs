//! The plan: what there is to do so that the control plane has what files want.

use std::collections::{BTreeMap, BTreeSet};

use signalbox_client::Client;
use signalbox_model::{
    ids::{ApiKeyName, WorkflowName},
    key_scope::KeyScope,
    labels::LabelSelector,
    violation::Violation,
    workflow::{Trigger, Workflow},
};

use super::{
    files::{Wanted, refused},
    resource::{Current, Resource, find_key, find_workflow, has_secret, scope_of},
};
use crate::CliError;

/// What is to be done with one resource.
#[allow(
    clippy::large_enum_variant,
    reason = "there are few at a time, each used once"
)]
pub(super) enum Change {
    /// It is made.
    Create(Wanted),
    /// It is changed, unless somebody else does so first.
    Update(Wanted, Current),
    /// It is undeleted, and changed where it is not what is wanted, unless somebody else does so first.
    Undelete(Wanted, Current),
    /// It is deleted, unless somebody else changes it first.
    Delete(Current),
}

impl Change {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Create(wanted) | Self::Update(wanted, _) | Self::Undelete(wanted, _) => {
                wanted.resource.name()
            }
            Self::Delete(current) => current.resource.name(),
        }
    }

    /// The names of the workflows that it runs: as it will be, or, when it goes, as it is.
    fn calls(&self) -> Vec<String> {
        let name = self.name();
        let Ok(WorkflowName { project, .. }) = name.parse::<WorkflowName>() else {
            return Vec::new();
        };
        let read;
        let workflow = match self {
            Self::Create(wanted) | Self::Update(wanted, _) | Self::Undelete(wanted, _) => {
                wanted.workflow.as_ref()
            }
            Self::Delete(current) => {
                read = current.resource.definition(&project);
                read.as_ref()
            }
        };
        let calls = workflow.map_or(&[][..], |workflow| &workflow.names().calls[..]);
        let names = calls.iter();
        names
            .map(|(_, id)| format!("projects/{project}/workflows/{id}"))
            .collect()
    }

    /// Keys before the workflows that name them; what is deleted last, and then workflows before keys.
    fn rank(&self) -> u8 {
        match self {
            Self::Create(wanted) | Self::Update(wanted, _) | Self::Undelete(wanted, _) => {
                match &wanted.resource {
                    Resource::Key(_) => 0,
                    Resource::Workflow(_) => 1,
                }
            }
            Self::Delete(current) => match &current.resource {
                Resource::Workflow(_) => 2,
                Resource::Key(_) => 3,
            },
        }
    }
}

/// All that is to be done, in the order in which it is done.
pub(super) struct Plan {
    pub(super) changes: Vec<Change>,
    /// How many resources are as they are wanted.
    pub(super) unchanged: usize,
}

impl Plan {
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The plan for `wanted`. What has `pruned` labels in the project `parent` and is not wanted is deleted.
    ///
    /// # Errors
    /// All that keeps it from being done: what is named and does not exist, and keys that are revoked.
    pub(super) async fn make(
        client: &Client,
        parent: &str,
        wanted: Vec<Wanted>,
        pruned: Option<&LabelSelector>,
    ) -> Result<Self, CliError> {
        let names: BTreeSet<String> = wanted
            .iter()
            .map(|wanted| wanted.resource.name().to_owned())
            .collect();
        let deleted = match pruned {
            Some(labels) => unwanted(client, parent, labels, &names).await?,
            None => Vec::new(),
        };
        let mut references = References {
            client,
            wanted: &names,
            deleted: deleted
                .iter()
                .map(|it| it.resource.name().to_owned())
                .collect(),
            scopes: wanted
                .iter()
                .filter_map(|wanted| scope(&wanted.resource))
                .collect(),
            found: BTreeMap::new(),
        };
        let mut problems = Vec::new();
        let mut plan = Self {
            changes: Vec::new(),
            unchanged: 0,
        };
        for wanted in wanted {
            let missing = references.missing(&wanted).await?;
            problems.extend(missing.iter().map(|problem| wanted.problem(problem)));
            let name = wanted.resource.name();
            let current = match &wanted.resource {
                Resource::Key(_) => find_key(client, name).await?,
                Resource::Workflow(_) => find_workflow(client, name).await?,
            };
            match (current, &wanted.resource) {
                (None, _) => plan.changes.push(Change::Create(wanted)),
                (Some(current), Resource::Key(_)) if !current.is_live => {
                    let text = "is revoked for good: delete it with --purge, so that another is made, or take it out of the files";
                    problems.push(wanted.problem(&Violation::new("name", text)));
                }
                (Some(current), _) if current.is_deleted => {
                    plan.changes.push(Change::Undelete(wanted, current));
                }
                (Some(current), resource) if current.is_live && current.resource == *resource => {
                    plan.unchanged += 1;
                }
                (Some(current), _) => plan.changes.push(Change::Update(wanted, current)),
            }
        }
        if !problems.is_empty() {
            return Err(refused(problems));
        }
        plan.changes.extend(deleted.into_iter().map(Change::Delete));
        let depths = depths(&plan.changes);
        plan.changes.sort_by_cached_key(|change| {
            let depth = depths.get(change.name()).copied().unwrap_or(0);
            // Who is run comes before who runs it, and goes after.
            let depth = match change {
                Change::Delete(_) => -depth,
                _ => depth,
            };
            (change.rank(), depth, change.name().to_owned())
        });
        Ok(plan)
    }
}

/// How many workflows of these stand below each by what runs what: 0 for one that runs none of them. Circles are cut somewhere.
fn depths(changes: &[Change]) -> BTreeMap<String, i64> {
    let calls: BTreeMap<&str, Vec<String>> = changes
        .iter()
        .map(|change| (change.name(), change.calls()))
        .collect();
    let mut depths: BTreeMap<String, i64> = BTreeMap::new();
    for name in calls.keys() {
        depth(name, &calls, &mut Vec::new(), &mut depths);
    }
    depths
}

fn depth<'c>(
    name: &'c str,
    calls: &'c BTreeMap<&str, Vec<String>>,
    above: &mut Vec<&'c str>,
    depths: &mut BTreeMap<String, i64>,
) -> i64 {
    if let Some(known) = depths.get(name) {
        return *known;
    }
    if above.contains(&name) {
        return 0;
    }
    above.push(name);
    let called = calls.get(name).into_iter().flatten();
    let below = called
        .filter(|callee| calls.contains_key(callee.as_str()))
        .map(|callee| depth(callee, calls, above, depths) + 1);
    let deepest = below.max().unwrap_or(0);
    above.pop();
    depths.insert(name.to_owned(), deepest);
    deepest
}

/// What has these labels and is not wanted.
async fn unwanted(
    client: &Client,
    parent: &str,
    labels: &LabelSelector,
    wanted: &BTreeSet<String>,
) -> Result<Vec<Current>, CliError> {
    let mut unwanted = Vec::new();
    for key in super::keys(client, parent, labels).await? {
        if !wanted.contains(&key.name) {
            unwanted.push(Current {
                resource: Resource::of_key(&key),
                etag: key.etag,
                is_live: true,
                is_deleted: false,
            });
        }
    }
    for workflow in super::workflows(client, parent, labels).await? {
        if !wanted.contains(&workflow.name) {
            let found = find_workflow(client, &workflow.name).await?;
            // Gone meanwhile is gone.
            unwanted.extend(found.filter(|found| !found.is_deleted));
        }
    }
    Ok(unwanted)
}

/// What a key counts for.
fn scope(resource: &Resource) -> Option<(String, KeyScope)> {
    let Resource::Key(key) = resource else {
        return None;
    };
    let scope = scope_of(&key.name, &key.spec.clone().unwrap_or_default())?;
    Some((key.name.clone(), scope))
}

/// What workflows name: it must exist, or be wanted.
struct References<'p> {
    client: &'p Client,
    wanted: &'p BTreeSet<String>,
    deleted: BTreeSet<String>,
    /// What keys count for that are wanted, and those that were found.
    scopes: BTreeMap<String, KeyScope>,
    /// What was looked for, and whether it is there.
    found: BTreeMap<String, bool>,
}

impl References<'_> {
    /// What a workflow names that will not be there, or not for it.
    async fn missing(&mut self, wanted: &Wanted) -> Result<Vec<Violation>, CliError> {
        let mut missing = Vec::new();
        let Some(workflow) = &wanted.workflow else {
            return Ok(missing);
        };
        let Ok(own) = wanted.resource.name().parse::<WorkflowName>() else {
            return Ok(missing);
        };
        for (field, name) in keys(workflow) {
            let name = name.to_string();
            if self.deleted.contains(&name) {
                missing.push(Violation::new(field, format!("{name} is to be deleted")));
            } else if !self.wanted.contains(&name) && !self.has_key(&name).await? {
                let text = format!("{name} neither exists nor is in the files");
                missing.push(Violation::new(field, text));
            } else if let Some(scope) = self.scopes.get(&name)
                && !scope.has_workflow(&own.workflow)
            {
                let text =
                    format!("{name} does not count for this workflow: its scope names others");
                missing.push(Violation::new(field, text));
            }
        }
        for (field, secret) in &workflow.names().secrets {
            let secret = format!("projects/{}/secrets/{secret}", own.project);
            if !self.has_secret(&secret).await? {
                let text = format!(
                    "{secret} does not exist; files hold no secrets: signalbox secrets create"
                );
                missing.push(Violation::new(format!("spec.{field}"), text));
            }
        }
        Ok(missing)
    }

    async fn has_key(&mut self, name: &str) -> Result<bool, CliError> {
        if let Some(is_there) = self.found.get(name) {
            return Ok(*is_there);
        }
        let found = find_key(self.client, name).await?;
        let key = found.filter(|found| !found.is_deleted);
        let is_there = key.is_some();
        self.scopes.extend(key.and_then(|key| scope(&key.resource)));
        self.found.insert(name.to_owned(), is_there);
        Ok(is_there)
    }

    async fn has_secret(&mut self, name: &str) -> Result<bool, CliError> {
        if let Some(is_there) = self.found.get(name) {
            return Ok(*is_there);
        }
        let is_there = has_secret(self.client, name).await?;
        self.found.insert(name.to_owned(), is_there);
        Ok(is_there)
    }
}

/// The keys that a workflow's trigger names, and where.
fn keys(workflow: &Workflow) -> Vec<(String, &ApiKeyName)> {
    let kind = match workflow.trigger() {
        Trigger::AmazonSns(_) => "amazonSns",
        Trigger::Webhook(_) => "webhook",
        Trigger::Manual | Trigger::Schedule(_) => return Vec::new(),
    };
    let names = workflow.trigger().api_keys().iter().enumerate();
    names
        .map(|(at, name)| (format!("spec.trigger.{kind}.apiKeys[{at}]"), name))
        .collect()
}
