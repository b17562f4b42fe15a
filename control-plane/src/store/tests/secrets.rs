//! Secrets: what names them, and how they come into the change log.

use sea_orm::{ConnectionTrait as _, Database};
use sea_orm_migration::MigratorTrait as _;
use signalbox_migrations::Migrator;
use signalbox_model::ids::{SecretId, SecretName};

use super::*;

fn secret(id: &str) -> SecretName {
    format!("projects/default/secrets/{id}").parse().unwrap()
}

fn calling(header: &str) -> NewWorkflow {
    let text = format!(
        "{{trigger: {{manual: {{}}}}, steps: [{{id: a, http: {{url: 'http://h.test', headers: {{x-a: '{header}'}}}}}}]}}"
    );
    written(&text)
}

async fn create(app: &App, id: &str) {
    let id: SecretId = id.parse().unwrap();
    app.create_secret(&actor(), &project(), &id, b"s3cret-value")
        .await
        .unwrap();
}

fn referenced(deleted: Result<(), Error>, by: &str) {
    match deleted {
        Err(Error::Precondition {
            reason: "REFERENCED",
            message,
            ..
        }) => assert!(message.contains(by), "{message}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_definition_names_secrets_that_there_are_and_keeps_them() {
    each_database(async |store| {
        let app = app(store);
        let name: WorkflowName = "projects/default/workflows/w".parse().unwrap();
        let reads = calling("${{ secrets.token }} ${{ secrets[\"my-key\"] }}");
        let new = || reads.clone();
        create(&app, "token").await;
        let refused = app
            .create_workflow(&actor(), &project(), &name.workflow, new(), true, "")
            .await;
        let refused = refused.unwrap_err().to_string();
        let expected = "spec.steps[0].http.headers.x-a: projects/default/secrets/my-key does not exist; \
                        expected a secret of the project: token";
        assert!(refused.ends_with(expected), "{refused}");
        let found = app
            .validate(&project(), None, &reads.definition.workflow)
            .await;
        let found: Vec<_> = found.unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(found, [expected]);

        create(&app, "my-key").await;
        let found = app
            .validate(&project(), None, &reads.definition.workflow)
            .await;
        assert_eq!(found.unwrap(), []);
        let row = app
            .create_workflow(&actor(), &project(), &name.workflow, new(), true, "")
            .await
            .unwrap();
        let delete = async |id: &str| app.delete_secret(&actor(), &secret(id), "").await;
        referenced(delete("token").await, "projects/default/workflows/w;");
        referenced(delete("my-key").await, "projects/default/workflows/w;");

        // A version that is not published holds nothing; one that is lets go what it does not name.
        let other = calling("${{ secrets.token }}");
        app.update_workflow(&actor(), &name, other, false, "")
            .await
            .unwrap();
        referenced(delete("my-key").await, "projects/default/workflows/w;");
        app.publish_workflow(&actor(), &name, 2, "", decode)
            .await
            .unwrap();
        delete("my-key").await.unwrap();
        referenced(delete("token").await, "projects/default/workflows/w;");
        // The first cannot be published again without it.
        let again = app.publish_workflow(&actor(), &name, 1, "", decode).await;
        assert!(matches!(again, Err(Error::Invalid(_))), "{again:?}");
        assert_eq!(row.published_version, 1);
        app.delete_workflow(&actor(), &name, "").await.unwrap();
        delete("token").await.unwrap();
        let gone = delete("token").await;
        assert!(matches!(gone, Err(Error::NotFound { .. })), "{gone:?}");
    })
    .await;
}

#[tokio::test]
async fn values_have_a_least_and_a_greatest_length() {
    let dir = tempfile::tempdir().unwrap();
    let app = app(sqlite(dir.path()).await);
    let long = vec![b'x'; signalbox_model::limits::SECRET_MAX_BYTES + 1];
    for (value, expected) in [
        (&b""[..], "is missing"),
        (b"seven77", "has less than 8 bytes"),
        (b"  seven77\n", "has less than 8 bytes"),
        (&long, "at most 65536"),
    ] {
        let id: SecretId = "s".parse().unwrap();
        let made = app.create_secret(&actor(), &project(), &id, value).await;
        let refused = made.unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
        assert!(!refused.contains("seven77"), "{refused}");
    }
}

/// The resources that a change-log entry tells of, and whether it is gone.
fn told(changes: &[ConfigChange]) -> Vec<String> {
    let told = changes.iter().map(|change| match change {
        ConfigChange::Upsert(ConfigEntry::Secret(row)) => row.id.clone(),
        ConfigChange::Delete(name) => format!("gone {name}"),
        ConfigChange::Upsert(other) => panic!("{other:?}"),
    });
    told.collect()
}

#[tokio::test]
async fn secrets_are_in_the_change_log() {
    each_database(async |store| {
        let app = app(store.clone());
        let start = *store.revision().borrow();
        for id in ["a", "b", "c"] {
            create(&app, id).await;
        }
        app.update_secret(&actor(), &secret("a"), b"another-value", "")
            .await
            .unwrap();
        app.delete_secret(&actor(), &secret("b"), "").await.unwrap();
        let (changes, reached) = store.changes_since(start, 100).await.unwrap();
        assert_eq!(
            told(&changes),
            ["c", "a", "gone projects/default/secrets/b"]
        );
        assert_eq!(reached, start + 5);
    })
    .await;
}

#[tokio::test]
async fn secrets_of_an_earlier_version_come_into_the_change_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cp.sqlite");
    let postgres = Postgres::start();
    for url in [
        format!("sqlite://{}?mode=rwc", path.display()),
        postgres.url(),
    ] {
        let all = Migrator::migrations();
        let before = all
            .iter()
            .position(|m| m.name().contains("add_secret_delivery"));
        let before = u32::try_from(before.unwrap()).unwrap();
        let db = Database::connect(&url).await.unwrap();
        Migrator::up(&db, Some(before)).await.unwrap();
        for statement in [
            "INSERT INTO counters VALUES ('revision', 41, 'i')",
            "INSERT INTO changes VALUES (41, 'key', 'projects/default/apiKeys/k', TRUE, 1)",
        ] {
            db.execute_unprepared(statement).await.unwrap();
        }
        for id in ["x", "y"] {
            let blob = if url.starts_with("sqlite") {
                "x'01'"
            } else {
                "'\\x01'"
            };
            let statement =
                format!("INSERT INTO secrets VALUES ('default', '{id}', {blob}, 1, 2, 7)");
            db.execute_unprepared(&statement).await.unwrap();
        }
        db.close().await.unwrap();
        let store = Store::open_url(&url).await.unwrap();
        assert_eq!(*store.revision().borrow(), 43);
        let (changes, reached) = store.changes_since(41, 100).await.unwrap();
        assert_eq!(
            (told(&changes), reached),
            (vec!["x".to_owned(), "y".to_owned()], 43)
        );
    }
}
