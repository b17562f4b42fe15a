//! When keys were last used.

use std::time::Duration;

use signalbox_model::key_use::KeyUse;

use super::*;

fn key_use(key: &str, time: Timestamp, source: &str) -> KeyUse {
    KeyUse {
        key: format!("projects/default/apiKeys/{key}").parse().unwrap(),
        time,
        source: source.parse().unwrap(),
    }
}

#[tokio::test]
async fn the_newest_use_of_a_key_is_kept_and_changes_nothing_else_on_both_databases() {
    each_database(async |store| {
        let app = app(store.clone());
        let create = async |id: &str| {
            let id = id.parse().unwrap();
            app.create_key(&actor(), &project(), &id, NewKey::default(), "")
                .await
                .unwrap()
                .0
        };
        let keys = [create("a").await, create("b").await];
        let (revision, head) = (
            *store.revision().borrow(),
            store.audit_head(Some(&project())).await,
        );
        let created = Timestamp::from_microsecond(keys[1].create_time_us).unwrap();
        let after = |ms| created + Duration::from_millis(ms);
        // Of the future only by clocks that are ahead: not by the one that made the keys.
        while Timestamp::now() < after(20) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let note = async |uses: &[KeyUse]| app.note_key_uses(uses).await.unwrap();
        let last = async || {
            let uses = app.key_uses(&keys).await.unwrap();
            ["a", "b"].map(|id| {
                let row = uses.get(id)?;
                let after_us = row.use_time_us - keys[1].create_time_us;
                Some((after_us / 1000, row.source_address.clone()))
            })
        };
        let used = |ms, source: &str| Some((ms, source.to_owned()));
        assert_eq!(last().await, [None, None]);
        note(&[]).await;
        // Several of one key at once, one of a key that there is not, and one of before the key.
        note(&[
            key_use("a", after(2), "192.0.2.2"),
            key_use("a", after(3), "2001:db8::3"),
            key_use("a", after(1), "192.0.2.1"),
            key_use("gone", after(5), "192.0.2.5"),
            key_use("b", created - Duration::from_secs(1), "192.0.2.9"),
        ])
        .await;
        assert_eq!(last().await, [used(3, "2001:db8::3"), None]);
        // Another node is behind, and another ahead.
        note(&[key_use("a", after(2), "192.0.2.2")]).await;
        assert_eq!(last().await, [used(3, "2001:db8::3"), None]);
        note(&[
            key_use("a", after(4), "192.0.2.4"),
            key_use("b", after(5), "192.0.2.5"),
        ])
        .await;
        assert_eq!(last().await, [used(4, "192.0.2.4"), used(5, "192.0.2.5")]);
        let ahead = Timestamp::now() + Duration::from_secs(3600);
        note(&[key_use("b", ahead, "192.0.2.6")]).await;
        let rows = app.key_uses(&keys).await.unwrap();
        let now_us = Timestamp::now().as_microsecond();
        assert!(rows["b"].use_time_us <= now_us, "{rows:?}");
        assert_eq!(rows["b"].source_address, "192.0.2.6");

        let same = (
            *store.revision().borrow(),
            store.audit_head(Some(&project())).await,
        );
        assert_eq!(format!("{same:?}"), format!("{:?}", (revision, head)));
        let name: ApiKeyName = "projects/default/apiKeys/a".parse().unwrap();
        assert_eq!(app.key(&name).await.unwrap().row, keys[0]);
        // Gone with its key, when that is for good.
        app.delete_key(&actor(), &name, "").await.unwrap();
        assert_eq!(app.key_uses(&keys).await.unwrap().len(), 2);
        app.purge_key(&actor(), &name, "").await.unwrap();
        let left = app.key_uses(&keys).await.unwrap();
        assert_eq!(left.keys().collect::<Vec<_>>(), ["b"]);
    })
    .await;
}

#[tokio::test]
async fn more_keys_than_one_statement_takes_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let app = app(sqlite(dir.path()).await);
    let mut keys = Vec::new();
    for n in 0..3 {
        let id = format!("k{n}").parse().unwrap();
        let made = app
            .create_key(&actor(), &project(), &id, NewKey::default(), "")
            .await;
        keys.push(made.unwrap().0);
    }
    let now = Timestamp::now();
    // Most of them there are not.
    let uses: Vec<_> = (0..1200)
        .map(|n| key_use(&format!("k{}", n % 600), now, "192.0.2.1"))
        .collect();
    app.note_key_uses(&uses).await.unwrap();
    assert_eq!(app.key_uses(&keys).await.unwrap().len(), 3);
}
