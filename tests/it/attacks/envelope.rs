//! Envelopes that contradict their headers, come from elsewhere, or want to be followed.

use std::time::Duration;

use signalbox_proto::v1::{RevokeApiKeyRequest, SubscriptionState};
use signalbox_tests::wait;

use super::support::{
    Case, Letter, Stage, TOPIC, Workflow, exchange,
    letter::{time_text, token_of},
    origin::query_value,
};

const KINDS: [&str; 3] = [
    "Notification",
    "SubscriptionConfirmation",
    "UnsubscribeConfirmation",
];

fn of_kind(kind: &str, id: &str) -> Letter {
    match kind {
        "Notification" => Letter::notification(id),
        _ => Letter::confirmation(kind, id),
    }
}

fn contradictions(stage: &Stage, cases: &mut Vec<Case>) {
    let mut add = |name: String, status, reason, letter: Letter, id: &str| {
        cases.push(Case::new(name, stage.post(&letter), status, reason).shows(id, TOPIC));
    };
    for body in KINDS {
        for header in KINDS.into_iter().chain(["notification", "", "Raw"]) {
            if header == body {
                continue;
            }
            let id = format!("{body}-{header}");
            let letter = stage.signing.sign(of_kind(body, &id));
            add(
                format!("{header:?} over {body}"),
                400,
                "message-type-contradicts-header",
                letter.header("x-amz-sns-message-type", header),
                &id,
            );
        }
    }
    let good = |id: &str| stage.signing.notification(id);
    for topic in ["arn:aws:sns:us-east-1:123456789012:other", "", "orders"] {
        let id = format!("topic-{topic}");
        let letter = good(&id).header("x-amz-sns-topic-arn", topic);
        let reason = "topic-arn-contradicts-header";
        add(
            format!("header's topic {topic:?}"),
            400,
            reason,
            letter,
            &id,
        );
    }
    for header in ["other", "ID", ""] {
        let id = format!("id-{header}");
        let letter = good(&id).header("x-amz-sns-message-id", header);
        let reason = "message-id-contradicts-header";
        add(format!("header's id {header:?}"), 400, reason, letter, &id);
    }
    let letter = good("subscription").header(
        "x-amz-sns-subscription-arn",
        "arn:aws:sns:us-east-1:123456789012:other:a6f8ee50-ca7f-42de-b1d8-2b9a3a3a1c49",
    );
    let reason = "subscription-arn-contradicts-topic";
    add(
        "another's subscription".into(),
        400,
        reason,
        letter,
        "subscription",
    );
    let letter = good("raw").header("x-amz-sns-rawdelivery", "true");
    add(
        "marked raw".into(),
        403,
        "raw-delivery-not-allowed",
        letter,
        "raw",
    );
}

/// Validly signed: any AWS account gets valid signatures.
fn topics(stage: &Stage, cases: &mut Vec<Case>) {
    let signed =
        |kind, id: &str, topic: &str| stage.signing.sign(of_kind(kind, id).of_topic(topic));
    for topic in [
        "arn:aws:sns:us-east-1:210987654321:orders",
        "arn:aws:sns:eu-west-1:123456789012:orders",
        "arn:aws-cn:sns:cn-north-1:123456789012:orders",
        "arn:aws-us-gov:sns:us-gov-west-1:123456789012:orders",
        "arn:aws:sns:us-east-1:123456789012:order",
        "arn:aws:sns:us-east-1:123456789012:Orders",
        "arn:aws:sns:us-east-1:123456789012:orders.fifo",
    ] {
        for kind in KINDS {
            let id = format!("{kind}-{topic}");
            let post = stage.post(&signed(kind, &id, topic));
            cases.push(
                Case::new(format!("{kind} of {topic}"), post, 403, "topic-not-allowed")
                    .shows(&id, topic),
            );
        }
    }
    for (topic, reason) in [
        ("orders", "topic-arn-malformed"),
        (
            "arn:aws:sqs:us-east-1:123456789012:orders",
            "topic-arn-malformed",
        ),
        (
            "arn:aws:sns:us-east-1:123456789012:orders:x",
            "topic-arn-malformed",
        ),
        (
            "arn:gcp:sns:us-east-1:123456789012:orders",
            "topic-arn-partition",
        ),
        (
            "arn:aws:sns:cn-north-1:123456789012:orders",
            "topic-arn-region",
        ),
        (
            "arn:aws-cn:sns:us-east-1:123456789012:orders",
            "topic-arn-region",
        ),
        (
            "arn:aws:sns:evil.com#:123456789012:orders",
            "topic-arn-region",
        ),
        ("arn:aws:sns:us-east-1:12345:orders", "topic-arn-account"),
        ("arn:aws:sns:us-east-1:123456789012:", "topic-arn-name"),
        (
            "arn:aws:sns:us-east-1:123456789012:or/ders",
            "topic-arn-name",
        ),
        ("arn:aws:sns:us-east-1:123456789012:*", "topic-arn-name"),
        ("*", "topic-arn-malformed"),
    ] {
        let id = format!("malformed-{topic}");
        let post = stage.post(&signed("Notification", &id, topic));
        cases.push(Case::new(topic, post, 400, reason).shows(&id, topic));
    }
    let day = jiff::SignedDuration::from_hours(24);
    let old = time_text(jiff::Timestamp::now() - day * 8);
    let letter = Letter::notification("old").with("Timestamp", &old);
    let post = stage.post(&stage.signing.sign(letter));
    cases.push(Case::new("eight days old", post, 403, "message-too-old").shows("old", TOPIC));
    for text in [
        "yesterday",
        "1764000000",
        "2026-11-24 00:00:00Z",
        "2026-11-24T00:00:00+00:00",
    ] {
        let letter = Letter::notification("time").with("Timestamp", text);
        let post = stage.post(&stage.signing.sign(letter));
        cases.push(Case::new(text, post, 400, "timestamp-malformed").shows("time", TOPIC));
    }
}

/// SubscribeURLs that would have us call elsewhere, or do something else. They are signed, so that the message is taken;
/// what is called is built from topic and token.
fn lures(stage: &Stage) -> Vec<(String, String)> {
    let (elsewhere, port) = (stage.elsewhere.addr, stage.elsewhere.addr.port());
    let aws = "https://sns.us-east-1.amazonaws.com";
    let confirm = format!("Action=ConfirmSubscription&TopicArn={TOPIC}&Token=another");
    let urls = [
        "http://169.254.169.254/latest/meta-data/iam/security-credentials/".to_owned(),
        format!("http://{elsewhere}/?{confirm}"),
        format!("http://localhost:{port}/?{confirm}"),
        format!("http://127.0.0.1.nip.io:{port}/?{confirm}"),
        format!("http://[::ffff:127.0.0.1]:{port}/?{confirm}"),
        "http://10.0.0.1/".to_owned(),
        "http://192.168.0.1/".to_owned(),
        "file:///etc/passwd".to_owned(),
        format!("{aws}/?Action=Unsubscribe&SubscriptionArn={TOPIC}:a6f8ee50"),
        format!("{aws}/?Action=DeleteTopic&TopicArn={TOPIC}"),
        format!(
            "{}?Action=DeleteTopic&TopicArn={TOPIC}",
            stage.origin.url("/")
        ),
        format!("{}?{confirm}", stage.origin.url("/")),
        "not a URL".to_owned(),
    ];
    (0..).map(|n| format!("lure-{n}")).zip(urls).collect()
}

async fn state(stage: &Stage) -> Option<SubscriptionState> {
    let all = stage.api.all_subscriptions(Workflow::NAME).await.unwrap();
    assert!(all.len() <= 1, "{all:?}");
    all.first().map(|subscription| subscription.state())
}

async fn becomes(stage: &Stage, wanted: SubscriptionState) {
    wait::until(
        "the subscription's state",
        Duration::from_secs(20),
        || async {
            match state(stage).await {
                Some(found) if found == wanted => Ok(()),
                other => Err(format!("{other:?}")),
            }
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envelope_cannot_say_what_it_is_not() {
    let stage = Stage::start().await;
    let flow = stage.flow().await;
    let mut cases = Vec::new();
    contradictions(&stage, &mut cases);
    topics(&stage, &mut cases);
    stage.judge(&cases, flow).await;
    assert_eq!(stage.origin.hits().len(), 1, "{:?}", stage.origin.hits());
    assert_eq!(state(&stage).await, None, "nobody subscribed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscribe_url_leads_nowhere() {
    let stage = Stage::start().await;
    let flow = stage.flow().await;
    let lures = lures(&stage);
    let letter = |kind: &str, id: &str, url: &str| {
        let letter = Letter::confirmation(kind, id).with("SubscribeURL", url);
        stage.signing.sign(letter)
    };
    let cases: Vec<Case> = lures
        .iter()
        .map(|(id, url)| {
            let post = stage.post(&letter("SubscriptionConfirmation", id, url));
            Case::new(url, post, 200, "")
        })
        .collect();
    stage.judge(&cases, flow).await;
    becomes(&stage, SubscriptionState::Confirmed).await;

    // Each was confirmed by its signed topic and token, at the origin that vouched for it, and nothing else was called.
    let confirmed = wait::until("every confirmation", Duration::from_secs(20), || async {
        let hits = stage.origin.hits();
        match hits.len() {
            found if found > lures.len() => Ok(hits),
            found => Err(found.to_string()),
        }
    })
    .await;
    let mut tokens: Vec<String> = confirmed[1..]
        .iter()
        .map(|hit| {
            assert_eq!(
                query_value(hit, "Action").as_deref(),
                Some("ConfirmSubscription")
            );
            assert_eq!(query_value(hit, "TopicArn").as_deref(), Some(TOPIC));
            query_value(hit, "Token").unwrap()
        })
        .collect();
    tokens.sort_unstable();
    let mut signed: Vec<String> = lures.iter().map(|(id, _)| token_of(id)).collect();
    signed.sort_unstable();
    assert_eq!(tokens, signed);

    // A forged UnsubscribeConfirmation cuts nothing; a genuine one is noted, its SubscribeURL left alone.
    let flow = stage.flow().await;
    let kind = "UnsubscribeConfirmation";
    let cases: Vec<Case> = lures
        .iter()
        .map(|(id, url)| {
            let forged = letter(kind, id, url).with("Token", "another");
            Case::new(url, stage.post(&forged), 403, "signature-invalid").shows(id, TOPIC)
        })
        .collect();
    stage.judge(&cases, flow).await;
    assert_eq!(state(&stage).await, Some(SubscriptionState::Confirmed));
    let hits = stage.origin.hits().len();
    for (id, url) in &lures {
        let answer = exchange(stage.addr(), stage.post(&letter(kind, id, url)).bytes()).await;
        assert_eq!(answer.unwrap().status, 200, "{url}");
    }
    becomes(&stage, SubscriptionState::Unsubscribed).await;

    // With the key goes the handshake.
    let request = RevokeApiKeyRequest {
        name: "projects/default/apiKeys/sender".into(),
        ..Default::default()
    };
    stage.api.keys().revoke_api_key(request).await.unwrap();
    let (id, url) = &lures[0];
    let replayed = stage
        .post(&letter("SubscriptionConfirmation", id, url))
        .bytes();
    wait::until("the revocation", Duration::from_secs(1), || async {
        let answer = exchange(stage.addr(), replayed.clone()).await.unwrap();
        match (answer.status, answer.reason().as_str()) {
            (401, "key-revoked") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    stage.kept_secret(&[]).await;
    assert_eq!(stage.elsewhere.calls(), 0);
    assert_eq!(stage.origin.hits().len(), hits, "{:?}", stage.origin.hits());
}
