//! Which steps two versions of a definition have in common.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use signalbox_model::{ids::StepId, violation::Violations};

use crate::v1;

/// Those of `steps` that the encoded spec `after` has not, or has otherwise than `before`. What stands in a `condition` and
/// in a handler is not part of these steps; what stands in a `parallel` or `forEach` is.
///
/// # Errors
/// That one of them does not decode.
pub fn changed_steps(
    before: &[u8],
    after: &[u8],
    steps: &BTreeSet<StepId>,
) -> Result<Vec<StepId>, Violations> {
    let (before, after) = (steps_of(before)?, steps_of(after)?);
    let is_changed = |step: &&StepId| match (before.get(step.as_str()), after.get(step.as_str())) {
        (Some(before), Some(after)) => before != after,
        _ => true,
    };
    Ok(steps.iter().filter(is_changed).cloned().collect())
}

/// The steps of an encoded spec by their ids, without those that stand beside them in their frame.
fn steps_of(source: &[u8]) -> Result<BTreeMap<String, v1::Step>, Violations> {
    let spec = v1::WorkflowSpec::decode(source)
        .map_err(|error| Violations::one("", format!("is no WorkflowSpec: {error}")))?;
    let mut all = BTreeMap::new();
    let mut rest = spec.steps;
    while let Some(mut step) = rest.pop() {
        if let Some(handler) = &mut step.on_error {
            rest.append(&mut handler.steps);
        }
        match &mut step.action {
            Some(v1::step::Action::Condition(condition)) => {
                for rule in &mut condition.rules {
                    rest.append(&mut rule.steps);
                }
                rest.append(&mut condition.otherwise);
            }
            Some(v1::step::Action::Parallel(parallel)) => {
                let branches = parallel.branches.iter();
                rest.extend(branches.flat_map(|branch| branch.steps.iter().cloned()));
            }
            Some(v1::step::Action::ForEach(each)) => rest.extend(each.steps.iter().cloned()),
            _ => {}
        }
        all.insert(step.id.clone(), step);
    }
    Ok(all)
}
