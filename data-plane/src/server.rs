//! Accepts connections and serves webhooks: HTTP/1.1 and HTTP/2, with or without TLS, directly or behind load balancers.

mod activity;
mod bodies;
mod connection;
mod counted;
mod forwarded;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod handler;
mod proxy_protocol;
mod route;
mod slots;
mod trace;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::HeaderMap;
use rustls::ServerConfig;
use signalbox_runtime::shutdown::Shutdown;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::OwnedSemaphorePermit,
};
use tokio_rustls::TlsAcceptor;

use crate::layer::StackMaker;

pub use bodies::{Bodies, BodyLimits};
use connection::Connection;
pub use counted::RequestMetrics;
pub use forwarded::{ForwardedHeader, Networks};
pub use handler::{Handler, Peer, problem_response};
use slots::Slots;

/// Pause after accept failed (no more file descriptors): the listener stays, senders wait in its queue.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Limits of the listener.
#[derive(Clone, Debug)]
pub struct ServerConfigLimits {
    /// Connections at once. Beyond, the longest idle ones make room; while there are none, new ones wait in the kernel's
    /// queue, whose length bounds them.
    pub connections_max: usize,
    /// Connections at once of one address, or /64 of IPv6, that is no proxy's; more are closed.
    pub connections_per_address_max: usize,
    /// How long a request's headers may take (slowloris), and how long an HTTP/1.1 connection may wait for its next.
    pub header_timeout: Duration,
    /// How long an HTTP/2 connection may be without a request, and any connection without its first.
    pub idle_timeout: Duration,
    /// How long a connection may take to end once it should.
    pub end_timeout: Duration,
}

/// Who may stand between the listener and its senders.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// Connections from here must begin with a PROXY header; from elsewhere none is read.
    pub proxy_protocol: Networks,
    /// What requests from here say of whom they are forwarded for is believed.
    pub trusted: Networks,
    /// In this header.
    pub header: ForwardedHeader,
}

impl Proxies {
    /// The sender of a request with these headers that came from `peer`.
    #[must_use]
    pub fn sender(&self, peer: Peer, headers: &HeaderMap) -> Peer {
        forwarded::sender(&self.trusted, self.header, peer, headers)
    }
}

/// Serves until the shutdown begins, then takes no more connections and lets what is under way finish as tasks of
/// `shutdown`.
pub async fn run(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    limits: ServerConfigLimits,
    proxies: Proxies,
    stack: StackMaker,
    shutdown: Shutdown,
) {
    let slots = Slots::new(limits.connections_max, limits.connections_per_address_max);
    let acceptor = tls.map(TlsAcceptor::from);
    let proxies = Arc::new(proxies);
    loop {
        let (stream, peer, permit) = tokio::select! {
            biased;
            () = shutdown.stopping() => return,
            accepted = accept(&listener, &slots) => match accepted {
                Some(accepted) => accepted,
                None => return,
            },
        };
        let address = peer.ip().to_canonical();
        let proxied = proxies.proxy_protocol.contain(address);
        let counted = !proxied && !proxies.trusted.contain(address);
        let Some(slot) = slots.enter(permit, address, counted) else {
            count_cut("address-limit");
            tracing::debug!(%peer, "too many connections from this address");
            continue;
        };
        let connection = Connection {
            peer: address,
            proxied,
            acceptor: acceptor.clone(),
            limits: limits.clone(),
            proxies: proxies.clone(),
            stack: stack.clone(),
            shutdown: shutdown.clone(),
            slot,
        };
        shutdown.spawn(connection.serve(stream));
    }
}

/// A connection and its slot; [`None`] only when there will never be one.
async fn accept(
    listener: &TcpListener,
    slots: &Slots,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = slots.free().await?;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return Some((stream, peer, permit)),
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                // File descriptors may run out before slots do.
                slots.make_room();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Counts a connection that was ended for what it, or all together, asked too much of.
fn count_cut(reason: &'static str) {
    metrics::counter!("signalbox_ingest_connections_cut_total", "reason" => reason).increment(1);
}
