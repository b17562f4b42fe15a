//! Requests.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};
use signalbox_model::{
    aws::{Protocol, RestBody, RestOperation, Service, rest_operation},
    workflow::HttpMethod,
};

use super::{AwsRequest, query};

/// Everything but what RFC 3986 §2.3 leaves as it is: what Signature Version 4 demands.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
/// The same in a path of several segments.
const ENCODED_PATH: &AsciiSet = &ENCODED.remove(b'/');

/// What an operation is given.
type Members = Map<String, Value>;

/// The request of the operation `name` of `service`.
///
/// # Errors
/// What is wrong with the input.
pub(crate) fn operation(service: &Service, name: &str, input: Value) -> Result<AwsRequest, String> {
    let input = match input {
        Value::Object(members) => members,
        Value::Null => Members::new(),
        _ => return Err("its input is no map of members".to_owned()),
    };
    match service.protocol {
        Protocol::Query {
            version,
            flattening,
        } => Ok(post(
            "application/x-www-form-urlencoded; charset=utf-8",
            query::form(service.name, flattening, [name, version], &input),
        )),
        Protocol::Json { version, target } => {
            let content_type = format!("application/x-amz-json-{version}");
            let mut request = post(&content_type, Value::Object(input).to_string());
            let target = ("x-amz-target".to_owned(), format!("{target}.{name}"));
            request.headers.push(target);
            Ok(request)
        }
        Protocol::RestJson | Protocol::RestXml => match rest_operation(service, name) {
            Some(operation) => known(operation, input),
            None => Err(format!("{name} of {} is not known by name", service.name)),
        },
    }
}

fn post(content_type: &str, body: String) -> AwsRequest {
    AwsRequest {
        method: HttpMethod::Post,
        path: "/".to_owned(),
        query: String::new(),
        headers: vec![("content-type".to_owned(), content_type.to_owned())],
        body: Bytes::from(body),
    }
}

/// A REST operation that is known by name. Takes each member of the input to its place.
fn known(operation: &RestOperation, mut input: Members) -> Result<AwsRequest, String> {
    let (template, fixed) = operation
        .path
        .split_once('?')
        .unwrap_or((operation.path, ""));
    let mut path = template.to_owned();
    for (member, is_several) in operation.path_members() {
        let value = input.remove(member);
        let text = value.as_ref().map(|value| scalar(member, value));
        let text = text.transpose()?.unwrap_or_default();
        if text.is_empty() {
            return Err(format!("its input has no {member}"));
        }
        let (hole, set) = if is_several {
            (format!("{{{member}+}}"), ENCODED_PATH)
        } else {
            (format!("{{{member}}}"), ENCODED)
        };
        segments(member, &text, is_several)?;
        path = path.replace(&hole, &utf8_percent_encode(&text, set).to_string());
    }
    let mut pairs = Vec::new();
    for (member, name) in operation.query {
        if let Some(value) = input.remove(*member).filter(|value| !value.is_null()) {
            pairs.push(((*name).to_owned(), scalar(member, &value)?));
        }
    }
    let mut headers = Vec::new();
    for (member, name) in operation.headers {
        if let Some(value) = input.remove(*member).filter(|value| !value.is_null()) {
            headers.push(header(name, &scalar(member, &value)?)?);
        }
    }
    if operation.service == "s3"
        && let Some(metadata) = input.remove("Metadata")
    {
        metadata_headers(&metadata, &mut headers)?;
    }
    let body = match operation.body {
        RestBody::None => Bytes::new(),
        RestBody::Payload(member) => {
            let encoding = operation.encoding();
            let is_base64 = encoding.map(|name| is_base64(name, input.remove(name)));
            payload(
                member,
                input.remove(member),
                is_base64.transpose()?.unwrap_or(false),
            )?
        }
        RestBody::JsonPayload(member) => match input.remove(member) {
            None => Bytes::new(),
            Some(value) => json(&value, &mut headers),
        },
        RestBody::Members => json(&Value::Object(std::mem::take(&mut input)), &mut headers),
    };
    if let Some(member) = input.keys().next() {
        return Err(format!("{} takes no {member:?}", operation.name));
    }
    let method = operation.method.parse();
    Ok(AwsRequest {
        method: method.map_err(|_| "its method is none".to_owned())?,
        path,
        query: [fixed.to_owned(), query_of(pairs)]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("&"),
        headers,
        body,
    })
}

/// Whether the member that says how a payload is encoded says `base64`.
fn is_base64(name: &str, value: Option<Value>) -> Result<bool, String> {
    match value.unwrap_or_default() {
        Value::Null => Ok(false),
        Value::String(text) if text.is_empty() => Ok(false),
        Value::String(text) if text == "base64" => Ok(true),
        _ => Err(format!("its {name} is not \"base64\"")),
    }
}

fn payload(member: &str, value: Option<Value>, is_base64: bool) -> Result<Bytes, String> {
    match value.unwrap_or_default() {
        Value::Null => Ok(Bytes::new()),
        Value::String(text) if is_base64 => {
            let bytes = BASE64_STANDARD.decode(text.trim_ascii());
            let bytes = bytes.map_err(|error| format!("its {member} is no base64: {error}"))?;
            Ok(Bytes::from(bytes))
        }
        Value::String(text) => Ok(Bytes::from(text)),
        _ if is_base64 => Err(format!("its {member} is no text in base64")),
        value => Ok(Bytes::from(value.to_string())),
    }
}

fn json(value: &Value, headers: &mut Vec<(String, String)>) -> Bytes {
    headers.push(("content-type".to_owned(), "application/json".to_owned()));
    Bytes::from(value.to_string())
}

/// `x-amz-meta-…`
fn metadata_headers(metadata: &Value, headers: &mut Vec<(String, String)>) -> Result<(), String> {
    let Value::Object(entries) = metadata else {
        return Err("its Metadata is no map".to_owned());
    };
    for (name, value) in entries {
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if name.is_empty() || !name.bytes().all(is_name) {
            return Err(format!(
                "its Metadata has {name:?}, which is no header's name"
            ));
        }
        let name = format!("x-amz-meta-{}", name.to_ascii_lowercase());
        headers.push(header(&name, &scalar("Metadata", value)?)?);
    }
    Ok(())
}

/// A REST request that the definition writes itself. `headers` and `query` are rendered.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn rest(
    method: HttpMethod,
    path: &str,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    (body, content_type): (Bytes, Option<&str>),
) -> Result<AwsRequest, String> {
    if !path.starts_with('/') {
        return Err("its path does not begin with /".to_owned());
    }
    segments("path", path, true)?;
    let mut headers = headers
        .iter()
        .map(|(name, value)| header(name, value))
        .collect::<Result<Vec<_>, _>>()?;
    let has_type = headers.iter().any(|(name, _)| name == "content-type");
    if let Some(value) = content_type.filter(|_| !has_type) {
        headers.push(("content-type".to_owned(), value.to_owned()));
    }
    Ok(AwsRequest {
        method,
        path: utf8_percent_encode(path, ENCODED_PATH).to_string(),
        query: query_of(query),
        headers,
        body,
    })
}

/// No dot segments (RFC 3986 §3.3): whoever reads the path would take them for another one.
fn segments(what: &str, text: &str, is_several: bool) -> Result<(), String> {
    let is_dots = |segment: &str| segment == "." || segment == "..";
    let found = if is_several {
        text.split('/').any(is_dots)
    } else {
        is_dots(text)
    };
    if found {
        return Err(format!("its {what} holds \".\" or \"..\" between slashes"));
    }
    Ok(())
}

/// Name in lower case, value without what ends a header (RFC 9110 §5.5).
fn header(name: &str, value: &str) -> Result<(String, String), String> {
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Err(format!(
            "the value of its header {name:?} holds control characters"
        ));
    }
    // Signatures are of bytes that proxies do not touch.
    if !value.is_ascii() {
        return Err(format!("the value of its header {name:?} is not ASCII"));
    }
    Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
}

fn query_of(pairs: Vec<(String, String)>) -> String {
    let encode = |text: &str| utf8_percent_encode(text, ENCODED).to_string();
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    pairs.join("&")
}

/// What can stand in a path, a parameter or a header.
fn scalar(member: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        Value::Null => Ok(String::new()),
        Value::Array(_) | Value::Object(_) => {
            Err(format!("its {member} is a list or a map; expected a text"))
        }
    }
}
