//! What no part of a definition can check alone.

use std::collections::HashSet;

use super::{Action, AmazonSnsTrigger, Step, Trigger, Workflow};
use crate::{
    expression::Reference, filter_policy::FilterPolicyScope, ids::StepId, limits,
    violation::Collector,
};

pub(super) fn workflow(workflow: &Workflow, problems: &mut Collector) {
    trigger(&workflow.trigger, problems);
    vars(workflow, problems);
    if workflow.timeout.is_zero() || workflow.timeout > limits::WORKFLOW_TIMEOUT_MAX {
        problems.add("timeout", "must be more than 0 and at most 30 days");
    }
    if workflow.steps.is_empty() {
        problems.add("steps", "must hold at least one step");
    }
    let mut walk = Walk {
        workflow,
        problems,
        ids: HashSet::new(),
        all_ids: all_ids(&workflow.steps),
        count: 0,
    };
    walk.list("steps", &workflow.steps, 1);
    if walk.count > limits::STEPS_MAX {
        let count = walk.count;
        problems.add(
            "steps",
            format!(
                "has {count} steps; at most {} are allowed",
                limits::STEPS_MAX
            ),
        );
    }
}

fn trigger(trigger: &Trigger, problems: &mut Collector) {
    let field = match trigger {
        Trigger::AmazonSns(sns) => {
            if sns.topic_arns.len() > limits::TRIGGER_NAMES_MAX {
                problems.add(
                    "trigger.amazonSns.topicArns",
                    format!("at most {} topics are allowed", limits::TRIGGER_NAMES_MAX),
                );
            }
            filter_policy(sns, problems);
            "trigger.amazonSns.apiKeys"
        }
        Trigger::Webhook(_) => "trigger.webhook.apiKeys",
        Trigger::Manual => return,
    };
    match trigger.api_keys().len() {
        0 => problems.add(field, "must name at least one API key"),
        n if n > limits::TRIGGER_NAMES_MAX => problems.add(
            field,
            format!("at most {} keys are allowed", limits::TRIGGER_NAMES_MAX),
        ),
        _ => {}
    }
}

/// A raw message comes without its attributes: Amazon SNS sends them in no header.
fn filter_policy(sns: &AmazonSnsTrigger, problems: &mut Collector) {
    let on_attributes = sns
        .filter_policy
        .as_ref()
        .is_some_and(|policy| policy.scope() == FilterPolicyScope::MessageAttributes);
    if on_attributes && sns.allow_raw_delivery {
        let text = "looks at attributes, which raw messages come without; expected filterPolicyScope: \
                    FILTER_POLICY_SCOPE_MESSAGE_BODY, or no allowRawDelivery";
        problems.add("trigger.amazonSns.filterPolicy", text);
    }
}

fn vars(workflow: &Workflow, problems: &mut Collector) {
    if workflow.vars.len() > limits::VARS_MAX {
        problems.add("vars", format!("at most {} are allowed", limits::VARS_MAX));
    }
    for name in workflow.vars.keys() {
        let mut bytes = name.bytes();
        let starts = bytes
            .next()
            .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        if !starts || !bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            problems.add(
                format!("vars.{name}"),
                "name must match [a-zA-Z_][a-zA-Z0-9_]*, so that expressions can read it",
            );
        }
    }
}

fn all_ids(steps: &[Step]) -> HashSet<StepId> {
    let mut ids = HashSet::new();
    let mut rest: Vec<&[Step]> = vec![steps];
    while let Some(list) = rest.pop() {
        for step in list {
            ids.insert(step.id.clone());
            rest.extend(step.action.branches());
        }
    }
    ids
}

struct Walk<'a> {
    workflow: &'a Workflow,
    problems: &'a mut Collector,
    /// Steps that come before the current one in the text, and so may have an output.
    ids: HashSet<StepId>,
    all_ids: HashSet<StepId>,
    count: usize,
}

impl Walk<'_> {
    fn list(&mut self, path: &str, steps: &[Step], depth: usize) {
        if depth > limits::STEP_DEPTH_MAX {
            self.problems.add(
                path,
                format!("nested deeper than {} levels", limits::STEP_DEPTH_MAX),
            );
            return;
        }
        let mut ended_by: Option<&StepId> = None;
        for (index, step) in steps.iter().enumerate() {
            let path = format!("{path}[{index}]");
            if let Some(end) = ended_by {
                self.problems.add(
                    path.clone(),
                    format!(
                        "step {:?} can never run: step {end:?} before it ends the execution",
                        step.id
                    ),
                );
            }
            self.step(&path, step, depth);
            if step.action.ends_execution() && step.condition.is_none() {
                ended_by = ended_by.or(Some(&step.id));
            }
        }
    }

    fn step(&mut self, path: &str, step: &Step, depth: usize) {
        self.count += 1;
        if self.ids.contains(&step.id) {
            self.problems.add(
                format!("{path}.id"),
                format!(
                    "{:?} names another step already; ids are unique in a workflow",
                    step.id
                ),
            );
        }
        for reference in step.condition.iter().flat_map(|c| c.references()) {
            self.reference(&format!("{path}.if"), &reference);
        }
        for (field, reference) in step.action.references() {
            self.reference(&format!("{path}.{field}"), &reference);
        }
        if let Action::Condition(condition) = &step.action {
            match condition.rules.len() {
                0 => self.problems.add(
                    format!("{path}.condition.rules"),
                    "must hold at least one rule",
                ),
                n if n > limits::CONDITION_RULES_MAX => self.problems.add(
                    format!("{path}.condition.rules"),
                    format!("at most {} rules are allowed", limits::CONDITION_RULES_MAX),
                ),
                _ => {}
            }
            for (index, rule) in condition.rules.iter().enumerate() {
                let path = format!("{path}.condition.rules[{index}].steps");
                self.list(&path, &rule.steps, depth + 1);
            }
            let path = format!("{path}.condition.otherwise");
            self.list(&path, &condition.otherwise, depth + 1);
        }
        self.ids.insert(step.id.clone());
    }

    fn reference(&mut self, field: &str, reference: &Reference) {
        match reference {
            Reference::Step(id) => {
                let known = |ids: &HashSet<StepId>| ids.iter().any(|known| known.as_str() == id);
                if !known(&self.all_ids) {
                    let hint = suggestion(id, self.all_ids.iter().map(StepId::as_str));
                    self.problems
                        .add(field, format!("steps.{id}: there is no step {id:?}{hint}"));
                } else if !known(&self.ids) {
                    self.problems.add(
                        field,
                        format!("steps.{id}: step {id:?} does not come before this one"),
                    );
                }
            }
            Reference::Var(name) => {
                if !self.workflow.vars.contains_key(name) {
                    let hint = suggestion(name, self.workflow.vars.keys().map(String::as_str));
                    self.problems.add(
                        field,
                        format!("vars.{name}: there is no such constant{hint}"),
                    );
                }
            }
        }
    }
}

/// `; did you mean "x"?` for the closest of `names`, if one is close.
fn suggestion<'a>(found: &str, names: impl Iterator<Item = &'a str>) -> String {
    names
        .map(|name| (strsim::damerau_levenshtein(found, name), name))
        .filter(|(distance, _)| *distance <= 2)
        .min()
        .map(|(_, name)| format!("; did you mean {name:?}?"))
        .unwrap_or_default()
}
