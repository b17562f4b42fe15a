//! The commands that ask a control plane, against both planes in this process.

use std::{path::PathBuf, process::Command, time::Duration};

use serde_json::Value;
use signalbox_cli::{
    compose::{ComposeConfig, Composition},
    simulator::SimulatedSns,
};
use signalbox_control_plane::auth::{Claims, Role};
use signalbox_runtime::shutdown::Shutdown;
use tempfile::TempDir;

use crate::support::{Run, command, json};

const LIMIT: Duration = Duration::from_secs(20);
const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:alarms";

pub(crate) struct Planes {
    composition: Composition,
    admin: String,
    dir: TempDir,
    shutdown: Shutdown,
}

impl Planes {
    pub(crate) async fn start(sns: Option<&SimulatedSns>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let shutdown = Shutdown::new();
        let any = "127.0.0.1:0".parse().unwrap();
        let config = ComposeConfig {
            data_dir: dir.path().join("data"),
            grpc_listen: any,
            webhook_listen: any,
            public_webhook_url: None,
            sns_trusted_origins: sns
                .iter()
                .map(|sns| sns.origin().parse().unwrap())
                .collect(),
        };
        let composition = Composition::start(config, &shutdown).await.unwrap();
        let admin = composition.admin_token(Duration::from_secs(600)).unwrap();
        Self {
            composition,
            admin,
            dir,
            shutdown,
        }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.drain(LIMIT).await;
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path: PathBuf = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn token(&self, place: &str, role: Role) -> String {
        let claims = Claims::new("tester", place, role, Duration::from_secs(600));
        self.composition.control_plane.tokens.mint(&claims).unwrap()
    }

    fn command(&self) -> Command {
        let mut command = command();
        command
            .env("SIGNALBOX_ENDPOINT", &self.composition.endpoint)
            .env("SIGNALBOX_TOKEN", &self.admin);
        command
    }

    /// A run, while the planes in this process go on.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Run {
        let mut command = self.command();
        command.args(arguments);
        run(command).await
    }

    pub(crate) async fn ok(&self, arguments: &[&str]) -> String {
        self.run(arguments).await.ok()
    }

    pub(crate) async fn json(&self, arguments: &[&str]) -> Value {
        json(&self.ok(&[arguments, &["-o", "json"]].concat()).await)
    }
}

async fn run(mut command: Command) -> Run {
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    Run::of(output.await.unwrap())
}

/// Looks until `look` gives something.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, found)
        .await
        .unwrap_or_else(|_| panic!("waited {LIMIT:?} for {what}"))
}

const MANUAL: &str = "name: sums\ndisplayName: Adds\nspec:\n  trigger: {manual: {}}\n  steps:\n    - id: add\n      \
                      transform: {expression: event.json.a + event.json.b}\n    - id: done\n      succeed: {output: \"${{ \
                      steps.add.output }}\"}\n";

#[tokio::test(flavor = "multi_thread")]
async fn keys_live_from_creation_to_deletion() {
    let planes = Planes::start(None).await;
    let created = planes
        .json(&["keys", "create", "pager", "--display-name", "Pager"])
        .await;
    let value = created["value"].as_str().unwrap();
    assert_eq!(created["apiKey"]["name"], "projects/default/apiKeys/pager");

    let listed = planes.ok(&["keys", "list"]).await;
    assert!(listed.starts_with("KEY"), "{listed}");
    assert!(
        listed.contains("pager") && listed.contains("ACTIVE") && !listed.contains(value),
        "{listed}"
    );
    assert_eq!(
        planes.ok(&["keys", "reveal", "pager"]).await,
        format!("{value}\n")
    );
    let named = planes
        .json(&["keys", "get", "projects/default/apiKeys/pager"])
        .await;
    assert_eq!(named["displayName"], "Pager");

    let again = planes.run(&["keys", "create", "pager"]).await.fails(1);
    assert!(
        again.contains("projects/default/apiKeys/pager exists already"),
        "{again}"
    );
    let wrong = planes.run(&["keys", "create", "Pager"]).await.fails(65);
    assert!(
        wrong.starts_with("error: the control plane refuses the request\n  "),
        "{wrong}"
    );

    assert!(
        planes
            .ok(&["keys", "revoke", "pager"])
            .await
            .starts_with("revoked ")
    );
    planes.run(&["keys", "reveal", "pager"]).await.fails(1);
    assert!(
        planes
            .ok(&["keys", "delete", "pager"])
            .await
            .starts_with("deleted ")
    );
    let deleted = planes.ok(&["keys", "get", "pager"]).await;
    assert!(deleted.contains("DELETED"), "{deleted}");
    planes.ok(&["keys", "delete", "pager", "--purge"]).await;
    let gone = planes.run(&["keys", "get", "pager"]).await.fails(1);
    assert_eq!(
        gone,
        "error: projects/default/apiKeys/pager does not exist\n"
    );
    planes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_says_what_it_did() {
    let planes = Planes::start(None).await;
    let file = planes.file("sums.yaml", MANUAL);
    let apply = ["workflows", "apply", "-f", &file];
    assert_eq!(
        planes.ok(&[&apply[..], &["--no-publish"]].concat()).await,
        "created projects/default/workflows/sums (latest version 1; nothing is published)\n"
    );
    let published = planes.ok(&apply).await;
    assert_eq!(
        published,
        "updated projects/default/workflows/sums (latest version 1; version 1 is published)\n"
    );
    assert!(planes.ok(&apply).await.starts_with("unchanged "));
    planes.file(
        "sums.yaml",
        &MANUAL.replace("event.json.a +", "1 + event.json.a +"),
    );
    assert!(
        planes
            .ok(&apply)
            .await
            .contains("latest version 2; version 2 is published")
    );
    assert_eq!(
        planes
            .ok(&["workflows", "versions", "sums"])
            .await
            .lines()
            .count(),
        3
    );
    let back = planes
        .ok(&["workflows", "publish", "sums", "--version", "1"])
        .await;
    assert_eq!(
        back,
        "published projects/default/workflows/sums version 1\n"
    );

    // What is shown can be applied; a file that was overtaken is refused by its etag.
    let shown = planes.ok(&["workflows", "get", "sums", "-o", "json"]).await;
    let shown = planes.file("shown.json", &shown);
    assert!(
        planes
            .ok(&["workflows", "apply", "--no-publish", "-f", &shown])
            .await
            .starts_with("unchanged ")
    );
    assert!(
        planes
            .ok(&["workflows", "disable", "sums"])
            .await
            .starts_with("disabled ")
    );
    let overtaken = planes
        .run(&["workflows", "apply", "-f", &shown])
        .await
        .fails(1);
    assert!(
        overtaken.contains("has changed since it was read"),
        "{overtaken}"
    );
    assert!(
        planes
            .ok(&["workflows", "enable", "sums"])
            .await
            .starts_with("enabled ")
    );
    assert!(
        planes
            .ok(&["workflows", "delete", "sums"])
            .await
            .starts_with("deleted ")
    );
    assert!(planes.ok(&["workflows", "list"]).await.lines().count() == 1);
    planes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_control_plane_knows_is_told_at_its_line_too() {
    let planes = Planes::start(None).await;
    let text = "name: w\nspec:\n  trigger:\n    webhook:\n      apiKeys:\n        - nobody\n  steps: [{id: a, succeed: {}}]\n";
    let file = planes.file("w.yaml", text);
    let error = planes
        .run(&["workflows", "apply", "-f", &file])
        .await
        .fails(65);
    assert_eq!(error.lines().count(), 2, "{error}");
    assert!(
        error.contains("line 6, column 11: spec.trigger.webhook.apiKeys[0]: "),
        "{error}"
    );
    planes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manual_run_is_followed_to_its_end() {
    let planes = Planes::start(None).await;
    let file = planes.file("sums.yaml", MANUAL);
    planes.ok(&["workflows", "apply", "-f", &file]).await;
    let watched = planes
        .ok(&[
            "workflows",
            "run",
            "sums",
            "--input",
            r#"{"a": 2, "b": 3}"#,
            "--watch",
        ])
        .await;
    let last = watched.lines().last().unwrap();
    assert!(last.contains("SUCCEEDED"), "{watched}");
    let id = last.split_whitespace().next().unwrap();
    let shown = planes.ok(&["executions", "get", id]).await;
    for expected in [
        "state      SUCCEEDED",
        "output     5",
        "step add  transform  SUCCEEDED",
        "step done",
    ] {
        assert!(shown.contains(expected), "{expected:?} in {shown}");
    }
    assert!(
        planes
            .ok(&["executions", "watch", id])
            .await
            .contains("SUCCEEDED")
    );
    assert!(
        planes
            .ok(&["executions", "event", id])
            .await
            .contains(r#""a":2"#)
    );

    // One that fails says so, in its exit code too.
    let failed = planes
        .run(&[
            "workflows",
            "run",
            "sums",
            "--input",
            r#"{"a": 2}"#,
            "--watch",
        ])
        .await;
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(failed.stderr.contains("is FAILED"), "{failed:?}");
    let listed = planes
        .ok(&["executions", "list", "--filter", r#"state == "FAILED""#])
        .await;
    assert_eq!(listed.lines().count(), 2, "{listed}");
    let wrong = planes
        .run(&["executions", "list", "--filter", "state ="])
        .await
        .fails(65);
    assert!(wrong.contains("filter"), "{wrong}");

    for input in ["{", "9007199254740993"] {
        let error = planes
            .run(&["workflows", "run", "sums", "--input", input])
            .await
            .fails(65);
        assert!(error.contains("--input cannot be an input"), "{error}");
    }
    planes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_played_against_a_webhook() {
    let sns = SimulatedSns::start("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let planes = Planes::start(Some(&sns)).await;
    let key = planes.json(&["keys", "create", "pager"]).await["value"]
        .as_str()
        .unwrap()
        .to_owned();
    let hello = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/examples/hello.yaml"
    );
    planes.ok(&["workflows", "apply", "-f", hello]).await;
    let webhook = planes.json(&["workflows", "webhook", "hello"]).await;
    assert!(
        planes
            .ok(&["workflows", "webhook", "hello", "--kit", "terraform"])
            .await
            .contains("aws_sns_topic_subscription")
    );

    // Both ways that Amazon SNS has to carry a key.
    let url = webhook["url"].as_str().unwrap();
    let topic = signalbox_sns::TopicArn::parse(TOPIC).unwrap();
    let in_query = format!("{url}?x-api-key={key}");
    let as_password = url.replace("http://", &format!("http://sns:{key}@"));
    for endpoint in [&in_query, &as_password] {
        let subscribed = sns.subscribe(&topic, endpoint, false).await.unwrap();
        assert!(subscribed.delivered.is_success(), "{subscribed:?}");
    }
    until("two confirmed subscriptions", async || {
        (sns.confirmed(&topic).len() == 2).then_some(())
    })
    .await;
    until("the topic to be bound", async || {
        let listed = planes.json(&["subscriptions", "list", "hello"]).await;
        listed
            .to_string()
            .contains("SUBSCRIPTION_STATE_CONFIRMED")
            .then_some(())
    })
    .await;
    let mut publication = signalbox_cli::simulator::Publication::new("world");
    publication.subject = Some("S".to_owned());
    let deliveries = sns.publish(&topic, &publication).await.unwrap();
    assert_eq!(deliveries.len(), 2);
    assert!(
        deliveries
            .iter()
            .all(|delivery| delivery.delivered.is_success()),
        "{deliveries:?}"
    );

    // Two copies, one execution.
    let listed = until("the execution", async || {
        let listed = planes
            .json(&["executions", "list", "--filter", r#"state == "SUCCEEDED""#])
            .await;
        (!listed.as_array().unwrap().is_empty()).then_some(listed)
    })
    .await;
    assert_eq!(listed.as_array().unwrap().len(), 1);
    let shown = planes
        .ok(&["executions", "get", listed[0]["name"].as_str().unwrap()])
        .await;
    assert!(
        shown.contains("Hello, world") && !shown.contains(&key),
        "{shown}"
    );
    let table = until("the verdicts", async || {
        let table = planes.ok(&["deliveries", "list", "hello"]).await;
        table.contains("DUPLICATE").then_some(table)
    })
    .await;
    assert!(table.contains("SubscriptionConfirmation"), "{table}");
    let nodes = planes.ok(&["nodes", "list"]).await;
    assert!(nodes.contains("CONNECTED"), "{nodes}");
    let in_use = planes.run(&["keys", "delete", "pager"]).await.fails(1);
    assert_eq!(in_use.lines().count(), 1, "{in_use}");
    planes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sns_publish_prints_each_answer() {
    let planes = Planes::start(None).await;
    let key = planes.json(&["keys", "create", "pager"]).await["value"]
        .as_str()
        .unwrap()
        .to_owned();
    let text = format!(
        "name: raw\nspec:\n  trigger: {{amazonSns: {{apiKeys: [pager], topicArns: [\"{TOPIC}\"], allowRawDelivery: true}}}}\n  \
         steps: [{{id: a, succeed: {{output: \"${{{{ event.message }}}}\"}}}}]\n"
    );
    let file = planes.file("raw.yaml", &text);
    planes.ok(&["workflows", "apply", "-f", &file]).await;
    let url = planes.json(&["workflows", "webhook", "raw"]).await["url"]
        .as_str()
        .unwrap()
        .to_owned();
    let endpoint = format!("{url}?x-api-key={key}");
    let publish = [
        "sns",
        "publish",
        "--endpoint",
        &endpoint,
        "--topic-arn",
        TOPIC,
        "--serve",
        "127.0.0.1:0",
    ];
    // Until the node has the workflow it knows neither key nor path: Amazon SNS would try again.
    until("the node to know the workflow", async || {
        let sent = planes
            .run(&[&publish[..], &["--type", "raw", "--message", "m0"]].concat())
            .await;
        (sent.code == 0).then_some(())
    })
    .await;

    let many = [
        "--type",
        "raw",
        "--count",
        "20",
        "--concurrency",
        "8",
        "--duplicate",
        "2",
        "-o",
        "json",
    ];
    let answers = planes.ok(&[&publish[..], &many].concat()).await;
    let answers: Vec<Value> = answers.lines().map(json).collect();
    assert_eq!(answers.len(), 40, "one line for each answer");
    assert!(
        answers.iter().all(|answer| answer["status"] == 200),
        "{answers:?}"
    );
    let copies = answers.iter().filter(|answer| {
        answer["body"]
            .as_str()
            .unwrap()
            .contains("\"duplicate\":true")
    });
    assert_eq!(copies.count(), 20);

    // A receiver that does not trust the simulator refuses what it signed.
    let refused = planes.run(&publish).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.stdout.contains("--sns-trusted-origin") && refused.stdout.contains("  403  "),
        "{refused:?}"
    );
    assert!(
        refused.stderr.contains("1 of 1 deliveries were refused"),
        "{refused:?}"
    );
    planes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_decide_and_what_was_typed_goes_first() {
    let planes = Planes::start(None).await;
    let viewer = planes.token("projects/default", Role::Viewer);
    let file = planes.file("viewer.token", &viewer);
    let with = |token: Option<&str>, arguments: &[&str]| {
        let mut command = planes.command();
        match token {
            Some(token) => command.env("SIGNALBOX_TOKEN", token),
            None => command.env_remove("SIGNALBOX_TOKEN"),
        };
        command.args(arguments);
        run(command)
    };
    with(Some(&viewer), &["keys", "list"]).await.ok();
    let denied = with(Some(&viewer), &["keys", "create", "k"])
        .await
        .fails(77);
    assert_eq!(denied.lines().count(), 1, "{denied}");
    // A file that was named goes before a token in the environment.
    planes
        .run(&["keys", "create", "k", "--token-file", &file])
        .await
        .fails(77);
    let other = with(Some(&viewer), &["keys", "list", "--project", "other"])
        .await
        .fails(77);
    assert!(!other.contains(&viewer));
    for token in [
        None,
        Some(""),
        Some("no.token.at-all"),
        Some(&viewer[..viewer.len() - 4]),
    ] {
        let error = with(token, &["keys", "list"]).await.fails(77);
        assert!(
            error.contains("token") && error.lines().count() == 1,
            "{error}"
        );
    }
    let missing = planes
        .run(&["keys", "list", "--token-file", "/no/token"])
        .await
        .fails(77);
    assert!(missing.contains("/no/token"), "{missing}");
    planes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_never_shown() {
    let planes = Planes::start(None).await;
    let file = planes.file("value", "hunter22");
    assert!(
        planes
            .ok(&["secrets", "create", "db", "--file", &file])
            .await
            .starts_with("created ")
    );
    let listed = planes.ok(&["secrets", "list"]).await
        + &planes.ok(&["secrets", "list", "-o", "json"]).await;
    assert!(
        listed.contains("db") && !listed.contains("hunter22"),
        "{listed}"
    );
    planes
        .run(&["secrets", "create", "db", "--file", &file])
        .await
        .fails(1);
    let newer = planes.file("newer", "hunter33");
    let updated = planes
        .ok(&["secrets", "update", "db", "--file", &newer])
        .await;
    assert_eq!(updated.trim(), "updated projects/default/secrets/db");
    let short = planes.file("short", "seven77");
    let refused = planes
        .run(&["secrets", "update", "db", "--file", &short])
        .await
        .fails(65);
    assert!(
        refused.contains("less than 8 bytes") && !refused.contains("seven77"),
        "{refused}"
    );
    let nothing = planes
        .run(&["secrets", "update", "nowhere", "--file", &newer])
        .await
        .fails(1);
    assert!(nothing.contains("does not exist"), "{nothing}");
    assert!(
        planes
            .ok(&["secrets", "delete", "db"])
            .await
            .starts_with("deleted ")
    );
    planes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_says_how_long_its_history_is_kept() {
    let planes = Planes::start(None).await;
    let shown = planes.ok(&["projects", "get"]).await;
    assert!(
        shown.contains("projects/default") && shown.contains("30d (the control plane's)"),
        "{shown}"
    );
    let update = |arguments: &[&'static str]| [&["projects", "update"], arguments].concat();
    let kept = planes.ok(&update(&["--history-retention", "36h"])).await;
    assert!(kept.contains("36h (its own)"), "{kept}");
    let json = planes.ok(&["projects", "get", "-o", "json"]).await;
    let project: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(project["historyRetention"], "129600s");
    let kept = planes.ok(&update(&["--no-history-retention"])).await;
    assert!(kept.contains("30d (the control plane's)"), "{kept}");
    let long = update(&["--history-retention", "36501d"]);
    let refused = planes.run(&long).await.fails(65);
    assert!(refused.contains("36500 days"), "{refused}");
    planes.run(&update(&[])).await.fails(2);
    planes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_is_made_bounded_and_deleted() {
    let planes = Planes::start(None).await;
    let made = planes
        .ok(&[
            "projects",
            "create",
            "team-a",
            "--display-name",
            "Team A",
            "--quota-workflows",
            "2",
        ])
        .await;
    assert_eq!(made, "created projects/team-a\n");
    let shown = planes.ok(&["projects", "get", "team-a"]).await;
    for line in [
        "project    projects/team-a",
        "name       Team A",
        "workflows  0 of 2",
        "keys       0 of 10000",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
    let update = |to: &'static str| {
        [
            "projects",
            "update",
            "projects/team-a",
            "--quota-workflows",
            to,
        ]
    };
    let shown = planes.ok(&update("0")).await;
    assert!(shown.contains("workflows  0\n"), "{shown}");
    let shown = planes.ok(&update("default")).await;
    assert!(shown.contains("workflows  0 of 10000\n"), "{shown}");
    planes.run(&update("few")).await.fails(2);
    planes
        .ok(&["keys", "create", "k", "--project", "team-a"])
        .await;
    let refused = planes.run(&["projects", "delete", "team-a"]).await.fails(1);
    assert!(refused.contains("1 API keys"), "{refused}");
    let list = planes.ok(&["projects", "list"]).await;
    let of = |line: usize, words: usize| {
        let line = list.lines().nth(line).unwrap_or_default();
        line.split_whitespace().take(words).collect::<Vec<_>>()
    };
    assert_eq!(of(1, 4), ["team-a", "ACTIVE", "Team", "A"], "{list}");
    assert_eq!(of(2, 2), ["default", "ACTIVE"], "{list}");
    let deleted = ["projects", "delete", "team-a", "--force"];
    assert_eq!(planes.ok(&deleted).await, "deleted projects/team-a\n");
    let shown = planes.ok(&["projects", "get", "team-a"]).await;
    assert!(shown.contains("state      DELETING, since 2"), "{shown}");
    planes.stop().await;
}
