//! What files and the control plane have in common: resources as manifests.

use signalbox_client::Client;
use signalbox_model::{
    ids::{ApiKeyName, ProjectId},
    key_scope::KeyScope,
    workflow::Workflow,
};
use signalbox_proto::{
    convert::{
        definition,
        manifest::{API_KEY, WORKFLOW},
        rate_limit, yaml,
    },
    v1,
};

use crate::{
    CliError,
    commands::{if_found, workflows},
};

/// Collections of names.
pub(crate) const KEYS: &str = "apiKeys";
pub(crate) const WORKFLOWS: &str = "workflows";

/// The scope that a key's spec says, if it says one.
pub(super) fn scope_of(key: &str, spec: &v1::ApiKeySpec) -> Option<KeyScope> {
    let name: ApiKeyName = key.parse().ok()?;
    KeyScope::new(&name.project, &spec.workflows, &spec.source_networks).ok()
}

/// What a resource is, or is to be, by its full name. Two are equal when there is nothing to do.
#[derive(Clone, Debug, PartialEq)]
#[allow(
    clippy::large_enum_variant,
    reason = "there are few at a time, each used once"
)]
pub(crate) enum Resource {
    Key(v1::ApiKeyManifest),
    Workflow(v1::WorkflowManifest),
}

impl Resource {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Key(manifest) => &manifest.name,
            Self::Workflow(manifest) => &manifest.name,
        }
    }

    /// What a workflow of this project means, where it can be read.
    pub(crate) fn definition(&self, project: &ProjectId) -> Option<Workflow> {
        match self {
            Self::Key(_) => None,
            Self::Workflow(manifest) => {
                let spec = manifest.spec.as_ref()?;
                definition::stored(spec, project).ok()
            }
        }
    }

    /// As files have it, with the short name.
    pub(crate) fn to_yaml(&self) -> String {
        let short = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
        match self {
            Self::Key(manifest) => yaml::write(&v1::ApiKeyManifest {
                name: short(&manifest.name),
                ..manifest.clone()
            }),
            Self::Workflow(manifest) => yaml::write(&v1::WorkflowManifest {
                name: short(&manifest.name),
                ..manifest.clone()
            }),
        }
    }

    /// The same as the control plane would have it.
    pub(crate) fn settled(self) -> Self {
        match self {
            Self::Key(manifest) => {
                let mut spec = manifest.spec.unwrap_or_default();
                let limit = spec.rate_limit.as_ref().map(rate_limit::from_wire);
                if let Some(Ok(limit)) = limit {
                    spec.rate_limit = Some(rate_limit::to_wire(&limit));
                }
                if let Some(scope) = scope_of(&manifest.name, &spec) {
                    (spec.workflows, spec.source_networks) = scope.to_texts();
                }
                Self::Key(v1::ApiKeyManifest {
                    spec: Some(spec).filter(|spec| *spec != v1::ApiKeySpec::default()),
                    ..manifest
                })
            }
            other => other,
        }
    }

    /// What the control plane has.
    pub(crate) fn of_key(key: &v1::ApiKey) -> Self {
        let manifest = v1::ApiKeyManifest {
            kind: API_KEY.to_owned(),
            name: key.name.clone(),
            labels: key.labels.clone(),
            display_name: key.display_name.clone(),
            spec: Some(v1::ApiKeySpec {
                expire_time: key.expire_time,
                rate_limit: key.rate_limit,
                workflows: key.workflows.clone(),
                source_networks: key.source_networks.clone(),
            }),
        };
        Self::Key(manifest).settled()
    }

    /// What the control plane has; `spec` is what runs.
    pub(crate) fn of_workflow(workflow: &v1::Workflow, spec: Option<v1::WorkflowSpec>) -> Self {
        Self::Workflow(v1::WorkflowManifest {
            kind: WORKFLOW.to_owned(),
            name: workflow.name.clone(),
            labels: workflow.labels.clone(),
            display_name: workflow.display_name.clone(),
            description: workflow.description.clone(),
            spec,
        })
    }
}

/// A resource of the control plane.
#[derive(Clone, Debug)]
pub(crate) struct Current {
    pub(crate) resource: Resource,
    pub(crate) etag: String,
    /// Whether it is what senders meet: a key that is not revoked, a workflow with a published version.
    pub(crate) is_live: bool,
    /// Whether it is deleted, and can be undeleted.
    pub(crate) is_deleted: bool,
}

/// The key, if there is one, deleted or not.
pub(crate) async fn find_key(client: &Client, name: &str) -> Result<Option<Current>, CliError> {
    let get = v1::GetApiKeyRequest {
        name: name.to_owned(),
    };
    let found = client
        .idempotent(|| {
            let (mut keys, get) = (client.keys(), get.clone());
            async move { keys.get_api_key(get).await }
        })
        .await;
    Ok(if_found(found)?.map(|key| Current {
        resource: Resource::of_key(&key),
        is_live: key.revoke_time.is_none(),
        is_deleted: key.delete_time.is_some(),
        etag: key.etag,
    }))
}

/// The workflow, if there is one, deleted or not.
pub(crate) async fn find_workflow(
    client: &Client,
    name: &str,
) -> Result<Option<Current>, CliError> {
    let Some(workflow) = workflows::find(client, name).await? else {
        return Ok(None);
    };
    let spec = workflows::published_spec(client, &workflow).await?;
    Ok(Some(Current {
        resource: Resource::of_workflow(&workflow, spec),
        is_live: workflow.published_version > 0,
        is_deleted: workflow.delete_time.is_some(),
        etag: workflow.etag,
    }))
}

/// Whether there is a secret of this name.
pub(crate) async fn has_secret(client: &Client, name: &str) -> Result<bool, CliError> {
    let get = v1::GetSecretRequest {
        name: name.to_owned(),
    };
    let found = client
        .idempotent(|| {
            let (mut secrets, get) = (client.secrets(), get.clone());
            async move { secrets.get_secret(get).await }
        })
        .await;
    Ok(if_found(found)?.is_some())
}
