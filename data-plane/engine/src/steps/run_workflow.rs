//! `runWorkflow`: runs another workflow.
//!
//! An attempt starts an execution, the child; the step then waits without an attempt under way, until the child's end is told.

use jiff::Timestamp;
use serde_json::{Value, json};
use signalbox_model::{
    child::ChildEnd,
    execution::{ExecutionState, Failure, JsonText},
    expression::Scope,
    ids::ExecutionName,
    limits::RUN_INPUT_MAX_BYTES,
    workflow::RunWorkflowStep,
};

use super::{Begin, Behaviour, expression_failure};
use crate::{
    codes,
    decision::{AttemptFailure, ChildCall, EffectKind},
};

impl Behaviour for RunWorkflowStep {
    fn begin(&self, scope: &Scope, _now: Timestamp) -> Result<Begin, Failure> {
        let input = match &self.input {
            Some(input) => input
                .render(scope)
                .map_err(|error| expression_failure(&error))?,
            None => Value::Null,
        };
        let text = JsonText::from_value(&input);
        let size_bytes = text.as_str().len();
        if size_bytes > RUN_INPUT_MAX_BYTES {
            let message = format!(
                "its input has {size_bytes} bytes; at most {RUN_INPUT_MAX_BYTES} are taken"
            );
            return Err(Failure::new(codes::CHILD_INPUT, message));
        }
        Ok(Begin::Attempt {
            input: json!({
                "workflow": self.workflow.as_str(),
                "input": input,
                "wait": self.waits,
            }),
            effect: EffectKind::RunWorkflow(Box::new(ChildCall {
                workflow: self.workflow.clone(),
                input: text,
                waits: self.waits,
            })),
        })
    }

    fn child(
        &self,
        child: &ExecutionName,
        end: Option<&ChildEnd>,
    ) -> Option<Result<Value, AttemptFailure>> {
        match end {
            _ if !self.waits => Some(Ok(shown(child, ExecutionState::Queued, None))),
            None => None,
            Some(ChildEnd {
                state: ExecutionState::Succeeded,
                output,
                ..
            }) => Some(Ok(shown(child, ExecutionState::Succeeded, output.as_ref()))),
            Some(end) => Some(Err(failure(child, end))),
        }
    }
}

fn shown(child: &ExecutionName, state: ExecutionState, output: Option<&JsonText>) -> Value {
    json!({
        "execution": child.to_string(),
        "state": state.as_str(),
        "output": output.map_or(Value::Null, JsonText::to_value),
    })
}

fn failure(child: &ExecutionName, end: &ChildEnd) -> AttemptFailure {
    let why = match &end.error {
        Some(Failure { code, message }) => format!(": {code}: {message}"),
        None => String::new(),
    };
    let told = |what: &str| format!("{child} {what}{why}");
    match end.state {
        // Who cancelled it does not want another.
        ExecutionState::Cancelled => {
            AttemptFailure::lasting(codes::CHILD_CANCELLED, told("was cancelled"))
        }
        ExecutionState::TimedOut => {
            AttemptFailure::retriable(codes::CHILD_TIMED_OUT, told("took too long"))
        }
        _ => AttemptFailure::retriable(codes::CHILD_FAILED, told("failed")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use signalbox_model::expression::JsonTemplate;

    use super::*;

    fn scope() -> Scope {
        let event = json!({"message": "x".repeat(RUN_INPUT_MAX_BYTES), "json": {"n": 3}});
        Scope::new(&event, &json!({}), &json!({}))
    }

    fn step(input: Option<Value>, waits: bool) -> RunWorkflowStep {
        RunWorkflowStep {
            workflow: "other".parse().unwrap(),
            input: input.map(|input| JsonTemplate::parse(&input).unwrap()),
            waits,
        }
    }

    fn begun(step: &RunWorkflowStep) -> Result<(Value, ChildCall), Failure> {
        match step.begin(&scope(), Timestamp::UNIX_EPOCH)? {
            Begin::Attempt {
                input,
                effect: EffectKind::RunWorkflow(call),
            } => Ok((input, *call)),
            _ => panic!("it does something else"),
        }
    }

    #[test]
    fn what_it_gives_the_child_is_recorded() {
        let (input, call) = begun(&step(Some(json!({"a": "${{ event.json.n }}"})), true)).unwrap();
        assert_eq!(
            input,
            json!({"workflow": "other", "input": {"a": 3}, "wait": true})
        );
        assert_eq!((call.input.as_str(), call.waits), (r#"{"a":3}"#, true));
        let (input, call) = begun(&step(None, false)).unwrap();
        assert_eq!(
            input,
            json!({"workflow": "other", "input": null, "wait": false})
        );
        assert_eq!((call.input.as_str(), call.waits), ("null", false));
        let large = begun(&step(Some(json!("${{ event.message }}")), true));
        assert_eq!(large.unwrap_err().code, codes::CHILD_INPUT);
        let none = begun(&step(Some(json!("${{ event.json.n.x }}")), true));
        assert_eq!(none.unwrap_err().code, codes::EXPRESSION);
    }

    #[test]
    fn the_end_of_the_child_is_the_end_of_the_attempt() {
        let child: ExecutionName = "projects/p/executions/x2".parse().unwrap();
        let end = |state, output: Option<Value>, error: Option<Failure>| ChildEnd {
            step: "call".parse().unwrap(),
            number: 1,
            child: child.clone(),
            state,
            output: output.as_ref().map(JsonText::from_value),
            error,
        };
        let waits = step(None, true);
        assert_eq!(waits.child(&child, None), None);
        let done = end(ExecutionState::Succeeded, Some(json!([1])), None);
        assert_eq!(
            waits.child(&child, Some(&done)),
            Some(Ok(json!({
                "execution": "projects/p/executions/x2", "state": "SUCCEEDED", "output": [1],
            })))
        );
        let failed = |state, error| {
            let end = end(state, None, Some(error));
            let failed = waits.child(&child, Some(&end)).unwrap().unwrap_err();
            (failed.failure.to_string(), failed.retriable)
        };
        assert_eq!(
            failed(ExecutionState::Failed, Failure::new("HTTP_STATUS", "no")),
            (
                "CHILD_FAILED: projects/p/executions/x2 failed: HTTP_STATUS: no".to_owned(),
                true
            )
        );
        let late = Failure::new(codes::EXECUTION_TIMEOUT, "late");
        let (text, retriable) = failed(ExecutionState::TimedOut, late);
        assert!(text.starts_with("CHILD_TIMED_OUT: ") && retriable, "{text}");
        let (text, retriable) = failed(ExecutionState::Cancelled, Failure::cancelled());
        assert!(
            text.starts_with("CHILD_CANCELLED: ") && !retriable,
            "{text}"
        );
        assert_eq!(
            step(None, false).child(&child, None),
            Some(Ok(json!({
                "execution": "projects/p/executions/x2", "state": "QUEUED", "output": null,
            })))
        );
    }
}
