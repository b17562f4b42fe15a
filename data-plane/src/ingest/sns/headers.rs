//! What the headers of a delivery say.

use http::{HeaderMap, HeaderName, StatusCode, header::CONTENT_TYPE};
use signalbox_model::limits;
use signalbox_sns::Headers;

use super::Refused;
use crate::ingest::{Problem, Seen};

/// Of a Content-Type, what is kept of it.
const CONTENT_TYPE_KEPT_BYTES: usize = 256;

/// Amazon SNS sends `text/plain` unless the delivery policy says otherwise; the body is JSON all the same.
pub(super) fn content_type(headers: &HeaderMap) -> Refused<()> {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return Ok(());
    };
    let essence = value.as_bytes().split(|byte| *byte == b';').next();
    let essence = essence.unwrap_or_default().trim_ascii();
    let begins = |with: &[u8]| {
        let start = essence.get(..with.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(with))
    };
    let ends = |with: &[u8]| {
        let end = essence.len().checked_sub(with.len());
        end.is_some_and(|end| essence[end..].eq_ignore_ascii_case(with))
    };
    let is = |text: &[u8]| essence.eq_ignore_ascii_case(text);
    let fits = begins(b"text/")
        || is(b"application/json")
        || (begins(b"application/") && ends(b"+json"))
        || is(b"application/octet-stream")
        || is(b"application/x-www-form-urlencoded");
    if fits {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "content-type-unsupported",
        "expected text/plain or application/json",
    ))
}

pub(in crate::ingest) fn sns_headers(headers: &HeaderMap) -> Headers<'_> {
    const TYPE: HeaderName = HeaderName::from_static("x-amz-sns-message-type");
    const ID: HeaderName = HeaderName::from_static("x-amz-sns-message-id");
    const TOPIC: HeaderName = HeaderName::from_static("x-amz-sns-topic-arn");
    const SUBSCRIPTION: HeaderName = HeaderName::from_static("x-amz-sns-subscription-arn");
    const RAW: HeaderName = HeaderName::from_static("x-amz-sns-rawdelivery");
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    Headers {
        message_type: text(&TYPE),
        message_id: text(&ID),
        topic_arn: text(&TOPIC),
        subscription_arn: text(&SUBSCRIPTION),
        raw_delivery: text(&RAW).is_some_and(|value| value.eq_ignore_ascii_case("true")),
    }
}

/// The sender's claims, bounded, until the body says better.
pub(in crate::ingest) fn note_headers(seen: &mut Seen, headers: &Headers<'_>) {
    let claim = |value: Option<&str>| cut(value.unwrap_or_default(), limits::OPAQUE_ID_MAX_BYTES);
    seen.message_type = claim(headers.message_type);
    seen.message_id = claim(headers.message_id);
    seen.topic_arn = claim(headers.topic_arn);
}

/// The Content-Type, to be kept.
pub(super) fn content_type_text(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(cut(value, CONTENT_TYPE_KEPT_BYTES))
}

/// At most so many bytes of a header's value, which is ASCII.
fn cut(value: &str, bytes_max: usize) -> String {
    value[..value.floor_char_boundary(bytes_max)].to_owned()
}
