//! Files that people write: the canonical protobuf JSON mapping as YAML, of which JSON is a part, with each problem at
//! its line.

mod check;
mod tree;

use prost::{Message, Name};

use self::tree::Node;
use super::json::{self, FormatError};

/// Size of a file, in bytes: several times what a definition may have.
const FILE_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Values of a file, aliases counted as often as they are used.
const NODES_MAX: usize = 100_000;
/// Depth to which a file may nest; what it holds has lower limits of its own.
const DEPTH_MAX: usize = 100;
/// For [`DEPTH_MAX`] levels.
const STACK_BYTES: usize = 16 * 1024 * 1024;

/// All that keeps a text from being the message that it should be. At least one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct FormatErrors(pub Vec<FormatError>);

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
}

/// A message, and where in its file everything stands.
#[derive(Clone, Debug)]
pub struct Document<M> {
    /// The message.
    pub message: M,
    root: Node,
}

impl<M> Document<M> {
    /// Where `path` (such as `spec.steps[2].http.url`) stands; of what is not there, that which should hold it.
    #[must_use]
    pub fn position(&self, path: &str) -> Position {
        self.root.position(path)
    }
}

/// Reads one message from one YAML document.
///
/// # Errors
/// Every unknown field, every field of another type and every choice that was made twice; or where it is no YAML.
pub fn read<M: Message + Name + Default>(text: &str) -> Result<Document<M>, FormatErrors> {
    if text.len() > FILE_MAX_BYTES {
        return Err(FormatErrors(vec![FormatError::whole(format!(
            "has {} bytes; at most {FILE_MAX_BYTES} are allowed",
            text.len()
        ))]));
    }
    // A level of nesting takes tens of kilobytes of stack in a debug build.
    stacker::maybe_grow(STACK_BYTES, STACK_BYTES, || parse(text))
}

fn parse<M: Message + Name + Default>(text: &str) -> Result<Document<M>, FormatErrors> {
    let root: Node = serde_saphyr::from_str_with_options(text, options())
        .map_err(|error| FormatErrors(vec![syntax_error(&error)]))?;
    let problems = check::document(&json::descriptor::<M>(), &root);
    if !problems.is_empty() {
        return Err(FormatErrors(problems));
    }
    let message =
        json::from_yaml_with_options(text, options()).map_err(|error| FormatErrors(vec![error]))?;
    Ok(Document { message, root })
}

/// YAML 1.2's booleans and numbers only, so that `on`, `no` and `0123` stay the texts that they look like.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_nodes: NODES_MAX, max_depth: DEPTH_MAX },
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    }
}

fn syntax_error(error: &serde_saphyr::Error) -> FormatError {
    let at = error.location();
    let message = match error.without_snippet() {
        serde_saphyr::Error::MultipleDocuments { .. } => {
            "a second YAML document begins; expected one in a file".to_owned()
        }
        _ => json::one_line(&error.to_string()),
    };
    FormatError {
        path: String::new(),
        line: at.and_then(|at| usize::try_from(at.line()).ok()),
        column: at.and_then(|at| usize::try_from(at.column()).ok()),
        message,
    }
}
