//! The pages of approval links, beside gRPC on its listener. GET shows and changes nothing: scanners of mail follow links.
//! POST decides, once.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use http::{
    Method, Request, Response, StatusCode,
    header::{self, HeaderValue},
};
use signalbox_model::{
    error::Error,
    link::{LINKS_PATH, Link},
    signal::ApprovalDecision,
};
use signalbox_runtime::telemetry::context;
use tonic::body::Body;
use tower::{Layer, Service};

use crate::{
    app::{App, Telling},
    auth::Links,
    store::Actor,
};

/// Nothing is loaded, nothing runs, nobody frames it, and the URL is told to nobody.
const HEADERS: [(header::HeaderName, &str); 6] = [
    (header::CONTENT_TYPE, "text/html; charset=utf-8"),
    (header::CACHE_CONTROL, "no-store"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
];

/// Answers requests below [`LINKS_PATH`]; passes on all others.
#[derive(Clone, Debug)]
pub(super) struct LinksLayer(Arc<Pages>);

#[derive(Debug)]
struct Pages {
    app: App,
    links: Links,
}

impl LinksLayer {
    pub(super) fn new(app: App, links: Links) -> Self {
        Self(Arc::new(Pages { app, links }))
    }
}

impl<S> Layer<S> for LinksLayer {
    type Service = LinksService<S>;

    fn layer(&self, inner: S) -> LinksService<S> {
        LinksService {
            pages: self.0.clone(),
            inner,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct LinksService<S> {
    pages: Arc<Pages>,
    inner: S,
}

impl<S, B> Service<Request<B>> for LinksService<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Some(token) = request.uri().path().strip_prefix(LINKS_PATH) else {
            return Box::pin(self.inner.call(request));
        };
        // The body of a POST is not read: the link says everything.
        let (pages, token) = (self.pages.clone(), token.to_owned());
        let method = request.method().clone();
        Box::pin(async move { Ok(pages.answer(&method, &token).await) })
    }
}

impl Pages {
    async fn answer(&self, method: &Method, token: &str) -> Response<Body> {
        let page = match *method {
            Method::GET | Method::HEAD => self.show(token).await,
            Method::POST => self.decide(token).await,
            _ => {
                let text = "<p>There is nothing here but pages.</p>";
                let mut response = page(StatusCode::METHOD_NOT_ALLOWED, text);
                let allowed = HeaderValue::from_static("GET, HEAD, POST");
                response.headers_mut().insert(header::ALLOW, allowed);
                return response;
            }
        };
        let outcome = if page.is_ok() { "shown" } else { "refused" };
        metrics::counter!("signalbox_approval_links_total", "outcome" => outcome).increment(1);
        match page {
            Ok(text) => page_of(method, StatusCode::OK, &text),
            Err(error) => {
                let (status, text) = refusal(&error);
                page_of(method, status, &format!("<p>{}</p>", escape(&text)))
            }
        }
    }

    /// What is asked, and the button.
    async fn show(&self, token: &str) -> Result<String, Error> {
        let link = self.links.read(token).await?;
        let Link {
            execution, step, ..
        } = &link;
        let awaited = self.app.approval(execution, Some(step)).await?;
        let approvers = match awaited.approvers.as_slice() {
            [] => String::new(),
            names => format!("<p>Asked of: {}</p>", escape(&names.join(", "))),
        };
        Ok(format!(
            "<pre>{}</pre>{approvers}<form method=\"post\"><button>{}</button></form>\
             <p><small>You decide as {}. Step {step} of {execution}, until {}.</small></p>",
            escape(&awaited.message),
            verb(link.decision),
            escape(&link.sub),
            awaited
                .deadline
                .map_or("it ends".to_owned(), |time| time.to_string()),
        ))
    }

    async fn decide(&self, token: &str) -> Result<String, Error> {
        let Link {
            sub,
            jti,
            execution,
            step,
            decision,
            ..
        } = self.links.read(token).await?;
        let request_id = jti.to_string();
        let actor = Actor {
            subject: format!("link:{sub}"),
            request_id: Some(request_id.clone()),
            trace_id: context::trace_id(&tracing::Span::current()),
        };
        let telling = Telling::Decision {
            step: Some(step.clone()),
            decision,
            comment: String::new(),
        };
        let traceparent = context::current_traceparent();
        self.app
            .signal_execution(&actor, &execution, telling, &request_id, traceparent)
            .await?;
        let done = match decision {
            ApprovalDecision::Approved => "Approved",
            ApprovalDecision::Rejected => "Rejected",
        };
        Ok(format!(
            "<p>{done}. Thank you.</p><p><small>Step {step} of {execution}.</small></p>"
        ))
    }
}

fn verb(decision: ApprovalDecision) -> &'static str {
    match decision {
        ApprovalDecision::Approved => "Approve",
        ApprovalDecision::Rejected => "Reject",
    }
}

fn refusal(error: &Error) -> (StatusCode, String) {
    match error {
        Error::Unauthenticated {
            reason: "TOKEN_EXPIRED",
            ..
        } => (
            StatusCode::GONE,
            "The time of this link is over.".to_owned(),
        ),
        Error::Unauthenticated { .. } | Error::NotFound { .. } => (
            StatusCode::NOT_FOUND,
            "This is no link of ours, or what it was for is gone.".to_owned(),
        ),
        Error::Precondition { message, .. } => (
            StatusCode::CONFLICT,
            format!("There is nothing to decide: {message}."),
        ),
        Error::Unavailable { .. } | Error::OutOfService { .. } | Error::Exhausted { .. } => (
            StatusCode::SERVICE_UNAVAILABLE,
            "This is not possible now. Try again in a moment.".to_owned(),
        ),
        _ => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "Something broke. The control plane's log says what.".to_owned(),
        ),
    }
}

fn page_of(method: &Method, status: StatusCode, text: &str) -> Response<Body> {
    let response = page(status, text);
    if *method == Method::HEAD {
        response.map(|_| Body::empty())
    } else {
        response
    }
}

fn page(status: StatusCode, text: &str) -> Response<Body> {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><meta name=\"robots\" content=\"noindex\">\
         <title>Approval</title><style>body{{font:1rem/1.5 sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem}}\
         pre{{white-space:pre-wrap;font:inherit;font-size:1.25rem}}button{{font:inherit;padding:.5rem 1.5rem}}</style>\
         <body>{text}</body></html>\n"
    );
    let mut response = Response::new(Body::new(html));
    *response.status_mut() = status;
    for (name, value) in HEADERS {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

/// Text as HTML shows it.
fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
    }
    html
}
