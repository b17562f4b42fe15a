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

use super::PATIENCE;

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) path: String,
    headers: http::HeaderMap,
    pub(crate) body: String,
}

impl Call {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap().to_str().unwrap()
    }
}

/// What a request meets.
pub(crate) enum Reply {
    Whole(u16, String),
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
        Self::Whole(status, body.to_owned())
    }

    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::Whole(status, body.to_string())
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
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
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
                tokio::spawn(async move {
                    let connection = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service);
                    let _ = connection.await;
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
        path: parts.uri.path().to_owned(),
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
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
        Reply::Whole(status, text) => {
            let length = text.len();
            let body = http_body_util::Full::new(Bytes::from(text)).boxed_unsync();
            return Ok(Response::builder()
                .status(status)
                .header("content-length", length)
                .body(body)
                .unwrap());
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
