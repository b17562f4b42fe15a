//! What is checked of an expression's syntax tree, and what it reads.

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue};

use super::{ExpressionError, Reference, signatures};
use crate::limits;

/// Variables that an expression may read.
pub(super) const ROOTS: [&str; 4] = ["event", "steps", "vars", "execution"];

/// Those that are read by their members' names only, so that a definition tells which it needs.
pub(super) const NAMED: [&str; 2] = [SECRETS, APPROVALS];
const SECRETS: &str = "secrets";
pub(super) const APPROVALS: &str = "approvals";

/// Those that only the steps of a `forEach` may read.
pub(super) const ITERATION: [&str; 2] = ["item", "index"];

/// What `expr` reads, and what is wrong with that.
#[derive(Default)]
pub(super) struct Reads {
    /// Of steps, constants, secrets and approvals.
    pub(super) references: Vec<Reference>,
    /// Whether it reads anything at all.
    pub(super) any: bool,
    /// Variables that there are not, and what is nested too deep.
    pub(super) problems: Vec<ExpressionError>,
}

/// Looks at all that `expr` reads.
pub(super) fn reads(expr: &IdedExpr) -> Reads {
    let mut walk = Walk::default();
    walk.expr(expr, 0, 0);
    walk.reads
}

/// Gathers references and checks variables and depth.
#[derive(Default)]
struct Walk {
    reads: Reads,
    /// Variables of the comprehensions around.
    locals: Vec<String>,
}

impl Walk {
    fn wrong(&mut self, problem: ExpressionError) {
        if !self.reads.problems.contains(&problem) {
            self.reads.problems.push(problem);
        }
    }

    fn expr(&mut self, expr: &IdedExpr, depth: usize, comprehensions: usize) {
        if depth > limits::EXPRESSION_DEPTH_MAX {
            return self.wrong(ExpressionError::TooDeep("is nested too deep"));
        }
        let depth = depth + 1;
        match &expr.expr {
            Expr::Unspecified | Expr::Literal(_) => {}
            Expr::Ident(name) => self.variable(name),
            Expr::Select(select) => {
                if let Expr::Ident(root) = &select.operand.expr {
                    self.member(root, &select.field);
                    if self.is_named(root) {
                        return;
                    }
                }
                self.expr(&select.operand, depth, comprehensions);
            }
            Expr::Call(call) => self.call(call, depth, comprehensions),
            Expr::List(list) => {
                for element in &list.elements {
                    self.expr(element, depth, comprehensions);
                }
            }
            Expr::Map(map) => {
                self.entries(map.entries.iter().map(|e| &e.expr), depth, comprehensions);
            }
            Expr::Struct(of) => self.wrong(ExpressionError::Syntax(format!(
                "{}{{}} makes a message, and there are none here",
                of.type_name
            ))),
            Expr::Comprehension(inner) => self.comprehension(inner, depth, comprehensions),
        }
    }

    fn call(&mut self, call: &CallExpr, depth: usize, comprehensions: usize) {
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
            if self.is_named(root) {
                return;
            }
        }
        if let ("_-_", [minuend, _]) = (call.func_name.as_str(), call.args.as_slice())
            && let Expr::Select(select) = &minuend.expr
            && let Expr::Ident(root) = &select.operand.expr
            && root == SECRETS
            && !self.is_local(root)
        {
            return self.wrong(ExpressionError::SecretName(select.field.clone()));
        }
        // What stands before the dot of `math.abs` is no variable.
        let qualified = signatures::qualified(call);
        let target = call.target.as_deref().filter(|_| qualified.is_none());
        let namespace = unknown_in_namespace(call, |name| self.is_local(name));
        if let Some(name) = &namespace {
            self.wrong(ExpressionError::UnknownFunction(name.clone()));
        }
        let target = target.filter(|_| namespace.is_none());
        for part in target.into_iter().chain(&call.args) {
            self.expr(part, depth, comprehensions);
        }
    }

    fn comprehension(&mut self, inner: &ComprehensionExpr, depth: usize, comprehensions: usize) {
        if comprehensions >= limits::COMPREHENSION_DEPTH_MAX {
            return self.wrong(ExpressionError::TooDeep(
                "nests comprehensions (map, filter, all, exists) more than 2 deep",
            ));
        }
        self.expr(&inner.iter_range, depth, comprehensions);
        self.expr(&inner.accu_init, depth, comprehensions);
        let before = self.locals.len();
        self.locals.push(inner.iter_var.clone());
        self.locals.extend(inner.iter_var2.clone());
        self.locals.push(inner.accu_var.clone());
        for part in [&inner.loop_cond, &inner.loop_step, &inner.result] {
            self.expr(part, depth, comprehensions + 1);
        }
        self.locals.truncate(before);
    }

    fn entries<'a>(
        &mut self,
        entries: impl Iterator<Item = &'a EntryExpr>,
        depth: usize,
        comprehensions: usize,
    ) {
        for entry in entries {
            match entry {
                EntryExpr::StructField(field) => self.expr(&field.value, depth, comprehensions),
                EntryExpr::MapEntry(entry) => {
                    self.expr(&entry.key, depth, comprehensions);
                    self.expr(&entry.value, depth, comprehensions);
                }
            }
        }
    }

    fn is_local(&self, name: &str) -> bool {
        self.locals.iter().any(|local| local == name)
    }

    /// Whether `root` is what holds the secrets, or the approvals.
    fn is_named(&self, root: &str) -> bool {
        NAMED.contains(&root) && !self.is_local(root)
    }

    fn variable(&mut self, name: &str) {
        if self.is_local(name) {
            return;
        }
        self.reads.any = true;
        if name == SECRETS {
            return self.wrong(ExpressionError::AllSecrets);
        }
        if name == APPROVALS {
            return self.wrong(ExpressionError::AllApprovals);
        }
        if ROOTS.contains(&name) {
            return;
        }
        match ITERATION.into_iter().find(|known| *known == name) {
            Some(known) => self.refer(Reference::Iteration(known)),
            None => self.wrong(ExpressionError::UnknownVariable(name.to_owned())),
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
            APPROVALS => Reference::Approval(field.to_owned()),
            _ => return,
        };
        self.refer(reference);
    }

    fn refer(&mut self, reference: Reference) {
        self.reads.any = true;
        if !self.reads.references.contains(&reference) {
            self.reads.references.push(reference);
        }
    }
}

/// The function that `call` names in a namespace which has none of that name, such as `math.absolute`.
pub(super) fn unknown_in_namespace(
    call: &CallExpr,
    is_local: impl Fn(&str) -> bool,
) -> Option<String> {
    if signatures::qualified(call).is_some() {
        return None;
    }
    match call.target.as_deref().map(|target| &target.expr) {
        Some(Expr::Ident(name)) if signatures::is_namespace(name) && !is_local(name) => {
            Some(format!("{name}.{}", call.func_name))
        }
        _ => None,
    }
}
