//! What expressions read.

use std::{collections::HashMap, fmt, sync::Arc};

use cel::{
    common::{
        types::{
            CelBool, CelBytes, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString,
            CelUInt,
        },
        value::{CowVal, Val},
    },
    context::VariableResolver,
};
use serde_json::Value;

use super::shared::Shared;
use crate::{
    execution::{Failure, StepState},
    ids::StepId,
    link::ApprovalUrls,
    secret::Secrets,
};

type Fields = HashMap<CelMapKey<'static>, Box<dyn Val>>;

/// The variables of expressions: `event`, `vars`, `execution` and `steps`; within a `forEach` `item` and `index` too; where a
/// step is evaluated that may read them, `secrets` and `approvals`. Built once for an execution; cheap to grow, and to clone, for its values
/// are shared; an evaluation copies nothing of it that the expression does not ask for.
#[derive(Clone)]
pub struct Scope {
    event: Arc<dyn Val>,
    vars: Arc<dyn Val>,
    execution: Arc<dyn Val>,
    /// `item` and `index`, within a `forEach`.
    iteration: Option<(Arc<dyn Val>, CelInt)>,
    steps: CelMap<'static>,
    secrets: Shown,
    /// The links of those whose step is evaluated.
    approvals: Option<Arc<dyn Val>>,
}

/// What is to be read of the secrets; hidden, and of the links.
#[derive(Clone)]
enum Shown {
    Nothing,
    Values(Arc<dyn Val>),
    Hidden,
}

/// What a finished step shows to later ones.
#[derive(Clone, Debug, PartialEq)]
pub struct StepResult {
    /// `steps.<id>.state`: `SUCCEEDED`, `FAILED` or `SKIPPED`.
    pub state: StepState,
    /// `steps.<id>.output`; null when there is none.
    pub output: Value,
    /// `steps.<id>.error`: `code` and `message`; null when there is none.
    pub error: Option<Failure>,
}

impl Scope {
    /// A scope in which no step has run.
    #[must_use]
    pub fn new(event: &Value, vars: &Value, execution: &Value) -> Self {
        Self {
            event: to_cel(event).into(),
            vars: to_cel(vars).into(),
            execution: to_cel(execution).into(),
            iteration: None,
            steps: CelMap::default(),
            secrets: Shown::Nothing,
            approvals: None,
        }
    }

    /// The same with `secrets`: as text, and as bytes where a value is no UTF-8. For one evaluation: they are not wiped here.
    #[must_use]
    pub fn with_secrets(mut self, secrets: &Secrets) -> Self {
        let values: Fields = secrets
            .iter()
            .map(|(id, secret)| {
                let value: Box<dyn Val> = match std::str::from_utf8(secret.expose()) {
                    Ok(value) => text(value),
                    Err(_) => Box::new(CelBytes::from(secret.expose().to_vec())),
                };
                (CelMapKey::from(id.as_str().to_owned()), value)
            })
            .collect();
        self.secrets = Shown::Values(Arc::new(CelMap::from(values)));
        self
    }

    /// The same with the links of approvals. For one evaluation, likewise.
    #[must_use]
    pub fn with_approvals(
        mut self,
        approvals: impl IntoIterator<Item = (StepId, ApprovalUrls)>,
    ) -> Self {
        let of = |urls: ApprovalUrls| -> Box<dyn Val> {
            let fields = [("approveUrl", urls.approve), ("rejectUrl", urls.reject)];
            let fields = fields.map(|(name, url)| (CelMapKey::from(name), text(&url)));
            Box::new(CelMap::from(Fields::from(fields)))
        };
        let approvals: Fields = approvals
            .into_iter()
            .map(|(id, urls)| (CelMapKey::from(id.as_str().to_owned()), of(urls)))
            .collect();
        self.approvals = Some(Arc::new(CelMap::from(approvals)));
        self
    }

    /// The same for what is recorded and shown: expressions that read secrets or links give
    /// [`HIDDEN`](crate::secret::HIDDEN).
    #[must_use]
    pub fn hiding_secrets(mut self) -> Self {
        self.secrets = Shown::Hidden;
        self
    }

    /// Whether it is for what is recorded and shown.
    #[must_use]
    pub fn hides_secrets(&self) -> bool {
        matches!(self.secrets, Shown::Hidden)
    }

    /// The same with another `execution`.
    #[must_use]
    pub fn with_execution(mut self, execution: &Value) -> Self {
        self.execution = to_cel(execution).into();
        self
    }

    /// The same within an iteration: `item` and `index`.
    #[must_use]
    pub fn with_item(mut self, item: &Value, index: u32) -> Self {
        self.iteration = Some((to_cel(item).into(), CelInt::from(i64::from(index))));
        self
    }

    /// Shows the result of a step.
    pub fn set_step(&mut self, id: &StepId, result: &StepResult) {
        let fields = Fields::from([
            (CelMapKey::from("state"), text(result.state.as_str())),
            (CelMapKey::from("output"), to_cel(&result.output)),
            (
                CelMapKey::from("error"),
                match &result.error {
                    Some(Failure { code, message }) => {
                        let fields = [("code", code), ("message", message)];
                        let fields = fields.map(|(name, value)| (name.into(), text(value)));
                        Box::new(CelMap::from(Fields::from(fields)))
                    }
                    None => Box::new(CelNull),
                },
            ),
        ]);
        let mut steps = std::mem::take(&mut self.steps).into_inner();
        let id = CelMapKey::from(id.as_str().to_owned());
        steps.insert(id, Box::new(Shared::new(CelMap::from(fields))));
        self.steps = CelMap::from(steps);
    }
}

impl VariableResolver for Scope {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let value: &'b dyn Val = match variable {
            "event" => self.event.as_ref(),
            "vars" => self.vars.as_ref(),
            "execution" => self.execution.as_ref(),
            "steps" => &self.steps,
            "secrets" => match &self.secrets {
                Shown::Values(values) => values.as_ref(),
                Shown::Nothing | Shown::Hidden => return None,
            },
            "approvals" => self.approvals.as_ref()?.as_ref(),
            "item" => self.iteration.as_ref()?.0.as_ref(),
            "index" => &self.iteration.as_ref()?.1,
            _ => return None,
        };
        Some(CowVal::Borrowed(value))
    }
}

impl fmt::Debug for Scope {
    /// Without what it holds: messages and answers are not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}

fn text(value: &str) -> Box<dyn Val> {
    Box::new(CelString::from(value.to_owned()))
}

/// Integers of JSON are CEL ints, so that `event.json.count > 3` and indices work as written.
pub(super) fn to_cel(value: &Value) -> Box<dyn Val> {
    match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(value) => Box::new(CelBool::from(*value)),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Box::new(CelInt::from(int)),
            (None, Some(uint)) => Box::new(CelUInt::from(uint)),
            (None, None) => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
        },
        Value::String(value) => text(value),
        Value::Array(values) => {
            let values: Vec<Box<dyn Val>> = values.iter().map(to_cel).collect();
            Box::new(CelList::from(values))
        }
        Value::Object(fields) => {
            let fields: Fields = fields
                .iter()
                .map(|(name, value)| (CelMapKey::from(name.clone()), to_cel(value)))
                .collect();
            Box::new(CelMap::from(fields))
        }
    }
}
