//! Whatever workflow, whatever its steps meet, whichever ends first, wherever a crash cuts: the machine ends, its facts are
//! consistent, it comes to what a simple interpreter of the definition says, and a crash changes nothing but the marks of
//! repeats and the order of what runs side by side.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bearing;
mod checker;
mod computing;
mod interpreter;
mod owner;
mod retry;
mod telling;
mod workflows;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use proptest::prelude::*;
use signalbox_engine::Plan;
use signalbox_model::{
    execution::{Fact, JsonText, StepState},
    workflow::Workflow,
};

use interpreter::{End, Interpreter, ends_of};
use owner::{Crash, Owner};
use workflows::{Outcomes, Wanted, accepted, outcomes, workflow};

const LONG: Duration = Duration::from_secs(30 * 24 * 3600);
/// Longer than anything takes that is told what it listens for, and short beside what the `finally` steps may take.
const LISTEN: Duration = Duration::from_secs(5);

fn crashes() -> impl Strategy<Value = Vec<Crash>> {
    prop::collection::vec(Crash::any(), 0..60)
}

fn choices() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..100)
}

fn run(workflow: &Workflow, outcomes: &Outcomes, crashes: Vec<Crash>, choices: Vec<u8>) -> Owner {
    let plan = Arc::new(Plan::new(workflow));
    let mut owner = Owner::new(
        workflow,
        plan,
        accepted(),
        outcomes.clone(),
        crashes,
        choices,
    );
    owner.run();
    owner.check_keys();
    checker::check(workflow, &owner.journal);
    owner
}

/// The journal is one that the interpreter would have written.
fn interpret(workflow: &Workflow, outcomes: &Outcomes, owner: &Owner) {
    let facts = || owner.journal.iter().map(|(fact, _)| fact);
    let mut interpreter = Interpreter::new(outcomes, facts());
    let end = interpreter.run(workflow, &accepted(), owner.journal[0].1);
    assert_eq!(ends_of(facts()), interpreter.ends);
    assert_eq!(end_of(&owner.journal), end);
}

fn end_of(journal: &[(Fact, jiff::Timestamp)]) -> End {
    match journal.last() {
        Some((
            Fact::Finished {
                state,
                output,
                error,
            },
            _,
        )) => (
            *state,
            output.as_ref().map(JsonText::to_value),
            error.as_ref().map(|error| error.code.clone()),
        ),
        other => panic!("{other:?}"),
    }
}

/// How each run of a step ended, but for the times in outputs.
fn states(owner: &Owner) -> BTreeMap<String, (StepState, Option<String>)> {
    ends_of(owner.journal.iter().map(|(fact, _)| fact))
        .into_iter()
        .map(|(run, (state, _, code))| (run, (state, code)))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Where nothing fails fast, the order of events decides nothing.
    #[test]
    fn a_crash_changes_nothing(
        workflow in workflow(LONG, Wanted { fail_fast: false, total_timeouts: false, listen: Some(LISTEN) }),
        outcomes in outcomes(),
        crashes in crashes(),
        choices in prop::array::uniform2(choices()),
    ) {
        let [calm, shaken] = choices;
        let calm = run(&workflow, &outcomes, Vec::new(), calm);
        let shaken = run(&workflow, &outcomes, crashes, shaken);
        interpret(&workflow, &outcomes, &calm);
        interpret(&workflow, &outcomes, &shaken);
        prop_assert_eq!(states(&calm), states(&shaken));
        // Without a crash each attempt is performed once; with crashes at least once, with the same key.
        for (attempt, performed) in &calm.performed {
            prop_assert_eq!(performed.times, 1);
            let again = &shaken.performed[attempt];
            prop_assert!(again.times >= 1);
            prop_assert_eq!(&again.key, &performed.key);
        }
        prop_assert_eq!(calm.performed.len(), shaken.performed.len());
    }

    /// Where some do, any order leads to an end that the interpreter allows.
    #[test]
    fn any_order_is_one_of_the_definition(
        workflow in workflow(LONG, Wanted { fail_fast: true, total_timeouts: false, listen: Some(LISTEN) }),
        outcomes in outcomes(),
        crashes in crashes(),
        choices in choices(),
    ) {
        let owner = run(&workflow, &outcomes, crashes, choices);
        interpret(&workflow, &outcomes, &owner);
    }

    #[test]
    fn it_ends_in_time(
        attempt_ms in 1_i64..20_000,
        choices in choices(),
        cancel_at in prop::option::of(0_usize..40),
        (workflow, outcomes, crashes) in (1_u64..100_000).prop_flat_map(|timeout_ms| (
            workflow(
                Duration::from_millis(timeout_ms),
                Wanted { fail_fast: true, total_timeouts: true, listen: None },
            ),
            outcomes(),
            crashes(),
        )),
    ) {
        let plan = Arc::new(Plan::new(&workflow));
        let mut owner = Owner::new(&workflow, plan, accepted(), outcomes, crashes, choices);
        owner.attempt_ms = attempt_ms;
        owner.cancel_at = cancel_at;
        owner.run();
        owner.check_keys();
        checker::check(&workflow, &owner.journal);
    }
}
