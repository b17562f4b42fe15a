//! Refusals as `application/problem+json` (RFC 9457).

use std::borrow::Cow;

use http::StatusCode;
use serde_json::{Value, json};

/// Seconds after which an overloaded or ignorant node may be asked again.
const RETRY_AFTER_S: u32 = 5;

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The status.
    pub status: StatusCode,
    /// Stable kebab-case word: the end of `type`, the delivery's reason, the metric's label.
    pub reason: &'static str,
    /// For people. Holds no key and no token.
    pub detail: Cow<'static, str>,
    /// `Retry-After` in seconds.
    pub retry_after_s: Option<u32>,
    /// Whether a key is asked for (`WWW-Authenticate`, RFC 7617: Amazon SNS sends a URL's password only when asked).
    pub challenges: bool,
    /// `Allow`, for a wrong method.
    pub allow: Option<&'static str>,
}

impl Problem {
    /// A refusal that no retry can mend.
    pub fn new(
        status: StatusCode,
        reason: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            reason,
            detail: detail.into(),
            retry_after_s: None,
            challenges: false,
            allow: None,
        }
    }

    /// 400.
    pub fn malformed(reason: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason, detail)
    }

    /// 401 with a challenge.
    pub fn unauthorized(reason: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            challenges: true,
            ..Self::new(StatusCode::UNAUTHORIZED, reason, detail)
        }
    }

    /// 403.
    pub fn forbidden(reason: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, reason, detail)
    }

    /// 404.
    pub fn not_found(reason: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, reason, detail)
    }

    /// 503: try again.
    pub fn unavailable(reason: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            retry_after_s: Some(RETRY_AFTER_S),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, reason, detail)
        }
    }

    /// 503: another node, or this one when it is of a newer version, can run the workflow.
    pub fn unreadable() -> Self {
        Self::unavailable(
            "workflow-unreadable",
            "this node cannot run the workflow's definition; try again",
        )
    }

    /// 429: try again.
    pub fn too_many(reason: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            retry_after_s: Some(RETRY_AFTER_S),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, reason, detail)
        }
    }

    /// The body.
    #[must_use]
    pub fn to_json(&self, trace_id: Option<&str>) -> Value {
        let mut body = json!({
            "type": format!("https://signalbox.dev/problems/{}", self.reason),
            "title": self.status.canonical_reason().unwrap_or_default(),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let Some(trace_id) = trace_id {
            body["trace_id"] = trace_id.into();
        }
        body
    }
}
