//! The `http` step.

use std::collections::{BTreeMap, BTreeSet};

use signalbox_model::{
    expression::Template,
    violation::Collector,
    workflow::{HttpBody, HttpStep},
};
use url::Url;

use super::json_template;
use crate::v1;

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
    } = step;
    let method = if method.is_empty() {
        Some(None)
    } else {
        problems
            .check(format!("{path}.method"), method.parse())
            .map(Some)
    };
    let url = url_template(&format!("{path}.url"), url, problems);
    let query = templates(&format!("{path}.query"), query, problems);
    let mut seen = BTreeSet::new();
    for (name, value) in headers {
        if !seen.insert(name.to_ascii_lowercase()) {
            let field = format!("{path}.headers.{name}");
            problems.add(field, "is there twice: header names know no case");
        }
        header(&format!("{path}.headers.{name}"), name, value, problems);
    }
    let headers = templates(&format!("{path}.headers"), headers, problems);
    let body = match body {
        None => Some(None),
        Some(v1::http_step::Body::Json(value)) => {
            json_template(&format!("{path}.json"), value, problems)
                .map(|template| Some(HttpBody::Json(template)))
        }
        Some(v1::http_step::Body::Text(text)) => problems
            .check(format!("{path}.text"), Template::parse(text))
            .map(|template| Some(HttpBody::Text(template))),
    };
    Some(HttpStep {
        method: method?,
        url: url?,
        query: query?,
        headers: headers?,
        body: body?,
    })
}

pub(super) fn url_template(field: &str, url: &str, problems: &mut Collector) -> Option<Template> {
    if url.is_empty() {
        problems.add(field, "is missing");
        return None;
    }
    let template = problems.check(field, Template::parse(url))?;
    match url_problem(url, template.as_literal().is_some()) {
        None => Some(template),
        Some(problem) => {
            problems.add(field, problem);
            None
        }
    }
}

/// What is wrong with a URL as far as it is known now; the rest is checked when the step runs.
fn url_problem(url: &str, is_literal: bool) -> Option<String> {
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
            Some(USER_INFORMATION.to_owned())
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

pub(super) fn header(field: &str, name: &str, value: &str, problems: &mut Collector) {
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
        problems.add(
            field,
            format!("{name:?} is not a header name (RFC 9110 §5.1)"),
        );
    } else if RESERVED.contains(&name.to_ascii_lowercase().as_str()) {
        problems.add(field, format!("{name:?} is set by Signalbox itself"));
    }
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
            problems.check(format!("{path}.{name}"), Template::parse(text)),
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
