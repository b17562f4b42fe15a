//! The credentials of an `http` step.

use std::collections::BTreeMap;

use signalbox_model::{expression::Template, violation::Collector, workflow::HttpAuth};

use super::{header_name, header_value, written};
use crate::{convert::definition::texts::template, v1};

/// The credentials, beside `headers`, of the step at `path`.
pub(super) fn auth_of(
    path: &str,
    auth: &v1::HttpAuth,
    headers: &BTreeMap<String, String>,
    problems: &mut Collector,
) -> Option<HttpAuth> {
    use v1::http_auth::Kind;
    let v1::HttpAuth { kind } = auth;
    let field = format!("{path}.auth");
    let auth = match kind {
        None => {
            problems.add(&field, "names none: expected one of basic, bearer, header");
            None
        }
        Some(Kind::Basic(basic)) => basic_of(&format!("{field}.basic"), basic, problems),
        Some(Kind::Bearer(v1::HttpBearerAuth { token })) => {
            required(&format!("{field}.bearer.token"), token, problems).map(HttpAuth::Bearer)
        }
        Some(Kind::Header(header)) => header_of(&format!("{field}.header"), header, problems),
    }?;
    let mut names = headers.keys();
    if let Some(name) = names.find(|name| name.eq_ignore_ascii_case(auth.header())) {
        let text = format!("is what auth sets: leave out one of headers.{name} and auth");
        problems.add(format!("{path}.headers.{name}"), text);
        return None;
    }
    Some(auth)
}

fn basic_of(path: &str, basic: &v1::HttpBasicAuth, problems: &mut Collector) -> Option<HttpAuth> {
    let v1::HttpBasicAuth { username, password } = basic;
    if username.is_empty() && password.is_empty() {
        problems.add(path, "has neither username nor password");
        return None;
    }
    let field = format!("{path}.username");
    let user = template(&field, username, problems);
    let password = template(&format!("{path}.password"), password, problems);
    let user = user?;
    if user.as_literal().is_some_and(|user| user.contains(':')) {
        problems.add(field, "must not hold a colon (RFC 7617 §2)");
        return None;
    }
    Some(HttpAuth::Basic {
        username: user,
        password: password?,
    })
}

fn header_of(
    path: &str,
    header: &v1::HttpHeaderAuth,
    problems: &mut Collector,
) -> Option<HttpAuth> {
    let v1::HttpHeaderAuth { name, value } = header;
    let field = format!("{path}.name");
    let is_name = if name.is_empty() {
        problems.add(&field, "is missing");
        false
    } else {
        header_name(&field, name, problems)
    };
    let field = format!("{path}.value");
    header_value(&field, value, problems);
    let value = required(&field, value, problems)?;
    is_name.then(|| HttpAuth::Header {
        name: name.clone(),
        value,
    })
}

fn required(field: &str, text: &str, problems: &mut Collector) -> Option<Template> {
    match written(text) {
        Some(text) => template(field, text, problems),
        None => {
            problems.add(field, "is missing");
            None
        }
    }
}
