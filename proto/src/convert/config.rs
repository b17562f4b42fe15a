//! Configuration for the nodes.

use std::sync::Arc;

use bytes::Bytes;
use signalbox_model::{
    config::{
        KeyConfig, KeyDigest, PreviousValue, ProjectConfig, PublishedVersion, Resource, Revision,
        SealedSecret, SecretConfig, WorkflowConfig,
    },
    ids::{ApiKeyName, ProjectId, ProjectName, SecretName, WorkflowName},
    key_scope::KeyScope,
    rate_limit::RateLimit,
    secret::Secret,
};

use super::{WireError, definition, non_empty, parse, rate_limit, time};
use crate::{dataplane::v1 as wire, v1};

/// A key for the wire.
#[must_use]
pub fn key_to_wire(key: &KeyConfig) -> wire::Resource {
    let KeyConfig {
        name,
        digest,
        revoked,
        expires_at,
        rate_limit,
        scope,
        previous,
    } = key;
    let scope = scope.as_deref().map(|scope| {
        let (workflows, source_networks) = scope.to_texts();
        wire::KeyScope {
            workflows,
            source_networks,
            revoked: *revoked,
        }
    });
    wire::Resource {
        kind: Some(wire::resource::Kind::Key(wire::KeyConfig {
            name: name.to_string(),
            digest: Bytes::copy_from_slice(&digest.0),
            // A node that knows no scopes must not take the key for everything.
            revoked: *revoked || scope.is_some(),
            expire_time: expires_at.map(time::to_wire),
            rate_limit: rate_limit.as_ref().map(rate_limit::to_wire),
            scope,
            previous_digest: previous
                .as_ref()
                .map(|previous| Bytes::copy_from_slice(&previous.digest.0))
                .unwrap_or_default(),
            previous_expire_time: previous
                .as_ref()
                .map(|previous| time::to_wire(previous.expires_at)),
        })),
    }
}

/// A workflow for the wire; `published` is the number and the encoded spec of the published version.
///
/// # Errors
/// When the spec does not decode.
pub fn workflow_to_wire(
    name: &WorkflowName,
    enabled: bool,
    published: Option<(u64, &[u8])>,
    bound_topic: Option<&str>,
) -> Result<wire::Resource, WireError> {
    let (version, spec) = match published {
        Some((number, source)) => {
            let spec: v1::WorkflowSpec = prost::Message::decode(source)
                .map_err(|error| WireError::invalid("spec", error))?;
            (number, Some(spec))
        }
        None => (0, None),
    };
    Ok(wire::Resource {
        kind: Some(wire::resource::Kind::Workflow(wire::WorkflowConfig {
            name: name.to_string(),
            state: if enabled {
                v1::WorkflowState::Enabled
            } else {
                v1::WorkflowState::Disabled
            }
            .into(),
            version: i64::try_from(version).unwrap_or(i64::MAX),
            spec,
            bound_topic_arn: bound_topic.unwrap_or_default().to_owned(),
        })),
    })
}

/// HPKE's `info` of secrets.
pub const SECRET_INFO: &[u8] = b"signalbox secret 1";

/// HPKE's `aad` of a secret: a value opens as that of its own name and revision only.
#[must_use]
pub fn secret_aad(name: &SecretName, revision: Revision) -> Vec<u8> {
    let mut aad = name.to_string().into_bytes();
    aad.push(0);
    aad.extend_from_slice(&revision.0.to_be_bytes());
    aad
}

/// A secret for the wire of the node that it is sealed to.
#[must_use]
pub fn secret_to_wire(secret: &SealedSecret) -> wire::Resource {
    let SealedSecret {
        name,
        revision,
        sealed_value,
    } = secret;
    wire::Resource {
        kind: Some(wire::resource::Kind::Secret(wire::SecretConfig {
            name: name.to_string(),
            revision: i64::try_from(revision.0).unwrap_or(i64::MAX),
            sealed_value: sealed_value.clone(),
        })),
    }
}

/// A project for the wire.
#[must_use]
pub fn project_to_wire(project: &ProjectConfig) -> wire::Resource {
    let ProjectConfig {
        project,
        rate_limit,
    } = project;
    wire::Resource {
        kind: Some(wire::resource::Kind::Project(wire::ProjectConfig {
            name: format!("projects/{project}"),
            events_per_second: rate_limit.events_per_second().get().into(),
        })),
    }
}

/// The name of a resource as it came, for refusing it.
#[must_use]
pub fn name_of(resource: &wire::Resource) -> &str {
    match &resource.kind {
        Some(wire::resource::Kind::Key(key)) => &key.name,
        Some(wire::resource::Kind::Workflow(workflow)) => &workflow.name,
        Some(wire::resource::Kind::Secret(secret)) => &secret.name,
        Some(wire::resource::Kind::Project(project)) => &project.name,
        None => "",
    }
}

/// How much of a workflow's definition is read with it.
#[derive(Clone, Copy, Debug)]
pub enum Reading<'a> {
    /// All of it: what cannot be run is refused.
    Whole,
    /// What starts it only. [`check`] reads the rest.
    Front,
    /// All of it, unless it is that of this version: what is known of that holds.
    WholeUnless(&'a PublishedVersion),
}

/// Reads all of the definition of a version of a workflow in `project`, unless that was done before.
///
/// # Errors
/// Why this node cannot run it.
pub fn check<'a>(version: &'a PublishedVersion, project: &ProjectId) -> Result<(), &'a str> {
    version.check(|source| match definition::decode(source, project) {
        Ok(_) => Ok(()),
        Err(violations) => Err(WireError::invalid("spec", violations).to_string()),
    })
}

/// A resource from the wire; `open` opens what is sealed to this node, `reading` says how much of a workflow is read.
///
/// # Errors
/// Why the node cannot take it: it keeps the state that it has.
pub fn resource<'a>(
    resource: wire::Resource,
    reading: impl FnOnce(&WorkflowName) -> Reading<'a>,
    open: impl FnOnce(&SealedSecret) -> Result<Secret, String>,
) -> Result<Resource, WireError> {
    match resource.kind {
        Some(wire::resource::Kind::Key(key)) => key_config(key).map(Resource::Key),
        Some(wire::resource::Kind::Workflow(workflow)) => {
            workflow_config(workflow, reading).map(Resource::Workflow)
        }
        Some(wire::resource::Kind::Secret(secret)) => {
            let sealed = sealed_secret(secret)?;
            let value = open(&sealed).map_err(|why| WireError::invalid("sealed_value", why))?;
            Ok(Resource::Secret(SecretConfig {
                name: sealed.name,
                value,
            }))
        }
        Some(wire::resource::Kind::Project(project)) => {
            project_config(&project).map(Resource::Project)
        }
        None => Err(WireError::Missing(
            "a kind of resource that this node knows",
        )),
    }
}

fn key_config(key: wire::KeyConfig) -> Result<KeyConfig, WireError> {
    let wire::KeyConfig {
        name,
        digest,
        revoked,
        expire_time,
        rate_limit,
        scope,
        previous_digest,
        previous_expire_time,
    } = key;
    let name = parse::<ApiKeyName>("name", &name)?;
    let (scope, revoked) = match scope {
        None => (None, revoked),
        Some(scope) => (Some(key_scope(&name, &scope)?), scope.revoked),
    };
    let previous = if previous_digest.is_empty() {
        None
    } else {
        Some(Box::new(PreviousValue {
            digest: key_digest("previous_digest", &previous_digest)?,
            expires_at: time::required("previous_expire_time", previous_expire_time)?,
        }))
    };
    Ok(KeyConfig {
        name,
        digest: key_digest("digest", &digest)?,
        revoked,
        expires_at: expire_time
            .map(|at| time::from_wire("expire_time", at))
            .transpose()?,
        rate_limit: rate_limit
            .as_ref()
            .map(rate_limit::from_wire)
            .transpose()
            .map_err(|problems| WireError::invalid("rate_limit", listed(&problems)))?,
        scope: scope.map(Arc::new),
        previous,
    })
}

fn key_scope(key: &ApiKeyName, scope: &wire::KeyScope) -> Result<KeyScope, WireError> {
    KeyScope::new(&key.project, &scope.workflows, &scope.source_networks)
        .map_err(|problems| WireError::invalid("scope", listed(&problems)))
}

fn key_digest(field: &'static str, digest: &[u8]) -> Result<KeyDigest, WireError> {
    digest
        .try_into()
        .map(KeyDigest)
        .map_err(|_| WireError::invalid(field, "is no SHA-256"))
}

fn project_config(project: &wire::ProjectConfig) -> Result<ProjectConfig, WireError> {
    let wire::ProjectConfig {
        name,
        events_per_second,
    } = project;
    let rate_limit = RateLimit::new(*events_per_second, 0)
        .map_err(|problems| WireError::invalid("events_per_second", listed(&problems)))?;
    Ok(ProjectConfig {
        project: parse::<ProjectName>("name", name)?.project,
        rate_limit,
    })
}

fn published(
    number: u64,
    spec: &v1::WorkflowSpec,
    name: &WorkflowName,
    reading: Reading<'_>,
) -> Result<PublishedVersion, WireError> {
    let invalid = |violations| WireError::invalid("spec", violations);
    let source = definition::encode(spec);
    match reading {
        Reading::WholeUnless(known) if known.source == source => Ok(known.clone().numbered(number)),
        Reading::Whole | Reading::WholeUnless(_) => {
            let workflow = definition::stored(spec, &name.project).map_err(invalid)?;
            Ok(PublishedVersion::read(number, &workflow, source))
        }
        Reading::Front => {
            let front = definition::front(spec, &name.project).map_err(invalid)?;
            Ok(PublishedVersion::unread(number, front, source))
        }
    }
}

fn sealed_secret(secret: wire::SecretConfig) -> Result<SealedSecret, WireError> {
    let wire::SecretConfig {
        name,
        revision,
        sealed_value,
    } = secret;
    let revision = u64::try_from(revision).map_err(|e| WireError::invalid("revision", e))?;
    Ok(SealedSecret {
        name: parse::<SecretName>("name", &name)?,
        revision: Revision(revision),
        sealed_value,
    })
}

fn listed(problems: &[impl ToString]) -> String {
    let texts: Vec<_> = problems.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

fn workflow_config<'a>(
    workflow: wire::WorkflowConfig,
    reading: impl FnOnce(&WorkflowName) -> Reading<'a>,
) -> Result<WorkflowConfig, WireError> {
    let wire::WorkflowConfig {
        name,
        state,
        version,
        spec,
        bound_topic_arn,
    } = workflow;
    let name: WorkflowName = parse("name", &name)?;
    let enabled = match v1::WorkflowState::try_from(state) {
        Ok(v1::WorkflowState::Enabled) => true,
        Ok(v1::WorkflowState::Disabled) => false,
        // What is deleted is not sent.
        Ok(v1::WorkflowState::Unspecified | v1::WorkflowState::Deleted) | Err(_) => {
            return Err(WireError::Missing("state"));
        }
    };
    let published = match (version, spec) {
        (0, _) => None,
        (version, Some(spec)) => {
            let number = u64::try_from(version).map_err(|e| WireError::invalid("version", e))?;
            Some(published(number, &spec, &name, reading(&name))?)
        }
        (_, None) => return Err(WireError::Missing("spec")),
    };
    Ok(WorkflowConfig {
        name,
        enabled,
        published,
        bound_topic: non_empty(bound_topic_arn),
    })
}
