//! Files that people write: the canonical protobuf JSON mapping as YAML, of which JSON is a part, with each problem at
//! its line.

mod check;
mod salvage;
mod tree;
mod write;

use prost::{Message, Name};

use self::{salvage::Lost, tree::Node, write::Ordered};
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
    lines_before: usize,
    wrong: Vec<FormatError>,
    lost: Lost,
}

impl<M> Document<M> {
    /// What is wrong with the document, and so not in its message.
    #[must_use]
    pub fn wrong(&self) -> &[FormatError] {
        &self.wrong
    }

    /// Whether what is told of `path` of the message may be so only because of what is not in it.
    #[must_use]
    pub fn explains(&self, path: &str) -> bool {
        self.lost.explains(&self.root, path)
    }

    /// This, when nothing is wrong with it.
    fn whole(self) -> Result<Self, FormatErrors> {
        match self.wrong.is_empty() {
            true => Ok(self),
            false => Err(FormatErrors(self.wrong)),
        }
    }

    /// Where `path` (such as `spec.steps[2].http.url`) stands; of what is not there, that which should hold it.
    #[must_use]
    pub fn position(&self, path: &str) -> Position {
        let Position { line, column } = self.root.position(path);
        Position {
            line: line + self.lines_before,
            column,
        }
    }
}

/// One of the documents of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'t> {
    /// Lines before it.
    lines_before: usize,
    text: &'t str,
}

/// The documents of a file, without those that hold nothing.
#[must_use]
pub fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut begin, mut lines_before, mut at) = (0, 0, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        // Nothing within a document, not even a text of several lines, may hold such a line (YAML 1.2.2, 9.1.2).
        if number > lines_before && is_marker(line) {
            parts.push(Part {
                lines_before,
                text: &text[begin..at],
            });
            (begin, lines_before) = (at, number);
        }
        at += line.len();
    }
    parts.push(Part {
        lines_before,
        text: &text[begin..],
    });
    parts.retain(|part| !part.is_empty());
    parts
}

/// Whether a document begins with this line.
fn is_marker(line: &str) -> bool {
    let rest = line.strip_prefix("---");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

impl Part<'_> {
    /// Whether there is nothing but comments.
    fn is_empty(&self) -> bool {
        let mut lines = self.text.lines();
        lines.all(|line| {
            let line = line
                .strip_prefix("---")
                .filter(|_| is_marker(line))
                .unwrap_or(line);
            let line = line.trim();
            line.is_empty() || line.starts_with('#') || line == "..."
        })
    }

    /// The text at the top of the document that is called `key`, and where it stands; where the document is, if there is none.
    ///
    /// # Errors
    /// When it is no YAML.
    pub(super) fn top(&self, key: &str) -> Result<(Option<String>, Position), FormatErrors> {
        check_size(self.text)?;
        let root = stacker::maybe_grow(STACK_BYTES, STACK_BYTES, || node(self.text));
        let root = root.map_err(|errors| errors.after(self.lines_before))?;
        let Position { line, column } = root.position(key);
        let at = Position {
            line: line + self.lines_before,
            column,
        };
        Ok((root.text_of(key).map(str::to_owned), at))
    }

    /// The message of the document.
    ///
    /// # Errors
    /// As [`read`].
    pub fn read<M: Message + Name + Default>(&self) -> Result<Document<M>, FormatErrors> {
        self.salvage()?.whole()
    }

    /// The message of the document as far as it can be read.
    ///
    /// # Errors
    /// As [`salvage`].
    pub fn salvage<M: Message + Name + Default>(&self) -> Result<Document<M>, FormatErrors> {
        let mut document = salvage(self.text).map_err(|errors| errors.after(self.lines_before))?;
        document.lines_before = self.lines_before;
        document.wrong = FormatErrors(document.wrong).after(self.lines_before).0;
        Ok(document)
    }
}

impl FormatErrors {
    /// The same of a document that begins after so many lines.
    fn after(mut self, lines: usize) -> Self {
        for error in &mut self.0 {
            error.line = Some(error.line.unwrap_or(1) + lines);
            error.column.get_or_insert(1);
        }
        self
    }
}

/// Reads one message from one YAML document.
///
/// # Errors
/// Every unknown field, every field of another type and every choice that was made twice; or where it is no YAML.
pub fn read<M: Message + Name + Default>(text: &str) -> Result<Document<M>, FormatErrors> {
    salvage(text)?.whole()
}

/// Reads of one message what can be read: what is wrong with it is told by [`Document::wrong`].
///
/// # Errors
/// Where it is no YAML, or all that is wrong with it where nothing can be read.
pub fn salvage<M: Message + Name + Default>(text: &str) -> Result<Document<M>, FormatErrors> {
    check_size(text)?;
    // A level of nesting takes tens of kilobytes of stack in a debug build.
    stacker::maybe_grow(STACK_BYTES, STACK_BYTES, || parse(text))
}

fn check_size(text: &str) -> Result<(), FormatErrors> {
    if text.len() > FILE_MAX_BYTES {
        return Err(FormatErrors(vec![FormatError::whole(format!(
            "has {} bytes; at most {FILE_MAX_BYTES} are allowed",
            text.len()
        ))]));
    }
    Ok(())
}

fn node(text: &str) -> Result<Node, FormatErrors> {
    serde_saphyr::from_str_with_options(text, options())
        .map_err(|error| FormatErrors(vec![syntax_error(&error)]))
}

fn parse<M: Message + Name + Default>(text: &str) -> Result<Document<M>, FormatErrors> {
    let root = node(text)?;
    let wrong = check::document(&json::descriptor::<M>(), &root);
    let (message, lost) = if wrong.is_empty() {
        let message = json::from_yaml_with_options(text, options());
        let message = message.map_err(|error| FormatErrors(vec![error]))?;
        (message, Lost::default())
    } else {
        match salvage::salvage(&root, &wrong) {
            Some(salvaged) => salvaged,
            None => return Err(FormatErrors(wrong)),
        }
    };
    Ok(Document {
        message,
        root,
        lines_before: 0,
        wrong,
        lost,
    })
}

/// A message as YAML, its fields in the order of their numbers; equal messages are equal texts. Where YAML's writer and reader would not agree on it, it is JSON,
/// which is YAML, too.
#[must_use]
pub fn write<M: Message + Name + Default + PartialEq>(message: &M) -> String {
    let yaml = stacker::maybe_grow(STACK_BYTES, STACK_BYTES, || {
        let value = json::to_value(message);
        let ordered = Ordered::new(&value, json::descriptor::<M>());
        let options = serde_saphyr::ser_options! {
            // Expressions stay in one line.
            folded_wrap_chars: FILE_MAX_BYTES,
        };
        serde_saphyr::to_string_with_options(&ordered, options).ok()
    });
    yaml.filter(|text| read::<M>(text).is_ok_and(|document| document.message == *message))
        .unwrap_or_else(|| format!("{}\n", json::to_string_pretty(message)))
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
