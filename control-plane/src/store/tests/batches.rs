//! A report is folded as a whole: what comes of it must not depend on where it was cut.

use super::*;

/// Sizes of batches; the last holds everything.
const SIZES: [usize; 7] = [1, 2, 3, 5, 7, 11, usize::MAX];

fn started(id: &str, step: &str, kind: &str, input: &str) -> RecordBody {
    fact(
        id,
        Fact::StepStarted {
            step: step.parse().unwrap(),
            kind: kind.into(),
            input: JsonText::try_from(input.to_owned()).unwrap(),
        },
    )
}

fn attempt(id: &str, step: &str, number: u32, repeated: bool) -> RecordBody {
    fact(
        id,
        Fact::AttemptStarted {
            step: step.parse().unwrap(),
            number,
            repeated,
        },
    )
}

fn finished(id: &str, step: &str, state: StepState) -> RecordBody {
    fact(
        id,
        Fact::StepFinished {
            step: step.parse().unwrap(),
            state,
            output: Some(JsonText::try_from(format!("\"{step}\"")).unwrap()),
            error: (state == StepState::Failed).then(|| Failure::new("HTTP_STATUS", "503")),
        },
    )
}

/// Branches side by side of which one waits, an execution that its node begins anew, one of which a crash repeats an
/// attempt, and one that has not ended: their records take turns.
fn bodies() -> Vec<RecordBody> {
    let branches = vec![
        accepted("b"),
        fact("b", Fact::Started),
        started("b", "both", "parallel", "null"),
        started("b", "pause", "wait", "{\"until\":\"2026-11-24T10:00:00Z\"}"),
        started("b", "call", "http", "{}"),
        attempt("b", "call", 1, false),
        finished("b", "call", StepState::Failed),
        finished("b", "pause", StepState::Succeeded),
    ];
    let anew = vec![
        accepted("a"),
        fact("a", Fact::Started),
        started("a", "lost", "http", "{}"),
        attempt("a", "lost", 1, false),
        accepted("a"),
        fact("a", Fact::Started),
        started("a", "call", "http", "{}"),
        attempt("a", "call", 1, false),
    ];
    let mut all: Vec<Vec<RecordBody>> = vec![whole_execution("w"), branches, anew];
    all[2].extend(whole_execution("late").into_iter().take(7));
    let mut turns = Vec::new();
    while all.iter().any(|of| !of.is_empty()) {
        for of in &mut all {
            if !of.is_empty() {
                turns.push(of.remove(0));
            }
        }
    }
    turns
}

/// All that can be read of it, but for the number that a transaction gives.
async fn rows(app: &App) -> String {
    let page = app
        .executions(&project(), &ExecutionFilter::default(), &Page::first(10))
        .await
        .unwrap();
    let mut text = String::new();
    for row in page.rows {
        let name = format!("projects/default/executions/{}", row.id);
        let mut detail = app.execution(&name.parse().unwrap()).await.unwrap();
        detail.execution.history = 0;
        text += &format!("{detail:#?}\n");
        let (_, event, certificate) = app.event(&name.parse().unwrap()).await.unwrap();
        text += &format!("{event:#?} {certificate:?}\n");
    }
    text
}

#[tokio::test]
async fn what_comes_of_a_report_does_not_depend_on_its_batches() {
    let records: Vec<SequencedRecord> = (1..)
        .zip(bodies())
        .map(|(n, body)| record(n, body))
        .collect();
    let mut first = None;
    for size in SIZES {
        let dir = tempfile::tempdir().unwrap();
        let app = app(sqlite(dir.path()).await);
        for batch in records.chunks(size.min(records.len())) {
            let last = batch.last().unwrap().sequence;
            app.apply_records(&node("n1"), "i", batch, last, decode_any)
                .await
                .unwrap();
        }
        let rows = rows(&app).await;
        for (id, state) in [("w", "SUCCEEDED"), ("b", "RUNNING"), ("a", "RUNNING")] {
            let name = format!("projects/default/executions/{id}").parse().unwrap();
            let detail = app.execution(&name).await.unwrap();
            assert_eq!(detail.execution.state, state, "{id}, in batches of {size}");
            assert!(
                detail.steps.iter().all(|(step, _)| step.step != "lost"),
                "in batches of {size}"
            );
        }
        assert_eq!(
            *first.get_or_insert(rows.clone()),
            rows,
            "in batches of {size}"
        );
    }
}

/// PostgreSQL keeps no U+0000; the wire's reader lets none through, and whatever else a database refuses is one record, and not all
/// that stand behind it.
#[tokio::test]
async fn a_record_that_the_database_refuses_holds_up_no_other_on_both_databases() {
    each_database(async |store| {
        let is_sqlite = store.db.get_database_backend() == sea_orm::DatabaseBackend::Sqlite;
        let app = app(store);
        let failed = |id: &str, message: &str| {
            fact(
                id,
                Fact::Finished {
                    state: ExecutionState::Failed,
                    output: None,
                    error: Some(Failure::new("X", message)),
                },
            )
        };
        let bodies = vec![
            accepted("a"),
            fact("a", Fact::Started),
            accepted("b"),
            failed("a", "no\0thing"),
            fact("b", Fact::Started),
            accepted("c"),
            failed("c", "why"),
        ];
        let records: Vec<_> = (1..).zip(bodies).map(|(n, body)| record(n, body)).collect();
        let reached = app
            .apply_records_or_pass_over((&node("n1"), "i"), &records, 7, &decode_any)
            .await;
        assert_eq!(reached.unwrap(), 7);
        assert_eq!(app.report_cursor(&node("n1"), "i").await.unwrap(), 7);
        let state = async |id: &str| {
            let name = format!("projects/default/executions/{id}").parse().unwrap();
            app.execution(&name).await.unwrap().execution.state
        };
        let refused = if is_sqlite { "FAILED" } else { "RUNNING" };
        assert_eq!(state("a").await, refused);
        assert_eq!(state("b").await, "RUNNING");
        assert_eq!(state("c").await, "FAILED");
    })
    .await;
}
