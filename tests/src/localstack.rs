//! A real SNS: LocalStack, driven by the AWS SDK (boto3).

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    process::{Process, free_port, root},
    wait,
};

/// LocalStack's SNS on a loopback port.
#[derive(Debug)]
pub struct LocalStack {
    /// Its origin, to be trusted by the data plane.
    pub origin: String,
    _process: Process,
}

fn python() -> std::path::PathBuf {
    let python = root().join(".tools/localstack/bin/python");
    assert!(
        python.exists(),
        "LocalStack is not installed: run tests/tools/setup (tests/run does)"
    );
    python
}

impl LocalStack {
    /// Starts it, with its state under `dir`, and waits until SNS answers.
    pub async fn start(dir: &Path) -> Self {
        let port = free_port();
        let origin = format!("http://127.0.0.1:{port}");
        let mut command = Command::new(python());
        command
            .arg(root().join("tests/tools/serve_localstack.py"))
            .arg(port.to_string())
            .arg(dir.join("localstack"));
        let process = Process::start("LocalStack", &dir.join("localstack.log"), &mut command);
        let health = format!("{origin}/_localstack/health");
        wait::until("LocalStack's SNS", Duration::from_secs(120), || {
            let health = health.clone();
            async move {
                let answer = reqwest::get(health).await.map_err(|e| e.to_string())?;
                let text = answer.text().await.map_err(|e| e.to_string())?;
                if text.contains("\"sns\"") {
                    Ok(())
                } else {
                    Err(text)
                }
            }
        })
        .await;
        Self {
            origin,
            _process: process,
        }
    }

    /// A session of the AWS SDK with it.
    #[must_use]
    pub fn sdk(&self) -> Sdk {
        let mut child = Command::new(python())
            .arg(root().join("tests/tools/sns_publish.py"))
            .arg(&self.origin)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Sdk {
            to: child.stdin.take().unwrap(),
            from: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }
}

/// A session of the AWS SDK (`tests/tools/sns_publish.py`).
#[derive(Debug)]
pub struct Sdk {
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    child: Child,
}

impl Sdk {
    fn call(&mut self, command: &Value) -> Value {
        writeln!(self.to, "{command}").unwrap();
        self.to.flush().unwrap();
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("the AWS SDK session ended: {line:?} (see its trace above)"))
    }

    /// Creates a topic; gives its ARN.
    pub fn topic(&mut self, name: &str, signature_version: &str) -> String {
        let command = json!({"do": "topic", "name": name, "signature_version": signature_version});
        self.call(&command)["arn"].as_str().unwrap().to_owned()
    }

    /// Subscribes an endpoint.
    pub fn subscribe(&mut self, topic: &str, endpoint: &str, raw: bool) {
        self.call(&json!({"do": "subscribe", "topic": topic, "endpoint": endpoint, "raw": raw}));
    }

    /// Subscribes an endpoint to what a filter policy wants; `scope` as Amazon SNS names it.
    pub fn subscribe_filtered(&mut self, topic: &str, endpoint: &str, policy: &Value, scope: &str) {
        self.call(&json!({
            "do": "subscribe", "topic": topic, "endpoint": endpoint, "policy": policy, "scope": scope,
        }));
    }

    /// Why a filter policy is refused, if it is.
    pub fn filter_policy_refusal(
        &mut self,
        topic: &str,
        policy: &Value,
        scope: &str,
    ) -> Option<String> {
        let command = json!({"do": "refusal", "topic": topic, "policy": policy, "scope": scope});
        self.call(&command)["refusal"].as_str().map(str::to_owned)
    }

    /// ARNs of the confirmed subscriptions of a topic.
    pub fn confirmed(&mut self, topic: &str) -> Vec<String> {
        let answer = self.call(&json!({"do": "subscriptions", "topic": topic}));
        serde_json::from_value(answer["arns"].clone()).unwrap()
    }

    /// Publishes messages (`message`, `subject`, `attributes` as boto3 takes them); gives their MessageIds.
    pub fn publish(&mut self, topic: &str, messages: &[Value]) -> Vec<String> {
        let answer = self.call(&json!({"do": "publish", "topic": topic, "messages": messages}));
        serde_json::from_value(answer["ids"].clone()).unwrap()
    }
}

impl Drop for Sdk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
