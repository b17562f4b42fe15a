//! `signalbox demo`: the whole journey, in one process and a temporary folder.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use signalbox_client::{Client, ClientConfig, TokenSource};
use signalbox_proto::{convert::json, v1};
use signalbox_runtime::{metrics, shutdown::Shutdown, telemetry};
use signalbox_sns::{SignatureVersion, TopicArn, TrustedOrigin};

use crate::{
    CliError, Output,
    args::DemoArgs,
    commands::{call, executions::shown},
    compose::{ComposeConfig, Composition},
    simulator::{Delivered, Publication, SimulatedSns},
};

const PARENT: &str = "projects/default";
const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:alarms";
const LIMIT: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);

const WORKFLOW: &str = r#"
trigger:
  amazonSns:
    apiKeys: [demo]
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
            - id: page
              transform:
                expression: "'page the on-call: ' + steps.read.output.alarm"
      otherwise:
        - id: note
          transform:
            expression: "'all is well again: ' + steps.read.output.alarm"
  - id: done
    succeed:
      output:
        action: ${{ steps.page.output }}
        subject: ${{ event.subject }}
"#;

const MESSAGE: &str =
    r#"{"AlarmName": "api-latency", "NewStateValue": "ALARM", "Region": "us-east-1"}"#;

pub(crate) async fn run(arguments: DemoArgs, output: &Output) -> Result<(), CliError> {
    let started = Instant::now();
    let mut telemetry_args = arguments.telemetry;
    if telemetry_args.log.is_none() {
        telemetry_args.log = Some("off".to_owned());
    }
    let guard = telemetry::init("signalbox-demo", &telemetry_args)
        .map_err(|e| CliError::Start(e.into()))?;
    metrics::install().map_err(|e| CliError::Start(e.into()))?;
    let dir = tempfile::tempdir()?;
    let shutdown = Shutdown::new();
    let walked = walk(dir.path(), &shutdown, output, started).await;
    shutdown.drain(Duration::from_secs(5)).await;
    guard.shutdown().await;
    walked
}

async fn walk(
    dir: &std::path::Path,
    shutdown: &Shutdown,
    output: &Output,
    started: Instant,
) -> Result<(), CliError> {
    let any = "127.0.0.1:0"
        .parse()
        .map_err(|_| failed("no loopback address"))?;
    output.raw("Signalbox demo: from an SNS topic to an executed workflow, in one process.\n\n")?;

    output.raw("1. Starting Amazon SNS (simulated: its own authority, real RSA signatures) and both planes\n")?;
    let sns = SimulatedSns::start(any)
        .await
        .map_err(|e| CliError::Start(Box::new(e)))?;
    let origin: TrustedOrigin = sns
        .origin()
        .parse()
        .map_err(|_| failed("the simulator has no origin"))?;
    let composition = Composition::start(
        ComposeConfig {
            data_dir: dir.to_owned(),
            grpc_listen: any,
            webhook_listen: any,
            public_webhook_url: None,
            sns_trusted_origins: vec![origin],
        },
        shutdown,
    )
    .await?;
    output.raw(&format!(
        "   SNS {}, API {}, webhooks {}\n\n",
        sns.origin(),
        composition.endpoint,
        composition.webhook_url
    ))?;
    let mut config = ClientConfig::new(composition.endpoint.clone());
    config.token = Some(TokenSource::value(
        composition.admin_token(Duration::from_secs(3600))?,
    ));
    let client = Client::new(config)?;

    output.raw("2. Creating an API key\n")?;
    let key = call!(
        client,
        keys.create_api_key(v1::CreateApiKeyRequest {
            parent: PARENT.to_owned(),
            api_key_id: "demo".to_owned(),
            request_id: uuid::Uuid::new_v4().to_string(),
            ..Default::default()
        })
    );
    let prefix = key
        .api_key
        .as_ref()
        .map(|key| key.prefix.clone())
        .unwrap_or_default();
    output.raw(&format!(
        "   projects/default/apiKeys/demo, value {prefix}… (shown once to its creator)\n\n"
    ))?;

    output.raw("3. Creating a workflow whose trigger is Amazon SNS and which names that key\n")?;
    let spec: v1::WorkflowSpec =
        json::from_yaml_str(WORKFLOW).map_err(|error| failed(&error.to_string()))?;
    let workflow = call!(
        client,
        workflows.create_workflow(v1::CreateWorkflowRequest {
            parent: PARENT.to_owned(),
            workflow_id: "alarms".to_owned(),
            workflow: Some(v1::Workflow {
                display_name: "Acts on alarms".to_owned(),
                spec: Some(spec.clone()),
                ..Default::default()
            }),
            publish: true,
            request_id: uuid::Uuid::new_v4().to_string(),
        })
    );
    let webhook = call!(
        client,
        workflows.get_webhook(v1::GetWebhookRequest {
            name: workflow.name.clone()
        })
    );
    let shown_endpoint = format!("{}?x-api-key={prefix}…", webhook.url);
    output.raw(&format!(
        "   {}, version 1 published\n   endpoint {shown_endpoint}\n\n",
        workflow.name
    ))?;
    let endpoint = format!("{}?x-api-key={}", webhook.url, key.value);

    output.raw("4. Subscribing that endpoint to a topic\n")?;
    let topic = TopicArn::parse(TOPIC).map_err(|_| failed("no topic"))?;
    let confirmation = simulated(sns.confirmation(&topic, SignatureVersion::V2, false))?;
    let (delivered, _) = sns.deliver(&endpoint, &confirmation).await;
    expect(&delivered, 200)?;
    if !sns.wait_confirmed(&topic, LIMIT).await {
        return Err(failed("the subscription did not confirm itself"));
    }
    until("the topic to be bound", || async {
        let found = call!(
            client,
            workflows.get_workflow(v1::GetWorkflowRequest {
                name: workflow.name.clone()
            })
        );
        Ok((found.bound_topic_arn == TOPIC).then_some(()))
    })
    .await?;
    output.raw(&format!(
        "   SubscriptionConfirmation: 200. The subscription confirmed itself; {TOPIC} is confirmed and bound\n\n"
    ))?;

    output.raw("5. Publishing a message\n")?;
    let mut publication = Publication::new(MESSAGE);
    publication.subject = Some("ALARM: api-latency".to_owned());
    let post = simulated(sns.notification(&topic, &publication, false))?;
    let (delivered, attempts) = sns.deliver(&endpoint, &post).await;
    let name = execution_of(&delivered)?;
    output.raw(&format!(
        "   200 after {attempts} attempt(s), durable: {name}\n\n"
    ))?;

    output.raw("6. Looking at the execution\n")?;
    let execution = until("the execution to end", || async {
        let found = client
            .executions()
            .get_execution(v1::GetExecutionRequest { name: name.clone() })
            .await;
        // Until the node has reported it, it is not there.
        Ok(found
            .ok()
            .map(tonic::Response::into_inner)
            .filter(|found| found.end_time.is_some()))
    })
    .await?;
    let first = started.elapsed();
    let text = shown(&execution);
    for line in text.lines() {
        output.raw(&format!("   {line}\n"))?;
    }
    if execution.state() != v1::ExecutionState::Succeeded {
        return Err(failed("the execution did not succeed"));
    }

    output.raw("\n7. Sending the same message again, as Amazon SNS may\n")?;
    let (delivered, _) = sns.deliver(&endpoint, &post).await;
    expect(&delivered, 200)?;
    output.raw(&format!(
        "   {}: a duplicate, acknowledged and not run again\n\n",
        answer(&delivered)
    ))?;

    output.raw("8. Forging a message: right key, right topic, wrong signature\n")?;
    let forged = simulated(sns.notification(&topic, &Publication::new("forged"), true))?;
    let delivered = sns.attempt(&endpoint, &forged).await;
    expect(&delivered, 403)?;
    output.raw(&format!("   {}\n\n", answer(&delivered)))?;

    let deliveries = until("the verdicts", || async {
        let listed = call!(
            client,
            deliveries.list_deliveries(v1::ListDeliveriesRequest {
                parent: workflow.name.clone(),
                ..Default::default()
            })
        );
        Ok((listed.deliveries.len() >= 4).then_some(listed.deliveries))
    })
    .await?;
    output.raw("9. Every inbound message has a verdict\n")?;
    for delivery in deliveries.iter().rev() {
        let verdict = delivery
            .verdict()
            .as_str_name()
            .replace("DELIVERY_VERDICT_", "");
        output.raw(&format!(
            "   {verdict:<10} {:<26} {}\n",
            delivery.message_type, delivery.reason
        ))?;
    }
    let listed = call!(
        client,
        executions.list_executions(v1::ListExecutionsRequest {
            parent: PARENT.to_owned(),
            ..Default::default()
        })
    );
    if listed.executions.len() != 1 {
        return Err(failed(&format!(
            "{} executions, expected 1",
            listed.executions.len()
        )));
    }
    output.raw(&format!(
        "\nOne message, one execution. First execution SUCCEEDED {:.2} s after the start; all done after {:.2} s.\n",
        first.as_secs_f64(),
        started.elapsed().as_secs_f64()
    ))
}

fn failed(why: &str) -> CliError {
    CliError::Failed(why.to_owned())
}

fn simulated<T>(result: Result<T, crate::simulator::SimulatorError>) -> Result<T, CliError> {
    result.map_err(|error| CliError::Start(Box::new(error)))
}

fn answer(delivered: &Delivered) -> String {
    match delivered {
        Delivered::Answered { status, body } => format!("{status} {body}"),
        Delivered::Failed(why) => why.clone(),
    }
}

fn expect(delivered: &Delivered, expected: u16) -> Result<(), CliError> {
    match delivered {
        Delivered::Answered { status, .. } if *status == expected => Ok(()),
        other => Err(failed(&format!(
            "expected {expected}, got {}",
            answer(other)
        ))),
    }
}

fn execution_of(delivered: &Delivered) -> Result<String, CliError> {
    expect(delivered, 200)?;
    let Delivered::Answered { body, .. } = delivered else {
        return Err(failed("no answer"));
    };
    let value: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    value["execution"]
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
