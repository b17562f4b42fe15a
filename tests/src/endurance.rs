//! Long runs: kills, a disk that fills up, overload. Messages are signed as Amazon SNS signs them, or posted to a webhook;
//! senders try again as Amazon SNS does; and at the end what was acknowledged was executed, each once, and nothing else.
//!
//! `tests/it` runs short forms, `tests/endurance` the long ones.

pub mod descriptors;
pub mod full;
pub mod in_flight;
pub mod kills;
pub mod overload;
pub mod replicas;
mod senders;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde::Serialize;
use signalbox_cli::simulator::SimulatedSns;
use signalbox_proto::v1::{Execution, ExecutionState};
use signalbox_sns::TopicArn;

use crate::{
    api::Api,
    planes::{Options, Planes, install_crypto},
    target::Target,
};

pub use senders::{Load, Sent};

const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:endurance";
/// No progress for so long, and what is awaited will not come.
const PATIENCE: Duration = Duration::from_secs(120);

/// Both planes, a simulated Amazon SNS, and the service that workflows call.
pub struct World {
    /// The planes.
    pub planes: Planes,
    /// The API as an admin.
    pub api: Api,
    /// Sees every side effect, with its Idempotency-Key.
    pub target: Target,
    /// While it is closed, the service fails, and executions wait to try again.
    pub open: Arc<AtomicBool>,
    sns: Arc<SimulatedSns>,
    topic: TopicArn,
    key: String,
}

/// What a run has shown.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Settled {
    /// Messages that were acknowledged.
    pub acknowledged: usize,
    /// Executions, each ended well, each of a message of its own.
    pub executions: usize,
    /// Executions of messages whose answer was lost: durable, and cut off before the 200.
    pub unanswered: usize,
    /// Calls of the service; more than executions where a crash came before the journal.
    pub calls: usize,
    /// From the end of sending until everything was executed, in seconds.
    pub drain_s: f64,
}

impl World {
    /// Starts it with more arguments of the data plane. `prepare` is called before that begins.
    pub async fn start(data_plane: Vec<String>, prepare: impl FnOnce(&Planes)) -> Self {
        let options = Options {
            data_plane,
            ..Options::default()
        };
        Self::with(options, prepare).await
    }

    /// Starts it.
    pub async fn with(mut options: Options, prepare: impl FnOnce(&Planes)) -> Self {
        install_crypto();
        let open = Arc::new(AtomicBool::new(true));
        let gate = open.clone();
        let target = Target::start(move |_, _| match gate.load(Ordering::Relaxed) {
            true => 200,
            false => 503,
        })
        .await;
        let sns = SimulatedSns::start(([127, 0, 0, 1], 0).into())
            .await
            .unwrap();
        let trusted = ["--sns-trusted-origin".to_owned(), sns.origin().to_owned()];
        options.data_plane.extend(trusted);
        let mut planes = Planes::new(options);
        planes.control.start().await;
        planes.write_node_token();
        prepare(&planes);
        planes.data.start().await;
        let api = planes.api("admin");
        let key = api.create_key("sender").await;
        for (name, trigger) in [
            (
                "topic",
                format!("amazonSns:\n    apiKeys: [sender]\n    topicArns: [\"{TOPIC}\"]"),
            ),
            ("hook", "webhook:\n    apiKeys: [sender]".to_owned()),
        ] {
            let spec = format!(
                "trigger:\n  {trigger}\nsteps:\n  - id: call\n    \
                 retry: {{maxAttempts: 20, initialBackoff: 0.2s, maxBackoff: 15s}}\n    \
                 http:\n      url: http://{}/\n      text: ${{{{ event.messageId }}}}\n  \
                 - id: after\n    transform:\n      expression: steps.call.output.status\n",
                target.addr
            );
            api.create_workflow(name, &spec).await;
        }
        let world = Self {
            planes,
            api,
            target,
            open,
            sns: Arc::new(sns),
            topic: TopicArn::parse(TOPIC).unwrap(),
            key,
        };
        world.api.synced(Duration::from_secs(30)).await;
        world
    }

    /// Everything that was acknowledged is executed, each message once and with one Idempotency-Key, and nothing that was
    /// not sent; but for `lost` that a repair has given up. Waits as long as there is progress; tells it when `tells`.
    pub async fn settle(&self, sent: &Sent, lost: usize, tells: bool) -> Settled {
        let began = Instant::now();
        let (mut best, mut since, mut told) = (0, Instant::now(), Instant::now());
        let executions = loop {
            // Asking the control plane for everything costs it more than the reports do: only when the node has no more.
            let Backlog {
                unfinished,
                unreported,
                reported,
            } = self.backlog().await;
            let mut found = String::new();
            if unfinished + unreported == 0 {
                let all = self.api.all_executions("").await.unwrap();
                let (ended, missing) = progress(&all, &sent.acknowledged);
                if missing == lost && ended == all.len() {
                    break all;
                }
                found = format!("; {missing} are missing, {ended} of {} ended", all.len());
            }
            if reported > best {
                (best, since) = (reported, Instant::now());
            }
            assert!(
                since.elapsed() < PATIENCE,
                "{unfinished} executions have not ended, {unreported} records are not reported{found}"
            );
            if tells && told.elapsed() > Duration::from_secs(5) {
                eprintln!(
                    "draining: {unfinished} executions to end, {unreported} records to report"
                );
                told = Instant::now();
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        };
        let drain_s = began.elapsed().as_secs_f64();
        let ids: BTreeSet<&str> = executions.iter().map(|e| e.message_id.as_str()).collect();
        assert_eq!(ids.len(), executions.len(), "a message was executed twice");
        let unknown = ids.iter().find(|id| !sent.begun.contains(**id));
        assert_eq!(unknown, None, "an execution of what nobody sent");
        let mut keys: HashMap<String, HashSet<String>> = HashMap::new();
        let calls = self.target.calls();
        for call in &calls {
            let id = String::from_utf8(call.body.to_vec()).unwrap();
            let key = call.headers["idempotency-key"].clone();
            keys.entry(id).or_default().insert(key);
        }
        for id in &ids {
            let used = keys.get(*id).map(HashSet::len);
            assert_eq!(used, Some(1), "{id}: one Idempotency-Key");
        }
        assert_eq!(keys.len(), ids.len(), "a side effect of no execution");
        Settled {
            acknowledged: sent.acknowledged.len(),
            executions: executions.len(),
            unanswered: executions.len() + lost - sent.acknowledged.len(),
            calls: calls.len(),
            drain_s,
        }
    }

    /// What the node says is still to be done; all of it, while it does not say.
    async fn backlog(&self) -> Backlog {
        let metrics = self.planes.data.metrics().await;
        let value = |name: &str| {
            let mut lines = metrics.lines();
            let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
            value.parse().ok()
        };
        Backlog {
            unfinished: value("signalbox_spool_unfinished_executions").unwrap_or(u64::MAX / 2),
            unreported: value("signalbox_spool_unreported_records").unwrap_or(u64::MAX / 2),
            reported: value("signalbox_report_durable_sequence").unwrap_or(0),
        }
    }

    /// Status and text of the data plane's `/readyz`.
    pub async fn readyz(&self) -> (u16, String) {
        match reqwest::get(self.planes.data.admin_url("/readyz")).await {
            Ok(answer) => {
                let status = answer.status().as_u16();
                (status, answer.text().await.unwrap_or_default())
            }
            Err(error) => (0, error.to_string()),
        }
    }
}

struct Backlog {
    /// Executions that have not ended.
    unfinished: u64,
    /// Records that the control plane does not have.
    unreported: u64,
    /// Highest sequence that it has.
    reported: u64,
}

/// Executions that have ended well, and acknowledged messages that have none.
fn progress(all: &[Execution], acknowledged: &BTreeSet<String>) -> (usize, usize) {
    let ended: HashSet<&str> = all
        .iter()
        .filter(|execution| execution.state() == ExecutionState::Succeeded)
        .map(|execution| execution.message_id.as_str())
        .collect();
    let missing = acknowledged
        .iter()
        .filter(|id| !ended.contains(id.as_str()));
    (ended.len(), missing.count())
}

/// Refusals by reason.
pub type Refusals = BTreeMap<String, u64>;

/// What many senders note.
type Noted<T> = Arc<Mutex<T>>;
