//! What a machine asks of its owner, and what the owner brings back.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;
use signalbox_model::{
    execution::{ExecutionState, Fact, Failure, JsonText},
    ids::{ExecutionName, StepInstance, WorkflowId},
    limits,
    secret::Masks,
    workflow::{HttpMethod, SuccessStatus},
};

use crate::{
    aws::AwsCall,
    email::{EmailMessage, EmailReceipt},
    mask,
    script::{ScriptCall, ScriptEnd},
};

/// What the owner of a machine must do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Make these facts durable, in this order, then decide again. The machine counts them already: an owner that
    /// cannot make them durable must drop it. Never empty; all happened at the time that the machine was asked.
    Journal(Vec<Fact>),
    /// Exactly these attempts, whose starts are durable, are to be under way: start those that are not, drop those that
    /// are and are not named here. Then say how one of them ended, or decide again at the time.
    Await {
        /// In the order of the definition. May be empty: then there is nothing to do before `wake_at`.
        attempts: Vec<Arc<Effect>>,
        /// When there is something to decide although no attempt has ended.
        wake_at: Timestamp,
    },
    /// The execution has ended, and the fact that says so is durable.
    Done(ExecutionState),
}

/// One attempt of a step at the world. `Debug` shows what may be shown.
#[derive(Clone, PartialEq)]
pub struct Effect {
    /// The run of its step.
    pub step: StepInstance,
    /// Its number, from 1.
    pub attempt: u32,
    /// True when a crash interrupted this very attempt before: its effect may have happened already.
    pub repeated: bool,
    /// The same for every attempt of this run of this step, crashes included.
    pub idempotency_key: String,
    /// How long it may take: the step's own timeout, or what the step or the execution has left.
    pub timeout: Duration,
    /// What to do. It may hold secrets.
    pub kind: EffectKind,
    /// What may be shown of it.
    pub shown: Shown,
}

/// What may be shown of an attempt, in a trace or a log.
#[derive(Clone, Debug, PartialEq)]
pub enum Shown {
    /// All that its kind shows of itself: it holds no secret.
    All,
    /// This in its place, without the secrets.
    Instead(EffectKind),
    /// Nothing: it makes no sense without its secrets.
    Nothing,
}

impl Effect {
    /// What may be shown of it.
    #[must_use]
    pub fn shown(&self) -> Option<&EffectKind> {
        match &self.shown {
            Shown::All => Some(&self.kind),
            Shown::Instead(kind) => Some(kind),
            Shown::Nothing => None,
        }
    }
}

impl fmt::Debug for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Effect")
            .field("step", &self.step)
            .field("attempt", &self.attempt)
            .field("repeated", &self.repeated)
            .field("idempotency_key", &self.idempotency_key)
            .field("timeout", &self.timeout)
            .field("shown", &self.shown())
            .finish_non_exhaustive()
    }
}

/// What an attempt does.
#[derive(Clone, Debug, PartialEq)]
pub enum EffectKind {
    /// Sends an HTTP request.
    Http(HttpRequest),
    /// Calls AWS. Ends with an [`Outcome::Http`].
    Aws(Box<AwsCall>),
    /// Sends a message.
    Email(Box<EmailMessage>),
    /// Runs a program.
    Script(Box<ScriptCall>),
    /// Starts an execution of another workflow. No performer does: whoever owns the machine makes it durable together with the
    /// fact that says so. Ends with an [`Outcome::Child`].
    RunWorkflow(Box<ChildCall>),
}

/// An execution to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildCall {
    /// Its workflow, of the project of the one that starts it.
    pub workflow: WorkflowId,
    /// What its steps read as `event.json`.
    pub input: JsonText,
    /// Whether the step waits for its end.
    pub waits: bool,
}

impl EffectKind {
    /// The kind of step, as definitions name it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Aws(_) => "aws",
            Self::Email(_) => "email",
            Self::Script(_) => "script",
            Self::RunWorkflow(_) => "runWorkflow",
        }
    }
}

/// An HTTP request, all expressions evaluated. `Debug` shows no header values and no body.
#[derive(Clone, PartialEq)]
pub struct HttpRequest {
    /// Method.
    pub method: HttpMethod,
    /// An absolute `http` or `https` URL without user information.
    pub url: url::Url,
    /// Names are lower case and valid; values hold no control characters.
    pub headers: Vec<(String, String)>,
    /// Body; none differs from an empty one.
    pub body: Option<Bytes>,
    /// How it is sent.
    pub exchange: Box<HttpExchange>,
}

/// How a request is sent, and what is made of its response. `Debug` shows no credentials of a proxy.
#[derive(Clone, PartialEq)]
pub struct HttpExchange {
    /// Whether the URL's path is a credential, which is never shown.
    pub url_is_secret: bool,
    /// The name of the header that holds credentials, in lower case.
    pub auth_header: Option<String>,
    /// The statuses that succeed: their bodies are wanted whole.
    pub success: SuccessStatus,
    /// Size of the body of a response that succeeds, in bytes; a larger one fails the attempt.
    pub response_max_bytes: usize,
    /// How many redirects are followed.
    pub redirects_max: u8,
    /// Certificates in PEM that are trusted instead of the public ones.
    pub ca_certificate: Option<String>,
    /// The `http` or `https` URL of a proxy; may hold user information.
    pub proxy: Option<url::Url>,
}

impl Default for HttpExchange {
    /// As it is when nothing is said of it.
    fn default() -> Self {
        Self {
            url_is_secret: false,
            auth_header: None,
            success: SuccessStatus::default(),
            response_max_bytes: limits::VALUE_MAX_BYTES,
            redirects_max: 0,
            ca_certificate: None,
            proxy: None,
        }
    }
}

impl HttpRequest {
    /// The URL as it may be shown, without its secrets.
    #[must_use]
    pub fn shown_url(&self) -> String {
        if self.exchange.url_is_secret {
            mask::hide_path(&self.url)
        } else {
            mask::redact_url(&self.url)
        }
    }
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRequest")
            .field("method", &self.method)
            .field("url", &self.shown_url())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for HttpExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpExchange")
            .field("success", &self.success)
            .field("redirects_max", &self.redirects_max)
            .field("proxy", &self.proxy.as_ref().map(mask::redact_url))
            .finish_non_exhaustive()
    }
}

/// How an attempt ended: with a response, of whatever status, or without.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// A response, complete.
    Http(HttpResponse),
    /// A server took a message.
    Email(EmailReceipt),
    /// A program ended, well or not.
    Script(ScriptEnd),
    /// This execution is durable with the [`Fact::ChildStarted`] that follows.
    Child(ExecutionName),
    /// None.
    Failed(AttemptFailure),
}

impl Outcome {
    /// The same without what `masks` searches for.
    #[must_use]
    pub(crate) fn masked(self, masks: &Masks) -> Self {
        match self {
            Self::Http(HttpResponse {
                status,
                headers,
                body,
            }) => Self::Http(HttpResponse {
                status,
                headers: headers
                    .into_iter()
                    .map(|(name, value)| (name, masks.text(&value).unwrap_or(value)))
                    .collect(),
                body: masks.bytes(&body).map_or(body, Bytes::from),
            }),
            Self::Email(EmailReceipt {
                message_id,
                accepted,
                refused,
                reply,
            }) => Self::Email(EmailReceipt {
                message_id,
                accepted,
                refused: refused
                    .into_iter()
                    .map(|recipient| recipient.masked(masks))
                    .collect(),
                reply: masks.text(&reply).unwrap_or(reply),
            }),
            Self::Script(end) => Self::Script(end.masked(masks)),
            Self::Child(child) => Self::Child(child),
            Self::Failed(failed) => Self::Failed(AttemptFailure {
                failure: masks.failure(failed.failure),
                ..failed
            }),
        }
    }
}

/// An HTTP response.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpResponse {
    /// Status, 100 to 599.
    pub status: u16,
    /// Headers; several values of one name follow each other.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Bytes,
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptFailure {
    /// What is recorded.
    pub failure: Failure,
    /// Whether another attempt may end otherwise.
    pub retriable: bool,
    /// Status of the answer, if there was one.
    pub status: Option<u16>,
    /// When, by the server's word, another attempt makes sense.
    pub retry_after: Option<RetryAfter>,
}

/// What `Retry-After` says (RFC 9110 §10.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// So long from now.
    Delay(Duration),
    /// At that time.
    Time(Timestamp),
}

impl AttemptFailure {
    /// A failure that another attempt may heal.
    pub fn retriable(code: &str, message: impl Into<String>) -> Self {
        Self {
            failure: Failure::new(code, message),
            retriable: true,
            status: None,
            retry_after: None,
        }
    }

    /// A failure for good.
    pub fn lasting(code: &str, message: impl Into<String>) -> Self {
        Self {
            failure: Failure::new(code, message),
            retriable: false,
            status: None,
            retry_after: None,
        }
    }
}
