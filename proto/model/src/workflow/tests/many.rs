//! Definitions that are large, and wrong all over.

use super::*;

/// Each of very many steps reads one that there is not, whose name is like that of all others.
#[test]
fn beyond_the_most_steps_nothing_is_looked_at() {
    let steps: Vec<Step> = (0..2_000)
        .map(|n| transform(&format!("step{n:04}"), &format!("steps.stepx{n:04}.output")))
        .collect();
    let found = problems(steps);
    let of_steps = |text: &&String| text.contains("there is no step");
    assert_eq!(found.iter().filter(of_steps).count(), limits::STEPS_MAX);
    assert_eq!(
        found.last().map(String::as_str),
        Some("steps: has 2000 steps; at most 200 are allowed")
    );
    let hints = found.iter().filter(|text| text.contains("did you mean"));
    assert_eq!(hints.count(), limits::SUGGESTIONS_MAX);
}

/// The same with steps that stand in others: all of them count, those of a handler too.
#[test]
fn steps_within_others_are_counted_whether_they_are_looked_at_or_not() {
    let handled = |n: usize| Step {
        on_error: OnError::Steps(vec![transform(&format!("h{n}"), "1")]),
        ..transform(&format!("s{n}"), "1")
    };
    let most = limits::STEPS_MAX / 2;
    assert_eq!(problems((0..most).map(handled).collect()), [""; 0]);
    assert_eq!(
        problems((0..=most).map(handled).collect()),
        ["steps: has 202 steps; at most 200 are allowed"]
    );
}
