//! What is checked of an expression's syntax tree, and what it reads.

use cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue};

use super::{ExpressionError, Reference, signatures};
use crate::limits;

/// Variables that an expression may read.
pub(super) const ROOTS: [&str; 4] = ["event", "steps", "vars", "execution"];

/// The one that is read by its members' names only, so that a definition tells which it needs.
pub(super) const SECRETS: &str = "secrets";

/// Those that only the steps of a `forEach` may read.
pub(super) const ITERATION: [&str; 2] = ["item", "index"];

/// What `expr` reads of steps and constants.
///
/// # Errors
/// It reads other variables, or is nested too deep.
pub(super) fn references(expr: &IdedExpr) -> Result<Vec<Reference>, ExpressionError> {
    let mut walk = Walk::default();
    walk.expr(expr, 0, 0)?;
    Ok(walk.references)
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
                    if self.is_secrets(root) {
                        return Ok(());
                    }
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
                    if self.is_secrets(root) {
                        return Ok(());
                    }
                }
                if let ("_-_", [minuend, _]) = (call.func_name.as_str(), call.args.as_slice())
                    && let Expr::Select(select) = &minuend.expr
                    && let Expr::Ident(root) = &select.operand.expr
                    && self.is_secrets(root)
                {
                    return Err(ExpressionError::SecretName(select.field.clone()));
                }
                // What stands before the dot of `math.abs` is no variable.
                let qualified = signatures::qualified(call);
                let target = call.target.as_deref().filter(|_| qualified.is_none());
                if let Some(Expr::Ident(name)) = target.map(|target| &target.expr)
                    && signatures::is_namespace(name)
                    && !self.is_local(name)
                {
                    return Err(ExpressionError::UnknownFunction(format!(
                        "{name}.{}",
                        call.func_name
                    )));
                }
                for part in target.into_iter().chain(&call.args) {
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
            Expr::Struct(of) => Err(ExpressionError::Syntax(format!(
                "{}{{}} makes a message, and there are none here",
                of.type_name
            ))),
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

    fn is_local(&self, name: &str) -> bool {
        self.locals.iter().any(|local| local == name)
    }

    /// Whether `root` is what holds the secrets.
    fn is_secrets(&self, root: &str) -> bool {
        root == SECRETS && !self.is_local(root)
    }

    fn variable(&mut self, name: &str) -> Result<(), ExpressionError> {
        if self.is_secrets(name) {
            return Err(ExpressionError::AllSecrets);
        }
        if self.is_local(name) || ROOTS.contains(&name) {
            return Ok(());
        }
        match ITERATION.into_iter().find(|known| *known == name) {
            Some(known) => {
                self.refer(Reference::Iteration(known));
                Ok(())
            }
            None => Err(ExpressionError::UnknownVariable(name.to_owned())),
        }
    }

    fn member(&mut self, root: &str, field: &str) {
        if self.is_local(root) {
            return;
        }
        let reference = match root {
            "steps" => Reference::Step(field.to_owned()),
            "vars" => Reference::Var(field.to_owned()),
            SECRETS => Reference::Secret(field.to_owned()),
            _ => return,
        };
        self.refer(reference);
    }

    fn refer(&mut self, reference: Reference) {
        if !self.references.contains(&reference) {
            self.references.push(reference);
        }
    }
}
