//! Nodes that enroll by a one-time token, renew their tokens by their keys, and are revoked.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rcgen::{KeyPair, PKCS_ED25519, SigningKey as _};
use serde_json::Value;
use signalbox_model::{
    enrollment::{Purpose, statement},
    ids::NodeId,
};
use signalbox_proto::{
    convert::{status::ApiError, time},
    dataplane::v1::{
        self as wire, enrollment_service_client::EnrollmentServiceClient,
        report_service_client::ReportServiceClient, sync_service_client::SyncServiceClient,
    },
    v1,
};
use signalbox_tests::{
    api::Api,
    cli::Cli,
    grpc,
    planes::{Options, Planes},
    wait,
};
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint},
};

const LIMIT: Duration = Duration::from_secs(20);

const SPEC: &str = "
trigger:
  webhook:
    apiKeys: [sender]
steps:
  - id: only
    transform:
      expression: event.message
";

/// A control plane whose nodes' tokens are short-lived, and a data plane that is to enroll by what is in the file.
async fn planes() -> (Planes, Cli, PathBuf) {
    let mut planes = Planes::new(Options {
        control_plane: vec!["--node-token-ttl".into(), "3s".into()],
        ..Options::default()
    });
    planes.control.start().await;
    let file = planes.dir().join("enrollment.token");
    planes.data.without_token();
    planes
        .data
        .add_args(["--enrollment-token-file", file.to_str().unwrap()]);
    let cli = Cli::new(&planes.control, "admin");
    (planes, cli, file)
}

async fn nodes(api: &Api) -> Result<Vec<v1::Node>, String> {
    let listed = api
        .nodes()
        .list_nodes(v1::ListNodesRequest::default())
        .await;
    let listed = listed.map_err(|status| status.to_string())?;
    Ok(listed.into_inner().nodes)
}

/// Waits until the only node is as `wanted`.
async fn becomes(api: &Api, what: &str, wanted: impl Fn(&v1::Node) -> bool) -> v1::Node {
    wait::until(what, LIMIT, || async {
        match nodes(api).await?.as_slice() {
            [node] if wanted(node) => Ok(node.clone()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

fn identity(node: &v1::Node) -> v1::NodeIdentity {
    node.identity.clone().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_enrolls_renews_and_is_revoked() {
    let (mut planes, cli, file) = planes().await;
    let api = planes.api("admin");
    let secret = cli
        .ok(&["nodes", "enroll-token", "--display-name", "edge"])
        .await;
    assert!(secret.starts_with("sbe_"), "{secret}");
    std::fs::write(&file, &secret).unwrap();
    planes.data.start().await;

    // It works by its identity: in sync, and what it does is reported.
    let node = becomes(&api, "the node", |node| node.identity.is_some()).await;
    assert_eq!(identity(&node).display_name, "edge");
    let key = api.create_key("sender").await;
    api.create_workflow("hook", SPEC).await;
    api.synced(LIMIT).await;
    let url = planes.endpoint("hook", "webhook", &key);
    let posted = reqwest::Client::new().post(url).body("{}");
    let posted = posted.header("content-type", "application/json").send();
    let answer: Value = posted.await.unwrap().json().await.unwrap();
    let execution = answer["execution"].as_str().unwrap();
    api.execution_in(execution, v1::ExecutionState::Succeeded)
        .await;
    let first = identity(&node).renew_time;
    becomes(&api, "a renewal", |node| identity(node).renew_time != first).await;

    // A second node by the same token is none; that it tried is noted.
    let mut second = planes.another_node();
    second.spawn();
    wait::until("the refusal", LIMIT, || async {
        let log = second.log();
        match log.contains("the enrollment token was used") {
            true => Ok(()),
            false => Err(log),
        }
    })
    .await;
    assert!(second.process().is_running());
    second.kill();
    let audit = cli
        .ok(&["audit", "list", "--installation", "-o", "json"])
        .await;
    assert!(audit.contains("ENROLLMENT_TOKEN_USED"), "{audit}");
    let used = cli.ok(&["nodes", "list-enroll-tokens"]).await;
    assert!(
        used.contains(node.name.strip_prefix("nodes/").unwrap()),
        "{used}"
    );

    // Its token is gone with a restart, and the enrollment token long since: it has its key.
    std::fs::write(&file, "").unwrap();
    planes.data.kill();
    planes.control.kill();
    planes.control.start().await;
    planes.data.start().await;

    let id = node.name.strip_prefix("nodes/").unwrap();
    cli.ok(&["nodes", "revoke", id]).await;
    let revoked = Instant::now();
    becomes(&api, "the node's end", |node| {
        node.state() == v1::NodeState::Disconnected
    })
    .await;
    eprintln!("let go {:?} after the answer", revoked.elapsed());
    wait::until("the refusal", LIMIT, || async {
        let log = planes.data.log();
        match log.contains("the node's identity is revoked") {
            true => Ok(()),
            false => Err(log),
        }
    })
    .await;
    wait::until("the list to say so", LIMIT, || async {
        let listed = cli.ok(&["nodes", "list"]).await;
        match listed.contains("DISCONNECTED") {
            true => Ok(()),
            false => Err(listed),
        }
    })
    .await;

    // Back by a token that names it.
    let back = cli.ok(&["nodes", "enroll-token", "--node", id]).await;
    std::fs::write(&file, back).unwrap();
    planes.data.kill();
    planes.data.spawn();
    let again = becomes(&api, "the node again", |node| {
        node.state() == v1::NodeState::Connected && identity(node).revoke_time.is_none()
    })
    .await;
    assert_eq!(again.name, node.name);
    for log in [planes.data.log(), planes.control.log()] {
        assert!(
            !log.contains(secret.trim()) && !log.contains("eyJ0eXAi"),
            "{log}"
        );
    }
}

/// A node of the test's own: it says what it likes.
struct Stranger {
    key: KeyPair,
    channel: Channel,
}

impl Stranger {
    fn proof(&self, purpose: Purpose<'_>, node: &str) -> wire::Proof {
        let now = Timestamp::now();
        let node: NodeId = node.parse().unwrap();
        let signature = self.key.sign(&statement(purpose, &node, now)).unwrap();
        wire::Proof {
            time: Some(time::to_wire(now)),
            signature: signature.into(),
        }
    }

    async fn enroll(&self, secret: &str, node: &str) -> Result<String, Status> {
        let request = wire::EnrollNodeRequest {
            enrollment_token: secret.to_owned(),
            node_id: node.to_owned(),
            public_key: self.key.public_key_raw().to_vec().into(),
            proof: Some(self.proof(Purpose::Enroll(secret), node)),
        };
        let mut client = EnrollmentServiceClient::new(self.channel.clone());
        let enrolled = client.enroll_node(request).await?.into_inner();
        Ok(enrolled.token.unwrap().jwt)
    }

    async fn renew(&self, node: &str) -> Result<String, Status> {
        let request = wire::RenewNodeTokenRequest {
            node_id: node.to_owned(),
            proof: Some(self.proof(Purpose::Renew, node)),
        };
        let mut client = EnrollmentServiceClient::new(self.channel.clone());
        let renewed = client.renew_node_token(request).await?.into_inner();
        Ok(renewed.token.unwrap().jwt)
    }

    async fn sync(&self, jwt: &str, node: &str) -> Result<Streaming<wire::SyncResponse>, Status> {
        let hello = wire::Hello {
            node_id: node.to_owned(),
            ..Default::default()
        };
        let first = wire::SyncRequest {
            message: Some(wire::sync_request::Message::Hello(hello)),
        };
        let request = grpc::with_token(open_ended(first), jwt);
        let mut client = SyncServiceClient::new(self.channel.clone());
        Ok(client.sync(request).await?.into_inner())
    }

    async fn report(
        &self,
        jwt: &str,
        node: &str,
    ) -> Result<Streaming<wire::ReportResponse>, Status> {
        let hello = wire::ReportHello {
            node_id: node.to_owned(),
            incarnation: "i".to_owned(),
        };
        let first = wire::ReportRequest {
            message: Some(wire::report_request::Message::Hello(hello)),
        };
        let request = grpc::with_token(open_ended(first), jwt);
        let mut client = ReportServiceClient::new(self.channel.clone());
        Ok(client.report(request).await?.into_inner())
    }
}

/// One message, and then none, without an end.
fn open_ended<T: Send + 'static>(first: T) -> impl futures::Stream<Item = T> + Send + 'static {
    use futures::StreamExt as _;
    futures::stream::iter([first]).chain(futures::stream::pending())
}

#[track_caller]
fn reason<T: std::fmt::Debug>(result: Result<T, Status>) -> String {
    let error = ApiError::from(result.unwrap_err());
    format!("{:?} {}", error.code, error.reason.unwrap_or_default())
}

/// Until a stream ends: how.
async fn end<T>(mut stream: Streaming<T>) -> Status {
    let ending = async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ends without a word"),
                Err(status) => return status,
            }
        }
    };
    tokio::time::timeout(LIMIT, ending).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_is_one_nodes_and_its_streams_end_with_it() {
    let (planes, cli, _) = planes().await;
    let endpoint = Endpoint::from_shared(planes.control.endpoint.clone()).unwrap();
    let stranger = Stranger {
        key: KeyPair::generate_for(&PKCS_ED25519).unwrap(),
        channel: endpoint.connect_lazy(),
    };
    let enroll_token = ["nodes", "enroll-token", "--node", "mine"];
    let secret = cli.ok(&enroll_token).await.trim().to_owned();
    let cut = &secret[..secret.len() - 1];
    assert_eq!(
        reason(stranger.enroll(cut, "mine").await),
        "InvalidArgument FIELDS_INVALID"
    );
    assert_eq!(
        reason(stranger.enroll(&secret, "theirs").await),
        "PermissionDenied ENROLLMENT_TOKEN_FOR_ANOTHER"
    );
    let jwt = stranger.enroll(&secret, "mine").await.unwrap();

    for node in ["theirs", "mine2"] {
        let mismatch = "PermissionDenied NODE_MISMATCH";
        assert_eq!(reason(stranger.sync(&jwt, node).await), mismatch);
        assert_eq!(reason(stranger.report(&jwt, node).await), mismatch);
        let unknown = "PermissionDenied IDENTITY_UNKNOWN";
        assert_eq!(reason(stranger.renew(node).await), unknown);
    }
    let other = Api::new(&planes.control.endpoint, &jwt);
    let request = v1::ListNodesRequest::default();
    let listed = other.nodes().list_nodes(request).await;
    assert_eq!(reason(listed), "PermissionDenied ROLE_TOO_LOW");

    let sync = stranger.sync(&jwt, "mine").await.unwrap();
    let renewed = stranger.renew("mine").await.unwrap();
    let report = stranger.report(&renewed, "mine").await.unwrap();
    // An enrolled node's name is nobody's secret: a token of the other kind still says who it is itself.
    let plain = planes.control.token("data-plane");
    let plain = stranger.sync(&plain, "plain").await.unwrap();

    cli.ok(&["nodes", "revoke", "mine"]).await;
    let revoked = Instant::now();
    let (sync, report) = tokio::join!(end(sync), end(report));
    let took = revoked.elapsed();
    eprintln!("both streams ended {took:?} after the answer");
    assert!(took < Duration::from_secs(1), "{took:?}");
    for ended in [sync, report] {
        let ended: Result<(), Status> = Err(ended);
        assert_eq!(reason(ended), "Unauthenticated TOKEN_REVOKED");
    }
    assert_eq!(
        reason(stranger.sync(&renewed, "mine").await),
        "Unauthenticated TOKEN_REVOKED"
    );
    assert_eq!(
        reason(stranger.renew("mine").await),
        "PermissionDenied NODE_REVOKED"
    );
    let quiet = tokio::time::timeout(Duration::from_millis(300), end(plain)).await;
    assert!(quiet.is_err(), "another's stream goes on: {quiet:?}");
}
