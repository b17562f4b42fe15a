//! One trace, as one tree, from the webhook through each step to the control plane's write, at a real OTLP receiver.

use std::{collections::HashMap, time::Duration};

use signalbox_proto::v1::ExecutionState;
use signalbox_tests::{
    otlp::{Receiver, hex},
    planes::{Options, Planes},
    target::Target,
    wait,
};

use crate::local_stack::synced;

#[tokio::test(flavor = "multi_thread")]
async fn one_message_is_one_tree_of_spans() {
    let receiver = Receiver::start().await;
    let target = Target::start(|_, _| 200).await;
    let otlp = vec![
        "--otlp-endpoint".to_owned(),
        format!("http://{}", receiver.addr),
    ];
    let (planes, api) = Planes::start(Options {
        control_plane: otlp.clone(),
        data_plane: otlp,
        ..Options::default()
    })
    .await;
    let key = api.create_key("sender").await;
    let spec = format!(
        r#"
trigger:
  webhook:
    apiKeys: [sender]
steps:
  - id: shape
    transform:
      expression: event.json.n
  - id: call
    http:
      url: http://{}/x
      text: ${{{{ string(steps.shape.output) }}}}
"#,
        target.addr
    );
    api.create_workflow("traced", &spec).await;
    synced(&api).await;

    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let trace_id = "0af7651916cd43dd8448eb211c80319c";
    let answer = reqwest::Client::new()
        .post(planes.endpoint("traced", "webhook", &key))
        .header("traceparent", parent)
        .json(&serde_json::json!({"n": 1}))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let execution = wait::until("the execution", Duration::from_secs(20), || {
        let api = api.clone();
        async move {
            let all = api
                .all_executions(r#"state == "SUCCEEDED""#)
                .await
                .map_err(|s| s.to_string())?;
            all.into_iter().next().ok_or_else(|| "none".to_owned())
        }
    })
    .await;
    assert_eq!(execution.state(), ExecutionState::Succeeded);
    assert_eq!(execution.trace_id, trace_id);

    let spans = wait::until("the whole trace", Duration::from_secs(30), || {
        let spans = receiver.trace(trace_id);
        async move {
            let has = |service: &str, name: &str| {
                spans
                    .iter()
                    .any(|s| s.service.contains(service) && s.span.name.contains(name))
            };
            let whole = has("data-plane", "POST")
                && has("data-plane", "step shape")
                && has("data-plane", "step call")
                && has("control-plane", "store");
            if whole {
                Ok(spans)
            } else {
                let names: Vec<_> = spans
                    .iter()
                    .map(|s| format!("{}: {}", s.service, s.span.name))
                    .collect();
                Err(format!("{names:?}"))
            }
        }
    })
    .await;

    // One tree: following parents from any span ends at the sender's.
    let parents: HashMap<_, _> = spans
        .iter()
        .map(|s| (hex(&s.span.span_id), hex(&s.span.parent_span_id)))
        .collect();
    for received in &spans {
        let mut at = hex(&received.span.span_id);
        for _ in 0..spans.len() {
            match parents.get(&at) {
                Some(parent) => at.clone_from(parent),
                None => break,
            }
        }
        assert_eq!(
            at, "b7ad6b7169203331",
            "{} ({}) hangs in the air",
            received.span.name, received.service
        );
    }

    // The service that was called could go on with the trace.
    let calls = target.calls();
    let onwards = &calls[0].headers["traceparent"];
    assert!(onwards.contains(trace_id), "{onwards}");
    assert!(
        parents.contains_key(&onwards[36..52]),
        "a span of ours is its parent"
    );

    assert!(!receiver.dump().contains(&key), "no span holds the key");
    let metrics = planes.data.metrics().await;
    assert!(
        metrics.contains("signalbox_ingest_requests_total"),
        "{metrics}"
    );
    assert!(!metrics.contains(&key));
}
