//! Executions that steps of others start.

use signalbox_model::child::{ChildEnd, Parent};

use super::{WireError, enums, parse, record};
use crate::dataplane::v1 as wire;

/// Writes the attempt that started an execution into what tells of it.
pub(super) fn parent_to_wire(parent: Parent, into: &mut wire::Accepted) {
    let Parent {
        execution,
        step,
        attempt,
        waits,
        depth,
    } = parent;
    into.parent = execution.to_string();
    into.parent_step = step.to_string();
    into.parent_attempt = i32::try_from(attempt).unwrap_or(i32::MAX);
    into.parent_waits = waits;
    into.depth = i32::try_from(depth).unwrap_or(i32::MAX);
}

/// The attempt that started an execution, if one did.
///
/// # Errors
/// When it means nothing.
pub(super) fn parent_from_wire(accepted: &wire::Accepted) -> Result<Option<Parent>, WireError> {
    if accepted.parent.is_empty() {
        return Ok(None);
    }
    Ok(Some(Parent {
        execution: parse("parent", &accepted.parent)?,
        step: parse("parent_step", &accepted.parent_step)?,
        attempt: u32::try_from(accepted.parent_attempt)
            .map_err(|error| WireError::invalid("parent_attempt", error))?,
        waits: accepted.parent_waits,
        depth: u32::try_from(accepted.depth).map_err(|error| WireError::invalid("depth", error))?,
    }))
}

/// The end of a child for the wire.
pub(super) fn end_to_wire(end: ChildEnd) -> wire::ChildEnded {
    let ChildEnd {
        step,
        number,
        child,
        state,
        output,
        error,
    } = end;
    wire::ChildEnded {
        indexes: record::indexes(&step),
        step_id: step.step.to_string(),
        number: i32::try_from(number).unwrap_or(i32::MAX),
        child: child.to_string(),
        state: enums::execution_state_to_wire(state).into(),
        output_json: output.map(String::from).unwrap_or_default(),
        error: error.map(record::failure_to_wire),
    }
}

/// The end of a child from the wire.
///
/// # Errors
/// When it means nothing.
pub(super) fn end_from_wire(end: wire::ChildEnded) -> Result<ChildEnd, WireError> {
    let wire::ChildEnded {
        step_id,
        indexes,
        number,
        child,
        state,
        output_json,
        error,
    } = end;
    Ok(ChildEnd {
        step: record::step_instance(&step_id, &indexes)?,
        number: record::attempt_number(number)?,
        child: parse("child", &child)?,
        state: enums::execution_state(state)?,
        output: record::optional_json_text("output_json", output_json)?,
        error: error.map(record::failure),
    })
}
