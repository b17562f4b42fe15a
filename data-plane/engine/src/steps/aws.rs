//! `aws`: calls one operation of an AWS service.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use signalbox_model::{
    aws::{Service, is_region},
    execution::Failure,
    expression::{Scope, Template},
    workflow::{AwsAssumeRole, AwsCallForm, AwsCredentialTemplates, AwsRest, AwsRestBody, AwsStep},
};
use url::Url;

use super::{Begin, Behaviour, expression_failure, not_of_its_kind, text_len};
use crate::{
    RECORD_MAX_BYTES,
    aws::{self, AnswerForm, AwsCall, AwsCredentials, AwsRequest, AwsRole, aws_error, refused},
    codes,
    decision::{AttemptFailure, EffectKind, Outcome},
    mask::{self, MASK},
};

/// Name of a session unless the step has another.
const SESSION_NAME: &str = "signalbox";

impl Behaviour for AwsStep {
    fn begin(&self, scope: &Scope, _now: Timestamp) -> Result<Begin, Failure> {
        let (request, shown) = request(self, scope)?;
        let region = text_of(self.region.as_ref(), scope)?;
        if let Some(region) = region.as_deref().filter(|region| !is_region(region)) {
            let quoted: String = region.chars().take(64).collect();
            return Err(invalid(&format!("{quoted:?} is no region")));
        }
        let role = self.assume_role.as_ref();
        let credentials = self.credentials.as_ref();
        let call = AwsCall {
            service: self.service.clone(),
            operation: match &self.call {
                AwsCallForm::Operation { name, .. } => name.clone(),
                AwsCallForm::Rest(rest) => rest.method.as_str().to_owned(),
            },
            signing_name: signing_name(self).to_owned(),
            region,
            endpoint: endpoint(self.endpoint_url.as_ref(), scope)?,
            credentials: credentials.map(|all| keys(all, scope)).transpose()?,
            role: role.map(|role| self::role(role, scope)).transpose()?,
            request,
        };
        let input = input(&call, shown);
        if text_len(&input) > RECORD_MAX_BYTES {
            return Err(invalid("it is too large to be recorded"));
        }
        Ok(Begin::Attempt {
            input,
            effect: EffectKind::Aws(Box::new(call)),
        })
    }

    fn conclude(&self, outcome: Outcome) -> Result<Value, AttemptFailure> {
        let response = match outcome {
            Outcome::Failed(failure) => return Err(failure),
            Outcome::Http(response) => response,
            Outcome::Email(_) | Outcome::Script(_) | Outcome::Child(_) => {
                return Err(not_of_its_kind());
            }
        };
        match aws_error(&response) {
            Some(error) => {
                let renews = self.credentials.is_none() || self.assume_role.is_some();
                Err(refused(&response, &error, renews))
            }
            None => aws::read(form(self), signing_name(self), &response),
        }
    }
}

/// The service's name in signatures: the step's own, or what is known.
fn signing_name(step: &AwsStep) -> &str {
    let known = || Service::find(&step.service).map(|service| service.signing_name);
    let named = step.signing_name.as_deref();
    named.or_else(known).unwrap_or(&step.service)
}

fn form(step: &AwsStep) -> AnswerForm {
    match (&step.call, Service::find(&step.service)) {
        (AwsCallForm::Operation { name, .. }, Some(service)) => AnswerForm::of(service, name),
        _ => AnswerForm::Rest,
    }
}

fn invalid(what: &str) -> Failure {
    Failure::new(
        codes::INVALID_REQUEST,
        format!("the request cannot be sent: {what}"),
    )
}

fn text(template: &Template, scope: &Scope) -> Result<String, Failure> {
    let text = template.render_text(scope);
    text.map_err(|error| expression_failure(&error))
}

/// [`None`] for what is not there, or gives nothing.
fn text_of(template: Option<&Template>, scope: &Scope) -> Result<Option<String>, Failure> {
    let text = template.map(|template| text(template, scope)).transpose()?;
    Ok(text.filter(|text| !text.is_empty()))
}

/// The request, and what is recorded of it.
fn request(step: &AwsStep, scope: &Scope) -> Result<(AwsRequest, Value), Failure> {
    match &step.call {
        AwsCallForm::Operation { name, input } => {
            let input = match input {
                Some(template) => template.render(scope),
                None => Ok(Value::Null),
            };
            let input = input.map_err(|error| expression_failure(&error))?;
            let service = Service::find(&step.service)
                .ok_or_else(|| invalid(&format!("{:?} is no known service", step.service)))?;
            let shown = json!({"operation": name, "input": shown(&input)});
            let request = aws::operation(service, name, input);
            Ok((request.map_err(|what| invalid(&what))?, shown))
        }
        AwsCallForm::Rest(rest) => rest_request(rest, scope),
    }
}

fn rest_request(rest: &AwsRest, scope: &Scope) -> Result<(AwsRequest, Value), Failure> {
    let pairs = |map: &std::collections::BTreeMap<String, Template>| {
        map.iter()
            .map(|(name, template)| Ok((name.clone(), text(template, scope)?)))
            .collect::<Result<Vec<_>, Failure>>()
    };
    let (query, headers) = (pairs(&rest.query)?, pairs(&rest.headers)?);
    let path = text(&rest.path, scope)?;
    let (body, content_type) = match &rest.body {
        None => (String::new(), None),
        Some(AwsRestBody::Json(template)) => {
            let value = template.render(scope);
            let value = value.map_err(|error| expression_failure(&error))?;
            (value.to_string(), Some("application/json"))
        }
        Some(AwsRestBody::Text(template)) => {
            (text(template, scope)?, Some("application/octet-stream"))
        }
    };
    let shown_pairs = |pairs: &[(String, String)]| -> Map<String, Value> {
        let shown = pairs.iter().map(|(name, value)| {
            let value = if mask::is_secret(name) { MASK } else { value };
            (name.clone(), value.into())
        });
        shown.collect()
    };
    let shown = json!({"rest": {
        "method": rest.method.as_str(),
        "path": path,
        "query": shown_pairs(&query),
        "headers": shown_pairs(&headers),
        "body": rest.body.is_some().then_some(&body),
    }});
    let body = (Bytes::from(body), content_type);
    let request = aws::rest(rest.method, &path, query, headers, body);
    Ok((request.map_err(|what| invalid(&what))?, shown))
}

/// An operation's input without what only a secret is called.
fn shown(input: &Value) -> Value {
    const WORDS: [&str; 4] = ["password", "secretstring", "secretbinary", "authtoken"];
    match input {
        Value::Object(members) => {
            let shown = members.iter().map(|(name, value)| {
                let lower = name.to_ascii_lowercase();
                let is_secret = WORDS.iter().any(|word| lower.contains(word));
                let value = if is_secret { MASK.into() } else { shown(value) };
                (name.clone(), value)
            });
            Value::Object(shown.collect())
        }
        Value::Array(values) => values.iter().map(shown).collect(),
        other => other.clone(),
    }
}

fn endpoint(template: Option<&Template>, scope: &Scope) -> Result<Option<Url>, Failure> {
    let Some(text) = text_of(template, scope)? else {
        return Ok(None);
    };
    let url = Url::parse(&text).map_err(|error| invalid(&format!("its endpointUrl: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(invalid("its endpointUrl is not of http or https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid(
            "its endpointUrl holds user information (user:password@)",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("its endpointUrl has a query or a fragment"));
    }
    Ok(Some(url))
}

fn keys(all: &AwsCredentialTemplates, scope: &Scope) -> Result<AwsCredentials, Failure> {
    let key = |name: &str, template: &Template| {
        let text = text(template, scope)?;
        // They become parts of headers.
        let is_key = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        is_key
            .then_some(text)
            .ok_or_else(|| invalid(&format!("its credentials' {name} is empty or no such key")))
    };
    let token = all.session_token.as_ref();
    Ok(AwsCredentials {
        access_key_id: key("accessKeyId", &all.access_key_id)?,
        secret_access_key: key("secretAccessKey", &all.secret_access_key)?,
        session_token: token.map(|token| key("sessionToken", token)).transpose()?,
    })
}

fn role(role: &AwsAssumeRole, scope: &Scope) -> Result<AwsRole, Failure> {
    let name = text_of(role.session_name.as_ref(), scope)?;
    Ok(AwsRole {
        arn: text(&role.role_arn, scope)?,
        external_id: text_of(role.external_id.as_ref(), scope)?,
        session_name: name.unwrap_or_else(|| SESSION_NAME.to_owned()),
        duration: role.duration,
        endpoint: endpoint(role.endpoint_url.as_ref(), scope)?,
    })
}

/// What is recorded: who calls only as far as it is no secret.
fn input(call: &AwsCall, shown: Value) -> Value {
    let mut input = json!({
        "service": call.service,
        "region": call.region,
        "credentials": if call.credentials.is_some() { "step" } else { "node" },
    });
    if let Some(role) = &call.role {
        input["assumeRole"] = json!({"roleArn": role.arn, "sessionName": role.session_name});
    }
    if let Some(url) = &call.endpoint {
        input["endpointUrl"] = mask::redact_url(url).into();
    }
    if let (Value::Object(input), Value::Object(shown)) = (&mut input, shown) {
        input.extend(shown);
    }
    input
}

#[cfg(test)]
mod tests;
