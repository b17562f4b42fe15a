//! Secrets: sealed to the node on the wire and on its disk, open in its memory.

use signalbox_model::{
    config::SealedSecret,
    ids::{SecretId, SecretName},
};
use signalbox_proto::convert::config::secret_to_wire;
use signalbox_runtime::hpke::Recipient;

use super::*;
use crate::config::Rates;

const VALUE: &str = "s3cret-value";

fn name(id: &str) -> SecretName {
    format!("projects/default/secrets/{id}").parse().unwrap()
}

/// As the hub sends it.
fn secret(key: &KeyPair, id: &str, revision: u64, value: &str) -> wire::Resource {
    let purpose = signalbox_runtime::hpke::Purpose {
        info: convert::config::SECRET_INFO,
        aad: &convert::config::secret_aad(&name(id), Revision(revision)),
    };
    let to = Recipient::new(key.public_key()).unwrap();
    secret_to_wire(&SealedSecret {
        name: name(id),
        revision: Revision(revision),
        sealed_value: to.seal(purpose, value.as_bytes()).unwrap().into(),
    })
}

fn open(dir: &Path, key: &Arc<KeyPair>) -> Arc<ConfigStore> {
    let decode = decode_with(key.clone());
    let store = ConfigStore::open_with(dir, Rates::default(), key.public_key(), decode);
    Arc::new(store.unwrap())
}

fn value(store: &ConfigStore, id: &str) -> Option<String> {
    let id: SecretId = id.parse().unwrap();
    let current = store.current();
    let secret = current.secret(&"default".parse().unwrap(), &id)?;
    Some(String::from_utf8(secret.expose().to_vec()).unwrap())
}

/// Whether a file of `dir` holds `text`.
fn some_file_holds(dir: &Path, text: &str) -> bool {
    let mut files = 0;
    let found = std::fs::read_dir(dir).unwrap().any(|entry| {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap_or_default();
        files += 1;
        bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    });
    assert!(found || files > 1, "there is nothing to look at");
    found
}

async fn take(connection: &mut Connection, update: wire::ConfigUpdate) -> FromNode {
    connection.send(ToNode::Config(update)).await;
    connection.answer().await
}

fn change(nonce: &str, revision: i64, upserts: Vec<wire::Resource>) -> wire::ConfigUpdate {
    wire::ConfigUpdate {
        snapshot: false,
        ..snapshot(nonce, revision, upserts)
    }
}

fn key() -> Arc<KeyPair> {
    Arc::new(KeyPair::generate().unwrap())
}

#[tokio::test]
async fn a_secret_is_open_in_memory_and_sealed_on_disk() {
    let mut hub = Hub::start().await;
    let (dir, key) = (tempfile::tempdir().unwrap(), key());
    let config = open(dir.path(), &key);
    let node = Node::start_on(&hub.endpoint, Timing::default(), dir, config, key.clone());
    let (hello, mut connection) = hub.hello().await;
    assert_eq!(hello.hpke_public_key, key.public_key());
    let all = vec![
        secret(&key, "a", 1, VALUE),
        secret(&key, "b", 2, "other-value"),
        workflow("w", 1),
    ];
    let answer = take(&mut connection, snapshot("1", 3, all)).await;
    assert!(matches!(answer, FromNode::Ack(_)), "{answer:?}");
    assert_eq!(value(&node.config, "a").as_deref(), Some(VALUE));
    assert!(!some_file_holds(node.dir.path(), VALUE));
    assert!(some_file_holds(
        node.dir.path(),
        "projects/default/secrets/a"
    ));
    assert!(!format!("{:?}", node.config).contains(VALUE));

    // A new value, and one that is gone; a node that starts without a control plane has what this one had.
    let mut next = change("2", 5, vec![secret(&key, "a", 4, "newer-value")]);
    next.deletes = vec![name("b").to_string()];
    let answer = take(&mut connection, next).await;
    assert!(matches!(answer, FromNode::Ack(_)), "{answer:?}");
    for store in [&node.config, &open(node.dir.path(), &key)] {
        assert_eq!(value(store, "a").as_deref(), Some("newer-value"));
        assert_eq!(value(store, "b"), None);
        assert_eq!(store.current().revision, Revision(5));
    }
    // A snapshot that does not hold it drops it.
    let answer = take(&mut connection, snapshot("3", 6, vec![workflow("w", 1)])).await;
    assert!(matches!(answer, FromNode::Ack(_)), "{answer:?}");
    for store in [&node.config, &open(node.dir.path(), &key)] {
        assert_eq!(value(store, "a"), None);
    }
}

#[tokio::test]
async fn what_does_not_open_is_refused_and_the_last_good_value_stays() {
    let mut hub = Hub::start().await;
    let (dir, key, other) = (tempfile::tempdir().unwrap(), key(), key());
    let config = open(dir.path(), &key);
    let node = Node::start_on(&hub.endpoint, Timing::default(), dir, config, key.clone());
    let (_, mut connection) = hub.hello().await;
    take(
        &mut connection,
        snapshot("1", 1, vec![secret(&key, "a", 1, VALUE)]),
    )
    .await;

    let replayed = |id: &str, revision: i64| {
        let mut resource = secret(&key, "a", 2, "another-value");
        if let Some(wire::resource::Kind::Secret(secret)) = &mut resource.kind {
            secret.name = name(id).to_string();
            secret.revision = revision;
        }
        resource
    };
    for (revision, wrong, id) in [
        (2, secret(&other, "a", 2, "another-value"), "a"),
        (3, replayed("b", 2), "b"),
        (4, replayed("a", 3), "a"),
        (5, replayed("a", -1), "a"),
    ] {
        let nonce = revision.to_string();
        let answer = take(
            &mut connection,
            change(&nonce, revision, vec![wrong.clone()]),
        )
        .await;
        let FromNode::Nack(nack) = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(nack.refused[0].resource, name(id).to_string());
        assert!(!format!("{nack:?}").contains("another-value"));
        let whole = snapshot(&format!("{nonce}s"), revision, vec![wrong]);
        let answer = take(&mut connection, whole).await;
        assert!(matches!(answer, FromNode::Nack(_)), "{answer:?}");
        let expected = (id == "a").then_some(VALUE);
        if expected.is_none() {
            // The snapshot held no "a" either.
            take(
                &mut connection,
                change("again", revision, vec![secret(&key, "a", 1, VALUE)]),
            )
            .await;
        }
        for store in [&node.config, &open(node.dir.path(), &key)] {
            assert_eq!(value(store, "a").as_deref(), Some(VALUE));
            assert_eq!(value(store, "b"), None);
        }
    }
}

#[tokio::test]
async fn a_node_whose_secrets_were_not_sent_to_its_key_asks_for_everything() {
    let (dir, key) = (tempfile::tempdir().unwrap(), key());
    let applied = |store: &ConfigStore, revision: u64| {
        let resource = secret(&key, "a", 1, VALUE);
        let encoded = encode_resource(&resource);
        let upsert = crate::config::Upsert {
            name: name("a").to_string(),
            resource: decode_with(key.clone())(&encoded).unwrap(),
            encoded,
        };
        let change = crate::config::Change {
            incarnation: "i".to_owned(),
            revision: Revision(revision),
            replaces_all: false,
            upserts: vec![upsert],
            deletes: Vec::new(),
            keep: Vec::new(),
        };
        store.apply(change).unwrap();
    };
    let revision = |key: &Arc<KeyPair>| open(dir.path(), key).current().revision;
    applied(&open(dir.path(), &key), 7);
    assert_eq!(revision(&key), Revision(7));
    // Its key was lost: what it has does not open any more.
    let other = self::key();
    assert_eq!(revision(&other), Revision(0));
    assert_eq!(value(&open(dir.path(), &other), "a"), None);
    assert_eq!(revision(&key), Revision(7), "looking changes nothing");

    // An earlier version, which is sent no secrets, went on from there.
    let file = dir.path().join("config.sqlite");
    let execute = |statement: &str| {
        let connection = rusqlite::Connection::open(&file).unwrap();
        connection.execute(statement, []).unwrap();
    };
    execute("UPDATE meta SET value = '9' WHERE key = 'revision'");
    assert_eq!(revision(&key), Revision(0));
    applied(&open(dir.path(), &key), 10);
    assert_eq!(revision(&key), Revision(10));
    // Or one that knows no scopes of keys.
    execute("UPDATE meta SET value = replace(value, ' scopes', '') WHERE key = 'secrets'");
    assert_eq!(revision(&key), Revision(0));
    applied(&open(dir.path(), &key), 11);
    assert_eq!(revision(&key), Revision(11));
    // Or was the one that made it.
    execute("DELETE FROM meta WHERE key = 'secrets'");
    assert_eq!(revision(&key), Revision(0));
}

fn former(store: &ConfigStore, id: &str) -> Vec<String> {
    let id: SecretId = id.parse().unwrap();
    let current = store.current();
    let project = "default".parse().unwrap();
    let former = current.former(&project, &id);
    let text = |secret: &signalbox_model::secret::Secret| {
        String::from_utf8(secret.expose().to_vec()).unwrap()
    };
    former.map(text).collect()
}

#[tokio::test]
async fn values_that_secrets_had_are_kept_sealed_to_be_masked() {
    let mut hub = Hub::start().await;
    let (dir, key) = (tempfile::tempdir().unwrap(), key());
    let config = open(dir.path(), &key);
    let node = Node::start_on(&hub.endpoint, Timing::default(), dir, config, key.clone());
    let (_, mut connection) = hub.hello().await;
    let all = |revision, value| {
        vec![
            secret(&key, "a", revision, value),
            secret(&key, "b", 2, "b-value-0"),
            secret(&key, "c", 3, "c-value-0"),
        ]
    };
    let first = snapshot("1", 3, all(1, "a-value-0"));
    let mut again = change("2", 4, vec![secret(&key, "a", 4, "a-value-1")]);
    again.deletes = vec![name("b").to_string()];
    // Sealed anew, and the same; then a snapshot without one.
    let same = change("3", 5, vec![secret(&key, "a", 5, "a-value-1")]);
    let second = snapshot("4", 6, vec![secret(&key, "a", 6, "a-value-2")]);
    for update in [first, again, same, second] {
        let answer = take(&mut connection, update).await;
        assert!(matches!(answer, FromNode::Ack(_)), "{answer:?}");
    }
    let values = ["a-value-0", "a-value-1", "b-value-0", "c-value-0"];
    for store in [&node.config, &open(node.dir.path(), &key)] {
        assert_eq!(former(store, "a"), ["a-value-0", "a-value-1"]);
        assert_eq!(former(store, "b"), ["b-value-0"]);
        assert_eq!(former(store, "c"), ["c-value-0"]);
        assert_eq!(value(store, "a").as_deref(), Some("a-value-2"));
        assert_eq!((value(store, "b"), value(store, "c")), (None, None));
        let shown = format!("{store:?}");
        assert!(values.iter().all(|value| !shown.contains(value)), "{shown}");
    }
    for value in values {
        assert!(!some_file_holds(node.dir.path(), value), "{value}");
    }
    // Of one that changes often, the newest.
    for n in 3..14 {
        let value = format!("a-value-{n}");
        let update = change(&format!("c{n}"), n + 10, vec![secret(&key, "a", 7, &value)]);
        let answer = take(&mut connection, update).await;
        assert!(matches!(answer, FromNode::Ack(_)), "{answer:?}");
    }
    let newest: Vec<_> = (5..13).map(|n| format!("a-value-{n}")).collect();
    for store in [&node.config, &open(node.dir.path(), &key)] {
        assert_eq!(former(store, "a"), newest);
    }
    // What was sealed to another key is nobody's any more, and keeps nobody from starting.
    let other = self::key();
    assert_eq!(
        former(&open(node.dir.path(), &other), "a"),
        Vec::<String>::new()
    );
}
