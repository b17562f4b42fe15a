//! Uses of API keys.

use signalbox_model::key_use::KeyUse;

use super::{WireError, parse, time};
use crate::dataplane::v1 as wire;

/// For the wire.
#[must_use]
pub fn to_wire(key_use: &KeyUse) -> wire::KeyUse {
    let KeyUse { key, time, source } = key_use;
    wire::KeyUse {
        api_key: key.to_string(),
        time: Some(time::to_wire(*time)),
        source_address: source.to_string(),
    }
}

/// From the wire.
///
/// # Errors
/// When it means nothing.
pub fn from_wire(key_use: wire::KeyUse) -> Result<KeyUse, WireError> {
    let wire::KeyUse {
        api_key,
        time,
        source_address,
    } = key_use;
    Ok(KeyUse {
        key: parse("api_key", &api_key)?,
        time: time::required("time", time)?,
        source: parse("source_address", &source_address)?,
    })
}
