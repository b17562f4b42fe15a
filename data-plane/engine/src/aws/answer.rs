//! Answers.

use base64::Engine as _;
use serde_json::{Map, Value, json};
use signalbox_model::{
    aws::{Elements, Protocol, RestOutput, Service, rest_operation},
    execution::Failure,
};

use super::xml;
use crate::{
    RECORD_MAX_BYTES, codes,
    decision::{AttemptFailure, HttpResponse},
    steps::{retry_after, text_len},
};

/// Longest text of an error that is kept, in characters.
const MESSAGE_MAX_CHARS: usize = 1024;
/// Longest code of an error that is kept, in characters.
const CODE_MAX_CHARS: usize = 128;

/// What the answer of a call is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnswerForm {
    /// XML of the Query protocol: the element of the operation's result.
    Query,
    /// JSON.
    Json,
    /// By its Content-Type: of REST requests that the definition writes itself.
    Rest,
    /// S3's.
    RestXml(RestOutput),
    /// As REST services write it.
    RestJson(RestOutput),
}

impl AnswerForm {
    /// Of the operation `name` of `service`.
    pub(crate) fn of(service: &Service, name: &str) -> Self {
        let output = || match rest_operation(service, name) {
            Some(operation) => operation.output,
            None => RestOutput::Document,
        };
        match service.protocol {
            Protocol::Query { .. } => Self::Query,
            Protocol::Json { .. } => Self::Json,
            Protocol::RestJson => Self::RestJson(output()),
            Protocol::RestXml => Self::RestXml(output()),
        }
    }
}

/// What an answer says is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsError {
    /// AWS's code, such as `IncorrectInstanceState`; printable, and short.
    pub code: String,
    /// AWS's text; may be empty.
    pub message: String,
}

impl AwsError {
    /// The credentials are no longer valid; others may be.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        matches!(
            self.code.as_str(),
            "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired"
        )
    }

    /// What the SDKs try again (botocore's `_retry.json` and `standard` mode).
    fn is_transient(&self) -> bool {
        const CODES: [&str; 21] = [
            "BandwidthLimitExceeded",
            "EC2ThrottledException",
            "IDPCommunicationError",
            "InternalError",
            "InternalFailure",
            "InternalServerError",
            "LimitExceededException",
            "PriorRequestNotComplete",
            "ProvisionedThroughputExceededException",
            "RequestLimitExceeded",
            "RequestThrottled",
            "RequestThrottledException",
            "RequestTimeout",
            "RequestTimeoutException",
            "ServiceUnavailable",
            "SlowDown",
            "ThrottledException",
            "Throttling",
            "ThrottlingException",
            "TooManyRequestsException",
            "TransactionInProgressException",
        ];
        CODES.contains(&self.code.as_str())
    }
}

/// The value of a header.
fn header<'a>(response: &'a HttpResponse, name: &str) -> Option<&'a str> {
    let mut headers = response.headers.iter();
    let (_, value) = headers.find(|(found, _)| found.eq_ignore_ascii_case(name))?;
    Some(value)
}

fn header_request_id(response: &HttpResponse) -> Option<String> {
    ["x-amzn-requestid", "x-amz-request-id", "x-amzn-request-id"]
        .into_iter()
        .find_map(|name| header(response, name))
        .map(str::to_owned)
}

/// The error that a response holds, unless its status says that there is none.
#[must_use]
pub fn aws_error(response: &HttpResponse) -> Option<AwsError> {
    if (200..300).contains(&response.status) {
        return None;
    }
    let text = String::from_utf8_lossy(&response.body);
    let body = text.trim_start();
    let (code, message) = if body.starts_with('<') {
        match xml::parse(body, Elements::default()) {
            Ok((root, document)) => in_xml(&root, &document),
            Err(_) => (None, None),
        }
    } else {
        in_json(response, &serde_json::from_str(body).unwrap_or_default())
    };
    // A HEAD's answer has no body, and a proxy's is not AWS's.
    let code = code.unwrap_or_else(|| format!("HTTP {}", response.status));
    Some(error(&code, &message.unwrap_or_default()))
}

fn error(code: &str, message: &str) -> AwsError {
    let clean = |text: &str, max: usize| -> String {
        let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
        printable.take(max).collect()
    };
    AwsError {
        code: clean(code, CODE_MAX_CHARS),
        message: clean(message, MESSAGE_MAX_CHARS),
    }
}

/// `<ErrorResponse><Error>`, EC2's `<Response><Errors>`, S3's `<Error>`.
fn in_xml(root: &str, document: &Value) -> (Option<String>, Option<String>) {
    let error = match root {
        "Error" => document,
        // A list, by its name.
        _ if document["Errors"].is_array() => &document["Errors"][0],
        _ => &document["Error"],
    };
    let member = |name: &str| error[name].as_str().map(str::to_owned);
    (member("Code"), member("Message"))
}

/// `X-Amzn-ErrorType`, `__type` or `code`, each perhaps with a namespace before it and a URL after it
/// (<https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html#operation-error-serialization>).
fn in_json(response: &HttpResponse, document: &Value) -> (Option<String>, Option<String>) {
    let member = |names: &[&str]| {
        let mut found = names.iter().filter_map(|name| document[*name].as_str());
        found.next().map(str::to_owned)
    };
    let code = header(response, "x-amzn-errortype").map(str::to_owned);
    let code = code
        .or_else(|| member(&["__type", "code", "Code"]))
        .map(|code| {
            let code = code.split(':').next().unwrap_or_default();
            code.rsplit('#').next().unwrap_or_default().to_owned()
        });
    let message = member(&["message", "Message", "errorMessage"]);
    (code.filter(|code| !code.is_empty()), message)
}

/// Why a call failed that `response` answers with `error`. `renews`: another attempt gets other credentials.
pub(crate) fn refused(response: &HttpResponse, error: &AwsError, renews: bool) -> AttemptFailure {
    let AwsError { code, message } = error;
    let mut text = code.clone();
    if !message.is_empty() {
        text = format!("{text}: {message}");
    }
    text = match header_request_id(response) {
        Some(id) => format!("{text} (status {}, request {id})", response.status),
        None => format!("{text} (status {})", response.status),
    };
    AttemptFailure {
        failure: Failure::new(codes::AWS_ERROR, text),
        retriable: response.status >= 500
            || response.status == 429
            || error.is_transient()
            || (renews && error.is_expired()),
        status: Some(response.status),
        retry_after: retry_after(response),
    }
}

/// The output of a call that succeeded, of the service that is called `service` in signatures.
pub(crate) fn read(
    form: AnswerForm,
    service: &str,
    response: &HttpResponse,
) -> Result<Value, AttemptFailure> {
    let xml_of = || {
        let text = std::str::from_utf8(&response.body).ok()?;
        xml::parse(text, Elements::of(service)).ok()
    };
    let malformed = || {
        let text = "the answer is not of the form that the service writes";
        AttemptFailure::lasting(codes::AWS_ERROR, text)
    };
    let mut request_id = header_request_id(response);
    let result = match form {
        AnswerForm::Query => {
            let (_, document) = xml_of().ok_or_else(malformed)?;
            let (result, id) = of_query(document);
            request_id = id.or(request_id);
            result
        }
        AnswerForm::Json => json_of(response).ok_or_else(malformed)?,
        AnswerForm::RestJson(RestOutput::Document) => json_of(response).ok_or_else(malformed)?,
        AnswerForm::RestXml(RestOutput::Document) if response.body.is_empty() => {
            headers_of(response)
        }
        AnswerForm::RestXml(RestOutput::Document) => {
            let (root, document) = xml_of().ok_or_else(malformed)?;
            // S3 answers 200 before it has copied, and may find out then that it cannot.
            if root == "Error" {
                let (code, message) = in_xml(&root, &document);
                let (code, message) = (code.unwrap_or(root), message.unwrap_or_default());
                return Err(refused(response, &error(&code, &message), false));
            }
            document
        }
        AnswerForm::RestXml(RestOutput::Headers) | AnswerForm::RestJson(RestOutput::Headers) => {
            headers_of(response)
        }
        AnswerForm::RestXml(RestOutput::Payload(name)) => with_body(response, name),
        AnswerForm::RestJson(RestOutput::Payload(name)) => {
            function_error(response)?;
            with_json(response, name)
        }
        AnswerForm::Rest => by_type(response, xml_of),
    };
    let output = json!({
        "statusCode": response.status,
        "requestId": request_id,
        "result": result,
    });
    if text_len(&output) > RECORD_MAX_BYTES {
        let text = format!("the answer needs more than {RECORD_MAX_BYTES} bytes as JSON");
        return Err(AttemptFailure::lasting(codes::RESPONSE_TOO_LARGE, text));
    }
    Ok(output)
}

fn json_of(response: &HttpResponse) -> Option<Value> {
    if response.body.iter().all(u8::is_ascii_whitespace) {
        return Some(Value::Object(Map::new()));
    }
    serde_json::from_slice(&response.body).ok()
}

/// `<OperationResponse><OperationResult>…</OperationResult><ResponseMetadata>`, or EC2's `<OperationResponse><requestId>`.
fn of_query(document: Value) -> (Value, Option<String>) {
    let Value::Object(mut members) = document else {
        return (Value::Object(Map::new()), None);
    };
    let metadata = members.remove("ResponseMetadata");
    let id = metadata.and_then(|metadata| metadata["RequestId"].as_str().map(str::to_owned));
    let ec2 = members.remove("requestId");
    let id = id.or_else(|| Some(ec2?.as_str()?.to_owned()));
    let name = members
        .keys()
        .find(|name| name.ends_with("Result"))
        .cloned();
    let result = match name {
        Some(name) if members.len() == 1 => match members.remove(&name) {
            // A result without members.
            Some(Value::String(_)) | None => Value::Object(Map::new()),
            Some(result) => result,
        },
        _ => Value::Object(members),
    };
    (result, id)
}

/// The members that are headers, as S3 calls them.
fn headers_of(response: &HttpResponse) -> Value {
    const NAMES: [(&str, &str); 10] = [
        ("cache-control", "CacheControl"),
        ("content-encoding", "ContentEncoding"),
        ("content-length", "ContentLength"),
        ("content-range", "ContentRange"),
        ("content-type", "ContentType"),
        ("etag", "ETag"),
        ("last-modified", "LastModified"),
        ("x-amz-server-side-encryption", "ServerSideEncryption"),
        ("x-amz-storage-class", "StorageClass"),
        ("x-amz-version-id", "VersionId"),
    ];
    let mut members = Map::new();
    let mut metadata = Map::new();
    for (name, value) in &response.headers {
        let name = name.to_ascii_lowercase();
        if let Some(name) = name.strip_prefix("x-amz-meta-") {
            metadata.insert(name.to_owned(), value.as_str().into());
        }
        if let Some((_, member)) = NAMES.iter().find(|(header, _)| *header == name) {
            let number = value.parse::<u64>().ok();
            let number = number.filter(|_| name == "content-length").map(Value::from);
            let value = number.unwrap_or_else(|| value.as_str().into());
            members.insert((*member).to_owned(), value);
        }
    }
    if !metadata.is_empty() {
        members.insert("Metadata".to_owned(), Value::Object(metadata));
    }
    Value::Object(members)
}

/// A body that is UTF-8 as text, another in base64, which `…Encoding` says.
fn with_body(response: &HttpResponse, name: &str) -> Value {
    let mut result = headers_of(response);
    match std::str::from_utf8(&response.body) {
        Ok(text) => result[name] = text.into(),
        Err(_) => {
            let encoded = base64::engine::general_purpose::STANDARD.encode(&response.body);
            result[name] = encoded.into();
            result[format!("{name}Encoding")] = "base64".into();
        }
    }
    result
}

/// A body that is JSON as its value, another as text; the headers of Lambda's Invoke.
fn with_json(response: &HttpResponse, name: &str) -> Value {
    let text = String::from_utf8_lossy(&response.body);
    let payload = match serde_json::from_str(&text) {
        Ok(value) => value,
        Err(_) if text.is_empty() => Value::Null,
        Err(_) => Value::String(text.into_owned()),
    };
    let mut result = json!({ name: payload });
    for (header_name, member) in [
        ("x-amz-executed-version", "ExecutedVersion"),
        ("x-amz-log-result", "LogResult"),
    ] {
        if let Some(value) = header(response, header_name) {
            result[member] = value.into();
        }
    }
    result
}

/// A function that failed: Lambda answers 200 (`X-Amz-Function-Error`). What it did may have happened, so nothing says that
/// it may be called again.
fn function_error(response: &HttpResponse) -> Result<(), AttemptFailure> {
    let Some(kind) = header(response, "x-amz-function-error") else {
        return Ok(());
    };
    let payload: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let text = |name: &str| payload[name].as_str().unwrap_or_default();
    let (kind_of, message) = (text("errorType"), text("errorMessage"));
    let text: String = format!("the function failed ({kind}): {kind_of}: {message}")
        .chars()
        .take(MESSAGE_MAX_CHARS)
        .collect();
    Err(AttemptFailure {
        status: Some(response.status),
        ..AttemptFailure::lasting(codes::AWS_ERROR, text)
    })
}

fn by_type(response: &HttpResponse, xml_of: impl FnOnce() -> Option<(String, Value)>) -> Value {
    let content_type = header(response, "content-type").unwrap_or_default();
    let text = || Value::String(String::from_utf8_lossy(&response.body).into_owned());
    if response.body.is_empty() {
        return headers_of(response);
    }
    if content_type.contains("json") {
        json_of(response).unwrap_or_else(text)
    } else if content_type.contains("xml") {
        xml_of().map_or_else(text, |(_, document)| document)
    } else {
        text()
    }
}
