//! What an execution must come to, said without a machine: a recursion over the definition.
//!
//! It knows no time. Where the order of events decides, which is only where something fails fast, it follows the journal,
//! and demands that something did fail.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use signalbox_engine::Outcome;
use signalbox_model::{
    execution::{ExecutionState, Fact, Failure, JsonText, StepState},
    expression::{Scope, StepResult, sharing_one_budget},
    record::Accepted,
    workflow::{Action, HttpBody, OnError, Step, TransformStep, WaitStep, Workflow},
};

use super::{bearing, computing, telling, workflows::Outcomes};

/// How a run of a step ended: its state, output and the code of its error.
pub(crate) type Ends = BTreeMap<String, (StepState, Option<Value>, Option<String>)>;

/// How an execution ended, likewise.
pub(crate) type End = (ExecutionState, Option<Value>, Option<String>);

pub(crate) fn ends_of<'a>(journal: impl Iterator<Item = &'a Fact>) -> Ends {
    let ends = journal.filter_map(|fact| match fact {
        Fact::StepFinished {
            step,
            state,
            output,
            error,
        }
        | Fact::StepKept {
            step,
            state,
            output,
            error,
            ..
        } => {
            let output = output.as_ref().map(JsonText::to_value);
            let code = error.as_ref().map(|error| error.code.clone());
            Some((step.to_string(), (*state, output, code)))
        }
        _ => None,
    });
    ends.collect()
}

/// How a list of steps ended.
#[derive(Clone, Debug)]
enum Flow {
    /// With its last step.
    Next,
    /// By `succeed`.
    Ended(Option<Value>),
    Failed(Failure),
    /// By another's failure.
    Stopped,
}

pub(crate) struct Interpreter<'a> {
    outcomes: &'a Outcomes,
    /// How the runs of steps ended by the journal.
    journal: Ends,
    /// The number of steps around that fail fast.
    fast: usize,
    pub(crate) ends: Ends,
}

/// A list of steps under way.
struct Frame {
    scope: Scope,
    indexes: String,
    last: Option<Value>,
}

impl<'a> Interpreter<'a> {
    pub(crate) fn new<'f>(outcomes: &'a Outcomes, journal: impl Iterator<Item = &'f Fact>) -> Self {
        Self {
            outcomes,
            journal: ends_of(journal),
            fast: 0,
            ends: Ends::new(),
        }
    }

    /// Runs `workflow` as the execution of `accepted`, which started at `started_at`.
    pub(crate) fn run(
        &mut self,
        workflow: &Workflow,
        accepted: &Accepted,
        started_at: jiff::Timestamp,
    ) -> End {
        let mut execution = json!({
            "id": accepted.execution.execution.as_str(),
            "name": accepted.execution.to_string(),
            "workflow": accepted.workflow.to_string(),
            "version": accepted.version,
            "startTime": started_at.to_string(),
            "parent": null,
        });
        let scope = Scope::new(&accepted.event.scope.to_value(), &json!({}), &execution);
        let mut frame = Frame {
            scope,
            indexes: String::new(),
            last: None,
        };
        let verdict = self.end(workflow.steps(), &mut frame);
        let Some(finally) = workflow.finally() else {
            return verdict;
        };
        execution["state"] = match verdict.0 {
            ExecutionState::Succeeded => "SUCCEEDED".into(),
            _ => "FAILED".into(),
        };
        execution["error"] = match &verdict.2 {
            Some(code) => json!({"code": code, "message": ""}),
            None => Value::Null,
        };
        let mut frame = Frame {
            scope: frame.scope.with_execution(&execution),
            indexes: String::new(),
            last: None,
        };
        match (verdict.0, self.end(&finally.steps, &mut frame)) {
            (ExecutionState::Succeeded, spoilt @ (ExecutionState::Failed, _, _)) => spoilt,
            _ => verdict,
        }
    }

    fn end(&mut self, steps: &[Step], frame: &mut Frame) -> End {
        match self.list(steps, frame, true) {
            Flow::Next => (ExecutionState::Succeeded, frame.last.clone(), None),
            Flow::Ended(output) => (ExecutionState::Succeeded, output, None),
            Flow::Failed(failure) => (ExecutionState::Failed, None, Some(failure.code)),
            Flow::Stopped => panic!("nothing stops an execution here"),
        }
    }

    fn list(&mut self, steps: &[Step], frame: &mut Frame, is_own: bool) -> Flow {
        for step in steps {
            match self.step(step, frame, is_own) {
                Flow::Next => {}
                other => return other,
            }
        }
        Flow::Next
    }

    fn step(&mut self, step: &Step, frame: &mut Frame, is_own: bool) -> Flow {
        let run = format!("{}{}", step.id, frame.indexes);
        match self.journal.get(&run).map(|(state, ..)| *state) {
            Some(StepState::Cancelled) => {
                assert!(self.fast > 0, "{run} was cancelled by nothing");
                if let Action::Parallel(_) | Action::ForEach(_) = step.action {
                    // As far as they had come.
                    let _ = self.frames(step, frame);
                }
                let code = Some("CANCELLED".to_owned());
                self.ends.insert(run, (StepState::Cancelled, None, code));
                return Flow::Stopped;
            }
            None => {
                assert!(self.fast > 0, "{run} never ran, for no reason");
                return Flow::Stopped;
            }
            Some(_) => {}
        }
        let holds = step
            .condition
            .as_ref()
            .map(|c| c.evaluate_bool(&frame.scope));
        let result = match holds {
            Some(Ok(false)) => {
                self.finish(step, run, frame, (StepState::Skipped, None, None));
                return Flow::Next;
            }
            Some(Err(_)) => Err((expression(), None)),
            None | Some(Ok(true)) => self.act(step, &run, frame),
        };
        match result {
            Ok(output) => {
                if is_own {
                    frame.last = Some(output.clone());
                }
                let end = (StepState::Succeeded, Some(output.clone()), None);
                self.finish(step, run, frame, end);
                match &step.action {
                    Action::Succeed(_) => Flow::Ended(Some(output)),
                    Action::Condition(condition) => {
                        let index = output["branch"].as_i64().unwrap();
                        let list = condition.branch(usize::try_from(index).ok());
                        self.list(list, frame, false)
                    }
                    _ => Flow::Next,
                }
            }
            Err((failure, output)) => {
                let end = (StepState::Failed, output, Some(failure.clone()));
                self.finish(step, run, frame, end);
                match &step.on_error {
                    OnError::Fail => Flow::Failed(failure),
                    OnError::Continue => Flow::Next,
                    OnError::Steps(steps) => self.list(steps, frame, false),
                }
            }
        }
    }

    fn finish(
        &mut self,
        step: &Step,
        run: String,
        frame: &mut Frame,
        (state, output, error): (StepState, Option<Value>, Option<Failure>),
    ) {
        let result = StepResult {
            state,
            output: output.clone().unwrap_or_default(),
            error: error.clone(),
        };
        frame.scope.set_step(&step.id, &result);
        let code = error.map(|error| error.code);
        let again = self.ends.insert(run, (state, output, code));
        assert_eq!(again, None);
    }

    /// What a step gives, or its failure and what it gives even so.
    fn act(
        &mut self,
        step: &Step,
        run: &str,
        frame: &Frame,
    ) -> Result<Value, (Failure, Option<Value>)> {
        let scope = &frame.scope;
        let failed = |code: &str| (Failure::new(code, ""), None);
        let wrong = |_| (expression(), None);
        sharing_one_budget(|| match &step.action {
            Action::Transform(TransformStep::Expression(cel)) => cel.evaluate(scope).map_err(wrong),
            Action::Transform(TransformStep::Template(json)) => json.render(scope).map_err(wrong),
            Action::Transform(TransformStep::JsonPath(query)) => {
                query.evaluate(scope).map_err(wrong)
            }
            Action::Succeed(succeed) => succeed
                .output
                .as_ref()
                .unwrap()
                .render(scope)
                .map_err(wrong),
            Action::Fail(fail) => match fail.message.render_text(scope) {
                Ok(_) => Err(failed(&fail.code)),
                Err(error) => Err(wrong(error)),
            },
            // Only the journal knows the time.
            Action::Wait(WaitStep::Duration(_)) => Ok(self.journal[run].1.clone().unwrap()),
            Action::Wait(WaitStep::Until(time)) => {
                let text = time.render_text(scope).map_err(wrong)?;
                let time: Result<jiff::Timestamp, _> = text.parse();
                let time = time.map_err(|_| failed("INVALID_TIME"))?;
                Ok(json!({ "until": time.to_string() }))
            }
            Action::Wait(WaitStep::Signal(_)) | Action::Approval(_) => {
                let output = self.journal[run].1.as_ref();
                telling::interpret(self.outcomes, step, run, output).map_err(failed)
            }
            Action::Condition(condition) => {
                for (index, rule) in condition.rules.iter().enumerate() {
                    if rule.condition.evaluate_bool(scope).map_err(wrong)? {
                        return Ok(json!({ "branch": index }));
                    }
                }
                Ok(json!({ "branch": -1 }))
            }
            Action::Http(http) => {
                let Some(HttpBody::Json(body)) = &http.body else {
                    panic!("requests have bodies here")
                };
                body.render(scope).map_err(wrong)?;
                self.attempts(step, run).map_err(|code| failed(&code))
            }
            Action::Slack(slack) => {
                let text = slack.text.as_ref().unwrap();
                text.render_text(scope).map_err(wrong)?;
                // The answers are Slack's too, though they tell neither channel nor time.
                let attempts = self.attempts(step, run);
                attempts
                    .map(|_| json!({"ok": true, "channel": null, "ts": null}))
                    .map_err(|code| failed(&code))
            }
            Action::RunWorkflow(run_workflow) => {
                let input = run_workflow.input.as_ref().unwrap();
                input.render(scope).map_err(wrong)?;
                bearing::interpret(self.outcomes, run_workflow, &step.retry, run).map_err(failed)
            }
            Action::Script(script) => {
                script.input.render(scope).map_err(wrong)?;
                computing::interpret(self.outcomes, &step.retry, run).map_err(failed)
            }
            Action::Aws(_) | Action::Email(_) => panic!("no such steps here"),
            Action::Parallel(_) | Action::ForEach(_) => self.frames(step, frame)?.end(step),
        })
    }

    fn attempts(&self, step: &Step, run: &str) -> Result<Value, String> {
        let mut last = String::new();
        for number in 1..=step.retry.max_attempts {
            match self.outcomes.of(run, number) {
                Outcome::Http(response) if response.status == 200 => {
                    let body = String::from_utf8(response.body.to_vec()).unwrap();
                    return Ok(json!({
                        "status": 200,
                        "headers": {"x-step": run},
                        "json": serde_json::from_str::<Value>(&body).unwrap(),
                        "body": body,
                    }));
                }
                Outcome::Http(response) if response.status == 404 => {
                    return Err("HTTP_STATUS".to_owned());
                }
                Outcome::Http(_) => last = "HTTP_STATUS".to_owned(),
                Outcome::Email(_) | Outcome::Script(_) | Outcome::Child(_) => {
                    panic!("requests only")
                }
                Outcome::Failed(failure) => last = failure.failure.code,
            }
        }
        Err(last)
    }

    /// What the frames below a step come to.
    fn frames(&mut self, step: &Step, around: &Frame) -> Result<Frames, (Failure, Option<Value>)> {
        let frame = |indexes: String, scope: Scope| Frame {
            scope,
            indexes,
            last: None,
        };
        let (frames, is_fast): (Vec<(Frame, &[Step])>, bool) = match &step.action {
            Action::Parallel(parallel) => {
                let branches = parallel.branches.iter().map(|branch| {
                    let frame = frame(around.indexes.clone(), around.scope.clone());
                    (frame, &branch.steps[..])
                });
                (branches.collect(), parallel.fail_fast)
            }
            Action::ForEach(each) => {
                let items = each.items.evaluate(&around.scope);
                let Value::Array(items) = items.map_err(|_| (expression(), None))? else {
                    return Err((Failure::new("INVALID_ITEMS", ""), None));
                };
                let iterations = (0..).zip(items).map(|(index, item)| {
                    let scope = around.scope.clone().with_item(&item, index);
                    let indexes = format!("{}[{index}]", around.indexes);
                    (frame(indexes, scope), &each.steps[..])
                });
                (iterations.collect(), each.fail_fast)
            }
            _ => panic!("{step:?} has no frames"),
        };
        self.fast += usize::from(is_fast);
        let ended: Vec<(Flow, Frame)> = frames
            .into_iter()
            .map(|(mut frame, steps)| (self.list(steps, &mut frame, true), frame))
            .collect();
        self.fast -= usize::from(is_fast);
        Ok(Frames { ended, is_fast })
    }
}

/// What the frames below a step came to.
struct Frames {
    ended: Vec<(Flow, Frame)>,
    is_fast: bool,
}

impl Frames {
    /// What the step gives, or its failure and what it gives even so.
    fn end(&self, step: &Step) -> Result<Value, (Failure, Option<Value>)> {
        let outputs = self.ended.iter().map(|(flow, frame)| match flow {
            Flow::Next => frame.last.clone().unwrap_or_default(),
            Flow::Ended(output) => output.clone().unwrap_or_default(),
            Flow::Failed(_) | Flow::Stopped => Value::Null,
        });
        let output = match &step.action {
            Action::Parallel(parallel) => {
                let names = parallel.branches.iter().map(|b| b.name.to_string());
                Value::Object(names.zip(outputs).collect::<Map<_, _>>())
            }
            _ => outputs.collect(),
        };
        let flows = self.ended.iter().map(|(flow, _)| flow);
        let failures: Vec<&Failure> = flows
            .clone()
            .filter_map(|flow| match flow {
                Flow::Failed(failure) => Some(failure),
                _ => None,
            })
            .collect();
        let is_stopped = flows.clone().any(|flow| matches!(flow, Flow::Stopped));
        assert!(
            !is_stopped || (self.is_fast && !failures.is_empty()),
            "{:?} goes on although it was stopped",
            step.id
        );
        match failures.as_slice() {
            [] => Ok(output),
            [failure] if self.is_fast => Err(((*failure).clone(), None)),
            [..] if self.is_fast => panic!("{:?} failed twice", step.id),
            [first, ..] => Err(((*first).clone(), Some(output))),
        }
    }
}

fn expression() -> Failure {
    Failure::new("EXPRESSION", "")
}
