//! Keys get new values.

use std::time::Duration;

use super::*;
use crate::app::KeyChange;

const DAY: Duration = Duration::from_secs(86_400);

#[track_caller]
fn precondition<T: std::fmt::Debug>(result: Result<T, Error>) -> (&'static str, String) {
    match result {
        Err(Error::Precondition {
            reason, message, ..
        }) => (reason, message),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_key_has_two_values_for_the_overlap_on_both_databases() {
    each_database(async |store| {
        let app = app(store.clone());
        let name: ApiKeyName = "projects/default/apiKeys/k".parse().unwrap();
        let created = app
            .create_key(&actor(), &project(), &name.api_key, NewKey::default(), "")
            .await;
        let (first, first_value) = created.unwrap();
        assert_eq!(
            (first.rotate_time_us, &first.previous_digest),
            (None, &None)
        );
        let rotate = async |overlap, etag: &str, request_id: &str| {
            app.rotate_key(&actor(), &name, overlap, etag, request_id)
                .await
        };
        let stale = rotate(None, "\"0\"", "").await;
        assert!(matches!(stale, Err(Error::Stale { .. })), "{stale:?}");
        let too_long = rotate(Some(30 * DAY + Duration::from_secs(1)), "", "").await;
        assert!(matches!(too_long, Err(Error::Invalid(_))), "{too_long:?}");

        // Once for each request, also when the etag is that of before.
        let before = *store.revision().borrow();
        let request_id = uuid::Uuid::new_v4().to_string();
        let tag = etag(first.revision);
        let (second, value) = rotate(None, &tag, &request_id).await.unwrap();
        assert!(*store.revision().borrow() > before, "the nodes are told");
        let (again, same) = rotate(None, &tag, &request_id).await.unwrap();
        assert_eq!((&second, value.expose()), (&again, same.expose()));
        assert_ne!(value.expose(), first_value.expose());
        assert_eq!(second.digest, value.digest());
        assert_eq!(second.prefix, value.shown());
        assert_eq!(second.previous_digest.as_ref(), Some(&first.digest));
        let rotated_us = second.rotate_time_us.unwrap();
        assert_eq!(
            second.previous_expire_time_us,
            Some(rotated_us + 86_400_000_000)
        );
        let revealed = app.reveal_key(&actor(), &name).await.unwrap();
        assert_eq!(revealed.expose(), value.expose());
        let other: ApiKeyName = "projects/default/apiKeys/other".parse().unwrap();
        app.create_key(&actor(), &project(), &other.api_key, NewKey::default(), "")
            .await
            .unwrap();
        let reused = app
            .rotate_key(&actor(), &other, None, "", &request_id)
            .await;
        assert!(matches!(reused, Err(Error::Invalid(_))), "{reused:?}");

        // No third value: neither a short overlap ends the first early, nor is it forgotten.
        let (reason, message) = precondition(rotate(Some(DAY / 24), "", "").await);
        assert_eq!(reason, "ROTATION_OVERLAP");
        assert!(message.contains("without an overlap"), "{message}");
        let (third, _) = rotate(Some(Duration::ZERO), "", "").await.unwrap();
        let previous = (&third.previous_digest, third.previous_expire_time_us);
        assert_eq!(previous, (&None, None), "both values before have ended");
        let (fourth, _) = rotate(Some(30 * DAY), "", "").await.unwrap();
        assert_eq!(fourth.previous_digest.as_ref(), Some(&third.digest));
        // Other changes leave it be.
        let change = KeyChange {
            display_name: Some("Four".into()),
            ..KeyChange::default()
        };
        let named = app.update_key(&actor(), &name, change, "").await.unwrap();
        assert_eq!(named.previous_digest, fourth.previous_digest);

        let now_us = Timestamp::now().as_microsecond();
        assert!(named.previous_expires_at(now_us).is_some());
        let revoked = app.revoke_key(&actor(), &name, "").await.unwrap();
        assert_eq!(revoked.previous_expires_at(now_us), None);
        assert_eq!(precondition(rotate(None, "", "").await).0, "KEY_REVOKED");
        let gone = "projects/default/apiKeys/gone".parse().unwrap();
        let missing = app.rotate_key(&actor(), &gone, None, "", "").await;
        assert!(
            matches!(missing, Err(Error::NotFound { .. })),
            "{missing:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn an_overlap_ends_and_a_key_that_has_expired_is_not_rotated() {
    let dir = tempfile::tempdir().unwrap();
    let app = app(sqlite(dir.path()).await);
    let name: ApiKeyName = "projects/default/apiKeys/k".parse().unwrap();
    app.create_key(&actor(), &project(), &name.api_key, NewKey::default(), "")
        .await
        .unwrap();
    let rotate = async |overlap_ms| {
        let overlap = Some(Duration::from_millis(overlap_ms));
        app.rotate_key(&actor(), &name, overlap, "", "").await
    };
    let (row, _) = rotate(1).await.unwrap();
    let until = row.previous_expire_time_us.unwrap();
    while Timestamp::now().as_microsecond() <= until {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(row.previous_expires_at(until), None);
    assert!(row.previous_expires_at(until - 1).is_some());
    rotate(60_000).await.unwrap();

    let soon = Timestamp::now() + Duration::from_millis(50);
    let change = KeyChange {
        expires_at: Some(Some(soon)),
        ..KeyChange::default()
    };
    app.update_key(&actor(), &name, change, "").await.unwrap();
    while Timestamp::now() <= soon {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(precondition(rotate(0).await).0, "KEY_EXPIRED");
}

/// A newer value than the one that the request made, and one that somebody else was given, would be a reveal that nobody notes.
#[tokio::test]
async fn a_repeated_request_is_shown_its_own_value_only_on_both_databases() {
    each_database(async |store| {
        let app = app(store);
        let name: ApiKeyName = "projects/default/apiKeys/k".parse().unwrap();
        let (created, rotated) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
        let create = async |who: &Actor| {
            let (id, request_id) = (&name.api_key, created.to_string());
            app.create_key(who, &project(), id, NewKey::default(), &request_id)
                .await
                .map(|(_, value)| value.expose().to_owned())
        };
        let rotate = async |who: &Actor| {
            app.rotate_key(who, &name, Some(Duration::ZERO), "", &rotated.to_string())
                .await
                .map(|(_, value)| value.expose().to_owned())
        };
        let other = Actor {
            subject: "eve".into(),
            ..actor()
        };
        let first = create(&actor()).await.unwrap();
        assert_eq!(create(&actor()).await.unwrap(), first);
        assert_eq!(precondition(create(&other).await).0, "VALUE_NOT_SHOWN");

        let second = rotate(&actor()).await.unwrap();
        assert_ne!(first, second);
        assert_eq!(rotate(&actor()).await.unwrap(), second);
        assert_eq!(precondition(rotate(&other).await).0, "VALUE_NOT_SHOWN");
        assert_eq!(precondition(create(&actor()).await).0, "VALUE_NOT_SHOWN");

        app.revoke_key(&actor(), &name, "").await.unwrap();
        assert_eq!(precondition(rotate(&actor()).await).0, "VALUE_NOT_SHOWN");
    })
    .await;
}
