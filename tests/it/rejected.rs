//! The list of refused deliveries: what an operator sees of each, page by page, while more of them come.

use std::{collections::BTreeSet, process::Command, time::Duration};

use signalbox_proto::v1::{Delivery, DeliveryVerdict, ListDeliveriesRequest};
use signalbox_tests::{planes::Options, process::binary, wait};

use crate::attacks::support::{Post, Stage, TOPIC, exchange};

const LIMIT: Duration = Duration::from_secs(40);
const REJECTED: &str = "verdict == \"REJECTED\"";

/// A message whose signature is another's.
fn forged(stage: &Stage, id: &str) -> Post {
    stage.post(&stage.signing.notification(id).with("Message", "another"))
}

async fn page(stage: &Stage, size: i32, token: String) -> (Vec<Delivery>, String) {
    let request = ListDeliveriesRequest {
        parent: "projects/default/workflows/orders".to_owned(),
        page_size: size,
        page_token: token,
        filter: REJECTED.to_owned(),
        ..Default::default()
    };
    let listed = stage.api.deliveries().list_deliveries(request).await;
    let listed = listed.unwrap().into_inner();
    (listed.deliveries, listed.next_page_token)
}

/// The refusals shown first, when there are `count` of them.
async fn first_page(stage: &Stage, count: usize) -> Vec<Delivery> {
    wait::until("the refusals to be shown", LIMIT, || async {
        let (deliveries, _) = page(stage, 1000, String::new()).await;
        if deliveries.len() == count {
            Ok(deliveries)
        } else {
            Err(deliveries.len().to_string())
        }
    })
    .await
}

/// `signalbox deliveries list orders --rejected` and what else is asked for.
fn command(stage: &Stage, more: &[&str]) -> String {
    let output = Command::new(binary("signalbox"))
        .args(["deliveries", "list", "orders", "--rejected"])
        .args(["--endpoint", &stage.planes.control.endpoint])
        .args(["--token", &stage.planes.control.token("viewer")])
        .args(more)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_is_shown_with_when_why_what_and_from_where() {
    let stage = Stage::with(Options {
        data_plane: vec!["--trusted-proxy".into(), "127.0.0.0/8".into()],
        ..Options::default()
    })
    .await;
    let flow = stage.flow().await;
    let sources = ["203.0.113.9", "2001:db8::17", "::ffff:198.51.100.4"];
    for (n, source) in sources.iter().enumerate() {
        let post = forged(&stage, &format!("forged-{n}")).header("x-forwarded-for", source);
        let answer = exchange(stage.addr(), post.bytes()).await.unwrap();
        assert_eq!(answer.status, 403, "{answer:?}");
    }
    // What a keyless one says of itself is its own claim, and shown as such.
    let keyless = forged(&stage, "keyless")
        .target("/v1/projects/default/workflows/orders/sns")
        .header("forwarded", "for=\"[2001:db8::18]:4711\"");
    let answer = exchange(stage.addr(), keyless.bytes()).await.unwrap();
    assert_eq!(answer.status, 401, "{answer:?}");

    let shown = first_page(&stage, 4).await;
    let expected = [
        ("keyless", "key-missing", 401, "2001:db8::18"),
        ("forged-2", "signature-invalid", 403, "198.51.100.4"),
        ("forged-1", "signature-invalid", 403, "2001:db8::17"),
        ("forged-0", "signature-invalid", 403, "203.0.113.9"),
    ];
    let log = stage.planes.data.log();
    let table = command(&stage, &[]);
    for (delivery, (id, reason, status, source)) in shown.iter().zip(expected) {
        assert_eq!(delivery.verdict(), DeliveryVerdict::Rejected);
        assert_eq!(delivery.message_id, id);
        assert_eq!(delivery.reason, reason);
        assert_eq!(delivery.http_status, status);
        assert_eq!(delivery.source_address, source);
        assert_eq!(delivery.topic_arn, TOPIC);
        assert!(!delivery.detail.is_empty() && !delivery.trace_id.is_empty());
        let time = delivery.receive_time.unwrap().seconds;
        let now = jiff::Timestamp::now().as_second();
        assert!((stage.started_at.as_second()..=now).contains(&time));
        for (place, lines) in [("the log", &log), ("the command", &table)] {
            let found = lines.lines().any(|line| {
                let says = |part: &str| line.contains(part);
                says(id) && says(reason) && says(source) && says(TOPIC)
            });
            assert!(found, "{place}: {id} in {lines}");
        }
    }
    assert!(log.contains("a delivery was refused"));
    // Nothing else is refused, and a filter narrows it further.
    assert_eq!(table.lines().count(), 5, "{table}");
    let keyless = command(&stage, &["--filter", "reason == \"key-missing\""]);
    assert_eq!(keyless.lines().count(), 2, "{keyless}");
    let refused = stage.refusals().await;
    assert_eq!(refused.get("signature-invalid"), Some(&3));
    assert_eq!(refused.get("key-missing"), Some(&1));
    stage.only_ran(flow, std::iter::empty()).await;
    stage.kept_secret(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_right_while_more_refusals_come_and_old_ones_go() {
    const KEPT: usize = 100;
    let stage = Stage::with(Options {
        control_plane: vec!["--deliveries-kept-max".into(), KEPT.to_string()],
        ..Options::default()
    })
    .await;
    let flow = stage.flow().await;
    let send = async |name: &str, count: usize| {
        for n in 0..count {
            let answer = exchange(stage.addr(), forged(&stage, &format!("{name}-{n}")).bytes());
            assert_eq!(answer.await.unwrap().status, 403);
        }
    };
    send("old", 60).await;
    let before: BTreeSet<_> = first_page(&stage, 60).await.into_iter().collect_ids();

    let pages = async {
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let (rows, next) = page(&stage, 7, token).await;
            assert!(rows.len() == 7 || next.is_empty());
            seen.extend(rows);
            token = next;
            if token.is_empty() {
                return seen;
            }
        }
    };
    // Fewer than push the old ones out.
    let (seen, ()) = tokio::join!(pages, send("new", KEPT - 60));
    assert!(
        seen.iter()
            .all(|row| row.verdict() == DeliveryVerdict::Rejected)
    );
    let times: Vec<_> = seen
        .iter()
        .map(|row| row.receive_time.map(|at| (at.seconds, at.nanos)))
        .collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "newest first");
    let ids = seen.clone().into_iter().collect_ids();
    assert_eq!(ids.len(), seen.len(), "none twice");
    assert!(before.is_subset(&ids), "none left out");

    // The newest are kept, so many of them, and what was accepted is not counted among them.
    send("last", 50).await;
    wait::until("the newest to be shown", LIMIT, || async {
        let (rows, next) = page(&stage, 1000, String::new()).await;
        assert!(rows.len() <= KEPT && next.is_empty());
        match rows.first() {
            Some(row) if row.message_id == "last-49" && rows.len() == KEPT => Ok(()),
            other => Err(format!("{other:?} of {}", rows.len())),
        }
    })
    .await;
    let all = stage.api.all_deliveries("orders").await.unwrap();
    assert!(all.iter().any(|row| row.message_id == "good-0-0"));
    stage.only_ran(flow, std::iter::empty()).await;
}

trait Ids {
    fn collect_ids(self) -> BTreeSet<String>;
}

impl<I: Iterator<Item = Delivery>> Ids for I {
    fn collect_ids(self) -> BTreeSet<String> {
        self.map(|row| row.name).collect()
    }
}
