//! The configuration that a node uses: an immutable snapshot that readers take without a lock, and its copy on disk, the
//! last known good.

mod contact;
mod disk;
mod limited;
mod reading;
mod retired;
mod usage;

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use imbl::{HashMap, HashSet};
use jiff::Timestamp;
use signalbox_model::{
    config::{
        KeyConfig, KeyDigest, ProjectConfig, Resource, Revision, SecretConfig, WorkflowConfig,
    },
    ids::{ProjectId, ProjectName, SecretId, SecretName, WorkflowName},
    secret::Secret,
};

use self::{disk::Disk, retired::Retired};

pub use contact::{Contact, GRACE as CONTACT_GRACE};
pub use disk::ConfigError;
pub use limited::{Limited, Rates};
pub use reading::{Unreadable, read};
pub use usage::{Key, LastUse, Usage};

/// A state of the configuration. Cheap to clone: its maps share what did not change.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Incarnation of the control plane's database that it came from; empty until the first sync.
    pub incarnation: String,
    /// Its number.
    pub revision: Revision,
    rates: Rates,
    /// By the digests of their values: of the one before, too.
    keys: HashMap<[u8; 32], Arc<Key>>,
    /// Of each key's newest value.
    digests: HashMap<String, [u8; 32]>,
    workflows: HashMap<WorkflowName, Arc<Limited<WorkflowConfig>>>,
    refused: HashSet<WorkflowName>,
    /// Open, in memory only: the disk has them sealed.
    secrets: HashMap<SecretName, Secret>,
    retired: Retired,
    /// Those that have a quota.
    projects: HashMap<ProjectId, Arc<Limited<ProjectConfig>>>,
}

impl Snapshot {
    /// Whether the node has ever synced: until then it knows nothing, and says so (invariant I4).
    #[must_use]
    pub fn is_synced(&self) -> bool {
        !self.incarnation.is_empty()
    }

    /// The key that has, or had before its last rotation, the value with this digest: [`KeyConfig::has_value`] says whether it
    /// counts.
    ///
    /// Nothing here need take constant time. What a sender presents is hashed first, so that the time that a look-up or a
    /// comparison takes depends on SHA-256 of it: whoever learns from it how many bits of a digest are right cannot make a value
    /// whose digest has more of them, but by trying values of 256 random bits.
    #[must_use]
    pub fn key(&self, digest: &KeyDigest) -> Option<&Arc<Key>> {
        self.keys.get(&digest.0)
    }

    /// All keys, each once.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<Key>> {
        let by_newest = self
            .keys
            .iter()
            .filter(|(digest, key)| key.digest.0 == **digest);
        by_newest.map(|(_, key)| key)
    }

    /// A workflow.
    #[must_use]
    pub fn workflow(&self, name: &WorkflowName) -> Option<&Arc<Limited<WorkflowConfig>>> {
        self.workflows.get(name)
    }

    /// A project, when it has a quota. Where none has, this costs one comparison.
    #[must_use]
    pub fn project(&self, project: &ProjectId) -> Option<&Arc<Limited<ProjectConfig>>> {
        if self.projects.is_empty() {
            return None;
        }
        self.projects.get(project)
    }

    /// The value of a secret.
    #[must_use]
    pub fn secret(&self, project: &ProjectId, id: &SecretId) -> Option<&Secret> {
        self.secrets.get(&SecretName {
            project: project.clone(),
            secret: id.clone(),
        })
    }

    /// The values that a secret had before the one that it has, if it has one: those that may still be answered with. They are to be
    /// masked, and never used.
    pub fn former(&self, project: &ProjectId, id: &SecretId) -> impl Iterator<Item = &Secret> {
        self.retired.of(&SecretName {
            project: project.clone(),
            secret: id.clone(),
        })
    }

    /// Whether there is such a workflow that this node cannot take and has no earlier state of. It exists: whoever asks
    /// for it should try again, at another node or later (invariant I4).
    #[must_use]
    pub fn is_refused(&self, name: &WorkflowName) -> bool {
        self.refused.contains(name) && !self.workflows.contains_key(name)
    }

    /// How many workflows, keys and secrets it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.workflows.len() + self.digests.len() + self.secrets.len()
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sets a resource, which goes on counting where `before` has come.
    fn set(&mut self, resource: Resource, before: &Self) {
        match resource {
            Resource::Key(key) => {
                let name = key.name.to_string();
                self.remove(&name);
                let digest = key.digest.0;
                let before = before.key_called(&name).map(Arc::as_ref);
                let previous = key.previous.as_ref().map(|previous| previous.digest.0);
                let limited = Limited::key(key, self.rates, before.map(Key::limited));
                let key = Arc::new(Key::new(limited, before));
                self.digests.insert(name, digest);
                if let Some(previous) = previous {
                    self.keys.insert(previous, Arc::clone(&key));
                }
                self.keys.insert(digest, key);
            }
            Resource::Workflow(workflow) => {
                let name = workflow.name.clone();
                let counted = before.workflow(&name).map(Arc::as_ref);
                let workflow = Limited::workflow(workflow, self.rates, counted);
                self.workflows.insert(name, Arc::new(workflow));
            }
            Resource::Secret(SecretConfig { name, value }) => {
                self.secrets.insert(name, value);
            }
            Resource::Project(config) => {
                let project = config.project.clone();
                let counted = before.project(&project).map(Arc::as_ref);
                let config = Limited::project(config, counted);
                self.projects.insert(project, Arc::new(config));
            }
        }
    }

    fn key_called(&self, name: &str) -> Option<&Arc<Key>> {
        self.keys.get(self.digests.get(name)?)
    }

    fn remove(&mut self, name: &str) {
        let key = self
            .digests
            .remove(name)
            .and_then(|digest| self.keys.remove(&digest));
        if let Some(previous) = key.as_ref().and_then(|key| key.previous.as_ref()) {
            self.keys.remove(&previous.digest.0);
        }
        if let Ok(name) = name.parse::<WorkflowName>() {
            self.workflows.remove(&name);
            self.refused.remove(&name);
        }
        if let Ok(name) = name.parse::<SecretName>() {
            self.secrets.remove(&name);
        }
        if let Ok(name) = name.parse::<ProjectName>() {
            self.projects.remove(&name.project);
        }
    }

    fn refuse(&mut self, name: &str) {
        if let Ok(name) = name.parse::<WorkflowName>() {
            self.refused.insert(name);
        }
    }
}

/// A resource, and its encoded form for the disk.
#[derive(Clone, Debug)]
pub struct Upsert {
    /// Its name.
    pub name: String,
    /// What it means.
    pub resource: Resource,
    /// How it came.
    pub encoded: Bytes,
}

/// A change of the configuration.
#[derive(Clone, Debug)]
pub struct Change {
    /// Incarnation of the control plane's database.
    pub incarnation: String,
    /// The revision that it leads to.
    pub revision: Revision,
    /// Drop every resource that is neither set here nor in `keep`.
    pub replaces_all: bool,
    /// Resources to set.
    pub upserts: Vec<Upsert>,
    /// Names of resources to drop.
    pub deletes: Vec<String>,
    /// Names of resources whose new state was refused: the one they have stays.
    pub keep: Vec<String>,
}

/// The configuration in use, and on disk.
#[derive(Debug)]
pub struct ConfigStore {
    current: ArcSwap<Snapshot>,
    contact: Contact,
    /// Where people reach the control plane. No part of its configuration: each that is connected to says it.
    public_url: ArcSwapOption<Arc<str>>,
    disk: Mutex<Disk>,
}

impl ConfigStore {
    /// Opens (or makes) the store in `dir` and takes up the last known good. `decode` reads what [`Upsert::encoded`]
    /// wrote; what it cannot read is left out, with a warning, and the store takes itself to be at revision 0, so that the
    /// control plane sends everything again.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn open(
        dir: &Path,
        decode: impl Fn(&[u8]) -> Result<Resource, String>,
    ) -> Result<Self, ConfigError> {
        Self::open_with(dir, Rates::default(), &[], decode)
    }

    /// As [`Self::open`], with limits for what sets none itself, and the public key that secrets are sealed to. A store that
    /// was last written by a node with another key, or with none (an earlier version), lacks secrets, or has what does not
    /// open, and one by a node that knew no scopes has lost them: it takes itself to be at revision 0, too.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn open_with(
        dir: &Path,
        rates: Rates,
        public_key: &[u8],
        decode: impl Fn(&[u8]) -> Result<Resource, String>,
    ) -> Result<Self, ConfigError> {
        let disk = Disk::open(&dir.join("config.sqlite"), public_key, Timestamp::now())?;
        let stored = disk.load()?;
        let mut snapshot = Snapshot {
            incarnation: stored.incarnation,
            revision: Revision(stored.revision),
            rates,
            ..Snapshot::default()
        };
        if !stored.is_whole {
            snapshot.revision = Revision(0);
        }
        for name in stored.refused {
            snapshot.refuse(&name);
        }
        for (name, encoded) in stored.resources {
            match decode(&encoded) {
                Ok(resource) => snapshot.set(resource, &Snapshot::default()),
                Err(reason) => {
                    tracing::warn!(name, reason, "a stored resource is left out");
                    snapshot.refuse(&name);
                    snapshot.revision = Revision(0);
                }
            }
        }
        for (until, encoded) in stored.retired {
            // Those that were sealed to another key of this node, none can open any more.
            if let Ok(Resource::Secret(secret)) = decode(&encoded) {
                snapshot.retired.add(secret.name, secret.value, until);
            }
        }
        Ok(Self {
            current: ArcSwap::from_pointee(snapshot),
            contact: Contact::new(),
            public_url: ArcSwapOption::new(known(&stored.public_url)),
            disk: Mutex::new(disk),
        })
    }

    /// The configuration in use.
    #[must_use]
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Whether it is all that there is. Ask before [`Self::current`] is called, not after.
    #[must_use]
    pub fn contact(&self) -> &Contact {
        &self.contact
    }

    /// Where people reach the control plane, without a slash at its end; none: nobody has said.
    #[must_use]
    pub fn public_url(&self) -> Option<Arc<str>> {
        self.public_url.load().as_deref().cloned()
    }

    /// Makes durable where people reach the control plane, then uses it; empty: it does not know. Blocks on the disk, where it is
    /// another.
    ///
    /// # Errors
    /// [`ConfigError`]; nothing changed then.
    pub fn set_public_url(&self, url: &str) -> Result<(), ConfigError> {
        let disk = self.disk.lock().map_err(|_| ConfigError::Poisoned)?;
        if self.public_url().as_deref().unwrap_or_default() != url {
            disk.set_public_url(url)?;
            self.public_url.store(known(url));
        }
        Ok(())
    }

    /// Makes `change` durable, then uses it. Blocks on the disk. Costs what the change costs, not what there is.
    ///
    /// # Errors
    /// [`ConfigError`]; nothing changed then.
    pub fn apply(&self, change: Change) -> Result<(), ConfigError> {
        self.apply_at(change, Timestamp::now())
    }

    fn apply_at(&self, change: Change, now: Timestamp) -> Result<(), ConfigError> {
        let mut disk = self.disk.lock().map_err(|_| ConfigError::Poisoned)?;
        let current = self.current.load_full();
        let ending = retired::ending(&change, &current);
        disk.apply(&change, ending.iter().map(|(name, _)| name), now)?;
        let mut next = if change.replaces_all {
            let mut kept = Snapshot {
                rates: current.rates,
                retired: current.retired.clone(),
                ..Snapshot::default()
            };
            for name in &change.keep {
                if let Some(key) = current.key_called(name) {
                    kept.set(Resource::Key(KeyConfig::clone(key)), &current);
                }
                if let Ok(name) = name.parse::<WorkflowName>()
                    && let Some(workflow) = current.workflows.get(&name)
                {
                    kept.set(
                        Resource::Workflow(WorkflowConfig::clone(workflow)),
                        &current,
                    );
                }
                if let Ok(name) = name.parse::<SecretName>()
                    && let Some(secret) = current.secrets.get(&name)
                {
                    kept.secrets.insert(name, secret.clone());
                }
                if let Ok(name) = name.parse::<ProjectName>()
                    && let Some(project) = current.project(&name.project)
                {
                    kept.set(Resource::Project(ProjectConfig::clone(project)), &current);
                }
            }
            kept
        } else {
            Snapshot::clone(&current)
        };
        for name in &change.deletes {
            next.remove(name);
        }
        for upsert in change.upserts {
            if let Resource::Workflow(workflow) = &upsert.resource {
                next.refused.remove(&workflow.name);
            }
            next.set(upsert.resource, &current);
        }
        for name in &change.keep {
            next.refuse(name);
        }
        if !ending.is_empty() {
            next.retired.drop_ended(now);
        }
        for (name, value) in ending {
            next.retired.add(name, value, retired::kept_until(now));
        }
        next.incarnation = change.incarnation;
        next.revision = change.revision;
        self.current.store(Arc::new(next));
        Ok(())
    }
}

fn known(url: &str) -> Option<Arc<Arc<str>>> {
    (!url.is_empty()).then(|| Arc::new(url.into()))
}

#[cfg(test)]
mod tests;
