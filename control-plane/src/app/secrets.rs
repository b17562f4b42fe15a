//! Secrets: their values go in, and come out for the nodes only, and to be looked for in what is recorded.

use std::collections::BTreeSet;

use memchr::memmem;
use signalbox_model::{
    error::Error,
    ids::{ExecutionName, ProjectId, SecretId, SecretName},
    limits,
    secret::{Masks, Secret as Opened},
};
use signalbox_proto::convert::definition;
use zeroize::Zeroizing;

use super::{App, audit, check_etag, crypto};
use crate::store::{Actor, Page, PageOf, rows::Secret};

fn check_value(value: &[u8]) -> Result<(), Error> {
    match value.len() {
        0 => Err(Error::invalid("secret.value", "is missing")),
        // A shorter one could not be told from chance where it is searched for, to be masked.
        _ if value.trim_ascii().len() < limits::SECRET_MIN_BYTES => Err(Error::invalid(
            "secret.value",
            format!(
                "has less than {} bytes, white space around it not counted",
                limits::SECRET_MIN_BYTES
            ),
        )),
        n if n > limits::SECRET_MAX_BYTES => Err(Error::invalid(
            "secret.value",
            format!(
                "has {n} bytes; at most {} are allowed",
                limits::SECRET_MAX_BYTES
            ),
        )),
        _ => Ok(()),
    }
}

impl App {
    /// Creates a secret.
    ///
    /// # Errors
    /// `NotFound` (project), `AlreadyExists`, `Invalid`.
    pub async fn create_secret(
        &self,
        actor: &Actor,
        project: &ProjectId,
        id: &SecretId,
        value: &[u8],
    ) -> Result<Secret, Error> {
        check_value(value)?;
        let name = format!("projects/{project}/secrets/{id}");
        let ciphertext = self.master_key.seal(&name, value).map_err(crypto)?;
        self.store
            .configure(async |tx| {
                tx.require_project(project).await?;
                let row = tx
                    .insert_secret(Secret {
                        project: project.to_string(),
                        id: id.to_string(),
                        ciphertext: ciphertext.clone(),
                        create_time_us: tx.now_us(),
                        update_time_us: tx.now_us(),
                        revision: 0,
                    })
                    .await?;
                tx.require_master_key(self.master_key.id()).await?;
                tx.audit(actor, "CreateSecret", &name, audit::hidden_value(false));
                Ok(row)
            })
            .await
    }

    /// A secret.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn secret(&self, name: &SecretName) -> Result<Secret, Error> {
        self.store.secret(name).await
    }

    /// The value of a stored secret, for a node.
    ///
    /// # Errors
    /// `Internal` when the master key is another one, or the row is damaged.
    pub fn open_secret(
        &self,
        name: &SecretName,
        row: &Secret,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let name = name.to_string();
        self.master_key.open(&name, &row.ciphertext).map_err(crypto)
    }

    /// What is to be searched for in what an execution is told: the secrets that its definition names, as they are now.
    ///
    /// # Errors
    /// When the database fails; `Internal` when the master key is another one, or a row is damaged.
    pub async fn masks_of(&self, name: &ExecutionName) -> Result<Masks, Error> {
        let mut masks = Masks::default();
        let Some(source) = self.store.source_of(name).await? else {
            return Ok(masks);
        };
        // Most name none, and need not be read.
        if memmem::find(&source, b"secrets").is_none() {
            return Ok(masks);
        }
        let Ok(workflow) = definition::decode(&source, &name.project) else {
            return Ok(masks);
        };
        let named: BTreeSet<_> = workflow.names().secrets.iter().map(|(_, id)| id).collect();
        for secret in named {
            let name = SecretName {
                project: name.project.clone(),
                secret: secret.clone(),
            };
            match self.store.secret(&name).await {
                Ok(row) => masks.add(&Opened::new(self.open_secret(&name, &row)?.to_vec())),
                // An execution goes on when one is deleted that its version, which is not published any more, names.
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(masks)
    }

    /// The secrets of a project.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn secrets(&self, project: &ProjectId, page: &Page) -> Result<PageOf<Secret>, Error> {
        self.store.secrets(project, page).await
    }

    /// Writes a new value.
    ///
    /// # Errors
    /// `NotFound`, `Stale`, `Invalid`.
    pub async fn update_secret(
        &self,
        actor: &Actor,
        name: &SecretName,
        value: &[u8],
        etag: &str,
    ) -> Result<Secret, Error> {
        check_value(value)?;
        let text = name.to_string();
        let ciphertext = self.master_key.seal(&text, value).map_err(crypto)?;
        self.store
            .configure(async |tx| {
                let row = tx.secret(name).await?;
                check_etag(etag, row.revision, &text)?;
                let row = tx
                    .update_secret(Secret {
                        ciphertext: ciphertext.clone(),
                        update_time_us: tx.now_us(),
                        ..row
                    })
                    .await?;
                tx.require_master_key(self.master_key.id()).await?;
                tx.audit(actor, "UpdateSecret", &text, audit::hidden_value(true));
                Ok(row)
            })
            .await
    }

    /// Deletes a secret.
    ///
    /// # Errors
    /// `NotFound`, `Stale`, `Precondition` while a published version names it.
    pub async fn delete_secret(
        &self,
        actor: &Actor,
        name: &SecretName,
        etag: &str,
    ) -> Result<(), Error> {
        let text = name.to_string();
        self.store
            .configure(async |tx| {
                let row = tx.secret(name).await?;
                check_etag(etag, row.revision, &text)?;
                tx.delete_secret(row).await?;
                tx.audit(actor, "DeleteSecret", &text, Vec::new());
                Ok(())
            })
            .await
    }
}
