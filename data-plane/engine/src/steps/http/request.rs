//! What templates give: a URL, headers, a body. Everything that is wrong with them fails the step before it is sent.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde_json::Value;
use signalbox_model::{
    execution::Failure,
    expression::{Scope, Template},
    workflow::{HttpAuth, HttpBody, HttpStep},
};
use url::{Url, form_urlencoded};

use crate::{
    codes,
    mask::{self, MASK},
    steps::expression_failure,
};

/// Longest URL, in bytes; what servers commonly take at most.
pub(super) const URL_MAX_BYTES: usize = 16 * 1024;
/// Size of all headers, in bytes; what servers commonly take at most.
pub(super) const HEADERS_MAX_BYTES: usize = 32 * 1024;

/// Stands for a URL whose secrets leave nothing to be shown.
const HIDDEN_URL: &str = "https://***/";

/// The failure of a step whose request is none.
pub(in crate::steps) fn invalid(what: &str) -> Failure {
    Failure::new(
        codes::INVALID_REQUEST,
        format!("the request cannot be sent: {what}"),
    )
}

/// The text of a template.
pub(in crate::steps) fn text(template: &Template, scope: &Scope) -> Result<String, Failure> {
    let text = template.render_text(scope);
    text.map_err(|error| expression_failure(&error))
}

/// The http or https URL that a template gives; `name` says whose it is. No message quotes it: it may be a credential.
pub(super) fn http_url(template: &Template, name: &str, scope: &Scope) -> Result<Url, Failure> {
    let text = text(template, scope)?;
    let parsed = match Url::parse(&text) {
        // What is hidden may be all of it, or its port.
        Err(_) if scope.hides_secrets() => Url::parse(HIDDEN_URL),
        parsed => parsed,
    };
    let url = parsed.map_err(|error| invalid(&format!("{name}: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(invalid(&format!("{name} is not of http or https")));
    }
    Ok(url)
}

/// The same of a target, which holds no user information.
pub(in crate::steps) fn target(
    template: &Template,
    name: &str,
    scope: &Scope,
) -> Result<Url, Failure> {
    let mut url = http_url(template, name, scope)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid(&format!(
            "{name} holds user information (user:password@)"
        )));
    }
    // Clients do not send it.
    url.set_fragment(None);
    Ok(url)
}

pub(super) fn url(step: &HttpStep, scope: &Scope) -> Result<Url, Failure> {
    let mut url = target(&step.url, "its URL", scope)?;
    for (name, template) in &step.query {
        let value = text(template, scope)?;
        url.query_pairs_mut().append_pair(name, &value);
    }
    bounded(url)
}

/// `url`, unless it is longer than servers take.
pub(in crate::steps) fn bounded(url: Url) -> Result<Url, Failure> {
    if url.as_str().len() > URL_MAX_BYTES {
        return Err(invalid(&format!(
            "its URL has {} bytes; at most {URL_MAX_BYTES} are sent",
            url.as_str().len()
        )));
    }
    Ok(url)
}

/// A body as it is sent, and as it is recorded.
#[derive(Default)]
pub(super) struct Payload {
    pub(super) bytes: Option<Bytes>,
    /// Unless the step says otherwise.
    pub(super) content_type: Option<String>,
    /// As text; null for bytes.
    pub(super) shown: Value,
    /// Bytes, in base64.
    pub(super) shown_base64: Option<String>,
}

impl Payload {
    fn text(text: String, content_type: &str) -> Self {
        Self {
            shown: text.as_str().into(),
            bytes: Some(text.into()),
            content_type: Some(content_type.to_owned()),
            shown_base64: None,
        }
    }
}

pub(super) fn payload(body: &HttpBody, scope: &Scope) -> Result<Payload, Failure> {
    match body {
        HttpBody::Json(template) => {
            let value = template.render(scope);
            let value = value.map_err(|error| expression_failure(&error))?;
            Ok(Payload::text(value.to_string(), "application/json"))
        }
        HttpBody::Text(template) => {
            let text = text(template, scope)?;
            Ok(Payload::text(text, "text/plain; charset=utf-8"))
        }
        HttpBody::Form(fields) => form(fields, scope),
        HttpBody::Binary {
            base64,
            content_type,
        } => {
            let encoded = text(base64, scope)?;
            let bytes = match HttpBody::decode(&encoded) {
                // What is hidden is none, and is not sent.
                Err(_) if scope.hides_secrets() => Vec::new(),
                decoded => {
                    decoded.map_err(|error| invalid(&format!("its body is no base64: {error}")))?
                }
            };
            let content_type = match content_type {
                Some(template) => header_value("content-type", &text(template, scope)?)?,
                None => "application/octet-stream".to_owned(),
            };
            Ok(Payload {
                bytes: Some(bytes.into()),
                content_type: Some(content_type),
                shown: Value::Null,
                shown_base64: Some(encoded.trim().to_owned()),
            })
        }
    }
}

/// A form is recorded like a query: without the values of fields whose names say that they are secret.
fn form(fields: &[(String, Template)], scope: &Scope) -> Result<Payload, Failure> {
    let mut sent = form_urlencoded::Serializer::new(String::new());
    let mut shown = form_urlencoded::Serializer::new(String::new());
    for (name, template) in fields {
        let value = text(template, scope)?;
        sent.append_pair(name, &value);
        let is_secret = mask::is_secret(name);
        shown.append_pair(name, if is_secret { MASK } else { &value });
    }
    let mut payload = Payload::text(sent.finish(), "application/x-www-form-urlencoded");
    payload.shown = shown.finish().into();
    Ok(payload)
}

/// The value of a header. RFC 9110 §5.5: no control characters but tab, or it could end its line and begin another.
fn header_value(name: &str, value: &str) -> Result<String, Failure> {
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Err(invalid(&format!(
            "the value of its header {name:?} holds control characters"
        )));
    }
    Ok(value.trim().to_owned())
}

pub(super) fn headers(
    step: &HttpStep,
    content_type: Option<String>,
    scope: &Scope,
) -> Result<Vec<(String, String)>, Failure> {
    let mut headers = Vec::with_capacity(step.headers.len() + 2);
    for (name, template) in &step.headers {
        let value = header_value(name, &text(template, scope)?)?;
        headers.push((name.to_ascii_lowercase(), value));
    }
    if let Some(auth) = &step.auth {
        headers.push((
            auth.header().to_ascii_lowercase(),
            credentials(auth, scope)?,
        ));
    }
    let size_bytes: usize = headers.iter().map(|(n, v)| n.len() + v.len()).sum();
    if size_bytes > HEADERS_MAX_BYTES {
        return Err(invalid(&format!(
            "its headers have {size_bytes} bytes; at most {HEADERS_MAX_BYTES} are sent"
        )));
    }
    let has_type = headers.iter().any(|(name, _)| name == "content-type");
    if let Some(value) = content_type.filter(|_| !has_type) {
        headers.push(("content-type".to_owned(), value));
    }
    Ok(headers)
}

fn credentials(auth: &HttpAuth, scope: &Scope) -> Result<String, Failure> {
    match auth {
        HttpAuth::Basic { username, password } => {
            let username = text(username, scope)?;
            if username.contains(':') {
                return Err(invalid("its user name holds a colon"));
            }
            let pair = format!("{username}:{}", text(password, scope)?);
            Ok(format!("Basic {}", BASE64_STANDARD.encode(pair)))
        }
        HttpAuth::Bearer(token) => bearer(&text(token, scope)?),
        HttpAuth::Header { name, value } => header_value(name, &text(value, scope)?),
    }
}

/// The Authorization of a token. An empty one is a mistake: most likely, what it was to be read from is not there.
pub(in crate::steps) fn bearer(token: &str) -> Result<String, Failure> {
    let token = header_value("authorization", token)?;
    if token.is_empty() {
        return Err(invalid("its token is empty"));
    }
    Ok(format!("Bearer {token}"))
}
