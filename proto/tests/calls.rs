//! What definitions may say of the steps that call AWS and send mail: all problems at once, each at its path.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use signalbox_model::ids::ProjectId;
use signalbox_proto::{
    convert::{definition, json},
    v1,
};

/// The problems of a workflow with one step, without the step's path.
#[track_caller]
fn problems_of(step: &str) -> Vec<String> {
    let step = step.replace('\n', "\n    ");
    let text =
        format!("trigger: {{manual: {{}}}}\nvars: {{v: x}}\nsteps:\n  - id: s\n    {step}\n");
    let spec: v1::WorkflowSpec = json::from_yaml_str(&text).unwrap();
    match definition::workflow(&spec, &ProjectId::default_project()) {
        Ok(_) => Vec::new(),
        Err(violations) => violations
            .0
            .iter()
            .map(|problem| problem.to_string().replacen("steps[0].", "", 1))
            .collect(),
    }
}

#[track_caller]
fn told(step: &str, expected: &[&str]) {
    let found = problems_of(step);
    assert_eq!(found.len(), expected.len(), "{step}: {found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            found.contains(expected),
            "{step}: {found}\nexpected {expected}"
        );
    }
}

#[test]
fn good_calls_of_aws_pass() {
    for step in [
        "aws: {service: ec2, operation: StopInstances, input: {InstanceId: ['${{ vars.v }}']}}",
        "aws: {service: sts, operation: GetCallerIdentity}",
        "aws: {service: s3, operation: PutObject, input: {Bucket: b, Key: k, Body: x, Metadata: {a: b}}}",
        "aws: {service: lambda, operation: Invoke, input: {FunctionName: f, Payload: {a: 1}}}",
        "aws: {service: dynamodb, operation: PutItem, input: '${{ event.json.item }}'}",
        "aws: {service: execute-api, endpointUrl: 'https://x.example.com', rest: {path: /a, json: {b: 1}}}",
        "aws: {service: guardduty, signingName: guardduty, rest: {method: GET, path: '/detector/${{ vars.v }}'}}",
        "aws: {service: sqs, operation: SendMessage, region: '${{ event.topicArn.split(\":\")[3] }}'}",
        "aws:\n  service: sns\n  operation: Publish\n  region: eu-west-1\n  endpointUrl: http://localhost:4566\n  \
         credentials: {accessKeyId: A, secretAccessKey: '${{ vars.v }}', sessionToken: t}\n  \
         assumeRole: {roleArn: 'arn:aws:iam::123456789012:role/r', externalId: e, sessionName: n1, duration: 900s}",
    ] {
        told(step, &[]);
    }
}

#[test]
fn wrong_calls_of_aws_are_told_at_their_place() {
    for (step, expected) in [
        (
            "aws: {}",
            &["aws.service: is missing", "aws: calls nothing"][..],
        ),
        (
            "aws: {service: ec3, operation: StopInstances}",
            &[
                "aws.service: \"ec3\" is no service whose operations are known; a REST service can be called by rest; did you mean",
            ],
        ),
        (
            "aws: {service: 'a/b', operation: X}",
            &["aws.service: \"a/b\" is no service's name"],
        ),
        (
            "aws: {service: ec2, operation: stopInstances}",
            &["aws.operation: \"stopInstances\" is no operation"],
        ),
        (
            "aws: {service: s3, operation: PutObjekt}",
            &[
                "aws.operation: \"PutObjekt\" of s3 is not known by name: expected CopyObject, DeleteObject, GetObject, HeadObject, ListBuckets, ListObjectsV2, PutObject, or rest with its method and path; did you mean \"PutObject\"?",
            ],
        ),
        (
            "aws: {service: s3, operation: GetObject, input: {Bucket: b, Kye: k}}",
            &[
                "aws.input.Key: is missing",
                "aws.input.Kye: GetObject takes no \"Kye\" here; did you mean \"Key\"?",
            ],
        ),
        (
            "aws: {service: ec2, operation: StopInstances, input: [a]}",
            &["aws.input: must be a map"],
        ),
        (
            "aws: {service: ec2, operation: StopInstances, rest: {path: /}}",
            &["aws: holds both operation and rest"],
        ),
        (
            "aws: {service: x, rest: {path: a, method: BREW, headers: {X-Amz-Date: d, Host: h}}, input: {a: 1}}",
            &[
                "aws.input: is what an operation is given",
                "aws.rest.method",
                "aws.rest.path: \"a\" is no path",
                "\"Host\" is set by Signalbox",
                "aws.rest.headers.X-Amz-Date: \"X-Amz-Date\" is set by the signature",
            ],
        ),
        (
            "aws: {service: ec2, operation: StopInstances, region: 'eu-west-1/', endpointUrl: 'ftp://x', signingName: 'A'}",
            &[
                "aws.region: \"eu-west-1/\" is no region",
                "aws.signingName",
                "aws.endpointUrl",
            ],
        ),
        (
            "aws: {service: ec2, operation: StopInstances, credentials: {accessKeyId: A}, assumeRole: {roleArn: r, sessionName: 'a b', duration: 60s}}",
            &[
                "aws.credentials.secretAccessKey: is missing",
                "aws.assumeRole.roleArn: \"r\" is no role",
                "aws.assumeRole.sessionName: \"a b\" does not match",
                "aws.assumeRole.duration: must be at least 900 seconds",
            ],
        ),
        (
            "aws: {service: ec2, operation: StopInstances, region: '${{ vars.w }}', input: {A: '${{ steps.t.output }}'}}",
            &[
                "aws.region: vars.w: there is no such constant",
                "aws.input: steps.t: there is no step",
            ],
        ),
    ] {
        told(step, expected);
    }
}

/// A good message, with `more`.
fn email(more: &str) -> String {
    format!(
        "email:\n  server: {{host: h}}\n  from: a@example.com\n  to: [b@example.com]\n  subject: s\n  text: t\n  {more}"
    )
}

#[test]
fn good_messages_pass() {
    for more in [
        "",
        "cc: ['Ops <o@example.com>', '${{ vars.v }}']",
        "html: <p>x</p>\n  headers: {X-Priority: '1'}",
        "replyTo: [c@example.com]\n  bcc: ['c@example.com, d@example.com']",
    ] {
        told(&email(more), &[]);
    }
    let block = email("").replace("subject: s", "subject: |\n    s ${{ vars.v }}");
    told(&block, &[]);
}

#[test]
fn wrong_messages_are_told_at_their_place() {
    let header = |header: &str| email(&format!("headers: {{{header}}}"));
    let server = |server: &str| email("").replace("{host: h}", &format!("{{{server}}}"));
    for (step, expected) in [
        (
            "email: {}".to_owned(),
            &[
                "email.server: is missing",
                "email.from: is missing",
                "email.to: names no recipient",
                "email.subject: is missing",
                "email: says nothing",
            ][..],
        ),
        (
            email("cc: [nobody, 'a@b\nBcc: c@d']"),
            &["email.cc[0]: \"nobody\" is no address"],
        ),
        (
            email("cc: [\"a@b\\nBcc: c@d\"]"),
            &["email.cc[0]: must be one line"],
        ),
        (
            email("").replace("subject: s", "subject: \"s\\r\\nBcc: c@d\""),
            &["email.subject: must be one line"],
        ),
        (
            header("Bcc: a@b"),
            &["email.headers.Bcc: \"Bcc\" is set by Signalbox"],
        ),
        (header("'a b': c"), &["is not a header name"]),
        (
            header("X-A: \"a\\nb\""),
            &["email.headers.X-A: must be one line"],
        ),
        (header("X-A: '1', x-a: '2'"), &["is there twice"]),
        (
            server("port: 70000"),
            &[
                "email.server.host: is missing",
                "email.server.port: is 70000",
            ],
        ),
        (
            server("host: 'https://h/'"),
            &["email.server.host: \"https://h/\" is no host"],
        ),
        (
            server("host: h, tls: ssl"),
            &[
                "email.server.tls: \"ssl\" is no kind of encryption: expected starttls, implicit or none",
            ],
        ),
        (
            server("host: h, username: u"),
            &["email.server: username and password belong together"],
        ),
        (
            server("host: h, username: u, password: p, tls: none"),
            &["email.server.password: would be sent in the open"],
        ),
        (
            server("host: h, caCertificate: x"),
            &["email.server.caCertificate: holds no certificate"],
        ),
        (
            server("host: '${{ vars.w }}'"),
            &["email.server.host: vars.w: there is no such constant"],
        ),
    ] {
        told(&step, expected);
    }
}
