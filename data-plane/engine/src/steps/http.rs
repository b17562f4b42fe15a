//! `http`: sends one HTTP request.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use signalbox_model::{
    execution::Failure,
    expression::Scope,
    workflow::{HttpBody, HttpStep},
};
use url::Url;

use super::{Begin, Behaviour, expression_failure};
use crate::{
    RECORD_MAX_BYTES, codes,
    decision::{AttemptFailure, EffectKind, HttpRequest, HttpResponse, Outcome, RetryAfter},
    mask::{self, MASK},
};

/// Longest URL, in bytes; what servers commonly take at most.
const URL_MAX_BYTES: usize = 16 * 1024;
/// Stands for a URL whose secrets leave nothing to be shown.
const HIDDEN_URL: &str = "https://***/";
/// Size of all headers, in bytes; what servers commonly take at most.
const HEADERS_MAX_BYTES: usize = 32 * 1024;
/// How much of a refusing response's body its error quotes, in characters.
const QUOTED_MAX_CHARS: usize = 200;

impl Behaviour for HttpStep {
    fn begin(&self, scope: &Scope, _now: Timestamp) -> Result<Begin, Failure> {
        let (body, content_type) = body(self, scope)?;
        let request = HttpRequest {
            method: self.effective_method(),
            url: url(self, scope)?,
            headers: headers(self, content_type, scope)?,
            body: body.clone().map(Bytes::from),
        };
        let input = input(&request, body);
        if text_len(&input) > RECORD_MAX_BYTES {
            return Err(invalid("it is too large to be recorded"));
        }
        Ok(Begin::Attempt {
            input,
            effect: EffectKind::Http(request),
        })
    }

    fn conclude(&self, outcome: Outcome) -> Result<Value, AttemptFailure> {
        match outcome {
            Outcome::Failed(failure) => Err(failure),
            Outcome::Http(response) if (200..300).contains(&response.status) => output(&response),
            Outcome::Http(response) => Err(refused(&response)),
        }
    }
}

fn invalid(what: &str) -> Failure {
    Failure::new(
        codes::INVALID_REQUEST,
        format!("the request cannot be sent: {what}"),
    )
}

fn url(step: &HttpStep, scope: &Scope) -> Result<Url, Failure> {
    let render = |template: &signalbox_model::expression::Template| {
        template
            .render_text(scope)
            .map_err(|error| expression_failure(&error))
    };
    let text = render(&step.url)?;
    let parsed = match Url::parse(&text) {
        // What is hidden may be all of it, or its port.
        Err(_) if scope.hides_secrets() => Url::parse(HIDDEN_URL),
        parsed => parsed,
    };
    let mut url = parsed.map_err(|error| invalid(&format!("its URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(invalid("its URL is not of http or https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("its URL holds user information (user:password@)"));
    }
    for (name, template) in &step.query {
        let value = render(template)?;
        url.query_pairs_mut().append_pair(name, &value);
    }
    // Clients do not send it.
    url.set_fragment(None);
    if url.as_str().len() > URL_MAX_BYTES {
        return Err(invalid(&format!(
            "its URL has {} bytes; at most {URL_MAX_BYTES} are sent",
            url.as_str().len()
        )));
    }
    Ok(url)
}

/// The body, and the Content-Type that it has unless the step says otherwise.
fn body(step: &HttpStep, scope: &Scope) -> Result<(Option<String>, Option<&'static str>), Failure> {
    let rendered = match &step.body {
        None => return Ok((None, None)),
        Some(HttpBody::Json(template)) => template
            .render(scope)
            .map(|value| (Some(value.to_string()), Some("application/json"))),
        Some(HttpBody::Text(template)) => template
            .render_text(scope)
            .map(|text| (Some(text), Some("text/plain; charset=utf-8"))),
    };
    rendered.map_err(|error| expression_failure(&error))
}

fn headers(
    step: &HttpStep,
    content_type: Option<&str>,
    scope: &Scope,
) -> Result<Vec<(String, String)>, Failure> {
    let mut headers = Vec::with_capacity(step.headers.len() + 1);
    let mut size_bytes = 0;
    for (name, template) in &step.headers {
        let value = template
            .render_text(scope)
            .map_err(|error| expression_failure(&error))?;
        // RFC 9110 §5.5: no control characters but tab, or a value could end its line and begin another.
        if value.chars().any(|c| c.is_control() && c != '\t') {
            return Err(invalid(&format!(
                "the value of its header {name:?} holds control characters"
            )));
        }
        size_bytes += name.len() + value.len();
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    if size_bytes > HEADERS_MAX_BYTES {
        return Err(invalid(&format!(
            "its headers have {size_bytes} bytes; at most {HEADERS_MAX_BYTES} are sent"
        )));
    }
    let has_type = headers.iter().any(|(name, _)| name == "content-type");
    if let Some(value) = content_type.filter(|_| !has_type) {
        headers.push(("content-type".to_owned(), value.to_owned()));
    }
    Ok(headers)
}

/// What is recorded: the request without its secrets.
fn input(request: &HttpRequest, body: Option<String>) -> Value {
    let headers: Map<String, Value> = request
        .headers
        .iter()
        .map(|(name, value)| {
            let shown = if mask::is_secret(name) { MASK } else { value };
            (name.clone(), shown.into())
        })
        .collect();
    json!({
        "method": request.method.as_str(),
        "url": mask::redact_url(&request.url),
        "headers": headers,
        "body": body,
    })
}

/// The step's output. Several values of one header are joined (RFC 9110 §5.3); Set-Cookie is masked, for what it sets is
/// a secret; a body that is not UTF-8 is shown with replacement characters.
fn output(response: &HttpResponse) -> Result<Value, AttemptFailure> {
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
    let body = String::from_utf8_lossy(&response.body);
    let json: Value = serde_json::from_str(&body).unwrap_or(Value::Null);
    let output = json!({
        "status": response.status,
        "headers": headers,
        "body": body,
        "json": json,
    });
    if text_len(&output) > RECORD_MAX_BYTES {
        return Err(AttemptFailure::lasting(
            codes::RESPONSE_TOO_LARGE,
            format!("the response needs more than {RECORD_MAX_BYTES} bytes as JSON"),
        ));
    }
    Ok(output)
}

fn refused(response: &HttpResponse) -> AttemptFailure {
    let status = response.status;
    let body = String::from_utf8_lossy(&response.body);
    let mut quoted = String::new();
    for word in body.split_whitespace().take(QUOTED_MAX_CHARS) {
        if !quoted.is_empty() {
            quoted.push(' ');
        }
        quoted.extend(word.chars().take(QUOTED_MAX_CHARS));
        if quoted.chars().count() > QUOTED_MAX_CHARS {
            quoted = quoted.chars().take(QUOTED_MAX_CHARS).chain(['…']).collect();
            break;
        }
    }
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

/// Seconds, or an HTTP-date of the form that servers must write; anything else says nothing.
fn retry_after(response: &HttpResponse) -> Option<RetryAfter> {
    let mut headers = response.headers.iter();
    let (_, value) = headers.find(|(name, _)| name.eq_ignore_ascii_case("retry-after"))?;
    let value = value.trim();
    if value.bytes().all(|b| b.is_ascii_digit()) {
        let delay = Duration::from_secs(value.parse().ok()?);
        return Some(RetryAfter::Delay(delay));
    }
    let time = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value);
    time.ok().map(RetryAfter::Time)
}

/// Length of the JSON text of `value`, in bytes, without writing it.
fn text_len(value: &Value) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    match serde_json::to_writer(&mut count, value) {
        Ok(()) => count.0,
        Err(_) => usize::MAX,
    }
}

#[cfg(test)]
mod tests;
