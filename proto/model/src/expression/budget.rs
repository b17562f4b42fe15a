//! Holds evaluations to a budget.
//!
//! CEL ends always, but not soon: `event.message.replace('a', event.message)` squares the size of a message, and two
//! nested comprehensions the time. So what an expression copies, compares or goes through is charged before it happens.
//! The syntax tree calls for that itself: [`instrument`] puts calls of the functions below where work is about to be
//! done. Their names begin with `@`, which CEL's grammar keeps from definitions.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

use cel::{
    DeclarationError, Env, ExecutionError, IdedExpr,
    common::{
        ast::{CallExpr, EntryExpr, Expr, LiteralValue, operators},
        types::{
            CelBytes, CelDouble, CelInt, CelList, CelMap, CelOptional, CelString, DYN_TYPE,
            INT_TYPE, LIST_TYPE, STRING_TYPE,
        },
        value::{CowVal, Val},
    },
};

use super::{
    args::{Args, Given, text},
    patterns, signatures,
};
use crate::limits;

/// Charges a value by its size.
const CHARGE: &str = "@charge";
/// Charges going through a value, by its size and by the size of what is done for each element.
const ITERATE: &str = "@iterate";
/// Charges comparing each element with each other.
const CHARGE_PAIRS: &str = "@chargePairs";
/// Charges a text that is sought in another, where each place of that may cost as much as the whole text.
const CHARGE_NEEDLE: &str = "@chargeNeedle";
/// Charges what something is looked up by.
const CHARGE_KEY: &str = "@chargeKey";
/// Charges as many values as a number says.
const CHARGE_COUNT: &str = "@chargeCount";
/// `replace` and `join`, which charge what they will make.
const REPLACE: &str = "@replace";
const JOIN: &str = "@join";
/// `matches`, which charges what it compiles and goes through.
pub(super) const MATCHES: &str = "@matches";

/// Bytes of a text for a unit.
pub(super) const BYTES_PER_UNIT: usize = 64;
/// Units of one byte of a sought text.
const UNITS_PER_NEEDLE_BYTE: usize = 100;
/// Nodes of the syntax tree that take what a value takes that is copied.
const NODES_PER_UNIT: usize = 4;

thread_local! {
    /// What is left to the evaluation on this thread; none nests in another.
    static LEFT_UNITS: Cell<u64> = const { Cell::new(0) };
    static IS_SHARED: Cell<bool> = const { Cell::new(false) };
}

/// Why an evaluation gave nothing at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// The budget is spent.
    Spent,
    /// The interpreter panicked: it does so on trees that it holds to be impossible.
    Panicked,
}

/// Runs `evaluations` on one budget ([`limits::EVALUATION_MAX_UNITS`]) instead of one each: those of a template, of a
/// step. Within another such call it changes nothing.
pub fn sharing_one_budget<T>(evaluations: impl FnOnce() -> T) -> T {
    struct Ended;
    impl Drop for Ended {
        fn drop(&mut self) {
            IS_SHARED.set(false);
            patterns::forget();
        }
    }
    if IS_SHARED.replace(true) {
        return evaluations();
    }
    let _ended = Ended;
    LEFT_UNITS.set(limits::EVALUATION_MAX_UNITS);
    evaluations()
}

/// What `evaluate` gives, with a fresh budget unless one is shared.
pub(super) fn within<T>(evaluate: impl FnOnce() -> T) -> Result<T, Broken> {
    if !IS_SHARED.get() {
        LEFT_UNITS.set(limits::EVALUATION_MAX_UNITS);
    }
    let evaluated = catch_unwind(AssertUnwindSafe(evaluate)).map_err(|payload| {
        payload
            .downcast_ref::<Broken>()
            .copied()
            .unwrap_or(Broken::Panicked)
    });
    if !IS_SHARED.get() {
        patterns::forget();
    }
    evaluated
}

/// Declares the functions that instrumented trees call.
pub(super) fn declare(env: &mut Env) -> Result<(), DeclarationError> {
    let any = || vec![DYN_TYPE];
    env.add_overload(CHARGE, CHARGE, any(), |args| pass(args, size_units))?;
    env.add_overload(ITERATE, ITERATE, vec![DYN_TYPE, INT_TYPE], iterate)?;
    env.add_overload(CHARGE_PAIRS, CHARGE_PAIRS, any(), |args| {
        pass(args, |value| {
            let units = size_units(value);
            units.saturating_mul(units)
        })
    })?;
    env.add_overload(CHARGE_NEEDLE, CHARGE_NEEDLE, any(), |args| {
        pass(args, |value| {
            text_len(value).saturating_mul(UNITS_PER_NEEDLE_BYTE)
        })
    })?;
    env.add_overload(CHARGE_KEY, CHARGE_KEY, any(), key)?;
    env.add_overload(CHARGE_COUNT, CHARGE_COUNT, any(), |args| {
        pass(args, |value| {
            let count = value.downcast_ref::<CelInt>().map_or(0, |n| *n.inner());
            usize::try_from(count).unwrap_or(0)
        })
    })?;
    let text = || STRING_TYPE;
    env.add_member_overload(REPLACE, "@replace2", text(), vec![text(), text()], replace)?;
    let counted = vec![text(), text(), INT_TYPE];
    env.add_member_overload(REPLACE, "@replace3", text(), counted, replace)?;
    env.add_member_overload(JOIN, "@join0", LIST_TYPE, vec![], join)?;
    env.add_member_overload(JOIN, "@join1", LIST_TYPE, vec![text()], join)
}

/// Puts charges into `root` wherever it is about to copy, compare or go through values.
pub(super) fn instrument(root: &mut IdedExpr) {
    expression(root);
    // The result becomes JSON.
    wrap(root, CHARGE);
}

/// Instruments the parts of `expr`; gives the number of its nodes, long names as several.
fn expression(expr: &mut IdedExpr) -> i64 {
    let nodes = parts(expr);
    // One byte of a text may become a value.
    if matches!(&expr.expr, Expr::Call(call) if call.func_name == "split") {
        wrap(expr, CHARGE);
    }
    nodes
}

fn parts(expr: &mut IdedExpr) -> i64 {
    match &mut expr.expr {
        // Messages are refused before.
        Expr::Unspecified | Expr::Literal(_) | Expr::Struct(_) => 1,
        Expr::Ident(name) => named(name),
        Expr::Select(select) => named(&select.field) + expression(&mut select.operand),
        Expr::Call(parts) => 1 + call(parts),
        Expr::List(list) => {
            let mut nodes = 1;
            for element in &mut list.elements {
                nodes += expression(element);
                charge(element, CHARGE);
            }
            nodes
        }
        Expr::Map(map) => {
            1 + map
                .entries
                .iter_mut()
                .map(|e| entry(&mut e.expr))
                .sum::<i64>()
        }
        Expr::Comprehension(inner) => {
            let before = expression(&mut inner.iter_range) + expression(&mut inner.accu_init);
            let each = expression(&mut inner.loop_cond) + expression(&mut inner.loop_step);
            let after = expression(&mut inner.result);
            charge(&mut inner.accu_init, CHARGE);
            let weight = literal(each);
            let range = std::mem::take(&mut inner.iter_range);
            inner.iter_range = function(ITERATE, vec![range, weight]);
            1 + before + each + after
        }
    }
}

/// Nodes that looking up `name` is worth: it is looked at, and copied into errors.
fn named(name: &str) -> i64 {
    let more = name.len() / BYTES_PER_UNIT * NODES_PER_UNIT;
    1 + i64::try_from(more).unwrap_or(i64::MAX)
}

fn entry(entry: &mut EntryExpr) -> i64 {
    match entry {
        EntryExpr::StructField(field) => {
            let nodes = expression(&mut field.value);
            charge(&mut field.value, CHARGE);
            nodes
        }
        EntryExpr::MapEntry(entry) => {
            let nodes = expression(&mut entry.key) + expression(&mut entry.value);
            charge(&mut entry.key, CHARGE);
            charge(&mut entry.value, CHARGE);
            nodes
        }
    }
}

fn call(call: &mut CallExpr) -> i64 {
    let mut nodes: i64 = call.args.iter_mut().map(expression).sum();
    let qualified = signatures::qualified(call);
    let mut target = call.target.as_deref_mut().filter(|_| qualified.is_none());
    if let Some(target) = &mut target {
        nodes += expression(target);
    }
    let mut last = CHARGE;
    match (qualified.as_deref(), call.func_name.as_str()) {
        (None, operators::INDEX | operators::OPT_INDEX) => {
            if let Some(index) = call.args.get_mut(1) {
                charge(index, CHARGE_KEY);
            }
            return nodes;
        }
        // These look at what they choose, not at all of what they choose from, and copy nothing.
        (
            None,
            operators::OPT_SELECT
            | operators::CONDITIONAL
            | operators::LOGICAL_AND
            | operators::LOGICAL_OR
            | operators::LOGICAL_NOT
            | operators::NOT_STRICTLY_FALSE
            | "size",
        ) => return nodes,
        (None, "distinct") => {
            if let Some(target) = target {
                wrap(target, CHARGE_PAIRS);
            }
            return nodes;
        }
        (None, "indexOf" | "lastIndexOf") => {
            if let Some(needle) = call.args.first_mut() {
                wrap(needle, CHARGE_NEEDLE);
            }
        }
        (None, "matches") => MATCHES.clone_into(&mut call.func_name),
        (Some("lists.range"), _) => last = CHARGE_COUNT,
        _ => {}
    }
    if let Some(target) = target {
        charge(target, CHARGE);
        match call.func_name.as_str() {
            "replace" => REPLACE.clone_into(&mut call.func_name),
            "join" => JOIN.clone_into(&mut call.func_name),
            _ => {}
        }
    }
    let count = call.args.len();
    for (index, arg) in call.args.iter_mut().enumerate() {
        let is_last = index + 1 == count;
        match if is_last { last } else { CHARGE } {
            CHARGE => charge(arg, CHARGE),
            other => wrap(arg, other),
        }
    }
    nodes
}

/// Wraps what may be large. The elements of lists and maps were charged already, and accumulators (`@result`) must stay as
/// they are for the interpreter to append to them in place.
fn charge(expr: &mut IdedExpr, by: &str) {
    match &expr.expr {
        Expr::Literal(literal) if literal_len(literal) < BYTES_PER_UNIT => {}
        Expr::List(_) | Expr::Map(_) => {}
        Expr::Ident(name) if name.starts_with('@') => {}
        _ => wrap(expr, by),
    }
}

/// Length of the text that a literal is, in bytes: it is small where it stands, but may be copied as often as a list has
/// elements.
fn literal_len(literal: &LiteralValue) -> usize {
    match literal {
        LiteralValue::String(text) => text.inner().len(),
        LiteralValue::Bytes(bytes) => bytes.inner().len(),
        _ => 0,
    }
}

fn wrap(expr: &mut IdedExpr, by: &str) {
    let inner = std::mem::take(expr);
    *expr = function(by, vec![inner]);
}

fn function(name: &str, args: Vec<IdedExpr>) -> IdedExpr {
    IdedExpr {
        id: 0,
        expr: Expr::Call(CallExpr {
            func_name: name.to_owned(),
            target: None,
            args,
        }),
    }
}

fn literal(number: i64) -> IdedExpr {
    IdedExpr {
        id: 0,
        expr: Expr::Literal(LiteralValue::Int(CelInt::from(number))),
    }
}

/// An error's text with the names that definitions know.
pub(super) fn as_written(text: &str) -> String {
    text.replace("'@replace'", "'replace'")
        .replace("'@join'", "'join'")
        .replace("'@matches'", "'matches'")
}

/// Takes off the budget, or ends the evaluation.
pub(super) fn spend(units: usize) {
    let units = u64::try_from(units).unwrap_or(u64::MAX);
    if let Some(left) = LEFT_UNITS.get().checked_sub(units) {
        LEFT_UNITS.set(left);
        return;
    }
    // No error of CEL's: `error || true` is true, and `all` goes on after one. This calls no panic hook.
    resume_unwind(Box::new(Broken::Spent))
}

/// The first argument, charged.
fn pass<'b, 'v>(mut args: Args<'b, 'v>, units: impl FnOnce(&dyn Val) -> usize) -> Given<'b, 'v> {
    if args.is_empty() {
        return Err(ExecutionError::missing_argument_or_target());
    }
    let value = args.swap_remove(0);
    spend(units(value.as_ref()));
    Ok(value)
}

fn iterate<'b, 'v>(args: Args<'b, 'v>) -> Given<'b, 'v> {
    let nodes = match args
        .get(1)
        .and_then(|weight| weight.downcast_ref::<CelInt>())
    {
        Some(weight) => usize::try_from(*weight.inner()).unwrap_or(1),
        None => 1,
    };
    pass(args, |range| {
        let count = range.as_sizer().map_or(0, |sizer| *sizer.size().inner());
        let count = usize::try_from(count).unwrap_or(0);
        // A node takes a fraction of what a value takes that is copied.
        let steps = count.saturating_mul(1 + nodes / NODES_PER_UNIT);
        steps.saturating_add(size_units(range))
    })
}

/// The key or index that something is looked up by, charged. A number that is none of either is refused: to say so, the
/// interpreter would copy the whole list.
fn key<'b, 'v>(args: Args<'b, 'v>) -> Given<'b, 'v> {
    let key = pass(args, size_units)?;
    match key
        .downcast_ref::<CelDouble>()
        .map(|number| *number.inner())
    {
        Some(number) if number.fract() != 0.0 => Err(ExecutionError::function_error(
            "_[_]",
            format!("{number} is no index and no key"),
        )),
        _ => Ok(key),
    }
}

/// `value`, and all that is in it: elements, keys, values.
fn inside(value: &dyn Val) -> impl Iterator<Item = &dyn Val> {
    let mut rest = vec![value];
    std::iter::from_fn(move || {
        let value = rest.pop()?;
        if let Some(list) = value.downcast_ref::<CelList>() {
            rest.extend(list.inner().iter().map(AsRef::as_ref));
        } else if let Some(map) = value.downcast_ref::<CelMap>() {
            for (key, value) in map.inner() {
                rest.push(key.inner());
                rest.push(value.as_ref());
            }
        } else if let Some(optional) = value.downcast_ref::<CelOptional>() {
            rest.extend(optional.inner());
        }
        Some(value)
    })
}

/// Values in `value`, itself and the keys of maps included, and 64 bytes of text as one; counted no further than the budget
/// goes.
fn size_units(value: &dyn Val) -> usize {
    let enough = usize::try_from(LEFT_UNITS.get()).unwrap_or(usize::MAX);
    let mut units = 0_usize;
    for value in inside(value) {
        units += 1 + text_len(value) / BYTES_PER_UNIT;
        if units > enough {
            break;
        }
    }
    units
}

/// Whether the JSON text of `value` is longer than `max_bytes` for sure. Nothing is copied.
pub(super) fn is_surely_larger(value: &dyn Val, max_bytes: usize) -> bool {
    let mut least_bytes = 0_usize;
    inside(value).any(|value| {
        // What is in an optional stands there for it.
        if value.downcast_ref::<CelOptional>().is_none() {
            least_bytes += 1 + text_len(value);
        }
        least_bytes > max_bytes
    })
}

/// Length of a text, in bytes.
fn text_len(value: &dyn Val) -> usize {
    if let Some(text) = value.downcast_ref::<CelString>() {
        text.inner().len()
    } else if let Some(bytes) = value.downcast_ref::<CelBytes>() {
        bytes.inner().len()
    } else {
        0
    }
}

/// `text.replace(from, to)` and `text.replace(from, to, times)`, as the strings extension has them.
fn replace<'b, 'v>(args: Args<'b, 'v>) -> Given<'b, 'v> {
    let (whole, from, to) = (text(&args, 0)?, text(&args, 1)?, text(&args, 2)?);
    let times = match args.get(3).and_then(|times| times.downcast_ref::<CelInt>()) {
        Some(times) => usize::try_from(*times.inner()).unwrap_or(usize::MAX),
        None => usize::MAX,
    };
    let found = whole.matches(from).take(times).count();
    spend(found.saturating_mul(to.len()) / BYTES_PER_UNIT);
    let replaced = whole.replacen(from, to, times);
    Ok(CowVal::owned(CelString::from(replaced)))
}

/// `list.join()` and `list.join(separator)`, as the strings extension has them.
fn join<'b, 'v>(args: Args<'b, 'v>) -> Given<'b, 'v> {
    let separator = if args.len() > 1 { text(&args, 1)? } else { "" };
    let list = args
        .first()
        .and_then(|list| list.downcast_ref::<CelList>())
        .ok_or_else(ExecutionError::missing_argument_or_target)?;
    let parts = list
        .inner()
        .iter()
        .map(|part| {
            let part = part.downcast_ref::<CelString>().map(|text| text.inner());
            part.ok_or_else(|| ExecutionError::function_error("join", "an element is no string"))
        })
        .collect::<Result<Vec<&str>, _>>()?;
    // The parts were charged with the list.
    spend(parts.len().saturating_mul(separator.len()) / BYTES_PER_UNIT);
    Ok(CowVal::owned(CelString::from(parts.join(separator))))
}

/// What `evaluate` gives, and the units that it took.
#[cfg(test)]
pub(super) fn spent<T>(evaluate: impl FnOnce() -> T) -> (T, u64) {
    sharing_one_budget(|| {
        let before = LEFT_UNITS.get();
        (evaluate(), before - LEFT_UNITS.get())
    })
}
