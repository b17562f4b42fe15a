//! Accepts connections and serves webhooks: HTTP/1.1 and HTTP/2, with or without TLS.

mod handler;
mod route;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use rustls::ServerConfig;
use signalbox_runtime::shutdown::Shutdown;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;

use crate::layer::StackMaker;

pub use handler::{Handler, Peer, problem_response};

/// Pause after accept failed (no more file descriptors): the listener stays, senders wait in its queue.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a TLS handshake may take.
const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// Header block of one request.
const HEADER_MAX_BYTES: usize = 64 * 1024;
/// Headers of one request.
const HEADERS_MAX: usize = 100;
/// Streams of one HTTP/2 connection.
const H2_STREAMS_MAX: u32 = 128;

/// Limits of the listener.
#[derive(Clone, Debug)]
pub struct ServerConfigLimits {
    /// Connections at once; more wait in the kernel's queue.
    pub connections_max: usize,
    /// How long a request's headers may take (slowloris), and how long an idle connection is kept.
    pub header_timeout: Duration,
}

/// Serves until the shutdown begins, then lets what is under way finish as tasks of `shutdown`.
pub async fn run(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    limits: ServerConfigLimits,
    stack: StackMaker,
    shutdown: Shutdown,
) {
    let slots = Arc::new(Semaphore::new(limits.connections_max));
    let acceptor = tls.map(TlsAcceptor::from);
    loop {
        let slot = tokio::select! {
            () = shutdown.stopping() => return,
            slot = slots.clone().acquire_owned() => slot,
        };
        let Ok(slot) = slot else { return };
        let (stream, peer) = tokio::select! {
            () = shutdown.stopping() => return,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let connection = Connection {
            peer,
            acceptor: acceptor.clone(),
            header_timeout: limits.header_timeout,
            stack: stack.clone(),
            shutdown: shutdown.clone(),
        };
        shutdown.spawn(async move {
            metrics::gauge!("signalbox_ingest_connections").increment(1);
            connection.serve(stream).await;
            metrics::gauge!("signalbox_ingest_connections").decrement(1);
            drop(slot);
        });
    }
}

struct Connection {
    peer: SocketAddr,
    acceptor: Option<TlsAcceptor>,
    header_timeout: Duration,
    stack: StackMaker,
    shutdown: Shutdown,
}

impl Connection {
    async fn serve(self, stream: TcpStream) {
        // Answers are small and final: waiting to fill a packet would only add to the sender's wait.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY cannot be set");
        }
        match &self.acceptor {
            None => self.http(stream, false).await,
            Some(acceptor) => {
                match tokio::time::timeout(TLS_TIMEOUT, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => self.http(stream, true).await,
                    Ok(Err(error)) => {
                        tracing::debug!(peer = %self.peer, %error, "TLS handshake failed")
                    }
                    Err(_) => tracing::debug!(peer = %self.peer, "TLS handshake took too long"),
                }
            }
        }
    }

    async fn http<S>(&self, stream: S, tls: bool)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let peer = Peer {
            address: self.peer.ip().to_canonical(),
            tls,
        };
        let service = TowerToHyperService::new(self.stack.for_peer(peer));
        let mut builder = auto::Builder::new(TokioExecutor::new());
        self.http1(builder.http1());
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(H2_STREAMS_MAX)
            .max_header_list_size(HEADER_MAX_BYTES as u32)
            .max_pending_accept_reset_streams(20)
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10));
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let mut stopping = false;
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(peer = %self.peer, %error, "connection ended");
                    }
                    return;
                }
                () = self.shutdown.stopping(), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = self.shutdown.forced() => return,
            }
        }
    }

    fn http1(&self, mut builder: auto::Http1Builder<'_, TokioExecutor>) {
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEADER_MAX_BYTES)
            .keep_alive(true);
    }
}

#[cfg(test)]
mod tests;
