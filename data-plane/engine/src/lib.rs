//! Decides how an execution goes on. Pure: no clock, no network, no randomness of its own.
//!
//! A [`Machine`] is the fold of an execution's [`Fact`](signalbox_model::execution::Fact)s over its [`Plan`]. Asked for
//! its [`Decision`], it answers with what its owner must do next: make facts durable, perform [`Effect`]s and wait for a
//! time, or nothing, because the execution has ended. The owner brings the time and the outcomes of effects:
//!
//! ```text
//! replay(facts of the journal) ─► decide(now) ─► Journal(facts)    make them durable, then decide again
//!                                     ▲       ├► Await(effects, time)   perform them, then attempt_ended(outcome, now)
//!                                     │       │                         for the first that ends; at the time, decide again
//!                                     └───────┴► Done(state)
//! ```
//!
//! An attempt is a fact before it is performed. One that a crash interrupted is therefore known: it is performed again,
//! as the same attempt with the same idempotency key, and a fact says so (invariant I7).
//!
//! A step that reads secrets is evaluated twice: for the attempt, with their values, and for what is recorded and shown,
//! without. Every fact is searched for the values before it is given away (`docs/decisions/0014-secrets.md`). So it is with the
//! links of approvals, which the owner signs (`docs/decisions/0042-links-in-steps.md`).
//!
//! Where an execution stands is a tree of frames, each a list of steps under way (`docs/decisions/0012-frames.md`).
//!
//! What a kind of step does is one file below [`mod@steps`] and one line in its registry.

mod aws;
mod decision;
mod email;
mod identity;
mod machine;
mod mask;
mod plan;
mod script;
mod steps;

pub mod codes;

pub use aws::{
    AssumedRole, AwsCall, AwsCredentials, AwsError, AwsRequest, AwsRole, AwsTarget,
    assume_role_call, assumed_role, aws_error,
};
pub use decision::{
    AttemptFailure, ChildCall, Decision, Effect, EffectKind, HttpExchange, HttpRequest,
    HttpResponse, Outcome, RetryAfter, Shown,
};
pub use email::{EmailMessage, EmailReceipt, RefusedRecipient, SmtpAccess};
pub use identity::idempotency_key;
pub use machine::{Contradiction, LinkMaker, Machine};
pub use plan::Plan;
pub use script::{ScriptCall, ScriptEnd};

/// Size of the JSON text of a step's recorded input or output, in bytes. A step whose request or response would need
/// more fails. It keeps a record, whatever it says, below the 4 MiB that a gRPC message may have.
pub const RECORD_MAX_BYTES: usize = 3 * 1024 * 1024;
