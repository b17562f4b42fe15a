#![allow(clippy::unwrap_used, clippy::expect_used)]

use signalbox_model::expression::JsonTemplate;

use super::*;
use crate::decision::HttpResponse;

fn template(text: &str) -> Template {
    Template::parse(text).unwrap()
}

fn step(service: &str, name: &str, input: &Value) -> AwsStep {
    AwsStep {
        service: service.to_owned(),
        call: AwsCallForm::Operation {
            name: name.to_owned(),
            input: Some(JsonTemplate::parse(input).unwrap()),
        },
        region: Some(template("${{ event.json.region }}")),
        signing_name: None,
        endpoint_url: None,
        credentials: Some(AwsCredentialTemplates {
            access_key_id: template("${{ event.json.id }}"),
            secret_access_key: template("s3cret-key"),
            session_token: Some(template("s3cret-token")),
        }),
        assume_role: Some(AwsAssumeRole {
            role_arn: template("arn:aws:iam::1:role/r"),
            external_id: Some(template("s3cret-external")),
            session_name: None,
            duration: std::time::Duration::from_secs(900),
            endpoint_url: None,
        }),
    }
}

fn begin(step: &AwsStep, event: &Value) -> Result<(Value, AwsCall), Failure> {
    let scope = Scope::new(&json!({"json": event}), &Value::Null, &Value::Null);
    match step.begin(&scope, Timestamp::UNIX_EPOCH)? {
        Begin::Attempt {
            input,
            effect: EffectKind::Aws(call),
        } => Ok((input, *call)),
        _ => panic!("an aws step needs an attempt"),
    }
}

#[test]
fn what_is_recorded_holds_no_credentials() {
    let input = json!({"Name": "${{ event.json.name }}", "SecretString": "s3cret", "Tags": [{"MasterUserPassword": "s3cret"}]});
    let step = step("secretsmanager", "CreateSecret", &input);
    let event = json!({"region": "eu-west-1", "id": "AKID", "name": "n"});
    let (input, call) = begin(&step, &event).unwrap();
    assert_eq!(
        input,
        json!({
            "service": "secretsmanager",
            "operation": "CreateSecret",
            "region": "eu-west-1",
            "credentials": "step",
            "assumeRole": {"roleArn": "arn:aws:iam::1:role/r", "sessionName": "signalbox"},
            "input": {"Name": "n", "SecretString": "***", "Tags": [{"MasterUserPassword": "***"}]},
        })
    );
    let sent = String::from_utf8(call.request.body.to_vec()).unwrap();
    assert!(sent.contains(r#""SecretString":"s3cret""#), "{sent}");
    let shown = format!("{call:?} {:?}", call.credentials);
    assert!(!shown.contains("s3cret"), "{shown}");
    assert_eq!(call.credentials.unwrap().access_key_id, "AKID");
}

#[test]
fn what_templates_give_cannot_lead_elsewhere() {
    let with = |event: Value| {
        let step = step("ec2", "StopInstances", &json!({"InstanceId": ["i-1"]}));
        begin(&step, &event).unwrap_err()
    };
    for (event, told) in [
        (
            json!({"region": "eu-west-1.evil.example/", "id": "A"}),
            "is no region",
        ),
        (
            json!({"region": "eu-west-1", "id": "A\r\nX: y"}),
            "accessKeyId",
        ),
        (json!({"region": "eu-west-1", "id": ""}), "accessKeyId"),
    ] {
        let failure = with(event);
        assert_eq!(failure.code, codes::INVALID_REQUEST);
        assert!(failure.message.contains(told), "{failure}");
    }
    for url in [
        "ftp://h",
        "http://u:p@h",
        "http://h/?a",
        "no url",
        "http://h/#f",
    ] {
        let step = AwsStep {
            endpoint_url: Some(template(url)),
            ..step("ec2", "StopInstances", &json!({}))
        };
        let failure = begin(&step, &json!({"region": "eu-west-1", "id": "A"})).unwrap_err();
        assert_eq!(failure.code, codes::INVALID_REQUEST, "{url}");
    }
}

#[test]
fn a_rest_request_is_what_the_definition_writes() {
    let step = AwsStep {
        call: AwsCallForm::Rest(AwsRest {
            method: signalbox_model::workflow::HttpMethod::Post,
            path: template("/detector/${{ event.json.id }}/findings"),
            query: [("a b".to_owned(), template("c&d"))].into(),
            headers: [("X-Token".to_owned(), template("s3cret"))].into(),
            body: Some(AwsRestBody::Json(
                JsonTemplate::parse(&json!({"n": 1})).unwrap(),
            )),
        }),
        region: None,
        credentials: None,
        assume_role: None,
        ..step("guardduty", "", &json!({}))
    };
    let (input, call) = begin(&step, &json!({"id": "a/b c"})).unwrap();
    assert_eq!(call.request.path, "/detector/a/b%20c/findings");
    assert_eq!(call.request.query, "a%20b=c%26d");
    assert_eq!(
        call.target(Some("us-east-1")).unwrap().url.as_str(),
        "https://guardduty.us-east-1.amazonaws.com/detector/a/b%20c/findings?a%20b=c%26d"
    );
    assert_eq!(input["credentials"], "node");
    assert_eq!(input["rest"]["headers"]["X-Token"], "***");
    assert_eq!(input["rest"]["body"], r#"{"n":1}"#);
    let response = |content_type: &str, body: &str| {
        Outcome::Http(HttpResponse {
            status: 200,
            headers: vec![("content-type".to_owned(), content_type.to_owned())],
            body: Bytes::copy_from_slice(body.as_bytes()),
        })
    };
    let output = step
        .conclude(response("application/json", r#"{"ids": [1]}"#))
        .unwrap();
    assert_eq!(output["result"], json!({"ids": [1]}));
    let output = step
        .conclude(response("application/xml", "<a><b>1</b></a>"))
        .unwrap();
    assert_eq!(output["result"], json!({"b": "1"}));
    let output = step.conclude(response("text/plain", "x")).unwrap();
    assert_eq!(output["result"], "x");
}
