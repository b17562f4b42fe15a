//! `http`: sends one HTTP request.

use std::{collections::BTreeMap, fmt, str::FromStr};

use crate::{
    expression::{JsonTemplate, Reference, Template},
    workflow::steps::at,
};

/// Sends one HTTP request.
#[derive(Clone, Debug)]
pub struct HttpStep {
    /// Method; without one, POST with a body and GET without.
    pub method: Option<HttpMethod>,
    /// Target.
    pub url: Template,
    /// Query parameters that are added to the target's.
    pub query: BTreeMap<String, Template>,
    /// Headers.
    pub headers: BTreeMap<String, Template>,
    /// Body.
    pub body: Option<HttpBody>,
}

/// Body of a request.
#[derive(Clone, Debug)]
pub enum HttpBody {
    /// application/json.
    Json(JsonTemplate),
    /// text/plain; charset=utf-8.
    Text(Template),
}

/// Method of a request (RFC 9110 §9, RFC 5789).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum HttpMethod {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

impl HttpMethod {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Get,
        Self::Head,
        Self::Post,
        Self::Put,
        Self::Patch,
        Self::Delete,
    ];

    /// As it is written on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// Why a text is no [`HttpMethod`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a method: expected GET, HEAD, POST, PUT, PATCH or DELETE")]
pub struct HttpMethodError(String);

impl FromStr for HttpMethod {
    type Err = HttpMethodError;
    fn from_str(text: &str) -> Result<Self, HttpMethodError> {
        Self::ALL
            .into_iter()
            .find(|method| method.as_str() == text)
            .ok_or_else(|| HttpMethodError(text.chars().take(32).collect()))
    }
}

impl fmt::Display for HttpMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl HttpStep {
    /// The method that is sent.
    #[must_use]
    pub fn effective_method(&self) -> HttpMethod {
        self.method.unwrap_or(if self.body.is_some() {
            HttpMethod::Post
        } else {
            HttpMethod::Get
        })
    }

    pub(crate) fn references(&self) -> Vec<(String, Reference)> {
        let mut all = at("http.url", self.url.references());
        for (name, value) in &self.query {
            all.extend(at(&format!("http.query.{name}"), value.references()));
        }
        for (name, value) in &self.headers {
            all.extend(at(&format!("http.headers.{name}"), value.references()));
        }
        match &self.body {
            None => {}
            Some(HttpBody::Json(template)) => all.extend(template.references_at("http.json")),
            Some(HttpBody::Text(template)) => all.extend(at("http.text", template.references())),
        }
        all
    }
}
