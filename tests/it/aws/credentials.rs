//! Where a node's own credentials come from: each source that `--aws-credentials` names, answered as AWS documents it.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use signalbox_tests::target::{Call, Reply};

use super::*;

/// What a caller must know to be given credentials, and what it is given: neither is in any log.
const PASS: &str = "s3cret-pass";
const ROLE: &str = "arn:aws:iam::123456789012:role/node";

/// The credentials of `source` as JSON.
fn given(source: &str) -> Reply {
    let body = json!({
        "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": Timestamp::now().to_string(),
        "AccessKeyId": format!("ASIA{source}"), "SecretAccessKey": "s3cret-key", "Token": "s3cret-session",
        "Expiration": in_an_hour(),
    });
    Reply::json(200, body.to_string())
}

fn in_an_hour() -> String {
    (Timestamp::now() + SignedDuration::from_hours(1)).to_string()
}

fn refused(status: u16) -> Reply {
    Reply::json(status, "{}")
}

/// The container's endpoint, the instance's metadata service, STS and SQS.
fn aws(_: usize, call: &Call) -> Reply {
    let has = |name: &str, value: &str| call.headers.get(name).is_some_and(|it| it == value);
    let body = String::from_utf8_lossy(&call.body);
    match (call.method.as_str(), call.target.as_str()) {
        ("GET", "/container?for=node") if has("authorization", PASS) => given("CONTAINER"),
        ("GET", "/container?for=node") => refused(401),
        ("PUT", "/latest/api/token") => Reply {
            headers: vec![("x-aws-ec2-metadata-token-ttl-seconds", "21600")],
            ..Reply::json(200, PASS)
        },
        ("GET", _) if !has("x-aws-ec2-metadata-token", PASS) => refused(401),
        ("GET", "/latest/meta-data/iam/security-credentials/") => Reply::json(200, "machine"),
        ("GET", "/latest/meta-data/iam/security-credentials/machine") => given("INSTANCE"),
        ("POST", "/") if body.contains("Action=AssumeRoleWithWebIdentity") => {
            let role = url_encoded(ROLE);
            let asked = format!("RoleArn={role}&RoleSessionName=node&WebIdentityToken={PASS}");
            assert!(body.contains(&asked), "{body}");
            // The token is the proof: there are no keys to sign with.
            assert!(!call.headers.contains_key("authorization"));
            let end = in_an_hour();
            let xml = format!(
                "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
                 <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIAROLE</AccessKeyId>\
                 <SecretAccessKey>s3cret-key</SecretAccessKey><SessionToken>s3cret-session</SessionToken>\
                 <Expiration>{end}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>\
                 </AssumeRoleWithWebIdentityResponse>"
            );
            Reply {
                headers: vec![("content-type", "text/xml")],
                ..Reply::json(200, xml)
            }
        }
        ("POST", "/") if call.headers.contains_key("x-amz-target") => Reply::json(200, "{}"),
        _ => refused(404),
    }
}

fn url_encoded(text: &str) -> String {
    text.replace(':', "%3A").replace('/', "%2F")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_has_its_credentials_from_where_it_is_told() {
    install_crypto();
    let target = Target::answering(aws).await;
    let at = format!("http://{}", target.addr);
    let (mut planes, api) = Planes::start(Options::default()).await;
    let file = |name: &str, text: &str| {
        let path = planes.dir().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let pass = file("pass", PASS);
    let wrong = file("wrong", "another");
    let keys = "[ops]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = s3cret-key\n";
    let profile = file("credentials", keys);
    let full_uri = format!("{at}/container?for=node");
    let container = |token: &str| {
        vec![
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", full_uri.clone()),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.to_owned()),
        ]
    };
    let sent = json!({
        "service": "sqs", "operation": "SendMessage", "region": "eu-west-1", "endpointUrl": at,
        "input": {"QueueUrl": "q", "MessageBody": "m"},
    });
    let spec = json!({"trigger": {"manual": {}}, "steps": [{"id": "send", "aws": sent}]});
    api.create_workflow("send", &spec.to_string()).await;
    // Each with how often it is asked for credentials, by which path, until two executions have ended.
    for (source, env, expected) in [
        (
            "container",
            container(&pass),
            Ok(("ASIACONTAINER", "/container", 1)),
        ),
        (
            "auto",
            container(&pass),
            Ok(("ASIACONTAINER", "/container", 1)),
        ),
        (
            "instance",
            vec![("AWS_EC2_METADATA_SERVICE_ENDPOINT", at.clone())],
            Ok((
                "ASIAINSTANCE",
                "/latest/meta-data/iam/security-credentials/machine",
                1,
            )),
        ),
        (
            "web-identity",
            vec![
                ("AWS_ROLE_ARN", ROLE.to_owned()),
                ("AWS_ROLE_SESSION_NAME", "node".to_owned()),
                ("AWS_WEB_IDENTITY_TOKEN_FILE", pass.clone()),
                ("AWS_ENDPOINT_URL_STS", at.clone()),
                ("AWS_REGION", "eu-west-1".to_owned()),
            ],
            Ok(("ASIAROLE", "/", 3)),
        ),
        (
            "profile",
            vec![
                ("AWS_SHARED_CREDENTIALS_FILE", profile.clone()),
                ("AWS_PROFILE", "ops".to_owned()),
            ],
            Ok(("AKIAPROFILE", "/container", 0)),
        ),
        (
            "container",
            container(&wrong),
            Err("--aws-credentials container"),
        ),
        (
            "web-identity",
            Vec::new(),
            Err("AWS_WEB_IDENTITY_TOKEN_FILE"),
        ),
        // What is not asked for is not used.
        ("environment", container(&pass), Err("AWS_ACCESS_KEY_ID")),
    ] {
        planes.data.kill();
        let env = env
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value));
        let nowhere =
            ["HOME", "AWS_CONFIG_FILE"].map(|name| (name.to_owned(), "/nowhere".to_owned()));
        let source_of = ("SIGNALBOX_DP_AWS_CREDENTIALS".to_owned(), source.to_owned());
        planes
            .data
            .set_env(nowhere.into_iter().chain([source_of]).chain(env));
        planes.data.start().await;
        let before = target.calls().len();
        for _ in 0..2 {
            let execution = run(&api, "send", &json!({})).await;
            match expected {
                Ok(_) => assert_eq!(
                    execution.state(),
                    ExecutionState::Succeeded,
                    "{execution:?}"
                ),
                Err(told) => {
                    let error = execution.error.unwrap();
                    assert!(
                        error.code == "AWS_CREDENTIALS" && error.message.contains(told),
                        "{error:?}"
                    );
                }
            }
        }
        let calls = target.calls().split_off(before);
        let Ok((id, path, times)) = expected else {
            continue;
        };
        let asked = calls
            .iter()
            .filter(|call| call.target.split('?').next() == Some(path));
        assert_eq!(asked.count(), times, "{source}");
        let signed: Vec<_> = calls
            .iter()
            .filter(|call| call.headers.contains_key("x-amz-target"))
            .collect();
        assert_eq!(signed.len(), 2, "{source}");
        for call in signed {
            let authorization = &call.headers["authorization"];
            assert!(
                authorization.contains(&format!("Credential={id}/")),
                "{authorization}"
            );
            let is_temporary = call
                .headers
                .get("x-amz-security-token")
                .is_some_and(|it| it == "s3cret-session");
            assert_eq!(is_temporary, id.starts_with("ASIA"), "{source}");
        }
    }
    for output in [planes.control.log(), planes.data.log()] {
        assert!(!output.contains("s3cret"), "a log holds a secret");
    }
}
