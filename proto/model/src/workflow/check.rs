//! What no part of a definition can check alone.

use std::collections::{BTreeMap, HashSet};

use self::approvals::Approvals;
use super::{
    Action, AmazonSnsTrigger, ConditionStep, ForEachStep, Names, OnError, ParallelStep, RetryOn,
    Step, SuccessStatus, Trigger, WaitStep, Workflow,
};
use crate::{
    expression::{Expression, Shape, sharing_one_budget},
    filter_policy::FilterPolicyScope,
    ids::{ApiKeyName, StepId},
    limits,
    violation::Collector,
};

mod approvals;
mod kinds;
mod references;
mod secrets;
mod time;

use references::Hints;
use time::Bound;

/// Notes the problems; gives what the definition names. What it evaluates takes no longer than one evaluation, all together.
pub(super) fn workflow(workflow: &Workflow, problems: &mut Collector) -> Names {
    sharing_one_budget(|| checked(workflow, problems))
}

fn checked(workflow: &Workflow, problems: &mut Collector) -> Names {
    trigger(&workflow.front.trigger, problems);
    vars(workflow, problems);
    if workflow.timeout.is_zero() || workflow.timeout > limits::WORKFLOW_TIMEOUT_MAX {
        problems.add("timeout", "must be more than 0 and at most 30 days");
    }
    if workflow.steps.is_empty() {
        problems.add("steps", "must hold at least one step");
    }
    let all_ids: HashSet<StepId> = all_steps(workflow).map(|step| step.id.clone()).collect();
    let count = all_steps(workflow).count();
    let mut walk = Walk {
        workflow,
        problems,
        ids: HashSet::new(),
        visible: HashSet::new(),
        unchosen: HashSet::new(),
        inputs: (!workflow.inputs().is_empty()).then(|| workflow.inputs().shapes()),
        bound: Bound::Workflow(workflow.timeout),
        in_finally: false,
        all_ids,
        all_approvals: approvals::all(workflow),
        approvals: Vec::new(),
        hints: Hints::default(),
        iterations: 0,
        count: 0,
        names: Names {
            keys: keys(&workflow.front.trigger),
            ..Names::default()
        },
    };
    walk.list("steps", &workflow.steps, 1);
    if let Some(finally) = &workflow.finally {
        if finally.timeout.is_zero() || finally.timeout > limits::FINALLY_TIMEOUT_MAX {
            let text = "must be more than 0 and at most 1 hour";
            walk.problems.add("finally.timeout", text);
        }
        walk.bound = Bound::Finally(finally.timeout);
        walk.in_finally = true;
        walk.some("finally.steps", &finally.steps, 1);
    }
    let finally = workflow.finally.iter().map(|finally| &finally.steps[..]);
    let at_once = finally.chain([&workflow.steps[..]]).map(at_once).max();
    if at_once.is_some_and(|count| count > limits::CONCURRENT_STEPS_MAX) {
        let text = format!(
            "lets {} steps be under way at once, by the concurrency of each forEach and the branches of each parallel; at most {} are allowed",
            at_once.unwrap_or_default(),
            limits::CONCURRENT_STEPS_MAX
        );
        walk.problems.add("steps", text);
    }
    let names = walk.names;
    if count > limits::STEPS_MAX {
        problems.add(
            "steps",
            format!(
                "has {count} steps; at most {} are allowed",
                limits::STEPS_MAX
            ),
        );
    }
    names
}

/// Where a trigger names its keys, if it does.
fn field_of_keys(trigger: &Trigger) -> Option<&'static str> {
    match trigger {
        Trigger::AmazonSns(_) => Some("trigger.amazonSns.apiKeys"),
        Trigger::Webhook(_) => Some("trigger.webhook.apiKeys"),
        Trigger::Manual | Trigger::Schedule(_) => None,
    }
}

fn keys(trigger: &Trigger) -> Vec<(String, ApiKeyName)> {
    let keys = trigger.api_keys().iter().enumerate();
    let field = field_of_keys(trigger).unwrap_or_default();
    keys.map(|(index, key)| (format!("{field}[{index}]"), key.clone()))
        .collect()
}

pub(super) fn trigger(trigger: &Trigger, problems: &mut Collector) {
    if let Trigger::AmazonSns(sns) = trigger {
        if sns.topic_arns.len() > limits::TRIGGER_NAMES_MAX {
            problems.add(
                "trigger.amazonSns.topicArns",
                format!("at most {} topics are allowed", limits::TRIGGER_NAMES_MAX),
            );
        }
        filter_policy(sns, problems);
    }
    let Some(field) = field_of_keys(trigger) else {
        return;
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
    for (name, value) in &workflow.vars {
        secrets::in_constant(&format!("vars.{name}"), value, problems);
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

/// The steps of a workflow, wherever they stand.
fn all_steps(workflow: &Workflow) -> impl Iterator<Item = &Step> {
    let finally = workflow.finally.iter().flat_map(|finally| &finally.steps);
    let mut rest: Vec<&Step> = workflow.steps.iter().chain(finally).collect();
    std::iter::from_fn(move || {
        let step = rest.pop()?;
        rest.extend(step.lists().flatten());
        Some(step)
    })
}

/// How many of `steps`, nested ones included, may be under way at once.
fn at_once(steps: &[Step]) -> usize {
    let of_step = |step: &Step| {
        let lists = step.action.branches().map(at_once);
        let inside = match &step.action {
            Action::Parallel(_) => lists.fold(0, usize::saturating_add),
            Action::ForEach(each) => {
                let concurrency = usize::try_from(each.concurrency).unwrap_or(usize::MAX);
                lists.max().unwrap_or(1).saturating_mul(concurrency)
            }
            _ => lists.max().unwrap_or(1),
        };
        inside.max(step.handler().map_or(1, at_once))
    };
    steps.iter().map(of_step).max().unwrap_or(1)
}

/// Whether nothing after this step in its list can run: it is an end, or a condition whose every way leads to one.
fn ends(step: &Step) -> bool {
    if step.condition.is_some() {
        return false;
    }
    match &step.action {
        Action::Condition(_) => {
            matches!(step.on_error, OnError::Fail)
                && step.action.branches().all(|list| list.iter().any(ends))
        }
        action => action.ends_execution(),
    }
}

/// Whether `condition` is `value` whatever happens.
fn is_constant(condition: Option<&Expression>, value: bool) -> bool {
    let constant = condition.and_then(Expression::constant);
    constant.is_some_and(|constant| constant == value)
}

struct Walk<'a> {
    workflow: &'a Workflow,
    problems: &'a mut Collector,
    /// Steps that come before the current one in the text.
    ids: HashSet<StepId>,
    /// Those of them that stand in its own frame or in one around it, and so may have an output.
    visible: HashSet<StepId>,
    /// Those of conditions around that do not run when the current one does: another rule chooses them.
    unchosen: HashSet<StepId>,
    /// The inputs that are declared, if there are any.
    inputs: Option<BTreeMap<&'a str, Shape>>,
    bound: Bound,
    /// Whether they are those of `finally`.
    in_finally: bool,
    all_ids: HashSet<StepId>,
    all_approvals: HashSet<StepId>,
    /// Those whose run is known in the current step's, from the outermost list in.
    approvals: Vec<Approvals>,
    hints: Hints,
    /// The number of `forEach` steps around.
    iterations: usize,
    /// Steps that were looked at.
    count: usize,
    names: Names,
}

impl Walk<'_> {
    /// A list that must not be empty.
    fn some(&mut self, path: &str, steps: &[Step], depth: usize) {
        if steps.is_empty() {
            self.problems.add(path, "must hold at least one step");
        }
        self.list(path, steps, depth);
    }

    fn list(&mut self, path: &str, steps: &[Step], depth: usize) {
        if depth > limits::STEP_DEPTH_MAX {
            self.problems.add(
                path,
                format!("nested deeper than {} levels", limits::STEP_DEPTH_MAX),
            );
            return;
        }
        let mut ended_by: Option<&StepId> = None;
        self.approvals.push(Approvals::of(steps));
        for (index, step) in steps.iter().enumerate() {
            // That there are more is told; what else is wrong with them is not worth the time.
            if self.count >= limits::STEPS_MAX {
                break;
            }
            let path = format!("{path}[{index}]");
            if let Some(end) = ended_by {
                self.problems.add(
                    path.clone(),
                    format!(
                        "step {:?} can never run: step {end:?} before it lets nothing follow",
                        step.id
                    ),
                );
            }
            if let Some(approvals) = self.approvals.last_mut() {
                approvals.come_to(step);
            }
            self.step(&path, step, depth);
            if ends(step) {
                ended_by = ended_by.or(Some(&step.id));
            }
        }
        self.approvals.pop();
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
            self.reference(&format!("{path}.if"), &reference, false);
        }
        if is_constant(step.condition.as_ref(), false) {
            let text = "is never true: the step can never run";
            self.problems.add_if_written(format!("{path}.if"), text);
        }
        for (field, reference) in step.action.references() {
            let field = format!("{path}.{field}");
            self.reference(&field, &reference, step.action.reads_secrets());
        }
        self.lost(path);
        self.kinds(path, step);
        let within = self.bound.within(step);
        let around = std::mem::replace(&mut self.bound, within);
        match &step.action {
            Action::Condition(condition) => self.condition(path, condition, depth),
            Action::Parallel(parallel) => self.parallel(path, parallel, depth),
            Action::ForEach(each) => self.for_each(path, each, depth),
            Action::Approval(approval) => {
                let field = format!("{path}.approval.timeout");
                self.in_time(&field, approval.timeout, true);
            }
            Action::Wait(WaitStep::Signal(signal)) => {
                let field = format!("{path}.wait.signal.timeout");
                self.in_time(&field, signal.timeout, true);
            }
            Action::Wait(WaitStep::Duration(wait)) => {
                self.in_time(&format!("{path}.wait.duration"), Some(*wait), false);
            }
            Action::Http(_)
            | Action::Transform(_)
            | Action::Wait(WaitStep::Until(_))
            | Action::Slack(_)
            | Action::Succeed(_)
            | Action::Fail(_)
            | Action::Aws(_)
            | Action::Email(_)
            | Action::Script(_) => {}
            Action::RunWorkflow(run) => {
                let field = format!("{path}.runWorkflow.workflow");
                self.names.calls.push((field, run.workflow.clone()));
            }
        }
        self.bound = around;
        self.retry_on(path, step);
        self.ids.insert(step.id.clone());
        self.visible.insert(step.id.clone());
        self.on_error(path, step, depth);
    }

    /// At least one, and no more than `max`.
    fn bounded(&mut self, path: &str, count: usize, max: usize, [one, several]: [&str; 2]) {
        if count == 0 {
            let text = format!("must hold at least one {one}");
            self.problems.add(path, text);
        } else if count > max {
            let text = format!("at most {max} {several} are allowed");
            self.problems.add(path, text);
        }
    }

    fn condition(&mut self, path: &str, condition: &ConditionStep, depth: usize) {
        let (count, max) = (condition.rules.len(), limits::CONDITION_RULES_MAX);
        let rules = format!("{path}.condition.rules");
        self.bounded(&rules, count, max, ["rule", "rules"]);
        let before = self.visible.clone();
        let mut after = before.clone();
        let around = self.unchosen.clone();
        let mut chosen = None;
        for (index, rule) in condition.rules.iter().enumerate() {
            let path = format!("{rules}[{index}]");
            match chosen {
                Some(before) => self.never_chosen(&path, before),
                None if is_constant(Some(&rule.condition), false) => {
                    let text = "is never true: the rule is never chosen";
                    self.problems.add_if_written(format!("{path}.if"), text);
                }
                None if is_constant(Some(&rule.condition), true) => chosen = Some(index),
                None => {}
            }
            self.list(&format!("{path}.steps"), &rule.steps, depth + 1);
            self.unchosen
                .extend(self.visible.difference(&before).cloned());
            after.extend(std::mem::replace(&mut self.visible, before.clone()));
        }
        let path = format!("{path}.condition.otherwise");
        if let Some(before) = chosen.filter(|_| !condition.otherwise.is_empty()) {
            self.never_chosen(&path, before);
        }
        self.list(&path, &condition.otherwise, depth + 1);
        self.visible.extend(after);
        self.unchosen = around;
    }

    /// What comes after the rule at `before`, which always holds.
    fn never_chosen(&mut self, path: &str, before: usize) {
        let text = format!("can never be chosen: rules[{before}] before it always holds");
        self.problems.add_if_written(path, text);
    }

    fn parallel(&mut self, path: &str, parallel: &ParallelStep, depth: usize) {
        let path = format!("{path}.parallel.branches");
        let (count, max) = (parallel.branches.len(), limits::PARALLEL_BRANCHES_MAX);
        self.bounded(&path, count, max, ["branch", "branches"]);
        let mut names = HashSet::new();
        let beside = parallel.branches.iter().flat_map(|branch| &branch.steps);
        self.approvals.push(Approvals::of(beside));
        for (index, branch) in parallel.branches.iter().enumerate() {
            if !names.insert(&branch.name) {
                self.problems.add(
                    format!("{path}[{index}].name"),
                    format!("{:?} names another branch already", branch.name),
                );
            }
            self.frame(&format!("{path}[{index}].steps"), &branch.steps, depth);
        }
        self.approvals.pop();
    }

    fn for_each(&mut self, path: &str, each: &ForEachStep, depth: usize) {
        self.iterations += 1;
        self.frame(&format!("{path}.forEach.steps"), &each.steps, depth);
        self.iterations -= 1;
    }

    /// A list whose steps only it can read.
    fn frame(&mut self, path: &str, steps: &[Step], depth: usize) {
        let around = self.visible.clone();
        self.some(path, steps, depth + 1);
        self.visible = around;
    }

    fn on_error(&mut self, path: &str, step: &Step, depth: usize) {
        let path = format!("{path}.onError");
        if step.action.ends_execution() && !matches!(step.on_error, OnError::Fail) {
            let kind = step.action.kind();
            let text = format!("{kind:?} ends what it stands in: nothing can follow it");
            self.problems.add(&path, text);
        }
        if let Some(steps) = step.handler() {
            // They may read the step that failed.
            self.some(&format!("{path}.steps"), steps, depth + 1);
        }
    }

    /// A status that succeeds is never retried.
    fn retry_on(&mut self, path: &str, step: &Step) {
        match &step.action {
            Action::Http(http) if http.success_status == SuccessStatus::default() => {}
            Action::Slack(_) => {}
            _ => return,
        }
        for (index, on) in step.retry.retry_on.iter().enumerate() {
            if let RetryOn::Status(range) = on
                && range.is_success()
            {
                let text = format!(
                    "{range} succeeds, and is not retried: an http step can say otherwise by successStatus"
                );
                self.problems
                    .add(format!("{path}.retry.retryOn[{index}]"), text);
            }
        }
    }
}
