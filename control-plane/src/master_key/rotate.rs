//! The rotation: every sealed value is sealed anew, in one transaction.

use std::path::PathBuf;

use secrecy::SecretString;
use serde_json::Value;
use signalbox_model::{audit::Change, error::Error};
use signalbox_runtime::data_dir::{DataDir, DataDirError};

use super::{FILE, MasterKeyError, MasterKeySource, NEXT_FILE, is_current, read_or_create};
use crate::{
    crypto::MasterKey,
    store::{Actor, OpenError, Resealed, Sealed, Store},
};

/// What is rotated, from where to where.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// The control plane's data folder; no control plane may have it meanwhile.
    pub data_dir: PathBuf,
    /// Its database; none: SQLite in the folder.
    pub database_url: Option<SecretString>,
    /// Where the key in use is.
    pub from: MasterKeySource,
    /// Where the new one is. None: it is made, in the data folder, where the one in use is.
    pub to: Option<MasterKeySource>,
}

/// Why nothing was rotated. Each is one line for an operator.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// The data folder.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// There is none, and none is made.
    #[error("{} does not exist", .0.display())]
    NoFolder(PathBuf),
    /// The database cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A key.
    #[error(transparent)]
    Key(#[from] MasterKeyError),
    /// A value, or the database. Nothing was written.
    #[error("nothing was rotated")]
    Reseal(#[source] Error),
    /// A key that is not in the data folder is not made there either.
    #[error("the master key is not in the data folder: say where the new one is")]
    NoNewKey,
    /// Both are one.
    #[error("the new master key is the one in use")]
    Same,
}

/// Seals every value anew, under a new master key; gives how many, or none when it was done before. What broke off before its
/// commit has changed nothing; after it, the next rotation, or the next start, makes up for the rest.
///
/// # Errors
/// [`RotationError`].
pub async fn rotate(rotation: &Rotation) -> Result<Option<Resealed>, RotationError> {
    if !rotation.data_dir.exists() {
        return Err(RotationError::NoFolder(rotation.data_dir.clone()));
    }
    let data_dir = DataDir::open(&rotation.data_dir)?;
    let store = Store::open_at(data_dir.path(), rotation.database_url.as_ref()).await?;
    // Also makes up for the end of one that broke off.
    let from = rotation.from.load_for(&data_dir, &store).await;
    match (&rotation.to, &rotation.from) {
        (Some(to), _) => {
            let to = to.load(&data_dir).await?;
            if is_noted(&to, &store).await? {
                // It broke off after its commit, or is repeated.
                return match from {
                    Ok(from) if from.id() == to.id() => Err(RotationError::Same),
                    _ => Ok(None),
                };
            }
            reseal(&store, &from?, &to).await.map(Some)
        }
        (None, MasterKeySource::DataDir) => {
            let from = from?;
            let bytes = read_or_create(&data_dir, NEXT_FILE)?;
            let to = rotation.from.parse(&data_dir, &bytes)?;
            let resealed = reseal(&store, &from, &to).await?;
            finish(&data_dir, &bytes)?;
            Ok(Some(resealed))
        }
        (None, _) => Err(RotationError::NoNewKey),
    }
}

async fn is_noted(key: &MasterKey, store: &Store) -> Result<bool, MasterKeyError> {
    Ok(store.master_key().await?.is_some() && is_current(key, store).await?)
}

/// Whoever may run the command: no token says who that is.
fn operator() -> Actor {
    Actor {
        subject: "rotate-master-key".to_owned(),
        request_id: None,
        trace_id: None,
    }
}

async fn reseal(
    store: &Store,
    from: &MasterKey,
    to: &MasterKey,
) -> Result<Resealed, RotationError> {
    let anew = |sealed: &Sealed| {
        let Sealed { name, ciphertext } = sealed;
        let opened = from.open(name, ciphertext);
        let resealed = opened.and_then(|value| to.seal(name, &value));
        resealed.map_err(|error| Error::Internal {
            message: format!("{name}: {error}"),
        })
    };
    let rotated = store
        .write(async |tx| {
            let resealed = tx.reseal(anew).await?;
            tx.note_master_key(to.id()).await?;
            let changes = vec![
                Change {
                    field: "masterKeyId".to_owned(),
                    before: Some(Value::from(from.id()).to_string()),
                    after: Some(Value::from(to.id()).to_string()),
                },
                Change::new_field("keys", resealed.keys),
                Change::new_field("secrets", resealed.secrets),
            ];
            tx.audit(&operator(), "RotateMasterKey", "masterKey", changes);
            Ok(resealed)
        })
        .await;
    rotated.map_err(RotationError::Reseal)
}

/// Puts the new key in the place of the old one.
pub(super) fn finish(data_dir: &DataDir, next: &[u8]) -> Result<(), DataDirError> {
    data_dir.write_secret_file(FILE, next)?;
    let path = data_dir.join(NEXT_FILE);
    match std::fs::remove_file(&path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(DataDirError::File {
            doing: "removed",
            path,
            source,
        }),
        _ => Ok(()),
    }
}
