//! One connection: its handshake, its requests, its end.

use std::{
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use signalbox_runtime::shutdown::Shutdown;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::Instant,
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use super::{Peer, ServerConfigLimits};
use crate::layer::StackMaker;

/// How long a TLS handshake may take.
const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// Header block of one request; a longer one is answered 431.
const HEADER_MAX_BYTES: u32 = 64 * 1024;
/// Headers of one request; more are answered 431.
const HEADERS_MAX: usize = 100;
/// Streams of one HTTP/2 connection.
const H2_STREAMS_MAX: u32 = 128;
/// Streams that a peer opened and reset before they were looked at; more end the connection (CVE-2023-44487).
const H2_PENDING_RESETS_MAX: usize = 20;
/// A peer that is gone without a word is noticed within the sum of both.
const H2_PING_INTERVAL: Duration = Duration::from_secs(20);
const H2_PING_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct Connection {
    pub(super) peer: SocketAddr,
    pub(super) acceptor: Option<TlsAcceptor>,
    pub(super) limits: ServerConfigLimits,
    pub(super) stack: StackMaker,
    pub(super) shutdown: Shutdown,
    pub(super) _slot: OwnedSemaphorePermit,
}

impl Connection {
    pub(super) async fn serve(self, stream: TcpStream) {
        let _counted = Counted::begin();
        // Answers are small and final: waiting to fill a packet would only add to the sender's wait.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY cannot be set");
        }
        let forced = self.shutdown.force_token();
        forced.run_until_cancelled(self.secured(stream)).await;
    }

    async fn secured(&self, stream: TcpStream) {
        let Some(acceptor) = &self.acceptor else {
            return self.http(stream, false).await;
        };
        match tokio::time::timeout(TLS_TIMEOUT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => self.http(stream, true).await,
            Ok(Err(error)) => tracing::debug!(peer = %self.peer, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(peer = %self.peer, "TLS handshake took too long"),
        }
    }

    async fn http<S>(&self, stream: S, tls: bool)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stack = self.stack.for_peer(Peer {
            address: self.peer.ip().to_canonical(),
            tls,
        });
        let activity = Arc::new(Activity::new());
        let service = service_fn(|request: Request<Incoming>| {
            let (busy, answer) = (activity.begin(), stack.clone().oneshot(request));
            async move {
                let answer = answer.await;
                drop(busy);
                answer
            }
        });
        let builder = self.builder();
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            ended = connection.as_mut() => return self.note(ended),
            () = self.shutdown.stopping() => {}
            () = activity.idle(self.limits.idle_timeout) => {}
        }
        connection.as_mut().graceful_shutdown();
        match tokio::time::timeout(self.limits.end_timeout, connection).await {
            Ok(ended) => self.note(ended),
            Err(_) => tracing::debug!(peer = %self.peer, "connection cut"),
        }
    }

    fn note(&self, ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
        if let Err(error) = ended {
            tracing::debug!(peer = %self.peer, %error, "connection ended");
        }
    }

    fn builder(&self) -> auto::Builder<TokioExecutor> {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_timeout)
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEADER_MAX_BYTES as usize);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(H2_STREAMS_MAX)
            .max_header_list_size(HEADER_MAX_BYTES)
            .max_pending_accept_reset_streams(H2_PENDING_RESETS_MAX)
            .keep_alive_interval(H2_PING_INTERVAL)
            .keep_alive_timeout(H2_PING_TIMEOUT);
        builder
    }
}

/// Counts a connection while it lives.
struct Counted;

impl Counted {
    fn begin() -> Self {
        metrics::gauge!("signalbox_ingest_connections").increment(1);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!("signalbox_ingest_connections").decrement(1);
    }
}

/// When a connection last had a request. The HTTP library bounds the time of a head, but neither the silence before the
/// first byte (it waits to see which protocol it is) nor an HTTP/2 connection without streams.
struct Activity {
    since: Instant,
    requests: AtomicUsize,
    last_ms: AtomicU64,
}

impl Activity {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            requests: AtomicUsize::new(0),
            last_ms: AtomicU64::new(0),
        }
    }

    fn begin(self: &Arc<Self>) -> Busy {
        self.requests.fetch_add(1, Ordering::AcqRel);
        Busy(Arc::clone(self))
    }

    /// Completes when there was no request for `limit`.
    async fn idle(&self, limit: Duration) {
        loop {
            let busy = self.requests.load(Ordering::Acquire) > 0;
            let last = Duration::from_millis(self.last_ms.load(Ordering::Acquire));
            let quiet = self.since.elapsed().saturating_sub(last);
            if !busy && quiet >= limit {
                return;
            }
            let left = if busy { limit } else { limit - quiet };
            tokio::time::sleep(left.max(Duration::from_millis(10))).await;
        }
    }
}

/// A request under way.
struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        let now_ms = u64::try_from(self.0.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last_ms.fetch_max(now_ms, Ordering::AcqRel);
        self.0.requests.fetch_sub(1, Ordering::AcqRel);
    }
}
