//! The audit log: that it is a chain, whoever writes, and that it cannot be changed unnoticed.

use futures::future::join_all;
use sea_orm::DatabaseBackend;
use signalbox_model::audit::{Broken, Head, Verifier};

use super::*;
use crate::store::{AuditFilter, Audited};

async fn all(store: &Store) -> Vec<Audited> {
    let mut all = Vec::new();
    let mut page = Page::first(7);
    loop {
        let found = store
            .audits(Some(&project()), &AuditFilter::default(), &page)
            .await
            .unwrap();
        all.extend(found.rows);
        if found.next.is_none() {
            return all;
        }
        page.after = found.next;
    }
}

async fn verify(store: &Store, noted: Option<Head>) -> Result<(u64, Option<Head>), Broken> {
    let mut verifier = Verifier::new(noted);
    for Audited { entry, hash } in all(store).await {
        verifier.take(entry, hash);
    }
    verifier.finish()
}

async fn note(store: &Store, action: &str, resource: &str) {
    store
        .write(async |tx| {
            tx.audit(&actor(), action, resource, Vec::new());
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_make_one_chain_in_each_project() {
    const WRITERS: usize = 8;
    const EACH: usize = 6;
    each_database(async |store| {
        let write = async |writer: usize| {
            for number in 0..EACH {
                let id = format!("k{writer}-{number}").parse().unwrap();
                let new = NewKey::default();
                app(store.clone())
                    .create_key(&actor(), &project(), &id, new, "")
                    .await
                    .unwrap();
                note(&store, "Elsewhere", "projects/other/apiKeys/k").await;
                note(&store, "Nowhere", "masterKey").await;
            }
        };
        join_all((0..WRITERS).map(write)).await;
        let count = (WRITERS * EACH) as u64;
        let head = store.audit_head(Some(&project())).await.unwrap();
        assert_eq!(head.sequence, count);
        assert_eq!(verify(&store, Some(head)).await, Ok((count, Some(head))));
        let other = "other".parse().unwrap();
        for chain in [Some(&other), None] {
            assert_eq!(store.audit_head(chain).await.unwrap().sequence, count);
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_not_written_is_not_noted() {
    each_database(async |store| {
        let failed = store
            .write(async |tx| {
                tx.audit(
                    &actor(),
                    "CreateApiKey",
                    "projects/default/apiKeys/k",
                    Vec::new(),
                );
                Err::<(), _>(Error::not_found("x"))
            })
            .await;
        assert!(failed.is_err());
        assert_eq!(verify(&store, None).await, Ok((0, None)));
        note(&store, "CreateApiKey", "projects/default/apiKeys/k").await;
        assert_eq!(verify(&store, None).await.unwrap().0, 1);
    })
    .await;
}

#[tokio::test]
async fn entries_are_found_by_each_field() {
    each_database(async |store| {
        for (subject, action, id, trace) in [
            ("ann", "CreateApiKey", "k1", "t1"),
            ("ann", "RevealApiKey", "k1", "t2"),
            ("bob", "RevealApiKey", "k2", "t3"),
        ] {
            let actor = Actor {
                subject: subject.into(),
                request_id: Some(format!("r-{trace}")),
                trace_id: Some(trace.into()),
            };
            let resource = format!("projects/default/apiKeys/{id}");
            store
                .write(async |tx| {
                    tx.audit(&actor, action, &resource, Vec::new());
                    Ok(())
                })
                .await
                .unwrap();
        }
        let found = async |filter: AuditFilter| {
            let page = Page::first(10);
            let rows = store.audits(Some(&project()), &filter, &page).await;
            let rows = rows.unwrap().rows.into_iter();
            rows.map(|it| it.entry.sequence).collect::<Vec<_>>()
        };
        let some = |text: &str| Some(text.to_owned());
        for (filter, expected) in [
            (
                AuditFilter {
                    actor: some("ann"),
                    ..AuditFilter::default()
                },
                vec![2, 1],
            ),
            (
                AuditFilter {
                    action: some("RevealApiKey"),
                    ..AuditFilter::default()
                },
                vec![3, 2],
            ),
            (
                AuditFilter {
                    resource: some("projects/default/apiKeys/k1"),
                    action: some("RevealApiKey"),
                    ..AuditFilter::default()
                },
                vec![2],
            ),
            (
                AuditFilter {
                    trace_id: some("t3"),
                    ..AuditFilter::default()
                },
                vec![3],
            ),
            (
                AuditFilter {
                    request_id: some("r-t1"),
                    ..AuditFilter::default()
                },
                vec![1],
            ),
            (
                AuditFilter {
                    actor: some("eve"),
                    ..AuditFilter::default()
                },
                vec![],
            ),
        ] {
            assert_eq!(found(filter.clone()).await, expected, "{filter:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn nobody_changes_it_by_accident_and_nobody_unnoticed() {
    each_database(async |store| {
        for number in 0..6 {
            note(
                &store,
                "CreateApiKey",
                &format!("projects/default/apiKeys/k{number}"),
            )
            .await;
        }
        let head = store.audit_head(Some(&project())).await.unwrap();
        let is_sqlite = store.db.get_database_backend() == DatabaseBackend::Sqlite;
        let mut refused = vec![
            "UPDATE audit_entries SET actor = 'eve' WHERE sequence = 3",
            "DELETE FROM audit_entries WHERE sequence = 3",
        ];
        if !is_sqlite {
            refused.push("TRUNCATE audit_entries");
        }
        for statement in &refused {
            let error = store.db.execute_unprepared(statement).await.unwrap_err();
            assert!(error.to_string().contains("only added to"), "{error}");
        }
        assert_eq!(verify(&store, Some(head)).await, Ok((6, Some(head))));

        // Whoever may change the database may also take the triggers away.
        let open: &[&str] = if is_sqlite {
            &[
                "DROP TRIGGER audit_entries_no_update",
                "DROP TRIGGER audit_entries_no_delete",
            ]
        } else {
            &["ALTER TABLE audit_entries DISABLE TRIGGER USER"]
        };
        for statement in open.iter().chain(&refused[..1]) {
            store.db.execute_unprepared(statement).await.unwrap();
        }
        assert_eq!(verify(&store, Some(head)).await, Err(Broken::Altered(3)));
        for (statement, expected) in [
            (
                "UPDATE audit_entries SET actor = 'tester' WHERE sequence = 3",
                None,
            ),
            (
                "DELETE FROM audit_entries WHERE sequence = 6",
                Some(Broken::Truncated(6)),
            ),
            (
                "DELETE FROM audit_entries WHERE sequence = 2",
                Some(Broken::Missing(2)),
            ),
            (
                "DELETE FROM audit_entries WHERE sequence = 1",
                Some(Broken::Missing(1)),
            ),
        ] {
            store.db.execute_unprepared(statement).await.unwrap();
            assert_eq!(
                verify(&store, Some(head)).await.err(),
                expected,
                "{statement}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn what_an_earlier_version_noted_is_taken_over() {
    each_database(async |store| {
        for (time_us, action) in [(1, "CreateApiKey"), (2, "RevealApiKey")] {
            let statement = format!(
                "INSERT INTO audit (time_us, actor, action, resource, request_id) \
                 VALUES ({time_us}, 'old', '{action}', 'projects/default/apiKeys/k', NULL)"
            );
            store.db.execute_unprepared(&statement).await.unwrap();
        }
        store.adopt_audits().await.unwrap();
        note(&store, "DeleteApiKey", "projects/default/apiKeys/k").await;
        store.adopt_audits().await.unwrap();
        let entries = all(&store).await.into_iter();
        let entries: Vec<_> = entries
            .map(|it| (it.entry.sequence, it.entry.actor, it.entry.action))
            .collect();
        let expected = [
            (3, "tester", "DeleteApiKey"),
            (2, "old", "RevealApiKey"),
            (1, "old", "CreateApiKey"),
        ];
        let expected =
            expected.map(|(at, actor, action)| (at, actor.to_owned(), action.to_owned()));
        assert_eq!(entries, expected);
        assert_eq!(verify(&store, None).await.unwrap().0, 3);
    })
    .await;
}
