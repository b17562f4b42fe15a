//! Secrets: steps that read them, and facts that must not hold them.

use std::collections::BTreeSet;

use signalbox_model::{
    ids::SecretId,
    secret::{HIDDEN, Masks, Secrets},
    workflow::Step,
};

use super::*;
use crate::decision::Shown;

impl Machine {
    /// The secrets that its plan names.
    #[must_use]
    pub fn secrets_named(&self) -> BTreeSet<&SecretId> {
        self.plan.secrets()
    }

    /// Says what the secrets are now, of those that its plan names. Steps that begin, and attempts that are made from now on,
    /// read these; what is recorded is searched for them, for `masks`, and for all that were said before.
    pub fn set_secrets(&mut self, secrets: Secrets, masks: &Masks) {
        for (_, secret) in secrets.iter() {
            self.masks.add(secret);
        }
        self.masks.add_all(masks);
        self.secrets = secrets;
    }
}

/// `scope` with those of `secrets` that are called `ids`.
///
/// # Errors
/// One of them is missing.
pub(super) fn opened(ids: &[SecretId], secrets: &Secrets, scope: &Scope) -> Result<Scope, Failure> {
    if let Some(id) = ids.iter().find(|id| secrets.get(id).is_none()) {
        return Err(Failure::new(
            codes::SECRET_MISSING,
            format!(
                "the secret {:?} does not exist in the project, or has not reached this node",
                id.as_str()
            ),
        ));
    }
    let own: Secrets = secrets
        .iter()
        .filter(|(id, _)| ids.contains(id))
        .map(|(id, secret)| (id.clone(), secret.clone()))
        .collect();
    Ok(scope.clone().with_secrets(&own))
}

/// As [`Behaviour::begin`](steps::Behaviour::begin), of a step that reads secrets or links, which `open` holds: what is recorded,
/// and what may be shown, is evaluated in `scope`, without them.
pub(super) fn begin(
    step: &Step,
    open: &Scope,
    scope: &Scope,
    now: Timestamp,
) -> Result<(Begin, Shown), Failure> {
    let behaviour = steps::of(&step.action);
    let begun = behaviour.begin(open, now)?;
    let Begin::Attempt { effect, .. } = begun else {
        // Definitions do not let others read secrets: there would be no telling what of them is recorded.
        return Err(Failure::new(
            codes::INTERNAL,
            "a step that has no attempt reads secrets",
        ));
    };
    // What cannot be evaluated without them is not recorded at all.
    let (input, shown) = match behaviour.begin(&scope.clone().hiding_secrets(), now) {
        Ok(Begin::Attempt { input, effect }) => (input, Shown::Instead(effect)),
        _ => (Value::from(HIDDEN), Shown::Nothing),
    };
    Ok((Begin::Attempt { input, effect }, shown))
}

/// `fact` without what `masks` searches for.
pub(super) fn masked(fact: Fact, masks: &Masks) -> Fact {
    let json = |text| masks.json_text(text);
    let failure = |failure: Failure| masks.failure(failure);
    match fact {
        // What is told is journalled by whoever hears it, before a machine knows; a signal was searched then.
        Fact::Started
        | Fact::Cancelling
        | Fact::AttemptStarted { .. }
        | Fact::ChildStarted { .. }
        | Fact::ChildEnded(_)
        | Fact::Abandoned
        | Fact::SignalReceived(_) => fact,
        Fact::StepStarted { step, kind, input } => Fact::StepStarted {
            step,
            kind,
            input: json(input),
        },
        Fact::AttemptFailed {
            step,
            number,
            error,
            retry_at,
        } => Fact::AttemptFailed {
            step,
            number,
            error: failure(error),
            retry_at,
        },
        Fact::StepFinished {
            step,
            state,
            output,
            error,
        } => Fact::StepFinished {
            step,
            state,
            output: output.map(json),
            error: error.map(failure),
        },
        Fact::StepKept {
            step,
            kind,
            input,
            state,
            output,
            error,
        } => Fact::StepKept {
            step,
            kind,
            input: json(input),
            state,
            output: output.map(json),
            error: error.map(failure),
        },
        Fact::Ending {
            state,
            output,
            error,
        } => Fact::Ending {
            state,
            output: output.map(json),
            error: error.map(failure),
        },
        Fact::Finished {
            state,
            output,
            error,
        } => Fact::Finished {
            state,
            output: output.map(json),
            error: error.map(failure),
        },
    }
}
