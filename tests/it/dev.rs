//! The CLI as a newcomer uses it: `demo`, and the journey of the README on `dev`.

use std::{
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

use serde_json::Value;
use signalbox_tests::{
    process::{Process, binary, free_port, root},
    wait,
};

#[test]
fn the_demo_walks_the_whole_journey() {
    let start = Instant::now();
    let output = Command::new(binary("signalbox"))
        .arg("demo")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for expected in ["confirmed", "SUCCEEDED", "duplicate", "signature"] {
        assert!(text.contains(expected), "{expected:?} in {text}");
    }
    eprintln!("demo took {:?}", start.elapsed());
}

struct Cli {
    endpoint: String,
    token: String,
}

impl Cli {
    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(binary("signalbox"))
            .args(arguments)
            .env("SIGNALBOX_ENDPOINT", &self.endpoint)
            .env("SIGNALBOX_TOKEN", &self.token)
            .output()
            .unwrap()
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ok(&[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

fn find_token(dir: &Path) -> String {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            name.contains("admin") && name.contains("token")
        })
        .map(|path| std::fs::read_to_string(path).unwrap().trim().to_owned())
        .expect("the admin token under the data folder")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readme_journey_works_on_dev() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (grpc, webhook) = (free_port(), free_port());
    let origin_port = free_port();
    let mut command = Command::new(binary("signalbox"));
    command
        .args(["dev", "--data-dir"])
        .arg(&data)
        .args(["--grpc-listen", &format!("127.0.0.1:{grpc}")])
        .args(["--webhook-listen", &format!("127.0.0.1:{webhook}")])
        .args([
            "--sns-trusted-origin",
            &format!("http://127.0.0.1:{origin_port}"),
        ]);
    let mut dev = Process::start("dev", &dir.path().join("dev.log"), &mut command);
    let cli = wait::until("dev to say how to use it", Duration::from_secs(30), || {
        let output = dev.output();
        let data = data.clone();
        async move {
            if output.contains("SIGNALBOX_TOKEN") {
                Ok(Cli {
                    endpoint: format!("http://127.0.0.1:{grpc}"),
                    token: find_token(&data),
                })
            } else {
                Err(output)
            }
        }
    })
    .await;
    assert!(
        !dev.output().contains(&cli.token),
        "the token itself is not printed"
    );

    let created = cli.json(&["keys", "create", "pager"]);
    let key = created["value"].as_str().unwrap().to_owned();
    let hello = root().join("docs/examples/hello.yaml");
    let hello = hello.to_str().unwrap();
    assert!(
        cli.ok(&["workflows", "apply", "-f", hello])
            .contains("created")
    );
    assert!(
        cli.ok(&["workflows", "apply", "-f", hello])
            .contains("unchanged")
    );
    let kit = cli.json(&["workflows", "webhook", "hello"]);
    let url = kit["url"].as_str().unwrap();
    assert!(
        url.starts_with(&format!("http://127.0.0.1:{webhook}/")),
        "{url}"
    );
    assert!(kit["awsCli"].as_str().unwrap().contains("SignatureVersion"));
    let endpoint = format!("{url}?x-api-key={key}");
    let topic = "arn:aws:sns:us-east-1:123456789012:alarms";
    let serve = format!("127.0.0.1:{origin_port}");
    let publish = |extra: &[&str]| {
        let base = [
            "sns",
            "publish",
            "--endpoint",
            &endpoint,
            "--topic-arn",
            topic,
            "--serve",
            &serve,
        ];
        cli.run(&[&base[..], extra].concat())
    };

    let confirmation = publish(&["--type", "confirmation"]);
    assert!(confirmation.status.success(), "{confirmation:?}");
    wait::until("the topic to bind", Duration::from_secs(10), || {
        let listed = cli.json(&["subscriptions", "list", "hello"]);
        async move {
            if listed.to_string().contains("SUBSCRIPTION_STATE_CONFIRMED") {
                Ok(())
            } else {
                Err(listed.to_string())
            }
        }
    })
    .await;
    wait::until("a message to be accepted", Duration::from_secs(10), || {
        let sent = publish(&["--message", "world", "--subject", "S"]);
        async move {
            if sent.status.success() {
                Ok(())
            } else {
                Err(format!("{sent:?}"))
            }
        }
    })
    .await;
    let forged = publish(&["--message", "forged", "--bad-signature"]);
    assert!(!forged.status.success());

    let listed = wait::until("the execution", Duration::from_secs(10), || {
        let listed = cli.json(&["executions", "list"]);
        async move {
            if listed.to_string().contains("EXECUTION_STATE_SUCCEEDED") {
                Ok(listed)
            } else {
                Err(listed.to_string())
            }
        }
    })
    .await;
    let text = listed.to_string();
    assert!(!text.contains("forged"));
    let name = text
        .split('"')
        .find(|part| part.starts_with("projects/default/executions/"))
        .unwrap()
        .to_owned();
    let shown = cli.ok(&["executions", "get", &name]);
    for expected in ["greet", "Hello, world", "withSubject", "SUCCEEDED"] {
        assert!(shown.contains(expected), "{expected:?} in {shown}");
    }
    let deliveries = cli.ok(&["deliveries", "list", "hello"]);
    assert!(deliveries.contains("signature-invalid"), "{deliveries}");
    let nodes = cli.json(&["nodes", "list"]);
    assert!(
        nodes.to_string().contains("NODE_STATE_CONNECTED"),
        "{nodes}"
    );
    assert!(cli.ok(&["keys", "reveal", "pager"]).contains(&key));
    assert!(
        !cli.run(&["keys", "delete", "pager"]).status.success(),
        "it is in use"
    );

    let output = dev.output();
    assert!(!output.contains(&key), "the log holds the key");
    assert!(dev.terminate(Duration::from_secs(20)).success());
}
