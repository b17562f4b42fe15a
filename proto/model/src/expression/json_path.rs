//! JSONPath (RFC 9535, <https://www.rfc-editor.org/rfc/rfc9535>).
//!
//! A query ends always, but not soon: `$..*..*` gives a value once for each pair of values that it stands in, and a filter
//! runs its own queries for each value that it looks at. So a query is charged for the most that it could take on the
//! document at hand, which its text and the document's size and depth tell.

use std::{fmt, sync::Arc};

use serde_json::Value;

use super::{
    EvaluationError,
    budget::{self, Broken},
    cel::{cut, json_size_exceeds, with_parser_stack},
    functions::regular,
};
use crate::limits;

/// Brackets that may stand in each other.
const NESTING_MAX: usize = 8;

/// A parsed query.
#[derive(Clone)]
pub struct JsonPath {
    source: Arc<str>,
    path: Arc<serde_json_path::JsonPath>,
    cost: Cost,
}

/// Why a text is no [`JsonPath`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonPathError {
    /// Nothing in it.
    #[error("is empty; expected a JSONPath query such as $.Records[*].id")]
    Empty,
    /// Not a query of the whole document.
    #[error(
        "begins without $, which stands for the document; expected a JSONPath query such as $.Records[*].id"
    )]
    Start,
    /// Longer than [`limits::JSON_PATH_MAX_BYTES`].
    #[error("has {0} bytes; at most {max} are allowed", max = limits::JSON_PATH_MAX_BYTES)]
    TooLong(usize),
    /// Brackets in brackets, more than anyone needs: the parser tries again for each.
    #[error("nests brackets more than {NESTING_MAX} deep")]
    TooDeep,
    /// Not JSONPath.
    #[error("is no JSONPath query (RFC 9535): {0}")]
    Syntax(String),
    /// `match` or `search` with a pattern that is not written out, or is none.
    #[error("{0}")]
    Pattern(String),
}

impl JsonPath {
    /// Parses `source`.
    ///
    /// # Errors
    /// [`JsonPathError`].
    pub fn parse(source: &str) -> Result<Self, JsonPathError> {
        if source.is_empty() {
            return Err(JsonPathError::Empty);
        }
        if !source.starts_with('$') {
            return Err(JsonPathError::Start);
        }
        if source.len() > limits::JSON_PATH_MAX_BYTES {
            return Err(JsonPathError::TooLong(source.len()));
        }
        let (unquoted, texts) = split_texts(source);
        if nesting(&unquoted) > NESTING_MAX {
            return Err(JsonPathError::TooDeep);
        }
        let path = with_parser_stack(|| serde_json_path::JsonPath::parse(source))
            .map_err(|error| JsonPathError::Syntax(cut(&error.to_string(), 200)))?;
        Ok(Self {
            source: source.into(),
            path: Arc::new(path),
            cost: Cost::of(&unquoted, &texts)?,
        })
    }

    /// The text.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The values that it finds in `document`, in their order; with `first`, the first of them alone, or null.
    ///
    /// # Errors
    /// [`EvaluationError`]: it could take too much work, or what it finds is too large.
    pub fn query(&self, document: &Value, first: bool) -> Result<Value, EvaluationError> {
        let expression = || cut(&self.source, 120);
        let found = budget::within(|| {
            budget::spend(self.cost.units(Size::of(document)));
            self.path.query(document).all()
        });
        let found = match found {
            Ok(found) => found,
            Err(Broken::Spent) => {
                return Err(EvaluationError::TooExpensive {
                    expression: expression(),
                });
            }
            Err(Broken::Panicked) => {
                return Err(EvaluationError::Failed {
                    expression: expression(),
                    message: "the query broke off".to_owned(),
                });
            }
        };
        if first {
            return Ok(found.first().map_or(Value::Null, |value| (*value).clone()));
        }
        if json_size_exceeds(&found, limits::VALUE_MAX_BYTES) {
            return Err(EvaluationError::TooLarge {
                expression: expression(),
            });
        }
        Ok(found.into_iter().cloned().collect())
    }
}

impl fmt::Debug for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.source, f)
    }
}

/// The size of a document.
#[derive(Clone, Copy)]
struct Size {
    /// Values, and 64 bytes of text as one.
    units: usize,
    /// Levels.
    depth: usize,
}

impl Size {
    fn of(value: &Value) -> Self {
        let inside = |values: &mut dyn Iterator<Item = &Value>| {
            let empty = Self { units: 1, depth: 1 };
            values.map(Self::of).fold(empty, |all, one| Self {
                units: all.units + one.units,
                depth: all.depth.max(one.depth + 1),
            })
        };
        match value {
            Value::String(text) => Self {
                units: 1 + text.len() / budget::BYTES_PER_UNIT,
                depth: 1,
            },
            Value::Array(values) => inside(&mut values.iter()),
            Value::Object(members) => inside(&mut members.values()),
            Value::Null | Value::Bool(_) | Value::Number(_) => Self { units: 1, depth: 1 },
        }
    }
}

/// What of a query's text says how much it can take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cost {
    /// `..`: each but the first gives a value once for each of those that it stands in.
    descents: u32,
    /// `?`: each goes through what is in the values that it looks at once more.
    filters: u32,
    /// Queries within filters that may go through the whole document.
    absolutes: u32,
    /// Selectors beside others.
    commas: u32,
    /// Units of regular expressions, each compiled for each value that a filter looks at.
    pattern_units: usize,
}

impl Cost {
    fn of(unquoted: &str, texts: &[String]) -> Result<Self, JsonPathError> {
        let mut cost = Self::default();
        let mut before = ' ';
        let mut singular = 0;
        for (place, c) in unquoted.char_indices() {
            match c {
                '.' if before == '.' => cost.descents += 1,
                '?' => cost.filters += 1,
                // The first is the query itself.
                '$' if place > 0 && is_singular(&unquoted[place + 1..]) => singular += 1,
                '$' if place > 0 => cost.absolutes += 1,
                ',' => cost.commas += 1,
                _ => {}
            }
            before = c;
        }
        // Two of those may be compared with each other, whatever their sizes.
        cost.absolutes += u32::from(singular > 1);
        for name in ["match(", "search("] {
            for (place, _) in unquoted.match_indices(name) {
                cost.pattern_units += pattern(&unquoted[place + name.len()..], texts)?;
            }
        }
        Ok(cost)
    }

    /// The most that the query takes on a document of such a size.
    fn units(self, Size { units, depth }: Size) -> usize {
        let each = units
            .saturating_mul(depth.saturating_pow(self.descents.saturating_sub(1)))
            .saturating_mul(1 + self.commas as usize);
        let visited = each
            .saturating_mul(depth.saturating_pow(self.filters))
            .saturating_mul(units.saturating_pow(self.absolutes));
        // The outermost filter looks once at each value, those within it at what is in that.
        let compiled = each
            .saturating_mul(depth.saturating_pow(self.filters.saturating_sub(1)))
            .saturating_mul(self.pattern_units);
        visited.saturating_add(compiled)
    }
}

/// Whether the query that `rest` begins with finds one value at most.
fn is_singular(rest: &str) -> bool {
    let mut depth = 0_usize;
    let mut before = ' ';
    for c in rest.chars() {
        match c {
            '*' | '?' | ':' => return false,
            '.' if before == '.' => return false,
            ',' if depth > 0 => return false,
            '[' => depth += 1,
            ']' if depth > 0 => depth -= 1,
            '.' | '_' | '"' => {}
            c if depth > 0 || c.is_alphanumeric() || !c.is_ascii() => {}
            _ => break,
        }
        before = c;
    }
    true
}

/// How deep brackets stand in brackets.
fn nesting(unquoted: &str) -> usize {
    let mut depth = 0_usize;
    let mut deepest = 0;
    for c in unquoted.chars() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// `source` with each text that it quotes replaced by `"` and a mark, and those texts.
fn split_texts(source: &str) -> (String, Vec<String>) {
    let mut unquoted = String::new();
    let mut texts = Vec::new();
    let mut chars = source.chars();
    while let Some(quote) = chars.next() {
        if !matches!(quote, '"' | '\'') {
            unquoted.push(quote);
            continue;
        }
        let mut text = String::new();
        while let Some(c) = chars.next() {
            match c {
                '\\' => match chars.next() {
                    Some(next) if next == '\\' || next == quote => text.push(next),
                    next => text.extend(['\\'].into_iter().chain(next)),
                },
                c if c == quote => break,
                c => text.push(c),
            }
        }
        unquoted.push_str(&format!("\"{}\"", texts.len()));
        texts.push(text);
    }
    (unquoted, texts)
}

/// The units of the pattern of a call of `match` or `search`, whose arguments `rest` begins with: a text that is written
/// out, so that no document can bring its own.
fn pattern(rest: &str, texts: &[String]) -> Result<usize, JsonPathError> {
    let mut depth = 0_usize;
    let mut second = None;
    for (place, c) in rest.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' if depth == 0 => {
                let argument = second.map(|from: usize| rest[from..place].trim());
                return argument.and_then(|argument| written(argument, texts)).unwrap_or_else(|| {
                    Err(JsonPathError::Pattern(
                        "match and search take a regular expression that is written out, such as match(@.name, 'a.*')".to_owned(),
                    ))
                });
            }
            ')' | ']' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => second = Some(place + 1),
            _ => {}
        }
    }
    Ok(0)
}

/// The units of the text that `argument` stands for, when that is a regular expression.
fn written(argument: &str, texts: &[String]) -> Option<Result<usize, JsonPathError>> {
    let number: usize = argument
        .strip_prefix('"')?
        .strip_suffix('"')?
        .parse()
        .ok()?;
    let text = texts.get(number)?;
    Some(match regular::units(text) {
        Ok(units) => Ok(units),
        Err(problem) => Err(JsonPathError::Pattern(format!(
            "holds a wrong regular expression: {}",
            cut(&problem, 200)
        ))),
    })
}

#[cfg(test)]
mod tests;
