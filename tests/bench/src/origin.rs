//! What stands around a node: an SNS that serves its signing certificate, a service that answers, and one that never does.

use std::convert::Infallible;

use anyhow::Result;
use bytes::Bytes;
use http::{HeaderValue, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::corpus::CERTIFICATE_PATH;

/// Serves `certificate` until the process ends; gives the origin.
pub(crate) async fn serve(certificate: String) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let pem = Bytes::from(certificate);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let pem = pem.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let found = request.uri().path() == CERTIFICATE_PATH;
                let mut response =
                    Response::new(Full::new(if found { pem.clone() } else { Bytes::new() }));
                if !found {
                    *response.status_mut() = StatusCode::NOT_FOUND;
                }
                async move { Ok::<_, Infallible>(response) }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    Ok(url)
}

/// Answers every request with 200 and `{"ok":true}`; gives its URL.
pub(crate) async fn service() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(|request: Request<Incoming>| async move {
                request.into_body().collect().await?;
                let body = Full::new(Bytes::from_static(b"{\"ok\":true}"));
                let mut response = Response::new(body);
                let json = HeaderValue::from_static("application/json");
                response.headers_mut().insert(CONTENT_TYPE, json);
                Ok::<_, hyper::Error>(response)
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    Ok(url)
}

/// Takes connections and says nothing; gives its URL.
pub(crate) async fn silence() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            kept.push(stream);
        }
    });
    Ok(url)
}
