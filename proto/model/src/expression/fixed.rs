//! Parts of an expression that can be evaluated where it is written: what reads nothing has the same value with every event, or fails
//! with every one.
//!
//! Only what is evaluated for sure is looked at: no branch of `?:`, no side of `&&` or `||` (the other may decide, even where one
//! fails), and nothing that is done for each element of a list, which may have none.

use cel::common::{
    ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators},
    types::{CelInt, CelString},
};

use super::{
    signatures,
    types::{shown, text_of},
};

/// Such a part.
pub(super) struct Fixed {
    /// As it may have been written.
    pub(super) shown: String,
    /// What is evaluated for it.
    pub(super) tree: IdedExpr,
}

/// All of them in `expr`, the largest.
pub(super) fn parts(expr: &IdedExpr) -> Vec<Fixed> {
    let mut found = Vec::new();
    each(expr, &mut |written, tree| {
        found.push(Fixed {
            shown: shown(written),
            tree: tree(),
        });
    });
    found
}

/// Whether there are any.
pub(super) fn is_in(expr: &IdedExpr) -> bool {
    let mut is_some = false;
    each(expr, &mut |_, _| is_some = true);
    is_some
}

type Found<'f> = dyn FnMut(&IdedExpr, &dyn Fn() -> IdedExpr) + 'f;

/// Calls `found` with each, as it is written, and what gives what is to be evaluated.
fn each(expr: &IdedExpr, found: &mut Found<'_>) {
    if let Expr::Literal(_) = &expr.expr {
        return;
    }
    if is_closed(expr, &mut Vec::new()) {
        return found(expr, &|| expr.clone());
    }
    match &expr.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) => {}
        Expr::Select(select) => each(&select.operand, found),
        Expr::List(list) => {
            for element in &list.elements {
                each(element, found);
            }
        }
        Expr::Map(map) => {
            for entry in &map.entries {
                if let EntryExpr::MapEntry(entry) = &entry.expr {
                    each(&entry.key, found);
                    each(&entry.value, found);
                }
            }
        }
        Expr::Call(call) => {
            if let Some(fixed) = with_stand_ins(call) {
                found(expr, &|| IdedExpr {
                    id: expr.id,
                    expr: Expr::Call(fixed.clone()),
                });
            }
            let qualified = signatures::qualified(call);
            let target = call.target.as_deref().filter(|_| qualified.is_none());
            for part in target.into_iter().chain(evaluated(call)) {
                each(part, found);
            }
        }
        Expr::Comprehension(inner) => each(&inner.iter_range, found),
    }
}

/// Whether `expr` reads nothing but `locals`, the variables of comprehensions around.
fn is_closed<'e>(expr: &'e IdedExpr, locals: &mut Vec<&'e str>) -> bool {
    match &expr.expr {
        Expr::Literal(_) => true,
        Expr::Unspecified | Expr::Struct(_) => false,
        Expr::Ident(name) => locals.contains(&name.as_str()),
        Expr::Select(select) => is_closed(&select.operand, locals),
        Expr::List(list) => list.elements.iter().all(|part| is_closed(part, locals)),
        Expr::Map(map) => map.entries.iter().all(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => {
                is_closed(&entry.key, locals) && is_closed(&entry.value, locals)
            }
            EntryExpr::StructField(_) => false,
        }),
        Expr::Call(call) => {
            // What stands before the dot of `math.abs` is no variable.
            let qualified = signatures::qualified(call);
            let target = call.target.as_deref().filter(|_| qualified.is_none());
            let mut parts = target.into_iter().chain(&call.args);
            parts.all(|part| is_closed(part, locals))
        }
        Expr::Comprehension(inner) => {
            if !is_closed(&inner.iter_range, locals) || !is_closed(&inner.accu_init, locals) {
                return false;
            }
            let before = locals.len();
            locals.extend([inner.iter_var.as_str(), inner.accu_var.as_str()]);
            locals.extend(inner.iter_var2.as_deref());
            let mut parts = [&inner.loop_cond, &inner.loop_step, &inner.result].into_iter();
            let is_closed = parts.all(|part| is_closed(part, locals));
            locals.truncate(before);
            is_closed
        }
    }
}

/// The arguments that are evaluated whatever the others are.
fn evaluated(call: &CallExpr) -> &[IdedExpr] {
    match call.func_name.as_str() {
        operators::CONDITIONAL => call.args.get(..1).unwrap_or_default(),
        operators::LOGICAL_AND | operators::LOGICAL_OR | operators::NOT_STRICTLY_FALSE => &[],
        _ => &call.args,
    }
}

/// `call` with values in the place of those that have nothing to do with whether it fails: the text that a pattern is sought in, the
/// time that is shown in a zone. None of other calls, and where what decides is not written out.
fn with_stand_ins(call: &CallExpr) -> Option<CallExpr> {
    let qualified = signatures::qualified(call);
    let name = qualified.as_deref().unwrap_or(&call.func_name);
    let is_member = call.target.is_some() && qualified.is_none();
    let is_text = |at: usize| call.args.get(at).is_some_and(|arg| text_of(arg).is_some());
    let mut fixed = call.clone();
    match name {
        "matches" if is_member && is_text(0) => fixed.target = Some(Box::new(text())),
        "matches" if !is_member && is_text(1) => fixed.args[0] = text(),
        "regex.extract" | "regex.extractAll" if is_text(1) => fixed.args[0] = text(),
        "regex.replace" if is_text(1) => {
            fixed.args[0] = text();
            if !is_text(2) {
                *fixed.args.get_mut(2)? = text();
            }
            fixed.args.truncate(3);
        }
        "format" if is_member && is_text(0) => {
            fixed.target = Some(Box::new(time()));
            if !is_text(1) {
                fixed.args.truncate(1);
            }
        }
        _ if is_member && is_part_of_time(name) && is_text(0) => {
            fixed.target = Some(Box::new(time()));
        }
        _ => return None,
    }
    Some(fixed)
}

/// Whether `name` gives a part of a timestamp in a zone: `getHours`.
fn is_part_of_time(name: &str) -> bool {
    name.starts_with("get") && signatures::of(name, true).any(|one| one.args.len() == 1)
}

fn text() -> IdedExpr {
    literal(LiteralValue::String(CelString::from(String::new())))
}

fn time() -> IdedExpr {
    IdedExpr {
        id: 0,
        expr: Expr::Call(CallExpr {
            func_name: "timestamp".to_owned(),
            target: None,
            args: vec![literal(LiteralValue::Int(CelInt::from(0)))],
        }),
    }
}

fn literal(value: LiteralValue) -> IdedExpr {
    IdedExpr {
        id: 0,
        expr: Expr::Literal(value),
    }
}
