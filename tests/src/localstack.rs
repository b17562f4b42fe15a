//! A real SNS, and other services of AWS: LocalStack, driven by the AWS SDK (boto3).

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

/// LocalStack on a loopback port.
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
    /// Starts its SNS and SQS, with its state under `dir`, and waits until SNS answers.
    pub async fn start(dir: &Path) -> Self {
        Self::start_with(dir, &["sns", "sqs"]).await
    }

    /// The same of `services`, SNS among them.
    pub async fn start_with(dir: &Path, services: &[&str]) -> Self {
        let port = free_port();
        let origin = format!("http://127.0.0.1:{port}");
        let mut command = Command::new(python());
        command
            .arg(root().join("tests/tools/serve_localstack.py"))
            .arg(port.to_string())
            .arg(dir.join("localstack"))
            .arg(services.join(","));
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
        Self::sdk_with(&self.origin)
    }

    /// A session of the AWS SDK that speaks to nobody.
    #[must_use]
    pub fn sdk_alone() -> Sdk {
        Self::sdk_with("http://127.0.0.1:9")
    }

    /// What `tests/tools/aws_{name}.py` makes of the SDK's models.
    #[must_use]
    pub fn table(name: &str) -> String {
        let script = root().join(format!("tests/tools/aws_{name}.py"));
        let made = Command::new(python()).arg(script).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        String::from_utf8(made.stdout).unwrap()
    }

    fn sdk_with(origin: &str) -> Sdk {
        let mut child = Command::new(python())
            .arg(root().join("tests/tools/sns_publish.py"))
            .arg(origin)
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

/// moto's DynamoDB on a loopback port (`tests/tools/serve_dynamodb.py`).
#[derive(Debug)]
pub struct DynamoDb {
    /// Its origin.
    pub origin: String,
    _process: Process,
}

impl DynamoDb {
    /// Starts it, with its log in `dir`, and waits until it answers.
    pub async fn start(dir: &Path) -> Self {
        let port = free_port();
        let origin = format!("http://127.0.0.1:{port}");
        let mut command = Command::new(python());
        command
            .arg(root().join("tests/tools/serve_dynamodb.py"))
            .arg(port.to_string());
        let process = Process::start("DynamoDB", &dir.join("dynamodb.log"), &mut command);
        wait::until("DynamoDB", Duration::from_secs(120), || {
            let origin = origin.clone();
            async move {
                let answer = reqwest::get(origin).await.map_err(|e| e.to_string())?;
                answer
                    .error_for_status()
                    .map(drop)
                    .map_err(|e| e.to_string())
            }
        })
        .await;
        Self {
            origin,
            _process: process,
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

    /// The signature that the SDK gives a request, and the names of the headers that it signs: `request` is of `service`,
    /// `region`, `method`, `url`, `headers`, `body` and `date` (as `X-Amz-Date` has it).
    pub fn signature(&mut self, mut request: Value) -> (String, String) {
        request["do"] = "sign".into();
        let answer = self.call(&request);
        let text = |name: &str| answer[name].as_str().unwrap().to_owned();
        (text("signature"), text("headers"))
    }

    /// Host and signing region of a service, by the SDK's rules.
    pub fn endpoint(&mut self, service: &str, region: &str) -> (String, String) {
        let command = json!({"do": "endpoint", "service": service, "region": region});
        let answer = self.call(&command);
        let text = |name: &str| answer[name].as_str().unwrap().to_owned();
        (text("host"), text("region"))
    }

    /// Any call of the SDK; gives its answer.
    pub fn aws(&mut self, service: &str, region: &str, operation: &str, input: &Value) -> Value {
        let mut answer = self.call(&json!({
            "do": "call", "service": service, "region": region, "operation": operation, "input": input,
        }));
        answer["answer"].take()
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
