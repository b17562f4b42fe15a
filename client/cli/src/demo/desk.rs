//! The service that the demo's workflow calls: it opens incidents, and counts how often it was asked to.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use bytes::Bytes;
use http::{Response, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use signalbox_runtime::{net, shutdown::Shutdown};

use crate::CliError;

/// The running service.
pub(super) struct Desk {
    pub(super) url: String,
    opened: Arc<AtomicU32>,
}

impl Desk {
    /// Serves on the loopback until `shutdown`.
    pub(super) async fn start(address: SocketAddr, shutdown: &Shutdown) -> Result<Self, CliError> {
        let listener = net::bind(address, "the demo's own service")
            .await
            .map_err(CliError::start)?;
        let url = format!("http://{}", listener.local_addr()?);
        let opened = Arc::new(AtomicU32::new(0));
        let (counter, scope) = (opened.clone(), shutdown.clone());
        shutdown.spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = scope.stopping() => return,
                    accepted = listener.accept() => accepted,
                };
                let Ok((stream, _)) = accepted else { return };
                let (counter, forced) = (counter.clone(), scope.clone());
                scope.spawn(async move {
                    let service = service_fn(move |_| {
                        let answer = open_incident(&counter);
                        async move { Ok::<_, Infallible>(answer) }
                    });
                    let connection =
                        http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                    tokio::select! {
                        () = forced.stopping() => {}
                        _ = connection => {}
                    }
                });
            }
        });
        Ok(Self { url, opened })
    }

    /// How often it was called.
    pub(super) fn opened(&self) -> u32 {
        self.opened.load(Ordering::Relaxed)
    }
}

fn open_incident(counter: &AtomicU32) -> Response<Full<Bytes>> {
    let number = counter.fetch_add(1, Ordering::Relaxed) + 1;
    let body = format!("{{\"incident\": \"INC-{number}\"}}");
    let mut response = Response::new(Full::new(Bytes::from(body)));
    response.headers_mut().insert(
        CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    response
}
