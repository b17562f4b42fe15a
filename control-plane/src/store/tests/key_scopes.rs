//! What keys may be used for, against the workflows that name them.

use signalbox_model::key_scope::{KeyScope, KeyScopeChange};

use super::*;
use crate::app::KeyChange;

fn scope(workflows: &[&str], networks: &[&str]) -> KeyScope {
    KeyScope::new(&project(), workflows, networks).unwrap()
}

fn workflows(ids: &[&str]) -> KeyChange {
    KeyChange {
        scope: KeyScopeChange {
            given: scope(ids, &[]),
            changes_workflows: true,
            changes_source_networks: false,
        },
        ..KeyChange::default()
    }
}

#[tokio::test]
async fn a_scope_is_set_changed_and_taken_away_on_both_databases() {
    each_database(async |store| {
        let app = app(store.clone());
        let name: ApiKeyName = "projects/default/apiKeys/k".parse().unwrap();
        let new = NewKey {
            scope: scope(&["b", "a"], &["10.0.0.0/8"]),
            ..NewKey::default()
        };
        let made = app
            .create_key(&actor(), &project(), &name.api_key, new, "")
            .await;
        assert_eq!(
            made.unwrap().0.scope().unwrap(),
            scope(&["a", "b"], &["10.0.0.0/8"])
        );
        let update = async |change| app.update_key(&actor(), &name, change, "").await.unwrap();
        let networks = |networks: &[&str]| KeyChange {
            scope: KeyScopeChange {
                given: scope(&["ignored"], networks),
                changes_workflows: false,
                changes_source_networks: true,
            },
            ..KeyChange::default()
        };
        update(networks(&["2001:db8::/32", "10.0.0.0/8"])).await;
        let key = update(workflows(&["c"])).await;
        let expected = scope(&["c"], &["10.0.0.0/8", "2001:db8::/32"]);
        assert_eq!(app.key(&name).await.unwrap().row.scope().unwrap(), expected);
        let before = *store.revision().borrow();
        assert_eq!(
            update(workflows(&["projects/default/workflows/c"])).await,
            key
        );
        assert_eq!(*store.revision().borrow(), before, "nothing changed");
        update(workflows(&[])).await;
        let key = update(networks(&[])).await;
        assert!(key.scope().unwrap().is_everything() && key.scope_json.is_none());
        // What is damaged stands for nothing, and not for everything.
        let damaged = rows::ApiKey {
            scope_json: Some("{}".to_owned()),
            ..key
        };
        assert!(damaged.scope().is_err());
    })
    .await;
}

#[tokio::test]
async fn a_workflow_and_a_key_that_does_not_count_for_it_do_not_come_together() {
    each_database(async |store| {
        let app = app(store);
        let key: ApiKeyName = "projects/default/apiKeys/k".parse().unwrap();
        let new = NewKey {
            scope: scope(&["b"], &[]),
            ..NewKey::default()
        };
        app.create_key(&actor(), &project(), &key.api_key, new, "")
            .await
            .unwrap();
        let name = |id: &str| -> WorkflowName {
            format!("projects/default/workflows/{id}").parse().unwrap()
        };
        let named = || spec("webhook: {apiKeys: [k]}", "\"1\"");
        let create = async |id: &str, new, publish| {
            let id = id.parse().unwrap();
            app.create_workflow(&actor(), &project(), &id, new, publish, "")
                .await
        };
        let refused = create("a", named(), false).await.unwrap_err().to_string();
        let expected = "spec.trigger.webhook.apiKeys[0]: projects/default/apiKeys/k does not count for this workflow: \
                        its scope names others";
        assert!(refused.contains(expected), "{refused}");
        create("b", named(), true).await.unwrap();
        create("a", spec("manual: {}", "\"1\""), true).await.unwrap();
        let refused = app
            .update_workflow(&actor(), &name("a"), named(), true, "")
            .await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");

        let update = async |ids: &[&str]| app.update_key(&actor(), &key, workflows(ids), "").await;
        let refused = update(&["a"]).await.unwrap_err();
        let Error::Precondition {
            subject,
            reason,
            message,
        } = &refused
        else {
            panic!("{refused:?}");
        };
        assert_eq!((subject.as_str(), *reason), ("projects/default/apiKeys/k", "REFERENCED"));
        assert!(message.contains("projects/default/workflows/b"), "{message}");
        assert_eq!(app.key(&key).await.unwrap().row.scope().unwrap(), scope(&["b"], &[]));

        // A version that is not published does not hold the key back, and is not published then.
        update(&["a", "b"]).await.unwrap();
        let unpublished = app
            .update_workflow(&actor(), &name("a"), named(), false, "")
            .await
            .unwrap();
        update(&["b"]).await.unwrap();
        let latest = unpublished.latest_version;
        let refused = app
            .publish_workflow(&actor(), &name("a"), latest, "", decode)
            .await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
        update(&[]).await.unwrap();
        app.publish_workflow(&actor(), &name("a"), latest, "", decode)
            .await
            .unwrap();
    })
    .await;
}
