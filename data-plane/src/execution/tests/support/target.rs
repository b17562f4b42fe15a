//! A server to call, with faults.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response,
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpListener, sync::watch};
use tokio_rustls::TlsAcceptor;

use super::PATIENCE;

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) path: String,
    headers: http::HeaderMap,
    pub(crate) bytes: Bytes,
    /// The same as text.
    pub(crate) body: String,
}

impl Call {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap().to_str().unwrap()
    }

    pub(crate) fn has(&self, header: &str) -> bool {
        self.headers.contains_key(header)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap()
    }
}

/// What a request meets.
pub(crate) enum Reply {
    Whole(u16, Vec<(&'static str, String)>, Bytes),
    /// A 200 in chunks, of so many bytes.
    Chunks(usize),
    /// A 200 whose body comes byte by byte and never ends.
    Drip,
    /// Later.
    After(Duration, u16),
    /// Not at all.
    Never,
    /// The connection breaks.
    Break,
}

impl Reply {
    pub(crate) fn text(status: u16, body: &str) -> Self {
        Self::Whole(status, Vec::new(), body.to_owned().into())
    }

    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::text(status, &body.to_string())
    }

    pub(crate) fn redirect(status: u16, to: impl ToString) -> Self {
        let location = vec![("location", to.to_string())];
        Self::Whole(status, location, Bytes::new())
    }
}

#[derive(Default)]
struct Seen {
    calls: Vec<Call>,
    now: usize,
    most: usize,
}

type Handler = dyn Fn(&Call) -> Reply + Send + Sync;

/// A server on a loopback port.
pub(crate) struct Target {
    pub(crate) addr: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    count: watch::Receiver<usize>,
    task: tokio::task::JoinHandle<()>,
}

impl Target {
    pub(crate) async fn start(reply: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> Self {
        Self::serve("127.0.0.1", None, reply).await
    }

    /// The same at another loopback address, or with TLS.
    pub(crate) async fn serve(
        host: &str,
        tls: Option<TlsAcceptor>,
        reply: impl Fn(&Call) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((host, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (counter, count) = watch::channel(0);
        let reply: Arc<Handler> = Arc::new(reply);
        let (log, counter) = (seen.clone(), Arc::new(counter));
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                let (reply, log, counter) = (reply.clone(), log.clone(), counter.clone());
                let service = service_fn(move |request| {
                    answer(request, reply.clone(), log.clone(), counter.clone())
                });
                let tls = tls.clone();
                tokio::spawn(async move {
                    let http = hyper::server::conn::http1::Builder::new();
                    // A client that breaks off is what some tests are about.
                    let _ = match tls {
                        None => http.serve_connection(TokioIo::new(stream), service).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => {
                                http.serve_connection(TokioIo::new(stream), service).await
                            }
                            Err(_) => Ok(()),
                        },
                    };
                });
            }
        });
        Self {
            addr,
            seen,
            count,
            task,
        }
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.seen.lock().unwrap().calls.clone()
    }

    pub(crate) fn most_at_once(&self) -> usize {
        self.seen.lock().unwrap().most
    }

    /// Waits until so many requests have come.
    pub(crate) async fn called(&self, times: usize) {
        let mut count = self.count.clone();
        let wait = count.wait_for(|count| *count >= times);
        tokio::time::timeout(PATIENCE, wait).await.unwrap().unwrap();
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Counts a request for as long as it is answered.
struct Here(Arc<Mutex<Seen>>);

impl Drop for Here {
    fn drop(&mut self) {
        self.0.lock().unwrap().now -= 1;
    }
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

async fn answer(
    request: Request<Incoming>,
    reply: Arc<Handler>,
    log: Arc<Mutex<Seen>>,
    counter: Arc<watch::Sender<usize>>,
) -> Result<Answer, &'static str> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| "cut")?.to_bytes();
    let call = Call {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        headers: parts.headers,
        body: String::from_utf8_lossy(&body).into_owned(),
        bytes: body,
    };
    {
        let mut seen = log.lock().unwrap();
        seen.calls.push(call.clone());
        seen.now += 1;
        seen.most = seen.most.max(seen.now);
    }
    let _here = Here(log.clone());
    counter.send_modify(|count| *count += 1);
    let pieces = |pieces: Vec<Bytes>| stream::iter(pieces).boxed();
    let (status, body) = match reply(&call) {
        Reply::Whole(status, headers, body) => {
            let mut answer = Response::builder().status(status);
            for (name, value) in headers {
                answer = answer.header(name, value);
            }
            let answer = answer.header("content-length", body.len());
            let body = http_body_util::Full::new(body).boxed_unsync();
            return Ok(answer.body(body).unwrap());
        }
        Reply::Chunks(size) => (
            200,
            pieces(vec![Bytes::from(vec![b'x'; 64 * 1024]); size / 65536 + 1]),
        ),
        Reply::Drip => {
            let ticks = tokio::time::interval(Duration::from_millis(10));
            let drip = stream::unfold(ticks, |mut ticks| async {
                ticks.tick().await;
                Some((Bytes::from_static(b"x"), ticks))
            });
            (200, drip.boxed())
        }
        Reply::After(time, status) => {
            tokio::time::sleep(time).await;
            (status, pieces(Vec::new()))
        }
        Reply::Never => std::future::pending().await,
        Reply::Break => return Err("broken on purpose"),
    };
    let body = StreamBody::new(body.map(|piece| Ok(Frame::data(piece))));
    Ok(Response::builder()
        .status(status)
        .body(body.boxed_unsync())
        .unwrap())
}
