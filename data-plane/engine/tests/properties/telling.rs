//! Steps that wait for others, what these tell them, and what must hold of it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Value, json};
use signalbox_model::{
    execution::{Fact, JsonText, StepState},
    expression::Template,
    ids::{SignalId, SignalName, StepInstance},
    signal::{ApprovalDecision, Signal, SignalKind},
    workflow::{
        Action, ApprovalStep, ApprovalTimeout, SignalTimeout, SignalWait, Step, WaitStep, Workflow,
    },
};

use super::workflows::Outcomes;

/// A wait for the signal that is called as its step is: that of all its runs.
pub(crate) fn signal_wait(step: &str, timeout: Option<Duration>, goes_on: bool) -> WaitStep {
    WaitStep::Signal(SignalWait {
        name: Template::parse(&format!("${{{{ '{step}' }}}}")).unwrap(),
        timeout,
        on_timeout: if goes_on {
            SignalTimeout::Continue
        } else {
            SignalTimeout::Fail
        },
    })
}

pub(crate) fn approval(
    timeout: Option<Duration>,
    on_timeout: ApprovalTimeout,
    rejected_is_output: bool,
) -> ApprovalStep {
    ApprovalStep {
        message: Template::parse("${{ event.messageId }}?").unwrap(),
        approvers: Vec::new(),
        timeout,
        on_timeout,
        rejected_is_output,
    }
}

/// What the run of a step that listens is told in its time, if anything.
fn told(outcomes: &Outcomes, step: &Step, run: &str) -> Option<SignalKind> {
    let id = step.id.as_str();
    match &step.action {
        Action::Wait(WaitStep::Signal(_)) => {
            let payload = JsonText::from_value(&json!({ "of": run }));
            let name = id.parse().unwrap();
            (!outcomes.draw(id, 0).is_multiple_of(3)).then_some(SignalKind::Named { name, payload })
        }
        Action::Approval(_) => {
            let decision = match outcomes.draw(run, 0) % 3 {
                0 => return None,
                1 => ApprovalDecision::Approved,
                _ => ApprovalDecision::Rejected,
            };
            Some(SignalKind::Decision {
                step: run.parse().unwrap(),
                decision,
                comment: format!("of {run}"),
            })
        }
        _ => None,
    }
}

fn opposite(kind: &SignalKind) -> Option<SignalKind> {
    use ApprovalDecision::{Approved, Rejected};
    let SignalKind::Decision { step, decision, .. } = kind else {
        return None;
    };
    Some(SignalKind::Decision {
        step: step.clone(),
        decision: match decision {
            Approved => Rejected,
            Rejected => Approved,
        },
        comment: "too late".to_owned(),
    })
}

/// Those who tell.
#[derive(Default)]
pub(crate) struct Tellers {
    /// Runs of approvals that were.
    decided: BTreeSet<String>,
    count: usize,
}

impl Tellers {
    fn signal(&mut self, kind: SignalKind, at: Timestamp) -> Signal {
        self.count += 1;
        Signal {
            id: format!("s{}", self.count).parse().unwrap(),
            kind,
            by: "someone".to_owned(),
            at,
        }
    }

    /// What those that listen by the journal are to be told and were not.
    pub(crate) fn due(
        &mut self,
        workflow: &Workflow,
        outcomes: &Outcomes,
        journal: &[(Fact, Timestamp)],
        now: Timestamp,
    ) -> Vec<Signal> {
        let mut listening = BTreeSet::new();
        // Those that nobody has taken. Who listens may lose one to who begins.
        let mut kept: BTreeMap<&str, usize> = BTreeMap::new();
        for (fact, _) in journal {
            match fact {
                // Without an input it failed at once.
                Fact::StepStarted { step, kind, input }
                    if ["wait", "approval"].contains(&kind.as_str())
                        && input.as_str() != "null" =>
                {
                    listening.insert(step);
                }
                Fact::StepFinished { step, output, .. } => {
                    let output = output.as_ref().map(JsonText::to_value).unwrap_or_default();
                    if listening.remove(step) && output["timedOut"] == false {
                        kept.entry(step.step.as_str())
                            .and_modify(|count| *count -= 1);
                    }
                }
                Fact::SignalReceived(signal) => {
                    if let SignalKind::Named { name, .. } = &signal.kind {
                        *kept.entry(name.as_str()).or_default() += 1;
                    }
                }
                _ => {}
            }
        }
        let mut signals = Vec::new();
        for run in listening {
            let step = workflow.step(&run.step).unwrap();
            let Some(kind) = told(outcomes, step, &run.to_string()) else {
                continue;
            };
            let is_told = match &kind {
                SignalKind::Named { name, .. } => {
                    let count = kept.entry(run.step.as_str()).or_default();
                    assert_eq!(name.as_str(), run.step.as_str());
                    let is_there = *count > 0;
                    *count = count.saturating_sub(1);
                    is_there
                }
                SignalKind::Decision { .. } => !self.decided.insert(run.to_string()),
            };
            if !is_told {
                let other = opposite(&kind);
                signals.push(self.signal(kind, now));
                signals.extend(other.map(|kind| self.signal(kind, now)));
            }
        }
        signals
    }

    /// What some are told before the execution begins.
    pub(crate) fn early(
        &mut self,
        workflow: &Workflow,
        outcomes: &Outcomes,
        now: Timestamp,
    ) -> Vec<Signal> {
        let mut signals = Vec::new();
        let finally = workflow.finally().into_iter().flat_map(|f| &f.steps);
        for step in workflow.steps().iter().chain(finally) {
            let id = step.id.as_str();
            if outcomes.draw(id, 1).is_multiple_of(2)
                && let Some(kind) = told(outcomes, step, id)
            {
                self.decided.insert(id.to_owned());
                signals.push(self.signal(kind, now));
            }
        }
        signals
    }
}

/// What the interpreter says of a run that listens: its output, or the code of its failure. Only the journal, which gave it
/// `output`, knows times, and which of the signals of one name it got.
pub(crate) fn interpret(
    outcomes: &Outcomes,
    step: &Step,
    run: &str,
    output: Option<&Value>,
) -> Result<Value, &'static str> {
    let at = output.map_or(&Value::Null, |output| &output["at"]);
    match (&step.action, told(outcomes, step, run)) {
        (Action::Wait(WaitStep::Signal(wait)), None) => match wait.on_timeout {
            SignalTimeout::Fail => Err("SIGNAL_TIMEOUT"),
            SignalTimeout::Continue => Ok(json!({
                "signal": step.id.as_str(), "payload": null, "by": null, "at": null,
                "timedOut": true,
            })),
        },
        (Action::Wait(_), Some(_)) => {
            let payload = output.map_or(&Value::Null, |output| &output["payload"]);
            Ok(json!({
                "signal": step.id.as_str(), "payload": payload, "by": "someone", "at": at,
                "timedOut": false,
            }))
        }
        (Action::Approval(approval), told) => {
            let (decision, comment) = match (&told, approval.on_timeout) {
                (
                    Some(SignalKind::Decision {
                        decision, comment, ..
                    }),
                    _,
                ) => (*decision, comment.as_str()),
                (_, ApprovalTimeout::Fail) => return Err("APPROVAL_TIMEOUT"),
                (_, ApprovalTimeout::Approve) => (ApprovalDecision::Approved, ""),
                (_, ApprovalTimeout::Reject) => (ApprovalDecision::Rejected, ""),
            };
            if decision == ApprovalDecision::Rejected && !approval.rejected_is_output {
                return Err("REJECTED");
            }
            Ok(json!({
                "decision": decision.as_str(), "by": told.as_ref().map(|_| "someone"), "at": at,
                "comment": comment, "timedOut": told.is_none(),
            }))
        }
        (other, _) => panic!("{other:?} does not listen"),
    }
}

/// What of a journal must hold of signals: each is taken once, in the order of its name, by whom it is for, and not before
/// it came; and no time-out comes before its time.
#[derive(Default)]
pub(crate) struct Telling {
    ids: BTreeSet<SignalId>,
    named: BTreeMap<SignalName, VecDeque<Signal>>,
    decisions: BTreeMap<StepInstance, Signal>,
    deadlines: BTreeMap<StepInstance, Timestamp>,
}

impl Telling {
    pub(crate) fn check(&mut self, workflow: &Workflow, fact: &Fact, at: Timestamp) {
        match fact {
            Fact::SignalReceived(signal) => {
                assert!(self.ids.insert(signal.id.clone()), "told twice");
                match &signal.kind {
                    SignalKind::Named { name, .. } => {
                        let waiting = self.named.entry(name.clone()).or_default();
                        waiting.push_back((**signal).clone());
                    }
                    SignalKind::Decision { step, .. } => {
                        let first = self.decisions.entry(step.clone());
                        first.or_insert_with(|| (**signal).clone());
                    }
                }
            }
            Fact::StepStarted { step, input, .. } => {
                if let Some(deadline) = input.to_value()["deadline"].as_str() {
                    self.deadlines
                        .insert(step.clone(), deadline.parse().unwrap());
                }
            }
            Fact::StepFinished {
                step,
                state: StepState::Succeeded,
                output: Some(output),
                ..
            } => {
                let output = output.to_value();
                match &workflow.step(&step.step).unwrap().action {
                    Action::Wait(WaitStep::Signal(_)) => self.signal_ended(step, &output, at),
                    Action::Approval(_) => self.approval_ended(step, &output, at),
                    _ => {}
                }
            }
            Fact::StepFinished {
                step,
                error: Some(error),
                ..
            } => {
                let is_late = ["SIGNAL_TIMEOUT", "APPROVAL_TIMEOUT"].contains(&error.code.as_str());
                // The step around has its code too.
                let deadline = self.deadlines.get(step).filter(|_| is_late);
                assert!(
                    deadline.is_none_or(|deadline| *deadline <= at),
                    "{step:?} too early"
                );
            }
            _ => {}
        }
    }

    fn signal_ended(&mut self, step: &StepInstance, output: &Value, at: Timestamp) {
        if output["timedOut"] == true {
            assert!(self.deadlines[step] <= at, "{step:?} too early");
            return;
        }
        let name: SignalName = output["signal"].as_str().unwrap().parse().unwrap();
        let signal = self.named.get_mut(&name).and_then(VecDeque::pop_front);
        let Signal { kind, by, .. } = signal.expect("a signal that never came");
        let SignalKind::Named { payload, .. } = kind else {
            panic!("{kind:?}")
        };
        assert_eq!(
            (&payload.to_value(), by.as_str()),
            (&output["payload"], output["by"].as_str().unwrap())
        );
    }

    fn approval_ended(&self, step: &StepInstance, output: &Value, at: Timestamp) {
        if output["timedOut"] == true {
            assert!(self.deadlines[step] <= at, "{step:?} too early");
            return;
        }
        let Signal { kind, at, .. } = &self.decisions[step];
        let SignalKind::Decision {
            decision, comment, ..
        } = kind
        else {
            panic!("{kind:?}")
        };
        let expected = [decision.as_str(), comment, &at.to_string()];
        let found = ["decision", "comment", "at"].map(|field| output[field].as_str().unwrap());
        assert_eq!(found, expected);
    }
}
