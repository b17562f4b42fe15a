//! `script`: runs a WebAssembly program.

use std::sync::Arc;

use crate::{
    expression::{Expression, JsonTemplate},
    script::ScriptModule,
};

/// Runs a program that reads JSON and writes JSON.
#[derive(Clone, Debug)]
pub struct ScriptStep {
    /// The program.
    pub module: Arc<ScriptModule>,
    /// What it reads.
    pub input: JsonTemplate,
    /// How much it may compute: about as many instructions. At most [`SCRIPT_FUEL_MAX`](crate::limits::SCRIPT_FUEL_MAX).
    pub fuel: u64,
    /// Size to which its memory may grow, in bytes, at most
    /// [`SCRIPT_MEMORY_MAX_BYTES`](crate::limits::SCRIPT_MEMORY_MAX_BYTES). What the module begins with fits.
    pub memory_max_bytes: u32,
}

impl ScriptStep {
    /// What is read unless something else is named.
    pub const INPUT_DEFAULT: &str = "${{ event.json }}";

    pub(crate) fn expressions(&self) -> Vec<(String, &Expression)> {
        self.input.expressions_at("script.input")
    }
}
