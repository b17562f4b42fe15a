//! What each call carries.

use std::{fmt, path::PathBuf, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};
use tonic::{Request, Status, metadata::MetadataValue, service::Interceptor};

/// Where the token comes from.
#[derive(Clone)]
pub enum TokenSource {
    /// Given.
    Value(SecretString),
    /// A file, read at each call, so that a new token needs no restart.
    File(PathBuf),
}

impl TokenSource {
    /// A given token.
    pub fn value(token: impl Into<String>) -> Self {
        Self::Value(SecretString::from(token.into()))
    }

    /// A file that holds the token.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::File(path.into())
    }

    fn bearer(&self) -> Result<String, Status> {
        let token = match self {
            Self::Value(token) => token.expose_secret().trim().to_owned(),
            Self::File(path) => std::fs::read_to_string(path)
                .map_err(|error| {
                    Status::unauthenticated(format!(
                        "the token file {} cannot be read: {error}",
                        path.display()
                    ))
                })?
                .trim()
                .to_owned(),
        };
        Ok(format!("Bearer {token}"))
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(_) => f.write_str("Value(***)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// Adds the token, the deadline and the trace context to a call.
#[derive(Clone, Debug)]
pub struct CallContext {
    token: Option<TokenSource>,
    deadline: Option<Duration>,
    traceparent: Option<fn() -> Option<String>>,
}

impl CallContext {
    pub(crate) fn new(
        token: Option<TokenSource>,
        deadline: Option<Duration>,
        traceparent: Option<fn() -> Option<String>>,
    ) -> Self {
        Self {
            token,
            deadline,
            traceparent,
        }
    }

    pub(crate) fn with_deadline(self, deadline: Duration) -> Self {
        Self {
            deadline: Some(deadline),
            ..self
        }
    }
}

impl Interceptor for CallContext {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.token {
            let mut value = MetadataValue::try_from(token.bearer()?).map_err(|_| {
                Status::unauthenticated("the token holds characters that a header cannot")
            })?;
            value.set_sensitive(true);
            request.metadata_mut().insert("authorization", value);
        }
        if let Some(deadline) = self.deadline {
            request.set_timeout(deadline);
        }
        if let Some(traceparent) = self.traceparent.and_then(|current| current())
            && let Ok(value) = MetadataValue::try_from(traceparent)
        {
            request.metadata_mut().insert("traceparent", value);
        }
        Ok(request)
    }
}
