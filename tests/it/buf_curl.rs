//! A gRPC client with no generated code and no proto file: `buf curl`, over reflection.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::{Value, json};
use signalbox_tests::{
    planes::{Options, Planes},
    process::root,
    wait,
};

const STANDARD_NO_PAD_INDIFFERENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

fn buf() -> PathBuf {
    let buf = root().join(".tools/buf/node_modules/.bin/buf");
    assert!(
        buf.exists(),
        "buf is not installed: run tests/tools/setup (tests/run does)"
    );
    buf
}

async fn curl(
    endpoint: &str,
    token: Option<&str>,
    method: &str,
    body: Value,
) -> Result<Value, String> {
    let mut command = Command::new(buf());
    command
        .args(["curl", "--protocol", "grpc", "--http2-prior-knowledge"])
        .args(["--data", &body.to_string()]);
    if let Some(token) = token {
        command
            .arg("--header")
            .arg(format!("authorization: Bearer {token}"));
    }
    command
        .arg(format!("{endpoint}/{method}"))
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap();
    if output.status.success() {
        Ok(serde_json::from_slice(&output.stdout).unwrap_or_default())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_works_over_reflection_alone() {
    let (planes, _) = Planes::start(Options::default()).await;
    let endpoint = planes.control.endpoint.clone();
    let token = planes.control.token("admin");
    let call = |method: &'static str, body: Value| {
        let (endpoint, token) = (endpoint.clone(), token.clone());
        async move {
            curl(&endpoint, Some(&token), method, body)
                .await
                .unwrap_or_else(|error| panic!("{method}: {error}"))
        }
    };

    let created = call(
        "signalbox.v1.ApiKeyService/CreateApiKey",
        json!({"parent": "projects/default", "apiKeyId": "caller"}),
    )
    .await;
    let value = created["value"].as_str().unwrap();
    assert!(value.starts_with("sbk_"), "{value}");

    let workflow = call(
        "signalbox.v1.WorkflowService/CreateWorkflow",
        json!({
            "parent": "projects/default",
            "workflowId": "hook",
            "publish": true,
            "workflow": {"spec": {
                "trigger": {"webhook": {"apiKeys": ["caller"]}},
                "steps": [{"id": "double", "transform": {"expression": "event.json.n * 2"}}],
            }},
        }),
    )
    .await;
    assert_eq!(workflow["publishedVersion"], "1");

    let webhook = call(
        "signalbox.v1.WorkflowService/GetWebhook",
        json!({"name": "projects/default/workflows/hook"}),
    )
    .await;
    let url = webhook["url"].as_str().unwrap().to_owned();
    let response = wait::until(
        "the node to know the workflow",
        std::time::Duration::from_secs(10),
        || {
            let request = reqwest::Client::new()
                .post(&url)
                .header("x-api-key", value)
                .json(&json!({"n": 21}))
                .send();
            async move {
                let response = request.await.map_err(|error| error.to_string())?;
                let status = response.status();
                let text = response.text().await.unwrap_or_default();
                if status == 200 {
                    Ok(text)
                } else {
                    Err(format!("{status} {text}"))
                }
            }
        },
    )
    .await;
    let response: Value = serde_json::from_str(&response).unwrap();
    let name = response["execution"].as_str().unwrap().to_owned();

    let execution = wait::until("the execution", std::time::Duration::from_secs(10), || {
        let call = curl(
            &endpoint,
            Some(&token),
            "signalbox.v1.ExecutionService/GetExecution",
            json!({"name": name}),
        );
        async move {
            let execution = call.await?;
            if execution["state"] == "EXECUTION_STATE_SUCCEEDED" {
                Ok(execution)
            } else {
                Err(execution.to_string())
            }
        }
    })
    .await;
    assert_eq!(execution["outputJson"], "42");
    assert_eq!(execution["steps"][0]["stepId"], "double");
    assert_eq!(execution["steps"][0]["outputJson"], "42");

    let error = curl(
        &endpoint,
        None,
        "signalbox.v1.ApiKeyService/ListApiKeys",
        json!({"parent": "projects/default"}),
    )
    .await
    .unwrap_err();
    let error: Value = serde_json::from_str(&error).unwrap_or_else(|_| panic!("{error}"));
    assert_eq!(error["code"], "unauthenticated");
    let detail = &error["details"][0];
    assert_eq!(detail["type"], "google.rpc.ErrorInfo");
    let info = STANDARD_NO_PAD_INDIFFERENT
        .decode(detail["value"].as_str().unwrap())
        .unwrap();
    let info = String::from_utf8_lossy(&info).into_owned();
    assert!(info.contains("TOKEN_MISSING"), "the reason is told: {info}");
}
