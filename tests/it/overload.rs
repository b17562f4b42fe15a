//! Past each limit: the status of DESIGN.md §4.1 comes within its deadline, who is admitted is served all the while, and
//! every request is counted once. (Connections, descriptors, slow senders and the end: `attacks`.)

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use signalbox_proto::v1::{ApiKey, CreateApiKeyRequest, RateLimit, UpdateApiKeyRequest};
use signalbox_tests::{planes::Options, wait};
use tokio::io::AsyncReadExt as _;

use crate::{
    attacks::support::{
        Answer, Letter, Post, Stage, TOPIC, Wire, Workflow, connect_from, exchange, exchange_from,
        stage::path,
    },
    local_stack::synced,
};

/// Requests of a flood, and how many of them are under way at once.
const FLOOD: usize = 300;
const AT_ONCE: usize = 32;
const LIMIT: Duration = Duration::from_secs(40);

/// Sends a message of its own for each number; gives the answers, each of which must come.
async fn flood(stage: &Stage, target: &str, name: &str, count: usize) -> Vec<Answer> {
    let posts = (0..count).map(|n| {
        let post = Post::of(target, &stage.signing.notification(&format!("{name}-{n}")));
        let addr = stage.addr();
        async move { exchange(addr, post.bytes()).await.expect("an answer") }
    });
    stream::iter(posts)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

/// The taken ones are known to the stage; gives how many, and the others.
fn taken(stage: &Stage, answers: Vec<Answer>) -> (usize, Vec<Answer>) {
    let (taken, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.status == 200);
    for answer in &taken {
        assert!(!answer.is_duplicate());
        stage.know(answer);
    }
    (taken.len(), refused)
}

fn each_says(refused: &[Answer], status: u16, reason: &str) {
    for answer in refused {
        assert_eq!((answer.status, answer.reason().as_str()), (status, reason));
        let pause: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&pause), "{pause}");
    }
}

/// At most what a bucket of `burst` and 5 a second gives in the time since `start`, and no less than its burst.
fn within_rate(taken: usize, burst: usize, start: Instant) {
    let most = burst + 1 + usize::try_from(start.elapsed().as_millis() / 200).unwrap();
    assert!(
        (burst..=most).contains(&taken),
        "{taken} of {burst}..={most}"
    );
}

async fn create_limited_key(stage: &Stage, id: &str) -> String {
    let created = stage
        .api
        .keys()
        .create_api_key(CreateApiKeyRequest {
            parent: "projects/default".to_owned(),
            api_key_id: id.to_owned(),
            api_key: Some(ApiKey {
                rate_limit: Some(RateLimit {
                    events_per_second: 5,
                    burst: 20,
                }),
                ..Default::default()
            }),
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    created.value
}

#[tokio::test(flavor = "multi_thread")]
async fn past_its_rate_a_workflow_or_a_key_is_told_to_come_again() {
    let stage = Stage::start().await;
    let narrow = create_limited_key(&stage, "narrow").await;
    stage.watch(&narrow);
    let spec = Workflow::spec("sender, narrow", TOPIC);
    let rated = format!("rateLimit: {{eventsPerSecond: 5, burst: 20}}\n{spec}");
    stage.api.create_workflow("rated", &rated).await;
    stage.api.create_workflow("shared", &spec).await;
    synced(&stage.api).await;
    let flow = stage.flow().await;

    let target = format!("{}?x-api-key={}", path("rated"), stage.key);
    let start = Instant::now();
    let (workflow_taken, refused) = taken(&stage, flood(&stage, &target, "rated", FLOOD).await);
    within_rate(workflow_taken, 20, start);
    each_says(&refused, 503, "workflow-rate-limited");
    flow.goes_on().await;

    let target = format!("{}?x-api-key={narrow}", path("shared"));
    let start = Instant::now();
    let (key_taken, refused) = taken(&stage, flood(&stage, &target, "narrow", FLOOD).await);
    within_rate(key_taken, 20, start);
    each_says(&refused, 503, "key-rate-limited");
    // The other key of the same workflow is not held to account.
    let wide = format!("{}?x-api-key={}", path("shared"), stage.key);
    let (wide_taken, _) = taken(&stage, flood(&stage, &wide, "wide", 50).await);
    assert_eq!(wide_taken, 50);
    flow.goes_on().await;

    // Counted, each as what it was; and no good message was ever refused.
    let over = |taken| u64::try_from(FLOOD - taken).unwrap();
    let expected = [
        ("key-rate-limited".to_owned(), over(key_taken)),
        ("workflow-rate-limited".to_owned(), over(workflow_taken)),
    ];
    assert_eq!(stage.refusals().await, BTreeMap::from(expected));
    stage.accounts_for_refusals().await;
    // So many of one kind do not hide a refusal of another kind, nor one of another workflow.
    let forged = stage.signing.notification("forged").with("Message", "x");
    for target in [&wide, &stage.target()] {
        let answer = exchange(stage.addr(), Post::of(target, &forged).bytes()).await;
        assert_eq!(answer.unwrap().status, 403);
    }
    wait::until("both to be shown", LIMIT, || async {
        let shown = stage.refused_deliveries().await.into_values();
        match shown.filter(|d| d.reason == "signature-invalid").count() {
            2 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;

    // Without its limit, at once.
    let update = UpdateApiKeyRequest {
        api_key: Some(ApiKey {
            name: "projects/default/apiKeys/narrow".to_owned(),
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["rate_limit".to_owned()],
        }),
    };
    let key = stage.api.keys().update_api_key(update).await.unwrap();
    assert_eq!(key.into_inner().rate_limit, None);
    synced(&stage.api).await;
    let (now_taken, _) = taken(&stage, flood(&stage, &target, "unlimited", 100).await);
    assert_eq!(now_taken, 100);
    stage.only_ran(flow, std::iter::empty()).await;
    stage.kept_secret(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_has_rates_for_what_sets_none() {
    let stage = Stage::with(Options {
        data_plane: ["--workflow-rate-max", "20", "--key-rate-max", "100"]
            .map(str::to_owned)
            .into(),
        ..Options::default()
    })
    .await;
    let rated = format!(
        "rateLimit: {{eventsPerSecond: 1000}}\n{}",
        Workflow::spec("sender", TOPIC)
    );
    stage.api.create_workflow("own", &rated).await;
    synced(&stage.api).await;
    let start = Instant::now();
    let (orders, refused) = taken(&stage, flood(&stage, &stage.target(), "orders", 60).await);
    let most = 21 + usize::try_from(start.elapsed().as_millis() / 50).unwrap();
    assert!((20..=most).contains(&orders), "{orders} of {most}");
    each_says(&refused, 503, "workflow-rate-limited");
    // Its own limit counts, and then that of its key.
    let own = format!("{}?x-api-key={}", path("own"), stage.key);
    let (own_taken, refused) = taken(&stage, flood(&stage, &own, "own", FLOOD).await);
    let most = 101 + usize::try_from(start.elapsed().as_millis() / 10).unwrap();
    assert!(
        (40..=most).contains(&(orders + own_taken)),
        "{orders}, {own_taken}"
    );
    each_says(&refused, 503, "key-rate-limited");
    stage.ran_what_it_knows().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_may_be_under_way_is_shed_and_what_is_under_way_is_answered() {
    let stage = Stage::with(Options {
        data_plane: vec!["--in-flight-max".into(), "16".into()],
        ..Options::default()
    })
    .await;
    // Twelve of sixteen places are taken by those who keep theirs: of three keys, since one has no more than four, and
    // the good messages have theirs.
    let mut targets = Vec::new();
    for id in ["second", "third", "fourth"] {
        let key = stage.api.create_key(id).await;
        stage.watch(&key);
        let spec = Workflow::spec(id, TOPIC);
        stage.api.create_workflow(id, &spec).await;
        targets.push(format!("{}?x-api-key={key}", path(id)));
    }
    synced(&stage.api).await;
    let mut held = Vec::new();
    for n in 0..12 {
        let letter = stage.signing.notification(&format!("held-{n}"));
        let bytes = Post::of(&targets[n % 3], &letter).bytes();
        let (first, last) = bytes.split_at(bytes.len() - 10);
        let mut wire = Wire::open(stage.addr()).await;
        assert!(wire.send(first).await);
        held.push((wire, last.to_vec()));
    }
    wait::until("them to be under way", LIMIT, || async {
        let name = "signalbox_ingest_in_flight_requests";
        let under_way = stage.metric(name, &[]).await;
        if under_way >= 12.0 {
            Ok(())
        } else {
            Err(under_way.to_string())
        }
    })
    .await;
    let flow = stage.flow().await;
    // Then all of them, and more come.
    let mut more = Vec::new();
    while stage.refusals().await.is_empty() {
        let target = stage.target();
        let name = format!("more-{}", more.len());
        more.extend(flood(&stage, &target, &name, 100).await);
        assert!(more.len() < 10_000, "nothing was shed");
    }
    let (_, refused) = taken(&stage, more);
    each_says(&refused, 503, "overloaded");
    for (wire, last) in &mut held {
        wire.send(last).await;
        let answer = wire.answer().await.expect("what is under way is answered");
        assert_eq!(answer.status, 200, "{answer:?}");
        stage.know(&answer);
    }
    flow.goes_on().await;
    stage.only_ran(flow, std::iter::empty()).await;
    stage.kept_secret(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_takes_no_more_than_its_share_of_connections() {
    let stage = Stage::with(Options {
        data_plane: vec!["--connections-per-address-max".into(), "50".into()],
        ..Options::default()
    })
    .await;
    let flow = stage.flow().await;
    let mut open = Vec::new();
    for _ in 0..200 {
        open.push(connect_from(7, stage.addr()).await.unwrap());
    }
    let mut closed = 0;
    for stream in open.iter_mut().skip(50) {
        let mut byte = [0];
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut byte)).await;
        closed += usize::from(matches!(read, Ok(Ok(0) | Err(_))));
    }
    assert_eq!(closed, 150);
    // Others have theirs.
    let post = stage.post(&stage.signing.notification("neighbour"));
    let answer = exchange_from(8, stage.addr(), post.bytes()).await.unwrap();
    assert_eq!(answer.status, 200);
    stage.know(&answer);
    flow.goes_on().await;
    drop(open);
    stage.only_ran(flow, std::iter::empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_spool_refuses_until_reports_make_room() {
    let mut stage = Stage::with(Options {
        // The least that it takes.
        data_plane: vec!["--spool-max-bytes".into(), (128 << 20).to_string()],
        ..Options::default()
    })
    .await;
    let (signing, target) = (stage.signing.clone(), stage.target());
    let large = |n: usize| {
        let letter = Letter::notification(&format!("large-{n}"));
        let letter = signing.sign(letter.with("Message", &"x".repeat(240 * 1024)));
        Post::of(&target, &letter)
    };
    let post = stage.post(&stage.signing.notification("first"));
    let answer = exchange(stage.addr(), post.bytes()).await.unwrap();
    assert_eq!(answer.status, 200);
    stage.know(&answer);
    stage.planes.control.kill();
    let mut sent = 0;
    let refusal = loop {
        let answer = exchange(stage.addr(), large(sent).bytes()).await.unwrap();
        if answer.status != 200 {
            break answer;
        }
        stage.know(&answer);
        sent += 1;
        assert!(sent < 1000, "it is never full");
    };
    each_says(&[refusal], 503, "spool-full");
    assert!(sent > 50, "{sent}");
    // What was refused is taken as soon as there is room again, and nothing that was acknowledged is missing.
    let again = large(sent);
    stage.planes.control.start().await;
    // The node looks for the control plane every half a minute by then.
    let (status, reason, duplicate) = tokio::time::timeout(2 * LIMIT, stage.settled(&again))
        .await
        .expect("room again");
    assert_eq!((status, reason.as_str(), duplicate), (200, "", false));
    let id = format!("large-{sent}");
    stage.ran.lock().unwrap().insert(id);
    stage.ran_what_it_knows().await;
}
