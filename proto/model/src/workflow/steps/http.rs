//! `http`: sends one HTTP request.

use std::{collections::BTreeMap, fmt, str::FromStr};

use crate::{
    expression::{Expression, JsonTemplate, Template},
    limits,
    suggestion::suggestion,
    workflow::{SuccessStatus, steps::at},
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
    /// Credentials.
    pub auth: Option<HttpAuth>,
    /// The statuses that succeed.
    pub success_status: SuccessStatus,
    /// How many redirects are followed, at most [`limits::REDIRECTS_MAX`].
    pub redirects: u8,
    /// Size of the response's body, in bytes, at most [`limits::VALUE_MAX_BYTES`].
    pub response_max_bytes: usize,
    /// Certificates in PEM that are trusted instead of the public ones.
    pub ca_certificate: Option<Template>,
    /// URL of a proxy.
    pub proxy: Option<Template>,
}

/// Body of a request.
#[derive(Clone, Debug)]
pub enum HttpBody {
    /// application/json.
    Json(JsonTemplate),
    /// text/plain; charset=utf-8.
    Text(Template),
    /// application/x-www-form-urlencoded, in this order.
    Form(Vec<(String, Template)>),
    /// Bytes.
    Binary {
        /// They, in base64.
        base64: Template,
        /// Their type; without one, application/octet-stream.
        content_type: Option<Template>,
    },
}

/// Credentials of a request.
#[derive(Clone, Debug)]
pub enum HttpAuth {
    /// RFC 7617.
    Basic {
        /// Holds no colon.
        username: Template,
        /// Any text.
        password: Template,
    },
    /// RFC 6750.
    Bearer(Template),
    /// A header of any name.
    Header {
        /// Its name, valid.
        name: String,
        /// Its value.
        value: Template,
    },
}

impl HttpAuth {
    /// The header that holds them.
    #[must_use]
    pub fn header(&self) -> &str {
        match self {
            Self::Basic { .. } | Self::Bearer(_) => "authorization",
            Self::Header { name, .. } => name,
        }
    }

    fn expressions(&self) -> Vec<(String, &Expression)> {
        match self {
            Self::Basic { username, password } => {
                let mut all = at("http.auth.basic.username", username.expressions());
                all.extend(at("http.auth.basic.password", password.expressions()));
                all
            }
            Self::Bearer(token) => at("http.auth.bearer.token", token.expressions()),
            Self::Header { value, .. } => at("http.auth.header.value", value.expressions()),
        }
    }
}

/// Method of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum HttpMethod {
    // RFC 9110 §9, RFC 5789, draft-ietf-httpbis-safe-method-w-body. CONNECT makes tunnels, and is for proxies.
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
    Trace,
    Query,
    // WebDAV (RFC 4918, RFC 3253, RFC 5323).
    Propfind,
    Proppatch,
    Mkcol,
    Copy,
    Move,
    Lock,
    Unlock,
    Report,
    Search,
    // Of caches, and of Vault.
    Purge,
    List,
}

impl HttpMethod {
    /// All.
    pub const ALL: [Self; 20] = [
        Self::Get,
        Self::Head,
        Self::Post,
        Self::Put,
        Self::Patch,
        Self::Delete,
        Self::Options,
        Self::Trace,
        Self::Query,
        Self::Propfind,
        Self::Proppatch,
        Self::Mkcol,
        Self::Copy,
        Self::Move,
        Self::Lock,
        Self::Unlock,
        Self::Report,
        Self::Search,
        Self::Purge,
        Self::List,
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
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Query => "QUERY",
            Self::Propfind => "PROPFIND",
            Self::Proppatch => "PROPPATCH",
            Self::Mkcol => "MKCOL",
            Self::Copy => "COPY",
            Self::Move => "MOVE",
            Self::Lock => "LOCK",
            Self::Unlock => "UNLOCK",
            Self::Report => "REPORT",
            Self::Search => "SEARCH",
            Self::Purge => "PURGE",
            Self::List => "LIST",
        }
    }
}

/// Why a text is no [`HttpMethod`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a method: expected one of {all}{hint}",
    all = HttpMethod::ALL.map(HttpMethod::as_str).join(", "),
    hint = suggestion(.0, HttpMethod::ALL.map(HttpMethod::as_str))
)]
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
    /// A request to `url`, and all else as it is when nothing is said of it.
    #[must_use]
    pub fn to(url: Template) -> Self {
        Self {
            method: None,
            url,
            query: BTreeMap::new(),
            headers: BTreeMap::new(),
            body: None,
            auth: None,
            success_status: SuccessStatus::default(),
            redirects: 0,
            response_max_bytes: limits::VALUE_MAX_BYTES,
            ca_certificate: None,
            proxy: None,
        }
    }

    /// The method that is sent.
    #[must_use]
    pub fn effective_method(&self) -> HttpMethod {
        self.method.unwrap_or(if self.body.is_some() {
            HttpMethod::Post
        } else {
            HttpMethod::Get
        })
    }

    pub(crate) fn expressions(&self) -> Vec<(String, &Expression)> {
        let mut all = at("http.url", self.url.expressions());
        for (name, value) in &self.query {
            all.extend(at(&format!("http.query.{name}"), value.expressions()));
        }
        for (name, value) in &self.headers {
            all.extend(at(&format!("http.headers.{name}"), value.expressions()));
        }
        all.extend(self.body.iter().flat_map(HttpBody::expressions));
        all.extend(self.auth.iter().flat_map(HttpAuth::expressions));
        for (path, template) in [
            ("http.caCertificate", &self.ca_certificate),
            ("http.proxy", &self.proxy),
        ] {
            let expressions = template.iter().flat_map(Template::expressions);
            all.extend(at(path, expressions));
        }
        all
    }
}

impl HttpBody {
    /// The bytes that a text in base64 gives: the standard alphabet (RFC 4648 §4), padded or not.
    ///
    /// # Errors
    /// It is no base64.
    pub fn decode(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
        use base64::{
            Engine as _, alphabet,
            engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
        };
        const ENGINE: GeneralPurpose = GeneralPurpose::new(
            &alphabet::STANDARD,
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
        );
        ENGINE.decode(text.trim())
    }

    fn expressions(&self) -> Vec<(String, &Expression)> {
        match self {
            Self::Json(template) => template.expressions_at("http.json"),
            Self::Text(template) => at("http.text", template.expressions()),
            Self::Form(fields) => fields
                .iter()
                .flat_map(|(name, value)| at(&format!("http.form.{name}"), value.expressions()))
                .collect(),
            Self::Binary {
                base64,
                content_type,
            } => {
                let mut all = at("http.binary.base64", base64.expressions());
                let content_type = content_type.iter().flat_map(Template::expressions);
                all.extend(at("http.binary.contentType", content_type));
                all
            }
        }
    }
}
