//! Steps that read secrets: what is sent holds them, what is recorded and shown does not.

use bytes::Bytes;
use signalbox_model::{
    secret::{HIDDEN, Masks, Secret, Secrets},
    workflow::{HttpAuth, HttpBody, HttpStep},
};

use super::*;
use crate::{EffectKind, HttpRequest, HttpResponse, Outcome, Shown};

const TOKEN: &str = "s3cret/\"token\"";

fn secrets(all: &[(&str, &str)]) -> Secrets {
    let secret =
        |(id, value): &(&str, &str)| (id.parse().unwrap(), Secret::new(value.as_bytes().to_vec()));
    all.iter().map(secret).collect()
}

/// An http step with one header, and a JSON body.
fn call(id: &str, url: &str, header: &str, body: Value) -> Step {
    let http = HttpStep {
        headers: [("x-value".to_owned(), Template::parse(header).unwrap())].into(),
        body: Some(HttpBody::Json(JsonTemplate::parse(&body).unwrap())),
        ..HttpStep::to(Template::parse(url).unwrap())
    };
    step(id, Action::Http(Box::new(http)))
}

fn simple(header: &str) -> Step {
    call(
        "call",
        "http://example.test/",
        header,
        json!({"n": "${{ event.json.n }}"}),
    )
}

fn begun(steps: Vec<Step>, all: &[(&str, &str)]) -> (Machine, Vec<Fact>, Decision) {
    let mut machine = machine(steps);
    machine.set_secrets(secrets(all), &Masks::default());
    let (facts, decision) = start(&mut machine);
    (machine, facts, decision)
}

fn input(facts: &[Fact]) -> Value {
    let input = facts.iter().find_map(|fact| match fact {
        Fact::StepStarted { input, .. } => Some(input.to_value()),
        _ => None,
    });
    input.unwrap()
}

fn request(kind: &EffectKind) -> &HttpRequest {
    match kind {
        EffectKind::Http(request) => request,
        other => panic!("{other:?}"),
    }
}

fn header(effect: &Effect) -> &str {
    &request(&effect.kind).headers[0].1
}

fn echo(status: u16, body: String) -> Outcome {
    Outcome::Http(HttpResponse {
        status,
        headers: vec![("x-echo".to_owned(), format!("<{TOKEN}>"))],
        body: Bytes::from(body),
    })
}

#[test]
fn a_step_is_sent_with_its_secrets_and_recorded_without() {
    // (url, header, body), what is sent and what is shown of each.
    let key = "https://h.test/${{ secrets.path }}?n=${{ event.json.n }}";
    for (url, header, body, sent, shown) in [
        (
            key,
            "v ${{ secrets.token }}",
            json!({"a": ["${{ secrets.token }}", "${{ event.json.n }}"]}),
            [
                "https://h.test/hooks/T0/B0?n=3".to_owned(),
                format!("v {TOKEN}"),
                json!({"a": [TOKEN, 3]}).to_string(),
            ],
            [
                "https://h.test/***?n=3".to_owned(),
                "v ***".to_owned(),
                json!({"a": ["***", 3]}).to_string(),
            ],
        ),
        // What is made of one is hidden as it is, though no search could find it.
        (
            "http://h.test/",
            "Basic ${{ base64.encode(bytes('user:' + secrets.token)) }} ${{ secrets.token.size() }}",
            json!({"half": "${{ secrets.token.substring(0, 4) }}"}),
            [
                "http://h.test/".to_owned(),
                "Basic dXNlcjpzM2NyZXQvInRva2VuIg== 14".to_owned(),
                json!({"half": "s3cr"}).to_string(),
            ],
            [
                "http://h.test/".to_owned(),
                "Basic *** ***".to_owned(),
                json!({"half": "***"}).to_string(),
            ],
        ),
        // A whole URL.
        (
            "${{ secrets.url }}",
            "",
            json!({}),
            [
                "https://hooks.test/services/T1".to_owned(),
                String::new(),
                "{}".to_owned(),
            ],
            ["https://***/".to_owned(), String::new(), "{}".to_owned()],
        ),
    ] {
        let all = [
            ("token", TOKEN),
            ("path", "hooks/T0/B0"),
            ("url", "https://hooks.test/services/T1"),
        ];
        let (_, facts, decision) = begun(vec![call("call", url, header, body)], &all);
        let effect = effect(decision);
        let of = |request: &HttpRequest| {
            let body = request.body.clone().unwrap_or_default();
            let body = String::from_utf8(body.to_vec()).unwrap();
            [request.url.to_string(), request.headers[0].1.clone(), body]
        };
        assert_eq!(of(request(&effect.kind)), sent);
        assert_eq!(of(request(effect.shown().unwrap())), shown);
        let recorded = input(&facts);
        assert_eq!(recorded["url"], shown[0]);
        assert_eq!(recorded["headers"]["x-value"], shown[1]);
        assert_eq!(recorded["body"], shown[2]);
        let debug = format!("{effect:?} {facts:?}");
        for (_, value) in all {
            assert!(!debug.contains(value), "{debug}");
        }
    }
}

#[test]
fn credentials_and_bytes_are_sent_and_hidden() {
    let secret = || Template::parse("${{ secrets.token }}").unwrap();
    let auth = [
        HttpAuth::Bearer(secret()),
        HttpAuth::Basic {
            username: Template::parse("ada").unwrap(),
            password: secret(),
        },
    ];
    for auth in auth {
        let http = HttpStep {
            auth: Some(auth),
            body: Some(HttpBody::Binary {
                base64: Template::parse("${{ base64.encode(bytes(secrets.token)) }}").unwrap(),
                content_type: None,
            }),
            ..HttpStep::to(Template::parse("http://h.test/x").unwrap())
        };
        let steps = vec![step("call", Action::Http(Box::new(http)))];
        let (_, facts, decision) = begun(steps, &[("token", "s3cret-value")]);
        let effect = effect(decision);
        let sent = request(&effect.kind);
        assert_eq!(sent.body.as_deref(), Some(&b"s3cret-value"[..]));
        let value = &sent.headers[0].1;
        let expected = ["Bearer s3cret-value", "Basic YWRhOnMzY3JldC12YWx1ZQ=="];
        assert!(expected.contains(&value.as_str()), "{value}");
        let recorded = input(&facts);
        assert_eq!(recorded["url"], "http://h.test/x");
        assert_eq!(recorded["headers"]["authorization"], HIDDEN);
        assert_eq!(recorded["bodyBase64"], HIDDEN);
    }
}

#[test]
fn an_answer_that_echoes_a_secret_is_recorded_without_it() {
    let after = transform("after", "steps.call.output.json.you_sent");
    let (mut machine, _, decision) = begun(
        vec![simple("${{ secrets.token }}"), after],
        &[("token", TOKEN)],
    );
    assert_eq!(header(&effect(decision)), TOKEN);
    let body = json!({"you_sent": TOKEN, "coded": "czNjcmV0LyJ0b2tlbiI=", "n": 3}).to_string();
    let first = end(&mut machine, "call", 1, echo(200, body), at(1));
    let (facts, _) = run(&mut machine, first, at(1));
    let Fact::StepFinished { output, .. } = &facts[0] else {
        panic!("{facts:?}");
    };
    let output = output.as_ref().unwrap().to_value();
    assert_eq!(output["headers"]["x-echo"], "<***>");
    assert_eq!(output["json"]["you_sent"], HIDDEN);
    assert_eq!(output["json"]["n"], 3);
    assert!(
        output["json"]["coded"]
            .as_str()
            .unwrap()
            .starts_with(HIDDEN)
    );
    assert_eq!(finished(&facts).1, Some(json!(HIDDEN)));
    assert!(!format!("{facts:?}").contains("s3cret"), "{facts:?}");
}

#[test]
fn an_answer_that_escapes_a_secret_is_recorded_without_it() {
    let value = "abcd+efgh/1234==";
    for body in [
        r#"{"you":"abcd\u002Befgh/1234\u003d\u003D"}"#,
        r#"{"you":"{\"said\":\"abcd\\u002Befgh\\/1234==\"}"}"#,
        r#"{"you":"abcd%2Befgh%2f1234%253D="}"#,
        r#"{"you":"<b>abcd&#43;efgh&sol;1234&#x3D;=</b>"}"#,
        r#"{"you":"dXNlcjphYmNkK2VmZ2gv\r\nMTIzND09"}"#,
    ] {
        let all = [("token", value)];
        let (mut machine, _, _) = begun(vec![simple("${{ secrets.token }}")], &all);
        let decision = end(&mut machine, "call", 1, echo(200, body.to_owned()), at(1));
        let (facts, _) = run(&mut machine, decision, at(1));
        let Fact::StepFinished { output, .. } = &facts[0] else {
            panic!("{facts:?}");
        };
        let output = output.as_ref().unwrap().to_value();
        let raw: Value = serde_json::from_str(output["body"].as_str().unwrap()).unwrap();
        assert_eq!(raw, output["json"]);
        assert!(raw["you"].as_str().unwrap().contains(HIDDEN), "{output}");
        let (mut machine, _, _) = begun(vec![simple("${{ secrets.token }}")], &all);
        let decision = end(&mut machine, "call", 1, echo(400, body.to_owned()), at(1));
        let (facts, _) = run(&mut machine, decision, at(1));
        let message = finished(&facts).2.unwrap().message;
        assert!(message.contains(HIDDEN), "{message}");
        assert!(
            !message.contains("efgh") && !message.contains("K2Vm"),
            "{message}"
        );
    }
}

#[test]
fn a_failure_that_quotes_an_answer_quotes_no_part_of_a_secret() {
    // The quotation is cut off in the middle of the value.
    for before in (150..200).step_by(3) {
        let steps = vec![retried(simple("${{ secrets.token }}"), 2)];
        let (mut machine, _, _) = begun(steps, &[("token", "s3cret-token-value")]);
        let refusal = format!("{}s3cret-token-value", "x".repeat(before));
        let first = end(&mut machine, "call", 1, echo(503, refusal.clone()), at(1));
        let (facts, _) = run(&mut machine, first, at(1));
        assert!(matches!(facts[0], Fact::AttemptFailed { .. }), "{facts:?}");
        assert!(!format!("{facts:?}").contains("s3c"), "{facts:?}");
        let decision = machine.decide(at(100));
        run(&mut machine, decision, at(100));
        let first = end(&mut machine, "call", 2, echo(400, refusal), at(101));
        let (facts, _) = run(&mut machine, first, at(101));
        let failure = finished(&facts).2.unwrap();
        assert_eq!(failure.code, codes::HTTP_STATUS);
        assert!(!format!("{facts:?}").contains("s3c"), "{facts:?}");
    }
}

#[test]
fn what_a_performer_says_is_searched_too() {
    let (mut machine, _, _) = begun(vec![simple("${{ secrets.token }}")], &[("token", TOKEN)]);
    let why = format!("no route to {TOKEN}.example.test");
    let outcome = Outcome::Failed(AttemptFailure::lasting(codes::CONNECTION, why));
    let first = end(&mut machine, "call", 1, outcome, at(1));
    let (facts, _) = run(&mut machine, first, at(1));
    let message = finished(&facts).2.unwrap().message;
    assert!(
        message.ends_with("no route to ***.example.test"),
        "{message}"
    );
}

#[test]
fn a_secret_that_is_missing_fails_its_step_before_an_attempt() {
    let steps = vec![simple("${{ secrets.token }}${{ secrets['other-one'] }}")];
    let (_, facts, decision) = begun(steps, &[("token", TOKEN)]);
    assert!(matches!(decision, Decision::Done(ExecutionState::Failed)));
    let failure = finished(&facts).2.unwrap();
    assert_eq!(failure.code, codes::SECRET_MISSING);
    assert!(failure.message.contains("\"other-one\""), "{failure}");
    let attempts = facts
        .iter()
        .any(|fact| matches!(fact, Fact::AttemptStarted { .. }));
    assert!(!attempts, "{facts:?}");
}

#[test]
fn a_value_that_makes_no_request_fails_the_step_without_being_told() {
    let line = [("token", "s3cret-token\n")];
    let (_, facts, _) = begun(vec![simple("${{ secrets.token }}")], &line);
    let failure = finished(&facts).2.unwrap();
    assert_eq!(failure.code, codes::INVALID_REQUEST);
    assert!(failure.message.contains("control characters"), "{failure}");
    let (_, facts, _) = begun(vec![simple("${{ int(secrets.token) }}")], &line);
    let failure = finished(&facts).2.unwrap();
    assert_eq!(failure.code, codes::EXPRESSION);
    assert!(!format!("{facts:?}").contains("s3cret"), "{facts:?}");
}

#[test]
fn each_attempt_reads_the_secrets_as_they_are_then() {
    let old = [("token", "old-s3cret-value")];
    let new = [("token", "new-s3cret-value")];
    let steps = || vec![retried(simple("${{ secrets.token }}"), 3)];
    let (mut machine, mut journal, decision) = begun(steps(), &old);
    let first = effect(decision);
    assert_eq!(header(&first), "old-s3cret-value");
    // Rotated while the attempt is under way: that goes on as it is.
    machine.set_secrets(secrets(&new), &Masks::default());
    assert_eq!(header(&effect(machine.decide(at(1)))), "old-s3cret-value");
    let body = "old-s3cret-value new-s3cret-value".to_owned();
    let decision = end(&mut machine, "call", 1, echo(503, body), at(1));
    let (facts, _) = run(&mut machine, decision, at(1));
    assert!(format!("{facts:?}").contains("*** ***"), "{facts:?}");
    journal.extend(facts);
    let decision = machine.decide(at(100));
    let (facts, decision) = run(&mut machine, decision, at(100));
    journal.extend(facts);
    let second = effect(decision);
    assert_eq!(header(&second), "new-s3cret-value");
    assert_eq!(second.idempotency_key, first.idempotency_key);
    // A crash, and another rotation: the same attempt, with what the secret is now.
    let mut machine = self::machine(steps());
    for fact in &journal {
        machine.replay(fact, at(100)).unwrap();
    }
    // What it was meanwhile is said too, for whoever answers with it.
    let mut former = Masks::default();
    former.add(&Secret::new(b"new-s3cret-value".to_vec()));
    machine.set_secrets(secrets(&[("token", "third-s3cret-value")]), &former);
    let decision = machine.decide(at(101));
    let (facts, decision) = run(&mut machine, decision, at(101));
    assert!(matches!(
        facts[0],
        Fact::AttemptStarted {
            number: 2,
            repeated: true,
            ..
        }
    ));
    let again = effect(decision);
    assert_eq!(header(&again), "third-s3cret-value");
    assert_eq!(again.idempotency_key, first.idempotency_key);
    let body = "new-s3cret-value third-s3cret-value".to_owned();
    let decision = end(&mut machine, "call", 2, echo(200, body), at(102));
    let (facts, _) = run(&mut machine, decision, at(102));
    let output = format!("{facts:?}");
    assert!(
        output.contains("*** ***") && !output.contains("new-s3cret"),
        "{output}"
    );
}

#[test]
fn what_cannot_be_shown_without_its_secrets_is_not_shown() {
    let ids = ["token".parse().unwrap()];
    let scope = Scope::new(&Value::Null, &Value::Null, &Value::Null);
    // Too long to be sent, but for its secret.
    let url = "http://h.test/${{ secrets.token.size() > 1 ? '' : '' }}";
    let step = call("call", url, "x", json!({}));
    let open = super::super::secrets::opened(&ids, &secrets(&[("token", TOKEN)]), &scope);
    let begun = super::super::secrets::begin(&step, &open.unwrap(), &scope, at(0));
    let (begun, shown) = begun.unwrap();
    assert!(matches!(begun, Begin::Attempt { .. }));
    assert!(matches!(shown, Shown::Instead(_)), "{shown:?}");
    let effect = Effect {
        step: "call".parse().unwrap(),
        attempt: 1,
        repeated: false,
        idempotency_key: "k".to_owned(),
        timeout: Duration::from_secs(1),
        kind: match begun {
            Begin::Attempt { effect, .. } => effect,
            _ => panic!("no attempt"),
        },
        shown: Shown::Nothing,
    };
    assert!(effect.shown().is_none());
    assert!(!format!("{effect:?}").contains("h.test"));
}
