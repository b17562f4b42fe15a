//! What Amazon SNS serves: its signing certificate, and ConfirmSubscription.

use std::{convert::Infallible, sync::Weak};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use signalbox_sns::SubscriptionArn;
use tokio::net::TcpListener;

use super::State;

/// Until the simulator is gone.
pub(super) async fn run(listener: TcpListener, state: Weak<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        if state.strong_count() == 0 {
            return;
        }
        let state = state.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answer = answer(&state, &request);
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the simulator ended");
            }
        });
    }
}

fn answer(state: &Weak<State>, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let Some(state) = state.upgrade() else {
        return with(StatusCode::SERVICE_UNAVAILABLE, String::new());
    };
    if request.uri().path() == state.certificate_path {
        return with(StatusCode::OK, state.certificate_pem.clone());
    }
    let query = request.uri().query().unwrap_or_default();
    let parameter = |wanted: &str| {
        url::form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.into_owned())
    };
    if request.uri().path() != "/" || parameter("Action").as_deref() != Some("ConfirmSubscription")
    {
        return with(StatusCode::NOT_FOUND, String::new());
    }
    let token = parameter("Token").unwrap_or_default();
    let topic = state
        .tokens
        .lock()
        .ok()
        .and_then(|tokens| tokens.get(&token).cloned());
    // At Amazon SNS the token alone decides.
    let Some(topic) = topic else {
        let error = "<ErrorResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><Error><Type>Sender</Type>\
                     <Code>InvalidParameter</Code><Message>Invalid token</Message></Error></ErrorResponse>";
        return with(StatusCode::BAD_REQUEST, error.to_owned());
    };
    let arn = format!("{topic}:{}", uuid::Uuid::new_v4());
    let Ok(parsed) = SubscriptionArn::parse(&arn) else {
        return with(StatusCode::INTERNAL_SERVER_ERROR, String::new());
    };
    state.confirmed.send_modify(|confirmed| {
        confirmed.insert(topic.as_str().to_owned(), parsed);
    });
    let body = format!(
        "<ConfirmSubscriptionResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><ConfirmSubscriptionResult>\
         <SubscriptionArn>{arn}</SubscriptionArn></ConfirmSubscriptionResult><ResponseMetadata><RequestId>{}</RequestId>\
         </ResponseMetadata></ConfirmSubscriptionResponse>",
        uuid::Uuid::new_v4()
    );
    with(StatusCode::OK, body)
}

fn with(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
}
