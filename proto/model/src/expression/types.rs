//! Finds what cannot work, before it runs: operators and functions whose values are known to be of other kinds than they
//! take, functions that there are not, fields that `event`, `execution` and `steps.<id>` have not, nor constants and declared
//! inputs where these are known.
//!
//! It errs on the side of silence: what an expression refuses here fails with every event. What comes out of a message or a
//! step's output may be of any kind.

use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators,
};

use super::{
    ExpressionError,
    cel::cut,
    check::{APPROVALS, unknown_in_namespace},
    facts::{Facts, Fields},
    functions::regular,
    kinds::Kinds,
    operations,
    signatures::{self, Signature},
};
use crate::suggestion::suggestion;

/// Problems that are told of one expression.
const PROBLEMS_MAX: usize = 20;

/// A value as far as it is known.
#[derive(Clone, Copy)]
pub(super) struct Known<'f> {
    kinds: Kinds,
    /// Of a map.
    fields: Fields<'f>,
}

pub(super) type Listed = &'static [(&'static str, Known<'static>)];

impl<'f> Known<'f> {
    pub(super) const ANY: Self = Self::any_of(Kinds::ANY);

    pub(super) const fn any_of(kinds: Kinds) -> Self {
        Self {
            kinds,
            fields: Fields::Any,
        }
    }

    pub(super) const fn map(fields: Fields<'f>) -> Self {
        Self {
            kinds: Kinds::MAP,
            fields,
        }
    }
}

const ANY: Known<'static> = Known::ANY;
const TEXT: Known<'static> = Known::any_of(Kinds::STRING);
const TEXT_OR_NULL: Known<'static> = Known::any_of(Kinds::STRING.or(Kinds::NULL));

/// [`crate::event::EventScope::to_value`].
pub(super) const EVENT: Listed = &[
    ("attributes", Known::any_of(Kinds::MAP)),
    ("json", ANY),
    ("message", TEXT),
    ("messageId", TEXT),
    ("subject", TEXT_OR_NULL),
    ("timestamp", TEXT),
    ("topicArn", TEXT_OR_NULL),
];

/// A [`crate::execution::Failure`], or none.
const ERROR: Known<'static> = Known {
    kinds: Kinds::MAP.or(Kinds::NULL),
    fields: Fields::Listed(&[("code", TEXT), ("message", TEXT)]),
};

/// What the engine shows of an execution.
const EXECUTION: Listed = &[
    ("id", TEXT),
    ("name", TEXT),
    ("workflow", TEXT),
    ("version", Known::any_of(Kinds::INT)),
    ("startTime", TEXT),
    ("parent", TEXT_OR_NULL),
    ("state", TEXT),
    ("error", ERROR),
];

/// Of these, what there is once it is to end.
const ENDS: [&str; 2] = ["state", "error"];

/// [`super::StepResult`].
pub(super) const STEP: Listed = &[("state", TEXT), ("output", ANY), ("error", ERROR)];

/// The links of an approval.
const APPROVAL: Listed = &[("approveUrl", TEXT), ("rejectUrl", TEXT)];

/// What is known of an expression.
pub(super) struct Inferred {
    /// What it may give.
    pub(super) gives: Kinds,
    /// What always fails.
    pub(super) problems: Vec<ExpressionError>,
}

/// What `expr` gives, and what of it always fails. It is not nested too deep ([`super::check`]).
pub(super) fn infer(expr: &IdedExpr, facts: Facts<'_>) -> Inferred {
    let mut walk = Walk {
        facts,
        locals: Vec::new(),
        problems: Vec::new(),
    };
    let gives = walk.expr(expr).kinds;
    Inferred {
        gives,
        problems: walk.problems,
    }
}

struct Walk<'f> {
    facts: Facts<'f>,
    /// Variables of the comprehensions around, the innermost last.
    locals: Vec<(String, Known<'f>)>,
    problems: Vec<ExpressionError>,
}

impl<'f> Walk<'f> {
    /// Notes a problem; what has it may be anything.
    fn wrong(&mut self, problem: ExpressionError) -> Known<'f> {
        // A macro may hold what is written once several times.
        if !self.problems.contains(&problem) && self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
        Known::ANY
    }

    fn expr(&mut self, expr: &IdedExpr) -> Known<'f> {
        match &expr.expr {
            Expr::Unspecified | Expr::Struct(_) => Known::ANY,
            Expr::Literal(literal) => Known::any_of(literal_kind(literal)),
            Expr::Ident(name) => self.variable(name),
            Expr::Select(select) => self.select(expr, select),
            Expr::Call(call) => self.call(expr, call),
            Expr::List(list) => {
                for element in &list.elements {
                    self.expr(element);
                }
                Known::any_of(Kinds::LIST)
            }
            Expr::Map(map) => {
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        self.expr(&entry.key);
                        self.expr(&entry.value);
                    }
                }
                Known::any_of(Kinds::MAP)
            }
            Expr::Comprehension(inner) => self.comprehension(inner),
        }
    }

    fn variable(&self, name: &str) -> Known<'f> {
        let local = self.locals.iter().rev().find(|(local, _)| local == name);
        match (local, name) {
            (Some((_, known)), _) => *known,
            (None, "event") => Known::map(Fields::Listed(EVENT)),
            (None, "execution") => Known::map(Fields::Listed(EXECUTION)),
            (None, "vars") => self.facts.vars(),
            (None, "steps" | APPROVALS) => Known::any_of(Kinds::MAP),
            (None, "index") => Known::any_of(Kinds::INT),
            (None, _) => Known::ANY,
        }
    }

    fn is_local(&self, name: &str) -> bool {
        self.locals.iter().any(|(local, _)| local == name)
    }

    fn is_global(&self, expr: &IdedExpr, name: &str) -> bool {
        matches!(&expr.expr, Expr::Ident(found) if found == name) && !self.is_local(name)
    }

    fn select(&mut self, expr: &IdedExpr, select: &SelectExpr) -> Known<'f> {
        let operand = self.expr(&select.operand);
        if !operand.kinds.meets(Kinds::MAP.or(Kinds::OPTIONAL)) {
            return self.wrong(ExpressionError::Kind(format!(
                "{} cannot work: {} is {}, which has no fields",
                shown(expr),
                shown(&select.operand),
                operand.kinds
            )));
        }
        if select.test {
            return Known::any_of(Kinds::BOOL);
        }
        self.field(&select.operand, operand, &select.field)
    }

    /// The field called `name` of `operand`, which is `known`.
    fn field(&mut self, operand: &IdedExpr, known: Known<'f>, name: &str) -> Known<'f> {
        if self.is_global(operand, "steps") {
            return Known::map(Fields::Listed(STEP));
        }
        if self.is_global(operand, APPROVALS) {
            return Known::map(Fields::Listed(APPROVAL));
        }
        if self.facts.has_no_end && ENDS.contains(&name) && self.is_global(operand, "execution") {
            return self.wrong(ExpressionError::Kind(format!(
                "reads execution.{name}, which only steps of finally have: before, the execution has not ended"
            )));
        }
        if name == "json"
            && self.is_global(operand, "event")
            && let Some(json) = self.facts.json()
        {
            return json;
        }
        if known.kinds == Kinds::OPTIONAL {
            return Known::any_of(Kinds::OPTIONAL);
        }
        known.fields.find(name).unwrap_or_else(|names| {
            self.wrong(ExpressionError::Kind(format!(
                "reads {}.{name}, and there is no such field{}; expected {}",
                shown(operand),
                suggestion(name, names.iter().copied()),
                match names.is_empty() {
                    true => "none".to_owned(),
                    false => format!("one of {}", names.join(", ")),
                }
            )))
        })
    }

    fn call(&mut self, expr: &IdedExpr, call: &CallExpr) -> Known<'f> {
        if unknown_in_namespace(call, |name| self.is_local(name)).is_some() {
            // It has been told.
            for arg in &call.args {
                self.expr(arg);
            }
            return Known::ANY;
        }
        let qualified = signatures::qualified(call);
        let target = call.target.as_deref().filter(|_| qualified.is_none());
        let target = target.map(|target| (target, self.expr(target)));
        let args: Vec<_> = call.args.iter().map(|arg| (arg, self.expr(arg))).collect();
        match (call.func_name.as_str(), args.as_slice()) {
            (operators::CONDITIONAL, [condition, first, second]) => {
                return self.given(conditional(condition, first.1, second.1));
            }
            (operators::NOT_STRICTLY_FALSE, _) => return Known::any_of(Kinds::BOOL),
            (operators::OPT_INDEX | operators::OPT_SELECT, _) => {
                return Known::any_of(Kinds::OPTIONAL);
            }
            (operators::INDEX, [(operand, known), (index, _)])
                if known.kinds.meets(Kinds::MAP) && text_of(index).is_some() =>
            {
                return self.field(operand, *known, text_of(index).unwrap_or_default());
            }
            (operators::INDEX, [(operand, _), _]) if self.is_global(operand, "steps") => {
                return Known::map(Fields::Listed(STEP));
            }
            _ => {}
        }
        match operator(expr, &call.func_name, &args) {
            Ok(None) => {}
            Ok(Some(gives)) => return Known::any_of(gives),
            Err(problem) => return self.wrong(problem),
        }
        // What macros make of `sortBy`, `math.greatest` and the like.
        if call.func_name.contains('@') {
            return Known::ANY;
        }
        let name = qualified.as_deref().unwrap_or(&call.func_name);
        self.given(function(expr, name, target, &args))
    }

    fn given(&mut self, result: Result<Kinds, ExpressionError>) -> Known<'f> {
        match result {
            Ok(kinds) => Known::any_of(kinds),
            Err(problem) => self.wrong(problem),
        }
    }

    fn comprehension(&mut self, inner: &ComprehensionExpr) -> Known<'f> {
        let range = self.expr(&inner.iter_range);
        if !range.kinds.meets(Kinds::LIST.or(Kinds::MAP)) {
            self.wrong(ExpressionError::Kind(format!(
                "goes through {}, which is {}; expected list or map",
                shown(&inner.iter_range),
                range.kinds
            )));
        }
        let start = self.expr(&inner.accu_init);
        let before = self.locals.len();
        self.locals.push((inner.iter_var.clone(), Known::ANY));
        if let Some(second) = &inner.iter_var2 {
            self.locals.push((second.clone(), Known::ANY));
        }
        self.locals.push((inner.accu_var.clone(), start));
        self.expr(&inner.loop_cond);
        let step = self.expr(&inner.loop_step);
        if let Some((_, accumulated)) = self.locals.last_mut() {
            accumulated.kinds = accumulated.kinds.or(step.kinds);
        }
        let result = self.expr(&inner.result);
        self.locals.truncate(before);
        result
    }
}

type Part<'a> = (&'a IdedExpr, Known<'a>);

/// What an operator gives; [`None`] of a function.
fn operator(
    expr: &IdedExpr,
    name: &str,
    args: &[Part<'_>],
) -> Result<Option<Kinds>, ExpressionError> {
    let (sign, gives) = match args {
        [(_, left), (_, right)] => match operations::binary(name) {
            Some((sign, rows)) => (sign, operations::result(rows, left.kinds, right.kinds)),
            None => return Ok(None),
        },
        [(_, only)] => match operations::unary(name) {
            Some((sign, takes)) if only.kinds.meets(takes) => (sign, takes),
            Some((sign, _)) => (sign, Kinds::NONE),
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    if gives == Kinds::NONE {
        return Err(cannot_work(expr, args, sign));
    }
    Ok(Some(gives))
}

fn conditional(
    (condition, known): &Part<'_>,
    first: Known<'_>,
    second: Known<'_>,
) -> Result<Kinds, ExpressionError> {
    if !known.kinds.meets(Kinds::BOOL) {
        return Err(ExpressionError::Kind(format!(
            "decides by {}, which is {}; expected bool",
            shown(condition),
            known.kinds
        )));
    }
    Ok(first.kinds.or(second.kinds))
}

fn function(
    expr: &IdedExpr,
    name: &str,
    target: Option<Part<'_>>,
    args: &[Part<'_>],
) -> Result<Kinds, ExpressionError> {
    if signatures::named(name).next().is_none() {
        return Err(ExpressionError::UnknownFunction(name.to_owned()));
    }
    let fits = |signature: &&Signature| {
        let target_fits = match (signature.target, &target) {
            (Some(takes), Some((_, known))) => known.kinds.meets(takes),
            (None, None) => true,
            _ => false,
        };
        target_fits
            && signature.args.len() == args.len()
            && args
                .iter()
                .zip(signature.args)
                .all(|((_, known), takes)| known.kinds.meets(*takes))
    };
    let gives = signatures::of(name, target.is_some())
        .filter(fits)
        .fold(Kinds::NONE, |all, signature| all.or(signature.gives));
    if gives != Kinds::NONE {
        pattern(name, &target, args)?;
        return Ok(gives);
    }
    let parts: Vec<_> = target.iter().chain(args).copied().collect();
    let ways: Vec<_> = signatures::named(name).map(way).collect();
    Err(cannot_work(expr, &parts, &ways.join(" or ")))
}

/// A regular expression that is written out is one.
fn pattern(
    name: &str,
    target: &Option<Part<'_>>,
    args: &[Part<'_>],
) -> Result<(), ExpressionError> {
    let place = match name {
        "matches" => usize::from(target.is_none()),
        "regex.extract" | "regex.extractAll" | "regex.replace" => 1,
        _ => return Ok(()),
    };
    let written = args.get(place).and_then(|(arg, _)| text_of(arg));
    match written.map(regular::check) {
        Some(Err(problem)) => Err(ExpressionError::Kind(format!(
            "{name} has a wrong regular expression: {}",
            cut(&problem, 200)
        ))),
        _ => Ok(()),
    }
}

fn cannot_work(expr: &IdedExpr, parts: &[Part<'_>], expected: &str) -> ExpressionError {
    let mut text = format!("{} cannot work: ", shown(expr));
    for (index, (part, known)) in parts.iter().enumerate() {
        if index > 0 {
            text.push_str(", ");
        }
        text.push_str(&format!("{} is {}", shown(part), known.kinds));
    }
    match operations_for(expected) {
        Some(takes) => text.push_str(&format!("; {expected} takes {takes}")),
        None => text.push_str(&format!("; expected {expected}")),
    }
    ExpressionError::Kind(text)
}

/// What an operator takes, in a few words; [`None`] of a function.
fn operations_for(sign: &str) -> Option<&'static str> {
    Some(match sign {
        "+" => "two numbers of one kind, two texts, two lists, or times and durations",
        "-" => "numbers of one kind, or times and durations",
        "*" | "/" => "two numbers of one kind",
        "%" => "two int or two uint",
        "<" | "<=" | ">" | ">=" => "two numbers, two texts, two times or two durations",
        "&&" | "||" | "!" => "bool",
        "in" => "a list at its right, or a map and a key of it",
        "[]" => "a list with a number, or a map with a key",
        _ => return None,
    })
}

/// `string.split(string, int)`.
fn way(signature: &Signature) -> String {
    let args: Vec<_> = signature.args.iter().map(ToString::to_string).collect();
    let target = match signature.target {
        Some(target) => format!("({target})."),
        None => String::new(),
    };
    format!("{target}{}({})", signature.name, args.join(", "))
}

fn literal_kind(literal: &LiteralValue) -> Kinds {
    match literal {
        LiteralValue::Boolean(_) => Kinds::BOOL,
        LiteralValue::Bytes(_) => Kinds::BYTES,
        LiteralValue::Double(_) => Kinds::DOUBLE,
        LiteralValue::Int(_) => Kinds::INT,
        LiteralValue::Null => Kinds::NULL,
        LiteralValue::String(_) => Kinds::STRING,
        LiteralValue::UInt(_) => Kinds::UINT,
    }
}

pub(super) fn text_of(expr: &IdedExpr) -> Option<&str> {
    match &expr.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}

/// A part of an expression as it may have been written, in short.
pub(super) fn shown(expr: &IdedExpr) -> String {
    cut(&written(expr, 3), 80)
}

fn written(expr: &IdedExpr, depth: usize) -> String {
    const CUT: &str = "…";
    let Some(depth) = depth.checked_sub(1) else {
        return match &expr.expr {
            Expr::Ident(_) | Expr::Literal(_) => written(expr, 1),
            _ => CUT.to_owned(),
        };
    };
    let list = |parts: &[IdedExpr]| {
        let parts: Vec<_> = parts.iter().map(|part| written(part, depth)).collect();
        parts.join(", ")
    };
    match &expr.expr {
        Expr::Ident(name) if !name.starts_with('@') => name.clone(),
        Expr::Literal(literal) => match literal {
            LiteralValue::Boolean(value) => value.inner().to_string(),
            LiteralValue::Double(value) => format!("{:?}", value.inner()),
            LiteralValue::Int(value) => value.inner().to_string(),
            LiteralValue::UInt(value) => format!("{}u", value.inner()),
            LiteralValue::Null => "null".to_owned(),
            LiteralValue::String(text) => format!("'{}'", cut(text.inner(), 30)),
            LiteralValue::Bytes(_) => format!("b'{CUT}'"),
        },
        Expr::Select(select) => format!("{}.{}", written(&select.operand, depth + 1), select.field),
        Expr::Call(call) => match (operations::binary(&call.func_name), call.args.as_slice()) {
            (Some(("[]", _)), [of, index]) => {
                format!("{}[{}]", written(of, depth), written(index, depth))
            }
            (Some((sign, _)), [left, right]) => {
                format!("{} {sign} {}", written(left, depth), written(right, depth))
            }
            (None, [only]) if operations::unary(&call.func_name).is_some() => {
                let sign = operations::unary(&call.func_name).map_or("", |(sign, _)| sign);
                format!("{sign}{}", written(only, depth))
            }
            _ if call.func_name.contains(['@', '_']) => CUT.to_owned(),
            (_, args) => match &call.target {
                Some(target) => format!(
                    "{}.{}({})",
                    written(target, depth),
                    call.func_name,
                    list(args)
                ),
                None => format!("{}({})", call.func_name, list(args)),
            },
        },
        Expr::List(of) => format!("[{}]", list(&of.elements)),
        Expr::Map(_) => format!("{{{CUT}}}"),
        _ => CUT.to_owned(),
    }
}
