//! Executions whose nodes are gone, or have lost them.

use super::{
    retention::{days, purge, records},
    retries::{TWO, definition_of, name, request, retry},
    *,
};
use crate::{
    app::{RetryMode, RunRequest},
    store::{cancellations::to_stop, rows::Execution},
};

async fn apply(app: &App, at: &str, incarnation: &str, bodies: Vec<RecordBody>, time: Timestamp) {
    let records = records(bodies, time);
    let last = records.len() as u64;
    app.apply_records(&node(at), incarnation, &records, last, decode_any)
        .await
        .unwrap();
}

/// What an execution reports that is under way: its step and an attempt of that are open.
fn under_way(id: &str) -> Vec<RecordBody> {
    whole_execution(id).into_iter().take(5).collect()
}

fn end(id: &str, state: ExecutionState) -> RecordBody {
    let error = (state == ExecutionState::Cancelled).then(Failure::cancelled);
    fact(
        id,
        Fact::Finished {
            state,
            output: None,
            error,
        },
    )
}

async fn row(app: &App, id: &str) -> Execution {
    app.execution(&name(id)).await.unwrap().execution
}

async fn cancel(app: &App, id: &str, how: Cancel) -> Result<Execution, &'static str> {
    match app.cancel_execution(&actor(), &name(id), how).await {
        Ok(detail) => Ok(detail.execution),
        Err(Error::Precondition { reason, .. }) => Err(reason),
        Err(error) => panic!("{error}"),
    }
}

async fn to_end(app: &App, of: &str) -> Vec<String> {
    let all = app.cancellations_for(&node(of), None, 10).await.unwrap();
    all.into_iter().map(|row| row.id).collect()
}

async fn create(app: &App) {
    let id = "w".parse().unwrap();
    app.create_workflow(&actor(), &project(), &id, definition_of(TWO), true, "")
        .await
        .unwrap();
}

/// An execution that is to start; gives its id.
async fn start(app: &App) -> String {
    let workflow = "projects/default/workflows/w".parse().unwrap();
    let request: RunRequest<'_> = run("{}", "");
    let started = app.run_workflow(&actor(), &workflow, request, decode).await;
    started.unwrap().id
}

#[tokio::test]
async fn what_a_node_does_not_know_ends_once_it_was_asked_and_not_otherwise() {
    each_database(async |store| {
        let app = app(store);
        let now = Timestamp::now();
        for id in ["lost", "ended"] {
            apply(&app, "n1", id, under_way(id), now).await;
        }
        let unknown = async |at: &str, id: &str| {
            app.unknown_at_node(&node(at), &name(id)).await.unwrap();
            row(&app, id).await
        };
        // Nobody wants its end.
        assert_eq!(unknown("n1", "lost").await.end_time_us, None);
        for id in ["lost", "ended"] {
            cancel(&app, id, Cancel::Ask).await.unwrap();
        }
        // It is not that node's.
        assert_eq!(unknown("n2", "lost").await.end_time_us, None);
        // Its report was on its way: it has ended as it did.
        let mut late = under_way("ended");
        late.push(end("ended", ExecutionState::Succeeded));
        apply(&app, "n1", "ended again", late, now).await;
        let before = row(&app, "ended").await;
        assert_eq!(unknown("n1", "ended").await, before);
        assert_eq!(before.state, "SUCCEEDED");

        let ended = unknown("n1", "lost").await;
        assert_eq!(
            (ended.state.as_str(), ended.error_code.as_deref()),
            ("CANCELLED", Some("NODE_LOST"))
        );
        assert!(ended.end_time_us.is_some() && !ended.is_left_at_node);
        let steps = app.execution(&name("lost")).await.unwrap().steps;
        let (step, attempts) = &steps[0];
        assert_eq!(step.state, "CANCELLED");
        assert!(step.end_time_us.is_some() && attempts[0].end_time_us.is_some());
        assert!(to_end(&app, "n1").await.is_empty());
        assert_eq!(unknown("n1", "lost").await, ended);
        app.unknown_at_node(&node("n1"), &name("nobody"))
            .await
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn what_a_node_that_is_gone_had_ends_by_force_and_is_ended_there_when_it_comes_back() {
    each_database(async |store| {
        let app = app(store.clone());
        create(&app).await;
        let now = Timestamp::now();
        app.node_connected(&node("n1"), Arrival::by("s1", 0))
            .await
            .unwrap();
        apply(&app, "n1", "i", under_way("x"), now).await;
        apply(&app, "n1", "j", under_way("y"), now).await;
        assert_eq!(
            cancel(&app, "x", Cancel::Force).await,
            Err("NODE_CONNECTED")
        );
        // Refused as a whole.
        assert_eq!(row(&app, "x").await.cancel_time_us, None);
        cancel(&app, "x", Cancel::Ask).await.unwrap();
        let asked = row(&app, "x").await.cancel_time_us;
        app.nodes_disconnected(&[(node("n1"), "s1".to_owned())])
            .await
            .unwrap();
        let ended = cancel(&app, "x", Cancel::Force).await.unwrap();
        assert_eq!(
            (ended.state.as_str(), ended.error_code.as_deref()),
            ("CANCELLED", Some("NODE_LOST"))
        );
        assert_eq!(ended.cancel_time_us, asked);
        cancel(&app, "y", Cancel::Force).await.unwrap();
        assert_eq!(
            cancel(&app, "x", Cancel::Force).await,
            Err("EXECUTION_ENDED")
        );
        // It can be run again.
        let again = retry(&app, "x", request(RetryMode::Whole, ""))
            .await
            .unwrap();
        assert_eq!(again.retry_of.as_deref(), Some("x"));

        // The node is back: it is told, and what it says changes nothing.
        assert_eq!(to_end(&app, "n1").await, ["x", "y"]);
        let errands = store.open_errands().await.unwrap();
        assert_eq!(errands.nodes, BTreeSet::from(["n1".to_owned()]));
        let step = whole_execution("x").remove(8);
        apply(&app, "n1", "k", vec![step], now).await;
        let after = row(&app, "x").await;
        assert_eq!(after, ended);
        apply(
            &app,
            "n1",
            "l",
            vec![end("x", ExecutionState::Succeeded)],
            now,
        )
        .await;
        let after = row(&app, "x").await;
        assert_eq!(
            (
                after.state.as_str(),
                after.end_time_us,
                after.is_left_at_node
            ),
            ("CANCELLED", ended.end_time_us, false)
        );
        assert_eq!(to_end(&app, "n1").await, ["y"]);
        // Or it does not know it.
        app.unknown_at_node(&node("n1"), &name("y")).await.unwrap();
        assert!(to_end(&app, "n1").await.is_empty());
        assert!(store.open_errands().await.unwrap().nodes.is_empty());
        let purged = purge(&app, now + days(31)).await;
        assert_eq!(purged.iter().sum::<u64>(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_command_that_a_lost_node_was_given_ends_by_force_and_starts_nothing_any_more() {
    each_database(async |store| {
        let app = app(store);
        create(&app).await;
        app.node_connected(&node("n1"), Arrival::by("s1", 0))
            .await
            .unwrap();
        let given = start(&app).await;
        assert_eq!(app.commands_for(&node("n1"), false).await.unwrap().len(), 1);
        assert_eq!(
            cancel(&app, &given, Cancel::Force).await,
            Err("NODE_CONNECTED")
        );
        // One that no node has needs no force, and is not left anywhere.
        let free = start(&app).await;
        assert!(
            !cancel(&app, &free, Cancel::Force)
                .await
                .unwrap()
                .is_left_at_node
        );

        // A node that took its command and never reported is not asked to end it: it may even be connected.
        let taken = start(&app).await;
        let commands = app.commands_for(&node("n1"), false).await.unwrap();
        assert_eq!(commands.len(), 1);
        app.command_answered(&node("n1"), &commands[0].id, true)
            .await
            .unwrap();
        cancel(&app, &taken, Cancel::Force).await.unwrap();

        app.nodes_disconnected(&[(node("n1"), "s1".to_owned())])
            .await
            .unwrap();
        let ended = cancel(&app, &given, Cancel::Force).await.unwrap();
        assert_eq!(ended.node.as_deref(), Some("n1"));
        for at in ["n1", "n2"] {
            assert!(app.commands_for(&node(at), true).await.unwrap().is_empty());
        }
        // It has begun there after all.
        let now = Timestamp::now();
        apply(&app, "n1", "i", under_way(&given), now).await;
        assert_eq!(row(&app, &given).await, ended);
        let mut left = to_end(&app, "n1").await;
        left.sort();
        let mut expected = [given, taken];
        expected.sort();
        assert_eq!(left, expected);
    })
    .await;
}

#[tokio::test]
async fn what_was_cancelled_and_is_refused_is_given_to_no_other_node() {
    each_database(async |store| {
        let app = app(store);
        create(&app).await;
        let (cancelled, other) = (start(&app).await, start(&app).await);
        let given = app.commands_for(&node("n1"), false).await.unwrap();
        assert_eq!(given.len(), 2);
        let asked = cancel(&app, &cancelled, Cancel::Ask).await.unwrap();
        assert_eq!(asked.end_time_us, None);
        for command in &given {
            // An answer of a node that does not have it changes nothing.
            for at in ["n2", "n1"] {
                app.command_answered(&node(at), &command.id, false)
                    .await
                    .unwrap();
            }
        }
        let free = app.commands_for(&node("n2"), false).await.unwrap();
        let free: Vec<_> = free.iter().map(|command| &command.execution).collect();
        assert_eq!(free, [&other]);
        let ended = row(&app, &cancelled).await;
        assert_eq!(
            (ended.state.as_str(), ended.error_code.as_deref()),
            ("CANCELLED", Some("CANCELLED"))
        );
        assert_eq!(row(&app, &other).await.end_time_us, None);
    })
    .await;
}

#[tokio::test]
async fn a_node_is_asked_for_the_end_of_all_in_turn() {
    each_database(async |store| {
        let app = app(store.clone());
        let now = Timestamp::now();
        let mut ids: Vec<_> = (0..7).map(|n| format!("x{n}")).collect();
        for id in &ids {
            apply(&app, "n1", id, vec![accepted(id)], now).await;
            cancel(&app, id, Cancel::Ask).await.unwrap();
        }
        // Some at the same time.
        let sql = "UPDATE executions SET cancel_time_us = 7 WHERE id < 'x5'";
        store.db.execute_unprepared(sql).await.unwrap();
        let mut after = None;
        let mut seen = Vec::new();
        for expected in [3, 3, 1, 0] {
            let page = app
                .cancellations_for(&node("n1"), after.as_ref(), 3)
                .await
                .unwrap();
            assert_eq!(page.len(), expected);
            if let Some(row) = page.last() {
                after = Some((row.cancel_time_us.unwrap(), row.id.clone()));
            }
            seen.extend(page.into_iter().map(|row| row.id));
        }
        seen.sort();
        ids.sort();
        assert_eq!(seen, ids);
        for after in [None, Some((7, "x1".to_owned()))] {
            let plan = plans::plan(&store, &to_stop(&node("n1"), after.as_ref(), 3)).await;
            assert!(plan.contains("executions_to_stop"), "{plan}");
            assert!(!plan.contains("SCAN") && !plan.contains("Sort"), "{plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{plan}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_reported_late_is_kept_from_then_on() {
    each_database(async |store| {
        let app = app(store);
        let now = Timestamp::now();
        // The node was away for longer than history is kept.
        apply(&app, "n1", "i", whole_execution("late"), now - days(40)).await;
        apply(&app, "n1", "j", whole_execution("usual"), now).await;
        assert!(row(&app, "late").await.late_report_us.is_some());
        assert_eq!(row(&app, "usual").await.late_report_us, None);
        assert!(purge(&app, now).await.is_empty());
        assert!(purge(&app, now + days(29)).await.is_empty());
        assert_eq!(purge(&app, now + days(31)).await, [2]);
    })
    .await;
}
