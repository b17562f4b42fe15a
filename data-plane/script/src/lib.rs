//! Runs the programs of `script` steps: WebAssembly modules for WASI preview 1 that read JSON and write JSON, and have
//! nothing else (`docs/decisions/0024-scripts.md`).
//!
//! A run is a function of its [`Job`]: the same job ends the same, unless it is stopped. It blocks the thread that it is made
//! on, so it is for threads that may be blocked.

mod run;
mod state;
mod wasi;

use std::{
    fmt,
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;
use moka::sync::Cache;
use serde_json::Value;
use signalbox_model::script::ScriptModule;
use wasmtime::{Config, Engine, InstancePre, Linker, Module, OptLevel};

use self::state::State;

/// Size of the stack of a program, in bytes. With what the engine itself needs, a fraction of the smallest stack of a
/// thread, 2 MiB.
const STACK_MAX_BYTES: usize = 512 * 1024;
/// How often a run asks whether it is stopped.
pub const ASK_INTERVAL: Duration = Duration::from_millis(10);
/// Size of the compiled programs that are kept, in bytes. Those that do not fit are compiled again.
const COMPILED_MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Size to which the log of a run grows, in bytes, before its beginning is forgotten: what is kept of it, and room for the
/// longest form of a secret, so that none is cut in two before it is searched for.
pub const LOG_MAX_BYTES: usize =
    signalbox_model::limits::SCRIPT_LOG_MAX_BYTES + 4 * signalbox_model::limits::SECRET_MAX_BYTES;

/// An engine, and the programs that it has compiled.
pub struct Scripts {
    engine: Engine,
    linker: Linker<State>,
    compiled: Cache<[u8; 32], Compiled>,
}

#[derive(Clone)]
struct Compiled {
    program: InstancePre<State>,
    size_bytes: u32,
}

/// One run of a program.
#[derive(Clone, Debug)]
pub struct Job {
    /// The program.
    pub module: Arc<ScriptModule>,
    /// What it reads from its standard input.
    pub input: Bytes,
    /// How much it may compute: about as many instructions.
    pub fuel: u64,
    /// Size to which its memory may grow, in bytes.
    pub memory_max_bytes: u32,
    /// What its clock says, all the time.
    pub time: Timestamp,
    /// What its random numbers are made of.
    pub seed: String,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// The JSON that it wrote to its standard output, or why there is none.
    pub result: Result<Value, ScriptError>,
    /// The end of what it wrote to its standard error, at most [`LOG_MAX_BYTES`].
    pub log: String,
    /// How much it computed.
    pub fuel_used: u64,
}

impl Ended {
    fn without_run(error: ScriptError) -> Self {
        Self {
            result: Err(error),
            log: String::new(),
            fuel_used: 0,
        }
    }
}

/// Why a run gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// The engine cannot compile it, or not set it up.
    #[error("the module cannot be run: {0}")]
    Invalid(String),
    /// It did what WebAssembly forbids, or gave up.
    #[error("the script trapped: {0}")]
    Trapped(String),
    /// It ended with this code, which is not 0.
    #[error("the script exited with the code {0}")]
    Exited(i32),
    /// It computed more than it may.
    #[error("the script used up its fuel of {0}")]
    FuelExhausted(u64),
    /// It broke off after it was refused more memory.
    #[error("the script wanted more than {0} bytes of memory")]
    Memory(u32),
    /// It wrote more than it may.
    #[error("the script wrote more than {max} bytes to its standard output", max = signalbox_model::limits::SCRIPT_OUTPUT_MAX_BYTES)]
    OutputTooLarge,
    /// It wrote nothing, or what is no JSON.
    #[error("the script's standard output is no JSON: {0}")]
    OutputInvalid(String),
    /// It was stopped from outside.
    #[error("the script was stopped")]
    Stopped,
}

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
#[error("this machine cannot run WebAssembly: {0}")]
pub struct EngineError(String);

impl Scripts {
    /// An engine that has compiled nothing.
    ///
    /// # Errors
    /// The processor or the system is none that it knows.
    pub fn new() -> Result<Self, EngineError> {
        let failed = |error: wasmtime::Error| EngineError(format!("{error:#}"));
        let engine = Engine::new(&config()).map_err(failed)?;
        let linker = wasi::linker(&engine).map_err(failed)?;
        Ok(Self {
            engine,
            linker,
            compiled: Cache::builder()
                .max_capacity(COMPILED_MAX_BYTES)
                .weigher(|_, compiled: &Compiled| compiled.size_bytes)
                .build(),
        })
    }

    /// Runs a program until it ends, or until `is_stopped` says so: it is asked when the program begins, and every
    /// [`ASK_INTERVAL`] then. Compiling, when the program was not run for long, is not stopped.
    pub fn run(&self, job: &Job, is_stopped: impl Fn() -> bool + Send + Sync + 'static) -> Ended {
        let program = match self.program(&job.module) {
            Ok(program) => program,
            Err(error) => return Ended::without_run(error),
        };
        let (running, ended) = mpsc::channel::<()>();
        // A program that computes is interrupted by another thread only.
        let engine = &self.engine;
        let clock = move || {
            while ended.recv_timeout(ASK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                engine.increment_epoch();
            }
        };
        thread::scope(|scope| {
            let clock = thread::Builder::new()
                .name("script-clock".to_owned())
                .spawn_scoped(scope, clock);
            if let Err(error) = clock {
                return Ended::without_run(ScriptError::Invalid(error.to_string()));
            }
            let ended = run::run(engine, &program, job, is_stopped);
            drop(running);
            ended
        })
    }

    /// The compiled program. Of many that come at once, one compiles it.
    fn program(&self, module: &ScriptModule) -> Result<InstancePre<State>, ScriptError> {
        let compiled = self.compiled.try_get_with(*module.digest(), || {
            let compiled = Module::from_binary(&self.engine, module.bytes())?;
            let range = compiled.image_range();
            let size_bytes = (range.end as usize).saturating_sub(range.start as usize);
            Ok(Compiled {
                program: self.linker.instantiate_pre(&compiled)?,
                size_bytes: u32::try_from(size_bytes).unwrap_or(u32::MAX),
            })
        });
        match compiled {
            Ok(compiled) => Ok(compiled.program),
            Err(error) => {
                let error: &wasmtime::Error = &error;
                Err(ScriptError::Invalid(format!("{error:#}")))
            }
        }
    }
}

impl fmt::Debug for Scripts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scripts").finish_non_exhaustive()
    }
}

fn config() -> Config {
    let mut config = Config::new();
    config
        .consume_fuel(true)
        .epoch_interruption(true)
        .max_wasm_stack(STACK_MAX_BYTES)
        // What compilers for WebAssembly have optimised already is compiled fast, in a time that grows with its size.
        .cranelift_opt_level(OptLevel::None)
        // The bits of a NaN are the same everywhere, and so is a run.
        .cranelift_nan_canonicalization(true)
        // What a trap says is for people who have not the engine's symbols.
        .wasm_backtrace_max_frames(None)
        // One file of memory less for each module.
        .memory_init_cow(false);
    config
}
