//! One run, from its start to what it wrote.

use serde_json::Value;
use signalbox_model::limits;
use wasmtime::{Engine, InstancePre, Store, Trap, UpdateDeadline};

use crate::{Ended, Job, ScriptError, state::State};

/// Why the host ends a run before the program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Halt {
    /// The program asked for it, with this code.
    #[error("exit {0}")]
    Exit(i32),
    #[error("output full")]
    OutputFull,
    #[error("stopped")]
    Stopped,
}

pub(crate) fn run(
    engine: &Engine,
    program: &InstancePre<State>,
    job: &Job,
    is_stopped: impl Fn() -> bool + Send + Sync + 'static,
) -> Ended {
    let mut store = Store::new(engine, State::new(job));
    let ended = perform(&mut store, program, job, is_stopped);
    let fuel_used = job.fuel - store.get_fuel().unwrap_or_default().min(job.fuel);
    let was_refused_memory = store.data().was_refused_memory();
    let (output, log) = store.into_data().into_written();
    let result = match ended {
        Ok(()) => read(&output),
        Err(error) => match explain(&error, job) {
            Some(ended) => ended.and_then(|()| read(&output)),
            // A program that gets no memory gives up in its own way.
            None if was_refused_memory => Err(ScriptError::Memory(job.memory_max_bytes)),
            None => Err(trapped(&error)),
        },
    };
    let result = match result {
        Err(ScriptError::Exited(_)) if was_refused_memory => {
            Err(ScriptError::Memory(job.memory_max_bytes))
        }
        result => result,
    };
    Ended {
        result,
        log: String::from_utf8_lossy(&log).into_owned(),
        fuel_used,
    }
}

fn perform(
    store: &mut Store<State>,
    program: &InstancePre<State>,
    job: &Job,
    is_stopped: impl Fn() -> bool + Send + Sync + 'static,
) -> wasmtime::Result<()> {
    store.limiter(|state| state);
    store.set_fuel(job.fuel)?;
    store.set_epoch_deadline(1);
    if is_stopped() {
        return Err(Halt::Stopped.into());
    }
    store.epoch_deadline_callback(move |_| {
        if is_stopped() {
            Err(Halt::Stopped.into())
        } else {
            Ok(UpdateDeadline::Continue(1))
        }
    });
    let instance = program.instantiate(&mut *store)?;
    let start = instance.get_typed_func::<(), ()>(&mut *store, "_start")?;
    start.call(store, ())
}

/// What an error that is no trap of the program's own says of the run. [`None`]: it is one.
fn explain(error: &wasmtime::Error, job: &Job) -> Option<Result<(), ScriptError>> {
    match error.downcast_ref::<Halt>() {
        Some(Halt::Exit(0)) => return Some(Ok(())),
        Some(Halt::Exit(code)) => return Some(Err(ScriptError::Exited(*code))),
        Some(Halt::OutputFull) => return Some(Err(ScriptError::OutputTooLarge)),
        Some(Halt::Stopped) => return Some(Err(ScriptError::Stopped)),
        None => {}
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => Some(Err(ScriptError::FuelExhausted(job.fuel))),
        _ => None,
    }
}

fn trapped(error: &wasmtime::Error) -> ScriptError {
    match error.downcast_ref::<Trap>() {
        Some(trap) => ScriptError::Trapped(trap.to_string()),
        None => ScriptError::Invalid(format!("{error:#}")),
    }
}

fn read(output: &[u8]) -> Result<Value, ScriptError> {
    if output.trim_ascii().is_empty() {
        return Err(ScriptError::OutputInvalid("it is empty".to_owned()));
    }
    let value: Value = serde_json::from_slice(output)
        .map_err(|error| ScriptError::OutputInvalid(error.to_string()))?;
    if is_deeper(&value, limits::JSON_DEPTH_MAX) {
        let text = format!("it is nested deeper than {} levels", limits::JSON_DEPTH_MAX);
        return Err(ScriptError::OutputInvalid(text));
    }
    Ok(value)
}

/// Whether `value` nests deeper than `levels`. The parser's own limit, 128, bounds the recursion.
fn is_deeper(value: &Value, levels: usize) -> bool {
    let Some(levels) = levels.checked_sub(1) else {
        return true;
    };
    match value {
        Value::Array(values) => values.iter().any(|value| is_deeper(value, levels)),
        Value::Object(fields) => fields.values().any(|value| is_deeper(value, levels)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
