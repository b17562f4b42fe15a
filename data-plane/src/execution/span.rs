//! Spans of executions: one for the execution, one for each step, one for each attempt.
//!
//! Attribute names follow OpenTelemetry's semantic conventions for FaaS and HTTP where they have one.

use signalbox_engine::{Effect, EffectKind};
use signalbox_model::{
    event::TriggerKind,
    execution::{ExecutionState, Fact, Failure},
};
use signalbox_runtime::telemetry::context;
use tracing::{Span, field::Empty};

use crate::spool::Claimed;

pub(super) fn execution(claimed: &Claimed) -> Span {
    let accepted = &claimed.accepted;
    let trigger = match accepted.event.trigger {
        TriggerKind::AmazonSns => "pubsub",
        TriggerKind::Webhook => "http",
        TriggerKind::Manual => "other",
    };
    let span = tracing::info_span!(
        parent: None,
        "execute",
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

pub(super) fn ended(span: &Span, state: ExecutionState) {
    span.record("signalbox.execution.state", name(state));
    if !matches!(state, ExecutionState::Succeeded) {
        span.record("otel.status_code", "ERROR");
    }
}

pub(super) fn failed(span: &Span, failure: &Failure) {
    span.record("otel.status_code", "ERROR");
    span.record("error.type", failure.code.as_str());
}

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
    step: Option<Span>,
}

impl StepSpans {
    pub(super) fn new(execution: Span) -> Self {
        Self {
            execution,
            step: None,
        }
    }

    pub(super) fn follow(&mut self, fact: &Fact) {
        match fact {
            Fact::StepStarted { step, kind, .. } => {
                self.step = Some(tracing::info_span!(
                    parent: &self.execution,
                    "step",
                    otel.name = %format!("step {step}"),
                    otel.status_code = Empty,
                    error.type = Empty,
                    signalbox.step.id = %step,
                    signalbox.step.kind = kind,
                ));
            }
            Fact::StepFinished { error, .. } => {
                if let (Some(span), Some(failure)) = (self.step.take(), error) {
                    failed(&span, failure);
                }
            }
            Fact::Started
            | Fact::AttemptStarted { .. }
            | Fact::AttemptFailed { .. }
            | Fact::Finished { .. } => {}
        }
    }

    pub(super) fn attempt(&self, effect: &Effect) -> Span {
        let parent = self.step.as_ref().unwrap_or(&self.execution);
        match &effect.kind {
            EffectKind::Http(request) => tracing::info_span!(
                parent: parent,
                "attempt",
                otel.name = request.method.as_str(),
                otel.kind = "client",
                otel.status_code = Empty,
                error.type = Empty,
                http.request.method = request.method.as_str(),
                http.request.resend_count = effect.number - 1,
                http.response.status_code = Empty,
                server.address = request.url.host_str().unwrap_or_default(),
                server.port = request.url.port_or_known_default(),
                url.scheme = request.url.scheme(),
                url.path = request.url.path(),
            ),
        }
    }
}
