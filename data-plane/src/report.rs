//! The node's end of the Report stream: sends what the control plane does not have, in order, and trims what it has.

mod uses;
mod window;

use std::{sync::Arc, time::Duration};

use signalbox_client::Client;
use signalbox_model::ids::NodeId;
use signalbox_proto::{convert, dataplane::v1 as wire};
use signalbox_runtime::{ambient::Ambient, backoff::Backoff, shutdown::Shutdown};
use tokio::{
    sync::{mpsc, watch},
    time::MissedTickBehavior,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use self::{uses::Uses, window::Window};
use crate::{
    config::ConfigStore,
    spool::{Spool, SpoolError},
    sync::LASTED,
};

/// Records of one batch.
const BATCH_RECORDS_MAX: usize = 500;
/// Size of one batch, as the spool keeps it.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Batches sent and not yet acknowledged.
const UNACKNOWLEDGED_MAX: usize = 4;
/// Pause before the spool is asked again to forget what it had no room to.
const TRIM_PAUSE: Duration = Duration::from_millis(200);
/// A stream that lasted this long has proved to work, also when there was nothing to report.
const PROVED_AFTER: Duration = Duration::from_secs(60);

/// What the streams wait for, and how long.
#[derive(Clone, Copy, Debug)]
struct Timing {
    /// How long the control plane may take to acknowledge a batch.
    acknowledge_timeout: Duration,
    /// How long opening the stream may take.
    open_timeout: Duration,
    /// How often it is looked which keys were used.
    uses_interval: Duration,
    /// At the end: how long the control plane may take to acknowledge something more.
    last_answer: Duration,
    /// At the end: how long it may take to be reached.
    last_try: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            acknowledge_timeout: Duration::from_secs(30),
            open_timeout: Duration::from_secs(10),
            uses_interval: Duration::from_secs(5),
            last_answer: Duration::from_secs(5),
            last_try: Duration::from_secs(1),
        }
    }
}

/// Reports a node's records.
pub struct ReportClient {
    /// Which node.
    pub node: NodeId,
    /// The control plane.
    pub client: Client,
    /// Where the records are.
    pub spool: Arc<dyn Spool>,
    /// The keys whose last uses are told; none: nothing is told of them.
    pub keys: Option<Arc<ConfigStore>>,
    /// The time of day; chance, for the pauses between streams.
    pub ambient: Arc<dyn Ambient>,
}

/// How far it is.
struct Progress {
    /// Up to where the control plane has everything.
    durable: watch::Sender<u64>,
    connected: watch::Sender<bool>,
}

impl Progress {
    fn set_connected(&self, connected: bool) {
        metrics::gauge!("signalbox_report_connected").set(f64::from(u8::from(connected)));
        self.connected.send_replace(connected);
    }
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum ReportError {
    #[error("{}", .0.message())]
    Status(Status),
    /// What it was opened with; there may be a newer one.
    #[error("the token that the stream was opened with has ended")]
    TokenEnded,
    #[error("the control plane closed the stream")]
    Closed,
    #[error("no answer from the control plane within {0:?}")]
    Silence(Duration),
    #[error("the spool cannot be read")]
    Spool(#[from] SpoolError),
}

impl From<Status> for ReportError {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

impl ReportClient {
    /// Until the shutdown, and then until everything is reported that there is when the tasks of `work` have ended; but a control
    /// plane that is not there, or takes nothing, holds the end up for no more than a moment. Reconnects with jittered pauses, to
    /// another control plane where there are several.
    pub async fn run(self, work: Shutdown, shutdown: Shutdown) {
        self.run_with(Timing::default(), work, shutdown).await;
    }

    async fn run_with(self, timing: Timing, work: Shutdown, shutdown: Shutdown) {
        let stats = self.spool.stats();
        let reported = self
            .spool
            .head()
            .borrow()
            .saturating_sub(stats.unreported_records);
        let progress = Progress {
            durable: watch::Sender::new(reported),
            connected: watch::Sender::new(false),
        };
        let over = self.over(timing, (&work, &shutdown), &progress);
        tokio::pin!(over);
        let mut backoff = Backoff::reconnect_seeded(self.ambient.random());
        let mut told = String::new();
        loop {
            let began = tokio::time::Instant::now();
            let place = self.client.place();
            let ended = tokio::select! {
                biased;
                () = &mut over => return,
                ended = self.follow(timing, &mut backoff, &mut told, &progress) => ended,
            };
            progress.set_connected(false);
            if matches!(ended, Err(ReportError::TokenEnded)) && began.elapsed() >= LASTED {
                tracing::debug!("the stream is opened anew with the current token");
                continue;
            }
            self.client.leave(place);
            if began.elapsed() >= PROVED_AFTER {
                backoff.reset();
            }
            if let Err(error) = ended {
                if let ReportError::Status(status) = &error {
                    self.client.note_refusal(status);
                }
                let reason = signalbox_runtime::exit::chain(&error);
                if told == reason {
                    tracing::debug!(reason, "still not reporting");
                } else {
                    tracing::warn!(reason, "not reporting; records wait in the spool");
                    told = reason;
                }
            }
            tokio::select! {
                biased;
                () = &mut over => return,
                () = tokio::time::sleep(backoff.next_delay()) => {}
            }
        }
    }

    /// Until nothing is left to report at the end, or nothing comes of it any more.
    async fn over(
        &self,
        timing: Timing,
        (work, shutdown): (&Shutdown, &Shutdown),
        progress: &Progress,
    ) {
        shutdown.stopping().await;
        tokio::select! {
            biased;
            () = shutdown.forced() => return,
            () = work.ended() => {}
        }
        let head = self.spool.head();
        let mut durable = progress.durable.subscribe();
        let mut connected = progress.connected.subscribe();
        loop {
            let left = head.borrow().saturating_sub(*durable.borrow_and_update());
            if left == 0 || self.spool.stats().unreported_records == 0 {
                return;
            }
            let patience = match *connected.borrow_and_update() {
                true => timing.last_answer,
                false => timing.last_try,
            };
            tokio::select! {
                biased;
                () = shutdown.forced() => return,
                Ok(()) = durable.changed() => {}
                Ok(()) = connected.changed() => {}
                () = tokio::time::sleep(patience) => {
                    tracing::warn!(records = left, "the control plane takes no more: the next start reports the rest");
                    return;
                }
            }
        }
    }

    /// One stream, to its end.
    async fn follow(
        &self,
        timing: Timing,
        backoff: &mut Backoff,
        told: &mut String,
        progress: &Progress,
    ) -> Result<(), ReportError> {
        self.client.token_ready().await;
        let silence = || ReportError::Silence(timing.acknowledge_timeout);
        let (requests, outgoing) = mpsc::channel(UNACKNOWLEDGED_MAX + 2);
        let hello = wire::ReportHello {
            node_id: self.node.to_string(),
            incarnation: self.spool.incarnation().to_owned(),
        };
        send(&requests, wire::report_request::Message::Hello(hello)).await?;
        let mut client = self.client.report();
        let opening = client.report(ReceiverStream::new(outgoing));
        let mut incoming = tokio::time::timeout(timing.open_timeout, opening)
            .await
            .map_err(|_| ReportError::Silence(timing.open_timeout))??
            .into_inner();
        let mut head = self.spool.head();
        let first = tokio::time::timeout(timing.acknowledge_timeout, incoming.message())
            .await
            .map_err(|_| silence())??
            .ok_or(ReportError::Closed)?;
        let newest = *head.borrow();
        if sequence(&first) > newest {
            tracing::error!(
                newest,
                reported = sequence(&first),
                "the control plane has records that this spool never wrote: its folder was put back to an older state, \
                 and what it records next may be taken for known"
            );
        }
        let durable = sequence(&first).min(newest);
        self.trim(durable, progress).await?;
        progress.set_connected(true);
        let mut window = Window::new(durable, UNACKNOWLEDGED_MAX);
        if !told.is_empty() {
            tracing::info!(durable, "reporting again");
            told.clear();
        }
        let mut uses = Uses::new(self.keys.as_deref());
        let mut look = tokio::time::interval(timing.uses_interval);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let newest = *head.borrow_and_update();
            if window.has_room() && newest > window.sent() {
                let records = self
                    .spool
                    .unreported(window.sent(), BATCH_RECORDS_MAX, BATCH_BYTES_MAX)
                    .await?;
                if let Some(last) = records.last().map(|record| record.sequence) {
                    let count = records.len() as u64;
                    let records = records.into_iter().map(convert::record::to_wire).collect();
                    let batch = wire::RecordBatch { records };
                    send(&requests, wire::report_request::Message::Batch(batch)).await?;
                    window.sent_up_to(last);
                    metrics::counter!("signalbox_report_sent_records_total").increment(count);
                    continue;
                }
            }
            let patience = window
                .oldest()
                .map(|sent| sent + timing.acknowledge_timeout);
            tokio::select! {
                biased;
                _ = look.tick(), if self.keys.is_some() => {
                    if let Some(uses) = uses.next(self.ambient.now()) {
                        send(&requests, wire::report_request::Message::KeyUses(uses)).await?;
                    }
                }
                response = incoming.message() => {
                    let response = response.map_err(ended)?.ok_or(ReportError::Closed)?;
                    uses.answered(response.key_uses_number);
                    if let Some(durable) = window.acknowledged(sequence(&response)) {
                        backoff.reset();
                        self.trim(durable, progress).await?;
                    }
                }
                changed = head.changed(), if window.has_room() => {
                    changed.map_err(|_| SpoolError::Closed)?;
                }
                () = expired(patience) => return Err(silence()),
            }
        }
    }

    async fn trim(&self, durable: u64, progress: &Progress) -> Result<(), SpoolError> {
        loop {
            match self.spool.trim(durable).await {
                Ok(()) => break,
                // What is forgotten makes room: that it is done matters more than the next batch. The stream waits.
                Err(SpoolError::Full | SpoolError::Overloaded) => {
                    tokio::time::sleep(TRIM_PAUSE).await;
                }
                Err(error @ (SpoolError::Closed | SpoolError::Failed(_))) => return Err(error),
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a double")]
        metrics::gauge!("signalbox_report_durable_sequence").set(durable as f64);
        progress.durable.send_replace(durable);
        Ok(())
    }
}

/// Why an open stream ended.
fn ended(status: Status) -> ReportError {
    match signalbox_client::token_has_ended(&status) {
        true => ReportError::TokenEnded,
        false => ReportError::Status(status),
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
    let send_timeout = Timing::default().acknowledge_timeout;
    tokio::time::timeout(send_timeout, to.send(request))
        .await
        .map_err(|_| ReportError::Silence(send_timeout))?
        .map_err(|_| ReportError::Closed)
}

#[cfg(test)]
mod tests;
