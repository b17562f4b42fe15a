//! Decides what an execution does next.
//!
//! Pure: no clock, no network, no storage, no randomness of its own. An execution is the fold of its facts
//! ([`Machine::apply`]); [`Machine::decide`] says what is to be done now. Whoever drives it journals facts before acting
//! on them, so that a crash at any point leaves a journal from which a new machine goes on:
//!
//! ```text
//! loop {
//!     match machine.decide(now) {
//!         Journal(facts)  => make them durable, then apply each
//!         Perform(effect) => act on the world, then journal and apply machine.outcome(…)
//!         WaitUntil(time) => come back then
//!         Done(state)     => it has ended
//!     }
//! }
//! ```

mod effect;
mod machine;
mod steps;

pub use effect::{AttemptError, Effect, EffectKind, HttpRequest};
pub use machine::{Decision, Machine};
