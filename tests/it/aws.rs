//! `aws` steps against real services of LocalStack, and their signatures against those of the AWS SDK.
//!
//! What LocalStack has without Docker, Java and the network: EC2, S3, SNS, SQS, STS, SSM, EventBridge, CloudWatch, KMS,
//! IAM, and of Lambda all but invoking. It has no DynamoDB then (moto has), and no EventBridge Scheduler.

mod credentials;
mod dynamodb;

use std::time::Duration;

use serde_json::{Value, json};
use signalbox_model::aws::{Service, host};
use signalbox_proto::{
    convert::definition::from_json,
    v1::{Execution, ExecutionState, RunWorkflowRequest},
};
use signalbox_tests::{
    api::Api,
    localstack::LocalStack,
    planes::{Options, Planes, install_crypto},
    process::root,
    target::Target,
    wait,
};

const SERVICES: [&str; 11] = [
    "cloudwatch",
    "ec2",
    "events",
    "iam",
    "kms",
    "lambda",
    "s3",
    "sns",
    "sqs",
    "ssm",
    "sts",
];
/// LocalStack loads a service when it is first asked for.
const LIMIT: Duration = Duration::from_secs(120);

/// A workflow of calls, one after the other, that ends with the outputs of all.
struct Calls {
    steps: Vec<Value>,
}

impl Calls {
    fn new() -> Self {
        Self { steps: Vec::new() }
    }

    /// Adds a call; `more` is of its `aws`.
    fn call(mut self, id: &str, service: &str, more: Value) -> Self {
        let mut aws = json!({
            "service": service,
            "region": "us-east-1",
            "endpointUrl": "${{ vars.endpoint }}",
            "credentials": {"accessKeyId": "AKID", "secretAccessKey": "s3cret"},
        });
        aws.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        self.steps
            .push(json!({"id": id, "timeout": "60s", "aws": aws}));
        self
    }

    /// Adds an operation.
    fn operation(self, id: &str, service: &str, name: &str, input: Value) -> Self {
        self.call(id, service, json!({"operation": name, "input": input}))
    }

    /// Runs them against `endpoint` in `region`; gives the results of all by their ids, and the execution.
    async fn run(self, api: &Api, workflow: &str, endpoint: &str) -> (Value, Execution) {
        let ids: Vec<_> = self
            .steps
            .iter()
            .map(|step| step["id"].as_str().unwrap())
            .collect();
        let outputs: serde_json::Map<_, _> = ids
            .iter()
            .map(|id| {
                (
                    (*id).to_owned(),
                    format!("${{{{ steps.{id}.output.result }}}}").into(),
                )
            })
            .collect();
        let mut steps = self.steps.clone();
        steps.push(json!({"id": "end", "succeed": {"output": outputs}}));
        let spec =
            json!({"trigger": {"manual": {}}, "vars": {"endpoint": endpoint}, "steps": steps});
        api.create_workflow(workflow, &spec.to_string()).await;
        let execution = run(api, workflow, &json!({})).await;
        assert_eq!(
            execution.state(),
            ExecutionState::Succeeded,
            "{execution:?}"
        );
        (
            serde_json::from_str(&execution.output_json).unwrap(),
            execution,
        )
    }
}

/// One execution, until it has ended.
async fn run(api: &Api, workflow: &str, input: &Value) -> Execution {
    let request = RunWorkflowRequest {
        name: format!("projects/default/workflows/{workflow}"),
        input: Some(from_json(input)),
        request_id: uuid::Uuid::new_v4().to_string(),
    };
    let begun = api
        .workflows()
        .run_workflow(request)
        .await
        .unwrap()
        .into_inner();
    wait::until("the execution to end", LIMIT, || async {
        let execution = api
            .execution(&begun.name)
            .await
            .map_err(|s| s.to_string())?;
        match execution.state() {
            ExecutionState::Succeeded | ExecutionState::Failed | ExecutionState::TimedOut => {
                Ok(execution)
            }
            _ => Err(format!("{execution:?}")),
        }
    })
    .await
}

async fn stage() -> (tempfile::TempDir, LocalStack, Planes, Api) {
    install_crypto();
    let dir = tempfile::tempdir().unwrap();
    let localstack = LocalStack::start_with(dir.path(), &SERVICES).await;
    let (planes, api) = Planes::start(Options::default()).await;
    (dir, localstack, planes, api)
}

#[tokio::test(flavor = "multi_thread")]
async fn workflows_use_the_services_of_aws() {
    let (_dir, localstack, mut planes, api) = stage().await;
    let at = localstack.origin.as_str();
    instances(&api, at).await;
    objects(&api, at).await;
    messages(&api, at).await;
    roles_and_settings(&api, at).await;
    refusals(&api, at).await;
    for output in [planes.control.log(), planes.data.process().output()] {
        assert!(!output.contains("s3cret"), "a log holds the secret key");
    }
}

/// EC2: lists that are counted, answers in XML.
async fn instances(api: &Api, at: &str) {
    let id = "${{ steps.start.output.result.instancesSet[0].instanceId }}";
    let tagged =
        json!([{"ResourceType": "instance", "Tags": [{"Key": "env", "Value": "a b & ü"}]}]);
    let launch = json!({
        "ImageId": "ami-03cf127a", "MinCount": 1, "MaxCount": 1, "TagSpecifications": tagged,
        "ClientToken": "${{ execution.id }}",
    });
    let of_tag = json!({"Filter": [{"Name": "tag:env", "Value": ["a b & ü", "other"]}]});
    let of_id = json!({"InstanceIds": [id]});
    let (results, execution) = Calls::new()
        .operation("start", "ec2", "RunInstances", launch)
        .operation("found", "ec2", "DescribeInstances", of_tag)
        .operation("stop", "ec2", "StopInstances", json!({"InstanceId": [id]}))
        .operation("stopped", "ec2", "DescribeInstances", of_id.clone())
        .operation("again", "ec2", "StartInstances", of_id.clone())
        .operation("running", "ec2", "DescribeInstances", of_id)
        .run(api, "instances", at)
        .await;
    let id = &results["start"]["instancesSet"][0]["instanceId"];
    assert!(id.as_str().unwrap().starts_with("i-"), "{results}");
    let found = results["found"]["reservationSet"].as_array().unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(&found[0]["instancesSet"][0]["instanceId"], id);
    assert_eq!(&results["stop"]["instancesSet"][0]["instanceId"], id);
    assert_eq!(
        results["stop"]["instancesSet"][0]["previousState"]["name"],
        "running"
    );
    for (step, state) in [("stopped", "stopped"), ("running", "running")] {
        let instance = &results[step]["reservationSet"][0]["instancesSet"][0];
        assert_eq!(instance["instanceState"]["name"], state);
        assert_eq!(
            instance["tagSet"],
            json!([{"key": "env", "value": "a b & ü"}])
        );
    }
    let stop = execution
        .steps
        .iter()
        .find(|step| step.step_id == "stop")
        .unwrap();
    let input: Value = serde_json::from_str(&stop.input_json).unwrap();
    assert_eq!(input["operation"], "StopInstances");
    assert_eq!(input["credentials"], "step");
    assert_eq!(&input["input"]["InstanceId"][0], id);
    assert!(!format!("{execution:?}").contains("s3cret"));
}

/// S3: REST with XML, members in paths, headers and bodies.
async fn objects(api: &Api, at: &str) {
    let key = "a b/ü+&=%41 (1).txt";
    let object = json!({"Bucket": "letters", "Key": key});
    let with = |more: Value| {
        let mut input = object.clone();
        input
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        input
    };
    let metadata =
        json!({"Body": "grüße", "ContentType": "text/plain", "Metadata": {"owner": "me"}});
    let (results, _) = Calls::new()
        .call(
            "bucket",
            "s3",
            json!({"rest": {"method": "PUT", "path": "/letters"}}),
        )
        .operation("put", "s3", "PutObject", with(metadata))
        .operation("get", "s3", "GetObject", object.clone())
        .operation("head", "s3", "HeadObject", object.clone())
        .operation(
            "list",
            "s3",
            "ListObjectsV2",
            json!({"Bucket": "letters", "Prefix": "a b/"}),
        )
        .operation("buckets", "s3", "ListBuckets", json!({}))
        .operation(
            "put_bytes",
            "s3",
            "PutObject",
            with(json!({"Key": "bytes", "Body": "/wCA", "BodyEncoding": "base64"})),
        )
        .operation("bytes", "s3", "GetObject", with(json!({"Key": "bytes"})))
        // What was read is written as it is, whichever it was.
        .operation(
            "copy_bytes",
            "s3",
            "PutObject",
            with(json!({
                "Key": "copy", "Body": "${{ steps.bytes.output.result.Body }}",
                "BodyEncoding": "${{ steps.bytes.output.result.BodyEncoding }}",
            })),
        )
        .operation("copy", "s3", "GetObject", with(json!({"Key": "copy"})))
        .operation("delete", "s3", "DeleteObject", object.clone())
        .operation(
            "empty",
            "s3",
            "ListObjectsV2",
            json!({"Bucket": "letters", "Prefix": "a b/"}),
        )
        .run(api, "objects", at)
        .await;
    assert_eq!(results["get"]["Body"], "grüße");
    assert_eq!(results["get"]["ContentType"], "text/plain");
    assert_eq!(results["get"]["Metadata"], json!({"owner": "me"}));
    assert_eq!(results["get"]["ETag"], results["put"]["ETag"]);
    assert_eq!(results["head"]["ContentLength"], "grüße".len());
    for step in ["bytes", "copy"] {
        assert_eq!(results[step]["Body"], "/wCA", "{step}");
        assert_eq!(results[step]["BodyEncoding"], "base64");
        assert_eq!(results[step]["ContentLength"], 3);
    }
    assert_eq!(results["list"]["Contents"].as_array().unwrap().len(), 1);
    assert_eq!(results["list"]["Contents"][0]["Key"], key);
    assert_eq!(results["buckets"]["Buckets"][0]["Name"], "letters");
    assert_eq!(results["empty"]["Contents"], Value::Null);
    assert_eq!(results["empty"]["KeyCount"], "0");
}

/// SNS to SQS, and EventBridge to SQS: what a step sends arrives.
async fn messages(api: &Api, at: &str) {
    let url = "${{ steps.queue.output.result.QueueUrl }}";
    let arn = "${{ steps.arn.output.result.Attributes.QueueArn }}";
    let topic = "${{ steps.topic.output.result.TopicArn }}";
    let attributes = json!({"tenant": {"DataType": "String", "StringValue": "t 1"}});
    let receive = json!({
        "QueueUrl": url, "WaitTimeSeconds": 10, "MessageAttributeNames": ["All"],
    });
    let pattern = json!({"source": ["signalbox"]}).to_string();
    let detail = "{\"n\": ${{ 40 + 2 }}}";
    let entry = json!({"Source": "signalbox", "DetailType": "t", "Detail": detail});
    let target = json!({"Rule": "all", "Targets": [{"Id": "q", "Arn": arn}]});
    let (results, _) = Calls::new()
        .operation("queue", "sqs", "CreateQueue", json!({"QueueName": "inbox"}))
        .operation("arn", "sqs", "GetQueueAttributes", json!({"QueueUrl": url, "AttributeNames": ["QueueArn"]}))
        .operation("topic", "sns", "CreateTopic", json!({"Name": "news", "Tags": [{"Key": "a", "Value": "b"}]}))
        .operation("subscribe", "sns", "Subscribe", json!({
            "TopicArn": topic, "Protocol": "sqs", "Endpoint": arn, "Attributes": {"RawMessageDelivery": "true"},
        }))
        .operation("publish", "sns", "Publish", json!({
            "TopicArn": topic, "Message": "a & ü", "MessageAttributes": attributes,
        }))
        .operation("published", "sqs", "ReceiveMessage", receive.clone())
        .operation("send", "sqs", "SendMessage", json!({"QueueUrl": url, "MessageBody": "sent"}))
        .operation("sent", "sqs", "ReceiveMessage", receive.clone())
        .operation("rule", "eventbridge", "PutRule", json!({"Name": "all", "EventPattern": pattern}))
        .operation("target", "events", "PutTargets", target)
        .operation("put", "events", "PutEvents", json!({"Entries": [entry]}))
        .operation("event", "sqs", "ReceiveMessage", receive)
        .run(api, "messages", at)
        .await;
    let published = &results["published"]["Messages"][0];
    assert_eq!(published["Body"], "a & ü", "{results}");
    assert_eq!(
        published["MessageAttributes"]["tenant"]["StringValue"],
        "t 1"
    );
    assert_eq!(results["sent"]["Messages"][0]["Body"], "sent");
    assert_eq!(results["put"]["FailedEntryCount"], 0);
    let event = results["event"]["Messages"][0]["Body"].as_str().unwrap();
    let event: Value = serde_json::from_str(event).unwrap();
    assert_eq!(event["detail"], json!({"n": 42}));
}

/// STS, IAM, SSM, CloudWatch, KMS.
async fn roles_and_settings(api: &Api, at: &str) {
    let role = json!({
        "roleArn": "arn:aws:iam::000000000000:role/ops", "externalId": "s3cret-id",
        "sessionName": "session-1", "duration": "900s", "endpointUrl": at,
    });
    let who = json!({"operation": "GetCallerIdentity"});
    let mut by_role = who.clone();
    by_role["assumeRole"] = role;
    let trust = json!({"Version": "2012-10-17", "Statement": []}).to_string();
    let data =
        json!([{"MetricName": "m", "Value": 1.5, "Dimensions": [{"Name": "a", "Value": "b"}]}]);
    let key = "${{ steps.key.output.result.KeyMetadata.KeyId }}";
    let cipher = "${{ steps.sealed.output.result.CiphertextBlob }}";
    let (results, execution) = Calls::new()
        .call("me", "sts", who)
        .call("role", "sts", by_role)
        .operation(
            "made",
            "iam",
            "CreateRole",
            json!({"RoleName": "ops", "AssumeRolePolicyDocument": trust}),
        )
        .operation("roles", "iam", "ListRoles", json!({}))
        .operation(
            "put",
            "ssm",
            "PutParameter",
            json!({"Name": "/a/b", "Value": "v ü", "Type": "String"}),
        )
        .operation("get", "ssm", "GetParameter", json!({"Name": "/a/b"}))
        .operation(
            "metric",
            "cloudwatch",
            "PutMetricData",
            json!({"Namespace": "n", "MetricData": data}),
        )
        .operation(
            "metrics",
            "cloudwatch",
            "ListMetrics",
            json!({"Namespace": "n"}),
        )
        .operation("alarms", "cloudwatch", "DescribeAlarms", json!({}))
        .operation("key", "kms", "CreateKey", json!({}))
        .operation(
            "sealed",
            "kms",
            "Encrypt",
            json!({"KeyId": key, "Plaintext": "aGVsbG8="}),
        )
        .operation(
            "opened",
            "kms",
            "Decrypt",
            json!({"CiphertextBlob": cipher}),
        )
        .operation(
            "functions",
            "lambda",
            "ListFunctions",
            json!({"MaxItems": 5}),
        )
        .run(api, "settings", at)
        .await;
    assert_eq!(results["me"]["Account"], "000000000000");
    let arn = "arn:aws:sts::000000000000:assumed-role/ops/session-1";
    assert_eq!(results["role"]["Arn"], arn, "{results}");
    assert_eq!(results["roles"]["Roles"][0]["RoleName"], "ops");
    assert_eq!(results["get"]["Parameter"]["Value"], "v ü");
    assert_eq!(
        results["metrics"]["Metrics"],
        json!([{"Namespace": "n", "MetricName": "m", "Dimensions": [{"Name": "a", "Value": "b"}]}])
    );
    assert_eq!(results["alarms"]["MetricAlarms"], json!([]), "{results}");
    assert_eq!(results["opened"]["Plaintext"], "aGVsbG8=");
    assert_eq!(results["functions"]["Functions"], json!([]));
    assert!(!format!("{execution:?}").contains("s3cret"));
}

/// What each protocol says when it refuses.
async fn refusals(api: &Api, at: &str) {
    for (name, service, operation, input, told) in [
        (
            "no-instance",
            "ec2",
            "StopInstances",
            json!({"InstanceId": ["i-0123456789abcdef0"]}),
            "InvalidInstanceID.NotFound: ",
        ),
        (
            "no-topic",
            "sns",
            "Publish",
            json!({"TopicArn": "arn:aws:sns:us-east-1:000000000000:none", "Message": "m"}),
            "NotFound: ",
        ),
        (
            "no-parameter",
            "ssm",
            "GetParameter",
            json!({"Name": "/none"}),
            "ParameterNotFound: ",
        ),
        (
            "no-object",
            "s3",
            "GetObject",
            json!({"Bucket": "letters", "Key": "none"}),
            "NoSuchKey: ",
        ),
        (
            "no-head",
            "s3",
            "HeadObject",
            json!({"Bucket": "letters", "Key": "none"}),
            "HTTP 404 (status 404",
        ),
        (
            "no-function",
            "lambda",
            "Invoke",
            json!({"FunctionName": "none", "Payload": {}}),
            "ResourceNotFoundException: ",
        ),
    ] {
        let calls = Calls::new().operation("call", service, operation, input);
        let spec =
            json!({"trigger": {"manual": {}}, "vars": {"endpoint": at}, "steps": calls.steps});
        api.create_workflow(name, &spec.to_string()).await;
        let execution = run(api, name, &json!({})).await;
        assert_eq!(
            execution.state(),
            ExecutionState::Failed,
            "{name}: {execution:?}"
        );
        let step = &execution.steps[0];
        let error = step.error.as_ref().unwrap();
        assert_eq!(
            (error.code.as_str(), step.attempts.len()),
            ("AWS_ERROR", 1),
            "{name}"
        );
        assert!(error.message.contains(told), "{name}: {error:?}");
    }
}

/// What is known of services comes from the SDK's models, and says where they are as its rules do.
#[test]
fn services_are_what_the_sdk_says() {
    for table in ["lists", "services"] {
        let made = LocalStack::table(table);
        let path = root().join(format!("proto/model/src/aws/{table}.txt"));
        if std::env::var_os("SIGNALBOX_BLESS").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap();
        assert!(
            made == kept,
            "{} is not what tests/tools/aws_{table}.py makes: write it anew with SIGNALBOX_BLESS=1",
            path.display()
        );
    }
    let mut sdk = LocalStack::sdk_alone();
    for service in [
        "account",
        "budgets",
        "ce",
        "cloudfront",
        "comprehend",
        "dms",
        "ec2",
        "ecr",
        "emr",
        "guardduty",
        "iam",
        "networkmanager",
        "organizations",
        "route53",
        "savingsplans",
        "shield",
        "ses",
        "sts",
        "support",
        "waf",
    ] {
        let mut regions = vec!["eu-central-1", "us-east-1", "cn-northwest-1"];
        // The SDK at hand is older than these are there.
        if !["budgets", "ce", "cloudfront"].contains(&service) {
            regions.push("us-gov-east-1");
        }
        for region in regions {
            let found = match Service::find(service) {
                Some(known) => known.host(region),
                None => host(service, region),
            };
            assert_eq!(
                found,
                sdk.endpoint(service, region),
                "{service} in {region}"
            );
        }
    }
}

/// LocalStack takes any signature; the SDK's own signer does not.
#[tokio::test(flavor = "multi_thread")]
async fn signatures_are_those_of_the_sdk() {
    install_crypto();
    let target = Target::start(|_, _| 200).await;
    let (_planes, api) = Planes::start(Options::default()).await;
    let mut sdk = LocalStack::sdk_alone();
    let endpoint = format!("http://{}", target.addr);
    let object = json!({"Bucket": "b", "Key": "a b//ü+&=%41 (1)~.txt", "VersionId": "a/b +&=ü"});
    let put = json!({
        "Bucket": "b", "Key": "k", "Body": "grüße", "ContentType": "text/plain", "Metadata": {"Owner": "me  too"},
    });
    let rest = json!({"rest": {
        "method": "POST", "path": "/a b/ü(1)*!'/x:y", "query": {"z": "", "a b": "c/d", "A": "~*'"},
        "headers": {"X-More": "1"}, "json": {"n": 1},
    }});
    Calls::new()
        .operation("get", "s3", "HeadObject", object)
        .operation("put", "s3", "PutObject", put)
        .operation(
            "invoke",
            "lambda",
            "Invoke",
            json!({"FunctionName": "arn:f/x ü", "Payload": {"a": 1}}),
        )
        .call("rest", "execute-api", rest)
        .operation(
            "json",
            "sqs",
            "SendMessage",
            json!({"QueueUrl": "q", "MessageBody": "ü"}),
        )
        .run(&api, "signed", &endpoint)
        .await;
    let calls = target.calls();
    let sent = [
        ("HEAD", "s3"),
        ("PUT", "s3"),
        ("POST", "lambda"),
        ("POST", "execute-api"),
        ("POST", "sqs"),
    ];
    assert_eq!(calls.len(), sent.len());
    for (call, (method, service)) in calls.iter().zip(sent) {
        let authorization = &call.headers["authorization"];
        let part = |name: &str| {
            let found = authorization.split(name).nth(1).unwrap();
            found.split(',').next().unwrap().to_owned()
        };
        let (names, signature) = (part("SignedHeaders="), part("Signature="));
        let headers: serde_json::Map<_, _> = names
            .split(';')
            .filter(|name| !["host", "x-amz-date", "x-amz-content-sha256"].contains(name))
            .map(|name| (name.to_owned(), call.headers[name].clone().into()))
            .collect();
        let request = json!({
            "service": service, "region": "us-east-1", "method": method,
            "url": format!("{endpoint}{}", call.target), "headers": headers,
            "body": String::from_utf8(call.body.to_vec()).unwrap(),
            "date": call.headers["x-amz-date"],
        });
        assert_eq!(
            sdk.signature(request),
            (signature, names),
            "{service} {}",
            call.target
        );
    }
}
