//! One CEL expression.

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use cel::{Context, Env, IdedExpr, Value as CelValue};
use serde_json::Value;

use super::{
    Reference, Scope,
    budget::{self, Broken},
    check,
};
use crate::{limits, secret::HIDDEN};

/// Stack for the parser, which stops at a nesting of 96, and for evaluations: their frames need more than a thread's
/// usual stack.
const STACK_BYTES: usize = 16 * 1024 * 1024;

/// The functions of every expression: CEL's standard library, and its strings, lists, math and encoders extensions.
static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    for extension in [
        cel::extensions::strings,
        cel::extensions::lists,
        cel::extensions::math,
        cel::extensions::encoders,
    ] {
        let added = env.add_extension(extension);
        debug_assert!(added.is_ok(), "{added:?}");
    }
    let added = budget::declare(&mut env);
    debug_assert!(added.is_ok(), "{added:?}");
    Arc::new(env)
});

/// Runs `parse`, a call of CEL's parser, on a stack that fits.
pub fn with_parser_stack<T>(parse: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(STACK_BYTES, STACK_BYTES, parse)
}

/// A parsed expression.
#[derive(Clone)]
pub struct Expression {
    source: Arc<str>,
    /// The syntax tree, with what holds it to its budget.
    tree: Arc<IdedExpr>,
    references: Arc<[Reference]>,
    reads_secrets: bool,
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
    /// Reads a variable that there is not.
    #[error(
        "reads {0:?}; expected event, steps, vars, secrets or execution, and item or index within a forEach"
    )]
    UnknownVariable(String),
    /// Reads the secrets otherwise than each by its name.
    #[error("reads secrets; expected secrets.name or secrets[\"name\"], each by its name")]
    AllSecrets,
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

impl Expression {
    /// Parses and checks `source`.
    ///
    /// # Errors
    /// [`ExpressionError`].
    pub fn parse(source: &str) -> Result<Self, ExpressionError> {
        if source.trim().is_empty() {
            return Err(ExpressionError::Empty);
        }
        if source.len() > limits::EXPRESSION_MAX_BYTES {
            return Err(ExpressionError::TooLong(source.len()));
        }
        with_parser_stack(|| {
            let program = ENV
                .compile(source)
                .map_err(|errors| ExpressionError::Syntax(one_line(&errors.to_string())))?;
            let references = check::references(program.expression())?;
            let is_secret = |reference: &Reference| matches!(reference, Reference::Secret(_));
            let mut tree = program.expression().clone();
            budget::instrument(&mut tree);
            Ok(Self {
                source: source.into(),
                tree: Arc::new(tree),
                reads_secrets: references.iter().any(is_secret),
                references: references.into(),
            })
        })
    }

    /// The text.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What it reads of steps, constants and secrets.
    pub fn references(&self) -> impl Iterator<Item = Reference> + '_ {
        self.references.iter().cloned()
    }

    /// Its value. Where secrets are hidden, that of an expression that reads some is [`HIDDEN`], whatever it makes of them.
    ///
    /// # Errors
    /// [`EvaluationError`].
    pub fn evaluate(&self, scope: &Scope) -> Result<Value, EvaluationError> {
        if self.reads_secrets && scope.hides_secrets() {
            return Ok(HIDDEN.into());
        }
        let value = self.run(scope)?;
        let json = value.json().map_err(|_| EvaluationError::NotJson {
            expression: self.shown(),
            kind: value.type_of().to_string(),
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
        let evaluate = || {
            let mut context = Context::with_env(ENV.clone());
            context.set_variable_resolver(scope);
            CelValue::resolve(&self.tree, &context)
        };
        let grown = || stacker::maybe_grow(STACK_BYTES / 4, STACK_BYTES, evaluate);
        let message = match budget::within(grown) {
            Ok(Ok(value)) => return Ok(value),
            // It may quote what the expression made of a secret.
            Ok(Err(_)) if self.reads_secrets => {
                "fails with the values that its secrets have; why is not shown".to_owned()
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
    fn shown(&self) -> String {
        cut(&self.source, 120)
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.source, f)
    }
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
pub(super) fn json_size_exceeds(value: &Value, max_bytes: usize) -> bool {
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
