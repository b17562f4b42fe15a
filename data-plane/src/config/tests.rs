#![allow(clippy::unwrap_used, clippy::expect_used)]

use jiff::Timestamp;
use signalbox_model::{config::PreviousValue, rate_limit::RateLimit};

use super::*;

fn key(id: &str, digest: u8, revoked: bool) -> Upsert {
    let name = format!("projects/default/apiKeys/{id}");
    Upsert {
        resource: Resource::Key(KeyConfig {
            name: name.parse().unwrap(),
            digest: KeyDigest([digest; 32]),
            revoked,
            expires_at: None,
            rate_limit: None,
            scope: None,
            previous: None,
        }),
        encoded: Bytes::from(format!("{id} {digest} {revoked}")),
        name,
    }
}

fn decode(encoded: &[u8]) -> Result<Resource, String> {
    let text = String::from_utf8(encoded.to_vec()).unwrap();
    match text.split(' ').collect::<Vec<_>>()[..] {
        ["project", per_second] => Ok(quota(per_second.parse().unwrap()).resource),
        [id, digest, revoked] => {
            Ok(key(id, digest.parse().unwrap(), revoked.parse().unwrap()).resource)
        }
        _ => Err("no".to_owned()),
    }
}

fn quota(events_per_second: i64) -> Upsert {
    let name = "projects/default".to_owned();
    Upsert {
        resource: Resource::Project(ProjectConfig {
            project: ProjectId::default_project(),
            rate_limit: RateLimit::new(events_per_second, 0).unwrap(),
        }),
        encoded: Bytes::from(format!("project {events_per_second}")),
        name,
    }
}

fn change(
    revision: u64,
    replaces_all: bool,
    upserts: Vec<Upsert>,
    deletes: &[&str],
    keep: &[&str],
) -> Change {
    let names = |ids: &[&str]| {
        ids.iter()
            .map(|id| format!("projects/default/apiKeys/{id}"))
            .collect()
    };
    Change {
        incarnation: "i".into(),
        revision: Revision(revision),
        replaces_all,
        upserts,
        deletes: names(deletes),
        keep: names(keep),
    }
}

fn live(snapshot: &Snapshot, digest: u8) -> Option<bool> {
    snapshot
        .key(&KeyDigest([digest; 32]))
        .map(|key| !key.revoked)
}

#[test]
fn changes_apply_and_survive() {
    let dir = tempfile::tempdir().unwrap();
    let store = ConfigStore::open(dir.path(), decode).unwrap();
    assert!(!store.current().is_synced());
    store
        .apply(change(
            1,
            true,
            vec![key("a", 1, false), key("b", 2, false)],
            &[],
            &[],
        ))
        .unwrap();
    store
        .apply(change(2, false, vec![key("a", 1, true)], &["b"], &[]))
        .unwrap();
    for store in [&store, &ConfigStore::open(dir.path(), decode).unwrap()] {
        let now = store.current();
        assert!(now.is_synced());
        assert_eq!(now.revision, Revision(2));
        assert_eq!(live(&now, 1), Some(false));
        assert_eq!(live(&now, 2), None);
    }
}

#[test]
fn a_key_with_a_new_value_leaves_the_old_one_behind() {
    let dir = tempfile::tempdir().unwrap();
    let store = ConfigStore::open(dir.path(), decode).unwrap();
    store
        .apply(change(1, true, vec![key("a", 1, false)], &[], &[]))
        .unwrap();
    store
        .apply(change(2, false, vec![key("a", 9, false)], &[], &[]))
        .unwrap();
    assert_eq!(live(&store.current(), 1), None);
    assert_eq!(live(&store.current(), 9), Some(true));
}

/// A key and the value before.
fn rotated(id: &str, digest: u8, previous: u8, expires_at: Timestamp) -> Upsert {
    let mut upsert = key(id, digest, false);
    if let Resource::Key(key) = &mut upsert.resource {
        key.previous = Some(Box::new(PreviousValue {
            digest: KeyDigest([previous; 32]),
            expires_at,
        }));
    }
    upsert
}

#[test]
fn a_rotated_key_is_found_by_both_values_and_leaves_neither_behind() {
    let dir = tempfile::tempdir().unwrap();
    let store = ConfigStore::open(dir.path(), decode).unwrap();
    let set = |revision, upserts, deletes: &[&str]| {
        store
            .apply(change(revision, false, upserts, deletes, &[]))
            .unwrap();
    };
    let found = || [1, 2, 3].map(|digest| live(&store.current(), digest).is_some());
    let until: Timestamp = "2026-11-26T12:00:00Z".parse().unwrap();
    set(1, vec![key("a", 1, false)], &[]);
    set(2, vec![rotated("a", 2, 1, until)], &[]);
    assert_eq!(found(), [true, true, false]);
    assert_eq!(store.current().len(), 1, "one key");
    let now = store.current();
    let key_of = |digest| now.key(&KeyDigest([digest; 32])).unwrap();
    assert!(Arc::ptr_eq(key_of(1), key_of(2)), "with one bucket");
    let second = std::time::Duration::from_secs(1);
    for (digest, at, has) in [
        (1, until - second, true),
        (1, until, false),
        (2, until, true),
        (3, until - second, false),
    ] {
        let has_value = key_of(1).has_value(&KeyDigest([digest; 32]), at);
        assert_eq!(has_value, has, "{digest} at {at}");
    }
    // Rotated again, revoked or deleted.
    set(3, vec![rotated("a", 3, 2, until)], &[]);
    assert_eq!(found(), [false, true, true]);
    set(4, vec![key("a", 3, true)], &[]);
    assert_eq!(found(), [false, false, true]);
    set(5, vec![rotated("a", 3, 2, until)], &[]);
    set(6, vec![], &["a"]);
    assert_eq!(found(), [false; 3]);
    assert!(store.current().is_empty());
}

#[test]
fn a_snapshot_drops_what_it_does_not_hold_but_keeps_what_was_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = ConfigStore::open(dir.path(), decode).unwrap();
    let all = vec![key("a", 1, false), key("b", 2, false), key("c", 3, false)];
    store.apply(change(1, true, all, &[], &[])).unwrap();
    store
        .apply(change(5, true, vec![key("a", 1, false)], &[], &["b"]))
        .unwrap();
    for store in [&store, &ConfigStore::open(dir.path(), decode).unwrap()] {
        let now = store.current();
        assert_eq!(
            [live(&now, 1), live(&now, 2), live(&now, 3)],
            [Some(true), Some(true), None]
        );
    }
}

fn refused(id: &str) -> (WorkflowName, String) {
    let name = format!("projects/default/workflows/{id}");
    (name.parse().unwrap(), name)
}

#[test]
fn a_workflow_that_is_refused_is_known_to_be_there_until_it_goes() {
    let dir = tempfile::tempdir().unwrap();
    let store = ConfigStore::open(dir.path(), decode).unwrap();
    let (name, text) = refused("w");
    let (other, _) = refused("other");
    let mut first = change(1, true, vec![key("a", 1, false)], &[], &[]);
    first.keep = vec![text.clone()];
    store.apply(first).unwrap();
    // Changes of others do not make it unknown.
    store
        .apply(change(2, false, vec![key("b", 2, false)], &[], &["b"]))
        .unwrap();
    for store in [&store, &ConfigStore::open(dir.path(), decode).unwrap()] {
        assert!(store.current().is_refused(&name));
        assert!(!store.current().is_refused(&other));
    }
    let mut gone = change(3, false, vec![], &[], &[]);
    gone.deletes = vec![text.clone()];
    store.apply(gone).unwrap();
    for store in [&store, &ConfigStore::open(dir.path(), decode).unwrap()] {
        assert!(!store.current().is_refused(&name));
    }
    let mut again = change(4, false, vec![], &[], &[]);
    again.keep = vec![text];
    store.apply(again).unwrap();
    // A snapshot without it: it was deleted meanwhile.
    store.apply(change(5, true, vec![], &[], &[])).unwrap();
    for store in [&store, &ConfigStore::open(dir.path(), decode).unwrap()] {
        assert!(!store.current().is_refused(&name));
    }
}

#[test]
fn what_a_start_cannot_read_is_asked_for_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = ConfigStore::open(dir.path(), decode).unwrap();
    let (name, text) = refused("w");
    let mut both = change(
        7,
        true,
        vec![key("a", 1, false), key("b", 2, false)],
        &[],
        &[],
    );
    // Stands for a workflow of a form that this version of the software does not read.
    both.upserts[1].name = text;
    both.upserts[1].encoded = Bytes::from_static(b"unreadable");
    store.apply(both).unwrap();
    drop(store);

    let store = ConfigStore::open(dir.path(), decode).unwrap();
    let now = store.current();
    assert!(now.is_synced(), "what it can read is in use");
    assert_eq!(live(&now, 1), Some(true));
    assert_eq!(now.revision, Revision(0), "and everything is asked for");
    assert!(now.is_refused(&name));
}

fn limited(id: &str, burst: i64, revoked: bool) -> Upsert {
    let mut upsert = key(id, 1, revoked);
    if let Resource::Key(key) = &mut upsert.resource {
        key.rate_limit = RateLimit::new(1, burst).ok();
    }
    upsert
}

/// How many hundreds of requests are let through at once, and a few more as time goes by.
fn hundreds_at_once(store: &ConfigStore) -> usize {
    let now = store.current();
    let key = now.key(&KeyDigest([1; 32])).unwrap();
    (0..1000).take_while(|_| key.take().is_ok()).count() / 100
}

#[test]
fn a_limit_is_counted_on_until_it_is_another() {
    let dir = tempfile::tempdir().unwrap();
    let store = ConfigStore::open(dir.path(), decode).unwrap();
    let set = |revision, all, upsert, deletes: &[&str]| {
        store
            .apply(change(revision, all, vec![upsert], deletes, &[]))
            .unwrap();
    };
    set(1, true, limited("a", 200, false), &[]);
    assert_eq!(hundreds_at_once(&store), 2);
    // Neither another change nor a whole new snapshot is worth a burst.
    set(2, false, limited("a", 200, true), &[]);
    assert_eq!(hundreds_at_once(&store), 0);
    set(3, true, limited("a", 200, false), &[]);
    assert_eq!(hundreds_at_once(&store), 0);
    set(4, false, limited("a", 300, false), &[]);
    assert_eq!(hundreds_at_once(&store), 3);
    set(5, false, key("a", 1, false), &[]);
    assert_eq!(hundreds_at_once(&store), 10, "without a limit");
    // Gone and made anew.
    set(6, false, limited("a", 200, false), &[]);
    assert_eq!(hundreds_at_once(&store), 2);
    set(7, false, key("b", 2, false), &["a"]);
    set(8, false, limited("a", 200, false), &[]);
    assert_eq!(hundreds_at_once(&store), 2);
}

#[test]
fn what_sets_no_limit_has_the_nodes() {
    let dir = tempfile::tempdir().unwrap();
    let rates = Rates {
        key_max: RateLimit::new(1, 400).ok(),
        workflow_max: None,
    };
    let open = || ConfigStore::open_with(dir.path(), rates, &[], decode).unwrap();
    let store = open();
    for (revision, all) in [(1, true), (2, false)] {
        for upsert in [limited("a", 200, false), key("a", 1, false)] {
            store
                .apply(change(revision, all, vec![upsert], &[], &[]))
                .unwrap();
        }
        assert_eq!(hundreds_at_once(&store), 4);
    }
    assert_eq!(hundreds_at_once(&open()), 4, "from the disk, too");
}

#[tokio::test(start_paused = true)]
async fn a_project_has_a_bucket_as_long_as_it_has_a_quota() {
    let dir = tempfile::tempdir().unwrap();
    let store = ConfigStore::open(dir.path(), decode).unwrap();
    let project = ProjectId::default_project();
    let taken = |store: &ConfigStore| {
        let now = store.current();
        let project = now.project(&project)?;
        Some((0..1000).take_while(|_| project.take().is_ok()).count())
    };
    let set = |revision, all, upserts, deletes: &[&str]| {
        let mut change = change(revision, all, upserts, &[], &[]);
        change.deletes = deletes.iter().map(|name| (*name).to_owned()).collect();
        store.apply(change).unwrap();
    };
    set(1, true, vec![key("a", 1, false)], &[]);
    assert_eq!(taken(&store), None);
    set(2, false, vec![quota(200)], &[]);
    assert_eq!(taken(&store), Some(200));
    // Neither another change nor a whole new snapshot is worth a burst.
    set(3, false, vec![key("b", 2, false)], &[]);
    set(4, true, vec![quota(200)], &[]);
    assert_eq!(taken(&store), Some(0));
    let mut kept = change(5, true, vec![], &[], &[]);
    kept.keep = vec!["projects/default".to_owned()];
    store.apply(kept).unwrap();
    assert_eq!(taken(&store), Some(0), "a newer state was refused");
    let again = ConfigStore::open(dir.path(), decode).unwrap();
    assert_eq!(taken(&again), Some(200), "from the disk");
    set(6, false, vec![quota(300)], &[]);
    assert_eq!(taken(&store), Some(300));
    let other: ProjectId = "other".parse().unwrap();
    assert!(store.current().project(&other).is_none());
    set(7, false, vec![], &["projects/default"]);
    for store in [&store, &ConfigStore::open(dir.path(), decode).unwrap()] {
        assert_eq!(taken(store), None);
    }
}
