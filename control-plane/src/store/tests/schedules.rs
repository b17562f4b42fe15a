//! Schedules tick once, whoever looks.

use std::time::Duration;

use sea_orm::Statement;

use super::{retention::count, *};
use crate::{app::Looks, store::ExecutionFilter};

fn wname() -> WorkflowName {
    "projects/default/workflows/w".parse().unwrap()
}

async fn create(app: &App, trigger: &str) {
    let new = spec(trigger, "'1'");
    app.create_workflow(&actor(), &project(), &wname().workflow, new, true, "")
        .await
        .unwrap();
}

/// The times of the ticks that there are.
async fn ticks(app: &App) -> Vec<Timestamp> {
    let all = app
        .executions(&project(), &ExecutionFilter::default(), &Page::first(1000))
        .await
        .unwrap();
    let mut times: Vec<Timestamp> = all
        .rows
        .iter()
        .map(|row| {
            assert_eq!(row.trigger_kind, "SCHEDULE");
            row.message_id.parse().unwrap()
        })
        .collect();
    times.sort();
    times
}

async fn look(app: &App, now: Timestamp) -> Option<Timestamp> {
    app.tick(now, &mut Looks::default(), definition::decode)
        .await
        .unwrap()
}

fn later(time: Timestamp, seconds: i64) -> Timestamp {
    time.checked_add(jiff::SignedDuration::from_secs(seconds))
        .unwrap()
}

/// The first whole 10 seconds after now, by which the schedules here go; and there is time until then.
async fn first_tick() -> Timestamp {
    loop {
        let now = Timestamp::now().as_second();
        if now % 10 < 5 {
            return Timestamp::from_second(now - now % 10 + 10).unwrap();
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn replicas_and_restarts_make_each_tick_once() {
    each_database(async |store| {
        let (one, other) = (app(store.clone()), app(store.clone()));
        create(&one, "schedule: {rate: 10s, input: {n: 1}}").await;
        let first = first_tick().await;
        assert_eq!(look(&one, later(first, -1)).await, Some(first));
        assert!(ticks(&one).await.is_empty());
        for n in 0..5 {
            let now = later(first, 10 * n + 1);
            let (a, b) = tokio::join!(look(&one, now), look(&other, now));
            assert_eq!([a, b], [Some(later(first, 10 * n + 10)); 2]);
            look(&other, now).await;
        }
        let expected: Vec<_> = (0..5).map(|n| later(first, 10 * n)).collect();
        assert_eq!(ticks(&one).await, expected);
        let taken = one.commands_for(&node("n1"), false).await.unwrap();
        assert_eq!(taken.len(), 5);
        assert!(
            taken
                .iter()
                .all(|command| command.input_json == r#"{"n":1}"#)
        );
        let times: BTreeSet<_> = taken
            .iter()
            .map(|command| command.schedule_time_us)
            .collect();
        assert_eq!(times.len(), 5);

        // What was missed is skipped; a clock that is set back makes nothing again.
        look(&one, later(first, 101)).await;
        look(&one, later(first, 1)).await;
        let all = ticks(&one).await;
        assert_eq!(all.len(), 6);
        assert_eq!(all[5], later(first, 100));

        // A command of a version that is not the published one any more brings its definition.
        assert!(one.superseded_source(&taken[0]).await.unwrap().is_none());
        let new = spec("schedule: {rate: 20s}", "'2'");
        one.update_workflow(&actor(), &wname(), new, true, "")
            .await
            .unwrap();
        let source = one.superseded_source(&taken[0]).await.unwrap().unwrap();
        let workflow = decode(&source).unwrap();
        assert!(matches!(
            workflow.trigger(),
            signalbox_model::workflow::Trigger::Schedule(_)
        ));
    })
    .await;
}

#[tokio::test]
async fn missed_ticks_run_by_the_policy() {
    for (policy, expected) in [
        ("MISFIRE_POLICY_SKIP", vec![100]),
        ("MISFIRE_POLICY_RUN_ONCE", vec![90, 100]),
        (
            "MISFIRE_POLICY_RUN_ALL, misfireMax: 3",
            vec![70, 80, 90, 100],
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let app = app(sqlite(dir.path()).await);
        create(&app, &format!("schedule: {{rate: 10s, misfire: {policy}}}")).await;
        let first = first_tick().await;
        look(&app, later(first, 103)).await;
        let expected: Vec<_> = expected.into_iter().map(|n| later(first, n)).collect();
        assert_eq!(ticks(&app).await, expected, "{policy}");
    }
}

#[tokio::test]
async fn only_what_is_published_and_enabled_ticks() {
    let dir = tempfile::tempdir().unwrap();
    let app = app(sqlite(dir.path()).await);
    create(
        &app,
        "schedule: {rate: 10s, misfire: MISFIRE_POLICY_RUN_ALL}",
    )
    .await;
    let first = first_tick().await;
    let enable = async |enabled| {
        app.set_workflow_enabled(&actor(), &wname(), enabled, "")
            .await
            .unwrap();
    };
    enable(false).await;
    assert_eq!(look(&app, later(first, 1)).await, None);
    assert!(ticks(&app).await.is_empty());
    enable(true).await;
    look(&app, later(first, 21)).await;
    assert_eq!(ticks(&app).await.len(), 3);

    let upcoming = app.upcoming(&wname(), first, 2, decode).await.unwrap();
    assert_eq!(upcoming.version, 1);
    assert_eq!(upcoming.ticks[1].0, later(first, 20));
    // A version with another trigger ends it, one with a schedule begins it anew.
    let update = async |trigger: &str| {
        let new = spec(trigger, "'1'");
        app.update_workflow(&actor(), &wname(), new, true, "")
            .await
            .unwrap();
    };
    update("manual: {}").await;
    assert_eq!(look(&app, later(first, 41)).await, None);
    assert_eq!(ticks(&app).await.len(), 3);
    let none = app.upcoming(&wname(), first, 2, decode).await;
    assert!(matches!(
        none,
        Err(Error::Precondition {
            reason: "NO_SCHEDULE",
            ..
        })
    ));
    let end = later(first, 65);
    update(&format!("schedule: {{rate: 60s, endTime: '{end}'}}")).await;
    look(&app, later(first, 600)).await;
    assert_eq!(
        look(&app, later(first, 601))
            .await
            .map(Timestamp::as_second),
        None
    );
    app.delete_workflow(&actor(), &wname(), "").await.unwrap();
    assert_eq!(look(&app, later(first, 700)).await, None);
    assert!(store_is_empty(&app).await);
}

#[tokio::test]
async fn however_many_tick_at_once_none_is_missed_for_that() {
    const COUNT: usize = 700;
    let dir = tempfile::tempdir().unwrap();
    let store = sqlite(dir.path()).await;
    let app = app(store.clone());
    create(&app, "schedule: {rate: 10s}").await;
    let first = first_tick().await;
    let sql = |table: &str, columns: &str| {
        format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {COUNT}) \
             INSERT INTO {table} SELECT {columns} FROM {table} CROSS JOIN n"
        )
    };
    // More of the same.
    for table in ["workflows", "workflow_versions", "schedules"] {
        let columns = columns_of(&store, table).await;
        let id = if table == "workflows" {
            "id"
        } else {
            "workflow"
        };
        let copied: Vec<_> = columns
            .iter()
            .map(|column| match column == id {
                true => format!("{id} || i"),
                false => column.clone(),
            })
            .collect();
        let insert = sql(table, &copied.join(", "));
        store.db.execute_unprepared(&insert).await.unwrap();
    }
    assert_eq!(look(&app, later(first, 4)).await, Some(later(first, 10)));
    let all = async || usize::try_from(count(&store, "executions", "1 = 1").await).unwrap();
    assert_eq!(all().await, COUNT + 1);

    // A look that took long is no reason for the next to miss what came meanwhile.
    let mut looks = Looks::default();
    let tick = async |looks: &mut Looks, seconds| {
        let ticked = app.tick(later(first, seconds), looks, definition::decode);
        ticked.await.unwrap();
        all().await
    };
    assert_eq!(tick(&mut looks, 14).await, 2 * (COUNT + 1));
    looks.ended(later(first, 14), Duration::from_secs(15), true);
    assert_eq!(tick(&mut looks, 29).await, 3 * (COUNT + 1));
    // Nor are several that did not see to all.
    looks.ended(later(first, 29), Duration::from_secs(8), false);
    looks.ended(later(first, 37), Duration::from_secs(9), false);
    assert_eq!(tick(&mut looks, 46).await, 5 * (COUNT + 1));
    // But nobody looked for a time.
    looks.ended(later(first, 46), Duration::from_secs(1), true);
    assert_eq!(tick(&mut looks, 59).await, 5 * (COUNT + 1));
}

async fn columns_of(store: &Store, table: &str) -> Vec<String> {
    let sql = format!("SELECT name FROM pragma_table_info('{table}')");
    let backend = store.db.get_database_backend();
    let rows = store.db.query_all_raw(Statement::from_string(backend, sql));
    let rows = rows.await.unwrap();
    rows.iter()
        .map(|row| row.try_get_by_index(0).unwrap())
        .collect()
}

#[tokio::test]
async fn a_version_ticks_from_its_publication_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = sqlite(dir.path()).await;
    let app = app(store.clone());
    create(&app, "schedule: {rate: 3600s}").await;
    let now = Timestamp::now();
    look(&app, now).await;
    let publish = async |rate: &str| {
        let new = spec(&format!("schedule: {{rate: {rate}}}"), "'2'");
        app.update_workflow(&actor(), &wname(), new, true, "")
            .await
            .unwrap();
    };
    // The new one would have ticked a moment ago.
    publish("1s").await;
    let after_us = store_after(&store).await;
    assert!(after_us >= now.as_microsecond(), "{after_us}");
    look(&app, later(now, 2)).await;
    assert!(ticks(&app).await.iter().all(|tick| *tick > now));
    assert!(!ticks(&app).await.is_empty());

    // The one before has ticked a moment ago, and was not seen to.
    let at = Timestamp::now().as_microsecond();
    let sql = format!("UPDATE schedules SET after_us = {at} - 1, next_us = {at}");
    store.db.execute_unprepared(&sql).await.unwrap();
    publish("2s").await;
    let after_us = store_after(&store).await;
    let was_slow = after_us >= at && after_us <= Timestamp::now().as_microsecond() - 5_000_000;
    assert!(after_us == at - 1 || was_slow, "{after_us}, {at}");
    // Too long ago.
    let at = Timestamp::now().as_microsecond() - 60_000_000;
    let sql = format!("UPDATE schedules SET after_us = {at} - 1, next_us = {at}");
    store.db.execute_unprepared(&sql).await.unwrap();
    publish("3s").await;
    assert!(store_after(&store).await > at + 50_000_000);
}

async fn store_after(store: &Store) -> i64 {
    let sql = "SELECT after_us FROM schedules";
    let backend = store.db.get_database_backend();
    let row = store.db.query_one_raw(Statement::from_string(backend, sql));
    row.await.unwrap().unwrap().try_get_by_index(0).unwrap()
}

async fn store_is_empty(app: &App) -> bool {
    let due = app.store().due_schedules(i64::MAX, 10).await.unwrap();
    due.is_empty()
}
