//! `signalbox demo`: the whole journey, in one process and a temporary folder.

mod desk;

use std::{
    future::Future,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use signalbox_client::{Client, ClientConfig, ClientError, TokenSource};
use signalbox_proto::{convert::json, v1};
use signalbox_runtime::{metrics, shutdown::Shutdown, telemetry};
use signalbox_sns::{TopicArn, TrustedOrigin};
use tonic::Code;

use self::desk::Desk;
use crate::{
    CliError, Output,
    args::DemoArgs,
    commands::{call, executions::shown},
    compose::{ComposeConfig, Composition},
    simulator::{Delivered, Post, Publication, SimulatedSns},
};

const PARENT: &str = "projects/default";
const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:alarms";
const ANY_PORT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
/// How long anything here is waited for.
const LIMIT: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(10);
const DRAIN: Duration = Duration::from_secs(5);
const TOKEN_TTL: Duration = Duration::from_secs(3600);

const WORKFLOW: &str = r#"
trigger:
  amazonSns:
    apiKeys: [demo]
vars:
  desk: DESK
steps:
  - id: read
    transform:
      template:
        alarm: ${{ event.json.AlarmName }}
        state: ${{ event.json.NewStateValue }}
  - id: decide
    condition:
      rules:
        - if: steps.read.output.state == "ALARM"
          steps:
            - id: open
              timeout: 5s
              retry: {maxAttempts: 3}
              http:
                url: ${{ vars.desk }}/incidents
                json:
                  title: ${{ event.subject }}
                  alarm: ${{ steps.read.output.alarm }}
      otherwise:
        - id: ignore
          succeed: {}
  - id: done
    succeed:
      output:
        incident: ${{ steps.open.output.json.incident }}
"#;

const MESSAGE: &str =
    r#"{"AlarmName": "api-latency", "NewStateValue": "ALARM", "Region": "us-east-1"}"#;

pub(crate) async fn run(arguments: DemoArgs, output: &Output) -> Result<(), CliError> {
    let started = Instant::now();
    let mut telemetry_args = arguments.telemetry;
    if telemetry_args.log.is_none() {
        telemetry_args.log = Some("off".to_owned());
    }
    let guard = telemetry::init("signalbox-demo", &telemetry_args).map_err(CliError::start)?;
    metrics::install().map_err(CliError::start)?;
    let dir = tempfile::tempdir().map_err(|error| CliError::Write(std::env::temp_dir(), error))?;
    let shutdown = Shutdown::from_signals().map_err(CliError::start)?;
    // However it ends, it ends here, so that the folder goes.
    let walked = tokio::select! {
        walked = walk(dir.path(), &shutdown, output, started) => walked,
        () = shutdown.stopping() => Err(failed("interrupted")),
    };
    shutdown.drain(DRAIN).await;
    guard.shutdown().await;
    walked
}

async fn walk(
    dir: &Path,
    shutdown: &Shutdown,
    output: &Output,
    started: Instant,
) -> Result<(), CliError> {
    output.raw("Signalbox demo: from an SNS topic to an executed workflow, in one process.\n")?;
    let demo = Demo::start(dir, shutdown, *output).await?;
    let key = demo.create_key().await?;
    let (workflow, endpoint) = demo.create_workflow(&key).await?;
    demo.subscribe(&workflow, &endpoint).await?;
    let (post, execution) = demo.publish(&endpoint).await?;
    demo.look(&execution).await?;
    let first = started.elapsed();
    demo.repeat(&endpoint, &post).await?;
    demo.forge(&endpoint).await?;
    demo.verdicts(&workflow).await?;
    output.raw(&format!(
        "\nOne message, one execution, one incident. First execution SUCCEEDED {:.2} s after the start; all done after \
         {:.2} s.\n",
        first.as_secs_f64(),
        started.elapsed().as_secs_f64()
    ))
}

/// What the journey needs.
struct Demo {
    sns: SimulatedSns,
    topic: TopicArn,
    desk: Desk,
    client: Client,
    output: Output,
    // Held for what it holds: the folders' locks.
    _composition: Composition,
}

impl Demo {
    async fn start(dir: &Path, shutdown: &Shutdown, output: Output) -> Result<Self, CliError> {
        output.raw(
            "\n1. Starting Amazon SNS (simulated: its own authority, real RSA signatures) and both planes\n",
        )?;
        let sns = SimulatedSns::start(ANY_PORT)
            .await
            .map_err(CliError::start)?;
        let origin: TrustedOrigin = sns.origin().parse().map_err(CliError::start)?;
        let desk = Desk::start(ANY_PORT, shutdown).await?;
        let config = ComposeConfig {
            data_dir: dir.to_owned(),
            grpc_listen: ANY_PORT,
            webhook_listen: ANY_PORT,
            public_webhook_url: None,
            sns_trusted_origins: vec![origin],
        };
        let composition = Composition::start(config, shutdown).await?;
        output.raw(&format!(
            "   SNS {}, API {}, webhooks {}\n",
            sns.origin(),
            composition.endpoint,
            composition.webhook_url
        ))?;
        let mut config = ClientConfig::new(composition.endpoint.clone());
        config.token = Some(TokenSource::value(composition.admin_token(TOKEN_TTL)?));
        Ok(Self {
            sns,
            topic: TopicArn::parse(TOPIC).map_err(CliError::start)?,
            desk,
            client: Client::new(config)?,
            output,
            _composition: composition,
        })
    }

    async fn create_key(&self) -> Result<v1::CreateApiKeyResponse, CliError> {
        self.output.raw("\n2. Creating an API key\n")?;
        let key = call!(
            self.client,
            keys.create_api_key(v1::CreateApiKeyRequest {
                parent: PARENT.to_owned(),
                api_key_id: "demo".to_owned(),
                request_id: uuid::Uuid::new_v4().to_string(),
                ..Default::default()
            })
        );
        self.output.raw(&format!(
            "   projects/default/apiKeys/demo, value {}… (shown once to its creator)\n",
            prefix(&key)
        ))?;
        Ok(key)
    }

    /// Gives its name and the endpoint to subscribe.
    async fn create_workflow(
        &self,
        key: &v1::CreateApiKeyResponse,
    ) -> Result<(String, String), CliError> {
        self.output
            .raw("\n3. Creating a workflow that Amazon SNS triggers and that calls a service\n")?;
        let spec = WORKFLOW.replace("DESK", &self.desk.url);
        let spec: v1::WorkflowSpec = json::from_yaml_str(&spec).map_err(CliError::start)?;
        let workflow = call!(
            self.client,
            workflows.create_workflow(v1::CreateWorkflowRequest {
                parent: PARENT.to_owned(),
                workflow_id: "alarms".to_owned(),
                workflow: Some(v1::Workflow {
                    display_name: "Opens an incident for each alarm".to_owned(),
                    spec: Some(spec.clone()),
                    ..Default::default()
                }),
                publish: true,
                request_id: uuid::Uuid::new_v4().to_string(),
            })
        );
        let webhook = call!(
            self.client,
            workflows.get_webhook(v1::GetWebhookRequest {
                name: workflow.name.clone()
            })
        );
        self.output.raw(&format!(
            "   {}, version 1 published\n   endpoint {}?x-api-key={}…\n",
            workflow.name,
            webhook.url,
            prefix(key)
        ))?;
        Ok((
            workflow.name,
            format!("{}?x-api-key={}", webhook.url, key.value),
        ))
    }

    async fn subscribe(&self, workflow: &str, endpoint: &str) -> Result<(), CliError> {
        self.output
            .raw("\n4. Subscribing that endpoint to a topic\n")?;
        // Amazon SNS asks once whether a subscription is wanted; people are not as fast as this.
        until("the node to know the workflow", || async {
            let request = v1::ListNodesRequest::default();
            let nodes = call!(self.client, nodes.list_nodes(request)).nodes;
            let knows = |node: &v1::Node| node.applied_revision == node.head_revision;
            Ok((!nodes.is_empty() && nodes.iter().all(knows)).then_some(()))
        })
        .await?;
        let subscribed = self.sns.subscribe(&self.topic, endpoint, false).await;
        expect(&subscribed.map_err(CliError::start)?.delivered, 200)?;
        if !self.sns.wait_confirmed(&self.topic, LIMIT).await {
            return Err(failed("the subscription did not confirm itself"));
        }
        until("the topic to be bound", || async {
            let found = call!(
                self.client,
                workflows.get_workflow(v1::GetWorkflowRequest {
                    name: workflow.to_owned()
                })
            );
            Ok((found.bound_topic_arn == TOPIC).then_some(()))
        })
        .await?;
        self.output.raw(&format!(
            "   SubscriptionConfirmation: 200. It confirmed itself; {TOPIC} is confirmed and bound\n"
        ))
    }

    /// Gives what was sent, and the name of the execution.
    async fn publish(&self, endpoint: &str) -> Result<(Post, String), CliError> {
        self.output.raw("\n5. Publishing a message\n")?;
        let mut publication = Publication::new(MESSAGE);
        publication.subject = Some("ALARM: api-latency".to_owned());
        let post = self.sns.notification(&self.topic, &publication, false);
        let post = post.map_err(CliError::start)?;
        let sent = Instant::now();
        let (delivered, _) = self.sns.deliver(endpoint, &post).await;
        let name = execution_of(&delivered)?;
        self.output.raw(&format!(
            "   200 after {} ms: it is on disk as {name}\n",
            sent.elapsed().as_millis()
        ))?;
        Ok((post, name))
    }

    async fn look(&self, name: &str) -> Result<(), CliError> {
        self.output.raw("\n6. Looking at the execution\n")?;
        let execution = until("the execution to end", || async {
            let request = v1::GetExecutionRequest {
                name: name.to_owned(),
            };
            match self.client.executions().get_execution(request).await {
                Ok(found) => Ok(Some(found.into_inner()).filter(|found| found.end_time.is_some())),
                // Until the node has reported it, it is not there.
                Err(status) if status.code() == Code::NotFound => Ok(None),
                Err(status) => Err(ClientError::from(status).into()),
            }
        })
        .await?;
        for line in shown(&execution).lines() {
            self.output.raw(format!("   {line}").trim_end())?;
            self.output.raw("\n")?;
        }
        if execution.state() != v1::ExecutionState::Succeeded {
            return Err(failed("the execution did not succeed"));
        }
        self.called_once()
    }

    async fn repeat(&self, endpoint: &str, post: &Post) -> Result<(), CliError> {
        self.output
            .raw("\n7. Sending the same message again, as Amazon SNS may\n")?;
        let (delivered, _) = self.sns.deliver(endpoint, post).await;
        expect(&delivered, 200)?;
        if !matches!(&delivered, Delivered::Answered { body, .. } if field(body, "duplicate") == true)
        {
            return Err(failed("the copy was not recognised"));
        }
        self.output
            .raw("   200: a duplicate, acknowledged and not run again\n")
    }

    async fn forge(&self, endpoint: &str) -> Result<(), CliError> {
        self.output
            .raw("\n8. Forging a message: right key, right topic, wrong signature\n")?;
        let forged = self
            .sns
            .notification(&self.topic, &Publication::new(MESSAGE), true)
            .map_err(CliError::start)?;
        let delivered = self.sns.attempt(endpoint, &forged).await;
        expect(&delivered, 403)?;
        let Delivered::Answered { body, .. } = delivered else {
            return Err(failed("no answer"));
        };
        let detail = field(&body, "detail");
        self.output
            .raw(&format!("   403: {}\n", detail.as_str().unwrap_or(&body)))
    }

    async fn verdicts(&self, workflow: &str) -> Result<(), CliError> {
        self.output
            .raw("\n9. Every inbound message has a verdict\n")?;
        let deliveries = until("the verdicts", || async {
            let listed = call!(
                self.client,
                deliveries.list_deliveries(v1::ListDeliveriesRequest {
                    parent: workflow.to_owned(),
                    ..Default::default()
                })
            );
            Ok((listed.deliveries.len() >= 4).then_some(listed.deliveries))
        })
        .await?;
        for delivery in deliveries.iter().rev() {
            let verdict = delivery.verdict().as_str_name();
            let line = format!(
                "   {:<10} {:<26} {}",
                verdict.trim_start_matches("DELIVERY_VERDICT_"),
                delivery.message_type,
                delivery.reason
            );
            self.output.raw(&format!("{}\n", line.trim_end()))?;
        }
        let listed = call!(
            self.client,
            executions.list_executions(v1::ListExecutionsRequest {
                parent: PARENT.to_owned(),
                ..Default::default()
            })
        );
        if listed.executions.len() != 1 {
            let count = listed.executions.len();
            return Err(failed(&format!("{count} executions, expected 1")));
        }
        self.called_once()
    }

    fn called_once(&self) -> Result<(), CliError> {
        match self.desk.opened() {
            1 => Ok(()),
            count => Err(failed(&format!(
                "the service was called {count} times, expected once"
            ))),
        }
    }
}

fn prefix(key: &v1::CreateApiKeyResponse) -> &str {
    key.api_key
        .as_ref()
        .map(|key| key.prefix.as_str())
        .unwrap_or_default()
}

fn failed(why: &str) -> CliError {
    CliError::Failed(why.to_owned())
}

fn expect(delivered: &Delivered, expected: u16) -> Result<(), CliError> {
    match delivered {
        Delivered::Answered { status, .. } if *status == expected => Ok(()),
        Delivered::Answered { status, body } => {
            Err(failed(&format!("expected {expected}, got {status} {body}")))
        }
        Delivered::Failed(why) => Err(failed(&format!(
            "expected {expected}, got no answer: {why}"
        ))),
    }
}

/// A field of a JSON object; null when there is none.
fn field(body: &str, name: &str) -> serde_json::Value {
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    body.get(name).cloned().unwrap_or_default()
}

fn execution_of(delivered: &Delivered) -> Result<String, CliError> {
    expect(delivered, 200)?;
    let Delivered::Answered { body, .. } = delivered else {
        return Err(failed("no answer"));
    };
    field(body, "execution")
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| failed("the answer names no execution"))
}

/// Looks until there is something.
async fn until<T, F, Fut>(what: &str, mut look: F) -> Result<T, CliError>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Option<T>, CliError>>,
{
    let start = Instant::now();
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if start.elapsed() > LIMIT {
            return Err(failed(&format!("waited {LIMIT:?} for {what}")));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
