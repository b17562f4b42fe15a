//! One execution under way.

use std::{
    future::poll_fn,
    panic::AssertUnwindSafe,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use futures::{FutureExt as _, future::BoxFuture};
use jiff::Timestamp;
use signalbox_engine::{
    AttemptFailure, ChildCall, Decision, Effect, EffectKind, Machine, Outcome, codes,
};
use signalbox_model::{
    execution::{ExecutionState, Fact, Failure},
    ids::{ExecutionName, WorkflowName},
    record::{Record, RecordBody, SequencedRecord},
};
use signalbox_runtime::{shutdown::Shutdown, telemetry::context};
use tokio::sync::watch;
use tracing::{Instrument as _, Span};

use super::{
    ExecutionRuntime, Place,
    cancel::Cancels,
    children::{Kin, Nursery},
    span::{self, StepSpans},
    wakes::Driven,
};
use crate::spool::{Claimed, SpoolError};

/// How long a performer may be late before it is dropped.
const PERFORMER_GRACE: Duration = Duration::from_millis(500);
/// Longest wait in memory; for what is further away the execution is parked in the spool.
const SLEEP_MAX: Duration = Duration::from_secs(5);

/// One execution under way.
pub(super) struct Drive<'a> {
    runtime: &'a ExecutionRuntime,
    shutdown: &'a Shutdown,
    place: Place,
    execution: ExecutionName,
    workflow: WorkflowName,
    received_at: Timestamp,
    /// None once it was taken.
    claimed: Option<Claimed>,
    span: Span,
    traceparent: Option<String>,
    steps: StepSpans,
    kin: Kin,
    /// Changes with each request to end an execution, of whichever.
    cancels: watch::Receiver<()>,
    /// Woken when it was told something, which then stands in the spool after `told_until`.
    wake: Driven,
    told_until: u64,
    /// The latest time that was told, and when that was: a clock that is set back takes neither the history with it, nor
    /// holds up a wait by as much.
    latest: Timestamp,
    told: tokio::time::Instant,
}

/// How driving an execution ended.
enum End {
    /// It has ended.
    Ended(ExecutionState),
    /// The process ends first; the next start goes on with it.
    Left,
    /// It waits for a time, in the spool.
    Parked,
}

impl<'a> Drive<'a> {
    pub(super) fn new(
        runtime: &'a ExecutionRuntime,
        claimed: Claimed,
        place: Place,
        shutdown: &'a Shutdown,
    ) -> Self {
        let span = span::execution(&claimed);
        let traceparent = context::traceparent(&span).or_else(|| claimed.traceparent.clone());
        Self {
            runtime,
            shutdown,
            place,
            execution: claimed.accepted.execution.clone(),
            workflow: claimed.accepted.workflow.clone(),
            received_at: claimed.accepted.event.received_at,
            // Not all of them are told in order of time: signals are journalled by others.
            latest: claimed
                .journal
                .iter()
                .map(|record| record.time)
                .max()
                .unwrap_or(Timestamp::MIN),
            told: tokio::time::Instant::now(),
            wake: runtime.wakes.driven(&claimed.accepted.execution),
            told_until: claimed.journal_until,
            kin: Kin::new(&claimed.accepted),
            claimed: Some(claimed),
            steps: StepSpans::new(span.clone()),
            cancels: runtime.cancels.changes(),
            span,
            traceparent,
        }
    }

    /// Until the execution has ended or must be left.
    pub(super) async fn run(mut self) {
        let span = self.span.clone();
        let _running = Gauge::new("signalbox_executions_running");
        let end = async {
            match AssertUnwindSafe(self.until_end()).catch_unwind().await {
                Ok(end) => end,
                // A bug. The execution ends, or it would break off at every start.
                Err(_) => {
                    tracing::error!("the execution panicked");
                    let failure = Failure::new(codes::INTERNAL, "the execution broke off");
                    self.fail(failure).await
                }
            }
        }
        .instrument(span.clone())
        .await;
        match end {
            Ok(End::Ended(state)) => {
                span::ended(&span, state);
                let state = span::name(state);
                metrics::counter!("signalbox_executions_total", "state" => state).increment(1);
                let took = self.runtime.ambient.now().duration_since(self.received_at);
                metrics::histogram!("signalbox_execution_duration_seconds", "state" => state)
                    .record(took.as_secs_f64().max(0.0));
            }
            Ok(End::Left | End::Parked) => {}
            Err(error) => span.in_scope(|| {
                tracing::error!(%error, "the execution stops here; the next start goes on with it");
            }),
        }
    }

    async fn until_end(&mut self) -> Result<End, SpoolError> {
        let Some(claimed) = self.claimed.take() else {
            return Ok(End::Left);
        };
        for record in &claimed.journal {
            if let RecordBody::Execution { fact, .. } = &record.body {
                self.kin.follow(fact);
            }
        }
        if claimed.interruptions >= self.runtime.interruptions_max {
            return self
                .fail(too_often_interrupted(claimed.interruptions))
                .await;
        }
        let mut machine = match self.machine(claimed).await {
            Ok(machine) => machine,
            Err(failure) => return self.fail(failure).await,
        };
        let mut under_way = UnderWay::default();
        self.tell_secrets(&mut machine);
        let mut decision = if self.is_cancelled() {
            machine.cancel(self.now())
        } else {
            machine.decide(self.now())
        };
        loop {
            decision = match decision {
                Decision::Done(state) => return Ok(End::Ended(state)),
                Decision::Journal(mut facts) => {
                    let stopping = self.shutdown.is_stopping();
                    if stopping {
                        keep_performed(&mut facts);
                    }
                    if !facts.is_empty() && !self.journal(&facts).await? {
                        return Ok(End::Left);
                    }
                    match facts.last() {
                        Some(Fact::Finished { state, .. }) => return Ok(End::Ended(*state)),
                        _ if stopping && under_way.is_empty() => return Ok(End::Left),
                        _ => {
                            self.tell_secrets(&mut machine);
                            machine.decide(self.now())
                        }
                    }
                }
                Decision::Await { .. } if self.is_cancelled() => machine.cancel(self.now()),
                Decision::Await { .. } if self.wake.is_due() => {
                    self.hear(&mut machine).await?;
                    machine.decide(self.now())
                }
                Decision::Await { attempts, .. } if self.is_to_begin_child(&attempts) => {
                    self.begin_child(&mut machine, &attempts).await
                }
                Decision::Await { attempts, wake_at } => {
                    self.set_under_way(&mut under_way, &attempts);
                    let next = self.next(&mut under_way, wake_at).await?;
                    self.tell_secrets(&mut machine);
                    match next {
                        Next::Ended(effect, outcome) => {
                            machine.attempt_ended(&effect.step, effect.attempt, outcome, self.now())
                        }
                        // Before anything begins that would have to be waited for.
                        Next::Due if self.is_cancelled() => machine.cancel(self.now()),
                        Next::Due => machine.decide(self.now()),
                        Next::Leave => return Ok(End::Left),
                        Next::Parked => return Ok(End::Parked),
                    }
                }
            };
        }
    }

    /// The execution's machine, as far as its journal goes.
    async fn machine(&mut self, claimed: Claimed) -> Result<Machine, Failure> {
        let accepted = &claimed.accepted;
        let plans = &self.runtime.plans;
        let project = &accepted.workflow.project;
        let plan = plans.get(&claimed.definition, project).await?;
        if let Some(begun) = &self.place.begun {
            begun.learn(plan.executions_max().into());
        }
        let mut machine = Machine::new(plan, accepted);
        if let Some(links) = &self.runtime.links {
            machine.set_links(links.clone());
        }
        for record in &claimed.journal {
            if let RecordBody::Execution { fact, .. } = &record.body {
                machine
                    .replay(fact, record.time)
                    .map_err(|error| Failure::new(codes::INTERNAL, error.to_string()))?;
                self.steps.follow(fact);
            }
        }
        Ok(machine)
    }

    /// Tells the machine what the execution was told since it was claimed, or last asked.
    async fn hear(&mut self, machine: &mut Machine) -> Result<(), SpoolError> {
        let spool = &self.runtime.spool;
        let told = spool.told(self.execution.clone(), self.told_until).await?;
        for SequencedRecord { sequence, record } in told {
            self.told_until = sequence;
            self.latest = self.latest.max(record.time);
            if let RecordBody::Execution { fact, .. } = &record.body {
                self.kin.follow(fact);
                machine.hear(fact);
            }
        }
        Ok(())
    }

    /// Whether one of `attempts` is to start an execution; none does once the process is to end.
    fn is_to_begin_child(&self, attempts: &[Arc<Effect>]) -> bool {
        !self.shutdown.is_stopping() && child_of(attempts).is_some()
    }

    /// Starts the first execution that one of `attempts` is to start, as far as that goes without the fact that says so.
    async fn begin_child(&mut self, machine: &mut Machine, attempts: &[Arc<Effect>]) -> Decision {
        let now = self.now();
        let Some((effect, call)) = child_of(attempts) else {
            return machine.decide(now);
        };
        let span = self.steps.attempt(effect);
        let traceparent = context::traceparent(&span).or_else(|| self.traceparent.clone());
        let nursery = Nursery {
            workflows: self.runtime.workflows.as_ref(),
            spool: self.runtime.spool.as_ref(),
            deduplication_window: self.runtime.deduplication_window,
        };
        let begun = self.kin.begin(&nursery, effect, call, (now, traceparent));
        let outcome = match begun.await {
            Ok(child) => Outcome::Child(child),
            Err(failure) => Outcome::Failed(failure),
        };
        let kind = effect.kind.name();
        let result = span::outcome(&span, &span::success(effect), &outcome);
        metrics::counter!("signalbox_step_attempts_total", "kind" => kind, "outcome" => result)
            .increment(1);
        machine.attempt_ended(&effect.step, effect.attempt, outcome, now)
    }

    /// Tells `machine` what the secrets are now that its definition names.
    fn tell_secrets(&self, machine: &mut Machine) {
        let named = machine.secrets_named();
        if !named.is_empty() {
            let project = &self.execution.project;
            let secrets = self.runtime.secrets.secrets(project, &named);
            let masks = self.runtime.secrets.masks(project, &named);
            machine.set_secrets(secrets, &masks);
        }
    }

    /// Ends the execution whatever its steps are.
    async fn fail(&mut self, failure: Failure) -> Result<End, SpoolError> {
        tracing::warn!(%failure, "the execution cannot go on");
        self.now();
        let finished = Fact::Finished {
            state: ExecutionState::Failed,
            output: None,
            error: Some(failure),
        };
        if self.journal(&[finished]).await? {
            Ok(End::Ended(ExecutionState::Failed))
        } else {
            Ok(End::Left)
        }
    }

    /// The time. It never goes back, and never stands still: where the clock was set back, it goes on from the latest.
    fn now(&mut self) -> Timestamp {
        let passed = self.latest.saturating_add(self.told.elapsed());
        self.latest = self
            .runtime
            .ambient
            .now()
            .max(passed.unwrap_or(self.latest));
        self.told = tokio::time::Instant::now();
        self.latest
    }

    /// Makes facts durable that happened at the latest time. False: the process was forced to end first.
    async fn journal(&mut self, facts: &[Fact]) -> Result<bool, SpoolError> {
        let records: Vec<Record> = facts
            .iter()
            .map(|fact| Record {
                time: self.latest,
                traceparent: self.steps.follow(fact).or_else(|| self.traceparent.clone()),
                body: RecordBody::Execution {
                    execution: self.execution.clone(),
                    fact: fact.clone(),
                },
            })
            .collect();
        let ended = matches!(facts.last(), Some(Fact::Finished { .. }));
        let mut along = self.kin.along(&records);
        along.only_repeats = facts
            .iter()
            .all(|fact| matches!(fact, Fact::AttemptStarted { repeated, .. } if *repeated));
        let mut busy = self.runtime.busy();
        loop {
            let (spool, execution) = (&self.runtime.spool, self.execution.clone());
            let journalled = spool.journal_along(execution, records.clone(), ended, along.clone());
            match journalled.await {
                Ok(unheard) => {
                    self.runtime.wakes.wake_all(&unheard).await;
                    return Ok(true);
                }
                // What it is too busy for now it takes later; the execution waits meanwhile.
                Err(SpoolError::Overloaded | SpoolError::Full) => {}
                Err(error @ (SpoolError::Closed | SpoolError::Failed(_))) => return Err(error),
            }
            tokio::select! {
                biased;
                () = tokio::time::sleep(busy.next_delay()) => {}
                () = self.shutdown.forced() => return Ok(false),
            }
        }
    }

    /// Whether its end was asked for. True once for each time.
    fn is_cancelled(&self) -> bool {
        self.runtime.cancels.take(&self.execution)
    }

    /// Lets exactly `attempts` be under way; but none begins once the process is to end.
    fn set_under_way(&self, under_way: &mut UnderWay, attempts: &[Arc<Effect>]) {
        under_way.keep(attempts);
        if !self.shutdown.is_stopping() {
            for effect in attempts {
                under_way.start(effect, || self.attempt(effect));
            }
        }
    }

    /// The next end of an attempt, or `wake_at`. While nothing is under way, the execution leaves its place among those
    /// that run.
    async fn next(
        &mut self,
        under_way: &mut UnderWay,
        wake_at: Timestamp,
    ) -> Result<Next, SpoolError> {
        let left = self.time_until(wake_at);
        let is_stopping = self.shutdown.is_stopping();
        if under_way.is_empty() {
            let is_far = left > SLEEP_MAX && !is_stopping;
            return if is_far && self.park(wake_at).await? {
                Ok(Next::Parked)
            } else if self.wait(left.min(SLEEP_MAX)).await {
                Ok(Next::Due)
            } else {
                Ok(Next::Leave)
            };
        }
        let left = left.min(SLEEP_MAX);
        Ok(tokio::select! {
            biased;
            (effect, outcome) = under_way.next() => Next::Ended(effect, outcome),
            () = self.shutdown.forced() => Next::Leave,
            // The process is to end: what is under way may finish, and nothing else happens.
            () = self.shutdown.stopping(), if !is_stopping => Next::Due,
            () = tokio::time::sleep(left), if !is_stopping => Next::Due,
            Ok(()) = self.cancels.changed(), if !is_stopping => Next::Due,
            () = self.wake.woken(), if !is_stopping => Next::Due,
        })
    }

    /// How far `time` is away, and up to a millisecond more, so that it has come for sure.
    fn time_until(&mut self, time: Timestamp) -> Duration {
        let left = Duration::try_from(time.duration_since(self.now())).unwrap_or_default();
        left + Duration::from_millis(1)
    }

    /// Leaves the execution to the spool until `due`. False: that has no room for it now.
    async fn park(&mut self, due: Timestamp) -> Result<bool, SpoolError> {
        let spool = &self.runtime.spool;
        let parked = spool.park(self.execution.clone(), due, self.told_until);
        match parked.await {
            Ok(()) => {}
            Err(SpoolError::Overloaded | SpoolError::Full) => return Ok(false),
            Err(error @ (SpoolError::Closed | SpoolError::Failed(_))) => return Err(error),
        }
        // Whoever asked for its end meanwhile may have found it here still.
        if self.runtime.cancels.is_asked(&self.execution) {
            spool.wake(&self.execution).await?;
        }
        Ok(true)
    }

    /// Without a place, and until it has one again; an execution whose end was asked for needs none. False: the process ends first.
    async fn wait(&mut self, left: Duration) -> bool {
        let _waiting = Gauge::new("signalbox_executions_waiting");
        self.place.running = None;
        self.runtime.admissions.left_place();
        let asked_to_end = cancelled(&self.runtime.cancels, &mut self.cancels, &self.execution);
        let wake = &self.wake;
        let ready = async {
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                () = wake.woken() => {}
            }
            self.runtime.running.for_one_of(&self.workflow).await
        };
        tokio::select! {
            biased;
            () = self.shutdown.stopping() => false,
            () = asked_to_end => true,
            place = ready => {
                self.place.running = Some(place);
                true
            }
        }
    }

    /// An attempt, until it has ended or took longer than it may.
    fn attempt(&self, effect: &Effect) -> BoxFuture<'static, Outcome> {
        let span = self.steps.attempt(effect);
        let (kind, timeout, success) = (effect.kind.name(), effect.timeout, span::success(effect));
        let performer = &self.runtime.performer;
        let attempt = performer.perform(effect.clone()).instrument(span.clone());
        async move {
            let started = Instant::now();
            let outcome = tokio::time::timeout(timeout + PERFORMER_GRACE, attempt).await;
            let outcome = outcome.unwrap_or_else(|_| Outcome::Failed(timed_out(timeout)));
            let result = span::outcome(&span, &success, &outcome);
            metrics::counter!("signalbox_step_attempts_total", "kind" => kind, "outcome" => result)
                .increment(1);
            metrics::histogram!("signalbox_step_attempt_duration_seconds", "kind" => kind)
                .record(started.elapsed());
            outcome
        }
        .boxed()
    }
}

/// Until the end of `execution` is asked for, of which each of `changes` may be.
async fn cancelled(
    cancels: &Cancels,
    changes: &mut watch::Receiver<()>,
    execution: &ExecutionName,
) {
    while !cancels.is_asked(execution) {
        if changes.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// What an execution waited for.
enum Next {
    /// An attempt has ended.
    Ended(Arc<Effect>, Outcome),
    /// There may be something to decide.
    Due,
    /// The process ends first.
    Leave,
    /// The spool has it.
    Parked,
}

/// The attempts of one execution that are under way. What is dropped is stopped.
#[derive(Default)]
struct UnderWay(Vec<(Arc<Effect>, BoxFuture<'static, Outcome>)>);

impl UnderWay {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Drops all but `attempts`.
    fn keep(&mut self, attempts: &[Arc<Effect>]) {
        self.0.retain(|(effect, _)| {
            let is_same = |other: &Arc<Effect>| is_attempt(effect, other);
            attempts.iter().any(is_same)
        });
    }

    /// Adds an attempt unless it is under way.
    fn start(
        &mut self,
        effect: &Arc<Effect>,
        attempt: impl FnOnce() -> BoxFuture<'static, Outcome>,
    ) {
        if !self.0.iter().any(|(other, _)| is_attempt(effect, other)) {
            self.0.push((effect.clone(), attempt()));
        }
    }

    /// The next that ends; never, when none is under way. Nothing is lost when it is dropped.
    async fn next(&mut self) -> (Arc<Effect>, Outcome) {
        poll_fn(|context| {
            let ended =
                self.0
                    .iter_mut()
                    .enumerate()
                    .find_map(
                        |(index, (_, attempt))| match attempt.as_mut().poll(context) {
                            Poll::Ready(outcome) => Some((index, outcome)),
                            Poll::Pending => None,
                        },
                    );
            match ended {
                Some((index, outcome)) => Poll::Ready((self.0.swap_remove(index).0, outcome)),
                None => Poll::Pending,
            }
        })
        .await
    }
}

/// The first of `attempts` that is to start an execution.
fn child_of(attempts: &[Arc<Effect>]) -> Option<(&Effect, &ChildCall)> {
    attempts.iter().find_map(|effect| match &effect.kind {
        EffectKind::RunWorkflow(call) => Some((effect.as_ref(), call.as_ref())),
        _ => None,
    })
}

fn is_attempt(one: &Effect, other: &Effect) -> bool {
    one.step == other.step && one.attempt == other.attempt
}

/// The failure of an attempt that took longer than it may.
pub(super) fn timed_out(timeout: Duration) -> AttemptFailure {
    AttemptFailure::retriable(
        codes::TIMEOUT,
        format!("there was no complete response within {timeout:?}"),
    )
}

/// The failure of an execution that each start would go on with, and each time in vain.
fn too_often_interrupted(times: u32) -> Failure {
    Failure::new(
        codes::INTERNAL,
        format!(
            "the node's process was killed {times} times in a row while the execution was under way, which got nowhere between: it may be the cause, and is not begun again"
        ),
    )
}

/// Takes off the starts of attempts that this process will not perform any more: the next one would have to take them for
/// interrupted. Nothing in the same batch follows from them.
fn keep_performed(facts: &mut Vec<Fact>) {
    facts.retain(|fact| !matches!(fact, Fact::AttemptStarted { .. }));
}

/// Counts in a gauge for as long as it lives.
struct Gauge(&'static str);

impl Gauge {
    fn new(name: &'static str) -> Self {
        metrics::gauge!(name).increment(1);
        Self(name)
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        metrics::gauge!(self.0).decrement(1);
    }
}
