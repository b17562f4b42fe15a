//! `http`: sends one HTTP request.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use signalbox_model::{execution::Failure, expression::Scope, workflow::HttpStep};

use self::request::{Payload, invalid};
use super::{Begin, Behaviour, not_of_its_kind, text_len};
use crate::{
    RECORD_MAX_BYTES,
    decision::{AttemptFailure, EffectKind, HttpExchange, HttpRequest, Outcome},
    mask::{self, MASK},
};

pub(super) mod request;
pub(super) mod response;

impl Behaviour for HttpStep {
    fn begin(&self, scope: &Scope, _now: Timestamp) -> Result<Begin, Failure> {
        let mut payload = match &self.body {
            Some(body) => request::payload(body, scope)?,
            None => Payload::default(),
        };
        let request = HttpRequest {
            method: self.effective_method(),
            url: request::url(self, scope)?,
            headers: request::headers(self, payload.content_type.take(), scope)?,
            body: payload.bytes.take(),
            exchange: Box::new(exchange(self, scope)?),
        };
        let input = input(&request, payload);
        begun(request, input)
    }

    fn conclude(&self, outcome: Outcome) -> Result<Value, AttemptFailure> {
        match outcome {
            Outcome::Failed(failure) => Err(failure),
            Outcome::Http(response) if self.success_status.holds(response.status) => {
                response::output(&response)
            }
            Outcome::Http(response) => Err(response::refused(&response)),
            Outcome::Email(_) | Outcome::Script(_) | Outcome::Child(_) => Err(not_of_its_kind()),
        }
    }
}

/// The beginning of a step that sends `request`, which is recorded as `input`.
pub(super) fn begun(request: HttpRequest, input: Value) -> Result<Begin, Failure> {
    if text_len(&input) > RECORD_MAX_BYTES {
        return Err(invalid("it is too large to be recorded"));
    }
    Ok(Begin::Attempt {
        input,
        effect: EffectKind::Http(request),
    })
}

fn exchange(step: &HttpStep, scope: &Scope) -> Result<HttpExchange, Failure> {
    let text = |template| request::text(template, scope);
    let proxy = step.proxy.as_ref();
    let proxy = proxy.map(|url| request::http_url(url, "its proxy's URL", scope));
    Ok(HttpExchange {
        url_is_secret: false,
        auth_header: step.auth.as_ref().map(|a| a.header().to_ascii_lowercase()),
        success: step.success_status.clone(),
        response_max_bytes: step.response_max_bytes,
        redirects_max: step.redirects,
        ca_certificate: step.ca_certificate.as_ref().map(text).transpose()?,
        proxy: proxy.transpose()?,
    })
}

/// What is recorded: the request without its secrets.
fn input(request: &HttpRequest, payload: Payload) -> Value {
    let mut input = json!({
        "method": request.method.as_str(),
        "url": request.shown_url(),
        "headers": shown_headers(request),
        "body": payload.shown,
    });
    if let Some(base64) = payload.shown_base64 {
        input["bodyBase64"] = base64.into();
    }
    if let Some(proxy) = &request.exchange.proxy {
        input["proxy"] = mask::redact_url(proxy).into();
    }
    input
}

/// The headers, those of credentials without their values.
pub(super) fn shown_headers(request: &HttpRequest) -> Map<String, Value> {
    let headers = request.headers.iter().map(|(name, value)| {
        let is_auth = request.exchange.auth_header.as_ref() == Some(name);
        let is_secret = is_auth || mask::is_secret(name);
        (name.clone(), if is_secret { MASK } else { value }.into())
    });
    headers.collect()
}

#[cfg(test)]
mod tests;
