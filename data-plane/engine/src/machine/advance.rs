//! What comes next in a frame.

use signalbox_model::{
    execution::StepState,
    expression::sharing_one_budget,
    workflow::{RetryPolicy, Step},
};

use super::{links::Signing, *};
use crate::decision::Shown;

/// What an execution is called, was told, and may send.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) execution: &'a ExecutionName,
    pub(super) inbox: &'a Inbox,
    pub(super) secrets: &'a Secrets,
    pub(super) signing: Signing<'a>,
}

/// What frames know of the execution around them, and what they ask of its owner.
pub(super) struct Around<'a> {
    pub(super) plan: &'a Plan,
    known: Known<'a>,
    pub(super) now: Timestamp,
    /// Whether no more steps may begin.
    is_full: bool,
    attempts: Vec<Arc<Effect>>,
    wake_at: Timestamp,
}

impl<'a> Around<'a> {
    /// An execution that is out of time at `deadline`.
    pub(super) fn new(
        plan: &'a Plan,
        known: Known<'a>,
        now: Timestamp,
        deadline: Timestamp,
        is_full: bool,
    ) -> Self {
        Self {
            plan,
            known,
            now,
            is_full,
            attempts: Vec::new(),
            wake_at: deadline,
        }
    }

    /// What the frames asked for.
    pub(super) fn rest(self) -> Decision {
        Decision::Await {
            attempts: self.attempts,
            wake_at: self.wake_at,
        }
    }

    /// Begins the run `instance`; what may be shown of its attempts.
    fn begin(
        &self,
        step: &Step,
        instance: &StepInstance,
        scope: &Scope,
    ) -> Result<(Begin, Shown), Failure> {
        let ids = self.plan.secrets_of(&step.id);
        let approvals = self.plan.approvals_of(&step.id);
        if ids.is_empty() && approvals.is_empty() {
            let begun = steps::of(&step.action).begin(scope, self.now)?;
            return Ok((begun, Shown::All));
        }
        let mut open = secrets::opened(ids, self.known.secrets, scope)?;
        if !approvals.is_empty() {
            let urls = self.known.signing.urls(approvals, instance)?;
            open = open.with_approvals(urls);
        }
        secrets::begin(step, &open, scope, self.now)
    }

    fn wake(&mut self, at: Timestamp) {
        self.wake_at = self.wake_at.min(at);
    }
}

impl Frame {
    /// The facts that are next; none when there is nothing to decide now, and then `around` is told what is to be awaited.
    /// Changes nothing but to remember what was evaluated.
    pub(super) fn advance(
        &mut self,
        around: &mut Around<'_>,
        deadline: Timestamp,
    ) -> Option<Vec<Fact>> {
        let at = self.at.filter(|_| self.end.is_none())?;
        let step = &around.plan.node(at).step;
        let instance = self.instance(&step.id);
        let now = around.now;
        let Some(open) = &mut self.step else {
            return Some(start(step, &instance, &self.scope, around));
        };
        let own_deadline = open.deadline(step);
        if now >= own_deadline {
            let failure = out_of_time(step);
            let mut facts = Vec::new();
            if let Some(children) = &open.children {
                let cancelled = children::cancelled(&step.id, &failure);
                facts = children.close(around.plan, StepState::Cancelled, &cancelled);
            }
            facts.push(failed(&instance, failure));
            return Some(facts);
        }
        let deadline = deadline.min(own_deadline);
        if let Some(children) = &mut open.children {
            around.wake(deadline);
            return children.advance(step, &instance, around, deadline);
        }
        match open.stage {
            Stage::Waiting { until, .. } | Stage::Sleeping { until } if now < until => {
                around.wake(until.min(deadline));
                None
            }
            Stage::Listening { until } => open.hear(step, &instance, around, until.min(deadline)),
            Stage::Child { number } => open.hear_child(step, &instance, number, around, deadline),
            Stage::Waiting { failed, .. } => Some(attempt(&instance, failed + 1, false)),
            Stage::Sleeping { until } => {
                Some(vec![succeeded(&instance, &steps::wait::recorded(until))])
            }
            Stage::Interrupted { number } => Some(attempt(&instance, number, true)),
            // A journal that ends in the middle of what is journalled together.
            Stage::Begun | Stage::Inside => {
                let mut facts = start(step, &instance, &self.scope, around);
                facts.remove(0);
                if facts.is_empty() {
                    let message = "it is to begin otherwise than it was recorded";
                    facts.push(failed(&instance, Failure::new(codes::INTERNAL, message)));
                }
                Some(facts)
            }
            Stage::Attempt { number, repeated } => {
                let of = (&instance, number, repeated);
                match open.effect(step, of, &self.scope, around, deadline) {
                    Ok(effect) => {
                        around.attempts.push(effect);
                        around.wake(deadline);
                        None
                    }
                    Err(failure) => Some(vec![failed(&instance, failure)]),
                }
            }
        }
    }
}

impl OpenStep {
    /// The end of a step that listens, when it has heard or its time is over. What was told counts before the time does.
    fn hear(
        &self,
        step: &Step,
        instance: &StepInstance,
        around: &mut Around<'_>,
        until: Timestamp,
    ) -> Option<Vec<Fact>> {
        let listens = self.listens.as_ref()?;
        let signal = around.known.inbox.find(listens, instance);
        if signal.is_none() && around.now < until {
            around.wake(until);
            return None;
        }
        Some(vec![
            match steps::of(&step.action).heard(listens, signal, until) {
                Ok(output) => succeeded(instance, &output),
                Err(failure) => failed(instance, failure),
            },
        ])
    }

    /// What follows when the execution has ended that attempt `number` started.
    fn hear_child(
        &self,
        step: &Step,
        instance: &StepInstance,
        number: u32,
        around: &mut Around<'_>,
        deadline: Timestamp,
    ) -> Option<Vec<Fact>> {
        let end = around.known.inbox.end(instance, number);
        let Some(outcome) = steps::of(&step.action).child(self.child.as_ref()?, end) else {
            around.wake(deadline);
            return None;
        };
        let now = around.now;
        Some(vec![match outcome {
            Ok(output) => succeeded(instance, &output),
            Err(failed) => {
                attempt_failed(around.known.execution, step, instance, number, failed, now)
            }
        }])
    }

    /// The attempt that is to be under way. It is evaluated again after a crash; the scope is the same, and so is the
    /// result, but for secrets, which are read as they are now.
    fn effect(
        &mut self,
        step: &Step,
        (instance, attempt, repeated): (&StepInstance, u32, bool),
        scope: &Scope,
        around: &Around<'_>,
        deadline: Timestamp,
    ) -> Result<Arc<Effect>, Failure> {
        if let Some(effect) = &self.effect {
            return Ok(effect.clone());
        }
        let idempotency_key = identity::idempotency_key(around.known.execution, instance);
        let (kind, shown) = match &self.kind {
            Some(kind) => (kind.clone(), Shown::All),
            None => match sharing_one_budget(|| around.begin(step, instance, scope))? {
                (Begin::Attempt { effect, .. }, shown) => {
                    let kind = steps::of(&step.action).keyed(effect, &idempotency_key);
                    // Not kept where it holds secrets: the next attempt reads them as they are then.
                    if shown == Shown::All {
                        self.kind = Some(kind.clone());
                    }
                    (kind, shown)
                }
                (Begin::Finished { .. } | Begin::Sleep { .. } | Begin::Enter { .. }, _) => {
                    return Err(Failure::new(
                        codes::INTERNAL,
                        "the step has an attempt, but its kind knows none",
                    ));
                }
            },
        };
        let effect = Effect {
            step: instance.clone(),
            attempt,
            repeated,
            idempotency_key,
            timeout: step.timeout.min(until(around.now, deadline)),
            kind,
            shown,
        };
        Ok(self.effect.insert(Arc::new(effect)).clone())
    }
}

/// The facts of a step's beginning, [`Fact::StepStarted`] first: up to its first attempt, or to its end.
fn start(step: &Step, instance: &StepInstance, scope: &Scope, around: &Around<'_>) -> Vec<Fact> {
    if around.is_full {
        let failure = Failure::new(
            codes::HISTORY_FULL,
            format!(
                "an execution has at most {} step runs, and {} MiB of inputs and outputs",
                limits::EXECUTION_STEPS_MAX,
                limits::EXECUTION_HISTORY_MAX_BYTES >> 20,
            ),
        );
        return ended_at_once(step, instance, failed(instance, failure));
    }
    sharing_one_budget(|| evaluate(step, instance, scope, around))
}

fn evaluate(step: &Step, instance: &StepInstance, scope: &Scope, around: &Around<'_>) -> Vec<Fact> {
    match step.condition.as_ref().map(|c| c.evaluate_bool(scope)) {
        None | Some(Ok(true)) => {}
        Some(Ok(false)) => {
            let skipped = Fact::StepFinished {
                step: instance.clone(),
                state: StepState::Skipped,
                output: None,
                error: None,
            };
            return ended_at_once(step, instance, skipped);
        }
        Some(Err(error)) => {
            let failure = steps::expression_failure(&error);
            return ended_at_once(step, instance, failed(instance, failure));
        }
    }
    match around.begin(step, instance, scope).map(|(begun, _)| begun) {
        Err(failure) => ended_at_once(step, instance, failed(instance, failure)),
        Ok(Begin::Finished { input, result }) => vec![
            started(step, instance, &input),
            match result {
                Ok(output) => succeeded(instance, &output),
                Err(failure) => failed(instance, failure),
            },
        ],
        Ok(Begin::Enter { input }) => vec![started(step, instance, &input)],
        Ok(Begin::Sleep { until }) => {
            vec![started(step, instance, &steps::wait::recorded(until))]
        }
        Ok(Begin::Attempt { input, .. }) => {
            let mut facts = vec![started(step, instance, &input)];
            facts.extend(attempt(instance, 1, false));
            facts
        }
    }
}

fn started(step: &Step, instance: &StepInstance, input: &Value) -> Fact {
    Fact::StepStarted {
        step: instance.clone(),
        kind: step.action.kind().to_owned(),
        input: JsonText::from_value(input),
    }
}

fn ended_at_once(step: &Step, instance: &StepInstance, end: Fact) -> Vec<Fact> {
    vec![started(step, instance, &Value::Null), end]
}

fn attempt(step: &StepInstance, number: u32, repeated: bool) -> Vec<Fact> {
    vec![Fact::AttemptStarted {
        step: step.clone(),
        number,
        repeated,
    }]
}

pub(super) fn succeeded(step: &StepInstance, output: &Value) -> Fact {
    Fact::StepFinished {
        step: step.clone(),
        state: StepState::Succeeded,
        output: Some(JsonText::from_value(output)),
        error: None,
    }
}

pub(super) fn failed(step: &StepInstance, failure: Failure) -> Fact {
    Fact::StepFinished {
        step: step.clone(),
        state: StepState::Failed,
        output: None,
        error: Some(failure),
    }
}

fn out_of_time(step: &Step) -> Failure {
    Failure::new(
        codes::STEP_TIMEOUT,
        format!(
            "it took longer than its totalTimeout, {:?}",
            step.total_timeout.unwrap_or_default()
        ),
    )
}

/// What follows attempt `number`, which failed: a pause before the next, or the step's end.
pub(super) fn attempt_failed(
    execution: &ExecutionName,
    step: &Step,
    instance: &StepInstance,
    number: u32,
    failed_as: AttemptFailure,
    now: Timestamp,
) -> Fact {
    let AttemptFailure {
        failure,
        retriable,
        status,
        retry_after,
    } = failed_as;
    let RetryPolicy {
        max_attempts,
        max_backoff,
        ..
    } = step.retry;
    if number >= max_attempts || !step.retry.retries(&failure.code, status, retriable) {
        return failed(instance, failure);
    }
    let asked_for = match retry_after {
        Some(RetryAfter::Delay(delay)) => delay,
        Some(RetryAfter::Time(time)) => until(now, time),
        None => Duration::ZERO,
    };
    let jitter = identity::jitter(execution, instance, number);
    let pause = step.retry.pause(number, jitter);
    Fact::AttemptFailed {
        step: instance.clone(),
        number,
        error: failure,
        retry_at: later(now, pause.max(asked_for.min(max_backoff))),
    }
}
