//! A service that `http` steps call: it answers as told and keeps what it was sent.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Call {
    /// Path and query.
    pub target: String,
    /// Its headers, names in lower case.
    pub headers: HashMap<String, String>,
    /// Its body.
    pub body: Bytes,
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
        Self::answering(move |number, call| (status(number, call), ok.clone())).await
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
            (200, echo.to_string().into())
        })
        .await
    }

    /// Answers each request with the status and the JSON that `answer_with` says for it and its number, from 0.
    pub async fn answering(
        answer_with: impl Fn(usize, &Call) -> (u16, Bytes) + Send + Sync + 'static,
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
    answer_with: Arc<impl Fn(usize, &Call) -> (u16, Bytes)>,
    calls: Arc<Mutex<Vec<Call>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
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
        target,
        headers,
        body,
    };
    let (status, body) = {
        let mut calls = calls.lock().unwrap();
        let answer = answer_with(calls.len(), &call);
        calls.push(call);
        answer
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status.try_into().unwrap();
    response.headers_mut().insert(
        "content-type",
        http::HeaderValue::from_static("application/json"),
    );
    Ok(response)
}
