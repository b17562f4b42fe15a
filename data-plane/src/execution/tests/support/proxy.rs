//! A forwarding proxy: absolute-form requests (RFC 9112 §3.2.2) and tunnels (RFC 9110 §9.3.6).

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::{Method, Request, Response, body::Incoming, service::service_fn};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

/// What it was asked for: `GET http://…` or `CONNECT host:port`, and with which credentials.
pub(crate) type Asked = (String, Option<String>);

/// A forwarding proxy on a loopback port.
pub(crate) struct Proxy {
    pub(crate) addr: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: tokio::task::JoinHandle<()>,
}

/// What a proxy knows.
#[derive(Clone)]
struct Knows {
    /// Where names lead that nobody else can resolve.
    names: Arc<HashMap<&'static str, SocketAddr>>,
    /// The credentials that it wants, as their header writes them.
    wants: Option<&'static str>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Proxy {
    pub(crate) async fn start(
        names: impl IntoIterator<Item = (&'static str, SocketAddr)>,
        wants: Option<&'static str>,
        tls: Option<TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let knows = Knows {
            names: Arc::new(names.into_iter().collect()),
            wants,
            asked: Arc::default(),
        };
        let asked = knows.asked.clone();
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                let (knows, tls) = (knows.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, knows).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, knows).await;
                            }
                        }
                    }
                });
            }
        });
        Self { addr, asked, task }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, knows: Knows) {
    let service = service_fn(move |request| pass(request, knows.clone()));
    let connection = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let _ = connection.await;
}

type Answer = Response<UnsyncBoxBody<Bytes, hyper::Error>>;

fn plain(status: u16) -> Answer {
    let body = Full::new(Bytes::new()).map_err(|never| match never {});
    let answer = Response::builder().status(status);
    answer.body(body.boxed_unsync()).unwrap()
}

async fn pass(mut request: Request<Incoming>, knows: Knows) -> Result<Answer, String> {
    let credentials = request.headers_mut().remove("proxy-authorization");
    let credentials = credentials.map(|value| value.to_str().unwrap().to_owned());
    let asked = format!("{} {}", request.method(), request.uri());
    knows
        .asked
        .lock()
        .unwrap()
        .push((asked, credentials.clone()));
    if knows.wants.is_some() && credentials.as_deref() != knows.wants {
        return Ok(plain(407));
    }
    let authority = request.uri().authority().unwrap().clone();
    let target = match knows.names.get(authority.host()) {
        Some(address) => *address,
        None => authority.as_str().parse().unwrap(),
    };
    if request.method() == Method::CONNECT {
        let mut target = TcpStream::connect(target).await.unwrap();
        tokio::spawn(async move {
            let upgraded = hyper::upgrade::on(request).await.unwrap();
            let mut client = TokioIo::new(upgraded);
            let _ = tokio::io::copy_bidirectional(&mut client, &mut target).await;
        });
        return Ok(plain(200));
    }
    let path = request.uri().path_and_query().unwrap();
    *request.uri_mut() = format!("http://{target}{path}").parse().unwrap();
    let client = Client::builder(TokioExecutor::new()).build_http();
    let answer = client.request(request).await.map_err(|e| e.to_string())?;
    Ok(answer.map(|body| body.boxed_unsync()))
}
