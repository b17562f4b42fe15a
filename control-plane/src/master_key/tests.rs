#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use signalbox_model::ids::{ApiKeyName, ProjectId, SecretName};

use super::*;
use crate::{
    app::{App, Limits, NewKey, Settings},
    store::{Actor, OpenError, Resealed},
};

const VALUE: &[u8] = b"s3cret-value";

fn actor() -> Actor {
    Actor {
        subject: "tester".to_owned(),
        request_id: None,
        trace_id: None,
    }
}

fn key_name() -> ApiKeyName {
    "projects/default/apiKeys/k".parse().unwrap()
}

fn secret_name(id: &str) -> SecretName {
    format!("projects/default/secrets/{id}").parse().unwrap()
}

/// A control plane's folder, and the control plane without its listeners.
struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("control-plane")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    async fn start(&self, source: &MasterKeySource) -> Result<App, MasterKeyError> {
        // Its lock is not what is looked at here, and would outlast what a test keeps of the app.
        let data_dir = DataDir::open(self.path())?;
        let store = Store::open_at(data_dir.path(), None).await;
        let store = store.unwrap_or_else(|error: OpenError| panic!("{error}"));
        let key = source.load_for(&data_dir, &store).await?;
        let settings = Settings {
            public_webhook_url: "http://127.0.0.1".to_owned(),
            reveal_enabled: true,
            deliveries_kept_max: 1,
            history_value_max_bytes: 1024,
            history_retention: std::time::Duration::MAX,
            deleted_retention: std::time::Duration::MAX,
            quotas: Limits::USUAL,
        };
        Ok(App::new(store, key, settings))
    }

    fn rotation(&self, from: &MasterKeySource, to: Option<&MasterKeySource>) -> Rotation {
        Rotation {
            data_dir: self.path(),
            database_url: None,
            from: from.clone(),
            to: to.cloned(),
        }
    }

    /// A file of a new key beside the folder.
    fn key_file(&self, name: &str) -> MasterKeySource {
        let path = self.dir.path().join(name);
        std::fs::write(&path, MasterKey::generate().unwrap()).unwrap();
        MasterKeySource::File(path)
    }
}

async fn fill(app: &App, secrets: usize) -> String {
    let project: ProjectId = "default".parse().unwrap();
    for n in 0..secrets {
        let id = format!("s{n}").parse().unwrap();
        app.create_secret(&actor(), &project, &id, VALUE)
            .await
            .unwrap();
    }
    let id = "k".parse().unwrap();
    let made = app
        .create_key(&actor(), &project, &id, NewKey::default(), "")
        .await;
    made.unwrap().1.expose().to_owned()
}

async fn check(app: &App, key: &str, secrets: usize) {
    for n in 0..secrets {
        let name = secret_name(&format!("s{n}"));
        let row = app.secret(&name).await.unwrap();
        assert_eq!(app.open_secret(&name, &row).unwrap().as_slice(), VALUE);
    }
    let revealed = app.reveal_key(&actor(), &key_name()).await.unwrap();
    assert_eq!(revealed.expose(), key);
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[tokio::test]
async fn a_key_in_the_data_folder_is_replaced_and_every_value_with_it() {
    let world = World::new();
    let source = MasterKeySource::DataDir;
    let app = world.start(&source).await.unwrap();
    // More than are read at once.
    let key = fill(&app, 120).await;
    let before = read(&world.file(FILE));
    let row = app.secret(&secret_name("s7")).await.unwrap();
    let running = app;

    let rotated = rotate(&world.rotation(&source, None)).await.unwrap();
    let expected = Resealed {
        keys: 1,
        secrets: 120,
    };
    assert_eq!(rotated, Some(expected));
    assert_ne!(read(&world.file(FILE)), before);
    assert!(!world.file(NEXT_FILE).exists());
    let app = world.start(&source).await.unwrap();
    check(&app, &key, 120).await;
    // The etag that someone holds is good still: the value is the same.
    let after = app.secret(&secret_name("s7")).await.unwrap();
    assert_eq!(after.revision, row.revision);
    assert_ne!(after.ciphertext, row.ciphertext);
    let old = MasterKey::new(&before).unwrap();
    let name = secret_name("s7").to_string();
    assert!(old.open(&name, &after.ciphertext).is_err());

    // Who still has the old key in memory writes nothing under it.
    let project: ProjectId = "default".parse().unwrap();
    let id = "late".parse().unwrap();
    let late = running.create_secret(&actor(), &project, &id, VALUE).await;
    assert!(matches!(late, Err(Error::Unavailable { .. })));
    let late = running
        .update_secret(&actor(), &secret_name("s7"), VALUE, "")
        .await;
    assert!(matches!(late, Err(Error::Unavailable { .. })));
    let id = "late".parse().unwrap();
    let late = running
        .create_key(&actor(), &project, &id, NewKey::default(), "")
        .await;
    assert!(matches!(late, Err(Error::Unavailable { .. })));
    check(&app, &key, 120).await;
}

#[tokio::test]
async fn a_key_of_ones_own_is_rotated_to_another() {
    let world = World::new();
    let (first, second) = (world.key_file("first"), world.key_file("second"));
    let app = world.start(&first).await.unwrap();
    let key = fill(&app, 1).await;
    assert!(!world.file(FILE).exists());
    let none = rotate(&world.rotation(&first, None)).await.unwrap_err();
    assert!(matches!(none, RotationError::NoNewKey), "{none}");
    let same = rotate(&world.rotation(&first, Some(&first))).await;
    assert!(matches!(same, Err(RotationError::Same)));
    let wrong = rotate(&world.rotation(&second, Some(&world.key_file("third")))).await;
    assert!(matches!(
        wrong,
        Err(RotationError::Key(MasterKeyError::Another { .. }))
    ));
    check(&app, &key, 1).await;

    let rotation = world.rotation(&first, Some(&second));
    let expected = Resealed {
        keys: 1,
        secrets: 1,
    };
    assert_eq!(rotate(&rotation).await.unwrap(), Some(expected));
    assert_eq!(rotate(&rotation).await.unwrap(), None);
    check(&world.start(&second).await.unwrap(), &key, 1).await;
    let old = world.start(&first).await.unwrap_err();
    assert!(matches!(old, MasterKeyError::Another { .. }), "{old}");
}

#[tokio::test]
async fn what_broke_off_changed_nothing_or_is_made_up_for() {
    let world = World::new();
    let source = MasterKeySource::DataDir;
    let key = fill(&world.start(&source).await.unwrap(), 1).await;
    // Before the commit: the next key is there, and nothing is sealed under it.
    let next = MasterKey::generate().unwrap();
    std::fs::write(world.file(NEXT_FILE), &next).unwrap();
    check(&world.start(&source).await.unwrap(), &key, 1).await;
    let old = read(&world.file(FILE));
    rotate(&world.rotation(&source, None)).await.unwrap();
    assert_eq!(read(&world.file(FILE)), *next);
    // After it: all is sealed under the next key, and the old one is in its place still.
    std::fs::write(world.file(FILE), &old).unwrap();
    std::fs::write(world.file(NEXT_FILE), &next).unwrap();
    check(&world.start(&source).await.unwrap(), &key, 1).await;
    assert_eq!(read(&world.file(FILE)), *next);
    assert!(!world.file(NEXT_FILE).exists());
    // And the same, when it is the rotation that is started again.
    std::fs::write(world.file(FILE), &old).unwrap();
    std::fs::write(world.file(NEXT_FILE), &next).unwrap();
    rotate(&world.rotation(&source, None)).await.unwrap();
    check(&world.start(&source).await.unwrap(), &key, 1).await;
}

#[tokio::test]
async fn another_key_is_found_at_the_start_also_where_none_was_noted() {
    let world = World::new();
    let first = world.key_file("first");
    let app = world.start(&first).await.unwrap();
    fill(&app, 1).await;
    // As a version before rotations left it.
    let forgotten = app.store().write(async |tx| tx.forget_master_key().await);
    forgotten.await.unwrap();
    drop(app);
    let other = world.start(&world.key_file("other")).await.unwrap_err();
    assert!(matches!(other, MasterKeyError::Another { .. }), "{other}");
    let app = world.start(&first).await.unwrap();
    assert!(app.store().master_key().await.unwrap().is_some());
    std::fs::write(world.dir.path().join("short"), b"short").unwrap();
    let short = MasterKeySource::File(world.dir.path().join("short"));
    let short = world.start(&short).await.unwrap_err();
    assert!(matches!(short, MasterKeyError::Key { .. }), "{short}");
    let absent = MasterKeySource::File(world.dir.path().join("absent"));
    let absent = world.start(&absent).await.unwrap_err();
    assert!(matches!(absent, MasterKeyError::File { .. }), "{absent}");
}

#[tokio::test]
async fn a_value_that_does_not_open_leaves_all_as_it_was() {
    let world = World::new();
    let (first, second) = (world.key_file("first"), world.key_file("second"));
    let app = world.start(&first).await.unwrap();
    let key = fill(&app, 2).await;
    let mut row = app.secret(&secret_name("s1")).await.unwrap();
    let whole = row.clone();
    row.ciphertext[20] ^= 1;
    let damaged = row.clone();
    let write = app
        .store()
        .write(async |tx| tx.update_secret(damaged).await);
    write.await.unwrap();
    let failed = rotate(&world.rotation(&first, Some(&second))).await;
    let failed = signalbox_runtime::exit::chain(&failed.unwrap_err());
    assert!(failed.contains("nothing was rotated"), "{failed}");
    assert!(failed.contains("projects/default/secrets/s1"), "{failed}");
    let write = app.store().write(async |tx| tx.update_secret(whole).await);
    write.await.unwrap();
    check(&world.start(&first).await.unwrap(), &key, 2).await;
}

#[tokio::test]
async fn a_command_gives_the_key_that_a_service_unwraps() {
    let world = World::new();
    let wrapped = world.dir.path().join("wrapped");
    let text = data_encoding::BASE64.encode(&MasterKey::generate().unwrap());
    // As it stands there, it is no key.
    std::fs::write(&wrapped, format!("wrapped {text}")).unwrap();
    let unwrap = format!("cut -d ' ' -f 2 < '{}'", wrapped.display());
    let unwraps = MasterKeySource::Command(unwrap);
    let app = world.start(&unwraps).await.unwrap();
    let key = fill(&app, 1).await;
    drop(app);
    let app = world.start(&unwraps).await.unwrap();
    check(&app, &key, 1).await;
    drop(app);

    let source = |command: &str| MasterKeySource::Command(command.to_owned());
    for (command, expected) in [
        ("exit 3", "exit status: 3"),
        ("echo s3cret-value && false", "exit status: 1"),
        ("echo s3cret-value", "the output of the command"),
        ("true", "the output of the command"),
    ] {
        let error = world.start(&source(command)).await.err().unwrap();
        let error = signalbox_runtime::exit::chain(&error);
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("s3cret-value"), "{error}");
    }

    let next = world.key_file("next");
    let MasterKeySource::File(path) = &next else {
        panic!("a file")
    };
    let next = source(&format!("cat '{}'", path.display()));
    let rotated = rotate(&world.rotation(&unwraps, Some(&next)))
        .await
        .unwrap();
    assert_eq!(rotated.unwrap().secrets, 1);
    let app = world.start(&next).await.unwrap();
    check(&app, &key, 1).await;
    assert!(matches!(
        world.start(&unwraps).await.err().unwrap(),
        MasterKeyError::Another { .. }
    ));
}
