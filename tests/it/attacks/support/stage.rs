//! What an attack is played on.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use signalbox_sns::signer::{Signer, SimulatedCa};
use signalbox_tests::{
    api::Api,
    otlp::Receiver,
    planes::{Options, Planes},
};

use super::{
    Answer, Flow, Letter, Signing, TOPIC,
    origin::{Elsewhere, Origin},
    wire::{Post, exchange},
};
use crate::local_stack::synced;

/// The workflow that attacks are aimed at, and that good messages go to.
pub(crate) struct Workflow;

impl Workflow {
    pub(crate) const NAME: &'static str = "orders";

    pub(crate) fn spec(keys: &str, topic: &str) -> String {
        format!(
            "trigger:\n  amazonSns:\n    apiKeys: [{keys}]\n    topicArns: [\"{topic}\"]\n\
             steps:\n  - id: done\n    succeed: {{}}\n"
        )
    }
}

/// Both planes with a workflow, a trusted SNS, an OTLP receiver, and a place that nobody may call.
pub(crate) struct Stage {
    pub(crate) planes: Planes,
    pub(crate) api: Api,
    pub(crate) origin: Origin,
    pub(crate) elsewhere: Elsewhere,
    pub(crate) receiver: Receiver,
    pub(crate) signing: Signing,
    /// The workflow's key.
    pub(crate) key: String,
    pub(crate) started_at: Timestamp,
    /// Message ids and executions of what was rightly taken before.
    pub(crate) ran: Mutex<BTreeSet<String>>,
    /// What must be shown nowhere, beside the workflow's key.
    pub(super) secrets: Mutex<Vec<String>>,
    flows: AtomicUsize,
}

/// A leaf for `signer`, valid from and to so many days from now.
pub(crate) fn leaf(signer: &Signer, days: (i64, i64)) -> String {
    let day = |days: i64| Timestamp::now() + SignedDuration::from_hours(24 * days);
    SimulatedCa::new()
        .unwrap()
        .issue("sns.amazonaws.com", signer, day(days.0), day(days.1))
        .unwrap()
}

impl Stage {
    pub(crate) async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn with(mut options: Options) -> Self {
        signalbox_tests::planes::install_crypto();
        let signer = Arc::new(Signer::generate().unwrap());
        let origin = Origin::start(leaf(&signer, (-1, 30))).await;
        let receiver = Receiver::start().await;
        let otlp = format!("http://{}", receiver.addr);
        options
            .control_plane
            .extend(["--otlp-endpoint".into(), otlp.clone()]);
        options.data_plane.extend([
            "--sns-trusted-origin".into(),
            format!("http://{}", origin.addr),
            "--otlp-endpoint".into(),
            otlp,
            "--log".into(),
            "debug,signalbox=trace,signalbox_data_plane=trace".into(),
        ]);
        let started_at = Timestamp::now();
        let (planes, api) = Planes::start(options).await;
        let key = api.create_key("sender").await;
        api.create_workflow(Workflow::NAME, &Workflow::spec("sender", TOPIC))
            .await;
        synced(&api).await;
        let certificate_url = origin.certificate_url();
        Self {
            planes,
            api,
            origin,
            elsewhere: Elsewhere::start().await,
            receiver,
            signing: Signing {
                signer,
                certificate_url,
            },
            key,
            started_at,
            ran: Mutex::default(),
            secrets: Mutex::default(),
            flows: AtomicUsize::new(0),
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.planes.data.addr()
    }

    /// Path and query of the workflow's webhook, with its key.
    pub(crate) fn target(&self) -> String {
        format!("{}?x-api-key={}", path(Workflow::NAME), self.key)
    }

    pub(crate) fn post(&self, letter: &Letter) -> Post {
        Post::of(&self.target(), letter)
    }

    /// Good messages from now on; the first of them is accepted already.
    pub(crate) async fn flow(&self) -> Flow {
        let name = format!("good-{}", self.flows.fetch_add(1, Ordering::SeqCst));
        let flow = Flow::start(self.addr(), self.target(), self.signing.clone(), name);
        flow.goes_on().await;
        flow
    }

    /// Keeps an eye on one more secret.
    pub(crate) fn watch(&self, secret: &str) {
        self.secrets.lock().unwrap().push(secret.to_owned());
    }

    /// What was rightly taken outside a judged group.
    pub(crate) fn know(&self, answer: &Answer) {
        if !answer.execution().is_empty() {
            self.ran.lock().unwrap().insert(answer.execution());
        }
    }

    /// Posts until an answer that no repeat would change; gives its status, reason and whether it was a duplicate.
    pub(crate) async fn settled(&self, post: &Post) -> (u16, String, bool) {
        loop {
            if let Some(answer) = exchange(self.addr(), post.bytes()).await
                && answer.status != 503
            {
                return (answer.status, answer.reason(), answer.is_duplicate());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A metric's value: the sum of its series that hold each of `labels`.
    pub(crate) async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        sum(&self.planes.data.metrics().await, name, labels)
    }
}

/// Path of a workflow's webhook.
pub(crate) fn path(workflow: &str) -> String {
    format!("/v1/projects/default/workflows/{workflow}/sns")
}

/// The sum of a metric's series, in Prometheus text, whose labels hold each of `labels`.
pub(crate) fn sum(text: &str, name: &str, labels: &[&str]) -> f64 {
    text.lines()
        .filter(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        })
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}
