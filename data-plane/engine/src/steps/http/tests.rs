#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use signalbox_model::{
    expression::{JsonTemplate, Template},
    workflow::{HttpAuth, HttpBody, SuccessStatus},
};

use super::{
    request::{HEADERS_MAX_BYTES, URL_MAX_BYTES},
    response::refused,
    *,
};
use crate::{
    codes,
    decision::{HttpResponse, RetryAfter},
};

fn step(headers: &[(&str, &str)], body: Option<HttpBody>) -> HttpStep {
    HttpStep {
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Template::parse(value).unwrap()))
            .collect(),
        body,
        ..HttpStep::to(template("http://example.test/${{ event.json.path }}"))
    }
}

fn template(text: &str) -> Template {
    Template::parse(text).unwrap()
}

fn begun(step: &HttpStep, event: &Value) -> Result<(HttpRequest, Value), Failure> {
    let scope = Scope::new(&json!({"json": event}), &Value::Null, &Value::Null);
    match step.begin(&scope, Timestamp::UNIX_EPOCH)? {
        Begin::Attempt {
            effect: EffectKind::Http(request),
            input,
        } => Ok((request, input)),
        _ => panic!("an http step needs an attempt"),
    }
}

fn begin(step: &HttpStep, event: &Value) -> Result<HttpRequest, Failure> {
    begun(step, event).map(|(request, _)| request)
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
fn a_query_is_added_to_what_the_url_has() {
    let step = HttpStep {
        query: [("q", "${{ event.json.q }}"), ("n", "${{ 1 + 1 }}")]
            .map(|(name, value)| (name.to_owned(), template(value)))
            .into_iter()
            .collect(),
        ..step(&[], None)
    };
    let request = begin(&step, &json!({"path": "find?a=b", "q": "x & y=ü#"})).unwrap();
    let url = request.url.as_str();
    let (q, n) = ("q=x+%26+y%3D%C3%BC%23", "n=2");
    let both = [format!("a=b&{q}&{n}"), format!("a=b&{n}&{q}")];
    assert!(
        both.iter().any(|query| request.url.query() == Some(query)),
        "{url}"
    );
}

#[test]
fn requests_are_bounded() {
    let long = "x".repeat(HEADERS_MAX_BYTES.max(URL_MAX_BYTES) + 1);
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
fn bytes_that_are_no_text_come_in_base64_and_only_they() {
    let step = step(&[], None);
    let output = step.conclude(answer(200, &b"\xff{}"[..])).unwrap();
    assert_eq!(output["body"], Value::Null);
    assert_eq!(output["bodyBase64"], "/3t9");
    assert_eq!(output["json"], Value::Null);
    let output = step.conclude(answer(200, "é{}")).unwrap();
    assert_eq!(output["body"], "é{}");
    assert_eq!(output.get("bodyBase64"), None);
    // The largest that is read can be recorded.
    let most = vec![0xff_u8; signalbox_model::limits::VALUE_MAX_BYTES];
    assert!(step.conclude(answer(200, most)).is_ok());
}

#[test]
fn outputs_are_bounded() {
    let step = step(&[], None);
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
fn retry_after_is_read_in_all_its_forms() {
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
    assert_eq!(asked("99999999999999999999999"), seconds(u64::MAX));
    // The examples of RFC 9110 §5.6.7, the obsolete ones too.
    let time = "1994-11-06T08:49:37Z".parse().unwrap();
    for date in [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
    ] {
        assert_eq!(asked(date), Some(RetryAfter::Time(time)), "{date:?}");
    }
    for nothing in ["", "soon", "-1", "1.5", "+5", "Sun, 06 Nov 1994"] {
        assert_eq!(asked(nothing), None, "{nothing:?}");
    }
}

#[test]
fn a_step_says_which_statuses_succeed() {
    let ranges = ["201", "404", "300-302"].map(|text| text.parse().unwrap());
    let step = HttpStep {
        success_status: SuccessStatus::new(ranges.into()),
        ..step(&[], None)
    };
    for status in [201, 404, 300, 302] {
        let output = step.conclude(answer(status, "")).unwrap();
        assert_eq!(output["status"], status);
    }
    for status in [200, 204, 303, 400, 500] {
        let failed = step.conclude(answer(status, "")).unwrap_err();
        assert_eq!(failed.failure.code, codes::HTTP_STATUS);
        assert_eq!(failed.status, Some(status));
    }
}

#[test]
fn forms_are_encoded_and_recorded_without_their_secrets() {
    let fields = [
        ("a b", "${{ event.json.path }}&="),
        ("tag", "1"),
        ("tag", "ü"),
        ("client_secret", "s3cret"),
    ];
    let fields = fields.map(|(name, value)| (name.to_owned(), template(value)));
    let form = HttpBody::Form(fields.into());
    let (request, input) = begun(&step(&[], Some(form)), &json!({"path": "p"})).unwrap();
    let sent = "a+b=p%26%3D&tag=1&tag=%C3%BC&client_secret=";
    assert_eq!(request.body.unwrap(), format!("{sent}s3cret"));
    assert_eq!(input["body"], format!("{sent}***"));
    let content_type = "application/x-www-form-urlencoded";
    assert_eq!(input["headers"]["content-type"], content_type);
}

#[test]
fn bytes_are_sent_as_they_are_and_recorded_in_base64() {
    let binary = |content_type: Option<&str>| HttpBody::Binary {
        base64: template("${{ event.json.bytes }}"),
        content_type: content_type.map(template),
    };
    let event = |bytes: &str| json!({"path": "", "bytes": bytes});
    let own = step(&[], Some(binary(Some("image/${{ 'png' }}"))));
    for encoded in ["/wAB", "/wAB\n"] {
        let (request, input) = begun(&own, &event(encoded)).unwrap();
        assert_eq!(request.body.unwrap(), &b"\xff\0\x01"[..]);
        assert_eq!(
            (&input["body"], &input["bodyBase64"]),
            (&Value::Null, &json!("/wAB"))
        );
        assert_eq!(input["headers"]["content-type"], "image/png");
        assert_eq!(input["method"], "POST");
    }
    let bare = step(&[], Some(binary(None)));
    // Padding may be left out.
    let (request, input) = begun(&bare, &event("/w")).unwrap();
    assert_eq!(request.body.unwrap(), &b"\xff"[..]);
    assert_eq!(input["headers"]["content-type"], "application/octet-stream");
    let failure = begin(&bare, &event("§")).unwrap_err();
    assert_eq!(failure.code, codes::INVALID_REQUEST);
    assert!(failure.message.contains("base64"), "{failure}");
    let two_lines = step(&[], Some(binary(Some("a/b${{ '\\n' }}X: y"))));
    let failure = begin(&two_lines, &event("")).unwrap_err();
    assert!(failure.message.contains("control characters"), "{failure}");
}

fn with_auth(auth: HttpAuth) -> HttpStep {
    HttpStep {
        auth: Some(auth),
        ..step(&[("x-a", "1")], None)
    }
}

fn basic(username: &str, password: &str) -> HttpStep {
    with_auth(HttpAuth::Basic {
        username: template(username),
        password: template(password),
    })
}

#[test]
fn credentials_are_sent_and_never_recorded() {
    let event = json!({"path": "", "secret": "s3cret"});
    let bearer = with_auth(HttpAuth::Bearer(template("${{ event.json.secret }}")));
    let header = with_auth(HttpAuth::Header {
        // No telling word is in the name.
        name: "X-Pass".to_owned(),
        value: template("${{ event.json.secret }}"),
    });
    for (step, name, value) in [
        // RFC 7617 §2 and §2.1.
        (
            basic("Aladdin", "open sesame"),
            "authorization",
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
        ),
        (
            basic("test", "123£"),
            "authorization",
            "Basic dGVzdDoxMjPCow==",
        ),
        (basic("user", "a:b"), "authorization", "Basic dXNlcjphOmI="),
        (basic("", "p"), "authorization", "Basic OnA="),
        (bearer, "authorization", "Bearer s3cret"),
        (header, "x-pass", "s3cret"),
    ] {
        let (request, input) = begun(&step, &event).unwrap();
        let sent = request.headers.iter().find(|(sent, _)| sent == name);
        assert_eq!(sent.unwrap().1, value);
        assert_eq!(input["headers"][name], "***");
        assert_eq!(input["headers"]["x-a"], "1");
        assert_eq!(request.exchange.auth_header.as_deref(), Some(name));
        assert!(!input.to_string().contains(value), "{input}");
        assert!(!format!("{request:?}").contains(value), "{request:?}");
    }
}

#[test]
fn credentials_that_are_none_are_told_without_being_shown() {
    let event = json!({"path": "", "user": "s3:cret", "lines": "s3cret\nX: y"});
    let header = |value: &str| HttpAuth::Header {
        name: "x-pass".to_owned(),
        value: template(value),
    };
    for (step, expected) in [
        (basic("${{ event.json.user }}", ""), "colon"),
        (
            with_auth(HttpAuth::Bearer(template("${{ '' }}"))),
            "token is empty",
        ),
        (
            with_auth(HttpAuth::Bearer(template("${{ event.json.lines }}"))),
            "control characters",
        ),
        (
            with_auth(header("${{ event.json.lines }}")),
            "control characters",
        ),
    ] {
        let failure = begin(&step, &event).unwrap_err();
        assert_eq!(failure.code, codes::INVALID_REQUEST);
        assert!(failure.message.contains(expected), "{failure}");
        assert!(!failure.message.contains("cret"), "{failure}");
    }
}

#[test]
fn proxies_are_recorded_without_their_credentials() {
    let by = |proxy: &str| HttpStep {
        proxy: Some(template(proxy)),
        ca_certificate: Some(template("${{ event.json.ca }}")),
        redirects: 3,
        response_max_bytes: 7,
        ..step(&[], None)
    };
    let event = json!({"path": "", "ca": "PEM", "password": "s3cret"});
    let proxy = "http://user:${{ event.json.password }}@proxy.test:3128/";
    let (request, input) = begun(&by(proxy), &event).unwrap();
    assert_eq!(input["proxy"], "http://proxy.test:3128/");
    let exchange = request.exchange;
    assert!(!format!("{exchange:?}").contains("s3cret"));
    assert_eq!(exchange.proxy.unwrap().password(), Some("s3cret"));
    assert_eq!(exchange.ca_certificate.as_deref(), Some("PEM"));
    assert_eq!(
        (exchange.redirects_max, exchange.response_max_bytes),
        (3, 7)
    );
    for wrong in ["${{ '' }}", "${{ 'socks5://p/' }}", "${{ 'p:3128' }}"] {
        let failure = begin(&by(wrong), &event).unwrap_err();
        assert!(
            failure.message.contains("its proxy's URL"),
            "{wrong}: {failure}"
        );
    }
}

fn any_auth() -> impl Strategy<Value = HttpAuth> {
    let value = || Just("${{ event.json.credential }}").prop_map(template);
    prop_oneof![
        (value(), value()).prop_map(|(username, password)| HttpAuth::Basic { username, password }),
        value().prop_map(HttpAuth::Bearer),
        ("y-[a-z]{1,8}", value()).prop_map(|(name, value)| HttpAuth::Header { name, value }),
    ]
}

proptest! {
    /// Whatever stands in an event, it makes a request that can be sent, or none; and credentials are in no record.
    #[test]
    fn any_event_makes_a_request_that_can_be_sent_or_none(
        auth in any_auth(),
        credential in "\\PC{12,20}|[a-z:\\n\\t é]{12,20}",
        value in ".{0,20}",
        url in "https?://[a-z]{1,4}\\.test/.{0,8}|.{0,12}",
        encoded in "[A-Za-z0-9+/=]{0,12}|.{0,6}",
        is_form in any::<bool>(),
    ) {
        let body = if is_form {
            HttpBody::Form(vec![("a".to_owned(), template("${{ event.json.value }}"))])
        } else {
            HttpBody::Binary { base64: template("${{ event.json.encoded }}"), content_type: Some(template("${{ event.json.value }}")) }
        };
        let step = HttpStep {
            auth: Some(auth),
            url: template("${{ event.json.url }}"),
            proxy: Some(template("http://u:${{ event.json.encoded }}@proxy.test")),
            ..step(&[("x-own", "${{ event.json.value }}")], Some(body))
        };
        let event = json!({"credential": credential, "value": value, "url": url, "encoded": encoded});
        match begun(&step, &event) {
            Err(failure) => {
                prop_assert_eq!(&failure.code, codes::INVALID_REQUEST);
                prop_assert!(!failure.message.contains(&credential));
            }
            Ok((request, input)) => {
                for (name, value) in &request.headers {
                    prop_assert!(value.chars().all(|c| !c.is_control() || c == '\t'), "{}: {:?}", name, value);
                }
                let header = request.exchange.auth_header.as_deref().unwrap();
                prop_assert_eq!(&input["headers"][header], "***");
                let elsewhere = value.contains(&credential) || url.contains(&credential);
                prop_assert!(elsewhere || !input.to_string().contains(&credential), "{}", input);
            }
        }
    }
}
