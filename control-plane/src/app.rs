//! Use cases: what operators, nodes and the hub ask for. No transport here.

mod audit;
mod deleted;
mod executions;
mod keys;
mod nodes;
mod projects;
mod quotas;
mod reports;
mod retention;
mod retries;
mod runs;
mod schedules;
mod secrets;
mod signals;
mod workflows;

use std::{sync::Arc, time::Duration};

use signalbox_model::error::Error;
use tokio::sync::Notify;

use crate::{
    crypto::{CryptoError, MasterKey},
    store::Store,
};

pub use deleted::{Deletion, Found};
pub use keys::{KeyChange, NewKey};
pub use nodes::{COMMANDS_MAX, Refusal};
pub use projects::{ProjectChange, ShownProject};
pub use quotas::{Limits, Quotas};
pub use retention::Expiring;
pub use retries::{RetryMode, RetryOrder, RetryRequest, RetryVersion};
pub use runs::RunRequest;
pub use schedules::Looks;
pub use schedules::Upcoming;
pub use signals::Telling;
pub use workflows::{Definition, NewWorkflow, WebhookAccess};

/// The use cases. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App {
    store: Store,
    master_key: Arc<MasterKey>,
    settings: Arc<Settings>,
    /// Told when more is to be deleted from now on.
    look: Arc<Notify>,
}

/// What an installation decides.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where senders reach the data plane, without a path: `https://hooks.example.com`.
    pub public_webhook_url: String,
    /// Whether key values may be shown again.
    pub reveal_enabled: bool,
    /// Deliveries of each verdict but ACCEPTED that are kept for a workflow: the newest.
    pub deliveries_kept_max: u64,
    /// Size of the JSON text of an input or output, in bytes, up to which it is recorded whole.
    pub history_value_max_bytes: usize,
    /// How long the history of projects is kept that do not say.
    pub history_retention: Duration,
    /// How long deleted keys and workflows are kept.
    pub deleted_retention: Duration,
    /// The quotas of projects that do not say.
    pub quotas: Limits,
}

impl App {
    /// The use cases over a database.
    #[must_use]
    pub fn new(store: Store, master_key: MasterKey, settings: Settings) -> Self {
        Self {
            store,
            master_key: Arc::new(master_key),
            settings: Arc::new(settings),
            look: Arc::default(),
        }
    }

    /// What signs page tokens.
    #[must_use]
    pub fn page_key(&self) -> &aws_lc_rs::hmac::Key {
        self.master_key.page_key()
    }

    /// The database, for reading: the hub follows its change log.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }
}

/// The current etag of a row, from its revision.
#[must_use]
pub fn etag(revision: i64) -> String {
    format!("\"{revision:x}\"")
}

/// The etag that a caller gave must be the current one, if it gave one (AIP-154).
fn check_etag(given: &str, revision: i64, resource: &str) -> Result<(), Error> {
    if given.is_empty() || given == etag(revision) {
        Ok(())
    } else {
        Err(Error::Stale {
            resource: resource.to_owned(),
        })
    }
}

/// Text that every database keeps, of at most so many characters.
fn check_length(field: &str, text: &str, max_chars: usize) -> Result<(), Error> {
    if text.chars().count() > max_chars {
        return Err(Error::invalid(
            field,
            format!("has more than {max_chars} characters"),
        ));
    }
    // PostgreSQL keeps no text with it, and a database may move there.
    if text.contains('\0') {
        return Err(Error::invalid(field, "holds the character U+0000"));
    }
    Ok(())
}

/// A request id is a UUID, or absent (AIP-155).
fn check_request_id(request_id: &str) -> Result<Option<&str>, Error> {
    if request_id.is_empty() {
        return Ok(None);
    }
    if uuid::Uuid::try_parse(request_id).is_err() {
        return Err(Error::invalid("request_id", "is not a UUID"));
    }
    Ok(Some(request_id))
}

fn crypto(error: CryptoError) -> Error {
    tracing::error!(%error, "a stored value cannot be used");
    Error::Internal {
        message: error.to_string(),
    }
}
