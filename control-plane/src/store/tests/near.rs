//! What may have been meant by a name that there is not.

use signalbox_model::ids::{ApiKeyName, SecretId};

use super::*;
use crate::store::NEAR_MAX;

fn naming(key: &str, secret: &str, workflow: &str) -> NewWorkflow {
    let text = format!(
        "{{trigger: {{webhook: {{apiKeys: [{key}]}}}}, steps: [{{id: a, http: {{url: 'http://h.test', headers: {{x-a: '${{{{ secrets[\"{secret}\"] }}}}'}}}}}}, {{id: b, runWorkflow: {{workflow: {workflow}}}}}]}}"
    );
    written(&text)
}

async fn refused(app: &App, new: NewWorkflow) -> Vec<String> {
    let id = "caller".parse().unwrap();
    let made = app
        .create_workflow(&actor(), &project(), &id, new, true, "")
        .await;
    let Err(Error::Invalid(violations)) = made else {
        panic!("{made:?}");
    };
    violations.0.iter().map(ToString::to_string).collect()
}

async fn create_keys(store: &Store, ids: impl Iterator<Item = String>) {
    let rows: Vec<_> = ids
        .map(|id| rows::ApiKey {
            project: project().to_string(),
            digest: id.clone().into_bytes(),
            id,
            labels_json: "{}".to_owned(),
            ..Default::default()
        })
        .collect();
    store
        .configure(async |tx| {
            for row in rows.clone() {
                tx.insert_key(row).await?;
            }
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn a_name_that_there_is_not_is_told_with_what_was_meant() {
    each_database(async |store| {
        let app = app(store.clone());
        let none = refused(&app, naming("pagr", "tokne", "patch-hots")).await;
        assert_eq!(
            none,
            [
                "spec.trigger.webhook.apiKeys[0]: projects/default/apiKeys/pagr does not exist; expected an API key of the project, which has none",
                "spec.steps[0].http.headers.x-a: projects/default/secrets/tokne does not exist; expected a secret of the project, which has none",
                "spec.steps[1].runWorkflow.workflow: projects/default/workflows/patch-hots does not exist; expected a workflow of the project, which has none",
            ]
        );
        create_keys(&store, ["desk", "pager"].map(str::to_owned).into_iter()).await;
        let secret: SecretId = "token".parse().unwrap();
        app.create_secret(&actor(), &project(), &secret, b"s3cret-value")
            .await
            .unwrap();
        let plain = "{trigger: {manual: {}}, steps: [{id: a, succeed: {}}]}";
        let wire: v1::WorkflowSpec = json::from_yaml_str(plain).unwrap();
        let called = NewWorkflow {
            definition: Definition {
                workflow: Arc::new(definition::workflow(&wire, &project()).unwrap()),
                source: definition::encode(&wire).to_vec(),
            },
            ..naming("k", "s", "w")
        };
        let id = "patch-host".parse().unwrap();
        app.create_workflow(&actor(), &project(), &id, called, true, "")
            .await
            .unwrap();
        let meant = refused(&app, naming("pagr", "tokne", "patch-hots")).await;
        assert_eq!(
            meant,
            [
                "spec.trigger.webhook.apiKeys[0]: projects/default/apiKeys/pagr does not exist; did you mean \"pager\"?; expected an API key of the project: desk, pager",
                "spec.steps[0].http.headers.x-a: projects/default/secrets/tokne does not exist; did you mean \"token\"?; expected a secret of the project: token",
                "spec.steps[1].runWorkflow.workflow: projects/default/workflows/patch-hots does not exist; did you mean \"patch-host\"?; expected a workflow of the project: patch-host",
            ]
        );
        // What was meant is not kept from whoever names it.
        let right = naming("pager", "token", "patch-host");
        let id = "caller".parse().unwrap();
        app.create_workflow(&actor(), &project(), &id, right, true, "")
            .await
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn of_many_names_the_next_ones_are_looked_through() {
    each_database(async |store| {
        let app = app(store.clone());
        create_keys(&store, (0..4 * NEAR_MAX).map(|n| format!("key-{n:04}"))).await;
        let name: ApiKeyName = "projects/default/apiKeys/key-0100x".parse().unwrap();
        let near = store
            .configure(async |tx| tx.keys_near(&name).await)
            .await
            .unwrap();
        let most = usize::try_from(2 * NEAR_MAX).unwrap();
        assert_eq!((near.ids.len(), near.are_all), (most, false));
        assert_eq!(
            (near.ids[0].as_str(), near.ids[most - 1].as_str()),
            ("key-0051", "key-0150")
        );
        let told = refused(&app, naming("key-0100x", "s", "w")).await;
        let expected = "spec.trigger.webhook.apiKeys[0]: projects/default/apiKeys/key-0100x does not exist; \
                        did you mean \"key-0100\"?; expected an API key of the project";
        assert_eq!(told[0], expected);
    })
    .await;
}
