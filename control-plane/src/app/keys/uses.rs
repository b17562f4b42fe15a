//! When keys were last used.

use std::collections::HashMap;

use signalbox_model::{error::Error, key_use::KeyUse};

use super::super::App;
use crate::store::rows::{ApiKey, KeyUse as Row};

impl App {
    /// Keeps what a node says of keys. Nothing is audited, and no node is told.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_key_uses(&self, uses: &[KeyUse]) -> Result<(), Error> {
        self.store
            .write(async |tx| tx.note_key_uses(uses).await)
            .await
    }

    /// The last uses of keys of one project, by their ids.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn key_uses<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a ApiKey>,
    ) -> Result<HashMap<String, Row>, Error> {
        self.store.key_uses(keys).await
    }
}
