//! Retiring a node: it takes nothing more, ends what it has, reports it, and ends. Its data folder is needed by nobody then.

use std::{fmt, sync::Arc, time::Duration};

use jiff::Timestamp;
use signalbox_runtime::{admin::Check, shutdown::Shutdown};
use tokio::time::Instant;

use crate::spool::{Spool, SpoolError};

/// How often it looks whether anything is left.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// How often it says what is left.
const TELL_EVERY: Duration = Duration::from_secs(30);
/// Confirmations that are counted.
const CONFIRMATIONS_MAX: usize = 1000;

/// The end of a node's life, begun or not. Clones are the same.
#[derive(Clone)]
pub struct Retirement {
    spool: Arc<dyn Spool>,
    /// Stops when it begins, and for no other reason.
    begun: Shutdown,
    /// Stops when no more messages are taken.
    taking: Shutdown,
    /// The webhook listener and its connections.
    ingress: Shutdown,
}

/// What a node has left. Each of it is lost with the node's data folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Executions that have not ended.
    pub executions: u64,
    /// Those of them that wait for a time or a signal, on the disk.
    pub parked: u64,
    /// Records that the control plane does not have.
    pub records: u64,
    /// Subscriptions that are not confirmed.
    pub confirmations: usize,
}

impl Left {
    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            executions,
            parked,
            records,
            confirmations,
        } = self;
        write!(
            f,
            "{executions} executions that have not ended ({parked} of them wait), {records} records that are not reported, \
             {confirmations} subscriptions that are not confirmed"
        )
    }
}

/// A retirement that has ended with something left.
#[derive(Debug, thiserror::Error)]
#[error("the node is not retired, its data folder is still needed: {0}")]
pub struct NotRetired(pub Left);

impl Retirement {
    pub(crate) fn new(spool: Arc<dyn Spool>, taking: Shutdown, ingress: Shutdown) -> Self {
        Self {
            spool,
            begun: Shutdown::new(),
            taking,
            ingress,
        }
    }

    /// From now on no more messages are taken. Once is enough.
    pub fn begin(&self) {
        self.begun.stop();
        self.taking.stop();
    }

    /// Completes when the node is to end: it has begun, and nothing is left or `limit` has passed. Never, where it does not begin.
    pub async fn over(&self, limit: Duration) {
        self.begun.stopping().await;
        tracing::info!(
            ?limit,
            "retiring: no more messages are taken; what is there is ended and reported"
        );
        if tokio::time::timeout(limit, self.done()).await.is_err() {
            tracing::error!(left = %self.left_of_spool(), "retiring has come to its time limit");
        }
    }

    async fn done(&self) {
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        let mut told = Instant::now();
        let mut is_closed = false;
        loop {
            look.tick().await;
            let left = match self.left().await {
                Ok(left) => left,
                Err(error) => {
                    tracing::debug!(%error, "it is not known what is left");
                    continue;
                }
            };
            if left.is_empty() && is_closed {
                tracing::info!("nothing is left: the node can go");
                return;
            }
            if left.is_empty() {
                // What is being handled may still bring something.
                self.ingress.stop();
                self.ingress.ended().await;
                is_closed = true;
            } else if told.elapsed() >= TELL_EVERY {
                tracing::info!(%left, "retiring");
                told = Instant::now();
            }
        }
    }

    /// What is left.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub async fn left(&self) -> Result<Left, SpoolError> {
        let unconfirmed = self
            .spool
            .due_handshakes(Timestamp::MAX, CONFIRMATIONS_MAX)
            .await?;
        Ok(Left {
            confirmations: unconfirmed.len(),
            ..self.left_of_spool()
        })
    }

    fn left_of_spool(&self) -> Left {
        let stats = self.spool.stats();
        Left {
            executions: stats.unfinished_executions,
            parked: stats.parked_executions,
            records: stats.unreported_records,
            confirmations: 0,
        }
    }

    /// Whether it has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.begun.is_stopping()
    }

    /// A check that fails while it goes on; none before.
    pub(crate) fn check(&self) -> Option<Check> {
        self.has_begun()
            .then(|| Check::failing("retiring", self.left_of_spool().to_string()))
    }
}

impl fmt::Debug for Retirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retirement")
            .field("has_begun", &self.has_begun())
            .finish_non_exhaustive()
    }
}
