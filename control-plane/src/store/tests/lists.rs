//! Lists and their pages; what changed since.

use super::*;

#[tokio::test]
async fn lists_have_both_orders_and_bounds_of_time() {
    each_database(async |store| {
        let app = app(store);
        for n in 1..=5 {
            let records = [record(n, accepted(&format!("x{n}")))];
            app.apply_records(&node("n1"), "i", &records, n, decode_any)
                .await
                .unwrap();
        }
        let list = async |filter: &ExecutionFilter, order| {
            let mut page = Page {
                order,
                ..Page::first(2)
            };
            let mut found = Vec::new();
            loop {
                let PageOf { rows, next } =
                    app.executions(&project(), filter, &page).await.unwrap();
                found.extend(rows.into_iter().map(|row| (row.create_time_us, row.id)));
                match next {
                    Some(next) => page.after = Some(next),
                    None => return found,
                }
            }
        };
        let all = ExecutionFilter::default();
        let mut newest_first = list(&all, Order::Descending).await;
        assert_eq!(newest_first.len(), 5);
        let oldest_first = list(&all, Order::Ascending).await;
        newest_first.reverse();
        assert_eq!(oldest_first, newest_first);
        let created = Times {
            from: Some(oldest_first[1].0),
            until: Some(oldest_first[4].0),
        };
        let between = ExecutionFilter { created, ..all };
        let expected: Vec<_> = oldest_first
            .iter()
            .filter(|row| (oldest_first[1].0..oldest_first[4].0).contains(&row.0))
            .cloned()
            .collect();
        assert_eq!(list(&between, Order::Ascending).await, expected);
    })
    .await;
}

#[tokio::test]
async fn what_changed_together_is_seen_piece_by_piece_and_whole() {
    each_database(async |store| {
        let app = app(store);
        let records: Vec<_> = (1..=45)
            .map(|n| record(n, accepted(&format!("x{n}"))))
            .collect();
        for part in records.chunks(40) {
            let last = part.last().unwrap().sequence;
            app.apply_records(&node("n1"), "i", part, last, decode_any)
                .await
                .unwrap();
        }
        let mut seen = (0, String::new());
        let mut found = BTreeSet::new();
        let mut pieces = 0;
        loop {
            let all = ExecutionFilter::default();
            let rows = app
                .store()
                .executions_changed_since(&project(), &all, &seen, 7)
                .await
                .unwrap();
            let Some(last) = rows.last() else { break };
            seen = (last.history, last.id.clone());
            pieces += 1;
            for row in rows {
                assert!(found.insert(row.id), "none twice");
            }
        }
        assert_eq!((found.len(), pieces), (45, 7));
    })
    .await;
}

#[tokio::test]
async fn what_is_committed_between_two_queries_of_one_reading_shows_in_neither() {
    each_database(async |store| {
        let app = app(store.clone());
        let records: Vec<_> = (1..).zip(whole_execution("x")).collect();
        let apply = async |(n, body): &(u64, RecordBody)| {
            let records = [record(*n, body.clone())];
            app.apply_records(&node("n1"), "i", &records, *n, decode_any)
                .await
                .unwrap();
        };
        // The certificate, and that the message was accepted.
        let (first, rest) = records.split_at(2);
        for one in first {
            apply(one).await;
        }
        let name = "projects/default/executions/x".parse().unwrap();
        let seen = async |db: &sea_orm::DatabaseTransaction| {
            let detail = history::detail(db, &name).await.unwrap();
            (detail.execution.state, detail.steps.len())
        };
        let twice = store.read(async |db| {
            let before = seen(db).await;
            for one in rest {
                apply(one).await;
            }
            Ok((before, seen(db).await))
        });
        let (before, meanwhile) = twice.await.unwrap();
        assert_eq!(before, meanwhile);
        let after = app.execution(&name).await.unwrap();
        assert_ne!(before, (after.execution.state, after.steps.len()));
    })
    .await;
}
