//! `transform`: computes a value.

use jiff::Timestamp;
use serde_json::json;
use signalbox_model::{execution::Failure, expression::Scope, workflow::TransformStep};

use super::{Begin, Behaviour, expression_failure};

impl Behaviour for TransformStep {
    fn begin(&self, scope: &Scope, _now: Timestamp) -> Result<Begin, Failure> {
        let (input, value) = match self {
            Self::Expression(expression) => (
                json!({"expression": expression.source()}),
                expression.evaluate(scope),
            ),
            Self::Template(template) => (
                json!({"template": template.shown()}),
                template.render(scope),
            ),
            Self::JsonPath(query) => (
                json!({"path": query.path.source(), "from": query.from.source()}),
                query.evaluate(scope),
            ),
        };
        Ok(Begin::Finished {
            input,
            result: value.map_err(|error| expression_failure(&error)),
        })
    }
}
