//! The same message again: at once, later, elsewhere, or with something else in it.

use std::{collections::BTreeSet, time::Duration};

use jiff::{SignedDuration, Timestamp};
use signalbox_proto::v1::DeliveryVerdict;
use signalbox_sns::SignatureVersion;
use signalbox_tests::{planes::Options, wait};

use super::support::{
    Case, Letter, Post, Stage, TOPIC, Workflow, exchange, exchange_from, letter::time_text,
    stage::path,
};
use crate::local_stack::synced;

const COPIES: usize = 1000;

/// Sends copies of one post at once; all are answered 200 or 503. Gives the executions that they were told of, and how
/// many were told that theirs was the first.
async fn at_once(
    stage: &Stage,
    posts: Vec<(std::net::SocketAddr, Post)>,
) -> (BTreeSet<String>, usize) {
    let copies: Vec<_> = posts
        .into_iter()
        .enumerate()
        .map(|(n, (addr, post))| tokio::spawn(exchange_from(n, addr, post.bytes())))
        .collect();
    let (mut executions, mut first) = (BTreeSet::new(), 0);
    for copy in copies {
        let answer = copy.await.unwrap().expect("an answer");
        match answer.status {
            200 => {
                executions.insert(answer.execution());
                first += usize::from(!answer.is_duplicate());
                stage.know(&answer);
            }
            503 => assert!(answer.header("retry-after").is_some()),
            other => panic!("{other}: {answer:?}"),
        }
    }
    (executions, first)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_copies_at_once_are_one_execution_also_after_a_restart() {
    let mut stage = Stage::start().await;
    let flow = stage.flow().await;
    let post = stage.post(&stage.signing.notification("copied"));
    let posts = vec![(stage.addr(), post.clone()); COPIES];
    let (executions, first) = at_once(&stage, posts).await;
    assert_eq!(executions.len(), 1, "{executions:?}");
    assert_eq!(first, 1, "one of them was the first");
    flow.goes_on().await;
    stage.only_ran(flow, std::iter::empty()).await;

    for round in 0..2 {
        if round == 0 {
            stage
                .planes
                .data
                .process()
                .terminate(Duration::from_secs(25));
        }
        stage.planes.data.kill();
        stage.planes.data.start().await;
        let (status, _, duplicate) = stage.settled(&post).await;
        assert_eq!((status, duplicate), (200, true), "restart {round}");
    }
    let flow = stage.flow().await;
    stage.only_ran(flow, std::iter::empty()).await;
    let deliveries = stage.api.all_deliveries(Workflow::NAME).await.unwrap();
    let of_it = || {
        deliveries
            .iter()
            .filter(|delivery| delivery.message_id == "copied")
    };
    let accepted = of_it().filter(|delivery| delivery.verdict() == DeliveryVerdict::Accepted);
    assert_eq!(accepted.count(), 1);
    assert!(of_it().any(|delivery| delivery.verdict() == DeliveryVerdict::Duplicate));
    stage.kept_secret(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_stands_for_one_content_in_one_workflow() {
    let stage = Stage::start().await;
    let second = Workflow::spec("sender", TOPIC);
    stage.api.create_workflow("second", &second).await;
    synced(&stage.api).await;
    let flow = stage.flow().await;
    let original = Letter::notification("reused").with("Timestamp", &time_text(Timestamp::now()));
    let signed = stage.signing.sign(original.clone());
    let first = exchange(stage.addr(), stage.post(&signed).bytes())
        .await
        .unwrap();
    assert_eq!((first.status, first.is_duplicate()), (200, false));
    stage.know(&first);

    let later = Timestamp::now() + SignedDuration::from_secs(1);
    let case = |name: &str, letter: Letter| {
        let post = stage.post(&stage.signing.sign(letter));
        Case::new(name, post, 403, "message-id-reused").shows("reused", TOPIC)
    };
    let cases = [
        case(
            "another message",
            original.clone().with("Message", "another"),
        ),
        case("a subject", original.clone().with("Subject", "new")),
        case(
            "another time",
            original.clone().with("Timestamp", &time_text(later)),
        ),
    ];
    stage.judge(&cases, flow).await;

    // What no signature covers makes no other message of it.
    let flow = stage.flow().await;
    let url = stage.origin.certificate_url();
    let signer = &stage.signing.signer;
    for copy in [
        signed.clone(),
        original.clone().sign(signer, SignatureVersion::V1, &url),
        signed.clone().raw(
            "MessageAttributes",
            r#"{"a":{"Type":"String","Value":"b"}}"#,
        ),
        signed.clone().also("SequenceNumber", "\"1\""),
    ] {
        let answer = exchange(stage.addr(), stage.post(&copy).bytes())
            .await
            .unwrap();
        assert!(answer.is_duplicate(), "{answer:?}");
        assert_eq!(answer.execution(), first.execution());
    }
    // Another workflow is another matter.
    let target = stage.target().replace(Workflow::NAME, "second");
    let elsewhere = stage.post(&signed).target(&target);
    assert_ne!(target, path("second"));
    let answer = exchange(stage.addr(), elsewhere.bytes()).await.unwrap();
    assert_eq!((answer.status, answer.is_duplicate()), (200, false));
    assert_ne!(answer.execution(), first.execution());
    stage.know(&answer);
    let again = exchange(stage.addr(), elsewhere.bytes()).await.unwrap();
    assert!(again.is_duplicate());
    stage.only_ran(flow, [answer.execution()].into_iter()).await;
    stage.kept_secret(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_at_two_nodes_are_one_execution() {
    let stage = Stage::start().await;
    let mut other = stage.planes.another_node();
    other.start().await;
    let flow = stage.flow().await;
    let post = stage.post(&stage.signing.notification("at-two-nodes"));
    let posts = (0..200)
        .map(|n| {
            (
                if n % 2 == 0 {
                    stage.addr()
                } else {
                    other.addr()
                },
                post.clone(),
            )
        })
        .collect();
    let (executions, first) = at_once(&stage, posts).await;
    assert_eq!(executions.len(), 1, "both derive the same");
    assert!(first <= 2);
    flow.goes_on().await;
    stage.only_ran(flow, executions.into_iter()).await;
    // Both nodes have reported by now, or do so in vain: there is one.
    let nodes = |deliveries: Vec<signalbox_proto::v1::Delivery>| -> BTreeSet<String> {
        let of_it = deliveries
            .into_iter()
            .filter(|d| d.message_id == "at-two-nodes");
        of_it.map(|delivery| delivery.node).collect()
    };
    wait::until("both nodes' reports", Duration::from_secs(20), || async {
        let all = stage.api.all_deliveries(Workflow::NAME).await.unwrap();
        match nodes(all).len() {
            2 => Ok(()),
            found => Err(found.to_string()),
        }
    })
    .await;
    let executions = stage.api.all_executions("").await.unwrap();
    let of_it = executions.iter().filter(|e| e.message_id == "at-two-nodes");
    assert_eq!(of_it.count(), 1);
}

/// Redrives come a minute, a day, almost a week after the message was published; each is taken once.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_copy_is_a_copy_and_one_beyond_the_window_is_refused() {
    const WINDOW_S: i64 = 7 * 24 * 3600;
    let stage = Stage::start().await;
    let flow = stage.flow().await;
    let aged = |seconds: i64| {
        let time = Timestamp::now() - SignedDuration::from_secs(seconds);
        let letter = Letter::notification(&format!("aged-{seconds}"));
        stage.post(
            &stage
                .signing
                .sign(letter.with("Timestamp", &time_text(time))),
        )
    };
    for seconds in [60, 3600, 24 * 3600, WINDOW_S - 60] {
        let post = aged(seconds);
        let answer = exchange(stage.addr(), post.bytes()).await.unwrap();
        assert_eq!(
            (answer.status, answer.is_duplicate()),
            (200, false),
            "{seconds}"
        );
        stage.know(&answer);
        let copy = exchange(stage.addr(), post.bytes()).await.unwrap();
        assert!(copy.is_duplicate(), "{seconds}");
    }
    let cases: Vec<_> = [WINDOW_S + 60, 2 * WINDOW_S, 50 * WINDOW_S]
        .into_iter()
        .map(|seconds| Case::new(seconds.to_string(), aged(seconds), 403, "message-too-old"))
        .collect();
    stage.judge(&cases, flow).await;
}

/// While the window passes there is no moment at which a copy runs again.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_never_runs_again_when_its_window_ends() {
    let stage = Stage::with(Options {
        data_plane: vec!["--deduplication-window-s".into(), "3".into()],
        ..Options::default()
    })
    .await;
    let post = stage.post(&stage.signing.notification("short-lived"));
    let answer = exchange(stage.addr(), post.bytes()).await.unwrap();
    assert_eq!((answer.status, answer.is_duplicate()), (200, false));
    stage.know(&answer);
    let mut copies = 0;
    loop {
        let answer = exchange(stage.addr(), post.bytes()).await.unwrap();
        if answer.status == 403 {
            assert_eq!(answer.reason(), "message-too-old");
            break;
        }
        assert!(answer.is_duplicate(), "{answer:?} after {copies} copies");
        copies += 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(copies > 10);
    let flow = stage.flow().await;
    stage.only_ran(flow, std::iter::empty()).await;
}
