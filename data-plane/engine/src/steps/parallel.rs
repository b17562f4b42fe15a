//! `parallel`: runs lists of steps side by side.

use jiff::Timestamp;
use serde_json::json;
use signalbox_model::{execution::Failure, expression::Scope, workflow::ParallelStep};

use super::{Begin, Behaviour};

impl Behaviour for ParallelStep {
    fn begin(&self, _scope: &Scope, _now: Timestamp) -> Result<Begin, Failure> {
        let names: Vec<&str> = self.branches.iter().map(|b| b.name.as_str()).collect();
        Ok(Begin::Enter {
            input: json!({ "branches": names }),
        })
    }
}
