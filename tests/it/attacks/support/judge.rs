//! What became of a group of attacks: answers, executions, requests to the outside, entries, secrets.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use jiff::Timestamp;
use signalbox_proto::v1::{Delivery, DeliveryVerdict, ExecutionState};
use signalbox_tests::wait;

use super::{
    Flow, MESSAGE, Stage, TOKEN, Workflow,
    wire::{Answer, Post, exchange},
};

const REPORT_LIMIT: Duration = Duration::from_secs(80);

/// Refusals of what is for no workflow that exists have no workflow to be shown at.
const OF_NO_WORKFLOW: [&str; 3] = ["path-unknown", "method-not-allowed", "workflow-unknown"];

/// One attack.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) post: Post,
    pub(crate) status: u16,
    /// Empty when it is taken (200), or refused before there is a request (4xx without a body).
    pub(crate) reason: &'static str,
    /// What its delivery shows: message id and topic, as far as anything could be read.
    pub(crate) shows: Option<(String, String)>,
    recorded: bool,
}

impl Case {
    pub(crate) fn new(
        name: impl Into<String>,
        post: Post,
        status: u16,
        reason: &'static str,
    ) -> Self {
        Self {
            name: name.into(),
            post,
            status,
            reason,
            shows: None,
            recorded: !reason.is_empty() && !OF_NO_WORKFLOW.contains(&reason),
        }
    }

    /// The delivery must show this message id and topic.
    pub(crate) fn shows(mut self, message_id: &str, topic: &str) -> Self {
        self.shows = Some((message_id.to_owned(), topic.to_owned()));
        self
    }

    /// Of a workflow that does not exist: counted, and shown nowhere.
    pub(crate) fn unrecorded(mut self) -> Self {
        self.recorded = false;
        self
    }
}

impl Stage {
    /// Sends every case, then holds all of them to what must be, good messages going on the while.
    pub(crate) async fn judge(&self, cases: &[Case], flow: Flow) -> Vec<Answer> {
        let before = self.refusals().await;
        let (mut answers, mut wrong) = (Vec::new(), Vec::new());
        for case in cases {
            let answer = exchange(self.addr(), case.post.bytes()).await;
            let Some(answer) = answer else {
                wrong.push(format!("{}: no answer", case.name));
                continue;
            };
            if (answer.status, answer.reason().as_str()) != (case.status, case.reason) {
                wrong.push(format!(
                    "{}: {} {:?} instead of {} {:?}: {}",
                    case.name,
                    answer.status,
                    answer.reason(),
                    case.status,
                    case.reason,
                    answer.body,
                ));
            }
            answers.push(answer);
        }
        flow.goes_on().await;
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        self.counted(cases, &before).await;
        self.shown(cases, &answers).await;
        let taken = answers.iter().map(Answer::execution);
        self.only_ran(flow, taken.filter(|name| !name.is_empty()))
            .await;
        self.kept_secret(&answers).await;
        assert_eq!(self.elsewhere.calls(), 0, "nobody else was called");
        answers
    }

    /// Refusals counted so far by reason.
    pub(crate) async fn refusals(&self) -> BTreeMap<String, u64> {
        let text = self.planes.data.metrics().await;
        text.lines()
            .filter(|line| line.starts_with("signalbox_ingest_requests_total{"))
            .filter(|line| line.contains("verdict=\"rejected\""))
            .filter_map(|line| {
                let (_, rest) = line.split_once("reason=\"")?;
                let (reason, rest) = rest.split_once('"')?;
                Some((reason.to_owned(), rest.rsplit(' ').next()?.parse().ok()?))
            })
            .collect()
    }

    async fn counted(&self, cases: &[Case], before: &BTreeMap<String, u64>) {
        let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
        for case in cases.iter().filter(|case| !case.reason.is_empty()) {
            *expected.entry(case.reason).or_default() += 1;
        }
        let after = self.refusals().await;
        for (reason, count) in expected {
            let found =
                after.get(reason).copied().unwrap_or(0) - before.get(reason).copied().unwrap_or(0);
            assert_eq!(found, count, "refusals counted as {reason}");
        }
    }

    /// Every refusal is shown by the control plane, under the trace of its answer.
    async fn shown(&self, cases: &[Case], answers: &[Answer]) {
        let wanted: BTreeSet<String> = cases
            .iter()
            .zip(answers)
            .filter(|(case, _)| case.recorded)
            .map(|(_, answer)| answer.trace_id())
            .collect();
        let shown = wait::until("the refusals to be shown", REPORT_LIMIT, || {
            let wanted = wanted.clone();
            async move {
                let shown = self.refused_deliveries().await;
                let missing = wanted.iter().filter(|id| !shown.contains_key(*id)).count();
                if missing == 0 {
                    Ok(shown)
                } else {
                    Err(format!("{missing} of {} missing", wanted.len()))
                }
            }
        })
        .await;
        for (case, answer) in cases.iter().zip(answers) {
            if !case.recorded {
                continue;
            }
            let delivery = &shown[&answer.trace_id()];
            self.tells(delivery, &case.name, case.status, case.reason);
            if let Some((message_id, topic)) = &case.shows {
                assert_eq!(&delivery.message_id, message_id, "{}", case.name);
                assert_eq!(&delivery.topic_arn, topic, "{}", case.name);
            }
        }
    }

    /// In a storm not every refusal is shown, but each one that is not is counted as such.
    pub(crate) async fn accounts_for_refusals(&self) {
        wait::until(
            "every refusal to be accounted for",
            REPORT_LIMIT,
            || async {
                let refused = self.refusals().await;
                // Most are shed before there is a request that could be shown.
                let shed = ["overloaded", "timeout"];
                let counted: u64 = refused
                    .iter()
                    .filter(|(reason, _)| !shed.contains(&reason.as_str()))
                    .map(|(_, count)| count)
                    .sum();
                let name = "signalbox_ingest_rejections_unrecorded_total";
                let unrecorded = self.metric(name, &[]).await;
                let all = self.api.all_deliveries("-").await.unwrap();
                let shown = all
                    .iter()
                    .filter(|delivery| delivery.verdict() == DeliveryVerdict::Rejected)
                    .filter(|delivery| !shed.contains(&delivery.reason.as_str()))
                    .count();
                #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
                let missing = counted as f64 - unrecorded - shown as f64;
                if missing.abs() < 0.5 {
                    Ok(())
                } else {
                    Err(format!(
                        "{counted} counted, {shown} shown, {unrecorded} unrecorded"
                    ))
                }
            },
        )
        .await;
    }

    /// A refusal's entry says when, from where and why.
    pub(crate) fn tells(&self, delivery: &Delivery, name: &str, status: u16, reason: &str) {
        assert_eq!(delivery.reason, reason, "{name}");
        assert_eq!(delivery.http_status, i32::from(status), "{name}");
        assert!(!delivery.detail.is_empty(), "{name}");
        assert_eq!(delivery.source_address, "127.0.0.1", "{name}");
        let time = delivery.receive_time.expect("a time").seconds;
        let span = self.started_at.as_second()..=Timestamp::now().as_second();
        assert!(span.contains(&time), "{name}: {time} outside {span:?}");
    }

    /// The rejected deliveries of every workflow by their trace.
    pub(crate) async fn refused_deliveries(&self) -> HashMap<String, Delivery> {
        let all = self.api.all_deliveries("-").await.unwrap();
        all.into_iter()
            .filter(|delivery| delivery.verdict() == DeliveryVerdict::Rejected)
            .map(|delivery| (delivery.trace_id.clone(), delivery))
            .collect()
    }

    /// Ends the flow: its messages, and what else was taken, ran once each, and nothing besides.
    pub(crate) async fn only_ran(&self, flow: Flow, taken: impl Iterator<Item = String>) {
        let good = flow.finish().await;
        self.ran
            .lock()
            .unwrap()
            .extend(good.into_iter().chain(taken));
        self.ran_what_it_knows().await;
    }

    /// Whatever was taken so far ran once, and nothing besides.
    pub(crate) async fn ran_what_it_knows(&self) {
        let ran = self.ran.lock().unwrap().clone();
        let executions = wait::until("the executions", REPORT_LIMIT, || async {
            let all = self
                .api
                .all_executions("")
                .await
                .map_err(|s| s.to_string())?;
            let ended: BTreeSet<&str> = all
                .iter()
                .filter(|execution| execution.state() == ExecutionState::Succeeded)
                .flat_map(|execution| [execution.message_id.as_str(), &execution.name])
                .collect();
            match ran.iter().filter(|id| !ended.contains(id.as_str())).count() {
                0 => Ok(all),
                missing => Err(format!("{missing} missing, {} there", all.len())),
            }
        })
        .await;
        let mut seen = BTreeSet::new();
        for execution in executions {
            let (id, name) = (execution.message_id, execution.name);
            assert!(
                ran.contains(&id) || ran.contains(&name),
                "an execution for an attack: {id}"
            );
            assert!(
                seen.insert((execution.workflow, id.clone())),
                "{id} ran twice"
            );
        }
    }

    /// No log, metric, trace, refusal or entry holds a key, a token, a query or a message.
    pub(crate) async fn kept_secret(&self, answers: &[Answer]) {
        let deliveries = self.api.all_deliveries("-").await.unwrap();
        let subscriptions = self.api.all_subscriptions(Workflow::NAME).await.unwrap();
        let places = [
            ("the node's log", self.planes.data.log()),
            ("the control plane's log", self.planes.control.log()),
            ("metrics", self.planes.data.metrics().await),
            ("traces", self.receiver.dump()),
            ("answers", format!("{answers:?}")),
            ("deliveries", format!("{deliveries:?}")),
            ("subscriptions", format!("{subscriptions:?}")),
        ];
        let mut secrets = self.secrets.lock().unwrap().clone();
        secrets.extend([&self.key, TOKEN, MESSAGE, "x-api-key="].map(str::to_owned));
        for (place, text) in &places {
            for secret in &secrets {
                if let Some(at) = text.find(secret) {
                    let from = text[..at].rfind('\n').map_or(0, |line| line + 1);
                    let line: String = text[from..].chars().take(600).collect();
                    panic!("{place}: {secret:?} in {line}");
                }
            }
        }
        assert!(places[0].1.contains("the data plane is up"));
    }
}
