//! Our own tokens at two replicas of one database.

use std::time::{Duration, Instant};

use signalbox_runtime::{data_dir::DataDir, shutdown::Shutdown};

use super::*;
use crate::auth::{Claims, Role, TokenKey, Tokens};

const LIMIT: Duration = Duration::from_secs(10);

fn claims() -> Claims {
    Claims::new("ann", "*", Role::Viewer, Duration::from_secs(600))
}

fn data_dir(dir: &Path, name: &str) -> Arc<DataDir> {
    Arc::new(DataDir::open(dir.join(name)).unwrap())
}

fn reason(error: Error) -> &'static str {
    match error {
        Error::Unauthenticated { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

/// How long it takes until `found` gives something.
async fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> (T, Duration) {
    let start = Instant::now();
    loop {
        if let Some(found) = found() {
            return (found, start.elapsed());
        }
        assert!(start.elapsed() < LIMIT, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_take_each_others_tokens_and_revocations() {
    let dir = tempfile::tempdir().unwrap();
    let postgres = Postgres::start();
    let shutdown = Shutdown::new();
    let mut replicas = Vec::new();
    for name in ["a", "b"] {
        let store = Store::open_url(&postgres.url()).await.unwrap();
        let tokens = Tokens::open(store, data_dir(dir.path(), name), true)
            .await
            .unwrap();
        shutdown.spawn(tokens.clone().follow(shutdown.clone()));
        replicas.push(tokens);
    }
    let [a, b] = &replicas[..] else {
        panic!("two replicas")
    };
    let (of_a, of_b) = (a.mint(&claims()).unwrap(), b.mint(&claims()).unwrap());
    assert_eq!(b.verify(&of_a).unwrap().subject, "ann");
    until("the key of the later one", || a.verify(&of_b).ok()).await;

    let identity = a.verify(&of_a).unwrap();
    let id = identity.token.unwrap().id;
    a.revoke(&actor(), &id, None, "lost").await.unwrap();
    assert_eq!(reason(a.verify(&of_a).unwrap_err()), "TOKEN_REVOKED");
    let (_, took) = until("the revocation", || b.verify(&of_a).err()).await;
    eprintln!("revoked at the other replica after {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");

    // Both sign by new keys, without a gap: what either signs is good at the other at any time.
    let before = [file(dir.path(), "a"), file(dir.path(), "b")];
    let who = actor();
    let rotating = a.rotate(&who, None);
    tokio::pin!(rotating);
    let start = Instant::now();
    let mut row = None;
    let both_new = |before: &[TokenKey; 2]| {
        let now = [file(dir.path(), "a"), file(dir.path(), "b")];
        (now[0].id() != before[0].id()) && (now[1].id() != before[1].id())
    };
    while row.is_none() || !both_new(&before) {
        if row.is_none() {
            tokio::select! {
                done = &mut rotating => row = Some(done.unwrap()),
                () = tokio::time::sleep(Duration::from_millis(10)) => {}
            }
        } else {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (of_a, of_b) = (a.mint(&claims()).unwrap(), b.mint(&claims()).unwrap());
        b.identify(&of_a).await.unwrap();
        a.identify(&of_b).await.unwrap();
        assert!(start.elapsed() < LIMIT);
    }
    assert_eq!(row.unwrap().id, file(dir.path(), "a").id());
    // Those before count still; with the next rotation, which leaves them no time, no more.
    a.verify(&of_b).unwrap();
    a.rotate(&actor(), Some(Duration::ZERO)).await.unwrap();
    let (error, _) = until("the end of the key", || b.verify(&of_b).err()).await;
    assert_eq!(reason(error), "TOKEN_KEY_RETIRED");
    shutdown.stop();
}

fn file(dir: &Path, replica: &str) -> TokenKey {
    TokenKey::read(&dir.join(replica).join(crate::auth::SIGNING_KEY_FILE)).unwrap()
}

#[tokio::test]
async fn a_key_that_was_retired_signs_nothing_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = sqlite(dir.path()).await;
    let first = data_dir(dir.path(), "a");
    let tokens = Tokens::open(store.clone(), first.clone(), false)
        .await
        .unwrap();
    let old = file(dir.path(), "a");
    let old_pem = std::fs::read(dir.path().join("a").join(crate::auth::SIGNING_KEY_FILE)).unwrap();
    let token = tokens.mint(&claims()).unwrap();
    let row = tokens
        .rotate(&actor(), Some(Duration::from_secs(60)))
        .await
        .unwrap();
    assert_eq!(row.id, file(dir.path(), "a").id());
    assert_ne!(row.id, old.id());
    tokens.verify(&token).unwrap();

    // As if the new key had not reached the disk, or somebody had put the old one back.
    let file_name = crate::auth::SIGNING_KEY_FILE;
    first.write_secret_file(file_name, &old_pem).unwrap();
    let tokens = Tokens::open(store.clone(), first.clone(), false)
        .await
        .unwrap();
    assert_ne!(file(dir.path(), "a").id(), old.id());
    tokens.verify(&token).unwrap();
    tokens.rotate(&actor(), Some(Duration::ZERO)).await.unwrap();
    for tokens in [tokens, Tokens::open(store, first, false).await.unwrap()] {
        assert_eq!(
            reason(tokens.verify(&token).unwrap_err()),
            "TOKEN_KEY_RETIRED"
        );
        let token = tokens.mint(&claims()).unwrap();
        tokens.verify(&token).unwrap();
    }
    let too_long = Some(Duration::from_secs(401 * 86_400));
    let tokens = Tokens::open(sqlite(dir.path()).await, data_dir(dir.path(), "b"), false);
    let refused = tokens.await.unwrap().rotate(&actor(), too_long).await;
    assert!(matches!(refused, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn revocations_are_kept_until_their_tokens_end_on_both_databases() {
    each_database(async |store| {
        let dir = tempfile::tempdir().unwrap();
        let data = data_dir(dir.path(), "a");
        let tokens = Tokens::open(store.clone(), data.clone(), false)
            .await
            .unwrap();
        let now_us = jiff::Timestamp::now().as_microsecond();
        let hours = |count: i64| now_us + count * 3_600_000_000;
        // It ended three hours ago: nobody needs to know.
        tokens
            .revoke(&actor(), "ended", Some(hours(-3)), "")
            .await
            .unwrap();
        let row = tokens
            .revoke(&actor(), "lost", Some(hours(1)), "in a train")
            .await
            .unwrap();
        tokens.revoke(&actor(), "for-good", None, "").await.unwrap();
        let again = tokens.revoke(&actor(), "lost", None, "again").await;
        assert_eq!(again.unwrap(), row, "the first counts");
        let page = tokens.revoked(&Page::first(1)).await.unwrap();
        assert_eq!(page.rows[0].id, "for-good");
        let mut next = Page::first(1);
        next.after = page.next;
        let page = tokens.revoked(&next).await.unwrap();
        assert_eq!(page.rows, [row]);
        assert_eq!(page.next, None);

        let mint = |id: &str| {
            let claims = Claims {
                jti: id.into(),
                ..claims()
            };
            tokens.mint(&claims).unwrap()
        };
        let anew = Tokens::open(store, data.clone(), false).await.unwrap();
        for tokens in [&tokens, &anew] {
            for id in ["lost", "for-good"] {
                let error = tokens.verify(&mint(id)).unwrap_err();
                assert_eq!(reason(error), "TOKEN_REVOKED");
            }
            tokens.verify(&mint("other")).unwrap();
        }
        for (id, why) in [("", ""), (&"x".repeat(129), ""), ("x", &"y".repeat(1001))] {
            let refused = tokens.revoke(&actor(), id, None, why).await;
            assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
        }
    })
    .await;
}
