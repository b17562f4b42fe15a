//! Strings and JSON in which `${{ expression }}` is replaced.

use serde_json::Value;

use super::{
    EvaluationError, Expression, ExpressionError, Reference, Scope, Wanted, WrongExpression,
    cel::{cut, json_size_exceeds},
    closes::ends,
    sharing_one_budget,
};
use crate::limits;

const OPEN: &str = "${{";
const CLOSE: &str = "}}";
/// Closes of one expression that are tried: more than one may be its own only where comments hold some.
const CLOSES_TRIED_MAX: usize = 8;

/// A string in which `${{ expression }}` is replaced. `$${{` stands for a literal `${{`.
#[derive(Clone, Debug)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Expression(Expression),
}

/// Why a text is no [`Template`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Longer than [`limits::EXPRESSION_MAX_BYTES`].
    #[error("has {0} bytes; at most {max} are allowed", max = limits::EXPRESSION_MAX_BYTES)]
    TooLong(usize),
    /// An opening without its close.
    #[error("has \"${{{{\" without \"}}}}\" after it")]
    Unclosed,
    /// What stands between is no expression.
    #[error("${{{{ {source_text} }}}} {error}")]
    Expression {
        /// The text between.
        source_text: String,
        /// Why.
        error: ExpressionError,
    },
}

/// Why a text is no [`Template`]: all that is wrong with its expressions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongTemplate {
    /// At least one.
    pub problems: Vec<TemplateError>,
    /// What it reads even so, as far as that can be known.
    pub references: Vec<Reference>,
}

impl WrongTemplate {
    /// Of `text`, whose `first` problem is known.
    fn of(text: &str, first: TemplateError) -> Self {
        let (mut problems, mut references) = (Vec::new(), Vec::new());
        let mut rest = match first {
            TemplateError::TooLong(_) => "",
            TemplateError::Unclosed | TemplateError::Expression { .. } => text,
        };
        while let Some((before, after)) = rest.split_once(OPEN) {
            if before.ends_with('$') {
                rest = after;
                continue;
            }
            let error = match close(after) {
                Ok((expression, after)) => {
                    references.extend(expression.references());
                    rest = after;
                    continue;
                }
                Err(error) => error,
            };
            let Some((source, wrong, after)) = wrong_expression(after) else {
                problems.push(error);
                break;
            };
            let named = |error| TemplateError::Expression {
                source_text: cut(source, 120),
                error,
            };
            problems.extend(wrong.problems.into_iter().map(named));
            references.extend(wrong.references);
            rest = after;
        }
        if problems.is_empty() {
            problems.push(first);
        }
        Self {
            problems,
            references,
        }
    }
}

impl Template {
    /// Parses `text`; tells all that is wrong with it.
    ///
    /// # Errors
    /// [`WrongTemplate`].
    pub fn read(text: &str) -> Result<Self, WrongTemplate> {
        Self::parse(text).map_err(|first| WrongTemplate::of(text, first))
    }

    /// Parses `text`.
    ///
    /// # Errors
    /// [`TemplateError`].
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.len() > limits::EXPRESSION_MAX_BYTES {
            return Err(TemplateError::TooLong(text.len()));
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(start) = rest.find(OPEN) {
            if rest[..start].ends_with('$') {
                literal.push_str(&rest[..start - 1]);
                literal.push_str(OPEN);
                rest = &rest[start + OPEN.len()..];
                continue;
            }
            literal.push_str(&rest[..start]);
            let (expression, after) = close(&rest[start + OPEN.len()..])?;
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(Part::Expression(expression));
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Self { parts })
    }

    /// The text, when it holds no expression.
    #[must_use]
    pub fn as_literal(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The expression, when it is one and nothing else.
    #[must_use]
    pub fn as_expression(&self) -> Option<&Expression> {
        match self.parts.as_slice() {
            [Part::Expression(expression)] => Some(expression),
            _ => None,
        }
    }

    /// Its expressions, in order.
    pub fn expressions(&self) -> impl Iterator<Item = &Expression> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Expression(expression) => Some(expression),
        })
    }

    /// What its expressions read.
    pub fn references(&self) -> Vec<Reference> {
        self.expressions()
            .flat_map(Expression::references)
            .collect()
    }

    /// As it was written, but for white space at the ends of expressions.
    #[must_use]
    pub fn source(&self) -> String {
        let parts = self.parts.iter().map(|part| match part {
            Part::Text(text) => text.replace(OPEN, &format!("${OPEN}")),
            Part::Expression(expression) => format!("{OPEN} {} {CLOSE}", expression.source()),
        });
        parts.collect()
    }

    /// Its value: that of the expression when it is one expression and nothing else, text otherwise.
    ///
    /// # Errors
    /// [`EvaluationError`].
    pub fn render(&self, scope: &Scope) -> Result<Value, EvaluationError> {
        match self.parts.as_slice() {
            [Part::Expression(expression)] => expression.evaluate(scope),
            _ => self.render_text(scope).map(Value::String),
        }
    }

    /// Its value as text: strings as they are, null as nothing, other values as JSON.
    ///
    /// # Errors
    /// [`EvaluationError`].
    pub fn render_text(&self, scope: &Scope) -> Result<String, EvaluationError> {
        sharing_one_budget(|| self.join(scope))
    }

    fn join(&self, scope: &Scope) -> Result<String, EvaluationError> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Expression(expression) => {
                    match expression.evaluate(scope)? {
                        Value::Null => {}
                        Value::String(value) => text.push_str(&value),
                        value => text.push_str(&value.to_string()),
                    }
                    if text.len() > limits::VALUE_MAX_BYTES {
                        return Err(EvaluationError::TooLarge {
                            expression: cut(expression.source(), 120),
                        });
                    }
                }
            }
        }
        Ok(text)
    }
}

/// The expression up to the first `}}` that makes it parse (CEL maps may end in `}}` too), and what follows.
fn close(text: &str) -> Result<(Expression, &str), TemplateError> {
    let mut first_error = None;
    // Where there is none, the first at all, for what is wrong with the expression before it.
    let ends = ends(text).take(CLOSES_TRIED_MAX).chain(text.find(CLOSE));
    for end in ends {
        let source = text[..end].trim();
        match Expression::parse(source) {
            Ok(expression) => return Ok((expression, &text[end + CLOSE.len()..])),
            Err(error) => {
                first_error.get_or_insert(TemplateError::Expression {
                    source_text: cut(source, 120),
                    error,
                });
            }
        }
    }
    Err(first_error.unwrap_or(TemplateError::Unclosed))
}

/// The text up to the first `}}` with which it is CEL, though none that can be taken, or up to the first at all; what is wrong
/// with it, and what follows.
fn wrong_expression(text: &str) -> Option<(&str, WrongExpression, &str)> {
    /// Ends that are tried.
    const ENDS_MAX: usize = 8;
    let mut first = None;
    for (end, _) in text.match_indices(CLOSE).take(ENDS_MAX) {
        let source = text[..end].trim();
        let Err(wrong) = Expression::read(source, Wanted::Value) else {
            continue;
        };
        let is_cel = !matches!(
            &wrong.problems[..],
            [ExpressionError::Syntax(_) | ExpressionError::Marked]
        );
        let found = (source, wrong, &text[end + CLOSE.len()..]);
        if is_cel {
            return Some(found);
        }
        first.get_or_insert(found);
    }
    first
}

/// What is recorded of expressions and templates as they were `written`: of more than [`limits::SHOWN_MAX_BYTES`] the beginning of
/// its JSON.
#[must_use]
pub fn shown(written: Value) -> Value {
    if json_size_exceeds(&written, limits::SHOWN_MAX_BYTES) {
        return cut(&written.to_string(), limits::SHOWN_MAX_BYTES).into();
    }
    written
}

/// JSON in which each string is a template.
#[derive(Clone, Debug)]
pub struct JsonTemplate(Node);

/// Why a JSON is no [`JsonTemplate`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WrongJsonTemplate {
    /// All, each with the path of its string within the value, such as `.a[0]`. At least one.
    pub problems: Vec<(String, TemplateError)>,
    /// What it reads even so, likewise.
    pub references: Vec<(String, Reference)>,
}

#[derive(Clone, Debug)]
enum Node {
    Plain(Value),
    Text(Template),
    List(Vec<Node>),
    Fields(Vec<(String, Node)>),
}

impl JsonTemplate {
    /// Parses the strings of `value`.
    ///
    /// # Errors
    /// [`WrongJsonTemplate`].
    pub fn parse(value: &Value) -> Result<Self, WrongJsonTemplate> {
        let mut wrong = WrongJsonTemplate::default();
        let template = Self(parse_node(value, "", &mut wrong));
        if wrong.problems.is_empty() {
            return Ok(template);
        }
        for (path, expression) in template.expressions_at("") {
            let references = expression.references();
            let references = references.map(|reference| (path.clone(), reference));
            wrong.references.extend(references);
        }
        Err(wrong)
    }

    /// The expression, when it is one text that is an expression and nothing else.
    #[must_use]
    pub fn as_expression(&self) -> Option<&Expression> {
        match &self.0 {
            Node::Text(template) => template.as_expression(),
            Node::Plain(_) | Node::List(_) | Node::Fields(_) => None,
        }
    }

    /// Its expressions, in order.
    #[must_use]
    pub fn expressions(&self) -> Vec<&Expression> {
        let located = self.expressions_at("").into_iter();
        located.map(|(_, expression)| expression).collect()
    }

    /// The same, each with the path of the string that holds it: `path` is the template's own.
    #[must_use]
    pub fn expressions_at(&self, path: &str) -> Vec<(String, &Expression)> {
        fn gather<'n>(node: &'n Node, path: &str, into: &mut Vec<(String, &'n Expression)>) {
            match node {
                Node::Plain(_) => {}
                Node::Text(template) => {
                    let expressions = template.expressions();
                    into.extend(expressions.map(|expression| (path.to_owned(), expression)));
                }
                Node::List(nodes) => nodes
                    .iter()
                    .enumerate()
                    .for_each(|(index, node)| gather(node, &format!("{path}[{index}]"), into)),
                Node::Fields(fields) => fields
                    .iter()
                    .for_each(|(name, node)| gather(node, &format!("{path}.{name}"), into)),
            }
        }
        let mut all = Vec::new();
        gather(&self.0, path, &mut all);
        all
    }

    /// As it was written, for people ([`shown`]).
    #[must_use]
    pub fn shown(&self) -> Value {
        shown(written(&self.0))
    }

    /// Its value.
    ///
    /// # Errors
    /// [`EvaluationError`].
    pub fn render(&self, scope: &Scope) -> Result<Value, EvaluationError> {
        let value = sharing_one_budget(|| render_node(&self.0, scope))?;
        if json_size_exceeds(&value, limits::VALUE_MAX_BYTES) {
            return Err(EvaluationError::TooLarge {
                expression: "template".to_owned(),
            });
        }
        Ok(value)
    }
}

/// A wrong string stands as it is, its problem among `wrong`.
fn parse_node(value: &Value, path: &str, wrong: &mut WrongJsonTemplate) -> Node {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => Node::Plain(value.clone()),
        Value::String(text) => match Template::read(text) {
            Ok(template) => Node::Text(template),
            Err(text) => {
                let problems = text.problems.into_iter();
                let problems = problems.map(|problem| (path.to_owned(), problem));
                wrong.problems.extend(problems);
                let references = text.references.into_iter();
                let references = references.map(|reference| (path.to_owned(), reference));
                wrong.references.extend(references);
                Node::Plain(value.clone())
            }
        },
        Value::Array(values) => Node::List(
            values
                .iter()
                .enumerate()
                .map(|(index, value)| parse_node(value, &format!("{path}[{index}]"), wrong))
                .collect(),
        ),
        Value::Object(fields) => Node::Fields(
            fields
                .iter()
                .map(|(name, value)| {
                    let node = parse_node(value, &format!("{path}.{name}"), wrong);
                    (name.clone(), node)
                })
                .collect(),
        ),
    }
}

fn written(node: &Node) -> Value {
    match node {
        Node::Plain(value) => value.clone(),
        Node::Text(template) => template.source().into(),
        Node::List(nodes) => nodes.iter().map(written).collect(),
        Node::Fields(fields) => fields
            .iter()
            .map(|(name, node)| (name.clone(), written(node)))
            .collect(),
    }
}

fn render_node(node: &Node, scope: &Scope) -> Result<Value, EvaluationError> {
    Ok(match node {
        Node::Plain(value) => value.clone(),
        Node::Text(template) => template.render(scope)?,
        Node::List(nodes) => Value::Array(
            nodes
                .iter()
                .map(|node| render_node(node, scope))
                .collect::<Result<_, _>>()?,
        ),
        Node::Fields(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, node)| Ok((name.clone(), render_node(node, scope)?)))
                .collect::<Result<_, _>>()?,
        ),
    })
}
