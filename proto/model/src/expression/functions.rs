//! The functions of expressions beyond CEL's own and its extensions: one file for each family.
//!
//! Each is pure, gives the same on every machine, and charges what it is about to do to the evaluation's budget
//! ([`super::budget`]); what it is given has been charged by its size already.

use cel::{
    DeclarationError, Env, ExecutionError,
    common::{
        types::{BYTES_TYPE, CelBytes, CelString, STRING_TYPE, Type},
        value::{CowVal, Val},
    },
};

mod digest;
mod encode;
pub(super) mod regular;
mod time;

use super::args::{Given, text};

/// Declares all of them.
pub(super) fn declare(env: &mut Env) -> Result<(), DeclarationError> {
    digest::declare(env)?;
    encode::declare(env)?;
    regular::declare(env)?;
    time::declare(env)
}

/// The bytes at `index`: a text's are its UTF-8.
fn bytes<'a>(args: &'a [CowVal<'_, '_>], index: usize) -> Result<&'a [u8], ExecutionError> {
    let arg: Option<&'a dyn Val> = args.get(index).map(AsRef::as_ref);
    arg.and_then(|arg| arg.downcast_ref::<CelBytes>())
        .map(|bytes| bytes.inner())
        .map_or_else(|| text(args, index).map(str::as_bytes), Ok)
}

/// What texts and bytes are both good for.
const fn texts_and_bytes() -> [Type; 2] {
    [STRING_TYPE, BYTES_TYPE]
}

fn given_text<'b, 'v>(text: String) -> Given<'b, 'v> {
    Ok(CowVal::owned(CelString::from(text)))
}

fn given_bytes<'b, 'v>(bytes: Vec<u8>) -> Given<'b, 'v> {
    Ok(CowVal::owned(CelBytes::from(bytes)))
}
