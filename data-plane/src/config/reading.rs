//! Reading definitions that came with many others: of those, only the front was read, so that a node that starts with a hundred
//! thousand of them can take messages at once.

use signalbox_model::{
    config::PublishedVersion,
    ids::{ProjectId, WorkflowName},
};
use signalbox_proto::convert;

use super::{ConfigStore, Snapshot};

/// Why a definition cannot be run at this node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot be run by this node: {0}")]
pub struct Unreadable(String);

/// Reads all of the definition of a version, a workflow's in `project`, unless that was done before; not on the caller's thread,
/// since parsing hundreds of expressions takes long.
///
/// # Errors
/// Why it cannot be run here.
pub async fn read(version: &PublishedVersion, project: &ProjectId) -> Result<(), Unreadable> {
    if !version.is_read() {
        let (version, project) = (version.clone(), project.clone());
        let reading = tokio::task::spawn_blocking(move || {
            // What came of it is asked for below.
            let _ = convert::config::check(&version, &project);
        });
        if reading.await.is_err() {
            return Err(Unreadable("reading the definition broke off".to_owned()));
        }
    }
    convert::config::check(version, project).map_err(|why| Unreadable(why.to_owned()))
}

impl ConfigStore {
    /// Reads every definition of which only the front was read, one after the other, as long as `goes_on`. Gives what cannot be run
    /// here, whenever it was read, and why. Blocks.
    pub fn unreadable(&self, goes_on: impl Fn() -> bool) -> Vec<(WorkflowName, String)> {
        let snapshot = self.current();
        let mut found = Vec::new();
        for (name, version) in snapshot.versions() {
            if !goes_on() {
                break;
            }
            if let Err(why) = convert::config::check(version, &name.project) {
                found.push((name.clone(), why.to_owned()));
            }
        }
        found
    }
}

impl Snapshot {
    fn versions(&self) -> impl Iterator<Item = (&WorkflowName, &PublishedVersion)> {
        let versions = self.workflows.iter();
        versions.filter_map(|(name, workflow)| Some((name, workflow.published.as_ref()?)))
    }
}
