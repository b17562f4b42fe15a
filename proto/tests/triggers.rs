//! Triggers as files write them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;

use signalbox_model::{
    ids::{ProjectId, StepId},
    schedule::Misfire,
    workflow::{ScheduleTrigger, Trigger, Workflow},
};
use signalbox_proto::{
    convert::{definition, json},
    v1,
};

fn spec(trigger: &str) -> v1::WorkflowSpec {
    let text =
        format!("trigger:\n  {trigger}\nsteps: [{{id: a, transform: {{expression: '1'}}}}]\n");
    json::from_yaml_str(&text).unwrap_or_else(|error| panic!("{trigger}: {error}"))
}

fn read(trigger: &str) -> Result<Workflow, Vec<String>> {
    let read = definition::workflow(&spec(trigger), &ProjectId::default_project());
    read.map_err(|wrong| wrong.0.iter().map(ToString::to_string).collect())
}

fn schedule(trigger: &str) -> ScheduleTrigger {
    match read(&format!("schedule: {trigger}")).unwrap().trigger() {
        Trigger::Schedule(schedule) => schedule.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn schedules_are_read_as_they_are_written() {
    let after = "2026-11-24T10:00:00Z".parse().unwrap();
    let daily = schedule(
        "{cron: '30 8 * * MON-FRI', timeZone: America/New_York, startTime: '2026-12-01T00:00:00Z', input: {n: 1}}",
    );
    assert_eq!(
        daily.schedule.next_after(after).unwrap().to_string(),
        "2026-12-01T13:30:00Z"
    );
    assert_eq!(daily.input.as_str(), r#"{"n":1}"#);
    let rate = schedule("{rate: 90s, endTime: '2026-11-24T10:02:00Z'}");
    let ticks: Vec<_> = rate
        .schedule
        .after(after)
        .map(|tick| tick.to_string())
        .collect();
    assert_eq!(ticks, ["2026-11-24T10:01:30Z"]);
    assert_eq!(rate.input.as_str(), "null");
    // What the policies do is the model's; here they must only arrive.
    let misfires = [
        ("", Misfire::Skip),
        (", misfire: MISFIRE_POLICY_SKIP", Misfire::Skip),
        (", misfire: MISFIRE_POLICY_RUN_ONCE", Misfire::RunOnce),
        (", misfire: MISFIRE_POLICY_RUN_ALL", Misfire::RunAll(100)),
        (
            ", misfire: MISFIRE_POLICY_RUN_ALL, misfireMax: 2",
            Misfire::RunAll(2),
        ),
    ];
    for (text, expected) in misfires {
        let found = schedule(&format!("{{rate: 60s{text}}}")).schedule;
        let rate = schedule("{rate: 60s}").schedule;
        assert_eq!(found == rate, expected == Misfire::Skip, "{text}");
        let later = "2026-11-24T14:00:10Z".parse().unwrap();
        let wanted = match expected {
            Misfire::Skip => 0,
            Misfire::RunOnce => 1,
            Misfire::RunAll(max) => max,
        };
        assert_eq!(found.due(after, later).run.len(), wanted, "{text}");
    }
}

#[test]
fn wrong_schedules_are_told_at_their_place() {
    for (trigger, expected) in [
        (
            "{}",
            "trigger.schedule: says not when: expected one of rate, cron",
        ),
        (
            "{rate: 0.5s}",
            "trigger.schedule.rate: must be from 1 second to 366 days",
        ),
        (
            "{rate: 1.0005s}",
            "trigger.schedule.rate: must be whole milliseconds",
        ),
        (
            "{rate: 60s, timeZone: Europe/Berlin}",
            "trigger.schedule.timeZone: is of no use beside rate",
        ),
        (
            "{cron: '* * * *'}",
            "trigger.schedule.cron: has 4 fields; expected five",
        ),
        (
            "{cron: '61 * * * *'}",
            "trigger.schedule.cron: is no cron pattern",
        ),
        (
            "{cron: '0 0 31 2 *'}",
            "trigger.schedule.cron: names days that never come",
        ),
        (
            "{cron: '0 0 * * *', timeZone: Mars/Olympus}",
            "trigger.schedule.timeZone: \"Mars/Olympus\" is no time zone",
        ),
        (
            "{rate: 60s, misfireMax: 3}",
            "trigger.schedule.misfireMax: is set, and misfire is not",
        ),
        (
            "{rate: 60s, misfire: MISFIRE_POLICY_RUN_ALL, misfireMax: 101}",
            "trigger.schedule.misfireMax: is 101; expected 1 to 100",
        ),
        (
            "{rate: 60s, startTime: '2026-01-02T00:00:00Z', endTime: '2026-01-01T00:00:00Z'}",
            "trigger.schedule.endTime: must be later than startTime",
        ),
        (
            "{rate: 60s, startTime: '2026-01-02T00:00:00.0001Z'}",
            "trigger.schedule.startTime: must be whole milliseconds",
        ),
    ] {
        let found = read(&format!("schedule: {trigger}")).unwrap_err();
        assert_eq!(found.len(), 1, "{trigger}: {found:?}");
        assert!(found[0].starts_with(expected), "{trigger}: {found:?}");
    }
}

#[test]
fn inputs_are_read_and_every_wrong_one_is_told() {
    let workflow = read(
        "manual: {inputs: [{name: stage, type: string, values: [test, live], default: test}, {name: n, type: integer, \
         required: true, description: how many}]}",
    );
    let given = serde_json::json!({"n": 2});
    let found = workflow.unwrap().inputs().accept("input", given).unwrap();
    assert_eq!(found, serde_json::json!({"n": 2, "stage": "test"}));
    assert!(read("manual: {}").unwrap().inputs().is_empty());
    let found = read(
        "manual: {inputs: [{name: a, type: text}, {name: b}, {name: c, type: number, default: x}]}",
    );
    assert_eq!(
        found.unwrap_err(),
        [
            "trigger.manual.inputs[0].type: is text; expected one of string, number, integer, boolean, object, array",
            "trigger.manual.inputs[1].type: is missing: expected one of string, number, integer, boolean, object, array",
        ]
    );
    let found = read("manual: {inputs: [{name: c, type: number, default: x}]}");
    assert_eq!(
        found.unwrap_err(),
        ["trigger.manual.inputs[0].default: is \"x\"; expected a number"]
    );
}

#[test]
fn what_two_versions_have_in_common_is_told_step_by_step() {
    let spec = |text: &str| {
        let text = format!("trigger: {{manual: {{}}}}\nsteps:\n{text}");
        definition::encode(&json::from_yaml_str::<v1::WorkflowSpec>(&text).unwrap())
    };
    let before = spec(
        "
  - {id: a, transform: {expression: '1'}}
  - id: b
    onError: {steps: [{id: c, transform: {expression: '1'}}]}
    condition:
      rules: [{if: 'true', steps: [{id: d, transform: {expression: '1'}}]}]
  - id: e
    parallel:
      branches: [{name: x, steps: [{id: f, transform: {expression: '1'}}]}]
",
    );
    let all: BTreeSet<StepId> = ["a", "b", "c", "d", "e", "f"]
        .map(|id| id.parse().unwrap())
        .into();
    let changed = |after: &[u8]| -> Vec<String> {
        let changed = definition::changed_steps(&before, after, &all).unwrap();
        changed.iter().map(ToString::to_string).collect()
    };
    assert_eq!(changed(&before), [""; 0]);
    // The condition and its step are two; the parallel is one with what stands in it.
    let after = spec(
        "
  - {id: a, if: 'true', transform: {expression: '1'}}
  - id: b
    onError: {steps: [{id: c, transform: {expression: '2'}}]}
    condition:
      rules: [{if: 'true', steps: [{id: d, transform: {expression: '2'}}]}]
  - id: e
    parallel:
      branches: [{name: x, steps: [{id: f, transform: {expression: '2'}}]}]
",
    );
    assert_eq!(changed(&after), ["a", "c", "d", "e", "f"]);
    let other = spec("\n  - {id: z, transform: {expression: '1'}}\n");
    assert_eq!(changed(&other).len(), 6);
    assert!(definition::changed_steps(&before, b"\xff", &all).is_err());
}
