//! Secrets, as they are sealed to this node.

use signalbox_model::{config::SealedSecret, secret::Secret};
use signalbox_proto::convert::config::{SECRET_INFO, secret_aad};
use signalbox_runtime::hpke::{KeyPair, Purpose};

/// Opens a secret.
///
/// # Errors
/// Why this node cannot take it.
pub(super) fn open(key: Option<&KeyPair>, sealed: &SealedSecret) -> Result<Secret, String> {
    let key = key.ok_or("this node has no key to which secrets are sealed")?;
    let purpose = Purpose {
        info: SECRET_INFO,
        aad: &secret_aad(&sealed.name, sealed.revision),
    };
    let value = key
        .open(purpose, &sealed.sealed_value)
        .map_err(|error| error.to_string())?;
    Ok(Secret::new(value.to_vec()))
}
