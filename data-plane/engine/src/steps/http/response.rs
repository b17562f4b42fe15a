//! What responses give: an output, or why the attempt failed.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use signalbox_model::execution::Failure;

use crate::{
    RECORD_MAX_BYTES, codes,
    decision::{AttemptFailure, HttpResponse, RetryAfter},
    mask::MASK,
    steps::text_len,
};

/// How much of a refusing response's body its error quotes, in characters.
const QUOTED_MAX_CHARS: usize = 200;

/// The step's output. Several values of one header are joined (RFC 9110 §5.3); Set-Cookie is masked, for what it sets is
/// a secret; a body that is not UTF-8 is null, and given in base64.
pub(super) fn output(response: &HttpResponse) -> Result<Value, AttemptFailure> {
    let mut headers: Map<String, Value> = Map::new();
    for (name, value) in &response.headers {
        let name = name.to_ascii_lowercase();
        let value = if name == "set-cookie" { MASK } else { value };
        match headers.get_mut(&name) {
            Some(Value::String(joined)) => {
                joined.push_str(", ");
                joined.push_str(value);
            }
            _ => {
                headers.insert(name, value.into());
            }
        }
    }
    let body = std::str::from_utf8(&response.body).ok();
    let json: Value = body
        .and_then(|body| serde_json::from_str(body).ok())
        .unwrap_or_default();
    let mut output = json!({
        "status": response.status,
        "headers": headers,
        "body": body,
        "json": json,
    });
    if body.is_none() {
        output["bodyBase64"] = BASE64_STANDARD.encode(&response.body).into();
    }
    if text_len(&output) > RECORD_MAX_BYTES {
        return Err(AttemptFailure::lasting(
            codes::RESPONSE_TOO_LARGE,
            format!("the response needs more than {RECORD_MAX_BYTES} bytes as JSON"),
        ));
    }
    Ok(output)
}

/// Why a response with a status that is none of success fails its attempt.
pub(in crate::steps) fn refused(response: &HttpResponse) -> AttemptFailure {
    let status = response.status;
    let quoted = quoted(response);
    let message = if quoted.is_empty() {
        format!("the server answered {status}")
    } else {
        format!("the server answered {status}: {quoted}")
    };
    // RFC 9110 §15.5.9 (408), RFC 8470 §5.2 (425), RFC 6585 §4 (429) and server errors may pass.
    AttemptFailure {
        failure: Failure::new(codes::HTTP_STATUS, message),
        retriable: matches!(status, 408 | 425 | 429 | 500..=599),
        status: Some(status),
        retry_after: retry_after(response),
    }
}

/// The beginning of a response's body, in one line.
pub(in crate::steps) fn quoted(response: &HttpResponse) -> String {
    let body = String::from_utf8_lossy(&response.body);
    let mut quoted = String::new();
    for word in body.split_whitespace().take(QUOTED_MAX_CHARS) {
        if !quoted.is_empty() {
            quoted.push(' ');
        }
        quoted.extend(word.chars().take(QUOTED_MAX_CHARS));
        if quoted.chars().count() > QUOTED_MAX_CHARS {
            return quoted.chars().take(QUOTED_MAX_CHARS).chain(['…']).collect();
        }
    }
    quoted
}

/// When `Retry-After` says that another attempt makes sense (RFC 9110 §10.2.3): seconds, of which more than can be counted are
/// as many as can be, or an HTTP-date in any of the three forms that recipients must take (§5.6.7). Anything else says nothing.
pub(crate) fn retry_after(response: &HttpResponse) -> Option<RetryAfter> {
    let mut headers = response.headers.iter();
    let (_, value) = headers.find(|(name, _)| name.eq_ignore_ascii_case("retry-after"))?;
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        let seconds = value.parse().unwrap_or(u64::MAX);
        return Some(RetryAfter::Delay(Duration::from_secs(seconds)));
    }
    let time = httpdate::parse_http_date(value).ok()?;
    Timestamp::try_from(time).ok().map(RetryAfter::Time)
}
