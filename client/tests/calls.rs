//! Calls against a real server on the loopback.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod server;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use server::{Answer, Ca, Server};
use signalbox_client::{
    CertificateFiles, Client, ClientConfig, ClientError, ConfigError, TokenSource,
};
use signalbox_proto::v1::{GetNodeRequest, ListNodesRequest, ListNodesResponse, Node};
use tonic::Code;

async fn list(client: &Client) -> Result<ListNodesResponse, ClientError> {
    client
        .idempotent(|| {
            let mut nodes = client.nodes();
            async move { nodes.list_nodes(ListNodesRequest::default()).await }
        })
        .await
}

fn config(server: &Server) -> ClientConfig {
    let mut config = ClientConfig::new(server.endpoint());
    config.token = Some(TokenSource::value("t0"));
    config
}

#[tokio::test]
async fn each_call_carries_token_deadline_and_trace() {
    let server = Server::start([]).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "first\n").unwrap();
    let mut config = config(&server);
    config.token = Some(TokenSource::file(&file));
    config.deadline = Duration::from_secs(7);
    config.traceparent =
        Some(|| Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()));
    let client = Client::new(config).unwrap();
    list(&client).await.unwrap();
    // A new token needs no new client.
    std::fs::write(&file, "second").unwrap();
    list(&client).await.unwrap();

    let seen = server.seen();
    let header = |index: usize, name: &str| {
        seen[index]
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(header(0, "authorization").as_deref(), Some("Bearer first"));
    assert_eq!(header(1, "authorization").as_deref(), Some("Bearer second"));
    assert_eq!(header(0, "grpc-timeout").as_deref(), Some("7000000u"));
    assert!(header(0, "traceparent").unwrap().starts_with("00-0af7"));
}

#[tokio::test]
async fn streams_have_no_deadline() {
    let server = Server::start([]).await;
    let client = Client::new(config(&server)).unwrap();
    let status = client
        .sync()
        .sync(futures::stream::empty())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    let _ = client
        .report()
        .report(futures::stream::empty())
        .await
        .unwrap_err();
    for seen in server.seen() {
        assert!(seen.get("grpc-timeout").is_none());
        assert_eq!(seen.get("authorization").unwrap(), "Bearer t0");
    }
}

#[tokio::test]
async fn what_may_be_repeated_is_repeated_while_unavailable() {
    let away = || Answer::status(Code::Unavailable, "soon");
    let server = Server::start([away(), away()]).await;
    let client = Client::new(config(&server)).unwrap();
    list(&client).await.unwrap();
    assert_eq!(server.seen().len(), 3);

    // Not for ever.
    let server = Server::start((0..20).map(|_| away())).await;
    let client = Client::new(config(&server)).unwrap();
    let error = list(&client).await.unwrap_err();
    assert_eq!(server.seen().len(), 4);
    // The control plane answered: what it says is told, and that it is there.
    let ClientError::Api(api) = error else {
        panic!("{error:?}")
    };
    assert_eq!(
        (api.code, api.message.as_str()),
        (Code::Unavailable, "soon")
    );
}

#[tokio::test]
async fn the_pause_that_is_asked_for_is_kept() {
    let server = Server::start([Answer::retry_after(Duration::from_millis(900))]).await;
    let client = Client::new(config(&server)).unwrap();
    let start = Instant::now();
    list(&client).await.unwrap();
    assert!(
        start.elapsed() >= Duration::from_millis(900),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn nothing_else_is_repeated() {
    for code in [
        Code::Internal,
        Code::NotFound,
        Code::ResourceExhausted,
        Code::Aborted,
    ] {
        let server = Server::start([Answer::status(code, "no")]).await;
        let client = Client::new(config(&server)).unwrap();
        let error = list(&client).await.unwrap_err();
        assert!(matches!(error, ClientError::Api(api) if api.code == code));
        assert_eq!(server.seen().len(), 1);
    }
    // Nor is a call that is not said to be idempotent.
    let server = Server::start([Answer::status(Code::Unavailable, "soon")]).await;
    let client = Client::new(config(&server)).unwrap();
    client
        .nodes()
        .get_node(GetNodeRequest::default())
        .await
        .unwrap_err();
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn who_is_not_there_is_told_with_the_cause() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let client = Client::new(ClientConfig::new(format!("http://{address}"))).unwrap();
    let error = list(&client).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable(_)), "{error:?}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn a_late_answer_is_not_waited_for() {
    let server = Server::start([Answer::never()]).await;
    let mut config = config(&server);
    config.deadline = Duration::from_millis(200);
    let client = Client::new(config).unwrap();
    let start = Instant::now();
    let error = list(&client).await.unwrap_err();
    assert!(matches!(error, ClientError::Deadline), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn messages_are_bounded() {
    let large = Node {
        version: "x".repeat(33 * 1024 * 1024),
        ..Default::default()
    };
    let server = Server::start([Answer::nodes(vec![large])]).await;
    let client = Client::new(config(&server)).unwrap();
    let error = list(&client).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Api(api) if api.code == Code::OutOfRange),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_server_that_comes_back_is_found_again() {
    let server = Server::start([]).await;
    let address = server.address();
    let client = Client::new(config(&server)).unwrap();
    list(&client).await.unwrap();
    server.stop().await;
    assert!(matches!(
        list(&client).await.unwrap_err(),
        ClientError::Unreachable(_)
    ));
    let server = Server::start_at(address, []).await;
    list(&client).await.unwrap();
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn tls_trusts_the_given_authority_only() {
    let dir = tempfile::tempdir().unwrap();
    let ca_file = dir.path().join("ca.pem");
    let ca = Ca::new();
    let server = Server::start_tls(&ca, None).await;
    std::fs::write(&ca_file, &ca.pem).unwrap();
    let mut with_ca = ClientConfig::new(format!("https://localhost:{}", server.address().port()));
    with_ca.attempts_max = 1;
    let without = with_ca.clone();
    with_ca.ca_file = Some(ca_file);
    list(&Client::new(with_ca).unwrap()).await.unwrap();
    let error = list(&Client::new(without).unwrap()).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable(_)), "{error:?}");
}

#[tokio::test]
async fn a_certificate_is_shown_and_read_anew_when_it_changes() {
    let dir = tempfile::tempdir().unwrap();
    let (own, clients, other) = (Ca::new(), Ca::new(), Ca::new());
    let server = Server::start_tls(&own, Some(&clients)).await;
    let path = |name: &str| dir.path().join(name);
    let show = |(cert, key): (String, String)| {
        std::fs::write(path("cert.pem"), cert).unwrap();
        std::fs::write(path("key.pem"), key).unwrap();
    };
    std::fs::write(path("ca.pem"), &own.pem).unwrap();
    let mut config = ClientConfig::new(format!("https://localhost:{}", server.address().port()));
    config.attempts_max = 1;
    config.ca_file = Some(path("ca.pem"));
    let refused = async |client: &Client| {
        let error = list(client).await.unwrap_err();
        assert!(matches!(error, ClientError::Unreachable(_)), "{error:?}");
    };
    refused(&Client::new(config.clone()).unwrap()).await;

    config.certificate = Some(CertificateFiles {
        cert: path("cert.pem"),
        key: path("key.pem"),
    });
    let missing = Client::new(config.clone()).unwrap_err();
    assert!(missing.to_string().contains("cert.pem"), "{missing}");
    show(other.issue("node"));
    let client = Client::new(config).unwrap();
    refused(&client).await;
    show(clients.issue("node"));
    list(&client).await.unwrap();
    // Half of a new pair, or none, changes nothing.
    std::fs::write(path("cert.pem"), clients.issue("node").0).unwrap();
    list(&client).await.unwrap();
    std::fs::remove_file(path("key.pem")).unwrap();
    list(&client).await.unwrap();
    show(other.issue("node"));
    refused(&client).await;
}

#[tokio::test]
async fn wrong_settings_are_told() {
    for wrong in [
        "",
        "nonsense",
        "127.0.0.1:50051",
        "http://",
        "ftp://host:1",
        "http://a b",
    ] {
        let error = Client::new(ClientConfig::new(wrong)).unwrap_err();
        assert!(
            matches!(&error, ConfigError::Endpoint(_)),
            "{wrong:?}: {error:?}"
        );
    }
    let mut config = ClientConfig::new("https://localhost:1");
    config.ca_file = Some(PathBuf::from("/no/such/ca.pem"));
    let error = Client::new(config).unwrap_err();
    assert!(error.to_string().contains("/no/such/ca.pem"), "{error}");
}

#[tokio::test]
async fn a_token_that_is_none_is_told_before_the_call() {
    let server = Server::start([]).await;
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty");
    std::fs::write(&empty, " \n").unwrap();
    let large = dir.path().join("large");
    std::fs::write(&large, "x".repeat(100_000)).unwrap();
    for (token, expected) in [
        (
            TokenSource::file(dir.path().join("missing")),
            "cannot be read",
        ),
        (TokenSource::file(empty), "is empty"),
        (TokenSource::file(large), "more than"),
        (TokenSource::value(""), "is empty"),
        (TokenSource::value("a\nb"), "a header cannot"),
    ] {
        let mut config = config(&server);
        config.token = Some(token);
        let error = list(&Client::new(config).unwrap()).await.unwrap_err();
        assert!(matches!(&error, ClientError::Api(api) if api.code == Code::Unauthenticated));
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert!(server.seen().is_empty());
    assert!(!format!("{:?}", TokenSource::value("hidden")).contains("hidden"));
}

#[tokio::test]
async fn of_several_control_planes_one_that_answers_is_found_and_kept() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let server = Server::start([]).await;
    // Whichever it begins with.
    for _ in 0..4 {
        let endpoint = format!("http://{nobody}, {}", server.endpoint());
        let client = Client::new(ClientConfig::new(endpoint)).unwrap();
        list(&client).await.unwrap();
        let place = client.place();
        list(&client).await.unwrap();
        assert_eq!(client.place(), place, "one that works is not left");
    }
    let wrong = Client::new(ClientConfig::new("http://a:1,,http://b:1")).unwrap_err();
    assert!(wrong.to_string().contains("\"\""), "{wrong}");
}
