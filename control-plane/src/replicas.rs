//! What several control planes at one database share, and how each hears of the others' changes
//! (`docs/decisions/0026-replicas.md`).

use signalbox_model::error::Error;
use signalbox_runtime::{
    data_dir::{DataDir, DataDirError},
    shutdown::Shutdown,
};

use crate::{
    auth::{SIGNING_KEY_FILE, TokenError, TokenKey},
    store::Store,
};

/// Why a replica cannot have its signing key.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyError {
    /// The data folder.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The key.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The database.
    #[error(transparent)]
    Store(#[from] Error),
    /// There is none here, and the others have one.
    #[error(
        "there is no token signing key {place}, and the other replicas have one: put it there (each replica has the same)"
    )]
    Missing {
        /// Where it should be.
        place: String,
    },
    /// It is another.
    #[error(
        "the token signing key {place} is not the one that the other replicas have: put that there (or, if this one is to \
         take its place, start with --replace-signing-key, and give it to the others)"
    )]
    Another {
        /// Where it is.
        place: String,
    },
}

/// The key of the data folder, when it is the one that the other replicas have, too; made, where there are none.
///
/// # Errors
/// [`SigningKeyError`].
pub async fn signing_key(
    data_dir: &DataDir,
    store: &Store,
    replaces: bool,
) -> Result<TokenKey, SigningKeyError> {
    if !store.is_shared() {
        return Ok(TokenKey::load_or_create(data_dir)?);
    }
    let place = data_dir.join(SIGNING_KEY_FILE).display().to_string();
    let is_here = data_dir.read(SIGNING_KEY_FILE)?.is_some();
    if !is_here && !replaces && store.signing_key().await?.is_some() {
        return Err(SigningKeyError::Missing { place });
    }
    let key = TokenKey::load_or_create(data_dir)?;
    if replaces {
        store
            .write(async |tx| tx.replace_signing_key(key.id()).await)
            .await?;
        return Ok(key);
    }
    let noted = store
        .write(async |tx| tx.note_signing_key(key.id()).await)
        .await?;
    if noted != key.id() {
        return Err(SigningKeyError::Another { place });
    }
    Ok(key)
}

/// Follows the other replicas until the shutdown.
pub async fn follow(store: Store, shutdown: Shutdown) {
    tokio::select! {
        () = shutdown.stopping() => {}
        () = store.follow() => {}
    }
}
