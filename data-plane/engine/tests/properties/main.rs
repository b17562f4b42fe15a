//! Whatever workflow, whatever its steps meet, wherever a crash cuts: the machine ends, its facts are consistent, and a
//! crash changes nothing but the marks of repeats.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod checker;
mod owner;
mod workflows;

use std::{sync::Arc, time::Duration};

use proptest::prelude::*;
use signalbox_engine::Plan;
use signalbox_model::execution::Fact;

use owner::{Crash, Owner};
use workflows::{accepted, outcomes, workflow};

const LONG: Duration = Duration::from_secs(30 * 24 * 3600);

/// What a crash may not change: everything but marks of repeats and the times of pauses.
fn essence(journal: &[(Fact, jiff::Timestamp)]) -> Vec<Fact> {
    let facts = journal.iter().map(|(fact, _)| fact.clone());
    facts
        .filter_map(|fact| match fact {
            Fact::AttemptStarted { repeated: true, .. } => None,
            Fact::AttemptFailed {
                step,
                number,
                error,
                ..
            } => Some(Fact::AttemptFailed {
                step,
                number,
                error,
                retry_at: jiff::Timestamp::UNIX_EPOCH,
            }),
            other => Some(other),
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_crash_changes_nothing(
        workflow in workflow(LONG),
        outcomes in outcomes(),
        crashes in prop::collection::vec(Crash::any(), 0..40),
    ) {
        let plan = Arc::new(Plan::new(&workflow));
        let mut calm = Owner::new(plan.clone(), accepted(), outcomes.clone(), Vec::new());
        calm.run();
        let mut shaken = Owner::new(plan, accepted(), outcomes, crashes);
        shaken.run();
        checker::check(&workflow, &calm.journal);
        checker::check(&workflow, &shaken.journal);
        prop_assert_eq!(essence(&calm.journal), essence(&shaken.journal));
        // Without a crash each attempt is performed once; with crashes at least once, with the same key.
        for (attempt, performed) in &calm.performed {
            prop_assert_eq!(performed.times, 1);
            let again = &shaken.performed[attempt];
            prop_assert!(again.times >= 1);
            prop_assert_eq!(&again.key, &performed.key);
        }
        prop_assert_eq!(calm.performed.len(), shaken.performed.len());
    }

    #[test]
    fn it_ends_in_time(
        attempt_ms in 0_i64..20_000,
        (workflow, outcomes, crashes) in (1_u64..100_000).prop_flat_map(|timeout_ms| (
            workflow(Duration::from_millis(timeout_ms)),
            outcomes(),
            prop::collection::vec(Crash::any(), 0..40),
        )),
    ) {
        let plan = Arc::new(Plan::new(&workflow));
        let mut owner = Owner::new(plan, accepted(), outcomes, crashes);
        owner.attempt_ms = attempt_ms;
        owner.run();
        checker::check(&workflow, &owner.journal);
    }
}
