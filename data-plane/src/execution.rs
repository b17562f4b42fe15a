//! Runs executions: claims them from the spool, drives their machines, performs what these ask of the world.
//!
//! Every fact is durable before it is acted on. A task that is dropped at any point leaves an execution that the next
//! start goes on with.

mod admission;
mod aws;
mod cancel;
mod children;
mod drive;
mod email;
mod http;
mod links;
mod performers;
mod places;
mod plans;
mod script;
mod secrets;
mod span;
mod wakes;

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use jiff::Timestamp;
use signalbox_engine::{Effect, LinkMaker, Outcome};
use signalbox_model::ids::WorkflowName;
use signalbox_runtime::{
    ambient::{Ambient, System},
    backoff::Backoff,
    shutdown::Shutdown,
};

use self::{
    admission::{Admissions, Begun, Unlimited},
    drive::Drive,
    places::{Permit, Places},
    plans::Plans,
};
use crate::spool::{Claimed, Spool, SpoolError};

pub use self::{
    admission::{ConcurrencyLimit, ConcurrencyLimits},
    aws::{AwsPerformer, CredentialSource, NodeIdentity, metadata_policy},
    cancel::{Asked, Cancels},
    children::{NoWorkflows, Unavailable, WorkflowSource},
    email::EmailPerformer,
    http::HttpPerformer,
    links::{LINK_KEY_FILE, LinkKey, LinkKeyError, NodeLinks},
    performers::Performers,
    script::ScriptPerformer,
    secrets::{NoSecrets, SecretSource},
    wakes::Wakes,
};

/// Executions claimed at once.
const CLAIM_MAX: usize = 64;
/// How often the spool is asked although nobody said that there is something.
const CLAIM_INTERVAL: Duration = Duration::from_secs(5);
/// Executions in memory for each that may run: the others wait for a time that is near (those that wait longer are parked
/// in the spool). When all places are taken, nothing more is claimed until one is free; it is safe in the spool until then.
const RESIDENTS_PER_RUNNING: usize = 8;
/// How long executions that steps start are remembered unless the configuration says so.
const DEDUPLICATION_WINDOW_DEFAULT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Ends of the process in a row that may interrupt an execution, unless the configuration says so: very many, since whoever is under
/// way beside the one that ends it is counted, too, and a node that is killed before it gets anywhere is no fault of its executions.
pub const INTERRUPTIONS_MAX_DEFAULT: u32 = 250;
/// The pauses before the spool is asked again what it was too busy for.
const BUSY_PAUSE_MIN: Duration = Duration::from_millis(10);
const BUSY_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Performs effects.
pub trait Performer: Send + Sync + 'static {
    /// Makes one attempt, within the effect's timeout; it is dropped soon after that, or when the process is forced to
    /// end. The span of the attempt is the current one.
    fn perform(&self, effect: Effect) -> BoxFuture<'static, Outcome>;
}

/// Limits.
#[derive(Clone, Debug)]
pub struct ExecutionConfig {
    /// Executions that run at once. Those that wait for a time are not counted.
    pub concurrency_max: NonZeroUsize,
    /// Of those of one workflow.
    pub limits: Arc<dyn ConcurrencyLimits>,
    /// The time of day, and chance.
    pub ambient: Arc<dyn Ambient>,
    /// Whose end is asked for.
    pub cancels: Arc<Cancels>,
    /// Who was told something.
    pub wakes: Arc<Wakes>,
    /// Where their secrets are.
    pub secrets: Arc<dyn SecretSource>,
    /// What makes the links of their approvals; none: steps that send some fail.
    pub links: Option<Arc<dyn LinkMaker>>,
    /// Where the workflows are that their steps run.
    pub workflows: Arc<dyn WorkflowSource>,
    /// How long an execution that a step started is remembered after its start, at least.
    pub deduplication_window: Duration,
    /// Ends of the process in a row that may interrupt an execution: then it fails.
    pub interruptions_max: u32,
}

impl Default for ExecutionConfig {
    fn default() -> Self {
        Self {
            concurrency_max: NonZeroUsize::new(256).unwrap_or(NonZeroUsize::MIN),
            limits: Arc::new(Unlimited),
            ambient: System::shared(),
            cancels: Arc::default(),
            wakes: Arc::default(),
            secrets: Arc::new(NoSecrets),
            links: None,
            workflows: Arc::new(NoWorkflows),
            deduplication_window: DEDUPLICATION_WINDOW_DEFAULT,
            interruptions_max: INTERRUPTIONS_MAX_DEFAULT,
        }
    }
}

/// Runs a spool's executions.
pub struct ExecutionRuntime {
    spool: Arc<dyn Spool>,
    performer: Arc<dyn Performer>,
    plans: Plans,
    ambient: Arc<dyn Ambient>,
    cancels: Arc<Cancels>,
    wakes: Arc<Wakes>,
    secrets: Arc<dyn SecretSource>,
    links: Option<Arc<dyn LinkMaker>>,
    workflows: Arc<dyn WorkflowSource>,
    deduplication_window: Duration,
    interruptions_max: u32,
    admissions: Arc<Admissions>,
    /// Places of those that run.
    running: Arc<Places>,
    /// Places of those in memory.
    residents: Arc<Places>,
}

impl ExecutionRuntime {
    /// A runtime that performs all effects by `performer`.
    #[must_use]
    pub fn new(
        spool: Arc<dyn Spool>,
        performer: Arc<dyn Performer>,
        config: &ExecutionConfig,
    ) -> Self {
        let running_max = config.concurrency_max.get();
        let running = Places::new(running_max);
        let residents = Places::new(running_max.saturating_mul(RESIDENTS_PER_RUNNING));
        Self {
            admissions: Admissions::new(
                config.limits.clone(),
                config.cancels.clone(),
                [running.clone(), residents.clone()],
                spool.claimable(),
            ),
            spool,
            performer,
            plans: Plans::default(),
            ambient: config.ambient.clone(),
            cancels: config.cancels.clone(),
            wakes: config.wakes.clone(),
            secrets: config.secrets.clone(),
            links: config.links.clone(),
            workflows: config.workflows.clone(),
            deduplication_window: config.deduplication_window,
            interruptions_max: config.interruptions_max,
            running,
            residents,
        }
    }

    /// Until the shutdown, or until the spool has failed: then nothing new is claimed. Executions are tasks of
    /// `shutdown`. When it begins, those that wait end at once, and an attempt under way may finish and be journalled
    /// until it is forced; the next start goes on with all of them.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) {
        let claimable = self.spool.claimable();
        let mut due = self.spool.next_due();
        let mut busy = self.busy();
        loop {
            let place = tokio::select! {
                biased;
                () = shutdown.stopping() => return,
                place = self.place() => place,
            };
            // Before the claim, so that what comes in after it is not missed.
            let woken = claimable.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            due.borrow_and_update();
            let asked_at = self.ambient.now();
            let pause = match self.claim(place, &shutdown).await {
                Ok(0) => self.pause(*due.borrow(), asked_at),
                Ok(_) => {
                    busy.reset();
                    continue;
                }
                Err(SpoolError::Overloaded | SpoolError::Full) => {
                    tokio::select! {
                        biased;
                        () = shutdown.stopping() => return,
                        () = tokio::time::sleep(busy.next_delay()) => continue,
                    }
                }
                Err(error @ (SpoolError::Closed | SpoolError::Failed(_))) => {
                    tracing::error!(%error, "no more executions are started until a restart");
                    return;
                }
            };
            tokio::select! {
                biased;
                () = shutdown.stopping() => return,
                () = woken => {}
                Ok(()) = due.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Until the spool is asked again: a millisecond after the first parked execution is due, so that it is due for sure. One
    /// that was due when it was last asked has no room; whoever makes some says so.
    fn pause(&self, due: Option<Timestamp>, asked_at: Timestamp) -> Duration {
        let Some(due) = due.filter(|due| *due > asked_at) else {
            return CLAIM_INTERVAL;
        };
        let left = Duration::try_from(due.duration_since(self.ambient.now())).unwrap_or_default();
        CLAIM_INTERVAL.min(left + Duration::from_millis(1))
    }

    /// The pauses before the spool is asked again.
    fn busy(&self) -> Backoff {
        Backoff::seeded(BUSY_PAUSE_MIN, BUSY_PAUSE_MAX, self.ambient.random())
    }

    /// Room for one execution.
    async fn place(&self) -> Place {
        Place {
            resident: self.residents.for_claim().await,
            running: Some(self.running.for_claim().await),
            begun: None,
        }
    }

    /// Room for one more execution, if there is some now.
    fn another_place(&self) -> Option<Place> {
        Some(Place {
            resident: self.residents.for_claim_now()?,
            running: Some(self.running.for_claim_now()?),
            begun: None,
        })
    }

    /// Claims as many executions as there is room for, and starts them.
    async fn claim(self: &Arc<Self>, first: Place, to: &Shutdown) -> Result<usize, SpoolError> {
        let mut places = vec![first];
        places.extend(std::iter::from_fn(|| self.another_place()).take(CLAIM_MAX - 1));
        let count = places.len();
        let free = || [&self.running, &self.residents].map(|of| count + of.free());
        let [running, residents] = free();
        let admission = self.admissions.among([running, residents]);
        let all = self.spool.claim_admitted(count, admission).await?;
        // Left while it was claimed, when nobody knew yet that it was waited for.
        let [running_then, residents_then] = free();
        let was_left = running_then > running || residents_then > residents;
        let count = all.len();
        if count == 0 && was_left {
            self.admissions.left_place();
        }
        for (claimed, mut place) in all.into_iter().zip(places) {
            let workflow = claimed.accepted.workflow.clone();
            place.claimed_for(&workflow);
            place.begun = Some(self.admissions.begin(workflow));
            to.spawn(self.clone().execute(claimed, place, to.clone()));
        }
        Ok(count)
    }

    async fn execute(self: Arc<Self>, claimed: Claimed, place: Place, shutdown: Shutdown) {
        Drive::new(&self, claimed, place, &shutdown).run().await;
    }
}

/// Room for one execution: in memory, and, while it runs, among those that run.
struct Place {
    /// Held until the execution is gone.
    resident: Permit,
    running: Option<Permit>,
    /// Held until the execution is gone.
    begun: Option<Begun>,
}

impl Place {
    /// It is for an execution of `workflow`.
    fn claimed_for(&mut self, workflow: &WorkflowName) {
        for permit in self.running.iter_mut().chain([&mut self.resident]) {
            permit.claimed_for(workflow);
        }
    }
}

#[cfg(test)]
mod tests;
