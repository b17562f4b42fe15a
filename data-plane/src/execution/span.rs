//! Spans of executions: one for the execution, one for each step, one for each attempt.
//!
//! Attribute names follow OpenTelemetry's semantic conventions for FaaS and HTTP where they have one.

use std::collections::HashMap;

use signalbox_engine::{Effect, EffectKind, HttpResponse, Outcome, ScriptEnd};
use signalbox_model::{
    event::TriggerKind,
    execution::{ExecutionState, Fact},
    ids::StepInstance,
    workflow::SuccessStatus,
};
use signalbox_runtime::telemetry::context;
use tracing::{Span, field::Empty};

use crate::spool::Claimed;

/// The span of an execution, from its claim to its end. The request that made it is its parent.
pub(super) fn execution(claimed: &Claimed) -> Span {
    let accepted = &claimed.accepted;
    let trigger = match accepted.event.trigger {
        TriggerKind::AmazonSns => "pubsub",
        TriggerKind::Webhook => "http",
        TriggerKind::Schedule => "timer",
        TriggerKind::Manual | TriggerKind::Workflow => "other",
    };
    let span = tracing::info_span!(
        parent: None,
        "execute workflow",
        otel.name = %format!("execute {}", accepted.workflow.workflow),
        otel.kind = "consumer",
        otel.status_code = Empty,
        faas.trigger = trigger,
        faas.name = %accepted.workflow,
        faas.version = accepted.version,
        faas.invocation_id = %accepted.execution,
        signalbox.execution.state = Empty,
        signalbox.execution.resumed = !claimed.journal.is_empty(),
    );
    if let Some(traceparent) = &claimed.traceparent {
        context::set_parent(&span, traceparent);
    }
    span
}

/// Notes how the execution ended.
pub(super) fn ended(span: &Span, state: ExecutionState) {
    span.record("signalbox.execution.state", name(state));
    if !matches!(state, ExecutionState::Succeeded) {
        span.record("otel.status_code", "ERROR");
    }
}

/// The statuses that `effect` takes for success.
pub(super) fn success(effect: &Effect) -> SuccessStatus {
    match &effect.kind {
        EffectKind::Http(request) => request.exchange.success.clone(),
        EffectKind::Aws(_)
        | EffectKind::Email(_)
        | EffectKind::Script(_)
        | EffectKind::RunWorkflow(_) => SuccessStatus::default(),
    }
}

/// Notes how the attempt ended, and gives that as a metric's label.
pub(super) fn outcome(span: &Span, success: &SuccessStatus, outcome: &Outcome) -> &'static str {
    let error = match outcome {
        Outcome::Http(HttpResponse { status, .. }) if success.holds(*status) => return "success",
        Outcome::Email(_)
        | Outcome::Child(_)
        | Outcome::Script(ScriptEnd { result: Ok(_), .. }) => return "success",
        // OpenTelemetry: the status code is the error's type.
        Outcome::Http(HttpResponse { status, .. }) => status.to_string(),
        Outcome::Script(ScriptEnd {
            result: Err(failure),
            ..
        }) => failure.code.clone(),
        Outcome::Failed(failure) => failure.failure.code.clone(),
    };
    failed(span, &error);
    match outcome {
        Outcome::Http(_) => "refused",
        Outcome::Email(_) | Outcome::Script(_) | Outcome::Child(_) | Outcome::Failed(_) => "failed",
    }
}

fn failed(span: &Span, error: &str) {
    span.record("otel.status_code", "ERROR");
    span.record("error.type", error);
}

/// The state as a label.
pub(super) fn name(state: ExecutionState) -> &'static str {
    match state {
        ExecutionState::Queued => "queued",
        ExecutionState::Running => "running",
        ExecutionState::Waiting => "waiting",
        ExecutionState::Succeeded => "succeeded",
        ExecutionState::Failed => "failed",
        ExecutionState::Cancelled => "cancelled",
        ExecutionState::TimedOut => "timed_out",
    }
}

/// The spans of an execution's steps, opened and closed by its facts.
pub(super) struct StepSpans {
    execution: Span,
    /// Of those that are open.
    steps: HashMap<StepInstance, Span>,
}

impl StepSpans {
    pub(super) fn new(execution: Span) -> Self {
        Self {
            execution,
            steps: HashMap::new(),
        }
    }

    /// Opens or closes what `fact` says. Gives the traceparent of the step that the fact is of.
    pub(super) fn follow(&mut self, fact: &Fact) -> Option<String> {
        match fact {
            Fact::StepStarted { step, kind, .. } => {
                let span = tracing::info_span!(
                    parent: &self.execution,
                    "step",
                    otel.name = %format!("step {step}"),
                    otel.status_code = Empty,
                    error.type = Empty,
                    signalbox.step.id = %step.step,
                    signalbox.step.run = %step,
                    signalbox.step.kind = kind,
                );
                let traceparent = context::traceparent(&span);
                self.steps.insert(step.clone(), span);
                traceparent
            }
            Fact::AttemptStarted { step, .. }
            | Fact::AttemptFailed { step, .. }
            | Fact::ChildStarted { step, .. } => {
                self.steps.get(step).and_then(context::traceparent)
            }
            Fact::StepFinished { step, error, .. } => {
                let span = self.steps.remove(step)?;
                if let Some(failure) = error {
                    failed(&span, &failure.code);
                }
                context::traceparent(&span)
            }
            Fact::Started
            | Fact::SignalReceived(_)
            | Fact::ChildEnded(_)
            | Fact::Abandoned
            | Fact::StepKept { .. }
            | Fact::Cancelling
            | Fact::Ending { .. }
            | Fact::Finished { .. } => None,
        }
    }

    /// The span of an attempt. It shows no header, no body and no secret, of the query or the project's.
    pub(super) fn attempt(&self, effect: &Effect) -> Span {
        let parent = self.steps.get(&effect.step).unwrap_or(&self.execution);
        match effect.shown() {
            None => tracing::info_span!(
                parent: parent,
                "attempt",
                otel.name = effect.kind.name(),
                otel.kind = "client",
                otel.status_code = Empty,
                error.type = Empty,
                http.response.status_code = Empty,
                signalbox.attempt.repeated = effect.repeated,
            ),
            Some(EffectKind::Http(request)) => tracing::info_span!(
                parent: parent,
                "attempt",
                otel.name = request.method.as_str(),
                otel.kind = "client",
                otel.status_code = Empty,
                error.type = Empty,
                http.request.method = request.method.as_str(),
                http.request.resend_count = effect.attempt - 1,
                http.response.status_code = Empty,
                server.address = request.url.host_str().unwrap_or_default(),
                server.port = request.url.port_or_known_default(),
                url.full = %request.shown_url(),
                signalbox.attempt.repeated = effect.repeated,
            ),
            Some(EffectKind::Aws(call)) => tracing::info_span!(
                parent: parent,
                "attempt",
                otel.name = %format!("{}.{}", call.service, call.operation),
                otel.kind = "client",
                otel.status_code = Empty,
                error.type = Empty,
                rpc.system = "aws-api",
                rpc.service = call.service,
                rpc.method = call.operation,
                http.request.resend_count = effect.attempt - 1,
                http.response.status_code = Empty,
                cloud.region = call.region,
                signalbox.attempt.repeated = effect.repeated,
            ),
            Some(EffectKind::RunWorkflow(call)) => tracing::info_span!(
                parent: parent,
                "attempt",
                otel.name = %format!("run {}", call.workflow),
                otel.kind = "producer",
                otel.status_code = Empty,
                error.type = Empty,
                signalbox.child.workflow = %call.workflow,
                signalbox.attempt.repeated = effect.repeated,
            ),
            Some(EffectKind::Email(message)) => tracing::info_span!(
                parent: parent,
                "attempt",
                otel.name = "send message",
                otel.kind = "client",
                otel.status_code = Empty,
                error.type = Empty,
                network.protocol.name = "smtp",
                server.address = message.server.host,
                server.port = message.server.port,
                signalbox.attempt.repeated = effect.repeated,
            ),
            Some(EffectKind::Script(call)) => tracing::info_span!(
                parent: parent,
                "attempt",
                otel.name = "run script",
                otel.status_code = Empty,
                error.type = Empty,
                signalbox.script.module = %call.module.name(),
                signalbox.attempt.repeated = effect.repeated,
            ),
        }
    }
}
