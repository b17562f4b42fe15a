#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::decision::RetryAfter;

const KEY: &str = "yp3x4j36tnfovls2yyo2mzftv5s3vx2v";

fn template(text: &str) -> Template {
    Template::parse(text).unwrap()
}

fn step(target: SlackTarget) -> SlackStep {
    SlackStep {
        target,
        text: Some(template("${{ event.json.text }}")),
        blocks: None,
        thread_ts: None,
    }
}

fn webhook() -> SlackStep {
    let url = template("https://hooks.slack.test/services/T0/B0/${{ event.json.secret }}");
    step(SlackTarget::Webhook { url })
}

fn method(api_url: Option<&str>) -> SlackStep {
    step(SlackTarget::Method {
        api_url: api_url.map(template),
        token: template("xoxb-${{ event.json.secret }}"),
        channel: template("${{ event.json.channel }}"),
    })
}

fn event() -> Value {
    json!({"secret": "s3cret", "channel": "C1", "text": "hi", "ts": "1.5", "list": [{"type": "divider"}]})
}

/// What is sent, and what is recorded.
fn begun(step: &SlackStep, event: &Value) -> Result<(HttpRequest, Value), Failure> {
    let scope = Scope::new(&json!({"json": event}), &Value::Null, &Value::Null);
    match step.begin(&scope, Timestamp::UNIX_EPOCH)? {
        Begin::Attempt { effect, input } => {
            let EffectKind::Http(request) = step.keyed(effect, KEY) else {
                panic!("a slack step sends a request")
            };
            Ok((request, input))
        }
        _ => panic!("a slack step needs an attempt"),
    }
}

fn body(request: &HttpRequest) -> Value {
    serde_json::from_slice(request.body.as_deref().unwrap()).unwrap()
}

fn answer(status: u16, body: impl Into<Bytes>) -> Outcome {
    Outcome::Http(HttpResponse {
        status,
        headers: vec![("Retry-After".to_owned(), "30".to_owned())],
        body: body.into(),
    })
}

#[test]
fn a_webhook_is_posted_to_and_its_url_is_shown_nowhere() {
    let (request, input) = begun(&webhook(), &event()).unwrap();
    assert_eq!(
        request.url.as_str(),
        "https://hooks.slack.test/services/T0/B0/s3cret"
    );
    assert_eq!(body(&request), json!({"text": "hi"}));
    assert_eq!(input["url"], "https://hooks.slack.test/***");
    assert_eq!(input["body"], r#"{"text":"hi"}"#);
    assert_eq!(request.shown_url(), "https://hooks.slack.test/***");
    let shown = format!("{request:?} {input}");
    assert!(
        !shown.contains("s3cret") && !shown.contains("T0"),
        "{shown}"
    );
}

#[test]
fn a_method_is_called_with_a_token_and_one_id_for_all_attempts() {
    let (request, input) = begun(&method(None), &event()).unwrap();
    assert_eq!(
        request.url.as_str(),
        "https://slack.com/api/chat.postMessage"
    );
    let id = identity::uuid(KEY).to_string();
    let sent = json!({"channel": "C1", "client_msg_id": id, "text": "hi"});
    assert_eq!(body(&request), sent);
    let authorization = ("authorization".to_owned(), "Bearer xoxb-s3cret".to_owned());
    assert!(request.headers.contains(&authorization));
    assert_eq!(input["headers"]["authorization"], "***");
    assert!(!input.to_string().contains("s3cret"), "{input}");
    for api in ["https://slack-gov.com/api", "https://slack-gov.com/api/"] {
        let (request, _) = begun(&method(Some(api)), &event()).unwrap();
        assert_eq!(
            request.url.as_str(),
            "https://slack-gov.com/api/chat.postMessage"
        );
    }
}

#[test]
fn blocks_and_threads_are_sent() {
    let blocks = |blocks: Value| SlackStep {
        text: None,
        blocks: Some(JsonTemplate::parse(&blocks).unwrap()),
        thread_ts: Some(template("${{ event.json.ts }}")),
        ..method(None)
    };
    for written in [
        json!([{"type": "${{ 'divider' }}"}]),
        json!("${{ event.json.list }}"),
    ] {
        let (request, _) = begun(&blocks(written), &event()).unwrap();
        let body = body(&request);
        assert_eq!(body["blocks"], json!([{"type": "divider"}]));
        assert_eq!(body["thread_ts"], "1.5");
        assert_eq!(body.get("text"), None);
    }
    let many = json!("${{ lists.range(51) }}");
    for (written, expected) in [
        (json!("${{ event.json.text }}"), "no list"),
        (many, "51 blocks"),
    ] {
        let failure = begun(&blocks(written), &event()).unwrap_err();
        assert_eq!(failure.code, codes::INVALID_REQUEST);
        assert!(failure.message.contains(expected), "{failure}");
    }
}

#[test]
fn what_cannot_be_sent_is_told_without_secrets() {
    let with = |name: &str, value: &str| {
        let mut event = event();
        event[name] = value.into();
        event
    };
    let hook = SlackTarget::Webhook {
        url: template("${{ event.json.secret }}"),
    };
    let token = SlackTarget::Method {
        api_url: None,
        token: template("${{ event.json.secret }}"),
        channel: template("C1"),
    };
    for (step, event, expected) in [
        (webhook(), with("text", ""), "text is empty"),
        (
            SlackStep {
                text: Some(template("${{ event.json.text }}${{ event.json.text }}")),
                ..webhook()
            },
            with("text", &"\"".repeat(400_000)),
            "too large to be recorded",
        ),
        (method(None), with("channel", ""), "channel is empty"),
        (
            method(None),
            with("secret", "s3cret\n"),
            "control characters",
        ),
        (step(token), with("secret", ""), "token is empty"),
        (
            step(hook.clone()),
            with("secret", "s3cret"),
            "its webhook's URL",
        ),
        (
            step(hook),
            with("secret", "ftp://s3cret/"),
            "its webhook's URL is not of http",
        ),
    ] {
        let failure = begun(&step, &event).unwrap_err();
        assert_eq!(failure.code, codes::INVALID_REQUEST);
        assert!(failure.message.contains(expected), "{failure}");
        assert!(!failure.message.contains("s3cret"), "{failure}");
    }
}

#[test]
fn answers_of_webhooks_are_understood() {
    let told = json!({"ok": true, "channel": null, "ts": null});
    for ok in ["ok", "ok\n", r#"{"ok":true}"#] {
        assert_eq!(webhook().conclude(answer(200, ok)).unwrap(), told);
    }
    let failed = webhook()
        .conclude(answer(403, "invalid_token"))
        .unwrap_err();
    assert_eq!(failed.failure.code, codes::HTTP_STATUS);
    assert_eq!(
        failed.failure.message,
        "the server answered 403: invalid_token"
    );
    assert!(!failed.retriable);
    for status in [429, 500, 503] {
        let failed = webhook().conclude(answer(status, "")).unwrap_err();
        assert!(failed.retriable, "{status}");
        let after = RetryAfter::Delay(Duration::from_secs(30));
        assert_eq!(failed.retry_after, Some(after));
    }
    // A portal that wants a login answers 200 too.
    for other in ["", "<html>log in</html>", "[]", "okay", r#"{"ok":"true"}"#] {
        let failed = webhook().conclude(answer(200, other)).unwrap_err();
        assert_eq!(failed.failure.code, codes::SLACK_ERROR, "{other}");
        assert!(!failed.retriable);
    }
}

#[test]
fn answers_of_methods_are_understood() {
    let told = json!({"ok": true, "channel": "C1", "ts": "1503435956.000247"});
    let ok = r#"{"ok":true,"channel":"C1","ts":"1503435956.000247","message":{"text":"hi"}}"#;
    assert_eq!(method(None).conclude(answer(200, ok)).unwrap(), told);
    // That is what webhooks say.
    assert!(method(None).conclude(answer(200, "ok")).is_err());
    for (name, may_pass) in [
        ("ratelimited", true),
        ("service_unavailable", true),
        ("internal_error", true),
        ("fatal_error", true),
        ("request_timeout", true),
        ("channel_not_found", false),
        ("invalid_auth", false),
        ("msg_too_long", false),
        ("no_such_error_yet", false),
    ] {
        let body = json!({"ok": false, "error": name}).to_string();
        let failed = method(None).conclude(answer(200, body)).unwrap_err();
        assert_eq!(failed.retriable, may_pass, "{name}");
        assert_eq!(
            failed.failure,
            Failure::new(codes::SLACK_ERROR, format!("Slack answered {name}"))
        );
        assert_eq!(failed.status, Some(200));
        assert_eq!(
            failed.retry_after,
            Some(RetryAfter::Delay(Duration::from_secs(30)))
        );
    }
    let body = json!({
        "ok": false, "error": "missing_scope", "needed": "chat:write", "provided": "chat:read",
        "response_metadata": {"messages": ["[ERROR] one", "[ERROR] two", 3]},
    });
    let failed = method(None)
        .conclude(answer(200, body.to_string()))
        .unwrap_err();
    assert_eq!(
        failed.failure.message,
        "Slack answered missing_scope (needed: chat:write): [ERROR] one; [ERROR] two"
    );
}

proptest! {
    #[test]
    fn any_answer_is_understood_and_quoted_in_bounds(
        status in 100_u16..600,
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..600),
            "\\{\"ok\":(true|false|1),\"error\":\"[a-z]{0,500}\",\"needed\":[0-9]\\}".prop_map(String::into_bytes),
        ],
    ) {
        for step in [webhook(), method(None)] {
            match step.conclude(answer(status, body.clone())) {
                Ok(output) => {
                    prop_assert_eq!(&output["ok"], true);
                    prop_assert!((200..300).contains(&status));
                }
                Err(failed) => prop_assert!(failed.failure.message.chars().count() < 700),
            }
        }
    }
}
