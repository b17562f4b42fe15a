//! Performs `script` effects: each in a thread of its own, a few at once.

use std::{
    sync::{Arc, OnceLock},
    thread::available_parallelism,
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use signalbox_engine::{AttemptFailure, Effect, EffectKind, Outcome, ScriptCall, ScriptEnd, codes};
use signalbox_model::execution::Failure;
use signalbox_script::{Ended, Job, ScriptError, Scripts};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::Performer;

/// Programs that run at once at most; no more than there are processors. Each may have 128 MiB of memory.
const RUNNING_MAX: usize = 4;

/// Runs programs. Clones share their engine and the places to run in.
#[derive(Clone, Debug)]
pub struct ScriptPerformer {
    /// Made when the first program runs: most nodes run none.
    scripts: Arc<OnceLock<Result<Scripts, String>>>,
    places: Arc<Semaphore>,
}

impl Default for ScriptPerformer {
    fn default() -> Self {
        let processors = available_parallelism().map_or(1, usize::from);
        Self {
            scripts: Arc::default(),
            places: Arc::new(Semaphore::new(processors.min(RUNNING_MAX))),
        }
    }
}

impl ScriptPerformer {
    /// Runs a program when there is room, until it ends, or `stop` says so; in this case, it goes on a few milliseconds.
    async fn run(self, job: Job, stop: CancellationToken) -> Option<Outcome> {
        // The semaphore is never closed, so there always is a permit.
        let place = self.places.clone().acquire_owned().await.ok()?;
        // Not for the threads of the runtime: it compiles, and computes all the time.
        let run = tokio::task::spawn_blocking(move || {
            let _place = place;
            let made = || Scripts::new().map_err(|error| error.to_string());
            match self.scripts.get_or_init(made) {
                Ok(scripts) => outcome(scripts.run(&job, move || stop.is_cancelled())),
                Err(error) => failed(codes::SCRIPT_INVALID, error),
            }
        });
        run.await.ok()
    }
}

impl Performer for ScriptPerformer {
    fn perform(&self, effect: Effect) -> BoxFuture<'static, Outcome> {
        let this = self.clone();
        async move {
            let EffectKind::Script(call) = effect.kind else {
                return failed(codes::INTERNAL, "it is no script");
            };
            let stop = CancellationToken::new();
            // Whichever way this ends, the program does too.
            let _stopped = stop.clone().drop_guard();
            let run = this.run(job(*call, effect.idempotency_key), stop);
            match tokio::time::timeout(effect.timeout, run).await {
                Ok(Some(outcome)) => outcome,
                Ok(None) => failed(codes::INTERNAL, "the script broke off"),
                Err(_) => Outcome::Failed(timed_out(effect.timeout)),
            }
        }
        .boxed()
    }
}

fn job(call: ScriptCall, seed: String) -> Job {
    let ScriptCall {
        module,
        input,
        fuel,
        memory_max_bytes,
        time,
    } = call;
    Job {
        module,
        input,
        fuel,
        memory_max_bytes,
        time,
        seed,
    }
}

fn outcome(ended: Ended) -> Outcome {
    let result = match ended.result {
        Ok(result) => Ok(result),
        // Whoever stopped it has said why; nobody listens.
        Err(ScriptError::Stopped) => {
            return Outcome::Failed(AttemptFailure::retriable(
                codes::TIMEOUT,
                ScriptError::Stopped.to_string(),
            ));
        }
        Err(error) => Err(Failure::new(code(&error), error.to_string())),
    };
    Outcome::Script(ScriptEnd {
        result,
        log: ended.log,
        fuel_used: ended.fuel_used,
    })
}

fn code(error: &ScriptError) -> &'static str {
    match error {
        ScriptError::Invalid(_) => codes::SCRIPT_INVALID,
        ScriptError::Trapped(_) => codes::SCRIPT_TRAPPED,
        ScriptError::Exited(_) => codes::SCRIPT_EXITED,
        ScriptError::FuelExhausted(_) => codes::SCRIPT_FUEL_EXHAUSTED,
        ScriptError::Memory(_) => codes::SCRIPT_MEMORY,
        ScriptError::OutputTooLarge => codes::OUTPUT_TOO_LARGE,
        ScriptError::OutputInvalid(_) => codes::SCRIPT_OUTPUT_INVALID,
        ScriptError::Stopped => codes::TIMEOUT,
    }
}

fn failed(code: &str, message: &str) -> Outcome {
    Outcome::Failed(AttemptFailure::lasting(code, message))
}

/// It may have waited for its place: another attempt may end in time.
fn timed_out(timeout: Duration) -> AttemptFailure {
    AttemptFailure::retriable(
        codes::TIMEOUT,
        format!("the script did not end within {timeout:?}"),
    )
}

#[cfg(test)]
mod tests;
