//! Takes the nodes' records (`ReportService`): acknowledged after the commit, each once.

use std::{collections::HashSet, time::Duration};

use futures::StreamExt as _;
use signalbox_model::{
    error::Error,
    ids::NodeId,
    key_use::KeyUse,
    limits,
    record::{RecordBody, SequencedRecord},
};
use signalbox_proto::{
    convert::{definition, key_use, record, status::to_status},
    dataplane::v1::{
        KeyUses, RecordBatch, ReportHello, ReportRequest, ReportResponse, report_request,
        report_service_server::{ReportService, ReportServiceServer},
    },
};
use signalbox_runtime::{shutdown::Shutdown, telemetry::context};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::{Instrument as _, Span};

use crate::{app::App, auth::Caller};

/// Acknowledgements that may wait for a node.
const OUTGOING_MAX: usize = 16;
/// How long the first message may take.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Executions of one batch that get a span of their own.
const SPANS_MAX: usize = 256;

/// The service.
#[derive(Clone, Debug)]
pub struct Reports {
    app: App,
    shutdown: Shutdown,
}

impl Reports {
    /// Over `app`.
    #[must_use]
    pub fn new(app: App, shutdown: Shutdown) -> Self {
        Self { app, shutdown }
    }

    /// The service.
    #[must_use]
    pub fn service(&self) -> ReportServiceServer<Self> {
        ReportServiceServer::new(self.clone())
            .max_decoding_message_size(limits::REPORT_MESSAGE_MAX_BYTES)
    }

    async fn follow(
        &self,
        node: &NodeId,
        incarnation: &str,
        incoming: &mut Streaming<ReportRequest>,
        outgoing: &mpsc::Sender<Result<ReportResponse, Status>>,
    ) -> Result<(), Status> {
        let durable = self
            .app
            .report_cursor(node, incarnation)
            .await
            .map_err(to_status)?;
        answer(outgoing, durable, 0).await?;
        while let Some(request) = incoming.next().await {
            // The answer has ended, with its token perhaps: what still comes is not taken.
            if outgoing.is_closed() {
                return Ok(());
            }
            match request?.message {
                Some(report_request::Message::Batch(batch)) => {
                    let stored = self.store(node, incarnation, batch).await;
                    answer(outgoing, stored.map_err(to_status)?, 0).await?;
                }
                Some(report_request::Message::KeyUses(uses)) => {
                    let number = uses.number;
                    self.note_uses(node, uses).await.map_err(to_status)?;
                    answer(outgoing, 0, number).await?;
                }
                Some(report_request::Message::Hello(_)) | None => {}
            }
        }
        Ok(())
    }

    async fn note_uses(&self, node: &NodeId, uses: KeyUses) -> Result<(), Error> {
        let uses: Vec<KeyUse> = uses
            .uses
            .into_iter()
            .filter_map(|wire| {
                key_use::from_wire(wire)
                    .map_err(|error| tracing::error!(%node, %error, "a use of a key means nothing and is passed over"))
                    .ok()
            })
            .collect();
        self.app.note_key_uses(&uses).await
    }

    async fn store(
        &self,
        node: &NodeId,
        incarnation: &str,
        batch: RecordBatch,
    ) -> Result<u64, Error> {
        let RecordBatch { records } = batch;
        let last = records.last().map_or(0, |record| record.sequence);
        let count = records.len();
        let records: Vec<SequencedRecord> = records
            .into_iter()
            .filter_map(|wire| {
                let sequence = wire.sequence;
                record::from_wire(wire)
                    // One record that means nothing must not hold up all that come after it.
                    .map_err(|error| tracing::error!(%node, sequence, %error, "a record means nothing and is passed over"))
                    .ok()
            })
            .collect();
        // A span in each trace that the batch belongs to, over the write that makes it durable.
        let spans = spans_of(&records);
        let decode = |name: &signalbox_model::ids::WorkflowName, source: &[u8]| {
            definition::decode(source, &name.project)
        };
        let durable = self
            .app
            .apply_records_or_pass_over(
                (node, incarnation),
                &records,
                u64::try_from(last).unwrap_or(0),
                &decode,
            )
            .instrument(spans.first().cloned().unwrap_or_else(Span::none))
            .await?;
        metrics::counter!("signalbox_report_records_total").increment(count as u64);
        Ok(durable)
    }
}

fn spans_of(records: &[SequencedRecord]) -> Vec<Span> {
    let mut seen = HashSet::new();
    let mut spans = Vec::new();
    for SequencedRecord { record, .. } in records {
        let Some(traceparent) = &record.traceparent else {
            continue;
        };
        let name = match &record.body {
            RecordBody::Accepted(accepted) => &accepted.execution,
            RecordBody::Execution { execution, .. } => execution,
            RecordBody::Delivery(_) | RecordBody::Subscription(_) | RecordBody::Certificate(_) => {
                continue;
            }
        };
        if spans.len() >= SPANS_MAX || !seen.insert(name) {
            continue;
        }
        let span = tracing::info_span!(
            parent: None,
            "store",
            otel.name = "store execution",
            otel.kind = "internal",
            signalbox.execution = %name,
        );
        context::set_parent(&span, traceparent);
        spans.push(span);
    }
    spans
}

/// Says which records are durable, or which uses of keys.
async fn answer(
    to: &mpsc::Sender<Result<ReportResponse, Status>>,
    durable: u64,
    key_uses_number: i64,
) -> Result<(), Status> {
    let response = ReportResponse {
        durable_sequence: i64::try_from(durable).unwrap_or(i64::MAX),
        key_uses_number,
    };
    to.send(Ok(response))
        .await
        .map_err(|_| Status::cancelled("the node has gone"))
}

#[tonic::async_trait]
impl ReportService for Reports {
    type ReportStream = ReceiverStream<Result<ReportResponse, Status>>;

    async fn report(
        &self,
        request: Request<Streaming<ReportRequest>>,
    ) -> Result<Response<Self::ReportStream>, Status> {
        let caller = Caller::anywhere(&request).map_err(to_status)?;
        let mut incoming = request.into_inner();
        let first = tokio::time::timeout(HELLO_TIMEOUT, incoming.next()).await;
        let Ok(Some(Ok(ReportRequest {
            message:
                Some(report_request::Message::Hello(ReportHello {
                    node_id,
                    incarnation,
                })),
        }))) = first
        else {
            return Err(to_status(Error::invalid(
                "message",
                "the first message must be hello",
            )));
        };
        let node: NodeId = node_id
            .parse()
            .map_err(|error: signalbox_model::ids::IdError| {
                to_status(Error::invalid("hello.node_id", error.to_string()))
            })?;
        caller.check_node(&node).map_err(to_status)?;
        let (outgoing, stream) = mpsc::channel(OUTGOING_MAX);
        let reports = self.clone();
        self.shutdown.spawn(async move {
            let ended = tokio::select! {
                ended = reports.follow(&node, &incarnation, &mut incoming, &outgoing) => ended,
                () = reports.shutdown.stopping() => Ok(()),
            };
            if let Err(status) = ended {
                tracing::debug!(%node, reason = status.message(), "a report stream ends");
                let _ = outgoing.try_send(Err(status));
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}
