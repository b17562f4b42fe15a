//! Where executions get their secrets from.

use std::{collections::BTreeSet, fmt};

use memchr::memmem;
use signalbox_model::{
    ids::{ExecutionName, ProjectId, SecretId},
    secret::{Masks, Secrets},
};
use signalbox_proto::convert::definition;

use crate::{
    config::ConfigStore,
    spool::{Spool, SpoolError},
};

/// Where the values of secrets are.
pub trait SecretSource: fmt::Debug + Send + Sync + 'static {
    /// Those called `ids` that there are in `project`, as they are now.
    fn secrets(&self, project: &ProjectId, ids: &BTreeSet<&SecretId>) -> Secrets;

    /// What is not to be recorded of those called `ids`: the values that they have, and those that they had.
    fn masks(&self, project: &ProjectId, ids: &BTreeSet<&SecretId>) -> Masks {
        let mut masks = Masks::default();
        for (_, secret) in self.secrets(project, ids).iter() {
            masks.add(secret);
        }
        masks
    }
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

    fn masks(&self, project: &ProjectId, ids: &BTreeSet<&SecretId>) -> Masks {
        let current = self.current();
        let mut masks = Masks::default();
        for id in ids {
            let now = current.secret(project, id);
            now.into_iter()
                .chain(current.former(project, id))
                .for_each(|secret| masks.add(secret));
        }
        masks
    }
}

/// What is not to be recorded of what others tell an execution: the values of the secrets that its definition names.
///
/// # Errors
/// [`SpoolError`].
pub(super) async fn masks_of(
    spool: &dyn Spool,
    source: &dyn SecretSource,
    execution: &ExecutionName,
) -> Result<Masks, SpoolError> {
    let Some(definition) = spool.definition(execution.clone()).await? else {
        return Ok(Masks::default());
    };
    // Most name none, and need not be read.
    if memmem::find(&definition, b"secrets").is_none() {
        return Ok(Masks::default());
    }
    let project = execution.project.clone();
    // Parsing hundreds of expressions takes longer than a task may hold its thread.
    let decode = move || definition::decode(&definition, &project);
    match tokio::task::spawn_blocking(decode).await {
        Ok(Ok(workflow)) => {
            let named = workflow.names().secrets.iter().map(|(_, id)| id).collect();
            Ok(source.masks(&execution.project, &named))
        }
        // One that cannot be read is not run either.
        Ok(Err(_)) | Err(_) => Ok(Masks::default()),
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
