//! What lies between two revisions, read, converted and encoded once for all nodes, but for secrets: each node is sent its own.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use moka::future::Cache;
use prost::Message as _;
use signalbox_model::{
    config::{KeyConfig, KeyDigest, PreviousValue, ProjectConfig},
    error::Error,
    rate_limit::RateLimit,
};
use signalbox_proto::{convert, dataplane::v1 as wire};

use crate::{
    app::App,
    store::{
        ConfigChange, ConfigEntry, KeyEntry, WorkflowEntry,
        rows::{Project, Secret},
    },
};

/// Changes of one delta.
const CHANGES_MAX: u64 = 500;
/// Deltas kept: nodes that follow stand at the same few revisions.
const KEPT_MAX: u64 = 64;
/// A delta from a revision grows old as changes come; nodes that take an old one ask again from where it leads.
const KEPT_FOR: Duration = Duration::from_secs(5);

/// Changes from one revision to another.
#[derive(Debug)]
pub(super) struct Delta {
    pub(super) to: i64,
    /// The `ConfigUpdate`, encoded, without what is a node's own: nonce, secrets, and what part of what it is.
    pub(super) shared: Bytes,
    /// As they are stored.
    pub(super) secrets: Vec<Secret>,
}

/// Reads deltas; keeps them while several nodes may want them.
#[derive(Clone, Debug)]
pub(super) struct Deltas {
    app: App,
    /// By the revision from which they lead: whoever stands there goes on to the same one, and so all read the same few.
    kept: Cache<i64, Arc<Delta>>,
}

impl Deltas {
    pub(super) fn new(app: App) -> Self {
        Self {
            app,
            kept: Cache::builder()
                .max_capacity(KEPT_MAX)
                .time_to_live(KEPT_FOR)
                .build(),
        }
    }

    /// What comes after `revision`, which is not the newest: all of it, or a part.
    pub(super) async fn after(&self, revision: i64) -> Result<Arc<Delta>, Error> {
        self.kept
            .try_get_with(revision, self.read(revision))
            .await
            .map_err(|error: Arc<Error>| (*error).clone())
    }

    async fn read(&self, revision: i64) -> Result<Arc<Delta>, Error> {
        let store = self.app.store();
        let (changes, to) = store.changes_since(revision, CHANGES_MAX).await?;
        let mut update = wire::ConfigUpdate {
            incarnation: store.incarnation().to_owned(),
            revision: to,
            ..wire::ConfigUpdate::default()
        };
        let mut secrets = Vec::new();
        for change in changes {
            match change {
                ConfigChange::Delete(name) => update.deletes.push(name),
                ConfigChange::Upsert(entry) => match converted(entry) {
                    Some(Converted::Shared(resource)) => update.upserts.push(resource),
                    Some(Converted::Secret(row)) => secrets.push(row),
                    Some(Converted::Nothing(name)) => update.deletes.push(name),
                    None => {}
                },
            }
        }
        Ok(Arc::new(Delta {
            to,
            shared: update.encode_to_vec().into(),
            secrets,
        }))
    }
}

/// A resource for the wire.
#[expect(clippy::large_enum_variant, reason = "used at once")]
pub(super) enum Converted {
    /// The same for all nodes.
    Shared(wire::Resource),
    /// Sealed to each.
    Secret(Secret),
    /// There is nothing of it for a node to hold: its name.
    Nothing(String),
}

/// None: it cannot be sent, which the log says.
pub(super) fn converted(entry: ConfigEntry) -> Option<Converted> {
    let converted = match entry {
        ConfigEntry::Secret(row) => return Some(Converted::Secret(row)),
        ConfigEntry::Key(row) => key_resource(&row),
        ConfigEntry::Workflow(row) => workflow_resource(&row),
        ConfigEntry::Project(row) if row.events_per_second == 0 => {
            return Some(Converted::Nothing(row.name()));
        }
        ConfigEntry::Project(row) => project_resource(&row),
    };
    converted
        .map_err(|error| unsendable(&error))
        .ok()
        .map(Converted::Shared)
}

/// A row that cannot be sent must not keep the others from being sent.
pub(super) fn unsendable(error: &str) {
    tracing::error!(error, "a resource cannot be sent to the nodes");
}

fn key_resource(row: &KeyEntry) -> Result<wire::Resource, String> {
    key(row).map(|key| convert::config::key_to_wire(&key))
}

fn workflow_resource(row: &WorkflowEntry) -> Result<wire::Resource, String> {
    let name = format!("projects/{}/workflows/{}", row.project, row.id);
    let name = name
        .parse()
        .map_err(|error: signalbox_model::ids::IdError| error.to_string())?;
    let source = row.source.as_deref();
    let published =
        source.map(|source| (u64::try_from(row.published_version).unwrap_or(0), source));
    convert::config::workflow_to_wire(&name, row.enabled, published, row.bound_topic.as_deref())
        .map_err(|error| error.to_string())
}

fn project_resource(row: &Project) -> Result<wire::Resource, String> {
    let id = row.id.parse();
    let project = id.map_err(|error: signalbox_model::ids::IdError| error.to_string())?;
    let rate_limit = RateLimit::new(row.events_per_second, 0)
        .map_err(|_| format!("{}: its quota is damaged", row.name()))?;
    let config = ProjectConfig {
        project,
        rate_limit,
    };
    Ok(convert::config::project_to_wire(&config))
}

fn key(row: &KeyEntry) -> Result<KeyConfig, String> {
    let name = format!("projects/{}/apiKeys/{}", row.project, row.id);
    let digest = key_digest(&name, &row.digest)?;
    let expires_at = row
        .expire_time_us
        .map(jiff::Timestamp::from_microsecond)
        .transpose()
        .map_err(|error| error.to_string())?;
    // One that has ended, too: the node says why it refuses it.
    let previous = match (&row.previous_digest, row.previous_expire_time_us) {
        (Some(digest), Some(until)) => Some(Box::new(PreviousValue {
            digest: key_digest(&name, digest)?,
            expires_at: jiff::Timestamp::from_microsecond(until)
                .map_err(|error| error.to_string())?,
        })),
        _ => None,
    };
    let scope = row.scope().map_err(|error| error.to_string())?;
    Ok(KeyConfig {
        name: name
            .parse()
            .map_err(|error: signalbox_model::ids::IdError| error.to_string())?,
        digest,
        revoked: row.revoke_time_us.is_some(),
        expires_at,
        rate_limit: row.rate_limit(),
        scope: Some(scope)
            .filter(|scope| !scope.is_everything())
            .map(Arc::new),
        previous,
    })
}

fn key_digest(name: &str, digest: &[u8]) -> Result<KeyDigest, String> {
    digest
        .try_into()
        .map(KeyDigest)
        .map_err(|_| format!("{name}: its digest is damaged"))
}
