//! Connections with TLS: handshakes go on beside each other, so that a slow one holds up no other.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::ServerConfig;
use signalbox_runtime::shutdown::Shutdown;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Handshakes at once; more wait in the kernel's queue.
const HANDSHAKES_MAX: usize = 1024;
/// Pause after accept failed (no more file descriptors): the listener stays, callers wait in its queue.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

type Opened = io::Result<TlsStream<TcpStream>>;

/// The connections whose handshakes succeed, until the shutdown begins.
pub(super) fn incoming(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    shutdown: &Shutdown,
) -> ReceiverStream<Opened> {
    let (opened, incoming) = mpsc::channel(1);
    let acceptor = TlsAcceptor::from(tls);
    let stopping = shutdown.clone();
    shutdown.spawn(async move {
        tokio::select! {
            () = stopping.stopping() => {}
            () = opened.closed() => {}
            () = accept(&listener, &acceptor, &opened) => {}
        }
    });
    ReceiverStream::new(incoming)
}

async fn accept(listener: &TcpListener, acceptor: &TlsAcceptor, opened: &mpsc::Sender<Opened>) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    // It is closed by nobody.
    while let Ok(permit) = handshakes.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let (acceptor, opened) = (acceptor.clone(), opened.clone());
                tokio::spawn(handshake(permit, acceptor, (stream, peer), opened));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn handshake(
    permit: OwnedSemaphorePermit,
    acceptor: TlsAcceptor,
    (stream, peer): (TcpStream, SocketAddr),
    opened: mpsc::Sender<Opened>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY cannot be set");
    }
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            drop(permit);
            // Nobody takes it any more: the shutdown has begun.
            let _ = opened.send(Ok(stream)).await;
        }
        Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
        Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
    }
}
