//! What happened, in order: hashed, and shown when one seed is replayed.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use tokio::time::Instant;

/// The trace of one run.
pub(super) struct Trace {
    began: Instant,
    shown: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    hasher: blake3::Hasher,
    events: u64,
    violations: Vec<String>,
}

impl Trace {
    pub(super) fn new(shown: bool) -> Self {
        Self {
            began: Instant::now(),
            shown,
            state: Mutex::default(),
        }
    }

    /// Notes an event. It must not hold what no seed determines: ids that are drawn elsewhere, addresses.
    pub(super) fn note(&self, event: fmt::Arguments<'_>) {
        let line = format!("{:>9.3} {event}", self.began.elapsed().as_secs_f64());
        if self.shown {
            println!("{line}");
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.hasher.update(line.as_bytes());
        state.hasher.update(b"\n");
        state.events += 1;
    }

    /// Notes that a promise was broken.
    pub(super) fn broken(&self, what: String) {
        self.note(format_args!("BROKEN: {what}"));
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.violations.push(what);
    }

    /// The promises that were broken.
    pub(super) fn violations(&self) -> Vec<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.violations.clone()
    }

    /// How many events there were, and the hash of them all.
    pub(super) fn digest(&self) -> (u64, String) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.events, state.hasher.finalize().to_hex().to_string())
    }
}
