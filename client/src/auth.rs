//! What each call carries.

use std::{
    fmt,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::{Notify, watch};
use tonic::{Request, Status, metadata::MetadataValue, service::Interceptor};
use zeroize::Zeroizing;

/// Size of a token file, in bytes: tokens have some hundreds.
const TOKEN_FILE_MAX_BYTES: u64 = 64 * 1024;

/// Where the token comes from.
#[derive(Clone)]
pub enum TokenSource {
    /// Given.
    Value(SecretString),
    /// A file, read at each call, so that a new token needs no restart.
    File(PathBuf),
    /// Whichever is current.
    Current(CurrentToken),
}

/// A token that its owner renews, for clients that call with whichever is current. Cheap to clone; clones are one.
#[derive(Clone, Default)]
pub struct CurrentToken(Arc<Current>);

#[derive(Default)]
struct Current {
    token: watch::Sender<Option<SecretString>>,
    refused: Notify,
}

impl fmt::Debug for CurrentToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CurrentToken(***)")
    }
}

impl CurrentToken {
    /// Calls carry `token` from now on.
    pub fn set(&self, token: SecretString) {
        self.0.token.send_replace(Some(token));
    }

    /// Until there is one.
    pub async fn ready(&self) {
        let mut token = self.0.token.subscribe();
        // The sender is ours: it is not gone before we are.
        let _ = token.wait_for(Option::is_some).await;
    }

    /// Until somebody was refused with it.
    pub async fn refused(&self) {
        self.0.refused.notified().await;
    }

    pub(crate) fn note_refused(&self) {
        self.0.refused.notify_one();
    }

    fn read(&self) -> Option<Zeroizing<String>> {
        let token = self.0.token.borrow();
        let token = token.as_ref()?;
        Some(Zeroizing::new(token.expose_secret().to_owned()))
    }
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

    /// The value of `authorization`. A file is read here and now: it is small, and local.
    fn bearer(&self) -> Result<Zeroizing<String>, Status> {
        let missing = |why: String| Status::unauthenticated(why);
        let token = match self {
            Self::Value(token) => Zeroizing::new(token.expose_secret().to_owned()),
            Self::File(path) => read_token(path).map_err(|error| {
                missing(format!(
                    "the token file {} cannot be read: {error}",
                    path.display()
                ))
            })?,
            Self::Current(current) => current
                .read()
                .ok_or_else(|| missing("there is no token yet".to_owned()))?,
        };
        match (token.trim(), self) {
            ("", Self::File(path)) => Err(missing(format!(
                "the token file {} is empty",
                path.display()
            ))),
            ("", Self::Value(_) | Self::Current(_)) => {
                Err(missing("the token is empty".to_owned()))
            }
            (token, _) => Ok(Zeroizing::new(format!("Bearer {token}"))),
        }
    }
}

fn read_token(path: &Path) -> std::io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    let file = std::fs::File::open(path)?;
    file.take(TOKEN_FILE_MAX_BYTES + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > TOKEN_FILE_MAX_BYTES {
        return Err(std::io::Error::other(format!(
            "it has more than {TOKEN_FILE_MAX_BYTES} bytes"
        )));
    }
    Ok(text)
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(_) => f.write_str("Value(***)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Current(current) => fmt::Debug::fmt(current, f),
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

    pub(crate) fn without_token(self) -> Self {
        Self {
            token: None,
            ..self
        }
    }

    pub(crate) fn current_token(&self) -> Option<&CurrentToken> {
        match &self.token {
            Some(TokenSource::Current(current)) => Some(current),
            _ => None,
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
            let mut value = MetadataValue::try_from(token.bearer()?.as_str()).map_err(|_| {
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
