//! Lists of the history are read from an index, entered where the page begins: what they cost does not grow with the history.

use sea_orm::{ConnectionTrait as _, DatabaseBackend, Statement, TransactionTrait};

use super::*;
use crate::store::history::{changed_since, listing};

/// How a database would run a query, as it says it.
pub(super) async fn plan(store: &Store, query: &impl sea_orm::QueryTrait) -> String {
    let backend = store.db.get_database_backend();
    let Statement { sql, values, .. } = query.build(backend);
    let (explain, column) = match backend {
        DatabaseBackend::Sqlite => ("EXPLAIN QUERY PLAN", "detail"),
        _ => ("EXPLAIN", "QUERY PLAN"),
    };
    let transaction = store.db.begin().await.unwrap();
    if backend == DatabaseBackend::Postgres {
        // Of an empty table all is read sooner than an index.
        for way in ["seqscan", "bitmapscan", "sort"] {
            let off = format!("SET LOCAL enable_{way} = off");
            transaction.execute_unprepared(&off).await.unwrap();
        }
    }
    let explained = Statement {
        sql: format!("{explain} {sql}"),
        values,
        db_backend: backend,
    };
    let rows = transaction.query_all_raw(explained).await.unwrap();
    let lines = rows
        .iter()
        .map(|row| row.try_get::<String>("", column).unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

fn filters() -> Vec<(&'static str, ExecutionFilter)> {
    let text = || Some("x".to_owned());
    let all = ExecutionFilter::default();
    vec![
        ("executions_by_time", all.clone()),
        (
            "executions_by_time",
            ExecutionFilter {
                created: Times {
                    from: Some(1),
                    until: Some(9),
                },
                ..all.clone()
            },
        ),
        (
            "executions_by_workflow",
            ExecutionFilter {
                workflow: text(),
                ..all.clone()
            },
        ),
        (
            "executions_by_state",
            ExecutionFilter {
                state: text(),
                ..all.clone()
            },
        ),
        (
            "executions_by_workflow_and_state",
            ExecutionFilter {
                workflow: text(),
                state: text(),
                ..all.clone()
            },
        ),
        (
            "executions_by_topic",
            ExecutionFilter {
                topic_arn: text(),
                ..all.clone()
            },
        ),
        (
            "executions_by_key",
            ExecutionFilter {
                api_key: text(),
                ..all.clone()
            },
        ),
        (
            "executions_by_trigger",
            ExecutionFilter {
                trigger: text(),
                ..all.clone()
            },
        ),
        (
            "executions_of_message",
            ExecutionFilter {
                message_id: text(),
                ..all.clone()
            },
        ),
        (
            "executions_of_parent",
            ExecutionFilter {
                parent: text(),
                ..all
            },
        ),
    ]
}

#[tokio::test]
async fn executions_are_listed_from_an_index_by_each_field() {
    each_database(async |store| {
        for (index, filter) in filters() {
            for order in [Order::Descending, Order::Ascending] {
                for after in [None, Some((7, "e".to_owned()))] {
                    let is_later_page = after.is_some();
                    let page = Page {
                        order,
                        after,
                        ..Page::first(50)
                    };
                    let plan = plan(&store, &listing(&project(), &filter, &page)).await;
                    let lines: Vec<&str> = plan.lines().collect();
                    assert!(plan.contains(index), "{filter:?}: {plan}");
                    assert!(!plan.contains("SCAN"), "{filter:?}: {plan}");
                    assert!(!plan.contains("Seq Scan"), "{filter:?}: {plan}");
                    assert!(
                        !plan.contains("TEMP B-TREE") && !plan.contains("Sort"),
                        "{filter:?}: {plan}"
                    );
                    if is_later_page {
                        let enters = |line: &&&str| {
                            let condition =
                                line.contains("USING INDEX") || line.contains("Index Cond");
                            condition && line.contains("create_time_us")
                        };
                        assert!(lines.iter().any(|line| enters(&line)), "{filter:?}: {plan}");
                    }
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn what_changed_since_is_read_from_where_that_was() {
    each_database(async |store| {
        let seen = (7, "e".to_owned());
        let query = changed_since(&project(), &ExecutionFilter::default(), &seen, 100);
        let plan = plan(&store, &query).await;
        assert!(plan.contains("executions_by_history"), "{plan}");
        let enters = plan.contains("history>?") || plan.contains("history >= ");
        assert!(enters && !plan.contains("SCAN"), "{plan}");
    })
    .await;
}
