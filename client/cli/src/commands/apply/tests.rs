//! What somebody else does between plan and deed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{path::PathBuf, time::Duration};

use clap::Parser as _;
use signalbox_runtime::shutdown::Shutdown;

use super::*;
use crate::{
    args::Cli,
    commands::once,
    compose::{ComposeConfig, Composition},
    output::Format,
};

struct World {
    global: Global,
    client: Client,
    file: PathBuf,
    _dir: tempfile::TempDir,
    _composition: Composition,
    shutdown: Shutdown,
}

impl World {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let config = ComposeConfig {
            data_dir: dir.path().join("data"),
            grpc_listen: any,
            webhook_listen: any,
            public_webhook_url: None,
            sns_trusted_origins: Vec::new(),
        };
        let shutdown = Shutdown::new();
        let composition = Composition::start(config, &shutdown).await.unwrap();
        let token = composition.admin_token(Duration::from_secs(600)).unwrap();
        let arguments = [
            "signalbox",
            "--endpoint",
            &composition.endpoint,
            "--token",
            &token,
        ];
        let cli = Cli::try_parse_from(arguments.into_iter().chain(["keys", "list"])).unwrap();
        Self {
            client: cli.global.client().unwrap(),
            global: cli.global,
            file: dir.path().join("all.yaml"),
            _dir: dir,
            _composition: composition,
            shutdown,
        }
    }

    async fn plan(&self, text: &str) -> Plan {
        std::fs::write(&self.file, text).unwrap();
        let labels = LabelSelector::from([("team".to_owned(), "desk".to_owned())]);
        let wanted = files::read(
            &self.global,
            std::slice::from_ref(&self.file),
            Some(&labels),
        );
        let parent = self.global.parent().unwrap();
        Plan::make(&self.client, &parent, wanted.unwrap(), Some(&labels))
            .await
            .unwrap()
    }

    async fn perform(&self, plan: &Plan) -> Result<(), CliError> {
        perform::perform(&self.client, plan, &Output::new(Format::Json)).await
    }

    async fn rename(&self, key: &str) -> Result<(), CliError> {
        let request = v1::UpdateApiKeyRequest {
            api_key: Some(v1::ApiKey {
                name: format!("projects/default/apiKeys/{key}"),
                display_name: "by somebody else".to_owned(),
                ..Default::default()
            }),
            update_mask: None,
        };
        once!(self.client, keys.update_api_key(request));
        Ok(())
    }
}

const ONE: &str = "kind: ApiKey\nname: one\nlabels: {team: desk}\ndisplayName: One\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_since_the_plan_is_not_overwritten() {
    let world = World::start().await;
    let both = format!("{ONE}---\nkind: ApiKey\nname: two\nlabels: {{team: desk}}\n");
    let first = world.plan(&both).await;
    let late = world.plan(&both).await;
    world.perform(&first).await.unwrap();
    let overtaken = |result: Result<(), CliError>, key: &str| {
        let error = result.unwrap_err();
        let text = error.to_string();
        let expected = format!("projects/default/apiKeys/{key} was changed by somebody else");
        assert!(text.starts_with(&expected), "{text}");
        assert!(text.ends_with("apply again"), "{text}");
    };
    // Made by somebody else.
    overtaken(world.perform(&late).await, "one");
    assert!(world.plan(&both).await.is_empty());

    // Changed by somebody else: neither changed again nor deleted.
    let change = world.plan(&both.replace("One", "Uno")).await;
    let prune = world.plan(ONE).await;
    assert_eq!((change.changes.len(), prune.changes.len()), (1, 1));
    world.rename("one").await.unwrap();
    world.rename("two").await.unwrap();
    overtaken(world.perform(&change).await, "one");
    overtaken(world.perform(&prune).await, "two");

    // Applied again it is what the files say.
    world.perform(&world.plan(ONE).await).await.unwrap();
    assert!(world.plan(ONE).await.is_empty());
    let name = "projects/default/apiKeys/two";
    let found = resource::find_key(&world.client, name).await.unwrap();
    assert!(found.is_some_and(|found| found.is_deleted));
    world.shutdown.drain(Duration::from_secs(20)).await;
}

/// A key that counts for `workflows`, and one workflow for each of `users` that names it, one that does not for each of `others`.
fn key_and_workflows(workflows: &str, users: &[&str], others: &[&str]) -> String {
    let labels = "labels: {team: desk}";
    let mut text = format!("kind: ApiKey\nname: k\n{labels}\nspec: {{workflows: [{workflows}]}}\n");
    let users = users.iter().map(|id| (id, "webhook: {apiKeys: [k]}"));
    let others = others.iter().map(|id| (id, "manual: {}"));
    for (id, trigger) in users.chain(others) {
        text.push_str(&format!(
            "---\nkind: Workflow\nname: {id}\n{labels}\nspec:\n  trigger: {{{trigger}}}\n  steps: [{{id: a, succeed: {{}}}}]\n"
        ));
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_goes_from_one_workflow_to_another_in_one_step() {
    let world = World::start().await;
    for text in [
        key_and_workflows("a", &["a"], &["b"]),
        key_and_workflows("b", &["b"], &["a"]),
        key_and_workflows("", &["a", "b"], &[]),
        // One of them is deleted.
        key_and_workflows("projects/default/workflows/b", &["b"], &[]),
    ] {
        world.perform(&world.plan(&text).await).await.unwrap();
        assert!(world.plan(&text).await.is_empty(), "{text}");
    }
    // What cannot come together is told before anything is done.
    std::fs::write(&world.file, key_and_workflows("a, B", &["b"], &[])).unwrap();
    let refused = |result: Result<Vec<files::Wanted>, CliError>| match result {
        Err(CliError::Data { problems, .. }) => problems.join("; "),
        _ => panic!("is taken"),
    };
    let problems = refused(files::read(
        &world.global,
        std::slice::from_ref(&world.file),
        None,
    ));
    assert!(problems.contains("spec.workflows[1]"), "{problems}");
    std::fs::write(&world.file, key_and_workflows("a", &["b"], &[])).unwrap();
    let wanted = files::read(&world.global, std::slice::from_ref(&world.file), None).unwrap();
    let parent = world.global.parent().unwrap();
    let plan = Plan::make(&world.client, &parent, wanted, None);
    let Err(CliError::Data { problems, .. }) = plan.await else {
        panic!("is planned");
    };
    assert!(
        problems[0].contains("its scope names others"),
        "{problems:?}"
    );
    world.shutdown.drain(Duration::from_secs(20)).await;
}
