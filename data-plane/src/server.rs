//! Accepts connections and serves webhooks: HTTP/1.1 and HTTP/2, with or without TLS.

mod connection;
mod counted;
mod handler;
mod route;
mod trace;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rustls::ServerConfig;
use signalbox_runtime::shutdown::Shutdown;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_rustls::TlsAcceptor;

use crate::layer::StackMaker;

use connection::Connection;
pub use counted::RequestMetrics;
pub use handler::{Handler, Peer, problem_response};

/// Pause after accept failed (no more file descriptors): the listener stays, senders wait in its queue.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Limits of the listener.
#[derive(Clone, Debug)]
pub struct ServerConfigLimits {
    /// Connections at once; more wait in the kernel's queue, whose length bounds them.
    pub connections_max: usize,
    /// How long a request's headers may take (slowloris), and how long an HTTP/1.1 connection may wait for its next.
    pub header_timeout: Duration,
    /// How long an HTTP/2 connection may be without a request, and any connection without its first.
    pub idle_timeout: Duration,
    /// How long a connection may take to end once it should.
    pub end_timeout: Duration,
}

/// Serves until the shutdown begins, then takes no more connections and lets what is under way finish as tasks of
/// `shutdown`.
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
        let (stream, peer, slot) = tokio::select! {
            biased;
            () = shutdown.stopping() => return,
            accepted = accept(&listener, &slots) => match accepted {
                Some(accepted) => accepted,
                None => return,
            },
        };
        let connection = Connection {
            peer,
            acceptor: acceptor.clone(),
            limits: limits.clone(),
            stack: stack.clone(),
            shutdown: shutdown.clone(),
            _slot: slot,
        };
        shutdown.spawn(connection.serve(stream));
    }
}

/// A connection and its slot; [`None`] only when the semaphore is closed, which it never is.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let slot = slots.clone().acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return Some((stream, peer, slot)),
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
