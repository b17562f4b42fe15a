//! One CEL expression.

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use cel::{
    Context, Env, Program, Value as CelValue,
    common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue},
};
use serde_json::Value;

use super::{Reference, Scope};
use crate::limits;

/// Variables that an expression may read.
const ROOTS: [&str; 4] = ["event", "steps", "vars", "execution"];

const PARSER_STACK_BYTES: usize = 16 * 1024 * 1024;

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
    Arc::new(env)
});

/// Runs `parse`, a call of CEL's parser, on a stack that fits: it stops at a nesting of 96, for which
/// its frames need more than a thread's usual stack.
pub fn with_parser_stack<T>(parse: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(PARSER_STACK_BYTES, PARSER_STACK_BYTES, parse)
}

/// A parsed expression.
#[derive(Clone)]
pub struct Expression {
    source: Arc<str>,
    program: Arc<Program>,
    references: Arc<[Reference]>,
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
    #[error("reads {0:?}; expected event, steps, vars or execution")]
    UnknownVariable(String),
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
        let program = with_parser_stack(|| ENV.compile(source))
            .map_err(|errors| ExpressionError::Syntax(one_line(&errors.to_string())))?;
        let mut walk = Walk::default();
        walk.expr(program.expression(), 0, 0)?;
        Ok(Self {
            source: source.into(),
            program: Arc::new(program),
            references: walk.references.into(),
        })
    }

    /// The text.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What it reads of steps and constants.
    pub fn references(&self) -> impl Iterator<Item = Reference> + '_ {
        self.references.iter().cloned()
    }

    /// Its value.
    ///
    /// # Errors
    /// [`EvaluationError`].
    pub fn evaluate(&self, scope: &Scope) -> Result<Value, EvaluationError> {
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
        let mut context = Context::with_env(ENV.clone());
        scope.bind(&mut context);
        self.program
            .execute(&context)
            .map_err(|error| EvaluationError::Failed {
                expression: self.shown(),
                message: one_line(&error.to_string()),
            })
    }

    fn shown(&self) -> String {
        self.source.chars().take(120).collect()
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.source, f)
    }
}

/// CEL's messages span lines and may quote whole values; ours are one bounded line.
fn one_line(text: &str) -> String {
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() > 300 {
        line = line.chars().take(300).chain(['…']).collect();
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

/// Gathers references and checks variables and depth.
#[derive(Default)]
struct Walk {
    references: Vec<Reference>,
    /// Variables of the comprehensions around.
    locals: Vec<String>,
}

impl Walk {
    fn expr(
        &mut self,
        expr: &IdedExpr,
        depth: usize,
        comprehensions: usize,
    ) -> Result<(), ExpressionError> {
        if depth > limits::EXPRESSION_DEPTH_MAX {
            return Err(ExpressionError::TooDeep("is nested too deep"));
        }
        let depth = depth + 1;
        match &expr.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.variable(name),
            Expr::Select(select) => {
                if let Expr::Ident(root) = &select.operand.expr {
                    self.member(root, &select.field);
                }
                self.expr(&select.operand, depth, comprehensions)
            }
            Expr::Call(call) => {
                if let (
                    "_[_]",
                    [
                        IdedExpr {
                            expr: Expr::Ident(root),
                            ..
                        },
                        IdedExpr {
                            expr: Expr::Literal(LiteralValue::String(field)),
                            ..
                        },
                    ],
                ) = (call.func_name.as_str(), call.args.as_slice())
                {
                    self.member(root, field.inner());
                }
                for part in call.target.iter().map(AsRef::as_ref).chain(&call.args) {
                    self.expr(part, depth, comprehensions)?;
                }
                Ok(())
            }
            Expr::List(list) => {
                for element in &list.elements {
                    self.expr(element, depth, comprehensions)?;
                }
                Ok(())
            }
            Expr::Map(map) => {
                self.entries(map.entries.iter().map(|e| &e.expr), depth, comprehensions)
            }
            Expr::Struct(of) => {
                self.entries(of.entries.iter().map(|e| &e.expr), depth, comprehensions)
            }
            Expr::Comprehension(inner) => {
                if comprehensions >= limits::COMPREHENSION_DEPTH_MAX {
                    return Err(ExpressionError::TooDeep(
                        "nests comprehensions (map, filter, all, exists) more than 2 deep",
                    ));
                }
                self.expr(&inner.iter_range, depth, comprehensions)?;
                self.expr(&inner.accu_init, depth, comprehensions)?;
                let before = self.locals.len();
                self.locals.push(inner.iter_var.clone());
                self.locals.extend(inner.iter_var2.clone());
                self.locals.push(inner.accu_var.clone());
                for part in [&inner.loop_cond, &inner.loop_step, &inner.result] {
                    self.expr(part, depth, comprehensions + 1)?;
                }
                self.locals.truncate(before);
                Ok(())
            }
        }
    }

    fn entries<'a>(
        &mut self,
        entries: impl Iterator<Item = &'a EntryExpr>,
        depth: usize,
        comprehensions: usize,
    ) -> Result<(), ExpressionError> {
        for entry in entries {
            match entry {
                EntryExpr::StructField(field) => self.expr(&field.value, depth, comprehensions)?,
                EntryExpr::MapEntry(entry) => {
                    self.expr(&entry.key, depth, comprehensions)?;
                    self.expr(&entry.value, depth, comprehensions)?;
                }
            }
        }
        Ok(())
    }

    fn variable(&self, name: &str) -> Result<(), ExpressionError> {
        if ROOTS.contains(&name) || self.locals.iter().any(|local| local == name) {
            Ok(())
        } else {
            Err(ExpressionError::UnknownVariable(name.to_owned()))
        }
    }

    fn member(&mut self, root: &str, field: &str) {
        if self.locals.iter().any(|local| local == root) {
            return;
        }
        let reference = match root {
            "steps" => Reference::Step(field.to_owned()),
            "vars" => Reference::Var(field.to_owned()),
            _ => return,
        };
        if !self.references.contains(&reference) {
            self.references.push(reference);
        }
    }
}
