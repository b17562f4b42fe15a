//! Against real HTTP servers that answer as AWS does, with the faults that an emulator has not. LocalStack is in
//! `tests/it/aws.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod renewed;

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use serde_json::json;
use signalbox_runtime::ambient::System;

use super::super::tests::support::{
    Call, Reply, Target, World, attempts, code_of, finished, loopback, output_of,
};
use super::*;

/// Credentials as an answer of STS, of `number`.
fn sts(number: usize, expires_at: &str) -> Reply {
    let body = format!(
        "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA{number}</AccessKeyId>\
         <SecretAccessKey>s3cret</SecretAccessKey><SessionToken>t0ken{number}</SessionToken>\
         <Expiration>{expires_at}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
    );
    Reply::text(200, &body)
}

fn in_an_hour() -> String {
    (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1)).to_string()
}

fn is_sts(call: &Call) -> bool {
    call.body.starts_with("Action=AssumeRole&")
}

/// A workflow with one step that sends a message to SQS at `target`, with `more` of the step.
fn send(target: &Target, more: &str) -> String {
    let at = target.addr;
    format!(
        "trigger: {{manual: {{}}}}\nsteps:\n  - id: send\n    {more}\n    aws:\n      service: sqs\n      \
         operation: SendMessage\n      region: eu-west-1\n      endpointUrl: http://{at}\n      \
         input: {{QueueUrl: q, MessageBody: \"${{{{ event.message }}}}\"}}\n      \
         credentials: {{accessKeyId: AKID, secretAccessKey: s3cret}}"
    )
}

/// The same, by a role.
fn send_as(target: &Target, more: &str) -> String {
    let at = target.addr;
    let role = "arn:aws:iam::123456789012:role/r";
    format!(
        "{}\n      assumeRole: {{roleArn: \"{role}\", externalId: s3cret, endpointUrl: \"http://{at}\"}}",
        send(target, more)
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_signed_and_leaves_no_credentials() {
    let target = Target::start(|_| Reply::json(200, &json!({"MessageId": "m-1"}))).await;
    let mut world = World::start().await;
    let execution = world.accept(&send(&target, ""), "one", "hello").await;
    world.run();
    let output = output_of(&world.finished(&execution).await);
    assert_eq!(output["statusCode"], 200);
    assert_eq!(output["result"], json!({"MessageId": "m-1"}));
    let calls = target.calls();
    assert_eq!(calls[0].header("x-amz-target"), "AmazonSQS.SendMessage");
    assert_eq!(calls[0].body, r#"{"MessageBody":"hello","QueueUrl":"q"}"#);
    let authorization = calls[0].header("authorization");
    let date = &calls[0].header("x-amz-date")[..8];
    let expected = format!("AWS4-HMAC-SHA256 Credential=AKID/{date}/eu-west-1/sqs/aws4_request, ");
    assert!(authorization.starts_with(&expected), "{authorization}");
    for signed in ["host", "content-type", "x-amz-date", "x-amz-target"] {
        let list = authorization.split("SignedHeaders=").nth(1).unwrap();
        let list = list.split(',').next().unwrap();
        assert!(
            list.split(';').any(|name| name == signed),
            "{signed}: {list}"
        );
    }
    let records = format!("{:?}", world.records(&execution).await);
    assert!(
        !records.contains("s3cret") && !records.contains("AKID"),
        "{records}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn throttling_is_retried_and_a_refusal_is_not() {
    let seen = AtomicUsize::new(0);
    let target = Target::start(move |call| match &*call.body {
        body if body.contains("refused") => {
            let body =
                json!({"__type": "com.amazonaws.sqs#AccessDeniedException", "message": "no"});
            Reply::json(400, &body)
        }
        _ => match seen.fetch_add(1, Ordering::SeqCst) {
            0 => Reply::json(
                400,
                &json!({"__type": "ThrottlingException", "message": "slow"}),
            ),
            1 => Reply::text(503, "<html>"),
            2 => Reply::Break,
            _ => Reply::json(200, &json!({})),
        },
    })
    .await;
    let mut world = World::start().await;
    let definition = send(&target, "retry: {maxAttempts: 5, initialBackoff: 0.01s}");
    let passes = world.accept(&definition, "one", "passes").await;
    let refused = world.accept(&definition, "two", "refused").await;
    world.run();
    let facts = world.finished(&passes).await;
    assert_eq!(output_of(&facts)["statusCode"], 200);
    assert_eq!(attempts(&facts).len(), 4);
    let facts = world.finished(&refused).await;
    assert_eq!(attempts(&facts).len(), 1);
    let failure = finished(&facts).1.unwrap();
    assert_eq!(failure.code, "AWS_ERROR");
    assert!(
        failure
            .message
            .contains("AccessDeniedException: no (status 400"),
        "{failure}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_taken_on_once_by_all_who_want_it() {
    let target = Target::start(|call| {
        if is_sts(call) {
            // Long enough for all to come.
            std::thread::sleep(Duration::from_millis(100));
            sts(1, &in_an_hour())
        } else {
            Reply::json(200, &json!({}))
        }
    })
    .await;
    let mut world = World::start().await;
    let definition = send_as(&target, "");
    let mut all = Vec::new();
    for number in 0..12 {
        all.push(world.accept(&definition, &format!("m{number}"), "x").await);
    }
    world.run();
    for execution in &all {
        output_of(&world.finished(execution).await);
    }
    let (asked, called): (Vec<_>, Vec<_>) = target.calls().into_iter().partition(is_sts);
    assert_eq!((asked.len(), called.len()), (1, 12));
    assert!(
        asked[0].body.contains("ExternalId=s3cret"),
        "{}",
        asked[0].body
    );
    assert!(
        asked[0]
            .header("authorization")
            .contains("Credential=AKID/")
    );
    for call in called {
        assert!(call.header("authorization").contains("Credential=ASIA1/"));
        assert_eq!(call.header("x-amz-security-token"), "t0ken1");
    }
    let records = format!("{:?}", world.records(&all[0]).await);
    for secret in ["s3cret", "t0ken", "ASIA"] {
        assert!(!records.contains(secret), "{records}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_have_expired_are_renewed_at_once() {
    let roles = AtomicUsize::new(0);
    let target = Target::start(move |call| {
        if is_sts(call) {
            return sts(roles.fetch_add(1, Ordering::SeqCst), &in_an_hour());
        }
        match call.header("x-amz-security-token") {
            "t0ken0" => Reply::json(
                403,
                &json!({"__type": "ExpiredTokenException", "message": "m"}),
            ),
            _ => Reply::json(200, &json!({})),
        }
    })
    .await;
    let mut world = World::start().await;
    let execution = world.accept(&send_as(&target, ""), "one", "x").await;
    world.run();
    let facts = world.finished(&execution).await;
    assert_eq!(output_of(&facts)["statusCode"], 200);
    assert_eq!(attempts(&facts).len(), 1);
    assert_eq!(target.calls().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_no_longer_used_shortly_before_they_end() {
    let target = Target::start(|call| {
        if is_sts(call) {
            // What is left of it is its margin, but for half of that.
            let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(2);
            sts(1, &end.to_string())
        } else {
            Reply::json(200, &json!({}))
        }
    })
    .await;
    let performer = AwsPerformer::new(loopback(), NodeIdentity::default(), System::shared());
    let mut world = World::start().await;
    world.performer = Some(Arc::new(performer));
    world.run();
    let definition = send_as(&target, "");
    let asked = || target.calls().into_iter().filter(is_sts).count();
    for (id, wait, expected) in [("a", 0, 1), ("b", 0, 1), ("c", 1200, 2)] {
        tokio::time::sleep(Duration::from_millis(wait)).await;
        let execution = world.accept(&definition, id, "x").await;
        output_of(&world.finished(&execution).await);
        assert_eq!(asked(), expected, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_not_to_be_called_has_its_code() {
    let target = Target::start(|call| match &*call.body {
        body if body.contains("silent") => Reply::Never,
        body if body.contains("large") => Reply::text(200, &"x".repeat(BODY_MAX_BYTES + 1)),
        _ => Reply::text(
            403,
            "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>",
        ),
    })
    .await;
    let mut world = World::start().await;
    world.run();
    let whole = send(&target, "timeout: 0.3s");
    let keys = "      credentials: {accessKeyId: AKID, secretAccessKey: s3cret}";
    let nobody = whole.replace(keys, "");
    let nowhere = whole.replace("      region: eu-west-1\n", "");
    let inside = whole.replace(&target.addr.to_string(), "169.254.169.254");
    let role = send_as(&target, "");
    for (definition, message, code, told) in [
        (&whole, "silent", "TIMEOUT", "300ms"),
        (&whole, "large", "RESPONSE_TOO_LARGE", "bytes"),
        (&nobody, "x", "AWS_CREDENTIALS", "AWS_ACCESS_KEY_ID"),
        (&nowhere, "x", "INVALID_REQUEST", "AWS_REGION"),
        (&inside, "x", "EGRESS_BLOCKED", "169.254.169.254"),
        (
            &role,
            "x",
            "AWS_ERROR",
            "the role cannot be assumed: AccessDenied",
        ),
    ] {
        let id = format!("{code}-{message}");
        let execution = world.accept(definition, &id, message).await;
        let facts = world.finished(&execution).await;
        assert_eq!(code_of(&facts), code, "{message}");
        let failure = finished(&facts).1.unwrap();
        assert!(failure.message.contains(told), "{failure}");
    }
}

#[tokio::test]
async fn the_node_is_who_its_environment_says() {
    let node = |variables: &[(&str, &str)]| {
        NodeIdentity::from_variables(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    };
    let keys = [
        ("AWS_ACCESS_KEY_ID", "A"),
        ("AWS_SECRET_ACCESS_KEY", "s3cret"),
    ];
    let all = node(&[
        keys[0],
        keys[1],
        ("AWS_SESSION_TOKEN", "t0ken"),
        ("AWS_REGION", "eu-west-1"),
    ]);
    assert_eq!(all.region().unwrap(), "eu-west-1");
    let credentials = all.credentials().await.unwrap();
    assert_eq!(credentials.session_token.unwrap(), "t0ken");
    let shown = format!("{all:?}");
    assert!(
        !shown.contains("s3cret") && !shown.contains("t0ken"),
        "{shown}"
    );
    let none = node(&[keys[0]]).credentials().await.unwrap_err();
    assert!(!none.retriable && none.failure.code == "AWS_CREDENTIALS");
    assert_eq!(
        node(&[("AWS_REGION", ""), ("AWS_DEFAULT_REGION", "r-1")])
            .region()
            .unwrap(),
        "r-1"
    );
    assert_eq!(node(&[("AWS_REGION", "evil.example/")]).region(), None);
}
