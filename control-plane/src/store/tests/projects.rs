//! Projects: made, found, changed and deleted with all that they have.

use std::time::Duration;

use jiff::SignedDuration;
use signalbox_model::labels::{LabelSelector, Labels};

use super::{
    retention::{OF_EXECUTIONS, count, purge, records},
    *,
};
use crate::app::{ProjectChange, Quotas};

fn id(id: &str) -> ProjectId {
    id.parse().unwrap()
}

fn labels(pairs: &[(&str, &str)]) -> LabelSelector {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn labelled(pairs: &[(&str, &str)]) -> ProjectChange {
    ProjectChange {
        labels: Some(Labels::new("labels", labels(pairs)).unwrap()),
        ..ProjectChange::default()
    }
}

async fn create(app: &App, project: &str) -> Result<rows::Project, Error> {
    let new = ProjectChange::default();
    app.create_project(&actor(), &id(project), &new, "").await
}

/// The reason of what is refused as it is now.
fn reason<T: std::fmt::Debug>(refused: Result<T, Error>) -> &'static str {
    match refused {
        Err(Error::Precondition { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

/// What [`whole_execution`] and the like give, of another project.
fn moved(bodies: Vec<RecordBody>, to: &str) -> Vec<RecordBody> {
    let to = id(to);
    let moved = bodies.into_iter().map(|body| match body {
        RecordBody::Accepted(mut accepted) => {
            accepted.execution.project = to.clone();
            accepted.workflow.project = to.clone();
            RecordBody::Accepted(accepted)
        }
        RecordBody::Execution {
            mut execution,
            fact,
        } => {
            execution.project = to.clone();
            RecordBody::Execution { execution, fact }
        }
        other => other,
    });
    moved.collect()
}

/// A project with one of each.
async fn fill(app: &App, project: &str) {
    let project = id(project);
    let key = "k".parse().unwrap();
    app.create_key(&actor(), &project, &key, NewKey::default(), "")
        .await
        .unwrap();
    let secret = "s".parse().unwrap();
    app.create_secret(&actor(), &project, &secret, b"hunter22-hunter22")
        .await
        .unwrap();
    let workflow = "w".parse().unwrap();
    let new = spec("manual: {}", "'1'");
    app.create_workflow(&actor(), &project, &workflow, new, true, "")
        .await
        .unwrap();
}

#[tokio::test]
async fn projects_are_made_once_and_found_by_whom_they_are_for() {
    each_database(async |store| {
        let app = app(store);
        let request_id = uuid::Uuid::new_v4().to_string();
        let new = labelled(&[("team", "a")]);
        let make = async |name: &str, request_id: &str| {
            app.create_project(&actor(), &id(name), &new, request_id)
                .await
        };
        let first = make("one", &request_id).await.unwrap();
        assert_eq!(make("one", &request_id).await.unwrap(), first);
        let again = make("one", "").await;
        assert!(
            matches!(again, Err(Error::AlreadyExists { .. })),
            "{again:?}"
        );
        create(&app, "two").await.unwrap();
        create(&app, "three").await.unwrap();

        let list = async |among: Option<&[&str]>, by: &[(&str, &str)]| {
            let among = among.map(|ids| ids.iter().map(|id| (*id).to_owned()).collect());
            let mut page = Page::first(2);
            let mut found = Vec::new();
            loop {
                let PageOf { rows, next } = app
                    .projects(among.as_ref(), &labels(by), &page)
                    .await
                    .unwrap();
                found.extend(rows.into_iter().map(|row| row.id));
                page.after = next;
                if page.after.is_none() {
                    break found;
                }
            }
        };
        assert_eq!(list(None, &[]).await, ["three", "two", "one", "default"]);
        let some: Option<&[&str]> = Some(&["one", "default", "none"]);
        assert_eq!(list(some, &[]).await, ["one", "default"]);
        assert_eq!(list(None, &[("team", "a")]).await, ["one"]);
        assert!(list(some, &[("team", "b")]).await.is_empty());

        let change = ProjectChange {
            display_name: Some("One".to_owned()),
            ..labelled(&[("team", "b")])
        };
        let update = async |etag: &str| {
            app.update_project(&actor(), &id("one"), &change, etag)
                .await
        };
        let stale = update("\"0\"").await;
        assert!(matches!(stale, Err(Error::Stale { .. })), "{stale:?}");
        let row = update(&etag(first.revision)).await.unwrap();
        assert!(row.revision > first.revision);
        assert_eq!(
            (row.display_name.as_str(), row.labels()),
            ("One", labels(&[("team", "b")]))
        );
        assert_eq!(list(None, &[("team", "b")]).await, ["one"]);
        // What changes nothing has the same etag.
        assert_eq!(update("").await.unwrap().revision, row.revision);
    })
    .await;
}

#[tokio::test]
async fn quotas_are_kept_and_what_is_deleted_makes_room() {
    each_database(async |store| {
        let app = app(store);
        create(&app, "one").await.unwrap();
        let set = async |quotas| {
            let change = ProjectChange {
                quotas,
                ..ProjectChange::default()
            };
            app.update_project(&actor(), &id("one"), &change, "").await
        };
        for wrong in [
            Quotas {
                workflows: Some(Some(-1)),
                ..Quotas::default()
            },
            Quotas {
                events_per_second: Some(Some(1_000_001)),
                ..Quotas::default()
            },
        ] {
            let refused = set(wrong).await;
            assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
        }
        let two = Quotas {
            workflows: Some(Some(2)),
            api_keys: Some(Some(2)),
            ..Quotas::default()
        };
        let row = set(two).await.unwrap();
        let limits = app.quotas(&row);
        assert_eq!((limits.workflows, limits.api_keys), (2, 2));
        let key = async |name: &str| {
            app.create_key(
                &actor(),
                &id("one"),
                &name.parse().unwrap(),
                NewKey::default(),
                "",
            )
            .await
        };
        let workflow = async |name: &str| {
            let new = spec("manual: {}", "'1'");
            app.create_workflow(&actor(), &id("one"), &name.parse().unwrap(), new, false, "")
                .await
        };
        for name in ["a", "b"] {
            key(name).await.unwrap();
            workflow(name).await.unwrap();
        }
        let reached = |quota| Error::Quota {
            subject: "projects/one".to_owned(),
            quota,
            limit: 2,
            used: 2,
        };
        assert_eq!(key("c").await.unwrap_err(), reached("api_keys"));
        assert_eq!(workflow("c").await.unwrap_err(), reached("workflows"));
        // That of another project is its own.
        fill(&app, "default").await;

        let gone = "projects/one/apiKeys/a".parse().unwrap();
        app.delete_key(&actor(), &gone, "").await.unwrap();
        key("c").await.unwrap();
        let gone = "projects/one/workflows/a".parse().unwrap();
        app.delete_workflow(&actor(), &gone, "").await.unwrap();
        workflow("c").await.unwrap();
        let contents = app.project(&id("one")).await.unwrap().contents.unwrap();
        assert_eq!((contents.workflows, contents.api_keys), (2, 2));

        // 0 is without limit; taken away, the control plane's counts.
        let none = Quotas {
            workflows: Some(Some(0)),
            api_keys: Some(None),
            ..Quotas::default()
        };
        let limits = app.quotas(&set(none).await.unwrap());
        assert_eq!(
            (limits.workflows, limits.api_keys),
            (0, Limits::USUAL.api_keys)
        );
        key("d").await.unwrap();
        workflow("d").await.unwrap();
    })
    .await;
}

/// Names of what a node that was at `revision` is told is gone.
async fn deleted_since(store: &Store, revision: i64) -> BTreeSet<String> {
    let (changes, _) = store.changes_since(revision, 1000).await.unwrap();
    let deleted = changes.into_iter().filter_map(|change| match change {
        ConfigChange::Delete(name) => Some(name),
        ConfigChange::Upsert(_) => None,
    });
    deleted.collect()
}

#[tokio::test]
async fn a_project_goes_with_all_that_it_has_and_its_id_is_free_when_all_of_it_is_gone() {
    each_database(async |store| {
        let app = app(store.clone());
        let delete = async |project: &str, force| {
            app.delete_project(&actor(), &id(project), "", force).await
        };
        assert_eq!(reason(delete("default", true).await), "DEFAULT_PROJECT");
        let nowhere = delete("nowhere", true).await;
        assert!(
            matches!(nowhere, Err(Error::NotFound { .. })),
            "{nowhere:?}"
        );
        // One without anything is gone at once.
        create(&app, "empty").await.unwrap();
        delete("empty", false).await.unwrap();
        create(&app, "empty").await.unwrap();

        create(&app, "one").await.unwrap();
        fill(&app, "one").await;
        fill(&app, "default").await;
        let node = node("n1");
        app.node_connected(&node, Arrival::by("s", 0))
            .await
            .unwrap();
        let mut bodies = moved(whole_execution("ended"), "one");
        let mut begun = moved(whole_execution("begun"), "one");
        begun.truncate(4);
        bodies.extend(begun.clone());
        bodies.extend(whole_execution("stays"));
        let report = async |incarnation: &str, bodies: Vec<RecordBody>| {
            let records = records(bodies, Timestamp::now());
            let last = records.len() as u64;
            app.apply_records(&node, incarnation, &records, last, decode_any)
                .await
                .unwrap();
        };
        report("i", bodies).await;
        let workflow: WorkflowName = "projects/one/workflows/w".parse().unwrap();
        app.run_workflow(&actor(), &workflow, run("{}", ""), decode)
            .await
            .unwrap();

        let before = *store.revision().borrow();
        assert_eq!(reason(delete("one", false).await), "PROJECT_NOT_EMPTY");
        delete("one", true).await.unwrap();
        let told = deleted_since(&store, before).await;
        let names = ["", "/apiKeys/k", "/secrets/s", "/workflows/w"];
        let expected = names.map(|rest| format!("projects/one{rest}"));
        assert_eq!(told, expected.into_iter().collect());
        let contents = app.project(&id("one")).await.unwrap().contents.unwrap();
        assert_eq!(contents, Contents::default());
        for table in ["workflow_versions", "labels", "schedules", "requests"] {
            assert_eq!(count(&store, table, "project = 'one'").await, 0, "{table}");
        }

        // Nothing is made in it, and nobody has its id.
        let key = "k2".parse().unwrap();
        let made = app
            .create_key(&actor(), &id("one"), &key, NewKey::default(), "")
            .await;
        assert_eq!(reason(made), "PROJECT_DELETED");
        assert_eq!(reason(create(&app, "one").await), "PROJECT_DELETED");
        assert_eq!(reason(delete("one", true).await), "PROJECT_DELETED");
        let change = ProjectChange::default();
        let changed = app.update_project(&actor(), &id("one"), &change, "").await;
        assert_eq!(reason(changed), "PROJECT_DELETED");

        // Its executions are cancelled: that which no node has ends at once.
        let row = store.project(&id("one")).await.unwrap();
        app.cancel_all(&row).await.unwrap();
        let cancelled = app.cancellations_for(&node, None, 10).await.unwrap();
        assert_eq!(
            cancelled
                .iter()
                .map(|row| row.id.as_str())
                .collect::<Vec<_>>(),
            ["begun"]
        );
        let now = Timestamp::now();
        let later = now + SignedDuration::from_secs(120);
        assert!(!purge(&app, later).await.is_empty());
        let left = async |project: &str| {
            count(&store, "executions", &format!("project = '{project}'")).await
        };
        assert_eq!((left("one").await, left("default").await), (1, 1));
        let end = moved(whole_execution("begun"), "one").pop().unwrap();
        report("j", vec![end]).await;
        purge(&app, later).await;
        assert_eq!(left("one").await, 0);
        for table in OF_EXECUTIONS.into_iter().skip(1) {
            assert_eq!(count(&store, table, "project = 'one'").await, 0, "{table}");
        }
        // The node does not have the deletion yet: it may still take what was allowed before.
        assert_eq!(reason(create(&app, "one").await), "PROJECT_DELETED");
        app.node_applied(&node, row.revision, Vec::new())
            .await
            .unwrap();
        purge(&app, now).await;
        assert_eq!(reason(create(&app, "one").await), "PROJECT_DELETED");
        purge(&app, later).await;
        let gone = store.project(&id("one")).await;
        assert!(matches!(gone, Err(Error::NotFound { .. })), "{gone:?}");

        // What comes of it later is of nothing.
        report("k", moved(whole_execution("late"), "one")).await;
        assert_eq!(left("one").await, 0);
        let anew = create(&app, "one").await.unwrap();
        assert!(anew.revision > row.revision);
        report("l", moved(whole_execution("new"), "one")).await;
        assert_eq!((left("one").await, left("default").await), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn who_is_away_for_a_day_is_not_waited_for() {
    each_database(async |store| {
        let app = app(store.clone());
        create(&app, "one").await.unwrap();
        let node = node("n1");
        app.node_connected(&node, Arrival::by("s", 0))
            .await
            .unwrap();
        let mut begun = moved(whole_execution("begun"), "one");
        begun.truncate(4);
        let records = records(begun, Timestamp::now());
        app.apply_records(&node, "i", &records, 4, decode_any)
            .await
            .unwrap();
        app.delete_project(&actor(), &id("one"), "", false)
            .await
            .unwrap();
        let row = store.project(&id("one")).await.unwrap();
        app.cancel_all(&row).await.unwrap();
        let at = |hours| Timestamp::now() + SignedDuration::from_hours(hours);
        purge(&app, at(23)).await;
        assert!(store.project(&id("one")).await.is_ok());
        assert_eq!(count(&store, "executions", "1 = 1").await, 1);
        purge(&app, at(25)).await;
        let gone = store.project(&id("one")).await;
        assert!(matches!(gone, Err(Error::NotFound { .. })), "{gone:?}");
        assert_eq!(count(&store, "executions", "1 = 1").await, 0);
    })
    .await;
}

#[tokio::test]
async fn nodes_are_told_of_quotas_that_they_hold_whoever_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let store = sqlite(dir.path()).await;
    let app_with = |events_per_second| {
        let settings = Settings {
            public_webhook_url: String::new(),
            reveal_enabled: true,
            deliveries_kept_max: DELIVERIES_KEPT,
            history_value_max_bytes: VALUE_MAX_BYTES,
            history_retention: Duration::from_secs(3600),
            deleted_retention: limits_of::DELETED_RETENTION,
            quotas: Limits {
                events_per_second,
                ..Limits::USUAL
            },
        };
        App::new(store.clone(), MasterKey::new(&[7; 32]).unwrap(), settings)
    };
    let told = async || {
        let all = store.projects().await.unwrap();
        let all = all.into_iter().map(|row| (row.id, row.events_per_second));
        all.collect::<Vec<_>>()
    };
    let expect =
        |default: i64, own: i64| [("default".to_owned(), default), ("own".to_owned(), own)];
    let app = app_with(0);
    let own = |number| ProjectChange {
        quotas: Quotas {
            events_per_second: Some(number),
            ..Quotas::default()
        },
        ..ProjectChange::default()
    };
    app.create_project(&actor(), &id("own"), &own(Some(7)), "")
        .await
        .unwrap();
    assert_eq!(told().await, expect(0, 7));
    // The next start says otherwise for those that do not say.
    let app = app_with(50);
    let before = *store.revision().borrow();
    app.settle_quotas().await.unwrap();
    assert_eq!(told().await, expect(50, 7));
    assert_eq!(*store.revision().borrow(), before + 1, "one has changed");
    app.settle_quotas().await.unwrap();
    assert_eq!(*store.revision().borrow(), before + 1);
    let update = async |number| {
        app.update_project(&actor(), &id("own"), &own(number), "")
            .await
            .unwrap();
    };
    update(None).await;
    assert_eq!(told().await, expect(50, 50));
    update(Some(0)).await;
    assert_eq!(told().await, expect(50, 0));
}
