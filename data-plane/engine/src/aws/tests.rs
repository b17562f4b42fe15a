#![allow(clippy::unwrap_used, clippy::expect_used)]

mod lists;

use serde_json::{Value, json};
use signalbox_model::aws::Elements;
use url::form_urlencoded;

use super::*;
use crate::decision::HttpResponse;

fn service(name: &str) -> &'static Service {
    Service::find(name).unwrap()
}

/// The pairs of an operation's form.
fn form(name: &str, action: &str, input: Value) -> Vec<(String, String)> {
    let request = operation(service(name), action, input).unwrap();
    assert_eq!(request.path, "/");
    form_urlencoded::parse(&request.body).into_owned().collect()
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

#[test]
fn ec2_counts_its_lists_and_knows_the_names_of_the_sdks() {
    let expected = pairs([
        ("Action", "DescribeInstances"),
        ("Version", "2016-11-15"),
        ("DryRun", "false"),
        ("Filter.1.Name", "tag:env"),
        ("Filter.1.Value.1", "a b"),
        ("Filter.1.Value.2", "ü&="),
        ("InstanceId.1", "i-1"),
        ("InstanceId.2", "i-2"),
        ("MaxResults", "5"),
    ]);
    for (filters, values, ids) in [
        ("Filter", "Value", "InstanceId"),
        ("Filters", "Values", "InstanceIds"),
    ] {
        let input = json!({
            ids: ["i-1", "i-2"],
            filters: [{"Name": "tag:env", values: ["a b", "ü&="]}],
            "DryRun": false,
            "MaxResults": 5,
            "NextToken": null,
            "Owners": [],
        });
        assert_eq!(form("ec2", "DescribeInstances", input), expected);
    }
    let tagged = json!({"Resources": ["i-1"], "Tags": [{"Key": "k", "Value": "v"}]});
    assert_eq!(
        form("ec2", "CreateTags", tagged)[2..],
        pairs([
            ("ResourceId.1", "i-1"),
            ("Tag.1.Key", "k"),
            ("Tag.1.Value", "v")
        ])
    );
}

#[test]
fn other_query_services_name_their_members() {
    let dimensions = json!([{"Name": "InstanceId", "Value": "i-1"}]);
    let input = json!({
        "AlarmName": "cpu",
        "Dimensions": dimensions,
        "AlarmActions": [],
        "Threshold": 80.5,
    });
    assert_eq!(
        form("cloudwatch", "PutMetricAlarm", input),
        pairs([
            ("Action", "PutMetricAlarm"),
            ("Version", "2010-08-01"),
            ("AlarmActions", ""),
            ("AlarmName", "cpu"),
            ("Dimensions.member.1.Name", "InstanceId"),
            ("Dimensions.member.1.Value", "i-1"),
            ("Threshold", "80.5"),
        ])
    );
    let input = json!({"Filters": {"Filter": [{"Name": "engine", "Values": {"Value": ["x"]}}]}});
    assert_eq!(
        form("rds", "DescribeDBInstances", input)[2..],
        pairs([
            ("Filters.Filter.1.Name", "engine"),
            ("Filters.Filter.1.Values.Value.1", "x"),
        ])
    );
}

#[test]
fn maps_of_sns_are_entries() {
    let attributes = json!({"tenant": {"DataType": "String", "StringValue": "t1"}});
    let input = json!({"TopicArn": "arn", "Message": "m", "MessageAttributes": attributes});
    assert_eq!(
        form("sns", "Publish", input)[2..],
        pairs([
            ("Message", "m"),
            ("MessageAttributes.entry.1.Name", "tenant"),
            ("MessageAttributes.entry.1.Value.DataType", "String"),
            ("MessageAttributes.entry.1.Value.StringValue", "t1"),
            ("TopicArn", "arn"),
        ])
    );
    let input = json!({"Name": "t", "Attributes": {"KmsMasterKeyId": "k"}});
    assert_eq!(
        form("sns", "CreateTopic", input)[2..],
        pairs([
            ("Attributes.entry.1.key", "KmsMasterKeyId"),
            ("Attributes.entry.1.value", "k"),
            ("Name", "t"),
        ])
    );
}

#[test]
fn json_services_have_a_target() {
    let request = operation(service("dynamodb"), "PutItem", json!({"TableName": "t"})).unwrap();
    assert_eq!(&request.body[..], br#"{"TableName":"t"}"#);
    let header = |name: &str| {
        let found = request.headers.iter().find(|(header, _)| header == name);
        found.unwrap().1.clone()
    };
    assert_eq!(header("content-type"), "application/x-amz-json-1.0");
    assert_eq!(header("x-amz-target"), "DynamoDB_20120810.PutItem");
    let nothing = operation(service("ssm"), "DescribeParameters", Value::Null).unwrap();
    assert_eq!(&nothing.body[..], b"{}");
}

#[test]
fn members_of_rest_operations_have_their_places() {
    let input = json!({
        "Bucket": "b", "Key": "a b/ü+%.txt", "Body": "text", "ContentType": "text/plain",
        "Metadata": {"Owner": "me"},
    });
    let request = operation(service("s3"), "PutObject", input).unwrap();
    assert_eq!(request.path, "/b/a%20b/%C3%BC%2B%25.txt");
    assert_eq!(
        request.headers,
        pairs([("content-type", "text/plain"), ("x-amz-meta-owner", "me")])
    );
    assert_eq!(&request.body[..], b"text");
    let input = json!({"Bucket": "b", "Prefix": "a/b c", "MaxKeys": 2});
    let request = operation(service("s3"), "ListObjectsV2", input).unwrap();
    assert_eq!(request.path, "/b");
    assert_eq!(request.query, "list-type=2&max-keys=2&prefix=a%2Fb%20c");
    let input =
        json!({"FunctionName": "f/x", "Qualifier": "1", "Payload": "text", "LogType": "Tail"});
    let request = operation(service("lambda"), "Invoke", input).unwrap();
    assert_eq!(request.path, "/2015-03-31/functions/f%2Fx/invocations");
    assert_eq!(request.query, "Qualifier=1");
    assert_eq!(&request.body[..], br#""text""#);
    let input = json!({"Name": "n", "ScheduleExpression": "rate(1 day)"});
    let request = operation(service("scheduler"), "CreateSchedule", input).unwrap();
    assert_eq!(request.path, "/schedules/n");
    assert_eq!(
        &request.body[..],
        br#"{"ScheduleExpression":"rate(1 day)"}"#
    );
}

#[test]
fn bytes_are_written_from_base64() {
    let put = |body: Value, encoding: Value| {
        let input = json!({"Bucket": "b", "Key": "k", "Body": body, "BodyEncoding": encoding});
        operation(service("s3"), "PutObject", input).map(|request| request.body)
    };
    assert_eq!(
        &put(json!("/wCA"), json!("base64")).unwrap()[..],
        b"\xff\x00\x80"
    );
    // What GetObject gives of a text has no BodyEncoding.
    assert_eq!(&put(json!("/wCA"), json!(null)).unwrap()[..], b"/wCA");
    assert_eq!(&put(json!(null), json!("base64")).unwrap()[..], b"");
    for (body, encoding, told) in [
        (json!("/w CA"), json!("base64"), "its Body is no base64"),
        (
            json!({"a": 1}),
            json!("base64"),
            "its Body is no text in base64",
        ),
        (json!("/wCA"), json!("gzip"), "its BodyEncoding is not"),
        (json!("/wCA"), json!(64), "its BodyEncoding is not"),
    ] {
        let error = put(body, encoding).unwrap_err();
        assert!(error.contains(told), "{error}");
    }
}

#[test]
fn what_would_lead_elsewhere_is_refused() {
    for key in ["../other", "a/../../b", "a/./b", ".."] {
        let input = json!({"Bucket": "b", "Key": key});
        assert!(
            operation(service("s3"), "GetObject", input).is_err(),
            "{key}"
        );
    }
    for bucket in ["..", "."] {
        let input = json!({"Bucket": bucket, "Key": "k"});
        assert!(
            operation(service("s3"), "GetObject", input).is_err(),
            "{bucket}"
        );
    }
    let wrong = |input: Value| operation(service("s3"), "PutObject", input).unwrap_err();
    let base = |name: &str, value: Value| {
        let mut input = json!({"Bucket": "b", "Key": "k"});
        input[name] = value;
        wrong(input)
    };
    for told in [
        base("ContentType", json!("a\r\nX-Amz-Acl: public-read")),
        base("ContentType", json!(["a"])),
        base("Metadata", json!({"a: b": "c"})),
        base("Metadata", json!("x")),
        base("Surprise", json!("x")),
        wrong(json!({"Bucket": "b"})),
        wrong(json!({"Bucket": "b", "Key": ""})),
        wrong(json!(["list"])),
    ] {
        assert!(!told.is_empty());
    }
    for path in ["a", "", "/a/../b", "/.."] {
        let body = (Bytes::new(), None);
        let made = rest(HttpMethod::Get, path, Vec::new(), Vec::new(), body);
        assert!(made.is_err(), "{path}");
    }
}

fn call(endpoint: Option<&str>, request: AwsRequest) -> AwsCall {
    AwsCall {
        service: "s3".to_owned(),
        operation: "GetObject".to_owned(),
        signing_name: "s3".to_owned(),
        region: Some("eu-west-1".to_owned()),
        endpoint: endpoint.map(|url| url.parse().unwrap()),
        credentials: None,
        role: None,
        request,
    }
}

#[test]
fn what_is_signed_is_what_is_sent() {
    let get = |key: &str| {
        let input = json!({"Bucket": "b", "Key": key});
        operation(service("s3"), "GetObject", input).unwrap()
    };
    let url = |endpoint, key| {
        let target = call(endpoint, get(key)).target(None).unwrap();
        assert_eq!(target.region, "eu-west-1");
        target.url.to_string()
    };
    let at_home = "https://s3.eu-west-1.amazonaws.com/b/a%20b";
    assert_eq!(url(None, "a b"), at_home);
    assert_eq!(url(Some("http://h:1/x/"), "k?#"), "http://h:1/x/b/k%3F%23");
    // Every byte that a key may have.
    let key: String = (1..=0xff_u8)
        .map(char::from)
        .filter(|c| *c != '.')
        .collect();
    url(None, &key);
    let nowhere = AwsCall {
        region: None,
        ..call(None, get("k"))
    };
    assert!(nowhere.target(None).unwrap_err().contains("no region"));
    assert_eq!(
        nowhere.target(Some("us-east-1")).unwrap().region,
        "us-east-1"
    );
}

fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> HttpResponse {
    HttpResponse {
        status,
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

fn result(name: &str, operation: &str, response: &HttpResponse) -> Value {
    let service = service(name);
    let form = AnswerForm::of(service, operation);
    read(form, service.signing_name, response).unwrap()
}

#[test]
fn xml_becomes_json_by_the_forms_that_aws_writes() {
    let body = r#"<?xml version="1.0" encoding="UTF-8"?>
<StopInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
  <requestId>r-1</requestId>
  <instancesSet>
    <item><instanceId>i-1</instanceId><currentState><code>64</code><name>stopping</name></currentState></item>
  </instancesSet>
  <emptySet/>
  <note>a &lt;b&gt; &#x41;<![CDATA[<c>]]></note>
</StopInstancesResponse>"#;
    assert_eq!(
        result("ec2", "StopInstances", &answer(200, &[], body)),
        json!({"statusCode": 200, "requestId": "r-1", "result": {
            "instancesSet": [{"instanceId": "i-1", "currentState": {"code": "64", "name": "stopping"}}],
            "emptySet": [],
            "note": "a <b> A<c>",
        }})
    );
    let body = "<PublishResponse><PublishResult><MessageId>m</MessageId></PublishResult>\
                <ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></PublishResponse>";
    assert_eq!(
        result("sns", "Publish", &answer(200, &[], body)),
        json!({"statusCode": 200, "requestId": "r", "result": {"MessageId": "m"}})
    );
    let body = "<R><GetTopicAttributesResult><Attributes><entry><key>A</key><value>1</value></entry>\
                </Attributes></GetTopicAttributesResult><ResponseMetadata><RequestId>r</RequestId>\
                </ResponseMetadata></R>";
    assert_eq!(
        result("sns", "GetTopicAttributes", &answer(200, &[], body))["result"],
        json!({"Attributes": {"A": "1"}})
    );
    let body = "<R><DescribeDBInstancesResult><DBInstances><DBInstance><Id>a</Id></DBInstance>\
                </DBInstances></DescribeDBInstancesResult></R>";
    assert_eq!(
        result("rds", "DescribeDBInstances", &answer(200, &[], body))["result"],
        json!({"DBInstances": [{"Id": "a"}]})
    );
    let one =
        "<ListBucketResult><Name>b</Name><Contents><Key>k</Key></Contents></ListBucketResult>";
    assert_eq!(
        result("s3", "ListObjectsV2", &answer(200, &[], one))["result"],
        json!({"Name": "b", "Contents": [{"Key": "k"}]})
    );
}

#[test]
fn hostile_xml_is_refused() {
    let deep = "<a>".repeat(10_000);
    for body in [
        "",
        "text",
        "<a>",
        "<a></b>",
        "<a/><b/>",
        "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>",
        "<a>&unknown;</a>",
        &deep,
    ] {
        let parsed = xml::parse(body, Elements::of("ec2"));
        assert!(parsed.is_err(), "{}", &body[..body.len().min(40)]);
    }
}

#[test]
fn objects_are_texts_or_base64() {
    let headers = [
        ("ETag", "\"e\""),
        ("Content-Length", "4"),
        ("x-amz-meta-owner", "me"),
        ("x-amz-request-id", "r"),
    ];
    let text = answer(200, &headers, "<x/>");
    assert_eq!(
        result("s3", "GetObject", &text),
        json!({"statusCode": 200, "requestId": "r", "result": {
            "Body": "<x/>", "ETag": "\"e\"", "ContentLength": 4, "Metadata": {"owner": "me"},
        }})
    );
    let bytes = HttpResponse {
        body: Bytes::from_static(b"\xff\x00"),
        ..answer(200, &[], "")
    };
    assert_eq!(
        result("s3", "GetObject", &bytes)["result"],
        json!({"Body": "/wA=", "BodyEncoding": "base64"})
    );
    assert_eq!(
        result("s3", "PutObject", &answer(200, &headers, ""))["result"]["ETag"],
        "\"e\""
    );
    // S3 may find out only after its 200 that it cannot.
    let late = answer(
        200,
        &[],
        "<Error><Code>SlowDown</Code><Message>m</Message></Error>",
    );
    let form = AnswerForm::of(service("s3"), "CopyObject");
    let failed = read(form, "s3", &late).unwrap_err();
    assert!(
        failed.retriable && failed.failure.message.starts_with("SlowDown: m"),
        "{failed:?}"
    );
}

#[test]
fn a_function_that_fails_fails_its_call() {
    let fine = answer(200, &[("x-amz-executed-version", "$LATEST")], r#"{"a": 1}"#);
    assert_eq!(
        result("lambda", "Invoke", &fine)["result"],
        json!({"Payload": {"a": 1}, "ExecutedVersion": "$LATEST"})
    );
    assert_eq!(
        result("lambda", "Invoke", &answer(202, &[], ""))["result"]["Payload"],
        Value::Null
    );
    let body = r#"{"errorType": "KeyError", "errorMessage": "'x'"}"#;
    let wrong = answer(200, &[("X-Amz-Function-Error", "Unhandled")], body);
    let form = AnswerForm::of(service("lambda"), "Invoke");
    let failed = read(form, "lambda", &wrong).unwrap_err();
    assert!(!failed.retriable);
    assert_eq!(
        failed.failure.message,
        "the function failed (Unhandled): KeyError: 'x'"
    );
}

#[test]
fn errors_are_read_in_every_form() {
    let ec2 = "<Response><Errors><Error><Code>IncorrectInstanceState</Code><Message>m</Message></Error>\
               </Errors><RequestID>r</RequestID></Response>";
    let query = "<ErrorResponse><Error><Type>Sender</Type><Code>IncorrectInstanceState</Code>\
                 <Message>m</Message></Error></ErrorResponse>";
    let s3 = "<Error><Code>IncorrectInstanceState</Code><Message>m</Message></Error>";
    for (headers, body) in [
        (&[][..], ec2),
        (&[], query),
        (&[], s3),
        (
            &[],
            r#"{"__type": "com.amazonaws.x#IncorrectInstanceState", "message": "m"}"#,
        ),
        (
            &[],
            r#"{"__type": "IncorrectInstanceState", "Message": "m"}"#,
        ),
        (&[], r#"{"code": "IncorrectInstanceState", "message": "m"}"#),
        (
            &[(
                "X-Amzn-ErrorType",
                "IncorrectInstanceState:http://internal/",
            )][..],
            r#"{"message": "m"}"#,
        ),
    ] {
        let error = aws_error(&answer(400, headers, body)).unwrap();
        assert_eq!(
            (error.code.as_str(), error.message.as_str()),
            ("IncorrectInstanceState", "m"),
            "{body}"
        );
    }
    for (status, body) in [(404, ""), (502, "<html><body>bad"), (403, "\u{1}{")] {
        let error = aws_error(&answer(status, &[], body)).unwrap();
        assert_eq!(error.code, format!("HTTP {status}"), "{body}");
    }
    assert_eq!(aws_error(&answer(204, &[], "<Error/>")), None);
}

#[test]
fn what_may_pass_is_told_from_what_will_not() {
    let retriable = |status: u16, code: &str, renews: bool| {
        let body = json!({"__type": code, "message": "m"}).to_string();
        let response = answer(status, &[("x-amzn-requestid", "r-9")], &body);
        let failed = refused(&response, &aws_error(&response).unwrap(), renews);
        let expected = format!("{code}: m (status {status}, request r-9)");
        assert_eq!(failed.failure.message, expected);
        assert_eq!(failed.failure.code, "AWS_ERROR");
        failed.retriable
    };
    for (status, code) in [
        (400, "ThrottlingException"),
        (400, "ProvisionedThroughputExceededException"),
        (503, "RequestLimitExceeded"),
        (503, "SlowDown"),
        (500, "InternalFailure"),
        (500, "Whatever"),
        (429, "TooManyRequestsException"),
    ] {
        assert!(retriable(status, code, false), "{code}");
    }
    for (status, code) in [
        (403, "AccessDenied"),
        (400, "ValidationException"),
        (403, "ExpiredToken"),
        (403, "InvalidClientTokenId"),
    ] {
        assert!(!retriable(status, code, false), "{code}");
    }
    assert!(retriable(403, "ExpiredToken", true));
}

#[test]
fn a_role_is_asked_for_and_read() {
    let role = AwsRole {
        arn: "arn:aws:iam::123456789012:role/r".to_owned(),
        external_id: Some("s3cret".to_owned()),
        session_name: "signalbox".to_owned(),
        duration: Duration::from_secs(900),
        endpoint: None,
    };
    let call = assume_role_call(&role, Some("eu-west-1".to_owned()), None).unwrap();
    let target = call.target(None).unwrap();
    assert_eq!(target.url.as_str(), "https://sts.eu-west-1.amazonaws.com/");
    let form: Vec<_> = form_urlencoded::parse(&call.request.body)
        .into_owned()
        .collect();
    assert_eq!(
        form,
        pairs([
            ("Action", "AssumeRole"),
            ("Version", "2011-06-15"),
            ("DurationSeconds", "900"),
            ("ExternalId", "s3cret"),
            ("RoleArn", "arn:aws:iam::123456789012:role/r"),
            ("RoleSessionName", "signalbox"),
        ])
    );
    let body = "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>A</AccessKeyId>\
                <SecretAccessKey>s3cret</SecretAccessKey><SessionToken>s3cret</SessionToken>\
                <Expiration>2026-11-26T10:00:00Z</Expiration></Credentials></AssumeRoleResult>\
                </AssumeRoleResponse>";
    let taken = assumed_role(&answer(200, &[], body)).unwrap();
    assert_eq!(taken.credentials.access_key_id, "A");
    assert_eq!(taken.expires_at.to_string(), "2026-11-26T10:00:00Z");
    let shown = format!("{role:?} {call:?} {taken:?} {:?}", call.request);
    assert!(!shown.contains("s3cret"), "{shown}");
    let body = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>m</Message></Error></ErrorResponse>";
    let failed = assumed_role(&answer(403, &[], body)).unwrap_err();
    assert!(!failed.retriable);
    assert!(
        failed
            .failure
            .message
            .contains("cannot be assumed: AccessDenied"),
        "{failed:?}"
    );
}
