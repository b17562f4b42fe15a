//! Whose trace a message belongs to.

use std::collections::BTreeMap;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use signalbox_sns::MessageAttribute;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::{
    node::{KEY, Node},
    sns::sign,
};

const SENDERS: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const PUBLISHERS: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn trace_id(traceparent: &str) -> &str {
    &traceparent[3..35]
}

// One thread, so that the whole node runs under this test's subscriber.
#[tokio::test(flavor = "current_thread")]
async fn a_request_goes_on_with_its_senders_trace_or_else_its_publishers() {
    let provider = SdkTracerProvider::builder().build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let _traced = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let node = Node::start().await;

    // Refused, so that the answer names the trace.
    let url = node.sns_url("orders");
    let refused = node
        .send(node.request(&url).header("traceparent", SENDERS))
        .await;
    assert_eq!(refused.json()["trace_id"], trace_id(SENDERS));
    let delivery = node.refused("key-missing").await;
    let records = node.records().await;
    let record = records
        .iter()
        .find(|record| format!("{:?}", record.record.body).contains(delivery.id.as_str()));
    let traceparent = record.unwrap().record.traceparent.clone().unwrap();
    assert_eq!(trace_id(&traceparent), trace_id(SENDERS));
    assert_ne!(traceparent, SENDERS, "a span of ours");

    let mut draft = node.origin.notification("m", "hello");
    draft.attributes = BTreeMap::from([(
        "traceparent".to_owned(),
        MessageAttribute {
            data_type: "String".to_owned(),
            value: PUBLISHERS.to_owned(),
        },
    )])
    .into();
    assert_eq!(node.deliver("orders", sign(&draft)).await.status, 200);
    draft.message_id = "n".to_owned();
    let both = node
        .delivery_of("orders", sign(&draft))
        .header("traceparent", SENDERS);
    assert_eq!(node.send(both).await.status, 200);
    assert_eq!(node.accepted().await.len(), 2, "the store has both");
    let claimed = signalbox_data_plane::spool::Spool::claim(&*node.spool, 10)
        .await
        .unwrap();
    let traces: Vec<_> = claimed
        .iter()
        .map(|claimed| trace_id(claimed.traceparent.as_deref().unwrap()))
        .collect();
    assert_eq!(traces, [trace_id(PUBLISHERS), trace_id(SENDERS)]);

    // What is no trace context is ignored.
    let request = node
        .request(&node.hook_url("hook"))
        .header("x-api-key", KEY)
        .header("traceparent", "00-zz-11-01")
        .header("content-type", "application/json")
        .body("{}");
    assert_eq!(node.send(request).await.status, 200);
}
