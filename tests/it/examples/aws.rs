//! Examples that call AWS.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, Ordering},
};

use serde_json::{Value, json};
use signalbox_proto::v1::{ExecutionState, StepState};
use signalbox_tests::{
    target::{Reply, Target},
    wait,
};

use super::{
    ACCOUNT, LIMIT, Stage, body, calling,
    http::finding,
    leading_to, requests,
    smtp::{Manner, Server},
    states, text,
};

const REGION: &str = "eu-central-1";

impl Stage {
    fn aws(&self, service: &str, operation: &str, input: &Value) -> Value {
        self.sdk().aws(service, REGION, operation, input)
    }

    /// Launches an instance with these tags; gives its id.
    fn launch(&self, tags: &[(&str, &str)]) -> String {
        self.launch_with(tags, json!({}))
    }

    fn launch_with(&self, tags: &[(&str, &str)], mut input: Value) -> String {
        let tags: Vec<_> = tags
            .iter()
            .map(|(key, value)| json!({"Key": key, "Value": value}))
            .collect();
        input["ImageId"] = "ami-03cf127a".into();
        input["MinCount"] = 1.into();
        input["MaxCount"] = 1.into();
        if !tags.is_empty() {
            input["TagSpecifications"] = json!([{"ResourceType": "instance", "Tags": tags}]);
        }
        let launched = self.aws("ec2", "RunInstances", &input);
        let id = launched["Instances"][0]["InstanceId"].as_str();
        id.unwrap_or_else(|| panic!("{launched}")).to_owned()
    }

    fn instance(&self, id: &str) -> Value {
        let mut found = self.aws("ec2", "DescribeInstances", &json!({"InstanceIds": [id]}));
        found["Reservations"][0]["Instances"][0].take()
    }

    fn instance_state(&self, id: &str) -> String {
        let instance = self.instance(id);
        instance["State"]["Name"].as_str().unwrap().to_owned()
    }

    /// The text of an example whose AWS calls go to LocalStack.
    fn calling_localstack(&self, text: &str) -> String {
        let origin = &self.localstack.origin;
        calling(text, origin, |_| origin.clone())
    }
}

/// "Example: SNS alarm notification",
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-actions.html>.
fn alarm(state: &str, instance: &str) -> String {
    json!({
        "AlarmName": "idle",
        "AlarmDescription": "Less than 5 % for an hour",
        "AWSAccountId": ACCOUNT,
        "AlarmConfigurationUpdatedTimestamp": "2026-01-12T15:30:42.236+0000",
        "NewStateValue": state,
        "NewStateReason": "Threshold Crossed: 12 datapoints were less than the threshold (5.0).",
        "StateChangeTime": "2026-01-12T16:30:42.236+0000",
        "Region": "EU (Frankfurt)",
        "AlarmArn": "arn:aws:cloudwatch:eu-central-1:123456789012:alarm:idle",
        "OldStateValue": "OK",
        "OKActions": [],
        "AlarmActions": ["arn:aws:sns:eu-central-1:123456789012:idle-instances"],
        "InsufficientDataActions": [],
        "Trigger": {
            "MetricName": "CPUUtilization",
            "Namespace": "AWS/EC2",
            "StatisticType": "Statistic",
            "Statistic": "AVERAGE",
            "Unit": null,
            "Dimensions": [{"value": instance, "name": "InstanceId"}],
            "Period": 300,
            "EvaluationPeriods": 12,
            "ComparisonOperator": "LessThanThreshold",
            "Threshold": 5.0,
            "TreatMissingData": "missing",
            "EvaluateLowSampleCountPercentile": "",
        },
    })
    .to_string()
}

pub(super) async fn stop_instance(stage: &Stage) {
    const TOPIC: &str = "arn:aws:sns:eu-central-1:123456789012:idle-instances";
    let mail = Server::start(Manner::default()).await;
    let yaml = stage.calling_localstack(&text("stop-instance"));
    let relay = "server: {host: \"${{ vars.relay }}\"";
    assert!(yaml.contains(relay), "{yaml}");
    let (port, ca) = (mail.addr.port(), mail.ca_pem.replace('\n', "\\n"));
    let yaml = yaml
        .replace("relay: smtp.example.com", "relay: localhost")
        .replace(
            relay,
            &format!("{relay}, port: {port}, caCertificate: \"{ca}\""),
        );
    let example = stage.apply("stop-instance", "pager", &yaml).await;
    let id = stage.launch(&[]);
    assert_eq!(stage.instance_state(&id), "running");
    let fine = example.post(TOPIC, None, &alarm("OK", &id)).await;
    assert!(fine["execution"].is_null(), "{fine}");

    let subject = Some("ALARM: \"idle\" in EU (Frankfurt)");
    for stopped in [true, false] {
        let execution = example.publish(TOPIC, subject, &alarm("ALARM", &id)).await;
        let (execution, output) = stage.succeeded(&execution).await;
        assert_eq!(
            output,
            json!({"instance": id, "stopped": stopped}),
            "{execution:?}"
        );
        assert_eq!(stage.instance_state(&id), "stopped");
        // The second time nothing is left to do, and nobody is told.
        let letters = mail.letters();
        assert_eq!(letters.len(), 1, "{execution:?}");
        assert_eq!(letters[0].to, ["ops@example.com"]);
        assert!(letters[0].encrypted);
        let subject = format!("Subject: idle stopped {id}\r\n");
        assert!(letters[0].text.contains(&subject), "{}", letters[0].text);
        assert!(letters[0].text.contains("less than the threshold"));
    }
}

pub(super) async fn guardduty_isolate(stage: &Stage) {
    const TOPIC: &str = "arn:aws:sns:eu-central-1:123456789012:findings";
    let vpcs = stage.aws("ec2", "DescribeVpcs", &json!({}));
    let vpc = &vpcs["Vpcs"][0]["VpcId"];
    let make = |name: &str| {
        let group = json!({"GroupName": name, "Description": name, "VpcId": vpc});
        stage.aws("ec2", "CreateSecurityGroup", &group)["GroupId"].take()
    };
    let (before, group) = (make("web"), make("isolation"));
    let tag = json!({"Resources": [group], "Tags": [{"Key": "purpose", "Value": "isolation"}]});
    stage.aws("ec2", "CreateTags", &tag);
    let id = stage.launch_with(&[("Name", "web")], json!({"SecurityGroupIds": [before]}));

    let yaml = stage.calling_localstack(&text("guardduty-isolate"));
    let example = stage.apply("guardduty-isolate", "security", &yaml).await;
    let of = |id: &str| json!({"resourceType": "Instance", "instanceDetails": {"instanceId": id}});
    let mild = finding("f1", 5.0, &of(&id)).to_string();
    assert!(example.post(TOPIC, None, &mild).await["execution"].is_null());
    let key = json!({"resourceType": "AccessKey"});
    let other = finding("f2", 8.0, &key).to_string();
    assert!(example.post(TOPIC, None, &other).await["execution"].is_null());

    let severe = finding("f3", 8.0, &of(&id)).to_string();
    let name = example.publish(TOPIC, None, &severe).await;
    let (execution, _) = stage.succeeded(&name).await;
    assert_eq!(states(&execution, "snapshot"), [StepState::Succeeded]);
    let instance = stage.instance(&id);
    let interfaces = instance["NetworkInterfaces"].as_array().unwrap();
    assert!(!interfaces.is_empty(), "{instance}");
    for interface in interfaces {
        // AWS puts the groups of the call in place of those before; LocalStack adds them.
        let groups = interface["Groups"].as_array().unwrap();
        let is_isolated = groups.iter().any(|of| of["GroupId"] == group);
        assert!(is_isolated, "{instance}");
    }
    let mark = json!({"Key": "quarantine", "Value": "f3"});
    assert!(
        instance["Tags"].as_array().unwrap().contains(&mark),
        "{instance}"
    );
    let volumes = instance["BlockDeviceMappings"].as_array().unwrap();
    let kept = json!({"Filters": [{"Name": "tag:quarantine", "Values": ["f3"]}]});
    let kept = stage.aws("ec2", "DescribeSnapshots", &kept);
    let kept = kept["Snapshots"].as_array().unwrap();
    assert_eq!((volumes.len(), kept.len()), (1, 1));
    assert_eq!(kept[0]["VolumeId"], volumes[0]["Ebs"]["VolumeId"]);
    let [told] = &stage.told_slack(&name)[..] else {
        panic!("{:?}", stage.told_slack(&name))
    };
    let before = before.as_str().unwrap();
    let wanted = format!("{id} in 123456789012/eu-central-1 is isolated; it was in {before}");
    assert!(told.contains(&wanted), "{told}");

    let gone = finding("f4", 9.0, &of("i-0123456789abcdef0")).to_string();
    let name = example.publish(TOPIC, None, &gone).await;
    let execution = stage.ended(&name).await;
    assert_eq!(execution.state(), ExecutionState::Failed, "{execution:?}");
    let [told] = &stage.told_slack(&name)[..] else {
        panic!("{:?}", stage.told_slack(&name))
    };
    let is_why = told.contains("is NOT isolated: step \"found\": InvalidInstanceID");
    assert!(is_why, "{told}");
}

pub(super) async fn budget_approval(stage: &Stage) {
    const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:budgets";
    let yaml = stage.calling_localstack(&text("budget-approval"));
    let example = stage.apply("budget-approval", "finance", &yaml).await;
    let sandbox: Vec<_> = (0..2)
        .map(|_| stage.launch(&[("budget", "sandbox")]))
        .collect();
    let other = stage.launch(&[("budget", "shop")]);
    let message = "AWS Budget Notification November 26, 2026\nAWS Account 123456789012\n\nDear AWS Customer,\n\n\
                   You requested that we alert you when the ACTUAL Cost associated with your sandbox budget is greater than \
                   $100.00 for the current month.";
    for (verdict, subject, told, state) in [
        (
            "reject",
            "AWS Budgets: sandbox has exceeded 80 %",
            "nothing was stopped",
            "running",
        ),
        (
            "approve",
            "AWS Budgets: sandbox has exceeded 100 %",
            "the machines are stopped",
            "stopped",
        ),
    ] {
        let name = example.publish(TOPIC, Some(subject), message).await;
        wait::until("the approval to be awaited", LIMIT, || async {
            let execution = stage
                .api
                .execution(&name)
                .await
                .map_err(|s| s.to_string())?;
            match &execution.awaited[..] {
                [one] if one.message.contains(subject) => Ok(()),
                _ => Err(format!("{execution:?}")),
            }
        })
        .await;
        for id in &sandbox {
            assert_eq!(stage.instance_state(id), "running");
        }
        let [asked] = &stage.told_slack(subject)[..] else {
            panic!("{:?}", stage.told_slack(subject))
        };
        assert!(asked.contains(&name), "{asked}");
        // By the command line, and by the link that Slack was sent: the message's own words and a bar stand behind its URL.
        if verdict == "reject" {
            let id = name.rsplit('/').next().unwrap();
            stage.signalbox(&["executions", "reject", id, "--comment", "by phone"]);
        } else {
            let (before, _) = asked.split_once("|Approve>").unwrap();
            let (_, link) = before.rsplit_once('<').unwrap();
            let answer = reqwest::Client::new().post(link).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            let recorded = format!("{:?}", stage.api.execution(&name).await.unwrap());
            assert!(!recorded.contains(link), "{recorded}");
        }
        let (execution, _) = stage.succeeded(&name).await;
        let mut by = execution.signals.iter().map(|signal| signal.by.as_str());
        assert_eq!(by.next_back() == Some("link:ask"), verdict == "approve");
        for id in &sandbox {
            assert_eq!(stage.instance_state(id), state, "{verdict}");
        }
        let all = stage.told_slack(subject);
        assert_eq!(all.len(), 2, "{all:?}");
        assert_eq!(all[1], format!("{subject}: {told}"));
    }
    assert_eq!(stage.instance_state(&other), "running");
}

/// <https://docs.aws.amazon.com/autoscaling/ec2/userguide/prepare-for-lifecycle-notifications.html>.
fn transition(to: &str, instance: &str) -> String {
    json!({
        "LifecycleHookName": "drain",
        "AccountId": ACCOUNT,
        "RequestId": "598c969c-9d02-4e4e-a5ca-9bca5e2d1b7d",
        "LifecycleTransition": format!("autoscaling:{to}"),
        "AutoScalingGroupName": "web & shop",
        "Service": "AWS Auto Scaling",
        "Time": "2026-01-19T00:31:32.187Z",
        "EC2InstanceId": instance,
        "LifecycleActionToken": "71514b9d-6a40-4b26-8523-05e7ee35fa40",
        "Origin": "AutoScalingGroup",
        "Destination": "EC2",
    })
    .to_string()
}

/// <https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_CompleteLifecycleAction.html>.
const COMPLETED: &str = r#"<CompleteLifecycleActionResponse xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/">
  <CompleteLifecycleActionResult></CompleteLifecycleActionResult>
  <ResponseMetadata><RequestId>7c6e177f-f082-11e1-ac58-3714bEXAMPLE</RequestId></ResponseMetadata>
</CompleteLifecycleActionResponse>"#;

pub(super) async fn lifecycle_hook(stage: &Stage) {
    const TOPIC: &str = "arn:aws:sns:eu-central-1:123456789012:scaling";
    let scaling = Target::answering(|_, _| Reply {
        headers: vec![("content-type", "text/xml")],
        ..Reply::json(200, COMPLETED)
    })
    .await;
    // It is not in the registry any more.
    let registry = Target::start(|_, _| 404).await;
    let yaml = leading_to(text("lifecycle-hook"), &registry, &["registry"]);
    let endpoint = format!("http://{}/", scaling.addr);
    let yaml = calling(&yaml, &endpoint, |_| endpoint.clone());
    let example = stage.apply("lifecycle-hook", "scaling", &yaml).await;
    example.subscribe(TOPIC).await;
    let test = json!({
        "AccountId": ACCOUNT,
        "RequestId": "e1b5e2cf-4f5c-4d2a-a3b7-0a3b5f5c2d5e",
        "AutoScalingGroupARN": "arn:aws:autoscaling:eu-central-1:123456789012:autoScalingGroup:042cba90:autoScalingGroupName/web",
        "AutoScalingGroupName": "web & shop",
        "Service": "AWS Auto Scaling",
        "Event": "autoscaling:TEST_NOTIFICATION",
        "Time": "2026-01-19T00:31:32.187Z",
    });
    for unwanted in [
        test.to_string(),
        transition("EC2_INSTANCE_LAUNCHING", "i-1"),
    ] {
        let answer = example.post(TOPIC, None, &unwanted).await;
        assert!(answer["execution"].is_null(), "{answer}");
    }
    let ending = transition("EC2_INSTANCE_TERMINATING", "i-0598c7d356eba48d7");
    let execution = example.publish(TOPIC, None, &ending).await;
    let (execution, _) = stage.succeeded(&execution).await;
    assert_eq!(states(&execution, "settle"), [StepState::Succeeded]);
    let drained: Vec<_> = requests(&registry, "/registry").into_iter().collect();
    assert_eq!(drained.len(), 1, "{execution:?}");
    assert_eq!(drained[0].0, "DELETE");
    assert_eq!(drained[0].1, "/registry/instances/i-0598c7d356eba48d7");

    let calls = scaling.calls();
    assert_eq!(calls.len(), 1, "{calls:?}");
    let scope = format!("/{REGION}/autoscaling/aws4_request");
    assert!(
        calls[0].headers["authorization"].contains(&scope),
        "{calls:?}"
    );
    let form = String::from_utf8(calls[0].body.to_vec()).unwrap();
    let form = reqwest::Url::parse(&format!("http://form/?{form}")).unwrap();
    let form: BTreeMap<String, String> = form.query_pairs().into_owned().collect();
    let wanted = [
        ("Action", "CompleteLifecycleAction"),
        ("AutoScalingGroupName", "web & shop"),
        ("InstanceId", "i-0598c7d356eba48d7"),
        ("LifecycleActionResult", "CONTINUE"),
        (
            "LifecycleActionToken",
            "71514b9d-6a40-4b26-8523-05e7ee35fa40",
        ),
        ("LifecycleHookName", "drain"),
        ("Version", "2011-01-01"),
    ];
    let wanted = wanted.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(form, BTreeMap::from(wanted));
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>.
fn object_event(name: &str, key: &str) -> Value {
    json!({
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": REGION,
        "eventTime": "2026-01-01T00:00:00.000Z",
        "eventName": name,
        "userIdentity": {"principalId": "AIDAJDPLRKLG7UEXAMPLE"},
        "requestParameters": {"sourceIPAddress": "127.0.0.1"},
        "responseElements": {"x-amz-request-id": "C3D13FE58DE4C810"},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "thumbnails",
            "bucket": {
                "name": "uploads",
                "ownerIdentity": {"principalId": "A3NL1KOZZKExample"},
                "arn": "arn:aws:s3:::uploads",
            },
            "object": {
                "key": key, "size": 1024, "eTag": "d41d8cd98f00b204e9800998ecf8427e", "sequencer": "0055AED6DCD90281E5",
            },
        },
    })
}

/// <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>.
fn lambda(is_throttled: bool, is_broken: bool) -> Reply {
    if is_throttled {
        return Reply {
            headers: vec![("x-amzn-errortype", "TooManyRequestsException")],
            ..Reply::json(
                429,
                r#"{"Reason":"ReservedFunctionConcurrentInvocationLimitExceeded","Type":"User","message":"Rate Exceeded."}"#,
            )
        };
    }
    if is_broken {
        return Reply {
            headers: vec![
                ("x-amz-function-error", "Unhandled"),
                ("x-amz-executed-version", "$LATEST"),
            ],
            ..Reply::json(
                200,
                r#"{"errorMessage":"no picture","errorType":"ValueError"}"#,
            )
        };
    }
    Reply {
        headers: vec![("x-amz-executed-version", "$LATEST")],
        ..Reply::json(200, r#"{"thumbnail":"made"}"#)
    }
}

pub(super) async fn s3_to_lambda(stage: &Stage) {
    const TOPIC: &str = "arn:aws:sns:eu-central-1:123456789012:uploads";
    let bucket = json!({
        "Bucket": "uploads", "CreateBucketConfiguration": {"LocationConstraint": REGION},
    });
    stage.aws("s3", "CreateBucket", &bucket);
    let was_throttled = AtomicBool::new(false);
    let functions = Target::answering(move |_, call| {
        let is_broken = body(call)["key"] == "broken.txt";
        let is_throttled = !is_broken && !was_throttled.swap(true, Ordering::Relaxed);
        lambda(is_throttled, is_broken)
    })
    .await;
    let (s3, functions_at) = (
        stage.localstack.origin.clone(),
        format!("http://{}", functions.addr),
    );
    let yaml = calling(&text("s3-to-lambda"), &s3, |operation| match operation {
        "Invoke" => functions_at.clone(),
        _ => s3.clone(),
    });
    let example = stage.apply("s3-to-lambda", "bucket", &yaml).await;
    // What a bucket sends first.
    let test = json!({
        "Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "2026-10-13T15:57:02.089Z", "Bucket": "uploads",
        "RequestId": "5582815E1AEA5ADF", "HostId": "8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxsPzbB9wrR+YstdA6Knx4Ip8EXAMPLE",
    });
    let execution = example.publish(TOPIC, None, &test.to_string()).await;
    stage.succeeded(&execution).await;
    assert!(functions.calls().is_empty());

    let message = json!({"Records": [
        object_event("ObjectCreated:Put", "pictures/a+b%2B%C3%BC.png"),
        object_event("ObjectRemoved:Delete", "pictures/old.png"),
        object_event("ObjectCreated:CompleteMultipartUpload", "broken.txt"),
    ]})
    .to_string();
    let execution = example
        .publish(TOPIC, Some("Amazon S3 Notification"), &message)
        .await;
    let (execution, _) = stage.succeeded(&execution).await;
    let calls = functions.calls();
    assert_eq!(calls.len(), 3, "one of them twice: {execution:?}");
    let scope = format!("/{REGION}/lambda/aws4_request");
    for call in &calls {
        let path = "/2015-03-31/functions/make-thumbnail/invocations";
        assert_eq!((call.method.as_str(), call.target.as_str()), ("POST", path));
        assert!(call.headers["authorization"].contains(&scope), "{call:?}");
        assert_eq!(body(call)["bucket"], "uploads");
    }
    let keys: BTreeSet<_> = calls
        .iter()
        .map(|call| body(call)["key"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        keys,
        BTreeSet::from(["broken.txt".into(), "pictures/a b+ü.png".into()])
    );
    let key = format!("reports/{}.json", execution.message_id);
    let report = stage.aws("s3", "GetObject", &json!({"Bucket": "uploads", "Key": key}));
    assert_eq!(report["Body"], message.as_str());
}
