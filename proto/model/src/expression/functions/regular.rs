//! `matches`, and `regex`: extracting and replacing, as cel-go's `ext.Regex()` has them.

use std::rc::Rc;

use ::regex::{Captures, Error, RegexBuilder};
use cel::{
    DeclarationError, Env, ExecutionError,
    common::{
        types::{CelBool, CelInt, CelList, CelOptional, CelString, INT_TYPE, STRING_TYPE},
        value::{CowVal, Val},
    },
};

use super::{
    super::{
        args::{Args, Given, text},
        budget::{BYTES_PER_UNIT, MATCHES, spend},
        patterns::{self, Pattern, Weight},
    },
    given_text,
};
use crate::limits;

/// Size of a compiled pattern that is only checked, in bytes: enough to tell whether it is one.
const CHECKED_MAX_BYTES: usize = 64 * 1024;
/// The same of one that is compiled in no time, and what that takes.
const SMALL_MAX_BYTES: usize = 8 * 1024;
const UNITS_PER_SMALL_PATTERN: usize = 200;

pub(super) fn declare(env: &mut Env) -> Result<(), DeclarationError> {
    let texts = |count: usize| (0..count).map(|_| STRING_TYPE).collect::<Vec<_>>();
    env.add_overload("regex.extract", "regex.extract", texts(2), extract)?;
    env.add_overload(
        "regex.extractAll",
        "regex.extractAll",
        texts(2),
        extract_all,
    )?;
    env.add_overload("regex.replace", "regex.replace", texts(3), replace)?;
    let mut counted = texts(3);
    counted.push(INT_TYPE);
    env.add_overload("regex.replace", "regex.replace.count", counted, replace)?;
    env.add_overload(MATCHES, "@matches", texts(2), matches)?;
    env.add_member_overload(MATCHES, "@string_matches", STRING_TYPE, texts(1), matches)
}

/// What keeps `pattern` from being a regular expression. One that is too large for a check may be one.
pub(in super::super) fn check(pattern: &str) -> Result<(), String> {
    compiles(pattern, CHECKED_MAX_BYTES).map(|_| ())
}

/// What compiling `pattern` takes, in units.
///
/// # Errors
/// It is none, or too large.
pub(in super::super) fn units(pattern: &str) -> Result<usize, String> {
    if compiles(pattern, SMALL_MAX_BYTES)? {
        return Ok(UNITS_PER_SMALL_PATTERN);
    }
    if compiles(pattern, CHECKED_MAX_BYTES)? {
        return Ok(UNITS_PER_SMALL_PATTERN * CHECKED_MAX_BYTES / SMALL_MAX_BYTES);
    }
    Err("is too large".to_owned())
}

/// Whether it does within such a size.
fn compiles(pattern: &str, max_bytes: usize) -> Result<bool, String> {
    match RegexBuilder::new(pattern).size_limit(max_bytes).build() {
        Ok(_) => Ok(true),
        Err(Error::CompiledTooBig(_)) => Ok(false),
        // The last line says what is wrong, those before where.
        Err(error) => Err(error
            .to_string()
            .lines()
            .last()
            .unwrap_or_default()
            .trim_start_matches("error: ")
            .to_owned()),
    }
}

/// `pattern`, charged unless this evaluation has it already.
fn compiled(function: &'static str, pattern: &str) -> Result<Rc<Pattern>, ExecutionError> {
    if let Some(kept) = Pattern::kept(pattern) {
        return Ok(kept);
    }
    let failed = |problem: String| ExecutionError::function_error(function, problem);
    if pattern.len() > limits::EXPRESSION_MAX_BYTES {
        return Err(failed(format!(
            "the regular expression has {} bytes; at most {} are allowed",
            pattern.len(),
            limits::EXPRESSION_MAX_BYTES
        )));
    }
    spend(patterns::parse_units(pattern));
    let weight = Weight::of(pattern).map_err(|error| failed(error.to_string()))?;
    spend(weight.compile_units());
    Pattern::compile(pattern, weight).map_err(|error| failed(error.to_string()))
}

/// `text.matches(pattern)` and `matches(text, pattern)`, as CEL has them: the interpreter's own compile a pattern each time,
/// whatever its size.
fn matches<'b, 'v>(args: Args<'b, 'v>) -> Given<'b, 'v> {
    let whole = text(&args, 0)?;
    let pattern = compiled("matches", text(&args, 1)?)?;
    spend((1 + whole.len() / BYTES_PER_UNIT).saturating_mul(pattern.passes()));
    Ok(CowVal::owned(CelBool::from(pattern.regex.is_match(whole))))
}

/// A pattern, and the text that it is sought in.
struct Search<'a> {
    function: &'static str,
    pattern: Rc<Pattern>,
    text: &'a str,
    from: usize,
    /// Where the match before ended.
    last_end: Option<usize>,
}

impl<'a> Search<'a> {
    fn new(function: &'static str, text: &'a str, pattern: &str) -> Result<Self, ExecutionError> {
        Ok(Self {
            function,
            pattern: compiled(function, pattern)?,
            text,
            from: 0,
            last_end: None,
        })
    }

    /// The group that is asked for: the only one, or the whole.
    fn group(&self) -> Result<usize, ExecutionError> {
        match self.pattern.regex.captures_len() {
            1 => Ok(0),
            2 => Ok(1),
            _ => Err(ExecutionError::function_error(
                self.function,
                "the regular expression has more than one capturing group",
            )),
        }
    }

    /// The next match. A search that finds nothing near may go on to the end of the text, and there may be as many as
    /// there are characters, so each is charged for all that is left.
    fn next(&mut self) -> Option<Captures<'a>> {
        loop {
            let rest = self.text.len().checked_sub(self.from)?;
            let passes = self.pattern.passes_with_groups();
            spend((1 + rest / BYTES_PER_UNIT).saturating_mul(passes));
            let found = self.pattern.regex.captures_at(self.text, self.from)?;
            let whole = found.get(0)?;
            let abuts = whole.is_empty() && self.last_end == Some(whole.end());
            self.last_end = Some(whole.end());
            self.from = whole.end();
            if whole.is_empty() {
                // One character on, or past the end.
                let after = self.text[whole.end()..].chars().next();
                self.from += after.map_or(1, char::len_utf8);
            }
            // Nothing right behind a match is none of its own.
            if !abuts {
                return Some(found);
            }
        }
    }
}

/// `regex.extract(text, pattern)`: the first match, or its only group; none without a match.
fn extract<'b, 'v>(args: Args<'b, 'v>) -> Given<'b, 'v> {
    let mut search = Search::new("regex.extract", text(&args, 0)?, text(&args, 1)?)?;
    let group = search.group()?;
    let found = search.next().and_then(|found| found.get(group));
    Ok(CowVal::owned(match found {
        Some(found) => {
            let found: Box<dyn Val> = Box::new(CelString::from(found.as_str().to_owned()));
            CelOptional::of(found)
        }
        None => CelOptional::none(),
    }))
}

/// `regex.extractAll(text, pattern)`: all matches, or their only groups.
fn extract_all<'b, 'v>(args: Args<'b, 'v>) -> Given<'b, 'v> {
    let mut search = Search::new("regex.extractAll", text(&args, 0)?, text(&args, 1)?)?;
    let group = search.group()?;
    let mut all: Vec<Box<dyn Val>> = Vec::new();
    while let Some(found) = search.next() {
        if let Some(found) = found.get(group) {
            spend(found.len() / BYTES_PER_UNIT);
            all.push(Box::new(CelString::from(found.as_str().to_owned())));
        }
    }
    Ok(CowVal::owned(CelList::from(all)))
}

/// `regex.replace(text, pattern, replacement)` and `regex.replace(text, pattern, replacement, count)`: `\1` to `\9` in the
/// replacement are the groups of a match, `\0` all of it, `\\` a backslash. A negative count is all matches.
fn replace<'b, 'v>(args: Args<'b, 'v>) -> Given<'b, 'v> {
    const NAME: &str = "regex.replace";
    let whole = text(&args, 0)?;
    let mut search = Search::new(NAME, whole, text(&args, 1)?)?;
    let parts = replacement(text(&args, 2)?, search.pattern.regex.captures_len() - 1)
        .map_err(|problem| ExecutionError::function_error(NAME, problem))?;
    let count = args.get(3).and_then(|count| count.downcast_ref::<CelInt>());
    let mut left = count.map_or(usize::MAX, |count| {
        usize::try_from(*count.inner()).unwrap_or(usize::MAX)
    });
    let mut replaced = String::new();
    let mut taken = 0;
    while left > 0
        && let Some(found) = search.next()
    {
        left -= 1;
        let Some(matched) = found.get(0) else { break };
        replaced.push_str(&whole[taken..matched.start()]);
        for part in &parts {
            let part = match part {
                Part::Text(text) => text.as_str(),
                Part::Group(group) => found.get(*group).map_or("", |found| found.as_str()),
            };
            spend(part.len() / BYTES_PER_UNIT);
            replaced.push_str(part);
        }
        taken = matched.end();
    }
    replaced.push_str(&whole[taken..]);
    given_text(replaced)
}

/// A piece of what is put in a match's place.
enum Part {
    Text(String),
    Group(usize),
}

fn replacement(text: &str, groups: usize) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            literal.push(c);
            continue;
        }
        match chars.next() {
            Some('\\') => literal.push('\\'),
            Some(digit) if digit.is_ascii_digit() => {
                let group = usize::try_from(digit.to_digit(10).unwrap_or_default()).unwrap_or(0);
                if group > groups {
                    return Err(format!(
                        "the replacement names group {group}, and the regular expression has {groups}"
                    ));
                }
                parts.push(Part::Text(std::mem::take(&mut literal)));
                parts.push(Part::Group(group));
            }
            _ => {
                return Err(
                    "a backslash in the replacement stands before no digit and no other backslash"
                        .to_owned(),
                );
            }
        }
    }
    parts.push(Part::Text(literal));
    Ok(parts)
}
