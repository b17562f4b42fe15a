//! The `http` step.

use std::collections::{BTreeMap, BTreeSet};

use signalbox_model::{
    expression::Template,
    limits,
    violation::Collector,
    workflow::{HttpMethod, HttpStep, SuccessStatus},
};
use url::Url;

use super::texts::template;
use crate::v1;

mod auth;
mod body;
pub(super) mod certificate;

pub(super) fn http_step(
    path: &str,
    step: &v1::HttpStep,
    problems: &mut Collector,
) -> Option<HttpStep> {
    let v1::HttpStep {
        method,
        url,
        query,
        headers,
        body,
        auth,
        success_status,
        redirects,
        max_response_bytes,
        ca_certificate,
        proxy,
    } = step;
    let method = method_of(&format!("{path}.method"), method, body.is_some(), problems);
    let url = url_template(&format!("{path}.url"), url, false, problems);
    let query = templates(&format!("{path}.query"), query, problems);
    let headers = headers_of(&format!("{path}.headers"), headers, problems);
    let body = optional(body.as_ref(), |body| body::body_of(path, body, problems));
    let auth = optional(auth.as_ref(), |auth| {
        auth::auth_of(path, auth, &step.headers, problems)
    });
    let success_status = success_status_of(path, success_status, problems);
    let redirects = redirects_of(path, *redirects, problems);
    let response_max_bytes = response_max_bytes_of(path, *max_response_bytes, problems);
    let ca_certificate = optional(written(ca_certificate), |text| {
        certificate::template(&format!("{path}.caCertificate"), text, problems)
    });
    let proxy = optional(written(proxy), |url| {
        url_template(&format!("{path}.proxy"), url, true, problems)
    });
    Some(HttpStep {
        method: method?,
        url: url?,
        query: query?,
        headers: headers?,
        body: body?,
        auth: auth?,
        success_status: success_status?,
        redirects: redirects?,
        response_max_bytes: response_max_bytes?,
        ca_certificate: ca_certificate?,
        proxy: proxy?,
    })
}

/// What `read` makes of a value that need not be there; [`None`] when it is there and wrong.
pub(super) fn optional<T, U>(
    value: Option<T>,
    read: impl FnOnce(T) -> Option<U>,
) -> Option<Option<U>> {
    match value {
        None => Some(None),
        Some(value) => read(value).map(Some),
    }
}

/// A text that says something.
pub(super) fn written(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

fn method_of(
    field: &str,
    method: &str,
    has_body: bool,
    problems: &mut Collector,
) -> Option<Option<HttpMethod>> {
    let method = optional(written(method), |text| problems.check(field, text.parse()))?;
    if method == Some(HttpMethod::Trace) && has_body {
        problems.add(field, "TRACE has no body (RFC 9110 §9.3.8)");
        return None;
    }
    Some(method)
}

fn headers_of(
    path: &str,
    headers: &BTreeMap<String, String>,
    problems: &mut Collector,
) -> Option<BTreeMap<String, Template>> {
    let mut seen = BTreeSet::new();
    for (name, value) in headers {
        let field = format!("{path}.{name}");
        if !seen.insert(name.to_ascii_lowercase()) {
            problems.add(&field, "is there twice: header names know no case");
        }
        header_name(&field, name, problems);
        header_value(&field, value, problems);
    }
    templates(path, headers, problems)
}

fn success_status_of(
    path: &str,
    texts: &[String],
    problems: &mut Collector,
) -> Option<SuccessStatus> {
    let field = format!("{path}.successStatus");
    if texts.len() > limits::SUCCESS_STATUS_MAX {
        let text = format!("at most {} are allowed", limits::SUCCESS_STATUS_MAX);
        problems.add(field, text);
        return None;
    }
    let mut ranges = Some(Vec::new());
    for (index, text) in texts.iter().enumerate() {
        let range = problems.check(format!("{field}[{index}]"), text.parse());
        ranges = ranges.zip(range).map(|(mut ranges, range)| {
            ranges.push(range);
            ranges
        });
    }
    ranges.map(SuccessStatus::new)
}

fn redirects_of(path: &str, redirects: i32, problems: &mut Collector) -> Option<u8> {
    let allowed = |n: &u8| *n <= limits::REDIRECTS_MAX;
    let number = u8::try_from(redirects).ok().filter(allowed);
    if number.is_none() {
        let text = format!("is {redirects}; expected 0 to {}", limits::REDIRECTS_MAX);
        problems.add(format!("{path}.redirects"), text);
    }
    number
}

fn response_max_bytes_of(path: &str, bytes: i32, problems: &mut Collector) -> Option<usize> {
    const MAX: usize = limits::VALUE_MAX_BYTES;
    match usize::try_from(bytes) {
        Ok(0) => Some(MAX),
        Ok(n) if n <= MAX => Some(n),
        _ => {
            let text = format!("is {bytes}; expected 1 to {MAX}");
            problems.add(format!("{path}.maxResponseBytes"), text);
            None
        }
    }
}

/// The template of a URL.
pub(super) fn url_template(
    field: &str,
    url: &str,
    may_have_user: bool,
    problems: &mut Collector,
) -> Option<Template> {
    if url.is_empty() {
        problems.add(field, "is missing");
        return None;
    }
    let template = template(field, url, problems)?;
    match url_problem(url, template.as_literal().is_some(), may_have_user) {
        None => Some(template),
        Some(problem) => {
            problems.add(field, problem);
            None
        }
    }
}

/// What is wrong with a URL as far as it is known now; the rest is checked when the step runs.
fn url_problem(url: &str, is_literal: bool, may_have_user: bool) -> Option<String> {
    const SCHEMES: [&str; 2] = ["http://", "https://"];
    const USER_INFORMATION: &str =
        "must not hold user information (user:password@): it would be shown with the execution";
    let expected =
        || format!("{url:?} is no URL of an HTTP service: expected http://… or https://…");
    let known = url
        .split("${{")
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let has_scheme = SCHEMES.iter().any(|scheme| known.starts_with(scheme));
    let may_have_scheme = !is_literal && SCHEMES.iter().any(|scheme| scheme.starts_with(&*known));
    if !has_scheme {
        return (!may_have_scheme).then(expected);
    }
    // A digit may stand wherever an expression may: in a host, a port, a path.
    match Url::parse(&without_expressions(url)) {
        Ok(parsed) if !parsed.username().is_empty() || parsed.password().is_some() => {
            (!may_have_user).then(|| USER_INFORMATION.to_owned())
        }
        Ok(_) => None,
        Err(error) => is_literal.then(|| format!("{url:?} is no URL: {error}")),
    }
}

fn without_expressions(template: &str) -> String {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("${{") {
        text.push_str(before);
        text.push('1');
        rest = after.split_once("}}").map_or("", |(_, after)| after);
    }
    text.push_str(rest);
    text
}

/// Whether a step may set a header of this name.
pub(super) fn header_name(field: &str, name: &str, problems: &mut Collector) -> bool {
    /// Set by Signalbox or by the connection (RFC 9110 §7.6.1).
    const RESERVED: [&str; 12] = [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "idempotency-key",
        "traceparent",
    ];
    if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
        let text = format!("{name:?} is not a header name (RFC 9110 §5.1)");
        problems.add(field, text);
    } else if RESERVED.contains(&name.to_ascii_lowercase().as_str()) {
        problems.add(field, format!("{name:?} is set by Signalbox itself"));
    } else {
        return true;
    }
    false
}

pub(super) fn header_value(field: &str, value: &str, problems: &mut Collector) {
    if value.chars().any(|c| c.is_control() && c != '\t') {
        problems.add(field, "must not hold control characters");
    }
}

pub(super) fn templates<'a>(
    path: &str,
    texts: impl IntoIterator<Item = (&'a String, &'a String)>,
    problems: &mut Collector,
) -> Option<BTreeMap<String, Template>> {
    let mut whole = Some(BTreeMap::new());
    for (name, text) in texts {
        match (
            template(&format!("{path}.{name}"), text, problems),
            &mut whole,
        ) {
            (Some(template), Some(all)) => {
                all.insert(name.clone(), template);
            }
            _ => whole = None,
        }
    }
    whole
}
