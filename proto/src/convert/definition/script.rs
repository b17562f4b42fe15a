//! The `script` step.

use std::sync::Arc;

use signalbox_model::{
    expression::JsonTemplate,
    limits,
    script::{ScriptModule, ScriptModuleError},
    violation::Collector,
    workflow::ScriptStep,
};

use super::texts::json_template;
use crate::v1;

pub(super) fn script_step(
    path: &str,
    step: &v1::ScriptStep,
    problems: &mut Collector,
) -> Option<ScriptStep> {
    let v1::ScriptStep {
        program,
        input,
        fuel,
        memory_max_bytes,
    } = step;
    let module = module_of(path, program.as_ref(), problems);
    let input = match input {
        Some(input) => json_template(&format!("{path}.input"), input, problems),
        None => JsonTemplate::parse(&ScriptStep::INPUT_DEFAULT.into()).ok(),
    };
    let fuel = fuel_of(&format!("{path}.fuel"), *fuel, problems);
    let field = format!("{path}.memoryMaxBytes");
    let memory_max_bytes = memory_of(&field, *memory_max_bytes, problems);
    let (module, memory_max_bytes) = (module?, memory_max_bytes?);
    let min = module.memory_min_bytes();
    if min > memory_max_bytes.into() {
        problems.add(
            field,
            format!("is {memory_max_bytes}, and the module begins with {min} bytes of memory"),
        );
        return None;
    }
    Some(ScriptStep {
        module: Arc::new(module),
        input: input?,
        fuel: fuel?,
        memory_max_bytes,
    })
}

fn module_of(
    path: &str,
    program: Option<&v1::script_step::Program>,
    problems: &mut Collector,
) -> Option<ScriptModule> {
    use v1::script_step::Program;
    let (name, module) = match program {
        None => {
            problems.add(path, "holds no program: expected module or wat");
            return None;
        }
        Some(Program::Module(bytes)) => {
            let module = ScriptModule::from_binary(bytes.clone());
            let is_text = bytes.trim_ascii_start().starts_with(b"(");
            let problem = |error: ScriptModuleError| match error {
                ScriptModuleError::NotWebAssembly if is_text => {
                    format!("{error}; the text format goes into wat")
                }
                error => error.to_string(),
            };
            ("module", module.map_err(problem))
        }
        Some(Program::Wat(text)) => {
            let module = ScriptModule::from_text(text);
            ("wat", module.map_err(|error| error.to_string()))
        }
    };
    problems.check(format!("{path}.{name}"), module)
}

fn fuel_of(field: &str, fuel: i64, problems: &mut Collector) -> Option<u64> {
    match u64::try_from(fuel) {
        Ok(0) => Some(limits::SCRIPT_FUEL_DEFAULT),
        Ok(fuel) if fuel <= limits::SCRIPT_FUEL_MAX => Some(fuel),
        _ => {
            let max = limits::SCRIPT_FUEL_MAX;
            problems.add(field, format!("is {fuel}; expected 1 to {max}"));
            None
        }
    }
}

fn memory_of(field: &str, bytes: i32, problems: &mut Collector) -> Option<u32> {
    const MIN: u32 = limits::SCRIPT_PAGE_BYTES;
    const MAX: u32 = limits::SCRIPT_MEMORY_MAX_BYTES;
    match u32::try_from(bytes) {
        Ok(0) => Some(limits::SCRIPT_MEMORY_DEFAULT_BYTES),
        Ok(bytes @ MIN..=MAX) => Some(bytes),
        _ => {
            problems.add(field, format!("is {bytes}; expected {MIN} to {MAX}"));
            None
        }
    }
}
