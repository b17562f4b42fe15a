//! A retry from where it failed, in a world that has not changed, comes to the same end, and does nothing again that had
//! succeeded and is kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use proptest::prelude::*;
use signalbox_engine::Plan;
use signalbox_model::{
    execution::{ExecutionState, Fact, JsonText, StepState},
    retry::{Kept, StepRecord},
};

use super::{
    LONG, checker, choices, crashes, end_of,
    owner::{Owner, begin},
    run, states,
    workflows::{Outcomes, Wanted, accepted, outcomes, workflow},
};

/// What the control plane keeps of an execution.
fn records_of<'a>(journal: impl Iterator<Item = &'a Fact>) -> Vec<StepRecord> {
    let mut records: BTreeMap<String, StepRecord> = BTreeMap::new();
    for fact in journal {
        match fact {
            Fact::StepStarted { step, kind, input } => {
                let record = StepRecord {
                    step: step.clone(),
                    kind: kind.clone(),
                    state: StepState::Running,
                    input: input.clone(),
                    output: None,
                    error: None,
                };
                records.insert(step.to_string(), record);
            }
            Fact::StepFinished {
                step,
                state,
                output,
                error,
            } => {
                let record = records.get_mut(&step.to_string()).unwrap();
                record.state = *state;
                record.output = output.clone();
                record.error = error.clone();
            }
            _ => {}
        }
    }
    records.into_values().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    #[test]
    fn a_retry_goes_on_where_it_failed(
        workflow in workflow(LONG, Wanted { fail_fast: false, total_timeouts: false, listen: None }),
        outcomes in outcomes(),
        crashes in crashes(),
        choices in prop::array::uniform2(choices()),
    ) {
        let [one, other] = choices;
        let first = run(&workflow, &outcomes, Vec::new(), one);
        let end = end_of(&first.journal);
        prop_assume!(end.0 == ExecutionState::Failed);
        let records = records_of(first.journal.iter().map(|(fact, _)| fact));
        let kept = Kept::of(&workflow, &records);
        prop_assert_eq!(kept.carried_to(&workflow), Ok(kept.clone()));
        let runs: BTreeSet<String> = kept.steps().map(ToString::to_string).collect();

        let plan = Arc::new(Plan::new(&workflow));
        let mut second = Owner::new(&workflow, plan, accepted(), outcomes, crashes, other);
        second.journal = kept.into_facts().into_iter().map(|fact| (fact, begin())).collect();
        second.run();
        second.check_keys();
        checker::check_retry(&workflow, &second.journal);
        for (performed, _) in second.performed.keys() {
            prop_assert!(!runs.contains(performed), "{performed} is done again");
        }
        let (before, after) = (states(&first), states(&second));
        for (step, end) in &after {
            prop_assert_eq!(before.get(step), Some(end), "{}", step);
        }
        let again = end_of(&second.journal);
        prop_assert_eq!((again.0, again.2), (end.0, end.2));
        prop_assert_eq!(again.1.is_some(), end.1.is_some());
    }

    /// When every request is answered well, what is kept stays as it was, whatever stopped the others.
    #[test]
    fn a_retry_in_a_mended_world_does_the_rest(
        workflow in workflow(LONG, Wanted { fail_fast: true, total_timeouts: false, listen: None }),
        outcomes in outcomes(),
        choices in choices(),
    ) {
        let first = run(&workflow, &outcomes, Vec::new(), choices.clone());
        prop_assume!(end_of(&first.journal).0 == ExecutionState::Failed);
        let records = records_of(first.journal.iter().map(|(fact, _)| fact));
        let kept = Kept::of(&workflow, &records);
        let outputs: BTreeMap<String, Option<JsonText>> = records
            .into_iter()
            .map(|record| (record.step.to_string(), record.output))
            .collect();
        let runs: BTreeSet<String> = kept.steps().map(ToString::to_string).collect();
        let plan = Arc::new(Plan::new(&workflow));
        let mut second = Owner::new(&workflow, plan, accepted(), Outcomes::good(), Vec::new(), choices);
        second.journal = kept.into_facts().into_iter().map(|fact| (fact, begin())).collect();
        second.run();
        checker::check_retry(&workflow, &second.journal);
        for (performed, _) in second.performed.keys() {
            prop_assert!(!runs.contains(performed), "{performed} is done again");
        }
        for (fact, _) in &second.journal {
            if let Fact::StepKept { step, output, .. } = fact {
                prop_assert_eq!(&outputs[&step.to_string()], output);
            }
        }
    }
}
