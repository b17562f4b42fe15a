//! Messages to all nodes, sent until each is acknowledged.

use std::{collections::BTreeSet, time::Duration};

use signalbox_proto::v1::ExecutionState;
use tokio::task::JoinSet;

use super::{Flow, LIMIT, Noted, Report};
use crate::{api::Api, planes::DataPlane, wait};

/// Those who send to one node.
const SENDERS: usize = 2;
const PAUSE: Duration = Duration::from_millis(50);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
const SPEC: &str = "
trigger:
  webhook:
    apiKeys: [sender]
steps:
  - id: only
    transform:
      expression: event.json.n
";

pub(super) async fn create_workflow(api: &Api) {
    api.create_workflow("hook", SPEC).await;
}

fn url(node: &DataPlane, key: &str) -> String {
    let base = &node.webhook_url;
    format!("{base}/v1/projects/default/workflows/hook/webhook?x-api-key={key}")
}

/// What a node says to a key, with a body that starts nothing: 400 to one that it takes, 403 to one that is not the workflow's,
/// 401 to one that is not live.
pub(super) async fn verdict(client: &reqwest::Client, node: &DataPlane, key: &str) -> u16 {
    let request = client
        .post(url(node, key))
        .header("content-type", "application/json")
        .body("{");
    request
        .send()
        .await
        .map_or(0, |answer| answer.status().as_u16())
}

/// Until a node takes a key.
pub(super) async fn is_known(node: &DataPlane, key: &str) {
    let client = reqwest::Client::new();
    wait::until("the node to know the key", LIMIT, || async {
        match verdict(&client, node, key).await {
            400 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
}

/// Senders at work.
pub(super) struct Senders {
    accepted: Noted<BTreeSet<String>>,
    refused: Noted<u64>,
    tasks: JoinSet<()>,
}

impl Senders {
    pub(super) fn start(nodes: &[DataPlane], key: &str, flow: &Flow) -> Self {
        let accepted = Noted::<BTreeSet<String>>::default();
        let refused = Noted::<u64>::default();
        let mut tasks = JoinSet::new();
        for (number, node) in nodes.iter().enumerate() {
            for sender in 0..SENDERS {
                let (flow, accepted, refused) = (flow.clone(), accepted.clone(), refused.clone());
                let url = url(node, key);
                tasks.spawn(async move {
                    let client = reqwest::Client::builder()
                        .timeout(ANSWER_TIMEOUT)
                        .build()
                        .unwrap();
                    for n in 0.. {
                        if !flow.goes_on() {
                            return;
                        }
                        let id = format!("n{number}-s{sender}-{n}");
                        while !send(&client, &url, &id).await {
                            *refused.lock().unwrap() += 1;
                            tokio::time::sleep(PAUSE).await;
                        }
                        accepted.lock().unwrap().insert(id);
                        flow.add_one();
                    }
                });
            }
        }
        Self {
            accepted,
            refused,
            tasks,
        }
    }

    /// The ids of the messages that were acknowledged.
    pub(super) async fn finish(mut self, report: &mut Report) -> BTreeSet<String> {
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        report.messages_refused = *self.refused.lock().unwrap();
        std::mem::take(&mut *self.accepted.lock().unwrap())
    }
}

/// Whether it was acknowledged.
async fn send(client: &reqwest::Client, url: &str, id: &str) -> bool {
    let request = client
        .post(url)
        .header("idempotency-key", id)
        .json(&serde_json::json!({"n": id}));
    match request.send().await.map(|answer| answer.status()) {
        Ok(status) if status.is_success() => true,
        // A node goes on by itself: what is away behind it is no reason to give a message up.
        Ok(status) => {
            assert!(
                status.is_server_error() || status.as_u16() == 429,
                "{status}"
            );
            false
        }
        Err(_) => false,
    }
}

/// Every message that was acknowledged is one execution that succeeded, and there is no other.
pub(super) async fn check(apis: &[Api], accepted: &BTreeSet<String>) -> usize {
    for api in apis {
        let all = api.all_executions("").await.unwrap();
        let found: BTreeSet<String> = all.iter().map(|it| it.message_id.clone()).collect();
        assert_eq!(all.len(), found.len(), "a message is there twice");
        let lost = accepted.difference(&found).count();
        let more = found.difference(accepted).count();
        assert_eq!((lost, more), (0, 0), "lost, and not sent");
        for execution in all {
            assert_eq!(
                execution.state(),
                ExecutionState::Succeeded,
                "{execution:?}"
            );
        }
    }
    accepted.len()
}
