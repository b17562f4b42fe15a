//! `approval`: waits until someone approves or rejects.

use jiff::Timestamp;
use serde_json::{Value, json};
use signalbox_model::{
    execution::Failure,
    expression::Scope,
    limits,
    signal::{ApprovalDecision, Signal, SignalKind},
    workflow::{ApprovalStep, ApprovalTimeout},
};

use super::{Begin, Behaviour, Listens, expression_failure, listen};
use crate::codes;

impl Behaviour for ApprovalStep {
    fn begin(&self, scope: &Scope, now: Timestamp) -> Result<Begin, Failure> {
        let message = self.message.render_text(scope);
        let message = message.map_err(|error| expression_failure(&error))?;
        let deadline = listen::deadline(now, Some(self.effective_timeout()));
        let message: String = message
            .chars()
            .take(limits::APPROVAL_TEXT_MAX_CHARS)
            .collect();
        Ok(Begin::Enter {
            input: json!({
                "message": message,
                "approvers": self.approvers,
                listen::DEADLINE: deadline,
            }),
        })
    }

    fn listens(&self, input: &Value) -> Option<(Listens, Timestamp)> {
        Some((Listens::Decision, listen::deadline_of(input)?))
    }

    fn heard(
        &self,
        _listens: &Listens,
        signal: Option<&Signal>,
        deadline: Timestamp,
    ) -> Result<Value, Failure> {
        let (decision, comment) = match (signal.map(|signal| &signal.kind), self.on_timeout) {
            (
                Some(SignalKind::Decision {
                    decision, comment, ..
                }),
                _,
            ) => (*decision, comment.as_str()),
            (Some(SignalKind::Named { .. }), _) => return Err(listen::not_meant()),
            (None, ApprovalTimeout::Approve) => (ApprovalDecision::Approved, ""),
            (None, ApprovalTimeout::Reject) => (ApprovalDecision::Rejected, ""),
            (None, ApprovalTimeout::Fail) => {
                let message = format!("nobody approved or rejected it until {deadline}");
                return Err(Failure::new(codes::APPROVAL_TIMEOUT, message));
            }
        };
        if decision == ApprovalDecision::Rejected && !self.rejected_is_output {
            return Err(Failure::new(codes::REJECTED, rejection(signal, comment)));
        }
        Ok(json!({
            "decision": decision.as_str(),
            "by": signal.map(|signal| &signal.by),
            "at": signal.map_or(deadline, |signal| signal.at).to_string(),
            "comment": comment,
            "timedOut": signal.is_none(),
        }))
    }
}

fn rejection(signal: Option<&Signal>, comment: &str) -> String {
    match signal {
        None => "nobody approved it in time".to_owned(),
        Some(Signal { by, .. }) if comment.is_empty() => format!("{by} rejected it"),
        Some(Signal { by, .. }) => format!("{by} rejected it: {comment}"),
    }
}
