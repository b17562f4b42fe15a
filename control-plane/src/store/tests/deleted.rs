//! What is deleted comes back as it was, until it is purged; then nothing of it is left.

use sea_orm::Statement;
use signalbox_model::{
    ids::{SecretName, WorkflowId},
    labels::{LabelSelector, Labels},
};

use super::*;
use crate::{
    app::{Found, KeyChange},
    store::rows::{ApiKey, Workflow},
};

fn kname() -> ApiKeyName {
    "projects/default/apiKeys/k".parse().unwrap()
}

fn wname() -> WorkflowName {
    "projects/default/workflows/w".parse().unwrap()
}

fn desk() -> LabelSelector {
    LabelSelector::from([("team".to_owned(), "desk".to_owned())])
}

fn labels() -> Labels {
    Labels::new("labels", desk()).unwrap()
}

async fn count(store: &Store, table: &str) -> i64 {
    let sql = format!("SELECT COUNT(*) FROM {table}");
    let backend = store.db.get_database_backend();
    let row = store
        .db
        .query_one_raw(Statement::from_string(backend, sql))
        .await
        .unwrap();
    row.unwrap().try_get_by_index(0).unwrap()
}

#[track_caller]
fn reason<T: std::fmt::Debug>(refused: Result<T, Error>) -> &'static str {
    match refused {
        Err(Error::Precondition { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

/// Names a key and a secret, and has a topic that bound, a published version and a draft.
async fn make(app: &App) -> (ApiKey, String, Workflow) {
    let key = NewKey {
        labels: labels(),
        ..NewKey::default()
    };
    let (key, value) = app
        .create_key(&actor(), &project(), &kname().api_key, key, "")
        .await
        .unwrap();
    let secret: SecretName = "projects/default/secrets/s".parse().unwrap();
    app.create_secret(&actor(), &project(), &secret.secret, b"hunter22")
        .await
        .unwrap();
    let yaml = "trigger: {amazonSns: {apiKeys: [k]}}\nsteps: [{id: a, http: {url: 'https://x.test/${{ secrets.s }}'}}]";
    let spec: v1::WorkflowSpec = json::from_yaml_str(yaml).unwrap();
    let mut new = NewWorkflow {
        display_name: "A workflow".into(),
        description: String::new(),
        labels: labels(),
        definition: Definition {
            workflow: Arc::new(definition::workflow(&spec, &project()).unwrap()),
            source: definition::encode(&spec).to_vec(),
        },
    };
    let id: WorkflowId = wname().workflow;
    app.create_workflow(&actor(), &project(), &id, new.clone(), true, "")
        .await
        .unwrap();
    new.definition = super::spec("manual: {}", "'1'").definition;
    app.update_workflow(&actor(), &wname(), new, false, "")
        .await
        .unwrap();
    let confirmed = SubscriptionChange {
        workflow: wname(),
        topic_arn: "arn:one".into(),
        subscription_arn: None,
        state: SubscriptionState::Confirmed,
        confirm_attempts: 1,
        last_error: None,
    };
    let records = [record(1, RecordBody::Subscription(Box::new(confirmed)))];
    app.apply_records(&node("n1"), "i", &records, 1, decode_any)
        .await
        .unwrap();
    let row = app
        .set_workflow_enabled(&actor(), &wname(), false, "")
        .await
        .unwrap();
    assert_eq!(row.bound_topic.as_deref(), Some("arn:one"));
    (key, value.expose().to_owned(), row)
}

/// What the nodes are told after a revision.
async fn told(store: &Store, since: i64) -> Vec<String> {
    let (changes, _) = store.changes_since(since, 100).await.unwrap();
    let told = changes.into_iter().map(|change| match change {
        ConfigChange::Delete(name) => format!("gone {name}"),
        ConfigChange::Upsert(ConfigEntry::Key(row)) => format!("key {}", row.id),
        ConfigChange::Upsert(ConfigEntry::Workflow(row)) => {
            format!("workflow {} {}", row.id, row.source.is_some())
        }
        ConfigChange::Upsert(ConfigEntry::Secret(row)) => format!("secret {}", row.id),
        ConfigChange::Upsert(ConfigEntry::Project(row)) => format!("project {}", row.id),
    });
    told.collect()
}

#[tokio::test]
async fn what_is_deleted_comes_back_as_it_was() {
    each_database(async |store| {
        let app = app(store.clone());
        let (key, value, row) = make(&app).await;
        let head = *store.revision().borrow();

        app.delete_workflow(&actor(), &wname(), "").await.unwrap();
        // The workflow named it.
        app.delete_key(&actor(), &kname(), "").await.unwrap();
        let gone = [
            "gone projects/default/workflows/w",
            "gone projects/default/apiKeys/k",
        ];
        assert_eq!(told(&store, head).await, gone);
        let everything = told(&store, 0).await;
        assert!(
            everything.contains(&"secret s".to_owned()),
            "{everything:?}"
        );
        assert!(everything.iter().all(|it| !it.starts_with("key")));

        let (found, source) = app.workflow(&wname()).await.unwrap();
        let times = found.deletion.unwrap();
        let kept_us = i64::try_from(limits_of::DELETED_RETENTION.as_micros()).unwrap();
        assert_eq!(times.purge_time_us - times.delete_time_us, kept_us);
        assert_ne!(found.row.revision, row.revision, "its etag is another");
        let latest = app.store().workflow_version(&wname(), 2).await.unwrap();
        assert_eq!(source, latest.source);
        let versions = app.versions(&wname(), &Page::first(10)).await.unwrap();
        assert_eq!(versions.rows.len(), 2);

        listed(&app).await;
        nothing_else_is_done(&app).await;

        let refused = app
            .undelete_workflow(&actor(), &wname(), false, "\"1\"")
            .await;
        assert!(matches!(refused, Err(Error::Stale { .. })), "{refused:?}");
        let refused = app.undelete_workflow(&actor(), &wname(), false, "").await;
        let text = refused.as_ref().unwrap_err().to_string();
        assert!(
            text.contains("projects/default/apiKeys/k does not exist"),
            "{text}"
        );
        assert_eq!(reason(refused), "REFERENCES_GONE");
        let still = app.workflow(&wname()).await.unwrap().0;
        assert_eq!(still, found, "what is refused changes nothing");

        let head = *store.revision().borrow();
        let etag_of_it = etag(app.key(&kname()).await.unwrap().row.revision);
        let back = app
            .undelete_key(&actor(), &kname(), &etag_of_it)
            .await
            .unwrap();
        assert_eq!(
            back,
            ApiKey {
                revision: back.revision,
                ..key
            }
        );
        let revealed = app.reveal_key(&actor(), &kname()).await.unwrap();
        assert_eq!(revealed.expose(), value);
        let etag_of_it = etag(still.row.revision);
        let back = app
            .undelete_workflow(&actor(), &wname(), false, &etag_of_it)
            .await
            .unwrap();
        let as_it_was = Workflow {
            revision: back.revision,
            update_time_us: back.update_time_us,
            ..row
        };
        assert_eq!(back, as_it_was);
        assert_eq!(told(&store, head).await, ["key k", "workflow w true"]);
        assert_eq!(count(&store, "deleted_resources").await, 0);
        // What it names is in use again.
        let in_use = app.delete_key(&actor(), &kname(), "").await;
        assert_eq!(reason(in_use), "REFERENCED");
        let secret = "projects/default/secrets/s".parse().unwrap();
        let in_use = app.delete_secret(&actor(), &secret, "").await;
        assert_eq!(reason(in_use), "REFERENCED");
        let again = app.undelete_workflow(&actor(), &wname(), false, "").await;
        assert!(
            matches!(again, Err(Error::AlreadyExists { .. })),
            "{again:?}"
        );
        let again = app.undelete_key(&actor(), &kname(), "").await;
        assert!(
            matches!(again, Err(Error::AlreadyExists { .. })),
            "{again:?}"
        );
        let never = "projects/default/apiKeys/never".parse().unwrap();
        let never = app.undelete_key(&actor(), &never, "").await;
        assert!(matches!(never, Err(Error::NotFound { .. })), "{never:?}");
    })
    .await;
}

/// Of the key and the workflow, which are deleted.
async fn listed(app: &App) {
    let page = Page::first(10);
    for (selector, with_deleted, expected) in [
        (LabelSelector::new(), false, 0),
        (LabelSelector::new(), true, 1),
        (desk(), false, 0),
        (desk(), true, 1),
        (
            LabelSelector::from([("team".to_owned(), "x".to_owned())]),
            true,
            0,
        ),
    ] {
        let keys = app.keys(&project(), &selector, with_deleted, &page).await;
        let workflows = app
            .workflows(&project(), &selector, with_deleted, &page)
            .await;
        let found = (keys.unwrap().rows.len(), workflows.unwrap().rows.len());
        assert_eq!(found, (expected, expected), "{selector:?} {with_deleted}");
    }
}

async fn nothing_else_is_done(app: &App) {
    let (k, w) = (kname(), wname());
    let deleted = |reason: &str| assert_eq!(reason, "RESOURCE_DELETED");
    deleted(reason(
        app.update_key(&actor(), &k, KeyChange::default(), "").await,
    ));
    deleted(reason(app.revoke_key(&actor(), &k, "").await));
    deleted(reason(app.reveal_key(&actor(), &k).await.map(drop)));
    let definition = spec("manual: {}", "'1'");
    deleted(reason(
        app.update_workflow(&actor(), &w, definition.clone(), true, "")
            .await,
    ));
    deleted(reason(
        app.publish_workflow(&actor(), &w, 0, "", decode).await,
    ));
    deleted(reason(
        app.set_workflow_enabled(&actor(), &w, true, "").await,
    ));
    deleted(reason(
        app.run_workflow(&actor(), &w, run("{}", ""), decode).await,
    ));
    deleted(reason(app.webhook(&w, decode).await));
    deleted(reason(
        app.upcoming(&w, Timestamp::now(), 1, decode)
            .await
            .map(drop),
    ));
    // AIP-164.
    let again = app.delete_workflow(&actor(), &w, "").await;
    assert!(matches!(again, Err(Error::NotFound { .. })), "{again:?}");
    let again = app.delete_key(&actor(), &k, "").await;
    assert!(matches!(again, Err(Error::NotFound { .. })), "{again:?}");

    let taken = app
        .create_key(&actor(), &project(), &k.api_key, NewKey::default(), "")
        .await;
    let Err(Error::IdKept { resource }) = taken else {
        panic!("{taken:?}");
    };
    assert_eq!(resource, k.to_string());
    let taken = app
        .create_workflow(&actor(), &project(), &w.workflow, definition, true, "")
        .await;
    assert!(matches!(taken, Err(Error::IdKept { .. })), "{taken:?}");
}

#[tokio::test]
async fn a_schedule_goes_on_from_the_undelete() {
    each_database(async |store| {
        let app = app(store.clone());
        let trigger = "schedule: {rate: 1s, misfire: MISFIRE_POLICY_RUN_ALL, misfireMax: 100}";
        app.create_workflow(
            &actor(),
            &project(),
            &wname().workflow,
            spec(trigger, "'1'"),
            true,
            "",
        )
        .await
        .unwrap();
        let schedules = async || store.due_schedules(i64::MAX, 10).await.unwrap();
        assert_eq!(schedules().await.len(), 1);
        app.delete_workflow(&actor(), &wname(), "").await.unwrap();
        assert_eq!(schedules().await, []);
        let back = app
            .undelete_workflow(&actor(), &wname(), false, "")
            .await
            .unwrap();
        let row = &schedules().await[0];
        assert!(row.enabled);
        // Nothing before that was missed.
        assert_eq!(row.after_us, back.update_time_us);
    })
    .await;
}

#[tokio::test]
async fn what_is_purged_leaves_nothing_behind() {
    each_database(async |store| {
        let app = app(store.clone());
        let (_, value, _) = make(&app).await;
        app.delete_workflow(&actor(), &wname(), "").await.unwrap();
        app.delete_key(&actor(), &kname(), "").await.unwrap();
        let now = Timestamp::now();
        assert_eq!(app.purge_deleted(now).await.unwrap(), 0);
        let kept = limits_of::DELETED_RETENTION;
        let then = now.checked_add(kept).unwrap();
        let later = then.checked_add(jiff::SignedDuration::from_secs(60));
        let later = later.unwrap();
        app.undelete_key(&actor(), &kname(), "").await.unwrap();
        app.delete_key(&actor(), &kname(), "").await.unwrap();

        // Replicas do it at once: each is purged by one.
        let (one, other) = tokio::join!(app.purge_deleted(later), app.purge_deleted(later));
        assert_eq!(one.unwrap() + other.unwrap(), 2);
        assert_eq!(app.purge_deleted(later).await.unwrap(), 0);
        for table in [
            "deleted_resources",
            "workflow_versions",
            "labels",
            "workflow_keys",
            "workflow_calls",
        ] {
            assert_eq!(count(&store, table).await, 0, "{table}");
        }
        let gone = app.workflow(&wname()).await;
        assert!(matches!(gone, Err(Error::NotFound { .. })), "{gone:?}");
        let gone = app.undelete_key(&actor(), &kname(), "").await;
        assert!(matches!(gone, Err(Error::NotFound { .. })), "{gone:?}");
        let (_, entries) = app
            .audits(Some(&project()), &AuditFilter::default(), &Page::first(2))
            .await
            .unwrap();
        let mut actions: Vec<_> = entries
            .rows
            .iter()
            .map(|entry| (entry.entry.actor.as_str(), entry.entry.action.as_str()))
            .collect();
        actions.sort_unstable();
        assert_eq!(
            actions,
            [
                ("control-plane", "PurgeApiKey"),
                ("control-plane", "PurgeWorkflow")
            ]
        );
        // The ids are free.
        let (_, another) = app
            .create_key(
                &actor(),
                &project(),
                &kname().api_key,
                NewKey::default(),
                "",
            )
            .await
            .unwrap();
        assert_ne!(another.expose(), value);
    })
    .await;
}

#[tokio::test]
async fn pages_hold_what_is_deleted_in_the_same_order() {
    each_database(async |store| {
        let app = app(store);
        let ids = ["a", "b", "c", "d", "e", "f", "g"];
        for id in ids {
            let id = id.parse().unwrap();
            app.create_key(&actor(), &project(), &id, NewKey::default(), "")
                .await
                .unwrap();
        }
        for id in ["b", "c", "f"] {
            let name = format!("projects/default/apiKeys/{id}").parse().unwrap();
            app.delete_key(&actor(), &name, "").await.unwrap();
        }
        for size in 1..=8 {
            let mut page = Page::first(size);
            let mut found: Vec<Found<ApiKey>> = Vec::new();
            loop {
                let of = app
                    .keys(&project(), &LabelSelector::new(), true, &page)
                    .await
                    .unwrap();
                found.extend(of.rows);
                page.after = of.next;
                if page.after.is_none() {
                    break;
                }
            }
            let shown: Vec<_> = found
                .iter()
                .map(|it| (it.row.id.as_str(), it.deletion.is_some()))
                .collect();
            let expected = ids.iter().rev().map(|id| (*id, "bcf".contains(id)));
            assert_eq!(shown, expected.collect::<Vec<_>>(), "{size}");
        }
    })
    .await;
}

#[tokio::test]
async fn values_of_deleted_keys_are_sealed_anew_with_the_others() {
    each_database(async |store| {
        let app = app(store.clone());
        for id in ["a", "b", "c"] {
            let id = id.parse().unwrap();
            app.create_key(&actor(), &project(), &id, NewKey::default(), "")
                .await
                .unwrap();
        }
        let name = |id: &str| format!("projects/default/apiKeys/{id}").parse().unwrap();
        for id in ["a", "b"] {
            app.delete_key(&actor(), &name(id), "").await.unwrap();
        }
        let anew = |sealed: &Sealed| Ok(sealed.name.as_bytes().to_vec());
        let resealed = store.write(async |tx| tx.reseal(anew).await).await.unwrap();
        assert_eq!(resealed.keys, 3);
        for id in ["a", "b", "c"] {
            let row = app.key(&name(id)).await.unwrap().row;
            assert_eq!(row.ciphertext, name(id).to_string().as_bytes());
        }
        app.purge_key(&actor(), &name("c"), "").await.unwrap();
        let any = store.any_sealed().await.unwrap();
        assert!(any.is_some(), "a master key that does not fit is noticed");
    })
    .await;
}

/// As GitOps does it: the workflow went with its key, and comes back with another one.
#[tokio::test]
async fn a_workflow_comes_back_unpublished_when_what_it_named_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let app = app(sqlite(dir.path()).await);
    make(&app).await;
    app.delete_workflow(&actor(), &wname(), "").await.unwrap();
    app.delete_key(&actor(), &kname(), "").await.unwrap();
    let refused = app.undelete_workflow(&actor(), &wname(), false, "").await;
    assert_eq!(reason(refused), "REFERENCES_GONE");
    let back = app.undelete_workflow(&actor(), &wname(), true, "").await;
    let back = back.unwrap();
    assert_eq!(back.published_version, 0);
    let (found, _) = app.workflow(&wname()).await.unwrap();
    assert_eq!((found.row, found.deletion), (back, None));
}

/// In two states of the database a resource would be in both lists, or in neither.
#[tokio::test]
async fn what_is_deleted_and_undeleted_meanwhile_is_listed_once_on_both_databases() {
    each_database(async |store| {
        let app = app(store);
        let name = kname();
        app.create_key(&actor(), &project(), &name.api_key, NewKey::default(), "")
            .await
            .unwrap();
        let listing = async {
            for _ in 0..200 {
                let page = app
                    .keys(
                        &project(),
                        &LabelSelector::default(),
                        true,
                        &Page::first(10),
                    )
                    .await
                    .unwrap();
                assert_eq!(page.rows.len(), 1);
                app.key(&name).await.unwrap();
            }
        };
        let changing = async {
            loop {
                app.delete_key(&actor(), &name, "").await.unwrap();
                app.undelete_key(&actor(), &name, "").await.unwrap();
            }
        };
        tokio::select! {
            () = listing => {}
            () = changing => {}
        }
    })
    .await;
}
