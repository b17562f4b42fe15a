//! The node's end of the Report stream: sends what the control plane does not have, in order, and trims what it has.

mod window;

use std::{sync::Arc, time::Duration};

use signalbox_client::Client;
use signalbox_model::ids::NodeId;
use signalbox_proto::{convert, dataplane::v1 as wire};
use signalbox_runtime::{backoff::Backoff, shutdown::Shutdown};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use self::window::Window;
use crate::spool::{Spool, SpoolError};

/// Records of one batch.
const BATCH_RECORDS_MAX: usize = 500;
/// Size of one batch, as the spool keeps it.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Batches sent and not yet acknowledged.
const UNACKNOWLEDGED_MAX: usize = 4;
/// How long the control plane may take to acknowledge a batch.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long opening the stream may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Reports a node's records.
pub struct ReportClient {
    /// Which node.
    pub node: NodeId,
    /// The control plane.
    pub client: Client,
    /// Where the records are.
    pub spool: Arc<dyn Spool>,
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum ReportError {
    #[error("{}", .0.message())]
    Status(Status),
    #[error("the control plane closed the stream")]
    Closed,
    #[error("the control plane did not acknowledge within {ACKNOWLEDGE_TIMEOUT:?}")]
    Silence,
    #[error("the spool cannot be read")]
    Spool(#[from] SpoolError),
}

impl From<Status> for ReportError {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

impl ReportClient {
    /// Until the shutdown; reconnects with jittered pauses.
    pub async fn run(self, shutdown: Shutdown) {
        let mut backoff = Backoff::reconnect();
        let mut told = String::new();
        loop {
            let ended = tokio::select! {
                () = shutdown.stopping() => return,
                ended = self.follow(&mut backoff, &mut told) => ended,
            };
            if let Err(error) = ended {
                let reason = signalbox_runtime::exit::chain(&error);
                if told == reason {
                    tracing::debug!(reason, "still not reporting");
                } else {
                    tracing::warn!(reason, "not reporting; records wait in the spool");
                    told = reason;
                }
            }
            tokio::select! {
                () = shutdown.stopping() => return,
                () = tokio::time::sleep(backoff.next_delay()) => {}
            }
        }
    }

    /// One stream, to its end.
    async fn follow(&self, backoff: &mut Backoff, told: &mut String) -> Result<(), ReportError> {
        let (requests, outgoing) = mpsc::channel(UNACKNOWLEDGED_MAX + 1);
        let hello = wire::ReportHello {
            node_id: self.node.to_string(),
            incarnation: self.spool.incarnation().to_owned(),
        };
        send(&requests, wire::report_request::Message::Hello(hello)).await?;
        let mut client = self.client.report();
        let opening = client.report(ReceiverStream::new(outgoing));
        let mut incoming = tokio::time::timeout(OPEN_TIMEOUT, opening)
            .await
            .map_err(|_| ReportError::Silence)??
            .into_inner();
        let mut head = self.spool.head();
        let first = tokio::time::timeout(ACKNOWLEDGE_TIMEOUT, incoming.message())
            .await
            .map_err(|_| ReportError::Silence)??
            .ok_or(ReportError::Closed)?;
        // No more than this spool has: it may have been put back to an older state.
        let durable = sequence(&first).min(*head.borrow());
        self.trim(durable).await?;
        let mut window = Window::new(durable, UNACKNOWLEDGED_MAX);
        if !told.is_empty() {
            tracing::info!(durable, "reporting again");
            told.clear();
        }
        loop {
            let newest = *head.borrow_and_update();
            if window.has_room() && newest > window.sent() {
                let records = self
                    .spool
                    .unreported(window.sent(), BATCH_RECORDS_MAX, BATCH_BYTES_MAX)
                    .await?;
                if let Some(last) = records.last().map(|record| record.sequence) {
                    let records = records.into_iter().map(convert::record::to_wire).collect();
                    let batch = wire::RecordBatch { records };
                    send(&requests, wire::report_request::Message::Batch(batch)).await?;
                    window.sent_up_to(last);
                    continue;
                }
            }
            let patience = window.oldest().map(|sent| sent + ACKNOWLEDGE_TIMEOUT);
            tokio::select! {
                response = incoming.message() => {
                    let response = response?.ok_or(ReportError::Closed)?;
                    let durable = sequence(&response);
                    if window.acknowledged(durable) {
                        backoff.reset();
                        self.trim(durable).await?;
                    }
                }
                changed = head.changed(), if window.has_room() => {
                    changed.map_err(|_| SpoolError::Closed)?;
                }
                () = expired(patience) => return Err(ReportError::Silence),
            }
        }
    }

    async fn trim(&self, durable: u64) -> Result<(), SpoolError> {
        self.spool.trim(durable).await?;
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a double")]
        metrics::gauge!("signalbox_report_durable_sequence").set(durable as f64);
        Ok(())
    }
}

async fn expired(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn sequence(response: &wire::ReportResponse) -> u64 {
    u64::try_from(response.durable_sequence).unwrap_or(0)
}

async fn send(
    to: &mpsc::Sender<wire::ReportRequest>,
    message: wire::report_request::Message,
) -> Result<(), ReportError> {
    let request = wire::ReportRequest {
        message: Some(message),
    };
    tokio::time::timeout(ACKNOWLEDGE_TIMEOUT, to.send(request))
        .await
        .map_err(|_| ReportError::Silence)?
        .map_err(|_| ReportError::Closed)
}
