//! Steps that run workflows, and what becomes of their children.

use jiff::Timestamp;
use serde_json::{Value, json};
use signalbox_engine::{AttemptFailure, Effect, HttpResponse, Outcome};
use signalbox_model::{
    child::ChildEnd,
    execution::{ExecutionState, Fact, Failure, JsonText},
    ids::{ExecutionName, StepInstance},
    workflow::{RetryPolicy, RunWorkflowStep},
};

use super::workflows::Outcomes;

/// The child of an attempt.
pub(crate) fn child(step: &StepInstance, number: u32) -> ExecutionName {
    let id: String = step
        .to_string()
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    format!("projects/p/executions/{id}n{number}")
        .parse()
        .unwrap()
}

/// What becomes of an attempt to start one.
pub(crate) fn start(outcomes: &Outcomes, effect: &Effect) -> Outcome {
    match outcomes.of(&effect.step.to_string(), effect.attempt) {
        Outcome::Failed(_) => Outcome::Failed(AttemptFailure::retriable("CHILD_UNAVAILABLE", "")),
        _ => Outcome::Child(child(&effect.step, effect.attempt)),
    }
}

/// The ends of children that the journal does not have, of those that it says are waited for.
pub(crate) fn ends(outcomes: &Outcomes, journal: &[(Fact, Timestamp)]) -> Vec<Fact> {
    let has_ended = |child: &ExecutionName| {
        let mut facts = journal.iter();
        facts.any(|(fact, _)| matches!(fact, Fact::ChildEnded(end) if end.child == *child))
    };
    let facts = journal.iter().filter_map(|(fact, _)| match fact {
        Fact::ChildStarted {
            step,
            number,
            child,
            waits: true,
        } if !has_ended(child) => {
            let (state, error) = match end_of(outcomes, &step.to_string(), *number) {
                None => (ExecutionState::Succeeded, None),
                Some(state) => (state, Some(Failure::new("X", ""))),
            };
            let output = error.is_none().then(|| output_of(&step.to_string()));
            Some(Fact::ChildEnded(Box::new(ChildEnd {
                step: step.clone(),
                number: *number,
                child: child.clone(),
                state,
                output: output.as_ref().map(JsonText::from_value),
                error,
            })))
        }
        _ => None,
    });
    facts.collect()
}

fn output_of(run: &str) -> Value {
    json!({ "of": run })
}

/// How a child ends that does not end well.
fn end_of(outcomes: &Outcomes, run: &str, number: u32) -> Option<ExecutionState> {
    match outcomes.of(run, number) {
        Outcome::Http(HttpResponse { status: 200, .. }) => None,
        Outcome::Http(HttpResponse { status: 404, .. }) => Some(ExecutionState::Cancelled),
        _ => Some(ExecutionState::Failed),
    }
}

/// What the interpreter says of a run: its output, or the code of its failure.
pub(crate) fn interpret(
    outcomes: &Outcomes,
    step: &RunWorkflowStep,
    retry: &RetryPolicy,
    run: &str,
) -> Result<Value, &'static str> {
    let mut last = "";
    for number in 1..=retry.max_attempts {
        if let Outcome::Failed(_) = outcomes.of(run, number) {
            last = "CHILD_UNAVAILABLE";
            continue;
        }
        let (state, output) = match end_of(outcomes, run, number).filter(|_| step.waits) {
            Some(ExecutionState::Cancelled) => return Err("CHILD_CANCELLED"),
            Some(_) => {
                last = "CHILD_FAILED";
                continue;
            }
            None if step.waits => ("SUCCEEDED", output_of(run)),
            None => ("QUEUED", Value::Null),
        };
        let child = child(&run.parse().unwrap(), number);
        return Ok(json!({"execution": child.to_string(), "state": state, "output": output}));
    }
    Err(last)
}
