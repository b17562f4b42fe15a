//! `slack`: posts a message to Slack, to an incoming webhook (<https://api.slack.com/messaging/webhooks>) or by
//! chat.postMessage (<https://api.slack.com/methods/chat.postMessage>).

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use signalbox_model::{
    execution::Failure,
    expression::{JsonTemplate, Scope, Template},
    limits,
    workflow::{HttpMethod, SlackStep, SlackTarget},
};
use url::Url;

use super::{
    Begin, Behaviour, expression_failure,
    http::{
        begun,
        request::{bearer, bounded, invalid, target, text},
        response::{quoted, refused, retry_after},
        shown_headers,
    },
    not_of_its_kind,
};
use crate::{
    codes,
    decision::{AttemptFailure, EffectKind, HttpExchange, HttpRequest, HttpResponse, Outcome},
    identity,
};

/// Where chat.postMessage is.
const API_URL: &str = "https://slack.com/api";
/// How much of a detail of an error is told, in characters.
const DETAIL_MAX_CHARS: usize = 200;

/// Errors of Slack that may pass: of its load, of its own faults, and of workspaces and channels that are being moved.
const PASSING: [&str; 9] = [
    "external_channel_migrating",
    "fatal_error",
    "internal_error",
    "org_login_required",
    "rate_limited",
    "ratelimited",
    "request_timeout",
    "service_unavailable",
    "team_added_to_org",
];

impl Behaviour for SlackStep {
    fn begin(&self, scope: &Scope, _now: Timestamp) -> Result<Begin, Failure> {
        let mut message = message(self, scope)?;
        let mut headers = vec![(
            "content-type".to_owned(),
            "application/json; charset=utf-8".to_owned(),
        )];
        let mut exchange = HttpExchange::default();
        let url = match &self.target {
            SlackTarget::Webhook { url } => {
                exchange.url_is_secret = true;
                target(url, "its webhook's URL", scope)?
            }
            SlackTarget::Method {
                api_url,
                token,
                channel,
            } => {
                let token = bearer(&text(token, scope)?)?;
                headers.push(("authorization".to_owned(), token));
                exchange.auth_header = Some("authorization".to_owned());
                let channel = text(channel, scope)?;
                if channel.is_empty() {
                    return Err(invalid("its channel is empty"));
                }
                message.insert("channel".to_owned(), channel.into());
                method_url(api_url.as_ref(), scope)?
            }
        };
        let body = Value::Object(message).to_string();
        let request = HttpRequest {
            method: HttpMethod::Post,
            url: bounded(url)?,
            headers,
            body: Some(body.clone().into()),
            exchange: Box::new(exchange),
        };
        let input = json!({
            "method": request.method.as_str(),
            "url": request.shown_url(),
            "headers": shown_headers(&request),
            "body": body,
        });
        begun(request, input)
    }

    /// Slack knows a message by its `client_msg_id`, a UUID; webhooks take none.
    fn keyed(&self, effect: EffectKind, idempotency_key: &str) -> EffectKind {
        match (&self.target, effect) {
            (SlackTarget::Method { .. }, EffectKind::Http(mut request)) => {
                let body = request.body.as_deref().unwrap_or_default();
                if let Ok(mut message) = serde_json::from_slice::<Map<String, Value>>(body) {
                    let id = identity::uuid(idempotency_key).to_string();
                    message.insert("client_msg_id".to_owned(), id.into());
                    request.body = Some(Value::Object(message).to_string().into());
                }
                EffectKind::Http(request)
            }
            (_, effect) => effect,
        }
    }

    fn conclude(&self, outcome: Outcome) -> Result<Value, AttemptFailure> {
        match outcome {
            Outcome::Failed(failure) => Err(failure),
            Outcome::Http(response) if (200..300).contains(&response.status) => {
                answer(self, &response)
            }
            Outcome::Http(response) => Err(refused(&response)),
            Outcome::Email(_) | Outcome::Script(_) | Outcome::Child(_) => Err(not_of_its_kind()),
        }
    }
}

/// What is said, but for where.
fn message(step: &SlackStep, scope: &Scope) -> Result<Map<String, Value>, Failure> {
    let mut message = Map::new();
    let said = [("text", &step.text), ("thread_ts", &step.thread_ts)];
    for (name, template) in said {
        let said = template.as_ref().map(|template| text(template, scope));
        if let Some(said) = said.transpose()?.filter(|said| !said.is_empty()) {
            message.insert(name.to_owned(), said.into());
        }
    }
    if let Some(template) = &step.blocks {
        message.insert("blocks".to_owned(), blocks(template, scope)?);
    }
    if !message.contains_key("text") && !message.contains_key("blocks") {
        return Err(invalid("its text is empty"));
    }
    Ok(message)
}

fn answer(step: &SlackStep, response: &HttpResponse) -> Result<Value, AttemptFailure> {
    let is_webhook = matches!(step.target, SlackTarget::Webhook { .. });
    if is_webhook && response.body.trim_ascii() == b"ok" {
        return Ok(json!({"ok": true, "channel": null, "ts": null}));
    }
    let answer: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    match answer["ok"].as_bool() {
        Some(true) => Ok(json!({
            "ok": true,
            "channel": answer["channel"].as_str(),
            "ts": answer["ts"].as_str(),
        })),
        Some(false) => Err(error(&answer, response)),
        None => Err(AttemptFailure {
            status: Some(response.status),
            ..AttemptFailure::lasting(
                codes::SLACK_ERROR,
                format!("the answer is none of Slack: {}", quoted(response)),
            )
        }),
    }
}

fn method_url(api_url: Option<&Template>, scope: &Scope) -> Result<Url, Failure> {
    let name = "its API's URL";
    let mut url = match api_url {
        Some(template) => target(template, name, scope)?,
        None => Url::parse(API_URL).map_err(|error| invalid(&format!("{name}: {error}")))?,
    };
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().push("chat.postMessage");
    }
    Ok(url)
}

fn blocks(template: &JsonTemplate, scope: &Scope) -> Result<Value, Failure> {
    let blocks = template.render(scope);
    let blocks = blocks.map_err(|error| expression_failure(&error))?;
    match &blocks {
        Value::Array(list) if list.len() <= limits::SLACK_BLOCKS_MAX => Ok(blocks),
        Value::Array(list) => Err(invalid(&format!(
            "it has {} blocks; Slack takes at most {}",
            list.len(),
            limits::SLACK_BLOCKS_MAX
        ))),
        _ => Err(invalid("its blocks are no list")),
    }
}

/// What `"ok": false` says, and what more it says about it.
fn error(answer: &Value, response: &HttpResponse) -> AttemptFailure {
    let cut = |text: &str| text.chars().take(DETAIL_MAX_CHARS).collect::<String>();
    let name = answer["error"].as_str().unwrap_or("unknown");
    let mut message = format!("Slack answered {}", cut(name));
    if let Some(scope) = answer["needed"].as_str() {
        message.push_str(&format!(" (needed: {})", cut(scope)));
    }
    let details = answer["response_metadata"]["messages"].as_array();
    let details = details.into_iter().flatten().filter_map(Value::as_str);
    let details = cut(&details.collect::<Vec<_>>().join("; "));
    if !details.is_empty() {
        message.push_str(&format!(": {details}"));
    }
    AttemptFailure {
        failure: Failure::new(codes::SLACK_ERROR, message),
        retriable: PASSING.contains(&name),
        status: Some(response.status),
        retry_after: retry_after(response),
    }
}

#[cfg(test)]
mod tests;
