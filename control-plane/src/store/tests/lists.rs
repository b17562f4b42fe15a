//! Lists and their pages; what changed since.

use super::*;

/// Executions x1 to x`count`, reported in batches of 40.
async fn accept_so_many(app: &App, count: u64) {
    let records: Vec<_> = (1..=count)
        .map(|n| record(n, accepted(&format!("x{n}"))))
        .collect();
    for part in records.chunks(40) {
        let last = part.last().unwrap().sequence;
        app.apply_records(&node("n1"), "i", part, last, decode_any)
            .await
            .unwrap();
    }
}

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
        accept_so_many(&app, 45).await;
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

/// A definition of so many bytes, as it is stored.
fn large(n: usize, bytes: usize) -> NewWorkflow {
    let mut new = spec("manual: {}", &format!("'{n}'"));
    let source = &mut new.definition.source;
    // A field that nobody knows.
    let padding = vec![0_u8; bytes - source.len()];
    prost::encoding::bytes::encode(1000, &padding, source);
    new
}

#[tokio::test]
async fn a_page_ends_where_its_rows_are_large() {
    const ROW: usize = 100_000;
    const ROWS: usize = 80;
    each_database(async |store| {
        let app = app(store);
        let name: WorkflowName = "projects/default/workflows/w".parse().unwrap();
        let new = large(1, ROW);
        app.create_workflow(&actor(), &project(), &name.workflow, new, true, "")
            .await
            .unwrap();
        for n in 2..=ROWS {
            app.update_workflow(&actor(), &name, large(n, ROW), false, "")
                .await
                .unwrap();
        }
        let walk = async |size| {
            let mut page = Page::first(size);
            let mut pages = Vec::new();
            loop {
                let PageOf { rows, next } = app.versions(&name, &page).await.unwrap();
                pages.push(rows.iter().map(|row| row.version).collect::<Vec<_>>());
                match next {
                    Some(next) => page.after = Some(next),
                    None => return pages,
                }
            }
        };
        let newest_first: Vec<_> = (1..=i64::try_from(ROWS).unwrap()).rev().collect();
        // 31 have 3,100,000 bytes, and the bound is 3 MiB.
        let by_bytes = walk(1000).await;
        assert_eq!(
            by_bytes.iter().map(Vec::len).collect::<Vec<_>>(),
            [31, 31, 18]
        );
        assert_eq!(by_bytes.concat(), newest_first);
        let by_rows = walk(20).await;
        assert_eq!(by_rows.iter().map(Vec::len).collect::<Vec<_>>(), [20; 4]);
        assert_eq!(by_rows.concat(), newest_first);
        // One that is larger than a page is a page.
        for n in 0..2 {
            let new = large(1000 + n, PAGE_MAX_BYTES + 1);
            app.update_workflow(&actor(), &name, new, false, "")
                .await
                .unwrap();
        }
        let alone = walk(1000).await;
        assert_eq!(
            alone.iter().map(Vec::len).collect::<Vec<_>>(),
            [1, 1, 31, 31, 18]
        );
    })
    .await;
}

#[tokio::test]
async fn a_page_is_read_in_parts_and_skips_and_repeats_nothing() {
    each_database(async |store| {
        let app = app(store);
        accept_so_many(&app, 230).await;
        let all = ExecutionFilter::default();
        for (size, expected) in [
            (1000, &[230][..]),
            (115, &[115, 115]),
            (50, &[50, 50, 50, 50, 30]),
            (51, &[51, 51, 51, 51, 26]),
        ] {
            for order in [Order::Ascending, Order::Descending] {
                let mut page = Page {
                    order,
                    ..Page::first(size)
                };
                let (mut sizes, mut found) = (Vec::new(), BTreeSet::new());
                loop {
                    let PageOf { rows, next } =
                        app.executions(&project(), &all, &page).await.unwrap();
                    sizes.push(rows.len());
                    for row in rows {
                        assert!(found.insert(row.id), "none twice");
                    }
                    match next {
                        Some(next) => page.after = Some(next),
                        None => break,
                    }
                }
                assert_eq!((sizes.as_slice(), found.len()), (expected, 230));
            }
        }
    })
    .await;
}
