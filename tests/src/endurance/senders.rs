//! Those who send, and try again until they are told that it is durable.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use signalbox_cli::simulator::{Delivered, Post, Publication, SimulatedSns};
use tokio::task::JoinSet;

use super::{Noted, Refusals, World};

/// Pause after a refusal or a broken connection.
const PAUSE: Duration = Duration::from_millis(50);
/// As long as Amazon SNS waits.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// What was sent.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    /// Ids of messages that were sent at least once.
    pub begun: BTreeSet<String>,
    /// Of them, acknowledged.
    pub acknowledged: BTreeSet<String>,
    /// Refusals by reason; `none` where there was no answer.
    pub refused: Refusals,
}

/// Senders at work.
pub struct Load {
    sent: Noted<Sent>,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    senders: JoinSet<()>,
}

/// Where one sender posts to, and how.
#[derive(Clone)]
enum Way {
    Topic(String),
    Hook(String, reqwest::Client),
}

impl World {
    /// Begins to send: `topic` senders of signed messages, `hook` senders to the webhook, with bodies of about `bytes`.
    #[must_use]
    pub fn send(&self, topic: usize, hook: usize, bytes: usize) -> Load {
        let mut load = Load {
            sent: Noted::default(),
            stop: Arc::default(),
            acknowledged: Arc::default(),
            senders: JoinSet::new(),
        };
        let client = reqwest::Client::builder()
            .timeout(ANSWER_TIMEOUT)
            .no_proxy()
            .build()
            .unwrap();
        for number in 0..topic + hook {
            let way = match number < topic {
                true => Way::Topic(self.planes.endpoint("topic", "sns", &self.key)),
                false => Way::Hook(
                    self.planes.endpoint("hook", "webhook", &self.key),
                    client.clone(),
                ),
            };
            let sender = Sender {
                way,
                sns: self.sns.clone(),
                topic: self.topic.clone(),
                fill: "x".repeat(bytes),
                name: format!("s{number}"),
                sent: load.sent.clone(),
                stop: load.stop.clone(),
                acknowledged: load.acknowledged.clone(),
            };
            load.senders.spawn(sender.run());
        }
        load
    }

    /// Makes signed messages by their ids, with texts of `bytes`.
    pub(super) fn poster(&self, bytes: usize) -> impl Fn(&str) -> Post + Send + use<> {
        let (sns, topic, fill) = (self.sns.clone(), self.topic.clone(), "x".repeat(bytes));
        move |id| post(&sns, &topic, id, &fill)
    }

    pub(super) fn sns(&self) -> Arc<SimulatedSns> {
        self.sns.clone()
    }

    pub(super) fn topic_endpoint(&self) -> String {
        self.planes.endpoint("topic", "sns", &self.key)
    }
}

fn post(sns: &SimulatedSns, topic: &signalbox_sns::TopicArn, id: &str, fill: &str) -> Post {
    let mut publication = Publication::new(fill);
    publication.message_id = Some(id.to_owned());
    sns.notification(topic, &publication, false).unwrap()
}

impl Load {
    /// Messages acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Refusals so far by reason.
    #[must_use]
    pub fn refused(&self) -> Refusals {
        self.sent.lock().unwrap().refused.clone()
    }

    /// Ends it: each sender when its message is acknowledged.
    pub async fn finish(mut self) -> Sent {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.senders.join_next().await {
            ended.unwrap();
        }
        self.sent.lock().unwrap().clone()
    }
}

struct Sender {
    way: Way,
    sns: Arc<SimulatedSns>,
    topic: signalbox_sns::TopicArn,
    fill: String,
    name: String,
    sent: Noted<Sent>,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
}

impl Sender {
    async fn run(self) {
        let mut number = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let id = format!("{}-{number}", self.name);
            number += 1;
            self.sent.lock().unwrap().begun.insert(id.clone());
            self.until_acknowledged(&id).await;
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
            self.sent.lock().unwrap().acknowledged.insert(id);
        }
    }

    /// As Amazon SNS does: the same message, again and again.
    async fn until_acknowledged(&self, id: &str) {
        let signed = match &self.way {
            Way::Topic(_) => Some(post(&self.sns, &self.topic, id, &self.fill)),
            Way::Hook(..) => None,
        };
        loop {
            let delivered = match (&self.way, &signed) {
                (Way::Topic(url), Some(post)) => self.sns.attempt(url, post).await,
                (Way::Topic(_), None) => unreachable!("a topic's messages are signed"),
                (Way::Hook(url, client), _) => hook(client, url, id, &self.fill).await,
            };
            if delivered.is_success() {
                return;
            }
            assert!(
                delivered.is_retried(),
                "a good message is given up: {delivered:?}"
            );
            let reason = reason(&delivered);
            *self.sent.lock().unwrap().refused.entry(reason).or_default() += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn hook(client: &reqwest::Client, url: &str, id: &str, fill: &str) -> Delivered {
    let request = client.post(url).header("idempotency-key", id);
    match request
        .json(&serde_json::json!({"fill": fill}))
        .send()
        .await
    {
        Ok(answer) => Delivered::Answered {
            status: answer.status().as_u16(),
            body: answer.text().await.unwrap_or_default(),
        },
        Err(error) => Delivered::Failed(error.without_url().to_string()),
    }
}

/// What a refusal says of itself: the last part of its problem's type.
pub(super) fn reason(delivered: &Delivered) -> String {
    let Delivered::Answered { status, body } = delivered else {
        return "none".to_owned();
    };
    let problem: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    match problem["type"]
        .as_str()
        .and_then(|of| of.rsplit('/').next())
    {
        Some(reason) => format!("{status} {reason}"),
        None => status.to_string(),
    }
}
