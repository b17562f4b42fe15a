//! What `http` and `slack` steps write, and what their problems read like.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;
use signalbox_model::{
    ids::ProjectId,
    workflow::{
        Action, HttpAuth, HttpBody, HttpMethod, HttpStep, SlackStep, SlackTarget, Workflow,
    },
};
use signalbox_proto::{
    convert::{definition, json},
    v1,
};

fn read(step: &str) -> Result<Workflow, Vec<String>> {
    let text = format!("trigger: {{manual: {{}}}}\nvars: {{v: 1}}\nsteps:\n  - {step}\n");
    let spec: v1::WorkflowSpec = json::from_yaml_str(&text).unwrap();
    // It goes over the wire and comes back.
    let workflow = definition::decode(&definition::encode(&spec), &ProjectId::default_project());
    workflow.map_err(|wrong| wrong.0.iter().map(ToString::to_string).collect())
}

#[track_caller]
fn http(fields: &str) -> HttpStep {
    let workflow = read(&format!(
        "{{id: a, http: {{url: 'https://x.test/', {fields}}}}}"
    ));
    match &workflow.unwrap().steps()[0].action {
        Action::Http(step) => step.as_ref().clone(),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn slack(fields: &str) -> SlackStep {
    let workflow = read(&format!("{{id: a, slack: {{{fields}}}}}"));
    match &workflow.unwrap().steps()[0].action {
        Action::Slack(step) => step.as_ref().clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_method_is_read_in_upper_case_only() {
    for method in HttpMethod::ALL {
        assert_eq!(http(&format!("method: {method}")).method, Some(method));
    }
    let wrong = |method: &str| format!("{{id: a, http: {{url: 'http://x', method: {method}}}}}");
    for method in ["get", "CONNECT", "FETCH"] {
        let found = read(&wrong(method)).unwrap_err();
        assert!(found[0].contains("expected one of GET, HEAD"), "{found:?}");
    }
}

#[test]
fn bodies_are_read_as_they_are_written() {
    let body = |fields: &str| http(fields).body.unwrap();
    let HttpBody::Form(fields) = body("form: {b: '${{ vars.v }}', a: [1, true, x], c: 2.5}") else {
        panic!()
    };
    let literal = |(name, value): &(String, _)| {
        let value: &signalbox_model::expression::Template = value;
        (name.clone(), value.as_literal().map(str::to_owned))
    };
    let some = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
    assert_eq!(
        fields.iter().map(literal).collect::<Vec<_>>(),
        [
            some("a", "1"),
            some("a", "true"),
            some("a", "x"),
            ("b".to_owned(), None),
            some("c", "2.5")
        ]
    );
    let HttpBody::Binary {
        base64,
        content_type,
    } = body("binary: {base64: /wAB, contentType: image/png}")
    else {
        panic!()
    };
    assert_eq!(base64.as_literal(), Some("/wAB"));
    assert_eq!(content_type.unwrap().as_literal(), Some("image/png"));
    // A body makes it a POST, an empty form too.
    assert_eq!(http("form: {}").effective_method(), HttpMethod::Post);
    assert_eq!(http("").effective_method(), HttpMethod::Get);
}

#[test]
fn credentials_are_one_of_three() {
    let auth = |fields: &str| http(&format!("auth: {{{fields}}}")).auth.unwrap();
    assert!(matches!(
        auth("basic: {username: u, password: p}"),
        HttpAuth::Basic { .. }
    ));
    assert!(matches!(
        auth("basic: {password: p}"),
        HttpAuth::Basic { .. }
    ));
    assert!(matches!(
        auth("bearer: {token: '${{ vars.v }}'}"),
        HttpAuth::Bearer(_)
    ));
    let header = auth("header: {name: X-API-Key, value: v}");
    assert_eq!(header.header(), "X-API-Key");
}

#[test]
fn the_exchange_is_as_it_is_unless_something_is_said() {
    let usual = http("");
    assert_eq!(
        (usual.redirects, usual.response_max_bytes),
        (0, 1024 * 1024)
    );
    assert!(usual.success_status.holds(204) && !usual.success_status.holds(300));
    assert!(usual.ca_certificate.is_none() && usual.proxy.is_none() && usual.auth.is_none());
    let own = http(
        "successStatus: [2xx, 404, 409-410], redirects: 10, maxResponseBytes: 1, proxy: 'http://u:p@proxy.test:3128', caCertificate: '${{ vars.v }}'",
    );
    assert_eq!((own.redirects, own.response_max_bytes), (10, 1));
    let holds = |status| own.success_status.holds(status);
    assert!(holds(200) && holds(404) && holds(410) && !holds(403) && !holds(411));
    assert!(own.ca_certificate.is_some() && own.proxy.is_some());
}

/// The problems of a step: each begins with the path of its place in it.
#[track_caller]
fn refused(step: &str, expected: &[&str]) {
    let found = read(step).unwrap_err();
    assert_eq!(found.len(), expected.len(), "{step}: {found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        let expected = format!("steps[0].{expected}");
        assert!(found.starts_with(&expected), "{step}: {found}");
    }
}

#[test]
fn wrong_requests_are_refused_at_their_place() {
    let many: Vec<String> = (0..51).map(|n| (200 + n).to_string()).collect();
    let many = format!("successStatus: [{}]", many.join(", "));
    for (fields, expected) in [
        ("form: {a: null}", "http.form.a: is no value of a form"),
        (
            "form: {a: [1, {b: 1}]}",
            "http.form.a[1]: is no value of a form",
        ),
        ("form: {a: '${{ 1 + }}'}", "http.form.a: ${{ 1 + }}"),
        ("binary: {base64: '§'}", "http.binary.base64: is no base64"),
        (
            "binary: {contentType: \"a\\nb\"}",
            "http.binary.contentType: must not hold control",
        ),
        ("method: TRACE, text: x", "http.method: TRACE has no body"),
        ("auth: {}", "http.auth: names none"),
        ("auth: {basic: {}}", "http.auth.basic: has neither"),
        (
            "auth: {basic: {username: 'a:b'}}",
            "http.auth.basic.username: must not hold a colon",
        ),
        ("auth: {bearer: {}}", "http.auth.bearer.token: is missing"),
        (
            "auth: {header: {value: v}}",
            "http.auth.header.name: is missing",
        ),
        (
            "auth: {header: {name: x}}",
            "http.auth.header.value: is missing",
        ),
        (
            "auth: {header: {name: Host, value: v}}",
            "http.auth.header.name: \"Host\" is set by",
        ),
        (
            "auth: {header: {name: 'a b', value: v}}",
            "http.auth.header.name: \"a b\" is not",
        ),
        (
            "auth: {bearer: {token: t}}, headers: {authorization: x}",
            "http.headers.authorization: is what auth sets",
        ),
        (
            "auth: {header: {name: x-key, value: v}}, headers: {X-Key: x}",
            "http.headers.X-Key: is what auth sets",
        ),
        (
            "successStatus: ['200', 1xx]",
            "http.successStatus[1]: \"1xx\" names no HTTP statuses",
        ),
        (
            "successStatus: [204-200]",
            "http.successStatus[0]: \"204-200\" names no",
        ),
        (&many, "http.successStatus: at most 50"),
        ("redirects: 11", "http.redirects: is 11; expected 0 to 10"),
        ("redirects: -1", "http.redirects: is -1; expected 0 to 10"),
        (
            "maxResponseBytes: 1048577",
            "http.maxResponseBytes: is 1048577; expected 1 to 1048576",
        ),
        ("maxResponseBytes: -1", "http.maxResponseBytes: is -1"),
        (
            "caCertificate: none",
            "http.caCertificate: holds no certificate",
        ),
        (
            "caCertificate: \"-----BEGIN CERTIFICATE-----\\n§\\n-----END CERTIFICATE-----\\n\"",
            "http.caCertificate: is not valid PEM",
        ),
        (
            "proxy: 'socks5://p:1080'",
            "http.proxy: \"socks5://p:1080\" is no URL",
        ),
        ("proxy: p", "http.proxy: \"p\" is no URL"),
    ] {
        refused(
            &format!("{{id: a, http: {{url: 'http://x', {fields}}}}}"),
            &[expected],
        );
    }
}

#[test]
fn all_problems_of_a_request_come_at_once() {
    refused(
        "{id: a, http: {method: NO, url: ftp://x, query: {q: '${{ }}'}, headers: {te: x}, form: {a: null}, auth: {bearer: {}}, successStatus: [x], redirects: 99, maxResponseBytes: -1, caCertificate: x, proxy: x}}",
        &[
            "http.method",
            "http.url",
            "http.query.q",
            "http.headers.te",
            "http.form.a",
            "http.auth.bearer.token",
            "http.successStatus[0]",
            "http.redirects",
            "http.maxResponseBytes",
            "http.caCertificate",
            "http.proxy",
        ],
    );
}

#[test]
fn templates_everywhere_read_what_is_there() {
    for place in [
        "form: {a: @}",
        "binary: {base64: @}",
        "binary: {contentType: @}",
        "auth: {basic: {username: @}}",
        "auth: {basic: {password: @}}",
        "auth: {bearer: {token: @}}",
        "auth: {header: {name: x, value: @}}",
        "caCertificate: @",
        "proxy: @",
    ] {
        let place = place.replace('@', "'${{ vars.missing }}'");
        let found = read(&format!("{{id: a, http: {{url: 'http://x', {place}}}}}")).unwrap_err();
        assert!(
            matches!(&found[..], [one] if one.contains("vars.missing")),
            "{place}: {found:?}"
        );
    }
    for place in [
        "webhookUrl: @, text: x",
        "token: @, channel: c, text: x",
        "token: t, channel: @, text: x",
        "token: t, channel: c, text: @",
        "token: t, channel: c, blocks: [{a: @}]",
        "token: t, channel: c, text: x, threadTs: @",
        "token: t, channel: c, text: x, apiUrl: @",
    ] {
        let place = place.replace('@', "'${{ vars.missing }}'");
        let found = read(&format!("{{id: a, slack: {{{place}}}}}")).unwrap_err();
        assert!(
            matches!(&found[..], [one] if one.contains("vars.missing")),
            "{place}: {found:?}"
        );
    }
}

#[test]
fn a_status_that_succeeds_is_not_to_be_retried() {
    let retry = "retry: {retryOn: [202, 5xx, 200-299, 299-300]}";
    let wrong = [
        "retry.retryOn[0]: 202 succeeds, and is not retried",
        "retry.retryOn[2]: 200-299 succeeds",
    ];
    refused(
        &format!("{{id: a, {retry}, http: {{url: 'http://x'}}}}"),
        &wrong,
    );
    refused(
        &format!("{{id: a, {retry}, slack: {{webhookUrl: 'https://x', text: x}}}}"),
        &wrong,
    );
    read(&format!(
        "{{id: a, {retry}, http: {{url: 'http://x', successStatus: [201]}}}}"
    ))
    .unwrap();
}

#[test]
fn messages_go_to_a_webhook_or_by_the_method() {
    let hook = slack("webhookUrl: '${{ vars.v }}', text: hi, threadTs: '1.5'");
    assert!(matches!(hook.target, SlackTarget::Webhook { .. }));
    assert!(hook.thread_ts.is_some() && hook.blocks.is_none());
    let method = slack("token: xoxb, channel: '#ops', blocks: [{type: divider}]");
    assert!(matches!(
        method.target,
        SlackTarget::Method { api_url: None, .. }
    ));
    assert!(method.text.is_none() && method.blocks.is_some());
    let gov = slack(
        "token: t, channel: c, text: x, apiUrl: 'https://slack-gov.com/api', blocks: '${{ vars.v }}'",
    );
    assert!(matches!(
        gov.target,
        SlackTarget::Method {
            api_url: Some(_),
            ..
        }
    ));
}

#[test]
fn wrong_messages_are_refused_at_their_place() {
    let many = format!(
        "token: t, channel: c, blocks: [{}]",
        "{type: divider},".repeat(51)
    );
    for (fields, expected) in [
        ("", &["slack: says not where to", "slack: says nothing"][..]),
        ("webhookUrl: 'https://x'", &["slack: says nothing"]),
        ("text: x", &["slack: says not where to"]),
        ("token: t, text: x", &["slack.channel: is missing"]),
        ("channel: c, text: x", &["slack.token: is missing"]),
        (
            "webhookUrl: 'https://x', token: t, channel: c, apiUrl: 'https://y', text: x",
            &[
                "slack.token: is for chat.postMessage",
                "slack.channel: is for",
                "slack.apiUrl: is for",
            ],
        ),
        (
            "webhookUrl: 'ftp://x', text: '${{'",
            &["slack.webhookUrl: ", "slack.text: has "],
        ),
        (
            "token: t, channel: c, text: x, apiUrl: 'https://u:p@x'",
            &["slack.apiUrl: must not hold user"],
        ),
        (
            "token: t, channel: c, blocks: {type: divider}",
            &["slack.blocks: is no list of blocks"],
        ),
        (
            "token: t, channel: c, blocks: divider",
            &["slack.blocks: is no list of blocks"],
        ),
        (
            "token: t, channel: c, blocks: [{a: '${{'}]",
            &["slack.blocks[0].a: has "],
        ),
        (
            &many,
            &["slack.blocks: has 51 blocks; Slack takes at most 50"],
        ),
    ] {
        refused(&format!("{{id: a, slack: {{{fields}}}}}"), expected);
    }
}

proptest! {
    /// Whatever stands in the fields, a step is read or refused at one of them.
    #[test]
    fn any_texts_are_read_or_refused_at_their_places(
        texts in prop::collection::vec("\\PC{0,12}|https?://[a-z@:./]{0,8}|\\$\\{\\{ [a-z.1+]{0,6} \\}\\}|[2-6](xx|[0-9]{2})(-[0-9]{3})?", 9),
        numbers in prop::collection::vec(any::<i32>(), 2),
        kind in 0..3,
    ) {
        use v1::http_auth::Kind;
        let text = |n: usize| texts[n].clone();
        let auth = match kind {
            0 => Kind::Basic(v1::HttpBasicAuth { username: text(0), password: text(1) }),
            1 => Kind::Bearer(v1::HttpBearerAuth { token: text(0) }),
            _ => Kind::Header(v1::HttpHeaderAuth { name: text(0), value: text(1) }),
        };
        let http = v1::HttpStep {
            method: String::new(),
            url: text(2),
            headers: [(text(0), text(1))].into(),
            body: Some(v1::http_step::Body::Binary(v1::HttpBinaryBody { base64: text(3), content_type: text(4) })),
            auth: Some(v1::HttpAuth { kind: Some(auth) }),
            success_status: vec![text(5)],
            redirects: numbers[0],
            max_response_bytes: numbers[1],
            ca_certificate: text(6),
            proxy: text(7),
            ..Default::default()
        };
        let slack = v1::SlackStep {
            webhook_url: text(0),
            token: text(1),
            channel: text(2),
            text: text(3),
            thread_ts: text(4),
            api_url: text(8),
            blocks: None,
        };
        for (id, action) in [("h", v1::step::Action::Http(http)), ("s", v1::step::Action::Slack(slack))] {
            let spec = v1::WorkflowSpec {
                trigger: Some(v1::Trigger { kind: Some(v1::trigger::Kind::Manual(v1::ManualTrigger::default())) }),
                steps: vec![v1::Step { id: id.to_owned(), action: Some(action), ..Default::default() }],
                ..Default::default()
            };
            if let Err(wrong) = definition::workflow(&spec, &ProjectId::default_project()) {
                let place = if id == "h" { "steps[0].http" } else { "steps[0].slack" };
                prop_assert!(!wrong.0.is_empty());
                prop_assert!(wrong.0.iter().all(|wrong| wrong.field.starts_with(place)), "{:?}", wrong.0);
            }
        }
    }
}
