//! `fail`: ends what it stands in, as failed.

use jiff::Timestamp;
use serde_json::json;
use signalbox_model::{
    execution::Failure,
    expression::{Scope, shown},
    workflow::FailStep,
};

use super::{Begin, Behaviour, expression_failure};

/// Longest message that is kept of a rendered one, in characters.
const MESSAGE_MAX_CHARS: usize = 4096;

impl Behaviour for FailStep {
    fn begin(&self, scope: &Scope, _now: Timestamp) -> Result<Begin, Failure> {
        let failure = match self.message.render_text(scope) {
            Ok(message) => Failure::new(
                self.code.clone(),
                message.chars().take(MESSAGE_MAX_CHARS).collect::<String>(),
            ),
            Err(error) => expression_failure(&error),
        };
        Ok(Begin::Finished {
            input: json!({ "message": shown(self.message.source().into()) }),
            result: Err(failure),
        })
    }
}
