//! `http` steps against servers that ask for more than a request: credentials, certificates, proxies, redirects.

use super::{
    support::{
        Authority, Proxy, Reply, Target, World, attempts, code_of, finished, http_step, loopback,
        output_of,
    },
    *,
};
use crate::egress::{Egress, EgressPolicy};

/// A workflow of one `http` step with these fields, in YAML's flow style.
fn calling(url: &str, fields: &str) -> String {
    with_vars(url, fields, "{}")
}

fn with_vars(url: &str, fields: &str, vars: &str) -> String {
    format!(
        "trigger: {{manual: {{}}}}\nvars: {vars}\nsteps:\n  - id: call\n    http: {{url: \"{url}\", {fields}}}\n"
    )
}

/// Runs `definition` to its end: its facts, and everything that is recorded of it.
async fn run(world: &World, definition: &str) -> (Vec<Fact>, String) {
    let execution = world.accept(definition, "one", "{}").await;
    let facts = world.finished(&execution).await;
    let records = format!("{:?}", world.records(&execution).await);
    (facts, records)
}

#[track_caller]
fn error_of(facts: &[Fact]) -> String {
    finished(facts).1.unwrap().to_string()
}

async fn running() -> World {
    let mut world = World::start().await;
    world.run();
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_reach_the_server_and_no_record() {
    let target = Target::start(|_| Reply::text(200, "in")).await;
    let world = running().await;
    let url = format!("http://{}/", target.addr);
    for (auth, header, value) in [
        (
            "basic: {username: ada, password: s3cret}",
            "authorization",
            "Basic YWRhOnMzY3JldA==",
        ),
        (
            "bearer: {token: '${{ vars.token }}'}",
            "authorization",
            "Bearer s3cret",
        ),
        ("header: {name: X-Door, value: s3cret}", "x-door", "s3cret"),
    ] {
        let vars = "{token: s3cret}";
        let definition = with_vars(&url, &format!("auth: {{{auth}}}"), vars);
        let (facts, records) = run(&world, &definition).await;
        assert_eq!(output_of(&facts)["body"], "in");
        assert_eq!(target.calls().last().unwrap().header(header), value);
        assert!(
            !records.contains("s3cret") && !records.contains("YWRhOnMz"),
            "{records}"
        );
        assert!(records.contains("***"), "{records}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_all_kinds_arrive_by_all_methods() {
    let target = Target::start(|call| match call.method.as_str() {
        "HEAD" => Reply::text(200, ""),
        _ => Reply::Whole(200, Vec::new(), call.bytes.clone()),
    })
    .await;
    let world = running().await;
    let url = format!("http://{}/", target.addr);
    let (facts, _) = run(&world, &calling(&url, "form: {q: 'a b&c', n: [1, 2]}")).await;
    // The server echoes it.
    assert_eq!(output_of(&facts)["body"], "n=1&n=2&q=a+b%26c");
    let sent = target.calls()[0].header("content-type").to_owned();
    assert_eq!(sent, "application/x-www-form-urlencoded");
    let binary = "method: PUT, binary: {base64: /wAB, contentType: image/x-test}";
    let (facts, _) = run(&world, &calling(&url, binary)).await;
    let call = target.calls()[1].clone();
    assert_eq!(
        (&call.bytes[..], call.header("content-type")),
        (&b"\xff\0\x01"[..], "image/x-test")
    );
    // Bytes come back as bytes.
    let output = output_of(&facts);
    assert_eq!(
        (&output["body"], &output["bodyBase64"]),
        (&json!(null), &json!("/wAB"))
    );
    for method in signalbox_model::workflow::HttpMethod::ALL {
        let (facts, _) = run(&world, &calling(&url, &format!("method: {method}"))).await;
        assert_eq!(output_of(&facts)["status"], 200, "{method}");
        assert_eq!(target.calls().last().unwrap().method, method.as_str());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_step_says_what_succeeds_and_how_much_it_takes() {
    let target = Target::start(|call| match call.path.as_str() {
        "/missing" => Reply::text(404, &"x".repeat(20_000)),
        "/later" => Reply::text(202, "later"),
        _ => Reply::text(200, "0123456789"),
    })
    .await;
    let world = running().await;
    let url = |path: &str| format!("http://{}{path}", target.addr);
    // The whole body of what succeeds is there, whatever its status.
    let (facts, _) = run(
        &world,
        &calling(&url("/missing"), "successStatus: [2xx, 404]"),
    )
    .await;
    assert_eq!(output_of(&facts)["body"].as_str().unwrap().len(), 20_000);
    let retry = "    retry: {maxAttempts: 3, initialBackoff: 0.01s, retryOn: [202]}\n";
    let definition = calling(&url("/later"), "successStatus: ['200']");
    let (facts, _) = run(&world, &format!("{definition}{retry}")).await;
    assert_eq!(
        error_of(&facts),
        "HTTP_STATUS: step \"call\": the server answered 202: later"
    );
    assert_eq!(attempts(&facts).len(), 3);
    let (facts, _) = run(&world, &calling(&url("/"), "maxResponseBytes: 10")).await;
    assert_eq!(output_of(&facts)["body"], "0123456789");
    let (facts, _) = run(&world, &calling(&url("/"), "maxResponseBytes: 9")).await;
    assert_eq!(
        error_of(&facts),
        "RESPONSE_TOO_LARGE: step \"call\": the response has more than 9 bytes"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_any_length_is_quoted() {
    let page = format!("the database is away {}", "x".repeat(20_000));
    let target = Target::start(move |_| Reply::text(500, &page)).await;
    let world = running().await;
    let url = format!("http://{}/", target.addr);
    let (facts, _) = run(&world, &calling(&url, "method: GET")).await;
    let error = error_of(&facts);
    let quoted = "HTTP_STATUS: step \"call\": the server answered 500: the database is away xxx";
    assert!(error.starts_with(quoted), "{error}");
    assert!(error.len() < 400, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_an_own_authority_are_trusted_only_where_it_is_named() {
    let (own, other) = (Authority::new(), Authority::new());
    let target = Target::serve("127.0.0.1", Some(own.acceptor()), |_| {
        Reply::text(200, "safe")
    })
    .await;
    let world = running().await;
    let vars = json!({"own": own.pem(), "other": other.pem(), "both": other.pem() + &own.pem(), "bad": "x"});
    let vars = vars.to_string();
    let port = target.addr.port();
    for host in ["localhost", "127.0.0.1"] {
        let url = format!("https://{host}:{port}/");
        for trusted in ["own", "both"] {
            let ca = format!("caCertificate: '${{{{ vars.{trusted} }}}}'");
            let (facts, _) = run(&world, &with_vars(&url, &ca, &vars)).await;
            assert_eq!(output_of(&facts)["body"], "safe", "{host} {trusted}");
        }
        let other = "caCertificate: '${{ vars.other }}'";
        for untrusted in ["", other] {
            let (facts, _) = run(&world, &with_vars(&url, untrusted, &vars)).await;
            let error = error_of(&facts);
            assert!(
                error.starts_with("CONNECTION: ") && error.contains("certificate"),
                "{error}"
            );
        }
    }
    let url = format!("https://localhost:{port}/");
    let bad = "caCertificate: '${{ vars.bad }}'";
    let (facts, _) = run(&world, &with_vars(&url, bad, &vars)).await;
    let error = error_of(&facts);
    assert!(
        error.starts_with("INVALID_REQUEST: ") && error.contains("PEM"),
        "{error}"
    );
    assert_eq!(target.calls().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_resolves_names_and_tunnels_what_is_encrypted() {
    let authority = Authority::new();
    let plain = Target::start(|_| Reply::text(200, "plain")).await;
    let acceptor = authority.acceptor();
    let safe = Target::serve("127.0.0.1", Some(acceptor), |_| Reply::text(200, "safe")).await;
    // Only it knows where this is.
    let names = [("inside.test", plain.addr), ("localhost", safe.addr)];
    let credentials = "Basic YWRhOnMzY3JldA==";
    let proxy = Proxy::start(names, Some(credentials), None).await;
    let world = running().await;
    let by = |user: &str| format!("proxy: 'http://{user}{}'", proxy.addr);

    let url = "http://inside.test/a?b=c";
    let (facts, records) = run(&world, &calling(url, &by("ada:s3cret@"))).await;
    assert_eq!(output_of(&facts)["body"], "plain");
    assert!(!plain.calls()[0].has("proxy-authorization"));
    let (asked, sent) = proxy.asked()[0].clone();
    assert_eq!(
        (asked.as_str(), sent.as_deref()),
        ("GET http://inside.test/a?b=c", Some(credentials))
    );
    // The record names the proxy, but not its credentials. (The definition is the author's.)
    assert!(
        records.contains(&format!("http://{}/", proxy.addr)),
        "{records}"
    );
    assert!(!records.contains("s3cret"), "{records}");

    let vars = json!({"ca": authority.pem()}).to_string();
    let trusting = format!("caCertificate: '${{{{ vars.ca }}}}', {}", by("ada:s3cret@"));
    let (facts, _) = run(&world, &with_vars("https://localhost/", &trusting, &vars)).await;
    assert_eq!(output_of(&facts)["body"], "safe");
    let (asked, sent) = proxy.asked()[1].clone();
    assert_eq!(
        (asked.as_str(), sent.as_deref()),
        ("CONNECT localhost:443", Some(credentials))
    );

    let (facts, _) = run(&world, &calling(url, &by(""))).await;
    assert_eq!(
        error_of(&facts),
        "HTTP_STATUS: step \"call\": the server answered 407"
    );
    let (facts, _) = run(&world, &calling("https://localhost/", &by(""))).await;
    let error = error_of(&facts);
    assert!(
        error.starts_with("CONNECTION: ") && error.contains("proxy authorization"),
        "{error}"
    );
    // Without a proxy, the name leads nowhere.
    let (facts, _) = run(&world, &calling(url, "")).await;
    assert_eq!(code_of(&facts), "CONNECTION");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_may_speak_tls_itself() {
    let authority = Authority::new();
    let target = Target::start(|_| Reply::text(200, "plain")).await;
    let names = [("inside.test", target.addr)];
    let proxy = Proxy::start(names, None, Some(authority.acceptor())).await;
    let world = running().await;
    let vars = json!({"ca": authority.pem()}).to_string();
    let by = format!("proxy: 'https://localhost:{}'", proxy.addr.port());
    let trusting = format!("caCertificate: '${{{{ vars.ca }}}}', {by}");
    let url = "http://inside.test/";
    let (facts, _) = run(&world, &with_vars(url, &trusting, &vars)).await;
    assert_eq!(output_of(&facts)["body"], "plain");
    let (facts, _) = run(&world, &calling(url, &by)).await;
    assert_eq!(code_of(&facts), "CONNECTION");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_holds_for_proxies_and_for_addresses_behind_them() {
    let proxy = Proxy::start([], None, None).await;
    let world = running().await;
    for (url, by) in [
        ("http://public.test/", "http://10.0.0.1:3128"),
        ("http://public.test/", "http://[::ffff:10.0.0.1]:3128"),
        ("https://public.test/", "https://169.254.169.254"),
        ("http://169.254.169.254/", &format!("http://{}", proxy.addr)),
    ] {
        let (facts, _) = run(&world, &calling(url, &format!("proxy: '{by}'"))).await;
        assert_eq!(code_of(&facts), "EGRESS_BLOCKED", "{url} by {by}");
    }
    assert_eq!(proxy.asked(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_a_proxy_is_resolved_under_the_policy() {
    let proxy = Proxy::start([], None, None).await;
    let mut world = World::start().await;
    let policy = EgressPolicy {
        allow: vec!["127.0.0.0/8".parse().unwrap()],
        deny: vec!["127.0.0.1/32".parse().unwrap(), "::1/128".parse().unwrap()],
    };
    world.performer = Some(Arc::new(HttpPerformer::new(Egress::new(policy).unwrap())));
    world.run();
    let by = format!("proxy: 'http://localhost:{}'", proxy.addr.port());
    let (facts, _) = run(&world, &calling("http://public.test/", &by)).await;
    assert_eq!(code_of(&facts), "EGRESS_BLOCKED");
    assert_eq!(proxy.asked(), []);
}

/// Headers of a step, one of each kind.
const HEADERS: &str =
    "headers: {Accept: text/x, X-Own: own, Cookie: s3cret}, auth: {bearer: {token: s3cret}}";

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_followed_when_asked_for_and_secrets_stay_behind() {
    let other = Target::serve("127.0.0.2", None, |call| match call.path.as_str() {
        "/there" => Reply::text(200, "there"),
        other => panic!("{other}"),
    })
    .await;
    let there = format!("http://{}/there", other.addr);
    let target = Target::start(move |call| match call.path.as_str() {
        "/a" => Reply::redirect(302, "/b?x=1"),
        "/b" => Reply::redirect(307, "c#part"),
        "/c" => Reply::text(200, "here"),
        "/away" => Reply::redirect(302, &there),
        "/away-with-body" => Reply::redirect(307, &there),
        "/loop" => Reply::redirect(301, "/loop"),
        other => panic!("{other}"),
    })
    .await;
    let world = running().await;
    let url = |path: &str| format!("http://{}{path}", target.addr);

    let (facts, _) = run(&world, &calling(&url("/a"), "")).await;
    assert_eq!(
        error_of(&facts),
        "HTTP_STATUS: step \"call\": the server answered 302"
    );

    let post = format!("redirects: 2, json: {{a: 1}}, {HEADERS}");
    let (facts, _) = run(&world, &calling(&url("/a"), &post)).await;
    assert_eq!(output_of(&facts)["body"], "here");
    let calls = target.calls();
    let [_, a, b, c] = &calls[..] else {
        panic!("{calls:?}")
    };
    assert_eq!((a.method.as_str(), a.body.as_str()), ("POST", r#"{"a":1}"#));
    for next in [b, c] {
        assert_eq!((next.method.as_str(), next.body.as_str()), ("GET", ""));
        assert!(!next.has("content-type"));
        assert_eq!(next.header("authorization"), "Bearer s3cret");
        assert_eq!(next.header("idempotency-key"), a.header("idempotency-key"));
    }

    let away = format!("redirects: 1, {HEADERS}");
    let (facts, _) = run(&world, &calling(&url("/away"), &away)).await;
    assert_eq!(output_of(&facts)["body"], "there");
    let arrived = other.calls()[0].clone();
    assert_eq!(arrived.header("accept"), "text/x");
    for kept in ["authorization", "cookie", "x-own"] {
        assert!(!arrived.has(kept), "{arrived:?}");
    }
    assert!(arrived.has("idempotency-key"));

    for (path, fields, expected) in [
        ("/loop", "redirects: 3", "there were 3 already"),
        (
            "/away-with-body",
            "redirects: 3, text: s3cret",
            "which the body is not sent to",
        ),
    ] {
        let (facts, _) = run(&world, &calling(&url(path), fields)).await;
        let error = error_of(&facts);
        assert!(
            error.starts_with("HTTP_STATUS: ") && error.contains(expected),
            "{error}"
        );
    }
    assert_eq!(other.calls().len(), 1);
    // What succeeds is an answer, wherever it points.
    let (facts, _) = run(
        &world,
        &calling(&url("/a"), "redirects: 3, successStatus: [302]"),
    )
    .await;
    assert_eq!(output_of(&facts)["headers"]["location"], "/b?x=1");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_hop_is_under_the_policy_and_within_the_timeout() {
    let target = Target::start(|call| match call.path.as_str() {
        "/metadata" => Reply::redirect(302, "http://169.254.169.254/latest/meta-data"),
        "/hidden" => Reply::redirect(302, "http://[::ffff:169.254.169.254]/latest"),
        "/slow" => Reply::redirect(302, "/never"),
        _ => Reply::Never,
    })
    .await;
    let world = running().await;
    for (path, code) in [
        ("/metadata", "EGRESS_BLOCKED"),
        ("/hidden", "EGRESS_BLOCKED"),
        ("/slow", "TIMEOUT"),
    ] {
        let url = format!("http://{}{path}", target.addr);
        let definition = format!("{}    timeout: 0.3s\n", calling(&url, "redirects: 5"));
        let (facts, _) = run(&world, &definition).await;
        assert_eq!(code_of(&facts), code, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn encrypted_answers_lead_to_no_open_ones() {
    let authority = Authority::new();
    let open = Target::start(|_| Reply::text(200, "open")).await;
    let to = format!("http://{}/", open.addr);
    let safe = Target::serve("127.0.0.1", Some(authority.acceptor()), move |_| {
        Reply::redirect(302, &to)
    })
    .await;
    let world = running().await;
    let vars = json!({"ca": authority.pem()}).to_string();
    let url = format!("https://{}/", safe.addr);
    let fields = "redirects: 5, caCertificate: '${{ vars.ca }}'";
    let (facts, _) = run(&world, &with_vars(&url, fields, &vars)).await;
    let error = error_of(&facts);
    assert!(error.contains("it leads from https to http"), "{error}");
    assert!(open.calls().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_denies_is_reached_by_nobody() {
    let target = Target::start(|_| Reply::text(200, "open")).await;
    let mut world = World::start().await;
    let policy = EgressPolicy {
        allow: vec!["127.0.0.0/8".parse().unwrap()],
        deny: vec!["127.0.0.1/32".parse().unwrap(), "::1/128".parse().unwrap()],
    };
    world.performer = Some(Arc::new(HttpPerformer::new(Egress::new(policy).unwrap())));
    world.run();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
        let url = format!("http://{host}:{}/", target.addr.port());
        let (facts, _) = run(&world, &http_step(&url, "")).await;
        let error = error_of(&facts);
        assert!(
            error.starts_with("EGRESS_BLOCKED: ") && error.contains("--egress-deny"),
            "{error}"
        );
    }
    assert!(target.calls().is_empty());
    let allowed = Arc::new(HttpPerformer::new(loopback()));
    world.stop().await;
    world.performer = Some(allowed);
    world.run();
    let url = format!("http://{}/", target.addr);
    let execution = world.accept(&http_step(&url, ""), "two", "{}").await;
    assert_eq!(output_of(&world.finished(&execution).await)["body"], "open");
}

#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

// One thread, so that everything but the spool's writer logs into this test's subscriber.
#[tokio::test(flavor = "current_thread")]
async fn no_credential_is_in_a_log_or_a_trace() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
        .with_writer(move || writer.clone())
        .finish();
    let _logged = tracing::subscriber::set_default(subscriber);
    let target = Target::start(|call| match call.path.as_str() {
        "/moved" => Reply::redirect(307, "/services/s3cret"),
        "/services/s3cret" => Reply::text(200, "ok"),
        other => panic!("{other}"),
    })
    .await;
    let proxy = Proxy::start([("inside.test", target.addr)], None, None).await;
    let world = running().await;
    let http = format!(
        "redirects: 1, auth: {{basic: {{username: ada, password: s3cret}}}}, query: {{token: s3cret}}, form: {{password: s3cret}}, proxy: 'http://u:s3cret@{}'",
        proxy.addr
    );
    let (facts, _) = run(&world, &calling("http://inside.test/moved", &http)).await;
    assert_eq!(output_of(&facts)["body"], "ok");
    let hook = format!(
        "trigger: {{manual: {{}}}}\nsteps:\n  - id: post\n    slack: {{webhookUrl: 'http://{}/services/s3cret', text: hi}}\n",
        target.addr
    );
    let (facts, _) = run(&world, &hook).await;
    assert_eq!(output_of(&facts)["ok"], true);
    assert_eq!(target.calls().len(), 3);
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("url.full"), "{log}");
    // Base64 of what begins with "ada:s3cr" and "u:s3cret".
    for secret in ["s3cret", "YWRhOnMzY3", "dTpzM2NyZX"] {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None);
    }
}
