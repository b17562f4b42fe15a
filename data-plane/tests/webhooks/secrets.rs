//! No key and no token in any log, answer, record or metric.

use std::{
    io,
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use signalbox_model::record::SubscriptionState;
use signalbox_sns::MessageType;
use tracing_subscriber::fmt::MakeWriter;

use crate::{
    node::{KEY, Node, OTHER_KEY, REVOKED_KEY, eventually},
    sns::{ORDERS, Scripted, TOKEN, confirmation_of, sign},
};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

// One thread, so that everything but the spool's writer logs into this test's subscriber.
#[tokio::test(flavor = "current_thread")]
async fn no_key_and_no_token_is_shown_anywhere() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
        .with_writer(log.clone())
        .finish();
    let _logged = tracing::subscriber::set_default(subscriber);
    signalbox_runtime::metrics::install().unwrap();

    let node = Node::start().await;
    node.origin.answer(
        "/",
        [
            Scripted::new(500, "no"),
            Scripted::new(200, confirmation_of(ORDERS)),
        ],
    );
    let confirmer = node.confirm();
    let orders = node.sns_url("orders");
    let body = || sign(&node.origin.notification("m", "hello")).body;
    let mut answers = Vec::new();
    for request in [
        node.request(&format!("{orders}?x-api-key={KEY}"))
            .body(body()),
        node.request(&orders).header("x-api-key", KEY).body(body()),
        node.request(&orders)
            .basic_auth("u", Some(KEY))
            .body(body()),
        node.request(&format!("{orders}?x-api-key={KEY}"))
            .header("x-api-key", OTHER_KEY),
        node.request(&format!("{orders}?x-api-key={REVOKED_KEY}")),
        node.request(&format!("{orders}?x-api-key={KEY}&x-api-key={KEY}")),
        node.request(&format!("{orders}?x-api-key={KEY}")).body("{"),
        // Misplaced.
        node.request(&format!("{orders}/{KEY}")),
        node.request(&node.url(&format!("/v1/projects/default/workflows/{KEY}/sns"))),
        node.request(&orders)
            .header("authorization", format!("Bearer {KEY}")),
    ] {
        answers.push(format!("{:?}", node.send(request).await));
    }
    let confirmation =
        node.origin
            .confirmation(MessageType::SubscriptionConfirmation, ORDERS, TOKEN);
    answers.push(format!(
        "{:?}",
        node.deliver("orders", sign(&confirmation)).await
    ));
    eventually("the confirmation", || async {
        let last = node.subscription_changes().await.pop()?;
        (last.state == SubscriptionState::Confirmed).then_some(())
    })
    .await;
    confirmer.stop();

    let log = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(
        log.contains("signature") || log.contains("subscription confirmed"),
        "something is logged"
    );
    let records = format!("{:?}", node.records().await);
    let metrics = signalbox_runtime::metrics::render();
    assert!(
        metrics.contains("signalbox_ingest_requests_total"),
        "{metrics}"
    );
    let basic = STANDARD.encode(format!("u:{KEY}"));
    for secret in [KEY, OTHER_KEY, REVOKED_KEY, TOKEN, &basic] {
        for (place, text) in [
            ("log", &log),
            ("answer", &answers.join("\n")),
            ("record", &records),
            ("metric", &metrics),
        ] {
            if let Some(at) = text.find(secret) {
                let from = text[..at].rfind('\n').unwrap_or(0);
                panic!(
                    "{secret} stands in a {place}: {}",
                    &text[from..at + secret.len()]
                );
            }
        }
    }
}
