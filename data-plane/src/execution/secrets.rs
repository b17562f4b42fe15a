//! Where executions get their secrets from.

use std::{collections::BTreeSet, fmt};

use signalbox_model::{
    ids::{ProjectId, SecretId},
    secret::Secrets,
};

use crate::config::ConfigStore;

/// Where the values of secrets are.
pub trait SecretSource: fmt::Debug + Send + Sync + 'static {
    /// Those called `ids` that there are in `project`, as they are now.
    fn secrets(&self, project: &ProjectId, ids: &BTreeSet<&SecretId>) -> Secrets;
}

impl SecretSource for ConfigStore {
    fn secrets(&self, project: &ProjectId, ids: &BTreeSet<&SecretId>) -> Secrets {
        let current = self.current();
        let found = ids.iter().filter_map(|id| {
            let secret = current.secret(project, id)?;
            Some((SecretId::clone(id), secret.clone()))
        });
        found.collect()
    }
}

/// No secrets at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSecrets;

impl SecretSource for NoSecrets {
    fn secrets(&self, _project: &ProjectId, _ids: &BTreeSet<&SecretId>) -> Secrets {
        Secrets::default()
    }
}
