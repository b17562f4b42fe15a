//! A node's end of the Report stream.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use signalbox_proto::{
    dataplane::v1::{
        Accepted, AttemptStarted, ExecutionFact, ExecutionFinished, ExecutionStarted, Record,
        RecordBatch, ReportHello, ReportRequest, StepFinished, StepStarted, execution_fact::Fact,
        record::Body, report_request::Message, report_service_client::ReportServiceClient,
    },
    v1::{ExecutionState, StepState, TriggerKind},
};
use signalbox_tests::planes::Planes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, transport::Endpoint};

use super::{SPREAD, fill};
use crate::{corpus::TOPIC, ingest::SMALL_BYTES};

/// Executions of one batch of a report, each of six records.
const BATCH: u64 = 100;
/// Batches on their way.
const WINDOW: usize = 4;

/// A node that reports.
pub(super) struct Reporter {
    batches: mpsc::Sender<ReportRequest>,
    answers: tonic::Streaming<signalbox_proto::dataplane::v1::ReportResponse>,
    sequence: i64,
    executions: u64,
}

impl Reporter {
    /// One whose node has reported nothing.
    pub(super) async fn connect(planes: &Planes) -> Result<Self> {
        Self::connect_again(planes, 0).await
    }

    /// One whose node has reported so many executions.
    pub(super) async fn connect_again(planes: &Planes, executions: u64) -> Result<Self> {
        let channel = Endpoint::from_shared(planes.control.endpoint.clone())?
            .connect()
            .await?;
        let token = planes.control.token("data-plane");
        let (batches, outgoing) = mpsc::channel(WINDOW);
        let hello = ReportHello {
            node_id: "bench".to_owned(),
            incarnation: "bench".to_owned(),
        };
        batches
            .send(ReportRequest {
                message: Some(Message::Hello(hello)),
            })
            .await?;
        let mut request = Request::new(ReceiverStream::new(outgoing));
        let bearer = format!("Bearer {token}").parse()?;
        request.metadata_mut().insert("authorization", bearer);
        let mut answers = ReportServiceClient::new(channel)
            .report(request)
            .await?
            .into_inner();
        let first = answers.message().await?;
        let first = first.context("no answer to the hello")?;
        Ok(Self {
            batches,
            answers,
            sequence: first.durable_sequence,
            executions,
        })
    }

    /// How many it has reported.
    pub(super) fn executions(&self) -> u64 {
        self.executions
    }

    /// Executions each second, until the last of `count` is durable.
    pub(super) async fn report(&mut self, count: u64) -> Result<f64> {
        let first = self.executions;
        let mut batches = Vec::new();
        let mut sequence = self.sequence;
        for from in (first..first + count).step_by(usize::try_from(BATCH)?) {
            let until = (from + BATCH).min(first + count);
            let mut records = Vec::new();
            for number in from..until {
                records.extend(records_of(number, &mut sequence));
            }
            batches.push(ReportRequest {
                message: Some(Message::Batch(RecordBatch { records })),
            });
        }
        let started = Instant::now();
        let sender = self.batches.clone();
        let sending = tokio::spawn(async move {
            for batch in batches {
                if sender.send(batch).await.is_err() {
                    return;
                }
            }
        });
        while self.sequence < sequence {
            let answer = tokio::time::timeout(Duration::from_secs(120), self.answers.message());
            self.sequence = answer.await??.context("the stream ended")?.durable_sequence;
        }
        sending.await?;
        self.executions += count;
        Ok(count as f64 / started.elapsed().as_secs_f64())
    }
}

/// An execution of one step, from its acceptance to its end.
fn records_of(number: u64, sequence: &mut i64) -> Vec<Record> {
    let now = Timestamp::now();
    let time = prost_types::Timestamp {
        seconds: now.as_second(),
        nanos: now.subsec_nanosecond(),
    };
    // Ids in no order, as they are: digests. They fall between those that are there.
    let id = number.wrapping_mul(fill::STRIDE) % fill::IDS;
    let execution = format!(
        "projects/default/executions/{}-r{number}",
        fill::id_prefix(id)
    );
    let accepted = Accepted {
        execution: execution.clone(),
        workflow: format!("projects/default/workflows/w{}", number % SPREAD),
        workflow_version: 1,
        trigger: TriggerKind::AmazonSns.into(),
        message_id: format!("r{number}"),
        topic_arn: TOPIC.to_owned(),
        api_key: "projects/default/apiKeys/bench".to_owned(),
        body: vec![b' '; SMALL_BYTES].into(),
        scope_json: serde_json::json!({
            "message": "it is what it is",
            "attributes": BTreeMap::<String, String>::new(),
            "messageId": format!("r{number}"),
            "timestamp": "2026-11-26T12:00:00Z",
        })
        .to_string(),
        receive_time: Some(time),
        ..Default::default()
    };
    let step_id = "done".to_owned();
    let facts = [
        Fact::Started(ExecutionStarted {}),
        Fact::StepStarted(StepStarted {
            step_id: step_id.clone(),
            kind: "http".to_owned(),
            input_json: "{\"url\":\"https://example.com/\"}".to_owned(),
            ..Default::default()
        }),
        Fact::AttemptStarted(AttemptStarted {
            step_id: step_id.clone(),
            number: 1,
            ..Default::default()
        }),
        Fact::StepFinished(StepFinished {
            step_id,
            state: StepState::Succeeded.into(),
            output_json: "{\"status\":200}".to_owned(),
            ..Default::default()
        }),
        Fact::Finished(ExecutionFinished {
            state: ExecutionState::Succeeded.into(),
            output_json: "{\"status\":200}".to_owned(),
            ..Default::default()
        }),
    ];
    let facts = facts.map(|fact| {
        Body::Execution(ExecutionFact {
            execution: execution.clone(),
            fact: Some(fact),
        })
    });
    std::iter::once(Body::Accepted(accepted))
        .chain(facts)
        .map(|body| {
            *sequence += 1;
            Record {
                sequence: *sequence,
                time: Some(time),
                traceparent: String::new(),
                body: Some(body),
            }
        })
        .collect()
}
