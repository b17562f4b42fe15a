//! Programs for the `script` step.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;
use signalbox_model::{execution::Failure, script::ScriptModule, secret::Masks};

/// A program to be run, all expressions evaluated. `Debug` does not show what it reads.
#[derive(Clone, PartialEq, Eq)]
pub struct ScriptCall {
    /// The program.
    pub module: Arc<ScriptModule>,
    /// What it reads: the text of JSON.
    pub input: Bytes,
    /// How much it may compute: about as many instructions.
    pub fuel: u64,
    /// Size to which its memory may grow, in bytes.
    pub memory_max_bytes: u32,
    /// What its clock says.
    pub time: Timestamp,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq)]
pub struct ScriptEnd {
    /// What it wrote to its standard output, or why it failed. It would fail again.
    pub result: Result<Value, Failure>,
    /// The end of what it wrote to its standard error: more than is kept, so that no secret is cut in two before it is
    /// searched for.
    pub log: String,
    /// How much it computed.
    pub fuel_used: u64,
}

impl ScriptEnd {
    /// The same without what `masks` searches for.
    pub(crate) fn masked(self, masks: &Masks) -> Self {
        Self {
            result: match self.result {
                Ok(mut result) => {
                    masks.value(&mut result);
                    Ok(result)
                }
                Err(failure) => Err(masks.failure(failure)),
            },
            log: masks.text(&self.log).unwrap_or(self.log),
            ..self
        }
    }
}

impl fmt::Debug for ScriptCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptCall")
            .field("module", &self.module)
            .field("fuel", &self.fuel)
            .field("memory_max_bytes", &self.memory_max_bytes)
            .finish_non_exhaustive()
    }
}
