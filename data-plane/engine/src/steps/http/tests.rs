#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use signalbox_model::expression::{JsonTemplate, Template};

use super::*;

fn step(headers: &[(&str, &str)], body: Option<HttpBody>) -> HttpStep {
    HttpStep {
        method: None,
        url: Template::parse("http://example.test/${{ event.json.path }}").unwrap(),
        query: BTreeMap::new(),
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Template::parse(value).unwrap()))
            .collect(),
        body,
    }
}

fn begin(step: &HttpStep, event: &Value) -> Result<HttpRequest, Failure> {
    let scope = Scope::new(&json!({"json": event}), &Value::Null, &Value::Null);
    match step.begin(&scope, Timestamp::UNIX_EPOCH)? {
        Begin::Attempt {
            effect: EffectKind::Http(request),
            ..
        } => Ok(request),
        _ => panic!("an http step needs an attempt"),
    }
}

fn answer(status: u16, body: impl Into<Bytes>) -> Outcome {
    Outcome::Http(HttpResponse {
        status,
        headers: Vec::new(),
        body: body.into(),
    })
}

#[test]
fn a_value_cannot_end_its_header() {
    let step = step(&[("X-Name", "${{ event.json.name }}")], None);
    let request = begin(&step, &json!({"path": "", "name": " tab\tis fine é "})).unwrap();
    assert_eq!(
        request.headers,
        [("x-name".to_owned(), "tab\tis fine é".to_owned())]
    );
    let failure = begin(&step, &json!({"path": "", "name": "a\r\nX-Admin: 1"})).unwrap_err();
    assert_eq!(failure.code, codes::INVALID_REQUEST);
}

#[test]
fn requests_are_bounded() {
    let long = "x".repeat(HEADERS_MAX_BYTES + 1);
    let failure = begin(&step(&[], None), &json!({ "path": long })).unwrap_err();
    assert!(failure.message.contains("URL has"), "{failure}");
    let step = step(&[("x-a", "${{ event.json.a }}")], None);
    let failure = begin(&step, &json!({"path": "", "a": long})).unwrap_err();
    assert!(failure.message.contains("headers have"), "{failure}");
}

#[test]
fn a_body_has_its_type_unless_the_step_says_otherwise() {
    let json = || HttpBody::Json(JsonTemplate::parse(&json!(["${{ event.json.path }}"])).unwrap());
    let text = || HttpBody::Text(Template::parse("hi ${{ event.json.path }}").unwrap());
    let sent = |headers: &[(&str, &str)], body| {
        let request = begin(&step(headers, body), &json!({"path": "p"})).unwrap();
        let [(_, content_type)] = &request.headers[..] else {
            panic!("{:?}", request.headers)
        };
        (content_type.clone(), request.body.unwrap())
    };
    assert_eq!(
        sent(&[], Some(json())),
        ("application/json".to_owned(), Bytes::from("[\"p\"]"))
    );
    assert_eq!(
        sent(&[], Some(text())),
        ("text/plain; charset=utf-8".to_owned(), Bytes::from("hi p"))
    );
    assert_eq!(
        sent(&[("Content-Type", "text/x")], Some(text())).0,
        "text/x"
    );
    let bare = begin(&step(&[], None), &json!({"path": "p"})).unwrap();
    assert_eq!((bare.method.as_str(), bare.body), ("GET", None));
}

#[test]
fn statuses_fall_into_their_classes() {
    let step = step(&[], None);
    for status in [200, 204, 299] {
        assert!(step.conclude(answer(status, "")).is_ok(), "{status}");
    }
    for status in [408, 425, 429, 500, 502, 503, 504, 599] {
        assert!(
            step.conclude(answer(status, "")).unwrap_err().retriable,
            "{status}"
        );
    }
    for status in [199, 301, 304, 400, 401, 404, 409, 501 - 84] {
        assert!(
            !step.conclude(answer(status, "")).unwrap_err().retriable,
            "{status}"
        );
    }
}

#[test]
fn outputs_are_bounded_and_always_text() {
    let step = step(&[], None);
    let output = step.conclude(answer(200, &b"\xff{"[..])).unwrap();
    assert_eq!(output["body"], "\u{fffd}{");
    assert_eq!(output["json"], Value::Null);
    // Each control character takes six bytes of JSON.
    let failure = step
        .conclude(answer(200, vec![1_u8; RECORD_MAX_BYTES / 6]))
        .unwrap_err();
    assert_eq!(failure.failure.code, codes::RESPONSE_TOO_LARGE);
    assert!(!failure.retriable);
}

#[test]
fn errors_quote_one_bounded_line() {
    let step = step(&[], None);
    let body = format!("<html>\n{}\u{7}", "é ".repeat(100_000));
    let message = step
        .conclude(answer(400, body))
        .unwrap_err()
        .failure
        .message;
    assert!(message.starts_with("the server answered 400: <html> é é"));
    assert!(message.chars().count() < 300 && !message.contains('\n'));
}

#[test]
fn retry_after_is_read_in_both_forms() {
    let asked = |value: &str| {
        let response = HttpResponse {
            status: 429,
            headers: vec![("Retry-After".into(), value.into())],
            body: Bytes::new(),
        };
        refused(&response).retry_after
    };
    let seconds = |n| Some(RetryAfter::Delay(Duration::from_secs(n)));
    assert_eq!(asked("120"), seconds(120));
    assert_eq!(asked(" 0 "), seconds(0));
    let time = "1994-11-06T08:49:37Z".parse().unwrap();
    assert_eq!(
        asked("Sun, 06 Nov 1994 08:49:37 GMT"),
        Some(RetryAfter::Time(time))
    );
    for nothing in ["", "soon", "-1", "1.5", "99999999999999999999999"] {
        assert_eq!(asked(nothing), None, "{nothing:?}");
    }
}
