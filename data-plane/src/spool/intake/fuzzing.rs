//! Doors for the fuzz targets: see [`crate::fuzzing`].

use bytes::Bytes;
use signalbox_model::record::Certificate;

use super::record;
use crate::spool::{Accept, Definition};

/// What a record of the intake log says.
pub enum Content {
    /// An accepted event, its definition by digest alone.
    Accepted(Box<Accept>),
    /// A definition.
    Definition(Definition),
    /// A certificate.
    Certificate(Certificate),
}

/// Reads a record of the intake log.
///
/// # Errors
/// Why it is none.
pub fn decode_record(tag: u8, payload: &Bytes) -> Result<Content, String> {
    Ok(match record::decode(tag, payload)? {
        record::Content::Accepted(accept) => Content::Accepted(accept),
        record::Content::Definition(definition) => Content::Definition(definition),
        record::Content::Certificate(certificate) => Content::Certificate(certificate),
    })
}

/// The payload of an accepted event's record, and its tag.
///
/// # Errors
/// Why it cannot be written.
pub fn encode_accepted(accept: &Accept) -> Result<(u8, Bytes), String> {
    let mut payload = record::encode(accept).map_err(|error| error.to_string())?;
    payload.extend_from_slice(&accept.accepted.event.body);
    Ok((record::ACCEPTED, payload.into()))
}
