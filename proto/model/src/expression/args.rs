//! The arguments of functions.

use cel::{
    ExecutionError,
    common::{types::CelString, value::CowVal},
};

pub(super) type Args<'b, 'v> = Vec<CowVal<'b, 'v>>;
pub(super) type Given<'b, 'v> = Result<CowVal<'b, 'v>, ExecutionError>;

/// The text at `index`.
pub(super) fn text<'a>(
    args: &'a [CowVal<'_, '_>],
    index: usize,
) -> Result<&'a str, ExecutionError> {
    args.get(index)
        .and_then(|arg| arg.downcast_ref::<CelString>())
        .map(|text| text.inner())
        .ok_or_else(ExecutionError::missing_argument_or_target)
}
