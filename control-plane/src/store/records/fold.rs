//! Facts folded over the rows of their executions, in memory: a report is read and written as a whole.

use std::collections::BTreeMap;

use signalbox_model::{
    event::{Event as Happened, TriggerKind},
    execution::{ExecutionState, Fact, Failure, StepState},
    ids::{ExecutionName, NodeId, SignalId},
    record::Accepted,
};

use super::trace_id;
use crate::store::{
    awaited::WAIT_THEMSELVES,
    entity::event,
    rows::{Attempt, Execution, StepRun},
    usage::Weight,
};

/// After so many microseconds, an end is reported late. History is kept for much longer, nearly always.
const LATE_US: i64 = 60_000_000;

/// Kinds of steps that are open while what stands in them is: they neither run nor wait themselves.
const AROUND_OTHERS: [&str; 2] = ["parallel", "forEach"];

/// A row, and what the database knows of it.
#[derive(Debug)]
pub(super) struct Kept<T> {
    pub(super) row: T,
    /// The database has one of its key.
    pub(super) is_known: bool,
    /// The database does not have it as it is.
    pub(super) is_changed: bool,
    /// What the one weighs that the database has.
    known_weight: i64,
}

impl<T: Weight> Kept<T> {
    pub(super) fn known(row: T) -> Self {
        Self {
            known_weight: row.weight(),
            row,
            is_known: true,
            is_changed: false,
        }
    }

    fn new(row: T) -> Self {
        Self {
            row,
            is_known: false,
            is_changed: true,
            known_weight: 0,
        }
    }

    /// By how many bytes the history becomes larger with it.
    pub(super) fn growth(&self) -> i64 {
        match self.is_changed {
            true => self.row.weight() - self.known_weight,
            false => 0,
        }
    }

    pub(super) fn change(&mut self) -> &mut T {
        self.is_changed = true;
        &mut self.row
    }
}

/// Which record, and when it happened.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    /// Of the record: steps are shown in this order.
    pub(super) sequence: u64,
    /// Microseconds since the Unix epoch.
    pub(super) time_us: i64,
}

/// What a node's claim to have accepted an event came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// The execution is its own.
    Owned,
    /// Another node has it.
    OwnedByOther,
}

/// The rows of one execution: those of its steps and attempts that have not ended, and all that have changed.
#[derive(Debug)]
pub(super) struct History {
    name: ExecutionName,
    pub(super) execution: Kept<Execution>,
    pub(super) event: Option<event::Model>,
    pub(super) steps: BTreeMap<String, Kept<StepRun>>,
    pub(super) attempts: BTreeMap<(String, i64), Kept<Attempt>>,
    /// The signals that its node has, and since when, in microseconds since the Unix epoch.
    pub(super) told: Vec<(SignalId, i64)>,
    /// What the database has of its steps and attempts goes before these are written.
    pub(super) begins_anew: bool,
    /// It retries another, and its node has what it begins with: nobody else needs that any more.
    pub(super) takes_retry: bool,
}

impl History {
    /// Of an execution that the database knows.
    pub(super) fn known(name: ExecutionName, row: Execution) -> Self {
        Self::of(name, Kept::known(row))
    }

    /// Of an execution that nobody has told of.
    pub(super) fn accepted(node: &NodeId, accepted: &Accepted, traceparent: Option<&str>) -> Self {
        let row = execution_row(node, accepted, traceparent);
        let mut history = Self::of(accepted.execution.clone(), Kept::new(row));
        history.event = Some(event_row(&accepted.execution, &accepted.event));
        history
    }

    fn of(name: ExecutionName, execution: Kept<Execution>) -> Self {
        Self {
            name,
            execution,
            event: None,
            steps: BTreeMap::new(),
            attempts: BTreeMap::new(),
            told: Vec::new(),
            begins_anew: false,
            takes_retry: false,
        }
    }

    /// Whether facts of `node` can change it. Its node may begin anew what has ended here ([`Self::claim`]).
    pub(super) fn goes_on_at(&self, node: &NodeId) -> bool {
        let Execution {
            node: owner,
            end_time_us,
            ..
        } = &self.execution.row;
        owner.as_deref() == Some(node.as_str()) && end_time_us.is_none()
    }

    /// `node` has accepted the event. The same node again: its memory of copies was shorter than ours, or its store was
    /// lost. What has ended stays as it is; the rest begins anew there, by the same id and with the same
    /// Idempotency-Keys.
    pub(super) fn claim(
        &mut self,
        node: &NodeId,
        accepted: &Accepted,
        traceparent: Option<&str>,
    ) -> Claim {
        match &self.execution.row.node {
            Some(owner) if owner != node.as_str() => return Claim::OwnedByOther,
            Some(_) if self.execution.row.end_time_us.is_some() => {}
            Some(_) => {
                self.steps.clear();
                self.attempts.clear();
                self.told.clear();
                self.begins_anew = true;
                let row = self.execution.change();
                row.start_time_us = None;
                row.has_whole_values = false;
                set_state(row, ExecutionState::Queued);
            }
            None => {
                let row = self.execution.change();
                *row = Execution {
                    create_time_us: row.create_time_us,
                    cancel_time_us: row.cancel_time_us,
                    retry_of: row.retry_of.take(),
                    ..execution_row(node, accepted, traceparent)
                };
                // The event of a retry came with the request.
                self.takes_retry = row.retry_of.is_some();
                if !self.takes_retry {
                    self.event = Some(event_row(&accepted.execution, &accepted.event));
                }
            }
        }
        Claim::Owned
    }

    /// Takes what `node` says of it although it has ended here, or is another's: that it has ended there, too.
    pub(super) fn after_end(&mut self, node: &NodeId, fact: &Fact) {
        let row = &self.execution.row;
        let is_left = row.is_left_at_node && row.node.as_deref() == Some(node.as_str());
        if is_left && matches!(fact, Fact::Finished { .. }) {
            self.execution.change().is_left_at_node = false;
        }
    }

    /// Notes when its end was reported, if it has ended and that was much earlier: its history is kept from then on.
    pub(super) fn reported_at(&mut self, now_us: i64) {
        let end_us = self.execution.row.end_time_us;
        if end_us.is_some_and(|end_us| now_us.saturating_sub(end_us) > LATE_US) {
            self.execution.change().late_report_us = Some(now_us);
        }
    }

    /// By how many bytes the history becomes larger with what has changed.
    pub(super) fn growth(&self) -> i64 {
        let steps: i64 = self.steps.values().map(Kept::growth).sum();
        let attempts: i64 = self.attempts.values().map(Kept::growth).sum();
        let event = self.event.as_ref().map_or(0, Weight::weight);
        self.execution.growth() + event + steps + attempts
    }

    /// Folds a fact.
    pub(super) fn fold(&mut self, fact: &Fact, at: At) {
        match fact {
            Fact::Started => {
                let row = self.execution.change();
                row.start_time_us = Some(at.time_us);
                set_state(row, ExecutionState::Running);
            }
            Fact::StepStarted { step, kind, input } => {
                // What came to wait says for what.
                let waits = WAIT_THEMSELVES.contains(&kind.as_str()) && input.as_str() != "null";
                let state = if waits {
                    StepState::Waiting
                } else {
                    StepState::Running
                };
                let row = StepRun {
                    kind: kind.clone(),
                    input_json: input.as_str().to_owned(),
                    ..self.step_row(step.to_string(), state, at)
                };
                self.steps.insert(row.step.clone(), Kept::new(row));
                self.show_activity();
            }
            Fact::AttemptStarted {
                step,
                number,
                repeated,
            } => self.attempt_started(step.to_string(), *number, *repeated, at.time_us),
            Fact::AttemptFailed {
                step,
                number,
                error,
                retry_at,
            } => {
                let step = step.to_string();
                let number = i64::from(*number);
                let retry_us = Some(retry_at.as_microsecond());
                self.end_attempts(&step, Some(number), Some(error), at.time_us, retry_us);
                self.set_step_state(&step, StepState::Waiting);
                self.show_activity();
            }
            Fact::StepFinished {
                step,
                state,
                output,
                error,
            } => {
                let step = step.to_string();
                self.end_attempts(&step, None, error.as_ref(), at.time_us, None);
                // A skipped step never started.
                let skipped = self.step_row(step.clone(), *state, at);
                let kept = self.steps.entry(step).or_insert_with(|| Kept::new(skipped));
                let row = kept.change();
                state.as_str().clone_into(&mut row.state);
                row.output_json = output.as_ref().map(|text| text.as_str().to_owned());
                (row.error_code, row.error_message) = columns(error.as_ref());
                row.end_time_us = Some(at.time_us);
                self.show_activity();
            }
            Fact::ChildStarted { step, waits, .. } => {
                if *waits {
                    self.set_step_state(&step.to_string(), StepState::Waiting);
                }
                self.show_activity();
            }
            Fact::SignalReceived(signal) => self.told.push((signal.id.clone(), at.time_us)),
            Fact::StepKept {
                step,
                kind,
                input,
                state,
                output,
                error,
            } => {
                let (error_code, error_message) = columns(error.as_ref());
                let row = StepRun {
                    kind: kind.clone(),
                    input_json: input.as_str().to_owned(),
                    output_json: output.as_ref().map(|text| text.as_str().to_owned()),
                    error_code,
                    error_message,
                    end_time_us: Some(at.time_us),
                    is_kept: true,
                    ..self.step_row(step.to_string(), *state, at)
                };
                self.steps.insert(row.step.clone(), Kept::new(row));
            }
            // They are shown when it has ended, or the step has.
            Fact::ChildEnded(_) | Fact::Abandoned | Fact::Cancelling | Fact::Ending { .. } => {}
            Fact::Finished {
                state,
                output,
                error,
            } => {
                let row = self.execution.change();
                row.end_time_us = Some(at.time_us);
                row.output_json = output.as_ref().map(|text| text.as_str().to_owned());
                (row.error_code, row.error_message) = columns(error.as_ref());
                set_state(row, *state);
            }
        }
    }

    fn step_row(&self, step: String, state: StepState, at: At) -> StepRun {
        StepRun {
            project: self.name.project.to_string(),
            execution: self.name.execution.to_string(),
            step,
            position: i64::try_from(at.sequence).unwrap_or(i64::MAX),
            kind: String::new(),
            state: state.as_str().to_owned(),
            input_json: String::new(),
            output_json: None,
            error_code: None,
            error_message: None,
            start_time_us: at.time_us,
            end_time_us: None,
            is_kept: false,
            input_truncated_bytes: None,
            output_truncated_bytes: None,
        }
    }

    fn attempt_started(&mut self, step: String, number: u32, repeated: bool, time_us: i64) {
        self.set_step_state(&step, StepState::Running);
        let number = i64::from(number);
        if repeated {
            if let Some(attempt) = self.attempts.get_mut(&(step, number)) {
                attempt.change().repeated = true;
            }
        } else {
            let row = Attempt {
                project: self.name.project.to_string(),
                execution: self.name.execution.to_string(),
                step: step.clone(),
                number,
                start_time_us: time_us,
                end_time_us: None,
                error_code: None,
                error_message: None,
                repeated: false,
                retry_time_us: None,
            };
            self.attempts.insert((step, number), Kept::new(row));
        }
        self.show_activity();
    }

    /// Ends the attempt `number`, or those that are open.
    fn end_attempts(
        &mut self,
        step: &str,
        number: Option<i64>,
        error: Option<&Failure>,
        time_us: i64,
        retry_us: Option<i64>,
    ) {
        let of_step = (step.to_owned(), i64::MIN)..=(step.to_owned(), i64::MAX);
        for ((_, of), attempt) in self.attempts.range_mut(of_step) {
            let is_meant = match number {
                Some(number) => *of == number,
                None => attempt.row.end_time_us.is_none(),
            };
            if is_meant {
                let row = attempt.change();
                row.end_time_us = Some(time_us);
                row.retry_time_us = retry_us;
                (row.error_code, row.error_message) = columns(error);
            }
        }
    }

    fn set_step_state(&mut self, step: &str, state: StepState) {
        if let Some(step) = self.steps.get_mut(step) {
            state.as_str().clone_into(&mut step.change().state);
        }
    }

    /// Shows the execution as waiting when some of its steps wait and none of them runs.
    fn show_activity(&mut self) {
        let mut waits = false;
        let mut runs = false;
        for Kept { row, .. } in self.steps.values() {
            if row.end_time_us.is_none() && !AROUND_OTHERS.contains(&row.kind.as_str()) {
                waits |= row.state == StepState::Waiting.as_str();
                runs |= row.state == StepState::Running.as_str();
            }
        }
        let state = if waits && !runs {
            ExecutionState::Waiting
        } else {
            ExecutionState::Running
        };
        if self.execution.row.state != state.as_str() {
            set_state(self.execution.change(), state);
        }
    }
}

fn set_state(row: &mut Execution, state: ExecutionState) {
    state.as_str().clone_into(&mut row.state);
}

fn columns(error: Option<&Failure>) -> (Option<String>, Option<String>) {
    let Some(Failure { code, message }) = error else {
        return (None, None);
    };
    (Some(code.clone()), Some(message.clone()))
}

fn trigger_text(trigger: TriggerKind) -> &'static str {
    match trigger {
        TriggerKind::AmazonSns => "AMAZON_SNS",
        TriggerKind::Webhook => "WEBHOOK",
        TriggerKind::Manual => "MANUAL",
        TriggerKind::Schedule => "SCHEDULE",
        TriggerKind::Workflow => "WORKFLOW",
    }
}

/// The kind of trigger that a row names.
#[must_use]
pub fn trigger_of(text: &str) -> Option<TriggerKind> {
    [
        TriggerKind::AmazonSns,
        TriggerKind::Webhook,
        TriggerKind::Manual,
        TriggerKind::Schedule,
        TriggerKind::Workflow,
    ]
    .into_iter()
    .find(|kind| trigger_text(*kind) == text)
}

fn execution_row(node: &NodeId, accepted: &Accepted, traceparent: Option<&str>) -> Execution {
    let Accepted {
        execution,
        workflow,
        version,
        event,
        parent,
    } = accepted;
    Execution {
        project: execution.project.to_string(),
        id: execution.execution.to_string(),
        workflow: workflow.workflow.to_string(),
        version: i64::try_from(*version).unwrap_or(i64::MAX),
        state: ExecutionState::Queued.as_str().to_owned(),
        trigger_kind: trigger_text(event.trigger).to_owned(),
        message_id: event.scope.message_id.clone(),
        topic_arn: event.scope.topic_arn.clone(),
        is_unsigned: event.signature.is_none() && event.scope.topic_arn.is_some(),
        api_key: event.api_key.as_ref().map(|key| key.api_key.to_string()),
        node: Some(node.to_string()),
        create_time_us: event.received_at.as_microsecond(),
        start_time_us: None,
        end_time_us: None,
        output_json: None,
        error_code: None,
        error_message: None,
        trace_id: trace_id(traceparent),
        history: 0,
        cancel_time_us: None,
        retry_of: None,
        output_truncated_bytes: None,
        has_whole_values: false,
        parent: parent
            .as_ref()
            .map(|parent| parent.execution.execution.to_string()),
        parent_step: parent.as_ref().map(|parent| parent.step.to_string()),
        is_left_at_node: false,
        late_report_us: None,
    }
}

fn event_row(name: &ExecutionName, event: &Happened) -> event::Model {
    let signature = event.signature.as_ref();
    event::Model {
        project: name.project.to_string(),
        execution: name.execution.to_string(),
        body: event.body.to_vec(),
        content_type: event.content_type.clone(),
        source_address: event.source_address.clone(),
        receive_time_us: event.received_at.as_microsecond(),
        scope_json: serde_json::to_string(&event.scope).unwrap_or_default(),
        signature_version: signature.map(|proof| i64::from(proof.version)),
        signing_cert_url: signature.map(|proof| proof.signing_cert_url.clone()),
        certificate_sha256: signature.map(|proof| proof.certificate_sha256.clone()),
    }
}
