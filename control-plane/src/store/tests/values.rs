//! Large inputs and outputs: what is recorded of them, and what a retry gets.

use serde_json::Value;

use super::{
    retries::{TWO, definition_of, finished, name, request, retry, started},
    *,
};
use crate::app::RetryMode;

/// JSON of so many bytes.
fn large(bytes: usize) -> JsonText {
    JsonText::from_value(&Value::from("v".repeat(bytes - 2)))
}

fn gave(step: &str, output: JsonText) -> Fact {
    Fact::StepFinished {
        step: step.parse().unwrap(),
        state: StepState::Succeeded,
        output: Some(output),
        error: None,
    }
}

fn began(step: &str, kind: &str, input: JsonText) -> Fact {
    Fact::StepStarted {
        step: step.parse().unwrap(),
        kind: kind.into(),
        input,
    }
}

fn ended(state: ExecutionState, output: Option<JsonText>) -> Fact {
    let error = (state != ExecutionState::Succeeded).then(|| Failure::new("EXPRESSION", "no"));
    Fact::Finished {
        state,
        output,
        error,
    }
}

/// Reports an execution that node n1 has, in batches of so many records.
async fn report(app: &App, id: &str, facts: Vec<Fact>, batch: usize) {
    let facts = facts.into_iter().map(|of| fact(id, of));
    let bodies = [accepted(id)].into_iter().chain(facts);
    let records: Vec<_> = (1..)
        .zip(bodies)
        .map(|(at, body)| record(at, body))
        .collect();
    for batch in records.chunks(batch) {
        let last = batch.last().unwrap().sequence;
        app.apply_records(&node("n1"), id, batch, last, decode_any)
            .await
            .unwrap();
    }
}

async fn wholes(store: &Store) -> Vec<(String, String, String, usize)> {
    use entity::whole_value::{Column, Entity};
    use sea_orm::QueryOrder as _;
    let rows = Entity::find()
        .order_by_asc(Column::Execution)
        .order_by_asc(Column::Step)
        .order_by_asc(Column::Part)
        .all(&store.db)
        .await
        .unwrap();
    rows.into_iter()
        .map(|row| (row.execution, row.step, row.part, row.json.len()))
        .collect()
}

fn failing() -> Vec<Fact> {
    vec![
        Fact::Started,
        began("a", "transform", large(3_000)),
        gave("a", large(VALUE_MAX_BYTES + 1)),
        began("b", "transform", large(VALUE_MAX_BYTES)),
        finished("b", StepState::Failed),
        ended(ExecutionState::Failed, None),
    ]
}

#[tokio::test]
async fn a_large_value_is_shown_truncated_and_a_retry_has_the_whole_on_both_databases() {
    each_database(async |store| {
        let app = app(store.clone());
        let id = "w".parse().unwrap();
        app.create_workflow(&actor(), &project(), &id, definition_of(TWO), true, "")
            .await
            .unwrap();
        report(&app, "x", failing(), 100).await;
        let detail = app.execution(&name("x")).await.unwrap();
        let (a, b) = (&detail.steps[0].0, &detail.steps[1].0);
        assert_eq!(
            (a.input_truncated_bytes, a.output_truncated_bytes),
            (Some(3_000), Some(2_001))
        );
        for (short, bytes) in [
            (&a.input_json, 3_000),
            (a.output_json.as_ref().unwrap(), 2_001),
        ] {
            assert!(short.len() <= VALUE_MAX_BYTES, "{}", short.len());
            let shown: Value = serde_json::from_str(short).unwrap();
            assert_eq!(shown["truncated"]["bytes"], bytes);
            let start = shown["truncated"]["start"].as_str().unwrap();
            assert!(large(bytes).as_str().starts_with(start) && start.len() > 1_900);
        }
        assert_eq!(b.input_json, large(VALUE_MAX_BYTES).as_str());
        assert_eq!(b.input_truncated_bytes, None);

        let asked = request(RetryMode::FromFailed, "");
        let made = retry(&app, "x", asked).await.unwrap();
        let facts = store.retry(&name(&made.id)).await.unwrap().unwrap();
        let kept = facts.iter().find_map(|fact| match fact {
            Fact::StepKept { input, output, .. } => Some((input.clone(), output.clone())),
            _ => None,
        });
        assert_eq!(kept, Some((large(3_000), Some(large(2_001)))));

        // Without the whole there is no retry with half a value.
        entity::whole_value::Entity::delete_many()
            .exec(&store.db)
            .await
            .unwrap();
        let refused = retry(&app, "x", request(RetryMode::FromFailed, "")).await;
        assert!(
            matches!(refused, Err(Error::Internal { .. })),
            "{refused:?}"
        );
        retry(&app, "x", request(RetryMode::Whole, ""))
            .await
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn what_is_kept_whole_does_not_depend_on_where_reports_are_cut() {
    each_database(async |store| {
        let app = app(store.clone());
        let succeeding = vec![
            Fact::Started,
            began("a", "http", large(3_000)),
            gave("a", large(4_000)),
            gave("b", large(5_000)),
            ended(ExecutionState::Succeeded, Some(large(6_000))),
        ];
        for batch in [1, 2, 3, 100] {
            report(&app, &format!("s{batch}"), succeeding.clone(), batch).await;
            report(&app, &format!("f{batch}"), failing(), batch).await;
        }
        let of_failed = ["f1", "f100", "f2", "f3"].iter().flat_map(|id| {
            let of = |part: &str, bytes| (id.to_string(), "a".to_owned(), part.to_owned(), bytes);
            [of("input", 3_000), of("output", 2_001)]
        });
        assert_eq!(wholes(&store).await, of_failed.collect::<Vec<_>>());
        for batch in [1, 2, 3, 100] {
            let detail = app.execution(&name(&format!("s{batch}"))).await.unwrap();
            let row = detail.execution;
            assert_eq!(row.output_truncated_bytes, Some(6_000), "{batch}");
            assert!(!row.has_whole_values, "{batch}");
            let sizes = detail.steps.iter().map(|(row, _)| {
                let short = row.output_json.as_ref().unwrap();
                assert!(short.len() <= VALUE_MAX_BYTES);
                row.output_truncated_bytes
            });
            assert_eq!(sizes.collect::<Vec<_>>(), [Some(4_000), Some(5_000)]);
        }
    })
    .await;
}

#[tokio::test]
async fn an_execution_that_begins_anew_begins_without_what_was_kept_whole() {
    each_database(async |store| {
        let app = app(store.clone());
        let begun = vec![Fact::Started, began("a", "http", large(3_000))];
        report(&app, "x", begun, 100).await;
        assert_eq!(wholes(&store).await.len(), 1);
        let anew = [
            accepted("x"),
            fact("x", Fact::Started),
            fact("x", started("a")),
        ];
        let records: Vec<_> = (1..).zip(anew).map(|(at, body)| record(at, body)).collect();
        app.apply_records(&node("n1"), "anew", &records, 3, decode_any)
            .await
            .unwrap();
        assert_eq!(wholes(&store).await, []);
        let row = app.execution(&name("x")).await.unwrap().execution;
        assert!(!row.has_whole_values);
    })
    .await;
}

#[tokio::test]
async fn what_an_approval_asks_is_never_truncated() {
    each_database(async |store| {
        let app = app(store);
        let asks =
            serde_json::json!({"message": "m".repeat(4_000), "approvers": [], "deadline": null});
        let facts = vec![
            Fact::Started,
            began("ask", "approval", JsonText::from_value(&asks)),
        ];
        report(&app, "x", facts, 100).await;
        let awaited = app.approval(&name("x"), None).await.unwrap();
        assert_eq!(awaited.message.len(), 4_000);
    })
    .await;
}
