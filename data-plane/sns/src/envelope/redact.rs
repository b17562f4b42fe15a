//! Taking the capabilities out of a body that is to be kept.

use std::borrow::Cow;
use std::ops::Range;

use super::object::Member;
use super::{ENVELOPE_MAX_BYTES, EnvelopeError, Field, open};

const REDACTED: &[u8] = b"\"[redacted]\"";

/// The body with the values of UnsubscribeURL, SubscribeURL and Token replaced, and no other byte changed: a redacted
/// Notification still verifies, for it signs none of the three. Works on any JSON object (a refused envelope too).
///
/// # Errors
/// When the body is not one JSON object, and so nothing can be told apart in it: keep nothing of it then.
pub fn redacted_body(body: &[u8]) -> Result<Cow<'_, [u8]>, EnvelopeError> {
    if body.len() > ENVELOPE_MAX_BYTES {
        return Err(EnvelopeError::TooLarge);
    }
    let (text, members) = open(body)?;
    Ok(replace(body, &capability_spans(text, &members)))
}

/// Where the values of the capability fields stand, in order.
pub(super) fn capability_spans(text: &str, members: &[Member<'_>]) -> Vec<Range<usize>> {
    members
        .iter()
        .filter(|member| Field::resembling(&member.key).is_some_and(Field::is_capability))
        .map(|member| {
            // A member's raw value is a slice of `text`: the distance of the two addresses is its offset.
            let start = member.raw.as_ptr() as usize - text.as_ptr() as usize;
            start..start + member.raw.len()
        })
        .collect()
}

pub(super) fn replace<'a>(body: &'a [u8], spans: &[Range<usize>]) -> Cow<'a, [u8]> {
    if spans.is_empty() {
        return Cow::Borrowed(body);
    }
    let mut kept = Vec::with_capacity(body.len());
    let mut from = 0;
    for span in spans {
        kept.extend_from_slice(&body[from..span.start]);
        kept.extend_from_slice(REDACTED);
        from = span.end;
    }
    kept.extend_from_slice(&body[from..]);
    Cow::Owned(kept)
}
