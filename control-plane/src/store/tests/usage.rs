//! How large histories are: what is noted is what there is, and beyond a quota the oldest goes.

use jiff::SignedDuration;

use super::{
    retention::{count, purge, report},
    retries::{TWO, definition_of, name, request, retry},
    *,
};
use crate::app::{ProjectChange, Quotas, RetryMode};

/// What is noted, and what there is.
async fn sizes(store: &Store) -> (i64, i64) {
    let noted = store.project(&project()).await.unwrap().history_bytes;
    let (counted, _) = store.weigh_some("default", None, 1000).await.unwrap();
    (noted, counted)
}

async fn bound(app: &App, history_bytes: i64) {
    let change = ProjectChange {
        quotas: Quotas {
            history_bytes: Some(Some(history_bytes)),
            ..Quotas::default()
        },
        ..ProjectChange::default()
    };
    app.update_project(&actor(), &project(), &change, "")
        .await
        .unwrap();
}

fn ended(id: &str, state: ExecutionState) -> RecordBody {
    let finished = Fact::Finished {
        state,
        output: Some(JsonText::from_value(&"an output".into())),
        error: None,
    };
    fact(id, finished)
}

/// A step whose input is kept whole beside what is shown of it.
fn large_step(id: &str) -> RecordBody {
    let started = Fact::StepStarted {
        step: "large".parse().unwrap(),
        kind: "http".into(),
        input: JsonText::from_value(&"é".repeat(2 * VALUE_MAX_BYTES).into()),
    };
    fact(id, started)
}

#[tokio::test]
async fn what_is_noted_is_what_there_is_whatever_happens() {
    each_database(async |store| {
        let app = app(store.clone());
        let now = Timestamp::now();
        let check = async |what: &str| {
            let (noted, counted) = sizes(&store).await;
            assert_eq!(noted, counted, "{what}");
            counted
        };
        assert_eq!(check("nothing").await, 0);
        report(&app, "a", whole_execution("x1"), now).await;
        assert!(check("an execution").await > 1000);
        // Piece by piece.
        for (number, body) in whole_execution("x2").into_iter().enumerate() {
            report(&app, &format!("b{number}"), vec![body], now).await;
            check(&format!("record {number}")).await;
        }
        let begun = vec![accepted("x3"), fact("x3", Fact::Started), large_step("x3")];
        report(&app, "c", begun.clone(), now).await;
        let large = check("a large value").await;
        // Its node lost its store, and begins anew.
        report(&app, "d", begun, now).await;
        assert_eq!(check("anew").await, large);
        report(&app, "e", vec![ended("x3", ExecutionState::Succeeded)], now).await;
        assert!(check("a success: nothing is kept whole").await < large - 4000);

        let id = "w".parse().unwrap();
        app.create_workflow(&actor(), &project(), &id, definition_of(TWO), true, "")
            .await
            .unwrap();
        let workflow: WorkflowName = "projects/default/workflows/w".parse().unwrap();
        let row = app
            .run_workflow(&actor(), &workflow, run("{\"a\": 1}", ""), decode)
            .await
            .unwrap();
        check("a run").await;
        report(
            &app,
            "f",
            vec![accepted(&row.id), fact(&row.id, Fact::Started)],
            now,
        )
        .await;
        check("a run that began").await;
        let new = NewSignal {
            id: "s1".parse().unwrap(),
            target: Target::Named("go".parse().unwrap(), JsonText::from_value(&"on".into())),
            traceparent: None,
        };
        store
            .write(async |tx| tx.signal(&actor(), &name(&row.id), new).await)
            .await
            .unwrap();
        check("a signal").await;
        report(&app, "g", vec![ended(&row.id, ExecutionState::Failed)], now).await;
        let again = retry(&app, &row.id, request(RetryMode::Whole, "")).await;
        let again = again.unwrap();
        check("a retry").await;
        app.cancel_execution(&actor(), &name(&again.id), Cancel::Ask)
            .await
            .unwrap();
        check("a cancellation").await;

        let later = now + SignedDuration::from_hours(24 * 365);
        purge(&app, later).await;
        assert_eq!(count(&store, "executions", "1 = 1").await, 0);
        assert_eq!(check("all of it deleted").await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_history_that_nobody_has_counted_is_counted_and_only_once() {
    each_database(async |store| {
        let app = app(store.clone());
        let now = Timestamp::now();
        for number in 0..3 {
            let id = format!("x{number}");
            report(&app, &id, whole_execution(&id), now).await;
        }
        let (noted, counted) = sizes(&store).await;
        assert_eq!(noted, counted);
        // As a database of an earlier Signalbox has it.
        let lost = "UPDATE projects SET history_bytes = -5";
        store.db.execute_unprepared(lost).await.unwrap();
        let uncounted = app.uncounted(now).await.unwrap();
        let [row] = &uncounted[..] else {
            panic!("the default project");
        };
        // More comes meanwhile.
        report(&app, "x3", whole_execution("x3"), now).await;
        app.count_history(row).await.unwrap();
        let (noted, counted) = sizes(&store).await;
        // What came was counted, and noted, too.
        let one = counted / 4;
        assert_eq!(noted, counted + one);
        assert!(app.uncounted(now).await.unwrap().is_empty());
        // Another replica that had begun by the same row says nothing.
        app.count_history(row).await.unwrap();
        assert_eq!(sizes(&store).await, (noted, counted));
        // With a quota it is counted again after a week.
        bound(&app, 1_000_000).await;
        let later = now + SignedDuration::from_hours(24 * 8);
        let uncounted = app.uncounted(later).await.unwrap();
        let [row] = &uncounted[..] else {
            panic!("the default project");
        };
        app.count_history(row).await.unwrap();
        assert_eq!(sizes(&store).await, (counted, counted));
    })
    .await;
}

#[tokio::test]
async fn beyond_its_quota_a_history_loses_what_ended_first_and_nothing_that_goes_on() {
    each_database(async |store| {
        let app = app(store.clone());
        let now = Timestamp::now();
        let ids = async || {
            let filter = ExecutionFilter::default();
            let page = app.executions(&project(), &filter, &Page::first(50)).await;
            let rows = page.unwrap().rows.into_iter();
            rows.map(|row| row.id).collect::<BTreeSet<_>>()
        };
        let id = "w".parse().unwrap();
        app.create_workflow(&actor(), &project(), &id, definition_of(TWO), true, "")
            .await
            .unwrap();
        for number in 0..5 {
            let id = format!("x{number}");
            let at = now - SignedDuration::from_secs(60 - number);
            report(&app, &id, whole_execution(&id), at).await;
        }
        report(
            &app,
            "waits",
            vec![accepted("waits"), fact("waits", Fact::Started)],
            now,
        )
        .await;
        let (all, _) = sizes(&store).await;
        let waiting = store
            .write(async |tx| tx.weigh("default", &["waits".to_owned()]).await)
            .await
            .unwrap()["waits"];
        let one = (all - waiting) / 5;
        // Nothing goes before it has been counted.
        bound(&app, all - one).await;
        assert!(purge(&app, now).await.is_empty());
        let row = store.project(&project()).await.unwrap();
        app.count_history(&row).await.unwrap();
        assert_eq!(purge(&app, now).await, [1], "no more than must");
        assert!(!ids().await.contains("x0"));
        assert_eq!(ids().await.len(), 5);
        bound(&app, all - one - 1).await;
        assert_eq!(purge(&app, now).await, [1]);

        // A run makes itself room; an execution that is retried is not what makes it.
        let (used, _) = sizes(&store).await;
        bound(&app, used).await;
        let retried = retry(&app, "x2", request(RetryMode::Whole, "")).await;
        let retried = retried.unwrap().id;
        assert!(!ids().await.contains("x3"), "{:?}", ids().await);
        let (used, counted) = sizes(&store).await;
        assert_eq!(used, counted);
        // What is left when all that ended is gone.
        bound(&app, 1).await;
        let workflow: WorkflowName = "projects/default/workflows/w".parse().unwrap();
        let run = async || {
            let run = run("{}", "");
            app.run_workflow(&actor(), &workflow, run, decode).await
        };
        let refused = run().await.unwrap_err();
        let Error::Quota {
            quota, limit, used, ..
        } = &refused
        else {
            panic!("{refused:?}");
        };
        assert_eq!((*quota, *limit), ("history_bytes", 1));
        assert!(*used > 1);
        purge(&app, now).await;
        let left = BTreeSet::from(["waits".to_owned(), retried]);
        assert_eq!(ids().await, left);
        // What nodes accept is taken all the same.
        report(&app, "more", vec![accepted("more")], now).await;
        assert_eq!(ids().await.len(), 3);
        bound(&app, 0).await;
        run().await.unwrap();
    })
    .await;
}
