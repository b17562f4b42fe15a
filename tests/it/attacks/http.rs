//! HTTP/1.1 as nobody should speak it.

use super::support::{Answer, Case, Post, Stage, TOPIC, Wire, Workflow, exchange, stage::path};

/// Makes posts of good messages that are then spoilt below the message.
struct Maker<'a> {
    stage: &'a Stage,
    cases: Vec<Case>,
}

impl Maker<'_> {
    fn good(&self) -> Post {
        let id = format!("http-{}", self.cases.len());
        self.stage.post(&self.stage.signing.notification(&id))
    }

    fn add(
        &mut self,
        name: &str,
        (status, reason): (u16, &'static str),
        change: impl Fn(Post) -> Post,
    ) {
        let post = change(self.good());
        self.cases.push(Case::new(name, post, status, reason));
    }
}

const TAKEN: (u16, &str) = (200, "");
/// Refused by the HTTP library, before there is a request.
const NO_REQUEST: (u16, &str) = (400, "");

fn bodies(maker: &mut Maker<'_>) {
    let no_object = (400, "body-not-json-object");
    maker.add("no body", no_object, |post| post.body(""));
    maker.add("no body, no length", no_object, |post| {
        post.body("").header("x-unframed", "1")
    });
    maker.add("the length is short", (400, "body-not-json"), |mut post| {
        post.announced = Some(100);
        post
    });
    maker.add("the length is huge", (413, "body-too-large"), |mut post| {
        post.announced = Some(1 << 60);
        post
    });
    for length in [
        "-1",
        "+5",
        "0x10",
        "1e3",
        "5 5",
        "5, 6",
        "abc",
        "",
        "99999999999999999999999",
    ] {
        maker.add(&format!("length {length:?}"), NO_REQUEST, |post| {
            post.header("content-length", length)
        });
    }
    maker.add("two lengths", NO_REQUEST, |post| {
        post.header("content-length", "5")
            .header("content-length", "6")
    });
    // A bomb is not lit: nothing is inflated.
    let bomb = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..], &[0; 1000]].concat();
    let encoded = (415, "content-encoding-unsupported");
    for encoding in [
        "gzip",
        "GZIP",
        "deflate",
        "br",
        "zstd",
        "gzip, gzip",
        "identity, gzip",
        "",
    ] {
        maker.add(&format!("encoding {encoding:?}"), encoded, |post| {
            post.body(bomb.clone()).header("content-encoding", encoding)
        });
    }
    maker.add("encoding identity", TAKEN, |post| {
        post.header("content-encoding", "identity")
    });
    for kind in [
        "application/xml",
        "multipart/form-data",
        "image/png",
        "application/gzip",
    ] {
        maker.add(kind, (415, "content-type-unsupported"), |mut post| {
            post.headers.retain(|(name, _)| name != "content-type");
            post.header("content-type", kind)
        });
    }
}

fn chunk(body: &[u8], extension: &str) -> Vec<u8> {
    let head = format!("{:x}{extension}\r\n", body.len());
    [head.as_bytes(), body, b"\r\n0\r\n\r\n"].concat()
}

fn chunks(maker: &mut Maker<'_>) {
    let chunked = |post: Post, extension: &str| {
        let body = chunk(&post.body, extension);
        post.body(body).header("transfer-encoding", "chunked")
    };
    maker.add("chunked", TAKEN, |post| chunked(post, ""));
    maker.add("an extension", TAKEN, |post| chunked(post, ";a=b;c=\"d\""));
    let broken = (503, "body-broken");
    let long = format!(";x={}", "x".repeat(1 << 20));
    maker.add("an extension of a megabyte", broken, |post| {
        chunked(post, &long)
    });
    maker.add("a size beyond all", broken, |post| {
        post.body("ffffffffffffffffff\r\nx\r\n0\r\n\r\n")
            .header("transfer-encoding", "chunked")
    });
    maker.add("a size that is none", broken, |post| {
        post.body("-5\r\nhello\r\n0\r\n\r\n")
            .header("transfer-encoding", "chunked")
    });
    maker.add("a size that lies", broken, |post| {
        post.body("2\r\nhello\r\n0\r\n\r\n")
            .header("transfer-encoding", "chunked")
    });
    for coding in [
        "gzip",
        "identity",
        "chunked, identity",
        "xchunked",
        "chunked;q=1",
    ] {
        maker.add(&format!("coding {coding:?}"), NO_REQUEST, |post| {
            chunked(post, "").header("transfer-encoding", coding)
        });
    }
}

fn heads(maker: &mut Maker<'_>) {
    let too_large = (431, "");
    maker.add("a header of a megabyte", too_large, |post| {
        post.header("x-long", &"x".repeat(1 << 20))
    });
    maker.add("a name of a megabyte", too_large, |post| {
        post.header(&"x".repeat(1 << 20), "1")
    });
    maker.add("a thousand headers", too_large, |post| {
        (0..1000).fold(post, |post, n| post.header(&format!("x-{n}"), "1"))
    });
    for (name, value) in [
        ("no colon\r\nx", "1"),
        ("x-blank ", "1"),
        (" x-folded", "1"),
        ("x-nul", "a\0b"),
        ("x-cr", "a\rb"),
        ("", "1"),
    ] {
        maker.add(&format!("header {name:?}: {value:?}"), NO_REQUEST, |post| {
            post.header(name, value)
        });
    }
    let target = maker.stage.target();
    for line in [
        format!("{target} HTTP/9.9"),
        format!("{target} HTTP/0.9"),
        format!("{target} x"),
        "not\u{1}a\u{2}path".to_owned(),
    ] {
        maker.add(
            &format!("line {:?}", &line[line.len() - 8..]),
            NO_REQUEST,
            |post| post.target(&line),
        );
    }
}

fn targets(maker: &mut Maker<'_>) {
    let target = maker.stage.target();
    for origin in [
        "http://169.254.169.254",
        "https://sns.us-east-1.amazonaws.com:1",
    ] {
        maker.add("an absolute target is ours", TAKEN, |post| {
            post.target(&format!("{origin}{target}"))
        });
    }
    let unknown = (404, "path-unknown");
    let metadata = "http://169.254.169.254/latest/meta-data/";
    let elsewhere = format!("http://{}/", maker.stage.elsewhere.addr);
    let query = target.split_once('?').unwrap().1.to_owned();
    let base = path(Workflow::NAME);
    let traversals = [
        "/v1/projects/default/workflows/other/../orders/sns",
        "/v1/projects/default/workflows/%2e%2e/orders/sns",
        "/v1/projects/default/workflows/..%2forders/sns",
        "/v1/projects/default/workflows/orders/..;/orders/sns",
        "/v1/projects/default/workflows/%6frders/sns",
        "/v1/projects/default/workflows/orders/sns/",
        "/v1/projects/default/workflows/orders/sns/../sns",
        "/v1/projects/default/workflows/orders%00/sns",
        "/v1/projects/default/workflows/ORDERS/sns",
        "/v1/projects/default//workflows/orders/sns",
        "/V1/projects/default/workflows/orders/sns",
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/metrics",
        "/healthz",
        "/",
    ];
    for target in [metadata, &elsewhere].into_iter().chain(traversals) {
        maker.add(target, unknown, |post| {
            post.target(&format!("{target}?{query}"))
        });
    }
    maker.add("another kind", (404, "trigger-other"), |post| {
        post.target(&target.replace("/sns?", "/webhook?"))
    });
    let method = (405, "method-not-allowed");
    for name in [
        "GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "post",
    ] {
        maker.add(name, method, |mut post| {
            name.clone_into(&mut post.method);
            post.header("x-http-method-override", "POST")
                .header("x-method-override", "POST")
        });
    }
    maker.add("POST that would be DELETE", TAKEN, |post| {
        post.header("x-http-method-override", "DELETE")
    });
    maker.add("_method", method, |mut post| {
        "GET".clone_into(&mut post.method);
        post.target(&format!("{base}?{query}&_method=POST"))
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_are_answered_and_run_nothing() {
    let stage = Stage::start().await;
    let flow = stage.flow().await;
    let mut maker = Maker {
        stage: &stage,
        cases: Vec::new(),
    };
    bodies(&mut maker);
    chunks(&mut maker);
    heads(&mut maker);
    targets(&mut maker);
    let cases = maker.cases;
    let answers = stage.judge(&cases, flow).await;
    for (case, answer) in cases.iter().zip(&answers) {
        let allow = (case.status == 405).then_some("POST");
        assert_eq!(answer.header("allow"), allow, "{}", case.name);
        let problem = answer.header("content-type") == Some("application/problem+json");
        assert_eq!(problem, !case.reason.is_empty(), "{}", case.name);
    }
}

async fn only_answer(wire: &mut Wire) -> Answer {
    let answer = wire.answer().await.expect("an answer");
    let more = wire.rest().await;
    assert!(more.is_empty(), "{}", String::from_utf8_lossy(&more));
    answer
}

/// Both framings in one request: what follows must not be read as a second request that a proxy in front did not see.
async fn smuggle(stage: &Stage) {
    let hidden = |name: &str| stage.post(&stage.signing.notification(name)).bytes();
    let letter = stage.signing.notification("smuggler");
    for framing in [
        ["content-length: 4", "transfer-encoding: chunked"],
        ["transfer-encoding: chunked", "content-length: 4"],
    ] {
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: webhooks\r\n{}\r\n{}\r\n\r\n",
            stage.target(),
            framing[0],
            framing[1]
        );
        let body = chunk(letter.body().as_bytes(), "");
        let mut wire = Wire::open(stage.addr()).await;
        wire.send([head.as_bytes(), &body, &hidden("smuggled")].concat())
            .await;
        let answer = only_answer(&mut wire).await;
        stage.know(&answer);
        assert!([200, 400].contains(&answer.status), "{answer:?}");
    }
    // The same in the other direction: a body that ends early, then a request in what a proxy took for the body.
    let post = stage.post(&letter).header("transfer-encoding", "chunked");
    let hidden = [b"0\r\n\r\n".as_slice(), &hidden("smuggled")].concat();
    let length = hidden.len().to_string();
    let post = post.body(hidden).header("content-length", &length);
    let mut wire = Wire::open(stage.addr()).await;
    wire.send(post.bytes()).await;
    assert_eq!(only_answer(&mut wire).await.status, 400);
}

async fn announce_and_leave(stage: &Stage) {
    let mut post = stage.post(&stage.signing.notification("half"));
    post.announced = Some(post.body.len() + 100);
    let mut wire = Wire::open(stage.addr()).await;
    wire.send(post.bytes()).await;
    wire.finish().await;
    if let Some(answer) = wire.answer().await {
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (503, "body-broken")
        );
    }
    // Gone before the answer: what it asked for may have been done, once.
    let post = stage.post(&stage.signing.notification("vanished"));
    for _ in 0..50 {
        let mut wire = Wire::open(stage.addr()).await;
        wire.send(post.bytes()).await;
    }
    let (status, _, _) = stage.settled(&post).await;
    assert_eq!(status, 200);
    let answer = exchange(stage.addr(), post.bytes()).await.unwrap();
    assert!(answer.is_duplicate());
    stage.know(&answer);
}

async fn pipeline(stage: &Stage) {
    let good = |n: usize| {
        let id = format!("pipelined-{n}");
        stage.post(&stage.signing.notification(&id))
    };
    let bad = |n: usize| good(n).target(&path(Workflow::NAME));
    let mut bytes = Vec::new();
    for n in 0..20 {
        let post = if n % 2 == 0 { good(n) } else { bad(n) };
        bytes.extend(post.bytes());
    }
    let mut wire = Wire::open(stage.addr()).await;
    wire.send(bytes).await;
    for n in 0..20 {
        let answer = wire.answer().await.expect("each its answer, in order");
        assert_eq!(answer.status, if n % 2 == 0 { 200 } else { 401 }, "{n}");
        stage.know(&answer);
    }
}

async fn expect_continue(stage: &Stage) {
    let post = stage.post(&stage.signing.notification("continued"));
    let bare = Post {
        announced: Some(post.body.len()),
        ..post.clone().body("").header("expect", "100-continue")
    };
    let mut wire = Wire::open(stage.addr()).await;
    wire.send(bare.bytes()).await;
    assert_eq!(wire.answer().await.unwrap().status, 100);
    wire.send(&post.body).await;
    let answer = wire.answer().await.unwrap();
    assert_eq!(answer.status, 200);
    stage.know(&answer);

    // Who may not send is told so before the body.
    let mut wire = Wire::open(stage.addr()).await;
    wire.send(bare.target(&path(Workflow::NAME)).bytes()).await;
    let answer = wire.answer().await.unwrap();
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (401, "key-missing")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_is_not_taken_for_two_nor_two_for_one() {
    let stage = Stage::start().await;
    let flow = stage.flow().await;
    smuggle(&stage).await;
    announce_and_leave(&stage).await;
    pipeline(&stage).await;
    expect_continue(&stage).await;
    flow.goes_on().await;
    stage.only_ran(flow, std::iter::empty()).await;
    let executions = stage.api.all_executions("").await.unwrap();
    for id in ["smuggled", "half"] {
        assert!(
            executions.iter().all(|found| found.message_id != id),
            "{id}"
        );
    }
    let vanished = executions
        .iter()
        .filter(|found| found.message_id == "vanished");
    assert_eq!(vanished.count(), 1);
    assert!(executions.iter().all(|found| found.topic_arn == TOPIC));
    stage.kept_secret(&[]).await;
}
