//! A service that `http` steps call: it answers as told and keeps what it was sent.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderValue, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Its headers, names in lower case.
    pub headers: HashMap<String, String>,
    /// Its body.
    pub body: Bytes,
}

/// What a request is answered.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Status.
    pub status: u16,
    /// Headers; `content-type: application/json` unless it is among them.
    pub headers: Vec<(&'static str, &'static str)>,
    /// Body.
    pub body: Bytes,
}

impl Reply {
    /// JSON.
    #[must_use]
    pub fn json(status: u16, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }
}

/// A running service.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where it listens.
    pub addr: SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Target {
    /// Answers each request with the status that `status` says for it and its number, from 0.
    pub async fn start(status: impl Fn(usize, &Call) -> u16 + Send + Sync + 'static) -> Self {
        let ok = Bytes::from_static(b"{\"ok\":true}");
        Self::answering(move |number, call| Reply::json(status(number, call), ok.clone())).await
    }

    /// Answers each request with 200 and what it was: JSON of its target, its headers and its body.
    pub async fn echoing() -> Self {
        Self::answering(|_, call| {
            let body = String::from_utf8_lossy(&call.body);
            let echo = serde_json::json!({
                "target": call.target,
                "headers": call.headers,
                "body": body,
            });
            Reply::json(200, echo.to_string())
        })
        .await
    }

    /// Answers each request with what `answer_with` says for it and its number, from 0.
    pub async fn answering(
        answer_with: impl Fn(usize, &Call) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let calls = Arc::new(Mutex::new(Vec::new()));
        let answer_with = Arc::new(answer_with);
        let kept = calls.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer_with, kept) = (answer_with.clone(), kept.clone());
                let service =
                    service_fn(move |request| answer(request, answer_with.clone(), kept.clone()));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { addr, calls }
    }

    /// What it was sent so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }
}

async fn answer(
    request: Request<Incoming>,
    answer_with: Arc<impl Fn(usize, &Call) -> Reply>,
    calls: Arc<Mutex<Vec<Call>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let method = request.method().to_string();
    let target = request.uri().to_string();
    let headers = request
        .headers()
        .iter()
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.to_string(), value)
        })
        .collect();
    let body = match request.into_body().collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => Bytes::new(),
    };
    let call = Call {
        method,
        target,
        headers,
        body,
    };
    let reply = {
        let mut calls = calls.lock().unwrap();
        let reply = answer_with(calls.len(), &call);
        calls.push(call);
        reply
    };
    let mut response = Response::new(Full::new(reply.body));
    *response.status_mut() = reply.status.try_into().unwrap();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in reply.headers {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}
