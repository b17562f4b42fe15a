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
    assert!(
        resource::find_key(&world.client, name)
            .await
            .unwrap()
            .is_none()
    );
    world.shutdown.drain(Duration::from_secs(20)).await;
}
