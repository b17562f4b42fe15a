//! What lies between two revisions, read once for all nodes; converted once, too, but for secrets: each node is sent its own.

use std::{sync::Arc, time::Duration};

use moka::future::Cache;
use signalbox_model::{
    config::{KeyConfig, KeyDigest, ProjectConfig},
    error::Error,
    rate_limit::RateLimit,
};
use signalbox_proto::{convert, dataplane::v1 as wire};

use crate::{
    app::App,
    store::{
        ConfigChange, ConfigEntry,
        rows::{ApiKey, Project, Secret, Workflow},
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
    pub(super) upserts: Vec<wire::Resource>,
    /// As they are stored.
    pub(super) secrets: Vec<Secret>,
    pub(super) deletes: Vec<String>,
}

/// Reads deltas; keeps them while several nodes may want them.
#[derive(Clone)]
pub(super) struct Deltas {
    app: App,
    kept: Cache<(i64, i64), Arc<Delta>>,
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

    /// What comes after `revision`, when the newest is `head`: all of it, or a part.
    pub(super) async fn after(&self, revision: i64, head: i64) -> Result<Arc<Delta>, Error> {
        self.kept
            .try_get_with((revision, head), self.read(revision))
            .await
            .map_err(|error: Arc<Error>| (*error).clone())
    }

    async fn read(&self, revision: i64) -> Result<Arc<Delta>, Error> {
        let (changes, to) = self
            .app
            .store()
            .changes_since(revision, CHANGES_MAX)
            .await?;
        let mut delta = Delta {
            to,
            upserts: Vec::with_capacity(changes.len()),
            secrets: Vec::new(),
            deletes: Vec::new(),
        };
        for change in changes {
            let converted = match change {
                ConfigChange::Delete(name) => {
                    delta.deletes.push(name);
                    continue;
                }
                ConfigChange::Upsert(ConfigEntry::Secret(row)) => {
                    delta.secrets.push(row);
                    continue;
                }
                ConfigChange::Upsert(ConfigEntry::Key(row)) => key_resource(&row),
                ConfigChange::Upsert(ConfigEntry::Workflow(row, source)) => {
                    workflow_resource(&row, source.as_deref())
                }
                // Nodes hold those that have something to hold.
                ConfigChange::Upsert(ConfigEntry::Project(row)) if row.events_per_second == 0 => {
                    delta.deletes.push(row.name());
                    continue;
                }
                ConfigChange::Upsert(ConfigEntry::Project(row)) => project_resource(&row),
            };
            match converted {
                Ok(resource) => delta.upserts.push(resource),
                Err(error) => unsendable(&error),
            }
        }
        Ok(Arc::new(delta))
    }
}

/// A row that cannot be sent must not keep the others from being sent.
pub(super) fn unsendable(error: &str) {
    tracing::error!(error, "a resource cannot be sent to the nodes");
}

fn key_resource(row: &ApiKey) -> Result<wire::Resource, String> {
    key(row).map(|key| convert::config::key_to_wire(&key))
}

fn workflow_resource(row: &Workflow, source: Option<&[u8]>) -> Result<wire::Resource, String> {
    let name = format!("projects/{}/workflows/{}", row.project, row.id);
    let name = name
        .parse()
        .map_err(|error: signalbox_model::ids::IdError| error.to_string())?;
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

fn key(row: &ApiKey) -> Result<KeyConfig, String> {
    let name = format!("projects/{}/apiKeys/{}", row.project, row.id);
    let digest = row
        .digest
        .as_slice()
        .try_into()
        .map_err(|_| format!("{name}: its digest is damaged"))?;
    let expires_at = row
        .expire_time_us
        .map(jiff::Timestamp::from_microsecond)
        .transpose()
        .map_err(|error| error.to_string())?;
    Ok(KeyConfig {
        name: name
            .parse()
            .map_err(|error: signalbox_model::ids::IdError| error.to_string())?,
        digest: KeyDigest(digest),
        revoked: row.revoke_time_us.is_some(),
        expires_at,
        rate_limit: row.rate_limit(),
    })
}
