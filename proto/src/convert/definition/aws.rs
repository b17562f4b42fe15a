//! The `aws` step.

use serde_json::Value;
use signalbox_model::{
    aws::{self, Protocol, RestBody, Service},
    expression::Template,
    limits,
    suggestion::suggestion,
    violation::Collector,
    workflow::{
        AwsAssumeRole, AwsCallForm, AwsCredentialTemplates, AwsRest, AwsRestBody, AwsStep,
        HttpMethod,
    },
};

use super::{
    duration,
    http::{header_name, header_value, templates, url_template},
    texts::{json_template, template},
    to_json,
};
use crate::v1;

pub(super) fn aws_step(
    path: &str,
    step: &v1::AwsStep,
    problems: &mut Collector,
) -> Option<AwsStep> {
    let v1::AwsStep {
        service,
        operation,
        region,
        input,
        credentials,
        assume_role,
        endpoint_url,
        rest,
        signing_name,
    } = step;
    let is_rest = rest.is_some();
    service_name(&format!("{path}.service"), service, is_rest, problems);
    let call = match (operation.as_str(), rest) {
        ("", None) => {
            problems.add(path, "calls nothing: expected operation or rest");
            None
        }
        ("", Some(rest)) => {
            if input.is_some() {
                let text = "is what an operation is given; the body of rest is json or text";
                problems.add(format!("{path}.input"), text);
            }
            rest_of(&format!("{path}.rest"), rest, problems).map(AwsCallForm::Rest)
        }
        (_, Some(_)) => {
            problems.add(path, "holds both operation and rest; expected one of them");
            None
        }
        (name, None) => operation_of(path, service, name, input.as_ref(), problems),
    };
    let region = optional(&format!("{path}.region"), region, problems);
    if let Some(Some(region)) = &region
        && let Some(text) = region.as_literal()
        && !aws::is_region(text)
    {
        problems.add(format!("{path}.region"), format!("{text:?} is no region"));
    }
    if !signing_name.is_empty() && !aws::is_service(signing_name) {
        let text = format!("{signing_name:?} is no service's name");
        problems.add(format!("{path}.signingName"), text);
    }
    let credentials = credentials
        .as_ref()
        .map(|all| credentials_of(&format!("{path}.credentials"), all, problems));
    let assume_role = assume_role
        .as_ref()
        .map(|role| role_of(&format!("{path}.assumeRole"), role, problems));
    let endpoint_url = endpoint(&format!("{path}.endpointUrl"), endpoint_url, problems);
    Some(AwsStep {
        service: service.clone(),
        call: call?,
        region: region?,
        signing_name: (!signing_name.is_empty()).then(|| signing_name.clone()),
        endpoint_url: endpoint_url?,
        credentials: transposed(credentials)?,
        assume_role: transposed(assume_role)?,
    })
}

/// What was not there is fine; what was there and wrong is not.
fn transposed<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    match value {
        None => Some(None),
        Some(value) => value.map(Some),
    }
}

fn service_name(field: &str, service: &str, is_rest: bool, problems: &mut Collector) {
    if service.is_empty() {
        problems.add(field, "is missing");
    } else if !aws::is_service(service) {
        let text = format!("{service:?} is no service's name, such as ec2 or secretsmanager");
        problems.add(field, text);
    } else if !is_rest && Service::find(service).is_none() {
        let hint = suggestion(service, Service::names());
        let text = format!(
            "{service:?} is no service whose operations are known; a REST service can be called by rest{hint}"
        );
        problems.add(field, text);
    }
}

fn operation_of(
    path: &str,
    service: &str,
    name: &str,
    input: Option<&prost_types::Value>,
    problems: &mut Collector,
) -> Option<AwsCallForm> {
    // What it reads is known whatever else is wrong.
    let template = input.map(|value| json_template(&format!("{path}.input"), value, problems));
    let literal = input.and_then(|value| to_json(value, limits::JSON_DEPTH_MAX).ok());
    let field = format!("{path}.operation");
    let mut bytes = name.bytes();
    let is_name = bytes.next().is_some_and(|b| b.is_ascii_uppercase())
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name.len() <= 128;
    if !is_name {
        let text = format!("{name:?} is no operation, such as StopInstances");
        problems.add(field, text);
        return None;
    }
    let is_template = matches!(&literal, Some(Value::String(text)) if text.contains("${{"));
    if !is_template && !matches!(literal, None | Some(Value::Object(_))) {
        problems.add(format!("{path}.input"), "must be a map of members");
        return None;
    }
    if let Some(service) = Service::find(service)
        && matches!(service.protocol, Protocol::RestJson | Protocol::RestXml)
    {
        rest_input(path, service, name, literal.as_ref(), problems)?;
    }
    Some(AwsCallForm::Operation {
        name: name.to_owned(),
        input: transposed(template)?,
    })
}

/// The operations of REST services are known one by one, and so are their members.
fn rest_input(
    path: &str,
    service: &Service,
    name: &str,
    input: Option<&Value>,
    problems: &mut Collector,
) -> Option<()> {
    let Some(operation) = aws::rest_operation(service, name) else {
        let all: Vec<_> = aws::rest_operations(service)
            .map(|each| each.name)
            .collect();
        let by_name = match all.as_slice() {
            [] => String::new(),
            all => format!("{}, or ", all.join(", ")),
        };
        let text = format!(
            "{name:?} of {} is not known by name: expected {by_name}rest with its method and path{}",
            service.name,
            suggestion(name, all.iter().copied())
        );
        problems.add(format!("{path}.operation"), text);
        return None;
    };
    let empty = serde_json::Map::new();
    let members = match input {
        None => &empty,
        Some(Value::Object(members)) => members,
        // It is told when it is rendered.
        Some(_) => return Some(()),
    };
    for (member, _) in operation.path_members() {
        if !members.contains_key(member) {
            problems.add(format!("{path}.input.{member}"), "is missing");
        }
    }
    for member in members.keys() {
        if !operation.takes(member) {
            let all = operation.path_members().map(|(name, _)| name);
            let listed = operation.query.iter().chain(operation.headers);
            let body = match operation.body {
                RestBody::Payload(name) | RestBody::JsonPayload(name) => Some(name),
                RestBody::None | RestBody::Members => None,
            };
            let names = all.chain(listed.map(|(name, _)| *name)).chain(body);
            let text = format!(
                "{name} takes no {member:?} here{}; rest takes any header and parameter",
                suggestion(member, names)
            );
            problems.add(format!("{path}.input.{member}"), text);
        }
    }
    Some(())
}

fn rest_of(path: &str, rest: &v1::AwsRest, problems: &mut Collector) -> Option<AwsRest> {
    let v1::AwsRest {
        method,
        path: resource,
        query,
        headers,
        body,
    } = rest;
    let method = if method.is_empty() {
        Some(if body.is_some() {
            HttpMethod::Post
        } else {
            HttpMethod::Get
        })
    } else {
        problems.check(format!("{path}.method"), method.parse())
    };
    let field = format!("{path}.path");
    let resource = if resource.starts_with('/') || resource.starts_with("${{") {
        template(&field, resource, problems)
    } else {
        let text = format!("{resource:?} is no path: it begins with /");
        problems.add(field, text);
        None
    };
    for (name, value) in headers {
        let field = format!("{path}.headers.{name}");
        header_name(&field, name, problems);
        header_value(&field, value, problems);
        if aws_sets(name) {
            problems.add(field, format!("{name:?} is set by the signature"));
        }
    }
    let query = templates(&format!("{path}.query"), query, problems);
    let headers = templates(&format!("{path}.headers"), headers, problems);
    let body = match body {
        None => Some(None),
        Some(v1::aws_rest::Body::Json(value)) => {
            json_template(&format!("{path}.json"), value, problems)
                .map(|template| Some(AwsRestBody::Json(template)))
        }
        Some(v1::aws_rest::Body::Text(text)) => template(&format!("{path}.text"), text, problems)
            .map(|template| Some(AwsRestBody::Text(template))),
    };
    Some(AwsRest {
        method: method?,
        path: resource?,
        query: query?,
        headers: headers?,
        body: body?,
    })
}

fn aws_sets(header: &str) -> bool {
    const SET: [&str; 4] = [
        "authorization",
        "x-amz-content-sha256",
        "x-amz-date",
        "x-amz-security-token",
    ];
    SET.contains(&header.to_ascii_lowercase().as_str())
}

fn credentials_of(
    path: &str,
    all: &v1::AwsCredentials,
    problems: &mut Collector,
) -> Option<AwsCredentialTemplates> {
    let v1::AwsCredentials {
        access_key_id,
        secret_access_key,
        session_token,
    } = all;
    let id = required(&format!("{path}.accessKeyId"), access_key_id, problems);
    let secret = required(
        &format!("{path}.secretAccessKey"),
        secret_access_key,
        problems,
    );
    let token = optional(&format!("{path}.sessionToken"), session_token, problems);
    Some(AwsCredentialTemplates {
        access_key_id: id?,
        secret_access_key: secret?,
        session_token: token?,
    })
}

fn role_of(
    path: &str,
    role: &v1::AwsAssumeRole,
    problems: &mut Collector,
) -> Option<AwsAssumeRole> {
    let v1::AwsAssumeRole {
        role_arn,
        external_id,
        session_name,
        duration: lasts,
        endpoint_url,
    } = role;
    let arn = required(&format!("{path}.roleArn"), role_arn, problems);
    if let Some(text) = arn.as_ref().and_then(Template::as_literal)
        && !(text.starts_with("arn:") && text.contains(":role/"))
    {
        let text = format!("{text:?} is no role, such as arn:aws:iam::123456789012:role/name");
        problems.add(format!("{path}.roleArn"), text);
    }
    let external_id = optional(&format!("{path}.externalId"), external_id, problems);
    let field = format!("{path}.sessionName");
    let session_name = optional(&field, session_name, problems);
    if let Some(Some(name)) = &session_name
        && let Some(text) = name.as_literal()
        && !is_session_name(text)
    {
        let text = format!("{text:?} does not match [a-zA-Z0-9_+=,.@-]{{2,64}}");
        problems.add(field, text);
    }
    let field = format!("{path}.duration");
    let lasts = duration(
        &field,
        lasts.as_ref(),
        limits::AWS_ROLE_DURATION_MAX,
        problems,
    );
    if lasts.is_some_and(|lasts| lasts < limits::AWS_ROLE_DURATION_MIN) {
        problems.add(field, "must be at least 900 seconds");
    }
    let endpoint_url = endpoint(&format!("{path}.endpointUrl"), endpoint_url, problems);
    Some(AwsAssumeRole {
        role_arn: arn?,
        external_id: external_id?,
        session_name: session_name?,
        duration: lasts.unwrap_or(limits::AWS_ROLE_DURATION_DEFAULT),
        endpoint_url: endpoint_url?,
    })
}

/// As STS has it.
fn is_session_name(text: &str) -> bool {
    let is_one = |b: u8| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b);
    (2..=64).contains(&text.len()) && text.bytes().all(is_one)
}

pub(super) fn required(field: &str, text: &str, problems: &mut Collector) -> Option<Template> {
    if text.is_empty() {
        problems.add(field, "is missing");
        return None;
    }
    template(field, text, problems)
}

/// [`None`] within when it is not there, outside when it is wrong.
pub(super) fn optional(
    field: &str,
    text: &str,
    problems: &mut Collector,
) -> Option<Option<Template>> {
    if text.is_empty() {
        return Some(None);
    }
    template(field, text, problems).map(Some)
}

fn endpoint(field: &str, url: &str, problems: &mut Collector) -> Option<Option<Template>> {
    if url.is_empty() {
        return Some(None);
    }
    url_template(field, url, false, problems).map(Some)
}
