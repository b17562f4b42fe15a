//! One CEL expression.

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use cel::{
    Context, Env, ExecutionError, IdedExpr, ParseErrors, Value as CelValue, objects::OptionalValue,
};
use serde::Serialize;
use serde_json::Value;

use super::{
    Facts, Reference, Scope, Wanted,
    budget::{self, Broken},
    check, fixed, functions,
    kinds::Kinds,
    signatures,
    types::{self, Inferred},
};
use crate::{limits, secret::HIDDEN, suggestion::suggestion};

/// Stack for the parser, which stops at a nesting of 96: of maps, an unoptimised build takes 200 KiB for each. What is not used
/// of it takes no memory.
const PARSER_STACK_BYTES: usize = 64 * 1024 * 1024;
/// Stack for evaluations, whose frames need more than a thread's usual stack.
const STACK_BYTES: usize = 16 * 1024 * 1024;

/// The functions of every expression: CEL's standard library, its strings, lists, math and encoders extensions, and ours.
pub(super) static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    for extension in [
        cel::extensions::strings,
        cel::extensions::lists,
        cel::extensions::math,
        cel::extensions::encoders,
        functions::declare,
        budget::declare,
    ] {
        let added = env.add_extension(extension);
        debug_assert!(added.is_ok(), "{added:?}");
    }
    Arc::new(env)
});

/// Runs `parse`, a call of CEL's parser, on a stack that fits.
pub fn with_parser_stack<T>(parse: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(PARSER_STACK_BYTES, PARSER_STACK_BYTES, parse)
}

/// A parsed expression.
#[derive(Clone)]
pub struct Expression {
    source: Arc<str>,
    /// The syntax tree, with what holds it to its budget.
    tree: Arc<IdedExpr>,
    references: Arc<[Reference]>,
    /// Whether it reads secrets or links.
    reads_hidden: bool,
    /// Whether it reads anything.
    reads_any: bool,
    /// Whether some of it can be evaluated without what it reads.
    has_fixed: bool,
    /// What is needed of it.
    wanted: Wanted,
    /// What it may give.
    gives: Kinds,
}

/// Why a text is no [`Expression`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// Nothing in it.
    #[error("is empty; expected a CEL expression")]
    Empty,
    /// Longer than [`limits::EXPRESSION_MAX_BYTES`].
    #[error("has {0} bytes; at most {max} are allowed", max = limits::EXPRESSION_MAX_BYTES)]
    TooLong(usize),
    /// Not CEL.
    #[error("is not a CEL expression: {0}")]
    Syntax(String),
    /// Written as a template is.
    #[error(
        "holds ${{{{ }}}}, which marks an expression in a text; this is an expression already: leave the marks out"
    )]
    Marked,
    /// Reads a variable that there is not.
    #[error(
        "reads {0:?}; expected event, steps, vars, secrets, approvals or execution, and item or index within a forEach{hint}",
        hint = suggestion(.0, check::ROOTS.into_iter().chain(check::ITERATION).chain(check::NAMED))
    )]
    UnknownVariable(String),
    /// Calls a function that there is not.
    #[error("calls {0}, and there is no such function{hint}", hint = suggestion(.0, signatures::names()))]
    UnknownFunction(String),
    /// Holds what fails with every event, for the kinds of its values.
    #[error("{0}")]
    Kind(String),
    /// Never gives what is needed.
    #[error("gives {found}; expected {expected}")]
    Gives {
        /// What it gives.
        found: String,
        /// What is needed.
        expected: &'static str,
    },
    /// Reads the secrets otherwise than each by its name.
    #[error("reads secrets; expected secrets.name or secrets[\"name\"], each by its name")]
    AllSecrets,
    /// Reads the approvals otherwise than each by its step's id.
    #[error(
        "reads approvals; expected approvals.step.approveUrl or approvals.step.rejectUrl, each by the id of its step"
    )]
    AllApprovals,
    /// Subtracts from a secret: its id is written as a field although it holds `-`.
    #[error("subtracts from secrets.{0}; a name with \"-\" is written secrets[\"{0}-…\"]")]
    SecretName(String),
    /// Comprehensions nested too deep, or the whole too deep.
    #[error("{0}")]
    TooDeep(&'static str),
}

/// Why an evaluation gave no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// The expression failed on this input.
    #[error("{expression}: {message}")]
    Failed {
        /// The expression.
        expression: String,
        /// What CEL says.
        message: String,
    },
    /// The result is no JSON value.
    #[error("{expression}: the result is a {kind}, which JSON cannot hold")]
    NotJson {
        /// The expression.
        expression: String,
        /// What it is.
        kind: String,
    },
    /// The result is no boolean where one is needed.
    #[error("{expression}: gave {found}; expected true or false")]
    NotBool {
        /// The expression.
        expression: String,
        /// What it gave instead.
        found: String,
    },
    /// It takes more than [`limits::EVALUATION_MAX_UNITS`].
    #[error(
        "{expression}: takes too much work: values are too many, too large, or compared too often"
    )]
    TooExpensive {
        /// The expression.
        expression: String,
    },
    /// The result is larger than [`limits::VALUE_MAX_BYTES`].
    #[error("{expression}: the result has more than {max} bytes", max = limits::VALUE_MAX_BYTES)]
    TooLarge {
        /// The expression.
        expression: String,
    },
}

/// Why a text is no [`Expression`]: all that is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WrongExpression {
    /// At least one.
    pub problems: Vec<ExpressionError>,
    /// What it reads even so, as far as that can be known.
    pub references: Vec<Reference>,
}

impl From<ExpressionError> for WrongExpression {
    fn from(problem: ExpressionError) -> Self {
        Self {
            problems: vec![problem],
            references: Vec::new(),
        }
    }
}

impl Expression {
    /// Parses and checks `source`.
    ///
    /// # Errors
    /// The first problem.
    pub fn parse(source: &str) -> Result<Self, ExpressionError> {
        Self::read_first(source, Wanted::Value)
    }

    /// The same of one that must give a boolean.
    ///
    /// # Errors
    /// The first problem.
    pub fn parse_condition(source: &str) -> Result<Self, ExpressionError> {
        Self::read_first(source, Wanted::Boolean)
    }

    /// The same of one that must give a list.
    ///
    /// # Errors
    /// The first problem.
    pub fn parse_list(source: &str) -> Result<Self, ExpressionError> {
        Self::read_first(source, Wanted::List)
    }

    fn read_first(source: &str, wanted: Wanted) -> Result<Self, ExpressionError> {
        Self::read(source, wanted).map_err(|wrong| {
            let mut problems = wrong.problems.into_iter();
            problems.next().unwrap_or(ExpressionError::Empty)
        })
    }

    /// Parses and checks `source`, of which `wanted` is needed; tells all that is wrong with it.
    ///
    /// # Errors
    /// [`WrongExpression`].
    pub fn read(source: &str, wanted: Wanted) -> Result<Self, WrongExpression> {
        if source.trim().is_empty() {
            return Err(ExpressionError::Empty.into());
        }
        if source.len() > limits::EXPRESSION_MAX_BYTES {
            return Err(ExpressionError::TooLong(source.len()).into());
        }
        with_parser_stack(|| {
            let program = ENV.compile(source).map_err(|errors| {
                if source.contains("${{") {
                    return ExpressionError::Marked;
                }
                ExpressionError::Syntax(syntax(&errors))
            })?;
            let reads = check::reads(program.expression());
            let mut problems = reads.problems;
            let too_deep =
                |problem: &ExpressionError| matches!(problem, ExpressionError::TooDeep(_));
            let mut gives = Kinds::ANY;
            if !problems.iter().any(too_deep) {
                let inferred = types::infer(program.expression(), Facts::default());
                gives = inferred.gives;
                problems.extend(inferred.problems);
            }
            if problems.is_empty() {
                problems.extend(unlike(gives, wanted));
            }
            if !problems.is_empty() {
                return Err(WrongExpression {
                    problems,
                    references: reads.references,
                });
            }
            let has_fixed = fixed::is_in(program.expression());
            let mut tree = program.expression().clone();
            budget::instrument(&mut tree);
            Ok(Self {
                source: source.into(),
                tree: Arc::new(tree),
                has_fixed,
                reads_hidden: reads.references.iter().any(Reference::is_hidden),
                references: reads.references.into(),
                reads_any: reads.any,
                wanted,
                gives,
            })
        })
    }

    /// What always fails of it where these are known, and that it never gives what is needed where it stands.
    #[must_use]
    pub fn problems(&self, facts: Facts<'_>) -> Vec<ExpressionError> {
        let inferred = self.infer(facts);
        match inferred.problems.is_empty() {
            true => unlike(inferred.gives, self.wanted).into_iter().collect(),
            false => inferred.problems,
        }
    }

    /// What of it fails whatever it reads, found by evaluating that: parts that read nothing, and what is written out of calls
    /// that fail by it alone. It takes a budget; what that is not enough for is not told.
    #[must_use]
    pub fn failing(&self) -> Vec<ExpressionError> {
        if !self.has_fixed {
            return Vec::new();
        }
        let fixed = with_parser_stack(|| {
            let program = ENV.compile(&self.source).ok()?;
            Some(fixed::parts(program.expression()))
        });
        let mut problems = Vec::new();
        for mut part in fixed.into_iter().flatten() {
            budget::instrument(&mut part.tree);
            let nothing = Scope::new(&Value::Null, &Value::Null, &Value::Null);
            if let Ok(Err(error)) = run(&part.tree, &nothing) {
                let why = one_line(&budget::as_written(&error.to_string()));
                let problem = ExpressionError::Kind(format!("{} always fails: {why}", part.shown));
                if !problems.contains(&problem) {
                    problems.push(problem);
                }
            }
        }
        problems
    }

    /// That it never gives what is `wanted`, where these are known; nothing of one that has other problems.
    #[must_use]
    pub fn unlike(&self, wanted: Wanted, facts: Facts<'_>) -> Option<ExpressionError> {
        let inferred = self.infer(facts);
        let others = !inferred.problems.is_empty();
        unlike(inferred.gives, wanted).filter(|_| !others)
    }

    fn infer(&self, facts: Facts<'_>) -> Inferred {
        if facts.matter_to(&self.source) {
            // The tree that is kept holds more than was written.
            let inferred = with_parser_stack(|| {
                let program = ENV.compile(&self.source).ok()?;
                Some(types::infer(program.expression(), facts))
            });
            if let Some(inferred) = inferred {
                return inferred;
            }
        }
        Inferred {
            gives: self.gives,
            problems: Vec::new(),
        }
    }

    /// Its value when it reads nothing, and so always has the same.
    #[must_use]
    pub fn constant(&self) -> Option<Value> {
        if self.reads_any {
            return None;
        }
        let nothing = Scope::new(&Value::Null, &Value::Null, &Value::Null);
        self.evaluate(&nothing).ok()
    }

    /// The text.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What it reads of steps, constants, secrets and approvals.
    pub fn references(&self) -> impl Iterator<Item = Reference> + '_ {
        self.references.iter().cloned()
    }

    /// Its value. Where secrets and links are hidden, that of an expression that reads some is [`HIDDEN`], whatever it makes of them.
    ///
    /// # Errors
    /// [`EvaluationError`].
    pub fn evaluate(&self, scope: &Scope) -> Result<Value, EvaluationError> {
        if self.reads_hidden && scope.hides_secrets() {
            return Ok(HIDDEN.into());
        }
        let value = self.run(scope)?;
        let json = to_json(&value).map_err(|kind| EvaluationError::NotJson {
            expression: self.shown(),
            kind,
        })?;
        if json_size_exceeds(&json, limits::VALUE_MAX_BYTES) {
            return Err(EvaluationError::TooLarge {
                expression: self.shown(),
            });
        }
        Ok(json)
    }

    /// Its value, which must be a boolean.
    ///
    /// # Errors
    /// [`EvaluationError`].
    pub fn evaluate_bool(&self, scope: &Scope) -> Result<bool, EvaluationError> {
        match self.run(scope)? {
            CelValue::Bool(value) => Ok(value),
            other => Err(EvaluationError::NotBool {
                expression: self.shown(),
                found: other.type_of().to_string(),
            }),
        }
    }

    fn run(&self, scope: &Scope) -> Result<CelValue, EvaluationError> {
        let message = match run(&self.tree, scope) {
            Ok(Ok(Some(value))) => return Ok(value),
            Ok(Ok(None)) => {
                return Err(EvaluationError::TooLarge {
                    expression: self.shown(),
                });
            }
            // It may quote what the expression made of a secret, or of a link.
            Ok(Err(_)) if self.reads_hidden => {
                "fails with the secret values that it reads; why is not shown".to_owned()
            }
            Ok(Err(error)) => one_line(&budget::as_written(&error.to_string())),
            Err(Broken::Panicked) => "the interpreter broke off".to_owned(),
            Err(Broken::Spent) => {
                return Err(EvaluationError::TooExpensive {
                    expression: self.shown(),
                });
            }
        };
        Err(EvaluationError::Failed {
            expression: self.shown(),
            message,
        })
    }

    /// The expression in errors: one line, cut.
    pub(crate) fn shown(&self) -> String {
        cut(&self.source, 120)
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.source, f)
    }
}

/// What an instrumented tree gives; none of what is too large.
fn run(tree: &IdedExpr, scope: &Scope) -> Result<Result<Option<CelValue>, ExecutionError>, Broken> {
    let evaluate = || {
        let mut context = Context::with_env(ENV.clone());
        context.set_variable_resolver(scope);
        let value = CelValue::resolve_val(tree, &context)?;
        // Before it is copied, for the first of several times.
        if budget::is_surely_larger(value.as_ref(), limits::VALUE_MAX_BYTES) {
            return Ok(None);
        }
        value.as_ref().try_into().map(Some)
    };
    budget::within(|| stacker::maybe_grow(STACK_BYTES / 4, STACK_BYTES, evaluate))
}

/// That what gives `found` never gives what is `wanted`.
fn unlike(found: Kinds, wanted: Wanted) -> Option<ExpressionError> {
    (!found.meets(wanted.kinds())).then(|| ExpressionError::Gives {
        found: found.to_string(),
        expected: wanted.expected(),
    })
}

/// The JSON of a value: times as RFC 3339 in UTC, durations as seconds (`1.5s`), bytes as base64, an optional as what is in
/// it, or null.
///
/// # Errors
/// The kind of a value within it that JSON has not.
pub(super) fn to_json(value: &CelValue) -> Result<Value, String> {
    Ok(match value {
        CelValue::List(values) => {
            Value::Array(values.iter().map(to_json).collect::<Result<_, _>>()?)
        }
        CelValue::Map(map) => Value::Object(
            map.map
                .iter()
                .map(|(key, value)| Ok((key.to_string(), to_json(value)?)))
                .collect::<Result<_, String>>()?,
        ),
        CelValue::Timestamp(time) => time
            .to_utc()
            .to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
            .into(),
        CelValue::Duration(duration) => seconds(*duration).into(),
        CelValue::Opaque(_) => {
            let optional: Result<&OptionalValue, _> = value.try_into();
            match optional.map(OptionalValue::value) {
                Ok(Some(value)) => to_json(value)?,
                Ok(None) => Value::Null,
                Err(_) => return Err(value.type_of().to_string()),
            }
        }
        other => other.json().map_err(|_| other.type_of().to_string())?,
    })
}

/// `90s`, `-0.5s`: as protobuf's JSON mapping writes durations.
fn seconds(duration: chrono::TimeDelta) -> String {
    let sign = if duration < chrono::TimeDelta::zero() {
        "-"
    } else {
        ""
    };
    let duration = duration.abs();
    let nanos = format!("{:09}", duration.subsec_nanos());
    let fraction = nanos.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{}{point}{fraction}s", duration.num_seconds())
}

/// The first problem of a text that is no CEL, where it is, and what may have been meant.
fn syntax(errors: &ParseErrors) -> String {
    let Some(first) = errors.errors.first() else {
        return "it does not parse".to_owned();
    };
    // The rest names every token that there is.
    let problem = first.msg.split(" expecting ").next().unwrap_or_default();
    let problem = problem.trim_start_matches("Syntax error: ");
    let problem = problem.replace("'<EOF>'", "the end");
    let hint = match problem.strip_prefix("reserved identifier: ") {
        Some(name) => suggestion(name, check::ROOTS),
        None => String::new(),
    };
    let (line, column) = first.pos;
    let line = if line > 1 {
        format!("line {line}, ")
    } else {
        String::new()
    };
    one_line(&format!("{problem} at {line}character {column}{hint}"))
}

/// CEL's messages span lines and may quote whole values; ours are one bounded line.
fn one_line(text: &str) -> String {
    cut(text, 300)
}

/// `text` in one line of at most so many characters.
pub(super) fn cut(text: &str, max_chars: usize) -> String {
    let mut line = String::new();
    let mut left = max_chars;
    for word in text.split_whitespace() {
        for c in (!line.is_empty())
            .then_some(' ')
            .into_iter()
            .chain(word.chars())
        {
            if left == 0 {
                line.push('…');
                return line;
            }
            left -= 1;
            // What no terminal should be sent.
            line.push(if c.is_control() { '\u{fffd}' } else { c });
        }
    }
    line
}

/// Whether the JSON text of `value` would be longer than `max_bytes`, without writing it.
pub(super) fn json_size_exceeds(value: &impl Serialize, max_bytes: usize) -> bool {
    struct Count {
        left_bytes: usize,
    }
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.left_bytes = self
                .left_bytes
                .checked_sub(bytes.len())
                .ok_or(std::io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    serde_json::to_writer(
        Count {
            left_bytes: max_bytes,
        },
        value,
    )
    .is_err()
}
