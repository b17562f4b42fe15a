//! Where the master key comes from, and its rotation.

mod command;
mod rotate;

use std::path::PathBuf;

use secrecy::{ExposeSecret as _, SecretString};
use signalbox_model::error::Error;
use signalbox_runtime::data_dir::{DataDir, DataDirError};
use zeroize::Zeroizing;

use crate::{
    crypto::{CryptoError, MasterKey},
    store::{Sealed, Store},
};

pub use rotate::{Rotation, RotationError, rotate};

const FILE: &str = "master.key";
/// The key that a rotation makes, until the other is gone.
const NEXT_FILE: &str = "master.key.next";

/// Where a master key comes from. What the rest needs is the key itself, once, at the start.
#[derive(Clone, Debug, Default)]
pub enum MasterKeySource {
    /// The data folder; made with it.
    #[default]
    DataDir,
    /// A file.
    File(PathBuf),
    /// Given, in base 64: an environment variable.
    Value(SecretString),
    /// What a shell command writes: where it is kept wrapped by a key management service, the call that unwraps it.
    Command(String),
}

/// Why there is no master key to work with. Each is one line for an operator.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// The data folder.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// A file.
    #[error("the master key file {} cannot be read", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The command that writes it.
    #[error("the command of --master-key-command gave no master key: {why}")]
    Command {
        /// What came of it, without what it wrote.
        why: String,
    },
    /// It is none.
    #[error("the master key in {place} cannot be used")]
    Key {
        /// Where it is.
        place: String,
        /// Why.
        source: CryptoError,
    },
    /// Values were sealed under another one.
    #[error(
        "the master key in {place} is not the one that the database's values are encrypted under"
    )]
    Another {
        /// Where it is.
        place: String,
    },
    /// Values were sealed, and there is no key here.
    #[error(
        "there is no master key in {place}, and the database's values are encrypted under one: put it there (each replica \
         has the same)"
    )]
    Missing {
        /// Where it should be.
        place: String,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] Error),
}

impl MasterKeySource {
    fn place(&self, data_dir: &DataDir) -> String {
        match self {
            Self::DataDir => data_dir.join(FILE).display().to_string(),
            Self::File(path) => path.display().to_string(),
            Self::Value(_) => "the environment".to_owned(),
            Self::Command(_) => "the output of the command".to_owned(),
        }
    }

    fn parse(&self, data_dir: &DataDir, bytes: &[u8]) -> Result<MasterKey, MasterKeyError> {
        MasterKey::parse(bytes).map_err(|source| MasterKeyError::Key {
            place: self.place(data_dir),
            source,
        })
    }

    /// The key.
    ///
    /// # Errors
    /// [`MasterKeyError`].
    pub async fn load(&self, data_dir: &DataDir) -> Result<MasterKey, MasterKeyError> {
        match self {
            Self::DataDir => self.parse(data_dir, &read_or_create(data_dir, FILE)?),
            Self::File(path) => {
                let bytes = std::fs::read(path).map(Zeroizing::new);
                let bytes = bytes.map_err(|source| MasterKeyError::File {
                    path: path.clone(),
                    source,
                })?;
                self.parse(data_dir, &bytes)
            }
            Self::Value(value) => self.parse(data_dir, value.expose_secret().as_bytes()),
            Self::Command(command) => self.parse(data_dir, &command::output_of(command).await?),
        }
    }

    /// The key, when it is the one that the values of `store` are sealed under; the first one is noted there. Where a rotation
    /// broke off after its commit, its end is made up for.
    ///
    /// # Errors
    /// [`MasterKeyError`].
    pub async fn load_for(
        &self,
        data_dir: &DataDir,
        store: &Store,
    ) -> Result<MasterKey, MasterKeyError> {
        // Another replica has the key: one that is made here would only be in the way.
        if let Self::DataDir = self
            && data_dir.read(FILE)?.is_none()
            && data_dir.read(NEXT_FILE)?.is_none()
            && store.master_key().await?.is_some()
        {
            return Err(MasterKeyError::Missing {
                place: self.place(data_dir),
            });
        }
        let key = self.load(data_dir).await?;
        if is_current(&key, store).await? {
            return Ok(key);
        }
        if let Self::DataDir = self
            && let Some(bytes) = data_dir.read(NEXT_FILE)?
        {
            let next = self.parse(data_dir, &bytes)?;
            if is_current(&next, store).await? {
                rotate::finish(data_dir, &bytes)?;
                tracing::info!("the rotation of the master key that broke off is finished");
                return Ok(next);
            }
        }
        Err(MasterKeyError::Another {
            place: self.place(data_dir),
        })
    }
}

/// Whether values are sealed under `key`. A database that never noted one notes it, unless `key` opens nothing there.
async fn is_current(key: &MasterKey, store: &Store) -> Result<bool, MasterKeyError> {
    if let Some(id) = store.master_key().await? {
        return Ok(id == key.id());
    }
    if let Some(Sealed { name, ciphertext }) = store.any_sealed().await?
        && key.open(&name, &ciphertext).is_err()
    {
        return Ok(false);
    }
    let noted = store
        .write(async |tx| tx.note_master_key(key.id()).await)
        .await;
    match store.master_key().await? {
        Some(id) => Ok(id == key.id()),
        // Another replica would have been the one that noted it.
        None => noted.map(|()| true).map_err(Into::into),
    }
}

fn read_or_create(data_dir: &DataDir, name: &str) -> Result<Zeroizing<Vec<u8>>, MasterKeyError> {
    if let Some(bytes) = data_dir.read(name)? {
        return Ok(bytes);
    }
    let bytes = MasterKey::generate().map_err(|source| MasterKeyError::Key {
        place: data_dir.join(name).display().to_string(),
        source,
    })?;
    data_dir.write_secret_file(name, &bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
