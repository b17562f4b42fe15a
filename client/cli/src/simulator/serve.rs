//! What Amazon SNS serves: its signing certificate, ConfirmSubscription and Unsubscribe.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, oneshot},
};

use super::book::Book;

const NAMESPACE: &str = "http://sns.amazonaws.com/doc/2010-03-31/";
/// Connections at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 256;
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Until the simulator is gone.
pub(super) async fn run(listener: TcpListener, book: Arc<Book>, stopped: oneshot::Receiver<()>) {
    tokio::select! {
        // Its sender is dropped with the simulator.
        _ = stopped => {}
        () = accept(listener, book) => {}
    }
}

async fn accept(listener: TcpListener, book: Arc<Book>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(place) = places.clone().acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Such as too many open files: it passes.
                tracing::warn!(%error, "the simulator cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let book = book.clone();
        tokio::spawn(async move {
            let _place = place;
            let service = service_fn(move |request| {
                let answer = answer(&book, &request);
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the simulator ended");
            }
        });
    }
}

fn answer(book: &Book, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if request.method() != Method::GET {
        return with(StatusCode::METHOD_NOT_ALLOWED, "");
    }
    if request.uri().path() == book.certificate_path {
        return with(StatusCode::OK, &book.certificate_pem);
    }
    let query = request.uri().query().unwrap_or_default();
    let parameter = |wanted: &str| {
        url::form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.into_owned())
            .unwrap_or_default()
    };
    match (request.uri().path(), parameter("Action").as_str()) {
        ("/", "ConfirmSubscription") => match book.confirm(&parameter("Token")) {
            Some(arn) => {
                let result = format!("<SubscriptionArn>{arn}</SubscriptionArn>");
                with(StatusCode::OK, &response("ConfirmSubscription", &result))
            }
            None => with(StatusCode::BAD_REQUEST, &refusal("Invalid token")),
        },
        // Unauthenticated, as at Amazon SNS: whoever has the URL may.
        ("/", "Unsubscribe") => match book.remove(&parameter("SubscriptionArn")) {
            Some(_) => with(StatusCode::OK, &response("Unsubscribe", "")),
            None => with(
                StatusCode::NOT_FOUND,
                &refusal("Subscription does not exist"),
            ),
        },
        _ => with(StatusCode::NOT_FOUND, ""),
    }
}

fn response(action: &str, result: &str) -> String {
    let id = uuid::Uuid::new_v4();
    format!(
        "<{action}Response xmlns=\"{NAMESPACE}\"><{action}Result>{result}</{action}Result><ResponseMetadata>\
         <RequestId>{id}</RequestId></ResponseMetadata></{action}Response>"
    )
}

fn refusal(message: &str) -> String {
    let id = uuid::Uuid::new_v4();
    format!(
        "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>Sender</Type><Code>InvalidParameter</Code>\
         <Message>{message}</Message></Error><RequestId>{id}</RequestId></ErrorResponse>"
    )
}

fn with(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    *response.status_mut() = status;
    response
}
