//! The simulator does what Amazon SNS does: shown at receivers that behave badly.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use jiff::Timestamp;
use signalbox_cli::simulator::{Delivered, DeliveryPolicy, Publication, SimulatedSns};
use signalbox_sns::{
    Envelope, MessageType, SignaturePolicy, SignatureVersion, SigningCertUrl, SigningCertificate,
    TopicArn, TrustPolicy, parse_confirm_response,
};
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers::method};

/// Amazon SNS's counts, a thousand times faster.
const FAST: DeliveryPolicy = DeliveryPolicy {
    answer_timeout: Duration::from_millis(300),
    pause_min: Duration::from_millis(1),
    pause_max: Duration::from_millis(20),
    ..DeliveryPolicy::AWS_DEFAULT
};

async fn start() -> SimulatedSns {
    let any = "127.0.0.1:0".parse().unwrap();
    SimulatedSns::start(any).await.unwrap().with_policy(FAST)
}

fn topic() -> TopicArn {
    TopicArn::parse("arn:aws:sns:eu-west-1:123456789012:topic").unwrap()
}

async fn answers(server: &MockServer, status: u16, times: u64) {
    Mock::given(method("POST"))
        .respond_with(ResponseTemplate::new(status))
        .up_to_n_times(times)
        .mount(server)
        .await;
}

async fn received(server: &MockServer) -> Vec<Request> {
    server.received_requests().await.unwrap()
}

fn status(delivered: &Delivered) -> u16 {
    match delivered {
        Delivered::Answered { status, .. } => *status,
        Delivered::Failed(why) => panic!("{why}"),
    }
}

#[test]
fn the_default_policy_is_that_of_amazon_sns() {
    let policy = DeliveryPolicy::AWS_DEFAULT;
    let pauses: Vec<_> = (1..).map_while(|number| policy.pause(number)).collect();
    assert_eq!(pauses.len(), 50);
    assert_eq!(pauses[..3], [Duration::ZERO; 3]);
    assert_eq!(pauses[3..5], [Duration::from_secs(1); 2]);
    assert!(
        pauses[5..15].windows(2).all(|pair| pair[0] < pair[1]),
        "{pauses:?}"
    );
    assert_eq!(pauses[14..], [Duration::from_secs(20); 36]);
    assert_eq!(policy.scaled(0.1).pause(50), Some(Duration::from_secs(2)));
    assert_eq!(policy.scaled(0.1).answer_timeout, Duration::from_secs(15));
}

#[tokio::test]
async fn what_may_pass_is_tried_again_until_it_has() {
    let (sns, server) = (start().await, MockServer::start().await);
    answers(&server, 503, 4).await;
    answers(&server, 429, 2).await;
    answers(&server, 200, 1).await;
    let post = sns
        .notification(&topic(), &Publication::new("m"), false)
        .unwrap();
    let (delivered, attempts) = sns.deliver(&server.uri(), &post).await;
    assert_eq!((status(&delivered), attempts), (200, 7));
    let received = received(&server).await;
    assert!(
        received
            .iter()
            .all(|request| request.body == received[0].body),
        "the very same message"
    );
}

#[tokio::test]
async fn what_is_for_good_is_not_tried_again() {
    let sns = start().await;
    for wrong in [400, 401, 403, 404, 413, 302, 204] {
        let server = MockServer::start().await;
        Mock::given(method("POST"))
            .respond_with(ResponseTemplate::new(wrong).insert_header("location", "/elsewhere"))
            .mount(&server)
            .await;
        let post = sns
            .notification(&topic(), &Publication::new("m"), false)
            .unwrap();
        let (delivered, attempts) = sns.deliver(&server.uri(), &post).await;
        assert_eq!((status(&delivered), attempts), (wrong, 1));
        assert_eq!(delivered.is_success(), wrong == 204);
        assert_eq!(received(&server).await.len(), 1, "no redirect is followed");
    }
}

#[tokio::test]
async fn late_answers_and_absent_receivers_are_tried_again_but_not_for_ever() {
    let (sns, server) = (start().await, MockServer::start().await);
    Mock::given(method("POST"))
        .respond_with(ResponseTemplate::new(200).set_delay(Duration::from_secs(30)))
        .up_to_n_times(1)
        .mount(&server)
        .await;
    answers(&server, 200, 1).await;
    let post = sns
        .notification(&topic(), &Publication::new("m"), false)
        .unwrap();
    let (delivered, attempts) = sns.deliver(&server.uri(), &post).await;
    assert_eq!((status(&delivered), attempts), (200, 2));

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (delivered, attempts) = sns
        .deliver(
            &format!("http://u:hidden@{address}/?x-api-key=hidden"),
            &post,
        )
        .await;
    let Delivered::Failed(why) = delivered else {
        panic!("{delivered:?}")
    };
    assert_eq!(attempts, 51);
    assert!(why.contains("refused") && !why.contains("hidden"), "{why}");
}

#[tokio::test]
async fn credentials_go_out_when_they_are_asked_for() {
    let (sns, server) = (start().await, MockServer::start().await);
    Mock::given(method("POST"))
        .respond_with(
            ResponseTemplate::new(401).insert_header("www-authenticate", "Basic realm=\"x\""),
        )
        .up_to_n_times(1)
        .mount(&server)
        .await;
    answers(&server, 200, 1).await;
    let post = sns
        .notification(&topic(), &Publication::new("m"), false)
        .unwrap();
    let endpoint = server.uri().replace("http://", "http://us%3Aer:p%40ss+w@");
    let (delivered, attempts) = sns.deliver(&endpoint, &post).await;
    assert_eq!((status(&delivered), attempts), (200, 1));
    let received = received(&server).await;
    assert!(received[0].headers.get("authorization").is_none());
    // "us:er:p@ss+w"
    assert_eq!(
        received[1].headers.get("authorization").unwrap(),
        "Basic dXM6ZXI6cEBzcyt3"
    );
}

/// What a receiver makes of a request.
async fn verified(request: &Request, sns: &SimulatedSns) -> signalbox_sns::Verified<'static> {
    let trust = TrustPolicy {
        trusted_origins: vec![sns.origin().parse().unwrap()],
    };
    let body = request.body.to_vec().leak();
    let envelope: &'static _ = Box::leak(Box::new(Envelope::parse(body).unwrap()));
    let location =
        SigningCertUrl::parse(envelope.signing_cert_url(), envelope.topic_arn(), &trust).unwrap();
    let pem = reqwest::get(location.url())
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    let certificate = SigningCertificate::from_pem(&pem, location.expected_name()).unwrap();
    let policy = SignaturePolicy::default();
    signalbox_sns::verify(envelope, &certificate, Timestamp::now(), &policy).unwrap()
}

#[tokio::test]
async fn a_subscription_goes_from_handshake_to_farewell() {
    let sns = start().await;
    let (server, raw_server, silent) = (
        MockServer::start().await,
        MockServer::start().await,
        MockServer::start().await,
    );
    for server in [&server, &raw_server, &silent] {
        Mock::given(method("POST"))
            .respond_with(ResponseTemplate::new(200))
            .mount(server)
            .await;
    }
    let topic = topic();
    let subscribed = sns
        .subscribe(&topic, &format!("{}/sns?x-api-key=k", server.uri()), false)
        .await
        .unwrap();
    sns.subscribe(&topic, &raw_server.uri(), true)
        .await
        .unwrap();
    sns.subscribe(&topic, &silent.uri(), false).await.unwrap();

    // Two of the three confirm.
    for server in [&server, &raw_server] {
        let request = &received(server).await[0];
        let confirmation = verified(request, &sns).await;
        assert_eq!(
            confirmation.message_type(),
            MessageType::SubscriptionConfirmation
        );
        let url = confirmation.confirm_url().unwrap();
        let answer = reqwest::get(url.as_str()).await.unwrap();
        let body = answer.bytes().await.unwrap();
        let arn = parse_confirm_response(&body, &topic).unwrap();
        assert_eq!(arn.topic(), &topic);
    }
    assert!(sns.wait_confirmed(&topic, Duration::from_secs(5)).await);
    assert_eq!(sns.confirmed(&topic).len(), 2);
    let wrong = reqwest::get(format!(
        "{}/?Action=ConfirmSubscription&Token=00",
        sns.origin()
    ))
    .await
    .unwrap();
    assert_eq!(wrong.status(), 400);

    for version in [SignatureVersion::V1, SignatureVersion::V2] {
        let mut publication = Publication::new("Grüße ☃\nzwei");
        publication.subject = Some("S".to_owned());
        publication.signature_version = version;
        let deliveries = sns.publish(&topic, &publication).await.unwrap();
        assert_eq!(deliveries.len(), 2);
        let request = received(&server).await.pop().unwrap();
        assert_eq!(request.url.query(), Some("x-api-key=k"));
        let message = verified(&request, &sns).await;
        assert_eq!(
            (message.message(), message.subject()),
            ("Grüße ☃\nzwei", Some("S"))
        );
        assert_eq!(message.signature_version(), version);
        let raw = received(&raw_server).await.pop().unwrap();
        assert_eq!(raw.body, "Grüße ☃\nzwei".as_bytes());
        assert_eq!(raw.headers.get("x-amz-sns-rawdelivery").unwrap(), "true");
        assert_eq!(
            raw.headers.get("x-amz-sns-message-id").unwrap(),
            message.message_id()
        );
    }
    assert_eq!(
        received(&silent).await.len(),
        1,
        "who has not confirmed gets nothing"
    );

    sns.unsubscribe(&subscribed.arn).await.unwrap().unwrap();
    let farewell = verified(&received(&server).await.pop().unwrap(), &sns).await;
    assert_eq!(
        farewell.message_type(),
        MessageType::UnsubscribeConfirmation
    );
    assert_eq!(
        sns.publish(&topic, &Publication::new("m"))
            .await
            .unwrap()
            .len(),
        1
    );
    assert!(sns.unsubscribe(&subscribed.arn).await.unwrap().is_none());
}

#[tokio::test]
async fn its_port_is_free_once_it_is_gone() {
    let sns = start().await;
    let address = sns
        .origin()
        .strip_prefix("http://")
        .unwrap()
        .parse()
        .unwrap();
    assert!(SimulatedSns::start(address).await.is_err());
    drop(sns);
    let again = async {
        while let Err(error) = SimulatedSns::start(address).await {
            assert!(error.to_string().contains("in use"), "{error}");
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), again)
        .await
        .unwrap();
}
