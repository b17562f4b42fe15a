//! Every example of `docs/examples` runs: applied by the command line, started by the message that its AWS service sends,
//! signed as Amazon SNS signs it, and followed until what it does has been done.
//!
//! Of an example's text nothing is replaced but where it leads: hosts, `endpointUrl` of AWS calls, the mail server. EC2, S3
//! and STS are LocalStack's, and what became of them is looked at by the AWS SDK. LocalStack has no Auto Scaling, and cannot
//! invoke a Lambda function here: in their places a server takes the signed requests and answers as AWS's references say.
//! Mail goes to a real SMTP server with STARTTLS.

mod aws;
mod http;
#[path = "../../data-plane/src/execution/email/tests/server.rs"]
#[allow(dead_code)] // Its other tests use the rest.
mod smtp;

use std::{
    collections::{BTreeSet, HashMap},
    process::Command,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use serde_json::Value;
use signalbox_cli::simulator::{Delivered, Publication, SimulatedSns};
use signalbox_proto::v1::{
    CreateSecretRequest, Execution, ExecutionState, Secret, StepRun, StepState, SubscriptionState,
};
use signalbox_sns::{SignatureVersion, TopicArn};
use signalbox_tests::{
    api::Api,
    localstack::{LocalStack, Sdk},
    planes::{Options, Planes, install_crypto},
    process::{binary, free_port, root},
    target::{Call, Target},
    wait,
};

/// Two minutes of them one example waits.
const LIMIT: Duration = Duration::from_secs(240);
const ALL: [&str; 13] = [
    "budget-approval",
    "fan-out",
    "guardduty-isolate",
    "guardduty-triage",
    "hello",
    "lifecycle-hook",
    "nightly",
    "replace-host",
    "retire-hosts",
    "s3-to-lambda",
    "ses-bounces",
    "shard",
    "stop-instance",
];

/// The account of all: LocalStack takes an access key id of twelve digits for one.
const ACCOUNT: &str = "123456789012";
/// The API keys that they say they need.
const KEYS: [&str; 7] = [
    "bucket", "finance", "mail", "pager", "scaling", "security", "shop",
];

#[test]
fn no_example_is_left_out() {
    let files = std::fs::read_dir(root().join("docs/examples")).unwrap();
    let found: BTreeSet<String> = files
        .map(|file| {
            let path = file.unwrap().path();
            path.file_stem().unwrap().to_string_lossy().into_owned()
        })
        .collect();
    let run: BTreeSet<String> = ALL.map(str::to_owned).into();
    assert_eq!(found, run, "each example is run by a test of this file");
}

/// Side by side: they mostly wait.
#[tokio::test(flavor = "multi_thread")]
async fn examples_do_what_they_say() {
    let stage = Stage::start().await;
    let stage = &stage;
    tokio::join!(
        aws::lifecycle_hook(stage),
        http::hello(stage),
        http::fan_out(stage),
        http::guardduty_triage(stage),
        http::ses_bounces(stage),
        http::nightly(stage),
        http::shard(stage),
        http::retire_hosts(stage),
        aws::stop_instance(stage),
        aws::guardduty_isolate(stage),
        aws::budget_approval(stage),
        aws::s3_to_lambda(stage),
    );
}

/// Both planes, AWS, and an Amazon SNS that they trust.
struct Stage {
    planes: Planes,
    api: Api,
    localstack: LocalStack,
    sdk: Mutex<Sdk>,
    sns: SimulatedSns,
    /// Values of API keys by their ids.
    keys: HashMap<&'static str, String>,
    /// Incoming webhooks of Slack.
    slack: Target,
    _dir: tempfile::TempDir,
}

impl Stage {
    async fn start() -> Self {
        install_crypto();
        let dir = tempfile::tempdir().unwrap();
        let services = ["ec2", "s3", "sns", "sts"];
        let localstack = LocalStack::start_with(dir.path(), &services).await;
        let sns = SimulatedSns::start(([127, 0, 0, 1], 0).into())
            .await
            .unwrap();
        let env = [
            ("AWS_ACCESS_KEY_ID", ACCOUNT),
            ("AWS_SECRET_ACCESS_KEY", "s3cret-of-the-node"),
        ];
        let port = free_port();
        let (planes, api) = Planes::start(Options {
            control_plane: vec!["--public-url".into(), format!("http://127.0.0.1:{port}")],
            control_plane_port: Some(port),
            data_plane: vec!["--sns-trusted-origin".into(), sns.origin().to_owned()],
            data_plane_env: env.map(|(name, value)| (name.into(), value.into())).into(),
            ..Options::default()
        })
        .await;
        let mut keys = HashMap::new();
        for id in KEYS {
            keys.insert(id, api.create_key(id).await);
        }
        let slack = Target::start(|_, _| 200).await;
        let request = CreateSecretRequest {
            parent: "projects/default".into(),
            secret_id: "slack-webhook".into(),
            secret: Some(Secret {
                value: format!("http://{}/services/T0/B0/x", slack.addr).into(),
                ..Secret::default()
            }),
        };
        api.secrets().create_secret(request).await.unwrap();
        Self {
            sdk: Mutex::new(localstack.sdk()),
            planes,
            api,
            localstack,
            sns,
            keys,
            slack,
            _dir: dir,
        }
    }

    fn sdk(&self) -> MutexGuard<'_, Sdk> {
        self.sdk.lock().unwrap()
    }

    /// The command line; what it prints.
    fn signalbox(&self, arguments: &[&str]) -> String {
        let output = Command::new(binary("signalbox"))
            .env("SIGNALBOX_ENDPOINT", &self.planes.control.endpoint)
            .env("SIGNALBOX_TOKEN", self.planes.control.token("admin"))
            .args(arguments)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Applies an example whose text may lead elsewhere; its topics present the key `key`.
    async fn apply(&self, name: &'static str, key: &str, text: &str) -> Example<'_> {
        let file = self.planes.dir().join(format!("{name}.yaml"));
        std::fs::write(&file, text).unwrap();
        self.signalbox(&["workflows", "apply", "-f", file.to_str().unwrap()]);
        self.api.synced(LIMIT).await;
        Example {
            stage: self,
            name,
            endpoint: self.planes.endpoint(name, "sns", &self.keys[key]),
        }
    }

    /// Waits until an execution has ended.
    async fn ended(&self, name: &str) -> Execution {
        wait::until("the execution to end", LIMIT, || async {
            let execution = self.api.execution(name).await.map_err(|s| s.to_string())?;
            match execution.end_time {
                Some(_) => Ok(execution),
                None => Err(format!("{execution:?}")),
            }
        })
        .await
    }

    /// Waits until an execution has succeeded; gives its output.
    async fn succeeded(&self, name: &str) -> (Execution, Value) {
        let execution = self.ended(name).await;
        assert_eq!(
            execution.state(),
            ExecutionState::Succeeded,
            "{execution:?}"
        );
        let output = serde_json::from_str(&execution.output_json).unwrap_or_default();
        (execution, output)
    }

    /// What Slack was told that names `what`.
    fn told_slack(&self, what: &str) -> Vec<String> {
        let calls = self.slack.calls().into_iter();
        calls
            .map(|call| body(&call)["text"].as_str().unwrap().to_owned())
            .filter(|text| text.contains(what))
            .collect()
    }
}

/// An example in use.
struct Example<'a> {
    stage: &'a Stage,
    name: &'static str,
    endpoint: String,
}

impl Example<'_> {
    /// What a topic's message is answered.
    async fn post(&self, topic: &str, subject: Option<&str>, message: &str) -> Value {
        let mut publication = Publication::new(message);
        publication.subject = subject.map(str::to_owned);
        let topic = TopicArn::parse(topic).unwrap();
        let sns = &self.stage.sns;
        let post = sns.notification(&topic, &publication, false).unwrap();
        // Again, as Amazon SNS does, while the node cannot know yet whether the topic is allowed.
        wait::until("the message to be taken", LIMIT, || async {
            match sns.attempt(&self.endpoint, &post).await {
                Delivered::Answered { status: 200, body } => {
                    Ok(serde_json::from_str(&body).unwrap())
                }
                Delivered::Answered { status: 503, body } => Err(body),
                other => panic!("{}: {other:?}", self.name),
            }
        })
        .await
    }

    /// Subscribes a topic, which binds where none is named.
    async fn subscribe(&self, topic: &str) {
        let topic = TopicArn::parse(topic).unwrap();
        let sns = &self.stage.sns;
        let version = SignatureVersion::V2;
        let post = sns.confirmation(&topic, version, false).unwrap();
        let answer = sns.attempt(&self.endpoint, &post).await;
        assert!(answer.is_success(), "{}: {answer:?}", self.name);
        wait::until("the subscription to be confirmed", LIMIT, || async {
            let all = self.stage.api.all_subscriptions(self.name).await;
            match &all.map_err(|status| status.to_string())?[..] {
                [one] if one.state() == SubscriptionState::Confirmed => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }

    /// The execution that a topic's message starts.
    async fn publish(&self, topic: &str, subject: Option<&str>, message: &str) -> String {
        let answer = self.post(topic, subject, message).await;
        let execution = answer["execution"].as_str();
        let execution = execution.unwrap_or_else(|| panic!("{}: {answer}", self.name));
        let name = execution.to_owned();
        wait::until("the execution to be known", LIMIT, || async {
            let known = self.stage.api.execution(&name).await;
            known.map(drop).map_err(|status| status.to_string())
        })
        .await;
        name
    }
}

/// The text of an example.
fn text(name: &str) -> String {
    let path = root().join(format!("docs/examples/{name}.yaml"));
    std::fs::read_to_string(path).unwrap()
}

/// `text` with each of these hosts replaced by a path of `target`.
fn leading_to(text: String, target: &Target, hosts: &[&str]) -> String {
    hosts.iter().fold(text, |text, host| {
        let url = format!("https://{host}.example.com");
        assert!(text.contains(&url), "{url} is not in {text}");
        text.replace(&url, &format!("http://{}/{host}", target.addr))
    })
}

/// `text` whose AWS calls go to what `endpoint` says for their operations; roles are taken on at `sts`.
fn calling(text: &str, sts: &str, endpoint: impl Fn(&str) -> String) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        if let Some((indent, operation)) = line.split_once("operation: ") {
            let endpoint = endpoint(operation);
            lines.push(format!("{indent}endpointUrl: \"{endpoint}\""));
        }
        let role = "assumeRole: {";
        lines.push(line.replace(role, &format!("{role}endpointUrl: \"{sts}\", ")));
    }
    lines.join("\n")
}

fn body(call: &Call) -> Value {
    serde_json::from_slice(&call.body).unwrap_or_else(|error| panic!("{error}: {call:?}"))
}

/// The requests to paths that begin so: method, path, body.
fn requests(target: &Target, path: &str) -> BTreeSet<(String, String, String)> {
    let calls = target.calls().into_iter();
    calls
        .filter(|call| call.target.starts_with(path))
        .map(|call| {
            let text = String::from_utf8(call.body.to_vec()).unwrap();
            (call.method, call.target, text)
        })
        .collect()
}

/// The state of each run of the step `id`.
fn states(execution: &Execution, id: &str) -> Vec<StepState> {
    let runs = execution.steps.iter().filter(|step| step.step_id == id);
    runs.map(StepRun::state).collect()
}
