//! One connection: its handshake, its requests, its end.

use std::{convert::Infallible, net::IpAddr, pin::pin, sync::Arc, time::Duration};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use signalbox_runtime::shutdown::Shutdown;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::either::Either;

use super::{Peer, Proxies, ServerConfigLimits, count_cut, proxy_protocol, slots::Slot};
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

/// What an ACME server checks by (RFC 8737).
const ACME_PROTOCOL: &[u8] = b"acme-tls/1";
/// How long an idle connection that must make room may take to say good-bye.
const EVICTED_TIMEOUT: Duration = Duration::from_millis(20);

pub(super) struct Connection {
    /// The socket's other end.
    pub(super) peer: IpAddr,
    /// Whether that is a load balancer that begins with a PROXY header.
    pub(super) proxied: bool,
    pub(super) acceptor: Option<TlsAcceptor>,
    pub(super) limits: ServerConfigLimits,
    pub(super) proxies: Arc<Proxies>,
    pub(super) stack: StackMaker,
    pub(super) shutdown: Shutdown,
    pub(super) slot: Slot,
}

type Opened = Either<TcpStream, Box<TlsStream<TcpStream>>>;

impl Connection {
    pub(super) async fn serve(self, stream: TcpStream) {
        // Answers are small and final: waiting to fill a packet would only add to the sender's wait.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY cannot be set");
        }
        let serving = async {
            let opened = tokio::select! {
                biased;
                () = self.slot.activity().evicted() => return count_cut("slots"),
                opened = self.open(stream) => opened,
            };
            if let Some((source, stream)) = opened {
                self.http(source, stream).await;
            }
        };
        let mut forced = watched([self.shutdown.forced().boxed()]);
        tokio::select! {
            biased;
            _ = forced.next() => {}
            () = serving => {}
        }
    }

    /// What comes before HTTP: whose connection it is, and TLS.
    async fn open(&self, mut stream: TcpStream) -> Option<(IpAddr, Opened)> {
        let mut source = self.peer;
        if self.proxied {
            let reading = proxy_protocol::read(&mut stream);
            match tokio::time::timeout(proxy_protocol::TIMEOUT, reading).await {
                Ok(Ok(named)) => source = named.unwrap_or(source),
                Ok(Err(error)) => {
                    count_cut("proxy-header");
                    tracing::debug!(peer = %self.peer, %error, "no PROXY header");
                    return None;
                }
                Err(_) => {
                    count_cut("proxy-header");
                    tracing::debug!(peer = %self.peer, "the PROXY header took too long");
                    return None;
                }
            }
        }
        let Some(acceptor) = &self.acceptor else {
            return Some((source, Either::Left(stream)));
        };
        let mut stream = match tokio::time::timeout(TLS_TIMEOUT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => Box::new(stream),
            Ok(Err(error)) => {
                tracing::debug!(peer = %self.peer, %error, "TLS handshake failed");
                return None;
            }
            Err(_) => {
                tracing::debug!(peer = %self.peer, "TLS handshake took too long");
                return None;
            }
        };
        if stream.get_ref().1.alpn_protocol() == Some(ACME_PROTOCOL) {
            // The handshake was the answer (RFC 8737 §3); nothing may be served on this connection.
            let _ended = tokio::time::timeout(TLS_TIMEOUT, stream.shutdown()).await;
            return None;
        }
        Some((source, Either::Right(stream)))
    }

    async fn http(&self, source: IpAddr, stream: Opened) {
        let peer = Peer {
            address: source,
            is_clear: true,
            network: self.peer,
            tls: matches!(stream, Either::Right(_)),
        };
        let activity = self.slot.activity();
        let stack = self.stack.for_peer(peer, self.proxies.clone());
        let service = service_fn(|request: Request<Incoming>| {
            let (busy, answer) = (activity.begin(), stack.answer(request));
            async move {
                let answer = answer.await;
                drop(busy);
                Ok::<_, Infallible>(answer)
            }
        });
        let builder = self.builder();
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        // Why it should end though its peer would go on, and whether that is because it must make room.
        let idle = activity.idle(self.limits.idle_timeout);
        let mut reasons = watched([
            self.shutdown.stopping().map(|()| false).boxed(),
            idle.map(|()| false).boxed(),
            activity.evicted().map(|()| true).boxed(),
        ]);
        let evicted = tokio::select! {
            biased;
            ended = connection.as_mut() => return self.note(ended),
            evicted = reasons.next() => evicted == Some(true),
        };
        connection.as_mut().graceful_shutdown();
        if evicted {
            count_cut("slots");
            match tokio::time::timeout(EVICTED_TIMEOUT, connection.as_mut()).await {
                Ok(ended) => return self.note(ended),
                // No request began in the meantime, and a slow head waits for no one.
                Err(_) if activity.quiet().is_some() => return,
                Err(_) => {}
            }
        }
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

/// What rarely happens, to be waited for beside what often does: each is looked at when it has something to say, and not
/// whenever a request has.
fn watched<'a, T>(
    events: impl IntoIterator<Item = BoxFuture<'a, T>>,
) -> FuturesUnordered<BoxFuture<'a, T>> {
    FuturesUnordered::from_iter(events)
}
