//! Labels, and lists by them.

use signalbox_model::labels::{LabelSelector, Labels};

use super::*;
use crate::app::KeyChange;

fn labels(pairs: &[(&str, &str)]) -> LabelSelector {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn labelled(pairs: &[(&str, &str)]) -> Labels {
    Labels::new("labels", labels(pairs)).unwrap()
}

#[tokio::test]
async fn keys_and_workflows_are_found_by_their_labels_as_long_as_they_have_them() {
    each_database(async |store| {
        let app = app(store);
        let keys = async |pairs: &[(&str, &str)]| {
            let page = Page::first(10);
            let found = app
                .keys(&project(), &labels(pairs), false, &page)
                .await
                .unwrap();
            found
                .rows
                .into_iter()
                .map(|found| found.row.id)
                .collect::<Vec<_>>()
        };
        let workflows = async |pairs: &[(&str, &str)]| {
            let page = Page::first(10);
            let found = app
                .workflows(&project(), &labels(pairs), false, &page)
                .await
                .unwrap();
            found
                .rows
                .into_iter()
                .map(|found| found.row.id)
                .collect::<Vec<_>>()
        };
        for (id, pairs) in [
            ("k1", &[("team", "desk"), ("tier", "1")][..]),
            ("k2", &[("team", "desk"), ("tier", "2")]),
            ("k3", &[]),
        ] {
            let new = NewKey {
                labels: labelled(pairs),
                ..NewKey::default()
            };
            let made = app
                .create_key(&actor(), &project(), &id.parse().unwrap(), new, "")
                .await;
            assert_eq!(made.unwrap().0.labels(), labels(pairs));
        }
        // A workflow of the same name has labels of its own.
        let name: WorkflowName = "projects/default/workflows/k1".parse().unwrap();
        let mut definition = spec("webhook: {apiKeys: [k1]}", "'1'");
        definition.labels = labelled(&[("team", "other")]);
        let row = app
            .create_workflow(
                &actor(),
                &project(),
                &name.workflow,
                definition.clone(),
                true,
                "",
            )
            .await
            .unwrap();
        assert_eq!(keys(&[("team", "desk")]).await, ["k2", "k1"]);
        assert_eq!(keys(&[("team", "desk"), ("tier", "1")]).await, ["k1"]);
        assert_eq!(keys(&[("team", "other")]).await, [""; 0]);
        assert_eq!(keys(&[]).await.len(), 3);
        assert_eq!(workflows(&[("team", "other")]).await, ["k1"]);
        assert_eq!(workflows(&[("team", "desk")]).await, [""; 0]);

        // Other labels, and no new version for them.
        definition.labels = labelled(&[("team", "desk")]);
        let moved = app
            .update_workflow(&actor(), &name, definition, true, "")
            .await
            .unwrap();
        assert_eq!(
            (moved.latest_version, moved.labels()),
            (1, labels(&[("team", "desk")]))
        );
        assert_ne!(moved.revision, row.revision);
        assert_eq!(workflows(&[("team", "other")]).await, [""; 0]);
        assert_eq!(workflows(&[("team", "desk")]).await, ["k1"]);
        // What is not named stays; deleting forgets.
        let key: ApiKeyName = "projects/default/apiKeys/k2".parse().unwrap();
        let named = KeyChange {
            display_name: Some("Two".into()),
            ..KeyChange::default()
        };
        app.update_key(&actor(), &key, named, "").await.unwrap();
        assert_eq!(keys(&[("tier", "2")]).await, ["k2"]);
        app.purge_key(&actor(), &key, "").await.unwrap();
        let again = NewKey::default();
        app.create_key(&actor(), &project(), &key.api_key, again, "")
            .await
            .unwrap();
        assert_eq!(keys(&[("tier", "2")]).await, [""; 0]);
        app.delete_workflow(&actor(), &name, "").await.unwrap();
        assert_eq!(workflows(&[("team", "desk")]).await, [""; 0]);
    })
    .await;
}

#[tokio::test]
async fn a_key_s_expiry_is_moved_but_not_into_the_past() {
    each_database(async |store| {
        let app = app(store);
        let key: ApiKeyName = "projects/default/apiKeys/k".parse().unwrap();
        let new = NewKey::default();
        app.create_key(&actor(), &project(), &key.api_key, new, "")
            .await
            .unwrap();
        let to = async |at: Option<&str>| {
            let change = KeyChange {
                expires_at: Some(at.map(|at| at.parse().unwrap())),
                ..KeyChange::default()
            };
            app.update_key(&actor(), &key, change, "").await
        };
        let row = to(Some("2999-01-01T00:00:00Z")).await.unwrap();
        assert!(row.expire_time_us.is_some());
        let past = to(Some("2001-01-01T00:00:00Z")).await;
        assert!(matches!(past, Err(Error::Invalid(_))), "{past:?}");
        assert_eq!(to(None).await.unwrap().expire_time_us, None);
    })
    .await;
}
