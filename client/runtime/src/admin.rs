//! The small HTTP server for probes and scrapes: `/healthz`, `/readyz`, `/metrics`.
//!
//! It has no authentication: bind it to an address that only operators and probes reach. It keeps
//! answering while the process drains, so that `/readyz` can say so.

mod answer;

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::shutdown::Shutdown;

/// Connections served at once. Further ones wait in the kernel's accept queue.
const CONNECTIONS_MAX: usize = 64;

/// Longest time for a request's head to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest life of a connection, which carries one request.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes kept of a request's head; a longer one is answered 431.
const HEAD_MAX_BYTES: usize = 16 * 1024;

/// Header fields of a request; more are answered 431.
const HEADERS_MAX: usize = 64;

/// Pause after a failed accept (usually: out of file descriptors), so that it cannot spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// One named condition of readiness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Stable name, such as `synced` or `spool`.
    pub name: Cow<'static, str>,
    /// Whether the condition holds.
    pub ok: bool,
    /// For people: why not, or since when. Never a secret.
    pub detail: String,
}

impl Check {
    /// A condition that holds.
    pub fn ok(name: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ok: true,
            detail: detail.into(),
        }
    }

    /// A condition that does not hold.
    pub fn failing(name: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ok: false,
            detail: detail.into(),
        }
    }
}

/// What must hold before traffic should come.
pub trait Readiness: Send + Sync + 'static {
    /// The conditions as they are now. Called for each probe, so it answers from memory.
    fn checks(&self) -> Vec<Check>;
}

impl<F> Readiness for F
where
    F: Fn() -> Vec<Check> + Send + Sync + 'static,
{
    fn checks(&self) -> Vec<Check> {
        self()
    }
}

/// Serves until `shutdown` is forced, which every drain does at its end.
///
/// Do not run it as a task of `shutdown` ([`Shutdown::spawn`]): the drain would wait for it.
pub async fn serve(listener: TcpListener, readiness: Arc<dyn Readiness>, shutdown: Shutdown) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // Dropped at the end, which drops the connections that are left.
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.forced() => return,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &slots) => accepted,
        };
        let Some((stream, slot)) = accepted else {
            return;
        };
        let (readiness, shutdown) = (Arc::clone(&readiness), shutdown.clone());
        connections.spawn(async move {
            let _slot = slot;
            serve_connection(stream, readiness, shutdown).await;
        });
    }
}

/// A connection and its slot; `None` only when the semaphore is closed, which it never is.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, _peer)) => return Some((stream, slot)),
            Err(error) => {
                tracing::warn!(%error, "the admin endpoint cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, readiness: Arc<dyn Readiness>, shutdown: Shutdown) {
    let service = service_fn(|request| {
        let response = answer::to(&request, readiness.as_ref(), shutdown.is_stopping());
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_MAX_BYTES)
        .max_headers(HEADERS_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an admin connection broke"),
        Err(_elapsed) => tracing::debug!("an admin connection took too long"),
    }
}

#[cfg(test)]
mod tests;
