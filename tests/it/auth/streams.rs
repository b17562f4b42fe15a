//! How the calls begin and end whose answers last.

use signalbox_tests::{
    grpc,
    planes::{Options, Planes},
};
use tonic::Code;

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
