//! How the calls begin and end whose answers last.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::Value;
use signalbox_proto::{
    convert::status::ApiError,
    dataplane::v1::{
        self as wire, report_service_client::ReportServiceClient,
        sync_service_client::SyncServiceClient,
    },
    v1,
};
use signalbox_tests::{
    api::Api,
    grpc,
    planes::{Options, Planes},
    process::{Process, binary},
    wait,
};
use tonic::{Code, Status, Streaming, transport::Endpoint};

/// By how much clocks may differ.
const LEEWAY: Duration = Duration::from_secs(30);
/// How long streams of the tests last.
const LASTS: Duration = Duration::from_secs(6);

/// A message with one field of text, its first.
fn text(value: &str) -> Vec<u8> {
    let length = u8::try_from(value.len()).unwrap();
    [&[0x0a, length][..], value.as_bytes()].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_ends_with_its_headers() {
    let mut planes = Planes::new(Options::default());
    planes.control.start().await;
    let viewer = planes.control.token("viewer");
    let elsewhere = planes.control.token_in("other", "viewer");
    let node = planes.control.token("data-plane");
    let watch_one = "/signalbox.v1.ExecutionService/WatchExecution";
    let watch_all = "/signalbox.v1.ExecutionService/WatchExecutions";
    let unknown = text("projects/default/executions/none");
    let default = text("projects/default");
    for (path, token, message, code) in [
        (watch_one, &viewer, &unknown, Code::NotFound),
        (watch_one, &viewer, &text("x"), Code::InvalidArgument),
        (watch_one, &node, &unknown, Code::PermissionDenied),
        (watch_all, &elsewhere, &default, Code::PermissionDenied),
        // Not a hello.
        (
            "/signalbox.dataplane.v1.SyncService/Sync",
            &node,
            &Vec::new(),
            Code::InvalidArgument,
        ),
        (
            "/signalbox.dataplane.v1.ReportService/Report",
            &node,
            &Vec::new(),
            Code::InvalidArgument,
        ),
    ] {
        let endpoint = &planes.control.endpoint;
        let answer = grpc::call(endpoint, path, Some(token), message).await;
        let status = answer.headers.get("grpc-status");
        let status = status.map(|status| Code::from_bytes(status.as_bytes()));
        assert_eq!(status, Some(code), "{path}: {answer:?}");
        assert!(answer.ends_there, "{path}: {answer:?}");
    }
}

/// The same token with another end, and when it counts no more.
fn ending(planes: &Planes, token: &str) -> (String, Instant) {
    let head = jsonwebtoken::decode_header(token).unwrap();
    let mut claims: Value = jsonwebtoken::dangerous::insecure_decode_claims(token).unwrap();
    let now = jiff::Timestamp::now();
    let exp = now.as_second() - LEEWAY.as_secs().cast_signed() + LASTS.as_secs().cast_signed();
    claims["exp"] = exp.into();
    let key = std::fs::read(planes.control.data_dir.join("jwt-signing-key.pem")).unwrap();
    let header = Header {
        kid: head.kid,
        ..Header::new(head.alg)
    };
    let key = EncodingKey::from_ed_pem(&key).unwrap();
    let token = jsonwebtoken::encode(&header, &claims, &key).unwrap();
    let into_second = Duration::from_nanos(now.subsec_nanosecond().unsigned_abs().into());
    (token, Instant::now() + LASTS - into_second)
}

/// Until a stream ends, which it must say why: when.
async fn expires<T>(mut stream: Streaming<T>) -> Instant {
    let ending = async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ends without a word"),
                Err(status) => return ApiError::from(status),
            }
        }
    };
    let error = tokio::time::timeout(4 * LASTS, ending).await;
    let error = error.expect("the stream ends with its token");
    let expected = (Code::Unauthenticated, Some("TOKEN_EXPIRED"));
    assert_eq!((error.code, error.reason.as_deref()), expected);
    Instant::now()
}

async fn watch(planes: &Planes, token: &str) -> Streaming<v1::Execution> {
    let request = v1::WatchExecutionsRequest {
        parent: "projects/default".into(),
        ..Default::default()
    };
    let api = Api::new(&planes.control.endpoint, token);
    let watched = api.executions().watch_executions(request).await;
    watched.unwrap().into_inner()
}

/// A node's Sync stream that says nothing but its first word.
async fn sync(planes: &Planes, jwt: &str) -> Result<Streaming<wire::SyncResponse>, Status> {
    let hello = wire::sync_request::Message::Hello(wire::Hello {
        node_id: "mine".to_owned(),
        ..Default::default()
    });
    let first = wire::SyncRequest {
        message: Some(hello),
    };
    let endpoint = Endpoint::from_shared(planes.control.endpoint.clone()).unwrap();
    let request = grpc::with_token(stream::iter([first]).chain(stream::pending()), jwt);
    let mut client = SyncServiceClient::new(endpoint.connect_lazy());
    Ok(client.sync(request).await?.into_inner())
}

async fn report(planes: &Planes, jwt: &str) -> Result<Streaming<wire::ReportResponse>, Status> {
    let hello = wire::report_request::Message::Hello(wire::ReportHello {
        node_id: "mine".to_owned(),
        incarnation: "i".to_owned(),
    });
    let first = wire::ReportRequest {
        message: Some(hello),
    };
    let endpoint = Endpoint::from_shared(planes.control.endpoint.clone()).unwrap();
    let request = grpc::with_token(stream::iter([first]).chain(stream::pending()), jwt);
    let mut client = ReportServiceClient::new(endpoint.connect_lazy());
    Ok(client.report(request).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_with_their_tokens_and_go_on_by_new_ones() {
    let mut planes = Planes::new(Options::default());
    planes.control.start().await;
    let lasting = planes.control.token("viewer");
    let mut goes_on = watch(&planes, &lasting).await;
    let node = planes.control.token("data-plane");
    let (viewer, _) = ending(&planes, &lasting);
    let (node, ends) = ending(&planes, &node);

    // The command line reads its token anew from the file.
    let file = planes.dir().join("viewer.token");
    std::fs::write(&file, &viewer).unwrap();
    let mut command = Command::new(binary("signalbox"));
    command
        .args(["executions", "watch", "--token-file"])
        .arg(&file)
        .env("SIGNALBOX_ENDPOINT", &planes.control.endpoint);
    let log = planes.dir().join("watch.log");
    let mut watching = Process::start("watch", &log, &mut command);

    let watched = watch(&planes, &viewer).await;
    let synced = sync(&planes, &node).await.unwrap();
    let reported = report(&planes, &node).await.unwrap();
    // It has begun by the old one: a file is not read before there is a connection.
    tokio::time::sleep(Duration::from_secs(1)).await;
    std::fs::write(&file, &lasting).unwrap();
    let ended = tokio::join!(expires(watched), expires(synced), expires(reported));
    for (what, at) in [("watch", ended.0), ("sync", ended.1), ("report", ended.2)] {
        // The first was made up to a second earlier.
        assert!(at + Duration::from_secs(1) >= ends, "{what} ended too soon");
        eprintln!(
            "{what} ended {:?} after its token",
            at.saturating_duration_since(ends)
        );
    }
    let refused = sync(&planes, &node).await.unwrap_err();
    let refused = ApiError::from(refused);
    assert_eq!(refused.reason.as_deref(), Some("TOKEN_EXPIRED"));
    let quiet = tokio::time::timeout(Duration::from_secs(1), goes_on.message()).await;
    assert!(quiet.is_err(), "another's stream goes on: {quiet:?}");
    assert!(
        watching.is_running(),
        "{}",
        std::fs::read_to_string(log).unwrap()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_has_so_many_watches() {
    let mut planes = Planes::new(Options::default());
    planes.control.start().await;
    let api = Api::new(&planes.control.endpoint, &planes.control.token("viewer"));
    let watch = async || {
        let request = v1::WatchExecutionsRequest {
            parent: "projects/default".into(),
            ..Default::default()
        };
        api.executions().watch_executions(request).await
    };
    let mut open = Vec::new();
    for _ in 0..100 {
        open.push(watch().await.unwrap());
    }
    let refused = watch().await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert!(refused.message().contains("100 watches"), "{refused:?}");
    // One that ends makes room.
    drop(open.pop());
    wait::until("room for another", 4 * LASTS, || async {
        let watched = watch().await;
        watched.map(drop).map_err(|status| status.to_string())
    })
    .await;
}
